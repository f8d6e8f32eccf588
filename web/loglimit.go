package web

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"time"

	"gatehouse/auth"
)

// outageInterval is how often the log repeats that a server behind this one does not answer.
const outageInterval = time.Second

// LimitOutages returns a handler that passes one line per second about each server that does not
// answer (auth.ErrUnavailable), with the number of lines left out since. Security events always
// pass. Without it an outage writes a line for each request.
func LimitOutages(h slog.Handler) slog.Handler {
	return outageHandler{h, &outages{last: map[string]outage{}}}
}

type outageHandler struct {
	slog.Handler
	outages *outages
}

// Handle implements slog.Handler.
func (h outageHandler) Handle(ctx context.Context, r slog.Record) error {
	server := serverOf(r)
	if server == "" {
		return h.Handler.Handle(ctx, r)
	}
	passes, suppressed := h.outages.note(server, r.Time)
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

// serverOf returns which server the record says does not answer: "redis", "database", or "" if it
// says no such thing.
func serverOf(r slog.Record) (server string) {
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

// outages notes by server when the log last told of it.
type outages struct {
	mu   sync.Mutex
	last map[string]outage
}

type outage struct {
	told       time.Time
	suppressed int
}

// note reports whether a line of this moment passes, and how many were left out before it.
func (o *outages) note(server string, at time.Time) (passes bool, suppressed int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	last := o.last[server]
	if at.Sub(last.told) < outageInterval {
		last.suppressed++
		o.last[server] = last
		return false, 0
	}
	o.last[server] = outage{told: at}
	return true, last.suppressed
}
