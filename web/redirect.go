package web

import (
	"net/url"
	"path"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxNext is in octets: no page of ours has a longer address.
const maxRedirect = 2048

// LocalPath returns next if it is a path on this very site, with its query, else fallback
// (ASVS 3.7.2). It is strict, because browsers read addresses in ways of their own: they
// take "\" for "/", and drop tabs and line ends from the middle.
func LocalPath(next, fallback string) string {
	if !plainPath(next) {
		return fallback
	}
	u, err := url.Parse(next)
	if err != nil || u.IsAbs() || u.Host != "" || u.User != nil || u.Opaque != "" || u.Fragment != "" {
		return fallback
	}
	// What a proxy or a browser might unescape once more must still be a path of ours.
	decoded, err := url.PathUnescape(u.Path)
	if err != nil || !plainPath(decoded) || path.Clean(decoded) != strings.TrimSuffix(decoded, "/") && decoded != "/" {
		return fallback
	}
	return u.RequestURI()
}

// plainPath reports whether s begins with exactly one slash and has nothing in it that
// a browser could read as the start of another site.
func plainPath(s string) bool {
	if len(s) > maxRedirect || !strings.HasPrefix(s, "/") || strings.HasPrefix(s, "//") || !utf8.ValidString(s) {
		return false
	}
	return !strings.ContainsFunc(s, unsafeInAddress)
}

// SafeRedirect returns where to send the browser after signing in or out: a path of this site, or a whole
// address that shares its sign-in, which is BASE_URL's host on any port or, with COOKIE_DOMAIN,
// any host below that. Everything else is "".
func (r *Request) SafeRedirect(next string) string { return r.server.safeRedirect(next) }

func (s *Server) safeRedirect(next string) string {
	if local := LocalPath(next, ""); local != "" {
		return local
	}
	u := s.trustedRedirect(next)
	if u == nil {
		return ""
	}
	return u.String()
}

// trustedRedirect returns the address if it is one that shares the sign-in, else nil. Ports do not
// count, as they do not for cookies; https may be asked for by http, never the other way round.
func (s *Server) trustedRedirect(address string) *url.URL {
	if len(address) > maxRedirect || !utf8.ValidString(address) || strings.ContainsFunc(address, unsafeInAddress) {
		return nil
	}
	u, err := url.Parse(address)
	if err != nil || u.Opaque != "" || u.User != nil || !strings.HasPrefix(address, u.Scheme+"://"+u.Host) {
		return nil
	}
	if u.Scheme != "https" && (u.Scheme != "http" || s.base.Scheme != "http") {
		return nil
	}
	if strings.HasSuffix(u.Host, ":") || !plainPort(u.Port()) || !s.sharesCookie(u.Hostname()) {
		return nil
	}
	u.Fragment, u.RawFragment = "", ""
	return u
}

// plainPort reports whether there is no port, or one that an address can have, as browsers write it.
func plainPort(port string) bool {
	n, err := strconv.ParseUint(port, 10, 16)
	return port == "" || err == nil && n > 0 && port == strconv.FormatUint(n, 10)
}

// sharesCookie reports whether browsers send the session's cookie to the host.
func (s *Server) sharesCookie(host string) bool {
	if host == s.base.Hostname() {
		return true
	}
	rest, below := strings.CutSuffix(host, "."+s.Cookies.Domain)
	return s.Cookies.Domain != "" && (host == s.Cookies.Domain || below && plainHost(rest))
}

// plainHost reports whether the name is of the letters that a host name has, all in lower case:
// whatever else a browser would make of it, it would make something else of it than we do.
func plainHost(name string) bool {
	return name != "" && !strings.HasPrefix(name, ".") && !strings.HasSuffix(name, ".") && !strings.Contains(name, "..") &&
		!strings.ContainsFunc(name, func(r rune) bool {
			return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' && r != '.' && r != '_'
		})
}

// unsafeInAddress are characters that browsers drop, or take for others.
func unsafeInAddress(r rune) bool {
	return r == '\\' || unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || unicode.IsSpace(r)
}

// HostOf returns the host, with its port, of a neighbour's address; "" for a path of ours.
func HostOf(next string) string {
	_, host, _ := strings.Cut(originOf(next), "://")
	return host
}

// originOf returns the scheme, host and port of a neighbour's address, or "" for a path of ours.
func originOf(next string) string {
	if next == "" || strings.HasPrefix(next, "/") {
		return ""
	}
	u, err := url.Parse(next)
	if err != nil {
		return ""
	}
	return u.Scheme + "://" + u.Host
}
