package password

import (
	"bufio"
	"compress/gzip"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"gatehouse/internal/testkit"
)

// long returns a strong password of n characters.
func long(n int) string {
	return strings.Repeat("correct horse battery staple ", n/29+1)[:n]
}

func TestNormalize_ComposesAndLimits(t *testing.T) {
	for raw, want := range map[string]string{
		"a":                                  "a",
		"  spaced out  ":                     "  spaced out  ",
		"CaseCounts":                         "CaseCounts",
		"cafe\u0301":                         "caf\u00e9",
		"Ａ":                                  "Ａ", // no width folding
		"tab\tnewline\n":                     "tab\tnewline\n",
		strings.Repeat("x", 128):             strings.Repeat("x", 128),
		strings.Repeat("😀", 128):             strings.Repeat("😀", 128),
		strings.Repeat("e\u0301", 128):       strings.Repeat("é", 128),
		strings.Repeat("\u1ead", 128):        strings.Repeat("\u1ead", 128),
		strings.Repeat("a\u0323\u0302", 128): strings.Repeat("\u1ead", 128),
	} {
		if got, ok := Normalize(raw); !ok || got != want {
			t.Errorf("Normalize(%.20q) = %.20q, %v; want %.20q", raw, got, ok, want)
		}
	}
	for _, raw := range []string{"", strings.Repeat("x", 129), strings.Repeat("😀", 129), "nul\x00", "bad\xff", strings.Repeat("x", 1<<20)} {
		if _, ok := Normalize(raw); ok {
			t.Errorf("Normalize(%.20q…) accepted %d bytes", raw, len(raw))
		}
	}
}

func TestPolicy_Check(t *testing.T) {
	policy := Policy{MinLength: 8}
	about := []string{"Alice.Liddell", "Alice Liddell", "alice@wonderland.example"}
	const damaged = "Some characters are invalid. Enter the password again."
	const guessable = "Too easy to guess: it is common or follows a simple pattern. A few unrelated words make a good password."
	mostly := func(w string) string {
		return fmt.Sprintf("Too easy to guess: it is mostly %q. Choose something that is not about you or this site.", w)
	}
	for raw, want := range map[string]string{
		"correct horse battery": "",
		"vK3$xQ9!":              "",
		"Würfelzucker im Tee":   "",
		"日本語の秘密の言葉":             "",
		"        x    q z w7":   "",
		long(64):                "",
		long(128):               "",

		"":                         "Enter a password.",
		"aé😀":                      "Use at least 8 characters (this has 3).",
		"kx7Q#éé":                  "Use at least 8 characters (this has 7).",
		"kx7Q#e\u0301e\u0301":      "Use at least 8 characters (this has 7).",
		long(129):                  "Use at most 128 characters.",
		strings.Repeat("😀", 129):   "Use at most 128 characters.",
		strings.Repeat("x", 1<<20): "Use at most 128 characters.",
		long(20) + "\x00":          damaged,
		long(20) + "\xff":          damaged,

		"password":       guessable,
		"Password1":      guessable,
		"12345678":       guessable,
		"iloveyou":       guessable,
		"qwertyuiop":     guessable,
		"aaaaaaaaaaaaaa": guessable,
		"éééééééééééé":   guessable,
		"abcabcabcabc":   guessable,
		"11111111111111111111111111111111111111111111111111": guessable,

		"gatehouse":          mostly("gatehouse"),
		"GateHouse1!":        mostly("gatehouse"),
		"gatehouse123":       mostly("gatehouse"),
		"alice.liddell":      mostly("alice.liddell"),
		"ALICE.LIDDELL!":     mostly("alice.liddell"),
		"liddell99":          mostly("liddell"),
		"wonderland.example": mostly("wonderland.example"),
	} {
		got, err := policy.Check(raw, about...)
		if want == "" {
			if err != nil || got != norm.NFC.String(raw) {
				t.Errorf("Check(%.40q) = %.40q, %v; want it accepted", raw, got, err)
			}
			continue
		}
		if err == nil || err.Error() != want || got != "" {
			t.Errorf("Check(%.40q) = %.40q, %v; want the message %q", raw, got, err, want)
		}
	}
}

func TestPolicy_FoldsFullWidthUserNames(t *testing.T) {
	got, err := Policy{MinLength: 8}.Check("wunderlich7", "ＷＵＮＤＥＲＬＩＣＨ")
	if err == nil {
		t.Errorf("Check accepted %q, which is the user name and a digit", got)
	}
}

func TestPolicy_MinLengthIsConfigurable(t *testing.T) {
	if _, err := (Policy{MinLength: 15}).Check("vK3$xQ9!vK3$x"); err == nil || err.Error() != "Use at least 15 characters (this has 13)." {
		t.Errorf("got %v, want at least 15 characters required", err)
	}
}

func TestPolicy_UnicodeFormsAreEqual(t *testing.T) {
	policy := Policy{MinLength: 8}
	const raw = "Ängström façade Ệ"
	composed, err1 := policy.Check(norm.NFC.String(raw))
	apart, err2 := policy.Check(norm.NFD.String(raw))
	if err1 != nil || err2 != nil || composed != apart {
		t.Errorf("got %q (%v) and %q (%v), want the same password", composed, err1, apart, err2)
	}
}

