//go:build linux

package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
)

// counts are what Gatehouse says of itself to Prometheus.
type counts struct{ trips, allocations float64 }

// counts asks the server, if it is Gatehouse. The question itself allocates, some thousand times.
func (b *bench) counts(ctx context.Context, s *server) (c counts, err error) {
	if s != b.gate {
		return counts{}, nil
	}
	status, body, err := fetch(ctx, browser, "http://"+b.site.gate.env["METRICS_ADDR"]+"/metrics")
	if err != nil || status != http.StatusOK {
		return counts{}, fmt.Errorf("read the metrics: status %d, %w", status, err)
	}
	found := 0
	for lines := bufio.NewScanner(bytes.NewReader(body)); lines.Scan(); {
		name, value, _ := strings.Cut(lines.Text(), " ")
		into := map[string]*float64{"gatehouse_redis_round_trips_total": &c.trips, "go_memstats_mallocs_total": &c.allocations}[name]
		if into == nil {
			continue
		}
		if *into, err = strconv.ParseFloat(value, 64); err != nil {
			return counts{}, fmt.Errorf("read the metrics: %q: %w", lines.Text(), err)
		}
		found++
	}
	if found != 2 {
		return counts{}, fmt.Errorf("read the metrics: %d of 2 counters", found)
	}
	return c, nil
}
