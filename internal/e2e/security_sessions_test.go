package e2e

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"

	"gatehouse/auth"
	"gatehouse/internal/testkit"
)

// key returns where Redis has the client's session.
func (x *target) key(c *client) string {
	x.t.Helper()
	return "session:" + auth.SessionID(c.cookie(sessionCookie))
}

// edit changes fields of a session's record and leaves the key's time as it is.
func (x *target) edit(key string, change map[string]any) {
	x.t.Helper()
	value, err := redis.Bytes(x.do("GET", key), nil)
	if err != nil {
		x.t.Fatal(err)
	}
	var record map[string]any
	if err := json.Unmarshal(value, &record); err != nil {
		x.t.Fatal(err)
	}
	maps.Copy(record, change)
	if value, err = json.Marshal(record); err != nil {
		x.t.Fatal(err)
	}
	x.do("SET", key, value, "KEEPTTL")
}

// TestASVS_7_2_4_NewCookieAtSignIn: every sign-in makes a new session and ends the one that the
// browser had, somebody else's too.
func TestASVS_7_2_4_NewCookieAtSignIn(t *testing.T) {
	t.Parallel()
	x := newTarget(t)
	x.visitor().register("bob")
	c := x.visitor()
	c.register("alice")
	for _, name := range []string{"alice", "bob", "alice"} {
		before, key := c.copy(c.base), x.key(c)
		c.signIn(name)
		if c.cookie(sessionCookie) == before.cookie(sessionCookie) || x.key(c) == key {
			t.Errorf("signing in as %s kept the cookie", name)
		}
		if x.int("EXISTS", key) != 0 {
			t.Errorf("signing in as %s kept the old key", name)
		}
		wantSignedOut(t, before)
		wantSignedIn(t, c)
	}
}

// TestASVS_7_2_4_NothingPlantedIsAdopted: whoever knows the cookie that a browser had before
// the sign-in or the registration knows nothing afterwards.
func TestASVS_7_2_4_NothingPlantedIsAdopted(t *testing.T) {
	t.Parallel()
	x := newTarget(t)
	for i, path := range []string{"/register", "/login"} {
		planted := strings.Repeat(string(rune('A'+i)), 43)
		c := x.visitor()
		c.setCookie(sessionCookie, planted)
		c.wantSeeOther(c.post(path, "username", "alice", "password", password), "/dashboard")
		if c.cookie(sessionCookie) == planted {
			t.Errorf("%s adopted the planted cookie", path)
		}
		if x.openTo(sessionCookie + "=" + planted) {
			t.Errorf("after %s the planted cookie opens the dashboard", path)
		}
	}
}

// TestASVS_7_2_3_SessionsAreRandom: the value is 32 octets; over some hundred of them no
// bit stands still, and none comes twice.
func TestASVS_7_2_3_SessionsAreRandom(t *testing.T) {
	t.Parallel()
	x := newTarget(t)
	c := x.visitor()
	c.register("alice")
	const n = 64
	seen := map[string]bool{}
	var ones [256]int
	for range n {
		// A renewed session costs no password hash.
		c.wantSeeOther(c.post("/account/sessions/end-others"), "/account?notice=others-ended#sessions")
		value := c.cookie(sessionCookie)
		raw, err := base64.RawURLEncoding.DecodeString(value)
		if err != nil || len(raw) != 32 {
			t.Fatalf("the cookie %q is %d octets (%v)", value, len(raw), err)
		}
		seen[value] = true
		for i := range ones {
			ones[i] += int(raw[i/8] >> (i % 8) & 1)
		}
	}
	if len(seen) != n {
		t.Errorf("%d different values of %d", len(seen), n)
	}
	// A fair bit is outside of this once in 10^13 times.
	if least, most := slices.Min(ones[:]), slices.Max(ones[:]); least < 4 || most > n-4 {
		t.Errorf("a bit is set in %d to %d of %d values", least, most, n)
	}
}

