package faults

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/gofrs/flock"

	"gatehouse/internal/e2e/kit"
	"gatehouse/internal/testkit"
)

// TestEmbeddedRedis_OnlyItsOwnerReachesIt: the process listens only on the port of its pages, only the owner can access
// the socket, and malformed commands do not end the process.
func TestEmbeddedRedis_OnlyItsOwnerReachesIt(t *testing.T) {
	t.Parallel()
	// The directory is accessible to all users, so only the mode of the socket protects it.
	dir := filepath.Join(t.TempDir(), "data")
	if err := os.Mkdir(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	server := testkit.StartServer(t, testkit.BuildWithoutRace(t), map[string]string{"DATA_DIR": dir})
	c := kit.NewClient(t, server.URL())
	c.Register("alice")

	ports := listeningPorts(t, server.PID())
	for _, port := range ports {
		sendRaw(t, "tcp", fmt.Sprintf("127.0.0.1:%d", port), "*0\r\n")
	}
	if len(ports) != 1 {
		t.Errorf("got the listening ports %v, want one", ports)
	}
	socket := filepath.Join(dir, "redis.sock")
	info, err := os.Lstat(socket)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Type() != os.ModeSocket || info.Mode().Perm() != 0o600 {
		t.Errorf("the socket has the mode %v, want a socket with 0600", info.Mode())
	}
	for _, malformed := range []string{"*0\r\n", "*-1\r\n", "*1\r\n$-1\r\n", "*1\r\n$9223372036854775807\r\n", "*9999999999\r\n", "*1\r\n:5\r\n", "PING\r\n", "*1", "\x00", "*1\r\n$4\r\nPING\r\n*0\r\n"} {
		sendRaw(t, "unix", socket, malformed)
	}
	kit.WantSignedIn(t, c)
	if strings.Contains(server.Log(), "panic") {
		t.Error("the server panicked")
	}
}

// sendRaw sends bytes and reads the reply until the other side closes the connection, for at most a second.
func sendRaw(t *testing.T, network, address, text string) {
	t.Helper()
	c, err := net.Dial(network, address)
	if err != nil {
		t.Fatalf("before %q: %v", text, err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(time.Second))
	if _, err := c.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if half, ok := c.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
	for scanner := bufio.NewScanner(c); scanner.Scan(); {
	}
}

// listeningPorts returns the TCP ports on which a process listens.
func listeningPorts(t *testing.T, pid int) []int {
	t.Helper()
	fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		t.Fatal(err)
	}
	own := map[string]bool{}
	for _, fd := range fds {
		link, _ := os.Readlink(fmt.Sprintf("/proc/%d/fd/%s", pid, fd.Name()))
		if inode, ok := strings.CutPrefix(link, "socket:["); ok {
			own[strings.TrimSuffix(inode, "]")] = true
		}
	}
	var ports []int
	for _, table := range []string{"tcp", "tcp6"} {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/%s", pid, table))
		if err != nil {
			t.Fatal(err)
		}
		for line := range bytes.Lines(text) {
			f := strings.Fields(string(line))
			if len(f) < 10 || f[3] != "0A" || !own[f[9]] { // 0A is LISTEN
				continue
			}
			_, port, _ := strings.Cut(f[1], ":")
			b, err := hex.DecodeString(port)
			if err != nil || len(b) != 2 {
				t.Fatalf("unexpected port %q", port)
			}
			ports = append(ports, int(b[0])<<8|int(b[1]))
		}
	}
	return ports
}

// TestEmbeddedRedis_CommandsReachIt: even if the directory's path is longer than the limit for a socket. After a server
// is killed, the next one replaces its socket.
func TestEmbeddedRedis_CommandsReachIt(t *testing.T) {
	t.Parallel()
	for name, dir := range map[string]string{
		"short": filepath.Join(t.TempDir(), "data"),
		"long":  filepath.Join(t.TempDir(), strings.Repeat("deep/", 30), strings.Repeat("d", 60)),
	} {
		t.Run(name, func(t *testing.T) {
			env := map[string]string{"DATA_DIR": dir, "GORACE": "atexit_sleep_ms=0"}
			server := testkit.StartServer(t, testkit.BuildWithoutRace(t), env)
			kit.NewClient(t, server.URL()).Register("alice")
			server.Signal(syscall.SIGKILL)
			server.Wait()
			if _, err := os.Lstat(filepath.Join(dir, "redis.sock")); err != nil {
				t.Fatal("a killed server leaves no socket, so the test is inconclusive:", err)
			}
			// Without a server, the command reports that instead of waiting for a reply.
			o := kit.RunCommand(t, env, "", "maintenance", "status")
			o.WantCode(t, 1)
			kit.WantErrorLine(t, o, "no server runs")

			second := testkit.StartServer(t, testkit.BuildWithoutRace(t), env)
			c := kit.NewClient(t, second.URL())
			c.SignIn("alice")
			kit.RunCommand(t, env, "", "maintenance", "status").WantOutput(t, "The site is open.\n")
			kit.RunCommand(t, env, "", "user", "disable", "alice").WantCode(t, 0)
			testkit.Eventually(t, kit.MaxDelay, "alice to be signed out", func() bool { return !c.IsSignedIn() })
			if code := second.Stop(); code != 0 {
				t.Errorf("exit code %d", code)
			}
			left, err := filepath.Glob(filepath.Join(dir, "redis*"))
			if err != nil || len(left) != 1 || filepath.Base(left[0]) != "redis.lock" {
				t.Errorf("the socket of a stopped server: got %v, %v, want none", left, err)
			}
		})
	}
}

// TestEmbeddedRedis_BelongsToOneServer: a second server on the same DATA_DIR would have separate sessions, so it does
// not start. The first one keeps running.
func TestEmbeddedRedis_BelongsToOneServer(t *testing.T) {
	t.Parallel()
	env := map[string]string{"DATA_DIR": filepath.Join(t.TempDir(), "data"), "LISTEN_ADDR": "127.0.0.1:0", "GORACE": "atexit_sleep_ms=0"}
	server := testkit.StartServer(t, testkit.BuildWithoutRace(t), env)
	c := kit.NewClient(t, server.URL())
	c.Register("alice")
	for _, o := range kit.RunTwice(func() kit.CommandResult { return kit.RunCommand(t, env, "", "serve") }) {
		o.WantCode(t, 1)
		kit.WantErrorLine(t, o, "DATA_DIR", "process "+strconv.Itoa(server.PID()), "REDIS_URL")
	}
	kit.WantSignedIn(t, c)
	kit.RunCommand(t, env, "", "maintenance", "status").WantOutput(t, "The site is open.\n")
}

// TestEmbeddedRedis_CommandReportsAServerThatDoesNotListen: a command reports a process that has locked the directory
// but does not listen, instead of assuming that no server runs and bypassing its caches.
func TestEmbeddedRedis_CommandReportsAServerThatDoesNotListen(t *testing.T) {
	t.Parallel() // mostly waits for the socket
	dir := filepath.Join(t.TempDir(), "data")
	env := map[string]string{"DATA_DIR": dir, "GORACE": "atexit_sleep_ms=0"}
	kit.RunCommand(t, env, kit.Password+"\n", "user", "add", "alice", "--password-stdin").WantCode(t, 0)
	path := filepath.Join(dir, "redis.lock")
	if err := os.WriteFile(path, []byte(strconv.Itoa(os.Getpid())+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	lock := flock.New(path)
	if locked, err := lock.TryLock(); err != nil || !locked {
		t.Fatal(locked, err)
	}
	commands := [][]string{{"maintenance", "on"}, {"user", "disable", "alice"}}
	outcomes := make([]kit.CommandResult, len(commands))
	var all sync.WaitGroup
	for i, args := range commands {
		all.Go(func() { outcomes[i] = kit.RunCommand(t, env, "", args...) })
	}
	all.Wait()
	for i, o := range outcomes {
		o.WantCode(t, 1)
		if !strings.Contains(o.Stderr, "process "+strconv.Itoa(os.Getpid())) || strings.Contains(o.Stderr, "no server runs") {
			t.Errorf("%q: %s", commands[i], o.Stderr)
		}
	}
	if err := lock.Close(); err != nil {
		t.Fatal(err)
	}
	o := kit.RunCommand(t, env, "", "maintenance", "on")
	o.WantCode(t, 1)
	kit.WantErrorLine(t, o, "no server runs")
	kit.RunCommand(t, env, "", "user", "disable", "alice").WantCode(t, 0)
}

// TestEmbeddedRedis_CommandFailsIfTheServerIsFrozen: a command whose change could not reach the server's caches does
// not report success.
func TestEmbeddedRedis_CommandFailsIfTheServerIsFrozen(t *testing.T) {
	t.Parallel() // mostly waits for a reply
	env := map[string]string{"DATA_DIR": filepath.Join(t.TempDir(), "data"), "GORACE": "atexit_sleep_ms=0"}
	server := testkit.StartServer(t, testkit.BuildWithoutRace(t), env)
	kit.NewClient(t, server.URL()).Register("alice")
	server.Signal(syscall.SIGSTOP)
	o := kit.RunCommand(t, env, "", "user", "disable", "alice")
	server.Signal(syscall.SIGCONT)
	o.WantCode(t, 1)
	kit.WantErrorLine(t, o, "DATA_DIR", "does not respond")
	kit.NewClient(t, server.URL()).SignIn("alice")
}
