// Package web is the HTTP server: routing, middleware, authentication of requests, responses, error pages and forward auth.
// What the pages do is in package handlers, who may do what in package auth. It knows neither SQL nor Redis.
//
// Echo's types appear in this package only, and there in server.go, middleware.go, request.go, body.go, errors.go,
// problem.go, maintenance.go, static.go and the forwardauth files; none of them is exported. The packages below web do without Echo.
package web

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/a-h/templ"
	"github.com/labstack/echo/v4"

	"gatehouse/auth"
	"gatehouse/internal/reqstats"
	"gatehouse/web/cookies"
	"gatehouse/web/metrics"
	"gatehouse/web/netlimit"
	"gatehouse/web/problem"
	"gatehouse/web/redirect"
	"gatehouse/web/sessions"
)

// Server serves the site: everything that happens to a request before and after its handler.
type Server struct {
	Accounts *auth.Accounts
	Sessions *sessions.Manager
	Cookies  cookies.Policy
	// Database is the name of the SQL database, as the dashboard shows it.
	Database string
	// TrustedProxies are the networks whose X-Forwarded-… headers are trusted.
	TrustedProxies []netip.Prefix
	// BaseOrigin is the scheme and host of BASE_URL.
	BaseOrigin string
	Log        *slog.Logger
	// Metrics may be nil.
	Metrics *metrics.Metrics
	// Maintenance may be nil; the site is always open then.
	Maintenance *Maintenance
	// SignInAgain answers a form that was submitted after its session had ended. If nil, it is answered with a redirect to
	// the sign-in page.
	SignInAgain func(*Request, Draft) (Response, error)
	// Bridge may be nil: only our own sessions count then.
	Bridge *Bridge
	// Clock replaces time.Now in tests; may be nil.
	Clock func() time.Time

	base      *url.URL // BaseOrigin, parsed
	redirects redirect.Policy
	echo      *echo.Echo
	statics   *assets
	// The elements that load the static files: of every page, and of the two that show the sky.
	assetLinks, dashboardLinks, landingLinks templ.Component
	// verifyPath is the path of the forward-auth route; "" without one.
	verifyPath string
	// forms are the routes that keep a form, and pages those that people open, by path.
	forms, pages map[string]Route
	limiter      *netlimit.Limiter
	// warnedOfProxy is the time of the last warning of warnOfProxy, in Unix seconds.
	warnedOfProxy atomic.Int64
}

func (s *Server) now() time.Time {
	if s.Clock != nil {
		return s.Clock()
	}
	return time.Now()
}

// Init prepares the server to serve the routes.
func (s *Server) Init(routes []Route) error {
	var err error
	if s.base, err = url.Parse(s.BaseOrigin); err != nil {
		return fmt.Errorf("parse BASE_URL: %w", err)
	}
	s.redirects = redirect.Policy{Base: s.base, CookieDomain: s.Cookies.Domain}
	if s.statics, err = newAssets(); err != nil {
		return err
	}
	if s.assetLinks, err = s.statics.pageLinks(); err != nil {
		return err
	}
	if s.dashboardLinks, err = s.statics.dashboardLinks(); err != nil {
		return err
	}
	if s.landingLinks, err = s.statics.landingLinks(); err != nil {
		return err
	}
	s.limiter = netlimit.New()
	s.echo = echo.New()
	s.echo.HideBanner, s.echo.HidePort = true, true
	s.echo.Logger.SetOutput(io.Discard)
	s.echo.IPExtractor = s.ipExtractor()
	s.echo.HTTPErrorHandler = func(err error, c echo.Context) { s.answerError(c, err) }
	s.echo.Use(s.logRequests, s.recoverPanics, s.protect)
	s.echo.GET("/static/*", s.statics.serve)
	s.echo.HEAD("/static/*", s.statics.serve)
	s.forms, s.pages = make(map[string]Route), make(map[string]Route)
	for _, r := range routes {
		if err := s.add(r); err != nil {
			return err
		}
	}
	return nil
}

func (s *Server) add(r Route) error {
	if !r.Access.valid() {
		return fmt.Errorf("route %s %s has no access rule", r.Method, r.Path)
	}
	if r.Access == ForwardAuth {
		s.verifyPath = r.Path
		return nil
	}
	h := s.handle(r)
	s.echo.Add(r.Method, r.Path, h)
	if r.Method == http.MethodGet {
		s.echo.HEAD(r.Path, h)
	}
	if r.Page != "" {
		s.echo.GET(r.Path, s.openPage(r))
		s.echo.HEAD(r.Path, s.openPage(r))
	}
	if r.showDraft != nil {
		s.forms[r.Path] = r
	}
	if r.Access.who == open || r.Access.who == signedIn {
		s.pages[r.Path] = r
	}
	return nil
}

