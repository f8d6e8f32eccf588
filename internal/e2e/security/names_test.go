package security

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/text/unicode/norm"

	"gatehouse/internal/e2e/kit"
	"gatehouse/internal/testkit"
)

// TestNames_AreCanonicalizedEverywhere: the row, the sign-in and the throttle treat all spellings of a name as the same
// name.
func TestNames_AreCanonicalizedEverywhere(t *testing.T) {
	t.Parallel()
	x := kit.NewTarget(t)
	for _, test := range []struct {
		stored    string
		spellings []string
	}{
		{"alice", []string{"alice", "Alice", "ALICE", "aLiCe", " alice ", "\talice", "ａｌｉｃｅ", "Ａlice", "\u3000alice"}},
		{"åsa-ñúñez", []string{"åsa-ñúñez", "ÅSA-ÑÚÑEZ", norm.NFD.String("åsa-ñúñez"), norm.NFD.String("Åsa-Ñúñez"), "\u212Bsa-ñúñez"}},
		{"ガンダム", []string{"ガンダム", "ｶﾞﾝﾀﾞﾑ", norm.NFD.String("ガンダム")}},
	} {
		c := x.NewClient()
		c.WantSeeOther(c.PostForm("/register", "username", test.spellings[1], "password", kit.Password), "/dashboard?notice=welcome")
		for _, spelling := range test.spellings {
			other := x.NewClient()
			other.WantFieldError(other.PostForm("/register", "username", spelling, "password", kit.Password), "username", "This name is taken")
			other.SignIn(spelling)
			x.ClearThrottles()
			x.GuessPassword(spelling, kit.OtherPassword)
			if x.CountedFailures(kit.AccountKey(test.stored)) != 1 || len(x.Keys("throttle:account:*")) != 1 {
				t.Errorf("a failure for %q is counted under %q", spelling, x.Keys("throttle:*"))
			}
			x.ClearThrottles()
		}
	}
	if got := x.QueryValue(`SELECT string_agg(username, ' ' ORDER BY id) FROM users`); got != "alice åsa-ñúñez ガンダム" {
		t.Errorf("got the rows %q", got)
	}
}

// TestNames_LookalikesAreRefused: invisible characters, mixed alphabets and invalid names.
func TestNames_LookalikesAreRefused(t *testing.T) {
	t.Parallel()
	x := kit.NewTarget(t)
	x.NewClient().Register("alice")
	for _, name := range []string{
		"al\u200bice", "al\u200dice", "al\u200cice", "al\u00adice", "\ufeffalice", "alice\u200e", "\u202ealice", "al\u2060ice", "alice\ufe0f", "al\u034fice",
		"аlice", "аliсе", "αlice", "alicе", "аlex", "pаypal", "ᴬlice", "𝐚𝐥𝐢𝐜𝐞", "ⓐlice", "aliⅽe", "a\u0336lice\u2044",
		"alice@", "ali ce", "alice/", "alice<b>", "alice:x", "-alice", ".alice", "_alice", "a\x00lice", "alice\x00", "al\xffice", "alice\r\nx", "a", "",
		strings.Repeat("a", 65), strings.Repeat("ａ", 65), "🦊🦊", "\u0301alice", "💩alice", "٠alice١а",
	} {
		c := x.NewClient()
		a := c.PostForm("/register", "username", name, "password", kit.Password)
		c.WantStatus(a, http.StatusUnprocessableEntity)
		if kit.FieldError(a, "username") == "" {
			t.Errorf("%q was refused without an error at the field of the name", name)
		}
	}
	if n := x.QueryValue(`SELECT count(*) FROM users`); n != "1" {
		t.Errorf("got %s users: %s", n, x.QueryValue(`SELECT string_agg(username, ' ') FROM users`))
	}
}

