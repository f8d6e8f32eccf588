package redirect

import (
	"net/url"
	"strings"
	"testing"
)

func TestLocalPath_AcceptsLocalPaths(t *testing.T) {
	for next, want := range map[string]string{
		"/":                             "/",
		"/dashboard":                    "/dashboard",
		"/account/":                     "/account/",
		"/account?tab=a&b=c%20d":        "/account?tab=a&b=c%20d",
		"/a?next=https://evil.example":  "/a?next=https://evil.example",
		"/a?x=//evil":                   "/a?x=//evil",
		"/a?":                           "/a?",
		"/a:b":                          "/a:b",
		"/a@b":                          "/a@b",
		"/@evil.example":                "/@evil.example",
		"/über":                         "/%C3%BCber",
		"/%C3%BCber":                    "/%C3%BCber",
		"/a%2Fb":                        "/a%2Fb",
		"/a.b/c..d":                     "/a.b/c..d",
		"/" + strings.Repeat("a", 2047): "/" + strings.Repeat("a", 2047),
	} {
		if got := LocalPath(next, "fallback"); got != want {
			t.Errorf("LocalPath(%.60q) = %.60q, want %.60q", next, got, want)
		}
	}
}

func TestLocalPath_RefusesEverythingElse(t *testing.T) {
	for _, next := range []string{
		"", "dashboard", "./dashboard", "?x", "#x", ".", "..",
		"//evil.example", "///evil.example", "////evil.example", "//evil.example/%2f..", "//@evil.example",
		`/\evil.example`, `\\evil.example`, `\/evil.example`, `/\/evil.example`, `/a\b`,
		"/%09/evil.example", "/%0a/evil.example", "/%0d/evil.example", "/%2f..", "/%2F%2Fevil.example", "/%2fevil.example", "/%5cevil.example", "/%5Cevil.example",
		"/%252fevil.example", "/%255cevil.example", "/%2509/evil.example", "/a/%2f/b", "/%00", "/a%00b",
		"/\t/evil.example", "/\n/evil.example", "/\r/evil.example", "\t//evil.example", " //evil.example", "/ /evil.example", "/a b", "/a%20b", "/a\x00b", "/a\x7fb", "/a\u0085b",
		"/\u200b/evil.example", "/\u2028/evil.example", "/\u00a0/evil.example", "/\u3000/evil.example", "/\u202e/evil.example", "/\ufeff/evil.example", "/\u2060/x", "/\xff",
		"/..//evil.example", "/a/..//evil.example", "/.//evil.example", "/a//b", "/%2e%2e//evil.example", "/../x", "/a/../b", "/./a", "/a/%2e%2e/b", "/%252e%252e/b",
		"http://evil.example", "https://evil.example/", "https:evil.example", "https:/evil.example", "HTTPS://evil.example", "ftp://evil.example",
		"javascript:alert(1)", "JavaScript:alert(1)", "java\nscript:alert(1)", "data:text/html,x", "vbscript:x", "mailto:a@b.c",
		"user@evil.example", "@evil.example", "evil.example", "evil.example/path", "login.example.org@evil.example",
		"/a#b", "/%", "/%zz", "/%25zz", "/100%25", "/a%f",
		"/" + strings.Repeat("a", 2048), strings.Repeat("/", 1<<20), "/" + strings.Repeat("a", 1<<20),
		"／／evil.example", "\u2044/evil.example", "⧸evil.example",
	} {
		if got := LocalPath(next, "fallback"); got != "fallback" {
			t.Errorf("LocalPath(%.60q) = %.60q, want the fallback", next, got)
		}
	}
	if got := LocalPath("//evil.example", ""); got != "" {
		t.Errorf("got %q, want an empty fallback", got)
	}
}

