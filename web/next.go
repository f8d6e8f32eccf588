package web

import (
	"net/url"
	"path"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxNext is in octets: no page of ours has a longer address.
const maxNext = 2048

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
	if len(s) > maxNext || !strings.HasPrefix(s, "/") || strings.HasPrefix(s, "//") || !utf8.ValidString(s) {
		return false
	}
	return !strings.ContainsFunc(s, func(r rune) bool {
		return r == '\\' || unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || unicode.IsSpace(r)
	})
}
