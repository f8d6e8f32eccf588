package web

import (
	"net/http"
	"time"

	"github.com/a-h/templ"

	"gatehouse/web/redirect"
)

// Response is what a handler returns. It is a value, so that nothing is sent before the page is rendered and the session
// is committed: the client gets one response or one error page, never both.
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
	cached     time.Duration
	untrusted  bool
}

// Show responds with a page.
func Show(status int, page templ.Component) Response {
	return Response{status: status, page: page}
}

// SeeOther redirects the browser to a location, which it requests by GET. The location must be a constant or come from
// Request.SafeRedirect.
func SeeOther(location string) Response {
	return Response{status: http.StatusSeeOther, location: location}
}

// JSON responds with a value as JSON.
func JSON(status int, v any) Response {
	return Response{status: status, json: v}
}

// Text responds with plain text.
func Text(status int, text string) Response {
	return Response{status: status, text: text}
}

// Document responds with bytes of the media type.
func Document(kind string, content []byte) Response {
	return Response{status: http.StatusOK, raw: content, kind: kind}
}

// AsUntrustedImage is for images that are not ours: browsers may keep them, but run nothing in them, also where one is opened
// by itself. Their address must change with their content.
func (r Response) AsUntrustedImage() Response {
	r.untrusted = true
	return r
}

// NoContent responds with 204.
func NoContent() Response { return Response{status: http.StatusNoContent} }

// FormTo allows the forms of the page to redirect to the address: browsers apply the policy's form-action to redirects
// as well.
func (r Response) FormTo(address string) Response {
	r.formOrigin = redirect.Origin(address)
	return r
}

// After adds Retry-After, in whole seconds, rounded up.
func (r Response) After(d time.Duration) Response {
	r.retryAfter = d
	return r
}

// CachedFor lets every cache keep the response, which must be the same for everyone.
func (r Response) CachedFor(d time.Duration) Response {
	r.cached = d
	return r
}

func seconds(d time.Duration) int {
	return int((d + time.Second - 1) / time.Second)
}
