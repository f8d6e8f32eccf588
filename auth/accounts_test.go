package auth_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alexedwards/argon2id"

	"gatehouse/auth"
	"gatehouse/auth/authtest"
)

const (
	secret    = "correct horse battery"
	newSecret = "an entirely new secret"
)

var (
	noon    = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)
	visitor = auth.Client{Address: netip.MustParseAddr("192.0.2.7")}
	errDown = fmt.Errorf("ask a server: %w", auth.ErrUnavailable)
)

// world is an Accounts on in-memory stores.
type world struct {
	*authtest.Stores
	*auth.Accounts
	log strings.Builder
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{Stores: authtest.New()}
	w.Accounts = w.Stores.Accounts(t)
	w.Accounts.Now = func() time.Time { return noon }
	w.Accounts.Log = slog.New(slog.NewTextHandler(&w.log, nil))
	return w
}

// add stores an active user, with a verified address, whose password is secret.
func (w *world) add(t testing.TB, name string) auth.User {
	t.Helper()
	u, err := w.AddUser(t.Context(), auth.Registration{Username: name, Password: secret, Email: name + "@example.org"})
	if err != nil {
		t.Fatal(err)
	}
	w.Reset()
	return u
}

// rows returns the user store.
func (w *world) rows() *authtest.Users { return w.Stores.Users }

func (w *world) counts() map[string]int { return w.Stores.Throttle.Counts() }

// guesses returns the counts without those of strength estimates and repeated failures.
func (w *world) guesses() map[string]int {
	guesses := w.counts()
	maps.DeleteFunc(guesses, func(key string, _ int) bool {
		return strings.HasPrefix(key, "strength:") || strings.HasPrefix(key, "repeats:")
	})
	return guesses
}

// sameUser reports whether two users are equal in every field.
func sameUser(a, b auth.User) bool { return reflect.DeepEqual(a, b) }

func wantError(t testing.TB, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Errorf("got error %v, want %v", got, want)
	}
}

func wantCalls(t testing.TB, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("got the calls\n\t%s\nwant\n\t%s", strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
	}
}

// account returns the throttle key of a login.
func account(name string) string {
	keys, err := auth.ParseKeys(authtest.SecretKey)
	if err != nil {
		panic(err)
	}
	return keys.AccountKey(name)
}

func wantCounts(t testing.TB, got, want map[string]int) {
	t.Helper()
	if !maps.Equal(got, want) {
		t.Errorf("got the counts %v, want %v", got, want)
	}
}

func wantInvalid(t testing.TB, err error, want auth.ValidationErrors) {
	t.Helper()
	var got auth.ValidationErrors
	if !errors.As(err, &got) || !maps.Equal(got, want) {
		t.Errorf("got %v %q, want %q", err, got, want)
	}
}

func TestSignIn_AcceptsNameOrAddress(t *testing.T) {
	w := newWorld(t)
	u := w.add(t, "alice")
	for _, login := range []string{"alice", "Alice", " Ａｌｉｃｅ ", "Alice@Example.org"} {
		w.Reset()
		got, err := w.SignIn(t.Context(), login, secret, visitor)
		if err != nil || got.ID != u.ID {
			t.Errorf("%q: got %+v, %v; want alice", login, got, err)
		}
		wantCounts(t, w.counts(), map[string]int{})
		if got := w.rows().Row(u.ID).LastSignInAt; !got.Equal(noon) {
			t.Errorf("%q: the sign-in is recorded at %s, want %s", login, got, noon)
		}
	}
	w.Reset()
	_, _ = w.SignIn(t.Context(), "Alice", secret, visitor)
	wantCalls(t, w.Calls(),
		"throttle.Reserve address:192.0.2.7 "+account("alice"),
		"users.UserByUsername alice",
		"throttle.HasFailure",
		"throttle.Refund address:192.0.2.7 "+account("alice"),
		"users.RecordSignIn "+u.ID)
	if log := w.log.String(); strings.Contains(log, secret) || !strings.Contains(log, `msg="signed in" event=true username=alice`) {
		t.Errorf("unexpected log: %s", log)
	}
}

func TestSignIn_FailsUniformly(t *testing.T) {
	w := newWorld(t)
	w.add(t, "alice")
	disabled := w.add(t, "bob")
	disabled.Active = false
	w.rows().Put(disabled)
	broken := w.add(t, "carol")
	broken.PasswordHash = "not a hash"
	w.rows().Put(broken)
	unverified := w.add(t, "dave")
	unverified.EmailVerified = false
	w.rows().Put(unverified)
	const address = "address:192.0.2.7"
	for _, c := range []struct {
		name, login, password string
		counted               string
	}{
		{"wrong password", "alice", "wrong", account("alice")},
		{"wrong case", "alice", "Correct horse battery", account("alice")},
		{"no password", "alice", "", account("alice")},
		{"NUL", "alice", secret + "\x00", account("alice")},
		{"too long", "alice", strings.Repeat("x", 1<<20), account("alice")},
		{"wrong password with the address", "alice@example.org", "wrong", account("alice@example.org")},
		{"unknown name", "nobody", secret, account("nobody")},
		{"unknown address", "nobody@example.org", secret, account("nobody@example.org")},
		{"unverified address", "dave@example.org", secret, account("dave@example.org")},
		{"disabled user", "bob", secret, account("bob")},
		{"disabled user, wrong password", "bob", "wrong", account("bob")},
		{"malformed hash", "carol", secret, account("carol")},
		{"impossible name", "al ice", secret, ""},
		{"impossible address", "a@b@c", secret, ""},
		{"no name", "", secret, ""},
	} {
		w.Stores.Throttle.Reset(t.Context(), slices.Collect(maps.Keys(w.counts()))...)
		w.Reset()
		u, err := w.SignIn(t.Context(), c.login, c.password, visitor)
		if err != auth.ErrWrongCredentials || !sameUser(u, auth.User{}) {
			t.Errorf("%s: got %+v, %v; want ErrWrongCredentials and no user", c.name, u, err)
		}
		want := map[string]int{address: 1}
		if c.counted != "" {
			want[c.counted] = 1
		}
		wantCounts(t, w.counts(), want)
		if calls := w.Calls("users."); len(calls) != 1 || !strings.HasPrefix(calls[0], "users.UserBy") {
			t.Errorf("%s: got the database calls %v, want one lookup", c.name, calls)
		}
	}
}