func FuzzLocalPath(f *testing.F) {
	for _, s := range []string{
		"/", "/dashboard?a=b", "//evil", `/\evil`, "/%09/evil", "/%2f..", "/%5cevil", "/\t/evil", "https://evil", "javascript:x", "/a@b:c", "/über?ü#ü", "/;/evil", "/?//evil", "/.%2f/evil", "/%25252f", "/a?%0a",
	} {
		f.Add(s)
	}
	base, err := url.Parse("https://login.example.org/login")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, next string) {
		got := LocalPath(next, "")
		if got == "" {
			return
		}
		if len(got) > 3*MaxLength {
			t.Errorf("%d octets became %d", len(next), len(got))
		}
		u, err := url.Parse(got)
		if err != nil || u.IsAbs() || u.Host != "" || u.User != nil || base.ResolveReference(u).Host != base.Host {
			t.Errorf("%q became %q, which net/url parses as %#v, %v", next, got, u, err)
		}
		for _, seen := range []string{got, unescaped(got), unescaped(unescaped(got))} {
			if leaves(seen) {
				t.Errorf("%q became %q; read as %q it leaves the site", next, got, seen)
			}
		}
		if strings.ContainsAny(got, "\r\n\x00") {
			t.Errorf("%q became %q, which breaks a header", next, got)
		}
		if again := LocalPath(got, ""); len(got) <= MaxLength && again != got {
			t.Errorf("%q became %q, which became %q", next, got, again)
		}
	})
}

// unescaped returns the address with the path unescaped once more, as a proxy may do.
func unescaped(address string) string {
	p, query, _ := strings.Cut(address, "?")
	if decoded, err := url.PathUnescape(p); err == nil {
		p = decoded
	}
	return p + "?" + query
}

// leaves reports whether a browser leaves the site for the address, by a simplified WHATWG URL Standard, section 4.4:
// tabs, line ends and control characters at the ends are dropped, a backslash is a slash, and two slashes or a scheme
// lead to another site.
func leaves(address string) bool {
	address = strings.TrimFunc(address, func(r rune) bool { return r <= ' ' })
	address = strings.NewReplacer("\t", "", "\n", "", "\r", "", `\`, "/").Replace(address)
	return !strings.HasPrefix(address, "/") || strings.HasPrefix(address, "//")
}

// policy returns the Policy of a server.
func policy(t testing.TB, base, cookieDomain string) Policy {
	t.Helper()
	u, err := url.Parse(base)
	if err != nil {
		t.Fatal(err)
	}
	return Policy{Base: u, CookieDomain: cookieDomain}
}

func TestSafe_AllowsOnlySitesThatShareTheSignIn(t *testing.T) {
	shared := policy(t, "https://login.example.org", "example.org")
	for next, want := range map[string]string{
		"/a?b=c":                        "/a?b=c",
		"https://login.example.org/x":   "https://login.example.org/x",
		"https://login.example.org":     "https://login.example.org",
		"https://app.example.org/a?b=c": "https://app.example.org/a?b=c",
		"https://app.example.org/a//b/../c?d=https://evil.example": "https://app.example.org/a//b/../c?d=https://evil.example",
		"https://a.b.example.org:8443/":                            "https://a.b.example.org:8443/",
		"https://app.example.org:65535":                            "https://app.example.org:65535",
		"https://example.org/":                                     "https://example.org/",
		"https://app.example.org/a#b":                              "https://app.example.org/a",
		"https://app.example.org/@evil.example":                    "https://app.example.org/@evil.example",
	} {
		if got := shared.Safe(next); got != want {
			t.Errorf("Safe(%q) = %q, want %q", next, got, want)
		}
	}
	for _, next := range []string{
		"http://app.example.org/", "https://evil.example", "https://evilexample.org", "https://example.org.evil.example", "https://example.orgx", "https://.example.org", "https://a..example.org",
		"https://app.example.org@evil.example", "https://evil.example@app.example.org", "https://user:pass@app.example.org", "https://@app.example.org", `https://app.example.org\@evil.example`, `https://evil.example\.example.org`, `https:\\app.example.org`,
		"https:app.example.org", "https:/app.example.org", "https:///app.example.org", "//app.example.org", "HTTPS://app.example.org", "https://APP.example.org", "https://app.EXAMPLE.org", "https://app.example.org.", "https://app.example.org:", "https://app.example.org:x", "https://app.example.org:80:80", "https://app.example.org:65536", "https://app.example.org:99999/", "https://app.example.org:0", "https://app.example.org:000000443", "https://app.example.org:18446744073709551617",
		"https://evil.example/.example.org", "https://evil.example?.example.org", "https://evil.example#.example.org", "https://evil.example%2f.example.org", "https://evil.example%00.example.org", "https://evil%2eexample.example.org\t", "https://app.exa\tmple.org", " https://app.example.org", "https://app.example.org\n",
		"https://app.example.org\u200b", "https://аpp.example.org", "https://app。example.org", "https://evil.example。example.org", "https://evil.example／.example.org", "https://[::1].example.org", "https://[::1]", "https://a b.example.org", "https://a_b!.example.org",
		"ftp://app.example.org", "javascript://app.example.org/%0aalert(1)", "data://app.example.org", "ws://app.example.org", "file://app.example.org/etc/passwd", "https://app.example.org/" + strings.Repeat("a", 2048), "https://\xff.example.org",
	} {
		if got := shared.Safe(next); got != "" {
			t.Errorf("Safe(%q) = %q, want none", next, got)
		}
	}
	local := policy(t, "http://localhost:8080", "")
	for next, want := range map[string]string{
		"http://localhost:5000/x": "http://localhost:5000/x", "https://localhost/": "https://localhost/", "http://localhost": "http://localhost",
		"http://127.0.0.1:5000/": "", "http://app.localhost/": "", "http://localhost.evil.example/": "", "http://.localhost/": "", "http://": "", "http:///x": "",
	} {
		if got := local.Safe(next); got != want {
			t.Errorf("without COOKIE_DOMAIN: Safe(%q) = %q, want %q", next, got, want)
		}
	}
}

