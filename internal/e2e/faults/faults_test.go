// Package faults tests Gatehouse with failing Redis, Postgres and clients, and how fast changes take effect on every server.
package faults

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"gatehouse/internal/e2e/kit"
	"gatehouse/internal/testkit"
)

// openPages are the paths that need neither Redis nor the database.
var openPages = []string{"/", "/login", "/register", "/healthz"}

// TestRedis_Killed: public pages keep working, private ones are unavailable, all sessions survive, and no server needs a
// restart.
func TestRedis_Killed(t *testing.T) {
	t.Parallel()
	r := testkit.StartRedis(t, "--appendonly", "yes", "--appendfsync", "always")
	s := &kit.Site{T: t, DatabaseURL: testkit.PostgresURL(t), RedisURL: r.URL()}
	c := kit.NewClient(t, s.Serve().URL())
	c.Register("alice")
	keys := sessionKeys(s)
	visits := visit(t, c)
	visits.await(20)

	r.Kill()

	for _, who := range []*kit.Client{c, kit.NewClient(t, c.BaseURL)} {
		for _, path := range append(openPages, who.StylesheetPath()) {
			who.WantStatus(who.DoWithin(kit.ResponseTimeout, who.NewRequest(http.MethodGet, path, "")), http.StatusOK)
		}
	}
	for _, path := range []string{"/dashboard", "/account", "/account/sessions/end-others"} {
		wantUnavailable(c, c.NewRequest(http.MethodGet, path, ""))
	}
	for path, fields := range map[string][]string{
		"/logout":                      nil,
		"/login":                       {"username", "alice", "password", kit.Password},
		"/register":                    {"username", "bob", "password", kit.Password},
		"/account/password":            {"current_password", kit.Password, "new_password", kit.OtherPassword},
		"/account/profile":             {"name", "Alice", "time_zone", "UTC"},
		"/account/sessions/end-others": nil,
	} {
		wantUnavailable(c, c.NewForm(path, fields...))
	}
	ready := c.DoWithin(kit.ResponseTimeout+time.Second, c.NewRequest(http.MethodGet, "/readyz", ""))
	if want := "database: ok\nredis: does not answer\ncache: does not answer\n"; ready.StatusCode != 503 || ready.Text != want {
		t.Errorf("/readyz: %s\n%s", ready.Status, ready.Text)
	}
	visits.await(20)

	r.Start()
	visits.wantEnd(time.Now())

	if got := sessionKeys(s); len(keys) != 1 || !slices.Contains(got, keys[0]) {
		t.Fatalf("Redis lost the session: it had the keys %q and has %q", keys, got)
	}
	kit.WantSignedIn(t, c)
	c.WantStatus(c.Get("/readyz"), http.StatusOK)
	if n := s.QueryInt(`SELECT count(*) FROM users WHERE username = 'alice' AND epoch = 1`); n != 1 {
		t.Error("a refused change was made")
	}
	c.WantSeeOther(c.PostForm("/logout"), "/login?notice=signed-out")
	kit.WantSignedOut(t, c)
}

// TestRedis_Frozen: a silent Redis is worse than a dead one, because every request waits for it.
func TestRedis_Frozen(t *testing.T) {
	t.Parallel()
	r := testkit.StartRedis(t)
	s := &kit.Site{T: t, DatabaseURL: testkit.PostgresURL(t), RedisURL: r.URL()}
	c := kit.NewClient(t, s.Serve().URL())
	c.Register("alice")
	leaving := kit.NewClient(t, c.BaseURL)
	leaving.SignIn("alice")
	visits := visit(t, c)
	visits.await(20)

	r.Pause()

	wantUnavailable(c, c.NewRequest(http.MethodGet, "/dashboard", ""))
	for _, path := range append(openPages, c.StylesheetPath()) {
		c.WantStatus(c.DoWithin(kit.ResponseTimeout, c.NewRequest(http.MethodGet, path, "")), http.StatusOK)
	}
	// A frozen Redis may execute the command later, so the response must not claim success.
	wantUnavailable(leaving, leaving.NewForm("/logout"))
	visits.await(3)

	r.Resume()
	visits.wantEnd(time.Now())
	kit.WantSignedIn(t, c)
	leaving.WantSeeOther(leaving.PostForm("/logout"), "/login?notice=signed-out")
	kit.WantSignedOut(t, leaving)
}

