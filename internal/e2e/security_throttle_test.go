package e2e

import (
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"

	"gatehouse/auth"
	"gatehouse/internal/testkit"
)

// The networks that requests come from in these tests, as a trusted proxy reports them.
const (
	homeNetwork     = "203.0.113.5"
	otherNetwork    = "203.0.113.6"
	strangerNetwork = "198.51.100.7"
)

// newProxiedTarget is a target whose visitors may come from any network: see from.
func newProxiedTarget(t testing.TB, pairs ...string) *target {
	t.Helper()
	return newTarget(t, append(pairs, "TRUSTED_PROXIES", "127.0.0.0/8,::1")...)
}

// from is the header of a request that comes from a network.
func from(network string) []string { return []string{"X-Forwarded-For", network} }

var wrongPasswords atomic.Int64

// wrongPassword returns a password that was not tried before.
func wrongPassword() string { return fmt.Sprintf("wrong-guess-%d", wrongPasswords.Add(1)) }

// endWaits makes every wait of the throttle end, and keeps the counts.
func (x *target) endWaits() {
	x.t.Helper()
	for _, key := range x.keys("throttle:*") {
		if kind, _ := redis.String(x.do("TYPE", key), nil); kind == "hash" {
			x.do("HSET", key, "until", "0")
		}
	}
	for _, key := range x.cacheKeys("waiting:*") {
		x.cacheDo("DEL", key)
	}
}

// verdicts tries different wrong passwords, ending every wait, until it is refused all the same.
// It returns how many were answered as wrong.
func (x *target) verdicts(guess func(secret string) answer) int {
	x.t.Helper()
	for n := range 250 {
		x.endWaits()
		switch a := guess(wrongPassword()); a.StatusCode {
		case http.StatusUnauthorized:
		case http.StatusTooManyRequests:
			return n
		default:
			x.t.Fatalf("guess %d: %s", n+1, a.Status)
		}
	}
	x.t.Fatal("guessing never ends")
	return 0
}

func (x *target) basicFrom(network, name, secret string) answer {
	x.t.Helper()
	return x.basicly(name, secret, from(network)...)
}

func (x *target) guessFrom(network, name, secret string) answer {
	x.t.Helper()
	return x.guess(name, secret, from(network)...)
}

func wantStatus(t testing.TB, what string, a answer, status int) {
	t.Helper()
	if a.StatusCode != status {
		t.Fatalf("%s: %s, want %d\n%.500s", what, a.Status, status, a.body)
	}
}

// TestWarmBasic_ElsewhereTheThrottleComesFirst: a cached credential answers the network that it
// was verified from. From any other network the right password is counted before it is compared.
func TestWarmBasic_ElsewhereTheThrottleComesFirst(t *testing.T) {
	t.Parallel()
	x := newProxiedTarget(t)
	x.visitor().register("alice")
	for name, networks := range map[string][2]string{"IPv4": {homeNetwork, strangerNetwork}, "IPv6": {"2001:db8:1:1::1", "2001:db8:1:2::1"}} {
		t.Run(name, func(t *testing.T) {
			x.forgetWaits()
			home, elsewhere := networks[0], networks[1]
			wantStatus(t, "the program", x.basicFrom(home, "alice", password), http.StatusOK)
			x.wantVouched(x.basicFrom(home, "alice", password), "alice", "redis")
			// A burst is in flight: the allowance is used up, and nobody was told yet.
			x.do("HSET", throttleKey("alice"), "n", "25", "until", x.redisMillis()+600_000)
			wantStatus(t, "the right password from elsewhere", x.basicFrom(elsewhere, "alice", password), http.StatusTooManyRequests)
			for range 2 {
				x.wantVouched(x.basicFrom(home, "alice", password), "alice", "redis")
			}
			x.do("DEL", throttleKey("alice"))
			x.forgetWaits()
			x.wantVouched(x.basicFrom(elsewhere, "alice", password), "alice", "postgres")
			x.wantVouched(x.basicFrom(elsewhere, "alice", password), "alice", "redis")
		})
	}
	// A customer's whole /64 is one network.
	x.wantVouched(x.basicFrom("2001:db8:1:1:ffff::9", "alice", password), "alice", "redis")
}

