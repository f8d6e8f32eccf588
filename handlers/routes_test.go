package handlers

import (
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	"gatehouse/auth"
	"gatehouse/web"
)

// reading are the safe methods (RFC 9110, section 9.2.1).
var reading = []string{http.MethodGet, http.MethodHead}

// open are the routes that anonymous callers may use. Extend this list deliberately.
var open = []string{
	"GET /", "GET /register", "POST /register", "GET /login", "POST /login", "GET /sign-out", "POST /logout", "POST /password/strength",
	"GET /api", "POST /api/tokens", "GET /api/openapi.json",
	"GET /healthz", "GET /readyz", "GET /.well-known/change-password",
	"GET /favicon.ico", "GET /apple-touch-icon.png", "GET /icon-192.png", "GET /icon-512.png", "GET /site.webmanifest", "GET /robots.txt",
}

// rule returns a route's access rule and the permission that it needs.
func rule(r web.Route) (who, permission string) {
	who, permission, _ = strings.Cut(r.Access.String(), " with ")
	return who, permission
}

// routeFaults returns the errors of a route table and the differences between it and the served routes.
func routeFaults(table []web.Route, served []string) []string {
	var all []string
	inTable := map[string]bool{"GET /static/*": true, "HEAD /static/*": true}
	for _, r := range table {
		name := r.Method + " " + r.Path
		if inTable[name] {
			all = append(all, name+" is listed twice")
		}
		inTable[name] = true
		if r.Method == http.MethodGet {
			inTable["HEAD "+r.Path] = true
		}
		if r.Page != "" { // opening it leads to the page
			inTable["GET "+r.Path], inTable["HEAD "+r.Path] = true, true
		}
		who, permission := rule(r)
		private := who == web.SignedIn.String() || who == web.API.String() || r.Access == web.ForwardAuth
		switch {
		case who == web.Access{}.String():
			all = append(all, name+" has no access rule")
		case !private && !slices.Contains(open, name):
			all = append(all, name+" is open but not in the list")
		case private && slices.Contains(open, name):
			all = append(all, name+" is private but in the list of open routes")
		}
		if r.Access == web.Unauthenticated && !slices.Contains(reading, r.Method) {
			all = append(all, name+" lets unauthenticated callers make changes")
		}
		if api := strings.HasPrefix(r.Path, "/api/"); r.Access != web.Unauthenticated && r.Access != web.ForwardAuth && api != (who == web.API.String() || who == web.OptionalAPI.String()) {
			all = append(all, name+" is for programs but not below /api/, or vice versa")
		}
		if strings.HasPrefix(r.Path, "/admin") || strings.HasPrefix(r.Path, "/api/users") {
			wanted := auth.ManageUsers
			if slices.Contains(reading, r.Method) {
				wanted = auth.ViewUsers
			}
			// Pages with a form to add or delete users are for those who may do so.
			if permission != wanted && permission != auth.ManageUsers {
				all = append(all, name+" does not need "+wanted)
			}
		}
		if (r.Access == web.ForwardAuth) != (r.Method == web.AnyMethod) {
			all = append(all, name+" is for every method but not for proxies, or vice versa")
		}
		if r.Method == http.MethodPost && !strings.HasPrefix(r.Path, "/api/") && name != "POST /password/strength" && !leadsToAPage(table, r) {
			all = append(all, name+" has no page")
		}
		for _, field := range r.Kept() {
			if regexp.MustCompile("(?i)pass|secret|token|key|code").MatchString(field) {
				all = append(all, name+" keeps "+field)
			}
		}
		if r.Handle == nil && r.Access != web.ForwardAuth {
			all = append(all, name+" has no handler")
		}
		if !slices.Contains(served, name) {
			all = append(all, name+" is not served")
		}
	}
	for _, name := range served {
		if !inTable[name] {
			all = append(all, name+" is served but not in the table")
		}
	}
	return all
}

// leadsToAPage reports whether opening the route shows a page: its own, or the one that it names.
func leadsToAPage(table []web.Route, r web.Route) bool {
	page := r.Page
	if page == "" {
		page = r.Path
	}
	return slices.ContainsFunc(table, func(o web.Route) bool { return o.Method == http.MethodGet && o.Path == page })
}

func TestRoutes_HaveAnAccessRule(t *testing.T) {
	s := newSite(t)
	for _, fault := range routeFaults(s.Routes(), s.server.Routes()) {
		t.Error(fault)
	}
	if len(s.Routes()) < 40 {
		t.Errorf("got %d routes, want at least 40", len(s.Routes()))
	}
}

