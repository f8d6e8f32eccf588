package handlers

import (
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse/auth"
	"gatehouse/web"
)

func TestClock(t *testing.T) {
	at := func(s string) time.Time {
		moment, err := time.Parse(time.RFC3339Nano, s)
		if err != nil {
			t.Fatal(err)
		}
		return moment
	}
	for _, c := range []struct {
		name, now, zone string
		want            Clock
	}{
		{"winter", "2026-01-15T08:05:30.25Z", "Europe/Berlin", Clock{
			DateTime: "2026-01-15T09:05:30.250+01:00", Hours: "09", Minutes: "05", Seconds: "30", Date: "Thursday, 15 January 2026",
			City: "Berlin", Zone: "Europe/Berlin", Offset: "UTC+01:00", HourAngle: 272.5, MinuteAngle: 33, SecondAngle: 180, Hour: 9,
		}},
		{"summer", "2026-07-15T08:05:30Z", "Europe/Berlin", Clock{
			DateTime: "2026-07-15T10:05:30.000+02:00", Hours: "10", Minutes: "05", Seconds: "30", Date: "Wednesday, 15 July 2026",
			City: "Berlin", Zone: "Europe/Berlin", Offset: "UTC+02:00", HourAngle: 302.5, MinuteAngle: 33, SecondAngle: 180, Hour: 10,
		}},
		{"before the clocks go forward", "2026-03-29T00:59:59Z", "Europe/Berlin", Clock{
			DateTime: "2026-03-29T01:59:59.000+01:00", Hours: "01", Minutes: "59", Seconds: "59", Date: "Sunday, 29 March 2026",
			City: "Berlin", Zone: "Europe/Berlin", Offset: "UTC+01:00", HourAngle: 59.5, MinuteAngle: 359.9, SecondAngle: 354, Hour: 1,
		}},
		{"after it", "2026-03-29T01:00:00Z", "Europe/Berlin", Clock{
			DateTime: "2026-03-29T03:00:00.000+02:00", Hours: "03", Minutes: "00", Seconds: "00", Date: "Sunday, 29 March 2026",
			City: "Berlin", Zone: "Europe/Berlin", Offset: "UTC+02:00", HourAngle: 90, Hour: 3,
		}},
		{"the hour that comes twice", "2026-10-25T01:30:00Z", "Europe/Berlin", Clock{
			DateTime: "2026-10-25T02:30:00.000+01:00", Hours: "02", Minutes: "30", Seconds: "00", Date: "Sunday, 25 October 2026",
			City: "Berlin", Zone: "Europe/Berlin", Offset: "UTC+01:00", HourAngle: 75, MinuteAngle: 180, Hour: 2,
		}},
		{"behind, on the day before", "2026-11-01T00:00:00Z", "America/Argentina/Buenos_Aires", Clock{
			DateTime: "2026-10-31T21:00:00.000-03:00", Hours: "21", Minutes: "00", Seconds: "00", Date: "Saturday, 31 October 2026",
			City: "Buenos Aires", Zone: "America/Argentina/Buenos_Aires", Offset: "UTC-03:00", HourAngle: 270, Hour: 21,
		}},
		{"half an hour, behind", "2026-01-01T03:30:00Z", "America/St_Johns", Clock{
			DateTime: "2026-01-01T00:00:00.000-03:30", Hours: "00", Minutes: "00", Seconds: "00", Date: "Thursday, 1 January 2026",
			City: "St Johns", Zone: "America/St_Johns", Offset: "UTC-03:30", Hour: 0,
		}},
		{"half an hour, ahead", "2026-01-01T06:30:00Z", "Asia/Kolkata", Clock{
			DateTime: "2026-01-01T12:00:00.000+05:30", Hours: "12", Minutes: "00", Seconds: "00", Date: "Thursday, 1 January 2026",
			City: "Kolkata", Zone: "Asia/Kolkata", Offset: "UTC+05:30", Hour: 12,
		}},
		{"three quarters of an hour", "2026-01-01T00:00:00Z", "Asia/Kathmandu", Clock{
			DateTime: "2026-01-01T05:45:00.000+05:45", Hours: "05", Minutes: "45", Seconds: "00", Date: "Thursday, 1 January 2026",
			City: "Kathmandu", Zone: "Asia/Kathmandu", Offset: "UTC+05:45", HourAngle: 172.5, MinuteAngle: 270, Hour: 5,
		}},
		{"midnight", "2026-01-01T00:00:00Z", "UTC", Clock{
			DateTime: "2026-01-01T00:00:00.000Z", Hours: "00", Minutes: "00", Seconds: "00", Date: "Thursday, 1 January 2026",
			City: "UTC", Zone: "UTC", Offset: "UTC+00:00",
		}},
		{"the last moment of a year", "2026-12-31T23:59:59.999Z", "UTC", Clock{
			DateTime: "2026-12-31T23:59:59.999Z", Hours: "23", Minutes: "59", Seconds: "59", Date: "Thursday, 31 December 2026",
			City: "UTC", Zone: "UTC", Offset: "UTC+00:00", HourAngle: 359.5, MinuteAngle: 359.9, SecondAngle: 354, Hour: 23,
		}},
		{"a zone that is none", "2026-01-01T18:00:00+02:00", "Local", Clock{
			DateTime: "2026-01-01T16:00:00.000Z", Hours: "16", Minutes: "00", Seconds: "00", Date: "Thursday, 1 January 2026",
			City: "UTC", Zone: "UTC", Offset: "UTC+00:00", HourAngle: 120, Hour: 16,
		}},
	} {
		if got := newClock(at(c.now), c.zone); got != c.want {
			t.Errorf("%s:\n got %+v\nwant %+v", c.name, got, c.want)
		}
	}
}

