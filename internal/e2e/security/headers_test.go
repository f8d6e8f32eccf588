package security

import (
	"net/http"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"gatehouse/internal/e2e/kit"
)

// TestASVS_3_3_1_CookieAttributes: names and attributes protect the cookies from other sites, scripts, unencrypted
// connections and other paths, as far as BASE_URL allows.
func TestASVS_3_3_1_CookieAttributes(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name     string
		settings []string
		prefix   string
		secure   bool
		domain   string
	}{
		{"https", []string{"BASE_URL", "https://login.example.org"}, "__Host-", true, ""},
		{"https, a shared domain", []string{"BASE_URL", "https://login.example.org", "COOKIE_DOMAIN", "example.org"}, "__Secure-", true, "example.org"},
		{"http", nil, "", false, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			x := kit.NewTarget(t, test.settings...)
			c := x.NewClient()
			register := c.PostForm("/register", "username", "alice", "password", kit.Password)
			signIn := c.PostForm("/login", "username", "alice", "password", kit.Password)
			remembered := c.PostForm("/login", "username", "alice", "password", kit.Password, "remember", "on")
			session := c.CookiesOf(remembered)[test.prefix+"gatehouse"]
			if session == nil {
				t.Fatalf("a sign-in sets %v", remembered.Cookies())
			}
			signOut := c.Do(c.NewRequest(http.MethodPost, "/logout", "", "Cookie", session.Name+"="+session.Value))
			for what, a := range map[string]kit.Response{"register": register, "sign-in": signIn, "remembered": remembered, "sign-out": signOut} {
				if a.Header.Get("Cache-Control") != "no-store" {
					t.Errorf("%s sets cookies with Cache-Control %q", what, a.Header.Get("Cache-Control"))
				}
				// The known-browser cookie is for this host only, even if the session is shared.
				browser := strings.Replace(test.prefix, "__Secure-", "__Host-", 1) + "gatehouse_browser"
				want := []string{test.prefix + "gatehouse", browser}
				if what == "sign-out" {
					want = want[:1]
				}
				cookies := c.CookiesOf(a)
				if len(cookies) != len(want) {
					t.Errorf("%s sets %v", what, a.Cookies())
				}
				for _, name := range want {
					k := cookies[name]
					if k == nil {
						t.Errorf("%s does not set %s", what, name)
						continue
					}
					if !k.HttpOnly || k.Secure != test.secure || k.SameSite != http.SameSiteLaxMode || k.Path != "/" || k.Domain != test.domain && name != browser || name == browser && k.Domain != "" {
						t.Errorf("%s sets %s", what, k.Raw)
					}
				}
			}
			if k := c.CookiesOf(signIn)[test.prefix+"gatehouse"]; k.MaxAge != 0 || !k.Expires.IsZero() {
				t.Errorf("a session without remember sets %s", k.Raw)
			}
			if session.MaxAge < 719*3600 || session.MaxAge > 720*3600 {
				t.Errorf("a remembered session sets %s", session.Raw)
			}
			if k := c.CookiesOf(signOut)[test.prefix+"gatehouse"]; k.Value != "" || k.MaxAge >= 0 {
				t.Errorf("a sign-out sets %s", k.Raw)
			}
			// A sibling site or an unencrypted page can plant cookies without the prefix; they are ignored.
			if test.secure {
				fresh := c.CookiesOf(c.PostForm("/login", "username", "alice", "password", kit.Password))[test.prefix+"gatehouse"]
				for _, name := range []string{"gatehouse", "__secure-gatehouse", "__HOST-gatehouse", " __Host-gatehouse2", "Gatehouse"} {
					if x.CookieOpensDashboard(name + "=" + fresh.Value) {
						t.Errorf("the cookie %q opens the dashboard", name)
					}
				}
				if !x.CookieOpensDashboard(fresh.Name + "=" + fresh.Value) {
					t.Error("the session does not open the dashboard")
				}
			}
		})
	}
}

// TestAnonymousVisitor_GetsNoCookie: without a sign-in, no page sets a cookie or creates a key in Redis.
func TestAnonymousVisitor_GetsNoCookie(t *testing.T) {
	t.Parallel()
	x := kit.NewTarget(t)
	c := x.NewClient()
	paths := append(kit.RoutePaths(http.MethodGet), "/static/robots.txt", "/nothing", "/login?next=/account&notice=profile")
	for _, path := range paths {
		for _, method := range []string{http.MethodGet, http.MethodHead} {
			a := c.Do(c.NewRequest(method, path, ""))
			if got := a.Header.Values("Set-Cookie"); len(got) > 0 {
				t.Errorf("%s %s sets %q", method, path, got)
			}
		}
	}
	for _, a := range []kit.Response{
		c.PostForm("/login", "username", "", "password", ""), c.PostForm("/register", "username", "", "password", ""),
		c.PostForm("/password/strength", "password", "x"), c.PostForm("/account/profile", "name", "x"),
	} {
		if got := a.Header.Values("Set-Cookie"); len(got) > 0 {
			t.Errorf("POST %s sets %q", a.Request.URL.Path, got)
		}
	}
	for _, key := range x.Keys("*") {
		// Password ratings and registrations are counted by network, and the server has created the stream of changed users.
		if key != "throttle:strength:127.0.0.1" && key != "throttle:register:127.0.0.1" && key != "user-changes" {
			t.Errorf("got the key %s after anonymous requests", key)
		}
	}
}

