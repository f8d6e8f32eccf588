package web

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"testing"

	"gatehouse/auth"
	"gatehouse/web/cookies"
	"gatehouse/web/problem"
)

var forwardAuthRoutes = append([]Route{Verify("/auth/verify")}, userRoutes...)

// newForwardAuthSite returns a site that trusts the proxy at 192.0.2.1 (httptest's peer).
func newForwardAuthSite(t testing.TB, change ...func(*site)) *site {
	t.Helper()
	return newSite(t, forwardAuthRoutes, append([]func(*site){func(s *site) {
		s.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
		s.Cookies = cookies.Policy{Secure: true, Domain: "example.org"}
	}}, change...)...)
}

func combine(changes ...func(*http.Request)) func(*http.Request) {
	return func(r *http.Request) {
		for _, f := range changes {
			f(r)
		}
	}
}

// opening adds the headers of a browser's navigation to a page behind a proxy that forwards the response.
func opening(host, uri string) func(*http.Request) {
	return combine(header("Accept", "text/html,*/*"), header("X-Forwarded-Proto", "https"), header("X-Forwarded-Host", host),
		header("X-Forwarded-Uri", uri), header("X-Forwarded-Method", "GET"))
}

func TestForwardAuth_SendsIdentityHeaders(t *testing.T) {
	s := newForwardAuthSite(t)
	token := s.signedIn(t, "u1")
	s.Stores.Users.Put(auth.User{
		ID: "u1", Username: "alice", Name: "Alice Exämple", Email: "alice@example.org", EmailVerified: true, Epoch: 1, Active: true,
		Groups: []string{"editors", "staff"}, Permissions: []string{"books.read"},
	})
	s.Server.Accounts.InvalidateUser("u1")
	want := map[string]string{"Remote-User": "alice", "Remote-Name": "Alice Exämple", "Remote-Email": "alice@example.org", "Remote-Groups": "editors,staff", "Cache-Control": "no-store"}
	for _, method := range []string{"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PROPFIND"} {
		w := s.do(method, "/auth/verify", s.session(token), header("Sec-Fetch-Site", "cross-site"), header("Remote-User", "mallory"), header("Origin", "https://evil.example"))
		if w.Code != http.StatusOK || w.Body.Len() != 0 || len(w.Header()["Set-Cookie"]) != 0 {
			t.Fatalf("%s: %d %q %v", method, w.Code, w.Body, w.Header())
		}
		for name, value := range want {
			if got := w.Header()[name]; len(got) != 1 || got[0] != value {
				t.Errorf("%s: %s is %q, want %q", method, name, got, value)
			}
		}
	}
	for query, status := range map[string]int{
		"?permission=books.read": 200, "?group=staff": 200, "?permission=books.read&group=staff&group=editors": 200,
		"?permission=books.write": 403, "?group=admin": 403, "?permission=books.read&permission=books.write": 403, "?group=staff&group=admin": 403,
		// A request with a typo in its requirements is refused.
		"?permision=books.write": 400, "?permission=": 400, "?group=": 400, "?permission": 400, "?permission=Books": 400, "?group=a.b": 400, "?%zz": 400, "?permission=books.read;group=x": 400, "?Permission=books.read": 400,
		"?": 200,
	} {
		if w := s.do("GET", "/auth/verify"+query, s.session(token)); w.Code != status || (w.Code != 200) != (w.Header().Get("Remote-User") == "") {
			t.Errorf("%s: %d %v, want %d", query, w.Code, w.Header(), status)
		}
	}
	for name, status := range map[string]int{"X-Gatehouse-Permission: books.read": 200, "X-Gatehouse-Permission: books.write": 403, "X-Gatehouse-Group: staff": 200, "X-Gatehouse-Group: admin": 403, "X-Gatehouse-Group: ": 400} {
		key, value, _ := strings.Cut(name, ": ")
		for _, path := range []string{"/auth/verify", "/auth/verify/ext-authz/some/page?permission=books.write&x=y"} {
			if w := s.do("GET", path, s.session(token), header(key, value)); w.Code != status {
				t.Errorf("%s, %s: %d, want %d", path, name, w.Code, status)
			}
		}
	}
	if w := s.do("GET", "/auth/verify?permission=books.read", s.session(token), header("X-Gatehouse-Permission", "books.write")); w.Code != 403 {
		t.Errorf("only one of two requirements was enforced: %d", w.Code)
	}
	if w := s.do("GET", "/auth/verifyx", s.session(token)); w.Code != http.StatusNotFound {
		t.Errorf("another path: got %d", w.Code)
	}
}

