package security

import (
	"bytes"
	"crypto/sha256"
	"database/sql"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/gomodule/redigo/redis"

	"gatehouse/internal/e2e/kit"
	"gatehouse/internal/testkit"
)

// dump is the content of one store, log or metrics page as text: everything that a thief of it would have.
type dump struct{ name, text string }

// dumpRedis returns every key of a database, both by type and in Redis's own serialization.
func dumpRedis(t testing.TB, address string) dump {
	t.Helper()
	conn := kit.DialRedis(t, address)
	read := map[string][]any{
		"string": {"GET"}, "hash": {"HGETALL"}, "set": {"SMEMBERS"}, "list": {"LRANGE", 0, -1},
		"zset": {"ZRANGE", 0, -1, "WITHSCORES"}, "stream": {"XRANGE", "-", "+"},
	}
	var b strings.Builder
	keys := map[string]bool{}
	for cursor := "0"; ; {
		page, err := redis.Values(conn.Do("SCAN", cursor, "COUNT", 1000))
		if err != nil {
			t.Fatal(err)
		}
		var found []string
		if _, err := redis.Scan(page, &cursor, &found); err != nil {
			t.Fatal(err)
		}
		for _, key := range found {
			keys[key] = true
		}
		if cursor == "0" {
			break
		}
	}
	for key := range keys {
		kind, err := redis.String(conn.Do("TYPE", key))
		if err != nil {
			t.Fatal(err)
		}
		if read[kind] == nil {
			t.Fatalf("unexpected type %s of %s", kind, key)
		}
		value, err := conn.Do(read[kind][0].(string), append([]any{key}, read[kind][1:]...)...)
		if err != nil {
			t.Fatal(err)
		}
		saved, err := redis.Bytes(conn.Do("DUMP", key))
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "%s %s\n%s\n%s\n", kind, key, flat(value), saved)
	}
	return dump{"the Redis " + address, b.String()}
}

func flat(reply any) string {
	switch v := reply.(type) {
	case []byte:
		return string(v)
	case []any:
		var b strings.Builder
		for _, each := range v {
			b.WriteString(flat(each) + "\n")
		}
		return b.String()
	}
	return fmt.Sprint(reply)
}

// dumpPostgres returns all rows of all tables as text.
func dumpPostgres(t testing.TB, db *sql.DB) dump {
	t.Helper()
	tables := kit.QueryText(t, db, `SELECT string_agg(format('%I.%I', table_schema, table_name), ' ') FROM information_schema.tables
		WHERE table_schema NOT IN ('pg_catalog', 'information_schema')`)
	var b strings.Builder
	for table := range strings.FieldsSeq(tables) {
		fmt.Fprintf(&b, "%s\n%s\n", table, kit.QueryText(t, db, `SELECT coalesce(string_agg(x::text, E'\n'), '') FROM `+table+` x`))
	}
	return dump{"Postgres", b.String()}
}

// encodings returns the ways in which a secret may be encoded, by name. Base64 is searched for at every alignment.
func encodings(secret string) map[string]string {
	all := map[string]string{
		"clear":            secret,
		"hex":              hex.EncodeToString([]byte(secret)),
		"upper-case hex":   strings.ToUpper(hex.EncodeToString([]byte(secret))),
		"percent-encoding": url.QueryEscape(secret),
		"JSON":             strings.Trim(kit.ToJSON(secret), `"`),
	}
	for shift := range 3 {
		for name, encoding := range map[string]*base64.Encoding{"base64": base64.RawStdEncoding, "base64url": base64.RawURLEncoding} {
			encoded := encoding.EncodeToString([]byte(strings.Repeat("\x00", shift) + secret))
			// Without the characters that also encode neighboring bytes.
			encoded = encoded[(shift*8+5)/6 : (shift+len(secret))*8/6]
			all[fmt.Sprintf("%s at %d", name, shift)] = encoded
		}
	}
	return all
}

