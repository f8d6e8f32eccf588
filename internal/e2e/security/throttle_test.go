package security

import (
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"

	"gatehouse/auth"
	"gatehouse/internal/e2e/kit"
	"gatehouse/internal/testkit"
)

// endWaits ends every wait of the throttle but keeps the counts.
func endWaits(x *kit.Target) {
	x.T.Helper()
	for _, key := range x.Keys("throttle:*") {
		if kind, _ := redis.String(x.Do("TYPE", key), nil); kind == "hash" {
			x.Do("HSET", key, "until", "0")
		}
	}
	for _, key := range x.CacheKeys("waiting:*") {
		x.CacheDo("DEL", key)
	}
}

// verdicts tries different wrong passwords, ending every wait, until an attempt is refused without a check of the
// password. It returns the number of passwords that were checked.
func verdicts(x *kit.Target, guess func(secret string) kit.Response) int {
	x.T.Helper()
	for n := range 250 {
		endWaits(x)
		switch a := guess(kit.WrongPassword()); a.StatusCode {
		case http.StatusUnauthorized:
		case http.StatusTooManyRequests:
			return n
		default:
			x.T.Fatalf("guess %d: %s", n+1, a.Status)
		}
	}
	x.T.Fatal("no guess was refused")
	return 0
}

func wantStatus(t testing.TB, what string, a kit.Response, status int) {
	t.Helper()
	if a.StatusCode != status {
		t.Fatalf("%s: %s, want %d\n%.500s", what, a.Status, status, a.Text)
	}
}

// TestWarmBasic_OtherNetworksAreThrottledFirst: a cached credential is valid only for the network that verified it. From
// any other network, even the correct password is counted before it is compared.
func TestWarmBasic_OtherNetworksAreThrottledFirst(t *testing.T) {
	t.Parallel()
	x := kit.NewProxiedTarget(t)
	x.NewClient().Register("alice")
	for name, networks := range map[string][2]string{"IPv4": {kit.HomeNetwork, kit.StrangerNetwork}, "IPv6": {"2001:db8:1:1::1", "2001:db8:1:2::1"}} {
		t.Run(name, func(t *testing.T) {
			x.ClearWaits()
			home, elsewhere := networks[0], networks[1]
			wantStatus(t, "the program", x.GetMeBasicFrom(home, "alice", kit.Password), http.StatusOK)
			x.WantAuthorizedBy(x.GetMeBasicFrom(home, "alice", kit.Password), "alice", "redis")
			// As in a burst, the allowance is used up before any failure is reported.
			x.Do("HSET", kit.ThrottleKey("alice"), "n", "25", "until", x.RedisMillis()+600_000)
			wantStatus(t, "the correct password from elsewhere", x.GetMeBasicFrom(elsewhere, "alice", kit.Password), http.StatusTooManyRequests)
			for range 2 {
				x.WantAuthorizedBy(x.GetMeBasicFrom(home, "alice", kit.Password), "alice", "redis")
			}
			x.Do("DEL", kit.ThrottleKey("alice"))
			x.ClearWaits()
			x.WantAuthorizedBy(x.GetMeBasicFrom(elsewhere, "alice", kit.Password), "alice", "postgres")
			x.WantAuthorizedBy(x.GetMeBasicFrom(elsewhere, "alice", kit.Password), "alice", "redis")
		})
	}
	// A /64 is one network.
	x.WantAuthorizedBy(x.GetMeBasicFrom("2001:db8:1:1:ffff::9", "alice", kit.Password), "alice", "redis")
}

