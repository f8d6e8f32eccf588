package e2e

import (
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/alexedwards/argon2id"
	"golang.org/x/text/unicode/norm"
)

// TestASVS_6_2_1_MinimumLength: eight characters are the least, and a character is a code
// point, however many octets it takes; where a password is changed as well.
func TestASVS_6_2_1_MinimumLength(t *testing.T) {
	t.Parallel()
	x := newTarget(t)
	for i, short := range []string{
		"zk9!wqp",        // seven
		"ñéüøåæß",        // seven, fourteen octets
		"🦊🦔🐙🦉🐢🦋🐝",        // seven, twenty-eight octets
		"z\u0301k9!wqp",  // seven and a mark that has no composed form with z … eight code points with it
		"e\u0301k9!wqp",  // seven once composed
		"Ａｂ９！ｗｑｐ",        // seven of full width
		"zk9!wq\u200b\n", // invisible ones count like any other
	} {
		c := x.visitor()
		a := c.post("/register", "username", fmt.Sprintf("short%d", i), "password", short)
		if n := len([]rune(norm.NFC.String(short))); n < 8 {
			c.wantRefused(a, "password", fmt.Sprintf("At least 8 characters: this has %d.", n))
		} else if a.StatusCode != http.StatusSeeOther {
			t.Errorf("a password of %d code points was refused: %s", n, fieldError(a, "password"))
		}
	}
	c := x.visitor()
	c.wantSeeOther(c.post("/register", "username", "alice", "password", "ñé🦊9!wqp"), "/dashboard")
	c.wantRefused(c.changePassword("ñé🦊9!wqp", "zk9!wqp"), "new_password", "At least 8 characters: this has 7.")
}

// TestASVS_6_2_9_LongPasswords: everything up to 128 characters is taken, whatever it is made
// of, and opens the account; one more is refused.
func TestASVS_6_2_9_LongPasswords(t *testing.T) {
	t.Parallel()
	x := newTarget(t)
	for i, long := range []string{
		strings.Repeat("weary otter ", 6)[:64],
		repeatTo("weary otter lamp ", 128),
		repeatTo("🦊🦔🐙🦉🐢", 128),
		repeatTo("é\u0323e\u0301ñü", 128),
	} {
		c := x.visitor()
		name := fmt.Sprintf("long%d", i)
		c.wantSeeOther(c.post("/register", "username", name, "password", long), "/dashboard")
		again := x.visitor()
		again.wantSeeOther(again.post("/login", "username", name, "password", long), "/dashboard")
	}
	c := x.visitor()
	c.wantRefused(c.post("/register", "username", "toolong", "password", repeatTo("weary otter lamp ", 129)), "password", "At most 128 characters.")
	c.register("alice")
	c.wantRefused(c.changePassword(password, repeatTo("weary otter lamp ", 129)), "new_password", "At most 128 characters.")
}

// repeatTo repeats s to n code points.
func repeatTo(s string, n int) string {
	return string([]rune(strings.Repeat(s, n))[:n])
}

// TestAMegabyteOfPasswordIsAFastRefusal: the length is looked at before any work is done, at
// every form that takes a password.
func TestAMegabyteOfPasswordIsAFastRefusal(t *testing.T) {
	t.Parallel()
	x := newTarget(t)
	c := x.visitor()
	c.register("alice")
	huge := strings.Repeat("w", 60_000) // within what a form may have
	for _, test := range []struct {
		path, field string
		others      []string
		status      int
	}{
		{"/register", "password", []string{"username", "bob"}, http.StatusUnprocessableEntity},
		{"/login", "password", []string{"username", "alice"}, http.StatusUnauthorized},
		{"/account/password", "new_password", []string{"current_password", password}, http.StatusUnprocessableEntity},
		{"/account/password", "current_password", []string{"new_password", otherPassword}, http.StatusUnprocessableEntity},
		{"/password/strength", "password", nil, http.StatusOK},
	} {
		within(t, time.Second, test.path, func() {
			c.want(c.post(test.path, append([]string{test.field, huge}, test.others...)...), test.status)
		})
		for _, over := range []int{64 << 10, 1_000_000, 1 << 20} {
			within(t, time.Second, test.path, func() {
				fields := append([]string{test.field, strings.Repeat("w", over)}, test.others...)
				c.want(c.post(test.path, fields...), http.StatusRequestEntityTooLarge)
			})
		}
	}
}

