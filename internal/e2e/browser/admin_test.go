package browser

import (
	"net/http"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"gatehouse/internal/e2e/kit"
)

// administration is a site with the administrator boss, signed in, and another user.
func administration(t *testing.T, settings ...kit.Action) *kit.Browser {
	t.Helper()
	s := kit.NewSite(t)
	server := s.Serve()
	for _, line := range []string{"user add boss --password-stdin --group admin", "user add zoe --password-stdin --name Zoë", "group add editors", "group grant editors books.edit"} {
		s.Run(kit.Password+"\n", strings.Fields(line)...).WantCode(t, 0)
	}
	p := kit.NewBrowser(t, server.URL(), settings...)
	p.SignIn("boss")
	return p
}

// TestAdmin_ManagesAUser: everything that the commands do, from adding a user to deleting them.
func TestAdmin_ManagesAUser(t *testing.T) {
	t.Parallel()
	kit.WithAndWithoutScript(t, func(t *testing.T, script bool, settings ...kit.Action) {
		p := administration(t, settings...)
		p.Open("/admin/users", http.StatusOK)
		p.Click(`a[href="/admin/users/new"]`, http.StatusOK)
		p.WantFocus("username")
		p.Fill("username", "mia", "email", "mia@example.org", "password", "mia")
		p.Submit("/admin/users/new", http.StatusUnprocessableEntity)
		p.WantTitle(true)
		p.WantFocus("password")
		if got := p.Value("username") + p.Value("password"); got != "mia" {
			t.Errorf("the form contains %q, want the user name only", got)
		}
		p.Fill("password", kit.Password)
		p.Do(chromedp.Click(chromedp.CSS(`input[name="groups"][value="editors"]`)))
		p.Submit("/admin/users/new", http.StatusOK)
		p.WantText("main", "User added.")
		p.WantText("#permissions", "From the group editors")
		user := kit.Eval[string](p, `location.pathname`)

		p.Fill("permission", "billing.refund")
		p.Submit(user+"/permissions/grant", http.StatusOK)
		p.WantText("#permissions", "Given directly")
		p.Submit(user+"/permissions/ungrant", http.StatusOK)

		kit.NewClient(t, p.BaseURL).SignIn("mia")
		p.Open(user, http.StatusOK)
		p.Submit(user+"/sessions/end", http.StatusOK)
		p.WantText("#sessions", "No active sessions.")

		p.Fill("new_password", kit.Password+" too")
		p.Submit(user+"/password", http.StatusOK)
		p.WantText("main", "Password set.")

		p.Click(`a[href="`+user+`/delete"]`, http.StatusOK)
		p.WantFocus("username")
		p.Fill("username", "zoe")
		p.Submit(user+"/delete", http.StatusUnprocessableEntity)
		p.WantDescription("username", "Enter mia.")
		p.Fill("username", "mia")
		p.Submit(user+"/delete", http.StatusOK)
		p.WantText("main", "User deleted.")
		p.WantText("main", "2 users")
		p.Open(user, http.StatusNotFound)
	})
}

// TestAdmin_FiltersTheListOfUsers by text without accents, status and group, and sorts it.
func TestAdmin_FiltersTheListOfUsers(t *testing.T) {
	t.Parallel()
	kit.WithAndWithoutScript(t, func(t *testing.T, script bool, settings ...kit.Action) {
		p := administration(t, settings...)
		p.Open("/admin/groups", http.StatusOK)
		p.Click(`a[href="/admin/users?group=admin"]`, http.StatusOK)
		p.WantText("tbody", "boss")
		p.WantText("main", "1 user")
		p.Click(".chips a", http.StatusOK)
		p.WantText("main", "2 users")
		p.Fill("q", "ZOE")
		p.Select("sort", "created")
		p.Click(".filters button", http.StatusOK)
		p.WantText("tbody", "Zoë")
		p.WantText("main", "1 user")
		p.Click(`th[aria-sort="descending"] a`, http.StatusOK)
		if !p.Has(`th[aria-sort="ascending"]`) || p.Value("q") != "ZOE" {
			t.Errorf("the header did not reverse the list: %s", p.Path())
		}
		p.Click(`tbody a`, http.StatusOK)
		p.WantText("h1", "Zoë")
	})
}
