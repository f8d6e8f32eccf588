package kv

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"gatehouse/auth"
	"gatehouse/internal/reqstats"
)

// testDatabase is the first of the two databases that these tests use on a shared server.
const testDatabase = 12

// onEach runs a test on the embedded Redis and on the one of TEST_REDIS_URL, each empty.
func onEach(t *testing.T, test func(t *testing.T, r *Redis)) {
	t.Helper()
	t.Run("embedded", func(t *testing.T) { test(t, openEmbedded(t)) })
	t.Run("server", func(t *testing.T) {
		r := open(t, serverURL(t, testDatabase))
		flush(t, r)
		test(t, r)
	})
}

func serverURL(t testing.TB, database int) string {
	t.Helper()
	base := os.Getenv("TEST_REDIS_URL")
	if base == "" {
		missing(t, "TEST_REDIS_URL is empty: no Redis server to test on")
	}
	u, err := withDatabase(base, database)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// missing skips the test, or fails it where servers are demanded.
func missing(t testing.TB, why string) {
	t.Helper()
	if os.Getenv("GATEHOUSE_TEST_REQUIRE_SERVERS") == "1" {
		t.Fatal(why)
	}
	t.Skip(why)
}

func openEmbedded(t testing.TB) *Redis {
	t.Helper()
	return open(t, startEmbedded(t).URL())
}

func startEmbedded(t testing.TB) *Embedded {
	t.Helper()
	e, err := StartEmbedded(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	return e
}

func open(t testing.TB, url string) *Redis {
	t.Helper()
	r, err := Open(url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

func flush(t testing.TB, r *Redis) {
	t.Helper()
	run(t, r, "FLUSHDB")
}

// run sends one command, which must succeed.
func run(t testing.TB, r *Redis, name string, args ...any) any {
	t.Helper()
	reply, err := r.do(t.Context(), once("test"), cmd(name, args...))
	if err != nil {
		t.Fatal(err)
	}
	return reply
}

// exists reports whether Redis holds the key.
func exists(t testing.TB, r *Redis, key string) bool {
	t.Helper()
	return run(t, r, "EXISTS", key) == int64(1)
}

// eventually polls until the condition holds.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	deadline := time.After(10 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-deadline:
			t.Fatalf("not within 10 s: %s", what)
		case <-tick.C:
		}
	}
}

func wantUnavailable(t testing.TB, err error) {
	t.Helper()
	if !errors.Is(err, auth.ErrUnavailable) {
		t.Errorf("got error %v, want one that wraps ErrUnavailable", err)
	}
}

// cost returns the round trips that a call took.
func cost(t testing.TB, f func(ctx context.Context)) int64 {
	t.Helper()
	ctx, c := reqstats.NewContext(t.Context())
	f(ctx)
	return c.RedisRoundTrips()
}

// server is a redis-server of the test's own, to be killed and stopped.
type server struct {
	t      testing.TB
	socket string
	args   []string
	cmd    *exec.Cmd
}

func startServer(t testing.TB, args ...string) *server {
	t.Helper()
	if _, err := exec.LookPath("redis-server"); err != nil {
		missing(t, "redis-server is not installed")
	}
	s := &server{t: t, socket: filepath.Join(t.TempDir(), "redis.sock"), args: args}
	s.start()
	t.Cleanup(s.kill)
	return s
}

func (s *server) url() string { return fmt.Sprintf("unix://%s?db=1", s.socket) }

func (s *server) start() {
	s.t.Helper()
	s.cmd = exec.Command("redis-server", append([]string{"--port", "0", "--unixsocket", s.socket,
		"--save", "", "--dir", filepath.Dir(s.socket), "--databases", "16"}, s.args...)...)
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	probe := open(s.t, "unix://"+s.socket)
	eventually(s.t, "redis-server answers", func() bool {
		_, err := probe.do(context.Background(), repeatable("test"), cmd("PING"))
		return err == nil || strings.Contains(err.Error(), "NOAUTH")
	})
}

func (s *server) kill() {
	s.signal(syscall.SIGKILL)
	s.cmd.Wait()
}

func (s *server) signal(sig syscall.Signal) {
	if s.cmd.ProcessState == nil {
		s.cmd.Process.Signal(sig)
	}
}
