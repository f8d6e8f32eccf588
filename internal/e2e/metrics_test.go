package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"gatehouse/internal/testkit"
)

// measured is the setting of a server that can be asked for its metrics.
var measured = []string{"METRICS_ADDR", "127.0.0.1:0"}

// metricsAddr returns the address that the server has logged for its metrics.
func metricsAddr(t testing.TB, server *testkit.Server) string {
	t.Helper()
	for line := range strings.Lines(server.Log()) {
		var record struct {
			Addr string `json:"metrics_addr"`
		}
		if json.Unmarshal([]byte(line), &record) == nil && record.Addr != "" {
			return record.Addr
		}
	}
	t.Fatal("the server has not logged an address for its metrics")
	return ""
}

// samples are the values of metrics by series: name{label="value",…}.
type samples map[string]float64

// scrape asks the server for its metrics.
func scrape(t testing.TB, server *testkit.Server) samples {
	t.Helper()
	return scrapeAt(t, metricsAddr(t, server))
}

func scrapeAt(t testing.TB, addr string) samples {
	t.Helper()
	s, err := parseMetrics(scrapeText(t, addr))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func scrapeText(t testing.TB, addr string) string {
	t.Helper()
	resp, err := http.Get("http://" + addr + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK || !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/plain") {
		t.Fatalf("/metrics: %s, %s, %v", resp.Status, resp.Header.Get("Content-Type"), err)
	}
	return string(body)
}

func parseMetrics(text string) (samples, error) {
	s := samples{}
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		cut := strings.LastIndexByte(line, ' ')
		if cut < 0 {
			return nil, fmt.Errorf("a line of the metrics is %q", line)
		}
		value, err := strconv.ParseFloat(line[cut+1:], 64)
		if err != nil {
			return nil, fmt.Errorf("a line of the metrics is %q", line)
		}
		s[line[:cut]] = value
	}
	return s, nil
}

// sum adds up all series of the name that have the labels: `route="/"`.
func (s samples) sum(name string, labels ...string) float64 {
	total := 0.0
	for series, value := range s {
		found, rest, _ := strings.Cut(series, "{")
		if found != name {
			continue
		}
		if !slices.ContainsFunc(labels, func(l string) bool { return !strings.Contains(rest, l) }) {
			total += value
		}
	}
	return total
}

// quantile returns the upper bound of the bucket in which the quantile lies.
func (s samples) quantile(name string, q float64) time.Duration {
	count := s.sum(name + "_count")
	bound := math.Inf(1)
	for series, value := range s {
		rest, ok := strings.CutPrefix(series, name+`_bucket{le="`)
		if !ok || value < q*count {
			continue
		}
		le, err := strconv.ParseFloat(strings.TrimSuffix(rest, `"}`), 64)
		if err == nil {
			bound = min(bound, le)
		}
	}
	if math.IsInf(bound, 1) {
		return time.Hour
	}
	return time.Duration(bound * float64(time.Second))
}

// wantHigher wants the series to have risen by so much between two looks.
func wantHigher(t *testing.T, before, after samples, by float64, name string, labels ...string) {
	t.Helper()
	if got := after.sum(name, labels...) - before.sum(name, labels...); got != by {
		t.Errorf("%s%v rose by %v, want %v", name, labels, got, by)
	}
}

// TestMetricsTellWhatHappened: each thing that a server does moves the number that stands for it.
func TestMetricsTellWhatHappened(t *testing.T) {
	t.Parallel()
	x := newTarget(t, measured...)
	p := newPrincipal(x, "alice")
	p.warm()
	before := scrape(t, x.server)
	for range 3 {
		p.want(bySession, "/api/me", http.StatusOK)
	}
	p.want(byBasic, "/api/me", http.StatusOK)
	p.want(byToken, "/api/me", http.StatusOK)
	x.visitor().want(x.visitor().get("/api/me", "Authorization", "Bearer nothing"), http.StatusUnauthorized)
	x.visitor().want(x.visitor().get("/api/me", "Authorization", basicHeader("alice", otherPassword)), http.StatusUnauthorized)
	if a := x.guess("alice", otherPassword); a.StatusCode != http.StatusUnauthorized {
		t.Errorf("a wrong password: %s", a.Status)
	}
	x.visitor().signIn("alice")
	x.do("HSET", throttleKey("alice"), "n", "50", "until", x.redisMillis()+60_000)
	if a := x.guess("alice", otherPassword); a.StatusCode != http.StatusTooManyRequests {
		t.Errorf("a throttled guess: %s", a.Status)
	}
	x.visitor().get("/nowhere")
	after := scrape(t, x.server)

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
	if n := after.sum("gatehouse_user_memory_hits_total") - before.sum("gatehouse_user_memory_hits_total"); n < 5 {
		t.Errorf("%v users were found in memory, want 5 at least", n)
	}
	for _, rising := range []string{"gatehouse_redis_round_trips_total", "gatehouse_sql_statements_total"} {
		if after.sum(rising) <= before.sum(rising) {
			t.Errorf("%s did not rise", rising)
		}
	}

	x.flushCache()
	p.want(byBasic, "/api/me", http.StatusOK)
	x.exec(`UPDATE users SET name = 'Alice'`)
	testkit.Eventually(t, 5*time.Second, "the change to be counted", func() bool {
		return scrape(t, x.server).sum("gatehouse_revocation_seconds_count") > after.sum("gatehouse_revocation_seconds_count")
	})
	p.want(bySession, "/api/me", http.StatusOK)
	p.want(bySession, "/api/me", http.StatusOK)
	last := scrape(t, x.server)
	for _, rising := range []string{"gatehouse_credential_cache_misses_total", "gatehouse_user_memory_misses_total", "gatehouse_user_cache_misses_total"} {
		if last.sum(rising) <= after.sum(rising) {
			t.Errorf("%s did not rise", rising)
		}
	}
	if last.sum("gatehouse_listening") != 1 {
		t.Error("gatehouse_listening is not 1")
	}
	for _, there := range []string{
		`gatehouse_redis_connections{redis="sessions"}`, `gatehouse_redis_connections{redis="cache"}`,
		`gatehouse_redis_connections_idle{redis="sessions"}`, "gatehouse_sql_connections", "gatehouse_sql_connections_idle",
		"gatehouse_hash_queue", "gatehouse_user_cache_hits_total", "process_resident_memory_bytes", "go_goroutines",
	} {
		if _, ok := last[there]; !ok {
			t.Errorf("there is no %s", there)
		}
	}
	for _, open := range []string{`gatehouse_redis_connections{redis="sessions"}`, "gatehouse_sql_connections"} {
		if last[open] < 1 {
			t.Errorf("%s is %v", open, last[open])
		}
	}
}

