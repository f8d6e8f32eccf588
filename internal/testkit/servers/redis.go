package servers

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// ErrNoRedis is returned if no Redis server is installed.
var ErrNoRedis = errors.New("redis-server is not installed (Debian: redis-server)")

// Redis is a private Redis server that listens on 127.0.0.1 and on a Unix socket. It stores
// nothing on disk unless its arguments ask for it.
type Redis struct {
	bin, dir string
	args     []string
	port     int

	mu   sync.Mutex
	proc *process // nil when stopped
}

// NewRedis starts a Redis. args, such as "--appendonly", "yes", override its defaults. The error
// is ErrNoRedis if no server is installed.
func NewRedis(args ...string) (*Redis, error) {
	bin, err := exec.LookPath("redis-server")
	if err != nil {
		return nil, ErrNoRedis
	}
	dir, err := TempDir("redis")
	if err != nil {
		return nil, err
	}
	r := &Redis{bin: bin, dir: dir, args: args}
	for range 3 { // in case another process takes the port
		if r.port, err = FreePort(); err != nil {
			break
		}
		if err = r.Start(); err == nil {
			return r, nil
		}
	}
	os.RemoveAll(dir)
	return nil, err
}

// URL returns redis://127.0.0.1:PORT, without a path.
func (r *Redis) URL() string { return "redis://" + r.Addr() }

// Addr returns the TCP address, host:port.
func (r *Redis) Addr() string { return "127.0.0.1:" + strconv.Itoa(r.port) }

// Socket returns the path of the Unix socket.
func (r *Redis) Socket() string { return filepath.Join(r.dir, "redis.sock") }

// PID returns the process id; 0 when stopped.
func (r *Redis) PID() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.proc.pid()
}

// Start starts a stopped Redis on the same port and socket.
func (r *Redis) Start() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.proc != nil {
		return errors.New("redis is already running")
	}
	proc, err := r.launch()
	if err != nil {
		return fmt.Errorf("start redis: %w", err)
	}
	if err := proc.await(r.ready); err != nil {
		proc.end(syscall.SIGKILL)
		return fmt.Errorf("start redis: %w\n%s", err, tail(r.logFile()))
	}
	r.proc = proc
	return nil
}

// Stop shuts the server down cleanly.
func (r *Redis) Stop() error { return r.end(syscall.SIGTERM) }

// Kill ends the server with SIGKILL.
func (r *Redis) Kill() error { return r.end(syscall.SIGKILL) }

func (r *Redis) end(sig syscall.Signal) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	proc := r.proc
	if proc == nil {
		return nil
	}
	r.proc = nil
	return proc.end(sig)
}

// Pause freezes the server: connections stay open, and the kernel accepts new ones, but none gets
// an answer.
func (r *Redis) Pause() error { return r.signal(stopSignal) }

// Resume ends a Pause.
func (r *Redis) Resume() error { return r.signal(continueSignal) }

func (r *Redis) signal(sig syscall.Signal) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.proc == nil {
		return nil
	}
	return r.proc.cmd.Process.Signal(sig)
}

// Remove kills the server and deletes its files.
func (r *Redis) Remove() error {
	return errors.Join(r.Kill(), os.RemoveAll(r.dir))
}

func (r *Redis) launch() (*process, error) {
	log, err := os.OpenFile(r.logFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	// The socket of a killed server would make this one look ready.
	if err := os.Remove(r.Socket()); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	defaults := []string{"--bind", "127.0.0.1", "--port", strconv.Itoa(r.port),
		"--unixsocket", r.Socket(), "--unixsocketperm", "700",
		"--dir", r.dir, "--save", "", "--appendonly", "no", "--daemonize", "no"}
	cmd := exec.Command(r.bin, slices.Concat(defaults, r.args)...)
	cmd.Dir = r.dir
	cmd.Stdout, cmd.Stderr = log, log
	return launch(cmd, syscall.SIGKILL)
}

// ready sends PING. A server that demands a password is ready; one that is still loading its data
// is not.
func (r *Redis) ready() bool {
	conn, err := net.DialTimeout("unix", r.Socket(), time.Second)
	if err != nil {
		return false
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(time.Second))
	if _, err := conn.Write([]byte("PING\r\n")); err != nil {
		return false
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	return err == nil && (strings.HasPrefix(line, "+PONG") || strings.HasPrefix(line, "-NOAUTH"))
}

func (r *Redis) logFile() string { return filepath.Join(r.dir, "log") }
