package e2e

import (
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"gatehouse/internal/testkit"
)

// TestRepeatedBasicIsAnsweredByRedis: of the same request four times the database sees the first
// only, and after the cache was emptied once more. Nobody gets a session by it.
func TestRepeatedBasicIsAnsweredByRedis(t *testing.T) {
	t.Parallel()
	onBothStores(t, func(t *testing.T, x *target, database string) {
		var loop example
		for _, b := range manual(t) {
			if strings.Contains(b.code, "for i in 1 2 3 4") {
				loop = b
			}
		}
		want := database + "\nredis\nredis\nredis\n"
		for _, when := range []string{"at first", "after FLUSHDB of the cache"} {
			if got := x.runExample(t, loop); got != want {
				t.Errorf("%s it prints %q, want %q", when, got, want)
			}
			if _, err := x.cache.Do("FLUSHDB"); err != nil {
				t.Fatal(err)
			}
		}
		if keys := append(x.keys("session:*"), x.keys("sessions:*")...); len(keys) != 0 {
			t.Errorf("programs have sessions: %v", keys)
		}
		if keys := x.keys("throttle:*"); len(keys) != 0 {
			t.Errorf("right passwords are counted: %v", keys)
		}
	})
}

// TestWarmRequestsCostOneRoundTrip: no SQL, no argon2id and one round trip, by whatever one is
// signed in; no cookie either, but for the page that signs in.
func TestWarmRequestsCostOneRoundTrip(t *testing.T) {
	onBothStores(t, func(t *testing.T, x *target, _ string) {
		program := x.visitor()
		browser := x.visitor()
		browser.want(browser.post("/login", "username", "john_doe", "password", apiPassword), http.StatusSeeOther)
		sessions := len(x.keys("session:*"))
		made := program.do(program.request(http.MethodPost, "/api/tokens", `{"name":"warm"}`,
			"Authorization", basic("john_doe", apiPassword), "Content-Type", "application/json"))
		program.want(made, http.StatusCreated)
		if cold := x.requestLine(made); cold["sql"] == 0.0 || cold["hashes"] != 1.0 {
			t.Errorf("a password that nobody knew yet took %v statements and %v hashes", cold["sql"], cold["hashes"])
		}
		token := regexp.MustCompile(`gatehouse_\w+`).FindString(made.body)

		for name, request := range map[string]func() answer{
			"Basic":       func() answer { return program.get("/api/time", "Authorization", basic("john_doe", apiPassword)) },
			"token":       func() answer { return program.get("/api/time", "Authorization", "Bearer "+token) },
			"session":     func() answer { return browser.get("/api/time") },
			"me by token": func() answer { return program.get("/api/me", "Authorization", "Token "+token) },
			"dashboard":   func() answer { return browser.get("/dashboard") },
			"Basic by a HEAD": func() answer {
				return program.do(program.request(http.MethodHead, "/api/time", "", "Authorization", basic("john_doe", apiPassword)))
			},
		} {
			x.wantWarm(t, name, request)
		}
		if now := len(x.keys("session:*")); now != sessions {
			t.Errorf("there are %d sessions, were %d", now, sessions)
		}
		if cookies := program.http.Jar.Cookies(program.request(http.MethodGet, "/", "").URL); len(cookies) != 0 {
			t.Errorf("a program has cookies: %v", cookies)
		}
	})
}

// wantWarm asks until the user is in memory, and then again and again.
func (x *target) wantWarm(t *testing.T, name string, request func() answer) {
	t.Helper()
	testkit.Eventually(t, 10*time.Second, name+" to be warm", func() bool {
		line := x.requestLine(request())
		return line["sql"] == 0.0 && line["redis"] == 1.0
	})
	for range 20 {
		a := request()
		line := x.requestLine(a)
		if a.StatusCode != http.StatusOK || line["sql"] != 0.0 || line["hashes"] != 0.0 || line["redis"] != 1.0 {
			t.Errorf("%s: %s for %v round trips, %v statements and %v hashes, want 200, 1, 0 and 0", name, a.Status, line["redis"], line["sql"], line["hashes"])
		}
		if len(a.Cookies()) > 0 {
			t.Errorf("%s: cookies %v", name, a.Cookies())
		}
	}
}

// onBothStores runs a test on Postgres and Redis, and on what is embedded. john_doe is there, and
// the server hears of changes.
func onBothStores(t *testing.T, test func(t *testing.T, x *target, database string)) {
	t.Run("postgres", func(t *testing.T) {
		s := newSite(t)
		x := &target{site: s, server: listening(t, s.env("LOG_FORMAT", "json"))}
		x.sessions, x.cache = dialRedis(t, s.redis), dialRedis(t, s.redis+"/1")
		test(t, x, "postgres")
	})
	t.Run("embedded", func(t *testing.T) {
		dir := t.TempDir()
		x := &target{site: &site{t: t}, server: listening(t, map[string]string{"DATA_DIR": dir, "LOG_FORMAT": "json"})}
		x.sessions, x.cache = dialEmbeddedRedis(t, dir, 0), dialEmbeddedRedis(t, dir, 1)
		test(t, x, "sqlite")
	})
}

// listening starts a server whose user john_doe is older than it is, and returns when it keeps
// users in memory: so no news of changes come in between.
func listening(t *testing.T, env map[string]string) *testkit.Server {
	t.Helper()
	if env["DATABASE_URL"] != "" {
		run(t, env, "", "migrate", "up").wantCode(t, 0)
	}
	run(t, env, apiPassword+"\n", "user", "add", "john_doe", "--password-stdin").wantCode(t, 0)
	metrics := fmt.Sprintf("127.0.0.1:%d", testkit.FreePort(t))
	env["METRICS_ADDR"] = metrics
	server := testkit.StartServer(t, plainBinary(t), env)
	c := newClient(t, "http://"+metrics)
	testkit.Eventually(t, 10*time.Second, "the server to hear of changes", func() bool {
		return strings.Contains(c.get("/metrics").body, "\ngatehouse_listening 1\n")
	})
	return server
}