func TestSignIn_AlwaysHashesOnce(t *testing.T) {
	const memory = 4 << 20
	w := newWorld(t)
	params := argon2id.Params{Memory: memory >> 10, Iterations: 1, Parallelism: 1, SaltLength: 16, KeyLength: 32}
	w.Accounts.Hasher = authtest.Hasher(t, params)
	w.add(t, "alice")
	bob := w.add(t, "bob")
	bob.Active = false
	w.rows().Put(bob)
	for name, try := range map[string][2]string{
		"right":              {"alice", secret},
		"wrong password":     {"alice", "wrong"},
		"unknown name":       {"nobody", "wrong"},
		"unknown address":    {"nobody@example.org", "wrong"},
		"impossible name":    {"no body", "wrong"},
		"no password":        {"alice", ""},
		"oversized password": {"nobody", strings.Repeat("x", 5000)},
		"disabled":           {"bob", secret},
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, _ = w.SignIn(t.Context(), try[0], try[1], visitor)
		runtime.ReadMemStats(&after)
		// argon2 fills its memory once for each hash.
		if got := after.TotalAlloc - before.TotalAlloc; got < memory || got >= 2*memory {
			t.Errorf("%s: allocated %d bytes, want the %d of one hash", name, got, memory)
		}
	}
}

func TestSignIn_IsThrottled(t *testing.T) {
	w := newWorld(t)
	w.add(t, "alice")
	var throttled auth.ThrottledError
	tries := 0
	for ; !errors.As(w.try(t, "alice", fmt.Sprint("wrong", tries), visitor), &throttled); tries++ {
		if tries > 100 {
			t.Fatal("100 guesses were not throttled")
		}
	}
	if tries != 10 || throttled.RetryAfter != time.Second {
		t.Errorf("%d attempts passed, then a wait of %s; want 10 and 1s", tries, throttled.RetryAfter)
	}
	w.Reset()
	// The right password is throttled too: it could be a guess.
	if err := w.try(t, "Alice", secret, visitor); !errors.As(err, &throttled) {
		t.Errorf("got %v, want a ThrottledError", err)
	}
	wantCalls(t, w.Calls(), "throttle.Reserve address:192.0.2.7 "+account("alice"))
	wantCounts(t, w.counts(), map[string]int{account("alice"): 10, "address:192.0.2.7": 10})
	// Other users are not throttled.
	w.add(t, "bob")
	if err := w.try(t, "bob", secret, visitor); err != nil {
		t.Errorf("bob: %v", err)
	}
}

func (w *world) try(t testing.TB, login, password string, v auth.Client) error {
	t.Helper()
	_, err := w.SignIn(t.Context(), login, password, v)
	return err
}

func TestSignIn_RefundsOnlyItsOwnAttempt(t *testing.T) {
	w := newWorld(t)
	alice := w.add(t, "alice")
	for i := range 5 {
		wantError(t, w.try(t, "alice", fmt.Sprint("wrong", i), visitor), auth.ErrWrongCredentials)
	}
	if err := w.try(t, "alice", secret, visitor); err != nil {
		t.Fatal(err)
	}
	if _, err := w.ChangePassword(t.Context(), alice.ID, secret, newSecret, visitor); err != nil {
		t.Fatal(err)
	}
	wantCounts(t, w.guesses(), map[string]int{"address:192.0.2.7": 5, account("alice"): 5})
}

// TestRepeatedFailure_CountsOnce: repeating a wrong password gives an attacker nothing, so it costs a hash but no
// attempt.
func TestRepeatedFailure_CountsOnce(t *testing.T) {
	w := newWorld(t)
	alice := w.add(t, "alice")
	elsewhere := auth.Client{Address: netip.MustParseAddr("198.51.100.1")}
	wants := func(what string, want map[string]int) {
		t.Helper()
		if got := w.guesses(); !maps.Equal(got, want) {
			t.Errorf("%s: got the counts %v, want %v", what, got, want)
		}
	}
	for range 100 {
		wantError(t, w.try(t, "alice", "wrong", visitor), auth.ErrWrongCredentials)
		_, err := w.ChangePassword(t.Context(), alice.ID, "wrong", newSecret, visitor)
		wantInvalid(t, err, auth.ValidationErrors{"current_password": "This is not your current password."})
	}
	wants("one password", map[string]int{"address:192.0.2.7": 1, account("alice"): 1})
	for range 2 {
		wantError(t, w.try(t, "nobody", "wrong", visitor), auth.ErrWrongCredentials)
		wantError(t, w.try(t, "no body", "wrong", visitor), auth.ErrWrongCredentials)
	}
	wants("other names", map[string]int{"address:192.0.2.7": 3, account("alice"): 1, account("nobody"): 1})
	wantError(t, w.try(t, "alice", "wrong", elsewhere), auth.ErrWrongCredentials)
	wants("another address", map[string]int{"address:192.0.2.7": 3, "address:198.51.100.1": 1, account("alice"): 2, account("nobody"): 1})
	for _, mark := range w.Stores.Throttle.Marks() {
		if strings.Contains(mark, "wrong") {
			t.Errorf("the mark %q contains the password", mark)
		}
	}
	// A change of the account does not make a repeated guess a new one.
	for what, change := range map[string]func(*auth.User){
		"epoch":    func(u *auth.User) { u.Epoch++ },
		"disabled": func(u *auth.User) { u.Active = false },
		"enabled":  func(u *auth.User) { u.Active = true },
		"password": func(u *auth.User) { u.PasswordHash = w.rows().Row(w.add(t, "other").ID).PasswordHash },
	} {
		u := w.rows().Row(alice.ID)
		change(&u)
		w.rows().Put(u)
		before := w.guesses()
		wantError(t, w.try(t, "alice", "wrong", visitor), auth.ErrWrongCredentials)
		wants(what, before)
	}
	// If failures cannot be stored, every attempt counts.
	w.FailOn("throttle.RecordFailure", errDown)
	before := w.Stores.Throttle.Count("address:192.0.2.7")
	for range 2 {
		wantError(t, w.try(t, "alice", "another", visitor), auth.ErrWrongCredentials)
	}
	if got := w.Stores.Throttle.Count("address:192.0.2.7"); got != before+2 {
		t.Errorf("got %d failures, want %d", got, before+2)
	}
}

