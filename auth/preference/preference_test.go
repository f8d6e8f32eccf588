package preference

import (
	"maps"
	"slices"
	"testing"
)

func TestEdit_ValidatesWhatItSets(t *testing.T) {
	for _, c := range []struct {
		value string
		wrong []string
	}{
		{"", nil},
		{"dark", []string{"hour_cycle", "locale"}},
		{"h12", []string{"locale", "theme"}},
		{"pt-BR", []string{"hour_cycle", "theme"}},
		{"pt-br", []string{"hour_cycle", "locale", "theme"}},
	} {
		got := Edit{Theme: &c.value, HourCycle: &c.value, Locale: &c.value}.Validate()
		if wrong := slices.Sorted(maps.Keys(got)); !slices.Equal(wrong, c.wrong) {
			t.Errorf("%q is refused for %q, want %q", c.value, wrong, c.wrong)
		}
	}
	if got := (Edit{}).Validate(); len(got) != 0 {
		t.Errorf("got %v for no edit", got)
	}
	if got := (Set{Locale: "fi"}).DateLocale().Tag + (Set{}).DateLocale().Tag; got != "fien-GB" {
		t.Errorf("got the locales %s", got)
	}
}
