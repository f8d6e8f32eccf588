package kv

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
	// maxCommandArgs is Redis' own limit on the arguments of one command.
	maxCommandArgs = 1 << 20
	// maxCommandArg is the longest argument that the embedded Redis reads, in octets. miniredis takes the
	// memory as soon as it reads the length.
	maxCommandArg = 16 << 20
)

// checkedConn hands on what a client of the embedded Redis sends, as long as it is a sequence of commands:
// arrays of at least one bulk string (https://redis.io/docs/latest/develop/reference/protocol-spec/). miniredis is made for tests and
// panics at an empty array, at a length that is no length of memory, and so on. At anything else the client
// gets an error and the connection ends.
type checkedConn struct {
	net.Conn
	in *bufio.Reader
	// head is what is left to hand on of a line that was checked, line its memory; body is how many octets after
	// it belong to an argument.
	head, line []byte
	body       int
	// args is how many arguments of the command are still to come.
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

// next reads the next line, which says how long an array or an argument is.
func (c *checkedConn) next() error {
	line, err := c.in.ReadSlice('\n')
	if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
		return err
	}
	kind, least, most := byte('*'), 1, maxCommandArgs
	if c.args > 0 {
		kind, least, most = '$', 0, maxCommandArg
	}
	length, err := lineLength(line, kind, least, most)
	if err != nil {
		// The connection ends, so it does not matter whether this arrives amid another reply.
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

// lineLength reads a line such as "*3\r\n".
func lineLength(line []byte, kind byte, least, most int) (int, error) {
	if line[0] != kind {
		return 0, fmt.Errorf("expected '%c'", kind)
	}
	digits, ok := bytes.CutSuffix(line[1:], []byte("\r\n"))
	length, err := strconv.ParseUint(string(digits), 10, 32)
	if !ok || err != nil || int(length) < least || int(length) > most {
		return 0, errors.New("invalid length")
	}
	return int(length), nil
}
