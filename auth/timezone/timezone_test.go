package timezone

import (
	"slices"
	"strings"
	"testing"
)

func TestNames_AreSortedAndLoadable(t *testing.T) {
	zones := Names()
	if len(zones) < 300 || !slices.IsSorted(zones) || len(slices.Compact(slices.Clone(zones))) != len(zones) {
		t.Errorf("%d zones, sorted: %v, or some are there twice", len(zones), slices.IsSorted(zones))
	}
	for _, name := range append([]string{"UTC", "Asia/Calcutta", "America/Buenos_Aires", "Etc/GMT+5"}, zones...) {
		l, ok := Load(name)
		if !ok || l.String() != name {
			t.Errorf("Location(%q) = %v, %v", name, l, ok)
		}
	}
	if !slices.Contains(zones, "Europe/Berlin") || !slices.Contains(zones, "UTC") {
		t.Error("Europe/Berlin or UTC is missing")
	}
}

func TestLocationRefuses(t *testing.T) {
	for _, name := range []string{
		"", "Local", "local", "localtime", "posixrules", "right/Europe/Berlin", "posix/Europe/Berlin", "../x", "../../etc/passwd", "/etc/localtime",
		"Europe/../Europe/Berlin", "Europe", "Europe/", "Europe/Nowhere", `Europe\Berlin`, "europe/berlin ", "Europe/Berlin\x00", "zone.tab",
		strings.Repeat("x", 65), strings.Repeat("A", 1<<20),
	} {
		for range 2 { // the second answer may come from memory
			if l, ok := Load(name); ok || l != nil {
				t.Errorf("Location(%.40q) = %v", name, l)
			}
		}
	}
}
