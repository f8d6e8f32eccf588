package auth_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/alexedwards/argon2id"

	"gatehouse/auth"
	"gatehouse/auth/authtest"
)

// newBasicWorld returns a world with an enabled local cache, and the user alice.
func newBasicWorld(t testing.TB) (*world, auth.User) {
	t.Helper()
	w := newWorld(t)
	w.Accounts.LocalCache = auth.NewLocalUserCache(time.Hour)
	w.Accounts.LocalCache.SetEnabled(true)
	return w, w.add(t, "alice")
}

// basic authenticates an API client and returns the error.
func (w *world) basic(t testing.TB, login, password string, v auth.Client) error {
	t.Helper()
	_, err := w.AuthenticateBasic(t.Context(), login, password, v)
	return err
}

// warm caches the credential and the user, and clears the recorded calls.
func (w *world) warm(t testing.TB, login string, v auth.Client) {
	t.Helper()
	for range 2 {
		if err := w.basic(t, login, secret, v); err != nil {
			t.Fatalf("%s: %v", login, err)
		}
	}
	w.Reset()
}

// visitorFrom returns a client at the address.
func visitorFrom(address string) auth.Client {
	return auth.Client{Address: netip.MustParseAddr(address)}
}

func wantThrottled(t testing.TB, err error) {
	t.Helper()
	var throttled auth.ThrottledError
	if !errors.As(err, &throttled) || throttled.RetryAfter <= 0 {
		t.Errorf("got %v, want a ThrottledError", err)
	}
}

func TestAuthenticateBasic_CachesTheCredential(t *testing.T) {
	w, u := newBasicWorld(t)
	cold, err := w.AuthenticateBasic(t.Context(), "Alice", secret, visitor)
	if err != nil || cold.ID != u.ID {
		t.Fatalf("got %+v, %v; want alice", cold, err)
	}
	lookup := "credentials.Credential alice 192.0.2.7 address:192.0.2.7 " + authtest.APIClientKey("alice", "192.0.2.7")
	wantCalls(t, w.Calls(), lookup,
		"throttle.KnownNetwork alice 192.0.2.7",
		"throttle.Reserve address:192.0.2.7 "+account("alice"),
		"users.UserByUsername alice",
		"throttle.HasFailure",
		"throttle.Refund address:192.0.2.7 "+account("alice"),
		"cache.User "+u.ID, "users.UserByID "+u.ID, "cache.Fill "+u.ID, // saves the next request from reading the row
		"throttle.SaveKnownNetwork alice 192.0.2.7",
		"credentials.FillCredential alice 192.0.2.7")
	w.Reset()
	// The user comes from memory: one round trip.
	for range 3 {
		warm, err := w.AuthenticateBasic(t.Context(), "ａlice", secret, visitor)
		if err != nil || warm.ID != u.ID || warm.Username != "alice" {
			t.Fatalf("got %+v, %v; want alice", warm, err)
		}
		wantCalls(t, w.Calls(), lookup)
		w.Reset()
	}
	wantCounts(t, w.counts(), map[string]int{})
	if !w.rows().Row(u.ID).LastSignInAt.IsZero() {
		t.Error("an API request is recorded as a sign-in")
	}
	if log := w.log.String(); strings.Contains(log, secret) || strings.Count(log, "msg=verified event=true username=alice") != 1 {
		t.Errorf("unexpected log: %s", log)
	}
}

