// Package redirect decides where a browser may be sent after signing in or out: to a path of this site, or to a site that
// shares its sign-in. Everything else would be an open redirect (ASVS 3.7.2). It only parses addresses; it sends nothing.
package redirect

import (
	"net/url"
	"path"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// MaxLength is in octets. No page has a longer address.
const MaxLength = 2048

// Policy knows which sites share the sign-in.
type Policy struct {
	// Base is BASE_URL.
	Base *url.URL
	// CookieDomain is COOKIE_DOMAIN; may be empty.
	CookieDomain string
}

// Safe returns the target if it is safe to redirect to, else "": a path of this site, or the absolute URL of a site
// that shares the sign-in.
func (p Policy) Safe(target string) string {
	if local := LocalPath(target, ""); local != "" {
		return local
	}
	u := p.Trusted(target)
	if u == nil {
		return ""
	}
	return u.String()
}

// Trusted returns the address if it is the absolute URL of a site that shares the sign-in, else nil. Those are the host
// of BASE_URL on any port and, with COOKIE_DOMAIN, any host of that domain: cookies do not distinguish ports. An http
// site may redirect to https, never the other way round.
func (p Policy) Trusted(address string) *url.URL {
	if len(address) > MaxLength || !utf8.ValidString(address) || strings.ContainsFunc(address, isUnsafe) {
		return nil
	}
	u, err := url.Parse(address)
	if err != nil || u.Opaque != "" || u.User != nil || !strings.HasPrefix(address, u.Scheme+"://"+u.Host) {
		return nil
	}
	if u.Scheme != "https" && (u.Scheme != "http" || p.Base.Scheme != "http") {
		return nil
	}
	if strings.HasSuffix(u.Host, ":") || !isPort(u.Port()) || !p.sharesCookie(u.Hostname()) {
		return nil
	}
	u.Fragment, u.RawFragment = "", ""
	return u
}

// sharesCookie reports whether browsers send the session cookie to the host.
func (p Policy) sharesCookie(host string) bool {
	if host == p.Base.Hostname() {
		return true
	}
	rest, below := strings.CutSuffix(host, "."+p.CookieDomain)
	return p.CookieDomain != "" && (host == p.CookieDomain || below && isHostname(rest))
}

// isPort reports whether there is no port or a valid one in canonical form.
func isPort(port string) bool {
	n, err := strconv.ParseUint(port, 10, 16)
	return port == "" || err == nil && n > 0 && port == strconv.FormatUint(n, 10)
}

// isHostname reports whether the name consists of lower-case letters, digits and the punctuation of host names. Browsers
// may map other characters to something that this package does not expect.
func isHostname(name string) bool {
	return name != "" && !strings.HasPrefix(name, ".") && !strings.HasSuffix(name, ".") && !strings.Contains(name, "..") &&
		!strings.ContainsFunc(name, func(r rune) bool {
			return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' && r != '.' && r != '_'
		})
}

// LocalPath returns the target if it is a path of this site, with its query, else fallback. It is strict because
// browsers parse addresses leniently: they read "\" as "/" and drop tabs and line ends.
func LocalPath(target, fallback string) string {
	if !isPath(target) {
		return fallback
	}
	u, err := url.Parse(target)
	if err != nil || u.IsAbs() || u.Host != "" || u.User != nil || u.Opaque != "" || u.Fragment != "" {
		return fallback
	}
	// A proxy or a browser may unescape the path once more; it must still be local then.
	decoded, err := url.PathUnescape(u.Path)
	if err != nil || !isPath(decoded) || path.Clean(decoded) != strings.TrimSuffix(decoded, "/") && decoded != "/" {
		return fallback
	}
	return u.RequestURI()
}

// isPath reports whether s begins with exactly one slash and contains nothing that a browser could read as the start of
// another site.
func isPath(s string) bool {
	if len(s) > MaxLength || !strings.HasPrefix(s, "/") || strings.HasPrefix(s, "//") || !utf8.ValidString(s) {
		return false
	}
	return !strings.ContainsFunc(s, isUnsafe)
}

// isUnsafe reports whether browsers drop the character or read it as another one.
func isUnsafe(r rune) bool {
	return r == '\\' || unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || unicode.IsSpace(r)
}

// Host returns the host and port of a safe target that is an absolute URL, or "" for a path.
func Host(target string) string {
	_, host, _ := strings.Cut(Origin(target), "://")
	return host
}

// Origin returns the scheme, host and port of a safe target that is an absolute URL, or "" for a path.
func Origin(target string) string {
	if target == "" || strings.HasPrefix(target, "/") {
		return ""
	}
	u, err := url.Parse(target)
	if err != nil {
		return ""
	}
	return u.Scheme + "://" + u.Host
}