// TestCache_Killed: without the user cache the database authorizes requests, and users notice nothing.
func TestCache_Killed(t *testing.T) {
	t.Parallel()
	cache := testkit.StartRedis(t)
	s := kit.NewSite(t)
	c := kit.NewClient(t, s.Serve("CACHE_URL", cache.URL()).URL())
	c.Register("alice")
	authorizedBy := func(store string) func() bool {
		return func() bool { return strings.Contains(c.Get("/dashboard").Text, `id="authorized-by">`+store+`<`) }
	}
	wantAuthorizedBy := func(store string) {
		t.Helper()
		testkit.Eventually(t, kit.RecoveryTime, store+" to authorize the request", authorizedBy(store))
	}
	wantAuthorizedBy("Redis")
	visits := visit(t, c)
	visits.await(20)

	(&kit.Site{T: t, RedisURL: cache.URL()}).RedisDo("FLUSHALL")
	wantAuthorizedBy("Redis")
	visits.await(20)

	for _, fault := range []struct {
		name        string
		begin, over func()
	}{
		{"killed", cache.Kill, cache.Start},
		{"frozen", cache.Pause, cache.Resume},
	} {
		late := kit.NewClient(t, c.BaseURL)
		late.Register("late-" + fault.name) // this user is not cached yet
		fault.begin()
		c.WantStatus(c.DoWithin(kit.ResponseTimeout, c.NewRequest(http.MethodGet, "/dashboard", "")), http.StatusOK)
		page := late.DoWithin(kit.ResponseTimeout, late.NewRequest(http.MethodGet, "/dashboard", ""))
		if late.WantStatus(page, http.StatusOK); !strings.Contains(page.Text, `id="authorized-by">Postgres<`) {
			t.Errorf("cache %s: the request was not authorized by Postgres", fault.name)
		}
		// Other servers could not be notified of a change.
		wantUnavailable(c, c.NewForm("/account/profile", "name", "Alice", "time_zone", "UTC"))
		c.WantStatus(c.DoWithin(kit.ResponseTimeout+time.Second, c.NewRequest(http.MethodGet, "/readyz", "")), http.StatusServiceUnavailable)
		visits.await(10)
		fault.over()
		wantAuthorizedBy("Redis")
		c.WantStatus(c.Get("/readyz"), http.StatusOK)
	}
	visits.wantNone()
	if n := s.QueryInt(`SELECT count(*) FROM users WHERE name <> ''`); n != 0 {
		t.Error("a refused change was made")
	}
}

// TestPostgres_Killed: signed-in users stay signed in; requests that need the database get a 503.
func TestPostgres_Killed(t *testing.T) {
	t.Parallel()
	p := testkit.StartPostgres(t)
	s := &kit.Site{T: t, DatabaseURL: p.URL(), RedisURL: testkit.RedisURL(t)}
	c, leaving := kit.NewClient(t, s.Serve().URL()), (*kit.Client)(nil)
	c.Register("alice")
	leaving = kit.NewClient(t, c.BaseURL)
	leaving.SignIn("alice")
	kit.WantSignedIn(t, c, leaving)
	visits := visit(t, c)
	visits.await(20)

	for _, fault := range []struct {
		name        string
		begin, over func()
	}{
		{"killed", p.Kill, p.Start},
		{"frozen", p.Pause, p.Resume},
	} {
		fault.begin()
		c.WantStatus(c.DoWithin(kit.ResponseTimeout, c.NewRequest(http.MethodGet, "/dashboard", "")), http.StatusOK)
		c.WantStatus(c.DoWithin(kit.ResponseTimeout, c.NewRequest(http.MethodGet, "/account", "")), http.StatusOK)
		anonymous := kit.NewClient(t, c.BaseURL)
		for _, path := range append(openPages, anonymous.StylesheetPath()) {
			anonymous.WantStatus(anonymous.DoWithin(kit.ResponseTimeout, anonymous.NewRequest(http.MethodGet, path, "")), http.StatusOK)
		}
		// A statement is limited to two seconds, and the request needs some more time.
		const patience = kit.ResponseTimeout + time.Second
		for _, req := range []*http.Request{
			anonymous.NewForm("/login", "username", "alice", "password", kit.Password),
			anonymous.NewForm("/register", "username", "bob", "password", kit.Password),
		} {
			wantUnavailableWithin(anonymous, patience, req)
		}
		if ready := c.DoWithin(patience, c.NewRequest(http.MethodGet, "/readyz", "")); ready.StatusCode != 503 || !strings.HasPrefix(ready.Text, "database: does not answer\nredis: ok\n") {
			t.Errorf("Postgres %s: /readyz: %s\n%s", fault.name, ready.Status, ready.Text)
		}
		if leaving.Cookie(kit.SessionCookie) != "" {
			old := leaving.CopySession(c.BaseURL)
			leaving.WantSeeOther(leaving.DoWithin(kit.ResponseTimeout, leaving.NewForm("/logout")), "/login?notice=signed-out")
			kit.WantSignedOut(t, leaving, old)
		}
		visits.await(10)
		fault.over()
		back := time.Now()
		testkit.Eventually(t, kit.RecoveryTime, "a sign-in after Postgres was "+fault.name, func() bool {
			return anonymous.PostForm("/login", "username", "alice", "password", kit.Password).StatusCode == http.StatusSeeOther
		})
		t.Logf("Postgres %s: the first sign-in %v after the restart", fault.name, time.Since(back).Round(time.Millisecond))
		c.WantStatus(c.Get("/readyz"), http.StatusOK)
	}
	visits.wantNone()
	kit.WantSignedIn(t, c)
}

