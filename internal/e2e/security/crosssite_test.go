package security

import (
	"html"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"gatehouse/internal/e2e/kit"
)

// TestASVS_3_5_1_OtherSitesCannotSubmitForms: no other site, not even a sibling on the same domain, can submit a form,
// including the sign-in, with the user's cookies, planted ones or none.
func TestASVS_3_5_1_OtherSitesCannotSubmitForms(t *testing.T) {
	t.Parallel()
	x := kit.NewTarget(t)
	c, other := x.NewClient(), x.NewClient()
	c.Register("alice")
	other.SignIn("alice")
	x.ClearThrottles()
	own := x.Server.URL()
	fields := kit.EncodeForm("username", "bob", "password", kit.Password, "name", "Mallory", "time_zone", "UTC", "current_password", kit.Password,
		"new_password", kit.OtherPassword, "session", strings.TrimPrefix(x.SessionKey(other), "session:"))
	before := x.Snapshot()
	origins := [][]string{
		{"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Site", "same-site"}, {"Sec-Fetch-Site", "cross-site", "Origin", own}, {"Sec-Fetch-Site", "same-site", "Origin", own},
		{"Sec-Fetch-Site", "none", "Origin", "https://evil.example"}, {"Sec-Fetch-Site", "none", "Origin", "null"}, {"Sec-Fetch-Site", "same-origin", "Origin", "null"},
		{"Sec-Fetch-Site", "same-origin", "Origin", "https://evil.example"}, {"Sec-Fetch-Site", "SAME-ORIGIN"}, {"Sec-Fetch-Site", "bogus"},
		{"Origin", "https://evil.example"}, {"Origin", "null"}, {"Origin", own + ".evil.example"}, {"Origin", "http://evil.example#" + own},
		{"Origin", "http://127.0.0.1"}, {"Origin", "http://127.0.0.1:1"}, {"Origin", "http://localhost@evil.example"}, {"Origin", "file://"}, {"Origin", "%zz"},
		{"Origin", "https://evil.example", "Referer", own + "/login", "X-Requested-With", "XMLHttpRequest"},
		{"Origin", "https://evil.example", "X-Forwarded-Host", "evil.example"}, {"Origin", "https://evil.example", "Content-Type", "text/plain"},
	}
	cookies := map[string]string{
		"the user's": c.SessionCookieHeader(), "none": "", "a planted one": kit.SessionCookie + "=" + strings.Repeat("A", 43),
		"a planted one first": kit.SessionCookie + "=" + strings.Repeat("A", 43) + "; " + c.SessionCookieHeader(),
	}
	paths := kit.RoutePaths(http.MethodPost)
	if len(paths) < 8 {
		t.Fatalf("got the routes %q for POST", paths)
	}
	for _, path := range paths {
		for _, origin := range origins {
			for whose, cookie := range cookies {
				v := x.NewClient()
				a := v.Do(v.NewRequest(http.MethodPost, path, fields, append([]string{"Content-Type", kit.FormContentType, "Cookie", cookie}, origin...)...))
				if a.StatusCode != http.StatusForbidden || len(a.Cookies()) > 0 {
					t.Errorf("POST %s with %q and cookies %s: %s, sets %v", path, origin, whose, a.Status, a.Cookies())
				}
			}
		}
	}
	if after := x.Snapshot(); after != before {
		t.Errorf("the state changed to\n%s\nfrom\n%s", after, before)
	}
	kit.WantSignedIn(t, c, other)
}

// TestASVS_3_5_1_OwnPagesMaySubmitForms: from old and new browsers, behind a proxy that changes Host, and without a
// browser.
func TestASVS_3_5_1_OwnPagesMaySubmitForms(t *testing.T) {
	t.Parallel()
	x := kit.NewTarget(t, "BASE_URL", "http://login.example.org")
	x.NewClient().Register("alice")
	for _, origin := range [][]string{
		nil,
		{"Sec-Fetch-Site", "same-origin", "Origin", x.Server.URL()},
		{"Sec-Fetch-Site", "same-origin"},
		{"Origin", x.Server.URL()},
		{"Sec-Fetch-Site", "none"},
		{"Sec-Fetch-Site", "same-origin", "Origin", "http://login.example.org"},
	} {
		c := x.NewClient()
		a := c.Do(c.NewRequest(http.MethodPost, "/login", kit.EncodeForm("username", "alice", "password", kit.Password),
			append([]string{"Content-Type", kit.FormContentType}, origin...)...))
		if a.StatusCode != http.StatusSeeOther {
			t.Errorf("a sign-in with %q: got %s", origin, a.Status)
		}
	}
}

// TestForms_HaveOneContentType: types that other sites can send without a preflight, or that another parser may read
// differently, are refused.
func TestForms_HaveOneContentType(t *testing.T) {
	t.Parallel()
	x := kit.NewTarget(t)
	x.NewClient().Register("alice")
	body := kit.EncodeForm("username", "alice", "password", kit.Password)
	for _, kind := range []string{
		"", "text/plain", "application/json", "multipart/form-data; boundary=x", "application/xml", "application/x-www-form-urlencoded2",
		"text/plain; application/x-www-form-urlencoded", "garbage;;;", "application/x-www-form-urlencoded; charset",
	} {
		c := x.NewClient()
		req := c.NewRequest(http.MethodPost, "/login", body, "Content-Type", kind)
		if kind == "" {
			req.Header.Del("Content-Type")
		}
		if a := c.Do(req); a.StatusCode != http.StatusUnsupportedMediaType || len(a.Cookies()) > 0 {
			t.Errorf("a form of type %q: %s", kind, a.Status)
		}
	}
}