// TestASVS_7_2_3_UnknownCookiesAreNothing: a value that we did not issue is an anonymous visitor:
// no page opens, no key is made, no cookie is sent for it.
func TestASVS_7_2_3_UnknownCookiesAreNothing(t *testing.T) {
	t.Parallel()
	x := newTarget(t)
	c := x.visitor()
	c.register("alice")
	id := strings.TrimPrefix(x.key(c), "session:")
	before := x.state()
	for _, value := range []string{
		strings.Repeat("A", 43), strings.Repeat("A", 42), strings.Repeat("A", 44), "x", "null", "0", "*", id, "session:" + id, c.cookie(sessionCookie) + "=",
		c.cookie(sessionCookie)[:42], strings.ToLower(c.cookie(sessionCookie)), strings.ToUpper(c.cookie(sessionCookie)), c.cookie(sessionCookie) + "\x00"[:0] + "%00",
		strings.Repeat("x", 8000), "../" + id, x.userID("alice"), "{}", "..........................................*", "\"" + id + "\"",
	} {
		v := x.visitor()
		for _, path := range []string{"/", "/login", "/dashboard", "/account"} {
			a := v.get(path, "Cookie", sessionCookie+"="+value)
			if a.StatusCode >= 400 || len(a.Cookies()) > 0 || strings.Contains(a.body, "alice") {
				t.Errorf("%s with the cookie %.60q: %s, cookies %v", path, value, a.Status, a.Cookies())
			}
		}
		if x.openTo(sessionCookie + "=" + value) {
			t.Errorf("the cookie %.60q opens the dashboard", value)
		}
	}
	if after := x.state(); after != before {
		t.Errorf("the stores were\n%s\nand are\n%s", before, after)
	}
}

// TestNothingSecretAtRest: what a thief of Redis or Postgres finds opens nothing: neither
// cookie values nor passwords are stored.
func TestNothingSecretAtRest(t *testing.T) {
	t.Parallel()
	x := newTarget(t)
	c := x.visitor()
	c.register("alice")
	c.wantSeeOther(c.changePassword(password, otherPassword), "/account?notice=password#password")
	c.get("/dashboard")
	x.guess("alice", "guessed-"+password)
	stored := x.value(`SELECT string_agg(users::text, ' ') FROM users`)
	for _, conn := range []redis.Conn{x.sessions, x.cache} {
		stored += everything(t, conn)
	}
	for _, secret := range []string{c.cookie(sessionCookie), c.cookie(sessionCookie + "_browser"), password, otherPassword, secretKey} {
		if strings.Contains(stored, secret) {
			t.Errorf("%q is stored:\n%s", secret, stored)
		}
	}
	if hash := x.value(`SELECT password_hash FROM users`); strings.Contains(everything(t, x.cache)+everything(t, x.sessions), hash) {
		t.Error("the password's hash is in Redis")
	}
}

