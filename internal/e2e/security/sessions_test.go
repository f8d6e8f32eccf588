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

// editSession changes fields of a session's record and keeps the key's TTL.
func editSession(x *kit.Target, key string, change map[string]any) {
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

// TestASVS_7_2_4_NewCookieAtSignIn: every sign-in creates a new session and ends the browser's previous one, even that
// of another user.
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

// TestASVS_7_2_4_SessionFixation: a cookie that the browser had before the sign-in or registration is invalid afterwards.
func TestASVS_7_2_4_SessionFixation(t *testing.T) {
	t.Parallel()
	x := kit.NewTarget(t)
	for i, path := range []string{"/register", "/login"} {
		planted := strings.Repeat(string(rune('A'+i)), 43)
		c := x.NewClient()
		c.SetCookie(kit.SessionCookie, planted)
		c.WantSeeOther(c.PostForm(path, "username", "alice", "password", kit.Password), []string{"/dashboard?notice=welcome", "/dashboard"}[i])
		if c.Cookie(kit.SessionCookie) == planted {
			t.Errorf("%s adopted the planted cookie", path)
		}
		if x.CookieOpensDashboard(kit.SessionCookie + "=" + planted) {
			t.Errorf("after %s the planted cookie opens the dashboard", path)
		}
	}
}

// TestASVS_7_2_3_SessionsAreRandom: the values have 32 bytes; among several hundred, every bit varies and no value
// repeats.
func TestASVS_7_2_3_SessionsAreRandom(t *testing.T) {
	t.Parallel()
	x := kit.NewTarget(t)
	c := x.NewClient()
	c.Register("alice")
	const n = 64
	seen := map[string]bool{}
	var ones [256]int
	for range n {
		// Renewing a session costs no password hash.
		c.WantSeeOther(c.PostForm("/account/sessions/end-others"), "/account?notice=others-ended")
		value := c.Cookie(kit.SessionCookie)
		raw, err := base64.RawURLEncoding.DecodeString(value)
		if err != nil || len(raw) != 32 {
			t.Fatalf("got the cookie %q with %d bytes (%v)", value, len(raw), err)
		}
		seen[value] = true
		for i := range ones {
			ones[i] += int(raw[i/8] >> (i % 8) & 1)
		}
	}
	if len(seen) != n {
		t.Errorf("got %d different values of %d", len(seen), n)
	}
	// A fair bit exceeds these bounds once in 10^13 times.
	if least, most := slices.Min(ones[:]), slices.Max(ones[:]); least < 4 || most > n-4 {
		t.Errorf("got bits that are set in %d to %d of %d values", least, most, n)
	}
}

// TestASVS_7_2_3_UnknownCookiesAreAnonymous: a value that the server did not issue opens no page, creates no key and
// sets no cookie.
func TestASVS_7_2_3_UnknownCookiesAreAnonymous(t *testing.T) {
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
		t.Errorf("the state changed from\n%s\nto\n%s", before, after)
	}
}

// TestStores_HaveNoCookieOrPassword: the contents of Redis and Postgres cannot be used to sign in.
func TestStores_HaveNoCookieOrPassword(t *testing.T) {
	t.Parallel()
	x := kit.NewTarget(t)
	c := x.NewClient()
	c.Register("alice")
	c.WantSeeOther(c.ChangePassword(kit.Password, kit.OtherPassword), "/account?notice=password")
	c.Get("/dashboard")
	x.GuessPassword("alice", "guessed-"+kit.Password)
	stored := x.QueryValue(`SELECT string_agg(users::text, ' ') FROM users`)
	for _, conn := range []redis.Conn{x.Sessions, x.Cache} {
		stored += dumpKeys(t, conn)
	}
	for _, secret := range []string{c.Cookie(kit.SessionCookie), c.Cookie(kit.SessionCookie + "_browser"), kit.Password, kit.OtherPassword, kit.SecretKey} {
		if strings.Contains(stored, secret) {
			t.Errorf("%q is stored:\n%s", secret, stored)
		}
	}
	if hash := x.QueryValue(`SELECT password_hash FROM users`); strings.Contains(dumpKeys(t, x.Cache)+dumpKeys(t, x.Sessions), hash) {
		t.Error("the password's hash is in Redis")
	}
}

