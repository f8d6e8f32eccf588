package web

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"gatehouse/auth"
	"gatehouse/django/djangotest"
	"gatehouse/web/sessions"
)

const djangoCookie = "abcdefghijklmnopqrstuvwxyz012345"

// bridgedSite is a site whose imported user u1 is signed in to Django with djangoCookie.
type bridgedSite struct {
	*site
	django *djangotest.Django
	auth.User
}

func newBridgedSite(t testing.TB) *bridgedSite {
	t.Helper()
	b := &bridgedSite{}
	b.site = newSite(t, append([]Route{signOut, Get("/program", API, showUser)}, userRoutes...), func(s *site) {
		b.django = djangotest.New(s.Stores)
		s.Bridge = &Bridge{Sessions: b.django.Bridge(), Cookie: "sessionid"}
	})
	b.User = b.add("u1")
	b.django.Import("42", "u1")
	b.django.SignIn(djangoCookie, "42", noon)
	return b
}

var signOut = Post("/sign-out", Open, func(r *Request) (Response, error) {
	if err := r.SignOut(); err != nil {
		return Response{}, err
	}
	if r.SignedInElsewhere() {
		return Text(http.StatusOK, "elsewhere"), nil
	}
	return Text(http.StatusOK, "out"), nil
})

var djangoSession = cookie("sessionid", djangoCookie)

// change changes the user and invalidates the cached copy.
func (b *bridgedSite) change(change func(*auth.User)) {
	change(&b.User)
	b.Stores.Users.Put(b.User)
	b.Server.Accounts.InvalidateUser(b.ID)
}

func (b *bridgedSite) wantSignedIn(t *testing.T, want bool, change ...func(*http.Request)) {
	t.Helper()
	w := b.do("GET", "/private", append(change, djangoSession)...)
	if in := w.Code == 200 && w.Body.String() == "u1"; in != want || !in && w.Code != http.StatusSeeOther {
		t.Errorf("got %d %s; want signed in: %t", w.Code, w.Body, want)
	}
	if len(w.Header()["Set-Cookie"]) != 0 {
		t.Errorf("cookies are set: %q", w.Header()["Set-Cookie"])
	}
}

