package web

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"gatehouse/internal/reqstats"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"runtime/debug"
	"strings"
	"time"
	"unicode/utf8"

	"gatehouse/web/logging"

	"github.com/labstack/echo/v4"
)

// logRequests gives the request an id and counts its work, answers its error, and logs one line. It is the outermost
// middleware, so the line of a request whose handler panicked has the status of the error page.
func (s *Server) logRequests(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		start := time.Now()
		req := c.Request()
		s.dropForgedHeaders(req)
		ctx, cost := reqstats.NewContext(req.Context())
		id := requestID(req)
		c.SetRequest(req.WithContext(logging.WithRequestID(ctx, id)))
		c.Response().Header().Set(echo.HeaderXRequestID, id)
		if err := next(c); err != nil {
			c.Error(err)
		}
		took := time.Since(start)
		s.Metrics.ObserveRequest(req.Method, c.Path(), c.Response().Status, took, cost)
		s.logRequest(c, slog.LevelInfo, took, cost)
		return nil
	}
}

func (s *Server) logRequest(c echo.Context, level slog.Level, took time.Duration, cost *reqstats.Stats) {
	req := c.Request()
	if !s.Log.Enabled(req.Context(), level) {
		return
	}
	user, _ := c.Get(userKey).(string)
	s.Log.LogAttrs(req.Context(), level, "request",
		slog.String("method", req.Method),
		slog.String("route", c.Path()),
		slog.String("path", truncate(req.URL.Path, 256)),
		slog.Int("status", c.Response().Status),
		slog.Float64("duration_ms", milliseconds(took.Round(time.Microsecond))),
		slog.Int64("bytes", c.Response().Size),
		slog.String("address", c.RealIP()),
		slog.String("user_id", user),
		slog.Int64("redis", cost.RedisRoundTrips()),
		slog.Int64("sql", cost.SQLStatements()),
		slog.Int64("hashes", cost.Hashes()),
	)
}

// requestID returns the request id from a trusted proxy, or a new one.
func requestID(req *http.Request) string {
	if id := req.Header.Get(echo.HeaderXRequestID); id != "" && len(id) <= 64 && !strings.ContainsFunc(id, notIDRune) {
		return id
	}
	b := make([]byte, 12)
	_, _ = rand.Read(b)
	return base64.RawURLEncoding.EncodeToString(b)
}

func notIDRune(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("-_.", r)
}

// dropForgedHeaders removes headers that only a trusted proxy may set from requests of others, in every spelling that
// proxies treat as the same name (ASVS 4.1.3).
func (s *Server) dropForgedHeaders(req *http.Request) {
	if s.trusted(req.RemoteAddr) {
		return
	}
	for name := range req.Header {
		if name == "" || !strings.ContainsRune("XxRrFf", rune(name[0])) {
			continue // this runs for every header of every request
		}
		plain := strings.ToLower(strings.ReplaceAll(name, "_", "-"))
		if strings.HasPrefix(plain, "x-forwarded-") || strings.HasPrefix(plain, "x-original-") || strings.HasPrefix(plain, "remote-") ||
			plain == "forwarded" || plain == "x-real-ip" || plain == "x-request-id" {
			delete(req.Header, name)
		}
	}
}

func (s *Server) trusted(remoteAddr string) bool {
	ap, err := netip.ParseAddrPort(remoteAddr)
	if err != nil {
		return false
	}
	for _, p := range s.TrustedProxies {
		if p.Contains(ap.Addr().Unmap()) {
			return true
		}
	}
	return false
}

// ipExtractor trusts X-Forwarded-For only as far as trusted proxies have written it.
func (s *Server) ipExtractor() echo.IPExtractor {
	if len(s.TrustedProxies) == 0 {
		return echo.ExtractIPDirect()
	}
	trust := []echo.TrustOption{echo.TrustLoopback(false), echo.TrustLinkLocal(false), echo.TrustPrivateNet(false)}
	for _, p := range s.TrustedProxies {
		trust = append(trust, echo.TrustIPRange(&net.IPNet{
			IP: p.Masked().Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen()),
		}))
	}
	return echo.ExtractIPFromXFFHeader(trust...)
}

// recoverPanics turns a panic into an error, which answerError answers with a 500.
func (s *Server) recoverPanics(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) (err error) {
		defer func() {
			p := recover()
			if p == nil {
				return
			}
			if e, ok := p.(error); ok && errors.Is(e, http.ErrAbortHandler) {
				panic(p)
			}
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}()
		return next(c)
	}
}

