package handlers

import (
	"net/http"
	"net/http/httptest"
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
		48 * time.Hour: "48 hours", 48*time.Hour + 1: "3 days", 14 * 24 * time.Hour: "14 days",
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
	groups := zoneGroups("Europe/Berlin", time.Now())
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
		all, selected := zones(zoneGroups(zone, time.Now()))
		if len(all) != len(timezone.Names())+1 || !slices.Equal(selected, []string{zone}) {
			t.Errorf("%s: %d zones, selected %q", zone, len(all), selected)
		}
	}
	for _, zone := range []string{"", "Local", "Mars/Olympus", "../x"} {
		if all, selected := zones(zoneGroups(zone, time.Now())); len(all) != len(timezone.Names()) || len(selected) != 0 {
			t.Errorf("%q: %d zones, selected %q", zone, len(all), selected)
		}
	}
	if !slices.IsSorted(timezone.Names()) || slices.Contains(timezone.Names(), "Asia/Calcutta") {
		t.Error("zoneGroups changed the shared list")
	}
}

func TestSessionRows_ListLiveSessions(t *testing.T) {
	now := time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)
	u := &auth.User{Active: true, Epoch: 2}
	signedIn, deadline := now.Add(-5*time.Hour), now.Add(5*time.Hour)
	session := func(id string, epoch int64, seen time.Duration) auth.Session {
		return auth.Session{ID: id, Epoch: epoch, SignedInAt: signedIn, LastSeen: now.Add(-seen), Deadline: deadline, IdleSeconds: 7200}
	}
	first, last := session("a", 2, time.Hour), session("b", 2, 2*time.Hour)
	first.Address, first.Remember = "192.0.2.1", true
	last.Deadline = now
	rows := sessionRows([]auth.Session{first, session("dead", 1, 0), last, session("me", 2, 3*time.Hour)}, u, "me", now)
	unknown := templates.Device{Name: "Unknown device"}
	want := []templates.SessionRow{
		{ID: "me", Device: unknown, SignedInAt: signedIn, Seen: "Active now", SeenAt: now, EndsAt: deadline, Idle: "2 hours", Current: true},
		{ID: "a", Device: unknown, SignedInAt: signedIn, Seen: "1 hour ago", SeenAt: now.Add(-time.Hour), EndsAt: deadline, Idle: "2 hours", Address: "192.0.2.1", Keep: true},
		// It ends at its deadline, whether it is used or not.
		{ID: "b", Device: unknown, SignedInAt: signedIn, Seen: "2 hours ago", SeenAt: now.Add(-2 * time.Hour), EndsAt: now},
	}
	if !slices.Equal(rows, want) {
		t.Errorf("got %+v, want %+v", rows, want)
	}
}

func TestAccount_DescribesEachSession(t *testing.T) {
	s := newSite(t)
	s.add(t, "alice")
	b := s.signedIn(t, "alice")
	const only = "This is your only session."
	wantPage(t, b.get("/account"), http.StatusOK, only, "This device", "Active now", "without use", `href="#icon-unknown"`, `id="icon-unknown"`)
	req := httptest.NewRequest("POST", "/login", strings.NewReader(form("username", "alice", "password", secret, "remember", "on").Encode()))
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("User-Agent", "curl/8.5.0")
	s.browser().send(req)
	w := b.get("/account")
	wantPage(t, w, http.StatusOK, "<bdi>curl</bdi>", `href="#icon-program"`, `aria-label="Program"`, "· last seen ", "just now", "kept signed in", "14 days without use")
	if strings.Contains(w.Body.String(), only) {
		t.Error("the page calls one of two sessions the only one")
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