// TestASVS_14_3_2_PersonalPagesAreNotCached: caches must not store pages about a user, forms or redirects; files with
// fingerprints may be cached.
func TestASVS_14_3_2_PersonalPagesAreNotCached(t *testing.T) {
	t.Parallel()
	x := kit.NewTarget(t)
	c := x.NewClient()
	c.Register("alice")
	for _, path := range append(kit.RoutePaths(http.MethodGet), "/nothing", "/static/nothing", "/logout") {
		if ext := filepath.Ext(path); ext == ".ico" || ext == ".png" || ext == ".txt" || ext == ".webmanifest" {
			continue // the same for everyone
		}
		if got := c.Get(path).Header.Get("Cache-Control"); got != "no-store" {
			t.Errorf("%s: got Cache-Control %q", path, got)
		}
	}
	file := regexp.MustCompile(`/static/app\.[0-9a-f]+\.css`).FindString(c.Get("/account").Text)
	if a := c.Get(file); a.StatusCode != http.StatusOK || !strings.Contains(a.Header.Get("Cache-Control"), "immutable") || len(a.Cookies()) > 0 {
		t.Errorf("%s: %s, %q", file, a.Status, a.Header.Get("Cache-Control"))
	}
}

// responsesOfEveryKind returns a response of each status that the server sends, by kind of request.
func responsesOfEveryKind(x *kit.Target) map[string]kit.Response {
	x.T.Helper()
	c, signedIn := x.NewClient(), x.NewClient()
	signedInHeader := []string{}
	a := signedIn.PostForm("/register", "username", "alice", "password", kit.Password)
	for _, k := range a.Cookies() {
		signedInHeader = []string{"Cookie", a.Cookies()[slices.IndexFunc(a.Cookies(), func(k *http.Cookie) bool { return strings.HasSuffix(k.Name, "gatehouse") })].Name + "=" + k.Value}
		if strings.HasSuffix(k.Name, "gatehouse") {
			break
		}
	}
	x.Do("HSET", kit.ThrottleKey("bob"), "n", "50", "until", x.RedisMillis()+600_000)
	file := regexp.MustCompile(`/static/app\.[0-9a-f]+\.js`).FindString(c.Get("/").Text)
	all := map[string]kit.Response{
		"a page": c.Get("/"), "a form": c.Get("/login"), "a signed-in page": signedIn.Get("/account", signedInHeader...),
		"a redirect": c.Get("/dashboard"), "a file": c.Get(file), "health": c.Get("/healthz"), "readiness": c.Get("/readyz"),
		"a registration": a, "404": c.Get("/nothing"), "404 of a file": c.Get("/static/nothing.js"),
		"405": c.Get("/password/strength"), "401": c.PostForm("/login", "username", "nobody", "password", kit.Password),
		"422": c.PostForm("/register", "username", "a", "password", "b"), "JSON": c.PostForm("/password/strength", "password", "x"),
		"413":     c.PostForm("/login", "username", strings.Repeat("x", 1<<20)),
		"415":     c.Do(c.NewRequest(http.MethodPost, "/login", "{}", "Content-Type", "application/json")),
		"400":     c.Do(c.NewRequest(http.MethodPost, "/login", "a=%zz", "Content-Type", kit.FormContentType)),
		"429":     c.PostForm("/login", "username", "bob", "password", kit.Password),
		"403":     c.Do(c.NewRequest(http.MethodPost, "/login", "a=b", "Sec-Fetch-Site", "cross-site")),
		"OPTIONS": c.Do(c.NewRequest(http.MethodOptions, "/login", "")),
	}
	for what, a := range all {
		if len(what) >= 3 && what[0] == '4' && !strings.HasPrefix(a.Status, what[:3]) {
			x.T.Errorf("got %s, want a response %s", a.Status, what)
		}
	}
	return all
}

