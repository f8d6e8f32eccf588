package servers

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

// Start starts cmd in a new process group. When this process dies, even by SIGKILL, the kernel
// sends deathSignal to cmd.
func Start(cmd *exec.Cmd, deathSignal syscall.Signal) error {
	newGroup(cmd)
	cmd.SysProcAttr.Pdeathsig = deathSignal
	result := make(chan error)
	spawner() <- func() { result <- cmd.Start() }
	return <-result
}

// spawner returns a channel of functions to run on one thread that lives as long as the process.
// The kernel sends the death signal when the thread that started the child ends, and Go may end
// any other thread at any time.
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

// DieWithParent makes the kernel send SIGTERM to this process when its parent dies: `go run` and
// make do not forward signals if they are killed. Call it on the main goroutine.
func DieWithParent() {
	runtime.LockOSThread() // the setting belongs to the thread
	syscall.RawSyscall(syscall.SYS_PRCTL, syscall.PR_SET_PDEATHSIG, uintptr(syscall.SIGTERM), 0)
}

// ChildPIDs returns the process ids of the direct children of a process.
func ChildPIDs(pid int) []int {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil
	}
	var found []int
	for _, stat := range stats {
		data, err := os.ReadFile(stat)
		if err != nil {
			continue // it has exited
		}
		// State and parent follow the name, which is in parentheses and may contain anything (proc(5)).
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
