package handlers

import (
	"html"
	"net/http"
	"strings"
	"testing"
)

// TestNotices_AreInTheirSection: each notice is shown once, in the section that changed, and gets the focus. The page's
// lasting address is without it.
func TestNotices_AreInTheirSection(t *testing.T) {
	s := newSite(t)
	u := s.addAdmin(t, "root")
	other := s.add(t, "alice")
	b := s.signedIn(t, "root")
	pages := map[string]string{
		"profile": "/account", "appearance": "/account", "password": "/account", "session-ended": "/account", "others-ended": "/account", "not-saved": "/account",
		"token-revoked": "/account/tokens", "tokens-revoked": "/account/tokens",
		"user-disabled": "/admin/users/" + other.ID, "user-enabled": "/admin/users/" + other.ID, "user-signed-out": "/admin/users/" + u.ID, "user-groups": "/admin/users/" + u.ID,
		"user-added": "/admin/users/" + other.ID, "user-added-without-groups": "/admin/users/" + other.ID, "user-password": "/admin/users/" + other.ID,
		"user-verified": "/admin/users/" + other.ID, "user-granted": "/admin/users/" + other.ID, "user-ungranted": "/admin/users/" + other.ID, "user-deleted": "/admin/users",
		"group-added": "/admin/groups", "group-granted": "/admin/groups", "group-ungranted": "/admin/groups", "group-removed": "/admin/groups",
		"reopened": "/admin/users", "welcome": "/dashboard",
	}
	for key, notice := range notices {
		path, ok := pages[key]
		if !ok {
			if !strings.HasPrefix(key, "signed-out") && key != "all-ended" {
				t.Errorf("the test does not know the page of %s", key)
			}
			continue
		}
		w := b.get(path + "?notice=" + key)
		wantPage(t, w, http.StatusOK, `data-address="`+path+`"`)
		page := w.Body.String()
		shown := `<p class="notice" role="status" tabindex="-1" autofocus>` + html.EscapeString(strings.TrimSuffix(notice.Text, "."))
		before, _, found := strings.Cut(page, shown)
		if !found || strings.Count(page, `class="notice"`) != 1 || strings.Count(page, "autofocus") != 1 {
			t.Errorf("%s?notice=%s is without its notice: %s", path, key, page)
		}
		opened := before[max(0, strings.LastIndex(before, "<section")):]
		if in := strings.Contains(opened, `<section id="`+notice.Section+`"`); in != (notice.Section != "") {
			t.Errorf("%s is shown after %.100s, want it in %q", key, opened, notice.Section)
		}
	}
	w := b.get("/admin/groups?notice=group-granted&at=admin")
	before, _, _ := strings.Cut(w.Body.String(), `<p class="notice"`)
	if !strings.Contains(before, `<section id="group-admin"`) {
		t.Errorf("the notice is not in the group's section: %s", w.Body)
	}
	wantPage(t, b.get("/admin/groups?notice=group-granted&at=%3Cb%3E"), http.StatusOK, "Permission added.")
	// On the sign-in page, the focus stays in the form.
	wantPage(t, s.browser().get("/login?notice=signed-out&next=/account"), http.StatusOK, `<p class="notice" role="status" tabindex="-1">`, `data-address="/login?next=%2Faccount"`)
}
