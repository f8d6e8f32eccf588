package password

import (
	"strings"
	"testing"
	"time"

	"golang.org/x/text/unicode/norm"
)

// legacyPassword is the password of all legacyHashes. Each hash was made by the system itself (Django 3.2, Werkzeug 2.2,
// PHP 8.2, htpasswd of Apache 2.4), except for scrypt: Python's hashlib in the format of Django 4 and Werkzeug 2.3.
const legacyPassword = "wéary-otter-lamp"

var legacyHashes = map[string]string{
	"Django PBKDF2":        "pbkdf2_sha256$1000$saltysalt$UrLtbWjGd+14QGW+ayS1GaTKjwxBs3n5VFCkEQ7T9Ec=",
	"Django bcrypt-SHA256": "bcrypt_sha256$$2b$04$TR3xo4DXP7cXgLHNOJxj2Otdej7w7cFJGTcR0Bcvp6ujHf6zSsMS6",
	"Django bcrypt":        "bcrypt$$2b$04$ZzWV.EoS8R4oTLElUEscSO27dIWLJsIKFxQLbs/HOpEkpTUb5oIfy",
	"Django argon2id":      "argon2$argon2id$v=19$m=102400,t=2,p=8$anE2RTlQVlVSaldDb0dvTVI4S01ONg$9SmptsI3qZtmZS2ot43DDw",
	"Django argon2i":       "argon2$argon2i$v=19$m=64,t=1,p=2$wALphTFuXWNxLmkE0JQGCw$2ESUd97qgTeuK6hU9CgyfQ",
	"Django scrypt":        "scrypt$1024$saltysalt$8$1$lEYhom+K1Q5f9SKHPW9ILPvN7wwBSncqbau1LV28yXeJAmeMHeGw0U7RKEl802f13KnBreaGPzDjECcIEa0eDg==",
	"Werkzeug scrypt":      "scrypt:32768:8:1$saltysalt$763e7387b2522caff7fe712226921104e5afd7e183964f5ce08949f079fa363d040853c59d06e13524c130d7400d9d7e4150c8042d08ba40385bd206199a0658",
	"Werkzeug PBKDF2":      "pbkdf2:sha256:1000$OSDaML009TlhYzUR$1204d39ddbf598e228e6a0ef38629019299adb51aee68326d37b431b94eff00b",
	"Laravel bcrypt":       "$2y$04$cX/wu8y6oT1C7ulsyH0kyuBziNEztDVvJ6seKgP4zEeaH6CCqb2l6",
	"PHP argon2id":         "$argon2id$v=19$m=64,t=1,p=1$bTdhRTQ0Z3dtdnpGLm5iaw$dNppP98Nfp6dsyYL3vtBadsTAy9dVX6gBItRWDD6tkk",
	"PHP argon2i":          "$argon2i$v=19$m=64,t=1,p=1$ZTVOb2RrUXNBUHg5VVpYcw$klaMVj5gypt3EHIAfLIiI6oc7m14zt4emruXOfZDvhw",
	"htpasswd":             "$2y$04$.t12C.IDskaMBitXeznv4ORUu4shcdtKDO6jfILsJvjAakaZZfLBO",
}

func TestLegacyHashes_Verify(t *testing.T) {
	h, err := newHasher(1, 8, time.Minute, DefaultParams)
	if err != nil {
		t.Fatal(err)
	}
	for name, hash := range legacyHashes {
		if err := ValidateLegacyHash(hash); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		match, outdated, err := verify(h, t.Context(), legacyPassword, hash)
		if !match || !outdated || err != nil {
			t.Errorf("%s: got match %t, outdated %t, %v; want an outdated match", name, match, outdated, err)
		}
		for _, wrong := range []string{"", "x", legacyPassword + "x", strings.ToUpper(legacyPassword), norm.NFD.String(legacyPassword)} {
			if match, outdated, err := verify(h, t.Context(), wrong, hash); match || outdated || err != nil {
				t.Errorf("%s: %q: got match %t, outdated %t, %v; want no match", name, wrong, match, outdated, err)
			}
		}
		// The typed password counts, whatever its normalized form is.
		if match, _, err := h.Verify(t.Context(), "something else", legacyPassword, hash); !match || err != nil {
			t.Errorf("%s: the password as typed does not match: %v", name, err)
		}
		for cut := 1; cut < len(hash); cut += 7 {
			if match, _, err := verify(h, t.Context(), legacyPassword, hash[:cut]); match || err != nil {
				t.Errorf("%s: the first %d bytes of the hash: got match %t, %v; want no match", name, cut, match, err)
			}
		}
	}
}

