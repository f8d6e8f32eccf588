package kit

import "time"

const (
	// WaitTimeout bounds the wait for a condition that becomes true within milliseconds on an idle machine. Even on
	// a busy one, only a condition that never becomes true takes this long.
	WaitTimeout = 20 * time.Second
	// ResponseTimeout is the limit for any response, even while a store is down: two seconds for the server, and one
	// more for a busy machine.
	ResponseTimeout = 3 * time.Second
	// RecoveryTime is how long errors may continue after a fault is fixed.
	RecoveryTime = 5 * time.Second
	// MaxDelay is the limit for a change to take effect, on the slowest machine that runs the tests. The actual time
	// is logged; the promised one is read from the metrics.
	MaxDelay = 5 * time.Second
)
