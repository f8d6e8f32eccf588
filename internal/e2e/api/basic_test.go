package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"

	"gatehouse/internal/e2e/kit"
	"gatehouse/internal/testkit"
)

// wantProblemCode fails unless the response is a problem (RFC 9457) with this status and code.
func wantProblemCode(x *kit.Target, a kit.Response, status int, code string) {
	x.T.Helper()
	if a.StatusCode != status || a.Header.Get("Content-Type") != "application/problem+json" || !strings.Contains(a.Text, `"code":"`+code+`"`) {
		x.T.Errorf("%s %s: %s as %s, want %d %s\n%s", a.Request.Method, a.Request.URL.Path, a.Status, a.Header.Get("Content-Type"), status, code, a.Text)
	}
}

// wantWait fails unless the response says how long the throttled program has to wait, within bounds.
func wantWait(x *kit.Target, a kit.Response, least, most time.Duration) {
	x.T.Helper()
	wantProblemCode(x, a, http.StatusTooManyRequests, "throttled")
	after, err := strconv.Atoi(a.Header.Get("Retry-After"))
	if wait := time.Duration(after) * time.Second; err != nil || wait < least || wait > most {
		x.T.Errorf("Retry-After is %q, want %v to %v", a.Header.Get("Retry-After"), least, most)
	}
}

// TestBasic_AllSpellingsOfANameShareOneEntry: every spelling of a name has the same cache entry, throttle and user;
// Unicode forms of the password are equivalent too.
func TestBasic_AllSpellingsOfANameShareOneEntry(t *testing.T) {
	t.Parallel()
	x := kit.NewTarget(t)
	x.NewClient().Register("alice")
	const composed, decomposed = "zo\u00eb", "zoe\u0308"
	const secret, secretNFD = "brisk-w\u00e4lnut-tram", "brisk-wa\u0308lnut-tram"
	c := x.NewClient()
	c.WantSeeOther(c.PostForm("/register", "username", composed, "password", secret), "/dashboard?notice=welcome")

	x.WantAuthorizedBy(x.GetMeBasic("alice", kit.Password), "alice", "postgres")
	for _, name := range []string{"alice", "Alice", "ALICE", "ａｌｉｃｅ", "Ａlice", " alice "} {
		x.WantAuthorizedBy(x.GetMeBasic(name, kit.Password), "alice", "redis")
	}
	x.WantAuthorizedBy(x.GetMeBasic(composed, secret), composed, "postgres")
	for _, name := range []string{composed, decomposed, "ZO\u00cb", "ZOE\u0308", "ｚｏë"} {
		x.WantAuthorizedBy(x.GetMeBasic(name, secret), composed, "redis")
		x.WantAuthorizedBy(x.GetMeBasic(name, secretNFD), composed, "redis")
	}
	if keys := x.CacheKeys("credential:*"); !slices.Equal(keys, []string{"credential:alice:127.0.0.1", "credential:" + composed + ":127.0.0.1"}) {
		t.Errorf("got the credentials %q", keys)
	}
	for i, name := range []string{"alice", "ALICE", "ａｌｉｃｅ"} {
		wantProblemCode(x, x.GetMeBasic(name, kit.WrongPassword()), http.StatusUnauthorized, "wrong_credentials")
		if n := x.CountedFailures("networks:" + x.UserID("alice")); n != int64(i+1) {
			t.Errorf("got %d counted failures after %d, the last for %q", n, i+1, name)
		}
	}
	for _, name := range []string{"", "al ice", "alice\u200b", "аlice", "alice/../bob", "alice\u0000"} {
		if a := x.GetMeBasic(name, kit.Password); a.StatusCode != http.StatusUnauthorized && a.StatusCode != http.StatusBadRequest {
			t.Errorf("%q with alice's password: %s", name, a.Status)
		}
	}
	if keys := x.CacheKeys("credential:*"); len(keys) != 2 {
		t.Errorf("got the credentials %q", keys)
	}
}