// TestLegacyHashes_AreBounded: a hash whose cost parameters exceed the limits is never computed.
func TestLegacyHashes_AreBounded(t *testing.T) {
	for hash, says := range map[string]string{
		"":                                  "no usable password",
		"!DJqWe5":                           "no usable password",
		"*":                                 "no usable password",
		"x":                                 "not of a supported kind",
		"$apr1$HiDb33pW$09LBUYK":            "apr1",
		"{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=": "SHA-1",
		"md5$salt$0cc175b9c0f1b6a831c399e269772661": "MD5",
		"pbkdf2_sha1$1000$s$x":                      "SHA-1",
		"pbkdf2:sha512:1000$s$x":                    "SHA-512",
		"pbkdf2:sha1:1000$s$x":                      "SHA-1",
		"$6$salt$x":                                 "SHA-512-crypt",
		strings.Repeat("a", 2000):                   "longer",
		"pbkdf2_sha256$99999999$saltysalt$UrLtbWjGd+14QGW+ayS1GaTKjwxBs3n5VFCkEQ7T9Ec=": "too high or too low",
		"pbkdf2_sha256$0$saltysalt$UrLtbWjGd+14QGW+ayS1GaTKjwxBs3n5VFCkEQ7T9Ec=":        "too high or too low",
		"pbkdf2_sha256$-1$saltysalt$UrLtbWjGd+14QGW+ayS1GaTKjwxBs3n5VFCkEQ7T9Ec=":       "too high or too low",
		"pbkdf2_sha256$1000$$UrLtbWjGd+14QGW+ayS1GaTKjwxBs3n5VFCkEQ7T9Ec=":              "damaged",
		"pbkdf2_sha256$1000$saltysalt$UrLt":                                             "damaged",
		"pbkdf2_sha256$1000$saltysalt$":                                                 "damaged",
		"pbkdf2_sha256$1000":                                                            "damaged",
		"pbkdf2:sha256:1000$salt$zz":                                                    "damaged",
		"$2y$31$cX/wu8y6oT1C7ulsyH0kyuBziNEztDVvJ6seKgP4zEeaH6CCqb2l6":                  "too high or too low",
		"$2y$04$cX": "damaged",
		"$2y$04$cX/wu8y6oT1C7ulsyH0kyuBziNEztDVvJ6seKgP4zEeaH6CCqb2=":                                        "damaged",
		"pbkdf2:sha256$saltsalt$" + strings.Repeat("00", 32):                                                 "number of PBKDF2 rounds",
		"scrypt:1048576:1024:1$salt$" + strings.Repeat("00", 64):                                             "too high or too low",
		"scrypt:32767:8:1$salt$" + strings.Repeat("00", 64):                                                  "too high or too low",
		"scrypt:2:524288:16$salt$" + strings.Repeat("00", 64):                                                "too high or too low",
		"argon2$correct-horse$v=19$m=64,t=1,p=1$bTdhRTQ0Z3dtdnpGLm5iaw$dNppP98Nfp6dsyYL3vtBadsTAy9":          "damaged",
		"scrypt:32768:8:99$salt$" + strings.Repeat("00", 64):                                                 "too high or too low",
		"scrypt:32768:8$salt$" + strings.Repeat("00", 64):                                                    "damaged",
		"scrypt:2147483647:2147483647:1$salt$" + strings.Repeat("00", 64):                                    "too high or too low",
		"$argon2d$v=19$m=64,t=1,p=1$bTdhRTQ0$dNppP98Nfp6dsyYL3vtBadsTAy9d":                                   "argon2d",
		"$argon2id$v=16$m=64,t=1,p=1$bTdhRTQ0Z3dtdnpGLm5iaw$dNppP98Nfp6dsyYL3vtBadsTAy9":                     "old version",
		"$argon2i$v=19$m=4194304,t=1,p=1$bTdhRTQ0Z3dtdnpGLm5iaw$dNppP98Nfp6dsyYL3vtBadsTAy9dVX6gBItRWDD6tkk": "4096 MiB and 1 pass; an imported one may use at most 256 MiB and 10 passes",
		"$argon2i$v=19$m=64,t=0,p=1$bTdhRTQ0Z3dtdnpGLm5iaw$dNppP98Nfp6dsyYL3vtBadsTAy9dVX6gBItRWDD6tkk":      "too high or too low",
		"$argon2i$v=19$m=64,t=1,p=0$bTdhRTQ0Z3dtdnpGLm5iaw$dNppP98Nfp6dsyYL3vtBadsTAy9dVX6gBItRWDD6tkk":      "too high or too low",
		"$argon2i$v=19$m=64,t=1,p=1$bTdhRTQ0Z3dtdnpGLm5iaw$dNpp":                                             "damaged",
	} {
		err := ValidateLegacyHash(hash)
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%.60q: got %v, want an error with %q", hash, err, says)
		}
		if err != nil && len(hash) > 20 && (strings.Contains(err.Error(), hash[len(hash)-12:]) || strings.Contains(err.Error(), "correct")) {
			t.Errorf("the error contains the hash: %v", err)
		}
	}
}

