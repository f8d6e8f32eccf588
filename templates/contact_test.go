package templates

import "testing"

func TestContactLink_LinksAddressesOnly(t *testing.T) {
	for text, want := range map[string]string{
		"":                                    "",
		"Ask Ann, room 12.":                   "",
		"help@example.org":                    "mailto:help@example.org",
		"help+id@example.org":                 "mailto:help+id@example.org",
		"a?b&c@example.org":                   "mailto:a%3Fb&c@example.org",
		"https://help.example.org/x?a=b":      "https://help.example.org/x?a=b",
		"javascript:alert(1)":                 "",
		"javascript:alert(1)//@example.org.":  "mailto:javascript:alert%281%29//@example.org.",
		"Write to help@example.org, or call.": "",
		"@example.org":                        "",
		"ann@localhost":                       "",
	} {
		if got := contactLink(text); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}
