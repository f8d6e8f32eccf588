package embedded

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
)

const (
	// maxCommandArgs is Redis' limit on the arguments of one command.
	maxCommandArgs = 1 << 20
	// maxCommandArg is the longest accepted argument in bytes. miniredis allocates an argument's memory
	// as soon as it reads the length.
	maxCommandArg = 16 << 20
)

// checkedConn passes on what a client sends as long as it is a sequence of commands: arrays of at least
// one bulk string (https://redis.io/docs/latest/develop/reference/protocol-spec/). On anything else the
// client gets an error and the connection is closed: miniredis is made for tests and panics on an empty
// array, an impossible length and the like.
type checkedConn struct {
	net.Conn
	in *bufio.Reader
	// head is the rest of a checked line that is still to be passed on, line its buffer; body is how many
	// bytes of an argument follow it.
	head, line []byte
	body       int
	// args is how many arguments of the command have not been read yet.
	args int
	err  error
}

func newCheckedConn(c net.Conn) *checkedConn {
	return &checkedConn{Conn: c, in: bufio.NewReader(c)}
}

// Read implements net.Conn.
func (c *checkedConn) Read(p []byte) (int, error) {
	if len(c.head) == 0 && c.body == 0 && c.err == nil {
		c.err = c.next()
	}
	if len(c.head) > 0 {
		n := copy(p, c.head)
		c.head = c.head[n:]
		return n, nil
	}
	if c.err != nil {
		return 0, c.err
	}
	n, err := c.in.Read(p[:min(len(p), c.body)])
	c.body -= n
	return n, err
}

// next reads the next line, which holds the length of an array or of an argument.
func (c *checkedConn) next() error {
	line, err := c.in.ReadSlice('\n')
	if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
		return err
	}
	kind, minLength, maxLength := byte('*'), 1, maxCommandArgs
	if c.args > 0 {
		kind, minLength, maxLength = '$', 0, maxCommandArg
	}
	length, err := lineLength(line, kind, minLength, maxLength)
	if err != nil {
		// The connection is closed next, so this may interrupt another reply.
		_, _ = fmt.Fprintf(c.Conn, "-ERR Protocol error: %s\r\n", err)
		return io.EOF
	}
	c.line = append(c.line[:0], line...)
	c.head = c.line
	if kind == '*' {
		c.args = length
		return nil
	}
	c.args--
	c.body = length + len("\r\n")
	return nil
}

// lineLength returns the 3 of a line such as "*3\r\n".
func lineLength(line []byte, kind byte, minLength, maxLength int) (int, error) {
	if line[0] != kind {
		return 0, fmt.Errorf("expected '%c'", kind)
	}
	digits, ok := bytes.CutSuffix(line[1:], []byte("\r\n"))
	length, err := strconv.ParseUint(string(digits), 10, 32)
	if !ok || err != nil || int(length) < minLength || int(length) > maxLength {
		return 0, errors.New("invalid length")
	}
	return int(length), nil
}
