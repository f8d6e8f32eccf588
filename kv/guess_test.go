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

// guessing is an account of alice with the throttle and the credential cache of a Redis.
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

var programsNetwork = visitorAt("192.0.2.7")

// verdict is how an attempt is answered.
func verdict(err error) string {
	var throttled auth.ThrottledError
	switch {
	case err == nil:
		return "right"
	case errors.As(err, &throttled):
		return "wait"
	case errors.Is(err, auth.ErrWrongCredentials):
		return "wrong"
	}
	return err.Error()
}

func (g *guessing) basic(ctx context.Context, secret string) string {
	_, err := g.AuthenticateBasic(ctx, "alice", secret, programsNetwork)
	return verdict(err)
}

func (g *guessing) signIn(login, secret string, v auth.Client) string {
	_, err := g.SignIn(g.t.Context(), login, secret, v)
	return verdict(err)
}

func (g *guessing) want(what, got, want string) {
	g.t.Helper()
	if got != want {
		g.t.Fatalf("%s: %s, want %s", what, got, want)
	}
}

// warm makes the credential cache know the password.
func (g *guessing) warm() {
	g.t.Helper()
	g.want("the program", g.basic(g.t.Context(), alicesPassword), "right")
}

func (g *guessing) networksKey() string { return "networks:" + g.alice.ID }

// atOnce runs all of n at the same time and counts the results.
func atOnce(n int, one func(i int) string) map[string]int {
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

// TestRepeatedGuess_RevealsNothingAboutTheAccount: a guess that failed before is answered alike for
// names that somebody has and names that nobody has, with the same work, whatever changed meanwhile.
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
				t.Errorf("%s: %s is answered %s, %s %s", what, login, got, logins[0], first)
			}
		}
		if n := count(t, g.redis, "address:198.51.100.1"); n != 9*len(logins) {
			t.Errorf("%s: %d failures are counted, want %d", what, n, 9*len(logins))
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
	// What was wrong may become right.
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

// TestRepeatedGuesses_AreLimited: their hashes are bounded for each network, alike for unknown names.
func TestRepeatedGuesses_AreLimited(t *testing.T) {
	for _, login := range []string{"alice", "nobody"} {
		g := newGuessing(t)
		stranger := visitorAt("198.51.100.1")
		g.want("the first", g.signIn(login, "wrong guess", stranger), "wrong")
		kvtest.Run(t, g.redis, "HSET", "throttle:repeats:198.51.100.1", "n", 299)
		g.want("the last repetition", g.signIn(login, "wrong guess", stranger), "wrong")
		ctx, cost := reqstats.NewContext(t.Context())
		_, err := g.SignIn(ctx, login, "wrong guess", stranger)
		g.want("one more", verdict(err), "wait")
		if cost.Hashes() != 0 || underWay(t, g.redis, "address:198.51.100.1") != 0 {
			t.Errorf("it cost %d hashes", cost.Hashes())
		}
		g.want("another guess", g.signIn(login, "another wrong guess", stranger), "wrong")
	}
}

// untold is a credential cache that nobody tells who has to wait.
type untold struct{ auth.CredentialCache }

func (untold) MarkThrottled(context.Context, map[string]time.Duration) error { return nil }

// TestWarmGuesses_CountInBursts: what was compared with a cached credential counts, however many
// come at once and whatever wait they meet.
func TestWarmGuesses_CountInBursts(t *testing.T) {
	g := newGuessing(t)
	g.warm()
	g.Credentials = untold{g.Credentials}
	for round := range 3 {
		if kvtest.Exists(t, g.redis, "throttle:"+g.networksKey()) {
			pass(t, g.redis, g.networksKey())
		}
		g.now = g.now.Add(2 * time.Minute)
		results := atOnce(9, func(i int) string { return g.basic(t.Context(), fmt.Sprintf("round %d guess %d", round, i)) })
		want := min(9*(round+1), 20)
		if n := count(t, g.redis, g.networksKey()); results["right"] > 0 || n != want || underWay(t, g.redis, g.networksKey()) != 0 {
			t.Errorf("round %d: %v, counted %d, want %d", round, results, n, want)
		}
	}
}

// goneAfterwards is a credential cache whose client hangs up while it answers.
type goneAfterwards struct {
	auth.CredentialCache
	cancel context.CancelFunc
}

func (c *goneAfterwards) Credential(ctx context.Context, name, network string, keys ...string) (auth.Credential, error) {
	defer c.cancel()
	return c.CredentialCache.Credential(ctx, name, network, keys...)
}

// TestWarmGuesses_CountAfterTheClientHasGone: hanging up takes no guess back.
func TestWarmGuesses_CountAfterTheClientHasGone(t *testing.T) {
	g := newGuessing(t)
	g.warm()
	cache := g.Credentials
	for i := range 5 {
		ctx, cancel := context.WithCancel(t.Context())
		g.Credentials = &goneAfterwards{cache, cancel}
		if answer := g.basic(ctx, fmt.Sprint("guess ", i)); answer == "right" {
			t.Fatal(answer)
		}
	}
	g.Credentials = cache
	if n := count(t, g.redis, g.networksKey()); n != 5 {
		t.Errorf("%d of 5 guesses are counted", n)
	}
	g.want("the right one", g.basic(t.Context(), alicesPassword), "right")
}

// TestWarmGuesses_CountWithoutAVerdict: where the password cannot be verified, what was compared
// counts, and what told nothing does not.
func TestWarmGuesses_CountWithoutAVerdict(t *testing.T) {
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
		t.Errorf("%d of 5 compared guesses are counted", n)
	}
	if kvtest.Exists(t, g.redis, "throttle:address:198.51.100.1") || kvtest.Exists(t, g.redis, "throttle:"+fakes.AccountKey("alice")) {
		t.Error("guesses elsewhere are counted")
	}
}

