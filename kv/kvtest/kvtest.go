// Package kvtest runs tests of the Redis stores on the embedded Redis and on redis-server, and provides a
// fake server with scripted replies. Only tests import it.
package kvtest

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/gomodule/redigo/redis"

	"gatehouse/auth"
	"gatehouse/internal/reqstats"
	"gatehouse/internal/testkit"
	"gatehouse/kv/embedded"
	"gatehouse/kv/redisconn"
)

// OnEach runs a test on the embedded Redis and on a redis-server, each empty.
func OnEach(t *testing.T, test func(t *testing.T, p *redisconn.Pool)) {
	t.Helper()
	t.Run("embedded", func(t *testing.T) { test(t, OpenEmbedded(t)) })
	t.Run("server", func(t *testing.T) { test(t, OpenServer(t)) })
}

// OpenServer opens a redis-server that ends with the test.
func OpenServer(t testing.TB, args ...string) *redisconn.Pool {
	t.Helper()
	return Open(t, ServerURL(testkit.StartRedis(t, args...)))
}

// ServerURL returns the URL of the server's Unix socket.
func ServerURL(s *testkit.Redis) string { return "unix://" + s.Socket() + "?db=1" }

// OpenEmbedded opens an embedded Redis that ends with the test.
func OpenEmbedded(t testing.TB) *redisconn.Pool {
	t.Helper()
	return Open(t, StartEmbedded(t).URL())
}

// StartEmbedded starts an embedded Redis that ends with the test.
func StartEmbedded(t testing.TB) *embedded.Redis {
	t.Helper()
	e, err := embedded.StartRedis(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	return e
}

// OpenMiniredis opens a Redis whose replies the test can replace by errors.
func OpenMiniredis(t testing.TB) (*miniredis.Miniredis, *redisconn.Pool) {
	t.Helper()
	m := miniredis.RunT(t)
	m.ClockTTL(true)
	return m, Open(t, "redis://"+m.Addr())
}

// urls holds the URL of each pool that Open returned, for Reopen.
var urls sync.Map

// Open opens a pool that is closed at the end of the test.
func Open(t testing.TB, url string) *redisconn.Pool {
	t.Helper()
	p, err := redisconn.Open(url)
	if err != nil {
		t.Fatal(err)
	}
	urls.Store(p, url)
	t.Cleanup(func() { urls.Delete(p); p.Close() })
	return p
}

// Reopen opens a second pool on the database of p, as another process does.
func Reopen(t testing.TB, p *redisconn.Pool) *redisconn.Pool {
	t.Helper()
	url, ok := urls.Load(p)
	if !ok {
		t.Fatal("the pool was not opened with kvtest.Open")
	}
	return Open(t, url.(string))
}

// Run sends one command, which must succeed.
func Run(t testing.TB, p *redisconn.Pool, name string, args ...any) any {
	t.Helper()
	reply, err := p.Do(t.Context(), redisconn.Once("test"), redisconn.Cmd(name, args...))
	if err != nil {
		t.Fatal(err)
	}
	return reply
}

// Exists reports whether Redis holds the key.
func Exists(t testing.TB, p *redisconn.Pool, key string) bool {
	t.Helper()
	return Run(t, p, "EXISTS", key) == int64(1)
}

// Eventually waits up to 10 seconds for the condition.
func Eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	testkit.Eventually(t, 10*time.Second, what, cond)
}

// WantUnavailable fails the test unless err wraps auth.ErrUnavailable.
func WantUnavailable(t testing.TB, err error) {
	t.Helper()
	if !errors.Is(err, auth.ErrUnavailable) {
		t.Errorf("got error %v, want one that wraps ErrUnavailable", err)
	}
}

// RoundTrips returns how many round trips a call took.
func RoundTrips(t testing.TB, call func(ctx context.Context)) int64 {
	t.Helper()
	ctx, cost := reqstats.NewContext(t.Context())
	call(ctx)
	return cost.RedisRoundTrips()
}

// FillPool leaves n idle connections in the pool.
func FillPool(t testing.TB, p *redisconn.Pool, n int) {
	t.Helper()
	conns := make([]redis.Conn, n)
	for i := range conns {
		conns[i] = p.ConnPool().Get()
		if err := conns[i].Err(); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range conns {
		c.Close()
	}
	if s := p.Stats(); s.Idle != n {
		t.Fatalf("got %+v, want %d idle", s, n)
	}
}
