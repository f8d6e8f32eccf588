package embedded_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse/kv/embedded"
	"gatehouse/kv/kvtest"
	"gatehouse/kv/redisconn"
)

func TestEmbedded_KeepsDatabasesApart(t *testing.T) {
	e := kvtest.StartEmbedded(t)
	u, err := url.Parse(e.URL())
	if err != nil || u.Scheme != "unix" {
		t.Fatalf("got %q, %v; want a unix URL", e.URL(), err)
	}
	r := kvtest.Open(t, e.URL())
	kvtest.Run(t, r, "SET", "a", 1)
	next, err := redisconn.NextDatabase(e.URL())
	if err != nil {
		t.Fatal(err)
	}
	if kvtest.Exists(t, kvtest.Open(t, next), "a") {
		t.Error("the next database holds the same keys")
	}
	if kvtest.Exists(t, kvtest.OpenEmbedded(t), "a") {
		t.Error("the Redis of another directory holds the same keys")
	}
}

func TestStartRedis_SocketIsPrivate(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	e, err := embedded.StartRedis(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	info, err := os.Lstat(filepath.Join(dir, embedded.SocketName))
	if err != nil || info.Mode().Perm() != 0o600 || info.Mode().Type() != os.ModeSocket {
		t.Errorf("got %v, %v; want a socket with mode 0600", info.Mode(), err)
	}
	if _, err := os.Lstat(filepath.Join(dir, embedded.StagingName)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the staging directory: got %v, want ErrNotExist", err)
	}
}

func TestStartRedis_LocksTheDirectory(t *testing.T) {
	dir := t.TempDir()
	first, err := embedded.StartRedis(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	kvtest.Run(t, kvtest.Open(t, first.URL()), "SET", "a", 1)
	if _, err := embedded.StartRedis(dir); !errors.Is(err, embedded.ErrDirectoryInUse) {
		t.Errorf("got %v, want ErrDirectoryInUse", err)
	}
	if !kvtest.Exists(t, kvtest.Open(t, first.URL()), "a") {
		t.Error("the first server lost its keys")
	}
	if url, err := embedded.FindRedis(t.Context(), dir); url != first.URL() || err != nil {
		t.Errorf("got %q, %v; want %q", url, err, first.URL())
	}
	first.Close()
	if url, err := embedded.FindRedis(t.Context(), dir); url != "" || err != nil {
		t.Errorf("after its end: got %q, %v; want none", url, err)
	}
	// A killed process leaves its socket behind.
	stale, err := embedded.ListenPrivate(filepath.Join(dir, embedded.SocketName))
	if err != nil {
		t.Fatal(err)
	}
	_ = stale.Close()
	if url, err := embedded.FindRedis(t.Context(), dir); url != "" || err != nil {
		t.Errorf("with a stale socket: got %q, %v; want none", url, err)
	}
	second, err := embedded.StartRedis(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	first.Close() // must not remove the second server's socket
	kvtest.Run(t, kvtest.Open(t, second.URL()), "PING")
}

// TestFindRedis_WaitsForAStartingServer: a server locks the directory before it listens. A command that runs in between
// must not conclude that there is no server.
func TestFindRedis_WaitsForAStartingServer(t *testing.T) {
	for name, stale := range map[string]bool{"no socket yet": false, "the socket of a killed server": true} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, embedded.SocketName)
			if stale {
				old, err := embedded.ListenPrivate(path)
				if err != nil {
					t.Fatal(err)
				}
				_ = old.Close()
			}
			lock, err := embedded.LockDirectory(filepath.Join(dir, embedded.LockName))
			if err != nil {
				t.Fatal(err)
			}
			defer lock.Close()
			// The server starts to listen after the first attempt to connect.
			ctx := &askedContext{Context: t.Context(), asked: make(chan struct{})}
			listening := make(chan net.Listener, 1)
			go func() {
				<-ctx.asked
				l, err := embedded.ListenPrivate(path)
				if err != nil {
					t.Error(err)
				}
				listening <- l
			}()
			url, err := embedded.FindRedisWithin(ctx, dir, time.Minute)
			if url != embedded.SocketURL(path) || err != nil {
				t.Errorf("got %q, %v; want %q", url, err, embedded.SocketURL(path))
			}
			ctx.ask() // ends the goroutine if FindRedis never waited
			if l := <-listening; l != nil {
				_ = l.Close()
			}
		})
	}
}

