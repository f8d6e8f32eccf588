package handlers

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"gatehouse/web"
)

// reading are the methods that change nothing (RFC 9110, 9.2.1).
var reading = []string{http.MethodGet, http.MethodHead}

// open are the routes that need nobody. One more here is a decision.
var open = []string{
	"GET /", "GET /register", "POST /register", "GET /login", "POST /login", "POST /logout", "POST /password/strength",
	"GET /healthz", "GET /readyz",
}

// routeFaults returns what is wrong with a route table and what is served of it.
func routeFaults(table []web.Route, served []string) []string {
	var all []string
	inTable := map[string]bool{"GET /static/*": true, "HEAD /static/*": true}
	for _, r := range table {
		name := r.Method + " " + r.Path
		if inTable[name] {
			all = append(all, name+" is there twice")
		}
		inTable[name] = true
		if r.Method == http.MethodGet {
			inTable["HEAD "+r.Path] = true
		}
		switch {
		case r.Access != web.Open && r.Access != web.SignedIn && r.Access != web.Machine:
			all = append(all, name+" has no access rule")
		case r.Access != web.SignedIn && !slices.Contains(open, name):
			all = append(all, name+" is open and not on the list")
		}
		if r.Access == web.Machine && !slices.Contains(reading, r.Method) {
			all = append(all, name+" changes something for nobody")
		}
		if r.Handle == nil {
			all = append(all, name+" has no handler")
		}
		if !slices.Contains(served, name) {
			all = append(all, name+" is not served")
		}
	}
	for _, name := range served {
		if !inTable[name] {
			all = append(all, name+" is served and not in the table")
		}
	}
	return all
}

func TestRoutes(t *testing.T) {
	s := newSite(t)
	for _, fault := range routeFaults(s.Routes(), s.server.Routes()) {
		t.Error(fault)
	}
	if len(s.Routes()) < 16 {
		t.Errorf("the table has %d routes", len(s.Routes()))
	}
}

// TestRouteFaultsAreFound shows that the test above can fail.
func TestRouteFaultsAreFound(t *testing.T) {
	h := func(*web.Request) (web.Response, error) { return web.Response{}, nil }
	for name, c := range map[string]struct {
		table  []web.Route
		served []string
		want   string
	}{
		"no rule":        {[]web.Route{web.Get("/x", 0, h)}, []string{"GET /x"}, "GET /x has no access rule"},
		"strange rule":   {[]web.Route{web.Get("/x", 9, h)}, []string{"GET /x"}, "GET /x has no access rule"},
		"open":           {[]web.Route{web.Get("/x", web.Open, h)}, []string{"GET /x"}, "GET /x is open and not on the list"},
		"machine writes": {[]web.Route{web.Post("/healthz", web.Machine, h)}, []string{"POST /healthz"}, "POST /healthz changes something for nobody"},
		"not served":     {[]web.Route{web.Get("/x", web.SignedIn, h)}, nil, "GET /x is not served"},
		"smuggled":       {nil, []string{"POST /x"}, "POST /x is served and not in the table"},
		"other method":   {[]web.Route{web.Get("/x", web.SignedIn, h)}, []string{"GET /x", "POST /x"}, "POST /x is served and not in the table"},
		"twice":          {[]web.Route{web.Get("/x", web.SignedIn, h), web.Get("/x", web.SignedIn, h)}, []string{"GET /x"}, "GET /x is there twice"},
		"no handler":     {[]web.Route{web.Get("/x", web.SignedIn, nil)}, []string{"GET /x"}, "GET /x has no handler"},
	} {
		if got := routeFaults(c.table, c.served); !slices.Contains(got, c.want) {
			t.Errorf("%s: found %q, want %q", name, got, c.want)
		}
	}
	good := []web.Route{web.Get("/x", web.SignedIn, h), web.Post("/x", web.SignedIn, h)}
	if got := routeFaults(good, []string{"GET /x", "HEAD /x", "POST /x", "GET /static/*"}); len(got) != 0 {
		t.Errorf("found %q in a good table", got)
	}
}

// writes are the calls that change something.
var writes = []string{
	"users.Create", "users.Set", "users.Replace", "users.Raise", "users.Record", "cache.Drop", "throttle.",
	"sessions.Commit", "sessions.Delete", "sessions.End",
}

// TestReadingChangesNothing asks for every path of the table by GET and HEAD, signed in and
// not: what only another method may use is refused, and nothing is written.
func TestReadingChangesNothing(t *testing.T) {
	s := newSite(t)
	s.add(t, "alice")
	for who, b := range map[string]*browser{"nobody": s.browser(), "alice": s.signedIn(t, "alice")} {
		for _, r := range s.Routes() {
			readable := slices.ContainsFunc(s.Routes(), func(o web.Route) bool { return o.Path == r.Path && o.Method == http.MethodGet })
			for _, method := range reading {
				s.Forget()
				w := b.send(newRequest(method, r.Path+"?username=x&password=y&session=z&name=w"))
				if readable == (w.Code == http.StatusMethodNotAllowed) {
					t.Errorf("%s %s as %s: got %d", method, r.Path, who, w.Code)
				}
				if !readable && !strings.Contains(w.Header().Get("Allow"), r.Method) {
					t.Errorf("%s %s: Allow is %q", method, r.Path, w.Header().Get("Allow"))
				}
				if calls := s.Calls(writes...); len(calls) != 0 {
					t.Errorf("%s %s as %s changes something: %q", method, r.Path, who, calls)
				}
				if len(w.Header()["Set-Cookie"]) != 0 {
					t.Errorf("%s %s as %s sets %q", method, r.Path, who, w.Header()["Set-Cookie"])
				}
			}
		}
	}
	if w := s.signedIn(t, "alice").get("/dashboard"); w.Code != http.StatusOK {
		t.Errorf("afterwards: %d", w.Code)
	}
}

// TestPrivateRoutesNeedSomebody asks for every route that is not open without a session.
func TestPrivateRoutesNeedSomebody(t *testing.T) {
	s := newSite(t)
	for _, r := range s.Routes() {
		if r.Access != web.SignedIn {
			continue
		}
		s.Forget()
		w := s.browser().send(newRequest(r.Method, r.Path))
		if w.Code != http.StatusSeeOther || !strings.HasPrefix(w.Header().Get("Location"), "/login") {
			t.Errorf("%s %s: got %d to %q", r.Method, r.Path, w.Code, w.Header().Get("Location"))
		}
		if calls := s.Calls(); len(calls) != 0 {
			t.Errorf("%s %s asks the stores for %q", r.Method, r.Path, calls)
		}
	}
}

// TestForeignPagesChangeNothing posts to every changing route from somewhere else.
func TestForeignPagesChangeNothing(t *testing.T) {
	s := newSite(t)
	s.add(t, "alice")
	b := s.signedIn(t, "alice")
	for _, r := range s.Routes() {
		if slices.Contains(reading, r.Method) {
			continue
		}
		for _, from := range [][2]string{{"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Site", "same-site"}, {"Origin", "https://evil.example"}, {"Origin", "null"}} {
			s.Forget()
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