// dumpKeys returns all keys of a Redis database with their values.
func dumpKeys(t *testing.T, conn redis.Conn) string {
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

// TestASVS_7_4_1_AReplayedCookieIsRefused: after the sign-out, neither the current cookie of the session nor an earlier
// one opens a page, and Redis has no key.
func TestASVS_7_4_1_AReplayedCookieIsRefused(t *testing.T) {
	t.Parallel()
	x := kit.NewTarget(t)
	c := x.NewClient()
	c.Register("alice")
	first := c.SessionCookieHeader()
	c.WantSeeOther(c.PostForm("/account/sessions/end-others"), "/account?notice=others-ended")
	second := c.SessionCookieHeader()
	if x.CookieOpensDashboard(first) || !x.CookieOpensDashboard(second) {
		t.Error("a renewed session accepts its old cookie, or refuses the new one")
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
				a := v.Do(v.NewRequest(http.MethodPost, path, "name=Mallory", "Cookie", cookie, "Content-Type", kit.FormContentType))
				v.WantSessionEnded(a)
			}
		}
	}
	if keys := x.Keys("session:*"); len(keys) > 0 {
		t.Errorf("got the Redis keys %q", keys)
	}
}

// TestASVS_7_4_1_RequestsInFlightDoNotReviveASession holds each form that makes changes while its session is ended in
// every possible way. Afterwards, neither the browser's cookie nor one set by the late response is valid.
func TestASVS_7_4_1_RequestsInFlightDoNotReviveASession(t *testing.T) {
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
		// eventually is true for changes in SQL, of which the server is notified a moment later.
		eventually bool
	}{
		{"sign-out", func(c, _ *kit.Client) { c.PostForm("/logout") }, false},
		{"sign-in again", func(c, _ *kit.Client) { c.SignIn("alice") }, false},
		{"ended from the list", func(c, other *kit.Client) {
			other.PostForm("/account/sessions/end", "session", strings.TrimPrefix(x.SessionKey(c), "session:"))
		}, false},
		{"others ended", func(_, other *kit.Client) { other.PostForm("/account/sessions/end-others") }, false},
		{"password changed", func(_, other *kit.Client) {
			other.WantSeeOther(other.ChangePassword(kit.Password, kit.OtherPassword), "/account?notice=password")
		}, false},
		{"disabled in SQL", func(*kit.Client, *kit.Client) {
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
				if way.eventually {
					testkit.Eventually(t, kit.WaitTimeout, "the server to receive the change", func() bool { return !x.CookieOpensDashboard(held.SessionCookieHeader()) })
				}
				a := late.Finish()

				if a.StatusCode >= 500 {
					t.Errorf("the late form got %s\n%s", a.Status, a.Text)
				}
				if x.CookieOpensDashboard(held.SessionCookieHeader()) {
					t.Error("the ended session opens the dashboard")
				}
				for _, k := range a.Cookies() {
					if k.Name == kit.SessionCookie && k.Value != "" && x.CookieOpensDashboard(k.Name+"="+k.Value) {
						t.Errorf("the late form set the cookie of a valid session")
					}
				}
			})
		}
	}
}

// TestASVS_7_4_1_FailedSignOutSaysSo: while Redis is frozen or the user cannot be loaded, no response reports a sign-out
// if the session still exists.
func TestASVS_7_4_1_FailedSignOutSaysSo(t *testing.T) {
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
		t.Errorf("a failed sign-out sets %v", a.Cookies())
	}
	c.WantSeeOther(c.PostForm("/logout"), "/login?notice=signed-out")
	if x.CookieOpensDashboard(session) {
		t.Error("the replayed cookie opens the dashboard")
	}
}

// TestASVS_7_3_2_AbsoluteLifetime: past its deadline a session is invalid, even if its key has no TTL or a longer one,
// and no request moves the deadline.
func TestASVS_7_3_2_AbsoluteLifetime(t *testing.T) {
	t.Parallel()
	x := kit.NewTarget(t)
	c := x.NewClient()
	c.Register("alice")
	key := x.SessionKey(c)
	if left := x.TTL(key); left <= 0 || left > 2*time.Hour {
		t.Errorf("got a TTL of %v", left)
	}
	deadline := sessionDeadline(x, key)
	if in := time.Until(deadline); in <= 23*time.Hour || in > 24*time.Hour {
		t.Errorf("got a deadline in %v", in)
	}

	x.Do("PERSIST", key)
	kit.WantSignedIn(t, c)
	if left := x.TTL(key); left <= 0 || left > 2*time.Hour {
		t.Errorf("got a TTL of %v for the persisted key after a request", left)
	}
	c.WantSeeOther(c.PostForm("/account/sessions/end-others"), "/account?notice=others-ended")
	key = x.SessionKey(c)
	if got := sessionDeadline(x, key); !got.Equal(deadline) {
		t.Errorf("a renewal moved the deadline from %v to %v", deadline, got)
	}

	for _, make := range [][]any{{"PERSIST", key}, {"PEXPIRE", key, (999 * time.Hour).Milliseconds()}} {
		editSession(x, key, map[string]any{"deadline": time.Now().Add(-time.Second)})
		x.Do(make[0].(string), make[1:]...)
		kit.WantSignedOut(t, c)
	}
	// Close to the deadline, the idle time ends at the deadline.
	editSession(x, key, map[string]any{"deadline": time.Now().Add(time.Minute)})
	x.Do("PERSIST", key)
	kit.WantSignedIn(t, c)
	if left := x.TTL(key); left <= 0 || left > time.Minute {
		t.Errorf("a minute before the deadline, got a TTL of %v", left)
	}
}