func TestCachedCredential_SkipsHashing(t *testing.T) {
	const memory = 4 << 20
	w := newWorld(t)
	w.Accounts.LocalCache = auth.NewLocalUserCache(time.Hour)
	w.Accounts.LocalCache.SetEnabled(true)
	params := argon2id.Params{Memory: memory >> 10, Iterations: 1, Parallelism: 1, SaltLength: 16, KeyLength: 32}
	w.Accounts.Hasher = authtest.Hasher(t, params)
	w.add(t, "alice")
	hashed := func(login, password string) bool {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_ = w.basic(t, login, password, visitor)
		runtime.ReadMemStats(&after)
		return after.TotalAlloc-before.TotalAlloc >= memory
	}
	for _, c := range []struct {
		what, login, password string
		want                  bool
	}{
		{"cold", "alice", secret, true}, {"warm", "alice", secret, false}, {"by address, cold", "alice@example.org", secret, true},
		{"by address, warm", "alice@example.org", secret, false}, {"wrong password for a cached entry", "alice", "wrong", true},
		{"warm again", "alice", secret, false}, {"unknown name", "nobody", secret, true}, {"impossible name", "no body", secret, true},
		{"impossible password", "alice", "\xff", true}, {"no password", "alice", "", true},
	} {
		if got := hashed(c.login, c.password); got != c.want {
			t.Errorf("%s: hashed: got %v, want %v", c.what, got, c.want)
		}
	}
}

func TestAuthenticateBasic_FailsUniformly(t *testing.T) {
	w, _ := newBasicWorld(t)
	w.warm(t, "alice", visitor)
	for i, c := range [][2]string{
		{"alice", "wrong"}, {"alice", ""}, {"alice", secret + " "}, {"alice", strings.ToUpper(secret)}, {"alice", secret + "\x00"}, {"alice", "\xff"},
		{"alice@example.org", "wrong"}, {"nobody", secret}, {"nobody@example.org", secret}, {"", ""}, {"", secret}, {"a b", secret}, {"a@b@c", secret},
	} {
		u, err := w.AuthenticateBasic(t.Context(), c[0], c[1], visitorFrom("198.51.100.9"))
		if err != auth.ErrWrongCredentials || u.ID != "" {
			t.Errorf("%q: got %+v, %v; want ErrWrongCredentials", c, u, err)
		}
		// Every guess counts, although a credential of the name is cached.
		if got := w.Stores.Throttle.Count("address:198.51.100.9"); got != i+1 {
			t.Errorf("%q: got %d counted guesses for the address, want %d", c, got, i+1)
		}
	}
	if got := w.Stores.Throttle.Count(account("alice")); got != 6 {
		t.Errorf("got %d counted guesses for the name, want 6", got)
	}
	if err := w.basic(t, "alice", secret, visitor); err != nil {
		t.Errorf("the owner: %v", err)
	}
	// A success from the cache does not reset the count.
	if got := w.Stores.Throttle.Count(account("alice")); got != 6 {
		t.Errorf("got %d counted guesses after a success, want 6", got)
	}
}

// guessed makes n different guesses and returns the last error.
func (w *world) guessed(t testing.TB, n int, login string, v auth.Client) (err error) {
	t.Helper()
	for i := range n {
		err = w.basic(t, login, fmt.Sprintf("wrong %s %d", v.Address, i), v)
	}
	return err
}