// hashes returns the unkeyed hashes that an attacker could compute from a guess.
func hashes(secret string, about ...string) map[string]string {
	all := map[string]string{}
	add := func(what string, text string) {
		sum := sha256.Sum256([]byte(text))
		for name, written := range map[string]string{
			"bytes": string(sum[:]), "hex": hex.EncodeToString(sum[:]), "HEX": strings.ToUpper(hex.EncodeToString(sum[:])),
			"base64": base64.RawStdEncoding.EncodeToString(sum[:]), "base64url": base64.RawURLEncoding.EncodeToString(sum[:]),
		} {
			all["SHA-256 of "+what+" in "+name] = written
		}
	}
	add("the secret", secret)
	for _, name := range about {
		for _, between := range []string{"", ":", "\x00", " "} {
			add(fmt.Sprintf("%q and the secret", name+between), name+between+secret)
			add(fmt.Sprintf("the secret and %q", between+name), secret+between+name)
		}
	}
	return all
}

// TestSecrets_InNoStoreOrLog uses every feature with unique secrets and then searches both Redis databases, the whole
// of Postgres, the logs and the metrics.
func TestSecrets_InNoStoreOrLog(t *testing.T) {
	t.Parallel()
	s := kit.NewSite(t)
	a, b := s.Serve(kit.MetricsOn...), s.Serve(kit.MetricsOn...)
	db := kit.OpenDB(t, "postgres", s.DatabaseURL)
	const (
		first, second, third                          = "marker-one-pelican", "marker-two-harbour!", "marker-three-ünder"
		wrongForm, wrongBasic, wrongJSON, wrongChange = "marker-wrong-form-9", "marker-wrong-basic-9", "marker-wrong-json-9", "marker-wrong-change-9"
		refusedNew                                    = "marker-n"
		asName                                        = "marker-typed-as-name"
		added, set, refusedSet                        = "marker-added-by-admin", "marker-set-by-admin", "marker-s"
	)
	passwords := []string{first, second, third, wrongForm, wrongBasic, wrongJSON, wrongChange, refusedNew, asName, added, set, refusedSet}
	secrets := map[string]string{}
	for _, p := range passwords {
		secrets["the password "+p] = p
	}
	c := kit.NewClient(t, a.URL())
	note := func(what string) {
		secrets["the cookie "+what] = c.Cookie(kit.SessionCookie)
		secrets["the browser's cookie "+what] = c.Cookie(kit.SessionCookie + "_browser")
	}
	c.WantSeeOther(c.PostForm("/register", "username", "alice", "password", first, "email", "alice@example.org"), "/dashboard?notice=welcome")
	note("of the registration")
	c.WantSeeOther(c.PostForm("/logout"), "/login?notice=signed-out")
	c.WantStatus(c.PostForm("/login", "username", "alice", "password", wrongForm), http.StatusUnauthorized)
	c.WantStatus(c.PostForm("/login", "username", asName, "password", "alice"), http.StatusUnauthorized)
	c.WantStatus(c.PostForm("/login", "username", "alice", "password", first, "remember", "on"), http.StatusSeeOther)
	note("of the sign-in")

	basicly := func(base, name, secret string) kit.Response {
		visitor := kit.NewClient(t, base)
		secrets["the header of "+secret+" for "+name] = strings.TrimPrefix(kit.BasicHeader(name, secret), "Basic ")
		return visitor.Get("/api/me", "Authorization", kit.BasicHeader(name, secret))
	}
	for range 2 {
		c.WantStatus(basicly(a.URL(), "alice", first), http.StatusOK)
		c.WantStatus(basicly(b.URL(), "alice", first), http.StatusOK)
	}
	c.WantStatus(basicly(b.URL(), "alice", wrongBasic), http.StatusUnauthorized)
	c.WantStatus(basicly(b.URL(), asName, "alice"), http.StatusUnauthorized)
	c.WantStatus(basicly(b.URL(), asName+":", "x"), http.StatusUnauthorized)

	s.RedisDo("HSET", "throttle:address:127.0.0.1", "n", 200, "until", s.RedisInt("EVAL", `return redis.call('TIME')[1] * 1000 + 60000`, 0))
	c.WantStatus(c.PostForm("/login", "username", asName, "password", wrongForm), http.StatusTooManyRequests)
	c.WantStatus(basicly(a.URL(), asName, wrongBasic), http.StatusTooManyRequests)
	s.RedisDo("DEL", "throttle:address:127.0.0.1")
	cache := kit.DialRedis(t, s.RedisURL+"/1")
	if _, err := cache.Do("DEL", "waiting:address:127.0.0.1"); err != nil {
		t.Fatal(err)
	}

	made := 0
	newToken := func(body string, header ...string) string {
		program := kit.NewClient(t, b.URL())
		got := program.Do(program.NewRequest(http.MethodPost, "/api/tokens", body, append(header, "Content-Type", "application/json")...))
		c.WantStatus(got, http.StatusCreated)
		var token struct{ Token string }
		kit.DecodeJSON(t, got, &token)
		made++
		secrets[fmt.Sprintf("token %d", made)] = token.Token
		return token.Token
	}
	tokens := []string{
		newToken(`{"name":"by basic"}`, "Authorization", kit.BasicHeader("alice", first)),
		newToken(`{"username":"alice","password":"` + first + `","name":"by body"}`),
		newToken(`{"name":"by session"}`, "Cookie", c.SessionCookieHeader()),
	}
	shown := c.PostForm("/account/tokens", "name", "by page", "days", "3")
	c.WantStatus(shown, http.StatusOK)
	i := strings.Index(shown.Text, "gatehouse_")
	if i < 0 {
		t.Fatal("the page shows no token")
	}
	tokens = append(tokens, shown.Text[i:i+len(tokens[0])])
	secrets["the token of the page"] = tokens[3]
	program := kit.NewClient(t, a.URL())
	c.WantStatus(program.Do(program.NewRequest(http.MethodPost, "/api/tokens", `{"username":"alice","password":"`+wrongJSON+`"}`, "Content-Type", "application/json")), http.StatusUnauthorized)
	for _, token := range tokens {
		for _, scheme := range []string{"Bearer ", "Token "} {
			c.WantStatus(kit.NewClient(t, a.URL()).Get("/api/time", "Authorization", scheme+token), http.StatusOK)
		}
	}
	mistyped := tokens[0][:40] + "xxxxxxxx"
	secrets["a mistyped token"] = mistyped
	c.WantStatus(kit.NewClient(t, a.URL()).Get("/api/time", "Authorization", "Bearer "+mistyped), http.StatusUnauthorized)
	c.WantStatus(program.Do(program.NewRequest(http.MethodDelete, "/api/tokens/current", "", "Authorization", "Bearer "+tokens[1])), http.StatusNoContent)
	c.WantStatus(kit.NewClient(t, a.URL()).Get("/api/time", "Authorization", "Bearer "+tokens[1]), http.StatusUnauthorized)

	c.WantStatus(c.ChangePassword(wrongChange, second), http.StatusUnprocessableEntity)
	c.WantStatus(c.ChangePassword(first, refusedNew), http.StatusUnprocessableEntity)
	c.WantSeeOther(c.ChangePassword(first, second), "/account?notice=password")
	note("of the change")
	c.WantStatus(basicly(a.URL(), "alice", second), http.StatusOK)
	s.Run(third, "user", "passwd", "alice", "--password-stdin").WantCode(t, 0)
	c.WantStatus(basicly(b.URL(), "alice", third), http.StatusOK)
	c.WantStatus(basicly(b.URL(), "alice", third), http.StatusOK)
	c.WantStatus(c.PostForm("/login", "username", "alice", "password", third), http.StatusSeeOther)
	note("of the last sign-in")
	tokens = append(tokens, newToken(`{"name":"alive"}`, "Authorization", kit.BasicHeader("alice", third)))
	c.WantStatus(kit.NewClient(t, b.URL()).Get("/api/tokens", "Authorization", "Bearer "+tokens[4]), http.StatusOK)
	s.Run("", "user", "join", "alice", "admin").WantCode(t, 0)
	testkit.Eventually(t, kit.MaxDelay, "the permission", func() bool { return c.Get("/admin/users").StatusCode == http.StatusOK })
	c.WantStatus(c.PostForm("/admin/users/new", "username", "bob", "password", refusedSet), http.StatusUnprocessableEntity)
	c.WantStatus(c.PostForm("/admin/users/new", "username", "bob", "password", added), http.StatusSeeOther)
	bob := "/admin/users/" + kit.QueryText(t, db, `SELECT id FROM users WHERE username = 'bob'`)
	c.WantStatus(c.PostForm(bob+"/password", "new_password", refusedSet), http.StatusUnprocessableEntity)
	c.WantStatus(c.PostForm(bob+"/password", "new_password", set), http.StatusSeeOther)
	c.WantStatus(basicly(b.URL(), "bob", set), http.StatusOK)
	c.WantStatus(c.Get("/account"), http.StatusOK)
	c.WantStatus(c.Get("/account/tokens"), http.StatusOK)
	s.Run("", "maintenance", "on", "--message", "soon").WantCode(t, 0)
	// Every kind of data must exist, or the test is inconclusive.
	tokenUsed := func() bool {
		return strings.Contains(c.Get("/account/tokens").Text, "just now")
	}
	testkit.Eventually(t, kit.MaxDelay, "the tokens' last use to be written", tokenUsed)

	dumps := []dump{
		dumpRedis(t, s.RedisURL), dumpRedis(t, s.RedisURL+"/1"), dumpPostgres(t, db),
		{"a's log", a.Log()}, {"b's log", b.Log()}, {"a's metrics", kit.ScrapeText(t, kit.MetricsAddr(t, a))},
	}
	for _, there := range []struct{ where, what string }{
		{dumps[0].text, "session:"}, {dumps[0].text, "sessions:"}, {dumps[0].text, "token:"}, {dumps[0].text, "tokens:"},
		{dumps[0].text, "throttle:"}, {dumps[0].text, "maintenance"}, {dumps[1].text, "credential:alice"}, {dumps[1].text, "user:"},
		{dumps[2].text, "$argon2id$"}, {dumps[2].text, "alice"}, {dumps[3].text, `"level":"DEBUG"`}, {dumps[4].text, "token created"},
	} {
		if !strings.Contains(there.where, there.what) {
			t.Errorf("%s is missing from the searched texts", there.what)
		}
	}
	for what, secret := range secrets {
		if len(secret) < 8 {
			t.Fatalf("%s is %q, which is too short to search for", what, secret)
		}
		for form, written := range encodings(secret) {
			for _, d := range dumps {
				if strings.Contains(d.text, written) {
					t.Errorf("%s is in %s in %s", what, d.name, form)
				}
			}
		}
	}
	for _, p := range passwords {
		for hash, written := range hashes(p, "alice", "alice@example.org", kit.QueryText(t, db, `SELECT id FROM users`)) {
			for _, d := range dumps {
				if strings.Contains(d.text, written) {
					t.Errorf("the %s of the password %s is in %s", hash, p, d.name)
				}
			}
		}
	}
	for _, d := range dumps[:5] {
		for _, word := range []string{"Authorization", "Basic ", "Bearer ", kit.SecretKey, strings.TrimRight(kit.SecretKey, "=")} {
			if strings.Contains(d.text, word) {
				t.Errorf("%q is in %s", word, d.name)
			}
		}
	}
}