// within fails when doing something takes longer than the limit three times in a row: a busy
// machine is late now and then.
func within(t *testing.T, limit time.Duration, what string, do func()) {
	t.Helper()
	var took time.Duration
	for range 3 {
		begun := time.Now()
		do()
		if took = time.Since(begun); took < limit {
			return
		}
	}
	t.Errorf("%.200q took %v, want less than %v", what, took, limit)
}

// TestASVS_6_2_8_NoTruncationNoFolding: the password opens the account as it was typed and in
// no other way: no beginning of it, no other case, nothing trimmed.
func TestASVS_6_2_8_NoTruncationNoFolding(t *testing.T) {
	t.Parallel()
	x := newTarget(t)
	whole := repeatTo(" Weary otter Lamp, brisk Walnut tram; ", 80)
	c := x.visitor()
	c.wantSeeOther(c.post("/register", "username", "alice", "password", whole), "/dashboard")
	for what, other := range map[string]string{
		"the first 72":       whole[:72],
		"the first 64":       whole[:64],
		"all but the last":   whole[:79],
		"one more":           whole + "x",
		"a space more":       whole + " ",
		"cut at a NUL":       whole + "\x00x",
		"in small letters":   strings.ToLower(whole),
		"in capital letters": strings.ToUpper(whole),
		"trimmed":            strings.TrimSpace(whole),
		"of full width":      strings.ReplaceAll(whole, "W", "Ｗ"),
	} {
		x.forgetThrottles()
		c := x.visitor()
		a := c.post("/login", "username", "alice", "password", other)
		if a.StatusCode != http.StatusUnauthorized {
			t.Errorf("the password %s: %s", what, a.Status)
		}
	}
	again := x.visitor()
	again.wantSeeOther(again.post("/login", "username", "alice", "password", whole), "/dashboard")
}

// TestNISTUnicodeFormsOfAPassword: composed and decomposed letters are the same password, for
// keyboards differ in that; letters that merely look alike are not (SP 800-63B, 3.1.1.2).
func TestNISTUnicodeFormsOfAPassword(t *testing.T) {
	t.Parallel()
	x := newTarget(t)
	const typed = "Ångström-ﬁsh-Ǖber"
	c := x.visitor()
	c.wantSeeOther(c.post("/register", "username", "alice", "password", norm.NFD.String(typed)), "/dashboard")
	for form, status := range map[string]int{
		norm.NFC.String(typed):  http.StatusSeeOther,
		norm.NFD.String(typed):  http.StatusSeeOther,
		norm.NFKC.String(typed): http.StatusUnauthorized,
	} {
		c := x.visitor()
		c.want(c.post("/login", "username", "alice", "password", form), status)
	}
}

// TestASVS_6_2_5_AnyComposition: no kind of character is asked for and none is refused.
func TestASVS_6_2_5_AnyComposition(t *testing.T) {
	t.Parallel()
	x := newTarget(t)
	for i, p := range []string{
		"brisk walnut tram", "83915720461839", "  two spaces at both ends  ", "пароль-выдра-лампа", "カワウソのランプです",
		"🦊🦔🐙🦉🐢🦋🐝🐌", `';--"<&>%00\u0000`, "ALLCAPSWALNUTTRAM", "tab\there\tand\tthere", "علبة مصباح ثعلب", "+%2B%26=&;,?",
	} {
		name := fmt.Sprintf("any%d", i)
		c := x.visitor()
		c.wantSeeOther(c.post("/register", "username", name, "password", p), "/dashboard")
		again := x.visitor()
		again.wantSeeOther(again.post("/login", "username", name, "password", p), "/dashboard")
	}
}

