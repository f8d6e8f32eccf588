package kvtest

import (
	"bufio"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// FakeServer is a Redis server with scripted replies.
type FakeServer struct {
	Dials atomic.Int64

	address string
	reply   func(n int64, words []string) string
	mu      sync.Mutex
	names   []string
}

// StartFakeServer starts a server on TCP. reply gets the number of the command, from 1 over all
// connections, and its words; it returns the reply, or "" to close the connection.
func StartFakeServer(t *testing.T, reply func(n int64, words []string) string) *FakeServer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	f := &FakeServer{address: l.Addr().String(), reply: reply}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			f.Dials.Add(1)
			go f.serve(c)
		}
	}()
	return f
}

// URL returns the server's URL with a password, or without one for "".
func (f *FakeServer) URL(password string) string {
	if password == "" {
		return "redis://" + f.address
	}
	return "redis://:" + password + "@" + f.address
}

// Commands returns the names of all received commands, separated by blanks.
func (f *FakeServer) Commands() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return strings.Join(f.names, " ")
}

func (f *FakeServer) serve(c net.Conn) {
	defer c.Close()
	in := bufio.NewReader(c)
	for {
		head, err := in.ReadString('\n')
		if err != nil {
			return
		}
		count, _ := strconv.Atoi(strings.TrimSpace(head[1:]))
		words := make([]string, count)
		for i := range words {
			size, _ := in.ReadString('\n')
			n, _ := strconv.Atoi(strings.TrimSpace(size[1:]))
			word := make([]byte, n+len("\r\n"))
			io.ReadFull(in, word)
			words[i] = string(word[:n])
		}
		f.mu.Lock()
		f.names = append(f.names, words[0])
		n := int64(len(f.names))
		f.mu.Unlock()
		reply := f.reply(n, words)
		if reply == "" {
			return
		}
		c.Write([]byte(reply))
	}
}