// TestSecrets_SearchFindsEveryEncoding: the search of TestSecrets_InNoStoreOrLog works.
func TestSecrets_SearchFindsEveryEncoding(t *testing.T) {
	t.Parallel()
	const secret = "marker-wrong-basic-9"
	sum := sha256.Sum256([]byte(secret))
	for what, text := range map[string]string{
		"in plain text":         "x" + secret + "x",
		"in the header":         kit.BasicHeader("alice", secret),
		"in another's header":   kit.BasicHeader("bob1", secret),
		"in a third's header":   kit.BasicHeader("carol", secret),
		"in base64":             base64.StdEncoding.EncodeToString([]byte(secret)),
		"in base64 with a tail": base64.StdEncoding.EncodeToString([]byte(secret + "tail")),
		"in hex":                hex.EncodeToString([]byte("x" + secret)),
	} {
		if !slices.ContainsFunc(slices.Collect(maps.Values(encodings(secret))), func(f string) bool { return strings.Contains(text, f) }) {
			t.Errorf("a password %s is not found", what)
		}
	}
	for what, text := range map[string]string{"hex": hex.EncodeToString(sum[:]), "base64": base64.StdEncoding.EncodeToString(sum[:])} {
		if !slices.ContainsFunc(slices.Collect(maps.Values(hashes(secret))), func(f string) bool { return strings.Contains(text, f) }) {
			t.Errorf("a hash in %s is not found", what)
		}
	}
	if strings.Contains("something else altogether", encodings(secret)["base64 at 1"]) {
		t.Error("the search has false positives")
	}
}

