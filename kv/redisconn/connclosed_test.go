package redisconn

import (
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"gatehouse/internal/testkit"
)

// TestConnClosed_SeesStrayReplies: a late reply must not answer the next request.
func TestConnClosed_SeesStrayReplies(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	near, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer near.Close()
	far, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	if err := connClosed(near, false); err != nil {
		t.Errorf("an idle connection: got %v, want no error", err)
	}
	far.Write([]byte("+stray\r\n"))
	testkit.Eventually(t, 10*time.Second, "stray data is seen", func() bool { return errors.Is(connClosed(near, false), errUnexpectedData) })
	if err := connClosed(near, true); err != nil {
		t.Errorf("data under TLS: got %v, want no error", err)
	}
	near.Read(make([]byte, 100))
	far.Close()
	testkit.Eventually(t, 10*time.Second, "the close is seen", func() bool { return errors.Is(connClosed(near, true), io.EOF) })
}
