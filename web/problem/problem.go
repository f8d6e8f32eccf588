// Package problem has the errors of the API (RFC 9457): a status, a code for programs and a sentence for people. It declares
// every code that the API can send. It does not know how errors arise or how they are sent.
package problem

import "net/http"

// Document is the body of an error response, sent as application/problem+json.
type Document struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail,omitempty"`
	Code   Code   `json:"code"`
	// Errors maps the fields of the request to what is wrong with them.
	Errors    map[string]string `json:"errors,omitempty"`
	RequestID string            `json:"request_id,omitempty"`
}

// New returns the document of a status, with the code of the status alone.
func New(status int) Document {
	code, ok := byStatus[status]
	switch {
	case ok:
	case status < http.StatusInternalServerError:
		code = Unreadable
	default:
		code = internal
	}
	return Document{Type: "about:blank", Title: http.StatusText(status), Status: status, Code: code}
}

// Error is an error with its own code and detail.
type Error struct {
	Status int
	Code   Code
	Detail string
}

func (e Error) Error() string { return e.Code.String() }

// BadRequest returns a 400: the request cannot be read.
func BadRequest(code Code, detail string) error { return Error{http.StatusBadRequest, code, detail} }

// Unauthorized returns a 401: the request has no valid credentials.
func Unauthorized(code Code, detail string) error {
	return Error{http.StatusUnauthorized, code, detail}
}
