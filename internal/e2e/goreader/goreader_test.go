// Package goreader tests the Go session reader (clients/go) on a real Redis, in which the tests take the role of
// Gatehouse. The tests are here because clients/go is a separate module that must not depend on the test kit.
package goreader

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	gatehouse "gatehouse.internal/clients/go"
	"gatehouse/internal/testkit"

	"github.com/gomodule/redigo/redis"
)

const (
	cookie = "q83vEjRWeJASNFZ4kBI0VniQEjRWeJASNFZ4kBI0Vng"
	id     = "O_VM3f3Al29ouHUF0UsiuvomQji9SK90SrDpTzjsavs" // of the cookie
	alice  = "01a1fb2c-1ab5-744f-bc47-f808a5349af0"
)

func sessionRecord(lifetime time.Duration) []byte {
	return fmt.Appendf(nil, `{"v":1,"id":%q,"user_id":%q,"epoch":3,"deadline":%q,"idle_seconds":7200}`,
		id, alice, time.Now().Add(lifetime).UTC().Format(time.RFC3339))
}

const userRecord = `{"v":1,"id":"` + alice + `","username":"alice","name":"Alice","epoch":3,"active":true,` +
	`"groups":["editors"],"permissions":["reports.view","users.manage"]}`

// site is an app that uses the reader, with a Redis to which the test writes the data of Gatehouse.
type site struct {
	t               testing.TB
	redis           *testkit.Redis
	sessions, cache *redis.Pool
	reader          *gatehouse.Reader
	mux             *http.ServeMux
}

func newSite(t testing.TB) *site {
	t.Helper()
	s := &site{t: t, redis: testkit.StartRedis(t)}
	s.sessions, s.cache = s.pool(0), s.pool(1)
	s.read(gatehouse.Options{RedisURL: s.redis.URL()})
	return s
}

func (s *site) pool(database int) *redis.Pool {
	p := &redis.Pool{
		Dial:         func() (redis.Conn, error) { return redis.Dial("tcp", s.redis.Addr(), redis.DialDatabase(database)) },
		TestOnBorrow: func(c redis.Conn, _ time.Time) error { _, err := c.Do("PING"); return err },
	}
	s.t.Cleanup(func() { _ = p.Close() })
	return p
}

// read replaces the reader and its pages.
func (s *site) read(o gatehouse.Options) {
	s.t.Helper()
	if o.BaseURL == "" {
		o.BaseURL = "http://login.example:8080"
	}
	reader, err := gatehouse.New(o)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = reader.Close() })
	page := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name := "stranger"
		if u := gatehouse.UserFrom(r.Context()); u != nil {
			name = u.DisplayName()
		}
		fmt.Fprint(w, "Hello, "+name)
	})
	s.reader, s.mux = reader, http.NewServeMux()
	s.mux.Handle("/", reader.RequireUser(page))
	s.mux.Handle("/open", reader.Identify(page))
	s.mux.Handle("/reports", reader.RequirePermission("reports.view")(page))
	s.mux.Handle("/users", reader.RequirePermission("users.view")(page))
	s.mux.Handle("/secret", reader.RequirePermission("reports")(page))
	s.mux.Handle("/editors", reader.RequireGroup("editors")(page))
	s.mux.Handle("/staff", reader.RequireGroup("staff")(page))
	s.mux.Handle("/twice", reader.Identify(reader.RequireUser(page)))
}

func (s *site) do(p *redis.Pool, command string, args ...any) any {
	s.t.Helper()
	c := p.Get()
	defer c.Close()
	reply, err := c.Do(command, args...)
	if err != nil {
		s.t.Fatalf("%s: %v", command, err)
	}
	return reply
}

// signIn stores a session whose key expires after left, and its user.
func (s *site) signIn(left time.Duration) {
	s.t.Helper()
	s.do(s.sessions, "SET", "session:"+id, sessionRecord(24*time.Hour), "PX", left.Milliseconds())
	s.do(s.cache, "SET", "user:"+alice, userRecord)
}

// calls returns how many times Redis has executed a command.
func (s *site) calls(command string) string {
	s.t.Helper()
	stats, err := redis.String(s.do(s.sessions, "INFO", "commandstats"), nil)
	if err != nil {
		s.t.Fatal(err)
	}
	found := regexp.MustCompile(`cmdstat_` + command + `:calls=(\d+)`).FindStringSubmatch(stats)
	if found == nil {
		return "0"
	}
	return found[1]
}