// TestWarmBasic_BurstOfGuesses: of 200 guesses at once at least one is right. No more of them are
// looked at than one network may try, wherever they come from.
func TestWarmBasic_BurstOfGuesses(t *testing.T) {
	x := newProxiedTarget(t)
	x.visitor().register("alice")
	for _, network := range []string{strangerNetwork, homeNetwork} {
		for range 2 {
			x.forgetWaits()
			x.cacheDo("DEL", "credential:alice", "credential:alice:"+network)
			wantStatus(t, "the program", x.basicFrom(homeNetwork, "alice", password), http.StatusOK)
			begun := time.Now()
			verdicts, right := 0, 0
			for _, a := range atOnce(t, 200, func(i int) (answer, error) {
				c, secret := newClient(t, x.server.URL()), wrongPassword()
				if i == 150 {
					secret = password
				}
				return c.attempt(c.request(http.MethodGet, "/api/me", "", "Authorization", basicHeader("alice", secret), "X-Forwarded-For", network))
			}) {
				switch a.StatusCode {
				case http.StatusOK:
					right++
				case http.StatusUnauthorized:
					verdicts++
				case http.StatusTooManyRequests, http.StatusServiceUnavailable:
				default:
					t.Errorf("a guess: %s", a.Status)
				}
			}
			// On a slow machine waits may have ended in between.
			most := 10 + int(time.Since(begun)/time.Second)
			if verdicts+right > most+1 || network == strangerNetwork && verdicts+right > most {
				t.Errorf("from %s: %d guesses were told wrong and %d right, want at most %d", network, verdicts, right, most)
			}
		}
	}
}

// TestWarmBasic_StrangersDoNotLockOutTheProgram: strangers use up every guess at the account; the
// program goes on from its network, also when its credential is no longer cached.
func TestWarmBasic_StrangersDoNotLockOutTheProgram(t *testing.T) {
	t.Parallel()
	x := newProxiedTarget(t)
	x.addCarol()
	for _, login := range []string{"carol", "carol@example.org"} {
		wantStatus(t, "the program", x.basicFrom(homeNetwork, login, password), http.StatusOK)
		for _, guess := range []func(string) answer{
			func(secret string) answer { return x.basicFrom(strangerNetwork, login, secret) },
			func(secret string) answer { return x.guessFrom(otherNetwork, login, secret) },
		} {
			x.do("HSET", throttleKey(login), "n", "27")
			x.verdicts(guess)
			wantStatus(t, "the right password of a stranger", guess(password), http.StatusTooManyRequests)
			x.wantVouched(x.basicFrom(homeNetwork, login, password), "carol", "redis")
		}
		x.cacheDo("FLUSHDB")
		x.wantVouched(x.basicFrom(homeNetwork, login, password), "carol", "postgres")
		x.wantVouched(x.basicFrom(homeNetwork, login, password), "carol", "redis")
	}
	// The network that is known is not known after a change of the password.
	x.run(otherPassword, "user", "passwd", "carol", "--password-stdin").wantCode(t, 0)
	testkit.Eventually(t, bound, "the change to be in effect", func() bool {
		return x.basicFrom(homeNetwork, "carol", password).StatusCode != http.StatusOK
	})
	wantStatus(t, "the new password where the old one was used", x.basicFrom(homeNetwork, "carol", otherPassword), http.StatusTooManyRequests)
}

// TestWarmBasic_GuessesFromItsOwnNetworkAreLimited: a guess from the program's own network is
// counted, and what all such networks may try is bounded; then the cached credential rests too.
func TestWarmBasic_GuessesFromItsOwnNetworkAreLimited(t *testing.T) {
	t.Parallel()
	x := newProxiedTarget(t)
	x.visitor().register("alice")
	for _, network := range []string{homeNetwork, otherNetwork} {
		wantStatus(t, "the program", x.basicFrom(network, "alice", password), http.StatusOK)
	}
	known := x.verdicts(func(secret string) answer { return x.basicFrom(homeNetwork, "alice", secret) }) +
		x.verdicts(func(secret string) answer { return x.basicFrom(otherNetwork, "alice", secret) })
	if known != 20 {
		t.Errorf("two known networks had %d guesses, want 20", known)
	}
	wantStatus(t, "the right one after them", x.basicFrom(homeNetwork, "alice", password), http.StatusTooManyRequests)
	if n := x.attempts(accountKey("alice")); n != 0 {
		t.Errorf("%d of them are counted for strangers", n)
	}
	strangers := x.verdicts(func(secret string) answer { return x.basicFrom(strangerNetwork, "alice", secret) })
	if sum := known + strangers; strangers == 0 || sum > 100 {
		t.Errorf("there were %d guesses in all", sum)
	}
}

