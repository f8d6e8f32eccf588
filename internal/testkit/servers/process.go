package servers

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// startTimeout bounds the wait for a server to become ready, generously, for busy machines.
const startTimeout = 60 * time.Second

// process is a running program; a goroutine waits for its exit.
type process struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when the process has exited
}

func launch(cmd *exec.Cmd, death syscall.Signal) (*process, error) {
	if err := Start(cmd, death); err != nil {
		return nil, err
	}
	p := &process{cmd: cmd, done: make(chan struct{})}
	go func() {
		cmd.Wait() // the log says more than the exit code
		close(p.done)
	}()
	return p, nil
}

// pid returns 0 for a nil process.
func (p *process) pid() int {
	if p == nil {
		return 0
	}
	return p.cmd.Process.Pid
}

// await polls ready until it returns true. It fails if the process exits or startTimeout passes.
func (p *process) await(ready func() bool) error {
	deadline := time.NewTimer(startTimeout)
	defer deadline.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ready() {
		select {
		case <-p.done:
			return errors.New("the process exited")
		case <-deadline.C:
			return fmt.Errorf("not ready after %v", startTimeout)
		case <-tick.C:
		}
	}
	return nil
}

// Resume resumes a paused process.
func Resume(p *os.Process) error { return p.Signal(continueSignal) }

// end sends sig, and SIGKILL to the process group if the process is still running 10 seconds
// later. A paused process is resumed, so that it can handle the signal.
func (p *process) end(sig syscall.Signal) error {
	p.cmd.Process.Signal(sig)
	Resume(p.cmd.Process)
	select {
	case <-p.done:
		return nil
	case <-time.After(10 * time.Second):
	}
	KillGroup(p.cmd)
	<-p.done
	return fmt.Errorf("%s ignored %v for 10 seconds and was killed", filepath.Base(p.cmd.Path), sig)
}

// TempDir creates a directory that is removed when this process ends, if not before.
func TempDir(name string) (string, error) {
	root, err := tempRoot()
	if err != nil {
		return "", err
	}
	return os.MkdirTemp(root, name+"-")
}

// tempRoot creates the parent of all TempDirs, once per process. Other users may traverse it,
// because root runs Postgres as another user.
var tempRoot = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp(systemTempDir(), "gatehouse-")
	if err != nil {
		return "", err
	}
	if err := os.Chmod(dir, 0o711); err != nil {
		return "", err
	}
	return dir, removeAtExit(dir)
})

// systemTempDir returns os.TempDir, or /tmp if that is too long for the path of a Unix socket
// (104 bytes on macOS) or cannot be traversed by other users.
func systemTempDir() string {
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

// removeAtExit starts a shell that removes dir once its standard input ends, that is, when the
// kernel closes the pipe of a process that has ended. It retries for five seconds, because servers
// may still write to dir.
func removeAtExit(dir string) error {
	input, output, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("create a pipe: %w", err)
	}
	defer input.Close()
	const script = `trap "" HUP INT TERM
while read -r _; do :; done
for try in 1 2 3 4 5 6 7 8 9 10; do rm -rf -- "$1" && exit; sleep 0.5; done`
	cmd := exec.Command("/bin/sh", "-c", script, "gatehouse-cleanup", dir)
	cmd.Dir = "/"
	cmd.Stdin = input
	newGroup(cmd)
	if err := cmd.Start(); err != nil {
		output.Close()
		return fmt.Errorf("start the shell that removes %s: %w", dir, err)
	}
	go func() {
		cmd.Wait() // leaves no zombie if the shell is killed
		output.Close()
	}()
	return nil
}

// tail returns the last 4,000 bytes of a log file, for error messages.
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

// runQuietly runs a command. Its output becomes part of the error, if there is one.
func runQuietly(cmd *exec.Cmd) error {
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w\n%s", filepath.Base(cmd.Path), err, out)
	}
	return nil
}
