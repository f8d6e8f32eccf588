package netlimit

import "syscall"

// tcpUserTimeout is TCP_USER_TIMEOUT, in milliseconds (tcp(7)).
const tcpUserTimeout = 0x12

// limitSocket sets options that accepted connections inherit. A connection ends when the client does not acknowledge
// what the kernel has buffered within the server's own write timeout.
func limitSocket(fd uintptr) error {
	if err := syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_SNDBUF, sendBuffer); err != nil {
		return err
	}
	return syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpUserTimeout, int(writeTimeout.Milliseconds()))
}