// TestSameWrongPassword_CountsOnce: a program that polls with an old password uses up one attempt,
// by every way in, and nobody is locked out by it. Elsewhere, and of another password, it counts.
func TestSameWrongPassword_CountsOnce(t *testing.T) {
	t.Parallel()
	x := newProxiedTarget(t)
	x.addCarol()
	for _, login := range []string{"carol", "carol@example.org", "nobody", "nobody@example.org"} {
		t.Run(login, func(t *testing.T) {
			x.forgetWaits()
			for range 12 {
				wantStatus(t, "Basic", x.basicFrom(homeNetwork, login, "old-password"), http.StatusUnauthorized)
				wantStatus(t, "the form", x.guessFrom(homeNetwork, login, "old-password"), http.StatusUnauthorized)
				c := x.visitor()
				a := c.do(c.request(http.MethodPost, "/api/tokens", fmt.Sprintf(`{"username":%q,"password":"old-password"}`, login),
					"Content-Type", "application/json", "X-Forwarded-For", homeNetwork))
				wantStatus(t, "a token", a, http.StatusUnauthorized)
			}
			wantCounted := func(what, key string, want int64) {
				t.Helper()
				if n := x.attempts(key); n != want {
					t.Errorf("%s: %d failures are counted for %s, want %d", what, n, key, want)
				}
			}
			wantCounted("one password", accountKey(login), 1)
			wantCounted("one password", "address:"+homeNetwork, 1)
			x.guessFrom(homeNetwork, login, wrongPassword())
			wantCounted("two passwords", accountKey(login), 2)
			wantCounted("two passwords", "address:"+homeNetwork, 2)
			x.guessFrom(strangerNetwork, login, "old-password")
			wantCounted("two networks", accountKey(login), 3)
			wantCounted("two networks", "address:"+strangerNetwork, 1)
			if strings.HasPrefix(login, "carol") {
				wantStatus(t, "the owner", x.guessFrom(homeNetwork, login, password), http.StatusSeeOther)
			}
		})
	}
	t.Run("at once", func(t *testing.T) {
		x.forgetWaits()
		atOnce(t, 8, func(int) (answer, error) {
			c := newClient(t, x.server.URL())
			return c.attempt(c.request(http.MethodGet, "/api/me", "", "Authorization", basicHeader("carol", "old-password"), "X-Forwarded-For", homeNetwork))
		})
		if n := x.attempts(accountKey("carol")); n != 1 {
			t.Errorf("%d failures are counted, want 1", n)
		}
	})
	t.Run("no way around a wait", func(t *testing.T) {
		x.forgetWaits()
		wantStatus(t, "the first", x.guessFrom(homeNetwork, "carol", "old-password"), http.StatusUnauthorized)
		x.do("HSET", "throttle:address:"+homeNetwork, "n", "150", "until", x.redisMillis()+50_000)
		for range 3 {
			// Who guesses among the failures of others in the network is told nothing.
			x.wantThrottled(x.guessFrom(homeNetwork, "carol", "old-password"), 30*time.Second, 50*time.Second)
			x.wantThrottled(x.guessFrom(homeNetwork, "carol", wrongPassword()), 30*time.Second, 50*time.Second)
		}
		until := x.int("HGET", "throttle:address:"+homeNetwork, "until")
		if n := x.attempts("address:" + homeNetwork); n != 150 || until < x.redisMillis() {
			t.Errorf("the address has %d failures and waits until %d", n, until)
		}
		// Nor does a repeated one end the wait that another guess began.
		x.do("HSET", "throttle:address:"+homeNetwork, "n", "105", "until", "0")
		wantStatus(t, "a repeated one", x.guessFrom(homeNetwork, "carol", "old-password"), http.StatusUnauthorized)
		wantStatus(t, "a new one", x.guessFrom(homeNetwork, "carol", wrongPassword()), http.StatusUnauthorized)
		x.wantThrottled(x.guessFrom(homeNetwork, "carol", "old-password"), 10*time.Second, time.Minute)
	})
	t.Run("it becomes the right one", func(t *testing.T) {
		x.forgetWaits()
		wantStatus(t, "before", x.guessFrom(homeNetwork, "carol", otherPassword), http.StatusUnauthorized)
		x.run("", "user", "disable", "carol").wantCode(t, 0)
		wantStatus(t, "the right one of a disabled user", x.guessFrom(homeNetwork, "carol", password), http.StatusUnauthorized)
		x.run("", "user", "enable", "carol").wantCode(t, 0)
		wantStatus(t, "enabled", x.guessFrom(homeNetwork, "carol", password), http.StatusSeeOther)
		x.run(otherPassword, "user", "passwd", "carol", "--password-stdin").wantCode(t, 0)
		wantStatus(t, "after", x.guessFrom(homeNetwork, "carol", otherPassword), http.StatusSeeOther)
	})
}