// TestPostgres_KilledWhileRegistering: an acknowledged account exists; one that was not acknowledged either is complete
// or can be created again.
func TestPostgres_KilledWhileRegistering(t *testing.T) {
	t.Parallel()
	p := testkit.StartPostgres(t)
	s := &kit.Site{T: t, DatabaseURL: p.URL(), RedisURL: testkit.RedisURL(t)}
	base := s.ServeWithoutRace().URL()
	const people = 4
	var (
		done, made atomic.Int64
		killed     = make(chan struct{})
		all        sync.WaitGroup
		statuses   [people][]int
		errs       [people]error
	)
	name := func(person, i int) string { return fmt.Sprintf("person%d-%d", person, i) }
	for person := range people {
		all.Go(func() {
			for i, after := 0, 0; after < 3 && i < 20; i++ {
				c := kit.NewClient(t, base)
				a, err := c.TryDo(c.NewForm("/register", "username", name(person, i), "password", kit.Password))
				if err != nil {
					errs[person] = err
					return
				}
				statuses[person] = append(statuses[person], a.StatusCode)
				done.Add(1)
				if a.StatusCode == http.StatusSeeOther {
					made.Add(1)
				}
				select {
				case <-killed:
					after++
				default:
				}
			}
		})
	}
	testkit.Eventually(t, 30*time.Second, "8 registrations", func() bool { return made.Load() >= 8 })
	p.Kill()
	close(killed)
	all.Wait()
	p.Start()

	refused := 0
	for person, list := range statuses {
		if errs[person] != nil {
			t.Fatal(errs[person])
		}
		for i, status := range list {
			c := kit.NewClient(t, base)
			signIn := func() int {
				return c.PostForm("/login", "username", name(person, i), "password", kit.Password).StatusCode
			}
			switch status {
			case http.StatusSeeOther:
				if got := signIn(); got != http.StatusSeeOther {
					t.Errorf("%s: the registration was acknowledged, but the sign-in got %d", name(person, i), got)
				}
			case http.StatusServiceUnavailable:
				refused++
				if got := signIn(); got == http.StatusSeeOther {
					continue // created; only the response was lost
				}
				c.Register(name(person, i))
			default:
				t.Errorf("a registration got %d", status)
			}
		}
	}
	t.Logf("%d registrations, %d acknowledged, %d refused", done.Load(), made.Load(), refused)
	if refused == 0 {
		t.Error("no registration was affected by the fault, so the test is inconclusive")
	}
	if n := s.QueryInt(`SELECT count(*) FROM users WHERE password_hash NOT LIKE '$argon2id$%'`); n > 0 {
		t.Errorf("got %d rows with an incomplete password hash", n)
	}
}

