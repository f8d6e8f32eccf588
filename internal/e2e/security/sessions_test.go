package security

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
	"gatehouse/internal/e2e/kit"
	"gatehouse/internal/testkit"
)

// edit changes fields of a session's record and leaves the key's time as it is.
func edit(x *kit.Target, key string, change map[string]any) {
	x.T.Helper()
	value, err := redis.Bytes(x.Do("GET", key), nil)
	if err != nil {
		x.T.Fatal(err)
	}
	var record map[string]any
	if err := json.Unmarshal(value, &record); err != nil {
		x.T.Fatal(err)
	}
	maps.Copy(record, change)
	if value, err = json.Marshal(record); err != nil {
		x.T.Fatal(err)
	}
	x.Do("SET", key, value, "KEEPTTL")
}

// TestASVS_7_2_4_NewCookieAtSignIn: every sign-in makes a new session and ends the one that the
// browser had, somebody else's too.
func TestASVS_7_2_4_NewCookieAtSignIn(t *testing.T) {
	t.Parallel()
	x := kit.NewTarget(t)
	x.NewClient().Register("bob")
	c := x.NewClient()
	c.Register("alice")
	for _, name := range []string{"alice", "bob", "alice"} {
		before, key := c.CopySession(c.BaseURL), x.SessionKey(c)
		c.SignIn(name)
		if c.Cookie(kit.SessionCookie) == before.Cookie(kit.SessionCookie) || x.SessionKey(c) == key {
			t.Errorf("signing in as %s kept the cookie", name)
		}
		if x.Int("EXISTS", key) != 0 {
			t.Errorf("signing in as %s kept the old key", name)
		}
		kit.WantSignedOut(t, before)
		kit.WantSignedIn(t, c)
	}
}

// TestASVS_7_2_4_NothingPlantedIsAdopted: whoever knows the cookie that a browser had before
// the sign-in or the registration knows nothing afterwards.
func TestASVS_7_2_4_NothingPlantedIsAdopted(t *testing.T) {
	t.Parallel()
	x := kit.NewTarget(t)
	for i, path := range []string{"/register", "/login"} {
		planted := strings.Repeat(string(rune('A'+i)), 43)
		c := x.NewClient()
		c.SetCookie(kit.SessionCookie, planted)
		c.WantSeeOther(c.PostForm(path, "username", "alice", "password", kit.Password), "/dashboard")
		if c.Cookie(kit.SessionCookie) == planted {
			t.Errorf("%s adopted the planted cookie", path)
		}
		if x.CookieOpensDashboard(kit.SessionCookie + "=" + planted) {
			t.Errorf("after %s the planted cookie opens the dashboard", path)
		}
	}
}

