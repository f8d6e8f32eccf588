package web

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"mime"
	"net/http"
	"net/netip"
	"net/url"
	"time"

	"github.com/labstack/echo/v4"

	"gatehouse/auth"
	"gatehouse/internal/reqstats"
	"gatehouse/web/cookies"
	"gatehouse/web/problem"
	"gatehouse/web/sessions"
)

// Request is one request on its way through a handler: who asks, what was sent, and the
// session. It keeps Echo's types out of the handlers.
type Request struct {
	server  *Server
	echo    echo.Context
	ctx     context.Context
	stats   *reqstats.Stats
	session sessions.Current
	user    *auth.User
	// method is how the user signed in; permissions what they may by it.
	method      string
	permissions []string
	token       *auth.Token
	cookies     []*http.Cookie
	ended       bool
	// elsewhere: the person was signed out here and not where they came from.
	elsewhere bool
}

// Context returns the request's context; it ends when the client goes.
func (r *Request) Context() context.Context { return r.ctx }

// Cost returns what the request took so far.
func (r *Request) Stats() *reqstats.Stats { return r.stats }

// Now returns the server's time.
func (r *Request) Now() time.Time { return r.server.now() }

// Log returns the logger; lines carry the request's id.
func (r *Request) Log() *slog.Logger { return r.server.Log }

// User returns who is signed in, or nil.
func (r *Request) User() *auth.User { return r.user }

// signedIn notes who it is.
func (r *Request) signedIn(u auth.User, method string, permissions []string) {
	r.user, r.method, r.permissions = &u, method, permissions
	r.echo.Set(userKey, u.ID)
}

// CountSignIn counts a sign-in through a form; err is its outcome.
func (r *Request) CountSignIn(err error) { r.server.Metrics.CountSignIn("form", err) }

// AuthMethod returns how the user signed in: BySession, ByBasic or ByToken.
func (r *Request) AuthMethod() string { return r.method }

// Permissions returns what this request may: a token may less than its owner.
func (r *Request) Permissions() []string { return r.permissions }

// HasPermission reports whether this request has the permission.
func (r *Request) HasPermission(permission string) bool {
	narrowed := *r.user
	narrowed.Permissions = r.permissions
	return narrowed.HasPermission(permission)
}

// Token returns the API token that was sent, or nil.
func (r *Request) Token() *auth.Token { return r.token }

// DecodeJSON reads the body into v, and leaves v as it is when there is none. What cannot be read is
// a 400 or 415.
func (r *Request) DecodeJSON(v any) error {
	req := r.echo.Request()
	if req.ContentLength == 0 {
		return nil
	}
	kind, _, err := mime.ParseMediaType(req.Header.Get("Content-Type"))
	if err != nil || kind != "application/json" {
		return echo.NewHTTPError(http.StatusUnsupportedMediaType)
	}
	d := json.NewDecoder(req.Body)
	err = d.Decode(v)
	if err == nil && d.More() {
		err = errors.New("more than one value")
	}
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return err
	}
	if err != nil {
		return problem.BadRequest(problem.MalformedJSON, "The body is not the JSON object that this needs.")
	}
	return nil
}

// Param returns a part of the path that the route leaves open.
func (r *Request) Param(name string) string { return r.echo.Param(name) }

// Session returns the session, or nil for a visitor without one.
func (r *Request) Session() *auth.Session { return r.session.Record }

// AbsoluteURL returns the whole address of a path, for use outside of this site's pages.
func (r *Request) AbsoluteURL(path string) string {
	return r.server.BaseOrigin + path
}

// DatabaseName returns the name of the database that vouches when Redis alone did not.
func (r *Request) DatabaseName() string { return r.server.Database }

// Query returns a parameter of the address.
func (r *Request) Query(name string) string { return r.echo.QueryParam(name) }

// Path returns the path of the address.
func (r *Request) Path() string { return r.echo.Request().URL.Path }

// maxFormFields is how many fields a form may have. The largest of ours has one for each group of a
// user. 64 KiB of short names, which net/http takes, would become 2 MB in its maps.
const maxFormFields = 1024

// Form parses the body of a form that was posted.
func (r *Request) Form() (url.Values, error) {
	req := r.echo.Request()
	kind, _, err := mime.ParseMediaType(req.Header.Get("Content-Type"))
	if err != nil || kind != "application/x-www-form-urlencoded" {
		return nil, echo.NewHTTPError(http.StatusUnsupportedMediaType)
	}
	if body, ok := req.Body.(receivedBody); ok && bytes.Count(body.all, []byte("&")) > maxFormFields {
		return nil, echo.NewHTTPError(http.StatusRequestEntityTooLarge)
	}
	if err := req.ParseForm(); err != nil {
		var tooLarge *http.MaxBytesError
		if errors.As(err, &tooLarge) {
			return nil, err
		}
		return nil, echo.NewHTTPError(http.StatusBadRequest).SetInternal(fmt.Errorf("read a form: %w", err))
	}
	return req.PostForm, nil
}

