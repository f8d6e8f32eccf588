package netlimit

import (
	"bufio"
	"bytes"
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

// serve starts a small site behind the limiter and returns a function that connects to it.
func serve(t *testing.T, l *Limiter) (dial func(*testing.T) *rawClient) {
	t.Helper()
	server := httptest.NewUnstartedServer(nil)
	server.Config = l.Server(countFields(l), nil)
	server.Listener = l.Listener(server.Listener)
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

// countFields answers GET, and answers POST with the number of form fields.
func countFields(l *Limiter) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.Method == http.MethodGet {
			fmt.Fprint(w, "ok")
			return
		}
		body, err := l.ReadBody(w, req)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			w.WriteHeader(http.StatusRequestTimeout)
			return
		}
		if err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		fmt.Fprint(w, bytes.Count(body, []byte("&"))+1)
	})
}

// rawClient is a client that controls every octet that it sends.
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
		c.t.Fatalf("no response: %v, want %d", err, status)
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
		c.t.Errorf("the connection is still open: %q, %v", b, err)
	}
}

// fields returns n header fields with different names.
func fields(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "a%03d:\r\n", i)
	}
	return b.String()
}

const (
	headStart = "GET / HTTP/1.1\r\nHost: x\r\n"
	postStart = "POST /form HTTP/1.1\r\nHost: x\r\n"
)

// TestHeads_LimitNumberOfLines: a head with too many lines is refused before it is complete, on a new connection and
// on a reused one. Bodies and pipelined requests do not count as heads.
func TestHeads_LimitNumberOfLines(t *testing.T) {
	dial := serve(t, New())
	most := headStart + fields(maxHeadLines-3) + "\r\n"
	tooMany := headStart + fields(maxHeadLines)
	form := "a=" + strings.Repeat("\n", 3*maxHeadLines)
	post := postStart + fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(form), form)

	t.Run("new connection", func(t *testing.T) {
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
	t.Run("large and complete", func(t *testing.T) {
		c := dial(t)
		c.send(headStart + strings.Repeat("a:\r\n", 14<<10) + "\r\n")
		c.wantStatus(431)
	})
	t.Run("reused connection", func(t *testing.T) {
		c := dial(t)
		for range 3 {
			c.send(most)
			c.wantStatus(200)
		}
		c.send(tooMany)
		c.wantStatus(431)
	})
	t.Run("after empty lines", func(t *testing.T) {
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
	t.Run("pipelined", func(t *testing.T) {
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
	t.Run("too many, pipelined", func(t *testing.T) {
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

// TestHeads_CountTowardMemoryLimit: large heads that are incomplete, or whose response is not sent,
// share the limit of all transfers; the oldest are aborted.
func TestHeads_CountTowardMemoryLimit(t *testing.T) {
	const size = 20 << 10
	large := "b: " + strings.Repeat("x", size) + "\r\n"
	for name, start := range map[string]string{
		"incomplete":     headStart + large,
		"a pending body": postStart + large + "Content-Length: 5\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			l := New()
			const each = (size-freeHead)*headCost + 2*transferOverhead + 4<<10 // with its body
			l.transfers.max = 3 * each
			dial := serve(t, l)
			newest := func() *Transfer {
				l.transfers.mu.Lock()
				defer l.transfers.mu.Unlock()
				return l.transfers.newest
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
			if n := l.InUse(); n > l.transfers.max {
				t.Errorf("%d octets are in use, the limit is %d", n, l.transfers.max)
			}
			last := clients[len(clients)-1]
			if name == "incomplete" {
				last.send("\r\n")
			} else {
				last.send("a=b&c")
			}
			last.wantStatus(200)
			for _, c := range clients {
				c.Close()
			}
			testkit.Eventually(t, 10*time.Second, "all memory to be freed", func() bool { return l.InUse() == 0 })
		})
	}
}

// TestHeads_AreFreedAfterTheResponse: an idle connection holds no memory for its last head.
func TestHeads_AreFreedAfterTheResponse(t *testing.T) {
	l := New()
	c := serve(t, l)(t)
	for range 3 {
		c.send(headStart + "b: " + strings.Repeat("x", 20<<10) + "\r\n\r\n")
		c.wantStatus(200)
		testkit.Eventually(t, 10*time.Second, "the head to be freed", func() bool { return l.InUse() == 0 })
	}
}

// TestHeads_OfOrdinarySizeAreFree: they take neither a lock nor an allocation. A head that is counted would panic here,
// because the connection has no Transfers.
func TestHeads_OfOrdinarySizeAreFree(t *testing.T) {
	head := []byte(headStart + "Cookie: " + strings.Repeat("x", 3<<10) + "\r\n" + fields(20) + "\r\n")
	c := &clientConn{inHead: true}
	if n := testing.AllocsPerRun(100, func() {
		if !c.scan(head) || c.inHead {
			t.Fatal("the end of the head was not found")
		}
		c.track(http.StateIdle)
	}); n != 0 {
		t.Errorf("a head costs %v allocations", n)
	}
}

// TestReadBody_AbortedClientIsAnswered: a client whose body was aborted to make room still gets a response.
func TestReadBody_AbortedClientIsAnswered(t *testing.T) {
	l := New()
	l.transfers.max = 2 * (transferOverhead + 3001)
	dial := serve(t, l)
	var clients []*rawClient
	for range 3 {
		c := dial(t)
		c.send(postStart + "Content-Length: 3000\r\n\r\n" + strings.Repeat("x", 100))
		clients = append(clients, c)
		if len(clients) < 3 {
			testkit.Eventually(t, 10*time.Second, "the body to be counted", func() bool {
				return l.InUse() == len(clients)*(transferOverhead+3001)
			})
		}
	}
	clients[0].wantStatus(http.StatusRequestTimeout)
	clients[0].wantClosed()
}
