package timezone

import (
	"slices"
	"strings"
	"testing"
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