func TestKnownBrowsers_ShareOneLimit(t *testing.T) {
	w := newWorld(t)
	alice := w.add(t, "alice")
	w.add(t, "bob")
	for i := range 11 {
		_ = w.try(t, "alice", fmt.Sprint("wrong", i), auth.Client{Address: netip.MustParseAddr("198.51.100.1")})
	}
	known := auth.Client{Address: visitor.Address, DeviceCookies: []string{w.NewDeviceCookie(alice)}}
	for _, login := range []string{"ALICE", "alice@example.org"} {
		if err := w.try(t, login, secret, known); err != nil {
			t.Errorf("%s: the owner is locked out of a known browser: %v", login, err)
		}
	}
	wantThrottled(t, w.try(t, "alice", secret, visitor))
	// The success does not reset the count of the guesses.
	if got := w.Stores.Throttle.Count(account("alice")); got != 10 {
		t.Errorf("the account's count is %d, want 10", got)
	}
	// A browser known for alice is not known for bob, nor for an unknown user.
	for _, name := range []string{"bob", "nobody"} {
		_ = w.try(t, name, "wrong", known)
		if got := w.Stores.Throttle.Count(account(name)); got != 1 {
			t.Errorf("%s's count is %d, want 1", name, got)
		}
	}
	for i := range 10 {
		known.DeviceCookies = []string{"no cookie", w.NewDeviceCookie(alice)}
		_ = w.try(t, "alice", fmt.Sprint("wrong", i), known)
	}
	wantThrottled(t, w.try(t, "alice", secret, known))
	// A device cookie of an older epoch is not trusted.
	alice, err := w.SignOutEverywhere(t.Context(), alice.ID, "")
	if err != nil {
		t.Fatal(err)
	}
	wantThrottled(t, w.try(t, "alice", secret, known))
	w.Stores.Throttle.Reset(t.Context(), account("alice"))
	if err := w.try(t, "alice", secret, known); err != nil {
		t.Errorf("from an unknown browser: %v", err)
	}
	if got := w.Stores.Throttle.Count("browsers:" + alice.ID); got != 10 {
		t.Errorf("the browsers' count is %d, want 10", got)
	}
}

func TestAddresses_AreCountedByNetwork(t *testing.T) {
	for address, want := range map[string]string{
		"192.0.2.7":            "address:192.0.2.7",
		"::ffff:192.0.2.7":     "address:192.0.2.7",
		"2001:db8:1:2:3:4:5:6": "address:2001:db8:1:2::/64",
		"2001:db8:1:2:ffff::1": "address:2001:db8:1:2::/64",
		"2001:db8:1:3::1":      "address:2001:db8:1:3::/64",
		"fe80::1%eth0":         "address:fe80::/64",
		"0.0.0.0":              "address:0.0.0.0",
	} {
		w := newWorld(t)
		_ = w.try(t, "nobody", "wrong", auth.Client{Address: netip.MustParseAddr(address)})
		wantCounts(t, w.counts(), map[string]int{account("nobody"): 1, want: 1})
	}
}

func TestSignIn_FailsWithoutServers(t *testing.T) {
	for _, c := range []struct {
		broken string
		want   map[string]int
	}{
		{"throttle.Reserve", map[string]int{}},
		{"users.UserByUsername", map[string]int{}},
		{"throttle.HasFailure", map[string]int{}},
		{"throttle.Refund", map[string]int{}}, // the reservation expires
		{"users.RecordSignIn", map[string]int{}},
	} {
		w := newWorld(t)
		w.add(t, "alice")
		w.FailOn(c.broken, errDown)
		u, err := w.SignIn(t.Context(), "alice", secret, visitor)
		if !errors.Is(err, auth.ErrUnavailable) || u.ID != "" {
			t.Errorf("without %s: got %+v, %v; want ErrUnavailable", c.broken, u, err)
		}
		if errors.Is(err, auth.ErrWrongCredentials) {
			t.Errorf("without %s: got %v, which is ErrWrongCredentials", c.broken, err)
		}
		wantCounts(t, w.counts(), c.want)
	}
}

