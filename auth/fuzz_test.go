package auth

import (
	"strings"
	"testing"
)

func FuzzParseKeys(f *testing.F) {
	for _, s := range []string{"", ",", secretOf(1, 32), secretOf(1, 32) + "," + secretOf(2, 33), secretOf(1, 31), "hunter2", "_-+/" + secretOf(1, 32)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, setting string) {
		k, err := ParseKeys(setting)
		if err == nil {
			for _, s := range k.secrets {
				if len(s) < MinSecretBytes {
					t.Errorf("accepted a key of %d bytes", len(s))
				}
			}
			if alice := (User{ID: "u1"}); !k.TrustsDevice(k.NewDeviceCookie(alice), alice) {
				t.Error("the keys do not verify their own signature")
			}
			return
		}
		if k.secrets != nil {
			t.Errorf("got keys and the error %v", err)
		}
		for part := range strings.SplitSeq(setting, ",") {
			if part = strings.TrimSpace(part); len(part) > 7 && strings.Contains(err.Error(), part) && !strings.Contains("key 1 is not base64 has 31 bytes; at least 32 are needed", part) {
				t.Errorf("the error %q contains the value", err)
			}
		}
	})
}

func FuzzDeviceCookie(f *testing.F) {
	k, err := ParseKeys(secretOf(1, 32))
	if err != nil {
		f.Fatal(err)
	}
	// The cookie is constant, because every fuzzing process calls this function.
	const cookie = "nW-qSf4YS7En8h9L-ttgQQ.QGzTMW18OblkmA4JF_shHvxEaMiCN81O5jT9NZtM4Kc"
	if !k.TrustsDevice(cookie, User{ID: "alice"}) {
		f.Fatal("the cookie is not alice's")
	}
	id, signature, _ := strings.Cut(cookie, ".")
	for _, s := range []string{cookie, id, "." + signature, signature + "." + id, strings.Repeat("A", 66), k.NewDeviceCookie(User{ID: "bob"}), "\x00", cookie + "\n"} {
		f.Add(s, "alice")
	}
	f.Fuzz(func(t *testing.T, value, userID string) {
		// Without the key only an issued cookie is trusted, apart from the two spare bits at the end of base64.
		if k.TrustsDevice(value, User{ID: userID}) && (userID != "alice" || !strings.HasPrefix(value, id+".") || !IsDeviceCookie(value)) {
			t.Errorf("%q is trusted for %q", value, userID)
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
				t.Errorf("%q: got %q, %v; want ErrTokenMalformed and no id", secret, id, err)
			}
			return
		}
		if !strings.HasPrefix(secret, TokenPrefix) || len(secret) != len(TokenPrefix)+38 || len(id) != 43 || id != SessionID(secret) {
			t.Errorf("%q has the id %q", secret, id)
		}
		// Every single-character typo is detected.
		for i := range secret {
			wrong := []byte(secret)
			wrong[i] ^= 1
			if _, err := TokenID(string(wrong)); err == nil {
				t.Errorf("the mistyped %q of %q is accepted", wrong, secret)
			}
		}
	})
}