// TestPasswordsThatNoKeyboardTypes: NUL and octets that are no text are refused where a password is
// set, instead of being cut off or replaced without a word.
func TestPasswordsThatNoKeyboardTypes(t *testing.T) {
	t.Parallel()
	x := newTarget(t)
	for _, p := range []string{password + "\x00", "\x00" + password, "weary\x00otter-lamp", password + "\xff", "weary\xc3otter-lamp"} {
		c := x.visitor()
		c.wantRefused(c.post("/register", "username", "alice", "password", p), "password", "Some characters are damaged")
	}
}

// TestASVS_6_2_6_PasswordFields: every password field hides what is typed, lets it be pasted
// and says to password managers what it is.
func TestASVS_6_2_6_PasswordFields(t *testing.T) {
	t.Parallel()
	x := newTarget(t)
	c := x.visitor()
	pages := map[string]string{"/login": c.get("/login").body, "/register": c.get("/register").body}
	c.register("alice")
	pages["/account"] = c.get("/account").body
	for _, want := range []struct{ page, name, kind, autocomplete string }{
		{"/login", "username", "text", "username"},
		{"/login", "password", "password", "current-password"},
		{"/register", "username", "text", "username"},
		{"/register", "password", "password", "new-password"},
		{"/account", "current_password", "password", "current-password"},
		{"/account", "new_password", "password", "new-password"},
	} {
		input := regexp.MustCompile(`<input[^>]* name="` + want.name + `"[^>]*>`).FindString(pages[want.page])
		for _, part := range []string{` type="` + want.kind + `"`, ` autocomplete="` + want.autocomplete + `"`} {
			if !strings.Contains(input, part) {
				t.Errorf("%s has %q, want it with%s", want.page, input, part)
			}
		}
		for _, part := range []string{"maxlength", "pattern", "onpaste", "readonly"} {
			if strings.Contains(input, part) {
				t.Errorf("%s has %q with %s", want.page, input, part)
			}
		}
		if want.kind == "password" && strings.Contains(input, "value=") {
			t.Errorf("%s sends a password back: %q", want.page, input)
		}
	}
	script := regexp.MustCompile(`/static/app\.[0-9a-f]+\.js`).FindString(pages["/login"])
	if a := c.get(script); a.StatusCode != http.StatusOK || regexp.MustCompile(`(?i)["'.](on)?paste`).MatchString(a.body) {
		t.Errorf("%s: %s, and it must leave pasting alone", script, a.Status)
	}
}

// TestASVS_6_2_4_CommonPasswordsAreRefused: of the most common passwords those that are long
// enough are refused, and the page says why.
func TestASVS_6_2_4_CommonPasswordsAreRefused(t *testing.T) {
	t.Parallel()
	x := newTarget(t)
	c := x.visitor()
	c.register("alice")
	for _, common := range strings.Fields(`
		12345678 123456789 1234567890 password password1 password123 iloveyou 1q2w3e4r 1qaz2wsx qwertyuiop
		sunshine princess football baseball superman trustno1 starwars whatever computer michelle
		jennifer 11111111 00000000 88888888 12341234 87654321 987654321 asdfghjkl zxcvbnm1 q1w2e3r4
		passw0rd P@ssw0rd Password1! Passw0rd! letmein1 welcome1 Welcome123 admin123 qwerty123 Qwerty123!
		abcd1234 abc12345 1234qwer aa123456 a1b2c3d4 internet samsung1 mercedes corvette midnight
		liverpool chocolate butterfly changeme dragon123 monkey123 aaaaaaaa abababab`) {
		a := c.post("/register", "username", "bob", "password", common)
		c.wantRefused(a, "password", "Too easy to guess")
		if strings.Contains(a.body, `value="`+common) {
			t.Errorf("the page sends %q back", common)
		}
	}
	c.wantRefused(c.changePassword(password, "password123"), "new_password", "Too easy to guess")
}

