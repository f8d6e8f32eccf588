package security

import (
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/alexedwards/argon2id"
	"golang.org/x/text/unicode/norm"

	"gatehouse/internal/e2e/kit"
)

// TestASVS_6_2_1_MinimumLength: passwords need eight characters, counted as code points, at registration and at changes.
func TestASVS_6_2_1_MinimumLength(t *testing.T) {
	t.Parallel()
	x := kit.NewTarget(t)
	for i, short := range []string{
		"zk9!wqp",        // seven
		"ñéüøåæß",        // seven, fourteen bytes
		"🦊🦔🐙🦉🐢🦋🐝",        // seven, twenty-eight bytes
		"z\u0301k9!wqp",  // seven and a mark that does not compose with z: eight code points
		"e\u0301k9!wqp",  // seven once composed
		"Ａｂ９！ｗｑｐ",        // seven fullwidth ones
		"zk9!wq\u200b\n", // invisible characters count
	} {
		c := x.NewClient()
		a := c.PostForm("/register", "username", fmt.Sprintf("short%d", i), "password", short)
		if n := len([]rune(norm.NFC.String(short))); n < 8 {
			c.WantFieldError(a, "password", fmt.Sprintf("Use at least 8 characters (this has %d).", n))
		} else if a.StatusCode != http.StatusSeeOther {
			t.Errorf("a password of %d code points was refused: %s", n, kit.FieldError(a, "password"))
		}
	}
	c := x.NewClient()
	c.WantSeeOther(c.PostForm("/register", "username", "alice", "password", "ñé🦊9!wqp"), "/dashboard?notice=welcome")
	c.WantFieldError(c.ChangePassword("ñé🦊9!wqp", "zk9!wqp"), "new_password", "Use at least 8 characters (this has 7).")
}

// TestASVS_6_2_9_LongPasswords: up to 128 characters of any kind are accepted and sign in; one more is refused.
func TestASVS_6_2_9_LongPasswords(t *testing.T) {
	t.Parallel()
	x := kit.NewTarget(t)
	for i, long := range []string{
		strings.Repeat("weary otter ", 6)[:64],
		repeatTo("weary otter lamp ", 128),
		repeatTo("🦊🦔🐙🦉🐢", 128),
		repeatTo("é\u0323e\u0301ñü", 128),
	} {
		c := x.NewClient()
		name := fmt.Sprintf("long%d", i)
		c.WantSeeOther(c.PostForm("/register", "username", name, "password", long), "/dashboard?notice=welcome")
		again := x.NewClient()
		again.WantSeeOther(again.PostForm("/login", "username", name, "password", long), "/dashboard")
	}
	c := x.NewClient()
	c.WantFieldError(c.PostForm("/register", "username", "toolong", "password", repeatTo("weary otter lamp ", 129)), "password", "Use at most 128 characters.")
	c.Register("alice")
	c.WantFieldError(c.ChangePassword(kit.Password, repeatTo("weary otter lamp ", 129)), "new_password", "Use at most 128 characters.")
}

// repeatTo repeats s to a length of n code points.
func repeatTo(s string, n int) string {
	return string([]rune(strings.Repeat(s, n))[:n])
}

// TestPasswords_OversizedOnesAreRefusedQuickly: every form checks the length before it does any work.
func TestPasswords_OversizedOnesAreRefusedQuickly(t *testing.T) {
	t.Parallel()
	x := kit.NewTarget(t)
	c := x.NewClient()
	c.Register("alice")
	huge := strings.Repeat("w", 60_000) // below the limit of a form
	for _, test := range []struct {
		path, field string
		others      []string
		status      int
	}{
		{"/register", "password", []string{"username", "bob"}, http.StatusUnprocessableEntity},
		{"/login", "password", []string{"username", "alice"}, http.StatusUnauthorized},
		{"/account/password", "new_password", []string{"current_password", kit.Password}, http.StatusUnprocessableEntity},
		{"/account/password", "current_password", []string{"new_password", kit.OtherPassword}, http.StatusUnprocessableEntity},
		{"/password/strength", "password", nil, http.StatusOK},
	} {
		within(t, time.Second, test.path, func() {
			c.WantStatus(c.PostForm(test.path, append([]string{test.field, huge}, test.others...)...), test.status)
		})
		for _, over := range []int{64 << 10, 1_000_000, 1 << 20} {
			within(t, time.Second, test.path, func() {
				fields := append([]string{test.field, strings.Repeat("w", over)}, test.others...)
				c.WantStatus(c.PostForm(test.path, fields...), http.StatusRequestEntityTooLarge)
			})
		}
	}
}

// within fails if do takes longer than the limit three times in a row, because a busy machine is sometimes slow.
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

