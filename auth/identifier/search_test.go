package identifier

import (
	"strings"
	"testing"
)

func TestFoldSearch_IgnoresCaseAndAccents(t *testing.T) {
	for text, want := range map[string]string{
		"": "", "Zoë": "zoe", "LÖWEN": "lowen", "löwen": "lowen", "Straße": "strasse", "Ångström": "angstrom", "Łódź": "lodz", "Bjørn": "bjorn",
		"İSTANBUL": "istanbul", "ısı": "isi", "Ægir": "aegir", "ΣΊΣΥΦΟΣ": "σισυφοσ", "Йод": "иод", "Ａｌｉｃｅ": "alice", "ﬃ": "ffi",
		"가각": "가각", "กินกัน": "กินกัน", "हिन्दी": "हिन्दी", "مُحَمَّد": "محمد", "a\nB": "a\nb", "50% _\\": "50% _\\", "\u0308": "",
	} {
		if got := FoldSearch(text); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
		// A stored text is folded after ASCII letters were lower-cased, and a folded text may be folded again.
		if got := FoldSearch(want); got != want {
			t.Errorf("%q: folded twice: %q, want %q", text, got, want)
		}
		if got := FoldSearch(lowerASCII(text)); got != want {
			t.Errorf("%q: folded after lower-casing ASCII: %q, want %q", text, got, want)
		}
	}
}

func lowerASCII(s string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			r += 'a' - 'A'
		}
		return r
	}, s)
}

// FuzzFoldSearch: folding is idempotent, so that a text is found by itself however often either was folded.
func FuzzFoldSearch(f *testing.F) {
	for _, s := range []string{"Zoë", "LÖWEN", "İ", "ß", "ΐ", "\u0345", "ᾳ", "ǰ"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		once := FoldSearch(s)
		if twice := FoldSearch(once); twice != once {
			t.Errorf("%q: %q, then %q", s, once, twice)
		}
	})
}
