package web

import (
	"fmt"
	"gatehouse/web/metrics"
	"maps"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// scraped returns the exported values by series.
func scraped(t testing.TB, m *metrics.Metrics) map[string]string {
	t.Helper()
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	if w.Code != http.StatusOK {
		t.Fatalf("got %d %s", w.Code, w.Body)
	}
	all := map[string]string{}
	for line := range strings.Lines(w.Body.String()) {
		if i := strings.LastIndexByte(line, ' '); !strings.HasPrefix(line, "#") {
			all[line[:i]] = strings.TrimSpace(line[i:])
		}
	}
	return all
}

func wantSeries(t testing.TB, m *metrics.Metrics, want map[string]string) {
	t.Helper()
	got := scraped(t, m)
	for series, value := range want {
		if got[series] != value {
			t.Errorf("%s is %q, want %q", series, got[series], value)
		}
	}
}

var requestCount = regexp.MustCompile(`^gatehouse_request_duration_seconds_count\{method="([^"]*)",route="([^"]*)",status="([^"]*)"\}$`)

// TestMetrics_NumberOfSeriesIsBounded: clients cannot create series with invented paths and methods.
func TestMetrics_NumberOfSeriesIsBounded(t *testing.T) {
	m := metrics.New()
	routes := append(slices.Clone(apiRoutes), Get("/user/:id", Open, showUser), Post("/user/:id/active", Open, showUser))
	s := newSite(t, routes, func(s *site) { s.Metrics = m })
	for i := range 50 {
		for _, path := range []string{"/user/%d", "/nowhere%d", "/user/%d/nothing", "/api/%d", "/static/%d.js", "/private%d/x", "//%d", "/%%2f%d", "/admin/%d"} {
			for _, method := range []string{"GET", "POST", fmt.Sprintf("BREW%d", i), "get", "TRACE", "CONNECT"} {
				s.do(method, fmt.Sprintf(path, i))
			}
		}
	}
	known := map[string]bool{"none": true, "/static/*": true}
	for _, r := range routes {
		known[r.Path] = true
	}
	methods, paths, n := map[string]bool{}, map[string]bool{}, 0
	for series := range scraped(t, m) {
		if strings.HasPrefix(series, "gatehouse_request_duration_seconds_count") {
			n++
			labels := requestCount.FindStringSubmatch(series)
			if labels == nil {
				t.Fatalf("got the series %s", series)
			}
			methods[labels[1]], paths[labels[2]] = true, true
			if !known[labels[2]] {
				t.Errorf("got a series for %q", labels[2])
			}
		}
	}
	if got := slices.Sorted(maps.Keys(methods)); !slices.Equal(got, []string{"GET", "POST", "other"}) {
		t.Errorf("got the methods %q", got)
	}
	if !paths["none"] || !paths["/user/:id"] || n > 40 {
		t.Errorf("got %d series for the routes %q", n, slices.Sorted(maps.Keys(paths)))
	}
}

func TestMetrics_CountRequests(t *testing.T) {
	m := metrics.New()
	costly := Get("/costly", Open, func(r *Request) (Response, error) {
		r.Stats().AddRedis(time.Millisecond)
		r.Stats().AddRedis(time.Millisecond)
		r.Stats().AddSQL(time.Millisecond)
		return Text(http.StatusOK, "ok"), nil
	})
	fails := Get("/fails", Open, func(*Request) (Response, error) { return Response{}, errSecret })
	s := newSite(t, append([]Route{costly, fails}, apiRoutes...), func(s *site) { s.Metrics = m })
	s.account(t, "alice")
	for range 3 {
		s.do("GET", "/costly")
	}
	s.do("HEAD", "/costly")
	s.do("GET", "/fails")
	s.do("GET", "/api/who", basic("alice", password))
	s.do("GET", "/api/who", basic("alice", "wrong"))
	s.do("GET", "/api/who", authorization("Bearer x"))
	wantSeries(t, m, map[string]string{
		`gatehouse_request_duration_seconds_count{method="GET",route="/costly",status="200"}`:  "3",
		`gatehouse_request_duration_seconds_count{method="HEAD",route="/costly",status="200"}`: "1",
		`gatehouse_request_duration_seconds_count{method="GET",route="/fails",status="500"}`:   "1",
		`gatehouse_request_duration_seconds_count{method="GET",route="/api/who",status="401"}`: "2",
		`gatehouse_redis_round_trips_total`:                                                    "8",
		`gatehouse_sql_statements_total`:                                                       "4",
		`gatehouse_sign_ins_total{method="basic",outcome="ok"}`:                                "1",
		`gatehouse_sign_ins_total{method="basic",outcome="refused"}`:                           "1",
		`gatehouse_sign_ins_total{method="token",outcome="refused"}`:                           "1",
	})
}
