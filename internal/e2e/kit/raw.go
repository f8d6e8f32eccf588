package kit

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"
)

// Dial opens a connection for requests that no client library would send.
func (x *Target) Dial() net.Conn {
	x.T.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(x.Server.URL(), "http://"))
	if err != nil {
		x.T.Fatal(err)
	}
	x.T.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(15 * time.Second)); err != nil {
		x.T.Fatal(err)
	}
	return conn
}

// SendRaw sends bytes unchanged and returns every response, parsed as responses to GET requests. It closes its sending
// half only once the server is silent, because the server treats that as a disconnected client, and not at all if the
// bytes ask the server to close the connection.
func (x *Target) SendRaw(request string) []Response {
	x.T.Helper()
	conn := x.Dial()
	// The server may respond, and close the connection, before it has read everything.
	go func() { _, _ = io.WriteString(conn, request) }()
	r := bufio.NewReader(conn)
	timeout := quiet
	if strings.Contains(request, "Connection: close\r\n") {
		timeout = responseTimeout
	}
	var all []Response
	for {
		_ = conn.SetReadDeadline(time.Now().Add(timeout))
		_, err := r.Peek(1)
		_ = conn.SetReadDeadline(time.Now().Add(responseTimeout))
		if errors.Is(err, os.ErrDeadlineExceeded) {
			_ = conn.(*net.TCPConn).CloseWrite()
			_, err = r.Peek(1)
		}
		if err != nil {
			return all
		}
		a, err := ReadResponse(r)
		if err != nil {
			x.T.Fatalf("a response to %.200q: %v", request, err)
		}
		all = append(all, a)
	}
}

// responseTimeout is longer than the server takes for a response.
const responseTimeout = 10 * time.Second

// quiet is how long the server stays silent when it waits for more input.
const quiet = 300 * time.Millisecond

// ReadResponse reads a response to a GET request with its body.
func ReadResponse(r *bufio.Reader) (Response, error) {
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		return Response{}, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return Response{resp, string(body)}, err
}

// HeldRequest is a request that waits for its body after the server has read its session.
type HeldRequest struct {
	x      *Target
	Conn   net.Conn
	Reader *bufio.Reader
	rest   string
}

// HoldForm sends the head of a form and returns once the server asks for the body.
func (x *Target) HoldForm(path, cookie string, fields ...string) *HeldRequest {
	x.T.Helper()
	p := x.HoldRequest(http.MethodPost, path, "Cookie: "+cookie, FormContentType, EncodeForm(fields...))
	if p == nil {
		x.T.FailNow()
	}
	return p
}

// HoldRequest is HoldForm for any request; credential is a header line. It fails the test and returns nil if the
// server responds without the body.
func (x *Target) HoldRequest(method, path, credential, contentType, body string) *HeldRequest {
	x.T.Helper()
	conn := x.Dial()
	fmt.Fprintf(conn, "%s %s HTTP/1.1\r\nHost: %s\r\n%s\r\nContent-Type: %s\r\n"+
		"Content-Length: %d\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n", method, path, conn.RemoteAddr(), credential, contentType, len(body))
	p := &HeldRequest{x: x, Conn: conn, Reader: bufio.NewReader(conn), rest: body}
	if line, err := p.Reader.ReadString('\n'); err != nil || !strings.HasPrefix(line, "HTTP/1.1 100 ") {
		x.T.Errorf("%s %s: the server sent %q (%v) before the body", method, path, line, err)
		return nil
	}
	_, _ = p.Reader.ReadString('\n')
	return p
}

// HoldHalf sends the head of a request and half of its body, once the server asks for the body; nil if it does not.
func (x *Target) HoldHalf(method, path, credential, contentType, body string) *HeldRequest {
	x.T.Helper()
	p := x.HoldRequest(method, path, credential, contentType, body)
	if p == nil {
		return nil
	}
	half := len(p.rest) / 2
	if _, err := p.Conn.Write([]byte(p.rest[:half])); err != nil {
		x.T.Fatal(err)
	}
	p.rest = p.rest[half:]
	return p
}

// Finish sends the body and returns the response.
func (p *HeldRequest) Finish() Response {
	p.x.T.Helper()
	if _, err := io.WriteString(p.Conn, p.rest); err != nil {
		p.x.T.Fatal(err)
	}
	a, err := ReadResponse(p.Reader)
	if err != nil {
		p.x.T.Fatal(err)
	}
	return a
}
