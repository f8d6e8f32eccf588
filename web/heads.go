package web

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"time"
)

// Bounds of a request head: the request line and the header fields. net/http bounds its octets
// (maxHeader), but neither the number of its fields, each of which costs some 100 octets in a map,
// nor what all heads hold together.
const (
	// maxHeadLines is how many lines a head may have. Browsers and proxies send some 30.
	maxHeadLines = 128
	// freeHead is how many octets of a head are not counted; few heads are larger. It is the size
	// of net/http's read buffer.
	freeHead = 4 << 10
	// headCost is how many octets of memory an octet of a large head takes (measured: a head of
	// 58 KB with one value takes 0.3 MB while it is parsed).
	headCost = 6

	// refuseTime bounds how long a refused client may take to read that it was refused.
	refuseTime = 500 * time.Millisecond
)

const tooManyFields = "HTTP/1.1 431 Request Header Fields Too Large\r\nContent-Type: text/plain; charset=utf-8\r\n" +
	"Connection: close\r\n\r\n431 Request Header Fields Too Large"

// Bound returns the listener with bounds for the request heads of its connections. The server of
// HTTPServer has to serve it.
func (s *Server) Bound(l net.Listener) net.Listener {
	return boundListener{Listener: l, transfers: &s.transfers}
}

type boundListener struct {
	net.Listener
	transfers *transfers
}

func (l boundListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &clientConn{Conn: conn, transfers: l.transfers, inHead: true}, nil
}

// clientConn is a client's connection. It counts the lines and octets of request heads as they are
// read. Its fields belong to the goroutine that net/http serves the connection with: the other one,
// which waits for the client to go, reads a single octet.
type clientConn struct {
	net.Conn
	transfers *transfers
	transfer  transfer

	// inHead is set from the end of a response to the end of the next head.
	inHead bool
	// begun is set once a line of the head was not empty: net/http skips empty lines before it.
	begun bool
	// inLine is set while the current line is not empty.
	inLine  bool
	counted bool
	octets  int
	lines   int
	// ahead is how many lines may be in net/http's buffer behind the end of the head or body.
	ahead int
}

func (c *clientConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	switch {
	case len(p) == 1:
	case !c.inHead:
		// net/http buffers as much as freeHead; larger reads go to where the body is wanted.
		c.ahead = 0
		if len(p) <= freeHead {
			c.ahead = bytes.Count(p[:n], newline)
		}
	case !c.scan(p[:n]):
		return c.refuse(p)
	}
	return n, err
}

var newline = []byte{'\n'}

// scan counts what was read of a head, and reports whether it may go on.
func (c *clientConn) scan(p []byte) bool {
	for rest := p; len(rest) > 0; {
		line, after, ended := bytes.Cut(rest, newline)
		rest = after
		if len(line) > 0 && (len(line) > 1 || line[0] != '\r') {
			c.begun, c.inLine = true, true
		}
		if !ended {
			break
		}
		if c.lines++; c.lines > maxHeadLines {
			return false
		}
		if c.begun && !c.inLine {
			c.inHead, c.ahead = false, bytes.Count(rest, newline)
			p = p[:len(p)-len(rest)]
			break
		}
		c.inLine = false
	}
	if c.octets += len(p); c.octets > freeHead {
		size := (c.octets - freeHead) * headCost
		if c.counted {
			c.transfers.grow(&c.transfer, size)
		} else {
			c.counted = true
			c.transfers.beginHead(&c.transfer, size, c.Conn)
		}
	}
	return true
}

// refuse answers a head of too many lines, as net/http answers one of too many octets, and ends the
// connection. What the client still sends is read for a moment: a connection that is closed with
// unread data is reset, and the client may lose the answer.
func (c *clientConn) refuse(p []byte) (int, error) {
	_ = c.Conn.SetDeadline(time.Now().Add(refuseTime))
	if _, err := io.WriteString(c.Conn, tooManyFields); err == nil && c.CloseWrite() == nil {
		for err == nil {
			_, err = c.Conn.Read(p)
		}
	}
	return 0, io.EOF
}

// CloseWrite ends what is sent; net/http asks for it before it closes a connection early.
func (c *clientConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// track is a connection's new state. A head is held until its response has been sent.
func (c *clientConn) track(state http.ConnState) {
	if state != http.StateIdle && state != http.StateClosed {
		return
	}
	if c.counted {
		c.transfers.end(&c.transfer)
	}
	if c.ahead > maxHeadLines {
		_ = c.Conn.Close() // for bodies that no handler reads; see closeIfAhead
	}
	c.inHead, c.begun, c.inLine, c.counted, c.octets, c.lines, c.ahead = true, false, false, false, 0, 0, 0
}

// clientConnKey is where a request's context has its *clientConn.
type clientConnKey struct{}

func withClientConn(ctx context.Context, conn net.Conn) context.Context {
	if c, ok := conn.(*clientConn); ok {
		return context.WithValue(ctx, clientConnKey{}, c)
	}
	return ctx
}

// endHead says that a head is complete: one that was in net/http's buffer was never read here.
func endHead(w http.ResponseWriter, req *http.Request) {
	if c, ok := req.Context().Value(clientConnKey{}).(*clientConn); ok {
		c.inHead = false
		c.closeIfAhead(w)
	}
}

// endBody says that a body was read to its end.
func endBody(w http.ResponseWriter, req *http.Request) {
	if c, ok := req.Context().Value(clientConnKey{}).(*clientConn); ok {
		c.closeIfAhead(w)
	}
}

// closeIfAhead ends the connection with the response when the next head may be in net/http's
// buffer with too many lines, which nothing counts there. Mostly they are the lines of a text.
func (c *clientConn) closeIfAhead(w http.ResponseWriter) {
	if c.ahead > maxHeadLines {
		w.Header().Set("Connection", "close")
	}
}

// trackConn is an http.Server's ConnState.
func (s *Server) trackConn(conn net.Conn, state http.ConnState) {
	if c, ok := conn.(*clientConn); ok {
		c.track(state)
	}
	s.connections.track(conn, state)
}