// TestForwardAuth_OmitsUnverifiedEmail: the site behind the proxy may identify accounts by email address.
func TestForwardAuth_OmitsUnverifiedEmail(t *testing.T) {
	s := newForwardAuthSite(t)
	token := s.signedIn(t, "u1")
	s.Stores.Users.Put(auth.User{ID: "u1", Username: "mallory", Email: "alice@example.org", Epoch: 1, Active: true})
	s.Server.Accounts.InvalidateUser("u1")
	w := s.do("GET", "/auth/verify", s.session(token))
	for name, want := range map[string]string{"Remote-User": "mallory", "Remote-Name": "mallory", "Remote-Email": "", "Remote-Groups": ""} {
		if got := w.Header()[name]; len(got) != 1 || got[0] != want {
			t.Errorf("%s is %q, want an explicit %q", name, got, want)
		}
	}
}

func TestForwardAuth_RedirectsBrowsersToSignIn(t *testing.T) {
	for name, c := range map[string]struct {
		path   string
		change func(*http.Request)
		status int
		next   string
	}{
		"Caddy, Traefik":          {"/auth/verify", opening("app.example.org", "/a/b?c=d&e=%20f"), 303, "https://app.example.org/a/b?c=d&e=%20f"},
		"another port":            {"/auth/verify?group=staff", opening("login.example.org:8443", "/"), 303, "https://login.example.org:8443/"},
		"Envoy":                   {"/auth/verify/ext-authz/a//b?c=d&group=x", combine(header("Accept", "text/html"), func(r *http.Request) { r.Host = "app.example.org" }), 303, "https://app.example.org/a//b?c=d&group=x"},
		"nginx":                   {"/auth/verify", combine(header("Accept", "text/html"), header("X-Original-Url", "https://app.example.org/x?y=z")), 401, "https://app.example.org/x?y=z"},
		"a form":                  {"/auth/verify", combine(opening("app.example.org", "/save"), func(r *http.Request) { r.Header.Set("X-Forwarded-Method", "POST") }), 303, "https://app.example.org/"},
		"a navigation by fetch":   {"/auth/verify", combine(opening("app.example.org", "/"), header("Sec-Fetch-Mode", "navigate")), 303, "https://app.example.org/"},
		"elsewhere":               {"/auth/verify", opening("evil.example", "/"), 303, ""},
		"elsewhere, like ours":    {"/auth/verify", opening("evilexample.org", "/"), 303, ""},
		"elsewhere, by nginx":     {"/auth/verify", combine(header("Accept", "text/html"), header("X-Original-Url", "https://evil.example/x")), 401, ""},
		"no address":              {"/auth/verify", header("Accept", "text/html"), 303, ""},
		"plain http":              {"/auth/verify", combine(opening("app.example.org", "/"), func(r *http.Request) { r.Header.Set("X-Forwarded-Proto", "http") }), 303, ""},
		"not a path":              {"/auth/verify", opening("app.example.org", "@evil.example/"), 303, ""},
		"a path with a backslash": {"/auth/verify", opening("app.example.org", `/\evil.example`), 303, ""},
	} {
		s := newForwardAuthSite(t)
		w := s.do("GET", c.path, c.change)
		want := "https://login.example.org/login"
		if c.next != "" {
			want += "?next=" + url.QueryEscape(c.next)
		}
		if w.Code != c.status || w.Header().Get("Location") != want || w.Body.Len() != 0 || w.Header().Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %d to %q, want %d to %q", name, w.Code, w.Header().Get("Location"), c.status, want)
		}
		if challenged := w.Header().Get("Www-Authenticate"); (c.status == 401) != (challenged == bearerChallenge) {
			t.Errorf("%s: got the challenge %q", name, challenged)
		}
		if warned := strings.Contains(s.log.String(), "do not return to the original address"); warned != (c.next == "") {
			t.Errorf("%s: warned %t: %s", name, warned, &s.log)
		}
		if len(s.Calls()) != 0 {
			t.Errorf("%s: the stores were called: %q", name, s.Calls())
		}
	}
}

func TestForwardAuth_TrustsHeadersOfTrustedProxiesOnly(t *testing.T) {
	s := newForwardAuthSite(t, func(s *site) { s.TrustedProxies = nil })
	for _, change := range []func(*http.Request){
		opening("app.example.org", "/a"), combine(header("Accept", "text/html"), header("X-Original-Url", "https://app.example.org/x")),
		combine(header("Accept", "text/html"), func(r *http.Request) { r.Host = "app.example.org" }),
	} {
		w := s.do("GET", "/auth/verify/x", change)
		if w.Code != 303 || w.Header().Get("Location") != "https://login.example.org/login" {
			t.Errorf("got %d to %q", w.Code, w.Header().Get("Location"))
		}
	}
	if got := strings.Count(s.log.String(), "the proxy is not in TRUSTED_PROXIES"); got != 1 {
		t.Errorf("got %d warnings, want one per minute: %s", got, &s.log)
	}
}