func TestSignIn_StopsWhenTheClientDisconnects(t *testing.T) {
	w := newWorld(t)
	w.add(t, "alice")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := w.SignIn(ctx, "alice", secret, visitor)
	wantError(t, err, context.Canceled)
}

func TestSignIn_UpgradesOutdatedHashes(t *testing.T) {
	w := newWorld(t)
	u := w.add(t, "alice")
	old := authtest.FastHashParams
	old.Iterations = 2
	hash, err := argon2id.CreateHash(secret, &old)
	if err != nil {
		t.Fatal(err)
	}
	u.PasswordHash = hash
	w.rows().Put(u)
	wantError(t, w.try(t, "alice", "wrong", visitor), auth.ErrWrongCredentials)
	if w.rows().Row(u.ID).PasswordHash != hash {
		t.Fatal("a wrong password replaced the stored hash")
	}
	w.FailOn("users.ReplaceHash", errDown)
	if err := w.try(t, "alice", secret, visitor); err != nil {
		t.Errorf("the right password is refused if the new hash cannot be stored: %v", err)
	}
	w.FailOn("users.ReplaceHash", nil)
	if err := w.try(t, "alice", secret, visitor); err != nil {
		t.Fatal(err)
	}
	row := w.rows().Row(u.ID)
	if row.PasswordHash == hash || row.Epoch != u.Epoch {
		t.Errorf("got hash %q and epoch %d, want another hash and the same epoch %d", row.PasswordHash, row.Epoch, u.Epoch)
	}
	w.Reset()
	if err := w.try(t, "alice", secret, visitor); err != nil {
		t.Errorf("the new hash does not match: %v", err)
	}
	if calls := w.Calls("users.ReplaceHash"); len(calls) != 0 {
		t.Errorf("an up-to-date hash was replaced: %v", calls)
	}
}

func TestRegister_StoresCanonicalValues(t *testing.T) {
	w := newWorld(t)
	u, err := w.Register(t.Context(), auth.Registration{
		Username: " Ａlice ", Password: secret, Email: "Alice@Example.org", Name: "  Alice  L. ", TimeZone: "Europe/Berlin",
	}, visitor)
	if err != nil {
		t.Fatal(err)
	}
	row := w.rows().Row(u.ID)
	if !sameUser(row, u) || u.PasswordHash == "" {
		t.Errorf("got %+v, stored %+v", u, row)
	}
	row.ID, row.PasswordHash = "", ""
	want := auth.User{Username: "alice", Name: "Alice L.", Email: "alice@example.org", TimeZone: "Europe/Berlin", Epoch: 1, Active: true, CreatedAt: noon, UpdatedAt: noon}
	if !sameUser(row, want) {
		t.Errorf("got %+v, want %+v", row, want)
	}
	wantCounts(t, w.counts(), map[string]int{"register:192.0.2.7": 1})
	if err := w.try(t, "alice", secret, visitor); err != nil {
		t.Errorf("the new user cannot sign in: %v", err)
	}
	if log := w.log.String(); strings.Contains(log, secret) || strings.Contains(log, "argon2") {
		t.Errorf("unexpected log: %s", log)
	}
	if u, err := w.Register(t.Context(), auth.Registration{Username: "bob", Password: secret, TimeZone: "Local"}, visitor); err != nil || u.TimeZone != "UTC" {
		t.Errorf("got %+v, %v; want the zone UTC", u, err)
	}
}

// TestRegister_ReturnsTheStoredEpoch: the database may set another epoch, and the session that follows has to match it.
func TestRegister_ReturnsTheStoredEpoch(t *testing.T) {
	w := newWorld(t)
	w.rows().RestoredBefore = noon.Add(time.Hour)
	u, err := w.Register(t.Context(), auth.Registration{Username: "alice", Password: secret}, visitor)
	if err != nil {
		t.Fatal(err)
	}
	if stored := w.rows().Row(u.ID); stored.Epoch == 1 || u.Epoch != stored.Epoch {
		t.Errorf("got epoch %d, stored %d", u.Epoch, stored.Epoch)
	}
}

func TestRegister_RefusesInvalidInput(t *testing.T) {
	w := newWorld(t)
	w.add(t, "alice")
	_, err := w.Register(t.Context(), auth.Registration{Username: "a b", Password: "short", Email: "x", Name: "\x00"}, visitor)
	wantInvalid(t, err, auth.ValidationErrors{
		"username": "Use letters, digits, dots, hyphens and underscores.",
		"password": "Use at least 8 characters (this has 5).",
		"email":    "Enter an address such as name@example.org.",
		"name":     "Some characters can't be used in a name; type it again.",
	})
	wantCalls(t, w.Calls(), "throttle.Reserve register:192.0.2.7")
	_, err = w.Register(t.Context(), auth.Registration{Username: "admin", Password: secret}, visitor)
	wantInvalid(t, err, auth.ValidationErrors{"username": "This name is reserved; choose another one."})
	for name, r := range map[string]auth.Registration{
		"user name":            {Username: "wunderlich", Password: "Wunderlich1"},
		"full-width user name": {Username: "ＷＵＮＤＥＲＬＩＣＨ", Password: "wunderlich1"},
		"name":                 {Username: "al", Name: "Wunderlich", Password: "Wunderlich1"},
		"address":              {Username: "al", Email: "wunderlich@example.org", Password: "wunderlich1"},
	} {
		_, err = w.Register(t.Context(), r, visitor)
		var wrong auth.ValidationErrors
		if !errors.As(err, &wrong) || !strings.Contains(wrong["password"], "wunderlich") {
			t.Errorf("a password that is the %s: got %v with the fields %v", name, err, wrong)
		}
	}
	_, err = w.Register(t.Context(), auth.Registration{Username: "ALICE", Password: secret}, visitor)
	wantInvalid(t, err, auth.ValidationErrors{"username": "This name is taken; choose another one."})
	if w.rows().Len() != 1 {
		t.Errorf("got %d users, want 1", w.rows().Len())
	}
	w.RegistrationOpen = false
	w.Reset()
	_, err = w.Register(t.Context(), auth.Registration{Username: "bob", Password: secret}, visitor)
	wantError(t, err, auth.ErrRegistrationClosed)
	wantCalls(t, w.Calls())
}