// TestServe_FinishesRequestsAfterSIGTERM: requests in flight get their responses, new ones are refused, and the
// process exits.
func TestServe_FinishesRequestsAfterSIGTERM(t *testing.T) {
	t.Parallel()
	s := kit.NewSite(t)
	server := s.Serve(kit.MetricsOn...)
	c := kit.NewClient(t, server.URL())
	c.Register("alice")
	held := postHalf(c, "/account/profile", "name", "Saved", "email", "", "time_zone", "UTC")
	const signIns = 6
	responses := make(chan kit.Response, signIns)
	// Different users: equal concurrent sign-ins would share one hash.
	for i := range signIns {
		kit.NewClient(t, server.URL()).Register(fmt.Sprintf("alice%d", i))
	}
	for i := range signIns {
		go func() {
			other := kit.NewClient(t, server.URL())
			a, err := other.TryDo(other.NewForm("/login", "username", fmt.Sprintf("alice%d", i), "password", kit.Password))
			if err != nil {
				t.Errorf("a sign-in got no response: %v", err)
			}
			responses <- a
		}()
	}
	testkit.Eventually(t, kit.WaitTimeout, "the sign-ins to be in flight", func() bool {
		return int(kit.Scrape(t, server).Sum("gatehouse_hash_queue"))+len(responses) >= signIns
	})

	begun := time.Now()
	server.Signal(syscall.SIGTERM)
	testkit.Eventually(t, kit.WaitTimeout, "the port to be closed", func() bool {
		conn, err := net.Dial("tcp", strings.TrimPrefix(server.URL(), "http://"))
		if err == nil {
			conn.Close()
		}
		return err != nil
	})
	for range signIns {
		if a := <-responses; a.Response != nil && a.StatusCode != http.StatusSeeOther {
			t.Errorf("a sign-in in flight got %s", a.Status)
		}
	}
	c.WantSeeOther(held.finish(), "/account?notice=profile")
	code := server.Wait()

	took := time.Since(begun)
	t.Logf("the server exited %v after SIGTERM", took.Round(time.Millisecond))
	if code != 0 || took > 10*time.Second {
		t.Errorf("exit code %d after %v, want 0 within 10 s", code, took)
	}
	if n := s.QueryInt(`SELECT count(*) FROM users WHERE name = 'Saved'`); n != 1 {
		t.Error("the change of the request in flight is lost")
	}
}

// TestSlowClients_AreDisconnected: two hundred clients that send one byte per second, half of them in the header and
// half in the body, are disconnected and delay no other client.
func TestSlowClients_AreDisconnected(t *testing.T) {
	t.Parallel()
	s := kit.NewSite(t)
	server := s.Serve()
	c := kit.NewClient(t, server.URL())
	c.Register("alice")
	before := openFiles(t, server)
	const slow = 200
	begun := time.Now()
	left := make(chan time.Duration, slow)
	for i := range slow {
		begin := "GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: "
		if i%2 == 1 {
			begin = "POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 5000\r\n\r\nusername="
		}
		conn, err := net.Dial("tcp", strings.TrimPrefix(server.URL(), "http://"))
		if err != nil {
			t.Fatal(err)
		}
		go drip(conn, begin, left)
	}

	var slowest time.Duration
	pages, tick := 0, time.NewTicker(20*time.Millisecond)
	defer tick.Stop()
	var cut []time.Duration
	for len(cut) < slow {
		select {
		case at := <-left:
			cut = append(cut, at)
		case <-tick.C:
			asked := time.Now()
			if !c.IsSignedIn() {
				t.Fatal("the dashboard is not available")
			}
			pages, slowest = pages+1, max(slowest, time.Since(asked))
		}
		if time.Since(begun) > 30*time.Second {
			t.Fatalf("after 30 s only %d of %d slow clients are disconnected", len(cut), slow)
		}
	}
	t.Logf("slow clients were disconnected after %v to %v; in the meantime %d pages, the slowest %v",
		slices.Min(cut).Round(time.Millisecond), slices.Max(cut).Round(time.Millisecond), pages, slowest)
	// A request that waits for slow clients waits until the first of them is disconnected, after 10 s.
	if slowest > 8*time.Second {
		t.Errorf("another client waited %v for a page", slowest)
	}
	testkit.Eventually(t, 5*time.Second, "the server to close the connections", func() bool {
		return openFiles(t, server) <= before+8
	})
}

