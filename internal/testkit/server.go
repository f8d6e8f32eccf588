package testkit

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"gatehouse/internal/testkit/servers"
)

// BuildBinary builds gatehouse, with the race detector if the test has it, and returns the path of
// the binary. It builds once per test process, or once for all processes in which
// GATEHOUSE_TEST_BINARIES names the same empty directory, as make test does.
func BuildBinary(t testing.TB) string {
	t.Helper()
	return binary(t, ".", raceEnabled)
}

// BuildWithoutRace is BuildBinary without the race detector, which slows commands down and distorts
// measurements of time and memory.
func BuildWithoutRace(t testing.TB) string {
	t.Helper()
	return binary(t, ".", false)
}

// Build is BuildBinary for the command in another directory of the repository.
func Build(t testing.TB, dir string) string {
	t.Helper()
	return binary(t, dir, raceEnabled)
}

// program identifies a binary.
type program struct {
	dir  string // below the module's root
	race bool
}

// binaries maps each program to a func() (string, error) that builds it once.
var binaries sync.Map

func binary(t testing.TB, dir string, race bool) string {
	t.Helper()
	root, p := moduleRoot(t), program{dir, race}
	once, _ := binaries.LoadOrStore(p, sync.OnceValues(func() (string, error) { return p.find(root) }))
	path, err := once.(func() (string, error))()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// find returns the path of the binary, and builds it unless another process has.
func (p program) find(root string) (string, error) {
	dir := os.Getenv("GATEHOUSE_TEST_BINARIES")
	if dir == "" {
		var err error
		if dir, err = servers.TempDir("binary"); err != nil {
			return "", err
		}
	}
	name := strings.ReplaceAll(path.Join("gatehouse", p.dir), "/", "-")
	if p.race {
		name += "-race"
	}
	binary := filepath.Join(dir, name)
	if _, err := os.Stat(binary); err == nil {
		return binary, nil
	}
	// Other processes must not see half a file.
	building := fmt.Sprintf("%s.%d", binary, os.Getpid())
	if err := p.build(root, building); err != nil {
		return "", err
	}
	return binary, os.Rename(building, binary)
}

func (p program) build(root, output string) error {
	args := []string{"build", "-buildvcs=false", "-o", output}
	if p.race {
		args = append(args, "-race")
	}
	cmd := exec.Command("go", append(args, ".")...)
	cmd.Dir = filepath.Join(root, p.dir) // it may be in another module
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s: %w\n%s", cmd.Dir, err, out)
	}
	return nil
}

// Server is a running `gatehouse serve`.
type Server struct {
	t    testing.TB
	cmd  *exec.Cmd
	addr string
	log  *serverLog
	done chan struct{} // closed when the process has exited
}

// StartServer runs `binary serve args…` and waits until it logs that it is listening. Its
// environment is env and little else. Unless env overrides them, LISTEN_ADDR is a free port of
// 127.0.0.1 and DATA_DIR a directory of the test. The server is stopped when the test ends; a
// failed test logs its output.
func StartServer(t testing.TB, binary string, env map[string]string, args ...string) *Server {
	t.Helper()
	cmd := exec.Command(binary, append([]string{"serve"}, args...)...)
	cmd.Dir = t.TempDir()
	cmd.Env = serverEnv(cmd.Dir, env)
	s := &Server{t: t, cmd: cmd, log: newServerLog(), done: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = s.log, s.log
	cmd.WaitDelay = time.Second // a child of the server may keep the output open
	if err := servers.Start(cmd, syscall.SIGKILL); err != nil {
		t.Fatalf("start the server: %v", err)
	}
	go func() {
		cmd.Wait() // the exit code is in ProcessState
		close(s.done)
	}()
	t.Cleanup(s.cleanup)
	s.awaitAddress()
	return s
}

// awaitAddress waits for the log line "listening" and stores its addr.
func (s *Server) awaitAddress() {
	s.t.Helper()
	select {
	case s.addr = <-s.log.addr:
	case <-s.done:
		s.t.Fatalf("the server exited with code %d before it listened", s.Wait())
	case <-time.After(60 * time.Second):
		s.t.Fatal("the server did not listen within 60 s")
	}
}

// URL returns the base URL, such as http://127.0.0.1:12345, without a trailing slash.
func (s *Server) URL() string { return "http://" + s.addr }

// PID returns the process id of the server.
func (s *Server) PID() int { return s.cmd.Process.Pid }

// Log returns the output so far, stdout and stderr.
func (s *Server) Log() string { return s.log.String() }

// Signal sends a signal to the server's process.
func (s *Server) Signal(sig os.Signal) {
	s.t.Helper()
	if err := s.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		s.t.Fatalf("signal the server: %v", err)
	}
}

// Wait waits for the process to exit and returns its exit code: like a shell, 128 plus the number
// of the signal that ended it.
func (s *Server) Wait() int {
	<-s.done
	if status, ok := s.cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int(status.Signal())
	}
	return s.cmd.ProcessState.ExitCode()
}

// Stop sends SIGTERM and returns the exit code. A server that is still running after 10 s is
// killed and fails the test. Further calls have no effect.
func (s *Server) Stop() int {
	s.t.Helper()
	s.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-s.done:
	case <-time.After(10 * time.Second):
		s.t.Error("the server did not stop within 10 s of SIGTERM")
		servers.KillGroup(s.cmd)
	}
	return s.Wait()
}

func (s *Server) cleanup() {
	s.t.Helper()
	servers.Resume(s.cmd.Process) // in case the test paused it
	s.Stop()
	if strings.Contains(s.Log(), "WARNING: DATA RACE") {
		s.t.Error("the race detector found a data race in the server")
	}
	if s.t.Failed() {
		s.t.Logf("log of the server %s:\n%s", s.addr, s.Log())
	}
}

// serverEnv returns env, its defaults, and the variables that any program needs: settings in a
// developer's shell do not affect the tests.
func serverEnv(dir string, env map[string]string) []string {
	all := map[string]string{"LISTEN_ADDR": "127.0.0.1:0", "DATA_DIR": filepath.Join(dir, "data")}
	for _, name := range []string{"PATH", "HOME", "TMPDIR", "GORACE", "GOCOVERDIR"} {
		if value, ok := os.LookupEnv(name); ok {
			all[name] = value
		}
	}
	maps.Copy(all, env)
	var list []string
	for name, value := range all {
		list = append(list, name+"="+value)
	}
	return list
}

// serverLog collects output and sends the address in the first "listening" line.
type serverLog struct {
	addr chan string // buffered

	mu    sync.Mutex
	text  bytes.Buffer
	read  int // length of the part of text that was searched
	found bool
}

func newServerLog() *serverLog { return &serverLog{addr: make(chan string, 1)} }

func (l *serverLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text.Write(p)
	for !l.found {
		line, _, whole := bytes.Cut(l.text.Bytes()[l.read:], []byte("\n"))
		if !whole {
			break
		}
		l.read += len(line) + 1
		if addr := listeningAddr(line); addr != "" {
			l.found = true
			l.addr <- addr
		}
	}
	return len(p), nil
}

func (l *serverLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

var listeningText = regexp.MustCompile(`\bmsg="?listening"? (?:.* )?addr="?([^" ]+)`)

// listeningAddr returns the addr of a "listening" line of log/slog, JSON or text; else "".
func listeningAddr(line []byte) string {
	var record struct{ Msg, Addr string }
	if json.Unmarshal(line, &record) == nil {
		if record.Msg != "listening" {
			return ""
		}
		return record.Addr
	}
	if match := listeningText.FindSubmatch(line); match != nil {
		return string(match[1])
	}
	return ""
}