// TestASVS_6_2_8_NoTruncationNoFolding: only the exact password signs in: no prefix, no other case, nothing trimmed.
func TestASVS_6_2_8_NoTruncationNoFolding(t *testing.T) {
	t.Parallel()
	x := kit.NewTarget(t)
	whole := repeatTo(" Weary otter Lamp, brisk Walnut tram; ", 80)
	c := x.NewClient()
	c.WantSeeOther(c.PostForm("/register", "username", "alice", "password", whole), "/dashboard?notice=welcome")
	for what, other := range map[string]string{
		"the first 72":         whole[:72],
		"the first 64":         whole[:64],
		"all but the last":     whole[:79],
		"one too many":         whole + "x",
		"an additional space":  whole + " ",
		"cut at a NUL":         whole + "\x00x",
		"in lower case":        strings.ToLower(whole),
		"in upper case":        strings.ToUpper(whole),
		"trimmed":              strings.TrimSpace(whole),
		"in fullwidth letters": strings.ReplaceAll(whole, "W", "Ｗ"),
	} {
		x.ClearThrottles()
		c := x.NewClient()
		a := c.PostForm("/login", "username", "alice", "password", other)
		if a.StatusCode != http.StatusUnauthorized {
			t.Errorf("the password %s: %s", what, a.Status)
		}
	}
	again := x.NewClient()
	again.WantSeeOther(again.PostForm("/login", "username", "alice", "password", whole), "/dashboard")
}

// TestNIST_PasswordsAreNormalized: composed and decomposed letters are the same password, because keyboards differ;
// letters that only look alike are not (SP 800-63B, 3.1.1.2).
func TestNIST_PasswordsAreNormalized(t *testing.T) {
	t.Parallel()
	x := kit.NewTarget(t)
	const typed = "Ångström-ﬁsh-Ǖber"
	c := x.NewClient()
	c.WantSeeOther(c.PostForm("/register", "username", "alice", "password", norm.NFD.String(typed)), "/dashboard?notice=welcome")
	for form, status := range map[string]int{
		norm.NFC.String(typed):  http.StatusSeeOther,
		norm.NFD.String(typed):  http.StatusSeeOther,
		norm.NFKC.String(typed): http.StatusUnauthorized,
	} {
		c := x.NewClient()
		c.WantStatus(c.PostForm("/login", "username", "alice", "password", form), status)
	}
}

// TestASVS_6_2_5_AnyComposition: no kind of character is required or forbidden.
func TestASVS_6_2_5_AnyComposition(t *testing.T) {
	t.Parallel()
	x := kit.NewTarget(t)
	for i, p := range []string{
		"brisk walnut tram", "83915720461839", "  two spaces at both ends  ", "пароль-выдра-лампа", "カワウソのランプです",
		"🦊🦔🐙🦉🐢🦋🐝🐌", `';--"<&>%00\u0000`, "ALLCAPSWALNUTTRAM", "tab\there\tand\tthere", "علبة مصباح ثعلب", "+%2B%26=&;,?",
	} {
		name := fmt.Sprintf("any%d", i)
		c := x.NewClient()
		c.WantSeeOther(c.PostForm("/register", "username", name, "password", p), "/dashboard?notice=welcome")
		again := x.NewClient()
		again.WantSeeOther(again.PostForm("/login", "username", name, "password", p), "/dashboard")
	}
}

// TestPasswords_InvalidTextIsRefused: NUL and invalid UTF-8 are refused when a password is set, instead of being
// truncated or replaced silently.
func TestPasswords_InvalidTextIsRefused(t *testing.T) {
	t.Parallel()
	x := kit.NewTarget(t)
	for _, p := range []string{kit.Password + "\x00", "\x00" + kit.Password, "weary\x00otter-lamp", kit.Password + "\xff", "weary\xc3otter-lamp"} {
		c := x.NewClient()
		c.WantFieldError(c.PostForm("/register", "username", "alice", "password", p), "password", "Some characters are invalid")
	}
}

// TestASVS_6_2_6_PasswordFields: every password field masks its text, allows pasting and is annotated for password
// managers.
func TestASVS_6_2_6_PasswordFields(t *testing.T) {
	t.Parallel()
	x := kit.NewTarget(t)
	c := x.NewClient()
	pages := map[string]string{"/login": c.Get("/login").Text, "/register": c.Get("/register").Text}
	c.Register("alice")
	pages["/account"] = c.Get("/account").Text
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
				t.Errorf("%s has %q without%s", want.page, input, part)
			}
		}
		for _, part := range []string{"maxlength", "pattern", "onpaste", "readonly"} {
			if strings.Contains(input, part) {
				t.Errorf("%s has %q with %s", want.page, input, part)
			}
		}
		if want.kind == "password" && strings.Contains(input, "value=") {
			t.Errorf("%s echoes a password: %q", want.page, input)
		}
	}
	script := regexp.MustCompile(`/static/app\.[0-9a-f]+\.js`).FindString(pages["/login"])
	if a := c.Get(script); a.StatusCode != http.StatusOK || regexp.MustCompile(`(?i)["'.](on)?paste`).MatchString(a.Text) {
		t.Errorf("%s: got %s; a script must not interfere with pasting", script, a.Status)
	}
}