// TestASVS_3_4_SecurityHeaders: every response, including errors, forbids the browser to load or send anything beyond
// this site, to sniff types, and to let other sites frame or open it.
func TestASVS_3_4_SecurityHeaders(t *testing.T) {
	t.Parallel()
	for base, transport := range map[string]string{"http://localhost:8080": "", "https://login.example.org": "max-age=31536000"} {
		x := kit.NewTarget(t, "BASE_URL", base)
		for what, a := range responsesOfEveryKind(x) {
			for name, want := range map[string]string{
				"X-Content-Type-Options": "nosniff", "Referrer-Policy": "same-origin", "Cross-Origin-Opener-Policy": "same-origin",
				"Cross-Origin-Resource-Policy": "same-origin", "X-Frame-Options": "DENY", "Strict-Transport-Security": transport,
			} {
				if got := strings.Join(a.Header.Values(name), "|"); got != want {
					t.Errorf("%s at %s: %s is %q, want %q", what, base, name, got, want)
				}
			}
			for _, name := range []string{"Server", "X-Powered-By", "Access-Control-Allow-Origin", "Access-Control-Allow-Credentials"} {
				if a.Header.Get(name) != "" {
					t.Errorf("%s: %s is %q", what, name, a.Header.Get(name))
				}
			}
			if len(a.Header.Values("Content-Security-Policy")) != 1 {
				t.Errorf("%s: got the policies %q", what, a.Header.Values("Content-Security-Policy"))
			}
			policy := directives(a.Header.Get("Content-Security-Policy"))
			for name, want := range map[string]string{
				"default-src": "'none'", "script-src": "'self'", "style-src": "'self'", "base-uri": "'none'", "form-action": "'self'", "frame-ancestors": "'none'",
			} {
				if policy[name] != want {
					t.Errorf("%s: the policy has %s %q, want %q", what, name, policy[name], want)
				}
			}
			for name, sources := range policy {
				if sources != "'none'" && sources != "'self'" {
					t.Errorf("%s: the policy has %s %q", what, name, sources)
				}
			}
			if body := strings.ToLower(a.Text); strings.HasPrefix(a.Header.Get("Content-Type"), "text/html") &&
				regexp.MustCompile(`<script>|<style|\sstyle=|\son[a-z]+=|javascript:|src="http|href="http`).MatchString(body) {
				t.Errorf("%s: the page has elements that the policy forbids:\n%s", what, a.Text)
			}
		}
	}
}

func directives(policy string) map[string]string {
	all := map[string]string{}
	for directive := range strings.SplitSeq(policy, ";") {
		name, sources, _ := strings.Cut(strings.TrimSpace(directive), " ")
		all[name] = sources
	}
	return all
}

// TestASVS_4_1_1_EveryResponseHasAContentType: with a charset.
func TestASVS_4_1_1_EveryResponseHasAContentType(t *testing.T) {
	t.Parallel()
	x := kit.NewTarget(t)
	for what, a := range responsesOfEveryKind(x) {
		kind := a.Header.Get("Content-Type")
		if a.Text != "" && kind != "application/json" && !strings.HasSuffix(kind, "; charset=utf-8") {
			t.Errorf("%s has the type %q", what, kind)
		}
	}
}

// TestASVS_4_1_4_OtherMethodsAreRefused: with an Allow header and without changes, and no header, field or query can
// override the method.
func TestASVS_4_1_4_OtherMethodsAreRefused(t *testing.T) {
	t.Parallel()
	x := kit.NewTarget(t)
	c := x.NewClient()
	c.Register("alice")
	kit.WantSignedIn(t, c)
	before := x.Snapshot()
	for _, path := range kit.RoutePaths(http.MethodPost) {
		has := []string{http.MethodPost}
		if slices.Contains(kit.RoutePaths(http.MethodGet), path) {
			has = append(has, http.MethodGet, http.MethodHead)
		}
		for _, method := range []string{"GET", "HEAD", "PUT", "PATCH", "DELETE", "TRACE", "PROPFIND", "post", "BREW"} {
			if slices.Contains(has, method) {
				continue
			}
			a := c.Do(c.NewRequest(method, path, "name=Mallory", "Content-Type", kit.FormContentType,
				"X-HTTP-Method-Override", "POST", "X-HTTP-Method", "POST", "X-Method-Override", "POST"))
			if reading := method == http.MethodGet || method == http.MethodHead; reading && a.StatusCode == http.StatusSeeOther && path != "/password/strength" {
				continue // to the page with the form
			}
			if a.StatusCode != http.StatusMethodNotAllowed {
				t.Errorf("%s %s: %s", method, path, a.Status)
			}
			for _, allowed := range has {
				if !strings.Contains(a.Header.Get("Allow"), allowed) {
					t.Errorf("%s %s allows %q, want %q", method, path, a.Header.Get("Allow"), has)
				}
			}
			if strings.Contains(a.Text, "Mallory") || strings.Contains(a.Text, "X-HTTP") {
				t.Errorf("%s %s echoes the request", method, path)
			}
		}
	}
	for _, path := range kit.RoutePaths(http.MethodGet) {
		for _, method := range []string{"TRACE", "TRACK", "DELETE", "PUT"} {
			if a := c.Do(c.NewRequest(method, path, "")); a.StatusCode != http.StatusMethodNotAllowed || strings.Contains(a.Text, c.Cookie(kit.SessionCookie)) {
				t.Errorf("%s %s: %s", method, path, a.Status)
			}
		}
	}
	for _, path := range []string{"/logout?_method=POST", "/account/profile?_method=POST&name=Mallory", "/login?username=alice&password=" + kit.Password} {
		c.Get(path)
	}
	if after := x.Snapshot(); after != before {
		t.Errorf("the state changed to\n%s\nfrom\n%s", after, before)
	}
	kit.WantSignedIn(t, c)
}

