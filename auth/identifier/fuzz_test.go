package identifier

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func FuzzCanonicalUsername(f *testing.F) {
	for _, s := range []string{"alice", "Ａｌｉｃｅ", "Jose\u0301", "al\u200bice", "שלום", "ΑΣ", "ǅ", "İstanbul", "ﷺ", "ﬁ", "\u0345a", "a\xff", "K\u212a", "ẞ"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		name, err := CanonicalUsername(raw)
		if err != nil {
			if name != "" || !utf8.ValidString(err.Error()) {
				t.Errorf("%+q: refused with %q and the name %+q", raw, err, name)
			}
			return
		}
		if again, err := CanonicalUsername(name); err != nil || again != name {
			t.Errorf("%+q became %+q, and that %+q, %v", raw, name, again, err)
		}
		if n := utf8.RuneCountInString(name); n < 1 || n > MaxUsername || !utf8.ValidString(name) || strings.ContainsAny(name, "\x00<>\"'&@/\\ :") {
			t.Errorf("%+q became %+q of %d characters", raw, name, n)
		}
		if chosen, err := NewUsername(raw); err == nil && chosen != name {
			t.Errorf("%+q is %+q at sign-in and %+q at registration", raw, name, chosen)
		}
	})
}

func FuzzCanonicalEmail(f *testing.F) {
	for _, s := range []string{"alice@example.org", "Jose\u0301@BÜCHER.example", "a@b@c.d", `"a b"@example.org`, "a@xn--a.example", "\u212a@example.org", "İ@example.org", "a@１.example", "a@example。org", "0@0000000。", "a@b\u2135c.org"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		email, err := CanonicalEmail(raw)
		if err != nil {
			if email != "" {
				t.Errorf("%+q: refused with the address %+q", raw, email)
			}
			return
		}
		if again, err := CanonicalEmail(email); err != nil || again != email {
			t.Errorf("%+q became %+q, and that %+q, %v", raw, email, again, err)
		}
		if len(email) > MaxEmail || !utf8.ValidString(email) || strings.ContainsAny(email, "\x00\r\n\t <>,;") {
			t.Errorf("%+q became %+q", raw, email)
		}
		if email != "" && strings.Count(email, "@") != 1 {
			t.Errorf("%+q became %+q", raw, email)
		}
	})
}

func FuzzCanonicalDisplayName(f *testing.F) {
	for _, s := range []string{"Alice", " Jose\u0301  B. ", "\u3000", "\u200d", "👩\u200d🚀", "a\xff", "\u0340"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		name, err := CanonicalDisplayName(raw)
		if err != nil {
			return
		}
		if again, err := CanonicalDisplayName(name); err != nil || again != name {
			t.Errorf("%+q became %+q, and that %+q, %v", raw, name, again, err)
		}
		if utf8.RuneCountInString(name) > MaxDisplayName || !utf8.ValidString(name) || strings.ContainsAny(name, "\x00\r\n\t") {
			t.Errorf("%+q became %+q", raw, name)
		}
	})
}