// TestKnownBrowsers_ShareOneAllowance: however many browsers know an account, they have one
// allowance, and it ends with the epoch.
func TestKnownBrowsers_ShareOneAllowance(t *testing.T) {
	t.Parallel()
	x := newTarget(t)
	owner := x.visitor()
	owner.register("alice")
	cookies := []string{owner.cookie(sessionCookie + "_browser")}
	for range 3 {
		c := x.visitor()
		c.signIn("alice")
		cookies = append(cookies, c.cookie(sessionCookie+"_browser"))
	}
	with := func(cookie string) func(string) answer {
		return func(secret string) answer {
			return x.guess("alice", secret, "Cookie", sessionCookie+"_browser="+cookie)
		}
	}
	sum := 0
	for _, cookie := range cookies {
		sum += x.verdicts(with(cookie))
	}
	if sum != 20 {
		t.Errorf("four known browsers had %d guesses, want 20", sum)
	}
	if n := x.attempts(accountKey("alice")); n != 0 {
		t.Errorf("%d of them are counted for strangers", n)
	}
	wantStatus(t, "the owner elsewhere", x.guess("alice", password), http.StatusSeeOther)

	x.forgetThrottles()
	owner.wantSeeOther(owner.changePassword(password, otherPassword), "/account?notice=password#password")
	sum = 0
	for _, cookie := range cookies {
		sum += x.verdicts(with(cookie))
	}
	if counted := x.attempts(accountKey("alice")); int64(sum) != counted || sum > 30 {
		t.Errorf("four browsers of an older epoch had %d guesses, of which %d are counted for strangers", sum, counted)
	}
	wantStatus(t, "a stranger afterwards", x.guess("alice", otherPassword), http.StatusTooManyRequests)
	owner.want(owner.post("/logout"), http.StatusSeeOther)
	owner.want(owner.post("/login", "username", "alice", "password", otherPassword), http.StatusSeeOther)
}

// TestKnownBrowsers_CookieStaysWithTheHost: the sites that share the session do not get the cookie.
func TestKnownBrowsers_CookieStaysWithTheHost(t *testing.T) {
	t.Parallel()
	x := newTarget(t, "BASE_URL", "https://login.example.com", "COOKIE_DOMAIN", "example.com")
	c := x.visitor()
	a := c.post("/register", "username", "alice", "password", password)
	c.want(a, http.StatusSeeOther)
	cookies := c.setCookies(a)
	browser, session := cookies["__Host-gatehouse_browser"], cookies["__Secure-gatehouse"]
	if browser == nil || browser.Domain != "" || !browser.Secure || browser.Path != "/" || session == nil || session.Domain != "example.com" {
		t.Errorf("the answer sets %q", a.Header.Values("Set-Cookie"))
	}
}

