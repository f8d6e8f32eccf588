package metrics

import (
	"errors"
	"fmt"
	"gatehouse/auth"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// scraped returns the exported values by series.
func scraped(t testing.TB, m *Metrics) map[string]string {
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

func wantSeries(t testing.TB, m *Metrics, want map[string]string) {
	t.Helper()
	got := scraped(t, m)
	for series, value := range want {
		if got[series] != value {
			t.Errorf("%s is %q, want %q", series, got[series], value)
		}
	}
}

func TestOutcome_ClassifiesSignInErrors(t *testing.T) {
	for want, err := range map[string]error{
		"ok": nil, "refused": auth.ErrWrongCredentials, "throttled": fmt.Errorf("sign in: %w", auth.ThrottledError{RetryAfter: 1}),
		"busy": fmt.Errorf("hash: %w", auth.ErrBusy), "unavailable": errors.Join(auth.ErrUnavailable, errors.New("EOF")),
	} {
		if got := outcome(err); got != want {
			t.Errorf("%v is %s, want %s", err, got, want)
		}
	}
}

func TestMetrics_ExportServerMetrics(t *testing.T) {
	m := New()
	m.RegisterGauge("a_gauge", "A gauge.", map[string]string{"redis": "cache"}, func() float64 { return 7 })
	m.RegisterCounter("a_counter_total", "A counter.", nil, func() float64 { return 8 })
	wantSeries(t, m, map[string]string{`a_gauge{redis="cache"}`: "7", "a_counter_total": "8", "gatehouse_listening": "0"})
	m.SetListening(true)
	m.ObserveRevocation(20 * time.Millisecond)
	m.ObserveRevocation(-time.Second) // clock skew
	wantSeries(t, m, map[string]string{"gatehouse_listening": "1", "gatehouse_revocation_seconds_count": "1", `gatehouse_revocation_seconds_bucket{le="0.025"}`: "1", `gatehouse_revocation_seconds_bucket{le="0.01"}`: "0"})
	m.SetListening(false)
	wantSeries(t, m, map[string]string{"gatehouse_listening": "0"})
	if all := scraped(t, m); all["go_goroutines"] == "" || all["process_open_fds"] == "" {
		t.Error("the process metrics are missing")
	}
	// A nil *Metrics records nothing.
	var none *Metrics
	none.SetListening(true)
	none.ObserveRevocation(time.Second)
	none.CountSignIn("form", nil)
	none.ObserveRequest("GET", "/", 200, time.Second, nil)
}
