package servers

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

// DebianPostgres is where Debian keeps the server's programs, outside of PATH.
const DebianPostgres = "/usr/lib/postgresql/*/bin"

// ErrNoPostgres means that this machine has no Postgres server installed.
var ErrNoPostgres = errors.New("postgres and initdb are not installed (Debian: postgresql)")

// Postgres is a private cluster with one superuser, postgres, and a password of its own,
// so that nobody else on the machine gets in. It keeps what was committed when the server
// is killed, but not when the machine is.
type Postgres struct {
	bin, dir, password string
	port               int

	mu   sync.Mutex
	proc *process // nil while stopped
}

// NewPostgres makes a cluster and starts it.
func NewPostgres() (*Postgres, error) {
	bin, err := FindPostgres()
	if err != nil {
		return nil, err
	}
	dir, err := Scratch("postgres")
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

// create runs initdb and the first start, with another port if one was snatched.
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

// URL names the cluster's own database, postgres.
func (p *Postgres) URL() string {
	return fmt.Sprintf("postgres://postgres:%s@127.0.0.1:%d/postgres?sslmode=disable", p.password, p.port)
}

// PID is the number of the first process, whose children the others are; 0 while stopped.
func (p *Postgres) PID() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.proc.pid()
}

// Start starts a stopped cluster, with the data and the port it had.
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

// Stop ends all connections and shuts down in order ("fast").
func (p *Postgres) Stop() error { return p.end(syscall.SIGINT) }

// Kill ends the server as a crash would ("immediate"): no checkpoint, recovery at the next Start.
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

// Pause freezes the server and all its connections: they stay open and answer nothing.
func (p *Postgres) Pause() error { return p.signalAll(syscall.SIGSTOP) }

// Resume ends a Pause.
func (p *Postgres) Resume() error { return p.signalAll(syscall.SIGCONT) }

// signalAll signals the server first, so that it starts no further process meanwhile. Its
// children are looked up one by one, because each is a process group of its own.
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
	for _, child := range Children(pid) {
		syscall.Kill(child, sig) // it may have ended meanwhile
	}
	return nil
}

// Remove kills the server and deletes its data.
func (p *Postgres) Remove() error {
	return errors.Join(p.Kill(), os.RemoveAll(p.dir))
}

// initialize creates the data directory, owned by whoever the server will run as. Trust
// would do for tests, but a superuser may run programs, and others may share the machine.
func (p *Postgres) initialize() error {
	cred, err := PostgresUser()
	if err != nil {
		return err
	}
	password := filepath.Join(p.dir, "password")
	if err := os.WriteFile(password, []byte(p.password+"\n"), 0o600); err != nil {
		return err
	}
	defer os.Remove(password)
	if cred != nil {
		uid, gid := int(cred.Uid), int(cred.Gid)
		if err := errors.Join(os.Chown(p.dir, uid, gid), os.Chown(password, uid, gid)); err != nil {
			return fmt.Errorf("give the data directory to postgres: %w", err)
		}
	}
	cmd := p.command("initdb", "--pgdata="+p.dataDir(), "--username=postgres", "--pwfile="+password,
		"--auth=password", "--encoding=UTF8", "--locale=C", "--no-sync")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: cred}
	return output(cmd)
}

// launch starts the server. It skips fsync, which only a crash of the machine would miss;
// what a client saw committed is still in the kernel's cache when the server is killed.
func (p *Postgres) launch() (*process, error) {
	cred, err := PostgresUser()
	if err != nil {
		return nil, err
	}
	log, err := os.OpenFile(p.logFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := p.command("postgres", "-D", p.dataDir(), "-p", strconv.Itoa(p.port),
		"-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=",
		"-c", "fsync=off", "-c", "full_page_writes=off", "-c", "max_connections=300",
		"-c", "timezone=UTC", "-c", "log_timezone=UTC")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: cred}
	cmd.Stdout, cmd.Stderr = log, log
	return launch(cmd, syscall.SIGQUIT)
}

func (p *Postgres) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(p.bin, name), args...)
	cmd.Dir = p.dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + p.dir, "LC_ALL=C"}
	return cmd
}

// ready reads the server's lock file: its first line is the process id, the eighth the state.
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

// FindPostgres returns the directory with postgres and initdb: the one in PATH, else the
// newest of Debian's. The error is ErrNoPostgres if there is none.
func FindPostgres() (string, error) {
	if path, err := exec.LookPath("postgres"); err == nil {
		if _, err := exec.LookPath("initdb"); err == nil {
			return filepath.Dir(path), nil
		}
	}
	dirs, err := filepath.Glob(DebianPostgres)
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
		return 0 // such as 9.6: older than any that is a whole number
	}
	return n
}

// PostgresUser says whom to run Postgres as, since it refuses to run as root; nil means oneself.
func PostgresUser() (*syscall.Credential, error) {
	if os.Getuid() != 0 {
		return nil, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, errU := strconv.ParseUint(u.Uid, 10, 32)
		gid, errG := strconv.ParseUint(u.Gid, 10, 32)
		if err := errors.Join(errU, errG); err != nil {
			return nil, err
		}
		return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
	}
	return nil, errors.New("postgres does not run as root, and there is no user postgres or nobody")
}

// Children lists the direct children of a process.
func Children(pid int) []int {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil
	}
	var found []int
	for _, stat := range stats {
		data, err := os.ReadFile(stat)
		if err != nil {
			continue // it has ended
		}
		// The name, in parentheses, may hold anything; state and parent follow it (proc(5)).
		fields := strings.Fields(string(data[bytes.LastIndexByte(data, ')')+1:]))
		if len(fields) < 2 || fields[1] != strconv.Itoa(pid) {
			continue
		}
		if child, err := strconv.Atoi(filepath.Base(filepath.Dir(stat))); err == nil {
			found = append(found, child)
		}
	}
	return found
}