// everything returns all keys of a Redis database with their values.
func everything(t *testing.T, conn redis.Conn) string {
	t.Helper()
	all, err := redis.String(conn.Do("EVAL", `
local out = {}
for _, key in ipairs(redis.call('KEYS', '*')) do
  local kind, value = redis.call('TYPE', key).ok, {}
  if kind == 'string' then value = {redis.call('GET', key)}
  elseif kind == 'hash' then value = redis.call('HGETALL', key)
  elseif kind == 'zset' then value = redis.call('ZRANGE', key, 0, -1, 'WITHSCORES') end
  out[#out + 1] = key .. ' ' .. kind .. ' ' .. table.concat(value, ' ')
end
return table.concat(out, '\n')`, 0))
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// TestASVS_7_4_1_AReplayedCookieIsRefused: after the sign-out neither the session's cookie nor
// one of an earlier renewal opens anything, on any page, and Redis has no key.
func TestASVS_7_4_1_AReplayedCookieIsRefused(t *testing.T) {
	t.Parallel()
	x := newTarget(t)
	c := x.visitor()
	c.register("alice")
	first := c.session()
	c.wantSeeOther(c.post("/account/sessions/end-others"), "/account?notice=others-ended#sessions")
	second := c.session()
	if x.openTo(first) || !x.openTo(second) {
		t.Error("a renewed session opens with its old cookie, or not with the new one")
	}
	a := c.post("/logout")
	c.wantSeeOther(a, "/login?notice=signed-out")
	if k := c.setCookies(a)[sessionCookie]; k == nil || k.Value != "" || k.MaxAge >= 0 {
		t.Errorf("the sign-out sets %v", a.Cookies())
	}
	for _, cookie := range []string{first, second} {
		v := x.visitor()
		for _, path := range routesOf(http.MethodGet) {
			if a := v.get(path, "Cookie", cookie); strings.Contains(a.body, "alice") {
				t.Errorf("%s shows the user to a replayed cookie", path)
			}
		}
		for _, path := range routesOf(http.MethodPost) {
			if strings.HasPrefix(path, "/account") {
				a := v.do(v.request(http.MethodPost, path, "name=Mallory", "Cookie", cookie, "Content-Type", "application/x-www-form-urlencoded"))
				v.wantSeeOther(a, "/login")
			}
		}
	}
	if keys := x.keys("session:*"); len(keys) > 0 {
		t.Errorf("Redis has %q", keys)
	}
}

// TestASVS_7_4_1_NothingInFlightBringsASessionBack holds each form that changes something while
// its session is ended in each way there is. Neither the cookie that the browser had nor one
// that the late answer sets opens anything afterwards.
func TestASVS_7_4_1_NothingInFlightBringsASessionBack(t *testing.T) {
	t.Parallel()
	x := newTarget(t)
	forms := [][]string{
		{"/account/password", "current_password", password, "new_password", otherPassword + "-2"},
		{"/account/profile", "name", "Late", "time_zone", "UTC"},
		{"/account/sessions/end", "session", strings.Repeat("A", 43)},
		{"/password/strength", "password", "x"},
	}
	ways := []struct {
		name string
		end  func(c, other *client)
		// byHand is for what the server hears of a moment later, by a notification of the database.
		byHand bool
	}{
		{"sign-out", func(c, _ *client) { c.post("/logout") }, false},
		{"sign-in again", func(c, _ *client) { c.signIn("alice") }, false},
		{"ended from the list", func(c, other *client) {
			other.post("/account/sessions/end", "session", strings.TrimPrefix(x.key(c), "session:"))
		}, false},
		{"others ended", func(_, other *client) { other.post("/account/sessions/end-others") }, false},
		{"password changed", func(_, other *client) {
			other.wantSeeOther(other.changePassword(password, otherPassword), "/account?notice=password#password")
		}, false},
		{"disabled by hand", func(*client, *client) {
			x.exec(`UPDATE users SET active = false`)
			x.exec(`UPDATE users SET active = true`)
			x.flushCache()
		}, true},
	}
	for _, way := range ways {
		for _, form := range forms {
			t.Run(way.name+form[0], func(t *testing.T) {
				x.empty()
				c, other := x.visitor(), x.visitor()
				c.register("alice")
				other.signIn("alice")
				held := c.copy(c.base)
				late := x.slow(form[0], c.session(), form[1:]...)

				way.end(c, other)
				if way.byHand {
					testkit.Eventually(t, generous, "the server to hear of it", func() bool { return !x.openTo(held.session()) })
				}
				a := late.finish()

				if a.StatusCode >= 500 {
					t.Errorf("the late form was answered %s\n%s", a.Status, a.body)
				}
				if x.openTo(held.session()) {
					t.Error("the ended session opens the dashboard")
				}
				for _, k := range a.Cookies() {
					if k.Name == sessionCookie && k.Value != "" && x.openTo(k.Name+"="+k.Value) {
						t.Errorf("the late form set the cookie of a living session")
					}
				}
			})
		}
	}
}

// flushCache empties the user cache, which may happen at any time.
func (x *target) flushCache() {
	x.t.Helper()
	if _, err := x.cache.Do("FLUSHDB"); err != nil {
		x.t.Fatal(err)
	}
}

// TestASVS_7_4_1_ASignOutThatCannotBeMadeSaysSo: while Redis is silent, or the user cannot be
// looked up, nobody is told to be signed out whose session is still there.
func TestASVS_7_4_1_ASignOutThatCannotBeMadeSaysSo(t *testing.T) {
	t.Parallel()
	store := testkit.StartRedis(t)
	x := newTarget(t, "REDIS_URL", store.URL())
	c := x.visitor()
	c.register("alice")
	session := c.session()

	store.Pause()
	a := c.post("/logout")
	store.Resume()
	c.want(a, http.StatusServiceUnavailable)
	if len(a.Cookies()) > 0 || c.session() != session {
		t.Errorf("a sign-out that failed sets %v", a.Cookies())
	}
	c.wantSeeOther(c.post("/logout"), "/login?notice=signed-out")
	if x.openTo(session) {
		t.Error("the replayed cookie opens the dashboard")
	}
}

// TestASVS_7_3_2_TheDeadlineHolds: past its deadline a session is dead, also when its key has no
// end or a far one; and no use of it moves the deadline.
func TestASVS_7_3_2_TheDeadlineHolds(t *testing.T) {
	t.Parallel()
	x := newTarget(t)
	c := x.visitor()
	c.register("alice")
	key := x.key(c)
	if left := x.ttl(key); left <= 0 || left > 2*time.Hour {
		t.Errorf("the key lives for %v", left)
	}
	deadline := x.deadline(key)
	if in := time.Until(deadline); in <= 23*time.Hour || in > 24*time.Hour {
		t.Errorf("the deadline is in %v", in)
	}

	x.do("PERSIST", key)
	wantSignedIn(t, c)
	if left := x.ttl(key); left <= 0 || left > 2*time.Hour {
		t.Errorf("the persisted key lives for %v after a request", left)
	}
	c.wantSeeOther(c.post("/account/sessions/end-others"), "/account?notice=others-ended#sessions")
	key = x.key(c)
	if got := x.deadline(key); !got.Equal(deadline) {
		t.Errorf("a renewal moved the deadline from %v to %v", deadline, got)
	}

	for _, make := range [][]any{{"PERSIST", key}, {"PEXPIRE", key, (999 * time.Hour).Milliseconds()}} {
		x.edit(key, map[string]any{"deadline": time.Now().Add(-time.Second)})
		x.do(make[0].(string), make[1:]...)
		wantSignedOut(t, c)
	}
	// Close to the deadline the idle time ends with it.
	x.edit(key, map[string]any{"deadline": time.Now().Add(time.Minute)})
	x.do("PERSIST", key)
	wantSignedIn(t, c)
	if left := x.ttl(key); left <= 0 || left > time.Minute {
		t.Errorf("a minute before the deadline the key lives for %v", left)
	}
}

func (x *target) deadline(key string) time.Time {
	x.t.Helper()
	value, err := redis.Bytes(x.do("GET", key), nil)
	if err != nil {
		x.t.Fatal(err)
	}
	var record auth.Session
	if err := json.Unmarshal(value, &record); err != nil {
		x.t.Fatal(err)
	}
	return record.Deadline
}

// TestASVS_7_3_1_TheIdleTimeRenews: use keeps a session alive, with one small command and only
// once a tenth of the time has passed; without use it ends. What it says is not rewritten.
func TestASVS_7_3_1_TheIdleTimeRenews(t *testing.T) {
	t.Parallel()
	x := newTarget(t)
	for _, test := range []struct {
		remember []string
		idle     time.Duration
	}{{nil, 2 * time.Hour}, {[]string{"remember", "on"}, 336 * time.Hour}} {
		c := x.visitor()
		if x.value(`SELECT count(*) FROM users`) == "0" {
			c.register("alice")
		}
		c.signIn("alice", test.remember...)
		key := x.key(c)
		record, _ := redis.String(x.do("GET", key), nil)
		for _, left := range []time.Duration{test.idle / 2, time.Minute, test.idle * 8 / 10} {
			x.do("PEXPIRE", key, left.Milliseconds())
			wantSignedIn(t, c)
			if got := x.ttl(key); got < test.idle-time.Minute || got > test.idle {
				t.Errorf("with %v left a request made it %v, want %v", left, got, test.idle)
			}
		}
		fresh := test.idle - test.idle/20
		x.do("PEXPIRE", key, fresh.Milliseconds())
		wantSignedIn(t, c)
		if got := x.ttl(key); got > fresh {
			t.Errorf("a fresh session was renewed from %v to %v", fresh, got)
		}
		if now, _ := redis.String(x.do("GET", key), nil); now != record {
			t.Errorf("requests rewrote the record from %s to %s", record, now)
		}
		x.do("PEXPIRE", key, 0)
		wantSignedOut(t, c)
	}
}

// TestASVS_7_4_2_DisabledAndDeletedUsers: a user who is disabled, by the command, or whose row is
// gone, is refused at the next request on every page, whatever was cached a moment ago.
func TestASVS_7_4_2_DisabledAndDeletedUsers(t *testing.T) {
	t.Parallel()
	x := newTarget(t)
	for name, end := range map[string]func(){
		"alice": func() { x.run("", "user", "disable", "alice").wantCode(t, 0) },
		"bob":   func() { x.run("", "user", "logout", "bob").wantCode(t, 0) },
		"carol": func() { x.exec(`DELETE FROM users WHERE username = 'carol'`); x.flushCache() },
	} {
		c, other := x.visitor(), x.visitor()
		c.register(name)
		other.signIn(name, "remember", "on")
		wantSignedIn(t, c, other)
		end()
		wantSignedOut(t, c, other)
		for _, path := range routesOf(http.MethodGet) {
			a := c.get(path)
			if a.StatusCode >= 500 || strings.Contains(a.body, name) {
				t.Errorf("%s: GET %s is %s", name, path, a.Status)
			}
		}
		c.wantSeeOther(c.post("/account/profile", "name", "Mallory", "time_zone", "UTC"), "/login")
	}
}

// TestASVS_7_4_2_CachedInTheMiddleOfAChange: what a request reads of a user while a change waits for
// the database is not what counts once the change is made.
func TestASVS_7_4_2_CachedInTheMiddleOfAChange(t *testing.T) {
	t.Parallel()
	x := newTarget(t)
	c, other := x.visitor(), x.visitor()
	c.register("alice")
	other.signIn("alice")
	lock, err := x.sql.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Rollback()
	if _, err := lock.Exec(`SELECT id FROM users FOR UPDATE`); err != nil {
		t.Fatal(err)
	}
	answers := make(chan error, 1)
	go func() {
		_, err := c.attempt(c.form("/account/sessions/end-others"))
		answers <- err
	}()
	testkit.Eventually(t, 5*time.Second, "the change to wait for the row", func() bool {
		return x.value(`SELECT count(*) FROM pg_locks WHERE NOT granted`) != "0"
	})
	wantSignedIn(t, other)
	if n, err := redis.Int(x.cache.Do("EXISTS", "user:"+x.userID("alice"))); err != nil || n != 1 {
		t.Fatalf("the user is not cached in between: %d, %v", n, err)
	}
	if err := lock.Rollback(); err != nil {
		t.Fatal(err)
	}
	if err := <-answers; err != nil {
		t.Fatal(err)
	}
	wantSignedOut(t, other)
	wantSignedIn(t, c)
}

// TestASVS_7_4_4_SignOutOnEveryPage: every page that a signed-in person sees, errors apart, has the
// button.
func TestASVS_7_4_4_SignOutOnEveryPage(t *testing.T) {
	t.Parallel()
	x := newTarget(t)
	c := x.visitor()
	c.register("alice")
	pages := []answer{
		c.post("/account/profile", "name", strings.Repeat("x", 101)),
		c.changePassword("", ""),
	}
	for _, path := range routesOf(http.MethodGet) {
		pages = append(pages, c.get(path))
	}
	shown := 0
	for _, a := range pages {
		if !strings.HasPrefix(a.Header.Get("Content-Type"), "text/html") {
			continue
		}
		shown++
		if !strings.Contains(a.body, `<form action="/logout" method="post"><button`) {
			t.Errorf("%s has no sign-out", a.Request.URL.Path)
		}
	}
	if shown < 5 {
		t.Errorf("only %d pages were looked at", shown)
	}
}

// TestASVS_7_5_2_OwnSessions: people see their sessions and end them, one or all others; nobody
// sees or ends somebody else's, and the log does not say so.
func TestASVS_7_5_2_OwnSessions(t *testing.T) {
	t.Parallel()
	x := newTarget(t)
	alice, phone, tablet, mallory := x.visitor(), x.visitor(), x.visitor(), x.visitor()
	alice.register("alice")
	phone.signIn("alice")
	tablet.signIn("alice")
	mallory.register("mallory")

	ids := alice.otherSessions()
	if len(ids) != 2 || !slices.Contains(ids, strings.TrimPrefix(x.key(phone), "session:")) {
		t.Fatalf("the list of other sessions is %q", ids)
	}
	if others := mallory.otherSessions(); len(others) != 0 {
		t.Errorf("somebody else sees %q", others)
	}
	for _, id := range []string{ids[0], ids[1], strings.TrimPrefix(x.key(alice), "session:"), "", "*", "../" + ids[0], strings.Repeat("x", 43), alice.cookie(sessionCookie)} {
		mallory.wantSeeOther(mallory.post("/account/sessions/end", "session", id), "/account?notice=session-ended#sessions")
	}
	wantSignedIn(t, alice, phone, tablet, mallory)
	if events := x.events("session ended"); len(events) > 0 {
		t.Errorf("the log tells of ended sessions, and there were none: %v", events)
	}

	alice.wantSeeOther(alice.post("/account/sessions/end", "session", strings.TrimPrefix(x.key(phone), "session:")), "/account?notice=session-ended#sessions")
	wantSignedOut(t, phone)
	wantSignedIn(t, alice, tablet)
	if events := x.events("session ended"); len(events) != 1 {
		t.Errorf("the log has %d ended sessions, want 1", len(events))
	}
	alice.wantSeeOther(alice.post("/account/sessions/end-others"), "/account?notice=others-ended#sessions")
	wantSignedOut(t, tablet)
	wantSignedIn(t, alice, mallory)
	if ids := alice.otherSessions(); len(ids) != 0 {
		t.Errorf("afterwards the list is %q", ids)
	}
	alice.wantSeeOther(alice.post("/account/sessions/end", "session", strings.TrimPrefix(x.key(alice), "session:")), "/login?notice=signed-out")
	wantSignedOut(t, alice)
}

// TestUnreadableSessionsAreAnonymous: whatever stands under a session's key, its owner is a
// visitor who can sign in again with that cookie in the browser; never an error, and never
// somebody else.
func TestUnreadableSessionsAreAnonymous(t *testing.T) {
	t.Parallel()
	x := newTarget(t)
	x.visitor().register("victim")
	victim := x.userID("victim")
	c := x.visitor()
	c.register("alice")
	key := x.key(c)
	whole, _ := redis.String(x.do("GET", key), nil)
	foreign := x.visitor()
	foreign.signIn("victim")
	others, _ := redis.String(x.do("GET", x.key(foreign)), nil)
	with := func(old, new string) string { return strings.Replace(whole, old, new, 1) }
	values := map[string]string{
		"empty": "", "null": "null", "a number": "42", "an array": "[]", "an object": "{}", "text": "garbage", "NUL": "\x00\x00\x00",
		"cut in half": whole[:len(whole)/2], "without its end": whole[:len(whole)-1], "with more after it": whole + "}", "twice": whole + whole,
		"gob":       "\x0e\xff\x81\x02\x01\x02\xff\x82\x00\x01\x0c\x01\x10\x00\x00\x1d\xff\x82\x00",
		"no UTF-8":  with(`"user_agent":"`, "\"user_agent\":\"\xff\xfe"),
		"version 0": with(`"v":1`, `"v":0`), "version 2": with(`"v":1`, `"v":2`), "no version": with(`"v":1,`, ""),
		"no epoch": with(`"epoch":1,`, ""), "epoch null": with(`"epoch":1`, `"epoch":null`), "a negative epoch": with(`"epoch":1`, `"epoch":-1`),
		"a future epoch": with(`"epoch":1`, `"epoch":2`), "epoch as text": with(`"epoch":1`, `"epoch":"1"`), "a huge epoch": with(`"epoch":1`, `"epoch":9223372036854775808`),
		"no user": with(x.userID("alice"), ""), "a user that is no id": with(x.userID("alice"), "alice"), "SQL for a user": with(x.userID("alice"), "' OR 1=1 --"),
		"an unknown user": with(x.userID("alice"), "0190c5b0-0000-7000-8000-000000000000"), "no deadline": with(`"deadline":"2`, `"x":"2`),
		"a deadline of text": with(`"deadline":"2`, `"deadline":"x2`), "no idle time": with(`"idle_seconds":7200`, `"idle_seconds":0`),
		"a negative idle time": with(`"idle_seconds":7200`, `"idle_seconds":-7200`), "endless idle time": with(`"idle_seconds":7200`, `"idle_seconds":9223372036854775807`),
		"another's record": others, "megabytes": with(`"user_agent":"`, `"user_agent":"`+strings.Repeat("x", 2<<20)), "deep": strings.Repeat("[", 100_000),
	}
	for what, value := range values {
		if value == whole {
			t.Fatalf("%s: the record was not changed: %s", what, whole)
		}
		x.do("SET", key, value, "PX", 60_000)
		x.wantUnreadable(c, what, victim)
	}
	for _, make := range [][]any{{"LPUSH", key, "x"}, {"HSET", key, "v", "1"}, {"SADD", key, "x"}, {"ZADD", key, 1, "x"}, {"XADD", key, "*", "a", "b"}} {
		x.do("DEL", key)
		x.do(make[0].(string), make[1:]...)
		x.wantUnreadable(c, fmt.Sprint(make[0]), victim)
	}
	x.do("SET", key, whole, "PX", 60_000)
	wantSignedIn(t, c) // the record itself was fine all the time
}

func (x *target) wantUnreadable(c *client, what, victim string) {
	x.t.Helper()
	for _, path := range []string{"/", "/login", "/register"} {
		if a := c.get(path); a.StatusCode != http.StatusOK {
			x.t.Errorf("with %s, GET %s is %s to %q", what, path, a.Status, a.Header.Get("Location"))
		}
	}
	for _, path := range []string{"/dashboard", "/account"} {
		if a := c.get(path); a.StatusCode != http.StatusSeeOther || strings.Contains(a.body, victim) {
			x.t.Errorf("with %s, GET %s is %s", what, path, a.Status)
		}
	}
	again := c.copy(c.base)
	again.signIn("alice")
	if !again.signedIn() {
		x.t.Errorf("with %s, a sign-in does not help", what)
	}
}

// TestUnreadableCacheAndIndex: what is cached of a user, and the list of sessions, may be damaged
// or mixed up without anybody noticing, least of all as somebody else.
func TestUnreadableCacheAndIndex(t *testing.T) {
	t.Parallel()
	x := newTarget(t)
	victim, c := x.visitor(), x.visitor()
	victim.register("victim")
	wantSignedIn(t, victim)
	c.register("alice")
	wantSignedIn(t, c)
	cached := "user:" + x.userID("alice")
	others, err := redis.String(x.cache.Do("GET", "user:"+x.userID("victim")))
	if err != nil {
		t.Fatal(err)
	}
	for _, write := range [][]any{
		{"SET", cached, ""}, {"SET", cached, "null"}, {"SET", cached, "{}"}, {"SET", cached, "garbage"}, {"SET", cached, others}, {"SET", cached, "\xff\xfe"},
		{"SET", cached, `{"v":1,"id":"` + x.userID("alice") + `","username":"root"}`}, {"SET", cached, "lease:"}, {"LPUSH", cached, "x"}, {"HSET", cached, "a", "b"},
	} {
		if _, err := x.cache.Do("DEL", cached); err != nil {
			t.Fatal(err)
		}
		if _, err := x.cache.Do(write[0].(string), write[1:]...); err != nil {
			t.Fatal(err)
		}
		a := c.get("/dashboard")
		if a.StatusCode != http.StatusOK || !strings.Contains(a.body, `id="user-name">alice<`) {
			t.Errorf("with %v cached, the dashboard is %s", write, a.Status)
		}
	}
	index := "sessions:" + x.userID("alice")
	for _, write := range [][]any{
		{"SET", index, "x"}, {"LPUSH", index, "x"}, {"HSET", index, "a", "b"},
		{"ZADD", index, "1", "x", "inf", "y", "-inf", strings.Repeat("z", 10_000), "5", strings.TrimPrefix(x.key(victim), "session:")},
	} {
		x.do("DEL", index)
		x.do(write[0].(string), write[1:]...)
		a := c.get("/account")
		if a.StatusCode != http.StatusOK || strings.Contains(a.body, strings.TrimPrefix(x.key(victim), "session:")) {
			t.Errorf("with the index %.60v, the account page is %s", write, a.Status)
		}
		other := x.visitor()
		other.signIn("alice")
		wantSignedIn(t, other)
	}
}

// TestConcurrentPasswordChanges: of many changes at once with one session a single one is made:
// one new password, one session.
func TestConcurrentPasswordChanges(t *testing.T) {
	t.Parallel()
	x := newTarget(t)
	c := x.visitor()
	c.register("alice")
	copies := make([]*client, 12)
	for i := range copies {
		copies[i] = c.copy(c.base)
	}
	answers := atOnce(t, len(copies), func(i int) (answer, error) {
		return copies[i].attempt(copies[i].form("/account/password", "current_password", password, "new_password", fmt.Sprintf("%s-%d", otherPassword, i)))
	})
	var made []int
	for i, a := range answers {
		if a.StatusCode == http.StatusSeeOther && strings.HasPrefix(a.Header.Get("Location"), "/account?") {
			made = append(made, i)
		}
		if a.StatusCode >= 500 && a.StatusCode != http.StatusServiceUnavailable {
			t.Errorf("a change: %s\n%s", a.Status, a.body)
		}
	}
	if events := len(x.events("password changed")); len(made) != 1 || events != 1 {
		t.Fatalf("%d changes were made, and the log has %d", len(made), events)
	}
	for i, copied := range copies {
		if a := x.guess("alice", fmt.Sprintf("%s-%d", otherPassword, i)); (a.StatusCode == http.StatusSeeOther) != (i == made[0]) {
			t.Errorf("password %d, and number %d was set: %s", i, made[0], a.Status)
		}
		x.forgetThrottles()
		if copied.signedIn() != (i == made[0]) {
			t.Errorf("session %d, and number %d changed the password", i, made[0])
		}
	}
}
