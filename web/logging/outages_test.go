package logging

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"gatehouse/auth"
)

func TestLimitOutages_PassesOneLinePerSecondAndServer(t *testing.T) {
	var out bytes.Buffer
	h := LimitOutages(slog.NewTextHandler(&out, nil))
	start := time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)
	log := func(h slog.Handler, after time.Duration, args ...any) {
		t.Helper()
		r := slog.NewRecord(start.Add(after), slog.LevelError, "line", 0)
		r.Add(args...)
		if err := h.Handle(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	lines := func() int { n := strings.Count(out.String(), "msg=line"); out.Reset(); return n }
	postgres := fmt.Errorf("look up a user: Postgres: %w: connection refused", auth.ErrUnavailable)
	redis := fmt.Errorf("redis: find session: %w: EOF", auth.ErrUnavailable)

	for i := range 100 {
		log(h, time.Duration(i)*9*time.Millisecond, "error", postgres)
		log(h.WithAttrs([]slog.Attr{slog.Int("a", 1)}), time.Duration(i)*9*time.Millisecond, "status", 503, "error", postgres)
	}
	if n := lines(); n != 1 {
		t.Errorf("%d lines in the first second, want 1", n)
	}
	log(h, 999*time.Millisecond, "error", postgres)
	log(h, 999*time.Millisecond, "error", redis)
	log(h, 999*time.Millisecond, "error", redis)
	if n := lines(); n != 1 {
		t.Errorf("%d lines about another server, want 1", n)
	}
	log(h, time.Second, "error", postgres)
	if !strings.Contains(out.String(), "suppressed=200") {
		t.Errorf("the next line is %q, want the number of suppressed lines", out.String())
	}
	if n := lines(); n != 1 {
		t.Errorf("%d lines in the next second, want 1", n)
	}
	for range 3 {
		log(h, time.Second, "error", errors.New("a bug"))
		log(h, time.Second, "status", 503)
		log(h, time.Second, "event", true, "error", postgres)
		log(h, time.Second, "error", postgres, "event", true)
	}
	if n := lines(); n != 12 {
		t.Errorf("%d other lines passed, want all 12", n)
	}
}
