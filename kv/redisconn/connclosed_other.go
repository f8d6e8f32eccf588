//go:build !(linux || darwin || freebsd || netbsd || openbsd)

package redisconn

import "net"

// connClosed does nothing on this system: the first request on a closed connection fails and is retried.
func connClosed(net.Conn, bool) error { return nil }
