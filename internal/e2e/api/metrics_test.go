package api

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse/internal/e2e/kit"
	"gatehouse/internal/testkit"
)

// wantHigher fails unless the series rose by this much between two scrapes.
func wantHigher(t *testing.T, before, after kit.Samples, by float64, name string, labels ...string) {
	t.Helper()
	if got := after.Sum(name, labels...) - before.Sum(name, labels...); got != by {
		t.Errorf("%s%v rose by %v, want %v", name, labels, got, by)
	}
}

// TestMetrics_CountWhatHappened: each event changes its metric.
func TestMetrics_CountWhatHappened(t *testing.T) {
	t.Parallel()
	x := kit.NewTarget(t, kit.MetricsOn...)
	p := kit.NewPrincipal(x, "alice")
	p.Warm()
	before := kit.Scrape(t, x.Server)
	for range 3 {
		p.WantGet(kit.BySession, "/api/me", http.StatusOK)
	}
	p.WantGet(kit.ByBasic, "/api/me", http.StatusOK)
	p.WantGet(kit.ByToken, "/api/me", http.StatusOK)
	x.NewClient().WantStatus(x.NewClient().Get("/api/me", "Authorization", "Bearer nothing"), http.StatusUnauthorized)
	x.NewClient().WantStatus(x.NewClient().Get("/api/me", "Authorization", kit.BasicHeader("alice", kit.OtherPassword)), http.StatusUnauthorized)
	if a := x.GuessPassword("alice", kit.OtherPassword); a.StatusCode != http.StatusUnauthorized {
		t.Errorf("a wrong password: %s", a.Status)
	}
	x.NewClient().SignIn("alice")
	x.Do("HSET", kit.ThrottleKey("alice"), "n", "50", "until", x.RedisMillis()+60_000)
	if a := x.GuessPassword("alice", kit.OtherPassword); a.StatusCode != http.StatusTooManyRequests {
		t.Errorf("a throttled guess: %s", a.Status)
	}
	x.NewClient().Get("/nowhere")
	after := kit.Scrape(t, x.Server)

	const requests = "gatehouse_request_duration_seconds_count"
	wantHigher(t, before, after, 5, requests, `route="/api/me"`, `method="GET"`, `status="200"`)
	wantHigher(t, before, after, 2, requests, `route="/api/me"`, `status="401"`)
	wantHigher(t, before, after, 1, requests, `route="/login"`, `method="POST"`, `status="303"`)
	wantHigher(t, before, after, 1, requests, `route="/login"`, `status="401"`)
	wantHigher(t, before, after, 1, requests, `route="/login"`, `status="429"`)
	wantHigher(t, before, after, 1, requests, `status="404"`)
	const signIns = "gatehouse_sign_ins_total"
	wantHigher(t, before, after, 1, signIns, `method="form"`, `outcome="ok"`)
	wantHigher(t, before, after, 1, signIns, `method="form"`, `outcome="refused"`)
	wantHigher(t, before, after, 1, signIns, `method="form"`, `outcome="throttled"`)
	wantHigher(t, before, after, 1, signIns, `method="basic"`, `outcome="ok"`)
	wantHigher(t, before, after, 1, signIns, `method="basic"`, `outcome="refused"`)
	wantHigher(t, before, after, 1, signIns, `method="token"`, `outcome="ok"`)
	wantHigher(t, before, after, 1, signIns, `method="token"`, `outcome="refused"`)
	wantHigher(t, before, after, 2, "gatehouse_credential_cache_hits_total")
	if n := after.Sum("gatehouse_user_memory_hits_total") - before.Sum("gatehouse_user_memory_hits_total"); n < 5 {
		t.Errorf("got %v hits of the local cache, want at least 5", n)
	}
	for _, rising := range []string{"gatehouse_redis_round_trips_total", "gatehouse_sql_statements_total"} {
		if after.Sum(rising) <= before.Sum(rising) {
			t.Errorf("%s did not rise", rising)
		}
	}

	x.FlushCache()
	p.WantGet(kit.ByBasic, "/api/me", http.StatusOK)
	x.Exec(`UPDATE users SET name = 'Alice'`)
	testkit.Eventually(t, 5*time.Second, "the change to be counted", func() bool {
		return kit.Scrape(t, x.Server).Sum("gatehouse_revocation_seconds_count") > after.Sum("gatehouse_revocation_seconds_count")
	})
	p.WantGet(kit.BySession, "/api/me", http.StatusOK)
	p.WantGet(kit.BySession, "/api/me", http.StatusOK)
	last := kit.Scrape(t, x.Server)
	for _, rising := range []string{"gatehouse_credential_cache_misses_total", "gatehouse_user_memory_misses_total", "gatehouse_user_cache_misses_total"} {
		if last.Sum(rising) <= after.Sum(rising) {
			t.Errorf("%s did not rise", rising)
		}
	}
	if last.Sum("gatehouse_listening") != 1 {
		t.Error("gatehouse_listening is not 1")
	}
	for _, there := range []string{
		`gatehouse_redis_connections{redis="sessions"}`, `gatehouse_redis_connections{redis="cache"}`,
		`gatehouse_redis_connections_idle{redis="sessions"}`, "gatehouse_sql_connections", "gatehouse_sql_connections_idle",
		"gatehouse_hash_queue", "gatehouse_user_cache_hits_total", "process_resident_memory_bytes", "go_goroutines",
	} {
		if _, ok := last[there]; !ok {
			t.Errorf("%s is missing", there)
		}
	}
	for _, open := range []string{`gatehouse_redis_connections{redis="sessions"}`, "gatehouse_sql_connections"} {
		if last[open] < 1 {
			t.Errorf("got %s = %v", open, last[open])
		}
	}
}