// TestASVS_6_3_4_BasicSharesTheThrottle: failures at the form and with Basic share one count, which neither another
// spelling nor a flushed cache circumvents. Sessions, tokens, known browsers and programs on their own network
// keep working.
func TestASVS_6_3_4_BasicSharesTheThrottle(t *testing.T) {
	t.Parallel()
	x := kit.NewProxiedTarget(t)
	p := kit.NewPrincipal(x, "alice")
	x.AddCarol()
	known := x.NewClient()
	known.SignIn("alice")
	warm := func() {
		t.Helper()
		x.ClearWaits()
		x.FlushCache()
		for _, login := range []string{"alice", "carol", "carol@example.org"} {
			username := strings.TrimSuffix(login, "@example.org")
			// The server refills the flushed cache in the background, and a request does not wait for that.
			testkit.Eventually(t, kit.WaitTimeout, login+" to be cached", func() bool {
				a := x.GetMeBasicFrom(kit.HomeNetwork, login, kit.Password)
				return a.StatusCode == http.StatusOK && strings.Contains(a.Text, `"authorized_by":"redis"`) && strings.Contains(a.Text, `"username":"`+username+`"`)
			})
		}
	}
	guessForm := func(login string) {
		t.Helper()
		if a := x.GuessPasswordFrom(kit.StrangerNetwork, login, kit.WrongPassword()); a.StatusCode != http.StatusUnauthorized {
			t.Fatalf("a guess at %s: %s", login, a.Status)
		}
	}
	guessBasic := func(login string) {
		t.Helper()
		wantProblemCode(x, x.GetMeBasicFrom(kit.StrangerNetwork, login, kit.WrongPassword()), http.StatusUnauthorized, "wrong_credentials")
	}

	t.Run("ten failures", func(t *testing.T) {
		for name, guess := range map[string]func(string){"form": guessForm, "basic": guessBasic} {
			warm()
			for range 10 {
				guess("alice")
			}
			if n := x.CountedFailures(kit.AccountKey("alice")); n != 10 {
				t.Errorf("%s: got %d counted failures, want 10", name, n)
			}
			// The wait is one second and may already be over on a slow machine.
			if a := x.GetMeBasicFrom(kit.StrangerNetwork, "alice", kit.Password); a.StatusCode == http.StatusOK {
				if left := x.Int("HGET", kit.ThrottleKey("alice"), "until") - x.RedisMillis(); left > 0 {
					t.Errorf("%s: accepted with %d ms left to wait", name, left)
				}
			}
		}
	})
	for name, test := range map[string]struct {
		guess    func(string)
		at       string
		refused  []string
		others   []string
		throttle string
	}{
		"form with the name":           {guessForm, "alice", []string{"alice", "ALICE", "ａｌｉｃｅ"}, []string{"carol"}, kit.AccountKey("alice")},
		"Basic with the name":          {guessBasic, "alice", []string{"alice", "ALICE"}, []string{"carol"}, kit.AccountKey("alice")},
		"form with the email address":  {guessForm, "carol@example.org", []string{"carol@example.org", "Carol@Example.ORG"}, []string{"alice", "carol"}, kit.AccountKey("carol@example.org")},
		"Basic with the email address": {guessBasic, "Carol@Example.ORG", []string{"carol@example.org"}, []string{"alice", "carol"}, kit.AccountKey("carol@example.org")},
	} {
		t.Run(name, func(t *testing.T) {
			warm()
			x.Do("HSET", "throttle:"+test.throttle, "n", "25", "until", "0")
			test.guess(test.at)
			refused := func() {
				t.Helper()
				for _, login := range test.refused {
					wantWait(x, x.GetMeBasicFrom(kit.StrangerNetwork, login, kit.Password), 14*time.Minute, 15*time.Minute)
					x.WantThrottled(x.GuessPasswordFrom(kit.StrangerNetwork, login, kit.Password), 14*time.Minute, 15*time.Minute)
					x.WantThrottled(x.GuessPasswordFrom(kit.HomeNetwork, login, kit.Password), 14*time.Minute, 15*time.Minute)
				}
			}
			refused()
			wantWait(x, x.NewClient().Do(x.NewClient().NewRequest(http.MethodPost, "/api/tokens",
				fmt.Sprintf(`{"username":%q,"password":%q}`, test.refused[0], kit.Password), "Content-Type", "application/json", "X-Forwarded-For", kit.StrangerNetwork)), 14*time.Minute, 15*time.Minute)
			if n := x.CountedFailures(test.throttle); n != 26 {
				t.Errorf("got %d counted failures, want 26", n)
			}
			for _, login := range slices.Concat(test.refused, test.others) {
				if a := x.GetMeBasicFrom(kit.HomeNetwork, login, kit.Password); a.StatusCode != http.StatusOK {
					t.Errorf("%s's program: %s", login, a.Status)
				}
			}
			p.WantGet(kit.BySession, "/api/me", http.StatusOK)
			p.WantGet(kit.ByToken, "/api/me", http.StatusOK)
			known.CopySession(known.BaseURL).WantStatus(known.PostForm("/login", "username", "alice", "password", kit.Password), http.StatusSeeOther)
			x.FlushCache()
			refused()
		})
	}
	t.Run("by the caller's address", func(t *testing.T) {
		warm()
		x.Do("HSET", "throttle:address:"+kit.HomeNetwork, "n", "150", "until", "0")
		wantProblemCode(x, x.GetMeBasicFrom(kit.HomeNetwork, "nobody", kit.WrongPassword()), http.StatusUnauthorized, "wrong_credentials")
		wantWait(x, x.GetMeBasicFrom(kit.HomeNetwork, "alice", kit.Password), 50*time.Second, time.Minute)
		x.WantThrottled(x.GuessPasswordFrom(kit.HomeNetwork, "carol", kit.Password), 50*time.Second, time.Minute)
		p.WantGet(kit.ByToken, "/api/me", http.StatusOK)
		x.FlushCache()
		wantWait(x, x.GetMeBasicFrom(kit.HomeNetwork, "alice", kit.Password), 50*time.Second, time.Minute)
	})
	networks := "networks:" + x.UserID("alice")
	t.Run("a failure despite a cached credential", func(t *testing.T) {
		warm()
		for i := range 3 {
			wantProblemCode(x, x.GetMeBasicFrom(kit.HomeNetwork, "alice", kit.WrongPassword()), http.StatusUnauthorized, "wrong_credentials")
			if n := x.CountedFailures(networks); n != int64(i+1) {
				t.Errorf("got %d counted failures after %d", n, i+1)
			}
			x.WantAuthorizedBy(x.GetMeBasicFrom(kit.HomeNetwork, "alice", kit.Password), "alice", "redis")
		}
		if n := x.CountedFailures("address:" + kit.HomeNetwork); n != 3 {
			t.Errorf("got %d counted failures of the address, want 3", n)
		}
	})
	t.Run("the cached credential is throttled eventually", func(t *testing.T) {
		warm()
		x.Do("HSET", "throttle:"+networks, "n", "18", "until", "0")
		wantProblemCode(x, x.GetMeBasicFrom(kit.HomeNetwork, "alice", kit.WrongPassword()), http.StatusUnauthorized, "wrong_credentials")
		wantWait(x, x.GetMeBasicFrom(kit.HomeNetwork, "alice", kit.Password), 8*time.Minute, 9*time.Minute)
		x.Do("DEL", "throttle:"+networks)
		x.CacheDo("PEXPIRE", kit.WaitKey("alice", kit.HomeNetwork), 0)
		x.WantAuthorizedBy(x.GetMeBasicFrom(kit.HomeNetwork, "alice", kit.Password), "alice", "redis")
		if keys := x.CacheKeys("waiting:*"); len(keys) > 0 {
			t.Errorf("these waits remain: %q", keys)
		}
	})
}