// gatehouse subscribes like Gatehouse until the test ends. The channel receives the session ids.
func (s *site) gatehouse(onUsed func()) <-chan string {
	s.t.Helper()
	c, err := redis.Dial("tcp", s.redis.Addr())
	if err != nil {
		s.t.Fatal(err)
	}
	received, done, sub := make(chan string, 100), make(chan struct{}), redis.PubSubConn{Conn: c}
	if err := sub.Subscribe("gatehouse:used"); err != nil {
		s.t.Fatal(err)
	}
	sub.Receive() // the reply to the subscription
	go func() {
		defer close(done)
		for {
			switch m := sub.Receive().(type) {
			case error:
				return
			case redis.Message:
				onUsed()
				received <- string(m.Data)
			}
		}
	}()
	s.t.Cleanup(func() { _ = c.Close(); <-done })
	return received
}

// get sends a request like a browser's. Header fields are given as "Name: value".
func (s *site) get(target string, header ...string) *httptest.ResponseRecorder {
	return s.send(httptest.NewRequest("GET", target, nil), append(header, "Accept: text/html,*/*;q=0.8")...)
}

func (s *site) getAsAlice(target string) *httptest.ResponseRecorder {
	return s.get(target, "Cookie: gatehouse="+cookie)
}

func (s *site) send(r *http.Request, header ...string) *httptest.ResponseRecorder {
	for _, h := range header {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Add(name, value)
	}
	w := httptest.NewRecorder()
	s.mux.ServeHTTP(w, r)
	return w
}

// want checks the response. An empty string matches any body.
func want(t testing.TB, w *httptest.ResponseRecorder, status int, body string) {
	t.Helper()
	if w.Code != status || body != "" && w.Body.String() != body {
		t.Errorf("got %d %q, want %d %q", w.Code, w.Body, status, body)
	}
	if got := w.Header().Values("Cache-Control"); len(got) != 1 || got[0] != "no-store" {
		t.Errorf("%d: got Cache-Control %q", w.Code, got)
	}
	if got := w.Header().Values("Vary"); len(got) == 0 || got[0] != "Cookie" {
		t.Errorf("%d: got Vary %q", w.Code, got)
	}
	if w.Code == http.StatusServiceUnavailable && w.Header().Get("Retry-After") != "5" {
		t.Errorf("503: got Retry-After %q", w.Header().Get("Retry-After"))
	}
}

func TestReader_LetsSignedInUsersIn(t *testing.T) {
	s := newSite(t)
	s.signIn(2 * time.Hour)
	for target, status := range map[string]int{
		"/": 200, "/open": 200, "/twice": 200, "/reports": 200, "/users": 200, "/editors": 200, "/secret": 403, "/staff": 403,
	} {
		w := s.getAsAlice(target)
		body := "Hello, Alice"
		if status == 403 {
			body = ""
		}
		want(t, w, status, body)
	}
	if got := s.calls("publish"); got != "0" {
		t.Errorf("got %s reports for a session that was just renewed, want 0", got)
	}
}

func TestReader_LooksUpOncePerRequest(t *testing.T) {
	s := newSite(t)
	s.signIn(2 * time.Hour)
	want(t, s.getAsAlice("/twice"), 200, "")
	if got := s.calls("get"); got != "2" {
		t.Errorf("got %s GETs, want one for the session and one for the user", got)
	}
}

func TestReader_RefusesAnonymousVisitors(t *testing.T) {
	s := newSite(t)
	for _, c := range []struct {
		method, accept string
		status         int
	}{
		{"GET", "text/html", 303},
		{"HEAD", "application/xhtml+xml, Text/HTML;q=0.9", 303},
		{"POST", "text/html", 401},
		{"GET", "application/json", 401},
		{"GET", "", 401},
	} {
		w := s.send(httptest.NewRequest(c.method, "/", nil), "Accept: "+c.accept)
		want(t, w, c.status, "")
		if (w.Header().Get("Location") != "") != (c.status == 303) {
			t.Errorf("%+v: Location %q", c, w.Header().Get("Location"))
		}
	}
	want(t, s.get("/open"), 200, "Hello, stranger")
	want(t, s.get("/open", "Cookie: gatehouse=short"), 200, "Hello, stranger")
	want(t, s.getAsAlice("/open"), 200, "Hello, stranger") // no such session
}

