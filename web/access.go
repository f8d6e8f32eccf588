package web

import "net/http"

// Access says who may use a route. Its zero value is none of the rules: a route that
// forgets to name one is not served (closed by default).
type Access int

const (
	_ Access = iota
	// Open routes need nobody; they know who is signed in if somebody is, and work on
	// without knowing when Redis does not answer.
	Open
	// SignedIn routes send everybody else to the sign-in page.
	SignedIn
	// Machine routes (health, static files) look at no session at all.
	Machine
)

// Handler answers one request: with a Response, or with an error that the one error page
// turns into words.
type Handler func(*Request) (Response, error)

// Route is a line of the route table.
type Route struct {
	Method string
	Path   string
	Access Access
	Handle Handler
}

// Get returns a route that reads. HEAD is served with it.
func Get(path string, access Access, h Handler) Route {
	return Route{http.MethodGet, path, access, h}
}

// Post returns a route that changes something.
func Post(path string, access Access, h Handler) Route {
	return Route{http.MethodPost, path, access, h}
}