// TestASVS_6_2_4_CommonPasswordsAreRefused: even if they are long enough, and the page says why.
func TestASVS_6_2_4_CommonPasswordsAreRefused(t *testing.T) {
	t.Parallel()
	x := kit.NewTarget(t)
	c := x.NewClient()
	c.Register("alice")
	for _, common := range strings.Fields(`
		12345678 123456789 1234567890 password password1 password123 iloveyou 1q2w3e4r 1qaz2wsx qwertyuiop
		sunshine princess football baseball superman trustno1 starwars whatever computer michelle
		jennifer 11111111 00000000 88888888 12341234 87654321 987654321 asdfghjkl zxcvbnm1 q1w2e3r4
		passw0rd P@ssw0rd Password1! Passw0rd! letmein1 welcome1 Welcome123 admin123 qwerty123 Qwerty123!
		abcd1234 abc12345 1234qwer aa123456 a1b2c3d4 internet samsung1 mercedes corvette midnight
		liverpool chocolate butterfly changeme dragon123 monkey123 aaaaaaaa abababab`) {
		a := c.PostForm("/register", "username", "bob", "password", common)
		c.WantFieldError(a, "password", "Too easy to guess")
		if strings.Contains(a.Text, `value="`+common) {
			t.Errorf("the page echoes %q", common)
		}
	}
	c.WantFieldError(c.ChangePassword(kit.Password, "password123"), "new_password", "Too easy to guess")
}

// TestASVS_6_2_11_ContextWordsAreRefused: a password cannot be a slight variation of the user's name or address or
// of the site's name, in any spelling of the name.
func TestASVS_6_2_11_ContextWordsAreRefused(t *testing.T) {
	t.Parallel()
	x := kit.NewTarget(t)
	c := x.NewClient()
	about := []string{"username", "xq7zkvw9", "name", "Thelonious Bramblewick", "email", "quillfeather@example.org"}
	for _, p := range []string{
		"xq7zkvw9", "XQ7ZKVW9", "xq7zkvw9!", "xq7zkvw9-26", "thelonious", "Bramblewick1", "quillfeather", "Quillfeather26",
		"gatehouse", "Gatehouse", "gatehouse1", "GATEHOUSE-26",
	} {
		c.WantFieldError(c.PostForm("/register", append(about, "password", p)...), "password", "Too easy to guess")
	}
	// The check uses the stored name, not the spelling in the request.
	c.WantFieldError(c.PostForm("/register", "username", "ｘｑ７ｚｋｖｗ９", "password", "xq7zkvw9"), "password", "Too easy to guess")

	c.WantSeeOther(c.PostForm("/register", append(about, "password", kit.Password)...), "/dashboard?notice=welcome")
	for _, p := range []string{"xq7zkvw9-26", "bramblewick", "quillfeather", "gatehouse1"} {
		c.WantFieldError(c.ChangePassword(kit.Password, p), "new_password", "Too easy to guess")
	}
}

// TestASVS_6_2_2_ChangeRequiresTheCurrentPassword: a session alone cannot change the password.
func TestASVS_6_2_2_ChangeRequiresTheCurrentPassword(t *testing.T) {
	t.Parallel()
	x := kit.NewTarget(t)
	c := x.NewClient()
	c.Register("alice")
	hash := x.QueryValue(`SELECT password_hash FROM users`)
	for current, sentence := range map[string]string{
		"":                            "Enter your current password.",
		kit.OtherPassword:             "This is not your current password.",
		strings.ToUpper(kit.Password): "This is not your current password.",
		kit.Password + " ":            "This is not your current password.",
	} {
		c.WantFieldError(c.ChangePassword(current, kit.OtherPassword), "current_password", sentence)
	}
	c.WantFieldError(c.PostForm("/account/password", "new_password", kit.OtherPassword), "current_password", "Enter your current password.")
	if got := x.QueryValue(`SELECT password_hash FROM users`); got != hash {
		t.Error("the hash changed")
	}
}

