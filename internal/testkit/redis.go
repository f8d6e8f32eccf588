package testkit

import (
	"errors"
	"testing"

	"gatehouse/internal/testkit/servers"
)

// RedisURL starts an empty Redis that nobody else uses and returns its URL, redis://host:port
// without a path. It takes some 20 ms and ends with the test.
func RedisURL(t testing.TB) string {
	t.Helper()
	return StartRedis(t).URL()
}

// Redis is a Redis of the test's own, to be killed and frozen at will.
type Redis struct {
	t      testing.TB
	server *servers.Redis
}

// StartRedis starts an empty Redis that ends with the test. It keeps nothing over a restart
// unless args, which are redis-server's own, say so: "--appendonly", "yes".
func StartRedis(t testing.TB, args ...string) *Redis {
	t.Helper()
	server, err := servers.NewRedis(args...)
	if errors.Is(err, servers.ErrNoRedis) {
		lacking(t, err.Error())
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { report(t, server.Remove()) })
	return &Redis{t: t, server: server}
}

// URL is redis://127.0.0.1:PORT. It stays the same over restarts.
func (r *Redis) URL() string { return r.server.URL() }

// Addr is the host and port in URL.
func (r *Redis) Addr() string { return r.server.Addr() }

// Socket is the path of its unix socket, the same over restarts.
func (r *Redis) Socket() string { return r.server.Socket() }

// Start starts a stopped or killed Redis again.
func (r *Redis) Start() { r.t.Helper(); must(r.t, r.server.Start()) }

// Stop shuts down in order.
func (r *Redis) Stop() { r.t.Helper(); must(r.t, r.server.Stop()) }

// Kill is kill -9.
func (r *Redis) Kill() { r.t.Helper(); must(r.t, r.server.Kill()) }

// Pause freezes the server: connections stay open, and nothing is answered.
func (r *Redis) Pause() { r.t.Helper(); must(r.t, r.server.Pause()) }

// Resume ends a Pause.
func (r *Redis) Resume() { r.t.Helper(); must(r.t, r.server.Resume()) }
