package web

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"gatehouse/internal/testkit"
)

// stalled is a client's connection as far as it can be cut.
type stalled struct {
	http.ResponseWriter
	cut bool
}

func (s *stalled) SetReadDeadline(at time.Time) error  { return s.SetWriteDeadline(at) }
func (s *stalled) SetWriteDeadline(at time.Time) error { s.cut = at.Before(time.Now()); return nil }

// TestTransfers_CutThoseThatWaitLongest: when the memory for clients is used up, room is made by
// those who have kept it longest; who ends in time is left alone.
func TestTransfers_CutThoseThatWaitLongest(t *testing.T) {
	const each = 100 << 10
	all := transfers{max: 4 * (each + transferOverhead)}
	clients := make([]stalled, 8)
	waiting := make([]transfer, len(clients))
	begin := func(i, size int) { all.beginResponse(&waiting[i], size, &clients[i]) }
	wantCut := func(want ...int) {
		t.Helper()
		for i := range clients {
			expected := false
			for _, j := range want {
				expected = expected || i == j
			}
			if clients[i].cut != expected {
				t.Errorf("client %d was cut: %v", i, clients[i].cut)
			}
		}
	}
	for i := range 4 {
		begin(i, each)
	}
	wantCut()
	all.end(&waiting[1])
	begin(4, each)
	wantCut() // the second had made room
	begin(5, each)
	wantCut(0)
	all.grow(&waiting[2], 2*each) // itself it is not cut for, though it is the oldest
	wantCut(0, 3)
	if waiting[2].cut {
		t.Error("a transfer was cut for its own growth")
	}
	// Larger than everything together: it goes on alone.
	begin(6, 10*each)
	wantCut(0, 2, 3, 4, 5)
	for i := range waiting {
		all.end(&waiting[i])
		all.end(&waiting[i]) // twice does no harm
	}
	if all.used != 0 || all.oldest != nil || all.newest != nil {
		t.Errorf("afterwards %d octets are in use", all.used)
	}
	begin(7, each)
	wantCut(0, 2, 3, 4, 5)
}

// TestTransfers_AreAllEnded: whatever a request's answer is, nothing of it stays counted.
func TestTransfers_AreAllEnded(t *testing.T) {
	const form = "application/x-www-form-urlencoded"
	s := newSite(t, []Route{
		Get("/", Open, whoAsks),
		Get("/fail", Open, func(*Request) (Response, error) { return Response{}, errSecret }),
		Post("/form", Open, func(r *Request) (Response, error) {
			form, err := r.Form()
			return Text(http.StatusOK, "read "+form.Get("a")), err
		}),
		Post("/panic", Open, func(*Request) (Response, error) { panic("x") }),
	})
	s.do("GET", "/")
	s.do("GET", "/fail")
	s.do("POST", "/panic", body(form, "a=b"))
	for _, n := range []int{0, 1, 510, 511, 512, 513, 4095, 4096, 5000, maxBody - 2, maxBody} {
		for _, announced := range []bool{true, false} {
			text := "a=" + strings.Repeat("x", n)
			w := s.do("POST", "/form", body(form, text), func(r *http.Request) {
				if !announced {
					r.ContentLength = -1
				}
			})
			if n <= maxBody-2 && w.Body.String() != "read "+text[2:] {
				t.Errorf("of %d octets %d were read", n, w.Body.Len()-5)
			}
			if n > maxBody-2 && w.Code != http.StatusRequestEntityTooLarge {
				t.Errorf("%d octets: got %d", len(text), w.Code)
			}
		}
	}
	if s.transfers.used != 0 || s.transfers.oldest != nil {
		t.Errorf("%d octets are still counted", s.transfers.used)
	}
}

// TestConnections_CloseTheLongestIdle: beyond the limit the connection is closed that was idle
// longest, else the one that has waited longest for a first request, else for its response.
func TestConnections_CloseTheLongestIdle(t *testing.T) {
	k := &connections{max: 4}
	conns := make([]net.Conn, 9)
	for i := range conns {
		conns[i], _ = net.Pipe()
	}
	note := func(i int, state http.ConnState) int {
		victim := k.note(conns[i], state)
		for j, conn := range conns {
			if victim == conn {
				return j
			}
		}
		return -1
	}
	want := func(got, expected int) {
		t.Helper()
		if got != expected {
			t.Errorf("connection %d was closed, want %d", got, expected)
		}
	}
	for i := range 4 {
		want(note(i, http.StateNew), -1)
		want(note(i, http.StateActive), -1)
	}
	want(note(2, http.StateIdle), -1)
	want(note(0, http.StateIdle), -1)
	want(note(4, http.StateNew), 2) // idle before 0
	want(note(2, http.StateClosed), -1)
	want(note(5, http.StateNew), 0)
	want(note(0, http.StateActive), -1) // a request came in as it was closed
	want(note(0, http.StateIdle), -1)
	want(note(6, http.StateNew), 4) // none is idle: the first that has sent nothing
	want(note(5, http.StateActive), -1)
	want(note(6, http.StateActive), -1)
	want(note(7, http.StateNew), 1) // all are at work
	want(note(8, http.StateNew), 7)
	if len(k.open) != 4 {
		t.Errorf("%d connections are open", len(k.open))
	}
	for i := range conns {
		want(note(i, http.StateClosed), -1)
	}
	if len(k.open) != 0 || k.queues[http.StateIdle].first != nil || k.queues[http.StateNew].last != nil || k.queues[http.StateActive].first != nil {
		t.Errorf("%d connections are still there", len(k.open))
	}
}