// TestASVS_15_3_4_ProgramsCannotRotateTheirAddress: no header changes a program's address or identity.
func TestASVS_15_3_4_ProgramsCannotRotateTheirAddress(t *testing.T) {
	t.Parallel()
	x := kit.NewTarget(t)
	x.NewClient().Register("alice")
	sent := int64(0)
	for i, header := range kit.ForwardingHeaders {
		x.GetMeBasic(fmt.Sprint("victim", i), kit.WrongPassword(), header, fmt.Sprintf("203.0.113.%d", i))
		x.GetMeBasic(fmt.Sprint("victim", i), kit.WrongPassword(), header, fmt.Sprintf("for=203.0.113.%d", i))
		sent += 2
		x.GetMe("Authorization", "Bearer gatehouse_no", header, fmt.Sprintf("203.0.113.%d", i))
	}
	if n := x.CountedFailures("address:127.0.0.1"); n != sent {
		t.Errorf("%d of %d failures are counted for the socket's address", n, sent)
	}
	if keys := x.Keys("throttle:address:*"); len(keys) != 1 {
		t.Errorf("addresses are counted under %q", keys)
	}
	x.Do("HSET", "throttle:address:127.0.0.1", "n", "150", "until", x.RedisMillis()+60_000)
	for i, header := range kit.ForwardingHeaders {
		wantWait(x, x.GetMeBasic("alice", kit.Password, header, fmt.Sprintf("198.51.100.%d", i)), 50*time.Second, time.Minute)
	}
	for _, header := range []string{"Remote-User", "Remote_User", "X-Forwarded-User", "X_Forwarded_User", "Remote-Email", "Remote-Groups", "X-Remote-User"} {
		wantProblemCode(x, x.GetMe(header, "alice"), http.StatusUnauthorized, "credentials_needed")
	}
}