// TestRateLimit_SurvivesAKeyRotation: a count goes on through both steps of a rotation, and while
// servers with different keys run side by side.
func TestRateLimit_SurvivesAKeyRotation(t *testing.T) {
	t.Parallel()
	old, next := secretKey, auth.NewSecretKey()
	x := newProxiedTarget(t)
	x.visitor().register("alice")
	serve := func(keys string) *target {
		y := *x
		y.server = x.serve("SECRET_KEY", keys, "TRUSTED_PROXIES", "127.0.0.0/8,::1")
		return &y
	}
	both, after := serve(next+","+old), serve(next)
	guess := func(y *target, n int) {
		t.Helper()
		for range n {
			wantStatus(t, "a guess", y.guessFrom(strangerNetwork, "alice", wrongPassword()), http.StatusUnauthorized)
		}
	}
	refused := func(what string, y *target) {
		t.Helper()
		x.wantThrottled(y.guessFrom(strangerNetwork, "alice", password), time.Minute, 24*time.Hour)
	}
	guess(x, 3)
	wantStatus(t, "an old password", x.guessFrom(strangerNetwork, "alice", "old-password"), http.StatusUnauthorized)
	guess(both, 3)
	wantStatus(t, "an old password again", both.guessFrom(strangerNetwork, "alice", "old-password"), http.StatusUnauthorized)
	guess(x, 1)
	// The old key has counted 8 when the new one takes them over.
	guess(both, 1)
	wantStatus(t, "an old password at last", after.guessFrom(strangerNetwork, "alice", "old-password"), http.StatusUnauthorized)
	// The tenth failure begins a wait of a second, which a slow machine may miss.
	begun := x.redisMillis()
	guess(after, 1)
	a := after.guessFrom(strangerNetwork, "alice", wrongPassword())
	if a.StatusCode != http.StatusTooManyRequests && x.redisMillis()-begun < 1000 {
		t.Errorf("the eleventh guess is %s", a.Status)
	}
	// What is used up stays used up.
	x.forgetThrottles()
	x.do("HSET", throttleKey("alice"), "n", "100", "until", "0")
	x.do("PEXPIRE", throttleKey("alice"), time.Hour.Milliseconds())
	refused("old", x)
	refused("both", both)
	refused("new", after)
	// So do known browsers.
	c := x.visitor()
	c.register("bob")
	wantStatus(t, "a known browser", both.guess("bob", password, "Cookie", sessionCookie+"_browser="+c.cookie(sessionCookie+"_browser")), http.StatusSeeOther)
	if n := x.attempts(accountKey("bob")); n != 0 {
		t.Errorf("the known browser counts as a stranger, %d times", n)
	}
}

// TestSuccess_TakesBackOnlyItsOwnAttempt: neither the owner's sign-ins nor a program's Basic give
// strangers one more guess than they have, and neither ends a wait that a stranger's guess began.
func TestSuccess_TakesBackOnlyItsOwnAttempt(t *testing.T) {
	t.Parallel()
	x := newProxiedTarget(t)
	x.visitor().register("alice")
	for name, success := range map[string]func() answer{
		"form":             func() answer { return x.guessFrom(homeNetwork, "alice", password) },
		"form, same place": func() answer { return x.guessFrom(strangerNetwork, "alice", password) },
		"basic":            func() answer { return x.basicFrom(otherNetwork, "alice", password) },
	} {
		t.Run(name, func(t *testing.T) {
			x.forgetWaits()
			x.cacheDo("FLUSHDB")
			x.do("HSET", throttleKey("alice"), "n", "20", "until", "0")
			guesses := 0
			verdicts := x.verdicts(func(secret string) answer {
				if guesses++; guesses%3 == 0 {
					if a := success(); a.StatusCode >= 400 {
						t.Fatalf("the owner after %d guesses: %s", guesses, a.Status)
					}
					x.endWaits()
				}
				return x.guessFrom(strangerNetwork, "alice", secret)
			})
			if verdicts != 10 {
				t.Errorf("strangers had %d more guesses after 20, want 10", verdicts)
			}
		})
	}
	t.Run("a wait", func(t *testing.T) {
		x.forgetWaits()
		wantStatus(t, "the program", x.basicFrom(homeNetwork, "alice", password), http.StatusOK)
		x.do("HSET", throttleKey("alice"), "n", "20", "until", x.redisMillis()+600_000)
		x.cacheDo("FLUSHDB")
		wantStatus(t, "the program again", x.basicFrom(homeNetwork, "alice", password), http.StatusOK)
		x.wantThrottled(x.guessFrom(strangerNetwork, "alice", password), 9*time.Minute, 10*time.Minute)
	})
}

