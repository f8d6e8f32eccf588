package handlers

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"gatehouse/django"
	"gatehouse/django/djangotest"
	"gatehouse/web"
)

const djangoCookie = "abcdefghijklmnopqrstuvwxyz012345"

// bridged returns a site with the user alice and a browser that is signed in to Django only.
func bridged(t *testing.T) (*site, *browser, *djangotest.Django) {
	t.Helper()
	s := newSite(t)
	alice := s.add(t, "alice")
	d := djangotest.New(s.Stores)
	d.Import("42", alice.ID)
	d.SignIn(djangoCookie, "42", time.Now())
	s.server.Bridge = &web.Bridge{Sessions: d.Bridge(), Cookie: "sessionid"}
	b := s.browser()
	b.cookies["sessionid"] = djangoCookie
	return s, b, d
}

func TestDjangoSession_OpensPages(t *testing.T) {
	s, b, _ := bridged(t)
	other := s.signedIn(t, "alice")
	wantPage(t, b.get("/dashboard"), http.StatusOK, `id="user-name"`, "alice")
	wantPage(t, b.get("/account"), http.StatusOK, "Another site signed you in here", "/account/sessions/end-others")
	if w := other.get("/account"); strings.Contains(w.Body.String(), "another site") || strings.Count(w.Body.String(), "<li>") != 1 {
		t.Errorf("the page of a Gatehouse session mentions the other site or lists more than one session: %s", w.Body)
	}
	wantPage(t, b.get("/account/sessions/end-others"), http.StatusOK, "End all sessions?")
	wantPage(t, b.get("/sign-out"), http.StatusOK, "stay signed in at the site that you came from")
	wantRedirect(t, b.post("/account/profile", form("name", "Alice B.", "time_zone", "UTC")), "/account?notice=profile")
	wantPage(t, b.get("/dashboard"), http.StatusOK, "Alice B.")
	wantRedirect(t, b.get("/"), "/dashboard")
	wantRedirect(t, b.get("/login?next=/account"), "/account")
	if b.cookies["gatehouse"] != "" || s.Stores.Sessions.Len() != 1 {
		t.Errorf("a Gatehouse session was created: %v", b.cookies)
	}
}

// TestDjangoSession_SignsInAgainForOtherSites: a site that reads Gatehouse sessions does not accept Django's, so a
// redirect without sign-in would loop.
func TestDjangoSession_SignsInAgainForOtherSites(t *testing.T) {
	_, b, _ := bridged(t)
	next := "https://example.com:8443/books?page=2"
	wantPage(t, b.get("/login?next="+url.QueryEscape(next)), http.StatusOK, `name="password"`, next)
	wantRedirect(t, b.post("/login", form("username", "alice", "password", secret, "next", next)), next)
	wantRedirect(t, b.get("/login?next="+url.QueryEscape(next)), next)
}

func TestDjangoSession_SignsOutHereOnly(t *testing.T) {
	_, b, d := bridged(t)
	wantRedirect(t, b.post("/logout", nil), "/login?notice=signed-out-here")
	wantPage(t, b.get("/login?notice=signed-out-here"), http.StatusOK, "You&#39;re signed out here", "still signed in at the site", `name="password"`)
	d.SignIn(djangoCookie, "42", time.Now())
	wantRedirect(t, b.get("/dashboard"), "/login?next=%2Fdashboard")
	wantRedirect(t, b.post("/logout", nil), "/login?notice=signed-out-here")
	d.SignOut(djangoCookie)
	wantRedirect(t, b.post("/logout", nil), "/login?notice=signed-out")

	_, b, _ = bridged(t)
	wantRedirect(t, b.post("/logout", form("next", "https://example.com:8443/")), "https://example.com:8443/")
}

func TestDjangoSession_NewPasswordStartsOwnSession(t *testing.T) {
	s, b, _ := bridged(t)
	const newSecret = "an entirely new secret"
	wantPage(t, b.post("/account/password", form("current_password", "wrong", "new_password", newSecret)), http.StatusUnprocessableEntity)
	if b.cookies["gatehouse"] != "" {
		t.Error("a wrong password created a session")
	}
	thief := s.browser()
	thief.cookies["sessionid"] = djangoCookie
	wantPage(t, thief.get("/dashboard"), http.StatusOK)
	wantRedirect(t, b.post("/account/password", form("current_password", secret, "new_password", newSecret)), "/account?notice=password")
	if b.cookies["gatehouse"] == "" {
		t.Error("no Gatehouse session was created")
	}
	wantPage(t, b.get("/account?notice=password"), http.StatusOK, "Password changed")
	wantRedirect(t, thief.get("/dashboard"), "/login?next=%2Fdashboard")
	wantRedirect(t, b.post("/logout", nil), "/login?notice=signed-out-here")
	wantRedirect(t, b.get("/dashboard"), "/login?next=%2Fdashboard")
}

func TestDjangoSession_EndsAllSessions(t *testing.T) {
	s, b, _ := bridged(t)
	other := s.signedIn(t, "alice")
	wantPage(t, b.get("/dashboard"), http.StatusOK)
	wantRedirect(t, b.post("/account/sessions/end-others", nil), "/login?notice=all-ended")
	wantPage(t, b.get("/login?notice=all-ended"), http.StatusOK, "including this one", `name="password"`)
	wantRedirect(t, b.get("/dashboard"), "/login?next=%2Fdashboard")
	wantRedirect(t, other.get("/dashboard"), "/login?next=%2Fdashboard")
}

func TestDjangoSession_EndsByID(t *testing.T) {
	_, b, _ := bridged(t)
	wantRedirect(t, b.post("/account/sessions/end", form("session", django.SessionID(djangoCookie))), "/login?notice=signed-out")
	wantRedirect(t, b.get("/dashboard"), "/login?next=%2Fdashboard")
}

func TestDjangoSession_WorksForTheAPI(t *testing.T) {
	_, b, d := bridged(t)
	if w := b.get("/api/me"); w.Code != 200 || !strings.Contains(w.Body.String(), `"username":"alice"`) || !strings.Contains(w.Body.String(), `"method":"session"`) {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
	d.SignOut(djangoCookie)
	if w := b.get("/api/me"); w.Code != http.StatusUnauthorized {
		t.Errorf("after signing out: got %d", w.Code)
	}
}
