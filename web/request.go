package web

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math"
	"mime"
	"net/http"
	"net/netip"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"gatehouse/auth"
	"gatehouse/internal/reqstats"
	"gatehouse/web/cookies"
	"gatehouse/web/problem"
	"gatehouse/web/sessions"
)

// Request is what a handler sees of a request: the user, the input and the session. It hides Echo's types.
type Request struct {
	server  *Server
	echo    echo.Context
	ctx     context.Context
	stats   *reqstats.Stats
	session sessions.Current
	user    *auth.User
	// method is how the user was authenticated; permissions are those of this request.
	method      string
	permissions []string
	token       *auth.Token
	cookies     []*http.Cookie
	ended       bool
	// elsewhere is set if the user is signed out here but not in the program whose session signed them in.
	elsewhere bool
	// draft is the form that the response shows, and resumed has the path parameters of its route; nil without one.
	draft   *Draft
	resumed echo.Context
}

// Context returns the request's context, which ends when the client disconnects.
func (r *Request) Context() context.Context { return r.ctx }

// Stats returns the work that the request has caused so far.
func (r *Request) Stats() *reqstats.Stats { return r.stats }

// Now returns the server's time.
func (r *Request) Now() time.Time { return r.server.now() }

// Log returns the logger. Its lines have the request's id.
func (r *Request) Log() *slog.Logger { return r.server.Log }

// User returns the authenticated user, or nil.
func (r *Request) User() *auth.User { return r.user }

// signedIn records the authenticated user.
func (r *Request) signedIn(u auth.User, method string, permissions []string) {
	r.user, r.method, r.permissions = &u, method, permissions
	r.echo.Set(userKey, u.ID)
}

// CountSignIn counts a sign-in through a form; err is its outcome.
func (r *Request) CountSignIn(err error) { r.server.Metrics.CountSignIn("form", err) }

// AuthMethod returns how the request was authenticated: BySession, ByBasic or ByToken.
func (r *Request) AuthMethod() string { return r.method }

// Permissions returns the permissions of this request. A token may have fewer than its owner.
func (r *Request) Permissions() []string { return r.permissions }

// HasPermission reports whether this request has the permission.
func (r *Request) HasPermission(permission string) bool {
	limited := *r.user
	limited.Permissions = r.permissions
	return limited.HasPermission(permission)
}

// Token returns the API token that authenticated the request, or nil.
func (r *Request) Token() *auth.Token { return r.token }

// DecodeJSON decodes the body into the struct v and leaves v unchanged without a body. The error is a 400 or 415, or a 422
// that names the fields that the struct does not have: ignoring a misspelled field would do something else than was asked.
func (r *Request) DecodeJSON(v any) error {
	req := r.echo.Request()
	if req.ContentLength == 0 {
		return nil
	}
	kind, _, err := mime.ParseMediaType(req.Header.Get("Content-Type"))
	if err != nil || kind != "application/json" {
		return echo.NewHTTPError(http.StatusUnsupportedMediaType)
	}
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return err
	}
	var fields map[string]json.RawMessage
	if json.Unmarshal(body, &fields) != nil {
		return problem.BadRequest(problem.MalformedJSON, "The body is not a JSON object.")
	}
	if unknown := unknownFields(fields, reflect.TypeOf(v).Elem()); len(unknown) > 0 {
		return unknown
	}
	if json.Unmarshal(body, v) != nil {
		return problem.BadRequest(problem.MalformedJSON, "The body is not a JSON object with the expected fields.")
	}
	return nil
}

// Limits of what an error repeats of a request.
const (
	maxUnknownFields = 10
	maxUnknownName   = 64
)

// unknownFields returns an error for each field that the struct type does not have. Like encoding/json, it ignores case.
func unknownFields(fields map[string]json.RawMessage, of reflect.Type) auth.ValidationErrors {
	unknown := auth.ValidationErrors{}
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		known := slices.ContainsFunc(reflect.VisibleFields(of), func(f reflect.StructField) bool {
			tag, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			return strings.EqualFold(cmp.Or(tag, f.Name), name)
		})
		if !known && len(unknown) < maxUnknownFields {
			unknown[truncate(name, maxUnknownName)] = "There is no such field."
		}
	}
	return unknown
}

// Param returns a path parameter of the route.
func (r *Request) Param(name string) string {
	if r.resumed != nil {
		return r.resumed.Param(name)
	}
	return r.echo.Param(name)
}

// Session returns the session, or nil for a visitor without one.
func (r *Request) Session() *auth.Session { return r.session.Record }

// AbsoluteURL returns the absolute URL of a path of this site.
func (r *Request) AbsoluteURL(path string) string {
	return r.server.BaseOrigin + path
}

