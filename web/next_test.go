package web

import (
	"net/url"
	"strings"
	"testing"
)

func TestLocalPath(t *testing.T) {
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

func TestLocalPathRefuses(t *testing.T) {
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
		if len(got) > 3*maxNext {
			t.Errorf("%d octets became %d", len(next), len(got))
		}
		u, err := url.Parse(got)
		if err != nil || u.IsAbs() || u.Host != "" || u.User != nil || base.ResolveReference(u).Host != base.Host {
			t.Errorf("%q became %q, which net/url takes for %#v, %v", next, got, u, err)
		}
		for _, seen := range []string{got, unescaped(got), unescaped(unescaped(got))} {
			if leaves(seen) {
				t.Errorf("%q became %q; as %q a browser leaves the site with it", next, got, seen)
			}
		}
		if strings.ContainsAny(got, "\r\n\x00") {
			t.Errorf("%q became %q, which breaks a header", next, got)
		}
		if again := LocalPath(got, ""); len(got) <= maxNext && again != got {
			t.Errorf("%q became %q, and that %q", next, got, again)
		}
	})
}

// unescaped is the address with the path unescaped once more, by whoever stands between.
func unescaped(address string) string {
	p, query, _ := strings.Cut(address, "?")
	if decoded, err := url.PathUnescape(p); err == nil {
		p = decoded
	}
	return p + "?" + query
}

// leaves is a browser's view of an address (WHATWG URL Standard, 4.4), made simple: tabs and
// line ends are dropped, control characters at the ends too, a backslash is a slash, and two
// slashes or a scheme lead elsewhere.
func leaves(address string) bool {
	address = strings.TrimFunc(address, func(r rune) bool { return r <= ' ' })
	address = strings.NewReplacer("\t", "", "\n", "", "\r", "", `\`, "/").Replace(address)
	return !strings.HasPrefix(address, "/") || strings.HasPrefix(address, "//")
}
