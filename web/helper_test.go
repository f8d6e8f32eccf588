package web

import (
	"bytes"
	"errors"
	"fmt"
	"html"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"gatehouse/auth"
	"gatehouse/auth/authtest"
	"gatehouse/web/logging"
	"gatehouse/web/sessions"
)

var (
	noon    = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)
	errDown = fmt.Errorf("ask a server: %w", auth.ErrUnavailable)
)

var limits = sessions.Lifetimes{Session: 24 * time.Hour, Idle: 2 * time.Hour, Remember: 720 * time.Hour, RememberIdle: 336 * time.Hour}

// site is a server with in-memory stores.
type site struct {
	*Server
	*authtest.Stores
	log bytes.Buffer
}

// newSite returns a site with the routes. change may modify the server before Init.
func newSite(t testing.TB, routes []Route, change ...func(*site)) *site {
	t.Helper()
	s := &site{Stores: authtest.New()}
	accounts := s.Stores.Accounts(t)
	accounts.Now = func() time.Time { return noon }
	s.Server = &Server{
		Accounts:   accounts,
		Database:   "SQLite",
		BaseOrigin: "https://login.example.org",
		Log:        slog.New(logging.RequestIDHandler{Handler: slog.NewJSONHandler(&s.log, &slog.HandlerOptions{Level: slog.LevelDebug})}),
		Clock:      func() time.Time { return noon },
	}
	for _, f := range change {
		f(s)
	}
	if s.Server.Sessions == nil {
		s.Server.Sessions = sessions.New(s.Stores.Sessions, authtest.Codec{}, limits)
	}
	if err := s.Init(routes); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *site) do(method, target string, change ...func(*http.Request)) *httptest.ResponseRecorder {
	req := httptest.NewRequest(method, target, nil)
	for _, f := range change {
		f(req)
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, req)
	return w
}

func header(name, value string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Add(name, value) }
}

func body(kind, content string) func(*http.Request) {
	return func(r *http.Request) {
		r.Header.Set("Content-Type", kind)
		r.Body = io.NopCloser(strings.NewReader(content))
		r.ContentLength = int64(len(content))
	}
}

func cookie(name, value string) func(*http.Request) {
	return header("Cookie", name+"="+value)
}

// session adds the session cookie to a request.
func (s *site) session(token string) func(*http.Request) {
	return cookie(s.Cookies.SessionName(), token)
}

// add stores a user.
func (s *site) add(id string) auth.User {
	u := auth.User{ID: id, Username: id, Epoch: 1, Active: true, TimeZone: "UTC"}
	s.Stores.Users.Put(u)
	return u
}

var signIn = Post("/sign-in", Open, func(r *Request) (Response, error) {
	u, err := r.server.Accounts.Users.UserByID(r.ctx, r.Query("user"))
	if err != nil {
		return Response{}, err
	}
	if err := r.SignIn(u, r.Query("remember") != ""); err != nil {
		return Response{}, err
	}
	return SeeOther("/"), nil
})

// showUser answers with the user's id, or "anonymous".
func showUser(r *Request) (Response, error) {
	if r.User() == nil {
		return Text(http.StatusOK, "anonymous"), nil
	}
	return Text(http.StatusOK, r.User().ID), nil
}

var userRoutes = []Route{Get("/", Open, showUser), Get("/private", SignedIn, showUser), Get("/machine", Unauthenticated, showUser), signIn}

// signedIn stores a user, signs them in and returns the value of the session cookie.
func (s *site) signedIn(t testing.TB, id string) string {
	t.Helper()
	s.add(id)
	w := s.do("POST", "/sign-in?user="+id)
	c := setCookies(w)[s.Cookies.SessionName()]
	if w.Code != http.StatusSeeOther || c == nil || c.Value == "" {
		t.Fatalf("sign-in: %d, %v", w.Code, w.Header())
	}
	s.Reset()
	return c.Value
}

func setCookies(w *httptest.ResponseRecorder) map[string]*http.Cookie {
	all := map[string]*http.Cookie{}
	for _, c := range w.Result().Cookies() {
		all[c.Name] = c
	}
	return all
}

// wantErrorPage checks that the response is one complete error page of the status.
func wantErrorPage(t testing.TB, w *httptest.ResponseRecorder, status int) {
	t.Helper()
	page := w.Body.String()
	if w.Code != status || !strings.Contains(page, html.EscapeString(errorPage(status).Heading)) || strings.Count(page, "</html>") != 1 {
		t.Errorf("got %d %.200q, want the page %q", w.Code, page, errorPage(status).Heading)
	}
	h := w.Header()
	if h.Get("Content-Type") != "text/html; charset=utf-8" || h.Get("Content-Length") != fmt.Sprint(len(page)) || h.Get("Cache-Control") != "no-store" {
		t.Errorf("got the headers %v", h)
	}
	if h.Get("Content-Security-Policy") == "" || h.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("the error page has no security headers: %v", h)
	}
	if len(h["Set-Cookie"]) != 0 {
		t.Errorf("the error page sets cookies: %q", h["Set-Cookie"])
	}
	if id := h.Get("X-Request-Id"); id == "" || !strings.Contains(page, id) {
		t.Errorf("the page does not show the request id %q", id)
	}
}

var errSecret = errors.New("dial tcp 10.9.8.7:5432: hunter2")