// TestMetrics_HashQueue: the gauge counts the sign-ins that wait for a password hash, and falls back to 0.
func TestMetrics_HashQueue(t *testing.T) {
	x := kit.NewTarget(t, append(kit.MetricsOn, "TRUSTED_PROXIES", "127.0.0.1/32")...)
	done := make(chan error, 30)
	for i := range cap(done) {
		go func() {
			c := kit.NewClient(t, x.Server.URL())
			req := c.NewForm("/login", "username", fmt.Sprint("nobody", i), "password", kit.Password)
			req.Header.Set("X-Forwarded-For", fmt.Sprintf("198.51.100.%d", i))
			_, err := c.TryDo(req)
			done <- err
		}()
	}
	testkit.Eventually(t, 10*time.Second, "hashes to queue up", func() bool { return kit.Scrape(t, x.Server).Sum("gatehouse_hash_queue") >= 5 })
	for range cap(done) {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if n := kit.Scrape(t, x.Server).Sum("gatehouse_hash_queue"); n != 0 {
		t.Errorf("the queue has %v hashes after all responses", n)
	}
}

// TestMetrics_CardinalityIsBounded: made-up requests create no series, and no series contains a secret or a user's
// name.
func TestMetrics_CardinalityIsBounded(t *testing.T) {
	t.Parallel()
	x := kit.NewTarget(t, kit.MetricsOn...)
	p := kit.NewPrincipal(x, "alice")
	p.Warm()
	c := x.NewClient()
	methods := []string{"GET", "POST", "PROPFIND", "BREW", "get", "TRACE"}
	ask := func(from, to int) {
		for i := range to - from {
			n := from + i
			path := fmt.Sprintf("/%x/made-up-%d", n*7919, n)
			switch n % 5 {
			case 1:
				path = fmt.Sprintf("/admin/users/%d", n)
			case 2:
				path = fmt.Sprintf("/static/%d.css", n)
			case 3:
				path = fmt.Sprintf("/api/tokens/%d", n)
			}
			method := methods[n%len(methods)]
			if n%11 == 0 {
				method = fmt.Sprintf("M%d", n)
			}
			if _, err := c.TryDo(c.NewRequest(method, path, "")); err != nil {
				t.Fatal(err)
			}
		}
	}
	ask(0, 120) // reaches every pattern, method and status of these requests
	before := kit.ScrapeText(t, kit.MetricsAddr(t, x.Server))
	ask(120, 1120)
	after := kit.ScrapeText(t, kit.MetricsAddr(t, x.Server))
	if was, is := seriesOf(t, before), seriesOf(t, after); len(is) > len(was) {
		t.Errorf("1000 made-up requests turned %d series into %d:\n%s", len(was), len(is),
			strings.Join(slices.DeleteFunc(is, func(s string) bool { return slices.Contains(was, s) }), "\n"))
	}
	for what, secret := range map[string]string{
		"a made-up path": "made-up", "a name": "alice", "an id": p.ID, "an address": x.RedisURL, "the database's address": x.DatabaseURL,
		"the cookie": p.Client.Cookie(kit.SessionCookie), "the token": p.Token, "the token's id": p.TokenID, "the password": kit.Password,
		"SECRET_KEY": kit.SecretKey,
	} {
		if strings.Contains(after, secret) {
			t.Errorf("the metrics contain %s", what)
		}
	}
}

// seriesOf returns the names of all series except the Go runtime's.
func seriesOf(t *testing.T, text string) []string {
	t.Helper()
	s, err := kit.ParseMetrics(text)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for series := range s {
		if strings.HasPrefix(series, "gatehouse_") {
			names = append(names, series)
		}
	}
	slices.Sort(names)
	return names
}

// TestMetrics_HaveTheirOwnAddress: the site's address never serves metrics, and the other address serves nothing else.
func TestMetrics_HaveTheirOwnAddress(t *testing.T) {
	t.Parallel()
	x := kit.NewTarget(t, kit.MetricsOn...)
	p := kit.NewPrincipal(x, "alice")
	x.Exec(`INSERT INTO user_groups (user_id, group_name) SELECT id, 'admin' FROM users`)
	for _, path := range []string{"/metrics", "/metrics/", "/Metrics", "//metrics", "/debug/pprof/", "/static/metrics"} {
		for _, way := range kit.AuthMethods {
			if a := p.Get(way, path); a.StatusCode != http.StatusNotFound || strings.Contains(a.Text, "gatehouse_request") {
				t.Errorf("%s by %s: %s", path, way, a.Status)
			}
		}
	}
	elsewhere := kit.NewClient(t, "http://"+kit.MetricsAddr(t, x.Server))
	for _, path := range []string{"/", "/login", "/api/me", "/healthz", "/debug/pprof/"} {
		elsewhere.WantStatus(elsewhere.Get(path), http.StatusNotFound)
	}
	elsewhere.WantStatus(elsewhere.PostForm("/metrics"), http.StatusMethodNotAllowed)

	without := kit.NewSite(t)
	server := without.Serve()
	if strings.Contains(server.Log(), "metrics_addr") {
		t.Error("metrics are served without METRICS_ADDR")
	}
}
