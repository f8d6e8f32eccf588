package app

import (
	"runtime"
	"syscall"
	"testing"
	"unsafe"

	"gatehouse/internal/testkit"
)

// TestRaiseProcs_FollowsTheProcessors changes the CPU affinity, which Go's default counts like the CPU limit of a cgroup.
func TestRaiseProcs_FollowsTheProcessors(t *testing.T) {
	t.Cleanup(runtime.SetDefaultGOMAXPROCS)
	runtime.LockOSThread() // the affinity belongs to a thread
	defer runtime.UnlockOSThread()
	affinity := func(call uintptr, mask *[16]uint64) {
		t.Helper()
		if _, _, errno := syscall.RawSyscall(call, 0, unsafe.Sizeof(*mask), uintptr(unsafe.Pointer(mask))); errno != 0 {
			testkit.Unavailable(t, "the CPU affinity cannot be changed: "+errno.Error())
		}
	}
	var all, one [16]uint64
	affinity(syscall.SYS_SCHED_GETAFFINITY, &all)
	for i, word := range all {
		if one[i] = word & -word; one[i] != 0 {
			break
		}
	}
	raiseProcs()
	before := runtime.GOMAXPROCS(0)
	affinity(syscall.SYS_SCHED_SETAFFINITY, &one)
	raiseProcs()
	if got := runtime.GOMAXPROCS(0); got != 1+hashers {
		t.Errorf("got %d on one processor, want %d", got, 1+hashers)
	}
	affinity(syscall.SYS_SCHED_SETAFFINITY, &all)
	raiseProcs()
	if got := runtime.GOMAXPROCS(0); got != before {
		t.Errorf("got %d on all processors again, want %d", got, before)
	}
}