func TestRegister_ReportsConcurrentDuplicates(t *testing.T) {
	for refusal, want := range map[error]auth.ValidationErrors{
		auth.ErrUsernameTaken: {"username": "This name is taken; choose another one."},
		auth.ErrEmailTaken:    {"email": "Another account has this address."},
	} {
		w := newWorld(t)
		w.FailOn("users.CreateUser", refusal)
		_, err := w.Register(t.Context(), auth.Registration{Username: "alice", Password: secret}, visitor)
		wantInvalid(t, err, want)
	}
}

func TestRegister_FailsWithoutServers(t *testing.T) {
	for _, broken := range []string{"throttle.", "users.UsernameTaken", "users.CreateUser"} {
		w := newWorld(t)
		w.FailOn(broken, errDown)
		u, err := w.Register(t.Context(), auth.Registration{Username: "alice", Password: secret}, visitor)
		if !errors.Is(err, auth.ErrUnavailable) || u.ID != "" || w.rows().Len() != 0 {
			t.Errorf("without %s: got %+v, %v and %d rows; want ErrUnavailable and no row", broken, u, err, w.rows().Len())
		}
	}
}

func TestRegister_IsThrottled(t *testing.T) {
	w := newWorld(t)
	for range 200 {
		_, _ = w.Stores.Throttle.Reserve(t.Context(), auth.Bucket{Key: "register:192.0.2.7", Limit: auth.RateLimit{Burst: 1000}})
	}
	_, err := w.Register(t.Context(), auth.Registration{Username: "alice", Password: secret}, visitor)
	var throttled auth.ThrottledError
	if !errors.As(err, &throttled) || w.rows().Len() != 0 {
		t.Errorf("got %v and %d rows, want a ThrottledError and no row", err, w.rows().Len())
	}
}

func TestAddUser_AllowsReservedNames(t *testing.T) {
	w := newWorld(t)
	u, err := w.AddUser(t.Context(), auth.Registration{Username: "Admin", Password: secret, Email: "root@example.org"})
	if err != nil || u.Username != "admin" || !u.EmailVerified {
		t.Errorf("got %+v, %v; want the reserved name and a verified address", u, err)
	}
	u, err = w.AddUser(t.Context(), auth.Registration{Username: "nomail", Password: secret})
	if err != nil || u.EmailVerified {
		t.Errorf("got %+v, %v; want no verified address", u, err)
	}
	_, err = w.AddUser(t.Context(), auth.Registration{Username: "bob", Password: "password"})
	var wrong auth.ValidationErrors
	if !errors.As(err, &wrong) || wrong["password"] == "" {
		t.Errorf("got %v, want a validation error for the password", err)
	}
}

func TestUser_IsCachedAfterTheFirstRead(t *testing.T) {
	w := newWorld(t)
	u := w.add(t, "alice")
	first, err := w.User(t.Context(), u.ID)
	if err != nil || first.Username != "alice" {
		t.Fatalf("got %+v, %v; want alice", first, err)
	}
	wantCalls(t, w.Calls(), "cache.User "+u.ID, "users.UserByID "+u.ID, "cache.Fill "+u.ID)
	w.Reset()
	second, err := w.User(t.Context(), u.ID)
	if err != nil || second.Username != "alice" || second.PasswordHash != "" {
		t.Errorf("got %+v, %v; want alice without a password hash", second, err)
	}
	wantCalls(t, w.Calls(), "cache.User "+u.ID) // no SQL
}

func TestUser_IsCachedOnlyByTheLeaseHolder(t *testing.T) {
	w := newWorld(t)
	u := w.add(t, "alice")
	if _, _, err := w.Stores.Cache.User(t.Context(), u.ID); err != auth.ErrNotFound {
		t.Fatal(err) // another request has the lease
	}
	w.Reset()
	if got, err := w.User(t.Context(), u.ID); err != nil || got.ID != u.ID {
		t.Errorf("got %+v, %v; want the row", got, err)
	}
	wantCalls(t, w.Calls(), "cache.User "+u.ID, "users.UserByID "+u.ID)
}

func TestUser_FallsBackToTheDatabase(t *testing.T) {
	w := newWorld(t)
	u := w.add(t, "alice")
	w.FailOn("cache.", errDown)
	if got, err := w.User(t.Context(), u.ID); err != nil || got.ID != u.ID {
		t.Errorf("without the cache: got %+v, %v; want the row", got, err)
	}
	wantCalls(t, w.Calls(), "cache.User "+u.ID, "users.UserByID "+u.ID)
	w.FailOn("users.", errDown)
	_, err := w.User(t.Context(), u.ID)
	wantError(t, err, auth.ErrUnavailable)

	w = newWorld(t)
	u = w.add(t, "alice")
	w.FailOn("cache.Fill", errDown)
	if got, err := w.User(t.Context(), u.ID); err != nil || got.ID != u.ID {
		t.Errorf("with a cache that cannot be filled: got %+v, %v; want the row", got, err)
	}
	if !strings.Contains(w.log.String(), "the user cache was not filled") {
		t.Errorf("the failed fill is not logged: %s", w.log.String())
	}
	_, err = w.User(t.Context(), "nobody")
	wantError(t, err, auth.ErrNotFound)
}

