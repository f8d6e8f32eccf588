package kit

import (
	"time"
)

// WaitTimeout bounds the wait for a condition that holds within milliseconds on a quiet machine. Only a server that
// never gets there takes as long, however busy the machine is.
const WaitTimeout = 20 * time.Second

const (
	// ResponseTimeout is how long anybody waits for a page at most, whatever is broken behind it: the
	// server's two seconds, and one for a machine that runs other tests beside it.
	ResponseTimeout = 3 * time.Second
	// RecoveryTime is how long errors may go on when what was broken is back.
	RecoveryTime = 5 * time.Second
)

// MaxDelay is how long a change may take at most to be in effect, on the slowest machine that
// runs the tests; what it takes is printed, and what is promised is read from the metrics.
const MaxDelay = 5 * time.Second
