package handlers

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse/auth"
	"gatehouse/templates"
)

func TestAppearance_AppliesFromTheFirstPaint(t *testing.T) {
	s := newSite(t)
	u := s.add(t, "alice")
	b := s.signedIn(t, "alice")
	wantPage(t, b.get("/account"), http.StatusOK, `<html lang="en">`, `content="light dark"`, `name="theme" value="" checked`,
		`name="hour_cycle" value="" checked`, `<option value="en-GB" lang="en-GB" dir="ltr" selected>`)
	wantRedirect(t, b.post("/account/appearance", form("theme", "dark", "hour_cycle", "h12", "locale", "ar")), "/account?notice=appearance")
	for _, path := range []string{"/account", "/dashboard", "/account/tokens", "/admin/users", "/nowhere"} {
		page := b.get(path).Body.String()
		for _, want := range []string{`<html lang="en" data-theme="dark">`, `<meta name="color-scheme" content="dark">`, `<meta name="theme-color" content="#14181d">`} {
			if !strings.Contains(page, want) || strings.Contains(page, "prefers-color-scheme") {
				t.Errorf("%s: %q is missing in %.1000s", path, want, page)
			}
		}
	}
	wantPage(t, b.get("/account?notice=appearance"), http.StatusOK, "Changes saved.", `value="dark" checked`, `value="h12" checked`, `dir="rtl" lang="ar">`)
	if got, want := s.row(u).Preferences, (auth.Preferences{Theme: "dark", HourCycle: "h12", Locale: "ar"}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	// A visitor, also in the same browser, gets the device's theme.
	wantRedirect(t, b.post("/logout", nil), "/login?notice=signed-out")
	wantPage(t, b.get("/login"), http.StatusOK, `<html lang="en">`, `content="light dark"`)
}

// TestAppearance_KeepsWhatTheFormDidNotChange: a stale form changes only what the user changed in it.
func TestAppearance_KeepsWhatTheFormDidNotChange(t *testing.T) {
	s := newSite(t)
	u := s.add(t, "alice")
	b := s.signedIn(t, "alice")
	stale := []string{"shown_theme", "", "shown_hour_cycle", "", "shown_locale", "en-GB"}
	wantRedirect(t, b.post("/account/appearance", form(append(stale, "theme", "dark", "hour_cycle", "", "locale", "de")...)), "/account?notice=appearance")
	wantRedirect(t, b.post("/account/appearance", form(append(stale, "theme", "", "hour_cycle", "h12", "locale", "en-GB")...)), "/account?notice=appearance")
	if got, want := s.row(u).Preferences, (auth.Preferences{Theme: "dark", HourCycle: "h12", Locale: "de"}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	w := b.post("/account/appearance", form("theme", `"><b>`, "hour_cycle", "h12", "locale", "tlh"))
	wantPage(t, w, http.StatusUnprocessableEntity, "Choose a theme from the list.", "Choose a language from the list.", `value="h12" checked`, "<title>Error: Account")
	s.Stores.FailOn("users.SetPreferences", errDown)
	wantPage(t, b.post("/account/appearance", form("theme", "light")), http.StatusServiceUnavailable, "Your change may have been saved.")
}

// TestLogin_TakesTheBrowsersTimeZone: at the first sign-in of a user who was added by an operator.
func TestLogin_TakesTheBrowsersTimeZone(t *testing.T) {
	s := newSite(t)
	u := s.add(t, "alice")
	wantPage(t, s.browser().get("/login"), http.StatusOK, `<input type="hidden" name="time_zone">`)
	b := s.browser()
	wantRedirect(t, b.post("/login", form("username", "alice", "password", secret, "time_zone", "Asia/Tokyo")), "/dashboard")
	wantPage(t, b.get("/dashboard"), http.StatusOK, "Tokyo", "UTC+09:00")
	wantRedirect(t, s.browser().post("/login", form("username", "alice", "password", secret, "time_zone", "Europe/Berlin")), "/dashboard")
	if got := s.row(u).TimeZone; got != "Asia/Tokyo" {
		t.Errorf("got %s, want the zone of the first sign-in", got)
	}
	wantRedirect(t, b.post("/account/profile", form("time_zone", "UTC")), "/account?notice=profile")
	wantRedirect(t, s.browser().post("/login", form("username", "alice", "password", secret, "time_zone", "Europe/Berlin")), "/dashboard")
	if got := s.row(u).TimeZone; got != "UTC" {
		t.Errorf("got %s, want the chosen UTC", got)
	}
}

func TestZoneGroups_AreLabeledByCity(t *testing.T) {
	winter := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	want := map[string]string{
		"Europe/Berlin": "Europe: Berlin (UTC+01:00)", "America/Argentina/Buenos_Aires": "America: Buenos Aires, Argentina (UTC−03:00)",
		"UTC": "Universal: UTC", "Etc/GMT+5": "Universal: UTC−05:00",
	}
	for _, g := range zoneGroups("Etc/GMT+5", winter) {
		for i, z := range g.Zones {
			if label := want[z.ID]; label != "" && g.Name+": "+z.Label != label {
				t.Errorf("got %s: %s, want %s", g.Name, z.Label, label)
			}
			delete(want, z.ID)
			if i > 0 && z.Label < g.Zones[i-1].Label {
				t.Errorf("%s is listed after %s", z.Label, g.Zones[i-1].Label)
			}
		}
	}
	if len(want) > 0 {
		t.Errorf("missing: %v", want)
	}
}

// TestZoneGroups_FollowTheClocks: the offsets change with summer time, and one user's choice is not shown to another.
func TestZoneGroups_FollowTheClocks(t *testing.T) {
	change := time.Date(2026, 3, 29, 1, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		now      time.Time
		selected string
		want     templates.Zone
	}{
		{change.Add(-time.Second), "Europe/Berlin", templates.Zone{ID: "Europe/Berlin", Label: "Berlin (UTC+01:00)", Selected: true}},
		{change.Add(-time.Second), "UTC", templates.Zone{ID: "Europe/Berlin", Label: "Berlin (UTC+01:00)"}},
		{change, "UTC", templates.Zone{ID: "Europe/Berlin", Label: "Berlin (UTC+02:00)"}},
		{change, "Etc/GMT+5", templates.Zone{ID: "Europe/Berlin", Label: "Berlin (UTC+02:00)"}},
	} {
		found := false
		for _, g := range zoneGroups(c.selected, c.now) {
			found = found || slices.Contains(g.Zones, c.want)
		}
		if !found {
			t.Errorf("at %s with %s selected: %+v is missing", c.now, c.selected, c.want)
		}
	}
}

func TestAPIMe_HasThePreferences(t *testing.T) {
	s := newSite(t)
	u := s.add(t, "alice")
	b := s.signedIn(t, "alice")
	check := func(theme, hourCycle, locale string) {
		t.Helper()
		m := wantJSON(t, b.get("/api/me"), http.StatusOK)["preferences"].(map[string]any)
		if m["timezone"] != "UTC" || m["theme"] != theme || m["hour_cycle"] != hourCycle || m["locale"] != locale {
			t.Errorf("got %v, want %s, %s, %s", m, theme, hourCycle, locale)
		}
	}
	check("system", "h23", "en-GB")
	text := func(s string) *string { return &s }
	if _, err := s.Handlers.Accounts.EditPreferences(t.Context(), u.ID, auth.PreferencesEdit{Theme: text("dark"), Locale: text("en-US")}); err != nil {
		t.Fatal(err)
	}
	check("dark", "h12", "en-US")
}