// changes holds every way to change a user.
var changes = map[string]struct {
	call string
	make func(*world, context.Context, auth.User) (auth.User, error)
}{
	"password": {"users.SetPassword", func(w *world, ctx context.Context, u auth.User) (auth.User, error) {
		return w.SetPassword(ctx, u, newSecret)
	}},
	"own password": {"users.SetPassword", func(w *world, ctx context.Context, u auth.User) (auth.User, error) {
		return w.ChangePassword(ctx, u.ID, secret, newSecret, visitor)
	}},
	"profile": {"users.SetProfile", func(w *world, ctx context.Context, u auth.User) (auth.User, error) {
		return w.EditProfile(ctx, u.ID, auth.ProfileEdit{Name: &auth.Edit{To: "New"}})
	}},
	"disabling": {"users.SetActive", func(w *world, ctx context.Context, u auth.User) (auth.User, error) {
		return w.SetActive(ctx, u.ID, false)
	}},
	"enabling": {"users.SetActive", func(w *world, ctx context.Context, u auth.User) (auth.User, error) {
		return w.SetActive(ctx, u.ID, true)
	}},
	"epoch": {"users.RotateEpoch", func(w *world, ctx context.Context, u auth.User) (auth.User, error) {
		return w.SignOutEverywhere(ctx, u.ID, "")
	}},
	"epoch of others": {"users.RotateEpoch", func(w *world, ctx context.Context, u auth.User) (auth.User, error) {
		return w.EndOtherSessions(ctx, u.ID, "", u.Epoch)
	}},
}

func TestUserChanges_DropTheCacheBeforeAndAfter(t *testing.T) {
	for name, change := range changes {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			u := w.add(t, "alice")
			if _, err := w.User(t.Context(), u.ID); err != nil {
				t.Fatal(err)
			}
			w.Reset()
			got, err := change.make(w, t.Context(), u)
			got.PreviousEpoch = 0
			if err != nil || !sameUser(got, w.rows().Row(u.ID)) {
				t.Fatalf("got %+v, %v; want the stored row", got, err)
			}
			wantCalls(t, w.Calls("cache.", change.call), "cache.Drop "+u.ID, change.call+" "+u.ID, "cache.Drop "+u.ID)
			if fresh, err := w.User(t.Context(), u.ID); err != nil || fresh.Epoch != got.Epoch || fresh.Name != got.Name || fresh.Active != got.Active {
				t.Errorf("the next request sees %+v, %v", fresh, err)
			}
		})
	}
}

func TestUserChanges_FailWithoutTheCache(t *testing.T) {
	for name, change := range changes {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			u := w.add(t, "alice")
			w.FailOn("cache.", errDown)
			got, err := change.make(w, t.Context(), u)
			wantError(t, err, auth.ErrUnavailable)
			if !sameUser(got, auth.User{}) || !sameUser(w.rows().Row(u.ID), u) {
				t.Errorf("got %+v and the row %+v, want no change", got, w.rows().Row(u.ID))
			}
		})
	}
}

func TestUserChanges_DropTheCacheAfterAFailure(t *testing.T) {
	w := newWorld(t)
	u := w.add(t, "alice")
	w.FailOn("users.RotateEpoch", errDown)
	_, err := w.SignOutEverywhere(t.Context(), u.ID, "")
	wantError(t, err, auth.ErrUnavailable)
	wantCalls(t, w.Calls(), "cache.Drop "+u.ID, "users.RotateEpoch "+u.ID, "cache.Drop "+u.ID)
}

// secondDropFails is a cache whose first Drop disconnects the client and whose second one fails.
type secondDropFails struct {
	auth.UserCache
	dropped int
	cancel  func()
}

func (c *secondDropFails) Drop(ctx context.Context, id string) error {
	c.dropped++
	if err := ctx.Err(); err != nil {
		return err
	}
	if c.dropped > 1 {
		return errDown
	}
	c.cancel()
	return nil
}

type uncancelableStore struct{ auth.UserStore }

func (p uncancelableStore) RotateEpoch(ctx context.Context, id string) (auth.User, error) {
	return p.UserStore.RotateEpoch(context.WithoutCancel(ctx), id)
}

func TestUserChanges_DropTheCacheAfterTheClientDisconnects(t *testing.T) {
	w := newWorld(t)
	u := w.add(t, "alice")
	ctx, cancel := context.WithCancel(t.Context())
	cache := &secondDropFails{UserCache: w.Stores.Cache, cancel: cancel}
	w.Accounts.Cache, w.Accounts.Users = cache, uncancelableStore{w.rows()}
	got, err := w.SignOutEverywhere(ctx, u.ID, "")
	if err != nil || got.Epoch == u.Epoch || cache.dropped != 2 {
		t.Errorf("got %+v, %v after %d drops; want the changed user after 2 drops", got, err, cache.dropped)
	}
	if !strings.Contains(w.log.String(), "could not be dropped after a change") || strings.Contains(w.log.String(), "canceled") {
		t.Errorf("unexpected log: %s", w.log.String())
	}
}

// cacheOrder records whether the local cache still holds the user when the shared cache drops it.
type cacheOrder struct {
	auth.UserCache
	memory *auth.LocalUserCache
	order  []string
}

func (c *cacheOrder) note(t *testing.T, what string) {
	had := true
	_, err := c.memory.Load(t.Context(), "u1", time.Time{}, func(context.Context) (auth.User, error) {
		had = false
		return auth.User{}, auth.ErrNotFound
	})
	if err != nil && !errors.Is(err, auth.ErrNotFound) {
		t.Error(err)
	}
	c.order = append(c.order, fmt.Sprintf("%s, in memory: %t", what, had))
}

