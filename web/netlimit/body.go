package netlimit

import (
	"errors"
	"io"
	"net/http"
)

// ReadBody reads a request's body to its end. The memory it takes counts against the limit, by what has arrived
// rather than by Content-Length. The error is os.ErrDeadlineExceeded if the client was too slow or was evicted.
func (l *Limiter) ReadBody(w http.ResponseWriter, req *http.Request) ([]byte, error) {
	// One octet more than announced, so that reading the end needs no larger buffer.
	body := make([]byte, 0, min(max(req.ContentLength+1, 512), 4<<10))
	var t Transfer
	l.transfers.beginBody(&t, cap(body), w)
	defer l.transfers.end(&t)
	for {
		n, err := req.Body.Read(body[len(body):cap(body)])
		body = body[:len(body)+n]
		if errors.Is(err, io.EOF) {
			endBody(w, req)
			return body, nil
		}
		if err != nil {
			return nil, err
		}
		if len(body) == cap(body) {
			body = append(make([]byte, 0, 2*cap(body)), body...)
			l.transfers.grow(&t, cap(body))
		}
	}
}
