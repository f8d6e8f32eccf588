package web

import "net/http"

// Access says who may use a route. Its zero value is none of the rules: a route that
// forgets to name one is not served (closed by default).
type Access struct {
	who        who
	permission string
}

type who int

const (
	_ who = iota
	open
	signedIn
	api
	optionalAPI
	unauthenticated
	forwardAuth
)

var (
	// Open routes need nobody; they know who is signed in if somebody is, and work on
	// without knowing when Redis does not answer.
	Open = Access{who: open}
	// SignedIn routes are pages: they send everybody else to the sign-in page.
	SignedIn = Access{who: signedIn}
	// API routes take a session, HTTP Basic or an API token; everybody else gets a 401
	// with a challenge.
	API = Access{who: api}
	// OptionalAPI routes also accept anonymous callers: the
	// credentials may be in the body. Wrong ones in the header are refused.
	OptionalAPI = Access{who: optionalAPI}
	// Unauthenticated routes (health, documents) read no credentials at all.
	Unauthenticated = Access{who: unauthenticated}
	// ForwardAuth is the route by which a reverse proxy asks who sent a request: a session, HTTP
	// Basic or an API token, and what they may.
	ForwardAuth = Access{who: forwardAuth}
)

// With returns the access with a permission that is needed as well.
func (a Access) WithPermission(permission string) Access {
	a.permission = permission
	return a
}

// valid reports whether the access is a rule that can be held.
func (a Access) valid() bool {
	return a.who != 0 && (a.permission == "" || a.who == signedIn || a.who == api)
}

// String names the rule, for tables and tests.
func (a Access) String() string {
	name := [...]string{"none", "open", "signed in", "API", "optional API", "unauthenticated", "forward-auth"}[a.who]
	if a.permission != "" {
		name += " with " + a.permission
	}
	return name
}

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

// AnyMethod in a Route stands for every method: a proxy may ask by that of the request it asks for.
const AnyMethod = "*"

// Verify returns the route that reverse proxies ask. It has no handler: the server itself answers,
// before everything that is for pages.
func Verify(path string) Route { return Route{Method: AnyMethod, Path: path, Access: ForwardAuth} }

// Get returns a route that reads. HEAD is served with it.
func Get(path string, access Access, h Handler) Route {
	return Route{http.MethodGet, path, access, h}
}

// Post returns a route that changes something.
func Post(path string, access Access, h Handler) Route {
	return Route{http.MethodPost, path, access, h}
}

// Delete returns a route that takes something away.
func Delete(path string, access Access, h Handler) Route {
	return Route{http.MethodDelete, path, access, h}
}
