package auth

import (
	"bytes"
	"encoding/base64"
	"slices"
	"strings"
	"testing"
)

func secretOf(b byte, n int) string {
	return base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{b}, n))
}

func parseKeys(t testing.TB, setting string) Keys {
	t.Helper()
	k, err := ParseKeys(setting)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestParseKeys_AcceptsEveryBase64Form(t *testing.T) {
	secret := bytes.Repeat([]byte{0xfb, 0xff, 0x3e}, 16)
	for _, setting := range []string{
		base64.StdEncoding.EncodeToString(secret[:32]), base64.RawStdEncoding.EncodeToString(secret[:32]),
		base64.URLEncoding.EncodeToString(secret[:32]), base64.RawURLEncoding.EncodeToString(secret[:32]),
		" " + base64.StdEncoding.EncodeToString(secret[:32]) + "\n",
	} {
		k, err := ParseKeys(setting)
		if err != nil || len(k.secrets) != 1 || !bytes.Equal(k.secrets[0], secret[:32]) {
			t.Errorf("ParseKeys(%q) = %v, %v", setting, k, err)
		}
	}
	if k := parseKeys(t, secretOf(1, 32)+", "+secretOf(2, 64)); len(k.secrets) != 2 {
		t.Errorf("got %d keys, want 2", len(k.secrets))
	}
	one, two := NewSecretKey(), NewSecretKey()
	if _, err := ParseKeys(one); err != nil || one == two {
		t.Errorf("NewSecretKey: got %v, or the same key twice", err)
	}
}

func TestParseKeys_RefusesInvalidSettings(t *testing.T) {
	short := base64.StdEncoding.EncodeToString([]byte("thirty-one bytes are one short."))
	for setting, want := range map[string]string{
		"":                             "key 1 has 0 bytes; at least 32 are needed",
		",":                            "key 1 has 0 bytes; at least 32 are needed",
		short:                          "key 1 has 31 bytes; at least 32 are needed",
		"hunter2 is no base64!":        "key 1 is not base64",
		secretOf(1, 32) + ",":          "key 2 has 0 bytes; at least 32 are needed",
		secretOf(1, 32) + "," + short:  "key 2 has 31 bytes; at least 32 are needed",
		secretOf(1, 32) + ",hunter2!!": "key 2 is not base64",
	} {
		k, err := ParseKeys(setting)
		if err == nil || err.Error() != want || k.secrets != nil {
			t.Errorf("ParseKeys(%q) gave %d keys and %v; want the error %q", setting, len(k.secrets), err, want)
		}
		for part := range strings.SplitSeq(setting, ",") {
			if err != nil && part != "" && strings.Contains(err.Error(), part) {
				t.Errorf("the error %q contains the value", err)
			}
		}
	}
}

func TestKeys_Rotate(t *testing.T) {
	old, newer := secretOf(1, 32), secretOf(2, 32)
	before, during, after := parseKeys(t, old), parseKeys(t, newer+","+old), parseKeys(t, newer)
	signed := before.sign(accountPurpose, "a")
	if !during.verify(signed, accountPurpose, "a") {
		t.Error("a listed old key does not verify")
	}
	if after.verify(signed, accountPurpose, "a") {
		t.Error("a removed key still verifies")
	}
	signed = during.sign(accountPurpose, "a")
	if !after.verify(signed, accountPurpose, "a") || before.verify(signed, accountPurpose, "a") {
		t.Error("the first key does not sign")
	}
}

func TestSign_CoversPurposeAndFields(t *testing.T) {
	k := parseKeys(t, secretOf(1, 32))
	signed := k.sign(accountPurpose, "ab", "c")
	if len(signed) != 32 || !k.verify(signed, accountPurpose, "ab", "c") {
		t.Fatal("a signature does not verify")
	}
	for name, other := range map[string][]byte{
		"another purpose":        k.sign(failurePurpose, "ab", "c"),
		"moved boundary":         k.sign(accountPurpose, "a", "bc"),
		"joined":                 k.sign(accountPurpose, "abc"),
		"extra empty field":      k.sign(accountPurpose, "ab", "c", ""),
		"leading empty field":    k.sign(accountPurpose, "", "ab", "c"),
		"other order":            k.sign(accountPurpose, "c", "ab"),
		"no fields":              k.sign(accountPurpose),
		"the purpose as a field": k.sign(failurePurpose, accountPurpose, "ab", "c"),
		"another key":            parseKeys(t, secretOf(2, 32)).sign(accountPurpose, "ab", "c"),
		"nothing":                nil,
		"truncated":              signed[:31],
		"extended":               append(bytes.Clone(signed), 0),
	} {
		if k.verify(other, accountPurpose, "ab", "c") {
			t.Errorf("%s: the signature verifies", name)
		}
	}
}

func TestDeviceCookie_IsBoundToUserAndEpoch(t *testing.T) {
	k := parseKeys(t, secretOf(1, 32))
	alice := User{ID: "u1", Username: "alice", Epoch: 3}
	cookie := k.NewDeviceCookie(alice)
	if !k.TrustsDevice(cookie, alice) || !IsDeviceCookie(cookie) || strings.Contains(cookie, "alice") || strings.Contains(cookie, "u1") {
		t.Fatalf("the cookie %q is not trusted, or names its user", cookie)
	}
	if k.NewDeviceCookie(alice) == cookie {
		t.Error("two device cookies are equal")
	}
	if !parseKeys(t, secretOf(2, 32)+","+secretOf(1, 32)).TrustsDevice(cookie, alice) {
		t.Error("a cookie signed with a listed old key is not trusted")
	}
	id, signature, _ := strings.Cut(cookie, ".")
	otherID, _, _ := strings.Cut(k.NewDeviceCookie(alice), ".")
	for name, forged := range map[string]string{
		"empty":             "",
		"no signature":      id + ".",
		"no id":             "." + signature,
		"other id":          otherID + "." + signature,
		"swapped":           signature + "." + id,
		"no dot":            strings.ReplaceAll(cookie, ".", "x"),
		"dot moved":         id[:21] + "." + id[21:] + signature,
		"changed signature": id + "." + strings.Repeat("A", 43),
		"not base64":        id + "." + strings.Repeat("!", 43),
		"longer":            cookie + "A",
		"huge":              strings.Repeat(cookie, 10000),
		"another key":       parseKeys(t, secretOf(2, 32)).NewDeviceCookie(alice),
		"another user":      k.NewDeviceCookie(User{ID: "u2", Epoch: 3}),
		"another epoch":     k.NewDeviceCookie(User{ID: "u1", Epoch: 4}),
		"no user":           k.NewDeviceCookie(User{}),
	} {
		if k.TrustsDevice(forged, alice) {
			t.Errorf("%s: %.80q is trusted", name, forged)
		}
	}
}

// TestThrottleKeys_SurviveARotation: counts are found under every key that SECRET_KEY lists.
func TestThrottleKeys_SurviveARotation(t *testing.T) {
	before, during, after := parseKeys(t, secretOf(1, 32)), parseKeys(t, secretOf(2, 32)+","+secretOf(1, 32)), parseKeys(t, secretOf(2, 32))
	if got, want := during.accountKeys("alice"), []string{after.AccountKey("alice"), before.AccountKey("alice")}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	of := func(k Keys) []FailureFingerprint { return k.failures("alice", "192.0.2.7", "u1", "password") }
	if got, want := of(during), append(of(after), of(before)...); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestFailures_AreKeyed: a fingerprint reveals nothing without the key and differs for each password, name and network.
func TestFailures_AreKeyed(t *testing.T) {
	k := parseKeys(t, secretOf(1, 32))
	one := k.failures("alice", "192.0.2.7", "u1", "password")[0]
	if again := k.failures("alice", "192.0.2.7", "u1", "password")[0]; again != one {
		t.Errorf("got %+v and %+v for the same failure", one, again)
	}
	if text := one.Key + one.Digest; strings.Contains(text, "alice") || strings.Contains(text, "password") || strings.Contains(text, "192") {
		t.Errorf("the fingerprint contains plain text: %+v", one)
	}
	for what, other := range map[string]FailureFingerprint{
		"another key":     parseKeys(t, secretOf(2, 32)).failures("alice", "192.0.2.7", "u1", "password")[0],
		"another name":    k.failures("bob", "192.0.2.7", "u1", "password")[0],
		"another network": k.failures("alice", "192.0.2.8", "u1", "password")[0],
	} {
		if other.Key == one.Key || other.Digest == one.Digest {
			t.Errorf("%s: %+v and %+v", what, one, other)
		}
	}
	if other := k.failures("alice", "192.0.2.7", "u1", "Password")[0]; other.Key != one.Key || other.Digest == one.Digest {
		t.Errorf("another password: %+v and %+v", one, other)
	}
}
