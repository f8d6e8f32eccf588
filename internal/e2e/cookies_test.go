package e2e

import (
	"net/http"
	"strings"
	"testing"
)

// TestSeveralSessionCookies_LiveOneCountsAndSignOutEndsAll: a sibling site, or a cookie for a longer
// path, can put a dead session cookie in front of the live one.
func TestSeveralSessionCookies_LiveOneCountsAndSignOutEndsAll(t *testing.T) {
	t.Parallel()
	onBothStores(t, func(t *testing.T, x *target, _ string) {
		browser := x.visitor()
		browser.want(browser.post("/login", "username", "john_doe", "password", apiPassword), http.StatusSeeOther)
		live := browser.session()
		planted := func(letters string) string {
			var b strings.Builder
			for _, letter := range letters {
				b.WriteString(sessionCookie + "=" + strings.Repeat(string(letter), 43) + "; ")
			}
			return b.String()
		}
		v := x.visitor()
		for name, header := range map[string]string{
			"behind one": planted("A") + live, "before one": live + "; " + planted("A"), "behind three": planted("ABC") + live, "between two": planted("A") + live + "; " + planted("B"),
		} {
			x.wantWarm(t, name, func() answer { return v.get("/api/time", "Cookie", header) })
			if a := v.get("/auth/verify", "Cookie", header); a.StatusCode != http.StatusOK || a.Header.Get("Remote-User") != "john_doe" {
				t.Errorf("%s: forward auth answers %s", name, a.Status)
			}
		}
		if x.openTo(planted("ABCD") + live) {
			t.Error("a fifth cookie is tried")
		}

		other := x.visitor()
		other.want(other.post("/login", "username", "john_doe", "password", apiPassword), http.StatusSeeOther)
		out := v.do(v.request(http.MethodPost, "/logout", "", "Content-Type", "application/x-www-form-urlencoded",
			"Cookie", planted("ABCDE")+live+"; "+other.session()))
		v.wantSeeOther(out, "/login?notice=signed-out")
		if x.openTo(live) || x.openTo(other.session()) {
			t.Error("a session of the browser goes on after it signed out")
		}
		if left := x.keys("session:*"); len(left) != 0 {
			t.Errorf("sessions are left: %q", left)
		}
	})
}

// TestSeveralSessionCookies_InABrowser: a browser sends the cookie of the longer path first.
func TestSeveralSessionCookies_InABrowser(t *testing.T) {
	t.Parallel()
	x := newTarget(t)
	p := newPerson(t, x.server.URL())
	p.register("alice")
	for _, path := range []string{"/account", "/logout"} {
		eval[string](p, "document.cookie = '"+sessionCookie+"="+strings.Repeat("D", 43)+"; path="+path+"'")
	}
	p.open("/account", http.StatusOK)
	p.wantAt("/account")
	p.submit("/logout", http.StatusOK)
	if left := x.keys("session:*"); len(left) != 0 {
		t.Errorf("sessions are left: %q", left)
	}
}