func TestSignInURL_ReturnsToTheRequestedURL(t *testing.T) {
	s := newSite(t)
	location := func(w *httptest.ResponseRecorder) string {
		want(t, w, 303, "")
		return w.Header().Get("Location")
	}
	const wanted, escaped = "/a%20b?x=1&y=a+b", "%2Fa%2520b%3Fx%3D1%26y%3Da%2Bb"
	if got, want := location(s.get("http://app.example:9000"+wanted)), "http://login.example:8080/login?next=http%3A%2F%2Fapp.example%3A9000"+escaped; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got := location(s.get("https://app.example" + wanted)); !strings.HasSuffix(got, "next=https%3A%2F%2Fapp.example"+escaped) {
		t.Errorf("over https: got %s", got)
	}
	s.read(gatehouse.Options{RedisURL: s.redis.URL(), BaseURL: "https://login.example/", AppURL: "https://app.example/"})
	if got, want := location(s.get("http://10.0.0.7"+wanted)), "https://login.example/login?next=https%3A%2F%2Fapp.example"+escaped; got != want {
		t.Errorf("behind a proxy: got %s, want %s", got, want)
	}
	if got := s.reader.SignOutURL(); got != "https://login.example/sign-out" {
		t.Errorf("got the sign-out URL %s", got)
	}

	r := httptest.NewRequest("GET", "/shop/cart", nil)
	r.Header.Set("Accept", "text/html")
	stripped := httptest.NewRecorder()
	http.StripPrefix("/shop", s.mux).ServeHTTP(stripped, r)
	if got := location(stripped); !strings.HasSuffix(got, "%2Fshop%2Fcart") {
		t.Errorf("below a prefix: got %s", got)
	}
}

func TestReader_ReadsOnlyTheConfiguredCookie(t *testing.T) {
	s := newSite(t)
	s.signIn(2 * time.Hour)
	for _, c := range []struct{ base, domain, name string }{
		{"http://example.org", "", "gatehouse"},
		{"http://example.org", "example.org", "gatehouse"},
		{"https://example.org", "", "__Host-gatehouse"},
		{"https://example.org", "example.org", "__Secure-gatehouse"},
	} {
		s.read(gatehouse.Options{RedisURL: s.redis.URL(), BaseURL: c.base, CookieDomain: c.domain})
		for _, name := range []string{"gatehouse", "__Host-gatehouse", "__Secure-gatehouse", "Gatehouse"} {
			status := 303
			if name == c.name {
				status = 200
			}
			want(t, s.get("/", "Cookie: "+name+"="+cookie), status, "")
		}
	}
}

func TestReader_UsesTheFirstValidCookie(t *testing.T) {
	s := newSite(t)
	s.signIn(2 * time.Hour)
	other := strings.Repeat("A", 43)
	want(t, s.get("/", "Cookie: gatehouse=; gatehouse=x%20y; gatehouse=\""+other+"\"; a=b; gatehouse="+cookie+"; gatehouse="+other), 200, "")
	dead := "gatehouse=" + other + "; "
	want(t, s.get("/", "Cookie: "+dead+"gatehouse="+cookie), 200, "")
	want(t, s.get("/", "Cookie: "+strings.Repeat(dead, 3)+"gatehouse="+cookie), 200, "")
	want(t, s.get("/", "Cookie: "+strings.Repeat(dead, 4)+"gatehouse="+cookie), 303, "")
}

func TestReader_SeesSignOutOnTheNextRequest(t *testing.T) {
	s := newSite(t)
	s.signIn(2 * time.Hour)
	want(t, s.getAsAlice("/"), 200, "")
	s.do(s.sessions, "DEL", "session:"+id)
	want(t, s.getAsAlice("/"), 303, "")
	s.signIn(2 * time.Hour)
	s.do(s.cache, "SET", "user:"+alice, strings.Replace(userRecord, `"epoch":3`, `"epoch":4`, 1))
	want(t, s.getAsAlice("/"), 303, "")
}

func TestReader_TreatsKeysOfAnotherTypeAsInvalid(t *testing.T) {
	s := newSite(t)
	s.signIn(2 * time.Hour)
	s.do(s.cache, "DEL", "user:"+alice)
	s.do(s.cache, "RPUSH", "user:"+alice, userRecord)
	want(t, s.getAsAlice("/"), 303, "")
	s.do(s.sessions, "DEL", "session:"+id)
	s.do(s.sessions, "RPUSH", "session:"+id, sessionRecord(time.Hour))
	want(t, s.getAsAlice("/"), 303, "")
}

