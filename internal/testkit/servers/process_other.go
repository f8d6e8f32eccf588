//go:build unix && !linux

package servers

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
)

// watchParent signals the process group $2 with signal $3 once process $1 has ended. It exits
// when the process $2 ends first.
const watchParent = `trap "" HUP INT TERM
while kill -0 "$1"; do kill -0 "$2" || exit; sleep 1; done
kill -s "$3" -- "-$2"`

// Start starts cmd in a new process group. Within a second after this process has died, even by
// SIGKILL, a shell sends deathSignal to the group: only Linux has death signals.
func Start(cmd *exec.Cmd, deathSignal syscall.Signal) error {
	newGroup(cmd)
	if err := cmd.Start(); err != nil {
		return err
	}
	watcher := exec.Command("/bin/sh", "-c", watchParent, "gatehouse-watcher",
		strconv.Itoa(os.Getpid()), strconv.Itoa(cmd.Process.Pid), strconv.Itoa(int(deathSignal)))
	newGroup(watcher)
	if err := watcher.Start(); err != nil {
		KillGroup(cmd)
		cmd.Wait()
		return fmt.Errorf("start the watcher of %s: %w", cmd.Path, err)
	}
	go watcher.Wait()
	return nil
}

// DieWithParent does nothing: only Linux has death signals.
func DieWithParent() {}

// ChildPIDs returns the process ids of the direct children of a process.
func ChildPIDs(pid int) []int {
	out, err := exec.Command("pgrep", "-P", strconv.Itoa(pid)).Output()
	if err != nil {
		return nil // exit code 1: no children
	}
	var found []int
	for _, field := range strings.Fields(string(out)) {
		if child, err := strconv.Atoi(field); err == nil {
			found = append(found, child)
		}
	}
	return found
}
