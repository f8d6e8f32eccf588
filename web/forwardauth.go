package web

import (
	"cmp"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"runtime/debug"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"gatehouse/auth/identifier"
	"gatehouse/internal/reqstats"
	"gatehouse/web/cookies"
	"gatehouse/web/logging"
	"gatehouse/web/problem"
	"gatehouse/web/redirect"
)

// Forward-auth: a reverse proxy asks about each request that it is sent, and passes it on when the
// answer is 200, with what the Remote-… headers of the answer say. It is asked for everything that
// a page loads, so that it goes its own short way: no router, no session to write, no page, and
// no line in the log below the level debug.
//
// Two kinds of proxies ask. Those that hand the answer to the browser as it is (Caddy, Traefik,
// Envoy, HAProxy) tell what was wanted in X-Forwarded-…; they get the redirect to the sign-in page.
// nginx can use no status but 401 and 403, tells in X-Original-URL, and finds the address of the
// sign-in page in the Location of the 401.

func (s *Server) isForwardAuth(path string) bool {
	rest, ok := strings.CutPrefix(path, s.verifyPath)
	return ok && s.verifyPath != "" && (rest == "" || rest[0] == '/')
}

// verify answers a proxy.
func (s *Server) verify(w http.ResponseWriter, req *http.Request) {
	begun := time.Now()
	s.dropForgedHeaders(req)
	c := s.echo.AcquireContext()
	defer s.echo.ReleaseContext(c)
	c.Reset(req, w)
	c.SetPath(s.verifyPath)
	ctx, cost := reqstats.NewContext(req.Context())
	r := &Request{server: s, echo: c, ctx: ctx, stats: cost}

	level := slog.LevelDebug
	if err := s.authorizeProxy(r); err != nil {
		level = slog.LevelInfo
		s.denyProxy(r, err)
	} else {
		s.writeIdentity(r)
	}
	took := time.Since(begun)
	s.Metrics.ObserveRequest(req.Method, s.verifyPath, c.Response().Status, took, cost)
	s.logRequest(c, level, took, cost)
}

// authorizeProxy finds out who asks, and whether they may what the proxy demands of them.
func (s *Server) authorizeProxy(r *Request) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	needs, err := s.requirements(r.echo.Request())
	if err != nil {
		return err
	}
	if err := s.identifyAPI(r); err != nil {
		return err
	}
	if r.user == nil {
		return problem.Unauthorized(problem.CredentialsNeeded, "Sign in with HTTP Basic, an API token or a session.")
	}
	if err := s.Maintenance.refuse(r, Route{Path: s.verifyPath, Access: ForwardAuth}); err != nil {
		return err
	}
	if r.limited() && !needs.trusted {
		return problem.Error{Status: http.StatusForbidden, Code: problem.TokenLimited, Detail: "The token is limited to certain permissions, and this address requires none."}
	}
	for _, permission := range needs.permissions {
		if !r.HasPermission(permission) {
			return missingPermission(permission)
		}
	}
	for _, group := range needs.groups {
		if !r.inGroup(group) {
			return missingGroup(group)
		}
	}
	return nil
}

// requirements are all that somebody needs to be let through.
type requirements struct {
	permissions, groups []string
	// trusted reports whether the proxy itself requires a permission. One that may come from the
	// visitor's own header only adds to the requirements: it must not open a place to a limited token.
	trusted bool
}

// requirements reads what the proxy wants besides a sign-in: from the query, and from headers for a
// proxy that puts the visitor's own path and query behind ours (Envoy). A header that the visitor
// sent only makes it harder for the visitor. A word that is not known is refused, because
// behind a misspelt "permission" the door would stand open.
func (s *Server) requirements(req *http.Request) (requirements, error) {
	if err := s.checkVerifyTarget(req); err != nil {
		return requirements{}, err
	}
	d := requirements{permissions: req.Header[permissionHeader], groups: req.Header[groupHeader]}
	// A proxy that appends the visitor's path has no other way than the headers, which it sets itself.
	d.trusted = len(d.permissions) > 0 && strings.HasPrefix(req.URL.Path[len(s.verifyPath):], extAuthz+"/")
	if req.URL.RawQuery != "" && len(req.URL.Path) == len(s.verifyPath) {
		query, err := url.ParseQuery(req.URL.RawQuery)
		if err != nil {
			return requirements{}, problem.BadRequest(problem.MalformedQuery, "The query of the address cannot be read.")
		}
		for name, values := range query {
			switch name {
			case "permission":
				d.trusted = true
				d.permissions = append(d.permissions[:len(d.permissions):len(d.permissions)], values...)
			case "group":
				d.groups = append(d.groups[:len(d.groups):len(d.groups)], values...)
			default:
				return requirements{}, problem.BadRequest(problem.UnknownParameter, "The query may ask for permission and group, and for nothing else.")
			}
		}
	}
	for _, p := range d.permissions {
		if err := identifier.ValidatePermissionName(p); err != nil {
			return requirements{}, problem.BadRequest(problem.BadPermission, err.Error())
		}
	}
	for _, g := range d.groups {
		if err := identifier.ValidateGroupName(g); err != nil {
			return requirements{}, problem.BadRequest(problem.BadGroup, err.Error())
		}
	}
	return d, nil
}

