package e2e

import (
	"bufio"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"
	_ "github.com/lib/pq" // the driver for looking at rows

	"gatehouse/handlers"
	"gatehouse/internal/testkit"
)

// target is a running server together with what an auditor may open: its Redis, its
// database, its log and its socket.
type target struct {
	*site
	server   *testkit.Server
	sessions redis.Conn // sessions and throttles
	cache    redis.Conn // cached users
	sql      *sql.DB
}

// newTarget starts a server on stores of its own; pairs are settings.
func newTarget(t testing.TB, pairs ...string) *target {
	t.Helper()
	x := &target{site: newSite(t)}
	x.server = x.serve(pairs...)
	x.sessions, x.cache = dialRedis(t, x.redis), dialRedis(t, x.redis+"/1")
	var err error
	if x.sql, err = sql.Open("postgres", x.database); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = x.sql.Close() })
	return x
}

func dialRedis(t testing.TB, url string) redis.Conn {
	t.Helper()
	c, err := redis.DialURL(url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// dialEmbeddedRedis connects to the Redis inside the server that runs on a DATA_DIR.
func dialEmbeddedRedis(t testing.TB, dir string, database int) redis.Conn {
	t.Helper()
	c, err := redis.Dial("unix", filepath.Join(dir, "redis.sock"), redis.DialDatabase(database))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// visitor returns a browser that has never been here.
func (x *target) visitor() *client {
	x.t.Helper()
	return newClient(x.t, x.server.URL())
}

// do runs a Redis command on the sessions' database.
func (x *target) do(command string, args ...any) any {
	x.t.Helper()
	reply, err := x.sessions.Do(command, args...)
	if err != nil {
		x.t.Fatalf("%s %v: %v", command, args, err)
	}
	return reply
}

func (x *target) int(command string, args ...any) int64 {
	x.t.Helper()
	n, err := redis.Int64(x.do(command, args...), nil)
	if err != nil {
		x.t.Fatalf("%s %v: %v", command, args, err)
	}
	return n
}

func (x *target) keys(pattern string) []string {
	x.t.Helper()
	keys, err := redis.Strings(x.do("KEYS", pattern), nil)
	if err != nil {
		x.t.Fatal(err)
	}
	return keys
}

// ttl returns a key's remaining time; negative when it has none or is gone.
func (x *target) ttl(key string) time.Duration {
	x.t.Helper()
	return time.Duration(x.int("PTTL", key)) * time.Millisecond
}

// attempts returns what a throttle has counted; 0 when there is none.
func (x *target) attempts(key string) int64 {
	x.t.Helper()
	n, err := redis.Int64(x.do("HGET", "throttle:"+key, "n"), nil)
	if err != nil && err != redis.ErrNil {
		x.t.Fatal(err)
	}
	return n
}

// forgetThrottles makes every throttle as old as it has to be to end.
func (x *target) forgetThrottles() {
	x.t.Helper()
	for _, key := range x.keys("throttle:*") {
		x.do("DEL", key)
	}
}

// exec runs SQL by hand.
func (x *target) exec(statement string, args ...any) {
	x.t.Helper()
	if _, err := x.sql.ExecContext(x.t.Context(), statement, args...); err != nil {
		x.t.Fatalf("%s: %v", statement, err)
	}
}

// value returns one value of the database as text.
func (x *target) value(query string, args ...any) string {
	x.t.Helper()
	var v sql.NullString
	if err := x.sql.QueryRowContext(x.t.Context(), query, args...).Scan(&v); err != nil {
		x.t.Fatalf("%s: %v", query, err)
	}
	return v.String
}

func (x *target) userID(username string) string {
	x.t.Helper()
	return x.value(`SELECT id FROM users WHERE username = $1`, username)
}

// state is everything that a request could change, as one text: all users, and all keys with
// their values. How long keys still live is not part of it.
func (x *target) state() string {
	x.t.Helper()
	var b strings.Builder
	b.WriteString(x.value(`SELECT coalesce(string_agg(users::text, E'\n' ORDER BY id), '') FROM users`))
	keys := x.keys("*")
	slices.Sort(keys)
	for _, key := range keys {
		fmt.Fprintf(&b, "\n%s %x", key, x.do("DUMP", key))
	}
	return b.String()
}

// logLine is one line of the server's log.
type logLine map[string]any

func (l logLine) text(name string) string {
	s, _ := l[name].(string)
	return s
}

// logged returns the log from the given offset on. Every line must be one JSON object.
func (x *target) logged(from int) []logLine {
	x.t.Helper()
	var lines []logLine
	whole := x.server.Log()[from:]
	whole = whole[:strings.LastIndexByte(whole, '\n')+1]
	for text := range strings.Lines(whole) {
		var line logLine
		if err := json.Unmarshal([]byte(text), &line); err != nil {
			x.t.Fatalf("the log has a line that is no JSON: %v\n%q", err, text)
		}
		lines = append(lines, line)
	}
	return lines
}

// events returns the log's security events of this kind.
func (x *target) events(message string) []logLine {
	x.t.Helper()
	var found []logLine
	for _, line := range x.logged(0) {
		if line["event"] == true && line.text("msg") == message {
			found = append(found, line)
		}
	}
	return found
}

// requestLine waits for the line that the log has about an answered request.
func (x *target) requestLine(a answer) logLine {
	x.t.Helper()
	id := a.Header.Get("X-Request-Id")
	var found logLine
	testkit.Eventually(x.t, 5*time.Second, "the request's line in the log", func() bool {
		for line := range strings.Lines(x.server.Log()) {
			if strings.Contains(line, `"msg":"request"`) && strings.Contains(line, `"request_id":"`+id+`"`) {
				return json.Unmarshal([]byte(line), &found) == nil
			}
		}
		return false
	})
	return found
}

// dial opens a connection for requests that no client library would send.
func (x *target) dial() net.Conn {
	x.t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(x.server.URL(), "http://"))
	if err != nil {
		x.t.Fatal(err)
	}
	x.t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(15 * time.Second)); err != nil {
		x.t.Fatal(err)
	}
	return conn
}

// raw sends bytes as they are and returns every answer to them, read as those to GET requests.
// When the server has nothing more to say it is told that nothing more will come: not before,
// because it takes that for a client who has gone; and not at all when the bytes ask it to
// hang up, with "Connection: close".
func (x *target) raw(request string) []answer {
	x.t.Helper()
	conn := x.dial()
	// The server may answer, and hang up, before it has read everything.
	go func() { _, _ = io.WriteString(conn, request) }()
	r := bufio.NewReader(conn)
	patience := quiet
	if strings.Contains(request, "Connection: close\r\n") {
		patience = answerTime
	}
	var all []answer
	for {
		_ = conn.SetReadDeadline(time.Now().Add(patience))
		_, err := r.Peek(1)
		_ = conn.SetReadDeadline(time.Now().Add(answerTime))
		if errors.Is(err, os.ErrDeadlineExceeded) {
			_ = conn.(*net.TCPConn).CloseWrite()
			_, err = r.Peek(1)
		}
		if err != nil {
			return all
		}
		a, err := readAnswer(r)
		if err != nil {
			x.t.Fatalf("an answer to %.200q: %v", request, err)
		}
		all = append(all, a)
	}
}

// answerTime is more than the server takes for an answer.
const answerTime = 10 * time.Second

// quiet is how long the server says nothing when it waits for more.
const quiet = 300 * time.Millisecond

func readAnswer(r *bufio.Reader) (answer, error) {
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return answer{resp, string(body)}, err
}

// slowPost is a form on its way: the server has looked at the session and waits for the body.
type slowPost struct {
	x    *target
	conn net.Conn
	r    *bufio.Reader
	body string
}

// slow sends the head of a form and returns when the server asks for the body.
func (x *target) slow(path, cookie string, fields ...string) *slowPost {
	x.t.Helper()
	p := x.slowRequest(http.MethodPost, path, "Cookie: "+cookie, "application/x-www-form-urlencoded", form(fields...))
	if p == nil {
		x.t.FailNow()
	}
	return p
}

// slowRequest is slow for any request; credential is a header. It fails the test and returns nil
// when the server answers without the body.
func (x *target) slowRequest(method, path, credential, contentType, body string) *slowPost {
	x.t.Helper()
	conn := x.dial()
	fmt.Fprintf(conn, "%s %s HTTP/1.1\r\nHost: %s\r\n%s\r\nContent-Type: %s\r\n"+
		"Content-Length: %d\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n", method, path, conn.RemoteAddr(), credential, contentType, len(body))
	p := &slowPost{x: x, conn: conn, r: bufio.NewReader(conn), body: body}
	if line, err := p.r.ReadString('\n'); err != nil || !strings.HasPrefix(line, "HTTP/1.1 100 ") {
		x.t.Errorf("%s %s: the server said %q (%v) before the body", method, path, line, err)
		return nil
	}
	_, _ = p.r.ReadString('\n')
	return p
}

// finish sends the body and returns the answer.
func (p *slowPost) finish() answer {
	p.x.t.Helper()
	if _, err := io.WriteString(p.conn, p.body); err != nil {
		p.x.t.Fatal(err)
	}
	a, err := readAnswer(p.r)
	if err != nil {
		p.x.t.Fatal(err)
	}
	return a
}

// openTo reports whether a Cookie header opens the dashboard.
func (x *target) openTo(cookies string) bool {
	x.t.Helper()
	c := x.visitor()
	a := c.get("/dashboard", "Cookie", cookies)
	if a.StatusCode != http.StatusOK && a.StatusCode != http.StatusSeeOther {
		x.t.Fatalf("GET /dashboard: %s\n%s", a.Status, a.body)
	}
	return a.StatusCode == http.StatusOK
}

// session returns the client's session as a Cookie header without its other cookies.
func (c *client) session() string {
	c.t.Helper()
	value := c.cookie(sessionCookie)
	if value == "" {
		c.t.Fatal("the client has no session cookie")
	}
	return sessionCookie + "=" + value
}

// setCookies returns the answer's cookies by name, and fails on a name that is set twice.
func (c *client) setCookies(a answer) map[string]*http.Cookie {
	c.t.Helper()
	all := map[string]*http.Cookie{}
	for _, k := range a.Cookies() {
		if all[k.Name] != nil {
			c.t.Errorf("%s %s sets %s twice", a.Request.Method, a.Request.URL.Path, k.Name)
		}
		all[k.Name] = k
	}
	return all
}

// fieldError returns the sentence that a page shows at a field.
func fieldError(a answer, field string) string {
	pattern := `id="` + regexp.QuoteMeta(field) + `-help"><span class="aside">Error: </span>([^<]*)</p>`
	m := regexp.MustCompile(pattern).FindStringSubmatch(a.body)
	if m == nil {
		return ""
	}
	return html.UnescapeString(m[1])
}

// formMessage returns what a page says about a form as a whole.
func formMessage(a answer) string {
	m := regexp.MustCompile(`role="alert"[^>]*>([^<]*)</p>`).FindStringSubmatch(a.body)
	if m == nil {
		return ""
	}
	return html.UnescapeString(m[1])
}

// wantRefused fails unless a form came back with a sentence at the field.
func (c *client) wantRefused(a answer, field, sentence string) {
	c.t.Helper()
	c.want(a, http.StatusUnprocessableEntity)
	if got := fieldError(a, field); !strings.Contains(got, sentence) || got == "" {
		c.t.Errorf("%s says %q at %s, want %q", a.Request.URL.Path, got, field, sentence)
	}
}

// routesOf returns the paths of the route table for a method.
func routesOf(method string) []string {
	var paths []string
	for _, r := range (&handlers.Handlers{}).Routes() {
		if r.Method == method {
			paths = append(paths, r.Path)
		}
	}
	return paths
}
