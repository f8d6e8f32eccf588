package api

import (
	"net/http"
	"regexp"
	"strings"
	"testing"

	"gatehouse/internal/e2e/kit"
)

// TestBasic_RepeatedRequestIsAuthorizedByRedis: of four equal requests, only the first reaches the database, both
// initially and after a flush of the cache. None creates a session.
func TestBasic_RepeatedRequestIsAuthorizedByRedis(t *testing.T) {
	t.Parallel()
	kit.OnBothStores(t, func(t *testing.T, x *kit.Target, database string) {
		var loop example
		for _, b := range manual(t) {
			if strings.Contains(b.code, "for i in 1 2 3 4") {
				loop = b
			}
		}
		want := database + "\nredis\nredis\nredis\n"
		for _, when := range []string{"initially", "after FLUSHDB of the cache"} {
			if got := runExample(x, t, loop); got != want {
				t.Errorf("%s: printed %q, want %q", when, got, want)
			}
			if _, err := x.Cache.Do("FLUSHDB"); err != nil {
				t.Fatal(err)
			}
		}
		if keys := append(x.Keys("session:*"), x.Keys("sessions:*")...); len(keys) != 0 {
			t.Errorf("programs got sessions: %v", keys)
		}
		if keys := x.Keys("throttle:*"); len(keys) != 0 {
			t.Errorf("correct passwords were counted as failures: %v", keys)
		}
	})
}

// TestWarmRequest_CostsOneRoundTrip: with every method of authentication a warm request costs no SQL, no password hash
// and one Redis round trip, and sets no cookie.
func TestWarmRequest_CostsOneRoundTrip(t *testing.T) {
	kit.OnBothStores(t, func(t *testing.T, x *kit.Target, _ string) {
		program := x.NewClient()
		browser := x.NewClient()
		browser.WantStatus(browser.PostForm("/login", "username", "john_doe", "password", kit.AwkwardPassword), http.StatusSeeOther)
		sessions := len(x.Keys("session:*"))
		made := program.Do(program.NewRequest(http.MethodPost, "/api/tokens", `{"name":"warm"}`,
			"Authorization", kit.BasicHeader("john_doe", kit.AwkwardPassword), "Content-Type", "application/json"))
		program.WantStatus(made, http.StatusCreated)
		if cold := x.RequestLog(made); cold["sql"] == 0.0 || cold["hashes"] != 1.0 {
			t.Errorf("an uncached password took %v statements and %v hashes, want SQL and one hash", cold["sql"], cold["hashes"])
		}
		token := regexp.MustCompile(`gatehouse_\w+`).FindString(made.Text)

		for name, request := range map[string]func() kit.Response{
			"Basic": func() kit.Response {
				return program.Get("/api/time", "Authorization", kit.BasicHeader("john_doe", kit.AwkwardPassword))
			},
			"token":                func() kit.Response { return program.Get("/api/time", "Authorization", "Bearer "+token) },
			"session":              func() kit.Response { return browser.Get("/api/time") },
			"/api/me with a token": func() kit.Response { return program.Get("/api/me", "Authorization", "Token "+token) },
			"dashboard":            func() kit.Response { return browser.Get("/dashboard") },
			"Basic with HEAD": func() kit.Response {
				return program.Do(program.NewRequest(http.MethodHead, "/api/time", "", "Authorization", kit.BasicHeader("john_doe", kit.AwkwardPassword)))
			},
		} {
			x.WantWarm(t, name, request)
		}
		if now := len(x.Keys("session:*")); now != sessions {
			t.Errorf("got %d sessions, had %d before", now, sessions)
		}
		if cookies := program.HTTP.Jar.Cookies(program.NewRequest(http.MethodGet, "/", "").URL); len(cookies) != 0 {
			t.Errorf("a program got cookies: %v", cookies)
		}
	})
}