// tenMinutes is a wait of ten minutes, in seconds, or a little less.
var tenMinutes = regexp.MustCompile(`\b(5\d\d|600)\b`)

// TestThrottle_DoesNotLinkNameAndAddress: after failures for a name, its verified address is
// answered exactly as one that nobody has, and the other way round.
func TestThrottle_DoesNotLinkNameAndAddress(t *testing.T) {
	t.Parallel()
	x := newProxiedTarget(t)
	x.addCarol()
	x.run(password, "user", "add", "dave", "--email", "david@example.org", "--password-stdin").wantCode(t, 0)
	for what, test := range map[string]struct{ tried, linked, unknown string }{
		"the address of a name":  {"carol", "carol@example.org", "caril@example.org"},
		"the name of an address": {"david@example.org", "dave", "duve"},
	} {
		for way, guess := range map[string]func(name, secret string) answer{
			"form":  func(name, secret string) answer { return x.guessFrom(strangerNetwork, name, secret) },
			"basic": func(name, secret string) answer { return x.basicFrom(strangerNetwork, name, secret) },
		} {
			t.Run(what+" by "+way, func(t *testing.T) {
				x.forgetWaits()
				for range 10 {
					wantStatus(t, test.tried, guess(test.tried, wrongPassword()), http.StatusUnauthorized)
				}
				for i := range 4 {
					var seen []string
					for _, name := range []string{test.linked, test.unknown} {
						want := http.StatusUnauthorized
						switch i {
						case 2: // the tenth
							x.do("HSET", throttleKey(name), "n", "9")
						case 3: // A wait of a second might be over for one of them and not for the other.
							x.do("HSET", throttleKey(name), "until", x.redisMillis()+600_000)
							want = http.StatusTooManyRequests
						}
						a := guess(name, wrongPassword())
						text := strings.ReplaceAll(outside(a, name), a.Header.Get("X-Request-Id"), "ID")
						// A slow machine asks some seconds after the wait began.
						seen = append(seen, tenMinutes.ReplaceAllString(text, "600"))
						if a.StatusCode != want {
							t.Errorf("guess %d at %s: %s", i+1, name, a.Status)
						}
					}
					if seen[0] != seen[1] {
						t.Errorf("guess %d at the linked one is answered\n%s\nand at an unknown one\n%s", i+1, seen[0], seen[1])
					}
				}
			})
		}
	}
}

// TestThrottle_AtMostAHundredFailures: all ways to guess at one account together.
func TestThrottle_AtMostAHundredFailures(t *testing.T) {
	t.Parallel()
	x := newProxiedTarget(t)
	x.addCarol()
	known := x.visitor()
	known.signIn("carol")
	cookie := sessionCookie + "_browser=" + known.cookie(sessionCookie+"_browser")
	for _, network := range []string{homeNetwork, otherNetwork} {
		wantStatus(t, "a program", x.basicFrom(network, "carol", password), http.StatusOK)
		wantStatus(t, "a program", x.basicFrom(network, "carol@example.org", password), http.StatusOK)
	}
	sums := map[string]int{}
	for i, name := range []string{"carol", "carol@example.org"} {
		for _, network := range []string{homeNetwork, otherNetwork, strangerNetwork} {
			sums["basic"] += x.verdicts(func(secret string) answer { return x.basicFrom(network, name, secret) })
			sums["form"] += x.verdicts(func(secret string) answer { return x.guessFrom(network, name, secret) })
			sums["browser"] += x.verdicts(func(secret string) answer { return x.guess(name, secret, append(from(network), "Cookie", cookie)...) })
		}
		if i == 0 && sums["basic"]+sums["form"]+sums["browser"] > 70 {
			t.Errorf("by name alone there were %v", sums)
		}
	}
	if sum := sums["basic"] + sums["form"] + sums["browser"]; sum > 100 || sum < 80 {
		t.Errorf("there were %d failures: %v", sum, sums)
	}
	keys := x.keys("throttle:*")
	if slices.ContainsFunc(keys, func(key string) bool { return strings.HasPrefix(key, "throttle:account:") && x.ttl(key) <= 0 }) {
		t.Errorf("a throttle has no end: %q", keys)
	}
}