// Headers in which a proxy may require a permission or a group.
const (
	permissionHeader = "X-Gatehouse-Permission"
	groupHeader      = "X-Gatehouse-Group"
)

// extAuthz ends the path that Envoy's ext_authz sends requests to. Envoy appends the visitor's path and query to it,
// so the query is the visitor's and requires nothing.
const extAuthz = "/ext-authz"

// checkVerifyTarget returns a 400 if the request may state a requirement that requirements does not read: in a header of
// an unknown name, in a misspelled path, or in the query of such a path. Without it the proxy would take a 200
// for the answer to a question that was never read.
func (s *Server) checkVerifyTarget(req *http.Request) error {
	for name := range req.Header {
		if unknownRequirement(name) {
			return problem.BadRequest(problem.UnknownHeader, "Requirements are stated in "+permissionHeader+" and "+groupHeader+", and in no other header.")
		}
	}
	u := req.URL
	rest := u.Path[len(s.verifyPath):]
	if rest == "" && u.RawPath == "" {
		return nil
	}
	// Our part of the path must be spelled literally. What follows is the visitor's path and may be encoded.
	escaped, ok := strings.CutPrefix(u.EscapedPath(), s.verifyPath)
	if !ok || !strings.HasPrefix(escaped, "/") {
		return problem.BadRequest(problem.MisspelledPath, "Spell "+s.verifyPath+" without percent-encoding.")
	}
	if strings.HasPrefix(escaped, extAuthz+"/") {
		return nil
	}
	if rest == extAuthz || mayStateRequirement(rest, u.RawQuery) {
		return problem.BadRequest(problem.AmbiguousPath, "Requirements belong into the query of "+s.verifyPath+". A proxy that appends the visitor's path and query appends them to "+
			s.verifyPath+extAuthz+" and states requirements in headers.")
	}
	return nil
}

// unknownRequirement reports whether the header looks like one of ours and is not. The name is canonical.
func unknownRequirement(name string) bool {
	const prefix = "X-Gatehouse"
	return len(name) > len(prefix) && name[0] == 'X' && strings.EqualFold(name[2:len(prefix)], prefix[2:]) &&
		name != permissionHeader && name != groupHeader
}

// mayStateRequirement reports whether the path and query that follow ours may state a requirement rather than name the page
// that a visitor wants.
func mayStateRequirement(path, rawQuery string) bool {
	path = strings.ToLower(path)
	if strings.Contains(path, "permission=") || strings.Contains(path, "group=") {
		return true
	}
	if rawQuery == "" {
		return false
	}
	query, err := url.ParseQuery(rawQuery)
	if err != nil || strings.Trim(path, `/\;. `) == "" {
		return true
	}
	for name := range query {
		if strings.EqualFold(name, "permission") || strings.EqualFold(name, "group") {
			return true
		}
	}
	return false
}

// inGroup reports whether the request may act as a member of the group. A limited token has no groups.
func (r *Request) inGroup(group string) bool { return r.user.InGroup(group) }

// limited reports whether the request was made with a token that was narrowed to some permissions.
func (r *Request) limited() bool { return r.token != nil && r.token.IsRestricted() }

// writeIdentity tells the proxy who it is. All headers are there, empty ones too, so that a proxy puts
// them over whatever the visitor sent: also the Cookie header, without the cookies that are ours, so that no
// site behind the proxy can replay a session.
func (s *Server) writeIdentity(r *Request) {
	// What nobody has verified is only what somebody typed: to the site behind the proxy the
	// address may be the account.
	var email string
	if r.user.EmailVerified {
		email = r.user.Email
	}
	values := [...]string{r.user.Username, r.user.DisplayName(), email, strings.Join(r.user.Groups, ",")}
	h := r.echo.Response().Header()
	for i, name := range identityHeaders {
		h[name] = values[i : i+1 : i+1]
	}
	h["Cookie"] = cookies.WithoutOurs(r.echo.Request().Header["Cookie"])
	h["Cache-Control"] = noStore
	r.echo.Response().WriteHeader(http.StatusOK)
}

var (
	identityHeaders = [...]string{"Remote-User", "Remote-Name", "Remote-Email", "Remote-Groups"}
	noStore         = []string{"no-store"}
)