// TestRouteFaults_FindsErrors shows that TestRoutes_HaveAnAccessRule can fail.
func TestRouteFaults_FindsErrors(t *testing.T) {
	h := func(*web.Request) (web.Response, error) { return web.Response{}, nil }
	for name, c := range map[string]struct {
		table  []web.Route
		served []string
		want   string
	}{
		"no rule":                   {[]web.Route{web.Get("/x", web.Access{}, h)}, []string{"GET /x"}, "GET /x has no access rule"},
		"no rule, but a permission": {[]web.Route{web.Get("/x", web.Access{}.WithPermission("a.b"), h)}, []string{"GET /x"}, "GET /x has no access rule"},
		"open":                      {[]web.Route{web.Get("/x", web.Open, h)}, []string{"GET /x"}, "GET /x is open but not in the list"},
		"optional API":              {[]web.Route{web.Get("/api/x", web.OptionalAPI, h)}, []string{"GET /api/x"}, "GET /api/x is open but not in the list"},
		"not open":                  {[]web.Route{web.Get("/login", web.SignedIn, h)}, []string{"GET /login"}, "GET /login is private but in the list of open routes"},
		"page as program":           {[]web.Route{web.Get("/x", web.API, h)}, []string{"GET /x"}, "GET /x is for programs but not below /api/, or vice versa"},
		"program as page":           {[]web.Route{web.Get("/api/x", web.SignedIn, h)}, []string{"GET /api/x"}, "GET /api/x is for programs but not below /api/, or vice versa"},
		"admin for all":             {[]web.Route{web.Get("/admin/x", web.SignedIn, h)}, []string{"GET /admin/x"}, "GET /admin/x does not need users.view"},
		"changed by viewers":        {[]web.Route{web.Post("/admin/x", web.SignedIn.WithPermission(auth.ViewUsers), h)}, []string{"POST /admin/x"}, "POST /admin/x does not need users.manage"},
		"users for all":             {[]web.Route{web.Get("/api/users", web.API, h)}, []string{"GET /api/users"}, "GET /api/users does not need users.view"},
		"unauthenticated writes":    {[]web.Route{web.Post("/healthz", web.Unauthenticated, h)}, []string{"POST /healthz"}, "POST /healthz lets unauthenticated callers make changes"},
		"not served":                {[]web.Route{web.Get("/x", web.SignedIn, h)}, nil, "GET /x is not served"},
		"smuggled":                  {nil, []string{"POST /x"}, "POST /x is served but not in the table"},
		"other method":              {[]web.Route{web.Get("/x", web.SignedIn, h)}, []string{"GET /x", "POST /x"}, "POST /x is served but not in the table"},
		"no page":                   {[]web.Route{web.Post("/x", web.SignedIn, h)}, []string{"POST /x"}, "POST /x has no page"},
		"no such page":              {[]web.Route{web.Post("/x", web.SignedIn, h).On("/y")}, []string{"POST /x"}, "POST /x has no page"},
		"kept password":             {[]web.Route{web.Post("/x", web.SignedIn, h).Keeping(h, "name", "new_password")}, []string{"POST /x"}, "POST /x keeps new_password"},
		"twice":                     {[]web.Route{web.Get("/x", web.SignedIn, h), web.Get("/x", web.SignedIn, h)}, []string{"GET /x"}, "GET /x is listed twice"},
		"any method":                {[]web.Route{{Method: web.AnyMethod, Path: "/x", Access: web.SignedIn, Handle: h}}, []string{"* /x"}, "* /x is for every method but not for proxies, or vice versa"},
		"no handler":                {[]web.Route{web.Get("/x", web.SignedIn, nil)}, []string{"GET /x"}, "GET /x has no handler"},
	} {
		if got := routeFaults(c.table, c.served); !slices.Contains(got, c.want) {
			t.Errorf("%s: found %q, want %q", name, got, c.want)
		}
	}
	good := []web.Route{
		web.Get("/x", web.SignedIn, h), web.Post("/x", web.SignedIn, h), web.Delete("/api/x", web.API, h),
		web.Get("/admin", web.SignedIn.WithPermission(auth.ViewUsers), h), web.Post("/admin", web.SignedIn.WithPermission(auth.ManageUsers), h),
	}
	if got := routeFaults(good, []string{"GET /x", "HEAD /x", "POST /x", "DELETE /api/x", "GET /admin", "POST /admin", "GET /static/*"}); len(got) != 0 {
		t.Errorf("found %q in a valid table", got)
	}
}

// writes are the store calls that make changes.
var writes = []string{
	"users.Create", "users.Set", "users.Replace", "users.Rotate", "users.Record", "cache.Drop", "throttle.",
	"sessions.Commit", "sessions.Delete", "sessions.End", "tokens.Create", "tokens.Revoke",
	"credentials.FillCredential", "credentials.Mark", "grants.Add", "grants.Remove", "grants.Set", "maintenance.Set", "maintenance.End",
}

