//go:build unix

package servers

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"syscall"
)

// The signals that pause and resume a process.
const (
	stopSignal     = syscall.SIGSTOP
	continueSignal = syscall.SIGCONT
)

func signalPID(pid int, sig syscall.Signal) error { return syscall.Kill(pid, sig) }

// KillGroup kills the process group of a command that was started by Start.
func KillGroup(cmd *exec.Cmd) error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }

// newGroup makes cmd the leader of a new process group.
func newGroup(cmd *exec.Cmd) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setpgid = true
}

// RunAsPostgres makes cmd run as the user postgres and gives the paths to that user, if this
// process is root: Postgres and PgBouncer refuse to run as root.
func RunAsPostgres(cmd *exec.Cmd, paths ...string) error {
	if os.Getuid() != 0 {
		return nil
	}
	uid, gid, err := postgresUser()
	if err != nil {
		return err
	}
	for _, path := range paths {
		if err := os.Chown(path, uid, gid); err != nil {
			return fmt.Errorf("give a file to the user of Postgres: %w", err)
		}
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
	return nil
}

// postgresUser returns the user postgres, or else nobody.
func postgresUser() (uid, gid int, err error) {
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, errUID := strconv.Atoi(u.Uid)
		gid, errGID := strconv.Atoi(u.Gid)
		return uid, gid, errors.Join(errUID, errGID)
	}
	return 0, 0, errors.New("postgres refuses to run as root, and there is no user named postgres or nobody")
}