type recordingCache struct {
	*cacheOrder
	t *testing.T
}

func (c recordingCache) Invalidate(string) { c.note(c.t, "bypass") }
func (c recordingCache) InvalidateAll()    { c.note(c.t, "bypass") }
func (c recordingCache) Drop(context.Context, string) error {
	c.note(c.t, "drop")
	return nil
}
func (c recordingCache) DropAll(context.Context) error {
	c.note(c.t, "drop")
	return nil
}

// TestUserChanges_InvalidateMemoryBeforeTheNetwork: memory is invalidated before any network call, and only after
// the cache is bypassed, so that it cannot be refilled from the cache in between.
func TestUserChanges_InvalidateMemoryBeforeTheNetwork(t *testing.T) {
	for name, change := range map[string]func(w *world) error{
		"one user": func(w *world) error { _, err := w.SignOutEverywhere(t.Context(), "u1", ""); return err },
		"a group":  func(w *world) error { return w.SetGroupPermission(t.Context(), "readers", "books.read", true) },
	} {
		w := newWorld(t)
		w.rows().Put(auth.User{ID: "u1", Username: "alice", Epoch: 1, Active: true})
		w.LocalCache = auth.NewLocalUserCache(time.Hour)
		w.LocalCache.SetEnabled(true)
		if err := w.AddGroup(t.Context(), "readers"); err != nil {
			t.Fatal(err)
		}
		if _, err := w.User(t.Context(), "u1"); err != nil {
			t.Fatal(err)
		}
		cache := &cacheOrder{UserCache: w.Accounts.Cache, memory: w.LocalCache}
		w.Accounts.Cache = recordingCache{cache, t}
		if err := change(w); err != nil {
			t.Fatal(err)
		}
		want := []string{"bypass, in memory: true", "drop, in memory: false", "bypass, in memory: false", "drop, in memory: false"}
		if !slices.Equal(cache.order, want) {
			t.Errorf("%s: got %q, want %q", name, cache.order, want)
		}
	}
}

func TestChangePassword_RotatesTheEpoch(t *testing.T) {
	w := newWorld(t)
	u := w.add(t, "alice")
	got, err := w.ChangePassword(t.Context(), u.ID, secret, newSecret, visitor)
	if err != nil || got.Epoch == u.Epoch || got.PreviousEpoch != u.Epoch {
		t.Fatalf("got %+v, %v; want the epoch raised", got, err)
	}
	wantCounts(t, w.counts(), map[string]int{"strength:" + u.ID: 1})
	wantError(t, w.try(t, "alice", secret, visitor), auth.ErrWrongCredentials)
	if err := w.try(t, "alice", newSecret, visitor); err != nil {
		t.Error(err)
	}
	if log := w.log.String(); strings.Contains(log, secret) || strings.Contains(log, newSecret) {
		t.Errorf("unexpected log: %s", log)
	}
}

func TestChangePassword_RefusesInvalidInput(t *testing.T) {
	w := newWorld(t)
	u := w.add(t, "alice")
	change := func(current, next string) error {
		_, err := w.ChangePassword(t.Context(), u.ID, current, next, visitor)
		return err
	}
	wantInvalid(t, change("", "short"), auth.ValidationErrors{
		"current_password": "Enter your current password.",
		"new_password":     "Use at least 8 characters (this has 5).",
	})
	wantCounts(t, w.counts(), map[string]int{"strength:" + u.ID: 1})
	wantInvalid(t, change("wrong", newSecret), auth.ValidationErrors{"current_password": "This is not your current password."})
	wantCounts(t, w.counts(), map[string]int{"strength:" + u.ID: 2, account("alice"): 1, "address:192.0.2.7": 1})
	for i := range 9 {
		_ = change(fmt.Sprint("wrong", i), newSecret)
	}
	var throttled auth.ThrottledError
	if err := change(secret, newSecret); !errors.As(err, &throttled) {
		t.Errorf("got %v, want a ThrottledError: guesses at the current password count", err)
	}
	if !sameUser(w.rows().Row(u.ID), u) {
		t.Errorf("got the row %+v, want it unchanged", w.rows().Row(u.ID))
	}
	_, err := w.ChangePassword(t.Context(), "nobody", secret, newSecret, visitor)
	wantError(t, err, auth.ErrNotFound)
}

func TestChangePassword_FailsWithoutServers(t *testing.T) {
	for broken, counts := range map[string]map[string]int{
		"users.UserByID":      {},
		"throttle.Reserve":    {},
		"throttle.HasFailure": {},
		"throttle.Refund":     {}, // the reservation expires
		"users.SetPassword":   {},
	} {
		w := newWorld(t)
		u := w.add(t, "alice")
		w.FailOn(broken, errDown)
		_, err := w.ChangePassword(t.Context(), u.ID, secret, newSecret, visitor)
		if !errors.Is(err, auth.ErrUnavailable) || !sameUser(w.rows().Row(u.ID), u) {
			t.Errorf("without %s: got %v and the row %+v, want ErrUnavailable and no change", broken, err, w.rows().Row(u.ID))
		}
		if broken != "users.UserByID" && broken != "throttle.Reserve" {
			counts["strength:"+u.ID] = 1
		}
		wantCounts(t, w.counts(), counts)
	}
}