// TestNames_ReservedOnesAreRefused: in every spelling, except for the operator.
func TestNames_ReservedOnesAreRefused(t *testing.T) {
	t.Parallel()
	x := kit.NewTarget(t)
	for _, name := range []string{
		"admin", "Admin", "ADMIN", "ａｄｍｉｎ", "a.d.m.i.n", "ad-min", "admin_", "administrator", "root", "r00t", "adm1n", "4dmin", "admın", "аdmin", "гооt",
		"gatehouse", "g4tehouse", "support", "postmaster", "Security", "www", "api", "system", "null", "login", "hostmaster", "webmaster", "abuse",
	} {
		c := x.NewClient()
		a := c.PostForm("/register", "username", name, "password", kit.Password)
		c.WantStatus(a, http.StatusUnprocessableEntity)
		if kit.FieldError(a, "username") == "" {
			t.Errorf("%q was refused without an error at the field of the name", name)
		}
	}
	x.Run(kit.Password+"\n", "user", "add", "admin", "--password-stdin").WantCode(t, 0)
	x.NewClient().SignIn("Admin")
}

// TestASVS_15_4_2_ConcurrentRegistrationsOfOneName: of a hundred, in all spellings, exactly one succeeds.
func TestASVS_15_4_2_ConcurrentRegistrationsOfOneName(t *testing.T) {
	x := kit.NewTarget(t)
	spellings := []string{"alice", "Alice", "ａｌｉｃｅ", " ALICE "}
	clients := make([]*kit.Client, 100)
	for i := range clients {
		clients[i] = x.NewClient()
	}
	responses := kit.RunConcurrently(t, len(clients), func(i int) (kit.Response, error) {
		return clients[i].TryDo(clients[i].NewForm("/register", "username", spellings[i%4], "password", fmt.Sprintf("%s-%d", kit.Password, i)))
	})
	var won []int
	for i, a := range responses {
		switch a.StatusCode {
		case http.StatusSeeOther:
			won = append(won, i)
		case http.StatusUnprocessableEntity, http.StatusServiceUnavailable: // taken, or the hash queue was full
		default:
			t.Errorf("a registration: %s\n%s", a.Status, a.Text)
		}
		if a.StatusCode != http.StatusSeeOther && len(a.Cookies()) > 0 {
			t.Errorf("a failed registration sets %v", a.Cookies())
		}
	}
	if len(won) != 1 || x.QueryValue(`SELECT count(*) FROM users`) != "1" || len(x.Keys("session:*")) != 1 {
		t.Fatalf("got %d successes, %s rows and the sessions %q, want one each", len(won), x.QueryValue(`SELECT count(*) FROM users`), x.Keys("session:*"))
	}
	c := x.NewClient()
	c.WantSeeOther(c.PostForm("/login", "username", "alice", "password", fmt.Sprintf("%s-%d", kit.Password, won[0])), "/dashboard")
}

// TestASVS_15_3_3_ExtraFieldsAreIgnored: a form sets only its fields, and nothing else in the row or session.
func TestASVS_15_3_3_ExtraFieldsAreIgnored(t *testing.T) {
	t.Parallel()
	x := kit.NewTarget(t)
	x.NewClient().Register("victim")
	extra := []string{
		"is_admin", "1", "admin", "true", "role", "admin", "group", "staff", "permissions", "users.manage", "id", x.UserID("victim"), "user_id", x.UserID("victim"),
		"epoch", "99", "active", "false", "email_verified", "true", "EmailVerified", "true", "password_hash", "x", "created_at", "2000-01-01",
		"Username", "victim", "user[username]", "victim", "last_sign_in_at", "2000-01-01", "_method", "DELETE",
	}
	with := func(fields ...string) []string { return append(slices.Clone(extra), fields...) }
	row := func() string {
		return x.QueryValue(`SELECT concat_ws(' ', username, name, email, email_verified, time_zone, epoch, active, created_at > now() - interval '1 hour') FROM users WHERE username = 'mallory'`)
	}
	c := x.NewClient()
	c.WantSeeOther(c.PostForm("/register", with("username", "mallory", "password", kit.Password, "email", "m@example.org")...), "/dashboard?notice=welcome")
	if got, want := row(), "mallory  m@example.org f UTC 1 t t"; got != want {
		t.Errorf("after the registration, got the row %q, want %q", got, want)
	}
	c.WantSeeOther(c.PostForm("/account/profile", with("name", "M", "email", "m@example.org", "time_zone", "Europe/Berlin", "username", "root")...), "/account?notice=profile")
	if got, want := row(), "mallory M m@example.org f Europe/Berlin 1 t t"; got != want {
		t.Errorf("after the change, got the row %q, want %q", got, want)
	}
	other := x.NewClient()
	other.WantSeeOther(other.PostForm("/login", with("username", "mallory", "password", kit.Password)...), "/dashboard")
	if !strings.Contains(other.Get("/dashboard").Text, `<bdi id="user-name">M</bdi>`) {
		t.Error("the session is another user's")
	}
	c.WantSeeOther(c.PostForm("/account/password", with("current_password", kit.Password, "new_password", kit.OtherPassword)...), "/account?notice=password")
	// The password change sets a new random epoch, not the one that was sent.
	if got := row(); !strings.HasPrefix(got, "mallory M m@example.org f Europe/Berlin ") || strings.HasSuffix(got, " 1 t t") || strings.HasSuffix(got, " 99 t t") || !strings.HasSuffix(got, " t t") {
		t.Errorf("after the new password, got the row %q", got)
	}
	if got := x.QueryValue(`SELECT epoch FROM users WHERE username = 'victim'`); got != "1" {
		t.Errorf("got the epoch %s of another user", got)
	}
}

