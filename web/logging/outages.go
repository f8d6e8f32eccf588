package logging

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"time"

	"gatehouse/auth"
)

// outageInterval is the minimum time between two lines about the same unavailable server.
const outageInterval = time.Second

// LimitOutages returns a handler that passes at most one line per second about each server that does not respond
// (auth.ErrUnavailable), with the number of suppressed lines. Security events always pass. Without it an outage logs
// a line for every request.
func LimitOutages(h slog.Handler) slog.Handler {
	return outageHandler{h, &outages{last: map[string]outage{}}}
}

type outageHandler struct {
	slog.Handler
	outages *outages
}

// Handle implements slog.Handler.
func (h outageHandler) Handle(ctx context.Context, r slog.Record) error {
	server := unavailableServer(r)
	if server == "" {
		return h.Handler.Handle(ctx, r)
	}
	passes, suppressed := h.outages.record(server, r.Time)
	if !passes {
		return nil
	}
	if suppressed > 0 {
		r = r.Clone()
		r.AddAttrs(slog.Int("suppressed", suppressed))
	}
	return h.Handler.Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (h outageHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return outageHandler{h.Handler.WithAttrs(attrs), h.outages}
}

// WithGroup implements slog.Handler.
func (h outageHandler) WithGroup(name string) slog.Handler {
	return outageHandler{h.Handler.WithGroup(name), h.outages}
}

// unavailableServer returns the server that the record reports as unavailable, "redis" or "database", or "" for
// any other record and for security events.
func unavailableServer(r slog.Record) (server string) {
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == "event" {
			server = ""
			return false
		}
		err, ok := a.Value.Any().(error)
		if !ok || !errors.Is(err, auth.ErrUnavailable) {
			return true
		}
		server = "database"
		if strings.Contains(err.Error(), "redis: ") {
			server = "redis"
		}
		return true
	})
	return server
}

// outages records, by server, the last line that passed.
type outages struct {
	mu   sync.Mutex
	last map[string]outage
}

type outage struct {
	loggedAt   time.Time
	suppressed int
}

// record reports whether a line passes at this time, and how many were suppressed before it.
func (o *outages) record(server string, at time.Time) (passes bool, suppressed int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	last := o.last[server]
	if at.Sub(last.loggedAt) < outageInterval {
		last.suppressed++
		o.last[server] = last
		return false, 0
	}
	o.last[server] = outage{loggedAt: at}
	return true, last.suppressed
}
