package web

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"gatehouse/auth"
	"gatehouse/auth/authtest"
	"gatehouse/templates"
)

// newMaintainedSite returns a site with a maintenance mode.
func newMaintainedSite(t testing.TB) *site {
	return newSite(t, append([]Route{Verify("/auth/verify")}, apiRoutes...), func(s *site) {
		s.Server.Maintenance = NewMaintenance(s.Stores.Maintenance, s.Log)
	})
}

// close starts maintenance with a message.
func (s *site) close(t testing.TB, message string) {
	t.Helper()
	if err := s.Stores.Maintenance.SetMaintenance(t.Context(), auth.Maintenance{Version: 1, Message: message, Since: noon}); err != nil {
		t.Fatal(err)
	}
	s.Server.Maintenance.poll(t.Context())
}

// wantClosed checks that the response is the maintenance page.
func wantClosed(t testing.TB, w *httptest.ResponseRecorder) {
	t.Helper()
	h := w.Header()
	if w.Code != http.StatusServiceUnavailable || !strings.Contains(w.Body.String(), "Down for maintenance") || strings.Count(w.Body.String(), "</html>") != 1 {
		t.Errorf("got %d %.300s, want the maintenance page", w.Code, w.Body)
	}
	if h.Get("Retry-After") != "30" || h.Get("Content-Type") != "text/html; charset=utf-8" || h.Get("Cache-Control") != "no-store" || len(h["Set-Cookie"]) != 0 {
		t.Errorf("got the headers %v", h)
	}
}