// TestLegacyHashes_BcryptTruncatesAt72Bytes: bcrypt ignores everything after 72 bytes, and both systems accept longer
// passwords. Django hashes the SHA-256 and has no such limit.
func TestLegacyHashes_BcryptTruncatesAt72Bytes(t *testing.T) {
	long := strings.Repeat("otter-lamp-", 9)
	for name, c := range map[string]struct {
		hash    string
		matches map[string]bool
	}{
		"PHP":      {"$2y$04$kFlHKyFJ7qceIm2SzZgoI.GKhTCUbTRzWpBtoxT9RO3eCeQU1Rq1G", map[string]bool{long: true, long[:72]: true, long[:71]: false}},
		"htpasswd": {"$2y$04$gSE22fBGbA6tR26v0JMrE.S4YZwHid0GnHUKfa0JDg3DzaiVjB8xm", map[string]bool{long: true, long[:72]: true, long[:71]: false}},
		"Django":   {"bcrypt_sha256$$2b$04$XmCVzSP0twM.jJtgLgDp2u4stKqbK.RZFbit.uuLb2Kzz6Yb/EIRK", map[string]bool{long: true, long[:72]: false, long[:98]: false}},
	} {
		check, err := parseLegacyHash(c.hash)
		if err != nil {
			t.Fatal(err)
		}
		for password, want := range c.matches {
			if got := check(password); got != want {
				t.Errorf("%s: the first %d bytes: got match %t, want %t", name, len(password), got, want)
			}
		}
	}
}

func FuzzLegacyHash(f *testing.F) {
	for _, hash := range legacyHashes {
		f.Add(hash)
	}
	f.Add("$argon2id$v=19$m=,t=,p=$$")
	f.Add("scrypt$$$$$")
	f.Fuzz(func(t *testing.T, hash string) {
		check, err := parseLegacyHash(hash)
		if (check == nil) == (err == nil) {
			t.Fatalf("%q: got both a check and an error, or neither", hash)
		}
		if err != nil && (err.Error() == "" || len(err.Error()) > 300) {
			t.Fatalf("%q: %v", hash, err)
		}
	})
}