// askedContext closes asked when Done is first called.
type askedContext struct {
	context.Context
	once  sync.Once
	asked chan struct{}
}

func (c *askedContext) ask() { c.once.Do(func() { close(c.asked) }) }

func (c *askedContext) Done() <-chan struct{} {
	c.ask()
	return c.Context.Done()
}

// TestFindRedis_NamesAProcessThatDoesNotListen: a process that holds the lock but cannot be reached is an error.
func TestFindRedis_NamesAProcessThatDoesNotListen(t *testing.T) {
	dir := t.TempDir()
	lock, err := embedded.LockDirectory(filepath.Join(dir, embedded.LockName))
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	url, err := embedded.FindRedisWithin(t.Context(), dir, 50*time.Millisecond)
	if url != "" || !errors.Is(err, embedded.ErrNotListening) || !strings.Contains(err.Error(), "process "+strconv.Itoa(os.Getpid())) {
		t.Errorf("got %q, %v; want ErrNotListening with the process id", url, err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if url, err := embedded.FindRedis(ended, dir); url != "" || !errors.Is(err, context.Canceled) {
		t.Errorf("with a canceled context: got %q, %v; want context.Canceled", url, err)
	}
	// A process that has ended leaves its lock file, without a lock.
	if err := lock.Close(); err != nil {
		t.Fatal(err)
	}
	if url, err := embedded.FindRedis(t.Context(), dir); url != "" || err != nil {
		t.Errorf("after its end: got %q, %v; want none", url, err)
	}
	for name, dir := range map[string]string{"an empty directory": t.TempDir(), "none": filepath.Join(dir, "none"), "a file": filepath.Join(dir, embedded.LockName)} {
		if url, err := embedded.FindRedis(t.Context(), dir); url != "" || err != nil {
			t.Errorf("%s: got %q, %v; want none", name, url, err)
		}
		if _, err := os.Lstat(filepath.Join(dir, embedded.LockName)); err == nil {
			t.Errorf("%s: FindRedis created a lock file", name)
		}
	}
}

// TestFindRedis_DoesNotBlockStartingServers: it probes the lock while servers start and stop.
func TestFindRedis_DoesNotBlockStartingServers(t *testing.T) {
	dir := t.TempDir()
	stop := make(chan struct{})
	var finders sync.WaitGroup
	for range 4 {
		finders.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if _, err := embedded.FindRedis(t.Context(), dir); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for range 50 {
		e, err := embedded.StartRedis(dir)
		if err != nil {
			t.Error(err)
			break
		}
		e.Close()
	}
	close(stop)
	finders.Wait()
}

func TestStartRedis_SupportsLongPaths(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("d", 100), strings.Repeat("e", 200))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	temporary := t.TempDir()
	t.Setenv("TMPDIR", temporary)
	e, err := embedded.StartRedis(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	kvtest.Run(t, kvtest.Open(t, e.URL()), "PING")
	if url, err := embedded.FindRedis(t.Context(), dir); url != e.URL() || err != nil {
		t.Errorf("got %q, %v; want %q", url, err, e.URL())
	}
	if left, _ := filepath.Glob(filepath.Join(temporary, "*")); len(left) > 0 {
		t.Errorf("%v was left behind", left)
	}
}

// TestEmbedded_RejectsInvalidProtocol: miniredis panics on some of it, which would end the process.
func TestEmbedded_RejectsInvalidProtocol(t *testing.T) {
	e := kvtest.StartEmbedded(t)
	for _, text := range []string{
		"*0\r\n", "*-1\r\n", "*\r\n", "*1\n", "* 1\r\n", "*+1\r\n", "*1048577\r\n", "*99999999999999999999\r\n", "PING\r\n", "\r\n", "$4\r\nPING\r\n",
		"*1\r\n$-1\r\n", "*1\r\n$16777217\r\n", "*1\r\n$9223372036854775807\r\n", "*1\r\n:1\r\n", "*1\r\n+PING\r\n", "*1\r\n*1\r\n", "*" + strings.Repeat("0", 1<<16) + "1\r\n",
	} {
		if got := exchangeRaw(t, e, "*1\r\n$4\r\nPING\r\n"+text+"*1\r\n$4\r\nPING\r\n"); !strings.Contains(got, "-ERR Protocol error") || strings.Count(got, "+PONG") > 1 {
			t.Errorf("%.40q: got %q, want an error and a closed connection", text, got)
		}
	}
	for text, want := range map[string]string{
		"*1\r\n$4\r\nPING\r\n": "+PONG\r\n", "*2\r\n$4\r\nECHO\r\n$0\r\n\r\n": "$0\r\n\r\n", "*2\r\n$4\r\nECHO\r\n$4\r\n\r\n*0\r\n": "$4\r\n\r\n*0\r\n",
		"*1\r\n$4\r\nPI": "", "*1\r\n$0\r\n\r\n": "-ERR unknown command ``, with args beginning with: \r\n",
	} {
		if got := exchangeRaw(t, e, text); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
	long := strings.Repeat("x", 1<<20)
	r := kvtest.Open(t, e.URL())
	kvtest.Run(t, r, "SET", "long", long)
	if got := kvtest.Run(t, r, "GET", "long"); string(got.([]byte)) != long {
		t.Error("a long value was changed")
	}
}

// exchangeRaw sends the text, closes its side and returns the replies.
func exchangeRaw(t *testing.T, e *embedded.Redis, text string) string {
	t.Helper()
	c, err := net.Dial("unix", strings.TrimPrefix(e.URL(), "unix://"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
	_ = c.(*net.UnixConn).CloseWrite()
	got, _ := io.ReadAll(c) // unread data turns the close into a reset
	return string(got)
}

// TestEmbedded_RejectsCommandsThatPanic: miniredis panics on these arguments.
func TestEmbedded_RejectsCommandsThatPanic(t *testing.T) {
	r := kvtest.OpenEmbedded(t)
	for _, c := range []redisconn.Command{
		redisconn.Cmd("SETRANGE", "k", "9223372036854775807", "a"), redisconn.Cmd("hrandfield", "k", "-9223372036854775808"), redisconn.Cmd("SSCAN", "k", -1), redisconn.Cmd("ZSCAN", "k", "-9223372036854775808"),
		redisconn.Cmd("EVAL", "return redis.call('SSCAN', 'k', '-1')", 0),
	} {
		if _, err := r.Do(t.Context(), redisconn.Once("test"), c); err == nil || !strings.Contains(err.Error(), "does not support") {
			t.Errorf("%s: got %v, want an unsupported command", c.Name, err)
		}
	}
	kvtest.Run(t, r, "PING")
}

func TestEmbedded_KeysExpire(t *testing.T) {
	r := kvtest.OpenEmbedded(t)
	kvtest.Run(t, r, "SET", "a", 1, "PX", 100)
	if !kvtest.Exists(t, r, "a") {
		t.Fatal("the key expired immediately")
	}
	kvtest.Eventually(t, "the key expires", func() bool { return !kvtest.Exists(t, r, "a") })
}

func TestEmbedded_CloseStopsIt(t *testing.T) {
	e := kvtest.StartEmbedded(t)
	r := kvtest.Open(t, e.URL())
	kvtest.Run(t, r, "SET", "a", 1)
	e.Close()
	kvtest.WantUnavailable(t, r.Ping(t.Context()))
}
