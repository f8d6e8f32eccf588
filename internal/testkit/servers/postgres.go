package servers

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

// debianPostgres is a pattern for the directories of Debian's server programs, which are not in PATH.
const debianPostgres = "/usr/lib/postgresql/*/bin"

// ErrNoPostgres is returned if no Postgres server is installed.
var ErrNoPostgres = errors.New("postgres and initdb are not installed (Debian: postgresql)")

// Postgres is a private cluster with one superuser, postgres, whose random password keeps other
// users of the machine out. Committed data survives a crash of the server, but not of the machine.
type Postgres struct {
	bin, dir, password string
	port               int

	mu   sync.Mutex
	proc *process // nil when stopped
}

// NewPostgres creates and starts a cluster. The error is ErrNoPostgres if no server is installed.
func NewPostgres() (*Postgres, error) {
	bin, err := findPostgres()
	if err != nil {
		return nil, err
	}
	dir, err := TempDir("postgres")
	if err != nil {
		return nil, err
	}
	p := &Postgres{bin: bin, dir: dir, password: rand.Text()}
	if err := p.create(); err != nil {
		os.RemoveAll(dir)
		return nil, err
	}
	return p, nil
}

// create runs initdb and starts the server, on another port if the first was taken meanwhile.
func (p *Postgres) create() error {
	if err := p.initialize(); err != nil {
		return err
	}
	var err error
	for range 3 {
		if p.port, err = FreePort(); err != nil {
			return err
		}
		if err = p.Start(); err == nil {
			return nil
		}
	}
	return err
}

// URL returns the URL of the database postgres, for the superuser.
func (p *Postgres) URL() string {
	return fmt.Sprintf("postgres://postgres:%s@127.0.0.1:%d/postgres?sslmode=disable", p.password, p.port)
}

// PID returns the process id of the postmaster, the parent of all server processes; 0 when stopped.
func (p *Postgres) PID() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.proc.pid()
}

// Start starts a stopped cluster with the same data and port.
func (p *Postgres) Start() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.proc != nil {
		return errors.New("postgres is already running")
	}
	proc, err := p.launch()
	if err != nil {
		return fmt.Errorf("start postgres: %w", err)
	}
	if err := proc.await(func() bool { return p.ready(proc) }); err != nil {
		proc.end(syscall.SIGQUIT)
		return fmt.Errorf("start postgres: %w\n%s", err, tail(p.logFile()))
	}
	p.proc = proc
	return nil
}

// Stop closes all connections and shuts down cleanly (mode "fast").
func (p *Postgres) Stop() error { return p.end(syscall.SIGINT) }

// Kill ends the server like a crash (mode "immediate"): without a checkpoint, so that the next Start recovers.
func (p *Postgres) Kill() error { return p.end(syscall.SIGQUIT) }

func (p *Postgres) end(sig syscall.Signal) error {
	if err := p.Resume(); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	proc := p.proc
	if proc == nil {
		return nil
	}
	p.proc = nil
	return proc.end(sig)
}

// Pause freezes the server: its connections stay open but get no answers.
func (p *Postgres) Pause() error { return p.signalAll(stopSignal) }

// Resume ends a Pause.
func (p *Postgres) Resume() error { return p.signalAll(continueSignal) }

// signalAll signals the postmaster first, so that it starts no more processes, and then each of
// its children: every one of them leads its own process group.
func (p *Postgres) signalAll(sig syscall.Signal) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.proc == nil {
		return nil
	}
	pid := p.proc.cmd.Process.Pid
	if err := p.proc.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("signal postgres: %w", err)
	}
	for _, child := range ChildPIDs(pid) {
		signalPID(child, sig) // fails if the child has exited
	}
	return nil
}

// Remove kills the server and deletes its data.
func (p *Postgres) Remove() error {
	return errors.Join(p.Kill(), os.RemoveAll(p.dir))
}

// initialize creates the data directory for the user that the server will run as. The superuser
// needs a password: it may run programs, and other users may share the machine.
func (p *Postgres) initialize() error {
	password := filepath.Join(p.dir, "password")
	if err := os.WriteFile(password, []byte(p.password+"\n"), 0o600); err != nil {
		return err
	}
	defer os.Remove(password)
	cmd := p.command("initdb", "--pgdata="+p.dataDir(), "--username=postgres", "--pwfile="+password,
		"--auth=password", "--encoding=UTF8", "--locale=C", "--no-sync")
	if err := RunAsPostgres(cmd, p.dir, password); err != nil {
		return err
	}
	return runQuietly(cmd)
}

// launch starts the server process. Without fsync, a killed server still loses nothing, because
// committed data is in the kernel's page cache.
func (p *Postgres) launch() (*process, error) {
	log, err := os.OpenFile(p.logFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := p.command("postgres", "-D", p.dataDir(), "-p", strconv.Itoa(p.port),
		"-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=",
		"-c", "fsync=off", "-c", "full_page_writes=off", "-c", "max_connections=300",
		"-c", "timezone=UTC", "-c", "log_timezone=UTC")
	if err := RunAsPostgres(cmd); err != nil {
		return nil, err
	}
	cmd.Stdout, cmd.Stderr = log, log
	return launch(cmd, syscall.SIGQUIT)
}

func (p *Postgres) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(p.bin, name), args...)
	cmd.Dir = p.dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + p.dir, "LC_ALL=C"}
	return cmd
}

// ready reads the server's lock file: line 1 is the process id, line 8 the state.
func (p *Postgres) ready(proc *process) bool {
	data, err := os.ReadFile(filepath.Join(p.dataDir(), "postmaster.pid"))
	if err != nil {
		return false
	}
	lines := strings.Split(string(data), "\n")
	return len(lines) >= 8 && lines[0] == strconv.Itoa(proc.cmd.Process.Pid) &&
		strings.TrimSpace(lines[7]) == "ready"
}

func (p *Postgres) dataDir() string { return filepath.Join(p.dir, "data") }
func (p *Postgres) logFile() string { return filepath.Join(p.dir, "log") }

// findPostgres returns the directory of postgres and initdb: from PATH, or else the newest of
// Debian's.
func findPostgres() (string, error) {
	if path, err := exec.LookPath("postgres"); err == nil {
		if _, err := exec.LookPath("initdb"); err == nil {
			return filepath.Dir(path), nil
		}
	}
	dirs, err := filepath.Glob(debianPostgres)
	if err != nil {
		return "", err
	}
	slices.SortFunc(dirs, func(a, b string) int { return majorVersion(b) - majorVersion(a) })
	for _, dir := range dirs {
		if _, err := exec.LookPath(filepath.Join(dir, "initdb")); err == nil {
			return dir, nil
		}
	}
	return "", ErrNoPostgres
}

func majorVersion(bin string) int {
	n, err := strconv.Atoi(filepath.Base(filepath.Dir(bin)))
	if err != nil {
		return 0 // such as 9.6, older than all versions with a single number
	}
	return n
}