func TestMaintenance_RefusesAllButAdministrators(t *testing.T) {
	s := newMaintainedSite(t)
	cookie := func(id string) func(*http.Request) {
		return s.session(setCookies(s.do("POST", "/sign-in?user="+id))["gatehouse"].Value)
	}
	root, viewer := s.account(t, "root", auth.ManageUsers), s.account(t, "viewer", auth.ViewUsers)
	admin, viewerSession := cookie(root.ID), cookie(viewer.ID)
	all, limited := s.token(t, root, nil), s.token(t, root, []string{auth.ViewUsers})
	for _, c := range []func(*http.Request){admin, viewerSession} {
		if w := s.do("GET", "/private", c); w.Code != http.StatusOK {
			t.Fatalf("before: got %d", w.Code)
		}
	}
	s.close(t, "Back at <nine>.")

	for what, w := range map[string]*httptest.ResponseRecorder{
		"anonymous": s.do("GET", "/"), "anonymous HEAD": s.do("HEAD", "/"), "user": s.do("GET", "/private", viewerSession), "user at /": s.do("GET", "/", viewerSession),
		"viewer": s.do("GET", "/admin", viewerSession), "change": s.do("POST", "/admin", viewerSession),
	} {
		t.Run(what, func(t *testing.T) {
			wantClosed(t, w)
			if body := w.Body.String(); !strings.Contains(body, "Back at &lt;nine&gt;.") {
				t.Errorf("the page does not show the message: %s", body)
			}
		})
	}
	css, err := s.statics.url("app.css")
	if err != nil {
		t.Fatal(err)
	}
	// Sign-in and sign-out still work, for administrators, and so do unauthenticated routes and static files.
	for _, c := range [][2]string{{"GET", "/login"}, {"POST", "/login"}, {"POST", "/logout"}, {"GET", "/api/machine"}, {"GET", css}} {
		for _, change := range []func(*http.Request){viewerSession, func(*http.Request) {}} {
			if w := s.do(c[0], c[1], change); w.Code != http.StatusOK {
				t.Errorf("%s %s: got %d", c[0], c[1], w.Code)
			}
		}
	}
	if w := s.do("GET", "/private"); w.Code != http.StatusSeeOther || !strings.HasPrefix(w.Header().Get("Location"), "/login") {
		t.Errorf("GET /private by an anonymous visitor: got %d, want a redirect to sign-in", w.Code)
	}
	for what, change := range map[string]func(*http.Request){
		"Basic": basic("viewer", password), "limited token of an administrator": authorization("Bearer " + limited), "session": viewerSession,
	} {
		for _, path := range []string{"/api/who", "/api/maybe", "/api/users"} {
			w := s.do("GET", path, change)
			p := wantProblem(t, w, http.StatusServiceUnavailable, "maintenance")
			if !strings.Contains(p.Detail, "Back at <nine>.") || w.Header().Get("Retry-After") != "30" {
				t.Errorf("%s: got %+v, %v", what, p, w.Header())
			}
		}
	}
	wantProblem(t, s.do("GET", "/api/maybe"), http.StatusServiceUnavailable, "maintenance")
	wantProblem(t, s.do("GET", "/api/who"), http.StatusUnauthorized, "credentials_needed")

	// Sites behind forward auth are closed too.
	for what, change := range map[string]func(*http.Request){
		"Basic": basic("viewer", password), "token": authorization("Bearer " + s.token(t, viewer, nil)), "session": viewerSession,
	} {
		w := s.do("GET", "/auth/verify", change)
		p := wantProblem(t, w, http.StatusServiceUnavailable, "maintenance")
		if !strings.Contains(p.Detail, "Back at <nine>.") || w.Header().Get("Retry-After") != "30" || w.Header().Get("Remote-User") != "" {
			t.Errorf("forward auth by %s: got %+v, %v", what, p, w.Header())
		}
	}
	page := s.do("GET", "/auth/verify", viewerSession, header("Accept", "text/html"))
	if page.Code != http.StatusServiceUnavailable || !strings.Contains(page.Body.String(), "Down for maintenance") || !strings.Contains(page.Body.String(), "Back at &lt;nine&gt;.") ||
		strings.Contains(page.Body.String(), "link rel") || page.Header().Get("Retry-After") != "30" {
		t.Errorf("forward auth for a browser: got %d %v %s", page.Code, page.Header(), page.Body)
	}
	if w := s.do("GET", "/auth/verify", header("Accept", "text/html")); w.Code != http.StatusSeeOther || !strings.Contains(w.Header().Get("Location"), "/login") {
		t.Errorf("forward auth for an anonymous browser: got %d, want a redirect to sign-in", w.Code)
	}
	for _, change := range []func(*http.Request){admin, basic("root", password), authorization("Bearer " + all)} {
		if w := s.do("GET", "/auth/verify", change); w.Code != http.StatusOK || w.Header().Get("Remote-User") != "root" {
			t.Errorf("forward auth for an administrator: got %d %s", w.Code, w.Body)
		}
	}

	// Administrators still have access, by every method of authentication.
	for _, path := range []string{"/", "/private", "/admin"} {
		if w := s.do("GET", path, admin); w.Code != http.StatusOK {
			t.Errorf("an administrator at %s: got %d", path, w.Code)
		}
	}
	for _, change := range []func(*http.Request){admin, basic("root", password), authorization("Bearer " + all)} {
		if w := s.do("GET", "/api/users", change); w.Code != http.StatusOK {
			t.Errorf("an administrator's program: got %d %s", w.Code, w.Body)
		}
	}
	// Maintenance ends no session.
	if err := s.Stores.Maintenance.EndMaintenance(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.Server.Maintenance.poll(t.Context())
	if w := s.do("GET", "/private", viewerSession); w.Code != http.StatusOK {
		t.Errorf("afterwards: got %d", w.Code)
	}
	if log := s.log.String(); strings.Count(log, "maintenance changed") != 2 {
		t.Errorf("got the log %s", log)
	}
}

// TestMaintenance_KeepsLastKnownMode: while Redis does not respond, the last known mode applies.
func TestMaintenance_KeepsLastKnownMode(t *testing.T) {
	s := newMaintainedSite(t)
	s.FailOn("maintenance.", errDown)
	s.Server.Maintenance.poll(t.Context())
	if w := s.do("GET", "/"); w.Code != http.StatusOK {
		t.Errorf("open before: got %d", w.Code)
	}
	s.FailOn("maintenance.", nil)
	s.close(t, "")
	s.FailOn("maintenance.", errDown)
	s.Server.Maintenance.poll(t.Context())
	wantClosed(t, s.do("GET", "/"))
	// A server without a maintenance store is open.
	if w := newSite(t, apiRoutes).do("GET", "/"); w.Code != http.StatusOK {
		t.Errorf("got %d", w.Code)
	}
}

func TestMaintenance_WatchPolls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stores := authtest.New()
		m := NewMaintenance(stores.Maintenance, slog.New(slog.DiscardHandler))
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); m.Watch(ctx) }()
		polls := func(after time.Duration) int {
			<-time.After(after) // on the bubble's clock
			synctest.Wait()
			return len(stores.Calls("maintenance.Maintenance"))
		}
		if got := polls(time.Millisecond); got != 1 {
			t.Errorf("polled %d times at startup, want 1", got)
		}
		if err := stores.Maintenance.SetMaintenance(ctx, auth.Maintenance{Version: 1}); err != nil {
			t.Fatal(err)
		}
		if got := polls(500 * time.Millisecond); got != 2 || m.now.Load() == nil {
			t.Errorf("half a second later: polled %d times, closed is %v", got, m.now.Load() != nil)
		}
		stores.FailOn("maintenance.", errDown)
		if got := polls(5 * time.Second); got != 12 || m.now.Load() == nil {
			t.Errorf("five seconds later: polled %d times, closed is %v", got, m.now.Load() != nil)
		}
		cancel()
		<-ended
	})
}