// Routes returns the served routes as "METHOD /path".
func (s *Server) Routes() []string {
	var all []string
	for _, r := range s.echo.Routes() {
		all = append(all, r.Method+" "+r.Path)
	}
	if s.verifyPath != "" {
		all = append(all, AnyMethod+" "+s.verifyPath)
	}
	return all
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	if mayBeMisframed(req) {
		w.Header().Set("Connection", "close")
	}
	if s.isForwardAuth(req.URL.Path) {
		s.verify(w, req)
		return
	}
	s.echo.ServeHTTP(w, req)
}

// mayBeMisframed reports whether a proxy in front may have delimited the body differently from net/http. The connection
// must then end with the response, or a rest of the body could be read as the next request.
//
// RFC 9112, section 6.1, requires it for requests with both Transfer-Encoding and Content-Length, and for those with
// Transfer-Encoding in HTTP/1.0. net/http removes these headers before it calls a handler, so this includes every chunked
// request and every HTTP/1.0 request. Browsers send neither.
func mayBeMisframed(req *http.Request) bool {
	return len(req.TransferEncoding) > 0 || req.ProtoMajor == 1 && req.ProtoMinor == 0
}

// HTTPServer returns a net/http server with every limit set (Echo sets none). Serve it on a listener from LimitListener.
func (s *Server) HTTPServer() *http.Server {
	return s.limiter.Server(s, slog.NewLogLogger(s.Log.Handler(), slog.LevelDebug))
}

// LimitListener wraps the listener with limits on the request heads of its connections.
func (s *Server) LimitListener(l net.Listener) net.Listener { return s.limiter.Listener(l) }

// handle returns the request flow of a route: body, session, user, access rule, handler, rendering, commit and only then the
// response.
func (s *Server) handle(route Route) echo.HandlerFunc {
	return func(c echo.Context) error {
		if err := s.readBody(c); err != nil {
			return err
		}
		r := s.newRequest(c)
		resp, err := s.answer(r, route)
		if err != nil {
			return err
		}
		return s.send(r, resp)
	}
}

func (s *Server) newRequest(c echo.Context) *Request {
	ctx := c.Request().Context()
	return &Request{server: s, echo: c, ctx: ctx, stats: reqstats.FromContext(ctx)}
}

// answer enforces the access rule of the route and calls its handler.
func (s *Server) answer(r *Request, route Route) (Response, error) {
	if err := s.identifyFor(r, route.Access); err != nil {
		return Response{}, err
	}
	if r.user == nil && route.Access.who == signedIn {
		if route.Method == http.MethodPost && s.SignInAgain != nil {
			return s.SignInAgain(r, s.endedSession(r, route))
		}
		return SeeOther(signInAddress(r.echo.Request())), nil
	}
	if r.user == nil && route.Access.who == api {
		return Response{}, problem.Unauthorized(problem.CredentialsNeeded, "Authenticate with HTTP Basic, an API token or a session.")
	}
	if err := s.authorize(r, route); err != nil {
		return Response{}, err
	}
	return route.Handle(r)
}

// authorize returns an error if the signed-in user may not use the route now.
func (s *Server) authorize(r *Request, route Route) error {
	if err := s.Maintenance.check(r, route); err != nil {
		return err
	}
	if route.Access.permission != "" && !r.HasPermission(route.Access.permission) {
		return missingPermission(route.Access.permission)
	}
	return nil
}

func (s *Server) identifyFor(r *Request, access Access) error {
	switch access.who {
	case unauthenticated:
		return nil
	case api, optionalAPI:
		return s.identifyAPI(r)
	case open:
		if err := s.identify(r); err != nil {
			s.Log.DebugContext(r.ctx, "cannot identify the user of an open page", "error", err)
		}
		return nil
	}
	return s.identify(r)
}

// identify finds the session and its user. Without a valid session the user is anonymous; an error means that a store did
// not respond.
func (s *Server) identify(r *Request) error {
	if err := s.identifyOwn(r); err != nil || r.user != nil || s.Bridge == nil {
		return err
	}
	return s.Bridge.identify(r)
}

// identifyOwn finds the first cookie with a live session. Several cookies cost no more round trips than one.
func (s *Server) identifyOwn(r *Request) error {
	var (
		values [maxSessionCookies]string
		found  [maxSessionCookies]sessions.Current
	)
	now := s.now()
	valid, err := s.Sessions.Load(r.ctx, found[:0], r.sessionCookies(values[:0]), now)
	if err != nil {
		return fmt.Errorf("load a session: %w", err)
	}
	for _, session := range valid {
		user, ok, err := s.owner(r, session.Record)
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		if session.Record.NeedsRenewal(now) && !isAutomaticReload(r.echo.Request()) {
			s.Accounts.RenewIdleTime(r.ctx, *session.Record, now)
		}
		r.session = session
		r.signedIn(user, BySession, user.Permissions)
		return nil
	}
	return nil
}

// owner returns the user of a session, and whether the session is still valid for the user.
func (s *Server) owner(r *Request, record *auth.Session) (u auth.User, ok bool, err error) {
	u, err = s.Accounts.SessionUser(r.ctx, *record)
	if errors.Is(err, auth.ErrNotFound) {
		return auth.User{}, false, nil
	}
	return u, err == nil, err
}