// TestTheHashQueueIsCounted: who waits for a password hash is in the gauge, and out of it again.
func TestTheHashQueueIsCounted(t *testing.T) {
	x := newTarget(t, append(measured, "TRUSTED_PROXIES", "127.0.0.1/32")...)
	done := make(chan error, 30)
	for i := range cap(done) {
		go func() {
			c := newClient(t, x.server.URL())
			req := c.form("/login", "username", fmt.Sprint("nobody", i), "password", password)
			req.Header.Set("X-Forwarded-For", fmt.Sprintf("198.51.100.%d", i))
			_, err := c.attempt(req)
			done <- err
		}()
	}
	testkit.Eventually(t, 10*time.Second, "some hashes to wait", func() bool { return scrape(t, x.server).sum("gatehouse_hash_queue") >= 5 })
	for range cap(done) {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if n := scrape(t, x.server).sum("gatehouse_hash_queue"); n != 0 {
		t.Errorf("%v hashes wait when all are answered", n)
	}
}

// TestMetricsAreBounded: what strangers make up becomes no series, and no secret or name of
// anybody is in any.
func TestMetricsAreBounded(t *testing.T) {
	t.Parallel()
	x := newTarget(t, measured...)
	p := newPrincipal(x, "alice")
	p.warm()
	c := x.visitor()
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
			if _, err := c.attempt(c.request(method, path, "")); err != nil {
				t.Fatal(err)
			}
		}
	}
	ask(0, 120) // every pattern, method and status that these can have
	before := scrapeText(t, metricsAddr(t, x.server))
	ask(120, 1120)
	after := scrapeText(t, metricsAddr(t, x.server))
	if was, is := seriesOf(t, before), seriesOf(t, after); len(is) > len(was) {
		t.Errorf("1000 made-up requests made %d series %d:\n%s", len(was), len(is),
			strings.Join(slices.DeleteFunc(is, func(s string) bool { return slices.Contains(was, s) }), "\n"))
	}
	for what, secret := range map[string]string{
		"a made-up path": "made-up", "a name": "alice", "an id": p.id, "an address": x.redis, "the database's address": x.database,
		"the cookie": p.client.cookie(sessionCookie), "the token": p.token, "the token's id": p.tokenID, "the password": password,
		"SECRET_KEY": secretKey,
	} {
		if strings.Contains(after, secret) {
			t.Errorf("the metrics have %s in them", what)
		}
	}
}

// seriesOf leaves out the Go runtime's own.
func seriesOf(t *testing.T, text string) []string {
	t.Helper()
	s, err := parseMetrics(text)
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

// TestMetricsAreElsewhere: the address of the site answers nothing of them, to nobody, and the
// other address nothing else.
func TestMetricsAreElsewhere(t *testing.T) {
	t.Parallel()
	x := newTarget(t, measured...)
	p := newPrincipal(x, "alice")
	x.exec(`INSERT INTO user_groups (user_id, group_name) SELECT id, 'admin' FROM users`)
	for _, path := range []string{"/metrics", "/metrics/", "/Metrics", "//metrics", "/debug/pprof/", "/static/metrics"} {
		for _, way := range ways {
			if a := p.ask(way, path); a.StatusCode != http.StatusNotFound || strings.Contains(a.body, "gatehouse_request") {
				t.Errorf("%s by %s: %s", path, way, a.Status)
			}
		}
	}
	elsewhere := newClient(t, "http://"+metricsAddr(t, x.server))
	for _, path := range []string{"/", "/login", "/api/me", "/healthz", "/debug/pprof/"} {
		elsewhere.want(elsewhere.get(path), http.StatusNotFound)
	}
	elsewhere.want(elsewhere.post("/metrics"), http.StatusMethodNotAllowed)

	without := newSite(t)
	server := without.serve()
	if strings.Contains(server.Log(), "metrics_addr") {
		t.Error("metrics are served without METRICS_ADDR")
	}
}
