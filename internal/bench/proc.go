//go:build linux

package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"gatehouse/internal/testkit/servers"
)

// tick is the unit of times in /proc/PID/stat: USER_HZ is 100 wherever Go runs on Linux.
const tick = 10 * time.Millisecond

// cpuTime returns the user and system time that a process has used, and that of its children that
// have exited and been waited for.
func cpuTime(pid int) (own, reaped time.Duration, err error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, 0, err
	}
	return parseStat(data)
}

// parseStat reads utime, stime, cutime and cstime: fields 14 to 17 of proc(5).
func parseStat(data []byte) (own, reaped time.Duration, err error) {
	// Field 3 follows the name, which is in parentheses and may contain anything.
	fields := strings.Fields(string(data[bytes.LastIndexByte(data, ')')+1:]))
	if len(fields) < 15 {
		return 0, 0, errors.New("/proc/PID/stat is too short")
	}
	var t [4]time.Duration
	for i := range t {
		n, err := strconv.ParseInt(fields[11+i], 10, 64)
		if err != nil {
			return 0, 0, fmt.Errorf("/proc/PID/stat: %w", err)
		}
		t[i] = time.Duration(n) * tick
	}
	return t[0] + t[1], t[2] + t[3], nil
}

// treeTime returns the CPU time of a process and its children, including those that have exited.
// Postgres has a child for each connection.
func treeTime(pid int) (time.Duration, error) {
	own, reaped, err := cpuTime(pid)
	if err != nil {
		return 0, err
	}
	sum := own + reaped
	for _, child := range servers.ChildPIDs(pid) {
		own, _, err := cpuTime(child)
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
			continue // it has exited; its time is in that of its parent
		}
		if err != nil {
			return 0, err
		}
		sum += own
	}
	return sum, nil
}

// resetPeakMemory resets the peak of a process's memory to the current use (proc(5), clear_refs).
func resetPeakMemory(pid int) error {
	return os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0)
}

// peakMemory returns the peak of the resident memory (VmHWM), in bytes.
func peakMemory(pid int) (int64, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(data)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			n, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			return n << 10, err
		}
	}
	return 0, errors.New("/proc/PID/status has no VmHWM")
}
