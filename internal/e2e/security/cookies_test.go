package security

import (
	"net/http"
	"strings"
	"testing"

	"gatehouse/internal/e2e/kit"
)

// TestSeveralSessionCookies_ValidOneCountsAndSignOutEndsAll: a sibling site or a script on a longer path can set an invalid
// session cookie that the browser sends before the valid one.
func TestSeveralSessionCookies_ValidOneCountsAndSignOutEndsAll(t *testing.T) {
	t.Parallel()
	kit.OnBothStores(t, func(t *testing.T, x *kit.Target, _ string) {
		browser := x.NewClient()
		browser.WantStatus(browser.PostForm("/login", "username", "john_doe", "password", kit.AwkwardPassword), http.StatusSeeOther)
		live := browser.SessionCookieHeader()
		planted := func(letters string) string {
			var b strings.Builder
			for _, letter := range letters {
				b.WriteString(kit.SessionCookie + "=" + strings.Repeat(string(letter), 43) + "; ")
			}
			return b.String()
		}
		v := x.NewClient()
		for name, header := range map[string]string{
			"behind one": planted("A") + live, "before one": live + "; " + planted("A"), "behind three": planted("ABC") + live, "between two": planted("A") + live + "; " + planted("B"),
		} {
			x.WantWarm(t, name, func() kit.Response { return v.Get("/api/time", "Cookie", header) })
			if a := v.Get("/auth/verify", "Cookie", header); a.StatusCode != http.StatusOK || a.Header.Get("Remote-User") != "john_doe" {
				t.Errorf("%s: forward auth responds %s", name, a.Status)
			}
		}
		if x.CookieOpensDashboard(planted("ABCD") + live) {
			t.Error("a fifth cookie is tried")
		}

		other := x.NewClient()
		other.WantStatus(other.PostForm("/login", "username", "john_doe", "password", kit.AwkwardPassword), http.StatusSeeOther)
		out := v.Do(v.NewRequest(http.MethodPost, "/logout", "", "Content-Type", kit.FormContentType,
			"Cookie", planted("ABCDE")+live+"; "+other.SessionCookieHeader()))
		v.WantSeeOther(out, "/login?notice=signed-out")
		if x.CookieOpensDashboard(live) || x.CookieOpensDashboard(other.SessionCookieHeader()) {
			t.Error("a session of the browser is valid after the sign-out")
		}
		if left := x.Keys("session:*"); len(left) != 0 {
			t.Errorf("sessions remain: %q", left)
		}
	})
}

// TestSeveralSessionCookies_InABrowser: a browser sends the cookie of the longer path first.
func TestSeveralSessionCookies_InABrowser(t *testing.T) {
	t.Parallel()
	x := kit.NewTarget(t)
	p := kit.NewBrowser(t, x.Server.URL())
	p.Register("alice")
	for _, path := range []string{"/account", "/logout"} {
		kit.Eval[string](p, "document.cookie = '"+kit.SessionCookie+"="+strings.Repeat("D", 43)+"; path="+path+"'")
	}
	p.Open("/account", http.StatusOK)
	p.WantPath("/account")
	p.Submit("/logout", http.StatusOK)
	if left := x.Keys("session:*"); len(left) != 0 {
		t.Errorf("sessions remain: %q", left)
	}
}
