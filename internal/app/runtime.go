package app

import (
	"context"
	"os"
	"runtime"
	"time"
)

// hashers is the maximum number of concurrent password hashes: one less than there are processors, so that requests
// without a hash always find a free one.
var hashers = max(1, runtime.GOMAXPROCS(0)-1)

// procsInterval is how often reserveProcs adapts to a changed number of processors.
const procsInterval = 30 * time.Second

// reserveProcs keeps GOMAXPROCS above its default by one for each hasher, until ctx ends. A hash computes for 20 ms
// without a pause, and requests would wait behind it in the run queue of its processor; the operating system shares
// the real processors fairly. Setting GOMAXPROCS stops Go from following the CPU limit of the cgroup, so reserveProcs
// follows it. It does nothing if the operator set GOMAXPROCS.
func reserveProcs(ctx context.Context) {
	if os.Getenv("GOMAXPROCS") != "" {
		return
	}
	raiseProcs()
	ticker := time.NewTicker(procsInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			raiseProcs()
		case <-ctx.Done():
			return
		}
	}
}

// raiseProcs sets GOMAXPROCS to its default for the present CPU limit and affinity, plus one for each hasher.
func raiseProcs() {
	runtime.SetDefaultGOMAXPROCS()
	runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + hashers)
}

// heapBallast is never touched and so takes no memory, but the garbage collector counts it. It collects when the heap
// has doubled: without ballast, the small heap of a server with few users doubles a hundred times a second under load.
// GOGC would also let the memory of password hashes double.
var heapBallast []byte

// allocateHeapBallast does nothing if the operator set GOGC.
func allocateHeapBallast() {
	if os.Getenv("GOGC") == "" && heapBallast == nil {
		heapBallast = make([]byte, 16<<20)
	}
}
