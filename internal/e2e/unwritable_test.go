package e2e

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

	"gatehouse/internal/testkit"
)

// TestRedisThatTakesNoWrites_AnswersWhatItCanRead: full, a replica, or unable to save. Everybody who is
// signed in goes on, although idle times cannot be renewed; what has to be written says that it was not.
func TestRedisThatTakesNoWrites_AnswersWhatItCanRead(t *testing.T) {
	t.Parallel()
	r := testkit.StartRedis(t, "--save", "3600 1", "--dbfilename", "occupied")
	s := &site{t: t, database: testkit.PostgresURL(t), redis: r.URL()}
	x := &target{site: s, server: s.serve(), sessions: dialRedis(t, s.redis)}
	dir, err := redis.Strings(x.do("CONFIG", "GET", "dir"), nil)
	if err != nil {
		t.Fatal(err)
	}
	x.visitor().register("alice")
	made := x.visitor()
	created := made.do(made.request(http.MethodPost, "/api/tokens", `{"name":"reader"}`, "Authorization", basic("alice", password), "Content-Type", "application/json"))
	made.want(created, http.StatusCreated)
	token := regexp.MustCompile(`gatehouse_\w+`).FindString(created.body)
	// Somebody who has guessed until they have to wait, for longer than this test takes.
	for i := range 20 {
		x.guess("bob", fmt.Sprint("wrong", i))
	}
	x.do("HSET", throttleKey("bob"), "until", time.Now().Add(10*time.Minute).UnixMilli())

	for _, fault := range []struct {
		name, code    string
		begin, end    func()
		deletes, full bool
	}{
		{"full", "OOM", func() { x.do("CONFIG", "SET", "maxmemory", "1mb") }, func() { x.do("CONFIG", "SET", "maxmemory", "0") }, true, true},
		{"a replica", "READONLY", func() { x.do("REPLICAOF", "127.0.0.1", "1") }, func() { x.do("REPLICAOF", "NO", "ONE") }, false, false},
		{"unable to save", "MISCONF", func() {
			if err := os.Mkdir(filepath.Join(dir[1], "occupied"), 0o700); err != nil {
				t.Fatal(err)
			}
			x.do("BGSAVE")
			testkit.Eventually(t, 10*time.Second, "the saving to fail", func() bool {
				info, _ := redis.String(x.do("INFO", "persistence"), nil)
				return strings.Contains(info, "rdb_last_bgsave_status:err")
			})
		}, func() { x.do("CONFIG", "SET", "save", "") }, false, false},
	} {
		t.Run(fault.name, func(t *testing.T) {
			// In a browser of its own: alice's others stay as they are.
			browser, leaving := x.visitor(), x.visitor()
			browser.signIn("alice")
			leaving.signIn("alice")
			ways := map[string][]string{"session": {"Cookie", browser.session()}, "token": {"Authorization", "Bearer " + token}, "Basic": {"Authorization", basic("alice", password)}}
			v := x.visitor()
			for _, header := range ways {
				v.want(v.get("/api/me", header...), http.StatusOK) // warm, so that the password is not hashed again
			}
			key := x.key(browser)
			x.do("PEXPIRE", key, (10 * time.Minute).Milliseconds()) // of two hours: every request would renew it
			if fault.full {
				// More than the limit, so that it is reached for certain.
				x.do("SET", "ballast", strings.Repeat("x", 1<<20))
				defer x.do("DEL", "ballast")
			}
			fault.begin()
			if _, err := x.sessions.Do("SET", "probe", "1"); err == nil || !strings.HasPrefix(err.Error(), fault.code) {
				t.Fatalf("Redis is not %s: %v", fault.name, err)
			}
			from := len(x.server.Log())

			for range 5 {
				for _, path := range []string{"/dashboard", "/account", "/account/tokens", "/account/sessions/end-others"} {
					browser.want(browser.get(path), http.StatusOK)
				}
				for way, header := range ways {
					for _, path := range []string{"/api/time", "/api/me", "/auth/verify"} {
						if a := v.get(path, header...); a.StatusCode != http.StatusOK {
							t.Errorf("%s by %s: %s\n%s", path, way, a.Status, a.body)
						}
					}
				}
			}
			// Of a throttle, the waits are read.
			if a := x.guess("bob", "wrong"); a.StatusCode != http.StatusTooManyRequests || a.Header.Get("Retry-After") == "" {
				t.Errorf("who has to wait is answered %s", a.Status)
			}
			// An attempt has to be counted, an account and a session to be stored.
			for path, fields := range map[string][]string{"/login": {"username", "alice", "password", password}, "/register": {"username", "carol", "password", password}} {
				stranger := x.visitor()
				if a := stranger.post(path, fields...); a.StatusCode != http.StatusServiceUnavailable || a.Header.Get("Retry-After") == "" || len(a.Cookies()) > 0 {
					t.Errorf("POST %s: %s, sets %v", path, a.Status, a.Cookies())
				}
			}
			out := leaving.post("/logout")
			if fault.deletes {
				leaving.wantSeeOther(out, "/login?notice=signed-out")
			} else if out.StatusCode != http.StatusServiceUnavailable || len(out.Cookies()) > 0 || !leaving.signedIn() {
				t.Errorf("a sign-out that cannot be made: %s, sets %v", out.Status, out.Cookies())
			}
			var said int
			for _, line := range x.logged(from) {
				if strings.Contains(line.text("msg"), "idle time") {
					said++
				}
			}
			if said > 1 {
				t.Errorf("the log says %d times that idle times are not renewed", said)
			}

			fault.end()
			testkit.Eventually(t, 20*time.Second, "the idle time to be renewed", func() bool {
				return browser.get("/dashboard").StatusCode == http.StatusOK && x.ttl(key) > time.Hour
			})
			testkit.Eventually(t, 20*time.Second, "a sign-in to work", func() bool {
				return x.visitor().post("/login", "username", "alice", "password", password).StatusCode == http.StatusSeeOther
			})
		})
	}
}