// TestCachedCredential_IsBoundToItsNetwork: a cached credential is valid in the network that verified it; elsewhere the
// throttle comes first.
func TestCachedCredential_IsBoundToItsNetwork(t *testing.T) {
	for _, used := range []string{"alice", "alice@example.org"} {
		w, u := newBasicWorld(t)
		w.warm(t, used, visitor)
		stranger, other := visitorFrom("198.51.100.1"), visitorFrom("198.51.100.2")
		wantError(t, w.guessed(t, 10, used, stranger), auth.ErrWrongCredentials)
		for _, v := range []auth.Client{stranger, other} {
			wantThrottled(t, w.basic(t, used, secret, v))
			wantThrottled(t, w.try(t, used, secret, v))
		}
		w.Reset()
		if err := w.basic(t, used, secret, visitor); err != nil || len(w.Calls()) != 1 {
			t.Errorf("%s: the API client: got %v after the calls %v", used, err, w.Calls())
		}
		// Without its cached credential it still signs in, because its network is known, and it does not use
		// the limit of unknown networks.
		w.Stores.Credentials.Flush()
		w.Reset()
		if err := w.basic(t, used, secret, visitor); err != nil {
			t.Errorf("%s: the API client with a flushed cache: %v", used, err)
		}
		wantCalls(t, w.Calls("throttle."), "throttle.KnownNetwork "+used+" 192.0.2.7", "throttle.Reserve address:192.0.2.7",
			"throttle.Reserve networks:"+u.ID, "throttle.HasFailure", "throttle.Refund address:192.0.2.7 networks:"+u.ID,
			"throttle.SaveKnownNetwork "+used+" 192.0.2.7")
		if got := w.Stores.Throttle.Count(account(used)); got != 10 {
			t.Errorf("%s: got %d counted failures of unknown networks, want 10", used, got)
		}
		// Failures of unknown networks do not lock out a known browser either.
		known := auth.Client{Address: stranger.Address, DeviceCookies: []string{w.NewDeviceCookie(u)}}
		w.Stores.Credentials.Flush()
		if err := w.basic(t, used, secret, known); err != nil {
			t.Errorf("%s in a known browser: %v", used, err)
		}
	}
}

// TestKnownNetwork_EndsWithTheEpoch: a network is known for one user and epoch.
func TestKnownNetwork_EndsWithTheEpoch(t *testing.T) {
	w, u := newBasicWorld(t)
	w.warm(t, "alice", visitor)
	if _, err := w.SignOutEverywhere(t.Context(), u.ID, ""); err != nil {
		t.Fatal(err)
	}
	wantError(t, w.basic(t, "alice", "wrong", visitor), auth.ErrWrongCredentials)
	wantCounts(t, w.counts(), map[string]int{"address:192.0.2.7": 1, account("alice"): 1})
}

// TestCachedCredential_IsThrottledInItsOwnNetwork: guesses from the API client's own network are limited too, and then
// its cached credential is refused as well.
func TestCachedCredential_IsThrottledInItsOwnNetwork(t *testing.T) {
	w, u := newBasicWorld(t)
	second := visitorFrom("192.0.2.8")
	w.warm(t, "alice", visitor)
	w.warm(t, "alice", second)
	wantError(t, w.guessed(t, 10, "alice", visitor), auth.ErrWrongCredentials)
	wantCounts(t, w.counts(), map[string]int{"address:192.0.2.7": 10, "networks:" + u.ID: 10})
	w.Reset()
	wantThrottled(t, w.basic(t, "alice", secret, visitor))
	if calls := w.Calls(); len(calls) != 1 {
		t.Errorf("got the calls %v, want one round trip", calls)
	}
	// The client's other network is not throttled, but shares the same limit of guesses.
	if err := w.basic(t, "alice", secret, second); err != nil {
		t.Errorf("from the other network: %v", err)
	}
	wantThrottled(t, w.basic(t, "alice", "wrong", second))
}

// TestCachedCredential_ComparesOnlyAFewGuesses: of many concurrent guesses, none of them counted yet, only the first few
// are compared with the cached credential.
func TestCachedCredential_ComparesOnlyAFewGuesses(t *testing.T) {
	w, _ := newBasicWorld(t)
	now := noon
	w.Accounts.Now = func() time.Time { return now }
	w.warm(t, "alice", visitor)
	wantWarm := func(what string, want bool) {
		t.Helper()
		w.Reset()
		err := w.basic(t, "alice", secret, visitor)
		if warm := err == nil && len(w.Calls()) == 1; warm != want {
			t.Errorf("%s: answered from the cache: got %v, want %v (%v after %v)", what, warm, want, err, w.Calls())
		}
	}
	// Redis cannot count.
	w.FailOn("throttle.", errDown)
	for range 100 {
		wantError(t, w.basic(t, "alice", "the same", visitor), auth.ErrUnavailable)
	}
	wantError(t, w.guessed(t, 8, "alice", visitor), auth.ErrUnavailable)
	wantWarm("after nine", true)
	wantError(t, w.guessed(t, 10, "alice", visitor), auth.ErrUnavailable)
	wantWarm("after ten", false)
	now = now.Add(2 * time.Minute)
	wantWarm("later", true)
}

