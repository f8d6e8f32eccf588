package web

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"gatehouse/internal/testkit"
)

// serveBound serves the site as the program does, and returns how to connect to it.
func serveBound(t *testing.T, s *site) (dial func(*testing.T) *rawClient) {
	t.Helper()
	server := httptest.NewUnstartedServer(nil)
	server.Config = s.HTTPServer()
	server.Listener = s.Bound(server.Listener)
	server.Start()
	t.Cleanup(server.Close)
	return func(t *testing.T) *rawClient {
		t.Helper()
		conn, err := net.Dial("tcp", server.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
		return &rawClient{t: t, Conn: conn, r: bufio.NewReader(conn)}
	}
}

// rawClient is a client that chooses every octet that it sends.
type rawClient struct {
	t *testing.T
	net.Conn
	r *bufio.Reader
}

func (c *rawClient) send(text string) {
	c.t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		c.t.Fatal(err)
	}
}

func (c *rawClient) wantStatus(status int) {
	c.t.Helper()
	res, err := http.ReadResponse(c.r, nil)
	if err != nil {
		c.t.Fatalf("no answer: %v, want %d", err, status)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != status {
		c.t.Fatalf("got %s, %.60q, %v; want %d", res.Status, text, err, status)
	}
}

func (c *rawClient) wantClosed() {
	c.t.Helper()
	if b, err := c.r.ReadByte(); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		c.t.Errorf("the connection is open: %q, %v", b, err)
	}
}

// fields are n header fields of different names.
func fields(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "a%03d:\r\n", i)
	}
	return b.String()
}

const (
	headStart = "GET / HTTP/1.1\r\nHost: x\r\n"
	postStart = "POST /form HTTP/1.1\r\nHost: x\r\nOrigin: https://login.example.org\r\nContent-Type: application/x-www-form-urlencoded\r\n"
)

func newHeadSite(t *testing.T) *site {
	return newSite(t, []Route{
		Get("/", Open, whoAsks),
		Post("/form", Open, func(r *Request) (Response, error) {
			form, err := r.Form()
			return Text(http.StatusOK, fmt.Sprint(len(form))), err
		}),
	})
}

// TestHeads_HaveABoundedNumberOfLines: a head with more is refused before it is whole, on a new
// connection and on one that has been used, and neither bodies nor requests sent ahead count as heads.
func TestHeads_HaveABoundedNumberOfLines(t *testing.T) {
	dial := serveBound(t, newHeadSite(t))
	most := headStart + fields(maxHeadLines-3) + "\r\n"
	tooMany := headStart + fields(maxHeadLines)
	form := "a=" + strings.Repeat("\n", 3*maxHeadLines)
	post := postStart + fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(form), form)

	t.Run("new", func(t *testing.T) {
		c := dial(t)
		c.send(most)
		c.wantStatus(200)
		c = dial(t)
		c.send(tooMany)
		c.wantStatus(431)
		c.wantClosed()
	})
	t.Run("octet by octet", func(t *testing.T) {
		c := dial(t)
		for i := range tooMany {
			if _, err := c.Write([]byte{tooMany[i]}); err != nil {
				break // refused already
			}
		}
		c.wantStatus(431)
	})
	t.Run("large and whole", func(t *testing.T) {
		c := dial(t)
		c.send(headStart + strings.Repeat("a:\r\n", 14<<10) + "\r\n")
		c.wantStatus(431)
	})
	t.Run("used", func(t *testing.T) {
		c := dial(t)
		for range 3 {
			c.send(most)
			c.wantStatus(200)
		}
		c.send(tooMany)
		c.wantStatus(431)
	})
	t.Run("behind empty lines", func(t *testing.T) {
		c := dial(t)
		c.send(postStart + "Content-Length: 1\r\n\r\na")
		c.wantStatus(200)
		c.send("\r\n\r\n" + tooMany)
		c.wantStatus(431)
	})
	t.Run("lines of a body", func(t *testing.T) {
		c := dial(t)
		c.send(post[:len(post)-1])
		c.send(post[len(post)-1:])
		c.wantStatus(200)
		c = dial(t)
		c.send(post)
		c.wantStatus(200)
	})
	t.Run("sent ahead", func(t *testing.T) {
		c := dial(t)
		c.send(strings.Repeat(headStart+"\r\n", 40))
		for range 40 {
			c.wantStatus(200)
		}
		c.send(postStart + "Content-Length: 1\r\n\r\na" + postStart + "Content-Length: 5\r\n\r\na")
		c.wantStatus(200)
		c.send("=\n\n\n")
		c.wantStatus(200)
	})
	t.Run("too many sent ahead", func(t *testing.T) {
		c := dial(t)
		c.send(headStart + "\r\n" + tooMany)
		c.wantStatus(200)
		c.wantClosed()
		c = dial(t)
		c.send(postStart + "Content-Length: 1\r\n\r\n")
		c.send("a" + tooMany)
		c.wantStatus(200)
		c.wantClosed()
	})
}

