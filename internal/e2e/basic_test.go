package e2e

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

	"gatehouse/internal/testkit"
)

// me asks /api/me with these headers.
func (x *target) me(header ...string) answer {
	x.t.Helper()
	return x.visitor().get("/api/me", header...)
}

// basicly asks /api/me by Basic.
func (x *target) basicly(name, secret string, header ...string) answer {
	x.t.Helper()
	return x.me(append(header, "Authorization", basicHeader(name, secret))...)
}

// wantVouched wants an answer to this user for whom Redis alone vouched, or else the database.
func (x *target) wantVouched(a answer, username, by string) {
	x.t.Helper()
	var me meAnswer
	if a.StatusCode == http.StatusOK {
		decode(x.t, a, &me)
	}
	if me.User.Username != username || me.AuthorizedBy != by {
		x.t.Fatalf("%s for %q by %q, want %q by %q\n%s", a.Status, me.User.Username, me.AuthorizedBy, username, by, a.body)
	}
}

// wantProblemCode wants a refusal with a code that programs can read.
func (x *target) wantProblemCode(a answer, status int, code string) {
	x.t.Helper()
	if a.StatusCode != status || a.Header.Get("Content-Type") != "application/problem+json" || !strings.Contains(a.body, `"code":"`+code+`"`) {
		x.t.Errorf("%s %s: %s as %s, want %d %s\n%s", a.Request.Method, a.Request.URL.Path, a.Status, a.Header.Get("Content-Type"), status, code, a.body)
	}
}

// wantWait wants a program to be told for how long to wait.
func (x *target) wantWait(a answer, least, most time.Duration) {
	x.t.Helper()
	x.wantProblemCode(a, http.StatusTooManyRequests, "throttled")
	after, err := strconv.Atoi(a.Header.Get("Retry-After"))
	if wait := time.Duration(after) * time.Second; err != nil || wait < least || wait > most {
		x.t.Errorf("Retry-After is %q, want %v to %v", a.Header.Get("Retry-After"), least, most)
	}
}

func (x *target) cacheDo(command string, args ...any) any {
	x.t.Helper()
	reply, err := x.cache.Do(command, args...)
	if err != nil {
		x.t.Fatalf("%s: %v", command, err)
	}
	return reply
}

func (x *target) cacheKeys(pattern string) []string {
	x.t.Helper()
	keys, err := redis.Strings(x.cacheDo("KEYS", pattern), nil)
	if err != nil {
		x.t.Fatal(err)
	}
	slices.Sort(keys)
	return keys
}

// forgetWaits ends every wait, in both places.
func (x *target) forgetWaits() {
	x.t.Helper()
	x.forgetThrottles()
	for _, key := range x.cacheKeys("waiting:*") {
		x.cacheDo("DEL", key)
	}
}

// addCarol adds a user with a verified address.
func (x *target) addCarol() {
	x.t.Helper()
	x.run(password, "user", "add", "carol", "--email", "carol@example.org", "--password-stdin").wantCode(x.t, 0)
}

// TestBasicNamesAreOneEntry: all spellings of a name are one entry in the cache, one throttle and
// one user; the password has one form as well.
func TestBasicNamesAreOneEntry(t *testing.T) {
	t.Parallel()
	x := newTarget(t)
	x.visitor().register("alice")
	const composed, decomposed = "zo\u00eb", "zoe\u0308"
	const secret, secretNFD = "brisk-w\u00e4lnut-tram", "brisk-wa\u0308lnut-tram"
	c := x.visitor()
	c.wantSeeOther(c.post("/register", "username", composed, "password", secret), "/dashboard")

	x.wantVouched(x.basicly("alice", password), "alice", "postgres")
	for _, name := range []string{"alice", "Alice", "ALICE", "ａｌｉｃｅ", "Ａlice", " alice "} {
		x.wantVouched(x.basicly(name, password), "alice", "redis")
	}
	x.wantVouched(x.basicly(composed, secret), composed, "postgres")
	for _, name := range []string{composed, decomposed, "ZO\u00cb", "ZOE\u0308", "ｚｏë"} {
		x.wantVouched(x.basicly(name, secret), composed, "redis")
		x.wantVouched(x.basicly(name, secretNFD), composed, "redis")
	}
	if keys := x.cacheKeys("credential:*"); !slices.Equal(keys, []string{"credential:alice:127.0.0.1", "credential:" + composed + ":127.0.0.1"}) {
		t.Errorf("the credentials are %q", keys)
	}
	for i, name := range []string{"alice", "ALICE", "ａｌｉｃｅ"} {
		x.wantProblemCode(x.basicly(name, wrongPassword()), http.StatusUnauthorized, "wrong_credentials")
		if n := x.attempts("networks:" + x.userID("alice")); n != int64(i+1) {
			t.Errorf("%d failures are counted after %d, the last as %q", n, i+1, name)
		}
	}
	for _, nobody := range []string{"", "al ice", "alice\u200b", "аlice", "alice/../bob", "alice\u0000"} {
		if a := x.basicly(nobody, password); a.StatusCode != http.StatusUnauthorized && a.StatusCode != http.StatusBadRequest {
			t.Errorf("%q with alice's password: %s", nobody, a.Status)
		}
	}
	if keys := x.cacheKeys("credential:*"); len(keys) != 2 {
		t.Errorf("the credentials are %q", keys)
	}
}

