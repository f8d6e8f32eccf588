package netlimit

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"time"
)

// Limits of a request head: the request line and the header fields. net/http bounds its octets (maxHeader), but
// neither the number of its fields, each of which costs about 100 octets in a map, nor the memory of all heads together.
const (
	// maxHeadLines is the maximum number of lines of a head. Browsers and proxies send about 30.
	maxHeadLines = 128
	// freeHead is the number of octets of a head that are not counted; few heads are larger. It is the size
	// of net/http's read buffer.
	freeHead = 4 << 10
	// headCost is the octets of memory that an octet of a large head takes (measured: a head of
	// 58 KB with one value takes 0.3 MB while it is parsed).
	headCost = 6

	// refuseTimeout is the time that a refused client has to read the response.
	refuseTimeout = 500 * time.Millisecond
)

const tooManyFields = "HTTP/1.1 431 Request Header Fields Too Large\r\nContent-Type: text/plain; charset=utf-8\r\n" +
	"Connection: close\r\n\r\n431 Request Header Fields Too Large"

type limitedListener struct {
	net.Listener
	transfers *transfers
}

func (l limitedListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &clientConn{Conn: conn, transfers: l.transfers, inHead: true}, nil
}

// clientConn is a client's connection. It counts the lines and octets of request heads as they are read. Its fields
// belong to the goroutine in which net/http serves the connection; the other one, which waits for the client to
// disconnect, reads a single octet.
type clientConn struct {
	net.Conn
	transfers *transfers
	transfer  Transfer

	// inHead is set from the end of a response to the end of the next head.
	inHead bool
	// started is set after the first non-empty line of the head: net/http skips empty lines before it.
	started bool
	// inLine is set while the current line is not empty.
	inLine  bool
	counted bool
	octets  int
	lines   int
	// ahead is the number of lines that net/http's buffer may hold after the end of the head or body.
	ahead int
}

func (c *clientConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	switch {
	case len(p) == 1:
	case !c.inHead:
		// net/http buffers at most freeHead; larger reads go straight to the body's reader.
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

// scan counts a part of a head and reports whether the head is within the limits so far.
func (c *clientConn) scan(p []byte) bool {
	for rest := p; len(rest) > 0; {
		line, after, ended := bytes.Cut(rest, newline)
		rest = after
		if len(line) > 0 && (len(line) > 1 || line[0] != '\r') {
			c.started, c.inLine = true, true
		}
		if !ended {
			break
		}
		if c.lines++; c.lines > maxHeadLines {
			return false
		}
		if c.started && !c.inLine {
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

// refuse answers a head with too many lines the way net/http answers one with too many octets, and ends the connection.
// It keeps reading for a moment: closing a connection with unread data resets it, and the client may lose the response.
func (c *clientConn) refuse(p []byte) (int, error) {
	_ = c.Conn.SetDeadline(time.Now().Add(refuseTimeout))
	if _, err := io.WriteString(c.Conn, tooManyFields); err == nil && c.CloseWrite() == nil {
		for err == nil {
			_, err = c.Conn.Read(p)
		}
	}
	return 0, io.EOF
}

// CloseWrite shuts the sending half; net/http calls it before it closes a connection early.
func (c *clientConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// track takes the connection's new state. A head is counted until its response has been sent.
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
	c.inHead, c.started, c.inLine, c.counted, c.octets, c.lines, c.ahead = true, false, false, false, 0, 0, 0
}

// endHead marks the request's head as complete: one that was in net/http's buffer already was never read here.
func endHead(w http.ResponseWriter, req *http.Request) {
	if c, ok := req.Context().Value(clientConnKey{}).(*clientConn); ok {
		c.inHead = false
		c.closeIfAhead(w)
	}
}

// endBody is called once a request's body has been read to its end.
func endBody(w http.ResponseWriter, req *http.Request) {
	if c, ok := req.Context().Value(clientConnKey{}).(*clientConn); ok {
		c.closeIfAhead(w)
	}
}

// closeIfAhead ends the connection with the response if net/http's buffer may hold a next head with too many lines,
// which nothing counts there. Usually they are just lines of a text in the body.
func (c *clientConn) closeIfAhead(w http.ResponseWriter) {
	if c.ahead > maxHeadLines {
		w.Header().Set("Connection", "close")
	}
}
