package web

import (
	"context"
	"net"
	"syscall"
)

// sendBuffer is how much of a response the system takes off our hands, in octets (Linux counts
// twice as much for its own bookkeeping). Left to itself it takes megabytes for a client that
// does not read; no page needs them.
const sendBuffer = 64 << 10

// Listen listens on a TCP address with bounds for clients that do not read.
func Listen(ctx context.Context, addr string) (net.Listener, error) {
	config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var failed error
		err := c.Control(func(fd uintptr) { failed = boundSocket(fd) })
		if err != nil {
			return err
		}
		return failed
	}}
	return config.Listen(ctx, "tcp", addr)
}