// TestASVS_6_3_4_BasicSharesTheThrottle: what a stranger guesses by a form slows Basic down, and the
// other way round; another spelling or a flushed cache is no way around it. Sessions, tokens,
// browsers that are known and programs in their own network go on.
func TestASVS_6_3_4_BasicSharesTheThrottle(t *testing.T) {
	t.Parallel()
	x := newProxiedTarget(t)
	p := newPrincipal(x, "alice")
	x.addCarol()
	known := x.visitor()
	known.signIn("alice")
	warm := func() {
		t.Helper()
		x.forgetWaits()
		x.flushCache()
		for _, login := range []string{"alice", "carol", "carol@example.org"} {
			x.basicFrom(homeNetwork, login, password)
			x.wantVouched(x.basicFrom(homeNetwork, login, password), strings.TrimSuffix(login, "@example.org"), "redis")
		}
	}
	guessForm := func(login string) {
		t.Helper()
		if a := x.guessFrom(strangerNetwork, login, wrongPassword()); a.StatusCode != http.StatusUnauthorized {
			t.Fatalf("a guess at %s: %s", login, a.Status)
		}
	}
	guessBasic := func(login string) {
		t.Helper()
		x.wantProblemCode(x.basicFrom(strangerNetwork, login, wrongPassword()), http.StatusUnauthorized, "wrong_credentials")
	}

	t.Run("ten guesses", func(t *testing.T) {
		for name, guess := range map[string]func(string){"form": guessForm, "basic": guessBasic} {
			warm()
			for range 10 {
				guess("alice")
			}
			if n := x.attempts(accountKey("alice")); n != 10 {
				t.Errorf("%s: %d failures are counted, want 10", name, n)
			}
			// A second from now on, which a slow machine may miss.
			if a := x.basicFrom(strangerNetwork, "alice", password); a.StatusCode == http.StatusOK {
				if left := x.int("HGET", throttleKey("alice"), "until") - x.redisMillis(); left > 0 {
					t.Errorf("%s: served with %d ms to wait", name, left)
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
		"form by name":         {guessForm, "alice", []string{"alice", "ALICE", "ａｌｉｃｅ"}, []string{"carol"}, accountKey("alice")},
		"basic by name":        {guessBasic, "alice", []string{"alice", "ALICE"}, []string{"carol"}, accountKey("alice")},
		"form by the address":  {guessForm, "carol@example.org", []string{"carol@example.org", "Carol@Example.ORG"}, []string{"alice", "carol"}, accountKey("carol@example.org")},
		"basic by the address": {guessBasic, "Carol@Example.ORG", []string{"carol@example.org"}, []string{"alice", "carol"}, accountKey("carol@example.org")},
	} {
		t.Run(name, func(t *testing.T) {
			warm()
			x.do("HSET", "throttle:"+test.throttle, "n", "25", "until", "0")
			test.guess(test.at)
			refused := func() {
				t.Helper()
				for _, login := range test.refused {
					x.wantWait(x.basicFrom(strangerNetwork, login, password), 14*time.Minute, 15*time.Minute)
					x.wantThrottled(x.guessFrom(strangerNetwork, login, password), 14*time.Minute, 15*time.Minute)
					x.wantThrottled(x.guessFrom(homeNetwork, login, password), 14*time.Minute, 15*time.Minute)
				}
			}
			refused()
			x.wantWait(x.visitor().do(x.visitor().request(http.MethodPost, "/api/tokens",
				fmt.Sprintf(`{"username":%q,"password":%q}`, test.refused[0], password), "Content-Type", "application/json", "X-Forwarded-For", strangerNetwork)), 14*time.Minute, 15*time.Minute)
			if n := x.attempts(test.throttle); n != 26 {
				t.Errorf("%d failures are counted, want 26", n)
			}
			for _, login := range slices.Concat(test.refused, test.others) {
				if a := x.basicFrom(homeNetwork, login, password); a.StatusCode != http.StatusOK {
					t.Errorf("the program of %s: %s", login, a.Status)
				}
			}
			p.want(bySession, "/api/me", http.StatusOK)
			p.want(byToken, "/api/me", http.StatusOK)
			known.copy(known.base).want(known.post("/login", "username", "alice", "password", password), http.StatusSeeOther)
			x.flushCache()
			refused()
		})
	}
	t.Run("by the caller's address", func(t *testing.T) {
		warm()
		x.do("HSET", "throttle:address:"+homeNetwork, "n", "150", "until", "0")
		x.wantProblemCode(x.basicFrom(homeNetwork, "nobody", wrongPassword()), http.StatusUnauthorized, "wrong_credentials")
		x.wantWait(x.basicFrom(homeNetwork, "alice", password), 50*time.Second, time.Minute)
		x.wantThrottled(x.guessFrom(homeNetwork, "carol", password), 50*time.Second, time.Minute)
		p.want(byToken, "/api/me", http.StatusOK)
		x.flushCache()
		x.wantWait(x.basicFrom(homeNetwork, "alice", password), 50*time.Second, time.Minute)
	})
	networks := "networks:" + x.userID("alice")
	t.Run("a guess against a warm entry", func(t *testing.T) {
		warm()
		for i := range 3 {
			x.wantProblemCode(x.basicFrom(homeNetwork, "alice", wrongPassword()), http.StatusUnauthorized, "wrong_credentials")
			if n := x.attempts(networks); n != int64(i+1) {
				t.Errorf("%d failures are counted after %d", n, i+1)
			}
			x.wantVouched(x.basicFrom(homeNetwork, "alice", password), "alice", "redis")
		}
		if n := x.attempts("address:" + homeNetwork); n != 3 {
			t.Errorf("the address has %d failures, want 3", n)
		}
	})
	t.Run("in the end it ends", func(t *testing.T) {
		warm()
		x.do("HSET", "throttle:"+networks, "n", "18", "until", "0")
		x.wantProblemCode(x.basicFrom(homeNetwork, "alice", wrongPassword()), http.StatusUnauthorized, "wrong_credentials")
		x.wantWait(x.basicFrom(homeNetwork, "alice", password), 8*time.Minute, 9*time.Minute)
		x.do("DEL", "throttle:"+networks)
		x.cacheDo("PEXPIRE", waitingKey("alice", homeNetwork), 0)
		x.wantVouched(x.basicFrom(homeNetwork, "alice", password), "alice", "redis")
		if keys := x.cacheKeys("waiting:*"); len(keys) > 0 {
			t.Errorf("there still wait %q", keys)
		}
	})
}

// TestASVS_15_3_4_ProgramsCannotRotateTheirAddress: no header makes a program come from elsewhere,
// or be somebody.
func TestASVS_15_3_4_ProgramsCannotRotateTheirAddress(t *testing.T) {
	t.Parallel()
	x := newTarget(t)
	x.visitor().register("alice")
	sent := int64(0)
	for i, header := range forwardingHeaders {
		x.basicly(fmt.Sprint("victim", i), wrongPassword(), header, fmt.Sprintf("203.0.113.%d", i))
		x.basicly(fmt.Sprint("victim", i), wrongPassword(), header, fmt.Sprintf("for=203.0.113.%d", i))
		sent += 2
		x.me("Authorization", "Bearer gatehouse_no", header, fmt.Sprintf("203.0.113.%d", i))
	}
	if n := x.attempts("address:127.0.0.1"); n != sent {
		t.Errorf("%d of %d failures are counted for the socket's address", n, sent)
	}
	if keys := x.keys("throttle:address:*"); len(keys) != 1 {
		t.Errorf("addresses are counted under %q", keys)
	}
	x.do("HSET", "throttle:address:127.0.0.1", "n", "150", "until", x.redisMillis()+60_000)
	for i, header := range forwardingHeaders {
		x.wantWait(x.basicly("alice", password, header, fmt.Sprintf("198.51.100.%d", i)), 50*time.Second, time.Minute)
	}
	for _, header := range []string{"Remote-User", "Remote_User", "X-Forwarded-User", "X_Forwarded_User", "Remote-Email", "Remote-Groups", "X-Remote-User"} {
		x.wantProblemCode(x.me(header, "alice"), http.StatusUnauthorized, "credentials_needed")
	}
}

// TestCopiedRecordsSignNobodyIn: whoever can write to Redis, or meets a reply that belongs to
// somebody else, is not somebody else by it.
func TestCopiedRecordsSignNobodyIn(t *testing.T) {
	t.Parallel()
	x := newTarget(t)
	alice, mallory := newPrincipal(x, "alice"), newPrincipal(x, "mallory")
	mallory.client.want(mallory.client.changePassword(password, otherPassword), http.StatusSeeOther)
	mallory.secret = otherPassword
	mallory.newToken()
	alice.warm()
	mallory.warm()
	record := func(name string) string {
		t.Helper()
		s, err := redis.String(x.cacheDo("GET", "credential:"+name+":127.0.0.1"), nil)
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
		"another's record":                      ofMallory,
		"another's, renamed":                    edited(ofMallory, map[string]any{"name": "alice"}),
		"another's, with her id":                edited(ofMallory, map[string]any{"name": "alice", "user_id": alice.id}),
		"another's, with her id and epoch":      edited(ofMallory, map[string]any{"name": "alice", "user_id": alice.id, "epoch": 1}),
		"her own without a MAC":                 edited(ofAlice, map[string]any{"mac": ""}),
		"her own with a MAC of zeros":           edited(ofAlice, map[string]any{"mac": zeros}),
		"her own with another's MAC":            edited(ofAlice, map[string]any{"mac": json.RawMessage(field(t, ofMallory, "mac"))}),
		"her own of another epoch":              edited(ofAlice, map[string]any{"epoch": 2}),
		"her own of another version":            edited(ofAlice, map[string]any{"v": 2}),
		"her own with another's id":             edited(ofAlice, map[string]any{"user_id": mallory.id}),
		"nothing that can be read":              "{",
		"an empty object":                       "{}",
		"a megabyte":                            strings.Repeat("x", 1<<20),
		"a number where an object should stand": "1",
	} {
		x.forgetWaits()
		x.cacheDo("SET", "credential:alice:127.0.0.1", value)
		x.wantProblemCode(x.basicly("alice", otherPassword), http.StatusUnauthorized, "wrong_credentials")
		x.cacheDo("SET", "credential:alice:127.0.0.1", value)
		a := x.basicly("alice", password)
		if a.StatusCode != http.StatusOK || !strings.Contains(a.body, `"authorized_by":"postgres"`) || !strings.Contains(a.body, alice.id) {
			t.Errorf("with %s under her name alice is answered %s\n%s", what, a.Status, a.body)
		}
	}
	for what, value := range map[string]string{
		"alice's record":            ofAlice,
		"alice's, renamed":          edited(ofAlice, map[string]any{"name": "mallory"}),
		"their own with alice's id": edited(ofMallory, map[string]any{"user_id": alice.id, "epoch": 1}),
	} {
		for _, secret := range []string{password, otherPassword} {
			x.forgetWaits()
			x.cacheDo("SET", "credential:mallory:127.0.0.1", value)
			if a := x.basicly("mallory", secret); strings.Contains(a.body, alice.id) || a.StatusCode == http.StatusOK && secret == password {
				t.Errorf("with %s mallory is answered %s\n%s", what, a.Status, a.body)
			}
		}
	}
	x.cacheDo("DEL", "credential:alice:127.0.0.1")
	x.cacheDo("LPUSH", "credential:alice:127.0.0.1", ofAlice)
	x.wantVouched(x.basicly("alice", password), "alice", "postgres")

	// A token's record under another token's key.
	tokenOf := func(p *principal) string {
		s, err := redis.String(x.do("GET", p.tokenRecord()), nil)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	hers, theirs := tokenOf(alice), tokenOf(mallory)
	for what, value := range map[string]string{
		"alice's record":          hers,
		"one that cannot be read": "{",
		"an expired one":          edited(theirs, map[string]any{"expires_at": "2020-01-01T00:00:00Z"}),
		"another version":         edited(theirs, map[string]any{"v": 2}),
	} {
		x.do("SET", mallory.tokenRecord(), value)
		x.wantProblemCode(mallory.ask(byToken, "/api/me"), http.StatusUnauthorized, "token_unknown")
		if what == "an expired one" && x.ttl(mallory.tokenRecord()) > 0 {
			t.Error("the key has a TTL; this has shown nothing")
		}
	}
	x.do("SET", mallory.tokenRecord(), theirs)
	mallory.want(byToken, "/api/me", http.StatusOK)
	// Without a TTL it ends all the same, and the key of a session opens nothing as a token.
	x.do("SET", mallory.tokenRecord(), edited(theirs, map[string]any{"epoch": 1}))
	x.wantProblemCode(mallory.ask(byToken, "/api/me"), http.StatusUnauthorized, "token_dead")
	x.wantProblemCode(x.me("Authorization", "Bearer "+alice.client.cookie(sessionCookie)), http.StatusUnauthorized, "token_malformed")
	if a := x.me("Cookie", sessionCookie+"="+alice.token); a.StatusCode != http.StatusUnauthorized {
		t.Errorf("a token in the session's cookie: %s", a.Status)
	}
}

// field returns a field of an object as it is written.
func field(t *testing.T, object, name string) []byte {
	t.Helper()
	fields := map[string]json.RawMessage{}
	if err := json.Unmarshal([]byte(object), &fields); err != nil {
		t.Fatal(err)
	}
	return fields[name]
}

// TestADisabledUsersPrograms: who holds a token may know why it is refused. Basic says nothing:
// a disabled account, a wrong password and an unknown name are one answer.
func TestADisabledUsersPrograms(t *testing.T) {
	t.Parallel()
	x := newTarget(t)
	p := newPrincipal(x, "alice")
	p.warm()
	x.run("", "user", "disable", "alice").wantCode(t, 0)
	x.wantProblemCode(p.ask(byToken, "/api/me"), http.StatusUnauthorized, "user_disabled")
	x.wantProblemCode(p.ask(byToken, "/api/users"), http.StatusUnauthorized, "user_disabled")
	x.wantProblemCode(p.ask(bySession, "/api/me"), http.StatusUnauthorized, "credentials_needed")
	problem := func(a answer) string {
		x.wantProblemCode(a, http.StatusUnauthorized, "wrong_credentials")
		return strings.ReplaceAll(outside(a, ""), a.Header.Get("X-Request-Id"), "ID")
	}
	disabled := problem(p.ask(byBasic, "/api/me"))
	x.visitor().register("bob")
	for what, other := range map[string]answer{
		"a wrong password": x.basicly("bob", otherPassword), "an unknown name": x.basicly("nobody", password), "a disabled account's wrong one": x.basicly("alice", otherPassword),
	} {
		if got := problem(other); got != disabled {
			t.Errorf("%s is answered\n%s\nand the disabled account\n%s", what, got, disabled)
		}
	}
	x.run("", "user", "enable", "alice").wantCode(t, 0)
	x.forgetWaits()
	testkit.Eventually(t, bound, "the enabling to be in effect", func() bool { return strings.Contains(p.ask(byToken, "/api/me").body, "token_dead") })
	x.wantProblemCode(p.ask(byToken, "/api/me"), http.StatusUnauthorized, "token_dead")
	p.want(byBasic, "/api/me", http.StatusOK)
	x.exec(`DELETE FROM users WHERE username = 'alice'`)
	// The news are on their way for a moment.
	testkit.Eventually(t, bound, "the deletion to be in effect", func() bool { return strings.Contains(p.ask(byToken, "/api/me").body, "token_unknown") })
	x.wantProblemCode(p.ask(byToken, "/api/me"), http.StatusUnauthorized, "token_unknown")
	x.wantProblemCode(p.ask(byBasic, "/api/me"), http.StatusUnauthorized, "wrong_credentials")
}

// TestProgramsLeaveNothingBehind: Basic and tokens make no session and no cookie, cost one round
// trip when warm, and are all that counts when they are sent.
func TestProgramsLeaveNothingBehind(t *testing.T) {
	t.Parallel()
	x := newTarget(t)
	p := newPrincipal(x, "alice")
	p.warm()
	before := x.keys("session*")
	for range 3 {
		for _, way := range []string{byBasic, byToken} {
			a := p.want(way, "/api/me", http.StatusOK)
			if len(a.Header.Values("Set-Cookie")) > 0 || a.Header.Get("Cache-Control") != "no-store" || a.Header.Get("WWW-Authenticate") != "" {
				t.Errorf("by %s the headers are %v", way, a.Header)
			}
			if trips, sql := costOf(a); trips != "1" || sql != "0" {
				t.Errorf("by %s a warm answer costs %s round trips and %s statements", way, trips, sql)
			}
		}
	}
	if after := x.keys("session*"); len(after) != len(before) {
		t.Errorf("there are the sessions %q, before %q", after, before)
	}
	session := "Cookie"
	mine := p.client.session()
	for what, header := range map[string][]string{
		"a wrong password":   {"Authorization", basicHeader("alice", otherPassword)},
		"a malformed token":  {"Authorization", "Bearer x"},
		"an unknown scheme":  {"Authorization", "Digest x"},
		"an empty header":    {"Authorization", ""},
		"a token by query":   nil,
		"base64 of nothing":  {"Authorization", "Basic "},
		"a name without a :": {"Authorization", "Basic YWxpY2U="},
	} {
		a := x.me(append(header, session, mine)...)
		if header == nil {
			a = x.visitor().get("/api/me?access_token=" + p.token + "&token=" + p.token)
		}
		if a.StatusCode != http.StatusUnauthorized && a.StatusCode != http.StatusBadRequest {
			t.Errorf("%s beside a good session: %s", what, a.Status)
		}
		if a.StatusCode == http.StatusUnauthorized && a.Header.Get("WWW-Authenticate") == "" {
			t.Errorf("%s: a 401 without a challenge", what)
		}
		if len(a.Header.Values("Set-Cookie")) > 0 {
			t.Errorf("%s: sets a cookie", what)
		}
	}
	two := x.visitor()
	req := two.request(http.MethodGet, "/api/me", "")
	req.Header["Authorization"] = []string{"Bearer " + p.token, basicHeader("alice", password)}
	two.want(two.do(req), http.StatusBadRequest)
}

// TestAuthorizationIsForTheAPIOnly: pages do not look at the header, whatever it says.
func TestAuthorizationIsForTheAPIOnly(t *testing.T) {
	t.Parallel()
	x := newTarget(t)
	p := newPrincipal(x, "alice")
	x.exec(`INSERT INTO user_groups (user_id, group_name) SELECT id, 'admin' FROM users`)
	p.warm()
	state := func() string {
		keys := append(x.keys("session*"), x.keys("token*")...)
		slices.Sort(keys)
		return strings.Join(keys, " ") + x.value(`SELECT string_agg(users::text, ' ') FROM users`)
	}
	before := state()
	for _, method := range []string{http.MethodGet, http.MethodPost} {
		for _, path := range routesOf(method) {
			if strings.HasPrefix(path, "/api/") || path == "/register" || path == "/login" && method == http.MethodPost {
				continue
			}
			path = strings.ReplaceAll(path, ":id", p.id)
			send := func(header ...string) answer {
				c := x.visitor()
				return c.do(c.request(method, path, "active=false&group=x", append(header, "Content-Type", formType)...))
			}
			without := send()
			for _, header := range []string{basicHeader("alice", password), basicHeader("alice", otherPassword), "Bearer " + p.token, "Token " + p.token} {
				with := send("Authorization", header)
				if with.StatusCode != without.StatusCode || with.Header.Get("Location") != without.Header.Get("Location") || strings.Contains(with.body, "alice") ||
					with.Header.Get("WWW-Authenticate") != "" {
					t.Errorf("%s %s with %.10s…: %s to %q, without it %s to %q", method, path, header, with.Status, with.Header.Get("Location"), without.Status, without.Header.Get("Location"))
				}
			}
		}
	}
	if after := state(); after != before {
		t.Errorf("something has changed:\n%s\n%s", before, after)
	}
	if n := x.attempts(accountKey("alice")); n != 0 {
		t.Errorf("pages have counted %d guesses in a header that they do not read", n)
	}
}