// TestASVS_6_2_11_WordsOfTheContextAreRefused: a password is not the user's name or address
// nor this program's name, nor one of them with a little around it; however the name is typed.
func TestASVS_6_2_11_WordsOfTheContextAreRefused(t *testing.T) {
	t.Parallel()
	x := newTarget(t)
	c := x.visitor()
	about := []string{"username", "xq7zkvw9", "name", "Thelonious Bramblewick", "email", "quillfeather@example.org"}
	for _, p := range []string{
		"xq7zkvw9", "XQ7ZKVW9", "xq7zkvw9!", "xq7zkvw9-26", "thelonious", "Bramblewick1", "quillfeather", "Quillfeather26",
		"gatehouse", "Gatehouse", "gatehouse1", "GATEHOUSE-26",
	} {
		c.wantRefused(c.post("/register", append(about, "password", p)...), "password", "Too easy to guess")
	}
	// The name that is stored counts, not the spelling that was sent.
	c.wantRefused(c.post("/register", "username", "ｘｑ７ｚｋｖｗ９", "password", "xq7zkvw9"), "password", "Too easy to guess")

	c.wantSeeOther(c.post("/register", append(about, "password", password)...), "/dashboard")
	for _, p := range []string{"xq7zkvw9-26", "bramblewick", "quillfeather", "gatehouse1"} {
		c.wantRefused(c.changePassword(password, p), "new_password", "Too easy to guess")
	}
}

// TestASVS_6_2_2_AChangeNeedsTheCurrentPassword: the session alone changes no password.
func TestASVS_6_2_2_AChangeNeedsTheCurrentPassword(t *testing.T) {
	t.Parallel()
	x := newTarget(t)
	c := x.visitor()
	c.register("alice")
	hash := x.value(`SELECT password_hash FROM users`)
	for current, sentence := range map[string]string{
		"":                        "Enter your current password.",
		otherPassword:             "This is not your current password.",
		strings.ToUpper(password): "This is not your current password.",
		password + " ":            "This is not your current password.",
	} {
		c.wantRefused(c.changePassword(current, otherPassword), "current_password", sentence)
	}
	c.wantRefused(c.post("/account/password", "new_password", otherPassword), "current_password", "Enter your current password.")
	if got := x.value(`SELECT password_hash FROM users`); got != hash {
		t.Error("the hash changed")
	}
}

// TestASVS_7_4_3_AChangeEndsTheOtherSessions: a new password ends every session but the one it
// was set in, which gets a new cookie; the old password is worth nothing.
func TestASVS_7_4_3_AChangeEndsTheOtherSessions(t *testing.T) {
	t.Parallel()
	x := newTarget(t)
	c, other, remembered := x.visitor(), x.visitor(), x.visitor()
	c.register("alice")
	other.signIn("alice")
	remembered.signIn("alice", "remember", "on")
	before := c.copy(c.base)
	wantSignedIn(t, c, other, remembered, before)

	c.wantSeeOther(c.changePassword(password, otherPassword), "/account?notice=password#password")

	wantSignedIn(t, c)
	wantSignedOut(t, other, remembered, before)
	if c.cookie(sessionCookie) == before.cookie(sessionCookie) {
		t.Error("the session kept its cookie")
	}
	other.want(other.post("/login", "username", "alice", "password", password), http.StatusUnauthorized)
	other.wantSeeOther(other.post("/login", "username", "alice", "password", otherPassword), "/dashboard")
}

