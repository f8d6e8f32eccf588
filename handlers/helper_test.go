package handlers

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"gatehouse/auth"
	"gatehouse/auth/authtest"
	"gatehouse/web"
	"gatehouse/web/sessions"
)

const secret = "correct horse battery"

// site is the whole site with in-memory stores.
type site struct {
	*authtest.Stores
	*Handlers
	server *web.Server
	log    strings.Builder
	ready  map[string]error
}

func newSite(t testing.TB) *site {
	t.Helper()
	s := &site{Stores: authtest.New()}
	accounts := s.Stores.Accounts(t)
	s.Handlers = &Handlers{
		Accounts: accounts,
		Ready:    func(context.Context) map[string]error { return s.ready },
	}
	limits := sessions.Lifetimes{Session: 24 * time.Hour, Idle: 2 * time.Hour, Remember: 720 * time.Hour, RememberIdle: 336 * time.Hour}
	s.server = &web.Server{
		Accounts:   accounts,
		Sessions:   sessions.New(s.Stores.Sessions, authtest.Codec{}, limits),
		Database:   "SQLite",
		BaseOrigin: "https://example.com",
		Log:        slog.New(slog.NewTextHandler(&s.log, nil)),
	}
	s.server.SignInAgain = s.Handlers.SignInAgain
	if err := s.server.Init(s.Routes()); err != nil {
		t.Fatal(err)
	}
	return s
}

// add stores a user whose password is secret.
func (s *site) add(t testing.TB, name string) auth.User {
	t.Helper()
	u, err := s.Handlers.Accounts.AddUser(t.Context(), auth.Registration{Username: name, Password: secret})
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// addAdmin stores an administrator.
func (s *site) addAdmin(t testing.TB, name string) auth.User {
	t.Helper()
	u := s.add(t, name)
	u, err := s.Handlers.Accounts.SetMember(t.Context(), u.ID, auth.AdminGroup, true)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// browser is a client that keeps cookies.
type browser struct {
	site    *site
	cookies map[string]string
}

func (s *site) browser() *browser { return &browser{s, map[string]string{}} }

// signedIn returns a browser in which the user has signed in through the form.
func (s *site) signedIn(t testing.TB, name string) *browser {
	t.Helper()
	b := s.browser()
	w := b.post("/login", url.Values{"username": {name}, "password": {secret}})
	if w.Code != http.StatusSeeOther || b.cookies["gatehouse"] == "" {
		t.Fatalf("sign-in as %s: %d %v", name, w.Code, w.Header())
	}
	return b
}

func newRequest(method, target string) *http.Request { return httptest.NewRequest(method, target, nil) }

func (b *browser) get(target string) *httptest.ResponseRecorder {
	return b.send(newRequest("GET", target))
}

func (b *browser) post(target string, form url.Values) *httptest.ResponseRecorder {
	return b.postBody(target, form.Encode())
}

func (b *browser) postBody(target, body string) *httptest.ResponseRecorder {
	req := httptest.NewRequest("POST", target, strings.NewReader(body))
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return b.send(req)
}

func (b *browser) send(req *http.Request) *httptest.ResponseRecorder {
	for name, value := range b.cookies {
		req.AddCookie(&http.Cookie{Name: name, Value: value})
	}
	w := httptest.NewRecorder()
	b.site.server.ServeHTTP(w, req)
	for _, c := range w.Result().Cookies() {
		b.cookies[c.Name] = c.Value
		if c.MaxAge < 0 {
			delete(b.cookies, c.Name)
		}
	}
	return w
}

// wantPage checks the status and that the page contains the texts.
func wantPage(t testing.TB, w *httptest.ResponseRecorder, status int, texts ...string) {
	t.Helper()
	if w.Code != status {
		t.Errorf("got %d, want %d: %.400s", w.Code, status, w.Body)
	}
	for _, text := range texts {
		if !strings.Contains(w.Body.String(), text) {
			t.Errorf("the page does not contain %q: %s", text, w.Body)
		}
	}
}

func wantRedirect(t testing.TB, w *httptest.ResponseRecorder, location string) {
	t.Helper()
	if w.Code != http.StatusSeeOther || w.Header().Get("Location") != location {
		t.Errorf("got %d to %q, want 303 to %q: %.400s", w.Code, w.Header().Get("Location"), location, w.Body)
	}
}