// maxBrowserCookies bounds how many cookies that make a browser known are tried.
const maxBrowserCookies = 4

// Visitor returns where the request comes from.
func (r *Request) Visitor() auth.Client {
	v := auth.Client{Address: r.clientIP()}
	v.DeviceCookies = cookies.AppendValues(nil, r.echo.Request(), r.server.Cookies.DeviceName(), auth.IsDeviceCookie, maxBrowserCookies)
	if r.session.Record != nil {
		v.SessionID, v.Epoch = r.session.Record.ID, r.session.Record.Epoch
	}
	return v
}

func (r *Request) clientIP() netip.Addr {
	a, err := netip.ParseAddr(r.echo.RealIP())
	if err != nil {
		return netip.IPv4Unspecified() // a unix socket in front of us: one bucket for all
	}
	return a.Unmap()
}

// SignIn starts a session for the user under a new token and makes the browser known. It is
// written when the response is.
func (r *Request) SignIn(u auth.User, remember bool) error {
	if r.session.Record != nil {
		r.stats.RecordChangeAttempt() // it ends the session that the browser had
	}
	s, err := r.server.Sessions.Start(r.ctx, r.allSessionCookies(), u, remember,
		sessions.Client{UserAgent: truncate(r.echo.Request().UserAgent(), 256), Address: r.clientIP().String()}, r.Now())
	if err != nil {
		return fmt.Errorf("start a session: %w", err)
	}
	r.session, r.user = s, &u
	r.rememberBrowser(u)
	return nil
}

// rememberBrowser makes the browser known for the user, until the epoch changes.
func (r *Request) rememberBrowser(u auth.User) {
	r.cookies = append(r.cookies, r.server.Cookies.Device(r.server.Accounts.NewDeviceCookie(u)))
}

// RenewSession gives the session a new token after its own change of the user, as the store
// returned it, set a new epoch. auth.ErrSessionEnded when it was ended meanwhile, and always for a foreign session.
func (r *Request) RenewSession(u auth.User) error {
	if r.HasExternalSession() {
		return auth.ErrSessionEnded
	}
	s, err := r.server.Sessions.Renew(r.ctx, r.session, u, r.Now())
	if err != nil {
		return fmt.Errorf("renew a session: %w", err)
	}
	if r.server.Accounts.Keys.TrustsAnyDevice(r.Visitor().DeviceCookies, *r.user) {
		r.rememberBrowser(u)
	}
	r.session, r.user = s, &u
	return nil
}

// SignOut ends every session whose cookie the browser sent, and takes the cookie away. While Redis does not answer it is an
// error, and the cookie stays: nobody is told to be signed out who is not.
func (r *Request) SignOut() error {
	if err := r.server.Bridge.end(r); err != nil {
		r.stats.RecordChangeAttempt()
		return err
	}
	if err := r.server.Sessions.End(r.ctx, r.allSessionCookies()); err != nil {
		r.stats.RecordChangeAttempt()
		return fmt.Errorf("end a session: %w", err)
	}
	r.session, r.user, r.ended = sessions.Current{}, nil, true
	return nil
}

// maxSessionCookies is how many session cookies of one request are tried. Browsers send two when a
// sibling site, or a cookie for a longer path, has planted one; docs/session-format.md has the rule.
const maxSessionCookies = 4

// sessionCookies appends to dst the session cookies that are tried, in the order of the request.
func (r *Request) sessionCookies(dst []string) []string {
	return cookies.AppendValues(dst, r.echo.Request(), r.server.Cookies.SessionName(), sessions.IsToken, maxSessionCookies)
}

// allSessionCookies returns every session cookie of the request, tried or not. The limit on the
// size of headers bounds them.
func (r *Request) allSessionCookies() []string {
	return cookies.AppendValues(nil, r.echo.Request(), r.server.Cookies.SessionName(), sessions.IsToken, math.MaxInt)
}

// SafeRedirect returns where to send the browser after signing in or out if that is safe: a path of this site, or the
// absolute URL of a site that shares the sign-in. Otherwise "".
func (r *Request) SafeRedirect(next string) string { return r.server.redirects.Safe(next) }