// leaving are values of next that a careless check accepts as local addresses.
var leaving = []string{
	"//evil.example", "///evil.example", "////evil.example", `/\evil.example`, `\\evil.example`, `\/evil.example`, `/\/evil.example`, `//\evil.example`, "http://evil.example",
	"https://evil.example/dashboard", "HTTPS:evil.example", "https:/evil.example", "http:evil.example", "javascript:alert(1)", "JavaScript://x%0aalert(1)", "data:text/html,x",
	"vbscript:x", "/%09/evil.example", "/\t/evil.example", "\t//evil.example", " //evil.example", "/\n/evil.example", "/\r\n/evil.example", "/%0d%0aSet-Cookie:x=y",
	"/\r\nSet-Cookie: x=y", "/%0a/evil.example", "%2f%2fevil.example", "/%2fevil.example", "/%2f%2fevil.example", "/%5cevil.example", "/%5c%5cevil.example", "/..//evil.example",
	"/.//evil.example", "/%2e/%2fevil.example", "/%2e%2e//evil.example", "/%252fevil.example", "/%255cevil.example", "/a/..//evil.example", "/a/../../evil.example",
	"@evil.example", "evil.example", "dashboard", "./dashboard", "?x", "#x", "/dashboard#@evil.example", "/\u0000/evil.example", "/%00", "/\u2028/evil", "/\u200b/evil.example",
	"/\u202e/evil", "/\xff", "/%ff", "//evil.example/%2f..", "/%2f..", "/%2f../evil.example", "//google.com%E3%80%82evil.example", "http:///evil.example", "//user@evil.example",
	"//127.0.0.1:80@evil.example", "https://login.example.org@evil.example", "//[::1]", "/" + strings.Repeat("a", 3000), "x" + strings.Repeat("/a", 20), "\x00//evil.example", "／／evil.example",
}

// TestASVS_3_7_2_NextIsLocal: after a sign-in or registration, and for signed-in users, next leads to a page of this
// site or to the dashboard; so do the links on pages.
func TestASVS_3_7_2_NextIsLocal(t *testing.T) {
	t.Parallel()
	x := kit.NewTarget(t)
	c := x.NewClient()
	c.Register("alice")
	locations := map[string]kit.Response{}
	for i, next := range leaving {
		x.ClearThrottles()
		locations["signed in, "+next] = c.Get("/login?next=" + url.QueryEscape(next))
		if i%4 == 0 { // each costs a hash, and all pass the same check
			locations["sign-in, "+next] = x.NewClient().PostForm("/login", "username", "alice", "password", kit.Password, "next", next)
		}
		if i%8 == 0 {
			locations["registration, "+next] = x.NewClient().PostForm("/register", "username", "walker"+strings.Repeat("x", i%50), "password", kit.Password, "next", next)
		}
		v := x.NewClient()
		for _, a := range []kit.Response{
			v.Get("/login?next=" + url.QueryEscape(next)), v.Get("/register?next=" + url.QueryEscape(next)),
			v.PostForm("/login", "username", "", "password", "", "next", next), v.PostForm("/register", "username", "", "password", "", "next", next),
		} {
			for _, found := range regexp.MustCompile(`(?:name="next" value|next)="?=?([^">]+)"`).FindAllStringSubmatch(a.Text, -1) {
				t.Errorf("with next %.80q the page %s links to %q", next, a.Request.URL.Path, html.UnescapeString(found[1]))
			}
		}
	}
	for what, a := range locations {
		got := a.Header.Get("Location")
		want := "/dashboard"
		if strings.HasPrefix(what, "registration, ") {
			want = "/dashboard?notice=welcome"
		}
		if a.StatusCode != http.StatusSeeOther || got != want || len(a.Header.Values("Location")) != 1 {
			t.Errorf("%.80q: got %s to %q", what, a.Status, got)
		}
	}
	for _, next := range []string{"/account", "/account?notice=profile", "/dashboard?a=b&c=//evil.example", "/", "/account/sessions/end-others"} {
		v := x.NewClient()
		v.WantSeeOther(v.PostForm("/login", "username", "alice", "password", kit.Password, "next", next), next)
	}
}

// TestASVS_3_7_2_SignInRedirectIsLocal: nothing in the address of a private page, including the host, leads to another
// site through the sign-in.
func TestASVS_3_7_2_SignInRedirectIsLocal(t *testing.T) {
	t.Parallel()
	x := kit.NewTarget(t)
	x.NewClient().Register("alice")
	for _, target := range []string{
		"/dashboard", "/dashboard?next=//evil.example", "http://evil.example/dashboard", "http://evil.example/account?x=//evil.example", "/account?%0d%0aX: y", "/dashboard?\\\\evil.example",
	} {
		for _, a := range x.SendRaw("GET " + target + " HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n") {
			if a.StatusCode == http.StatusBadRequest {
				continue
			}
			to, err := url.Parse(a.Header.Get("Location"))
			if err != nil || a.StatusCode != http.StatusSeeOther || to.Host != "" || to.Path != "/login" || !strings.HasPrefix(a.Header.Get("Location"), "/login?") {
				t.Errorf("GET %s: got %s to %q", target, a.Status, a.Header.Get("Location"))
				continue
			}
			next := to.Query().Get("next")
			c := x.NewClient()
			signedIn := c.PostForm("/login", "username", "alice", "password", kit.Password, "next", next)
			back, err := url.Parse(signedIn.Header.Get("Location"))
			if err != nil || back.Host != "" || back.Path != "/dashboard" && back.Path != "/account" {
				t.Errorf("GET %s leads, after the sign-in, to %q", target, signedIn.Header.Get("Location"))
			}
		}
	}
}