// TestCachedCredential_SurvivesARepeatedOldPassword: repeating one wrong password does not throttle.
func TestCachedCredential_SurvivesARepeatedOldPassword(t *testing.T) {
	w, _ := newBasicWorld(t)
	w.warm(t, "alice", visitor)
	for range 200 {
		wantError(t, w.basic(t, "alice", "old", visitor), auth.ErrWrongCredentials)
	}
	w.Reset()
	if err := w.basic(t, "alice", secret, visitor); err != nil || len(w.Calls()) != 1 {
		t.Errorf("the API client: %v after %v", err, w.Calls())
	}
	if err := w.try(t, "alice", secret, visitor); err != nil {
		t.Errorf("the form: %v", err)
	}
}

func TestThrottle_IsSharedByFormAndBasic(t *testing.T) {
	w, _ := newBasicWorld(t)
	for i := range 5 {
		wantError(t, w.try(t, "alice", fmt.Sprint("wrong", i), visitor), auth.ErrWrongCredentials)
		wantError(t, w.basic(t, "alice", fmt.Sprint("wrong too", i), visitor), auth.ErrWrongCredentials)
	}
	wantThrottled(t, w.basic(t, "alice", secret, visitor))
	wantThrottled(t, w.try(t, "alice", secret, visitor))

	// Guesses at the current password on the password form count too.
	w, u := newBasicWorld(t)
	for i := range 10 {
		_, _ = w.ChangePassword(t.Context(), u.ID, fmt.Sprint("wrong", i), newSecret, visitor)
	}
	wantThrottled(t, w.basic(t, "alice", secret, visitorFrom("198.51.100.1")))
}

func TestCachedCredential_DoesNotBypassTheAddressLimit(t *testing.T) {
	w, _ := newBasicWorld(t)
	w.add(t, "bob")
	w.warm(t, "alice", visitor)
	for i := range 100 {
		wantError(t, w.basic(t, fmt.Sprintf("nobody%d", i), "wrong", visitor), auth.ErrWrongCredentials)
	}
	w.Reset()
	wantThrottled(t, w.basic(t, "alice", secret, visitor))
	if calls := w.Calls(); len(calls) != 1 {
		t.Errorf("got the calls %v, want one round trip", calls)
	}
	wantThrottled(t, w.basic(t, "bob", secret, visitor))
	for _, login := range []string{"alice", "bob"} {
		if err := w.basic(t, login, secret, visitorFrom("198.51.100.1")); err != nil {
			t.Errorf("%s from elsewhere: %v", login, err)
		}
	}
	// IPv6 is counted by /64.
	w, _ = newBasicWorld(t)
	w.warm(t, "alice", visitorFrom("2001:db8::1"))
	for i := range 100 {
		_ = w.basic(t, fmt.Sprintf("nobody%d", i), "wrong", visitorFrom(fmt.Sprintf("2001:db8::%x", i+2)))
	}
	wantThrottled(t, w.basic(t, "alice", secret, visitorFrom("2001:db8::1")))
	if err := w.basic(t, "alice", secret, visitorFrom("2001:db8:0:1::1")); err != nil {
		t.Errorf("from the next network: %v", err)
	}
}

// TestUnverifiedAddress_CannotLockOutItsOwner: a user who claims another's address and guesses at their own account does
// not lock out the address's owner.
func TestUnverifiedAddress_CannotLockOutItsOwner(t *testing.T) {
	w, _ := newBasicWorld(t)
	mallory := w.add(t, "mallory")
	if _, err := w.EditProfile(t.Context(), mallory.ID, auth.ProfileEdit{Email: &auth.Edit{To: "alice@example.org"}}); err != nil {
		t.Fatal(err)
	}
	_ = w.guessed(t, 12, "mallory", visitorFrom("198.51.100.1"))
	wantThrottled(t, w.basic(t, "mallory", secret, visitor))
	if err := w.basic(t, "alice@example.org", secret, visitor); err != nil {
		t.Errorf("alice: %v", err)
	}
}

