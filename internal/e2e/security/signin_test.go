// Package security tests sign-ins and attacks. The ids in test names are those of OWASP ASVS 5.0.
package security

import (
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"gatehouse/internal/e2e/kit"
	"gatehouse/internal/testkit"
)

// TestRegisterSignInSignOut covers the main use: register, see the time, sign out, sign in again.
func TestRegisterSignInSignOut(t *testing.T) {
	s := kit.NewSite(t)
	c := kit.NewClient(t, s.Serve().URL())

	c.WantStatus(c.Get("/"), http.StatusOK)
	c.WantSeeOther(c.Get("/dashboard"), "/login?next=%2Fdashboard")
	c.Register("alice")
	page := c.Get("/dashboard")
	c.WantStatus(page, http.StatusOK)
	if !regexp.MustCompile(`<time id="now" datetime="\d{4}-\d\d-\d\dT`).MatchString(page.Text) {
		t.Errorf("the dashboard shows no time:\n%s", page.Text)
	}
	c.WantSeeOther(c.Get("/"), "/dashboard")
	c.WantSeeOther(c.PostForm("/logout"), "/login?notice=signed-out")
	if c.IsSignedIn() {
		t.Error("still signed in after the sign-out")
	}
	c.SignIn("alice")
	if !c.IsSignedIn() {
		t.Error("not signed in after the sign-in")
	}
}

// TestDashboard_CostsOneRoundTrip: once the user is cached, a signed-in page costs no SQL and one Redis round trip, for
// the session, and sets no cookie.
func TestDashboard_CostsOneRoundTrip(t *testing.T) {
	s := kit.NewSite(t)
	c := kit.NewClient(t, s.Serve().URL())
	c.Register("alice")
	timing := regexp.MustCompile(`^redis;desc="(\d+)".*, sql;desc="(\d+)"`)
	var page kit.Response
	warm := func() bool {
		page = c.Get("/dashboard")
		m := timing.FindStringSubmatch(page.Header.Get("Server-Timing"))
		return m != nil && m[1] == "1" && m[2] == "0"
	}
	// The server caches users as soon as it receives changes, a moment after its start.
	testkit.Eventually(t, 5*time.Second, "a page for one Redis round trip and no SQL", warm)
	for range 20 {
		if !warm() {
			t.Fatalf("Server-Timing is %q, want 1 Redis round trip and no SQL", page.Header.Get("Server-Timing"))
		}
	}
	if got := page.Header.Values("Set-Cookie"); len(got) > 0 {
		t.Errorf("the page sets %q", got)
	}
	if !strings.Contains(page.Text, `id="authorized-by">Redis<`) {
		t.Errorf("the page does not say that Redis authorized it:\n%s", page.Text)
	}
}
