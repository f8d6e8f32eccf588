package password

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func FuzzPasswordPolicy(f *testing.F) {
	for _, s := range []string{"correct horse battery", "password", "éééééééé", "cafe\u0301 au lait", "\xff", "a\x00", "alice123", "日本語の秘密の言葉", "1999-12-31", "qwertz!\"§$%&/()="} {
		f.Add(s, "Alice")
	}
	policy := Policy{MinLength: 8}
	h, err := newHasher(1, 1, time.Minute, cheap)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, raw, about string) {
		s := policy.Strength(raw, about)
		password, err := policy.Check(raw, about)
		if err != nil {
			if s.Score > 1 || s.Message != err.Error() || password != "" || !utf8.ValidString(s.Message) {
				t.Errorf("%+q is refused (%v) but has the strength %+v", raw, err, s)
			}
			return
		}
		if s.Score < 2 || s.Message != "" {
			t.Errorf("%+q is accepted but has the strength %+v", raw, s)
		}
		if n := utf8.RuneCountInString(password); n < policy.MinLength || n > MaxLength {
			t.Errorf("%+q of %d characters is accepted", raw, n)
		}
		if again, ok := Normalize(raw); !ok || again != password {
			t.Errorf("%+q is stored as %+q and checked as %+q, %v", raw, password, again, ok)
		}
		if again, ok := Normalize(password); !ok || again != password {
			t.Errorf("%+q became %+q, and that %+q, %v", raw, password, again, ok)
		}
		hash, err := h.Hash(t.Context(), password)
		if err != nil {
			t.Fatal(err)
		}
		if match, _, err := verify(h, t.Context(), password, hash); !match || err != nil {
			t.Errorf("%+q does not match its own hash: %v", raw, err)
		}
	})
}

func FuzzStoredHash(f *testing.F) {
	h, err := newHasher(1, 1, time.Minute, cheap)
	if err != nil {
		f.Fatal(err)
	}
	hash, err := h.Hash(f.Context(), "secret")
	if err != nil {
		f.Fatal(err)
	}
	for _, s := range []string{hash, "", "x", hash[:len(hash)-1], hash + "$", "$argon2id$v=19$m=8,t=0,p=1$c2FsdA$a2V5"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, stored string) {
		if strings.Contains(stored, "m=") && !strings.Contains(stored, "m=8,t=1,") {
			return // expensive parameters would be slow
		}
		if match, _, err := verify(h, t.Context(), "another", stored); match || err != nil {
			t.Errorf("Verify against %q = %v, %v; want no match", stored, match, err)
		}
	})
}