// TestWarmBasic_BurstOfGuessesIsLimited: of 200 concurrent guesses from any network, one of them correct, no more are
// compared than the limit of a network.
func TestWarmBasic_BurstOfGuessesIsLimited(t *testing.T) {
	x := kit.NewProxiedTarget(t)
	x.NewClient().Register("alice")
	for _, network := range []string{kit.StrangerNetwork, kit.HomeNetwork} {
		for range 2 {
			x.ClearWaits()
			x.CacheDo("DEL", "credential:alice", "credential:alice:"+network)
			wantStatus(t, "the program", x.GetMeBasicFrom(kit.HomeNetwork, "alice", kit.Password), http.StatusOK)
			begun := time.Now()
			verdicts, right := 0, 0
			for _, a := range kit.RunConcurrently(t, 200, func(i int) (kit.Response, error) {
				c, secret := kit.NewClient(t, x.Server.URL()), kit.WrongPassword()
				if i == 150 {
					secret = kit.Password
				}
				return c.TryDo(c.NewRequest(http.MethodGet, "/api/me", "", "Authorization", kit.BasicHeader("alice", secret), "X-Forwarded-For", network))
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
			// On a slow machine, waits may have ended in the meantime.
			most := 10 + int(time.Since(begun)/time.Second)
			if verdicts+right > most+1 || network == kit.StrangerNetwork && verdicts+right > most {
				t.Errorf("from %s: got %d wrong and %d correct guesses, want at most %d", network, verdicts, right, most)
			}
		}
	}
}

// TestWarmBasic_StrangersDoNotLockOutTheProgram: when strangers have used up all attempts, the program keeps working
// from its network, even if its credential is no longer cached.
func TestWarmBasic_StrangersDoNotLockOutTheProgram(t *testing.T) {
	t.Parallel()
	x := kit.NewProxiedTarget(t)
	x.AddCarol()
	for _, login := range []string{"carol", "carol@example.org"} {
		wantStatus(t, "the program", x.GetMeBasicFrom(kit.HomeNetwork, login, kit.Password), http.StatusOK)
		for _, guess := range []func(string) kit.Response{
			func(secret string) kit.Response { return x.GetMeBasicFrom(kit.StrangerNetwork, login, secret) },
			func(secret string) kit.Response { return x.GuessPasswordFrom(kit.OtherNetwork, login, secret) },
		} {
			x.Do("HSET", kit.ThrottleKey(login), "n", "27")
			verdicts(x, guess)
			wantStatus(t, "the correct password from a stranger", guess(kit.Password), http.StatusTooManyRequests)
			x.WantAuthorizedBy(x.GetMeBasicFrom(kit.HomeNetwork, login, kit.Password), "carol", "redis")
		}
		x.CacheDo("FLUSHDB")
		x.WantAuthorizedBy(x.GetMeBasicFrom(kit.HomeNetwork, login, kit.Password), "carol", "postgres")
		x.WantAuthorizedBy(x.GetMeBasicFrom(kit.HomeNetwork, login, kit.Password), "carol", "redis")
	}
	// A password change resets the known networks.
	x.Run(kit.OtherPassword, "user", "passwd", "carol", "--password-stdin").WantCode(t, 0)
	testkit.Eventually(t, kit.MaxDelay, "the change to take effect", func() bool {
		return x.GetMeBasicFrom(kit.HomeNetwork, "carol", kit.Password).StatusCode != http.StatusOK
	})
	wantStatus(t, "the new password from the old one's network", x.GetMeBasicFrom(kit.HomeNetwork, "carol", kit.OtherPassword), http.StatusTooManyRequests)
}

// TestWarmBasic_GuessesFromItsOwnNetworkAreLimited: guesses from all known networks share one limit. Beyond it, the cached
// credential is throttled, too.
func TestWarmBasic_GuessesFromItsOwnNetworkAreLimited(t *testing.T) {
	t.Parallel()
	x := kit.NewProxiedTarget(t)
	x.NewClient().Register("alice")
	for _, network := range []string{kit.HomeNetwork, kit.OtherNetwork} {
		wantStatus(t, "the program", x.GetMeBasicFrom(network, "alice", kit.Password), http.StatusOK)
	}
	known := verdicts(x, func(secret string) kit.Response { return x.GetMeBasicFrom(kit.HomeNetwork, "alice", secret) }) +
		verdicts(x, func(secret string) kit.Response { return x.GetMeBasicFrom(kit.OtherNetwork, "alice", secret) })
	if known != 20 {
		t.Errorf("got %d guesses from two known networks, want 20", known)
	}
	wantStatus(t, "the correct password after the guesses", x.GetMeBasicFrom(kit.HomeNetwork, "alice", kit.Password), http.StatusTooManyRequests)
	if n := x.CountedFailures(kit.AccountKey("alice")); n != 0 {
		t.Errorf("got %d of them counted for strangers", n)
	}
	strangers := verdicts(x, func(secret string) kit.Response { return x.GetMeBasicFrom(kit.StrangerNetwork, "alice", secret) })
	if sum := known + strangers; strangers == 0 || sum > 100 {
		t.Errorf("got %d guesses in total", sum)
	}
}

// TestSameWrongPassword_CountsOnce: a program that polls with an old password uses up one attempt, with every method, and
// does not lock out the user. From another network, or with another password, it uses up another attempt.
func TestSameWrongPassword_CountsOnce(t *testing.T) {
	t.Parallel()
	x := kit.NewProxiedTarget(t)
	x.AddCarol()
	for _, login := range []string{"carol", "carol@example.org", "nobody", "nobody@example.org"} {
		t.Run(login, func(t *testing.T) {
			x.ClearWaits()
			for range 12 {
				wantStatus(t, "Basic", x.GetMeBasicFrom(kit.HomeNetwork, login, "old-password"), http.StatusUnauthorized)
				wantStatus(t, "the form", x.GuessPasswordFrom(kit.HomeNetwork, login, "old-password"), http.StatusUnauthorized)
				c := x.NewClient()
				a := c.Do(c.NewRequest(http.MethodPost, "/api/tokens", fmt.Sprintf(`{"username":%q,"password":"old-password"}`, login),
					"Content-Type", "application/json", "X-Forwarded-For", kit.HomeNetwork))
				wantStatus(t, "a token", a, http.StatusUnauthorized)
			}
			wantCounted := func(what, key string, want int64) {
				t.Helper()
				if n := x.CountedFailures(key); n != want {
					t.Errorf("%s: got %d counted failures for %s, want %d", what, n, key, want)
				}
			}
			wantCounted("one password", kit.AccountKey(login), 1)
			wantCounted("one password", "address:"+kit.HomeNetwork, 1)
			x.GuessPasswordFrom(kit.HomeNetwork, login, kit.WrongPassword())
			wantCounted("two passwords", kit.AccountKey(login), 2)
			wantCounted("two passwords", "address:"+kit.HomeNetwork, 2)
			x.GuessPasswordFrom(kit.StrangerNetwork, login, "old-password")
			wantCounted("two networks", kit.AccountKey(login), 3)
			wantCounted("two networks", "address:"+kit.StrangerNetwork, 1)
			if strings.HasPrefix(login, "carol") {
				wantStatus(t, "the owner", x.GuessPasswordFrom(kit.HomeNetwork, login, kit.Password), http.StatusSeeOther)
			}
		})
	}
	t.Run("concurrently", func(t *testing.T) {
		x.ClearWaits()
		kit.RunConcurrently(t, 8, func(int) (kit.Response, error) {
			c := kit.NewClient(t, x.Server.URL())
			return c.TryDo(c.NewRequest(http.MethodGet, "/api/me", "", "Authorization", kit.BasicHeader("carol", "old-password"), "X-Forwarded-For", kit.HomeNetwork))
		})
		if n := x.CountedFailures(kit.AccountKey("carol")); n != 1 {
			t.Errorf("got %d counted failures, want 1", n)
		}
	})
	t.Run("a wait cannot be bypassed", func(t *testing.T) {
		x.ClearWaits()
		wantStatus(t, "the first", x.GuessPasswordFrom(kit.HomeNetwork, "carol", "old-password"), http.StatusUnauthorized)
		x.Do("HSET", "throttle:address:"+kit.HomeNetwork, "n", "150", "until", x.RedisMillis()+50_000)
		for range 3 {
			// Guesses that repeat failures of other clients on the network reveal nothing.
			x.WantThrottled(x.GuessPasswordFrom(kit.HomeNetwork, "carol", "old-password"), 30*time.Second, 50*time.Second)
			x.WantThrottled(x.GuessPasswordFrom(kit.HomeNetwork, "carol", kit.WrongPassword()), 30*time.Second, 50*time.Second)
		}
		until := x.Int("HGET", "throttle:address:"+kit.HomeNetwork, "until")
		if n := x.CountedFailures("address:" + kit.HomeNetwork); n != 150 || until < x.RedisMillis() {
			t.Errorf("got %d failures of the address and a wait until %d", n, until)
		}
		// A repeated failure does not end the wait that another guess caused.
		x.Do("HSET", "throttle:address:"+kit.HomeNetwork, "n", "105", "until", "0")
		wantStatus(t, "a repeated one", x.GuessPasswordFrom(kit.HomeNetwork, "carol", "old-password"), http.StatusUnauthorized)
		wantStatus(t, "a new one", x.GuessPasswordFrom(kit.HomeNetwork, "carol", kit.WrongPassword()), http.StatusUnauthorized)
		x.WantThrottled(x.GuessPasswordFrom(kit.HomeNetwork, "carol", "old-password"), 10*time.Second, time.Minute)
	})
	t.Run("the password becomes correct", func(t *testing.T) {
		x.ClearWaits()
		wantStatus(t, "before", x.GuessPasswordFrom(kit.HomeNetwork, "carol", kit.OtherPassword), http.StatusUnauthorized)
		x.Run("", "user", "disable", "carol").WantCode(t, 0)
		wantStatus(t, "the correct password of a disabled user", x.GuessPasswordFrom(kit.HomeNetwork, "carol", kit.Password), http.StatusUnauthorized)
		x.Run("", "user", "enable", "carol").WantCode(t, 0)
		wantStatus(t, "enabled", x.GuessPasswordFrom(kit.HomeNetwork, "carol", kit.Password), http.StatusSeeOther)
		x.Run(kit.OtherPassword, "user", "passwd", "carol", "--password-stdin").WantCode(t, 0)
		wantStatus(t, "after", x.GuessPasswordFrom(kit.HomeNetwork, "carol", kit.OtherPassword), http.StatusSeeOther)
	})
}

// TestKnownBrowsers_ShareOneAllowance: all known browsers of an account share one allowance, which ends with the epoch.
func TestKnownBrowsers_ShareOneAllowance(t *testing.T) {
	t.Parallel()
	x := kit.NewTarget(t)
	owner := x.NewClient()
	owner.Register("alice")
	cookies := []string{owner.Cookie(kit.SessionCookie + "_browser")}
	for range 3 {
		c := x.NewClient()
		c.SignIn("alice")
		cookies = append(cookies, c.Cookie(kit.SessionCookie+"_browser"))
	}
	with := func(cookie string) func(string) kit.Response {
		return func(secret string) kit.Response {
			return x.GuessPassword("alice", secret, "Cookie", kit.SessionCookie+"_browser="+cookie)
		}
	}
	sum := 0
	for _, cookie := range cookies {
		sum += verdicts(x, with(cookie))
	}
	if sum != 20 {
		t.Errorf("got %d guesses from four known browsers, want 20", sum)
	}
	if n := x.CountedFailures(kit.AccountKey("alice")); n != 0 {
		t.Errorf("got %d of them counted for strangers", n)
	}
	wantStatus(t, "the owner elsewhere", x.GuessPassword("alice", kit.Password), http.StatusSeeOther)

	x.ClearThrottles()
	owner.WantSeeOther(owner.ChangePassword(kit.Password, kit.OtherPassword), "/account?notice=password")
	sum = 0
	for _, cookie := range cookies {
		sum += verdicts(x, with(cookie))
	}
	if counted := x.CountedFailures(kit.AccountKey("alice")); int64(sum) != counted || sum > 30 {
		t.Errorf("got %d guesses from four browsers of an older epoch, %d of them counted for strangers", sum, counted)
	}
	wantStatus(t, "a stranger afterwards", x.GuessPassword("alice", kit.OtherPassword), http.StatusTooManyRequests)
	owner.WantStatus(owner.PostForm("/logout"), http.StatusSeeOther)
	owner.WantStatus(owner.PostForm("/login", "username", "alice", "password", kit.OtherPassword), http.StatusSeeOther)
}

// TestKnownBrowsers_CookieIsNotShared: not even with the sites that share the session.
func TestKnownBrowsers_CookieIsNotShared(t *testing.T) {
	t.Parallel()
	x := kit.NewTarget(t, "BASE_URL", "https://login.example.com", "COOKIE_DOMAIN", "example.com")
	c := x.NewClient()
	a := c.PostForm("/register", "username", "alice", "password", kit.Password)
	c.WantStatus(a, http.StatusSeeOther)
	cookies := c.CookiesOf(a)
	browser, session := cookies["__Host-gatehouse_browser"], cookies["__Secure-gatehouse"]
	if browser == nil || browser.Domain != "" || !browser.Secure || browser.Path != "/" || session == nil || session.Domain != "example.com" {
		t.Errorf("the response sets %q", a.Header.Values("Set-Cookie"))
	}
}

// TestRateLimit_SurvivesAKeyRotation: counts survive both steps of a rotation and are shared between servers with
// different keys.
func TestRateLimit_SurvivesAKeyRotation(t *testing.T) {
	t.Parallel()
	old, next := kit.SecretKey, auth.NewSecretKey()
	x := kit.NewProxiedTarget(t)
	x.NewClient().Register("alice")
	serve := func(keys string) *kit.Target {
		y := *x
		y.Server = x.Serve("SECRET_KEY", keys, "TRUSTED_PROXIES", "127.0.0.0/8,::1")
		return &y
	}
	both, after := serve(next+","+old), serve(next)
	guess := func(y *kit.Target, n int) {
		t.Helper()
		for range n {
			wantStatus(t, "a guess", y.GuessPasswordFrom(kit.StrangerNetwork, "alice", kit.WrongPassword()), http.StatusUnauthorized)
		}
	}
	refused := func(what string, y *kit.Target) {
		t.Helper()
		x.WantThrottled(y.GuessPasswordFrom(kit.StrangerNetwork, "alice", kit.Password), time.Minute, 24*time.Hour)
	}
	guess(x, 3)
	wantStatus(t, "an old password", x.GuessPasswordFrom(kit.StrangerNetwork, "alice", "old-password"), http.StatusUnauthorized)
	guess(both, 3)
	wantStatus(t, "an old password again", both.GuessPasswordFrom(kit.StrangerNetwork, "alice", "old-password"), http.StatusUnauthorized)
	guess(x, 1)
	// The old key has counted 8 failures when the new one takes over.
	guess(both, 1)
	wantStatus(t, "an old password a third time", after.GuessPasswordFrom(kit.StrangerNetwork, "alice", "old-password"), http.StatusUnauthorized)
	// The tenth failure causes a wait of one second, which may already be over on a slow machine.
	begun := x.RedisMillis()
	guess(after, 1)
	a := after.GuessPasswordFrom(kit.StrangerNetwork, "alice", kit.WrongPassword())
	if a.StatusCode != http.StatusTooManyRequests && x.RedisMillis()-begun < 1000 {
		t.Errorf("the eleventh guess: got %s", a.Status)
	}
	// A used-up allowance stays used up.
	x.ClearThrottles()
	x.Do("HSET", kit.ThrottleKey("alice"), "n", "100", "until", "0")
	x.Do("PEXPIRE", kit.ThrottleKey("alice"), time.Hour.Milliseconds())
	refused("old", x)
	refused("both", both)
	refused("new", after)
	// Known browsers stay known.
	c := x.NewClient()
	c.Register("bob")
	wantStatus(t, "a known browser", both.GuessPassword("bob", kit.Password, "Cookie", kit.SessionCookie+"_browser="+c.Cookie(kit.SessionCookie+"_browser")), http.StatusSeeOther)
	if n := x.CountedFailures(kit.AccountKey("bob")); n != 0 {
		t.Errorf("got %d failures of the known browser counted for strangers", n)
	}
}

// TestSuccess_RefundsOnlyItsOwnAttempt: neither the owner's sign-ins nor a program's requests give strangers another
// attempt or end a wait that a stranger's guess caused.
func TestSuccess_RefundsOnlyItsOwnAttempt(t *testing.T) {
	t.Parallel()
	x := kit.NewProxiedTarget(t)
	x.NewClient().Register("alice")
	for name, success := range map[string]func() kit.Response{
		"form":               func() kit.Response { return x.GuessPasswordFrom(kit.HomeNetwork, "alice", kit.Password) },
		"form, same network": func() kit.Response { return x.GuessPasswordFrom(kit.StrangerNetwork, "alice", kit.Password) },
		"basic":              func() kit.Response { return x.GetMeBasicFrom(kit.OtherNetwork, "alice", kit.Password) },
	} {
		t.Run(name, func(t *testing.T) {
			x.ClearWaits()
			x.CacheDo("FLUSHDB")
			x.Do("HSET", kit.ThrottleKey("alice"), "n", "20", "until", "0")
			guesses := 0
			verdicts := verdicts(x, func(secret string) kit.Response {
				if guesses++; guesses%3 == 0 {
					if a := success(); a.StatusCode >= 400 {
						t.Fatalf("the owner after %d guesses: %s", guesses, a.Status)
					}
					endWaits(x)
				}
				return x.GuessPasswordFrom(kit.StrangerNetwork, "alice", secret)
			})
			if verdicts != 10 {
				t.Errorf("got %d more guesses of strangers after 20, want 10", verdicts)
			}
		})
	}
	t.Run("a wait", func(t *testing.T) {
		x.ClearWaits()
		wantStatus(t, "the program", x.GetMeBasicFrom(kit.HomeNetwork, "alice", kit.Password), http.StatusOK)
		x.Do("HSET", kit.ThrottleKey("alice"), "n", "20", "until", x.RedisMillis()+600_000)
		x.CacheDo("FLUSHDB")
		wantStatus(t, "the program again", x.GetMeBasicFrom(kit.HomeNetwork, "alice", kit.Password), http.StatusOK)
		x.WantThrottled(x.GuessPasswordFrom(kit.StrangerNetwork, "alice", kit.Password), 9*time.Minute, 10*time.Minute)
	})
}

// tenMinutes is a wait of ten minutes or slightly less, in seconds.
var tenMinutes = regexp.MustCompile(`\b(5\d\d|600)\b`)

// TestThrottle_DoesNotLinkNameAndAddress: after failures for a name, the responses for its verified email address are the
// same as for an unknown address, and vice versa.
func TestThrottle_DoesNotLinkNameAndAddress(t *testing.T) {
	t.Parallel()
	x := kit.NewProxiedTarget(t)
	x.AddCarol()
	x.Run(kit.Password, "user", "add", "dave", "--email", "david@example.org", "--password-stdin").WantCode(t, 0)
	for what, test := range map[string]struct{ tried, linked, unknown string }{
		"the address for a name":  {"carol", "carol@example.org", "caril@example.org"},
		"the name for an address": {"david@example.org", "dave", "duve"},
	} {
		for way, guess := range map[string]func(name, secret string) kit.Response{
			"form":  func(name, secret string) kit.Response { return x.GuessPasswordFrom(kit.StrangerNetwork, name, secret) },
			"basic": func(name, secret string) kit.Response { return x.GetMeBasicFrom(kit.StrangerNetwork, name, secret) },
		} {
			t.Run(what+" by "+way, func(t *testing.T) {
				x.ClearWaits()
				for range 10 {
					wantStatus(t, test.tried, guess(test.tried, kit.WrongPassword()), http.StatusUnauthorized)
				}
				for i := range 4 {
					var seen []string
					for _, name := range []string{test.linked, test.unknown} {
						want := http.StatusUnauthorized
						switch i {
						case 2: // the tenth failure
							x.Do("HSET", kit.ThrottleKey(name), "n", "9")
						case 3: // A wait of one second may be over for one of them but not for the other.
							x.Do("HSET", kit.ThrottleKey(name), "until", x.RedisMillis()+600_000)
							want = http.StatusTooManyRequests
						}
						a := guess(name, kit.WrongPassword())
						text := strings.ReplaceAll(kit.ComparableResponse(a, name), a.Header.Get("X-Request-Id"), "ID")
						// A slow machine gets here some seconds after the wait began.
						seen = append(seen, tenMinutes.ReplaceAllString(text, "600"))
						if a.StatusCode != want {
							t.Errorf("guess %d at %s: %s", i+1, name, a.Status)
						}
					}
					if seen[0] != seen[1] {
						t.Errorf("guess %d: got for the linked login\n%s\nand for an unknown one\n%s", i+1, seen[0], seen[1])
					}
				}
			})
		}
	}
}

// TestThrottle_AtMostAHundredFailures: for all ways to guess at one account together.
func TestThrottle_AtMostAHundredFailures(t *testing.T) {
	t.Parallel()
	x := kit.NewProxiedTarget(t)
	x.AddCarol()
	known := x.NewClient()
	known.SignIn("carol")
	cookie := kit.SessionCookie + "_browser=" + known.Cookie(kit.SessionCookie+"_browser")
	for _, network := range []string{kit.HomeNetwork, kit.OtherNetwork} {
		wantStatus(t, "a program", x.GetMeBasicFrom(network, "carol", kit.Password), http.StatusOK)
		wantStatus(t, "a program", x.GetMeBasicFrom(network, "carol@example.org", kit.Password), http.StatusOK)
	}
	sums := map[string]int{}
	for i, name := range []string{"carol", "carol@example.org"} {
		for _, network := range []string{kit.HomeNetwork, kit.OtherNetwork, kit.StrangerNetwork} {
			sums["basic"] += verdicts(x, func(secret string) kit.Response { return x.GetMeBasicFrom(network, name, secret) })
			sums["form"] += verdicts(x, func(secret string) kit.Response { return x.GuessPasswordFrom(network, name, secret) })
			sums["browser"] += verdicts(x, func(secret string) kit.Response {
				return x.GuessPassword(name, secret, append(kit.FromNetwork(network), "Cookie", cookie)...)
			})
		}
		if i == 0 && sums["basic"]+sums["form"]+sums["browser"] > 70 {
			t.Errorf("got %v failures by name", sums)
		}
	}
	if sum := sums["basic"] + sums["form"] + sums["browser"]; sum > 100 || sum < 80 {
		t.Errorf("got %d failures: %v", sum, sums)
	}
	keys := x.Keys("throttle:*")
	if slices.ContainsFunc(keys, func(key string) bool { return strings.HasPrefix(key, "throttle:account:") && x.TTL(key) <= 0 }) {
		t.Errorf("a throttle does not expire: %q", keys)
	}
}
