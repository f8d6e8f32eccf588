// Package servers starts private Postgres and Redis servers on free ports, for tests and
// for the gate. Nothing it starts or writes outlives the process that asked for it,
// however that process ends.
package servers

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"time"
)

// startTimeout bounds the wait for a server to answer; loaded machines are slow.
const startTimeout = 60 * time.Second

// Start starts cmd in a process group of its own. The kernel sends it the signal death
// when this process dies, even if by SIGKILL.
func Start(cmd *exec.Cmd, death syscall.Signal) error {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setpgid = true
	cmd.SysProcAttr.Pdeathsig = death
	result := make(chan error)
	spawner() <- func() { result <- cmd.Start() }
	return <-result
}

// spawner runs jobs on one thread that lives as long as the process: the kernel sends the
// death signal when the starting thread ends, and Go's other threads may end at any time.
var spawner = sync.OnceValue(func() chan<- func() {
	jobs := make(chan func())
	go func() {
		runtime.LockOSThread()
		for job := range jobs {
			job()
		}
	}()
	return jobs
})

// process is a started program whose end is awaited in the background.
type process struct {
	cmd  *exec.Cmd
	done chan struct{}
}

func launch(cmd *exec.Cmd, death syscall.Signal) (*process, error) {
	if err := Start(cmd, death); err != nil {
		return nil, err
	}
	p := &process{cmd: cmd, done: make(chan struct{})}
	go func() {
		cmd.Wait() // the exit code says nothing that the log does not
		close(p.done)
	}()
	return p, nil
}

// pid is 0 for no process.
func (p *process) pid() int {
	if p == nil {
		return 0
	}
	return p.cmd.Process.Pid
}

// await polls ready until it holds; the error says whether the process ended or hangs.
func (p *process) await(ready func() bool) error {
	deadline := time.NewTimer(startTimeout)
	defer deadline.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ready() {
		select {
		case <-p.done:
			return errors.New("it ended at once")
		case <-deadline.C:
			return fmt.Errorf("no answer within %v", startTimeout)
		case <-tick.C:
		}
	}
	return nil
}

// end sends the signal, then SIGKILL to the whole group if that does not end the process
// within 10 seconds. A stopped process is continued, so that it sees the signal.
func (p *process) end(sig syscall.Signal) error {
	p.cmd.Process.Signal(sig)
	p.cmd.Process.Signal(syscall.SIGCONT)
	select {
	case <-p.done:
		return nil
	case <-time.After(10 * time.Second):
	}
	syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
	<-p.done
	return fmt.Errorf("%s ignored %v for 10 seconds and was killed", filepath.Base(p.cmd.Path), sig)
}

// Scratch makes a new directory that is removed, at the latest, when this process ends.
func Scratch(name string) (string, error) {
	root, err := scratchRoot()
	if err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp(root, name+"-")
	if err != nil {
		return "", err
	}
	return dir, nil
}

// scratchRoot is made once per process. Others may pass through it, because Postgres runs
// as another user when we are root.
var scratchRoot = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp(tempDir(), "gatehouse-")
	if err != nil {
		return "", err
	}
	if err := os.Chmod(dir, 0o711); err != nil {
		return "", err
	}
	return dir, removeAtExit(dir)
})

// tempDir is os.TempDir, or /tmp where that is too long for a socket's path (108 bytes) or
// closed to other users.
func tempDir() string {
	dir := os.TempDir()
	if len(dir) > 50 {
		return "/tmp"
	}
	for p := dir; ; p = filepath.Dir(p) {
		info, err := os.Stat(p)
		if err != nil || info.Mode().Perm()&0o001 == 0 {
			return "/tmp"
		}
		if p == filepath.Dir(p) {
			return dir
		}
	}
}

// removeAtExit starts a shell that removes dir once its standard input ends, which is when
// this process has died. It tries for a while: servers may still be writing there.
func removeAtExit(dir string) error {
	// The writing end stays a bare descriptor: a file would be closed by the garbage collector.
	var pipe [2]int
	if err := syscall.Pipe2(pipe[:], syscall.O_CLOEXEC); err != nil {
		return fmt.Errorf("make a pipe: %w", err)
	}
	input := os.NewFile(uintptr(pipe[0]), "lifeline")
	defer input.Close()
	const script = `trap "" HUP INT TERM
while read -r _; do :; done
for try in 1 2 3 4 5 6 7 8 9 10; do rm -rf -- "$1" && exit; sleep 0.5; done`
	cmd := exec.Command("/bin/sh", "-c", script, "gatehouse-cleanup", dir)
	cmd.Dir = "/"
	cmd.Stdin = input
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		syscall.Close(pipe[1])
		return fmt.Errorf("start the remover of %s: %w", dir, err)
	}
	go cmd.Wait() // not left as a zombie if somebody kills it
	return nil
}

// tail returns the end of a log file, for error messages.
func tail(path string) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	if len(data) > 4000 {
		data = data[len(data)-4000:]
	}
	return string(data)
}

// output runs a helper program to its end; the error carries what it printed.
func output(cmd *exec.Cmd) error {
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w\n%s", filepath.Base(cmd.Path), err, out)
	}
	return nil
}