// TestConcurrentAttempts_ShareOneReservation: a program's parallel requests take one place in the throttle, so that
// none of them is refused when its cached credential expires, nor those afterwards.
func TestConcurrentAttempts_ShareOneReservation(t *testing.T) {
	g := newGuessing(t)
	g.warm()
	for range 3 {
		kvtest.Run(t, g.redis, "DEL", "credential:alice:192.0.2.7")
		if results := atOnce(40, func(int) string { return g.basic(t.Context(), alicesPassword) }); results["right"] != 40 {
			t.Errorf("40 at once: %v", results)
		}
		if waiting := keys(t, g.redis, "waiting:*"); len(waiting) > 0 {
			t.Errorf("there wait %q", waiting)
		}
	}
	// Different ones share nothing.
	kvtest.Run(t, g.redis, "DEL", "credential:alice:192.0.2.7")
	results := atOnce(8, func(i int) string {
		if i == 0 {
			return g.basic(t.Context(), alicesPassword)
		}
		return g.basic(t.Context(), fmt.Sprint("wrong", i))
	})
	if results["right"] != 1 || results["wrong"] != 7 || count(t, g.redis, g.networksKey()) != 7 {
		t.Errorf("one right among wrong ones: %v, counted %d", results, count(t, g.redis, g.networksKey()))
	}
}

// TestConcurrentAttempts_StartNoDelay: those that are refused because others are under way do not
// make the cached credential rest.
func TestConcurrentAttempts_StartNoDelay(t *testing.T) {
	g := newGuessing(t)
	g.warm()
	kvtest.Run(t, g.redis, "HSET", "throttle:"+g.networksKey(), "n", 12)
	kvtest.Run(t, g.redis, "PEXPIRE", "throttle:"+g.networksKey(), 3_600_000)
	other := auth.Bucket{Key: g.networksKey(), Limit: auth.RateLimit{Burst: 20, MaxFailures: 20, ResetAfter: time.Hour}}
	mine := reserve(t, NewThrottle(g.redis), other)
	kvtest.Run(t, g.redis, "DEL", "credential:alice:192.0.2.7")
	g.want("a second one", g.basic(t.Context(), alicesPassword), "wait")
	if waiting := keys(t, g.redis, "waiting:*"); len(waiting) > 0 {
		t.Errorf("there wait %q", waiting)
	}
	refund(t, NewThrottle(g.redis), mine...)
	g.want("afterwards", g.basic(t.Context(), alicesPassword), "right")
}