// drip sends one byte per second until the server closes the connection, and sends the time until then to left.
func drip(conn net.Conn, begin string, left chan<- time.Duration) {
	begun := time.Now()
	ended := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, conn) // the response, if any, and the end
		left <- time.Since(begun)
		close(ended)
		conn.Close()
	}()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for _, err := io.WriteString(conn, begin); err == nil; _, err = io.WriteString(conn, "x") {
		select {
		case <-ended:
			return
		case <-tick.C:
		}
	}
}

// TestSizeLimits: oversized requests are refused early, and the server keeps working.
func TestSizeLimits(t *testing.T) {
	t.Parallel()
	s := kit.NewSite(t)
	c := kit.NewClient(t, s.Serve().URL())
	const form = "Content-Type: application/x-www-form-urlencoded\r\n"
	for _, test := range []struct {
		name, head string
		body       int
		status     int
	}{
		{"declared", "POST /login HTTP/1.1\r\nHost: localhost\r\n" + form + fmt.Sprintf("Content-Length: %d\r\n\r\n", 64<<10+1), 0, 413},
		{"chunked", "POST /login HTTP/1.1\r\nHost: localhost\r\n" + form + "Transfer-Encoding: chunked\r\n\r\n", 64<<10 + 1, 413},
		{"just 64 KiB", "POST /login HTTP/1.1\r\nHost: localhost\r\n" + form + "Transfer-Encoding: chunked\r\n\r\n", 64 << 10, 422},
		{"header over 64 KiB", "GET / HTTP/1.1\r\nHost: localhost\r\nX-Long: " + strings.Repeat("x", 64<<10) + "\r\n\r\n", 0, 431},
		{"cookie over 64 KiB", "GET / HTTP/1.1\r\nHost: localhost\r\nCookie: gatehouse=" + strings.Repeat("x", 64<<10) + "\r\n\r\n", 0, 431},
		{"header of 60 KiB", "GET / HTTP/1.1\r\nHost: localhost\r\nX-Long: " + strings.Repeat("x", 60<<10) + "\r\n\r\n", 0, 200},
	} {
		t.Run(test.name, func(t *testing.T) {
			conn, err := net.Dial("tcp", strings.TrimPrefix(c.BaseURL, "http://"))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
				t.Fatal(err)
			}
			text := test.head
			if test.body > 0 {
				text += fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", test.body, strings.Repeat("x", test.body))
			}
			if _, err := io.WriteString(conn, text); err != nil {
				t.Logf("the server stopped reading: %v", err)
			}
			resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if resp.StatusCode != test.status {
				t.Errorf("got %s, want %d", resp.Status, test.status)
			}
			c.WantStatus(c.Get("/healthz"), http.StatusOK)
		})
	}
}

// TestSignInStorm_MemoryIsBounded: each of five hundred concurrent sign-ins gets a response, and pages of signed-in users
// stay fast.
func TestSignInStorm_MemoryIsBounded(t *testing.T) {
	s := kit.NewSite(t)
	// Each sign-in comes from a different address, so that the queue and not the throttle
	// limits them.
	server := s.ServeWithoutRace("TRUSTED_PROXIES", "127.0.0.1/32", "LOG_LEVEL", "info")
	const users, signIns = 20, 500
	for i := range users {
		kit.NewClient(t, server.URL()).Register(fmt.Sprintf("person%d", i))
	}
	reader := kit.NewClient(t, server.URL())
	reader.SignIn("person0")
	calm := peakMemory(t, server)

	over := make(chan struct{})
	var pages []time.Duration
	var reading sync.WaitGroup
	reading.Go(func() {
		for {
			select {
			case <-over:
				return
			default:
			}
			asked := time.Now()
			a, err := reader.TryDo(reader.NewRequest(http.MethodGet, "/dashboard", ""))
			if err != nil || a.StatusCode != http.StatusOK {
				t.Errorf("a signed-in page during the storm: %v %v", a.Response, err)
				return
			}
			pages = append(pages, time.Since(asked))
		}
	})
	begun := time.Now()
	responses := kit.RunConcurrently(t, signIns, func(i int) (kit.Response, error) {
		c := kit.NewClient(t, server.URL())
		name, secret := fmt.Sprintf("unknown%d", i), "wrong"
		if i%5 == 0 {
			name, secret = fmt.Sprintf("person%d", i/5%users), kit.Password
		}
		req := c.NewForm("/login", "username", name, "password", secret)
		req.Header.Set("X-Forwarded-For", fmt.Sprintf("198.51.%d.%d", i/250, i%250+1))
		return c.TryDo(req)
	})
	took := time.Since(begun)
	close(over)
	reading.Wait()

	count := map[int]int{}
	for _, a := range responses {
		count[a.StatusCode]++
		switch a.StatusCode {
		case http.StatusSeeOther, http.StatusUnauthorized, http.StatusTooManyRequests:
		case http.StatusServiceUnavailable:
			if a.Header.Get("Retry-After") == "" {
				t.Error("a 503 without Retry-After")
			}
		default:
			t.Errorf("a sign-in got %s", a.Status)
		}
	}
	peak := peakMemory(t, server)
	slices.Sort(pages)
	t.Logf("%d sign-ins in %v: %v; peak memory %d MB, before %d MB; %d pages, median %v, slowest %v",
		signIns, took.Round(time.Millisecond), count, peak>>20, calm>>20, len(pages), pages[len(pages)/2], pages[len(pages)-1])
	// The peak is 130 to 155 MB, depending on the garbage collector's state at the start; make bench measures it.
	// Without a bound, 50 hashes alone take 1 GB.
	if peak > 200<<20 {
		t.Errorf("got a peak memory of %d MB", peak>>20)
	}
	if pages[len(pages)-1] > kit.ResponseTimeout {
		t.Errorf("a signed-in page took %v", pages[len(pages)-1])
	}
	if count[http.StatusSeeOther]+count[http.StatusUnauthorized] < 20 {
		t.Error("too few sign-ins succeeded")
	}
	reader.SignIn("person0")
}

