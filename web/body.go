package web

import (
	"bytes"
	"errors"
	"net/http"
	"os"

	"github.com/labstack/echo/v4"
)

// maxBody is in octets, far more than any form or JSON of this site.
const maxBody = 64 << 10

// readBody reads the whole body of a request that may change something before the request is authenticated. A client
// decides when the last octet arrives; with authentication first, a slow request could use permissions long after its
// user has lost them.
func (s *Server) readBody(c echo.Context) error {
	req := c.Request()
	if req.Method == http.MethodGet || req.Method == http.MethodHead || req.Body == nil || req.Body == http.NoBody {
		return nil
	}
	body, err := s.limiter.ReadBody(c.Response(), req)
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return err
	case errors.Is(err, os.ErrDeadlineExceeded):
		return echo.NewHTTPError(http.StatusRequestTimeout).SetInternal(err)
	case err != nil:
		return echo.NewHTTPError(http.StatusBadRequest).SetInternal(err)
	}
	// No route reads trailers, and net/http bounds them by its buffer alone.
	req.Trailer = nil
	req.Body, req.ContentLength = receivedBody{bytes.NewReader(body), body}, int64(len(body))
	return nil
}

// receivedBody is a body that was read to its end.
type receivedBody struct {
	*bytes.Reader
	all []byte
}

func (receivedBody) Close() error { return nil }