func TestForwardAuth_ChallengesPrograms(t *testing.T) {
	s := newForwardAuthSite(t)
	for name, c := range map[string]struct {
		change func(*http.Request)
		basic  bool
	}{
		"a program":           {func(*http.Request) {}, true},
		"curl":                {header("Accept", "*/*"), true},
		"a script of a page":  {combine(header("Accept", "text/html"), header("Sec-Fetch-Mode", "cors")), false},
		"a picture of a page": {combine(header("Accept", "image/*"), header("Sec-Fetch-Mode", "no-cors")), false},
	} {
		w := s.do("GET", "/auth/verify", header("X-Forwarded-Uri", "/x"), c.change)
		var p problem.Document
		if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil || w.Code != 401 || p.Code != problem.CredentialsNeeded || p.RequestID == "" {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
		challenges := strings.Join(w.Header()["Www-Authenticate"], ", ")
		if strings.Contains(challenges, "Basic") != c.basic || !strings.Contains(challenges, "Bearer") {
			t.Errorf("%s: got the challenges %q", name, challenges)
		}
	}
	wrong := header("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte("alice:wrong")))
	if w := s.do("GET", "/auth/verify", opening("app.example.org", "/"), wrong); w.Code != 401 || w.Header().Get("Location") != "" {
		t.Errorf("a wrong password: got %d to %q", w.Code, w.Header().Get("Location"))
	}
	if w := s.do("GET", "/auth/verify", header("Authorization", "Bearer x")); w.Code != 401 || !strings.Contains(w.Body.String(), "token_malformed") {
		t.Errorf("a malformed token: got %d %s", w.Code, w.Body)
	}
}

func TestForwardAuth_ExplainsRefusalsToPeople(t *testing.T) {
	s := newForwardAuthSite(t)
	token := s.signedIn(t, "u1")
	for query, words := range map[string]string{"?permission=books.write": "books.write", "?group=staff": "group staff"} {
		w := s.do("GET", "/auth/verify"+query, s.session(token), opening("app.example.org", "/x?<y>"))
		page := w.Body.String()
		if w.Code != 403 || !strings.Contains(page, words) || strings.Count(page, "</html>") != 1 || w.Header().Get("Content-Security-Policy") != forwardAuthPolicy || !strings.Contains(page, `<svg class="mark"`) ||
			!strings.Contains(page, "https://login.example.org/sign-out?next=https%3A%2F%2Fapp.example.org%2Fx") {
			t.Errorf("%s: %d %s", query, w.Code, page)
		}
		// A relative link would lead to a path of the other site.
		if strings.Contains(page, `="/`) {
			t.Errorf("the page links to the other site: %s", page)
		}
		if w := s.do("GET", "/auth/verify"+query, s.session(token)); w.Code != 403 || !strings.Contains(w.Body.String(), `"code":"missing_`) {
			t.Errorf("%s, a program: %d %s", query, w.Code, w.Body)
		}
	}
	s.FailOn("sessions.Find", errDown)
	w := s.do("GET", "/auth/verify", s.session(token), opening("app.example.org", "/"))
	if w.Code != 503 || w.Header().Get("Retry-After") != "5" || !strings.Contains(w.Body.String(), "Back in a moment") || len(w.Header()["Set-Cookie"]) != 0 {
		t.Errorf("without Redis: %d %v %s", w.Code, w.Header(), w.Body)
	}
}

// TestForwardAuth_LimitedTokenHasNoGroups: the site behind the proxy may grant anything to a group.
func TestForwardAuth_LimitedTokenHasNoGroups(t *testing.T) {
	s := newForwardAuthSite(t)
	s.Stores.Users.Put(auth.User{ID: "u1", Username: "alice", Epoch: 1, Active: true, Groups: []string{"staff"}, Permissions: []string{"books.read", "books.write"}})
	u, err := s.Server.Accounts.User(t.Context(), "u1")
	if err != nil {
		t.Fatal(err)
	}
	for _, narrow := range []bool{false, true} {
		var permissions []string
		if narrow {
			permissions = []string{"books.read"}
		}
		secret, _, err := s.Server.Accounts.NewToken(t.Context(), u, auth.TokenRequest{Name: "x", Permissions: permissions})
		if err != nil {
			t.Fatal(err)
		}
		bearer := header("Authorization", "Bearer "+secret)
		w := s.do("GET", "/auth/verify?permission=books.read", bearer)
		if groups := w.Header().Get("Remote-Groups"); w.Code != 200 || (groups == "") != narrow {
			t.Errorf("narrow %t: %d with the groups %q", narrow, w.Code, groups)
		}
		for _, query := range []string{"?group=staff", "?permission=books.write"} {
			if w := s.do("GET", "/auth/verify"+query, bearer); (w.Code == 403) != narrow {
				t.Errorf("narrow %t, %s: %d", narrow, query, w.Code)
			}
		}
	}
}

// TestForwardAuth_LimitedTokenNeedsRequiredPermission: a limited token opens only sites that require one of its
// permissions.
func TestForwardAuth_LimitedTokenNeedsRequiredPermission(t *testing.T) {
	s := newForwardAuthSite(t)
	s.Stores.Users.Put(auth.User{ID: "u1", Username: "alice", Epoch: 1, Active: true, Groups: []string{"staff"}, Permissions: []string{"books.read", "books.write"}})
	u, err := s.Server.Accounts.User(t.Context(), "u1")
	if err != nil {
		t.Fatal(err)
	}
	permission := func(p string) func(*http.Request) { return header("X-Gatehouse-Permission", p) }
	none := func(*http.Request) {}
	for name, c := range map[string]struct {
		permissions []string
		path        string
		change      func(*http.Request)
		want        int
	}{
		"unlimited, nothing required":     {nil, "/auth/verify", none, 200},
		"none, nothing required":          {[]string{}, "/auth/verify", none, 403},
		"none, empty query":               {[]string{}, "/auth/verify?", none, 403},
		"none, permission required":       {[]string{}, "/auth/verify?permission=books.read", none, 403},
		"none, group required":            {[]string{}, "/auth/verify?group=staff", none, 403},
		"one, nothing required":           {[]string{"books.read"}, "/auth/verify", none, 403},
		"one, its permission required":    {[]string{"books.read"}, "/auth/verify?permission=books.read", none, 200},
		"one, another required":           {[]string{"books.read"}, "/auth/verify?permission=books.write", none, 403},
		"one, both required":              {[]string{"books.read"}, "/auth/verify?permission=books.read&permission=books.write", none, 403},
		"one, with a group":               {[]string{"books.read"}, "/auth/verify?permission=books.read&group=staff", none, 403},
		"visitor's own header":            {[]string{"books.read"}, "/auth/verify", permission("books.read"), 403},
		"header of a proxy without query": {[]string{"books.read"}, "/auth/verify/ext-authz/some/page", permission("books.read"), 200},
		"the visitor's path, no header":   {[]string{"books.read"}, "/auth/verify/ext-authz/some/page?permission=books.read", none, 403},
		"unlimited, behind such a proxy":  {nil, "/auth/verify/some/page", none, 200},
		"query and a header it has":       {[]string{"books.read"}, "/auth/verify?permission=books.read", permission("books.read"), 200},
		"query and a header it does not":  {[]string{"books.read"}, "/auth/verify?permission=books.read", permission("books.write"), 403},
	} {
		secret, _, err := s.Server.Accounts.NewToken(t.Context(), u, auth.TokenRequest{Name: "x", Permissions: c.permissions})
		if err != nil {
			t.Fatal(err)
		}
		w := s.do("GET", c.path, header("Authorization", "Bearer "+secret), c.change)
		if w.Code != c.want || (w.Code == 200) != (w.Header().Get("Remote-User") == "alice") {
			t.Errorf("%s: %d %v, want %d", name, w.Code, w.Header(), c.want)
		}
		if groups := w.Header().Get("Remote-Groups"); c.permissions != nil && groups != "" {
			t.Errorf("%s: got the groups %q", name, groups)
		}
	}
}

func TestForwardAuth_RecoversPanics(t *testing.T) {
	s := newForwardAuthSite(t)
	accounts := s.Server.Accounts
	s.Server.Accounts = nil
	token := fakeToken("C")
	s.put(token, func(rec *auth.Session) {})
	w := s.do("GET", "/auth/verify", s.session(token))
	s.Server.Accounts = accounts
	if w.Code != 500 || strings.Contains(w.Body.String(), "panic") || !strings.Contains(s.log.String(), "panic") {
		t.Errorf("got %d %s; %s", w.Code, w.Body, &s.log)
	}
}