// sessionDeadline returns the deadline in a session's record.
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

// TestASVS_7_3_1_IdleTimeout: requests extend a session with one small command, without rewriting the record, and only
// once a tenth of the idle time has passed. An idle session ends.
func TestASVS_7_3_1_IdleTimeout(t *testing.T) {
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
				t.Errorf("with %v left, a request set the TTL to %v, want %v", left, got, test.idle)
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

// TestASVS_7_4_2_DisabledAndDeletedUsersAreRefused: at the next request, on every page and with a full cache.
func TestASVS_7_4_2_DisabledAndDeletedUsersAreRefused(t *testing.T) {
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
				t.Errorf("%s: GET %s: got %s", name, path, a.Status)
			}
		}
		c.WantStatus(c.PostForm("/account/profile", "name", "Mallory", "time_zone", "UTC"), http.StatusUnauthorized)
	}
}

// TestASVS_7_4_2_UserCachedDuringAChange: a user who is cached while a change waits for the database is not read from the
// cache after the change.
func TestASVS_7_4_2_UserCachedDuringAChange(t *testing.T) {
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
	responses := make(chan error, 1)
	go func() {
		_, err := c.TryDo(c.NewForm("/account/sessions/end-others"))
		responses <- err
	}()
	testkit.Eventually(t, 5*time.Second, "the change to wait for the row", func() bool {
		return x.QueryValue(kit.BlockedStatements) != "0"
	})
	kit.WantSignedIn(t, other)
	if n, err := redis.Int(x.Cache.Do("EXISTS", "user:"+x.UserID("alice"))); err != nil || n != 1 {
		t.Fatalf("the user is not cached during the change: %d, %v", n, err)
	}
	if err := lock.Rollback(); err != nil {
		t.Fatal(err)
	}
	if err := <-responses; err != nil {
		t.Fatal(err)
	}
	kit.WantSignedOut(t, other)
	kit.WantSignedIn(t, c)
}

// TestASVS_7_4_4_SignOutOnEveryPage: every page for signed-in users, except for error pages, has the sign-out button.
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
			t.Errorf("%s has no sign-out button", a.Request.URL.Path)
		}
	}
	if shown < 5 {
		t.Errorf("checked only %d pages", shown)
	}
}

// TestASVS_7_5_2_UsersEndTheirOwnSessions: one or all others, but never another user's, and the log records only
// actual ends.
func TestASVS_7_5_2_UsersEndTheirOwnSessions(t *testing.T) {
	t.Parallel()
	x := kit.NewTarget(t)
	alice, phone, tablet, mallory := x.NewClient(), x.NewClient(), x.NewClient(), x.NewClient()
	alice.Register("alice")
	phone.SignIn("alice")
	tablet.SignIn("alice")
	mallory.Register("mallory")

	ids := alice.OtherSessionIDs()
	if len(ids) != 2 || !slices.Contains(ids, strings.TrimPrefix(x.SessionKey(phone), "session:")) {
		t.Fatalf("got the other sessions %q", ids)
	}
	if others := mallory.OtherSessionIDs(); len(others) != 0 {
		t.Errorf("another user sees %q", others)
	}
	for _, id := range []string{ids[0], ids[1], strings.TrimPrefix(x.SessionKey(alice), "session:"), "", "*", "../" + ids[0], strings.Repeat("x", 43), alice.Cookie(kit.SessionCookie)} {
		mallory.WantSeeOther(mallory.PostForm("/account/sessions/end", "session", id), "/account?notice=session-ended")
	}
	kit.WantSignedIn(t, alice, phone, tablet, mallory)
	if events := x.Events("session ended"); len(events) > 0 {
		t.Errorf("got log lines about ended sessions, want none: %v", events)
	}

	alice.WantSeeOther(alice.PostForm("/account/sessions/end", "session", strings.TrimPrefix(x.SessionKey(phone), "session:")), "/account?notice=session-ended")
	kit.WantSignedOut(t, phone)
	kit.WantSignedIn(t, alice, tablet)
	if events := x.Events("session ended"); len(events) != 1 {
		t.Errorf("got %d log lines about ended sessions, want 1", len(events))
	}
	alice.WantSeeOther(alice.PostForm("/account/sessions/end-others"), "/account?notice=others-ended")
	kit.WantSignedOut(t, tablet)
	kit.WantSignedIn(t, alice, mallory)
	if ids := alice.OtherSessionIDs(); len(ids) != 0 {
		t.Errorf("afterwards, got the other sessions %q", ids)
	}
	alice.WantSeeOther(alice.PostForm("/account/sessions/end", "session", strings.TrimPrefix(x.SessionKey(alice), "session:")), "/login?notice=signed-out")
	kit.WantSignedOut(t, alice)
}

