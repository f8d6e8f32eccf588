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

// Forward auth: for each request a reverse proxy sends a subrequest to this server, and passes the request on if the response
// is a 200, with its Remote-… headers. There is one for everything that a page loads, so it takes a short cut: no router, no
// session to write, no page, and a successful one is logged at the level debug only.
//
// There are two kinds of proxies. Caddy, Traefik, Envoy and HAProxy pass the response to the browser. They describe the
// original request in X-Forwarded-… headers and get a redirect to the sign-in page. nginx accepts only 401 and 403: it sends
// X-Original-URL, and the Location of the 401 is the address of the sign-in page.

func (s *Server) isForwardAuth(path string) bool {
	rest, ok := strings.CutPrefix(path, s.verifyPath)
	return ok && s.verifyPath != "" && (rest == "" || rest[0] == '/')
}

// verify answers a forward-auth request.
func (s *Server) verify(w http.ResponseWriter, req *http.Request) {
	start := time.Now()
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
	took := time.Since(start)
	s.Metrics.ObserveRequest(req.Method, s.verifyPath, c.Response().Status, took, cost)
	s.logRequest(c, level, took, cost)
}

// authorizeProxy authenticates the request and checks the requirements of the proxy.
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
		return problem.Unauthorized(problem.CredentialsNeeded, "Authenticate with HTTP Basic, an API token or a session.")
	}
	if err := s.Maintenance.check(r, Route{Path: s.verifyPath, Access: ForwardAuth}); err != nil {
		return err
	}
	if r.limited() && !needs.trusted {
		return problem.Error{Status: http.StatusForbidden, Code: problem.TokenLimited, Detail: "The token is limited to certain permissions, and this site requires none."}
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

// requirements is what a user needs to pass.
type requirements struct {
	permissions, groups []string
	// trusted is set if the proxy itself requires a permission. One in a header that the client may have sent only adds to
	// the requirements: it must not let a limited token pass.
	trusted bool
}

// requirements parses the requirements of the proxy: from the query, and from headers for a proxy that appends the client's
// path and query to the address (Envoy). A header that the client sent can only add requirements. Unknown parameters are
// an error, because a misspelled "permission" would leave the site open.
func (s *Server) requirements(req *http.Request) (requirements, error) {
	if err := s.checkVerifyTarget(req); err != nil {
		return requirements{}, err
	}
	d := requirements{permissions: req.Header[permissionHeader], groups: req.Header[groupHeader]}
	// A proxy that appends the client's path can only use headers, and sets them itself.
	d.trusted = len(d.permissions) > 0 && strings.HasPrefix(req.URL.Path[len(s.verifyPath):], extAuthz+"/")
	if req.URL.RawQuery != "" && len(req.URL.Path) == len(s.verifyPath) {
		query, err := url.ParseQuery(req.URL.RawQuery)
		if err != nil {
			return requirements{}, problem.BadRequest(problem.MalformedQuery, "The query is malformed.")
		}
		for name, values := range query {
			switch name {
			case "permission":
				d.trusted = true
				d.permissions = append(d.permissions[:len(d.permissions):len(d.permissions)], values...)
			case "group":
				d.groups = append(d.groups[:len(d.groups):len(d.groups)], values...)
			default:
				return requirements{}, problem.BadRequest(problem.UnknownParameter, "The query may have the parameters permission and group only.")
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

// extAuthz is the suffix of the path for Envoy's ext_authz. Envoy appends the client's path and query to it, so the query
// is the client's and states no requirements.
const extAuthz = "/ext-authz"

// checkVerifyTarget returns a 400 if the request may state a requirement that was not parsed: in an unknown header, in a
// misspelled path, or in the query of such a path. Otherwise the proxy would get a 200 for a requirement that was never
// checked.
func (s *Server) checkVerifyTarget(req *http.Request) error {
	for name := range req.Header {
		if unknownRequirement(name) {
			return problem.BadRequest(problem.UnknownHeader, "State requirements in "+permissionHeader+" and "+groupHeader+" only.")
		}
	}
	u := req.URL
	rest := u.Path[len(s.verifyPath):]
	if rest == "" && u.RawPath == "" {
		return nil
	}
	// The server's part of the path must be literal. The rest is the client's path and may be encoded.
	escaped, ok := strings.CutPrefix(u.EscapedPath(), s.verifyPath)
	if !ok || !strings.HasPrefix(escaped, "/") {
		return problem.BadRequest(problem.MisspelledPath, "Write "+s.verifyPath+" without percent-encoding.")
	}
	if strings.HasPrefix(escaped, extAuthz+"/") {
		return nil
	}
	if rest == extAuthz || mayStateRequirement(rest, u.RawQuery) {
		return problem.BadRequest(problem.AmbiguousPath, "Put requirements in the query of "+s.verifyPath+". A proxy that appends the client's path and query must append them to "+
			s.verifyPath+extAuthz+" and state requirements in headers.")
	}
	return nil
}

// unknownRequirement reports whether a header, by its canonical name, resembles a requirement header and is not one.
func unknownRequirement(name string) bool {
	const prefix = "X-Gatehouse"
	return len(name) > len(prefix) && name[0] == 'X' && strings.EqualFold(name[2:len(prefix)], prefix[2:]) &&
		name != permissionHeader && name != groupHeader
}

// mayStateRequirement reports whether the path and query after the server's own may state a requirement rather than name
// the requested page.
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

// inGroup reports whether the request has the rights of the group's members. A limited token has no groups.
func (r *Request) inGroup(group string) bool { return r.user.InGroup(group) }

// limited reports whether the request was authenticated with a token that is limited to certain permissions.
func (r *Request) limited() bool { return r.token != nil && r.token.IsRestricted() }

// writeIdentity answers a 200 with the user's identity. It sets every header, even empty ones, so that the proxy overwrites
// what the client sent. This includes Cookie, without Gatehouse's own cookies, so that no site behind the proxy can replay
// a session.
func (s *Server) writeIdentity(r *Request) {
	// Sites may use the address as the account, so an unverified one must not reach them.
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

// denyProxy answers a refused request: a browser that opens a page is redirected to the sign-in page or gets an error page, a
// program gets a problem.
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
		s.Log.WarnContext(c.Request().Context(), "a forward-auth request cannot be read: check the configuration of the proxy, and the Authorization header of the program", "error", err, "proxy", req.RemoteAddr)
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

// visitorKey marks a forward-auth request whose refusal is shown to a person.
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
		// Not Basic: nginx passes this on, and the browser would open a password dialog.
		h.Set("WWW-Authenticate", bearerChallenge)
	}
	_ = write(c, status, "", nil)
}

// originalRequest is the request that the proxy received.
type originalRequest struct {
	method, origin, uri string
	// page is set if a browser opens a page, so that a person reads the response.
	page bool
	// statusOnly is set if the proxy uses only the status of the response.
	statusOnly bool
}

// originalRequest parses the headers of the proxy. Those of untrusted clients were dropped.
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

// address returns the address to return to after signing in. A redirect cannot repeat a POST, so other methods return to
// the home page of the site.
func (w originalRequest) address() string {
	switch {
	case w.origin == "":
		return ""
	case w.method != http.MethodGet && w.method != http.MethodHead:
		return w.origin + "/"
	}
	return w.origin + w.uri
}

// opensPage reports whether a browser navigates to a page rather than loading a part of one or data.
func opensPage(req *http.Request) bool {
	if len(req.Header["Authorization"]) > 0 {
		return false
	}
	if mode := req.Header.Get("Sec-Fetch-Mode"); mode != "" {
		return mode == "navigate"
	}
	return strings.Contains(req.Header.Get("Accept"), "text/html")
}

// warnOfProxy logs, at most once a minute, why users do not return to the original address after signing in.
func (s *Server) warnOfProxy(req *http.Request, want originalRequest) {
	now := s.now().Unix()
	if last := s.warnedOfProxy.Load(); now-last < 60 || !s.warnedOfProxy.CompareAndSwap(last, now) {
		return
	}
	reason := "the original address is neither on the host of BASE_URL nor within COOKIE_DOMAIN"
	switch {
	case !s.trusted(req.RemoteAddr):
		reason = "the proxy is not in TRUSTED_PROXIES"
	case want.origin == "" && !want.statusOnly:
		reason = "the proxy sends neither X-Original-URL nor X-Forwarded-Host and X-Forwarded-Uri"
	}
	s.Log.WarnContext(req.Context(), "users of a reverse proxy do not return to the original address after signing in: "+reason,
		"proxy", req.RemoteAddr, "wanted", truncate(want.origin, 256))
}