// peakMemory returns the server's peak resident memory in bytes.
func peakMemory(t *testing.T, server *testkit.Server) int {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", server.PID()))
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`VmHWM:\s+(\d+) kB`).FindSubmatch(status)
	if m == nil {
		t.Fatalf("no VmHWM in\n%s", status)
	}
	kilobytes, err := strconv.Atoi(string(m[1]))
	if err != nil {
		t.Fatal(err)
	}
	return kilobytes << 10
}

// openFiles returns the number of the server's open files and connections.
func openFiles(t *testing.T, server *testkit.Server) int {
	t.Helper()
	list, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", server.PID()))
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

func wantUnavailable(c *kit.Client, req *http.Request) {
	c.T.Helper()
	wantUnavailableWithin(c, kit.ResponseTimeout, req)
}

// wantUnavailableWithin fails unless the response is the 503 page, with Retry-After and without cookies.
func wantUnavailableWithin(c *kit.Client, limit time.Duration, req *http.Request) {
	c.T.Helper()
	a := c.DoWithin(limit, req)
	if fault := unavailableFault(a); fault != "" {
		c.T.Errorf("%s %s: %s %s\n%s", req.Method, req.URL.Path, a.Status, fault, a.Text)
	}
}

// unavailableFault returns what is wrong with a response that should be the 503 page, or "".
func unavailableFault(a kit.Response) string {
	switch {
	case a.StatusCode != http.StatusServiceUnavailable:
		return "is not 503"
	case a.Header.Get("Retry-After") == "":
		return "has no Retry-After"
	case len(a.Header.Values("Set-Cookie")) > 0:
		return "sets a cookie"
	case !strings.Contains(a.Text, "Back in a moment"):
		return "is not the 503 page"
	}
	return ""
}

// visitors are clients that request pages continuously.
type visitors struct {
	t    *testing.T
	stop func()
	// n counts the private pages, including 503 pages.
	n atomic.Int64

	mu sync.Mutex
	// unavailable has the times of the requests that got the 503 page.
	unavailable []time.Time
}

// visit starts visitors that request the landing page without a session, and the dashboard with c's session and that of
// another user, until the test ends. Each response must be the page, with the right user's name, or the 503 page within
// two seconds. Public pages must never be 503.
func visit(t *testing.T, c *kit.Client) *visitors {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	v := &visitors{t: t}
	second := kit.NewClient(t, c.BaseURL)
	second.Register("mallory")
	u, err := url.Parse(c.BaseURL)
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for _, visitor := range []struct {
		path, contains string
		cookies        []*http.Cookie
	}{
		{"/", "Gatehouse", nil},
		{"/dashboard", `id="user-name">alice<`, c.HTTP.Jar.Cookies(u)},
		{"/dashboard", `id="user-name">mallory<`, second.HTTP.Jar.Cookies(u)},
		{"/dashboard", `id="user-name">alice<`, c.HTTP.Jar.Cookies(u)},
	} {
		all.Go(func() {
			browser := kit.NewClient(t, c.BaseURL)
			pause := time.NewTicker(5 * time.Millisecond)
			defer pause.Stop()
			for ctx.Err() == nil {
				<-pause.C
				req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.BaseURL+visitor.path, nil)
				if err != nil {
					t.Error(err)
					return
				}
				for _, k := range visitor.cookies {
					req.AddCookie(k)
				}
				if !v.one(browser, req, visitor.contains) {
					return
				}
			}
		})
	}
	v.stop = sync.OnceFunc(func() { cancel(); all.Wait() })
	t.Cleanup(v.stop)
	return v
}

