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

// counts are counters from the metrics of Gatehouse.
type counts struct{ roundTrips, allocations float64 }

// counts reads the metrics of the server, if it is Gatehouse. Reading them costs some thousand
// allocations.
func (b *bench) counts(ctx context.Context, s *server) (c counts, err error) {
	if s != b.gatehouse {
		return counts{}, nil
	}
	status, body, err := fetch(ctx, client, "http://"+b.site.gatehouse.env["METRICS_ADDR"]+"/metrics")
	if err != nil || status != http.StatusOK {
		return counts{}, fmt.Errorf("read the metrics: status %d, %w", status, err)
	}
	found := 0
	for lines := bufio.NewScanner(bytes.NewReader(body)); lines.Scan(); {
		name, value, _ := strings.Cut(lines.Text(), " ")
		into := map[string]*float64{"gatehouse_redis_round_trips_total": &c.roundTrips, "go_memstats_mallocs_total": &c.allocations}[name]
		if into == nil {
			continue
		}
		if *into, err = strconv.ParseFloat(value, 64); err != nil {
			return counts{}, fmt.Errorf("read the metrics: %q: %w", lines.Text(), err)
		}
		found++
	}
	if found != 2 {
		return counts{}, fmt.Errorf("read the metrics: found %d of 2 counters", found)
	}
	return c, nil
}
