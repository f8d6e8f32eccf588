package web

import (
	"gatehouse/web/redirect"
	"net/http"
	"time"

	"github.com/a-h/templ"
)

// Response is what a handler wants to be sent. It is a value, so that nothing reaches the
// visitor before the page is rendered whole and the session is committed: there is one
// response, or one error page, never both.
type Response struct {
	status     int
	page       templ.Component
	json       any
	text       string
	raw        []byte
	kind       string // media type of raw
	location   string
	formOrigin string
	retryAfter time.Duration
}

// Show returns a page.
func Show(status int, page templ.Component) Response {
	return Response{status: status, page: page}
}

// SeeOther sends the browser on with a GET. The location must come from us or from Request.SafeRedirect.
func SeeOther(location string) Response {
	return Response{status: http.StatusSeeOther, location: location}
}

// JSON returns a value as JSON.
func JSON(status int, v any) Response {
	return Response{status: status, json: v}
}

// Text returns plain text.
func Text(status int, text string) Response {
	return Response{status: status, text: text}
}

// Document returns bytes as they are.
func Document(kind string, content []byte) Response {
	return Response{status: http.StatusOK, raw: content, kind: kind}
}

// NoContent says that it is done.
func NoContent() Response { return Response{status: http.StatusNoContent} }

// FormTo lets a form of the page end at the address: browsers hold even the redirect that answers
// a form to the policy's form-action.
func (r Response) FormTo(address string) Response {
	r.formOrigin = redirect.Origin(address)
	return r
}

// After adds Retry-After, in whole seconds, rounded up.
func (r Response) After(d time.Duration) Response {
	r.retryAfter = d
	return r
}

func seconds(d time.Duration) int {
	return int((d + time.Second - 1) / time.Second)
}