// one requests a page. It returns false if the response was wrong or the test is over.
func (v *visitors) one(browser *kit.Client, req *http.Request, contains string) bool {
	begun := time.Now()
	a, err := browser.TryDo(req)
	took := time.Since(begun)
	if err != nil {
		if req.Context().Err() == nil {
			v.t.Errorf("visitor: GET %s: %v", req.URL.Path, err)
		}
		return false
	}
	if req.URL.Path != "/" {
		v.n.Add(1)
	}
	if took > kit.ResponseTimeout {
		v.t.Errorf("visitor: GET %s took %v", req.URL.Path, took)
	}
	if a.StatusCode == http.StatusServiceUnavailable && req.URL.Path != "/" {
		v.mu.Lock()
		defer v.mu.Unlock()
		v.unavailable = append(v.unavailable, begun)
		if fault := unavailableFault(a); fault != "" {
			v.t.Errorf("visitor: GET %s: %s %s", req.URL.Path, a.Status, fault)
		}
		return true
	}
	if a.StatusCode != http.StatusOK || !strings.Contains(a.Text, contains) || len(a.Header.Values("Set-Cookie")) > 0 {
		v.t.Errorf("visitor: GET %s: %s to %q, cookies %q, without %q", req.URL.Path, a.Status, a.Header.Get("Location"), a.Header.Values("Set-Cookie"), contains)
		return false
	}
	return true
}

// await waits until this many more private pages were read.
func (v *visitors) await(pages int64) {
	v.t.Helper()
	until := v.n.Load() + pages
	testkit.Eventually(v.t, 30*time.Second, "the visitors' pages", func() bool { return v.n.Load() >= until || v.t.Failed() })
}

// wantEnd fails unless the pages recover in time after a fault was fixed.
func (v *visitors) wantEnd(fixed time.Time) {
	v.t.Helper()
	v.mu.Lock()
	faults := len(v.unavailable)
	v.mu.Unlock()
	if faults == 0 {
		v.t.Error("the fault affected no visitor")
	}
	// The fault is over after a hundred private pages in a row without a 503.
	var last time.Time
	count, calm := faults, v.n.Load()
	testkit.Eventually(v.t, kit.RecoveryTime+kit.ResponseTimeout, "a hundred pages without a fault", func() bool {
		v.mu.Lock()
		defer v.mu.Unlock()
		if n := len(v.unavailable); n > count {
			count, calm, last = n, v.n.Load(), v.unavailable[n-1]
		}
		return v.n.Load() >= calm+100
	})
	v.stop()
	late := time.Duration(0)
	if last.After(fixed) {
		late = last.Sub(fixed)
	}
	v.t.Logf("%d private pages, %d of them 503; the last of these %v after the fault was fixed", v.n.Load(), count, late.Round(time.Millisecond))
	if late > kit.RecoveryTime {
		v.t.Errorf("pages were 503 up to %v after the fault was fixed", late)
	}
}

// wantNone ends the visits and fails if any got a 503 page.
func (v *visitors) wantNone() {
	v.t.Helper()
	v.stop()
	v.mu.Lock()
	defer v.mu.Unlock()
	v.t.Logf("%d private pages, %d of them 503", v.n.Load(), len(v.unavailable))
	if len(v.unavailable) > 0 {
		v.t.Errorf("%d of %d pages were 503", len(v.unavailable), v.n.Load())
	}
}
