package netlimit

import (
	"context"
	"net"
	"syscall"
)

// sendBuffer is the part of a response that the kernel buffers, in octets (Linux reserves twice as much for its
// bookkeeping). The default is megabytes for a client that does not read, which no page needs.
const sendBuffer = 64 << 10

// Listen listens on a TCP address. The kernel's buffers for clients that do not read are bounded.
func Listen(ctx context.Context, addr string) (net.Listener, error) {
	config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var failed error
		err := c.Control(func(fd uintptr) { failed = limitSocket(fd) })
		if err != nil {
			return err
		}
		return failed
	}}
	return config.Listen(ctx, "tcp", addr)
}
