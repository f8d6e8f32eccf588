package faults

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"

	"gatehouse/internal/e2e/kit"
	"gatehouse/internal/testkit"
)

// TestRedis_RefusesWrites: Redis is full, a replica or unable to save. Signed-in users stay signed in, although idle
// times cannot be renewed, and requests that need a write fail explicitly.
func TestRedis_RefusesWrites(t *testing.T) {
	t.Parallel()
	r := testkit.StartRedis(t, "--save", "3600 1", "--dbfilename", "occupied")
	s := &kit.Site{T: t, DatabaseURL: testkit.PostgresURL(t), RedisURL: r.URL()}
	x := &kit.Target{Site: s, Server: s.Serve(), Sessions: kit.DialRedis(t, s.RedisURL)}
	dir, err := redis.Strings(x.Do("CONFIG", "GET", "dir"), nil)
	if err != nil {
		t.Fatal(err)
	}
	x.NewClient().Register("alice")
	made := x.NewClient()
	created := made.Do(made.NewRequest(http.MethodPost, "/api/tokens", `{"name":"reader"}`, "Authorization", kit.BasicHeader("alice", kit.Password), "Content-Type", "application/json"))
	made.WantStatus(created, http.StatusCreated)
	token := regexp.MustCompile(`gatehouse_\w+`).FindString(created.Text)
	// bob is throttled for longer than the test takes.
	for i := range 20 {
		x.GuessPassword("bob", fmt.Sprint("wrong", i))
	}
	x.Do("HSET", kit.ThrottleKey("bob"), "until", time.Now().Add(10*time.Minute).UnixMilli())

	for _, fault := range []struct {
		name, code    string
		begin, end    func()
		deletes, full bool
	}{
		{"full", "OOM", func() { x.Do("CONFIG", "SET", "maxmemory", "1mb") }, func() { x.Do("CONFIG", "SET", "maxmemory", "0") }, true, true},
		{"a replica", "READONLY", func() { x.Do("REPLICAOF", "127.0.0.1", "1") }, func() { x.Do("REPLICAOF", "NO", "ONE") }, false, false},
		{"unable to save", "MISCONF", func() {
			if err := os.Mkdir(filepath.Join(dir[1], "occupied"), 0o700); err != nil {
				t.Fatal(err)
			}
			x.Do("BGSAVE")
			testkit.Eventually(t, 10*time.Second, "the saving to fail", func() bool {
				info, _ := redis.String(x.Do("INFO", "persistence"), nil)
				return strings.Contains(info, "rdb_last_bgsave_status:err")
			})
		}, func() { x.Do("CONFIG", "SET", "save", "") }, false, false},
	} {
		t.Run(fault.name, func(t *testing.T) {
			// A separate browser, so that alice's other sessions do not change.
			browser, leaving := x.NewClient(), x.NewClient()
			browser.SignIn("alice")
			leaving.SignIn("alice")
			ways := map[string][]string{"session": {"Cookie", browser.SessionCookieHeader()}, "token": {"Authorization", "Bearer " + token}, "Basic": {"Authorization", kit.BasicHeader("alice", kit.Password)}}
			v := x.NewClient()
			for _, header := range ways {
				v.WantStatus(v.Get("/api/me", header...), http.StatusOK) // cached, so that the password is not hashed again
			}
			key := x.SessionKey(browser)
			x.Do("PEXPIRE", key, (10 * time.Minute).Milliseconds()) // of two hours, so every request tries to renew it
			if fault.full {
				// larger than maxmemory
				x.Do("SET", "ballast", strings.Repeat("x", 1<<20))
				defer x.Do("DEL", "ballast")
			}
			fault.begin()
			if _, err := x.Sessions.Do("SET", "probe", "1"); err == nil || !strings.HasPrefix(err.Error(), fault.code) {
				t.Fatalf("Redis is not %s: %v", fault.name, err)
			}
			from := len(x.Server.Log())

			for range 5 {
				for _, path := range []string{"/dashboard", "/account", "/account/tokens", "/account/sessions/end-others"} {
					browser.WantStatus(browser.Get(path), http.StatusOK)
				}
				for way, header := range ways {
					for _, path := range []string{"/api/time", "/api/me", "/auth/verify"} {
						if a := v.Get(path, header...); a.StatusCode != http.StatusOK {
							t.Errorf("%s by %s: %s\n%s", path, way, a.Status, a.Text)
						}
					}
				}
			}
			// Throttled users are still refused.
			if a := x.GuessPassword("bob", "wrong"); a.StatusCode != http.StatusTooManyRequests || a.Header.Get("Retry-After") == "" {
				t.Errorf("a throttled user got %s", a.Status)
			}
			// Forms that count an attempt or store an account or a session.
			for path, fields := range map[string][]string{"/login": {"username", "alice", "password", kit.Password}, "/register": {"username", "carol", "password", kit.Password}} {
				stranger := x.NewClient()
				if a := stranger.PostForm(path, fields...); a.StatusCode != http.StatusServiceUnavailable || a.Header.Get("Retry-After") == "" || len(a.Cookies()) > 0 {
					t.Errorf("POST %s: %s, sets %v", path, a.Status, a.Cookies())
				}
			}
			out := leaving.PostForm("/logout")
			if fault.deletes {
				leaving.WantSeeOther(out, "/login?notice=signed-out")
			} else if out.StatusCode != http.StatusServiceUnavailable || len(out.Cookies()) > 0 || !leaving.IsSignedIn() {
				t.Errorf("a failed sign-out: %s, sets %v", out.Status, out.Cookies())
			}
			var said int
			for _, line := range x.LogLines(from) {
				if strings.Contains(line.Text("msg"), "idle time") {
					said++
				}
			}
			if said > 1 {
				t.Errorf("got %d log lines about idle times, want at most one", said)
			}

			fault.end()
			testkit.Eventually(t, 20*time.Second, "the idle time to be renewed", func() bool {
				return browser.Get("/dashboard").StatusCode == http.StatusOK && x.TTL(key) > time.Hour
			})
			testkit.Eventually(t, 20*time.Second, "a sign-in to work", func() bool {
				return x.NewClient().PostForm("/login", "username", "alice", "password", kit.Password).StatusCode == http.StatusSeeOther
			})
		})
	}
}