// TestHeads_CountAgainstTheMemory: large heads that are not whole, or whose response is not sent,
// share the bound of all transfers; those that have waited longest are cut.
func TestHeads_CountAgainstTheMemory(t *testing.T) {
	const size = 20 << 10
	large := "b: " + strings.Repeat("x", size) + "\r\n"
	for name, start := range map[string]string{
		"not whole":      headStart + large,
		"a pending body": postStart + large + "Content-Length: 5\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			s := newHeadSite(t)
			const each = (size-freeHead)*headCost + 2*transferOverhead + 4<<10 // with its body
			s.transfers.max = 3 * each
			dial := serveBound(t, s)
			used := func() int {
				s.transfers.mu.Lock()
				defer s.transfers.mu.Unlock()
				return s.transfers.used
			}
			newest := func() *transfer {
				s.transfers.mu.Lock()
				defer s.transfers.mu.Unlock()
				return s.transfers.newest
			}
			var clients []*rawClient
			for i := range 8 {
				before := newest()
				c := dial(t)
				c.send(start)
				clients = append(clients, c)
				testkit.Eventually(t, 10*time.Second, "the head to be counted", func() bool {
					now := newest()
					return now != nil && now != before && now.body == (name == "a pending body")
				})
				if i >= 5 {
					clients[i-5].wantClosed()
				}
			}
			if n := used(); n > s.transfers.max {
				t.Errorf("%d octets are held, of %d", n, s.transfers.max)
			}
			last := clients[len(clients)-1]
			if name == "not whole" {
				last.send("\r\n")
			} else {
				last.send("a=b&c")
			}
			last.wantStatus(200)
			for _, c := range clients {
				c.Close()
			}
			testkit.Eventually(t, 10*time.Second, "everything to be freed", func() bool { return used() == 0 })
		})
	}
}

// TestHeads_AreFreedWithTheirResponse: an idle connection holds nothing of its last head.
func TestHeads_AreFreedWithTheirResponse(t *testing.T) {
	s := newHeadSite(t)
	c := serveBound(t, s)(t)
	for range 3 {
		c.send(headStart + "b: " + strings.Repeat("x", 20<<10) + "\r\n\r\n")
		c.wantStatus(200)
		testkit.Eventually(t, 10*time.Second, "the head to be freed", func() bool {
			s.transfers.mu.Lock()
			defer s.transfers.mu.Unlock()
			return s.transfers.used == 0
		})
	}
}

// TestHeads_CostNothingWhenTheyAreOrdinary: neither a lock nor an allocation. Without transfers one
// to be counted would panic.
func TestHeads_CostNothingWhenTheyAreOrdinary(t *testing.T) {
	head := []byte(headStart + "Cookie: " + strings.Repeat("x", 3<<10) + "\r\n" + fields(20) + "\r\n")
	c := &clientConn{inHead: true}
	if n := testing.AllocsPerRun(100, func() {
		if !c.scan(head) || c.inHead {
			t.Fatal("the head was not taken for one")
		}
		c.track(http.StateIdle)
	}); n != 0 {
		t.Errorf("a head costs %v allocations", n)
	}
}

// TestBodies_ThatAreCutAreAnswered: who was cut for others learns it.
func TestBodies_ThatAreCutAreAnswered(t *testing.T) {
	s := newHeadSite(t)
	s.transfers.max = 2 * (transferOverhead + 3001)
	dial := serveBound(t, s)
	var clients []*rawClient
	for range 3 {
		c := dial(t)
		c.send(postStart + "Content-Length: 3000\r\n\r\n" + strings.Repeat("x", 100))
		clients = append(clients, c)
		if len(clients) < 3 {
			testkit.Eventually(t, 10*time.Second, "the body to be counted", func() bool {
				s.transfers.mu.Lock()
				defer s.transfers.mu.Unlock()
				return s.transfers.used == len(clients)*(transferOverhead+3001)
			})
		}
	}
	clients[0].wantStatus(http.StatusRequestTimeout)
	clients[0].wantClosed()
}
