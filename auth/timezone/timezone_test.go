package timezone

import (
	"slices"
	"strings"
	"testing"
	"time"
)

func TestNames_AreSortedAndLoadable(t *testing.T) {
	zones := Names()
	if len(zones) < 300 || !slices.IsSorted(zones) || len(slices.Compact(slices.Clone(zones))) != len(zones) {
		t.Errorf("got %d zones, sorted: %v; want at least 300, sorted and without duplicates", len(zones), slices.IsSorted(zones))
	}
	for _, name := range append([]string{"UTC", "Asia/Calcutta", "America/Buenos_Aires", "Etc/GMT+5"}, zones...) {
		l, ok := Load(name)
		if !ok || l.String() != name {
			t.Errorf("Load(%q) = %v, %v", name, l, ok)
		}
	}
	if !slices.Contains(zones, "Europe/Berlin") || !slices.Contains(zones, "UTC") {
		t.Error("Europe/Berlin or UTC is missing")
	}
}

func TestLoad_RefusesUnknownNames(t *testing.T) {
	for _, name := range []string{
		"", "Local", "local", "localtime", "posixrules", "right/Europe/Berlin", "posix/Europe/Berlin", "../x", "../../etc/passwd", "/etc/localtime",
		"Europe/../Europe/Berlin", "Europe", "Europe/", "Europe/Nowhere", `Europe\Berlin`, "europe/berlin ", "Europe/Berlin\x00", "zone.tab",
		strings.Repeat("x", 65), strings.Repeat("A", 1<<20),
	} {
		for range 2 { // the second call may be answered from memory
			if l, ok := Load(name); ok || l != nil {
				t.Errorf("Load(%.40q) = %v, want it refused", name, l)
			}
		}
	}
}

func TestLabel_BeginsWithTheCity(t *testing.T) {
	at := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	for name, want := range map[string]string{
		"Europe/Berlin":                  "Berlin (UTC+01:00)",
		"America/Argentina/Buenos_Aires": "Buenos Aires, Argentina (UTC−03:00)",
		"America/North_Dakota/New_Salem": "New Salem, North Dakota (UTC−06:00)",
		"Asia/Kathmandu":                 "Kathmandu (UTC+05:45)",
		"Europe/London":                  "London (UTC+00:00)",
		"UTC":                            "UTC",
		"Etc/UTC":                        "UTC",
		"Etc/GMT":                        "UTC",
		"Etc/GMT+5":                      "UTC−05:00", // the sign is that of POSIX
		"Etc/GMT-14":                     "UTC+14:00",
		"EST5EDT":                        "EST5EDT (UTC−05:00)",
	} {
		if got := Label(name, at); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
	if got := Label("Europe/Berlin", at.AddDate(0, 7, 0)); got != "Berlin (UTC+02:00)" {
		t.Errorf("in summer: got %q", got)
	}
	labels := map[string]string{}
	for _, name := range Names() {
		label := Label(name, at)
		if other, taken := labels[label]; taken {
			t.Errorf("%s and %s are both labeled %q", name, other, label)
		}
		labels[label] = name
	}
}

func TestAbbreviation_IsTheOffsetWithoutOne(t *testing.T) {
	at := time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)
	for name, want := range map[string]string{
		"UTC": "UTC", "Europe/Berlin": "CEST", "America/New_York": "EDT", "America/Sao_Paulo": "UTC−03:00", "Asia/Kathmandu": "UTC+05:45", "Etc/GMT+5": "UTC−05:00",
	} {
		l, ok := Load(name)
		if got := Abbreviation(at.In(l)); !ok || got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
}