// TestASVS_11_4_2_Argon2idAtRest: what is stored is argon2id with 19 MiB, two passes and one
// lane at the least, salted: one password of two people is two hashes.
func TestASVS_11_4_2_Argon2idAtRest(t *testing.T) {
	t.Parallel()
	x := newTarget(t)
	hashes := map[string]bool{}
	for _, name := range []string{"alice", "bob"} {
		x.visitor().register(name)
		hash := x.value(`SELECT password_hash FROM users WHERE username = $1`, name)
		hashes[hash] = true
		p, salt, key, err := argon2id.DecodeHash(hash)
		if err != nil || !strings.HasPrefix(hash, "$argon2id$v=19$") {
			t.Fatalf("the stored hash is %q: %v", hash, err)
		}
		if p.Memory < 19456 || p.Iterations < 2 || p.Parallelism < 1 || len(salt) < 16 || len(key) < 32 {
			t.Errorf("hashed with %+v, a salt of %d octets, a key of %d", *p, len(salt), len(key))
		}
	}
	if len(hashes) != 2 {
		t.Error("the same password has the same hash twice")
	}
}

// TestASVS_11_4_2_OlderHashesAreUpgraded: a hash of older, cheaper parameters is replaced when
// its owner signs in, and only then; that ends no session.
func TestASVS_11_4_2_OlderHashesAreUpgraded(t *testing.T) {
	t.Parallel()
	x := newTarget(t)
	c := x.visitor()
	c.register("alice")
	old, err := argon2id.CreateHash(password, &argon2id.Params{Memory: 8 * 1024, Iterations: 1, Parallelism: 1, SaltLength: 16, KeyLength: 32})
	if err != nil {
		t.Fatal(err)
	}
	x.exec(`UPDATE users SET password_hash = $1, updated_at = now()`, old)
	stored := func() string { return x.value(`SELECT password_hash FROM users`) }

	wrong := x.visitor()
	wrong.want(wrong.post("/login", "username", "alice", "password", otherPassword), http.StatusUnauthorized)
	if stored() != old {
		t.Error("a wrong password replaced the hash")
	}
	x.visitor().signIn("alice")
	upgraded := stored()
	if !strings.Contains(upgraded, "$m=19456,t=2,p=1$") {
		t.Errorf("after the sign-in the hash is %q", upgraded)
	}
	x.visitor().signIn("alice")
	if stored() != upgraded {
		t.Error("a hash of today was replaced")
	}
	wantSignedIn(t, c)
}

// TestAHashThatNobodyCanMatchIsAWrongPassword: rows that were written by hand, with a hash of
// another kind or none, let nobody in and break nothing.
func TestAHashThatNobodyCanMatchIsAWrongPassword(t *testing.T) {
	t.Parallel()
	x := newTarget(t)
	x.visitor().register("alice")
	for _, hash := range []string{
		"", "!", "x", password, "$2a$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy",
		"$argon2i$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0c2FsdA$aaaa", "$argon2id$v=19$m=19456,t=2,p=1$$",
		"$argon2id$v=19$m=0,t=0,p=0$c2FsdHNhbHRzYWx0c2FsdA$aGFzaA", "$argon2id$v=16$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0c2FsdA$aGFzaA",
		"$argon2id$v=19$m=x,t=2,p=1$c2FsdHNhbHRzYWx0c2FsdA$aGFzaA", "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0c2FsdA$",
		"$argon2id$v=19$m=19456,t=2,p=1$%%%$%%%", "$argon2id$v=19$m=4294967295,t=1,p=1$c2FsdHNhbHRzYWx0c2FsdA$aGFzaGhhc2g",
	} {
		x.exec(`UPDATE users SET password_hash = $1`, hash)
		for _, p := range []string{password, hash, "x"} {
			x.forgetThrottles()
			c := x.visitor()
			if p == "" {
				continue
			}
			if a := c.post("/login", "username", "alice", "password", p); a.StatusCode != http.StatusUnauthorized {
				t.Errorf("the hash %q and the password %q: %s", hash, p, a.Status)
			}
		}
	}
}
