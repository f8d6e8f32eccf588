package faults

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"gatehouse/internal/e2e/kit"
	"gatehouse/internal/testkit"
)

// slowReaderMemory is the limit for a server's memory while clients do not read their responses.
const slowReaderMemory = 256 << 20

// TestSlowReaders_MemoryIsBounded lets thousands of clients request the largest responses that they can get and then
// read almost nothing: anonymous ones submit a form full of quotes, and administrators open a list of half a megabyte.
// The server's memory and connections stay within their limits, and other clients get their responses.
func TestSlowReaders_MemoryIsBounded(t *testing.T) {
	x := &kit.Target{Site: kit.NewSite(t)}
	x.Server = x.ServeWithoutRace("LOG_LEVEL", "info")
	admin := x.NewClient()
	admin.Register("boss")
	x.Run("", "user", "join", "boss", "admin").WantCode(t, 0)
	db := kit.OpenDB(t, "postgres", x.DatabaseURL)
	for _, statement := range []string{
		`INSERT INTO groups (name) SELECT 'group' || n FROM generate_series(1, 300) n`,
		`INSERT INTO group_permissions (group_name, permission) SELECT 'group' || n, 'permission.of-group' || n || '-' || p FROM generate_series(1, 300) n, generate_series(1, 2) p`,
	} {
		if _, err := db.Exec(statement); err != nil {
			t.Fatal(err)
		}
	}
	testkit.Eventually(t, 10*time.Second, "the permission", func() bool { return admin.Get("/admin/users").StatusCode == http.StatusOK })
	if large := admin.Get("/admin/groups"); large.StatusCode != http.StatusOK || len(large.Text) < 500<<10 {
		t.Fatalf("the list of groups: got %s with %d bytes", large.Status, len(large.Text))
	}
	calm := peakMemory(t, x.Server)

	quotes := "username=" + strings.Repeat(`"`, 60<<10)
	post := "POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\n" + fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(quotes), quotes)
	var names strings.Builder
	for i := range 9_990 { // net/http takes 10,000
		fmt.Fprintf(&names, "%x&", i)
	}
	fields := "POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\n" + fmt.Sprintf("Content-Length: %d\r\n\r\n%s", names.Len(), names.String())
	list := "GET /admin/groups HTTP/1.1\r\nHost: localhost\r\nCookie: " + admin.SessionCookieHeader() + "\r\n\r\n"
	page := "GET /login HTTP/1.1\r\nHost: localhost\r\n\r\n"
	readers := &slowReaders{t: t, addr: strings.TrimPrefix(x.Server.URL(), "http://")}
	t.Cleanup(readers.close)
	// Forms that never arrive completely occupy memory, too.
	readers.send("POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 65000\r\n\r\n"+quotes, 600)
	for _, wave := range []struct {
		name, request string
		n             int
	}{{"quotes", post, 300}, {"many fields", fields, 300}, {"large pages", list, 250}, {"pages", page, 3300}} {
		readers.request(wave.request, wave.n)
		admin.WantStatus(admin.Get("/dashboard"), http.StatusOK)
		x.NewClient().WantStatus(x.NewClient().Get("/login"), http.StatusOK)
		t.Logf("with %d more readers of %s: peak memory %d MB (before %d MB), %d open files", wave.n, wave.name, peakMemory(t, x.Server)>>20, calm>>20, openFiles(t, x.Server))
	}
	if peak := peakMemory(t, x.Server); peak > slowReaderMemory {
		t.Errorf("got a peak memory of %d MB", peak>>20)
	}
	if open := openFiles(t, x.Server); open > maxConnections+100 {
		t.Errorf("got %d open files and connections", open)
	}
	admin.WantStatus(admin.Get("/dashboard"), http.StatusOK)
}

// TestSlowHeads_MemoryIsBounded sends the most expensive request heads, incomplete or with a body that does not arrive,
// over as many connections as the server accepts. Its memory stays within the same limit, and other clients get their
// responses.
func TestSlowHeads_MemoryIsBounded(t *testing.T) {
	x := &kit.Target{Site: kit.NewSite(t)}
	x.Server = x.ServeWithoutRace("LOG_LEVEL", "info")
	calm := peakMemory(t, x.Server)
	heads := &slowReaders{t: t, addr: strings.TrimPrefix(x.Server.URL(), "http://")}
	t.Cleanup(heads.close)
	const start = "POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 65000\r\n"
	fields := func(n, bytes int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, "a%04d:%s\r\n", i, strings.Repeat("x", bytes))
		}
		return b.String()
	}
	many, long := fields(7300, 0), fields(1, 58<<10)
	for _, wave := range []struct {
		name, head string
		n          int
	}{
		{"many fields, a pending body", start + many + "\r\n", 250},
		{"many fields, never complete", start + many, 250},
		{"one long field, a pending body", start + long + "\r\n", 250},
		{"one long field, never complete", start + long, 250},
		{"as much as is allowed", start + fields(120, 24), 3100},
	} {
		heads.send(wave.head, wave.n)
		visitor := x.NewClient()
		visitor.WantStatus(visitor.Get("/login"), http.StatusOK)
		t.Logf("with %d heads of %s: peak memory %d MB (before %d MB)", wave.n, wave.name, peakMemory(t, x.Server)>>20, calm>>20)
	}
	if peak := peakMemory(t, x.Server); peak > slowReaderMemory {
		t.Errorf("got a peak memory of %d MB", peak>>20)
	}
}

// maxConnections is the limit of a server's connections in docs/security.md.
const maxConnections = 3072

// slowReaders are connections that read only the first line of each response.
type slowReaders struct {
	t    *testing.T
	addr string

	mu   sync.Mutex
	open []net.Conn
}

// request sends the request on n connections, and returns when the server has begun to respond, or closed the
// connection, on each of them.
func (r *slowReaders) request(request string, n int) {
	r.t.Helper()
	r.each(n, request, func(conn net.Conn) {
		line, err := bufio.NewReaderSize(conn, 16).ReadSlice('\n')
		if os.IsTimeout(err) {
			r.t.Errorf("a slow reader got no response: %q", line)
		}
	})
}

// send is request without waiting for a response.
func (r *slowReaders) send(request string, n int) {
	r.t.Helper()
	r.each(n, request, func(net.Conn) {})
}

func (r *slowReaders) each(n int, request string, then func(net.Conn)) {
	r.t.Helper()
	// Otherwise the kernel would buffer a whole page.
	dialer := net.Dialer{Timeout: 20 * time.Second, Control: func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) { _ = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 4096) })
	}}
	var next atomic.Int64
	var all sync.WaitGroup
	for range 100 {
		all.Go(func() {
			for next.Add(1) <= int64(n) {
				conn, err := dialer.DialContext(context.Background(), "tcp", r.addr)
				if err != nil {
					r.t.Errorf("a slow reader could not connect: %v", err)
					return
				}
				r.mu.Lock()
				r.open = append(r.open, conn)
				r.mu.Unlock()
				_ = conn.SetDeadline(time.Now().Add(60 * time.Second))
				if _, err := conn.Write([]byte(request)); err != nil {
					continue // closed before it was sent
				}
				then(conn)
			}
		})
	}
	all.Wait()
}

func (r *slowReaders) close() {
	for _, conn := range r.open {
		conn.Close()
	}
}