// TestSession_UnreadableRecordIsAnonymous: with an unreadable record under the session's key, the browser is an anonymous
// visitor that can sign in again; it gets neither an error nor another user's pages.
func TestSession_UnreadableRecordIsAnonymous(t *testing.T) {
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
		"a deadline that is text": with(`"deadline":"2`, `"deadline":"x2`), "no idle time": with(`"idle_seconds":7200`, `"idle_seconds":0`),
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
	// The server remembers for a moment that it rejected a session with this id, as it did the ones of other epochs.
	testkit.Eventually(t, kit.WaitTimeout, "the original record to count again", c.IsSignedIn)
}

func wantUnreadable(x *kit.Target, c *kit.Client, what, victim string) {
	x.T.Helper()
	for _, path := range []string{"/", "/login", "/register"} {
		if a := c.Get(path); a.StatusCode != http.StatusOK {
			x.T.Errorf("with %s: GET %s: got %s to %q", what, path, a.Status, a.Header.Get("Location"))
		}
	}
	for _, path := range []string{"/dashboard", "/account"} {
		if a := c.Get(path); a.StatusCode != http.StatusSeeOther || strings.Contains(a.Text, victim) {
			x.T.Errorf("with %s: GET %s: got %s", what, path, a.Status)
		}
	}
	again := c.CopySession(c.BaseURL)
	again.SignIn("alice")
	if !again.IsSignedIn() {
		x.T.Errorf("with %s: a sign-in fails", what)
	}
}

// TestCache_UnreadableUserOrIndex: a damaged or swapped cached user or list of sessions has no effect and never leads to
// another user's identity.
func TestCache_UnreadableUserOrIndex(t *testing.T) {
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
			t.Errorf("with %v cached: the dashboard: got %s", write, a.Status)
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
			t.Errorf("with the index %.60v: the account page: got %s", write, a.Status)
		}
		other := x.NewClient()
		other.SignIn("alice")
		kit.WantSignedIn(t, other)
	}
}

// TestPasswordChange_OnlyOneOfConcurrentOnesSucceeds: many concurrent changes with one session result in one
// new password and one session.
func TestPasswordChange_OnlyOneOfConcurrentOnesSucceeds(t *testing.T) {
	t.Parallel()
	x := kit.NewTarget(t)
	c := x.NewClient()
	c.Register("alice")
	copies := make([]*kit.Client, 12)
	for i := range copies {
		copies[i] = c.CopySession(c.BaseURL)
	}
	responses := kit.RunConcurrently(t, len(copies), func(i int) (kit.Response, error) {
		return copies[i].TryDo(copies[i].NewForm("/account/password", "current_password", kit.Password, "new_password", fmt.Sprintf("%s-%d", kit.OtherPassword, i)))
	})
	var made []int
	for i, a := range responses {
		if a.StatusCode == http.StatusSeeOther && strings.HasPrefix(a.Header.Get("Location"), "/account?") {
			made = append(made, i)
		}
		if a.StatusCode >= 500 && a.StatusCode != http.StatusServiceUnavailable {
			t.Errorf("a change: %s\n%s", a.Status, a.Text)
		}
	}
	if events := len(x.Events("password changed")); len(made) != 1 || events != 1 {
		t.Fatalf("got %d successful changes and %d log lines, want 1 each", len(made), events)
	}
	for i, copied := range copies {
		if a := x.GuessPassword("alice", fmt.Sprintf("%s-%d", kit.OtherPassword, i)); (a.StatusCode == http.StatusSeeOther) != (i == made[0]) {
			t.Errorf("password %d after a change to number %d: got %s", i, made[0], a.Status)
		}
		x.ClearThrottles()
		if copied.IsSignedIn() != (i == made[0]) {
			t.Errorf("session %d after number %d changed the password: got signed in: %t", i, made[0], i != made[0])
		}
	}
}