func TestReader_HasFlushedUsersLoaded(t *testing.T) {
	s := newSite(t)
	s.signIn(2 * time.Hour)
	received := s.gatehouse(func() {
		// The first lookups find a lease.
		s.do(s.cache, "SET", "user:"+alice, "lease:ABC")
		s.do(s.cache, "SET", "user:"+alice, userRecord)
	})
	for _, empty := range []func(){
		func() { s.do(s.cache, "FLUSHDB") },
		func() { s.do(s.cache, "SET", "user:"+alice, "lease:DEF") },
	} {
		empty()
		want(t, s.getAsAlice("/"), 200, "Hello, Alice")
		if got := <-received; got != id {
			t.Errorf("got the session id %q", got)
		}
	}
}

// TestReader_AsksAgainWhenALoadedUserIsDropped: a change of the user drops the loaded user before the reader sees it.
func TestReader_AsksAgainWhenALoadedUserIsDropped(t *testing.T) {
	s := newSite(t)
	s.signIn(2 * time.Hour)
	s.do(s.cache, "FLUSHDB")
	times := 0
	received := s.gatehouse(func() {
		times++
		if times == 3 {
			s.do(s.cache, "SET", "user:"+alice, userRecord)
		}
	})
	want(t, s.getAsAlice("/"), 200, "Hello, Alice")
	for range 3 {
		if got := <-received; got != id {
			t.Errorf("got the session id %q", got)
		}
	}
}

// TestReader_WaitsForALeaseWithoutAskingAgain: its holder is already loading the user.
func TestReader_WaitsForALeaseWithoutAskingAgain(t *testing.T) {
	s := newSite(t)
	s.signIn(2 * time.Hour)
	s.do(s.cache, "SET", "user:"+alice, "lease:ABC")
	s.gatehouse(func() {})
	want(t, s.getAsAlice("/"), 503, "")
	if got := s.calls("publish"); got != "1" {
		t.Errorf("got %s requests to load the user, want 1", got)
	}
}

func TestReader_IsUnavailableWhenTheUserIsNotLoaded(t *testing.T) {
	s := newSite(t)
	s.signIn(2 * time.Hour)
	s.do(s.cache, "FLUSHDB")
	received := s.gatehouse(func() {})
	want(t, s.getAsAlice("/"), 503, "")
	if got := <-received; got != id {
		t.Errorf("got the session id %q", got)
	}
}

func TestReader_IsUnavailableWithoutAServer(t *testing.T) {
	s := newSite(t)
	s.signIn(2 * time.Hour)
	s.do(s.cache, "FLUSHDB")
	for _, target := range []string{"/", "/open"} {
		want(t, s.getAsAlice(target), 503, "")
	}
	// A reader that waits would send more GETs.
	if got := s.calls("get"); got != "4" {
		t.Errorf("got %s GETs, want two per page", got)
	}
	s.do(s.sessions, "SET", "session:"+id, sessionRecord(-time.Second))
	want(t, s.getAsAlice("/"), 303, "")
}

func TestReader_ReportsUse(t *testing.T) {
	s := newSite(t)
	received := s.gatehouse(func() {})
	s.signIn(107 * time.Minute) // nine tenths are 108
	want(t, s.getAsAlice("/"), 200, "")
	if got := <-received; got != id {
		t.Errorf("got the session id %q", got)
	}
	s.do(s.sessions, "PERSIST", "session:"+id)
	want(t, s.getAsAlice("/"), 200, "")
	<-received

	s.signIn(109 * time.Minute)
	want(t, s.getAsAlice("/"), 200, "")
	// The deadline leaves less than the idle time.
	s.do(s.sessions, "SET", "session:"+id, sessionRecord(time.Hour), "PX", (58 * time.Minute).Milliseconds())
	want(t, s.getAsAlice("/"), 200, "")
	if err := s.reader.Close(); err != nil { // waits for pending reports
		t.Fatal(err)
	}
	if got := s.calls("publish"); got != "2" {
		t.Errorf("got %s reports, want 2", got)
	}
}

