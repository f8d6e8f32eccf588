package auth

import (
	"strings"
	"testing"
	"time"
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
			t.Errorf("%+q is %+q for a sign-in and %+q for a registration", raw, name, chosen)
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

func FuzzCanonicalName(f *testing.F) {
	for _, s := range []string{"Alice", " Jose\u0301  B. ", "\u3000", "\u200d", "👩\u200d🚀", "a\xff", "\u0340"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		name, err := CanonicalName(raw)
		if err != nil {
			return
		}
		if again, err := CanonicalName(name); err != nil || again != name {
			t.Errorf("%+q became %+q, and that %+q, %v", raw, name, again, err)
		}
		if utf8.RuneCountInString(name) > MaxName || !utf8.ValidString(name) || strings.ContainsAny(name, "\x00\r\n\t") {
			t.Errorf("%+q became %+q", raw, name)
		}
	})
}

func FuzzPasswordPolicy(f *testing.F) {
	for _, s := range []string{"correct horse battery", "password", "éééééééé", "cafe\u0301 au lait", "\xff", "a\x00", "alice123", "日本語の秘密の言葉", "1999-12-31", "qwertz!\"§$%&/()="} {
		f.Add(s, "Alice")
	}
	policy := PasswordPolicy{MinLength: 8}
	h, err := newHasher(1, 1, time.Minute, cheap)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, raw, about string) {
		s := policy.Strength(raw, about)
		password, err := policy.Check(raw, about)
		if err != nil {
			if s.Score > 1 || s.Message != err.Error() || password != "" || !utf8.ValidString(s.Message) {
				t.Errorf("%+q is refused (%v) and looks like %+v", raw, err, s)
			}
			return
		}
		if s.Score < 2 || s.Message != "" {
			t.Errorf("%+q is accepted and looks like %+v", raw, s)
		}
		if n := utf8.RuneCountInString(password); n < policy.MinLength || n > MaxPassword {
			t.Errorf("%+q of %d characters is accepted", raw, n)
		}
		if again, ok := NormalizePassword(raw); !ok || again != password {
			t.Errorf("%+q is stored as %+q and checked as %+q, %v", raw, password, again, ok)
		}
		if again, ok := NormalizePassword(password); !ok || again != password {
			t.Errorf("%+q became %+q, and that %+q, %v", raw, password, again, ok)
		}
		hash, err := h.Hash(t.Context(), password)
		if err != nil {
			t.Fatal(err)
		}
		if match, _, err := h.Check(t.Context(), password, hash); !match || err != nil {
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
			return // costly ones are as slow as they say
		}
		if match, _, err := h.Check(t.Context(), "another", stored); match || err != nil {
			t.Errorf("Check against %q = %v, %v", stored, match, err)
		}
	})
}

func FuzzParseKeys(f *testing.F) {
	for _, s := range []string{"", ",", secretOf(1, 32), secretOf(1, 32) + "," + secretOf(2, 33), secretOf(1, 31), "hunter2", "_-+/" + secretOf(1, 32)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, setting string) {
		k, err := ParseKeys(setting)
		if err == nil {
			for _, s := range k.secrets {
				if len(s) < MinSecretBytes {
					t.Errorf("a key of %d octets", len(s))
				}
			}
			if alice := (User{ID: "u1"}); !k.TrustsDevice(k.NewDeviceCookie(alice), alice) {
				t.Error("the keys do not verify what they signed")
			}
			return
		}
		if k.secrets != nil {
			t.Error("keys and an error")
		}
		for part := range strings.SplitSeq(setting, ",") {
			if part = strings.TrimSpace(part); len(part) > 7 && strings.Contains(err.Error(), part) && !strings.Contains("key 1 is not base64 has 31 bytes; at least 32 are needed", part) {
				t.Errorf("the error %q holds the value", err)
			}
		}
	})
}

func FuzzBrowserCookie(f *testing.F) {
	k, err := ParseKeys(secretOf(1, 32))
	if err != nil {
		f.Fatal(err)
	}
	cookie := k.NewDeviceCookie(User{ID: "alice"})
	id, signature, _ := strings.Cut(cookie, ".")
	for _, s := range []string{cookie, id, "." + signature, signature + "." + id, strings.Repeat("A", 66), k.NewDeviceCookie(User{ID: "bob"}), "\x00", cookie + "\n"} {
		f.Add(s, "alice")
	}
	f.Fuzz(func(t *testing.T, value, userID string) {
		// Who holds no key can only repeat what we issued, but for the two spare bits at the end of base64.
		if k.TrustsDevice(value, User{ID: userID}) && (userID != "alice" || !strings.HasPrefix(value, id+".") || !IsDeviceCookie(value)) {
			t.Errorf("%q is known for %q", value, userID)
		}
	})
}

func FuzzTokenID(f *testing.F) {
	good := NewTokenSecret()
	for _, s := range []string{good, "", TokenPrefix, good[:len(good)-1], good + "0", strings.ToUpper(good), TokenPrefix + strings.Repeat("0", 38), "\xff", good[1:] + "g"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, secret string) {
		id, err := TokenID(secret)
		if err != nil {
			if err != ErrTokenMalformed || id != "" {
				t.Errorf("%q: got %q, %v", secret, id, err)
			}
			return
		}
		if !strings.HasPrefix(secret, TokenPrefix) || len(secret) != len(TokenPrefix)+38 || len(id) != 43 || id != SessionID(secret) {
			t.Errorf("%q has the id %q", secret, id)
		}
		// Nobody types it wrong unnoticed.
		for i := range secret {
			wrong := []byte(secret)
			wrong[i] ^= 1
			if _, err := TokenID(string(wrong)); err == nil {
				t.Errorf("%q is taken for %q", wrong, secret)
			}
		}
	})
}