// TestEstimates_AreThrottledBeforeTheyRun: a throttled request costs no estimate, whatever the password is.
func TestEstimates_AreThrottledBeforeTheyRun(t *testing.T) {
	w := newWorld(t)
	u := w.add(t, "alice")
	for name, c := range map[string]struct {
		most int
		try  func() error
	}{
		"registering": {100, func() error {
			_, err := w.Register(t.Context(), auth.Registration{Username: "bob", Password: "password"}, visitor)
			return err
		}},
		"changing the password": {300, func() error {
			_, err := w.ChangePassword(t.Context(), u.ID, secret, "password", visitor)
			return err
		}},
		"the meter": {300, func() error {
			_, err := w.EstimateStrength(t.Context(), visitor, "password")
			return err
		}},
	} {
		var throttled auth.ThrottledError
		passed := 0
		for passed <= c.most && !errors.As(c.try(), &throttled) {
			passed++
		}
		if passed != c.most {
			t.Errorf("%s: %d attempts passed, want %d", name, passed, c.most)
		}
	}
	if n := w.counts()["register:192.0.2.7"]; n != 100 {
		t.Errorf("got %d counted registrations, want 100", n)
	}
}

func TestSetPassword_RefusesAStaleRow(t *testing.T) {
	w := newWorld(t)
	u := w.add(t, "alice")
	if _, err := w.SignOutEverywhere(t.Context(), u.ID, ""); err != nil {
		t.Fatal(err)
	}
	_, err := w.SetPassword(t.Context(), u, newSecret)
	wantError(t, err, auth.ErrStale)
	_, err = w.SetPassword(t.Context(), u, "gatehouse1")
	var wrong auth.ValidationErrors
	if !errors.As(err, &wrong) {
		t.Errorf("got %v, want a validation error for the password", err)
	}
}

func TestEditProfile_StoresCanonicalValues(t *testing.T) {
	w := newWorld(t)
	u := w.add(t, "alice")
	got, err := w.EditProfile(t.Context(), u.ID, auth.ProfileEdit{Name: &auth.Edit{To: " Alice  L. "}, Email: &auth.Edit{To: "New@Example.org"}, TimeZone: &auth.Edit{To: "Asia/Tokyo"}})
	if err != nil || got.Name != "Alice L." || got.Email != "new@example.org" || got.EmailVerified || got.TimeZone != "Asia/Tokyo" || got.Epoch != u.Epoch {
		t.Errorf("got %+v, %v; want the canonical values and an unverified address", got, err)
	}
	w.Reset()
	_, err = w.EditProfile(t.Context(), u.ID, auth.ProfileEdit{Name: &auth.Edit{To: "\x00"}, Email: &auth.Edit{To: "x"}, TimeZone: &auth.Edit{To: "Local"}})
	wantInvalid(t, err, auth.ValidationErrors{
		"name":      "Some characters can't be used in a name; type it again.",
		"email":     "Enter an address such as name@example.org.",
		"time_zone": "Choose a time zone from the list.",
	})
	wantCalls(t, w.Calls())
}

func TestSetActive_EndsOldSessions(t *testing.T) {
	w := newWorld(t)
	u := w.add(t, "alice")
	off, err := w.SetActive(t.Context(), u.ID, false)
	if err != nil || off.Active || off.AcceptsEpoch(u.Epoch) {
		t.Errorf("got %+v, %v; want an inactive user with another epoch", off, err)
	}
	wantError(t, w.try(t, "alice", secret, visitor), auth.ErrWrongCredentials)
	on, err := w.SetActive(t.Context(), u.ID, true)
	if err != nil || !on.Active || on.AcceptsEpoch(u.Epoch) {
		t.Errorf("got %+v, %v; want the old epoch refused", on, err)
	}
	w.Stores.Throttle.Reset(t.Context(), account("alice"))
	if err := w.try(t, "alice", secret, visitor); err != nil {
		t.Error(err)
	}
}

func TestAccounts_UseUTC(t *testing.T) {
	w := newWorld(t)
	w.Accounts.Now = func() time.Time { return noon.In(time.FixedZone("x", 3600)) }
	if u := w.add(t, "alice"); u.CreatedAt != noon {
		t.Errorf("got %s, want the time in UTC", u.CreatedAt)
	}
	w.Accounts.Now = nil
	if u := w.add(t, "bob"); time.Since(u.CreatedAt) > time.Minute || u.CreatedAt.Location() != time.UTC {
		t.Errorf("got %s, want the current time in UTC", u.CreatedAt)
	}
}

// TestFullHashQueue_RefusesEstimates: estimating a password's strength can cost as much as hashing it.
func TestFullHashQueue_RefusesEstimates(t *testing.T) {
	w := newWorld(t)
	u := w.add(t, "alice")
	const slotsAndQueue = 1 + 128
	finish := make(chan struct{})
	var running sync.WaitGroup
	for range slotsAndQueue {
		running.Go(func() { _ = w.Accounts.Hasher.Do(t.Context(), func() { <-finish }) })
	}
	for w.Accounts.Hasher.Waiting() < slotsAndQueue {
		runtime.Gosched()
	}
	for name, try := range map[string]func() error{
		"the meter":   func() error { _, err := w.EstimateStrength(t.Context(), visitor, "password"); return err },
		"registering": func() error { _, err := w.Register(t.Context(), auth.Registration{}, visitor); return err },
		"a new user":  func() error { _, err := w.AddUser(t.Context(), auth.Registration{}); return err },
		"a password":  func() error { _, err := w.SetPassword(t.Context(), u, "x"); return err },
	} {
		if err := try(); !errors.Is(err, auth.ErrBusy) {
			t.Errorf("%s with a full queue: got %v, want ErrBusy", name, err)
		}
	}
	close(finish)
	running.Wait()
}
