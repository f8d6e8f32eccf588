package kv

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse/auth"
	"gatehouse/internal/testkit"
	"gatehouse/kv/kvtest"
	"gatehouse/kv/redisconn"
	"github.com/gomodule/redigo/redis"
)

func TestFullRedis_IsUnavailable(t *testing.T) {
	s := testkit.StartRedis(t, "--maxmemory", "1mb", "--maxmemory-policy", "noeviction")
	r := kvtest.Open(t, kvtest.ServerURL(s))
	kvtest.WantUnavailable(t, NewSessions(r).CommitCtx(t.Context(), testID(1), encode(t, newSession(1, "u1")), time.Time{}))
	kvtest.WantUnavailable(t, taken(NewThrottle(r).Reserve(t.Context(), auth.Bucket{Key: "k", Limit: auth.RateLimit{Burst: 1, ResetAfter: time.Hour}})))
	_, _, err := NewUsers(r, time.Hour).User(t.Context(), "u1")
	kvtest.WantUnavailable(t, err)
}

// TestRestart_CausesNoErrors: every kind of operation works immediately after a restart, even one that is not retried.
func TestRestart_CausesNoErrors(t *testing.T) {
	s := testkit.StartRedis(t)
	r := kvtest.Open(t, kvtest.ServerURL(s))
	sessions, throttle := NewSessions(r), NewThrottle(r)
	firsts := map[string]func() error{
		"read": func() error { _, _, err := sessions.FindCtx(t.Context(), testID(1)); return err },
		"commit": func() error {
			return sessions.CommitCtx(t.Context(), testID(2), encode(t, newSession(2, "u1")), time.Time{})
		},
		"delete": func() error {
			if err := sessions.DeleteCtx(t.Context(), testID(3)); !errors.Is(err, auth.ErrSessionEnded) {
				return err
			}
			return nil
		},
		"throttle": func() error {
			return taken(throttle.Reserve(t.Context(), auth.Bucket{Key: "k", Limit: auth.RateLimit{Burst: 100, ResetAfter: time.Hour}}))
		},
	}
	for name, first := range firsts {
		t.Run(name, func(t *testing.T) {
			kvtest.FillPool(t, r, 50)
			s.Kill()
			s.Start()
			for i := range 60 {
				if err := first(); err != nil {
					t.Fatalf("request %d after the restart: %v", i+1, err)
				}
			}
		})
	}
}

func TestFrozenRedis_IsUnavailableInTime(t *testing.T) {
	s := testkit.StartRedis(t)
	r := kvtest.Open(t, kvtest.ServerURL(s))
	kvtest.FillPool(t, r, 50)
	s.Pause()
	t.Cleanup(func() { s.Resume() })
	id, record := testID(1), encode(t, newSession(1, "u1"))
	for name, op := range map[string]func() error{
		"ping":   func() error { return r.Ping(t.Context()) },
		"commit": func() error { return NewSessions(r).CommitCtx(t.Context(), id, record, time.Time{}) },
		"dial":   func() error { return kvtest.Open(t, kvtest.ServerURL(s)).Ping(t.Context()) },
	} {
		start := time.Now()
		kvtest.WantUnavailable(t, op())
		if took := time.Since(start); took > 1500*time.Millisecond {
			t.Errorf("%s: took %s, want at most 1.5 s", name, took)
		}
	}
	s.Resume()
	if err := r.Ping(t.Context()); err != nil {
		t.Errorf("after the freeze: %v", err)
	}
}

func TestCanceledContext_ChangesNothing(t *testing.T) {
	kvtest.OnEach(t, func(t *testing.T, r *redisconn.Pool) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := r.Do(ctx, redisconn.Once("test"), redisconn.Cmd("SET", "a", 1))
		if !errors.Is(err, context.Canceled) || kvtest.Exists(t, r, "a") {
			t.Errorf("got %v, want context.Canceled and nothing done", err)
		}
		kvtest.WantUnavailable(t, NewSessions(r).CommitCtx(ctx, testID(1), encode(t, newSession(1, "u1")), time.Time{}))
		if kvtest.Exists(t, r, "session:"+testID(1)) {
			t.Error("a session was created for a canceled request")
		}
	})
}

func TestExhaustedPool_EndsTheWait(t *testing.T) {
	kvtest.OnEach(t, func(t *testing.T, r *redisconn.Pool) {
		var conns []redis.Conn
		for range redisconn.MaxConns {
			conns = append(conns, r.ConnPool().Get())
		}
		id, record := testID(1), encode(t, newSession(1, "u1"))
		for name, op := range map[string]func() error{
			"ping":   func() error { return r.Ping(t.Context()) },
			"commit": func() error { return NewSessions(r).CommitCtx(t.Context(), id, record, time.Time{}) },
		} {
			start := time.Now()
			kvtest.WantUnavailable(t, op())
			if took := time.Since(start); took < 900*time.Millisecond || took > 1500*time.Millisecond {
				t.Errorf("%s: waited %s, want 1 s", name, took)
			}
		}
		conns[0].Close()
		if err := r.Ping(t.Context()); err != nil {
			t.Error(err)
		}
		for _, c := range conns[1:] {
			c.Close()
		}
	})
}

func TestNonIdempotentOps_AreNotRetried(t *testing.T) {
	f := kvtest.StartFakeServer(t, func(int64, []string) string { return "" })
	r := kvtest.Open(t, f.URL(""))
	kvtest.WantUnavailable(t, NewSessions(r).DeleteCtx(t.Context(), testID(1)))
	kvtest.WantUnavailable(t, taken(NewThrottle(r).Reserve(t.Context(), auth.Bucket{Key: "k"})))
	if f.Commands() != "DEL EVALSHA" {
		t.Errorf("got %q, want each command once", f.Commands())
	}
}

// TestRetriedMiss_KeepsItsLease: the connection breaks after Redis has set the lease; the retry finds it.
func TestRetriedMiss_KeepsItsLease(t *testing.T) {
	var lease atomic.Value
	f := kvtest.StartFakeServer(t, func(n int64, words []string) string {
		switch n {
		case 1:
			return "$-1\r\n"
		case 2:
			lease.Store(words[2])
			return ""
		case 3:
			return fmt.Sprintf("$%d\r\n%s\r\n", len(lease.Load().(string)), lease.Load())
		}
		return "$-1\r\n"
	})
	_, got, err := NewUsers(kvtest.Open(t, f.URL("")), time.Hour).User(t.Context(), "u1")
	if !errors.Is(err, auth.ErrNotFound) || got == "" || got != lease.Load() {
		t.Errorf("got lease %q, %v, want %q and ErrNotFound", got, err, lease.Load())
	}
}
