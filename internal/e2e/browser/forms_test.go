package browser

import (
	"net/http"
	"testing"

	"github.com/chromedp/cdproto/page"

	"gatehouse/internal/e2e/kit"
	"gatehouse/internal/testkit"
)

// TestNotice_IsShownOnceInItsSection: on a small screen the notice is in the window and has the focus, and it does not
// survive a reload.
func TestNotice_IsShownOnceInItsSection(t *testing.T) {
	t.Parallel()
	server := kit.NewSite(t).Serve()
	kit.WithAndWithoutScript(t, func(t *testing.T, script bool, settings ...kit.Action) {
		p := kit.NewBrowser(t, server.URL(), append(settings, kit.Viewport(360, 640))...)
		name := "notice" + kit.UniqueName()
		p.Register(name, "name", "Ada L.")
		p.WantNotice(script, "/dashboard", "welcome", "Welcome, Ada L.")
		p.Open("/account", http.StatusOK)
		p.Fill("current_password", kit.Password, "new_password", kit.OtherPassword)
		p.Submit("/account/password", http.StatusOK)
		p.WantNotice(script, "/account", "password", "Password changed.")
		if !p.Has("#password .notice") {
			t.Error("the notice is not in the section of the password")
		}
		p.Open("/account/tokens", http.StatusOK)
		p.Fill("name", "backup")
		p.Submit("/account/tokens", http.StatusOK)
		p.Open("/account/tokens", http.StatusOK)
		p.Submit("/account/tokens/revoke", http.StatusOK)
		p.WantNotice(script, "/account/tokens", "token-revoked", "Token revoked.")
		if script {
			p.Load(http.StatusOK, kit.Command(page.Reload, page.ReloadParams{}))
			if p.Has(".notice") {
				t.Error("a reload shows the notice again")
			}
		}
	})
}

// TestEndedSession_BringsTheFormBack: what was entered is not lost when the session ends in the meantime, and it is not
// saved before the user says so.
func TestEndedSession_BringsTheFormBack(t *testing.T) {
	t.Parallel()
	s := kit.NewSite(t)
	server := s.Serve()
	kit.WithAndWithoutScript(t, func(t *testing.T, script bool, settings ...kit.Action) {
		p := kit.NewBrowser(t, server.URL(), append(settings, kit.Viewport(360, 640))...)
		name := "draft" + kit.UniqueName()
		p.Register(name)
		p.Open("/account", http.StatusOK)
		p.Fill("name", `Ada "the <b>Countess"`)
		p.Select("time_zone", "Asia/Tokyo")
		s.Run("", "user", "logout", name).WantCode(t, 0)

		p.Submit("/account/profile", http.StatusUnauthorized)
		p.WantTitle(true)
		p.WantFocus("username")
		p.WantDescription("username", "Your session has ended, so your changes weren't saved.")
		p.Fill("username", name, "password", kit.WrongPassword())
		p.Submit("/login", http.StatusUnauthorized)
		p.Fill("password", kit.Password)
		p.Submit("/login", http.StatusOK)
		p.WantTitle(false)
		p.WaitFor("the focus on the notice", `document.activeElement.matches("#profile .notice")`)
		p.WantText(".notice", "Your changes aren't saved yet")
		if p.Value("name") != `Ada "the <b>Countess"` || p.Value("time_zone") != "Asia/Tokyo" {
			t.Errorf("the form has %q, %q", p.Value("name"), p.Value("time_zone"))
		}
		if script {
			p.WantPath("/account")
		}
		p.Submit("/account/profile", http.StatusOK)
		p.WantNotice(script, "/account", "profile", "Changes saved.")
		p.Open("/dashboard", http.StatusOK)
		p.WantText("#user-name", "Countess")

		// A password does not come back.
		p.Open("/account", http.StatusOK)
		p.Fill("current_password", kit.Password, "new_password", kit.OtherPassword)
		s.Run("", "user", "logout", name).WantCode(t, 0)
		p.Submit("/account/password", http.StatusOK)
		p.WantText(".message", "Your session has ended")
		p.Fill("username", name, "password", kit.Password)
		p.Submit("/login", http.StatusOK)
		p.WantNotice(script, "/account", "not-saved", "Your last change wasn't saved")
		if p.Value("new_password") != "" {
			t.Error("the password came back")
		}
	})
}

// TestFormAddress_LeadsToThePage: people reload the address of a form, or type one.
func TestFormAddress_LeadsToThePage(t *testing.T) {
	t.Parallel()
	server := kit.NewSite(t).Serve()
	kit.WithAndWithoutScript(t, func(t *testing.T, script bool, settings ...kit.Action) {
		p := kit.NewBrowser(t, server.URL(), settings...)
		p.Register("address" + kit.UniqueName())
		p.Open("/account", http.StatusOK)
		p.Fill("email", "not-an-address")
		p.Submit("/account/profile", http.StatusUnprocessableEntity)
		p.Open(p.Path(), http.StatusOK)
		p.WantPath("/account")
		p.Open("/account/?x=1", http.StatusOK)
		p.WantPath("/account?x=1")
		p.Open("/logout", http.StatusOK)
		p.WantPath("/sign-out")
		p.Click(`main form[action="/logout"] button`, http.StatusOK)
		p.WantPath(signedOut(script))
	})
}

// TestMaintenanceBanner_ReopensTheSite: administrators see on every page since when and by whom the site is closed.
func TestMaintenanceBanner_ReopensTheSite(t *testing.T) {
	t.Parallel()
	s := kit.NewSite(t)
	server := s.Serve()
	kit.WithAndWithoutScript(t, func(t *testing.T, script bool, settings ...kit.Action) {
		p, visitor := kit.NewBrowser(t, server.URL(), settings...), kit.NewClient(t, server.URL())
		name := "boss" + kit.UniqueName()
		p.Register(name)
		s.Run("", "user", "join", name, "admin").WantCode(t, 0)
		s.Run("", "maintenance", "on").WantCode(t, 0)
		testkit.Eventually(t, kit.BrowserTimeout, "the site to be closed", func() bool { return visitor.Get("/").StatusCode == http.StatusServiceUnavailable })
		p.Open("/account", http.StatusOK)
		p.WantText(".banner", "Closed for maintenance since ")
		p.WantText(".banner", " by ")
		p.Submit("/admin/maintenance/end", http.StatusOK)
		p.WantNotice(script, "/account", "reopened", "The site is open again.")
		if p.Has(".banner") {
			t.Error("the banner is still there")
		}
		visitor.WantStatus(visitor.Get("/"), http.StatusOK)
	})
}