// TestASVS_7_2_3_SessionsAreRandom: the value is 32 octets; over some hundred of them no
// bit stands still, and none comes twice.
func TestASVS_7_2_3_SessionsAreRandom(t *testing.T) {
	t.Parallel()
	x := kit.NewTarget(t)
	c := x.NewClient()
	c.Register("alice")
	const n = 64
	seen := map[string]bool{}
	var ones [256]int
	for range n {
		// A renewed session costs no password hash.
		c.WantSeeOther(c.PostForm("/account/sessions/end-others"), "/account?notice=others-ended#sessions")
		value := c.Cookie(kit.SessionCookie)
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
	x := kit.NewTarget(t)
	c := x.NewClient()
	c.Register("alice")
	id := strings.TrimPrefix(x.SessionKey(c), "session:")
	before := x.Snapshot()
	for _, value := range []string{
		strings.Repeat("A", 43), strings.Repeat("A", 42), strings.Repeat("A", 44), "x", "null", "0", "*", id, "session:" + id, c.Cookie(kit.SessionCookie) + "=",
		c.Cookie(kit.SessionCookie)[:42], strings.ToLower(c.Cookie(kit.SessionCookie)), strings.ToUpper(c.Cookie(kit.SessionCookie)), c.Cookie(kit.SessionCookie) + "\x00"[:0] + "%00",
		strings.Repeat("x", 8000), "../" + id, x.UserID("alice"), "{}", "..........................................*", "\"" + id + "\"",
	} {
		v := x.NewClient()
		for _, path := range []string{"/", "/login", "/dashboard", "/account"} {
			a := v.Get(path, "Cookie", kit.SessionCookie+"="+value)
			if a.StatusCode >= 400 || len(a.Cookies()) > 0 || strings.Contains(a.Text, "alice") {
				t.Errorf("%s with the cookie %.60q: %s, cookies %v", path, value, a.Status, a.Cookies())
			}
		}
		if x.CookieOpensDashboard(kit.SessionCookie + "=" + value) {
			t.Errorf("the cookie %.60q opens the dashboard", value)
		}
	}
	if after := x.Snapshot(); after != before {
		t.Errorf("the stores were\n%s\nand are\n%s", before, after)
	}
}

// TestNothingSecretAtRest: what a thief of Redis or Postgres finds opens nothing: neither
// cookie values nor passwords are stored.
func TestNothingSecretAtRest(t *testing.T) {
	t.Parallel()
	x := kit.NewTarget(t)
	c := x.NewClient()
	c.Register("alice")
	c.WantSeeOther(c.ChangePassword(kit.Password, kit.OtherPassword), "/account?notice=password#password")
	c.Get("/dashboard")
	x.GuessPassword("alice", "guessed-"+kit.Password)
	stored := x.QueryValue(`SELECT string_agg(users::text, ' ') FROM users`)
	for _, conn := range []redis.Conn{x.Sessions, x.Cache} {
		stored += everything(t, conn)
	}
	for _, secret := range []string{c.Cookie(kit.SessionCookie), c.Cookie(kit.SessionCookie + "_browser"), kit.Password, kit.OtherPassword, kit.SecretKey} {
		if strings.Contains(stored, secret) {
			t.Errorf("%q is stored:\n%s", secret, stored)
		}
	}
	if hash := x.QueryValue(`SELECT password_hash FROM users`); strings.Contains(everything(t, x.Cache)+everything(t, x.Sessions), hash) {
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
	x := kit.NewTarget(t)
	c := x.NewClient()
	c.Register("alice")
	first := c.SessionCookieHeader()
	c.WantSeeOther(c.PostForm("/account/sessions/end-others"), "/account?notice=others-ended#sessions")
	second := c.SessionCookieHeader()
	if x.CookieOpensDashboard(first) || !x.CookieOpensDashboard(second) {
		t.Error("a renewed session opens with its old cookie, or not with the new one")
	}
	a := c.PostForm("/logout")
	c.WantSeeOther(a, "/login?notice=signed-out")
	if k := c.CookiesOf(a)[kit.SessionCookie]; k == nil || k.Value != "" || k.MaxAge >= 0 {
		t.Errorf("the sign-out sets %v", a.Cookies())
	}
	for _, cookie := range []string{first, second} {
		v := x.NewClient()
		for _, path := range kit.RoutePaths(http.MethodGet) {
			if a := v.Get(path, "Cookie", cookie); strings.Contains(a.Text, "alice") {
				t.Errorf("%s shows the user to a replayed cookie", path)
			}
		}
		for _, path := range kit.RoutePaths(http.MethodPost) {
			if strings.HasPrefix(path, "/account") {
				a := v.Do(v.NewRequest(http.MethodPost, path, "name=Mallory", "Cookie", cookie, "Content-Type", "application/x-www-form-urlencoded"))
				v.WantSeeOther(a, "/login")
			}
		}
	}
	if keys := x.Keys("session:*"); len(keys) > 0 {
		t.Errorf("Redis has %q", keys)
	}
}

// TestASVS_7_4_1_NothingInFlightBringsASessionBack holds each form that changes something while
// its session is ended in each way there is. Neither the cookie that the browser had nor one
// that the late answer sets opens anything afterwards.
func TestASVS_7_4_1_NothingInFlightBringsASessionBack(t *testing.T) {
	t.Parallel()
	x := kit.NewTarget(t)
	forms := [][]string{
		{"/account/password", "current_password", kit.Password, "new_password", kit.OtherPassword + "-2"},
		{"/account/profile", "name", "Late", "time_zone", "UTC"},
		{"/account/sessions/end", "session", strings.Repeat("A", 43)},
		{"/password/strength", "password", "x"},
	}
	ways := []struct {
		name string
		end  func(c, other *kit.Client)
		// byHand is for what the server hears of a moment later, by a notification of the database.
		byHand bool
	}{
		{"sign-out", func(c, _ *kit.Client) { c.PostForm("/logout") }, false},
		{"sign-in again", func(c, _ *kit.Client) { c.SignIn("alice") }, false},
		{"ended from the list", func(c, other *kit.Client) {
			other.PostForm("/account/sessions/end", "session", strings.TrimPrefix(x.SessionKey(c), "session:"))
		}, false},
		{"others ended", func(_, other *kit.Client) { other.PostForm("/account/sessions/end-others") }, false},
		{"password changed", func(_, other *kit.Client) {
			other.WantSeeOther(other.ChangePassword(kit.Password, kit.OtherPassword), "/account?notice=password#password")
		}, false},
		{"disabled by hand", func(*kit.Client, *kit.Client) {
			x.Exec(`UPDATE users SET active = false`)
			x.Exec(`UPDATE users SET active = true`)
			x.FlushCache()
		}, true},
	}
	for _, way := range ways {
		for _, form := range forms {
			t.Run(way.name+form[0], func(t *testing.T) {
				x.Reset()
				c, other := x.NewClient(), x.NewClient()
				c.Register("alice")
				other.SignIn("alice")
				held := c.CopySession(c.BaseURL)
				late := x.HoldForm(form[0], c.SessionCookieHeader(), form[1:]...)

				way.end(c, other)
				if way.byHand {
					testkit.Eventually(t, kit.WaitTimeout, "the server to hear of it", func() bool { return !x.CookieOpensDashboard(held.SessionCookieHeader()) })
				}
				a := late.Finish()

				if a.StatusCode >= 500 {
					t.Errorf("the late form was answered %s\n%s", a.Status, a.Text)
				}
				if x.CookieOpensDashboard(held.SessionCookieHeader()) {
					t.Error("the ended session opens the dashboard")
				}
				for _, k := range a.Cookies() {
					if k.Name == kit.SessionCookie && k.Value != "" && x.CookieOpensDashboard(k.Name+"="+k.Value) {
						t.Errorf("the late form set the cookie of a living session")
					}
				}
			})
		}
	}
}

// TestASVS_7_4_1_ASignOutThatCannotBeMadeSaysSo: while Redis is silent, or the user cannot be
// looked up, nobody is told to be signed out whose session is still there.
func TestASVS_7_4_1_ASignOutThatCannotBeMadeSaysSo(t *testing.T) {
	t.Parallel()
	store := testkit.StartRedis(t)
	x := kit.NewTarget(t, "REDIS_URL", store.URL())
	c := x.NewClient()
	c.Register("alice")
	session := c.SessionCookieHeader()

	store.Pause()
	a := c.PostForm("/logout")
	store.Resume()
	c.WantStatus(a, http.StatusServiceUnavailable)
	if len(a.Cookies()) > 0 || c.SessionCookieHeader() != session {
		t.Errorf("a sign-out that failed sets %v", a.Cookies())
	}
	c.WantSeeOther(c.PostForm("/logout"), "/login?notice=signed-out")
	if x.CookieOpensDashboard(session) {
		t.Error("the replayed cookie opens the dashboard")
	}
}

// TestASVS_7_3_2_TheDeadlineHolds: past its deadline a session is dead, also when its key has no
// end or a far one; and no use of it moves the deadline.
func TestASVS_7_3_2_TheDeadlineHolds(t *testing.T) {
	t.Parallel()
	x := kit.NewTarget(t)
	c := x.NewClient()
	c.Register("alice")
	key := x.SessionKey(c)
	if left := x.TTL(key); left <= 0 || left > 2*time.Hour {
		t.Errorf("the key lives for %v", left)
	}
	deadline := sessionDeadline(x, key)
	if in := time.Until(deadline); in <= 23*time.Hour || in > 24*time.Hour {
		t.Errorf("the deadline is in %v", in)
	}

	x.Do("PERSIST", key)
	kit.WantSignedIn(t, c)
	if left := x.TTL(key); left <= 0 || left > 2*time.Hour {
		t.Errorf("the persisted key lives for %v after a request", left)
	}
	c.WantSeeOther(c.PostForm("/account/sessions/end-others"), "/account?notice=others-ended#sessions")
	key = x.SessionKey(c)
	if got := sessionDeadline(x, key); !got.Equal(deadline) {
		t.Errorf("a renewal moved the deadline from %v to %v", deadline, got)
	}

	for _, make := range [][]any{{"PERSIST", key}, {"PEXPIRE", key, (999 * time.Hour).Milliseconds()}} {
		edit(x, key, map[string]any{"deadline": time.Now().Add(-time.Second)})
		x.Do(make[0].(string), make[1:]...)
		kit.WantSignedOut(t, c)
	}
	// Close to the deadline the idle time ends with it.
	edit(x, key, map[string]any{"deadline": time.Now().Add(time.Minute)})
	x.Do("PERSIST", key)
	kit.WantSignedIn(t, c)
	if left := x.TTL(key); left <= 0 || left > time.Minute {
		t.Errorf("a minute before the deadline the key lives for %v", left)
	}
}

func sessionDeadline(x *kit.Target, key string) time.Time {
	x.T.Helper()
	value, err := redis.Bytes(x.Do("GET", key), nil)
	if err != nil {
		x.T.Fatal(err)
	}
	var record auth.Session
	if err := json.Unmarshal(value, &record); err != nil {
		x.T.Fatal(err)
	}
	return record.Deadline
}

// TestASVS_7_3_1_TheIdleTimeRenews: use keeps a session alive, with one small command and only
// once a tenth of the time has passed; without use it ends. What it says is not rewritten.
func TestASVS_7_3_1_TheIdleTimeRenews(t *testing.T) {
	t.Parallel()
	x := kit.NewTarget(t)
	for _, test := range []struct {
		remember []string
		idle     time.Duration
	}{{nil, 2 * time.Hour}, {[]string{"remember", "on"}, 336 * time.Hour}} {
		c := x.NewClient()
		if x.QueryValue(`SELECT count(*) FROM users`) == "0" {
			c.Register("alice")
		}
		c.SignIn("alice", test.remember...)
		key := x.SessionKey(c)
		record, _ := redis.String(x.Do("GET", key), nil)
		for _, left := range []time.Duration{test.idle / 2, time.Minute, test.idle * 8 / 10} {
			x.Do("PEXPIRE", key, left.Milliseconds())
			kit.WantSignedIn(t, c)
			if got := x.TTL(key); got < test.idle-time.Minute || got > test.idle {
				t.Errorf("with %v left a request made it %v, want %v", left, got, test.idle)
			}
		}
		fresh := test.idle - test.idle/20
		x.Do("PEXPIRE", key, fresh.Milliseconds())
		kit.WantSignedIn(t, c)
		if got := x.TTL(key); got > fresh {
			t.Errorf("a fresh session was renewed from %v to %v", fresh, got)
		}
		if now, _ := redis.String(x.Do("GET", key), nil); now != record {
			t.Errorf("requests rewrote the record from %s to %s", record, now)
		}
		x.Do("PEXPIRE", key, 0)
		kit.WantSignedOut(t, c)
	}
}

// TestASVS_7_4_2_DisabledAndDeletedUsers: a user who is disabled, by the command, or whose row is
// gone, is refused at the next request on every page, whatever was cached a moment ago.
func TestASVS_7_4_2_DisabledAndDeletedUsers(t *testing.T) {
	t.Parallel()
	x := kit.NewTarget(t)
	for name, end := range map[string]func(){
		"alice": func() { x.Run("", "user", "disable", "alice").WantCode(t, 0) },
		"bob":   func() { x.Run("", "user", "logout", "bob").WantCode(t, 0) },
		"carol": func() { x.Exec(`DELETE FROM users WHERE username = 'carol'`); x.FlushCache() },
	} {
		c, other := x.NewClient(), x.NewClient()
		c.Register(name)
		other.SignIn(name, "remember", "on")
		kit.WantSignedIn(t, c, other)
		end()
		kit.WantSignedOut(t, c, other)
		for _, path := range kit.RoutePaths(http.MethodGet) {
			a := c.Get(path)
			if a.StatusCode >= 500 || strings.Contains(a.Text, name) {
				t.Errorf("%s: GET %s is %s", name, path, a.Status)
			}
		}
		c.WantSeeOther(c.PostForm("/account/profile", "name", "Mallory", "time_zone", "UTC"), "/login")
	}
}

// TestASVS_7_4_2_CachedInTheMiddleOfAChange: what a request reads of a user while a change waits for
// the database is not what counts once the change is made.
func TestASVS_7_4_2_CachedInTheMiddleOfAChange(t *testing.T) {
	t.Parallel()
	x := kit.NewTarget(t)
	c, other := x.NewClient(), x.NewClient()
	c.Register("alice")
	other.SignIn("alice")
	lock, err := x.DB.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Rollback()
	if _, err := lock.Exec(`SELECT id FROM users FOR UPDATE`); err != nil {
		t.Fatal(err)
	}
	answers := make(chan error, 1)
	go func() {
		_, err := c.TryDo(c.NewForm("/account/sessions/end-others"))
		answers <- err
	}()
	testkit.Eventually(t, 5*time.Second, "the change to wait for the row", func() bool {
		return x.QueryValue(`SELECT count(*) FROM pg_locks WHERE NOT granted`) != "0"
	})
	kit.WantSignedIn(t, other)
	if n, err := redis.Int(x.Cache.Do("EXISTS", "user:"+x.UserID("alice"))); err != nil || n != 1 {
		t.Fatalf("the user is not cached in between: %d, %v", n, err)
	}
	if err := lock.Rollback(); err != nil {
		t.Fatal(err)
	}
	if err := <-answers; err != nil {
		t.Fatal(err)
	}
	kit.WantSignedOut(t, other)
	kit.WantSignedIn(t, c)
}

// TestASVS_7_4_4_SignOutOnEveryPage: every page that a signed-in person sees, errors apart, has the
// button.
func TestASVS_7_4_4_SignOutOnEveryPage(t *testing.T) {
	t.Parallel()
	x := kit.NewTarget(t)
	c := x.NewClient()
	c.Register("alice")
	pages := []kit.Response{
		c.PostForm("/account/profile", "name", strings.Repeat("x", 101)),
		c.ChangePassword("", ""),
	}
	for _, path := range kit.RoutePaths(http.MethodGet) {
		pages = append(pages, c.Get(path))
	}
	shown := 0
	for _, a := range pages {
		if !strings.HasPrefix(a.Header.Get("Content-Type"), "text/html") {
			continue
		}
		shown++
		if !strings.Contains(a.Text, `<form action="/logout" method="post"><button`) {
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
	x := kit.NewTarget(t)
	alice, phone, tablet, mallory := x.NewClient(), x.NewClient(), x.NewClient(), x.NewClient()
	alice.Register("alice")
	phone.SignIn("alice")
	tablet.SignIn("alice")
	mallory.Register("mallory")

	ids := alice.OtherSessionIDs()
	if len(ids) != 2 || !slices.Contains(ids, strings.TrimPrefix(x.SessionKey(phone), "session:")) {
		t.Fatalf("the list of other sessions is %q", ids)
	}
	if others := mallory.OtherSessionIDs(); len(others) != 0 {
		t.Errorf("somebody else sees %q", others)
	}
	for _, id := range []string{ids[0], ids[1], strings.TrimPrefix(x.SessionKey(alice), "session:"), "", "*", "../" + ids[0], strings.Repeat("x", 43), alice.Cookie(kit.SessionCookie)} {
		mallory.WantSeeOther(mallory.PostForm("/account/sessions/end", "session", id), "/account?notice=session-ended#sessions")
	}
	kit.WantSignedIn(t, alice, phone, tablet, mallory)
	if events := x.Events("session ended"); len(events) > 0 {
		t.Errorf("the log tells of ended sessions, and there were none: %v", events)
	}

	alice.WantSeeOther(alice.PostForm("/account/sessions/end", "session", strings.TrimPrefix(x.SessionKey(phone), "session:")), "/account?notice=session-ended#sessions")
	kit.WantSignedOut(t, phone)
	kit.WantSignedIn(t, alice, tablet)
	if events := x.Events("session ended"); len(events) != 1 {
		t.Errorf("the log has %d ended sessions, want 1", len(events))
	}
	alice.WantSeeOther(alice.PostForm("/account/sessions/end-others"), "/account?notice=others-ended#sessions")
	kit.WantSignedOut(t, tablet)
	kit.WantSignedIn(t, alice, mallory)
	if ids := alice.OtherSessionIDs(); len(ids) != 0 {
		t.Errorf("afterwards the list is %q", ids)
	}
	alice.WantSeeOther(alice.PostForm("/account/sessions/end", "session", strings.TrimPrefix(x.SessionKey(alice), "session:")), "/login?notice=signed-out")
	kit.WantSignedOut(t, alice)
}

// TestUnreadableSessionsAreAnonymous: whatever stands under a session's key, its owner is a
// visitor who can sign in again with that cookie in the browser; never an error, and never
// somebody else.
func TestUnreadableSessionsAreAnonymous(t *testing.T) {
	t.Parallel()
	x := kit.NewTarget(t)
	x.NewClient().Register("victim")
	victim := x.UserID("victim")
	c := x.NewClient()
	c.Register("alice")
	key := x.SessionKey(c)
	whole, _ := redis.String(x.Do("GET", key), nil)
	foreign := x.NewClient()
	foreign.SignIn("victim")
	others, _ := redis.String(x.Do("GET", x.SessionKey(foreign)), nil)
	with := func(old, new string) string { return strings.Replace(whole, old, new, 1) }
	values := map[string]string{
		"empty": "", "null": "null", "a number": "42", "an array": "[]", "an object": "{}", "text": "garbage", "NUL": "\x00\x00\x00",
		"cut in half": whole[:len(whole)/2], "without its end": whole[:len(whole)-1], "with more after it": whole + "}", "twice": whole + whole,
		"gob":       "\x0e\xff\x81\x02\x01\x02\xff\x82\x00\x01\x0c\x01\x10\x00\x00\x1d\xff\x82\x00",
		"no UTF-8":  with(`"user_agent":"`, "\"user_agent\":\"\xff\xfe"),
		"version 0": with(`"v":1`, `"v":0`), "version 2": with(`"v":1`, `"v":2`), "no version": with(`"v":1,`, ""),
		"no epoch": with(`"epoch":1,`, ""), "epoch null": with(`"epoch":1`, `"epoch":null`), "a negative epoch": with(`"epoch":1`, `"epoch":-1`),
		"a future epoch": with(`"epoch":1`, `"epoch":2`), "epoch as text": with(`"epoch":1`, `"epoch":"1"`), "a huge epoch": with(`"epoch":1`, `"epoch":9223372036854775808`),
		"no user": with(x.UserID("alice"), ""), "a user that is no id": with(x.UserID("alice"), "alice"), "SQL for a user": with(x.UserID("alice"), "' OR 1=1 --"),
		"an unknown user": with(x.UserID("alice"), "0190c5b0-0000-7000-8000-000000000000"), "no deadline": with(`"deadline":"2`, `"x":"2`),
		"a deadline of text": with(`"deadline":"2`, `"deadline":"x2`), "no idle time": with(`"idle_seconds":7200`, `"idle_seconds":0`),
		"a negative idle time": with(`"idle_seconds":7200`, `"idle_seconds":-7200`), "endless idle time": with(`"idle_seconds":7200`, `"idle_seconds":9223372036854775807`),
		"another's record": others, "megabytes": with(`"user_agent":"`, `"user_agent":"`+strings.Repeat("x", 2<<20)), "deep": strings.Repeat("[", 100_000),
	}
	for what, value := range values {
		if value == whole {
			t.Fatalf("%s: the record was not changed: %s", what, whole)
		}
		x.Do("SET", key, value, "PX", 60_000)
		wantUnreadable(x, c, what, victim)
	}
	for _, make := range [][]any{{"LPUSH", key, "x"}, {"HSET", key, "v", "1"}, {"SADD", key, "x"}, {"ZADD", key, 1, "x"}, {"XADD", key, "*", "a", "b"}} {
		x.Do("DEL", key)
		x.Do(make[0].(string), make[1:]...)
		wantUnreadable(x, c, fmt.Sprint(make[0]), victim)
	}
	x.Do("SET", key, whole, "PX", 60_000)
	kit.WantSignedIn(t, c) // the record itself was fine all the time
}

func wantUnreadable(x *kit.Target, c *kit.Client, what, victim string) {
	x.T.Helper()
	for _, path := range []string{"/", "/login", "/register"} {
		if a := c.Get(path); a.StatusCode != http.StatusOK {
			x.T.Errorf("with %s, GET %s is %s to %q", what, path, a.Status, a.Header.Get("Location"))
		}
	}
	for _, path := range []string{"/dashboard", "/account"} {
		if a := c.Get(path); a.StatusCode != http.StatusSeeOther || strings.Contains(a.Text, victim) {
			x.T.Errorf("with %s, GET %s is %s", what, path, a.Status)
		}
	}
	again := c.CopySession(c.BaseURL)
	again.SignIn("alice")
	if !again.IsSignedIn() {
		x.T.Errorf("with %s, a sign-in does not help", what)
	}
}

// TestUnreadableCacheAndIndex: what is cached of a user, and the list of sessions, may be damaged
// or mixed up without anybody noticing, least of all as somebody else.
func TestUnreadableCacheAndIndex(t *testing.T) {
	t.Parallel()
	x := kit.NewTarget(t)
	victim, c := x.NewClient(), x.NewClient()
	victim.Register("victim")
	kit.WantSignedIn(t, victim)
	c.Register("alice")
	kit.WantSignedIn(t, c)
	cached := "user:" + x.UserID("alice")
	others, err := redis.String(x.Cache.Do("GET", "user:"+x.UserID("victim")))
	if err != nil {
		t.Fatal(err)
	}
	for _, write := range [][]any{
		{"SET", cached, ""}, {"SET", cached, "null"}, {"SET", cached, "{}"}, {"SET", cached, "garbage"}, {"SET", cached, others}, {"SET", cached, "\xff\xfe"},
		{"SET", cached, `{"v":1,"id":"` + x.UserID("alice") + `","username":"root"}`}, {"SET", cached, "lease:"}, {"LPUSH", cached, "x"}, {"HSET", cached, "a", "b"},
	} {
		if _, err := x.Cache.Do("DEL", cached); err != nil {
			t.Fatal(err)
		}
		if _, err := x.Cache.Do(write[0].(string), write[1:]...); err != nil {
			t.Fatal(err)
		}
		a := c.Get("/dashboard")
		if a.StatusCode != http.StatusOK || !strings.Contains(a.Text, `id="user-name">alice<`) {
			t.Errorf("with %v cached, the dashboard is %s", write, a.Status)
		}
	}
	index := "sessions:" + x.UserID("alice")
	for _, write := range [][]any{
		{"SET", index, "x"}, {"LPUSH", index, "x"}, {"HSET", index, "a", "b"},
		{"ZADD", index, "1", "x", "inf", "y", "-inf", strings.Repeat("z", 10_000), "5", strings.TrimPrefix(x.SessionKey(victim), "session:")},
	} {
		x.Do("DEL", index)
		x.Do(write[0].(string), write[1:]...)
		a := c.Get("/account")
		if a.StatusCode != http.StatusOK || strings.Contains(a.Text, strings.TrimPrefix(x.SessionKey(victim), "session:")) {
			t.Errorf("with the index %.60v, the account page is %s", write, a.Status)
		}
		other := x.NewClient()
		other.SignIn("alice")
		kit.WantSignedIn(t, other)
	}
}

// TestConcurrentPasswordChanges: of many changes at once with one session a single one is made:
// one new password, one session.
func TestConcurrentPasswordChanges(t *testing.T) {
	t.Parallel()
	x := kit.NewTarget(t)
	c := x.NewClient()
	c.Register("alice")
	copies := make([]*kit.Client, 12)
	for i := range copies {
		copies[i] = c.CopySession(c.BaseURL)
	}
	answers := kit.RunConcurrently(t, len(copies), func(i int) (kit.Response, error) {
		return copies[i].TryDo(copies[i].NewForm("/account/password", "current_password", kit.Password, "new_password", fmt.Sprintf("%s-%d", kit.OtherPassword, i)))
	})
	var made []int
	for i, a := range answers {
		if a.StatusCode == http.StatusSeeOther && strings.HasPrefix(a.Header.Get("Location"), "/account?") {
			made = append(made, i)
		}
		if a.StatusCode >= 500 && a.StatusCode != http.StatusServiceUnavailable {
			t.Errorf("a change: %s\n%s", a.Status, a.Text)
		}
	}
	if events := len(x.Events("password changed")); len(made) != 1 || events != 1 {
		t.Fatalf("%d changes were made, and the log has %d", len(made), events)
	}
	for i, copied := range copies {
		if a := x.GuessPassword("alice", fmt.Sprintf("%s-%d", kit.OtherPassword, i)); (a.StatusCode == http.StatusSeeOther) != (i == made[0]) {
			t.Errorf("password %d, and number %d was set: %s", i, made[0], a.Status)
		}
		x.ClearThrottles()
		if copied.IsSignedIn() != (i == made[0]) {
			t.Errorf("session %d, and number %d changed the password", i, made[0])
		}
	}
}