// TestASVS_3_5_3_SafeMethodsChangeNothing: GET and HEAD never change Postgres or Redis.
func TestASVS_3_5_3_SafeMethodsChangeNothing(t *testing.T) {
	t.Parallel()
	x := kit.NewTarget(t)
	c, other := x.NewClient(), x.NewClient()
	c.Register("alice")
	other.SignIn("alice")
	before := x.Snapshot()
	id := strings.TrimPrefix(x.SessionKey(other), "session:")
	for _, v := range []*kit.Client{c, x.NewClient()} {
		for _, path := range append(kit.RoutePaths(http.MethodGet), kit.RoutePaths(http.MethodPost)...) {
			for _, query := range []string{"", "?username=bob&password=" + kit.Password + "&name=Mallory&time_zone=UTC&session=" + id + "&current_password=" + kit.Password + "&new_password=" + kit.OtherPassword} {
				for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodOptions} {
					if a := v.Do(v.NewRequest(method, path+query, "")); a.StatusCode >= 500 || len(a.Cookies()) > 0 {
						t.Errorf("%s %s: %s, cookies %v", method, path+query, a.Status, a.Cookies())
					}
				}
			}
		}
	}
	if after := x.Snapshot(); after != before {
		t.Errorf("the state changed to\n%s\nfrom\n%s", after, before)
	}
}

// TestHEAD_IsGETWithoutTheBody: the status and headers are the same, including the length.
func TestHEAD_IsGETWithoutTheBody(t *testing.T) {
	t.Parallel()
	x := kit.NewTarget(t)
	c := x.NewClient()
	for _, path := range append(kit.RoutePaths(http.MethodGet), "/nothing", "/static/nothing") {
		get, head := c.Get(path), c.Do(c.NewRequest(http.MethodHead, path, ""))
		for _, a := range []kit.Response{get, head} {
			a.Header.Del("Date")
			a.Header.Del("X-Request-Id")
		}
		if head.Text != "" || head.Status != get.Status || head.ContentLength != get.ContentLength {
			t.Errorf("%s: HEAD got %s with length %d, GET got %s with length %d", path, head.Status, head.ContentLength, get.Status, get.ContentLength)
		}
	}
}

// TestASVS_13_4_NothingElseIsServed: no repository, debug pages, sources or listings, and no file outside of the static
// files by path traversal.
func TestASVS_13_4_NothingElseIsServed(t *testing.T) {
	t.Parallel()
	x := kit.NewTarget(t)
	c := x.NewClient()
	c.Register("alice")
	for _, path := range []string{
		"/.git/config", "/.git/HEAD", "/.git", "/.env", "/.svn/entries", "/.DS_Store", "/.well-known/", "/debug/pprof/", "/debug/pprof", "/debug/vars", "/metrics",
		"/static", "/static/", "/static/.", "/static/app.css", "/static/app.js", "/static/fs.go", "/static/../main.go", "/static/%2e%2e/main.go", "/static/..%2fmain.go",
		"/static/..%5cmain.go", "/static//app.css", "/static/%00", "/static/....//main.go", "/../../../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/templates/layout.html",
		"/migrations/", "/main.go", "/go.mod", "/config.go", "/server-status", "/admin/", "/phpinfo.php", "/wp-login.php", "/backup.sql", "/api/", "/data/secret.key",
		"/dashboard/", "//dashboard", "/dashboard%2f", "/dashboard/..", "/./dashboard", "/Dashboard", "/dashboard;jsessionid=1", "/dashboard.json", "/%64ashboard%00",
	} {
		for _, a := range append(x.SendRaw("GET "+path+" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"), c.Get("/nothing")) {
			// The page at the path without the slash, which has an access rule of its own.
			page := strings.TrimSuffix(path, "/")
			if a.StatusCode == http.StatusPermanentRedirect && a.Header.Get("Location") == page && slices.Contains([]string{"/admin", "/api", "/dashboard"}, page) {
				continue
			}
			if a.StatusCode != http.StatusNotFound && a.StatusCode != http.StatusBadRequest || strings.Contains(a.Text, "alice") {
				t.Errorf("%s: got %s", path, a.Status)
			}
		}
	}
}
