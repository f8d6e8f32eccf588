package redisconn_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/gomodule/redigo/redis"

	"gatehouse/auth"
	"gatehouse/internal/testkit"
	"gatehouse/kv/kvtest"
	"gatehouse/kv/redisconn"
)

func TestPing_OpensOneConnection(t *testing.T) {
	kvtest.OnEach(t, func(t *testing.T, r *redisconn.Pool) {
		if err := r.Ping(t.Context()); err != nil {
			t.Fatal(err)
		}
		if s := r.Stats(); s.Active != 1 || s.Idle != 1 {
			t.Errorf("got %+v, want one idle connection", s)
		}
	})
}

func TestPipeline_IsOneRoundTrip(t *testing.T) {
	kvtest.OnEach(t, func(t *testing.T, r *redisconn.Pool) {
		var replies []any
		trips := kvtest.RoundTrips(t, func(ctx context.Context) {
			var err error
			replies, err = r.Pipeline(ctx, redisconn.Once("test"), redisconn.Cmd("SET", "a", 1), redisconn.Cmd("GET", "a"), redisconn.Cmd("GET", "b"))
			if err != nil {
				t.Fatal(err)
			}
		})
		if v, _ := redis.String(replies[1], nil); trips != 1 || v != "1" || replies[2] != nil {
			t.Errorf("got %d trips and %q, want 1 trip and OK, 1, nil", trips, replies)
		}
	})
}

func TestPipeline_ReturnsErrorReplies(t *testing.T) {
	kvtest.OnEach(t, func(t *testing.T, r *redisconn.Pool) {
		kvtest.Run(t, r, "SET", "a", "text")
		_, err := r.Pipeline(t.Context(), redisconn.Once("count"), redisconn.Cmd("INCR", "a"), redisconn.Cmd("SET", "b", 1))
		if err == nil || errors.Is(err, auth.ErrUnavailable) || !strings.HasPrefix(err.Error(), "redis: count: ") {
			t.Errorf("got %v, want the reply of INCR, which does not wrap ErrUnavailable", err)
		}
		if !kvtest.Exists(t, r, "b") {
			t.Error("the command after the failed one was not executed")
		}
	})
}

func TestDo_ReportsTemporaryErrorsAsUnavailable(t *testing.T) {
	m, r := kvtest.OpenMiniredis(t)
	if err := r.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, reply := range []string{
		"LOADING Redis is loading the dataset in memory",
		"MASTERDOWN Link with MASTER is down",
		"READONLY You can't write against a read only replica.",
		"CLUSTERDOWN The cluster is down",
		"OOM command not allowed when used memory > 'maxmemory'.",
		"ERR max number of clients reached",
		"ERR Error running script (call to f_12): @user_script:3: OOM command not allowed when used memory",
		"ERR Error running script (call to f_12): @user_script: 3: -READONLY You can't write",
	} {
		m.SetError(reply)
		_, err := r.Do(t.Context(), redisconn.Once("test"), redisconn.Cmd("SET", "a", 1))
		kvtest.WantUnavailable(t, err)
	}
	m.SetError("ERR something else with OOM in it")
	if _, err := r.Do(t.Context(), redisconn.Once("test"), redisconn.Cmd("SET", "a", 1)); err == nil || errors.Is(err, auth.ErrUnavailable) {
		t.Errorf("got %v, want an error that does not wrap ErrUnavailable", err)
	}
	m.SetError("")
}

func TestPing_UnreachableIsUnavailable(t *testing.T) {
	r := kvtest.Open(t, "redis://:hunter22@127.0.0.1:1/3")
	err := r.Ping(t.Context())
	kvtest.WantUnavailable(t, err)
	if !strings.HasPrefix(err.Error(), "redis: ping: unavailable: ") || strings.Contains(err.Error(), "hunter22") {
		t.Errorf("got %q, want the attempted operation and no password", err)
	}
}

func TestPing_WrongPasswordIsUnavailable(t *testing.T) {
	m := miniredis.RunT(t)
	m.RequireAuth("right")
	r := kvtest.Open(t, "redis://:hunter22@"+m.Addr())
	err := r.Ping(t.Context())
	kvtest.WantUnavailable(t, err)
	if strings.Contains(err.Error(), "hunter22") {
		t.Errorf("the error contains the password: %q", err)
	}
}

