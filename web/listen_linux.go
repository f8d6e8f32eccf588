package web

import "syscall"

// tcpUserTimeout is TCP_USER_TIMEOUT, in milliseconds (tcp(7)).
const tcpUserTimeout = 0x12

// boundSocket sets the options, which connections take over from their listener. A response that
// the system has taken and the client does not acknowledge ends the connection in the time that
// we would have given it.
func boundSocket(fd uintptr) error {
	if err := syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_SNDBUF, sendBuffer); err != nil {
		return err
	}
	return syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpUserTimeout, int(writeTimeout.Milliseconds()))
}