// TestCachedCredential_CopiedOrEditedIsRejected: neither write access to Redis nor a reply for another user makes it
// possible to impersonate a user.
func TestCachedCredential_CopiedOrEditedIsRejected(t *testing.T) {
	t.Parallel()
	x := kit.NewTarget(t)
	alice, mallory := kit.NewPrincipal(x, "alice"), kit.NewPrincipal(x, "mallory")
	mallory.Client.WantStatus(mallory.Client.ChangePassword(kit.Password, kit.OtherPassword), http.StatusSeeOther)
	mallory.Password = kit.OtherPassword
	mallory.CreateToken()
	alice.Warm()
	mallory.Warm()
	record := func(name string) string {
		t.Helper()
		s, err := redis.String(x.CacheDo("GET", "credential:"+name+":127.0.0.1"), nil)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	ofAlice, ofMallory := record("alice"), record("mallory")
	edited := func(record string, change map[string]any) string {
		t.Helper()
		fields := map[string]any{}
		if err := json.Unmarshal([]byte(record), &fields); err != nil {
			t.Fatal(err)
		}
		for name, value := range change {
			fields[name] = value
		}
		b, err := json.Marshal(fields)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	zeros := strings.Repeat("A", 43) + "="
	for what, value := range map[string]string{
		"another record":                 ofMallory,
		"another record, renamed":        edited(ofMallory, map[string]any{"name": "alice"}),
		"another, with alice's id":       edited(ofMallory, map[string]any{"name": "alice", "user_id": alice.ID}),
		"another, with her id and epoch": edited(ofMallory, map[string]any{"name": "alice", "user_id": alice.ID, "epoch": 1}),
		"her own without a MAC":          edited(ofAlice, map[string]any{"mac": ""}),
		"her own with a MAC of zeros":    edited(ofAlice, map[string]any{"mac": zeros}),
		"her own with another's MAC":     edited(ofAlice, map[string]any{"mac": json.RawMessage(field(t, ofMallory, "mac"))}),
		"her own of another epoch":       edited(ofAlice, map[string]any{"epoch": 2}),
		"her own of another version":     edited(ofAlice, map[string]any{"v": 2}),
		"her own with another's id":      edited(ofAlice, map[string]any{"user_id": mallory.ID}),
		"unreadable text":                "{",
		"an empty object":                "{}",
		"a megabyte":                     strings.Repeat("x", 1<<20),
		"a number instead of an object":  "1",
	} {
		x.ClearWaits()
		x.CacheDo("SET", "credential:alice:127.0.0.1", value)
		wantProblemCode(x, x.GetMeBasic("alice", kit.OtherPassword), http.StatusUnauthorized, "wrong_credentials")
		x.CacheDo("SET", "credential:alice:127.0.0.1", value)
		a := x.GetMeBasic("alice", kit.Password)
		if a.StatusCode != http.StatusOK || !strings.Contains(a.Text, `"authorized_by":"postgres"`) || !strings.Contains(a.Text, alice.ID) {
			t.Errorf("with %s cached under the name alice: got %s\n%s", what, a.Status, a.Text)
		}
	}
	for what, value := range map[string]string{
		"alice's record":            ofAlice,
		"alice's, renamed":          edited(ofAlice, map[string]any{"name": "mallory"}),
		"their own with alice's id": edited(ofMallory, map[string]any{"user_id": alice.ID, "epoch": 1}),
	} {
		for _, secret := range []string{kit.Password, kit.OtherPassword} {
			x.ClearWaits()
			x.CacheDo("SET", "credential:mallory:127.0.0.1", value)
			if a := x.GetMeBasic("mallory", secret); strings.Contains(a.Text, alice.ID) || a.StatusCode == http.StatusOK && secret == kit.Password {
				t.Errorf("with %s, mallory got %s\n%s", what, a.Status, a.Text)
			}
		}
	}
	x.CacheDo("DEL", "credential:alice:127.0.0.1")
	x.CacheDo("LPUSH", "credential:alice:127.0.0.1", ofAlice)
	x.WantAuthorizedBy(x.GetMeBasic("alice", kit.Password), "alice", "postgres")

	// One token's record under another token's key.
	tokenOf := func(p *kit.Principal) string {
		s, err := redis.String(x.Do("GET", p.TokenKey()), nil)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	hers, theirs := tokenOf(alice), tokenOf(mallory)
	for what, value := range map[string]string{
		"alice's record":    hers,
		"an unreadable one": "{",
		"an expired one":    edited(theirs, map[string]any{"expires_at": "2020-01-01T00:00:00Z"}),
		"another version":   edited(theirs, map[string]any{"v": 2}),
	} {
		x.Do("SET", mallory.TokenKey(), value)
		wantProblemCode(x, mallory.Get(kit.ByToken, "/api/me"), http.StatusUnauthorized, "token_unknown")
		if what == "an expired one" && x.TTL(mallory.TokenKey()) > 0 {
			t.Error("the key has a TTL, so this test does not check expires_at")
		}
	}
	x.Do("SET", mallory.TokenKey(), theirs)
	mallory.WantGet(kit.ByToken, "/api/me", http.StatusOK)
	// A token expires even without a TTL, and session tokens and API tokens are not interchangeable.
	x.Do("SET", mallory.TokenKey(), edited(theirs, map[string]any{"epoch": 1}))
	wantProblemCode(x, mallory.Get(kit.ByToken, "/api/me"), http.StatusUnauthorized, "token_dead")
	wantProblemCode(x, x.GetMe("Authorization", "Bearer "+alice.Client.Cookie(kit.SessionCookie)), http.StatusUnauthorized, "token_malformed")
	if a := x.GetMe("Cookie", kit.SessionCookie+"="+alice.Token); a.StatusCode != http.StatusUnauthorized {
		t.Errorf("a token in the session's cookie: %s", a.Status)
	}
}

// field returns the raw JSON of a field of an object.
func field(t *testing.T, object, name string) []byte {
	t.Helper()
	fields := map[string]json.RawMessage{}
	if err := json.Unmarshal([]byte(object), &fields); err != nil {
		t.Fatal(err)
	}
	return fields[name]
}

// TestDisabledUser_OnlyTokensSayWhy: the holder of a token learns why it is refused. Basic gives the same response to
// a disabled account, a wrong password and an unknown name.
func TestDisabledUser_OnlyTokensSayWhy(t *testing.T) {
	t.Parallel()
	x := kit.NewTarget(t)
	p := kit.NewPrincipal(x, "alice")
	p.Warm()
	x.Run("", "user", "disable", "alice").WantCode(t, 0)
	wantProblemCode(x, p.Get(kit.ByToken, "/api/me"), http.StatusUnauthorized, "user_disabled")
	wantProblemCode(x, p.Get(kit.ByToken, "/api/users"), http.StatusUnauthorized, "user_disabled")
	wantProblemCode(x, p.Get(kit.BySession, "/api/me"), http.StatusUnauthorized, "credentials_needed")
	problem := func(a kit.Response) string {
		wantProblemCode(x, a, http.StatusUnauthorized, "wrong_credentials")
		return strings.ReplaceAll(kit.ComparableResponse(a, ""), a.Header.Get("X-Request-Id"), "ID")
	}
	disabled := problem(p.Get(kit.ByBasic, "/api/me"))
	x.NewClient().Register("bob")
	for what, other := range map[string]kit.Response{
		"a wrong password": x.GetMeBasic("bob", kit.OtherPassword), "an unknown name": x.GetMeBasic("nobody", kit.Password), "a disabled account's wrong one": x.GetMeBasic("alice", kit.OtherPassword),
	} {
		if got := problem(other); got != disabled {
			t.Errorf("%s got\n%s\nbut the disabled account got\n%s", what, got, disabled)
		}
	}
	x.Run("", "user", "enable", "alice").WantCode(t, 0)
	x.ClearWaits()
	testkit.Eventually(t, kit.MaxDelay, "the enabled account", func() bool { return strings.Contains(p.Get(kit.ByToken, "/api/me").Text, "token_dead") })
	wantProblemCode(x, p.Get(kit.ByToken, "/api/me"), http.StatusUnauthorized, "token_dead")
	p.WantGet(kit.ByBasic, "/api/me", http.StatusOK)
	x.Exec(`DELETE FROM users WHERE username = 'alice'`)
	testkit.Eventually(t, kit.MaxDelay, "the deletion to take effect", func() bool { return strings.Contains(p.Get(kit.ByToken, "/api/me").Text, "token_unknown") })
	wantProblemCode(x, p.Get(kit.ByToken, "/api/me"), http.StatusUnauthorized, "token_unknown")
	wantProblemCode(x, p.Get(kit.ByBasic, "/api/me"), http.StatusUnauthorized, "wrong_credentials")
}

// TestAPIAuthentication_CreatesNoSession: Basic and tokens create neither a session nor a cookie, cost one Redis round
// trip when warm, and take precedence over a session.
func TestAPIAuthentication_CreatesNoSession(t *testing.T) {
	t.Parallel()
	x := kit.NewTarget(t)
	p := kit.NewPrincipal(x, "alice")
	p.Warm()
	before := x.Keys("session*")
	for range 3 {
		for _, way := range []string{kit.ByBasic, kit.ByToken} {
			a := p.WantGet(way, "/api/me", http.StatusOK)
			if len(a.Header.Values("Set-Cookie")) > 0 || a.Header.Get("Cache-Control") != "no-store" || a.Header.Get("WWW-Authenticate") != "" {
				t.Errorf("with %s: got the headers %v", way, a.Header)
			}
			if trips, sql := kit.Cost(a); trips != "1" || sql != "0" {
				t.Errorf("with %s: a warm request costs %s round trips and %s statements, want 1 and 0", way, trips, sql)
			}
		}
	}
	if after := x.Keys("session*"); len(after) != len(before) {
		t.Errorf("got the sessions %q, had %q before", after, before)
	}
	session := "Cookie"
	mine := p.Client.SessionCookieHeader()
	for what, header := range map[string][]string{
		"a wrong password":   {"Authorization", kit.BasicHeader("alice", kit.OtherPassword)},
		"a malformed token":  {"Authorization", "Bearer x"},
		"an unknown scheme":  {"Authorization", "Digest x"},
		"an empty header":    {"Authorization", ""},
		"a token by query":   nil,
		"empty base64":       {"Authorization", "Basic "},
		"a name without a :": {"Authorization", "Basic YWxpY2U="},
	} {
		a := x.GetMe(append(header, session, mine)...)
		if header == nil {
			a = x.NewClient().Get("/api/me?access_token=" + p.Token + "&token=" + p.Token)
		}
		if a.StatusCode != http.StatusUnauthorized && a.StatusCode != http.StatusBadRequest {
			t.Errorf("%s next to a valid session: %s", what, a.Status)
		}
		if a.StatusCode == http.StatusUnauthorized && a.Header.Get("WWW-Authenticate") == "" {
			t.Errorf("%s: a 401 without a challenge", what)
		}
		if len(a.Header.Values("Set-Cookie")) > 0 {
			t.Errorf("%s: sets a cookie", what)
		}
	}
	two := x.NewClient()
	req := two.NewRequest(http.MethodGet, "/api/me", "")
	req.Header["Authorization"] = []string{"Bearer " + p.Token, kit.BasicHeader("alice", kit.Password)}
	two.WantStatus(two.Do(req), http.StatusBadRequest)
}

// TestAuthorizationHeader_IgnoredByPages: pages behave the same with and without the header.
func TestAuthorizationHeader_IgnoredByPages(t *testing.T) {
	t.Parallel()
	x := kit.NewTarget(t)
	p := kit.NewPrincipal(x, "alice")
	x.Exec(`INSERT INTO user_groups (user_id, group_name) SELECT id, 'admin' FROM users`)
	p.Warm()
	state := func() string {
		keys := append(x.Keys("session*"), x.Keys("token*")...)
		slices.Sort(keys)
		return strings.Join(keys, " ") + x.QueryValue(`SELECT string_agg(users::text, ' ') FROM users`)
	}
	before := state()
	for _, method := range []string{http.MethodGet, http.MethodPost} {
		for _, path := range kit.RoutePaths(method) {
			if strings.HasPrefix(path, "/api/") || path == "/register" || path == "/login" && method == http.MethodPost {
				continue
			}
			path = strings.ReplaceAll(path, ":id", p.ID)
			send := func(header ...string) kit.Response {
				c := x.NewClient()
				return c.Do(c.NewRequest(method, path, "active=false&group=x", append(header, "Content-Type", kit.FormContentType)...))
			}
			without := send()
			for _, header := range []string{kit.BasicHeader("alice", kit.Password), kit.BasicHeader("alice", kit.OtherPassword), "Bearer " + p.Token, "Token " + p.Token} {
				with := send("Authorization", header)
				if with.StatusCode != without.StatusCode || with.Header.Get("Location") != without.Header.Get("Location") || strings.Contains(with.Text, "alice") ||
					with.Header.Get("WWW-Authenticate") != "" {
					t.Errorf("%s %s with %.10s…: %s to %q, without it %s to %q", method, path, header, with.Status, with.Header.Get("Location"), without.Status, without.Header.Get("Location"))
				}
			}
		}
	}
	if after := state(); after != before {
		t.Errorf("pages changed the state from\n%s\nto\n%s", before, after)
	}
	if n := x.CountedFailures(kit.AccountKey("alice")); n != 0 {
		t.Errorf("pages counted %d failures for a header that they ignore", n)
	}
}
