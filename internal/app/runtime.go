// Package app opens the stores, wires the server and runs it. It knows nothing of commands or terminals.
package app

import (
	"os"
	"runtime"
	"sync"
)

// hashers is how many passwords are hashed concurrently: on all processors but one.
var hashers = max(1, runtime.GOMAXPROCS(0)-1)

// reserveProcs gives hashing processors of its own, as far as Go knows: a hash computes for 20 ms
// without a pause, and pages would wait for it in the queue of a processor. Sharing the real ones
// is what the system's scheduler is good at. An operator who sets GOMAXPROCS has decided otherwise.
func reserveProcs() {
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + hashers)
	}
}

// heapBallast is never touched, so that it takes no memory; but the garbage collector counts it. It
// collects when the heap has doubled, and a server whose users are few has hardly any heap to double: it
// would collect a hundred times a second under load. GOGC instead would double the password hashes
// as well. An operator who sets GOGC has decided otherwise.
var heapBallast []byte

func allocateHeapBallast() {
	if os.Getenv("GOGC") == "" {
		heapBallast = make([]byte, 16<<20)
	}
	runtime.KeepAlive(heapBallast)
}

// tuneRuntime prepares Go's scheduler and garbage collector for a server, once in a process.
var tuneRuntime = sync.OnceFunc(func() {
	reserveProcs()
	allocateHeapBallast()
})
