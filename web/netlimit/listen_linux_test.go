package netlimit

import (
	"net"
	"syscall"
	"testing"
)

// TestListen_AcceptedConnectionsInheritLimits: the options set on the listener apply to its connections.
func TestListen_AcceptedConnectionsInheritLimits(t *testing.T) {
	listener, err := Listen(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	client, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	conn, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	raw, err := conn.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var buffer, timeout int
	err = raw.Control(func(fd uintptr) {
		buffer, _ = syscall.GetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_SNDBUF)
		timeout, _ = syscall.GetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpUserTimeout)
	})
	if err != nil {
		t.Fatal(err)
	}
	if buffer > 2*sendBuffer || buffer < 4096 || timeout != int(writeTimeout.Milliseconds()) {
		t.Errorf("the connection has a send buffer of %d octets and a user timeout of %d ms", buffer, timeout)
	}
}
