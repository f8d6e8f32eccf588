package kit

import "time"

const (
	// WaitTimeout bounds the wait for a condition that holds within milliseconds on an idle machine. Only a server
	// that never gets there takes as long, however busy the machine is.
	WaitTimeout = 20 * time.Second
	// ResponseTimeout is the limit for any response, whatever is broken behind it: the server's two seconds, and one
	// more for a busy machine.
	ResponseTimeout = 3 * time.Second
	// RecoveryTime is how long errors may continue after a fault is fixed.
	RecoveryTime = 5 * time.Second
	// MaxDelay is the limit for a change to take effect, on the slowest machine that runs the tests. The actual time
	// is logged; the promised one is read from the metrics.
	MaxDelay = 5 * time.Second
)