// userKey is the key of the user's id in the Echo context, for the log.
const userKey = "user_id"

// signInAddress returns the address of the sign-in page that returns to the request's address. A redirect cannot repeat a
// POST, so other methods do not return there.
func signInAddress(req *http.Request) string {
	uri := req.URL.RequestURI()
	if req.Method != http.MethodGet && req.Method != http.MethodHead || len(uri) > redirect.MaxLength {
		return "/login"
	}
	return "/login?next=" + url.QueryEscape(uri)
}

// send renders, commits and then writes the response, so that nothing has been sent if one of them fails.
func (s *Server) send(r *Request, resp Response) error {
	body := newOutgoing()
	defer body.release()
	kind, err := s.render(&body.Buffer, resp)
	if err != nil {
		return err
	}
	if body.Len() > maxResponse {
		return errTooLarge
	}
	if err := s.commit(r); err != nil {
		return err
	}
	h := r.echo.Response().Header()
	if r.user != nil {
		h.Set("Server-Timing", serverTiming(r.stats))
	}
	for _, cookie := range r.cookies {
		h.Add("Set-Cookie", cookie.String())
	}
	if r.ended {
		// Browsers keep pages in memory for the back button even with no-store.
		h.Set("Clear-Site-Data", `"cache"`)
	}
	if resp.formOrigin != "" {
		h.Set("Content-Security-Policy", strings.Replace(contentSecurityPolicy, "form-action 'self'", "form-action 'self' "+resp.formOrigin, 1))
	}
	if resp.location != "" {
		h.Set("Location", resp.location)
	}
	if resp.untrusted {
		h.Set("Content-Security-Policy", untrustedImagePolicy)
		h.Set("Cache-Control", "private, max-age=31536000, immutable")
	}
	if resp.cached > 0 {
		h.Set("Cache-Control", "public, max-age="+strconv.Itoa(seconds(resp.cached)))
	}
	if resp.retryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(seconds(resp.retryAfter)))
	}
	resp.page, resp.json = nil, nil // they may hold the form
	s.limiter.BeginResponse(&body.transfer, body.Cap(), r.echo.Response())
	defer s.limiter.End(&body.transfer)
	return write(r.echo, resp.status, kind, body.Bytes())
}

func (s *Server) render(body *bytes.Buffer, resp Response) (contentType string, err error) {
	switch {
	case resp.page != nil:
		return "text/html; charset=utf-8", renderPage(body, resp.page)
	case resp.json != nil:
		return "application/json", json.NewEncoder(body).Encode(resp.json)
	case resp.raw != nil:
		body.Write(resp.raw)
		return resp.kind, nil
	case resp.text != "":
		body.WriteString(resp.text)
		return "text/plain; charset=utf-8", nil
	}
	return "", nil
}

// commit writes a session that was started, renewed or ended, and adds its cookie.
func (s *Server) commit(r *Request) error {
	token, err := s.Sessions.Commit(r.session)
	if err != nil {
		return fmt.Errorf("commit a session: %w", err)
	}
	if token != "" {
		r.cookies = append(r.cookies, s.Cookies.Session(token, *r.session.Record, s.now()))
	} else if r.ended {
		r.cookies = append(r.cookies, s.Cookies.ExpiredSession())
	}
	return nil
}

// write sends a complete response with its length. It releases the request's body first, however long the client takes to
// read.
func write(c echo.Context, status int, kind string, body []byte) error {
	req := c.Request()
	req.Body, req.Form, req.PostForm = http.NoBody, nil, nil
	h := c.Response().Header()
	if kind != "" {
		h.Set("Content-Type", kind)
	}
	h.Set("Content-Length", strconv.Itoa(len(body)))
	c.Response().WriteHeader(status)
	_, err := c.Response().Write(body)
	if err != nil {
		return fmt.Errorf("%w: %w", errClientGone, err)
	}
	return nil
}

// errClientGone means that the client disconnected while the response was being sent.
var errClientGone = errors.New("the client disconnected")

// serverTiming returns the cost of the response (W3C Server Timing). The counts are descriptions because the values are
// milliseconds.
func serverTiming(c *reqstats.Stats) string {
	b := make([]byte, 0, 64)
	b = appendTiming(append(b, `redis;desc="`...), c.RedisRoundTrips(), c.RedisTime())
	b = appendTiming(append(b, `, sql;desc="`...), c.SQLStatements(), c.SQLTime())
	return string(b)
}

func appendTiming(b []byte, count int64, took time.Duration) []byte {
	b = strconv.AppendInt(b, count, 10)
	b = append(b, `";dur=`...)
	return strconv.AppendFloat(b, milliseconds(took), 'f', 2, 64)
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// Drain stops accepting requests and waits for those in flight.
func Drain(ctx context.Context, server *http.Server) error {
	if err := server.Shutdown(ctx); err != nil {
		return fmt.Errorf("wait for requests in flight: %w", err)
	}
	return nil
}