func TestReader_RecoversWhenRedisRestarts(t *testing.T) {
	s := newSite(t)
	s.signIn(2 * time.Hour)
	want(t, s.getAsAlice("/"), 200, "")
	s.redis.Stop()
	want(t, s.getAsAlice("/"), 503, "")
	want(t, s.getAsAlice("/open"), 503, "")
	want(t, s.get("/"), 303, "")
	s.redis.Start()
	s.signIn(2 * time.Hour)
	want(t, s.getAsAlice("/"), 200, "")
}

// TestReader_SurvivesARestartBetweenRequests: idle connections break without a failed request.
func TestReader_SurvivesARestartBetweenRequests(t *testing.T) {
	s := newSite(t)
	s.signIn(2 * time.Hour)
	busy := make(chan int)
	for range 20 {
		go func() { busy <- s.getAsAlice("/").Code }()
	}
	for range 20 {
		if got := <-busy; got != 200 {
			t.Errorf("got %d", got)
		}
	}
	s.redis.Kill()
	s.redis.Start()
	s.signIn(2 * time.Hour)
	for range 20 {
		want(t, s.getAsAlice("/"), 200, "")
	}
}

func TestReader_RecoversWhenRedisHangs(t *testing.T) {
	s := newSite(t)
	s.signIn(2 * time.Hour)
	want(t, s.getAsAlice("/"), 200, "")
	s.redis.Pause()
	want(t, s.getAsAlice("/"), 503, "")
	s.redis.Resume()
	want(t, s.getAsAlice("/"), 200, "Hello, Alice")
}

func TestReader_IsUnavailableWithoutPermission(t *testing.T) {
	s := newSite(t)
	s.signIn(2 * time.Hour)
	s.do(s.sessions, "ACL", "SETUSER", "blind", "on", ">secret", "~*", "+select")
	s.read(gatehouse.Options{RedisURL: "redis://blind:secret@" + s.redis.Addr()})
	want(t, s.getAsAlice("/"), 503, "")
	s.read(gatehouse.Options{RedisURL: "redis://blind:wrong@" + s.redis.Addr()})
	want(t, s.getAsAlice("/"), 503, "")
}

// TestReader_WorksWithTheDocumentedACL uses the ACL in docs/session-format.md.
func TestReader_WorksWithTheDocumentedACL(t *testing.T) {
	doc, err := os.ReadFile("../../../docs/session-format.md")
	if err != nil {
		t.Fatal(err)
	}
	line := regexp.MustCompile(`(?m)^ACL SETUSER reader .*$`).FindString(string(doc))
	var rights []any
	for _, word := range strings.Fields(strings.Replace(line, ">PASSWORD", ">secret", 1)) {
		rights = append(rights, word)
	}
	s := newSite(t)
	s.do(s.sessions, "ACL", rights[1:]...)
	received := s.gatehouse(func() { s.do(s.cache, "SET", "user:"+alice, userRecord) })
	s.read(gatehouse.Options{RedisURL: "redis://reader:secret@" + s.redis.Addr()})
	s.signIn(time.Hour)
	want(t, s.getAsAlice("/"), 200, "")
	<-received
	s.do(s.cache, "FLUSHDB")
	want(t, s.getAsAlice("/"), 200, "")
	s.redis.Kill() // so that connections are tested before use
	s.redis.Start()
	s.do(s.sessions, "ACL", rights[1:]...)
	s.signIn(2 * time.Hour)
	want(t, s.getAsAlice("/"), 200, "")
	if denied, _ := redis.Values(s.do(s.sessions, "ACL", "LOG"), nil); len(denied) != 0 {
		t.Errorf("Redis denied commands: %s", denied)
	}
}

func TestReader_AcceptsUnixSockets(t *testing.T) {
	s := newSite(t)
	s.signIn(2 * time.Hour)
	s.do(s.pool(7), "SET", "user:"+alice, strings.Replace(userRecord, "Alice", "Alice of 7", 1))
	socket := "unix://" + s.redis.Socket()
	s.read(gatehouse.Options{RedisURL: socket})
	want(t, s.getAsAlice("/"), 200, "Hello, Alice")
	s.read(gatehouse.Options{RedisURL: socket, CacheURL: socket + "?db=7"})
	want(t, s.getAsAlice("/"), 200, "Hello, Alice of 7")
	s.read(gatehouse.Options{RedisURL: s.redis.URL() + "/0", CacheURL: s.redis.URL() + "/7"})
	want(t, s.getAsAlice("/"), 200, "Hello, Alice of 7")
}