// Administrators see that the site is closed, on every page, and open it again.
func TestMaintenance_AdministratorsSeeAndEndIt(t *testing.T) {
	page := func(r *Request) (Response, error) {
		return Show(http.StatusOK, templates.RegistrationClosed(r.Page("Page"), "")), nil
	}
	s := newSite(t, []Route{
		Get("/", Open, page), signIn,
		Post("/end", SignedIn.WithPermission(auth.ManageUsers), func(r *Request) (Response, error) {
			return Text(http.StatusOK, "open"), r.EndMaintenance()
		}),
	}, func(s *site) {
		s.Server.Maintenance = NewMaintenance(s.Stores.Maintenance, s.Log)
	})
	cookie := func(id string) func(*http.Request) {
		return s.session(setCookies(s.do("POST", "/sign-in?user="+id))["gatehouse"].Value)
	}
	admin, viewer := cookie(s.account(t, "root", auth.ManageUsers).ID), cookie(s.account(t, "viewer", auth.ViewUsers).ID)
	const banner = "Closed for maintenance"
	if w := s.do("GET", "/", admin); w.Code != http.StatusOK || strings.Contains(w.Body.String(), banner) {
		t.Errorf("while open: %d %s", w.Code, w.Body)
	}
	closed := auth.Maintenance{Version: 1, Since: noon, By: "<ops>"}
	if err := s.Stores.Maintenance.SetMaintenance(t.Context(), closed); err != nil {
		t.Fatal(err)
	}
	s.Server.Maintenance.poll(t.Context())
	text := s.do("GET", "/", admin).Body.String()
	for _, part := range []string{banner, noon.UTC().Format("2 January 2006, 15:04"), "&lt;ops&gt;", `action="/admin/maintenance/end"`, `name="next" value="/"`} {
		if !strings.Contains(text, part) {
			t.Errorf("the page is without %q: %s", part, text)
		}
	}
	if w := s.do("GET", "/", viewer); strings.Contains(w.Body.String(), banner) {
		t.Error("a viewer sees the banner")
	}
	wantClosed(t, s.do("POST", "/end", viewer))
	s.FailOn("maintenance.End", errDown)
	if w := s.do("POST", "/end", admin); w.Code != http.StatusServiceUnavailable || !strings.Contains(w.Body.String(), "may have been saved") {
		t.Errorf("while Redis is down: %d %s", w.Code, w.Body)
	}
	s.FailOn("maintenance.End", nil)
	for range 2 { // a double click
		if w := s.do("POST", "/end", admin); w.Code != http.StatusOK {
			t.Errorf("got %d %s", w.Code, w.Body)
		}
	}
	if w := s.do("GET", "/", viewer); w.Code != http.StatusOK {
		t.Errorf("still closed: %d", w.Code)
	}
	if found, err := s.Stores.Maintenance.Maintenance(t.Context()); found != nil || err != nil {
		t.Errorf("got %v, %v", found, err)
	}
	if log := s.log.String(); !strings.Contains(log, `"on":false`) && !strings.Contains(log, "on=false") || !strings.Contains(log, "username=root") && !strings.Contains(log, `"username":"root"`) {
		t.Errorf("the log does not say who opened the site: %s", log)
	}
}
