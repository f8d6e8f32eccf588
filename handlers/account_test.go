package handlers

import (
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse/auth"
	"gatehouse/auth/timezone"
	"gatehouse/templates"
	"gatehouse/web"
)

func TestFormatDuration_RoundsUp(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0 seconds", 1: "1 second", time.Second: "1 second", time.Second + 1: "2 seconds", 90 * time.Second: "90 seconds",
		90*time.Second + 1: "2 minutes", 2 * time.Minute: "2 minutes", 2*time.Minute + 1: "3 minutes", 15 * time.Minute: "15 minutes",
		90 * time.Minute: "90 minutes", 90*time.Minute + 1: "2 hours", 2 * time.Hour: "2 hours", 24 * time.Hour: "24 hours",
	} {
		if got := web.FormatDuration(d); got != want {
			t.Errorf("web.FormatDuration(%s) = %q, want %q", d, got, want)
		}
	}
}

func TestAgo_UsesTheLargestUnit(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Hour: "just now", 0: "just now", 59 * time.Second: "just now", time.Minute: "1 minute ago", 119 * time.Second: "1 minute ago",
		2 * time.Minute: "2 minutes ago", 59 * time.Minute: "59 minutes ago", time.Hour: "1 hour ago", 23 * time.Hour: "23 hours ago",
		24 * time.Hour: "1 day ago", 47 * time.Hour: "1 day ago", 30 * 24 * time.Hour: "30 days ago",
	} {
		if got := ago(d); got != want {
			t.Errorf("ago(%s) = %q, want %q", d, got, want)
		}
	}
}

func TestDevice_NamesBrowserAndSystem(t *testing.T) {
	for agent, want := range map[string]string{
		"": "Unknown device",
		"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0":                                                                  "Firefox on Linux",
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36":                         "Chrome on Windows",
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36 Edg/140.0.0.0":           "Edge on Windows",
		"Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Mobile/15E148 Safari/604.1": "Safari on iOS",
		"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Safari/605.1.15":                   "Safari on macOS",
		"Mozilla/5.0 (Linux; Android 15; Pixel 9) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Mobile Safari/537.36":                   "Chrome on Android",
		"curl/8.5.0": "curl",
	} {
		if got := device(agent); got != want {
			t.Errorf("device(%q) = %q, want %q", agent, got, want)
		}
	}
	for _, agent := range []string{"\x00", "\xff\xfe", "(((((", strings.Repeat("Mozilla/", 1000), "<script>"} {
		_ = device(agent) // does not panic
	}
}

// zones returns the zones of all groups, and those that are selected.
func zones(groups []templates.ZoneGroup) (all, selected []string) {
	for _, g := range groups {
		for _, z := range g.Zones {
			all = append(all, z.ID)
			if z.Selected {
				selected = append(selected, z.ID)
			}
		}
	}
	return all, selected
}

func TestZoneGroups_HaveEveryZone(t *testing.T) {
	groups := zoneGroups("Europe/Berlin")
	all, selected := zones(groups)
	slices.Sort(all)
	if !slices.Equal(all, timezone.Names()) || !slices.Equal(selected, []string{"Europe/Berlin"}) {
		t.Errorf("%d zones of %d, selected %q", len(all), len(timezone.Names()), selected)
	}
	var names []string
	for _, g := range groups {
		names = append(names, g.Name)
		if len(g.Zones) == 0 {
			t.Errorf("%s is empty", g.Name)
		}
	}
	if !slices.IsSorted(names) || !slices.Contains(names, "Europe") || !slices.Contains(names, "Universal") || len(slices.Compact(slices.Clone(names))) != len(names) {
		t.Errorf("got the groups %q", names)
	}
	for _, zone := range []string{"Asia/Calcutta", "Etc/GMT+5"} { // not on the list, but an account may have it
		all, selected := zones(zoneGroups(zone))
		if len(all) != len(timezone.Names())+1 || !slices.Equal(selected, []string{zone}) {
			t.Errorf("%s: %d zones, selected %q", zone, len(all), selected)
		}
	}
	for _, zone := range []string{"", "Local", "Mars/Olympus", "../x"} {
		if all, selected := zones(zoneGroups(zone)); len(all) != len(timezone.Names()) || len(selected) != 0 {
			t.Errorf("%q: %d zones, selected %q", zone, len(all), selected)
		}
	}
	if !slices.IsSorted(timezone.Names()) || slices.Contains(timezone.Names(), "Asia/Calcutta") {
		t.Error("zoneGroups changed the shared list")
	}
	for _, g := range zoneGroups("UTC") {
		for _, z := range g.Zones {
			if z.ID == "America/Argentina/Buenos_Aires" && (g.Name != "America" || z.City != "Argentina/Buenos Aires") {
				t.Errorf("got %+v in %s", z, g.Name)
			}
		}
	}
}

func TestSessionRows_ListLiveSessions(t *testing.T) {
	now := time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)
	u := &auth.User{Active: true, Epoch: 2}
	rows := sessionRows([]auth.Session{
		{ID: "a", Epoch: 2, LastSeen: now.Add(-time.Hour), Address: "192.0.2.1", Remember: true},
		{ID: "dead", Epoch: 1, LastSeen: now},
		{ID: "b", Epoch: 2, LastSeen: now.Add(-2 * time.Hour)},
		{ID: "me", Epoch: 2, LastSeen: now.Add(-3 * time.Hour)},
	}, u, "me", now)
	want := []templates.SessionRow{
		{ID: "me", Device: "Unknown device", Seen: "now", SeenAt: now, Current: true},
		{ID: "a", Device: "Unknown device", Seen: "1 hour ago", SeenAt: now.Add(-time.Hour), Address: "192.0.2.1", Keep: true},
		{ID: "b", Device: "Unknown device", Seen: "2 hours ago", SeenAt: now.Add(-2 * time.Hour)},
	}
	if !slices.Equal(rows, want) {
		t.Errorf("got %+v, want %+v", rows, want)
	}
}

func TestForm_KeepsValuesAndFirstError(t *testing.T) {
	form := map[string][]string{"username": {"a\xffb"}, "password": {"secret"}}
	v := values(form, "username", "email").with("next", "/x")
	if len(v) != 3 || v["username"] != "a\uFFFDb" || v["email"] != "" || v["next"] != "/x" {
		t.Errorf("got %q", v)
	}
	wrong := auth.ValidationErrors{"b": "x", "c": "y"}
	if got := firstWrong(wrong, "a", "b", "c"); got != "b" {
		t.Errorf("got %q", got)
	}
	if got := firstWrong(nil, "a"); got != "" {
		t.Errorf("got %q", got)
	}
}