// TestConnections_AreClosedByTheServer: over the limit a new client is served, and an idle one is gone.
func TestConnections_AreClosedByTheServer(t *testing.T) {
	s := newSite(t, whoRoutes)
	s.connections.max = 2
	server := httptest.NewUnstartedServer(s)
	server.Config.ConnState = s.HTTPServer().ConnState
	server.Start()
	defer server.Close()
	var conns []net.Conn
	for range 3 {
		conn, err := net.Dial("tcp", server.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
		if _, err := conn.Write([]byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n")); err != nil {
			t.Fatal(err)
		}
		page := make([]byte, 4096)
		if n, err := conn.Read(page); err != nil || !bytes.HasPrefix(page[:n], []byte("HTTP/1.1 200 ")) {
			t.Fatalf("got %.40q, %v", page[:n], err)
		}
		conns = append(conns, conn)
		testkit.Eventually(t, 10*time.Second, "the connection to be idle", func() bool {
			s.connections.mu.Lock()
			defer s.connections.mu.Unlock()
			return len(s.connections.open) == min(len(conns), 2) && s.connections.queues[http.StateActive].first == nil
		})
	}
	if n, err := conns[0].Read(make([]byte, 1)); n != 0 || err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the connection that was idle longest is open: %v", err)
	}
}

// TestResponses_HaveAnUpperSize: what is larger is an error page, and not kept.
func TestResponses_HaveAnUpperSize(t *testing.T) {
	s := newSite(t, []Route{
		Get("/text", Open, func(*Request) (Response, error) { return Text(http.StatusOK, strings.Repeat("x", maxResponse+1)), nil }),
		Get("/page", Open, func(r *Request) (Response, error) {
			page := ErrorPage{Page: r.Page("Large"), What: strings.Repeat("x", maxResponse)}
			return Show(http.StatusOK, "error", page), nil
		}),
		Get("/most", Open, func(*Request) (Response, error) { return Text(http.StatusOK, strings.Repeat("x", maxResponse)), nil }),
	})
	wantErrorPage(t, s.do("GET", "/text"), http.StatusInternalServerError)
	wantErrorPage(t, s.do("GET", "/page"), http.StatusInternalServerError)
	if w := s.do("GET", "/most"); w.Code != http.StatusOK || w.Body.Len() != maxResponse {
		t.Errorf("the largest response: %d, %d octets", w.Code, w.Body.Len())
	}
	for range 100 {
		if o := newOutgoing(); o.Cap() > maxPooled {
			t.Fatalf("a buffer of %d octets is kept", o.Cap())
		}
	}
}

// TestSignInAddress_IsShort: nobody is sent to an address that no page has.
func TestSignInAddress_IsShort(t *testing.T) {
	s := newSite(t, whoRoutes)
	if got := s.do("GET", "/private?"+strings.Repeat("%22", 20000)).Header().Get("Location"); got != "/login" {
		t.Errorf("got an address of %d octets", len(got))
	}
	if got := s.do("GET", "/private?a=b").Header().Get("Location"); got != "/login?next=%2Fprivate%3Fa%3Db" {
		t.Errorf("got %q", got)
	}
}

// formFields is a form of n fields of different names.
func formFields(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "%x=&", i)
	}
	return b.String()
}

// sending calls a function when a response is sent.
type sending struct {
	http.ResponseWriter
	begin func()
}

func (s sending) Write(p []byte) (int, error) { s.begin(); return s.ResponseWriter.Write(p) }

// TestForms_AreNotKeptWhileTheResponseIsSent: a client that does not read holds its response alone.
func TestForms_AreNotKeptWhileTheResponseIsSent(t *testing.T) {
	var req *http.Request
	s := newSite(t, []Route{
		Post("/form", Open, func(r *Request) (Response, error) {
			req = r.echo.Request()
			form, err := r.Form()
			return Text(http.StatusOK, fmt.Sprint(len(form))), err
		}),
	})
	for n, status := range map[int]int{maxFormFields: http.StatusOK, maxFormFields + 2: http.StatusRequestEntityTooLarge} {
		post := httptest.NewRequest("POST", "/form", strings.NewReader(formFields(n)))
		post.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		post.Header.Set("Origin", "https://login.example.org")
		w, sent := httptest.NewRecorder(), false
		s.ServeHTTP(sending{w, func() {
			sent = true
			if req.Form != nil || req.PostForm != nil || req.Body != http.NoBody {
				t.Errorf("%d fields are kept", len(req.Form))
			}
		}}, post)
		if w.Code != status || !sent {
			t.Errorf("%d fields: got %d, %s", n, w.Code, w.Body)
		}
	}
}
