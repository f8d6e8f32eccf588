package handlers

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"gatehouse/auth"
	"gatehouse/internal/launcher"
)

// withApps gives the site a list of apps.
func (s *site) withApps(apps ...launcher.App) { s.Apps = func() []launcher.App { return apps } }

func TestDashboard_ListsTheAppsThatTheUserMayEnter(t *testing.T) {
	s := newSite(t)
	ann := s.add(t, "ann")
	s.addAdmin(t, "root")
	s.withApps(
		launcher.App{Name: "Wiki", URL: "https://wiki.test/", Description: "Pages & more", Letter: "W", Color: 3},
		launcher.App{Name: "Billing", URL: "https://billing.test/", Permission: "invoices.view"},
		launcher.App{Name: "Servers", URL: "https://servers.test/", Group: "admin"},
		launcher.App{Name: "Both", URL: "https://both.test/", Group: "admin", Permission: "invoices.view"},
	)
	check := func(b *browser, want string) {
		t.Helper()
		w := b.get("/dashboard")
		wantPage(t, w, http.StatusOK)
		got := ""
		for _, name := range []string{"wiki", "billing", "servers", "both"} {
			if strings.Contains(w.Body.String(), `href="https://`+name+`.test/"`) {
				got += name + " "
			}
		}
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	annBrowser, root := s.signedIn(t, "ann"), s.signedIn(t, "root")
	check(annBrowser, "wiki ")
	check(root, "wiki servers ")
	wantPage(t, annBrowser.get("/dashboard"), http.StatusOK, `data-color="3">W</span>`, "Pages &amp; more")
	if _, err := s.Handlers.Accounts.SetPermission(t.Context(), ann.ID, "invoices.view", true); err != nil {
		t.Fatal(err)
	}
	check(annBrowser, "wiki billing ")
}

func TestDashboard_EscapesApps(t *testing.T) {
	s := newSite(t)
	s.add(t, "ann")
	s.withApps(launcher.App{Name: `<i>"x"`, URL: `https://a.test/?a=1&b="<`, Description: "</ul><script>", Letter: "<"})
	body := s.signedIn(t, "ann").get("/dashboard").Body.String()
	for _, bad := range []string{"<i>", "</ul><script>", `"<"`} {
		if strings.Contains(body, bad) {
			t.Errorf("the page contains %s", bad)
		}
	}
}

func TestDashboard_SearchesTenAppsOrMore(t *testing.T) {
	s := newSite(t)
	s.add(t, "ann")
	b := s.signedIn(t, "ann")
	apps := make([]launcher.App, 9)
	for i := range apps {
		apps[i] = launcher.App{Name: fmt.Sprint("App ", i), URL: fmt.Sprintf("https://a%d.test", i)}
	}
	s.withApps(apps...)
	if strings.Contains(b.get("/dashboard").Body.String(), `role="search"`) {
		t.Error("nine apps have a search box")
	}
	s.withApps(append(apps, launcher.App{Name: "Ten", URL: "https://ten.test"})...)
	wantPage(t, b.get("/dashboard"), http.StatusOK, `role="search"`)
	// No app here has text to search in, so that none matches.
	w := b.get("/dashboard?q=%3Cnone%3E")
	wantPage(t, w, http.StatusOK, `value="&lt;none&gt;"`, "No app matches your search.", "<li hidden>")
	if strings.Contains(w.Body.String(), "<li>") {
		t.Error("an app that does not match is shown")
	}
}

func TestDashboard_SaysWhatToDoWithoutApps(t *testing.T) {
	s := newSite(t)
	s.add(t, "ann")
	s.addAdmin(t, "root")
	ann, root := s.signedIn(t, "ann"), s.signedIn(t, "root")
	wantPage(t, ann.get("/dashboard"), http.StatusOK, "as soon as an administrator adds them")
	wantPage(t, root.get("/dashboard"), http.StatusOK, "APPS_FILE", "deploy/apps.example.yaml")
	if strings.Contains(ann.get("/dashboard").Body.String(), "APPS_FILE") {
		t.Error("others read about settings")
	}
	s.withApps(launcher.App{Name: "Wiki", URL: "https://wiki.test", Group: "nobody"})
	for _, b := range []*browser{ann, root} {
		wantPage(t, b.get("/dashboard"), http.StatusOK, "have access to any apps yet")
	}
}

func TestAppIcon_OnlyForUsersOfTheApp(t *testing.T) {
	s := newSite(t)
	s.add(t, "ann")
	s.addAdmin(t, "root")
	svg := `<svg xmlns="http://www.w3.org/2000/svg"/>`
	s.withApps(launcher.App{Name: "Wiki", URL: "https://wiki.test", Group: auth.AdminGroup, Icon: &launcher.Icon{Name: "0f.svg", Kind: "image/svg+xml", Content: []byte(svg)}})
	root := s.signedIn(t, "root")
	wantPage(t, root.get("/dashboard"), http.StatusOK, `src="/apps/icons/0f.svg"`)
	w := root.get("/apps/icons/0f.svg")
	wantPage(t, w, http.StatusOK, svg)
	h := w.Header()
	if h.Get("Content-Type") != "image/svg+xml" || h.Get("Cache-Control") != "private, max-age=31536000, immutable" || h.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("got %v", h)
	}
	if policy := h.Get("Content-Security-Policy"); !strings.HasPrefix(policy, "default-src 'none';") || !strings.Contains(policy, "sandbox") {
		t.Errorf("an image that is opened by itself has the policy %q", policy)
	}
	wantPage(t, root.get("/apps/icons/1f.svg"), http.StatusNotFound)
	wantPage(t, s.signedIn(t, "ann").get("/apps/icons/0f.svg"), http.StatusNotFound)
	wantRedirect(t, s.browser().get("/apps/icons/0f.svg"), "/login?next=%2Fapps%2Ficons%2F0f.svg")
}

// TestDashboard_ReloadsWithoutScriptsAtTheNextMinute, but not during a search.
func TestDashboard_ReloadsWithoutScriptsAtTheNextMinute(t *testing.T) {
	s := newSite(t)
	s.add(t, "ann")
	b := s.signedIn(t, "ann")
	now := time.Now().Truncate(time.Minute).Add(48 * time.Second)
	s.server.Clock = func() time.Time { return now }
	wantPage(t, b.get("/dashboard"), http.StatusOK, `<noscript><meta http-equiv="refresh" content="12; url=/dashboard?refresh"></noscript>`)
	wantPage(t, b.get("/dashboard?refresh"), http.StatusOK, `content="12; url=/dashboard?refresh"`)
	if strings.Contains(b.get("/dashboard?q=x").Body.String(), `http-equiv="refresh"`) {
		t.Error("the page reloads during a search")
	}
}