func TestDayAngle(t *testing.T) {
	for hms, want := range map[string]float64{"00:00:00": 0, "06:00:00": 90, "09:06:00": 136.5, "12:00:00": 180, "18:30:00": 277.5, "23:56:00": 359} {
		now, err := time.Parse(time.TimeOnly, hms)
		if err != nil {
			t.Fatal(err)
		}
		if got := newClock(now, "UTC").DayAngle(); math.Abs(got-want) > 1e-9 {
			t.Errorf("at %s: got %v, want %v", hms, got, want)
		}
	}
}

func TestInWords(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0 seconds", 1: "1 second", time.Second: "1 second", time.Second + 1: "2 seconds", 90 * time.Second: "90 seconds",
		90*time.Second + 1: "2 minutes", 2 * time.Minute: "2 minutes", 2*time.Minute + 1: "3 minutes", 15 * time.Minute: "15 minutes",
		90 * time.Minute: "90 minutes", 90*time.Minute + 1: "2 hours", 2 * time.Hour: "2 hours", 24 * time.Hour: "24 hours",
	} {
		if got := web.FormatDuration(d); got != want {
			t.Errorf("web.InWords(%s) = %q, want %q", d, got, want)
		}
	}
}

func TestAgo(t *testing.T) {
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

func TestDevice(t *testing.T) {
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

func TestCity(t *testing.T) {
	for zone, want := range map[string]string{"UTC": "UTC", "Europe/Berlin": "Berlin", "America/Argentina/Buenos_Aires": "Buenos Aires"} {
		if got := city(zone); got != want {
			t.Errorf("city(%q) = %q", zone, got)
		}
	}
}

// zones returns the zones of all groups, and those that are selected.
func zones(groups []ZoneGroup) (all, selected []string) {
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

func TestZoneGroups(t *testing.T) {
	groups := zoneGroups("Europe/Berlin")
	all, selected := zones(groups)
	slices.Sort(all)
	if !slices.Equal(all, auth.TimeZones()) || !slices.Equal(selected, []string{"Europe/Berlin"}) {
		t.Errorf("%d zones of %d, selected %q", len(all), len(auth.TimeZones()), selected)
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
	for _, zone := range []string{"Asia/Calcutta", "Etc/GMT+5"} { // not on the list, and a person may have it
		all, selected := zones(zoneGroups(zone))
		if len(all) != len(auth.TimeZones())+1 || !slices.Equal(selected, []string{zone}) {
			t.Errorf("%s: %d zones, selected %q", zone, len(all), selected)
		}
	}
	for _, zone := range []string{"", "Local", "Mars/Olympus", "../x"} {
		if all, selected := zones(zoneGroups(zone)); len(all) != len(auth.TimeZones()) || len(selected) != 0 {
			t.Errorf("%q: %d zones, selected %q", zone, len(all), selected)
		}
	}
	if !slices.IsSorted(auth.TimeZones()) || slices.Contains(auth.TimeZones(), "Asia/Calcutta") {
		t.Error("the list itself was changed")
	}
	for _, g := range zoneGroups("UTC") {
		for _, z := range g.Zones {
			if z.ID == "America/Argentina/Buenos_Aires" && (g.Name != "America" || z.City != "Argentina/Buenos Aires") {
				t.Errorf("got %+v in %s", z, g.Name)
			}
		}
	}
}

func TestSessionRows(t *testing.T) {
	now := time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)
	u := &auth.User{Active: true, Epoch: 2}
	rows := sessionRows([]auth.Session{
		{ID: "a", Epoch: 2, LastSeen: now.Add(-time.Hour), Address: "192.0.2.1", Remember: true},
		{ID: "dead", Epoch: 1, LastSeen: now},
		{ID: "b", Epoch: 2, LastSeen: now.Add(-2 * time.Hour)},
		{ID: "me", Epoch: 2, LastSeen: now.Add(-3 * time.Hour)},
	}, u, "me", now)
	want := []SessionRow{
		{ID: "me", Device: "Unknown device", Seen: "now", SeenAt: now, Current: true},
		{ID: "a", Device: "Unknown device", Seen: "1 hour ago", SeenAt: now.Add(-time.Hour), Address: "192.0.2.1", Keep: true},
		{ID: "b", Device: "Unknown device", Seen: "2 hours ago", SeenAt: now.Add(-2 * time.Hour)},
	}
	if !slices.Equal(rows, want) {
		t.Errorf("got %+v, want %+v", rows, want)
	}
}

func TestFormHelpers(t *testing.T) {
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
