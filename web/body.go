package web

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"os"

	"github.com/labstack/echo/v4"
)

// maxBody is in octets: no form or JSON of ours comes near it.
const maxBody = 64 << 10

// readBody reads the whole body of a request that may change something, before anything is known
// about its author. A client decides when the last octet arrives: were the author authenticated
// first, a request that was sent before its author lost a right would use it long after.
func (s *Server) readBody(c echo.Context) error {
	req := c.Request()
	if req.Method == http.MethodGet || req.Method == http.MethodHead || req.Body == nil || req.Body == http.NoBody {
		return nil
	}
	body, err := s.receive(c.Response(), req)
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return err
	case errors.Is(err, os.ErrDeadlineExceeded):
		return echo.NewHTTPError(http.StatusRequestTimeout).SetInternal(err)
	case err != nil:
		return echo.NewHTTPError(http.StatusBadRequest).SetInternal(err)
	}
	endBody(c.Response(), req)
	// No route reads trailers, and net/http bounds them by its buffer alone.
	req.Trailer = nil
	req.Body, req.ContentLength = receivedBody{bytes.NewReader(body), body}, int64(len(body))
	return nil
}

// receivedBody is a body that has arrived whole.
type receivedBody struct {
	*bytes.Reader
	all []byte
}

func (receivedBody) Close() error { return nil }

// receive reads the body. What has arrived counts, not what was announced.
func (s *Server) receive(w http.ResponseWriter, req *http.Request) ([]byte, error) {
	// One more than what was announced, so that its end needs no larger buffer.
	body := make([]byte, 0, min(max(req.ContentLength+1, 512), 4<<10))
	var one transfer
	s.transfers.beginBody(&one, cap(body), w)
	defer s.transfers.end(&one)
	for {
		n, err := req.Body.Read(body[len(body):cap(body)])
		body = body[:len(body)+n]
		if errors.Is(err, io.EOF) {
			return body, nil
		}
		if err != nil {
			return nil, err
		}
		if len(body) == cap(body) {
			body = append(make([]byte, 0, 2*cap(body)), body...)
			s.transfers.grow(&one, cap(body))
		}
	}
}