func TestCachedCredential_EndsWithUserChanges(t *testing.T) {
	for what, c := range map[string]struct {
		change func(t *testing.T, w *world, u auth.User) error
		// old and new are whether each password is right afterwards.
		old, new bool
	}{
		"disabling": {func(t *testing.T, w *world, u auth.User) error {
			_, err := w.SetActive(t.Context(), u.ID, false)
			return err
		}, false, false},
		"raised epoch": {func(t *testing.T, w *world, u auth.User) error {
			_, err := w.SignOutEverywhere(t.Context(), u.ID, "")
			return err
		}, true, false},
		"password": {func(t *testing.T, w *world, u auth.User) error {
			_, err := w.SetPassword(t.Context(), u, newSecret)
			return err
		}, false, true},
		"own password": {func(t *testing.T, w *world, u auth.User) error {
			_, err := w.ChangePassword(t.Context(), u.ID, secret, newSecret, visitor)
			return err
		}, false, true},
		"by hand": {func(t *testing.T, w *world, u auth.User) error {
			u.Active, u.Epoch = false, u.Epoch+1
			w.rows().Put(u)
			w.InvalidateUser(u.ID) // as on a notification from the database
			return nil
		}, false, false},
		"by hand, unknown user": {func(t *testing.T, w *world, u auth.User) error {
			u.Active, u.Epoch = false, u.Epoch+1
			w.rows().Put(u)
			w.InvalidateAllUsers()
			return nil
		}, false, false},
		"deleted row": {func(t *testing.T, w *world, u auth.User) error {
			w.rows().Put(auth.User{ID: u.ID})
			w.InvalidateUser(u.ID)
			return nil
		}, false, false},
	} {
		t.Run(what, func(t *testing.T) {
			w, u := newBasicWorld(t)
			for _, login := range []string{"alice", "alice@example.org"} {
				w.warm(t, login, visitor)
			}
			if err := c.change(t, w, u); err != nil {
				t.Fatal(err)
			}
			for _, login := range []string{"alice", "alice@example.org"} {
				w.Reset()
				if err := w.basic(t, login, secret, visitor); (err == nil) != c.old {
					t.Errorf("%s with the old password: %v", login, err)
				}
				if calls := w.Calls("users.UserBy"); len(calls) == 0 {
					t.Error("the row was not read")
				}
				if err := w.basic(t, login, newSecret, visitor); (err == nil) != c.new {
					t.Errorf("%s with the new password: %v", login, err)
				}
			}
		})
	}
}

// TestCachedCredential_EndsWithItsLogin: an address that is no longer the user's does not sign in, cached or not; the
// name still does.
func TestCachedCredential_EndsWithItsLogin(t *testing.T) {
	for what, change := range map[string]func(*auth.User){
		"changed address":      func(u *auth.User) { u.Email, u.EmailVerified = "new@example.org", false },
		"unverified":           func(u *auth.User) { u.EmailVerified = false },
		"another one verified": func(u *auth.User) { u.Email = "new@example.org" },
	} {
		w, u := newBasicWorld(t)
		w.warm(t, "alice@example.org", visitor)
		w.warm(t, "alice", visitor)
		change(&u)
		w.rows().Put(u)
		w.InvalidateUser(u.ID)
		wantError(t, w.basic(t, "alice@example.org", secret, visitor), auth.ErrWrongCredentials)
		w.Reset()
		if err := w.basic(t, "alice", secret, visitor); err != nil || len(w.Calls("users.UserByUsername")) != 0 {
			t.Errorf("%s: by name: got %v after %v, want it answered from the cache", what, err, w.Calls())
		}
	}
	w, u := newBasicWorld(t)
	w.warm(t, "alice", visitor)
	u.Username = "alicia"
	w.rows().Put(u)
	w.InvalidateUser(u.ID)
	wantError(t, w.basic(t, "alice", secret, visitor), auth.ErrWrongCredentials)
	if err := w.basic(t, "alicia", secret, visitor); err != nil {
		t.Error(err)
	}
}

