package testkit

import (
	"errors"
	"testing"

	"gatehouse/internal/testkit/servers"
)

// RedisURL starts a private, empty Redis, which takes about 20 ms, and returns its URL,
// redis://HOST:PORT without a path. The server is removed when the test ends.
func RedisURL(t testing.TB) string {
	t.Helper()
	return StartRedis(t).URL()
}

// Redis is a private Redis server that a test may stop, kill and pause.
type Redis struct {
	t      testing.TB
	server *servers.Redis
}

// StartRedis starts an empty Redis that is removed when the test ends. A restart loses its data,
// unless args of redis-server, such as "--appendonly", "yes", prevent that.
func StartRedis(t testing.TB, args ...string) *Redis {
	t.Helper()
	server, err := servers.NewRedis(args...)
	if errors.Is(err, servers.ErrNoRedis) {
		Unavailable(t, err.Error())
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { report(t, server.Remove()) })
	return &Redis{t: t, server: server}
}

// URL returns redis://127.0.0.1:PORT. A restart does not change it.
func (r *Redis) URL() string { return r.server.URL() }

// Addr returns the HOST:PORT of URL.
func (r *Redis) Addr() string { return r.server.Addr() }

// Socket returns the path of the Unix socket. A restart does not change it.
func (r *Redis) Socket() string { return r.server.Socket() }

// Start starts a stopped or killed Redis again.
func (r *Redis) Start() { r.t.Helper(); must(r.t, r.server.Start()) }

// Stop shuts the server down cleanly.
func (r *Redis) Stop() { r.t.Helper(); must(r.t, r.server.Stop()) }

// Kill ends the server with SIGKILL.
func (r *Redis) Kill() { r.t.Helper(); must(r.t, r.server.Kill()) }

// Pause freezes the server: its connections stay open but get no answers.
func (r *Redis) Pause() { r.t.Helper(); must(r.t, r.server.Pause()) }

// Resume ends a Pause.
func (r *Redis) Resume() { r.t.Helper(); must(r.t, r.server.Resume()) }