// TestASVS_7_4_3_PasswordChangeEndsOtherSessions: the current session gets a new cookie, and the old password is
// invalid.
func TestASVS_7_4_3_PasswordChangeEndsOtherSessions(t *testing.T) {
	t.Parallel()
	x := kit.NewTarget(t)
	c, other, remembered := x.NewClient(), x.NewClient(), x.NewClient()
	c.Register("alice")
	other.SignIn("alice")
	remembered.SignIn("alice", "remember", "on")
	before := c.CopySession(c.BaseURL)
	kit.WantSignedIn(t, c, other, remembered, before)

	c.WantSeeOther(c.ChangePassword(kit.Password, kit.OtherPassword), "/account?notice=password")

	kit.WantSignedIn(t, c)
	kit.WantSignedOut(t, other, remembered, before)
	if c.Cookie(kit.SessionCookie) == before.Cookie(kit.SessionCookie) {
		t.Error("the session kept its cookie")
	}
	other.WantStatus(other.PostForm("/login", "username", "alice", "password", kit.Password), http.StatusUnauthorized)
	other.WantSeeOther(other.PostForm("/login", "username", "alice", "password", kit.OtherPassword), "/dashboard")
}

// TestASVS_11_4_2_Argon2idAtRest: stored hashes are argon2id with at least 19 MiB, two passes and one lane, and
// salted: two users with the same password have different hashes.
func TestASVS_11_4_2_Argon2idAtRest(t *testing.T) {
	t.Parallel()
	x := kit.NewTarget(t)
	hashes := map[string]bool{}
	for _, name := range []string{"alice", "bob"} {
		x.NewClient().Register(name)
		hash := x.QueryValue(`SELECT password_hash FROM users WHERE username = $1`, name)
		hashes[hash] = true
		p, salt, key, err := argon2id.DecodeHash(hash)
		if err != nil || !strings.HasPrefix(hash, "$argon2id$v=19$") {
			t.Fatalf("got the stored hash %q: %v", hash, err)
		}
		if p.Memory < 19456 || p.Iterations < 2 || p.Parallelism < 1 || len(salt) < 16 || len(key) < 32 {
			t.Errorf("got the parameters %+v, a salt of %d bytes and a key of %d", *p, len(salt), len(key))
		}
	}
	if len(hashes) != 2 {
		t.Error("two users with the same password have the same hash")
	}
}

// TestASVS_11_4_2_OlderHashesAreUpgraded: a successful sign-in replaces a hash with cheaper parameters, without ending
// sessions.
func TestASVS_11_4_2_OlderHashesAreUpgraded(t *testing.T) {
	t.Parallel()
	x := kit.NewTarget(t)
	c := x.NewClient()
	c.Register("alice")
	old, err := argon2id.CreateHash(kit.Password, &argon2id.Params{Memory: 8 * 1024, Iterations: 1, Parallelism: 1, SaltLength: 16, KeyLength: 32})
	if err != nil {
		t.Fatal(err)
	}
	x.Exec(`UPDATE users SET password_hash = $1, updated_at = now()`, old)
	stored := func() string { return x.QueryValue(`SELECT password_hash FROM users`) }

	wrong := x.NewClient()
	wrong.WantStatus(wrong.PostForm("/login", "username", "alice", "password", kit.OtherPassword), http.StatusUnauthorized)
	if stored() != old {
		t.Error("a wrong password replaced the hash")
	}
	x.NewClient().SignIn("alice")
	upgraded := stored()
	if !strings.Contains(upgraded, "$m=19456,t=2,p=1$") {
		t.Errorf("after the sign-in, got the hash %q", upgraded)
	}
	x.NewClient().SignIn("alice")
	if stored() != upgraded {
		t.Error("a current hash was replaced")
	}
	kit.WantSignedIn(t, c)
}

// TestSignIn_UnknownHashIsAWrongPassword: for a row with an unknown hash or none, every password is wrong.
func TestSignIn_UnknownHashIsAWrongPassword(t *testing.T) {
	t.Parallel()
	x := kit.NewTarget(t)
	x.NewClient().Register("alice")
	for _, hash := range []string{
		"", "!", "x", kit.Password, "$2a$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy",
		"$argon2i$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0c2FsdA$aaaa", "$argon2id$v=19$m=19456,t=2,p=1$$",
		"$argon2id$v=19$m=0,t=0,p=0$c2FsdHNhbHRzYWx0c2FsdA$aGFzaA", "$argon2id$v=16$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0c2FsdA$aGFzaA",
		"$argon2id$v=19$m=x,t=2,p=1$c2FsdHNhbHRzYWx0c2FsdA$aGFzaA", "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0c2FsdA$",
		"$argon2id$v=19$m=19456,t=2,p=1$%%%$%%%", "$argon2id$v=19$m=4294967295,t=1,p=1$c2FsdHNhbHRzYWx0c2FsdA$aGFzaGhhc2g",
	} {
		x.Exec(`UPDATE users SET password_hash = $1`, hash)
		for _, p := range []string{kit.Password, hash, "x"} {
			x.ClearThrottles()
			c := x.NewClient()
			if p == "" {
				continue
			}
			if a := c.PostForm("/login", "username", "alice", "password", p); a.StatusCode != http.StatusUnauthorized {
				t.Errorf("the hash %q and the password %q: %s", hash, p, a.Status)
			}
		}
	}
}