// denyProxy answers whoever is not let through: a browser that opens a page is sent to sign in, or
// reads why not; a program gets a problem.
func (s *Server) denyProxy(r *Request, err error) {
	c, req := r.echo, r.echo.Request()
	id := requestID(req)
	c.SetRequest(req.WithContext(logging.WithRequestID(req.Context(), id)))
	h := c.Response().Header()
	h.Set(echo.HeaderXRequestID, id)
	s.setHeaders(h)

	want := s.originalRequest(req)
	status, _ := classify(err)
	if status == http.StatusBadRequest {
		s.Log.WarnContext(c.Request().Context(), "a request cannot be vouched for: look at how the proxy asks, or at what the program sends", "error", err, "proxy", req.RemoteAddr)
	}
	if status == http.StatusUnauthorized && want.page {
		s.sendToSignIn(c, want)
		return
	}
	if want.page {
		c.Set(visitorKey, true)
	}
	s.answerError(c, err)
}

// visitorKey marks a request of a proxy whose refusal people will read.
const visitorKey = "visitor"

func (s *Server) sendToSignIn(c echo.Context, want originalRequest) {
	h := c.Response().Header()
	address := s.BaseOrigin + "/login"
	if next := s.redirects.Safe(want.address()); next != "" {
		address += "?next=" + url.QueryEscape(next)
	} else {
		s.warnOfProxy(c.Request(), want)
	}
	h.Set("Location", address)
	status := http.StatusSeeOther
	if want.statusOnly {
		status = http.StatusUnauthorized
		// Not Basic: nginx hands this on, and the browser would open its own password window.
		h.Set("WWW-Authenticate", bearerChallenge)
	}
	_ = write(c, status, "", nil)
}

// originalRequest is what the visitor of a proxy asked it for.
type originalRequest struct {
	method, origin, uri string
	// page: a browser opens a page, so that people read the answer.
	page bool
	// statusOnly: the proxy uses the status of the answer, and not the answer.
	statusOnly bool
}

// originalRequest reads what a proxy tells. From anybody else these headers were dropped.
func (s *Server) originalRequest(req *http.Request) originalRequest {
	h := req.Header
	w := originalRequest{page: opensPage(req), method: cmp.Or(h.Get("X-Forwarded-Method"), h.Get("X-Original-Method"), req.Method)}
	if original := h.Get("X-Original-Url"); original != "" {
		w.statusOnly = true
		if u := s.redirects.Trusted(original); u != nil {
			w.origin, w.uri = redirect.Origin(original), u.RequestURI()
		}
		return w
	}
	scheme, host := cmp.Or(h.Get("X-Forwarded-Proto"), s.base.Scheme), h.Get("X-Forwarded-Host")
	w.uri = h.Get("X-Forwarded-Uri")
	if w.uri == "" && len(req.URL.Path) > len(s.verifyPath) && s.trusted(req.RemoteAddr) {
		w.uri = strings.TrimPrefix(req.URL.RequestURI(), s.verifyPath)
		if strings.HasPrefix(w.uri, extAuthz+"/") {
			w.uri = w.uri[len(extAuthz):]
		}
		host = cmp.Or(host, req.Host)
	}
	if host != "" && strings.HasPrefix(w.uri, "/") {
		w.origin = scheme + "://" + host
	}
	return w
}

// address returns where the visitor comes back to. What was posted cannot be posted again by a
// redirect, so that begins at the start of the site.
func (w originalRequest) address() string {
	switch {
	case w.origin == "":
		return ""
	case w.method != http.MethodGet && w.method != http.MethodHead:
		return w.origin + "/"
	}
	return w.origin + w.uri
}

// opensPage reports whether a browser wants a page to show, and not a part of one or data.
func opensPage(req *http.Request) bool {
	if len(req.Header["Authorization"]) > 0 {
		return false
	}
	if mode := req.Header.Get("Sec-Fetch-Mode"); mode != "" {
		return mode == "navigate"
	}
	return strings.Contains(req.Header.Get("Accept"), "text/html")
}

// warnOfProxy tells operators, once a minute at most, why nobody comes back to where they were.
func (s *Server) warnOfProxy(req *http.Request, want originalRequest) {
	now := s.now().Unix()
	if last := s.warnedOfProxy.Load(); now-last < 60 || !s.warnedOfProxy.CompareAndSwap(last, now) {
		return
	}
	reason := "the address it asks for is neither on BASE_URL's host nor below COOKIE_DOMAIN"
	switch {
	case !s.trusted(req.RemoteAddr):
		reason = "TRUSTED_PROXIES does not name it"
	case want.origin == "" && !want.statusOnly:
		reason = "it sends neither X-Original-URL nor X-Forwarded-Host and X-Forwarded-Uri"
	}
	s.Log.WarnContext(req.Context(), "people are not sent back after signing in for a reverse proxy: "+reason,
		"proxy", req.RemoteAddr, "wanted", truncate(want.origin, 256))
}
