package handlers

import (
	"net/http"
	"strings"
	"testing"

	"gatehouse/docs"
)

// TestWellKnown_BrowsersFindTheirFiles: at the addresses that they look for, without a session.
func TestWellKnown_BrowsersFindTheirFiles(t *testing.T) {
	s := newSite(t)
	s.Handlers.OpenAPI = docs.OpenAPI
	b := s.browser()
	wantRedirect(t, b.get("/.well-known/change-password"), "/account#password")
	for path, c := range map[string][2]string{
		"/favicon.ico":          {"image/x-icon", "\x00\x00\x01\x00"},
		"/apple-touch-icon.png": {"image/png", "\x89PNG"},
		"/icon-192.png":         {"image/png", "\x89PNG"},
		"/icon-512.png":         {"image/png", "\x89PNG"},
		"/site.webmanifest":     {"application/manifest+json", "{"},
		"/robots.txt":           {"text/plain; charset=utf-8", "User-agent: *\n"},
	} {
		w := b.get(path)
		if w.Code != http.StatusOK || w.Header().Get("Content-Type") != c[0] || !strings.HasPrefix(w.Body.String(), c[1]) || w.Header().Get("Cache-Control") != "public, max-age=86400" {
			t.Errorf("%s: got %d %v %.40q", path, w.Code, w.Header(), w.Body)
		}
	}
	if calls := s.Calls(); len(calls) != 0 {
		t.Errorf("that asks the stores for %q", calls)
	}
	for _, path := range []string{"/", "/login", "/register", "/api"} {
		wantPage(t, b.get(path), http.StatusOK, `<meta name="description" content="`)
	}
}

func TestLogin_SaysWhomToAsk(t *testing.T) {
	s := newSite(t)
	wantPage(t, s.browser().get("/login"), http.StatusOK, "<summary>Forgot password?</summary>", "Ask an administrator")
	for contact, want := range map[string]string{
		"help@example.org":        `<a href="mailto:help@example.org"><bdi>help@example.org</bdi></a>`,
		"https://help.example/":   `<a href="https://help.example/">`,
		"Call <Ann>, extension 7": `<bdi>Call &lt;Ann&gt;, extension 7</bdi>`,
	} {
		s.Handlers.HelpContact = contact
		wantPage(t, s.browser().get("/login"), http.StatusOK, want)
	}
	s.Handlers.HelpContact, s.Handlers.Accounts.RegistrationOpen = "help@example.org", false
	wantPage(t, s.browser().get("/register"), http.StatusForbidden, "mailto:help@example.org")
}