func TestBridge_SignsInDjangoUsers(t *testing.T) {
	b := newBridgedSite(t)
	b.wantSignedIn(t, true)
	b.Reset()
	b.wantSignedIn(t, true)
	if calls := b.Calls("django.", "notes.", "sessions.", "users.", "origins."); len(calls) != 2 {
		t.Errorf("a page makes the calls %q, want two", calls)
	}
	for path, want := range map[string]string{"/": "u1", "/program": "u1", "/machine": "anonymous"} {
		if w := b.do("GET", path, djangoSession); w.Code != 200 || w.Body.String() != want {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
	if w := b.do("GET", "/program", djangoSession, header("Authorization", "Bearer x")); w.Code != http.StatusUnauthorized {
		t.Errorf("a wrong token beside the cookie: got %d", w.Code)
	}
	b.django.SignOut(djangoCookie)
	b.wantSignedIn(t, false)
	if w := b.do("GET", "/program", djangoSession); w.Code != http.StatusUnauthorized {
		t.Errorf("a program after signing out of Django: got %d", w.Code)
	}
	if strings.Contains(b.log.String(), djangoCookie) {
		t.Error("the log holds Django's session key")
	}
}

func TestBridge_ReadsFirstDjangoCookie(t *testing.T) {
	b := newBridgedSite(t)
	for header, want := range map[string]bool{
		"sessionid=" + djangoCookie:                                            true,
		"sessionid=planted; sessionid=" + djangoCookie:                         true,
		"a=b; sessionid=" + djangoCookie + "; c=d":                             true,
		"sessionid=" + strings.Repeat("x", 32) + "; sessionid=" + djangoCookie: false,
		"Sessionid=" + djangoCookie:                                            false,
		"sessionid=" + strings.ToUpper(djangoCookie):                           false,
		"sessionid=" + djangoCookie + "x":                                      false,
		"sessionid=../" + djangoCookie[3:]:                                     false,
		"gatehouse=" + djangoCookie:                                            false,
	} {
		if w := b.do("GET", "/private", func(r *http.Request) { r.Header.Set("Cookie", header) }); (w.Code == 200) != want {
			t.Errorf("%s: %d", header, w.Code)
		}
	}
	b.Server.Bridge = nil
	b.wantSignedIn(t, false)
}

func TestBridge_PrefersOwnSession(t *testing.T) {
	b := newBridgedSite(t)
	token := b.signedIn(t, "u2")
	b.FailOn("django.", errDown)
	b.Reset()
	w := b.do("GET", "/private", b.session(token), djangoSession)
	if w.Code != 200 || w.Body.String() != "u2" || len(b.Calls("django.", "notes.")) != 0 {
		t.Errorf("got %d %s, with the calls to Django %q", w.Code, w.Body, b.Calls("django.", "notes."))
	}
	b.FailOn("django.", nil)
	b.wantSignedIn(t, true, b.session(fakeToken("A")))
}

func TestBridge_EndsDjangoSession(t *testing.T) {
	for why, end := range map[string]func(b *bridgedSite){
		"disabled":               func(b *bridgedSite) { b.change(func(u *auth.User) { u.Active = false; u.Epoch++ }) },
		"disabled and enabled":   func(b *bridgedSite) { b.change(func(u *auth.User) { u.Epoch++ }) },
		"signed out here":        func(b *bridgedSite) { b.do("POST", "/sign-out", djangoSession) },
		"expired":                func(b *bridgedSite) { b.django.SignIn(djangoCookie, "42", noon.Add(-15*24*time.Hour)) },
		"another user at Django": func(b *bridgedSite) { b.django.SignIn(djangoCookie, "43", noon) },
	} {
		b := newBridgedSite(t)
		b.wantSignedIn(t, true)
		end(b)
		b.wantSignedIn(t, false)
		if w := b.do("GET", "/", djangoSession); w.Code != 200 || w.Body.String() != "anonymous" {
			t.Errorf("%s: the open page: got %d %s", why, w.Code, w.Body)
		}
	}
}

func TestBridge_SignOutEndsBothSessions(t *testing.T) {
	b := newBridgedSite(t)
	token := b.signedIn(t, "u2")
	w := b.do("POST", "/sign-out", b.session(token), djangoSession)
	if c := setCookies(w); w.Code != 200 || w.Body.String() != "elsewhere" || c["gatehouse"] == nil || c["gatehouse"].MaxAge >= 0 || c["sessionid"] != nil {
		t.Errorf("got %d %s, %v", w.Code, w.Body, w.Header())
	}
	b.wantSignedIn(t, false, b.session(token))

	b.django.SignOut(djangoCookie)
	if w := b.do("POST", "/sign-out", djangoSession); w.Body.String() != "out" {
		t.Errorf("already signed out of Django: got %d %s", w.Code, w.Body)
	}
	for range 3 {
		b.do("POST", "/sign-out", cookie("sessionid", strings.Repeat("x", 32)))
	}
	if b.django.Notes() != 1 {
		t.Errorf("got %d notes, want 1: unknown cookies must not create any", b.django.Notes())
	}
}

func TestBridge_FailuresAreUnavailable(t *testing.T) {
	for _, call := range []string{"django.Value", "notes.Find", "origins.Find", "notes.Add"} {
		b := newBridgedSite(t)
		b.FailOn(call, errDown)
		w := b.do("GET", "/private", djangoSession)
		wantErrorPage(t, w, http.StatusServiceUnavailable)
		if w.Header().Get("Retry-After") == "" {
			t.Errorf("%s: no Retry-After", call)
		}
		if w := b.do("GET", "/", djangoSession); w.Code != 200 || w.Body.String() != "anonymous" {
			t.Errorf("%s: the open page: got %d %s", call, w.Code, w.Body)
		}
		if w := b.do("GET", "/private"); w.Code != http.StatusSeeOther {
			t.Errorf("%s: without the cookie: got %d", call, w.Code)
		}
	}
	b := newBridgedSite(t)
	b.FailOn("django.Value", errDown)
	wantErrorPage(t, b.do("POST", "/sign-out", djangoSession), http.StatusServiceUnavailable)
	token := b.signedIn(t, "u2")
	if w := b.do("POST", "/sign-out", b.session(token), djangoSession); w.Code != 200 {
		t.Errorf("sign-out with a Gatehouse session: got %d", w.Code)
	}
	b.FailOn("django.Value", nil)
	b.wantSignedIn(t, false)
}

func TestBridge_DoesNotRenewDjangoSessions(t *testing.T) {
	b := newBridgedSite(t)
	b.wantSignedIn(t, true)
	r := &Request{server: b.Server, session: sessions.Current{Record: &auth.Session{UserID: "u1", Epoch: 1, External: true}}}
	if err := r.RenewSession(auth.User{ID: "u1", Epoch: 2, Active: true}); err != auth.ErrSessionEnded {
		t.Errorf("got %v", err)
	}
	if calls := b.Calls("sessions."); len(calls) != 0 {
		t.Errorf("the session store was called: %q", calls)
	}
}
