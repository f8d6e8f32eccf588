package kv

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alexedwards/argon2id"
	"github.com/gomodule/redigo/redis"

	"gatehouse/auth"
	fakes "gatehouse/auth/authtest"
	"gatehouse/internal/reqstats"
	"gatehouse/kv/kvtest"
	"gatehouse/kv/redisconn"
)

const alicesPassword = "correct horse battery"

// guessing is an Accounts with the user alice whose throttle and credential cache are in Redis.
type guessing struct {
	*auth.Accounts
	t      *testing.T
	redis  *redisconn.Pool
	stores *fakes.Stores
	alice  auth.User
	now    time.Time
}

func newGuessing(t *testing.T) *guessing {
	t.Helper()
	r := kvtest.OpenEmbedded(t)
	r.Timeout = time.Minute
	stores := fakes.New()
	g := &guessing{Accounts: stores.Accounts(t), t: t, redis: r, stores: stores, now: time.Now()}
	g.Hasher = fakes.Hasher(t, argon2id.Params{Memory: 4096, Iterations: 1, Parallelism: 1, SaltLength: 16, KeyLength: 32})
	g.Throttle, g.Credentials = NewThrottle(r), NewCredentials(r, 5*time.Minute)
	g.LocalCache = auth.NewLocalUserCache(time.Hour)
	g.LocalCache.SetEnabled(true)
	g.Now = func() time.Time { return g.now }
	var err error
	g.alice, err = g.AddUser(t.Context(), auth.Registration{Username: "alice", Password: alicesPassword, Email: "alice@example.org"})
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func visitorAt(address string) auth.Client {
	return auth.Client{Address: netip.MustParseAddr(address)}
}

var apiClient = visitorAt("192.0.2.7")

// verdict returns the result of an attempt in one word.
func verdict(err error) string {
	var throttled auth.ThrottledError
	switch {
	case err == nil:
		return "right"
	case errors.As(err, &throttled):
		return "throttled"
	case errors.Is(err, auth.ErrWrongCredentials):
		return "wrong"
	}
	return err.Error()
}

func (g *guessing) basic(ctx context.Context, secret string) string {
	_, err := g.AuthenticateBasic(ctx, "alice", secret, apiClient)
	return verdict(err)
}

func (g *guessing) signIn(login, secret string, v auth.Client) string {
	_, err := g.SignIn(g.t.Context(), login, secret, v)
	return verdict(err)
}

func (g *guessing) want(what, got, want string) {
	g.t.Helper()
	if got != want {
		g.t.Fatalf("%s: got %s, want %s", what, got, want)
	}
}

// warm caches the credential.
func (g *guessing) warm() {
	g.t.Helper()
	g.want("the API client", g.basic(g.t.Context(), alicesPassword), "right")
}

func (g *guessing) networksKey() string { return "networks:" + g.alice.ID }

// concurrently runs n calls in parallel and counts their results.
func concurrently(n int, one func(i int) string) map[string]int {
	results := map[string]int{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	gate := make(chan struct{})
	for i := range n {
		wg.Go(func() {
			<-gate
			result := one(i)
			mu.Lock()
			defer mu.Unlock()
			results[result]++
		})
	}
	close(gate)
	wg.Wait()
	return results
}

// TestRepeatedGuess_RevealsNothingAboutTheAccount: a repeated guess gets the same answer, with the same work, for existing
// and unknown names, whatever changed meanwhile.
func TestRepeatedGuess_RevealsNothingAboutTheAccount(t *testing.T) {
	g := newGuessing(t)
	stranger := visitorAt("198.51.100.1")
	logins := []string{"alice", "alice@example.org", "nobody", "nobody@example.org"}
	for _, login := range logins {
		for i := range 9 {
			g.want(login, g.signIn(login, fmt.Sprint("wrong", i), stranger), "wrong")
		}
	}
	compare := func(what string) {
		t.Helper()
		var first string
		for _, login := range logins {
			var answers strings.Builder
			for range 3 {
				ctx, cost := reqstats.NewContext(t.Context())
				_, err := g.SignIn(ctx, login, "wrong8", stranger)
				fmt.Fprintf(&answers, "%s after %d hashes; ", verdict(err), cost.Hashes())
			}
			if first == "" {
				first = answers.String()
			}
			if got := answers.String(); got != first || strings.Contains(got, "after 0") {
				t.Errorf("%s: %s: got %s, want %s as for %s", what, login, got, first, logins[0])
			}
		}
		if n := count(t, g.redis, "address:198.51.100.1"); n != 9*len(logins) {
			t.Errorf("%s: got %d counted failures, want %d", what, n, 9*len(logins))
		}
	}
	compare("unchanged")
	if _, err := g.SignOutEverywhere(t.Context(), g.alice.ID, ""); err != nil {
		t.Fatal(err)
	}
	compare("after all sessions ended")
	if _, err := g.SetActive(t.Context(), g.alice.ID, false); err != nil {
		t.Fatal(err)
	}
	compare("disabled")
	u, err := g.SetActive(t.Context(), g.alice.ID, true)
	if err != nil {
		t.Fatal(err)
	}
	u, err = g.SetPassword(t.Context(), u, "another good phrase")
	if err != nil {
		t.Fatal(err)
	}
	compare("with a new password")
	// A wrong password can become the right one.
	kvtest.Run(t, g.redis, "DEL", "throttle:"+fakes.AccountKey("alice"))
	if _, err := g.SetPassword(t.Context(), u, "first wrong phrase"); err != nil {
		t.Fatal(err)
	}
	home := visitorAt("203.0.113.9")
	g.want("before", g.signIn("alice", "second wrong phrase", home), "wrong")
	u, _ = g.Users.UserByID(t.Context(), g.alice.ID)
	if _, err := g.SetPassword(t.Context(), u, "second wrong phrase"); err != nil {
		t.Fatal(err)
	}
	g.want("after", g.signIn("alice", "second wrong phrase", home), "right")
}

// TestRepeatedGuesses_AreLimited: each network can cause a limited number of hashes, for unknown names too.
func TestRepeatedGuesses_AreLimited(t *testing.T) {
	for _, login := range []string{"alice", "nobody"} {
		g := newGuessing(t)
		stranger := visitorAt("198.51.100.1")
		g.want("the first", g.signIn(login, "wrong guess", stranger), "wrong")
		kvtest.Run(t, g.redis, "HSET", "throttle:repeats:198.51.100.1", "n", 299)
		g.want("the last repetition", g.signIn(login, "wrong guess", stranger), "wrong")
		ctx, cost := reqstats.NewContext(t.Context())
		_, err := g.SignIn(ctx, login, "wrong guess", stranger)
		g.want("one more", verdict(err), "throttled")
		if cost.Hashes() != 0 || reserved(t, g.redis, "address:198.51.100.1") != 0 {
			t.Errorf("got %d hashes and perhaps a reservation, want neither", cost.Hashes())
		}
		g.want("another guess", g.signIn(login, "another wrong guess", stranger), "wrong")
	}
}

// unmarked is a credential cache that stores no throttle marks.
type unmarked struct{ auth.CredentialCache }

func (unmarked) MarkThrottled(context.Context, map[string]time.Duration) error { return nil }

// TestCachedGuesses_CountInBursts: a guess that was compared with a cached credential counts, even if many are made
// concurrently or are throttled.
func TestCachedGuesses_CountInBursts(t *testing.T) {
	g := newGuessing(t)
	g.warm()
	g.Credentials = unmarked{g.Credentials}
	for round := range 3 {
		if kvtest.Exists(t, g.redis, "throttle:"+g.networksKey()) {
			pass(t, g.redis, g.networksKey())
		}
		g.now = g.now.Add(2 * time.Minute)
		results := concurrently(9, func(i int) string { return g.basic(t.Context(), fmt.Sprintf("round %d guess %d", round, i)) })
		want := min(9*(round+1), 20)
		if n := count(t, g.redis, g.networksKey()); results["right"] > 0 || n != want || reserved(t, g.redis, g.networksKey()) != 0 {
			t.Errorf("round %d: got %v and %d counted failures, want %d", round, results, n, want)
		}
	}
}

// disconnecting is a credential cache during whose reply the client disconnects.
type disconnecting struct {
	auth.CredentialCache
	cancel context.CancelFunc
}

func (c *disconnecting) Credential(ctx context.Context, name, network string, keys ...string) (auth.Credential, error) {
	defer c.cancel()
	return c.CredentialCache.Credential(ctx, name, network, keys...)
}

// TestCachedGuesses_CountAfterADisconnect: disconnecting does not refund a guess.
func TestCachedGuesses_CountAfterADisconnect(t *testing.T) {
	g := newGuessing(t)
	g.warm()
	cache := g.Credentials
	for i := range 5 {
		ctx, cancel := context.WithCancel(t.Context())
		g.Credentials = &disconnecting{cache, cancel}
		if answer := g.basic(ctx, fmt.Sprint("guess ", i)); answer == "right" {
			t.Fatal(answer)
		}
	}
	g.Credentials = cache
	if n := count(t, g.redis, g.networksKey()); n != 5 {
		t.Errorf("got %d counted guesses, want 5", n)
	}
	g.want("the right one", g.basic(t.Context(), alicesPassword), "right")
}

// TestCachedGuesses_CountIfTheDatabaseIsDown: if the password cannot be verified, guesses that were compared with the
// cache count, and the others do not.
func TestCachedGuesses_CountIfTheDatabaseIsDown(t *testing.T) {
	g := newGuessing(t)
	g.warm()
	g.stores.FailOn("users.UserByUsername", fmt.Errorf("%w: down", auth.ErrUnavailable))
	for i := range 5 {
		if answer := g.basic(t.Context(), fmt.Sprint("warm", i)); !strings.Contains(answer, "down") {
			t.Fatal(answer)
		}
		if answer := g.signIn("alice", fmt.Sprint("cold", i), visitorAt("198.51.100.1")); !strings.Contains(answer, "down") {
			t.Fatal(answer)
		}
	}
	if n := count(t, g.redis, g.networksKey()); n != 5 {
		t.Errorf("got %d counted guesses, want 5", n)
	}
	if kvtest.Exists(t, g.redis, "throttle:address:198.51.100.1") || kvtest.Exists(t, g.redis, "throttle:"+fakes.AccountKey("alice")) {
		t.Error("guesses from another network are counted")
	}
}

// TestConcurrentAttempts_ShareOneReservation: an API client's parallel requests take one reservation, so that none of them
// is refused when the cached credential expires, nor afterwards.
func TestConcurrentAttempts_ShareOneReservation(t *testing.T) {
	g := newGuessing(t)
	g.warm()
	for range 3 {
		kvtest.Run(t, g.redis, "DEL", "credential:alice:192.0.2.7")
		if results := concurrently(40, func(int) string { return g.basic(t.Context(), alicesPassword) }); results["right"] != 40 {
			t.Errorf("40 concurrent requests: got %v, want all right", results)
		}
		if waiting := keys(t, g.redis, "waiting:*"); len(waiting) > 0 {
			t.Errorf("got the throttle marks %q, want none", waiting)
		}
	}
	// Attempts with different passwords share nothing.
	kvtest.Run(t, g.redis, "DEL", "credential:alice:192.0.2.7")
	results := concurrently(8, func(i int) string {
		if i == 0 {
			return g.basic(t.Context(), alicesPassword)
		}
		return g.basic(t.Context(), fmt.Sprint("wrong", i))
	})
	if results["right"] != 1 || results["wrong"] != 7 || count(t, g.redis, g.networksKey()) != 7 {
		t.Errorf("one right password among 7 wrong ones: got %v and %d counted failures; want 1 right, 7 wrong and 7 failures", results, count(t, g.redis, g.networksKey()))
	}
}

// TestConcurrentAttempts_StartNoDelay: an attempt that is refused because of other reservations does not throttle the
// cached credential.
func TestConcurrentAttempts_StartNoDelay(t *testing.T) {
	g := newGuessing(t)
	g.warm()
	kvtest.Run(t, g.redis, "HSET", "throttle:"+g.networksKey(), "n", 12)
	kvtest.Run(t, g.redis, "PEXPIRE", "throttle:"+g.networksKey(), 3_600_000)
	other := auth.Bucket{Key: g.networksKey(), Limit: auth.RateLimit{Burst: 20, MaxFailures: 20, ResetAfter: time.Hour}}
	mine := reserve(t, NewThrottle(g.redis), other)
	kvtest.Run(t, g.redis, "DEL", "credential:alice:192.0.2.7")
	g.want("a second one", g.basic(t.Context(), alicesPassword), "throttled")
	if waiting := keys(t, g.redis, "waiting:*"); len(waiting) > 0 {
		t.Errorf("got the throttle marks %q, want none", waiting)
	}
	refund(t, NewThrottle(g.redis), mine...)
	g.want("afterwards", g.basic(t.Context(), alicesPassword), "right")
}

// TestConcurrentRepetitions_StartNoDelay: an API client that polls with an old password, in parallel, does not lock out
// the user.
func TestConcurrentRepetitions_StartNoDelay(t *testing.T) {
	g := newGuessing(t)
	home := visitorAt("203.0.113.9")
	for i := range 8 {
		g.want("a mistake", g.signIn("alice", fmt.Sprint("mistake", i), home), "wrong")
	}
	g.want("the first", g.basic(t.Context(), "an old password"), "wrong")
	for range 5 {
		concurrently(12, func(int) string { return g.basic(t.Context(), "an old password") })
		g.want("the owner", g.signIn("alice", alicesPassword, home), "right")
	}
	if n := count(t, g.redis, fakes.AccountKey("alice")); n != 9 {
		t.Errorf("got %d counted failures, want 9", n)
	}
}

// TestOldPasswords_DoNotAddUp: API clients that poll with old passwords for weeks count once each, even if each of them
// keeps the count of the other from expiring.
func TestOldPasswords_DoNotAddUp(t *testing.T) {
	g := newGuessing(t)
	elsewhere := visitorAt("198.51.100.1")
	age := func(halfDays int) { // only the marks: other attempts keep the count
		for _, key := range keys(t, g.redis, "throttle:failures:*") {
			marks, err := redis.Strings(kvtest.Run(t, g.redis, "ZRANGE", key, 0, -1), nil)
			if err != nil {
				t.Fatal(err)
			}
			for _, mark := range marks {
				kvtest.Run(t, g.redis, "ZINCRBY", key, -(time.Duration(halfDays) * 12 * time.Hour).Milliseconds(), mark)
			}
		}
	}
	for range 30 {
		g.want("one client", g.basic(t.Context(), "an old password"), "wrong")
		age(1)
		g.want("the other client", g.signIn("alice", "another old password", elsewhere), "wrong")
		age(1)
	}
	if n := count(t, g.redis, fakes.AccountKey("alice")); n != 2 {
		t.Errorf("got %d counted failures, want 2", n)
	}
	g.want("the owner", g.signIn("alice", alicesPassword, visitorAt("203.0.113.9")), "right")
}

// TestThrottledAPIClient_KeyContainsNoName: text typed as a name could be a password, so it is not stored.
func TestThrottledAPIClient_KeyContainsNoName(t *testing.T) {
	g := newGuessing(t)
	const typed = "hunter2hunter2"
	for i := range 11 {
		_, err := g.AuthenticateBasic(t.Context(), typed, fmt.Sprint("x", i), apiClient)
		if i == 10 {
			g.want("the last", verdict(err), "throttled")
		}
	}
	if len(keys(t, g.redis, "waiting:*")) == 0 {
		t.Error("got no throttle mark, want one")
	}
	for _, key := range keys(t, g.redis, "*") {
		if strings.Contains(key, typed) {
			t.Errorf("the key %s contains the typed name", key)
		}
	}
}

// TestSignInAPIClient_RecordsTheNetwork: a client that sends its password in a request body still signs in from a known
// network, whatever is guessed elsewhere.
func TestSignInAPIClient_RecordsTheNetwork(t *testing.T) {
	g := newGuessing(t)
	signIn := func(secret string, v auth.Client) string {
		_, err := g.SignInAPIClient(t.Context(), "alice", secret, v)
		return verdict(err)
	}
	g.want("the first time", signIn(alicesPassword, apiClient), "right")
	stranger := visitorAt("198.51.100.1")
	for i := range 10 {
		g.want("a stranger", signIn(fmt.Sprint("wrong", i), stranger), "wrong")
	}
	g.want("the right password of a stranger", signIn(alicesPassword, stranger), "throttled")
	g.want("the API client", signIn(alicesPassword, apiClient), "right")
	g.want("a person there", g.signIn("alice", alicesPassword, apiClient), "throttled")
}

func keys(t testing.TB, r *redisconn.Pool, pattern string) []string {
	t.Helper()
	found, err := redis.Strings(kvtest.Run(t, r, "KEYS", pattern), nil)
	if err != nil {
		t.Fatal(err)
	}
	return found
}