// TestRegistration_RefusesLookalikesOfExistingNames: including names created by a command or directly in SQL. Of
// concurrent registrations of lookalikes, one succeeds.
func TestRegistration_RefusesLookalikesOfExistingNames(t *testing.T) {
	t.Parallel()
	x := kit.NewTarget(t)
	x.NewClient().Register("alice")
	x.Exec(`INSERT INTO users (id, username, password_hash) VALUES ('00000000-0000-7000-8000-000000000001', 'norman', 'x')`)
	for _, name := range []string{"ᴀlice", "ꓮꓡꓲꓚꓰ", "al\u0131ce", "ɑlice", "ali\u0307ce", "norrnan", "nοrman", "ɴorman"} {
		c := x.NewClient()
		a := c.PostForm("/register", "username", name, "password", kit.Password)
		c.WantStatus(a, http.StatusUnprocessableEntity)
		if kit.FieldError(a, "username") == "" {
			t.Errorf("%q was refused without an error at the field of the name", name)
		}
	}
	for _, name := range []string{"ᴀlice", "norrnan"} {
		c := x.NewClient()
		c.WantFieldError(c.PostForm("/register", "username", name, "password", kit.Password), "username", "This name is taken")
	}
	names := []string{"mallory", "ᴍallory", "mal1ory", "rnallory"}
	done := make(chan int)
	for i := range 12 {
		c := x.NewClient()
		go func() {
			done <- c.PostForm("/register", "username", names[i%len(names)], "password", kit.Password).StatusCode
		}()
	}
	made := 0
	for range 12 {
		if <-done == http.StatusSeeOther {
			made++
		}
	}
	if n := x.QueryValue(`SELECT count(*) FROM users`); made != 1 || n != "3" {
		t.Errorf("got %d successful registrations but %s users: %s", made, n, x.QueryValue(`SELECT string_agg(username, ' ') FROM users`))
	}
	// After a bulk insert in SQL, the server computes the skeletons in the background.
	x.Exec(`INSERT INTO users (id, username, password_hash) SELECT gen_random_uuid(), 'bulk' || i, 'x' FROM generate_series(1, 1000) i`)
	c := x.NewClient()
	if status := c.PostForm("/register", "username", "zoe", "password", kit.Password).StatusCode; status != http.StatusServiceUnavailable && status != http.StatusSeeOther {
		t.Errorf("a registration after a bulk insert got %d, want 503 or 303", status)
	}
	testkit.Eventually(t, 20*time.Second, "all skeletons", func() bool {
		return x.QueryValue(`SELECT count(*) FROM user_skeletons WHERE skeleton IS NULL`) == "0"
	})
	c = x.NewClient()
	c.WantFieldError(c.PostForm("/register", "username", "bu1k1000", "password", kit.Password), "username", "This name is taken")
}
