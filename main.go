// Gatehouse signs people in once and lets every app check it at Redis speed.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"syscall"
)

// hashers is how many passwords are hashed at once: on all processors but one.
var hashers = max(1, runtime.GOMAXPROCS(0)-1)

// makeRoom gives hashing processors of its own, as far as Go knows: a hash computes for 20 ms
// without a pause, and pages would wait for it in the queue of a processor. Sharing the real ones
// is what the system's scheduler is good at. Whoever sets GOMAXPROCS has decided otherwise.
func makeRoom(env map[string]string) {
	if env["GOMAXPROCS"] == "" {
		runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + hashers)
	}
}

// spareHeap is never touched, so that it takes no memory; but the garbage collector counts it. It
// collects when the heap has doubled, and a server whose users are few has hardly any heap to double: it
// would collect a hundred times a second under load. GOGC instead would double the password hashes
// as well. Whoever sets GOGC has decided otherwise.
var spareHeap []byte

func makeSpareHeap(env map[string]string) {
	if env["GOGC"] == "" {
		spareHeap = make([]byte, 16<<20)
	}
	runtime.KeepAlive(spareHeap)
}

func main() {
	ctx, stop := untilSignal(os.Interrupt, syscall.SIGTERM)
	defer stop()
	env := environment(os.Environ())
	makeRoom(env)
	makeSpareHeap(env)
	err := run(ctx, os.Args[1:], env, stdio{os.Stdin, os.Stdout, os.Stderr})
	if err == nil {
		return
	}
	code := exitCode(ctx, err)
	if _, said := errors.AsType[interruption](err); code > 1 && !said {
		err = fmt.Errorf("interrupted: %w", err)
	}
	if !errors.Is(err, errTold) {
		fmt.Fprintln(os.Stderr, "gatehouse:", err)
	}
	os.Exit(code)
}

// errTold: the command has said already what is wrong.
var errTold = errors.New("told")

// stdio is where a command reads and writes.
type stdio struct {
	in       io.Reader
	out, err io.Writer
}

// environment returns the variables by name.
func environment(list []string) map[string]string {
	env := make(map[string]string, len(list))
	for _, entry := range list {
		name, value, _ := strings.Cut(entry, "=")
		env[name] = value
	}
	return env
}