// TestCachedCredential_IgnoresForgedRecords: a record made without the key proves nothing.
func TestCachedCredential_IgnoresForgedRecords(t *testing.T) {
	w, alice := newBasicWorld(t)
	bob := w.add(t, "bob")
	w.warm(t, "bob", visitor)
	w.warm(t, "alice", visitor)
	bobs, _ := w.Stores.Credentials.Record("bob", "192.0.2.7")
	alices, _ := w.Stores.Credentials.Record("alice", "192.0.2.7")
	renamed, promoted := bobs, bobs
	renamed.Name = "alice"
	promoted.UserID = alice.ID
	for what, c := range map[string]struct {
		login string
		rec   auth.Credential
	}{
		"bob's under alice":          {"alice", bobs},
		"bob's under alice, renamed": {"alice", renamed},
		"bob's for alice":            {"bob", promoted},
		"nothing":                    {"alice", auth.Credential{}},
		"empty MAC":                  {"alice", auth.Credential{Version: 1, Name: "alice", UserID: alice.ID, Epoch: alice.Epoch, MAC: []byte{}}},
	} {
		w.Stores.Credentials.Put("alice", "192.0.2.7", alices)
		w.Stores.Credentials.Put(c.login, "192.0.2.7", c.rec)
		w.Reset()
		got, err := w.AuthenticateBasic(t.Context(), c.login, secret, visitor) // both have the same password
		want := alice.ID
		if c.login == "bob" {
			want = bob.ID
		}
		if err != nil || got.ID != want || len(w.Calls("users.UserByUsername")) != 1 {
			t.Errorf("%s: got %+v, %v after %v; want the row read", what, got, err, w.Calls())
		}
	}
}

func TestAuthenticateBasic_DegradesWithoutServers(t *testing.T) {
	w, u := newBasicWorld(t)
	w.FailOn("credentials.", errDown)
	if got, err := w.AuthenticateBasic(t.Context(), "alice", secret, visitor); err != nil || got.ID != u.ID {
		t.Errorf("without the credential cache: got %+v, %v; want alice", got, err)
	}
	wantError(t, w.guessed(t, 10, "alice", visitor), auth.ErrWrongCredentials)
	wantThrottled(t, w.basic(t, "alice", secret, visitor))
	if log := w.log.String(); !strings.Contains(log, "the credential cache was not filled") || !strings.Contains(log, "could not record which networks are throttled") {
		t.Errorf("unexpected log: %s", log)
	}
	w.FailOn("credentials.", nil)
	w.Stores.Throttle.Reset(t.Context(), slices.Collect(maps.Keys(w.counts()))...)
	w.Stores.Credentials.Flush() // the last attempt marked its network
	w.warm(t, "alice", visitor)
	// Cached clients sign in without database and throttle; the others get ErrUnavailable.
	w.FailOn("users.", errDown)
	w.FailOn("throttle.", errDown)
	if err := w.basic(t, "alice", secret, visitor); err != nil {
		t.Errorf("warm: %v", err)
	}
	for _, c := range [][2]string{{"alice", "wrong"}, {"bob", secret}} {
		err := w.basic(t, c[0], c[1], visitor)
		if !errors.Is(err, auth.ErrUnavailable) || errors.Is(err, auth.ErrWrongCredentials) {
			t.Errorf("%q: got %v, want ErrUnavailable", c, err)
		}
	}
	// A user who cannot be loaded is not a wrong password.
	w.Accounts.LocalCache.SetEnabled(false)
	w.FailOn("cache.", errDown)
	err := w.basic(t, "alice", secret, visitor)
	if !errors.Is(err, auth.ErrUnavailable) || errors.Is(err, auth.ErrWrongCredentials) {
		t.Errorf("got %v, want ErrUnavailable", err)
	}
	if w.Stores.Throttle.Count(account("alice")) != 0 {
		t.Errorf("got the counts %v, want none for alice", w.counts())
	}
}