// FuzzSafe: a browser cannot read a safe target as another site's (no user info, no backslash, a trusted host).
func FuzzSafe(f *testing.F) {
	for _, s := range []string{"/a", "https://app.example.org/a?b#c", "https://example.org:1/", "//x", `https://a\b`, "https://a@b"} {
		f.Add(s)
	}
	p := policy(f, "https://login.example.org", "example.org")
	f.Fuzz(func(t *testing.T, next string) {
		got := p.Safe(next)
		if got == "" || strings.HasPrefix(got, "/") {
			if strings.HasPrefix(got, "//") || strings.ContainsAny(got, "\\\t\r\n") {
				t.Fatalf("%q leads to %q", next, got)
			}
			return
		}
		rest, ok := strings.CutPrefix(got, "https://")
		if !ok {
			t.Fatalf("%q leads to %q", next, got)
		}
		authority := rest[:len(rest)-len(strings.TrimLeft(rest, "abcdefghijklmnopqrstuvwxyz0123456789.-_:"))]
		if after := rest[len(authority):]; after != "" && after[0] != '/' && after[0] != '?' {
			t.Fatalf("%q leads to %q", next, got)
		}
		host, _, _ := strings.Cut(authority, ":")
		if host != "example.org" && !strings.HasSuffix(host, ".example.org") || strings.ContainsAny(got, "\\\t\r\n #") {
			t.Fatalf("%q leads to %q", next, got)
		}
	})
}

func TestOrigin_ReturnsOriginAndHost(t *testing.T) {
	for target, want := range map[string][2]string{
		"": {}, "/a": {}, "https://app.example.org:8443/a?b": {"https://app.example.org:8443", "app.example.org:8443"}, "https://a b": {},
	} {
		if origin, host := Origin(target), Host(target); origin != want[0] || host != want[1] {
			t.Errorf("%q: got %q and %q, want %q", target, origin, host, want)
		}
	}
}
