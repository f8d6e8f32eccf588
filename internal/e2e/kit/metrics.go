package kit

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

// MetricsOn is the setting of a server that serves metrics.
var MetricsOn = []string{"METRICS_ADDR", "127.0.0.1:0"}

// MetricsAddr returns the address that the server logged for its metrics.
func MetricsAddr(t testing.TB, server *testkit.Server) string {
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

// Samples are the values of metrics by series: name{label="value",…}.
type Samples map[string]float64

// Scrape returns the server's metrics.
func Scrape(t testing.TB, server *testkit.Server) Samples {
	t.Helper()
	return ScrapeAt(t, MetricsAddr(t, server))
}

// ScrapeAt returns the metrics at an address.
func ScrapeAt(t testing.TB, addr string) Samples {
	t.Helper()
	s, err := ParseMetrics(ScrapeText(t, addr))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// ScrapeText returns the metrics at an address in the text format.
func ScrapeText(t testing.TB, addr string) string {
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

// ParseMetrics parses Prometheus's text format.
func ParseMetrics(text string) (Samples, error) {
	s := Samples{}
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		cut := strings.LastIndexByte(line, ' ')
		if cut < 0 {
			return nil, fmt.Errorf("unexpected line of metrics %q", line)
		}
		value, err := strconv.ParseFloat(line[cut+1:], 64)
		if err != nil {
			return nil, fmt.Errorf("unexpected line of metrics %q", line)
		}
		s[line[:cut]] = value
	}
	return s, nil
}

// Sum adds up all series of the name that have the labels, such as `route="/"`.
func (s Samples) Sum(name string, labels ...string) float64 {
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

// Quantile returns the upper bound of the bucket that contains the quantile.
func (s Samples) Quantile(name string, q float64) time.Duration {
	count := s.Sum(name + "_count")
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
