// Package cookies knows the names and attributes of the cookies that Gatehouse sets, finds their values in requests, and
// removes them from requests that a proxy passes on. It does not know what the values mean.
package cookies

import (
	"net/http"
	"time"

	"gatehouse/auth"
)

// Policy determines the names and attributes of the cookies (RFC 6265bis; ASVS 3.3.1).
type Policy struct {
	// Secure is set if BASE_URL is https.
	Secure bool
	// Domain shares the session with its subdomains; empty restricts it to this host.
	Domain string
}

// Names of the cookies, without their prefix.
const (
	sessionName = "gatehouse"
	deviceName  = "gatehouse_browser"
)

// SessionName returns the name of the session cookie. With its prefix, browsers refuse a cookie that another site has
// planted.
func (p Policy) SessionName() string { return p.prefix() + sessionName }

// DeviceName returns the name of the device cookie, which recognizes a browser that has signed in before. It is
// restricted to this host even where the session is shared.
func (p Policy) DeviceName() string { return p.hostOnly().prefix() + deviceName }

func (p Policy) hostOnly() Policy { return Policy{Secure: p.Secure} }

func (p Policy) prefix() string {
	switch {
	case !p.Secure:
		return ""
	case p.Domain != "":
		return "__Secure-"
	default:
		return "__Host-"
	}
}

func (p Policy) cookie(name, value string) *http.Cookie {
	return &http.Cookie{
		Name:     name,
		Value:    value,
		Path:     "/",
		Domain:   p.Domain,
		Secure:   p.Secure,
		HttpOnly: true,
		SameSite: http.SameSiteLaxMode,
	}
}

// Session returns the session's cookie, which lasts until the browser closes or, if the user chose to stay signed in,
// until the session's deadline.
func (p Policy) Session(token string, s auth.Session, now time.Time) *http.Cookie {
	c := p.cookie(p.SessionName(), token)
	if s.Remember {
		c.Expires = s.Deadline
		c.MaxAge = max(1, int(s.Deadline.Sub(now)/time.Second))
	}
	return c
}

// ExpiredSession returns a cookie that makes the browser delete its session cookie.
func (p Policy) ExpiredSession() *http.Cookie {
	c := p.cookie(p.SessionName(), "")
	c.MaxAge = -1
	c.Expires = time.Unix(1, 0)
	return c
}

// deviceLifetime is how long a browser is recognized without a sign-in.
const deviceLifetime = 365 * 24 * time.Hour

// Device returns a device cookie.
func (p Policy) Device(value string) *http.Cookie {
	c := p.hostOnly().cookie(p.DeviceName(), value)
	c.MaxAge = int(deviceLifetime / time.Second)
	return c
}

// AppendValues appends the values of the request's first cookies of the name that are valid, at most limit, to dst.
// Browsers send several of one name after another site or path has planted one.
func AppendValues(dst []string, req *http.Request, name string, valid func(string) bool, limit int) []string {
	for _, c := range req.CookiesNamed(name) {
		if len(dst) >= limit {
			break
		}
		if !c.Quoted && valid(c.Value) {
			dst = append(dst, c.Value)
		}
	}
	return dst
}

// Value returns the first value that AppendValues finds, or "".
func Value(req *http.Request, name string, valid func(string) bool) string {
	for _, c := range req.CookiesNamed(name) {
		if !c.Quoted && valid(c.Value) {
			return c.Value
		}
	}
	return ""
}