// DatabaseName returns the name of the SQL database, for people.
func (r *Request) DatabaseName() string { return r.server.Database }

// Query returns a query parameter.
func (r *Request) Query(name string) string {
	if r.echo.Request().URL.RawQuery == "" {
		return "" // without allocating the map of all parameters
	}
	return r.echo.QueryParam(name)
}

// Path returns the URL path, or that of the draft that the response shows.
func (r *Request) Path() string {
	if r.draft != nil {
		return r.draft.Path
	}
	return r.echo.Request().URL.Path
}

// maxFormFields is the maximum number of fields in a form. The site's largest form has one for each group of a user. Without
// it, 64 KiB of short names would take 2 MB in the maps of net/http.
const maxFormFields = 1024

// Form parses the body of a form.
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
		return nil, echo.NewHTTPError(http.StatusBadRequest).SetInternal(fmt.Errorf("parse the form: %w", err))
	}
	return req.PostForm, nil
}

// maxDeviceCookies is how many device cookies of a request are tried.
const maxDeviceCookies = 4

// Client returns the client of the request, for rate limits.
func (r *Request) Client() auth.Client {
	c := auth.Client{Address: r.clientIP()}
	c.DeviceCookies = cookies.AppendValues(nil, r.echo.Request(), r.server.Cookies.DeviceName(), auth.IsDeviceCookie, maxDeviceCookies)
	if r.session.Record != nil {
		c.SessionID, c.Epoch = r.session.Record.ID, r.session.Record.Epoch
	}
	return c
}

func (r *Request) clientIP() netip.Addr {
	a, err := netip.ParseAddr(r.echo.RealIP())
	if err != nil {
		return netip.IPv4Unspecified() // a unix socket: every client shares one rate-limit bucket
	}
	return a.Unmap()
}

// SignIn starts a session for the user under a new token and sets the device cookie. The session is written with the
// response.
func (r *Request) SignIn(u auth.User, remember bool) error {
	if r.session.Record != nil {
		r.stats.RecordChangeAttempt() // it ends the browser's previous session
	}
	s, err := r.server.Sessions.Start(r.ctx, r.allSessionCookies(), u, remember,
		sessions.Client{UserAgent: truncate(r.echo.Request().UserAgent(), 256), Address: r.clientIP().String()}, r.Now())
	if err != nil {
		return fmt.Errorf("start a session: %w", err)
	}
	r.session = s
	r.signedIn(u, BySession, u.Permissions)
	r.setDeviceCookie(u)
	return nil
}

// setDeviceCookie lets the server recognize this browser for the user until the epoch changes.
func (r *Request) setDeviceCookie(u auth.User) {
	r.cookies = append(r.cookies, r.server.Cookies.Device(r.server.Accounts.NewDeviceCookie(u)))
}

// RenewSession gives the session a new token after a change in this session, which returned u, has set a new epoch. auth.ErrSessionEnded if the session was ended meanwhile, and always for an external session.
func (r *Request) RenewSession(u auth.User) error {
	if r.HasExternalSession() {
		return auth.ErrSessionEnded
	}
	s, err := r.server.Sessions.Renew(r.ctx, r.session, u, r.Now())
	if err != nil {
		return fmt.Errorf("renew a session: %w", err)
	}
	if r.server.Accounts.TrustsAnyDevice(r.Client().DeviceCookies, *r.user) {
		r.setDeviceCookie(u)
	}
	r.session, r.user = s, &u
	return nil
}

// SignOut ends every session whose cookie the browser sent, and deletes the cookie. If Redis does not respond it returns an
// error and keeps the cookie, because the user is still signed in.
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

// maxSessionCookies is how many session cookies of a request are tried. Browsers send several if another site of the domain,
// or a script on a longer path, has planted one; docs/session-format.md has the rule.
const maxSessionCookies = 4

// sessionCookies appends the session cookies to try to dst, in the order of the request.
func (r *Request) sessionCookies(dst []string) []string {
	return cookies.AppendValues(dst, r.echo.Request(), r.server.Cookies.SessionName(), sessions.IsToken, maxSessionCookies)
}

// allSessionCookies returns every session cookie of the request. The limit on the size of headers bounds their number.
func (r *Request) allSessionCookies() []string {
	return cookies.AppendValues(nil, r.echo.Request(), r.server.Cookies.SessionName(), sessions.IsToken, math.MaxInt)
}

// SafeRedirect returns where to send the browser after signing in or out if that is safe: a path of this site, or the
// absolute URL of a site that shares the sign-in. Otherwise "".
func (r *Request) SafeRedirect(next string) string { return r.server.redirects.Safe(next) }