// TestPing_RedactsThePassword: a server that does not know AUTH quotes its arguments in the error.
func TestPing_RedactsThePassword(t *testing.T) {
	f := kvtest.StartFakeServer(t, func(int64, []string) string {
		return "-ERR unknown command `AUTH`, with args beginning with: `hunter22`\r\n"
	})
	err := kvtest.Open(t, f.URL("hunter22")).Ping(t.Context())
	kvtest.WantUnavailable(t, err)
	if strings.Contains(err.Error(), "hunter22") {
		t.Errorf("the error contains the password: %q", err)
	}
}

func TestOpen_UserPasswordAndDatabase(t *testing.T) {
	s := testkit.StartRedis(t)
	kvtest.Run(t, kvtest.Open(t, kvtest.ServerURL(s)), "ACL", "SETUSER", "app", "on", ">p@ss/word", "~*", "+@all")
	kvtest.Run(t, kvtest.Open(t, kvtest.ServerURL(s)), "ACL", "SETUSER", "default", "off")
	r := kvtest.Open(t, "unix://app:p%40ss%2Fword@"+s.Socket()+"?db=5")
	if who, err := redis.String(r.Do(t.Context(), redisconn.Once("test"), redisconn.Cmd("ACL", "WHOAMI"))); err != nil || who != "app" {
		t.Errorf("got %q, %v, want app", who, err)
	}
	if info, _ := redis.String(r.Do(t.Context(), redisconn.Once("test"), redisconn.Cmd("CLIENT", "INFO"))); !strings.Contains(info, " db=5 ") {
		t.Errorf("got %s, want database 5", info)
	}
}

func TestPool_RecoversFromARestartUnderLoad(t *testing.T) {
	s := testkit.StartRedis(t)
	r := kvtest.Open(t, kvtest.ServerURL(s))
	kvtest.FillPool(t, r, 50)
	s.Kill()
	kvtest.WantUnavailable(t, r.Ping(t.Context()))
	s.Start()
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			if err := r.Ping(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

func TestPing_KeepsTheCallersDeadline(t *testing.T) {
	s := testkit.StartRedis(t)
	r := kvtest.Open(t, kvtest.ServerURL(s))
	kvtest.FillPool(t, r, 1)
	s.Pause()
	t.Cleanup(func() { s.Resume() })
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	start := time.Now()
	kvtest.WantUnavailable(t, r.Ping(ctx))
	if took := time.Since(start); took > 500*time.Millisecond {
		t.Errorf("took %s, want 50 ms", took)
	}
}

func TestIdempotentOp_IsRetriedOnce(t *testing.T) {
	f := kvtest.StartFakeServer(t, func(n int64, _ []string) string {
		if n == 1 {
			return ""
		}
		return "+PONG\r\n"
	})
	r := kvtest.Open(t, f.URL(""))
	if trips := kvtest.RoundTrips(t, func(ctx context.Context) {
		if err := r.Ping(ctx); err != nil {
			t.Error(err)
		}
	}); trips != 2 || f.Commands() != "PING PING" {
		t.Errorf("got %d trips and %q, want the PING twice", trips, f.Commands())
	}
}

func TestIdempotentOp_IsNotRetriedTwice(t *testing.T) {
	f := kvtest.StartFakeServer(t, func(int64, []string) string { return "" })
	kvtest.WantUnavailable(t, kvtest.Open(t, f.URL("")).Ping(t.Context()))
	if f.Commands() != "PING PING" {
		t.Errorf("got %q, want PING twice", f.Commands())
	}
}

// TestPool_TestsOnlySuspectConnections: a borrowed connection is tested only once after a failure.
func TestPool_TestsOnlySuspectConnections(t *testing.T) {
	f := kvtest.StartFakeServer(t, func(_ int64, words []string) string {
		if words[0] == "PING" {
			return "+PONG\r\n"
		}
		return "+OK\r\n"
	})
	r := kvtest.Open(t, f.URL(""))
	send := func() {
		t.Helper()
		if _, err := r.Do(t.Context(), redisconn.Once("test"), redisconn.Cmd("GET", "a")); err != nil {
			t.Fatal(err)
		}
	}
	send()
	send()
	r.NoteFailure()
	send()
	send()
	if want := "GET GET PING GET GET"; f.Commands() != want || f.Dials.Load() != 1 {
		t.Errorf("got %q on %d connections, want %q on one", f.Commands(), f.Dials.Load(), want)
	}
	if !r.IsSuspect(time.Now().Add(-redisconn.TestAfterIdle - time.Second)) {
		t.Error("a connection idle for more than a minute is not tested")
	}
}
