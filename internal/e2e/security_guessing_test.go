package e2e

import (
	"fmt"
	"maps"
	"math"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// guess posts a sign-in in a browser that nobody knows.
func (x *target) guess(username, password string, header ...string) answer {
	x.t.Helper()
	c := x.visitor()
	return c.do(c.request(http.MethodPost, "/login", form("username", username, "password", password),
		append(header, "Content-Type", "application/x-www-form-urlencoded")...))
}

// wantThrottled fails unless the answer says for how long to wait, within bounds.
func (x *target) wantThrottled(a answer, least, most time.Duration) {
	x.t.Helper()
	after, err := strconv.Atoi(a.Header.Get("Retry-After"))
	if a.StatusCode != http.StatusTooManyRequests || err != nil {
		x.t.Fatalf("%s: %s with Retry-After %q, want 429", a.Request.URL.Path, a.Status, a.Header.Get("Retry-After"))
	}
	if wait := time.Duration(after) * time.Second; wait < least || wait > most {
		x.t.Errorf("Retry-After is %v, want %v to %v", wait, least, most)
	}
	if !strings.Contains(formMessage(a), "Too many tries. Wait ") {
		x.t.Errorf("the page says %q", formMessage(a))
	}
}

// TestASVS_6_3_1_GuessingIsSlowedDown: after ten failures each further one has to wait, twice
// as long each time, and the answer says how long; the right password is no way around it. A
// wait is over when its time has come.
func TestASVS_6_3_1_GuessingIsSlowedDown(t *testing.T) {
	x := newTarget(t)
	x.visitor().register("alice")
	key := throttleKey("alice")
	for i := range 10 {
		if a := x.guess("alice", wrongPassword()); a.StatusCode != http.StatusUnauthorized {
			t.Fatalf("guess %d: %s", i+1, a.Status)
		}
	}
	for _, wait := range []time.Duration{1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900} {
		wait *= time.Second
		// The clock is Redis' own, so the test ages the key instead of waiting.
		now := x.redisMillis()
		until := x.int("HGET", key, "until")
		if left := time.Duration(until-now) * time.Millisecond; left > wait || left < wait-10*time.Second {
			t.Errorf("after %d failures the wait is %v, want %v", x.attempts(accountKey("alice")), left, wait)
		}
		x.do("HSET", key, "until", x.redisMillis()+int64(wait/time.Millisecond))
		counted := x.attempts(accountKey("alice"))
		x.wantThrottled(x.guess("alice", wrongPassword()), wait-10*time.Second, wait)
		x.wantThrottled(x.guess("ALICE", password), wait-10*time.Second, wait)
		if got := x.attempts(accountKey("alice")); got != counted {
			t.Errorf("asking while one has to wait was counted: %d to %d", counted, got)
		}
		x.do("HSET", key, "until", "0")
		if a := x.guess("alice", wrongPassword()); a.StatusCode != http.StatusUnauthorized {
			t.Fatalf("after the wait: %s", a.Status)
		}
	}
	x.do("HSET", key, "until", "0")
	x.visitor().signIn("alice")
	if n := x.attempts(accountKey("alice")); n != 22 {
		t.Errorf("after 22 failures and a sign-in %d are counted: a success takes back its own attempt only", n)
	}
}

// redisMillis is Redis' clock in Unix milliseconds.
func (x *target) redisMillis() int64 {
	x.t.Helper()
	return x.int("EVAL", `local t = redis.call('TIME') return t[1] * 1000 + math.floor(t[2] / 1000)`, 0)
}

// TestNISTAtMostAHundredFailures: the thirtieth failure of strangers at a name, of a hundred that
// all ways to guess have together, is the last one for a day, also for the right password in an
// unknown browser (SP 800-63B, 3.2.2). The day ends by itself, and asking does not make it longer.
func TestNISTAtMostAHundredFailures(t *testing.T) {
	t.Parallel()
	x := newTarget(t)
	x.visitor().register("alice")
	key := throttleKey("alice")
	x.do("HSET", key, "n", "29", "until", "0")
	if a := x.guess("alice", otherPassword); a.StatusCode != http.StatusUnauthorized {
		t.Fatalf("failure 30: %s", a.Status)
	}
	x.do("HSET", key, "until", "0")

	x.wantThrottled(x.guess("alice", otherPassword), 23*time.Hour, 24*time.Hour)
	x.wantThrottled(x.guess("alice", password), 23*time.Hour, 24*time.Hour)
	if n := x.attempts(accountKey("alice")); n != 30 {
		t.Errorf("%d failures are counted", n)
	}
	x.do("PEXPIRE", key, 60_000)
	x.wantThrottled(x.guess("alice", password), time.Second, time.Minute)
	if left := x.ttl(key); left <= 0 || left > time.Minute {
		t.Errorf("after asking the day lasts %v more", left)
	}
	x.do("PEXPIRE", key, 0)
	x.visitor().signIn("alice")
}

// TestNoThrottleLastsForEver: a key without an end, as after a PERSIST or a restored dump, gets one.
func TestNoThrottleLastsForEver(t *testing.T) {
	t.Parallel()
	x := newTarget(t)
	x.visitor().register("alice")
	for _, fields := range [][]any{{"n", "100", "until", "0"}, {"n", "999999999", "until", "99999999999999"}, {"n", "11", "until", "99999999999999"}} {
		x.do("HSET", append([]any{throttleKey("alice")}, fields...)...)
		x.guess("alice", otherPassword)
		if left := x.ttl(throttleKey("alice")); left <= 0 || left > 24*time.Hour {
			t.Errorf("after %v the throttle lasts %v", fields, left)
		}
		x.forgetThrottles()
	}
}

// TestThrottleKeysThatCannotBeRead: what somebody else wrote under a throttle's key is no
// reason for an error, and none to let everybody guess.
func TestThrottleKeysThatCannotBeRead(t *testing.T) {
	t.Parallel()
	x := newTarget(t)
	x.visitor().register("alice")
	for _, write := range [][]any{
		{"SET", throttleKey("alice"), "x"},
		{"LPUSH", throttleKey("alice"), "x"},
		{"HSET", throttleKey("alice"), "n", "many", "until", "soon"},
		{"HSET", throttleKey("alice"), "n", "-1", "until", "nan"},
		{"HSET", throttleKey("alice"), "n", "1e400", "until", "-inf"},
		{"HSET", throttleKey("alice"), "other", "1"},
		{"SET", "throttle:address:127.0.0.1", "x"},
	} {
		x.forgetThrottles()
		x.do(write[0].(string), write[1:]...)
		if a := x.guess("alice", otherPassword); a.StatusCode != http.StatusUnauthorized {
			t.Errorf("%v: a wrong password is %s", write, a.Status)
		}
		if n := x.attempts(accountKey("alice")); n != 1 {
			t.Errorf("%v: %d failures are counted after one", write, n)
		}
		x.visitor().signIn("alice")
	}
}

// TestASVS_6_1_1_NoLockoutByMalice: while strangers have used up every guess at an account, its
// owner's session lives on, a browser she signed in with before still signs in and changes
// the password, and the others are let in when the day is over.
func TestASVS_6_1_1_NoLockoutByMalice(t *testing.T) {
	t.Parallel()
	x := newTarget(t)
	known, live := x.visitor(), x.visitor()
	known.register("alice")
	known.wantSeeOther(known.post("/logout"), "/login?notice=signed-out")
	live.signIn("alice")
	x.do("HSET", throttleKey("alice"), "n", "100", "until", "0")
	x.do("PEXPIRE", throttleKey("alice"), (24 * time.Hour).Milliseconds())
	x.wantThrottled(x.guess("alice", password), 23*time.Hour, 24*time.Hour)

	wantSignedIn(t, live)
	known.signIn("alice")
	known.wantSeeOther(known.changePassword(password, otherPassword), "/account?notice=password#password")
	x.wantThrottled(x.guess("alice", otherPassword), 23*time.Hour, 24*time.Hour)

	x.do("PEXPIRE", throttleKey("alice"), 0)
	if a := x.guess("alice", otherPassword); a.StatusCode != http.StatusSeeOther {
		t.Errorf("after the day: %s", a.Status)
	}
}

// TestAKnownBrowserIsKnownForOneNameOnly: the cookie that gives a browser its own allowance
// gives it for the account that signed in with it, must be whole, and is no endless allowance.
func TestAKnownBrowserIsKnownForOneNameOnly(t *testing.T) {
	t.Parallel()
	x := newTarget(t)
	mallory, alice := x.visitor(), x.visitor()
	mallory.register("mallory")
	alice.register("alice")
	of := func(c *client) string { return c.cookie(sessionCookie + "_browser") }
	id, signature, _ := strings.Cut(of(alice), ".")
	for what, cookie := range map[string]string{
		"somebody else's":      of(mallory),
		"a mixed one":          strings.Split(of(mallory), ".")[0] + "." + signature,
		"without a signature":  id + ".",
		"with a zero one":      id + "." + strings.Repeat("A", 43),
		"cut":                  of(alice)[:64],
		"two in one":           of(mallory) + "." + of(alice),
		"with something after": of(alice) + "x",
		"empty":                "",
	} {
		x.forgetThrottles()
		x.guess("alice", otherPassword, "Cookie", sessionCookie+"_browser="+cookie)
		if n := x.attempts(accountKey("alice")); n != 1 {
			t.Errorf("with the cookie %s the account has %d failures counted, want 1", what, n)
		}
	}
	x.forgetThrottles()
	x.guess("Alice", otherPassword, "Cookie", sessionCookie+"_browser="+of(alice))
	keys := x.keys("throttle:browsers:*")
	if len(keys) != 1 || x.attempts(accountKey("alice")) != 0 {
		t.Fatalf("a known browser's failure is counted under %q", x.keys("throttle:*"))
	}
	x.do("HSET", keys[0], "n", "100", "until", "0")
	x.wantThrottled(x.guess("alice", password, "Cookie", sessionCookie+"_browser="+of(alice)), 23*time.Hour, 24*time.Hour)
}

// TestASVS_15_4_ABurstIsCountedWhole: guesses at once get no more of them than one after the other.
func TestASVS_15_4_ABurstIsCountedWhole(t *testing.T) {
	x := newTarget(t)
	x.visitor().register("alice")
	begun := time.Now()
	tried := int64(0)
	for _, a := range atOnce(t, 60, func(i int) (answer, error) {
		c := newClient(t, x.server.URL())
		return c.attempt(c.form("/login", "username", []string{"alice", "ALICE", "ａｌｉｃｅ"}[i%3], "password", wrongPassword()))
	}) {
		switch a.StatusCode {
		case http.StatusUnauthorized:
			tried++
		case http.StatusTooManyRequests:
		default:
			t.Errorf("a guess: %s", a.Status)
		}
	}
	// On a slow machine a wait of a second may have ended in between.
	most := 10 + int64(time.Since(begun)/time.Second)
	if n := x.attempts(accountKey("alice")); n != tried || tried > most {
		t.Errorf("%d guesses were tried and %d counted, want at most %d", tried, n, most)
	}
}

// TestASVS_6_3_8_NobodyIsToldWhoExists: an unknown name, a wrong password, a disabled account
// and names that nobody can have are one answer: status, headers, words, the work done for it, and
// what happens after ten of them.
func TestASVS_6_3_8_NobodyIsToldWhoExists(t *testing.T) {
	t.Parallel()
	x := newTarget(t)
	x.visitor().register("alice")
	x.visitor().register("carol")
	x.run("", "user", "disable", "carol").wantCode(t, 0)

	x.guess("nobody", wrongPassword()) // Redis knows the scripts now
	var first answer
	for i, name := range []string{"alice", "nobod", "carol", "a b c", "@bcde"} {
		x.forgetThrottles()
		password := password
		if name == "alice" {
			password = otherPassword
		}
		a := x.guess(name, password)
		line := x.requestLine(a)
		if i == 0 {
			first = a
		}
		if got, want := outside(a, name), outside(first, "alice"); got != want {
			t.Errorf("%q is answered\n%s\nwant\n%s", name, got, want)
		}
		if line["redis"] != x.requestLine(first)["redis"] || line["sql"] != x.requestLine(first)["sql"] {
			t.Errorf("%q costs %v round trips and %v statements", name, line["redis"], line["sql"])
		}
	}
	x.forgetThrottles()
	var sequences [][]int
	for _, name := range []string{"alice", "nobody", "carol"} {
		var sequence []int
		for range 11 {
			sequence = append(sequence, x.guess(name, wrongPassword()).StatusCode)
		}
		sequences = append(sequences, sequence)
	}
	if !slices.Equal(sequences[0], sequences[1]) || !slices.Equal(sequences[0], sequences[2]) || sequences[0][10] != http.StatusTooManyRequests {
		t.Errorf("eleven guesses at a known, an unknown and a disabled name: %v", sequences)
	}
}

// outside is all that a client sees of an answer, but for the name that it sent itself and what
// differs in every answer.
func outside(a answer, name string) string {
	header := maps.Clone(a.Header)
	for _, each := range []string{"Date", "X-Request-Id"} {
		delete(header, each)
	}
	body := strings.ReplaceAll(a.body, `value="`+name+`"`, `value="NAME"`)
	return fmt.Sprintf("%s\n%v\n%s", a.Status, header, body)
}

// TestASVS_6_3_8_NorByTheClock: an unknown name and a disabled account take as long as a wrong
// password, to a tenth. The machine has other work as well, which can only make the medians of
// requests in turn differ and the fastest quarter less so: the best of either, in up to three
// rounds, is what counts. Without the hash for nobody it is a fifth.
func TestASVS_6_3_8_NorByTheClock(t *testing.T) {
	x := newTarget(t)
	x.visitor().register("alice")
	x.visitor().register("carol")
	x.run("", "user", "disable", "carol").wantCode(t, 0)
	c := x.visitor()
	names := []string{"alice", "nobod", "carol"}
	const samples = 25
	best := map[string]float64{}
	for range 3 {
		took := map[string][]time.Duration{}
		for i := range samples * len(names) {
			x.forgetThrottles()
			// Each name follows each other one equally often.
			name := names[(i+i/len(names))%len(names)]
			begun := time.Now()
			c.want(c.post("/login", "username", name, "password", otherPassword), http.StatusUnauthorized)
			took[name] = append(took[name], time.Since(begun))
		}
		for _, name := range names {
			slices.Sort(took[name])
		}
		equal := true
		for _, name := range names[1:] {
			for _, place := range []int{samples / 2, samples / 4} {
				ratio := float64(took[name][place]) / float64(took["alice"][place])
				if best[name] == 0 || math.Abs(ratio-1) < math.Abs(best[name]-1) {
					best[name] = ratio
				}
			}
			equal = equal && best[name] >= 0.9 && best[name] <= 1.1
		}
		if equal {
			return
		}
	}
	t.Errorf("in parts of the time that a wrong password takes: %v", best)
}

// TestASVS_6_3_4_EveryFormSharesTheThrottle: the current password at the change form is guessed
// with the same allowance as at the sign-in.
func TestASVS_6_3_4_EveryFormSharesTheThrottle(t *testing.T) {
	t.Parallel()
	x := newTarget(t)
	c := x.visitor()
	c.register("alice")
	change := func() answer {
		thief := c.copy(c.base) // the session, and not the cookie that makes the browser known
		return thief.changePassword(wrongPassword(), otherPassword)
	}
	for i := range 5 {
		c.want(change(), http.StatusUnprocessableEntity)
		if a := x.guess("alice", wrongPassword()); a.StatusCode != http.StatusUnauthorized {
			t.Fatalf("guess %d: %s", i+1, a.Status)
		}
	}
	if n := x.attempts(accountKey("alice")); n != 10 {
		t.Errorf("%d failures are counted, want 10", n)
	}
	x.do("HSET", throttleKey("alice"), "until", x.redisMillis()+60_000)
	x.wantThrottled(change(), 50*time.Second, time.Minute)
	x.wantThrottled(x.guess("alice", password), 50*time.Second, time.Minute)
	wantSignedIn(t, c)
}

// TestASVS_6_3_4_TheDisabledStateHoldsEverywhere: a disabled account's right password is a wrong
// one, and its session and its known browser open nothing.
func TestASVS_6_3_4_TheDisabledStateHoldsEverywhere(t *testing.T) {
	t.Parallel()
	x := newTarget(t)
	c := x.visitor()
	c.register("alice")
	x.run("", "user", "disable", "alice").wantCode(t, 0)
	c.wantSeeOther(c.changePassword(password, otherPassword), "/login")
	c.want(c.post("/login", "username", "alice", "password", password), http.StatusUnauthorized)
	wantSignedOut(t, c)
	x.run("", "user", "enable", "alice").wantCode(t, 0)
	wantSignedOut(t, c)
	c.signIn("alice")
}

// TestASVS_6_3_4_ASuccessDoesNotResetTheAddress: who has an account of his own cannot clear, by
// signing in to it, what his address has failed at others'.
func TestASVS_6_3_4_ASuccessDoesNotResetTheAddress(t *testing.T) {
	t.Parallel()
	x := newTarget(t)
	x.visitor().register("mallory")
	const key = "address:127.0.0.1"
	for i := range 7 {
		x.guess(fmt.Sprintf("victim%d", i), password)
	}
	x.visitor().signIn("mallory")
	x.visitor().signIn("mallory")
	if n := x.attempts(key); n != 7 {
		t.Errorf("after seven failures and two sign-ins the address has %d counted", n)
	}
	// The hundred and first failure of an address has to wait, whoever it is aimed at.
	x.do("HSET", "throttle:"+key, "n", "99", "until", "0")
	x.guess("victim", password)
	x.wantThrottled(x.guess("another", password), time.Second, time.Second)
	if left := x.ttl("throttle:" + key); left <= 0 || left > 15*time.Minute {
		t.Errorf("the address is remembered for %v", left)
	}
	x.do("PEXPIRE", "throttle:"+key, 0)
	x.visitor().signIn("mallory")
}

// forwardingHeaders are the names under which proxies say whom they speak for.
var forwardingHeaders = []string{
	"X-Forwarded-For", "X_Forwarded_For", "x-forwarded_for", "X-Real-Ip", "X_Real_IP", "Forwarded", "True-Client-Ip", "Cf-Connecting-Ip",
	"X-Client-Ip", "X-Cluster-Client-Ip", "Fastly-Client-Ip", "X-Originating-Ip", "Remote-Addr", "X-Remote-Addr", "Via",
}

// TestASVS_15_3_4_ARotatingHeaderEvadesNothing: who is no trusted proxy says nothing about
// addresses; whatever the header is called, failures count for the address of the socket.
func TestASVS_15_3_4_ARotatingHeaderEvadesNothing(t *testing.T) {
	t.Parallel()
	x := newTarget(t)
	sent := int64(0)
	for i, header := range forwardingHeaders {
		for _, value := range []string{fmt.Sprintf("203.0.113.%d", i), fmt.Sprintf("for=203.0.113.%d", i), fmt.Sprintf("[2001:db8:%d::1]", i)} {
			sent++
			a := x.guess(fmt.Sprintf("victim%d", sent), password, header, value)
			if got := x.requestLine(a).text("address"); got != "127.0.0.1" {
				t.Errorf("with %s: %s the address in the log is %q", header, value, got)
			}
		}
	}
	if n := x.attempts("address:127.0.0.1"); n != sent {
		t.Errorf("%d of %d failures are counted for the socket's address", n, sent)
	}
	if keys := x.keys("throttle:address:*"); len(keys) != 1 {
		t.Errorf("addresses are counted under %q", keys)
	}
}

// TestASVS_4_1_3_ATrustedProxyIsBelievedAsFarAsItGoes: behind a proxy the address is the last one
// that no trusted proxy has; what a client put before it is noise. IPv6 counts by /64.
func TestASVS_4_1_3_ATrustedProxyIsBelievedAsFarAsItGoes(t *testing.T) {
	t.Parallel()
	x := newTarget(t, "TRUSTED_PROXIES", "127.0.0.0/8,10.0.0.0/8")
	for i, test := range []struct{ header, key string }{
		{"203.0.113.7", "203.0.113.7"},
		{"198.51.100.1, 203.0.113.7", "203.0.113.7"},
		{"198.51.100.2, 203.0.113.7, 10.1.2.3", "203.0.113.7"},
		{"garbage, <script>, 203.0.113.7", "203.0.113.7"},
		{"127.0.0.1, 203.0.113.7", "203.0.113.7"},
		{"::ffff:203.0.113.7", "203.0.113.7"},
		{"2001:db8:1:2::1", "2001:db8:1:2::/64"},
		{"2001:db8:1:2:ffff:ffff:ffff:ffff", "2001:db8:1:2::/64"},
		{"[2001:db8:1:2::3]", "2001:db8:1:2::/64"},
		{"2001:db8:1:3::1", "2001:db8:1:3::/64"},
		{"203.0.113.7, not an address", "127.0.0.1"},
		{"203.0.113.7, 256.1.1.1", "127.0.0.1"},
		{"", "127.0.0.1"},
	} {
		x.forgetThrottles()
		x.guess(fmt.Sprintf("victim%d", i), password, "X-Forwarded-For", test.header)
		if keys := x.keys("throttle:address:*"); !slices.Equal(keys, []string{"throttle:address:" + test.key}) {
			t.Errorf("X-Forwarded-For %q is counted under %q, want %q", test.header, keys, test.key)
		}
	}
	for i := range 3 { // one customer's addresses are one
		a := netip.MustParseAddr("2001:db8:9:9::").As16()
		a[15] = byte(i)
		x.guess("victim", wrongPassword(), "X-Forwarded-For", netip.AddrFrom16(a).String())
	}
	if n := x.attempts("address:2001:db8:9:9::/64"); n != 3 {
		t.Errorf("three addresses of one /64 have %d failures", n)
	}
}

// TestRegistrationIsThrottledByAddress: an address makes so many accounts an hour and then waits.
func TestRegistrationIsThrottledByAddress(t *testing.T) {
	t.Parallel()
	x := newTarget(t)
	const key = "throttle:register:127.0.0.1"
	x.visitor().register("alice")
	if left := x.ttl(key); left <= 0 || left > time.Hour {
		t.Errorf("a registration is remembered for %v", left)
	}
	x.do("HSET", key, "n", "250", "until", x.redisMillis()+30_000)
	c := x.visitor()
	x.wantThrottled(c.post("/register", "username", "bob", "password", password), 20*time.Second, 30*time.Second)
	if n := x.value(`SELECT count(*) FROM users`); n != "1" {
		t.Errorf("there are %s users", n)
	}
	x.do("HSET", key, "until", "0")
	c.register("bob")
}

// TestASVS_6_3_2_NoDefaultAccounts: a new database has no user, and the usual names and
// passwords open nothing.
func TestASVS_6_3_2_NoDefaultAccounts(t *testing.T) {
	t.Parallel()
	x := newTarget(t)
	if n := x.value(`SELECT count(*) FROM users`); n != "0" {
		t.Errorf("a new database has %s users", n)
	}
	for _, name := range []string{"admin", "root", "gatehouse", "test", "user", "guest", "postgres"} {
		for _, p := range []string{name, "admin", "password", "changeme"} {
			x.forgetThrottles()
			if a := x.guess(name, p); a.StatusCode != http.StatusUnauthorized {
				t.Errorf("%s with %s: %s", name, p, a.Status)
			}
		}
	}
}

// TestRetryAfterIsNeverZero: a wait of a few milliseconds is said as one second, so that nobody
// comes back too early.
func TestRetryAfterIsNeverZero(t *testing.T) {
	t.Parallel()
	x := newTarget(t)
	for _, wait := range []int64{300, 999, 1000, 1001, 59_001} {
		x.do("HSET", throttleKey("nobody"), "n", "20", "until", x.redisMillis()+wait)
		a := x.guess("nobody", password)
		if a.StatusCode != http.StatusTooManyRequests {
			continue // over already, on a slow machine
		}
		most := time.Duration(math.Ceil(float64(wait)/1000)) * time.Second
		x.wantThrottled(a, time.Second, most)
	}
}

// TestAPasswordInTheWrongField: whoever types a password where the name belongs finds it
// neither in the log nor in a key of Redis afterwards.
func TestAPasswordInTheWrongField(t *testing.T) {
	t.Parallel()
	x := newTarget(t)
	const slip = "slipped-otter-lamp-77"
	for range 12 { // until it is throttled as well
		x.guess(slip, wrongPassword())
	}
	for _, key := range x.keys("*") {
		if strings.Contains(key, slip) {
			t.Errorf("Redis has the key %q", key)
		}
	}
	if strings.Contains(x.server.Log(), slip) {
		t.Error("the log has it")
	}
}

// TestRegistration_IsThrottledBeforeThePasswordIsEstimated: tries that are refused count as well, because
// estimating a password costs as much as hashing it.
func TestRegistration_IsThrottledBeforeThePasswordIsEstimated(t *testing.T) {
	t.Parallel()
	x := newTarget(t)
	c := x.visitor()
	for i := range 100 {
		if a := c.post("/register", "username", "alice", "password", "x"); a.StatusCode != http.StatusUnprocessableEntity {
			t.Fatalf("try %d: %s", i+1, a.Status)
		}
	}
	x.wantThrottled(c.post("/register", "username", "alice", "password", password), 0, time.Second)
	x.do("HSET", "throttle:register:127.0.0.1", "until", x.redisMillis()+60_000)
	x.wantThrottled(x.visitor().post("/register", "username", "bob", "password", password), 50*time.Second, time.Minute)
	// Signing in and the meter go on.
	if a := x.guess("alice", otherPassword); a.StatusCode != http.StatusUnauthorized {
		t.Errorf("signing in: %s", a.Status)
	}
	if a := c.post("/password/strength", "password", "x"); a.StatusCode != http.StatusOK {
		t.Errorf("the meter: %s", a.Status)
	}
	x.do("DEL", "throttle:register:127.0.0.1")
	x.visitor().register("alice")
}