func TestAuthenticateBasic_StopsWhenTheClientDisconnects(t *testing.T) {
	w, _ := newBasicWorld(t)
	w.warm(t, "alice", visitor)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := w.AuthenticateBasic(ctx, "alice", secret, visitor); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
	wantCounts(t, w.counts(), map[string]int{})
}

// changedWhileReading is a user store whose rows are changed right after they were read by name.
type changedWhileReading struct {
	auth.UserStore
	change func()
}

func (s changedWhileReading) UserByUsername(ctx context.Context, name string) (auth.User, error) {
	u, err := s.UserStore.UserByUsername(ctx, name)
	s.change()
	return u, err
}

// TestSignIn_NeverCachesStaleUsers: a sign-in reads its row before it takes the lease, so that row is never cached,
// whether or not the notification of a change in between has arrived.
func TestSignIn_NeverCachesStaleUsers(t *testing.T) {
	for what, c := range map[string]struct {
		prepare         func(w *world, u auth.User)
		cached, changed bool
	}{
		"unchanged":      {func(*world, auth.User) {}, true, false},
		"no local cache": {func(w *world, _ auth.User) { w.Accounts.LocalCache = nil }, false, false},
		"not subscribed": {func(w *world, _ auth.User) { w.Accounts.LocalCache.SetEnabled(false) }, true, false},
		"changed while reading, not notified": {func(w *world, u auth.User) {
			w.Accounts.Users = changedWhileReading{w.rows(), func() { _, _ = w.rows().RotateEpoch(t.Context(), u.ID) }}
		}, true, true},
		"changed while reading, notified": {func(w *world, u auth.User) {
			w.Accounts.Users = changedWhileReading{w.rows(), func() {
				_, _ = w.rows().RotateEpoch(t.Context(), u.ID)
				w.InvalidateUser(u.ID)
			}}
		}, true, true},
		"cache down": {func(w *world, _ auth.User) { w.FailOn("cache.", errDown) }, false, false},
		"fill fails": {func(w *world, _ auth.User) { w.FailOn("cache.Fill", errDown) }, false, false},
	} {
		for _, way := range []string{"form", "basic"} {
			w, u := newBasicWorld(t)
			c.prepare(w, u)
			signIn := w.try
			if way == "basic" {
				signIn = w.basic
			}
			if err := signIn(t, "alice", secret, visitor); err != nil {
				t.Errorf("%s, %s: %v", what, way, err)
			}
			if got := w.Stores.Cache.Has(u.ID); got != c.cached {
				t.Errorf("%s, %s: cached: got %v, want %v", what, way, got, c.cached)
			}
			cached, _, err := w.Stores.Cache.User(t.Context(), u.ID)
			if err == nil && ((cached.Epoch != u.Epoch) != c.changed || cached.Epoch != w.rows().Row(u.ID).Epoch) {
				t.Errorf("%s, %s: cached with epoch %d, stored %d", what, way, cached.Epoch, w.rows().Row(u.ID).Epoch)
			}
		}
	}
	// A user who is already cached is not cached again.
	w, _ := newBasicWorld(t)
	for range 2 {
		if err := w.try(t, "alice", secret, visitor); err != nil {
			t.Fatal(err)
		}
	}
	if got := len(w.Calls("cache.Fill")); got != 1 {
		t.Errorf("got %d fills, want 1", got)
	}
}