func TestPolicy_RefusesHugePasswordsFast(t *testing.T) {
	policy := Policy{MinLength: 8}
	for _, huge := range []string{strings.Repeat("x", 1<<20), strings.Repeat("e\u0301", 1<<19), strings.Repeat("\xff", 1<<20)} {
		begun := time.Now()
		s := policy.Strength(huge, huge, huge, huge)
		if took := time.Since(begun); took > time.Second {
			t.Errorf("a megabyte took %s, want at most 1s", took)
		}
		if s.Message == "" || s.Score != 0 || s.Label != "Very weak" {
			t.Errorf("got %+v for a megabyte, want score 0 and a message", s)
		}
	}
}

func TestPolicy_EstimatesTheLongestPasswordFast(t *testing.T) {
	begun := time.Now()
	_, _ = Policy{MinLength: 8}.Check(strings.Repeat("aA1!p4ssw0rd", 10), strings.Repeat("alice ", 100))
	if took := time.Since(begun); took > 2*time.Second {
		t.Errorf("took %s, want at most 2s", took)
	}
}

func TestStrength_AgreesWithCheck(t *testing.T) {
	policy := Policy{MinLength: 8}
	labels := map[int]string{0: "Very weak", 1: "Weak", 2: "Fair", 3: "Good", 4: "Strong"}
	seen := map[int]bool{}
	for _, raw := range []string{
		"", "a", "password", "gatehouse9", "xK9#", "vK3$xQ9!", "liddell99", "correct horse", "correct horse battery staple",
		"Tr0ub4dor&3", "aaaaaaaaaaaaaaaaaaaaaaa", "zq7Kp2mX9", "bad\xff", long(128), long(129), "wxbmzkqp",
	} {
		_, err := policy.Check(raw, "liddell")
		s := policy.Strength(raw, "liddell")
		seen[s.Score] = true
		if s.Label != labels[s.Score] {
			t.Errorf("%.30q: got the label %q for score %d", raw, s.Label, s.Score)
		}
		if err == nil && s.Message != "" || err != nil && s.Message != err.Error() {
			t.Errorf("%.30q: got the message %q, Check returned %v", raw, s.Message, err)
		}
		if err != nil && s.Score > 1 {
			t.Errorf("%.30q is refused but scores %d", raw, s.Score)
		}
		if err == nil && s.Score < 2 {
			t.Errorf("%.30q is accepted but scores %d", raw, s.Score)
		}
	}
	if !seen[0] || !seen[1] || !seen[4] {
		t.Errorf("the examples cover only the scores %v", seen)
	}
}

// TestPasswords_WithAYearAreRefused: people who must change their password choose a word with the current year or a
// nearby one. No year is hard-coded, so that the next year needs no release.
func TestPasswords_WithAYearAreRefused(t *testing.T) {
	policy := Policy{MinLength: 8}
	now := time.Now().Year()
	for year := now - 10; year <= now+10; year++ {
		for _, form := range []string{
			"Summer%d", "Welcome%d", "Password%d!", "summer%d!", "Winter-%d", "%dSpring", "%d_autumn!", "P@ssw0rd%d", "Monday%d#", "qwertz%d!!", "London%d!",
			"Gatehouse%d!", "admin@%d", "Football%d.", "%d%d", "Hello!%d",
		} {
			password := strings.ReplaceAll(form, "%d", fmt.Sprint(year))
			if _, err := policy.Check(password); err == nil {
				t.Errorf("%s is accepted", password)
			}
			if s := policy.Strength(password); s.Score > 1 || s.Message == "" {
				t.Errorf("%s: got the strength %+v, want a score of at most 1 and a message", password, s)
			}
		}
	}
	for _, good := range []string{
		"correct horse 2026 battery", "Kx9vQ2026tzp", "2026 unrelated lanterns", "vTq-2027-mZw-41", "20260101 marzipan kettle", "hovercraft2026eels", "zu30jahre2026gilt",
	} {
		if _, err := policy.Check(good); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
}

// TestPasswords_CommonOnesAreRefused: in any case, including passwords that the estimator does not know.
func TestPasswords_CommonOnesAreRefused(t *testing.T) {
	policy := Policy{MinLength: 8}
	for _, password := range []string{"cuthbert", "brooking", "alliswell", "Alliswell", "1G2W3E4R", "home0401", "raffaella", "sk8erboi", "Sk8erboi2026!", "ｓｋ８ｅｒｂｏｉ", "#1stunna"} {
		if _, err := policy.Check(password); err == nil {
			t.Errorf("%s is accepted", password)
		}
	}
}

// TestPasswords_OnDjangosListAreRefused checks the policy against a list maintained by another project.
func TestPasswords_OnDjangosListAreRefused(t *testing.T) {
	f, err := os.Open("/usr/lib/python3/dist-packages/django/contrib/auth/common-passwords.txt.gz")
	if err != nil {
		testkit.Unavailable(t, "Django's list of common passwords is not installed (python3-django): "+err.Error())
	}
	defer f.Close()
	list, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	policy := Policy{MinLength: 8}
	n := 0
	for lines := bufio.NewScanner(list); lines.Scan(); {
		if password := lines.Text(); utf8.RuneCountInString(password) >= 8 {
			n++
			if _, err := policy.Check(password); err == nil {
				t.Errorf("%q is accepted", password)
			}
		}
	}
	if n < 5000 {
		t.Errorf("got %d passwords of eight characters or more, want at least 5000", n)
	}
}