// TestRoutes_ReadingChangesNothing requests every path by GET and HEAD, signed in and anonymously: paths of other methods
// are refused, and nothing is written.
func TestRoutes_ReadingChangesNothing(t *testing.T) {
	s := newSite(t)
	s.add(t, "alice")
	s.addAdmin(t, "root")
	for who, b := range map[string]*browser{"anonymous": s.browser(), "alice": s.signedIn(t, "alice"), "root": s.signedIn(t, "root")} {
		for _, r := range s.Routes() {
			readable := r.Method == web.AnyMethod || slices.ContainsFunc(s.Routes(), func(o web.Route) bool { return o.Path == r.Path && (o.Method == http.MethodGet || o.Page != "") })
			for _, method := range reading {
				s.Reset()
				w := b.send(newRequest(method, r.Path+"?username=x&password=y&session=z&name=w"))
				if r.Page != "" && w.Code != http.StatusSeeOther {
					t.Errorf("%s %s as %s: got %d, want its page", method, r.Path, who, w.Code)
				}
				if readable == (w.Code == http.StatusMethodNotAllowed) {
					t.Errorf("%s %s as %s: got %d", method, r.Path, who, w.Code)
				}
				if !readable && !strings.Contains(w.Header().Get("Allow"), r.Method) {
					t.Errorf("%s %s: Allow is %q", method, r.Path, w.Header().Get("Allow"))
				}
				if calls := s.Calls(writes...); len(calls) != 0 {
					t.Errorf("%s %s as %s made the calls %q", method, r.Path, who, calls)
				}
				if len(w.Header()["Set-Cookie"]) != 0 {
					t.Errorf("%s %s as %s sets %q", method, r.Path, who, w.Header()["Set-Cookie"])
				}
			}
		}
	}
	if w := s.signedIn(t, "alice").get("/dashboard"); w.Code != http.StatusOK {
		t.Errorf("alice is signed out afterwards: got %d", w.Code)
	}
}

// TestRoutes_PrivateNeedSignIn requests every private route without a session.
func TestRoutes_PrivateNeedSignIn(t *testing.T) {
	s := newSite(t)
	for _, r := range s.Routes() {
		who, _ := rule(r)
		s.Reset()
		method := r.Method
		if method == web.AnyMethod {
			method = http.MethodPost
		}
		w := s.browser().send(newRequest(method, r.Path))
		switch who {
		case web.SignedIn.String():
			if method == http.MethodPost {
				if w.Code != http.StatusSeeOther || !strings.HasPrefix(w.Header().Get("Location"), "/login?next=%2F") {
					t.Errorf("%s %s: got %d to %q", r.Method, r.Path, w.Code, w.Header().Get("Location"))
				}
			} else if w.Code != http.StatusSeeOther || !strings.HasPrefix(w.Header().Get("Location"), "/login") {
				t.Errorf("%s %s: got %d to %q", r.Method, r.Path, w.Code, w.Header().Get("Location"))
			}
		case web.API.String(), web.ForwardAuth.String():
			if w.Code != http.StatusUnauthorized || len(w.Header()["Www-Authenticate"]) != 2 || w.Header().Get("Content-Type") != "application/problem+json" {
				t.Errorf("%s %s: got %d %v", r.Method, r.Path, w.Code, w.Header())
			}
		default:
			continue
		}
		if calls := s.Calls(); len(calls) != 0 {
			t.Errorf("%s %s: the stores were called: %q", r.Method, r.Path, calls)
		}
	}
}

// TestRoutes_RejectCrossOriginPosts sends a cross-origin request to every route that makes changes.
func TestRoutes_RejectCrossOriginPosts(t *testing.T) {
	s := newSite(t)
	s.add(t, "alice")
	b := s.signedIn(t, "alice")
	for _, r := range s.Routes() {
		if slices.Contains(reading, r.Method) || r.Method == web.AnyMethod { // forward auth makes no changes
			continue
		}
		for _, from := range [][2]string{{"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Site", "same-site"}, {"Origin", "https://evil.example"}, {"Origin", "null"}} {
			s.Reset()
			req := newRequest(r.Method, r.Path)
			req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			req.Header.Set(from[0], from[1])
			w := b.send(req)
			if w.Code != http.StatusForbidden || len(s.Calls()) != 0 || len(w.Header()["Set-Cookie"]) != 0 {
				t.Errorf("%s %s from %s: got %d after %q", r.Method, r.Path, from, w.Code, s.Calls())
			}
		}
	}
}