// TestConcurrentRepetitions_StartNoDelay: a program that polls with an old password, several requests
// at a time, does not keep its owner out.
func TestConcurrentRepetitions_StartNoDelay(t *testing.T) {
	g := newGuessing(t)
	home := visitorAt("203.0.113.9")
	for i := range 8 {
		g.want("a mistake", g.signIn("alice", fmt.Sprint("mistake", i), home), "wrong")
	}
	g.want("the first", g.basic(t.Context(), "an old password"), "wrong")
	for range 5 {
		atOnce(12, func(int) string { return g.basic(t.Context(), "an old password") })
		g.want("the owner", g.signIn("alice", alicesPassword, home), "right")
	}
	if n := count(t, g.redis, fakes.AccountKey("alice")); n != 9 {
		t.Errorf("%d failures are counted, want 9", n)
	}
}

// TestOldPasswords_DoNotAddUp: programs that poll with old passwords for weeks count once each, also
// where their counts keep each other alive.
func TestOldPasswords_DoNotAddUp(t *testing.T) {
	g := newGuessing(t)
	elsewhere := visitorAt("198.51.100.1")
	age := func(halfDays int) { // the marks only: the count is kept alive by others
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
		g.want("one program", g.basic(t.Context(), "an old password"), "wrong")
		age(1)
		g.want("the other program", g.signIn("alice", "another old password", elsewhere), "wrong")
		age(1)
	}
	if n := count(t, g.redis, fakes.AccountKey("alice")); n != 2 {
		t.Errorf("%d failures are counted, want 2", n)
	}
	g.want("the owner", g.signIn("alice", alicesPassword, visitorAt("203.0.113.9")), "right")
}

// TestThrottledAPIClient_KeyContainsNoName: what was typed as a name may be a password, and is not kept.
func TestThrottledAPIClient_KeyContainsNoName(t *testing.T) {
	g := newGuessing(t)
	const typed = "hunter2hunter2"
	for i := range 11 {
		_, err := g.AuthenticateBasic(t.Context(), typed, fmt.Sprint("x", i), programsNetwork)
		if i == 10 {
			g.want("the last", verdict(err), "wait")
		}
	}
	if len(keys(t, g.redis, "waiting:*")) == 0 {
		t.Error("nobody waits")
	}
	for _, key := range keys(t, g.redis, "*") {
		if strings.Contains(key, typed) {
			t.Errorf("there is the key %s", key)
		}
	}
}

// TestSignInAPIClient_RecordsTheNetwork: a program that sends its password in a body goes on where it was
// used before, whatever strangers guess elsewhere.
func TestSignInAPIClient_RecordsTheNetwork(t *testing.T) {
	g := newGuessing(t)
	signIn := func(secret string, v auth.Client) string {
		_, err := g.SignInAPIClient(t.Context(), "alice", secret, v)
		return verdict(err)
	}
	g.want("the first time", signIn(alicesPassword, programsNetwork), "right")
	stranger := visitorAt("198.51.100.1")
	for i := range 10 {
		g.want("a stranger", signIn(fmt.Sprint("wrong", i), stranger), "wrong")
	}
	g.want("the right one of a stranger", signIn(alicesPassword, stranger), "wait")
	g.want("the program", signIn(alicesPassword, programsNetwork), "right")
	g.want("a person there", g.signIn("alice", alicesPassword, programsNetwork), "wait")
}

func keys(t testing.TB, r *redisconn.Pool, pattern string) []string {
	t.Helper()
	found, err := redis.Strings(kvtest.Run(t, r, "KEYS", pattern), nil)
	if err != nil {
		t.Fatal(err)
	}
	return found
}