// protect sets the security headers of every response, including errors, and refuses requests with an unusual path, too
// large a body, or from a page of another origin.
func (s *Server) protect(next echo.HandlerFunc) echo.HandlerFunc {
	crossOrigin := http.NewCrossOriginProtection()
	if s.BaseOrigin != "" {
		// A proxy may have rewritten Host, but BASE_URL is still this site.
		if err := crossOrigin.AddTrustedOrigin(s.BaseOrigin); err != nil {
			panic(err) // BASE_URL was validated at startup
		}
	}
	return func(c echo.Context) error {
		s.setHeaders(c.Response().Header())
		req := c.Request()
		if !isCanonicalPath(req.URL) {
			if to := s.withoutTrailingSlash(c); to != "" {
				return c.Redirect(http.StatusPermanentRedirect, to)
			}
			return echo.ErrNotFound
		}
		if req.ContentLength > maxBody {
			// Otherwise net/http reads the body before it sends the response.
			c.Response().Header().Set("Connection", "close")
			return echo.NewHTTPError(http.StatusRequestEntityTooLarge)
		}
		req.Body = http.MaxBytesReader(c.Response(), req.Body, maxBody)
		if err := crossOrigin.Check(req); err != nil {
			return echo.NewHTTPError(http.StatusForbidden).SetInternal(err)
		}
		if err := s.checkOrigin(req); err != nil {
			return echo.NewHTTPError(http.StatusForbidden).SetInternal(err)
		}
		return next(c)
	}
}

// withoutTrailingSlash returns the address of the page that was requested with a slash too much; else "".
func (s *Server) withoutTrailingSlash(c echo.Context) string {
	u := *c.Request().URL
	path, cut := strings.CutSuffix(u.Path, "/")
	if method := c.Request().Method; method != http.MethodGet && method != http.MethodHead || !cut || path == "" || path == "/" {
		return ""
	}
	u.Path = path
	if !isCanonicalPath(&u) {
		return ""
	}
	at := s.echo.NewContext(c.Request(), c.Response())
	s.echo.Router().Find(http.MethodGet, path, at)
	if _, found := s.pages[at.Path()]; !found {
		return ""
	}
	return u.RequestURI()
}

// isCanonicalPath reports whether the path can be that of a route: ASCII without percent-encoding, without empty and dot
// segments, path parameters or a trailing slash. The router would match all of these to a route that ends in a parameter,
// but a proxy that protects a route by its path would not recognize them.
func isCanonicalPath(u *url.URL) bool {
	if u.RawPath != "" || u.Path == "/" {
		return u.RawPath == ""
	}
	last := byte('x')
	for i := range len(u.Path) {
		b := u.Path[i]
		switch {
		case b >= 'a' && b <= 'z', b >= 'A' && b <= 'Z', b >= '0' && b <= '9', b == '-', b == '_', b == '~', b == ':':
		case (b == '/' || b == '.') && last != '/' && last != '.':
		case i == 1 && strings.HasPrefix(u.Path, "/.well-known/"):
		default:
			return false
		}
		last = b
	}
	return last != '/' && last != '.'
}

// checkOrigin refuses requests that net/http's protection allows: unsafe methods with a foreign Origin, even if
// Sec-Fetch-Site is same-origin. The scheme must be that of BASE_URL, because the request's own scheme is that of the last proxy.
func (s *Server) checkOrigin(req *http.Request) error {
	switch req.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions:
		return nil
	}
	for _, origin := range req.Header.Values("Origin") {
		u, err := url.Parse(origin)
		// An origin is a scheme, a host and a port, and nothing else (RFC 6454, section 6.2).
		if err != nil || u.Host == "" || u.Scheme != s.base.Scheme || (u.Host != req.Host && u.Host != s.base.Host) || len(origin) != len(u.Scheme+"://"+u.Host) {
			return fmt.Errorf("cross-origin request from %q refused; BASE_URL is %q, the request's host is %q",
				truncate(origin, 128), s.BaseOrigin, truncate(req.Host, 128))
		}
	}
	return nil
}

// contentSecurityPolicy allows only this site's own files and forms (ASVS 3.4.3).
const contentSecurityPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; " +
	"connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"

// untrustedImagePolicy lets an image style itself and do nothing else.
const untrustedImagePolicy = "default-src 'none'; style-src 'unsafe-inline'; sandbox; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// securityHeaders are the headers of every response. Their values are shared and must not be appended to.
var securityHeaders = http.Header{
	"Content-Security-Policy": {contentSecurityPolicy},
	"X-Content-Type-Options":  {"nosniff"},
	// Not no-referrer: browsers would send "Origin: null" with this site's own forms.
	"Referrer-Policy":              {"same-origin"},
	"Cross-Origin-Opener-Policy":   {"same-origin"},
	"Cross-Origin-Resource-Policy": {"same-origin"},
	"X-Frame-Options":              {"DENY"},
	"Permissions-Policy":           {"camera=(), geolocation=(), microphone=()"},
	"Cache-Control":                {"no-store"},
}

// HSTS (RFC 6797) for a year. It includes subdomains if they share the session, because a request to one of them over
// plain http would reveal the cookie. Other sites' subdomains are not Gatehouse's to decide.
var (
	strictTransport       = []string{"max-age=31536000"}
	strictTransportShared = []string{"max-age=31536000; includeSubDomains"}
)

func (s *Server) setHeaders(h http.Header) {
	maps.Copy(h, securityHeaders)
	switch {
	case s.Cookies.Secure && s.Cookies.Domain != "":
		h["Strict-Transport-Security"] = strictTransportShared
	case s.Cookies.Secure:
		h["Strict-Transport-Security"] = strictTransport
	}
}

// truncate cuts s to at most n bytes of valid UTF-8.
func truncate(s string, n int) string {
	s = strings.ToValidUTF8(s, "")
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}
