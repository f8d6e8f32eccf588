//go:build linux || darwin || freebsd || netbsd || openbsd

package redisconn

import (
	"errors"
	"io"
	"net"
	"syscall"
)

var errUnexpectedData = errors.New("unexpected data on an idle connection")

// connClosed returns an error if the server has closed the connection, or if an unread reply, which
// belongs to an earlier request, lies in it. It peeks and never blocks. Data under TLS may be
// a session ticket and is ignored.
func connClosed(socket net.Conn, tls bool) error {
	s, ok := socket.(syscall.Conn)
	if !ok {
		return nil
	}
	raw, err := s.SyscallConn()
	if err != nil {
		return err
	}
	var found error
	err = raw.Control(func(fd uintptr) { found = peek(int(fd), tls) })
	return errors.Join(err, found)
}

func peek(fd int, tls bool) error {
	var b [1]byte
	n, _, err := syscall.Recvfrom(fd, b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
	switch {
	case errors.Is(err, syscall.EAGAIN), errors.Is(err, syscall.EINTR):
		return nil
	case err != nil:
		return err
	case n == 0:
		return io.EOF
	case !tls:
		return errUnexpectedData
	}
	return nil
}
