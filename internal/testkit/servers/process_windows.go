package servers

import (
	"errors"
	"os/exec"
	"syscall"
)

// Windows has no such signals: to send one fails.
const (
	stopSignal     = syscall.Signal(0x100)
	continueSignal = syscall.Signal(0x101)
)

var errWindows = errors.New("the test servers do not support Windows")

// Start fails: nothing would end the process with this one.
func Start(*exec.Cmd, syscall.Signal) error { return errWindows }

// DieWithParent does nothing.
func DieWithParent() {}

// ChildPIDs returns nothing.
func ChildPIDs(int) []int { return nil }

// KillGroup fails.
func KillGroup(*exec.Cmd) error { return errWindows }

// RunAsPostgres does nothing.
func RunAsPostgres(*exec.Cmd, ...string) error { return nil }

func signalPID(int, syscall.Signal) error { return errWindows }

func newGroup(*exec.Cmd) {}
