package web

import "net/http"

// Access is the access rule of a route. Its zero value is no rule, and a route without one is not served (closed by
// default).
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
	// Open routes accept all visitors. They identify the user if there is a session, and treat all as anonymous while Redis
	// does not respond.
	Open = Access{who: open}
	// SignedIn routes are pages for signed-in users. Anonymous users are redirected to the sign-in page.
	SignedIn = Access{who: signedIn}
	// API routes require a session, HTTP Basic or an API token, and answer other requests with a 401 and a challenge.
	API = Access{who: api}
	// OptionalAPI routes also accept anonymous callers, whose credentials may be in the body. Wrong credentials in the
	// header are refused.
	OptionalAPI = Access{who: optionalAPI}
	// Unauthenticated routes (health, documents) read no credentials at all.
	Unauthenticated = Access{who: unauthenticated}
	// ForwardAuth is the route with which reverse proxies authenticate requests: by a session, HTTP Basic or an API
	// token, with the permissions and groups that the proxy requires.
	ForwardAuth = Access{who: forwardAuth}
)

// WithPermission returns the rule with a permission that is required as well.
func (a Access) WithPermission(permission string) Access {
	a.permission = permission
	return a
}

// valid reports whether the rule can be enforced.
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

// Handler answers one request with a Response, or with an error that the error page or the API's problem explains.
type Handler func(*Request) (Response, error)

// Route is an entry of the route table.
type Route struct {
	Method string
	Path   string
	Access Access
	Handle Handler
	// Page is the path of the page with the form or button that submits to this route; "" if there is none, or if it is
	// the same path. Opening the route leads there.
	Page string
	// keep are the fields of a draft, and showDraft shows it on the page. See Draft.
	keep      []string
	showDraft Handler
}

// On names the page whose form or button submits to the route.
func (r Route) On(page string) Route {
	r.Page = page
	return r
}

// Keeping keeps the named fields of the form if the session has ended when it is submitted. After the sign-in, show answers
// with the page, filled in from Request.Draft. Passwords and other secrets must not be among the fields.
func (r Route) Keeping(show Handler, fields ...string) Route {
	r.showDraft, r.keep = show, fields
	return r
}

// Kept returns the fields that the route keeps.
func (r Route) Kept() []string { return r.keep }

// AnyMethod in a Route stands for every method: proxies may repeat that of the original request.
const AnyMethod = "*"

// Verify returns the forward-auth route. It has no handler: the server answers it before routing.
func Verify(path string) Route { return Route{Method: AnyMethod, Path: path, Access: ForwardAuth} }

// Get returns a GET route, which serves HEAD as well.
func Get(path string, access Access, h Handler) Route {
	return Route{Method: http.MethodGet, Path: path, Access: access, Handle: h}
}

// Post returns a POST route.
func Post(path string, access Access, h Handler) Route {
	return Route{Method: http.MethodPost, Path: path, Access: access, Handle: h}
}

// Delete returns a DELETE route.
func Delete(path string, access Access, h Handler) Route {
	return Route{Method: http.MethodDelete, Path: path, Access: access, Handle: h}
}
