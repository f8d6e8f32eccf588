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

// tick is the unit of times in /proc/PID/stat: USER_HZ, 100 on every Linux that Go runs on.
const tick = 10 * time.Millisecond

// cpuTime returns the processor time that a process took so far, user and system, and that
// of its children which have ended and were waited for.
func cpuTime(pid int) (own, reaped time.Duration, err error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, 0, err
	}
	return parseStat(data)
}

// parseStat reads utime, stime, cutime and cstime: fields 14 to 17 of proc(5).
func parseStat(data []byte) (own, reaped time.Duration, err error) {
	// The name, in parentheses, may hold anything; field 3 follows it.
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

// familyTime is cpuTime of a process and all of its children, ended ones included: a Postgres
// has one for each connection.
func familyTime(pid int) (time.Duration, error) {
	own, reaped, err := cpuTime(pid)
	if err != nil {
		return 0, err
	}
	sum := own + reaped
	for _, child := range servers.ChildPIDs(pid) {
		own, _, err := cpuTime(child)
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
			continue // it has ended since; its parent has its time
		}
		if err != nil {
			return 0, err
		}
		sum += own
	}
	return sum, nil
}

// forgetPeak makes the peak of a process' memory begin anew at what it uses now (proc(5), clear_refs).
func forgetPeak(pid int) error {
	return os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0)
}

// peakMemory returns the most memory that the process had resident (VmHWM), in bytes.
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