// TestCachedCredential_DependsOnTheSecretKey: a server with another key does not accept the credential and creates a new
// one, and without the key nothing in it can be computed from name and password.
func TestCachedCredential_DependsOnTheSecretKey(t *testing.T) {
	t.Parallel()
	s := kit.NewSite(t)
	const otherKey = "ZmVkY2JhOTg3NjU0MzIxMGZlZGNiYTk4NzY1NDMyMTA="
	one, other := s.ServeWithoutRace(), s.ServeWithoutRace("SECRET_KEY", otherKey)
	rotated := s.ServeWithoutRace("SECRET_KEY", otherKey+","+kit.SecretKey)
	kit.NewClient(t, one.URL()).Register("alice")
	authorizedBy := func(server *testkit.Server) string {
		t.Helper()
		c := kit.NewClient(t, server.URL())
		a := c.Get("/api/me", "Authorization", kit.BasicHeader("alice", kit.Password))
		c.WantStatus(a, http.StatusOK)
		var me kit.Me
		kit.DecodeJSON(t, a, &me)
		return me.AuthorizedBy
	}
	cache := kit.DialRedis(t, s.RedisURL+"/1")
	record := func() map[string]any {
		t.Helper()
		b, err := redis.Bytes(cache.Do("GET", "credential:alice:127.0.0.1"))
		if err != nil {
			t.Fatal(err)
		}
		fields := map[string]any{}
		if err := json.Unmarshal(b, &fields); err != nil {
			t.Fatal(err)
		}
		return fields
	}
	wantAuthorizedBy := func(server *testkit.Server, store, what string) {
		t.Helper()
		if got := authorizedBy(server); got != store {
			t.Errorf("%s: authorized by %s, want %s", what, got, store)
		}
	}
	wantAuthorizedBy(one, "postgres", "cold")
	wantAuthorizedBy(one, "redis", "warm")
	made := record()
	// A key that is being rotated out is still valid.
	wantAuthorizedBy(rotated, "redis", "the old key in second place")
	wantAuthorizedBy(other, "postgres", "a record of another key")
	wantAuthorizedBy(other, "redis", "a record of its own key")
	remade := record()
	wantAuthorizedBy(rotated, "redis", "the new key in first place")
	wantAuthorizedBy(one, "postgres", "a record of a key that this server does not have")
	again := record()

	for name, value := range made {
		same := fmt.Sprint(remade[name]) == fmt.Sprint(value)
		if name == "mac" == same {
			t.Errorf("%s is %v under one key and %v under the other", name, value, remade[name])
		}
		if fmt.Sprint(again[name]) != fmt.Sprint(value) {
			t.Errorf("%s is %v and then %v under the same key", name, value, again[name])
		}
	}
	mac, err := base64.StdEncoding.DecodeString(made["mac"].(string))
	if err != nil || len(mac) != sha256.Size {
		t.Fatalf("the MAC is %v", made["mac"])
	}
	for what, guess := range hashes(kit.Password, "alice", made["user_id"].(string), fmt.Sprint("alice", made["user_id"], made["epoch"])) {
		if bytes.Equal(mac, []byte(guess)) {
			t.Errorf("the MAC is the %s", what)
		}
	}
	// Name, network, user and epoch are not secret; the record has no other fields.
	names := slices.Sorted(maps.Keys(made))
	if !slices.Equal(names, []string{"epoch", "mac", "name", "network", "user_id", "v"}) {
		t.Errorf("got the fields %q", names)
	}
	if ttl, err := redis.Int64(cache.Do("PTTL", "credential:alice:127.0.0.1")); err != nil || ttl <= 0 || ttl > 5*60*1000 {
		t.Errorf("the record has a TTL of %d ms (%v)", ttl, err)
	}
}
