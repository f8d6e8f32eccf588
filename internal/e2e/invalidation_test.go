package e2e

import (
	"context"
	"database/sql"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"

	"gatehouse/auth"
	"gatehouse/internal/testkit"
)

// The ways in which a program or a browser shows who it is.
const (
	bySession = "session"
	byBasic   = "basic"
	byToken   = "token"
)

var ways = []string{bySession, byBasic, byToken}

// principal is a user as one server knows them: by a session, by Basic and by an API token.
type principal struct {
	t                                testing.TB
	client                           *client
	id, name, secret, token, tokenID string
}

// newPrincipal registers a user at the target's server and makes a token.
func newPrincipal(x *target, name string) *principal {
	x.t.Helper()
	return registerPrincipal(x.t, x.server.URL(), name)
}

func registerPrincipal(t testing.TB, base, name string) *principal {
	t.Helper()
	p := &principal{t: t, client: newClient(t, base), name: name, secret: password}
	p.client.register(name)
	p.newToken()
	var me meAnswer
	decode(t, p.want(bySession, "/api/me", http.StatusOK), &me)
	p.id = me.User.ID
	return p
}

// newToken makes a new token by the session.
func (p *principal) newToken() {
	p.t.Helper()
	a := p.client.do(p.client.request(http.MethodPost, "/api/tokens", `{"name":"test"}`, "Content-Type", "application/json"))
	p.client.want(a, http.StatusCreated)
	var made struct{ ID, Token string }
	decode(p.t, a, &made)
	p.token, p.tokenID = made.Token, made.ID
}

// meAnswer is what /api/me says.
type meAnswer struct {
	User         struct{ ID, Username, Name string }
	Groups       []string
	Method       string
	AuthorizedBy string `json:"authorized_by"`
}

func decode(t testing.TB, a answer, v any) {
	t.Helper()
	if err := json.Unmarshal([]byte(a.body), v); err != nil {
		t.Fatalf("%s: %v\n%s", a.Request.URL.Path, err, a.body)
	}
}

func basicHeader(name, secret string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(name+":"+secret))
}

// tokenRecord is the key under which the token is kept.
func (p *principal) tokenRecord() string {
	p.t.Helper()
	id, err := auth.TokenID(p.token)
	if err != nil {
		p.t.Fatal(err)
	}
	return "token:" + id
}

// at is the same principal at another server.
func (p *principal) at(base string) *principal {
	other := *p
	other.client = p.client.at(base)
	return &other
}

// request returns a request of the principal in one of the ways, which has no other credentials.
func (p *principal) request(way, path string) *http.Request {
	req, err := http.NewRequestWithContext(p.t.Context(), http.MethodGet, p.client.base+path, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	switch way {
	case bySession:
		req.AddCookie(&http.Cookie{Name: sessionCookie, Value: p.client.cookie(sessionCookie)})
	case byBasic:
		req.Header.Set("Authorization", basicHeader(p.name, p.secret))
	case byToken:
		req.Header.Set("Authorization", "Bearer "+p.token)
	}
	return req
}

// bare sends requests without a cookie jar.
var bare = &http.Client{
	Transport:     &http.Transport{MaxIdleConnsPerHost: 64},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

func (p *principal) ask(way, path string) answer {
	p.t.Helper()
	a, err := p.attempt(way, path)
	if err != nil {
		p.t.Fatal(err)
	}
	return a
}

// attempt is ask for goroutines beside the test's own.
func (p *principal) attempt(way, path string) (answer, error) {
	return (&client{t: p.t, base: p.client.base, http: bare}).attempt(p.request(way, path))
}

func (p *principal) want(way, path string, status int) answer {
	p.t.Helper()
	a := p.ask(way, path)
	if a.StatusCode != status {
		p.t.Fatalf("%s by %s at %s: %s, want %d\n%s", path, way, p.client.base, a.Status, status, a.body)
	}
	return a
}

// costOf returns the Redis round trips and SQL statements that an answer says it took.
func costOf(a answer) (trips, sql string) {
	m := regexp.MustCompile(`^redis;desc="(\d+)".*, sql;desc="(\d+)"`).FindStringSubmatch(a.Header.Get("Server-Timing"))
	if m == nil {
		return "", ""
	}
	return m[1], m[2]
}

// warm asks until the server has everything in memory: each way costs a single round trip.
func (p *principal) warm() {
	p.t.Helper()
	for _, way := range ways {
		testkit.Eventually(p.t, 10*time.Second, way+" to be warm", func() bool {
			trips, sql := costOf(p.want(way, "/api/me", http.StatusOK))
			return trips == "1" && sql == "0"
		})
	}
}

// bound is how long a change may take at most to be in effect, on the slowest machine that
// runs the tests; what it takes is printed, and what is promised is read from the metrics.
const bound = 5 * time.Second

// revocation is a change after which a server must not act on what it knew.
type revocation struct {
	name string
	path string
	// over reports whether the answer is one that the change asks for; nil for a way that it
	// does not concern.
	over func(way string, a answer) bool
	ways []string
	// by are the ways of making it, by name.
	by map[string]func(p *principal)
}

// refusedWith wants 401, and of a token's holder this code.
func refusedWith(code string) func(string, answer) bool {
	return func(way string, a answer) bool {
		return a.StatusCode == http.StatusUnauthorized && (way != byToken || strings.Contains(a.body, `"code":"`+code+`"`))
	}
}

func forbidden(_ string, a answer) bool { return a.StatusCode == http.StatusForbidden }

// measure makes the change, and asks in all ways at once and without a pause until each answer
// is the one that is asked for. It returns how long that took from the commit on, at most.
func (r revocation) measure(p *principal, change func(*principal)) map[string]time.Duration {
	p.t.Helper()
	change(p)
	committed := time.Now()
	var all sync.WaitGroup
	var mu sync.Mutex
	took := map[string]time.Duration{}
	for _, way := range r.ways {
		all.Go(func() {
			for {
				a, err := p.attempt(way, r.path)
				since := time.Since(committed)
				if err == nil && r.over(way, a) {
					mu.Lock()
					defer mu.Unlock()
					took[way] = since
					return
				}
				if since > bound || err != nil {
					p.t.Errorf("%s: %v after the change %s by %s is %v %v\n%s", r.name, since, r.path, way, a.Response, err, a.body)
					return
				}
			}
		})
	}
	all.Wait()
	return took
}

// TestChangesAreInEffectOnEveryServer: whoever changes what, in whatever way, a server that has
// the user in its memory heeds it at once, for sessions, Basic and tokens alike.
func TestChangesAreInEffectOnEveryServer(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	a, b := s.servePlain(measured...), s.servePlain(measured...)
	db := openSQL(t, "postgres", s.database)
	hand := func(statement string) func(*principal) {
		return func(p *principal) {
			if _, err := db.Exec(statement, p.id); err != nil {
				p.t.Fatal(err)
			}
		}
	}
	admin := newClient(t, a.URL())
	admin.register("boss")
	s.run("", "user", "join", "boss", "admin").wantCode(t, 0)
	s.run("", "group", "add", "staff").wantCode(t, 0)
	s.run("", "group", "grant", "staff", "users.view").wantCode(t, 0)
	byAdmin := func(path string, fields ...string) func(*principal) {
		return func(p *principal) { admin.want(admin.post("/admin/users/"+p.id+path, fields...), http.StatusSeeOther) }
	}
	command := func(args ...string) func(*principal) {
		return func(p *principal) {
			named := slices.Clone(args)
			named[slices.Index(named, "NAME")] = p.name
			s.run(otherPassword, named...).wantCode(p.t, 0)
		}
	}
	// own is the same person in another browser, at the other server.
	own := func(p *principal, path string, fields ...string) {
		c := newClient(p.t, a.URL())
		c.signIn(p.name)
		c.want(c.post(path, fields...), http.StatusSeeOther)
	}
	hashed := newClient(t, a.URL())
	hashed.wantSeeOther(hashed.post("/register", "username", "hashed", "password", otherPassword), "/dashboard")
	otherHash := sqlText(t, db, `SELECT password_hash FROM users WHERE username = 'hashed'`)

	changes := []revocation{
		{"password changed", "/api/me", refusedWith("token_dead"), ways, map[string]func(*principal){
			"app": func(p *principal) {
				own(p, "/account/password", "current_password", password, "new_password", otherPassword)
			},
			"command": command("user", "passwd", "NAME", "--password-stdin"),
			"hand":    hand(`UPDATE users SET password_hash = '` + otherHash + `' WHERE id = $1`),
		}},
		{"disabled", "/api/me", refusedWith("user_disabled"), ways, map[string]func(*principal){
			"app":     byAdmin("/active", "active", "false"),
			"command": command("user", "disable", "NAME"),
			"hand":    hand(`UPDATE users SET active = false WHERE id = $1`),
		}},
		{"signed out everywhere", "/api/me", func(way string, a answer) bool {
			if way == byBasic {
				// The password is right as ever. What was remembered of it is not used.
				return a.StatusCode == http.StatusOK && strings.Contains(a.body, `"authorized_by":"postgres"`)
			}
			return refusedWith("token_dead")(way, a)
		}, ways, map[string]func(*principal){
			"app by themselves": func(p *principal) { own(p, "/account/sessions/end-others") },
			"app by an admin":   byAdmin("/sign-out"),
			"command":           command("user", "logout", "NAME"),
			"hand":              hand(`UPDATE users SET epoch = epoch + 1 WHERE id = $1`),
		}},
		{"left the group", "/api/users", forbidden, ways, map[string]func(*principal){
			"app":     byAdmin("/groups"),
			"command": command("user", "leave", "NAME", "staff"),
			"hand":    hand(`DELETE FROM user_groups WHERE user_id = $1`),
		}},
		{"group lost the permission", "/api/users", forbidden, ways, map[string]func(*principal){
			"app": func(p *principal) {
				admin.want(admin.post("/admin/groups/ungrant", "group", "staff", "permission", "users.view"), http.StatusSeeOther)
			},
			"command": func(p *principal) { s.run("", "group", "ungrant", "staff", "users.view").wantCode(p.t, 0) },
			"hand":    hand(`DELETE FROM group_permissions WHERE group_name = 'staff' AND $1 <> ''`),
		}},
		{"deleted", "/api/me", refusedWith("token_unknown"), ways, map[string]func(*principal){
			"hand": hand(`DELETE FROM users WHERE id = $1`),
		}},
		{"token revoked", "/api/me", refusedWith("token_unknown"), []string{byToken}, map[string]func(*principal){
			"page": func(p *principal) { own(p, "/account/tokens/revoke", "token", p.tokenID) },
			"api": func(p *principal) {
				c := newClient(p.t, a.URL())
				c.want(c.do(c.request(http.MethodDelete, "/api/tokens/current", "", "Authorization", "Token "+p.token)), http.StatusNoContent)
			},
			"api by id": func(p *principal) {
				c := p.client.at(a.URL())
				c.want(c.do(c.request(http.MethodDelete, "/api/tokens/"+p.tokenID, "")), http.StatusNoContent)
			},
			"all of them": func(p *principal) { own(p, "/account/tokens/revoke-all") },
			"hand":        func(p *principal) { s.redisDo("DEL", p.tokenRecord()) },
		}},
	}
	for i, change := range changes {
		for _, by := range slices.Sorted(maps.Keys(change.by)) {
			t.Run(change.name+" by "+by, func(t *testing.T) {
				db.Exec(`INSERT INTO group_permissions (group_name, permission) VALUES ('staff', 'users.view') ON CONFLICT DO NOTHING`)
				p := registerPrincipal(t, b.URL(), fmt.Sprintf("person%d-%s", i, unique()))
				if _, err := db.Exec(`INSERT INTO user_groups (user_id, group_name) VALUES ($1, 'staff')`, p.id); err != nil {
					t.Fatal(err)
				}
				for _, way := range ways {
					testkit.Eventually(t, bound, "the permission", func() bool { return p.ask(way, "/api/users").StatusCode == http.StatusOK })
				}
				p.warm()
				took := change.measure(p, change.by[by])
				t.Logf("in effect on the other server, from the commit to the answer: %v", took)
			})
		}
	}

	t.Run("a change that is rolled back is none", func(t *testing.T) {
		p := registerPrincipal(t, b.URL(), "rolled-back")
		p.warm()
		tx, err := db.Begin()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tx.Exec(`UPDATE users SET active = false, epoch = epoch + 1 WHERE id = $1`, p.id); err != nil {
			t.Fatal(err)
		}
		p.want(bySession, "/api/me", http.StatusOK)
		if err := tx.Rollback(); err != nil {
			t.Fatal(err)
		}
		for _, way := range ways {
			p.want(way, "/api/me", http.StatusOK)
		}
	})
	t.Run("the metrics count each change and how long it took", func(t *testing.T) {
		p := registerPrincipal(t, b.URL(), "renamed")
		var slowest time.Duration
		for i := range 200 {
			name := fmt.Sprintf("Name %d", i)
			if _, err := db.Exec(`UPDATE users SET name = $1 WHERE id = $2`, name, p.id); err != nil {
				t.Fatal(err)
			}
			committed := time.Now()
			for !strings.Contains(p.want(bySession, "/api/me", http.StatusOK).body, `"`+name+`"`) {
				if time.Since(committed) > bound {
					t.Fatalf("after %v the old name is shown", bound)
				}
			}
			slowest = max(slowest, time.Since(committed))
		}
		for name, server := range map[string]*testkit.Server{"a": a, "b": b} {
			m := scrape(t, server)
			const revocations = "gatehouse_revocation_seconds"
			t.Logf("server %s: %v changes, median ≤ %v, 99th percentile ≤ %v; 200 names shown after %v at most", name, m.sum(revocations+"_count"),
				m.quantile(revocations, .5), m.quantile(revocations, .99), slowest)
			if m.sum(revocations+"_count") < 200 || m.quantile(revocations, .5) > bound {
				t.Errorf("server %s counted %v changes with a median of up to %v", name, m.sum(revocations+"_count"), m.quantile(revocations, .5))
			}
		}
	})
}

func sqlText(t testing.TB, db *sql.DB, query string, args ...any) string {
	t.Helper()
	var s string
	if err := db.QueryRow(query, args...).Scan(&s); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return s
}

// TestChangesAreInEffectOnTheEmbeddedStores: the same promise where the database is a file and
// Redis is inside of the server.
func TestChangesAreInEffectOnTheEmbeddedStores(t *testing.T) {
	t.Parallel()
	env := map[string]string{"DATA_DIR": filepath.Join(t.TempDir(), "data"), "METRICS_ADDR": "127.0.0.1:0"}
	server := testkit.StartServer(t, plainBinary(t), env)
	db := openSQL(t, "sqlite", "file:"+filepath.Join(env["DATA_DIR"], "gatehouse.db")+"?_busy_timeout=5000&_foreign_keys=1")
	hand := func(statement string) func(*principal) {
		return func(p *principal) {
			if _, err := db.Exec(statement, p.id); err != nil {
				p.t.Fatal(err)
			}
		}
	}
	command := func(args ...string) func(*principal) {
		return func(p *principal) {
			named := slices.Clone(args)
			named[slices.Index(named, "NAME")] = p.name
			run(p.t, env, otherPassword, named...).wantCode(p.t, 0)
		}
	}
	run(t, env, "", "group", "add", "staff").wantCode(t, 0)
	run(t, env, "", "group", "grant", "staff", "users.view").wantCode(t, 0)
	for i, change := range []revocation{
		{"password changed", "/api/me", refusedWith("token_dead"), ways, map[string]func(*principal){
			"command": command("user", "passwd", "NAME", "--password-stdin"),
			"hand":    hand(`UPDATE users SET password_hash = '$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHQ$c29tZWhhc2g' WHERE id = $1`),
		}},
		{"disabled", "/api/me", refusedWith("user_disabled"), ways, map[string]func(*principal){
			"command": command("user", "disable", "NAME"),
			"hand":    hand(`UPDATE users SET active = 0 WHERE id = $1`),
		}},
		{"signed out everywhere", "/api/me", func(way string, a answer) bool {
			if way == byBasic {
				return a.StatusCode == http.StatusOK && strings.Contains(a.body, `"authorized_by":"sqlite"`)
			}
			return refusedWith("token_dead")(way, a)
		}, ways, map[string]func(*principal){
			"command": command("user", "logout", "NAME"),
			"hand":    hand(`UPDATE users SET epoch = epoch + 1 WHERE id = $1`),
		}},
		{"left the group", "/api/users", forbidden, ways, map[string]func(*principal){
			"command": command("user", "leave", "NAME", "staff"),
			"hand":    hand(`DELETE FROM user_groups WHERE user_id = $1`),
		}},
		{"group lost the permission", "/api/users", forbidden, ways, map[string]func(*principal){
			"command": func(p *principal) { run(p.t, env, "", "group", "ungrant", "staff", "users.view").wantCode(p.t, 0) },
			"hand":    hand(`DELETE FROM group_permissions WHERE group_name = 'staff' AND $1 <> ''`),
		}},
		{"deleted", "/api/me", refusedWith("token_unknown"), ways, map[string]func(*principal){
			"hand": hand(`DELETE FROM users WHERE id = $1`),
		}},
		{"token revoked", "/api/me", refusedWith("token_unknown"), []string{byToken}, map[string]func(*principal){
			"page": func(p *principal) {
				p.client.want(p.client.post("/account/tokens/revoke", "token", p.tokenID), http.StatusSeeOther)
			},
		}},
	} {
		for _, by := range slices.Sorted(maps.Keys(change.by)) {
			t.Run(change.name+" by "+by, func(t *testing.T) {
				run(t, env, "", "group", "grant", "staff", "users.view").wantCode(t, 0)
				p := registerPrincipal(t, server.URL(), fmt.Sprintf("person%d-%s", i, unique()))
				hand(`INSERT INTO user_groups (user_id, group_name) VALUES ($1, 'staff')`)(p)
				for _, way := range ways {
					testkit.Eventually(t, bound, "the permission", func() bool { return p.ask(way, "/api/users").StatusCode == http.StatusOK })
				}
				p.warm()
				t.Logf("in effect, from the commit to the answer: %v", change.measure(p, change.by[by]))
			})
		}
	}
	m := scrape(t, server)
	const revocations = "gatehouse_revocation_seconds"
	t.Logf("%v changes, median ≤ %v, 99th percentile ≤ %v", m.sum(revocations+"_count"), m.quantile(revocations, .5), m.quantile(revocations, .99))
	if m.sum(revocations+"_count") == 0 || m.quantile(revocations, .5) > bound {
		t.Errorf("the server counted %v changes with a median of up to %v", m.sum(revocations+"_count"), m.quantile(revocations, .5))
	}
}

// TestChangesMadeWhileNoServerRan: what Redis still holds of users at a start may be old, and
// the first request already does not believe it.
func TestChangesMadeWhileNoServerRan(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	db := openSQL(t, "postgres", s.database)
	for _, test := range []struct{ name, change string }{
		{"disabled", `UPDATE users SET active = false WHERE id = $1`},
		{"signed out", `UPDATE users SET epoch = epoch + 1 WHERE id = $1`},
		{"deleted", `DELETE FROM users WHERE id = $1`},
	} {
		t.Run(test.name, func(t *testing.T) {
			first := s.servePlain()
			p := registerPrincipal(t, first.URL(), unique())
			p.warm()
			first.Stop()
			cache := dialRedis(t, s.redis+"/1")
			cached, err := redis.String(cache.Do("GET", "user:"+p.id))
			if err != nil || !strings.Contains(cached, p.name) {
				t.Fatalf("the cache holds %q of the user (%v); this test would show nothing", cached, err)
			}
			if _, err := db.Exec(test.change, p.id); err != nil {
				t.Fatal(err)
			}
			p = p.at(s.servePlain().URL())
			for _, way := range []string{bySession, byToken} {
				p.want(way, "/api/me", http.StatusUnauthorized)
			}
			if a := p.ask(byBasic, "/api/me"); a.StatusCode == http.StatusOK && !strings.Contains(a.body, `"authorized_by":"postgres"`) {
				t.Errorf("Basic is answered from what was remembered: %s", a.body)
			}
		})
	}
}

// listeners are the connections on which servers of this database hear of changes.
func listeners(t testing.TB, db *sql.DB) []int {
	t.Helper()
	rows, err := db.Query(`SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
		AND backend_type = 'client backend' AND application_name <> 'gatehouse' AND (query ILIKE 'LISTEN %' OR query IN ('', ';'))`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var pids []int
	for rows.Next() {
		var pid int
		if err := rows.Scan(&pid); err != nil {
			t.Fatal(err)
		}
		pids = append(pids, pid)
	}
	return pids
}

// cutListeners ends these connections as an administrator or a firewall would.
func cutListeners(t testing.TB, db *sql.DB) int {
	t.Helper()
	pids := listeners(t, db)
	for _, pid := range pids {
		if _, err := db.Exec(`SELECT pg_terminate_backend($1)`, pid); err != nil {
			t.Fatal(err)
		}
	}
	return len(pids)
}

// handConn is a prompt that was opened beforehand.
func handConn(t testing.TB, db *sql.DB) *sql.Conn {
	t.Helper()
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if _, err := conn.ExecContext(t.Context(), `SELECT 'a prompt'`); err != nil {
		t.Fatal(err)
	}
	return conn
}

// TestTheListenerIsCut: again and again the connection on which a server hears of changes is
// cut, and in the same moment somebody is disabled. The server hears of it nevertheless, when it
// listens again: it trusts nothing that it knew before.
func TestTheListenerIsCut(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	b := s.servePlain(measured...)
	db := openSQL(t, "postgres", s.database)
	p := registerPrincipal(t, b.URL(), "alice")
	var slowest time.Duration
	for i := range 12 {
		p.warm()
		before := strings.Count(b.Log(), "changes of users are not heard of")
		if n := cutListeners(t, db); n != 1 {
			t.Fatalf("%d connections listen, want 1", n)
		}
		statement := `UPDATE users SET epoch = epoch + 1`
		if i%2 == 1 {
			statement = `UPDATE users SET active = false`
		}
		if _, err := db.Exec(statement); err != nil {
			t.Fatal(err)
		}
		committed := time.Now()
		for p.ask(bySession, "/api/me").StatusCode != http.StatusUnauthorized {
			if time.Since(committed) > bound {
				t.Fatalf("%v after the change the session is served", bound)
			}
		}
		slowest = max(slowest, time.Since(committed))
		p.want(byToken, "/api/me", http.StatusUnauthorized)
		testkit.Eventually(t, bound, "the server to listen again", func() bool {
			return strings.Count(b.Log(), "changes of users are not heard of") > before && scrape(t, b).sum("gatehouse_listening") == 1
		})
		if _, err := db.Exec(`UPDATE users SET active = true`); err != nil {
			t.Fatal(err)
		}
		testkit.Eventually(t, bound, "the sign-in", func() bool {
			return p.client.post("/login", "username", "alice", "password", password).StatusCode == http.StatusSeeOther
		})
		p.newToken()
	}
	t.Logf("in effect %v after the change at most, with the listener cut just before it", slowest)
}

// TestWhileNobodyListens: as long as a server cannot hear of changes it keeps nobody in memory and
// asks the database, which costs a round trip to Redis and a statement more. So a change by hand
// takes effect all the same, and what was changed is in effect when it listens again.
func TestWhileNobodyListens(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	a, b := s.servePlain(measured...), s.servePlain(measured...)
	db, prompt := openSQL(t, "postgres", s.database), handConn(t, openSQL(t, "postgres", s.database))
	listeners(t, db) // connects
	u, err := url.Parse(s.database)
	if err != nil {
		t.Fatal(err)
	}
	name := strings.TrimPrefix(u.Path, "/")
	u.Path = "/postgres"
	elsewhere := openSQL(t, "postgres", u.String())
	// Connections that are open go on; no new ones are let in.
	allow := func(yes bool) {
		if _, err := elsewhere.Exec(fmt.Sprintf(`ALTER DATABASE %s WITH ALLOW_CONNECTIONS %t`, name, yes)); err != nil {
			t.Fatal(err)
		}
	}
	alice, bob, carol := registerPrincipal(t, b.URL(), "alice"), registerPrincipal(t, b.URL(), "bob"), registerPrincipal(t, b.URL(), "carol")
	admin := newClient(t, a.URL())
	admin.register("boss")
	s.run("", "user", "join", "boss", "admin").wantCode(t, 0)
	admin.want(admin.get("/admin/users/"+bob.id), http.StatusOK)
	for _, p := range []*principal{alice, bob, carol} {
		p.warm()
	}
	if n := scrape(t, b).sum("gatehouse_listening"); n != 1 {
		t.Fatalf("gatehouse_listening is %v before anything was cut", n)
	}

	allow(false)
	if n := cutListeners(t, db); n != 2 {
		t.Fatalf("%d connections listen, want 2", n)
	}
	for _, server := range []*testkit.Server{a, b} {
		testkit.Eventually(t, bound, "the server to notice", func() bool { return scrape(t, server).sum("gatehouse_listening") == 0 })
	}
	cost := func(p *principal) string {
		trips, sql := costOf(p.want(bySession, "/dashboard", http.StatusOK))
		return trips + " round trips, " + sql + " statements"
	}
	for _, p := range []*principal{alice, alice.at(a.URL())} {
		testkit.Eventually(t, bound, "the database to be asked", func() bool { return cost(p) == "2 round trips, 1 statements" })
	}
	for range 5 {
		if got := cost(alice); got != "2 round trips, 1 statements" {
			t.Errorf("a page costs %s while nobody listens, want 2 and 1", got)
		}
	}
	admin.want(admin.post("/admin/users/"+bob.id+"/active", "active", "false"), http.StatusSeeOther)
	for _, way := range ways {
		bob.want(way, "/api/me", http.StatusUnauthorized)
	}
	if _, err := prompt.ExecContext(t.Context(), `UPDATE users SET active = false WHERE id = $1`, alice.id); err != nil {
		t.Fatal(err)
	}
	// One connection is all that the pool may have, and a canary may be using it: that is a 503.
	for _, way := range ways {
		for _, p := range []*principal{alice, alice.at(a.URL())} {
			testkit.Eventually(t, bound, "the "+way+" to be refused", func() bool {
				status := p.ask(way, "/api/me").StatusCode
				if status != http.StatusUnauthorized && status != http.StatusServiceUnavailable {
					t.Fatalf("%s: %d, want 401, or 503 for a moment", way, status)
				}
				return status == http.StatusUnauthorized
			})
		}
	}
	cached := dialRedis(t, s.redis+"/1")
	testkit.Eventually(t, bound, "the cached user to be gone, whom other apps read", func() bool {
		record, err := redis.String(cached.Do("GET", "user:"+alice.id))
		return errors.Is(err, redis.ErrNil) || err == nil && !strings.Contains(record, `"active":true`)
	})
	allow(true)
	for _, server := range []*testkit.Server{a, b} {
		testkit.Eventually(t, bound, "the server to listen again", func() bool { return scrape(t, server).sum("gatehouse_listening") == 1 })
	}
	for _, way := range ways {
		alice.want(way, "/api/me", http.StatusUnauthorized)
		alice.at(a.URL()).want(way, "/api/me", http.StatusUnauthorized)
	}
	carol.warm()
}

// TestPostgresRestartsUnderTheListener: a Postgres that was killed and is back has told nobody
// what was changed meanwhile.
func TestPostgresRestartsUnderTheListener(t *testing.T) {
	t.Parallel()
	pg := testkit.StartPostgres(t)
	s := &site{t: t, database: pg.URL(), redis: testkit.RedisURL(t)}
	b := s.servePlain(measured...)
	p := registerPrincipal(t, b.URL(), "alice")
	for range 3 {
		p.warm()
		pg.Kill()
		testkit.Eventually(t, bound, "the server to notice", func() bool { return scrape(t, b).sum("gatehouse_listening") == 0 })
		for _, way := range ways {
			want := "2"
			if way == byBasic {
				want = "1" // the user is read along with the credential
			}
			if trips, sql := costOf(p.want(way, "/api/me", http.StatusOK)); trips != want || sql != "0" {
				t.Errorf("without Postgres %s costs %s round trips and %s statements, want %s and 0", way, trips, sql, want)
			}
		}
		pg.Start()
		db := openSQL(t, "postgres", s.database)
		if _, err := db.Exec(`UPDATE users SET epoch = epoch + 1`); err != nil {
			t.Fatal(err)
		}
		committed := time.Now()
		testkit.Eventually(t, bound, "the session to be refused", func() bool {
			return p.ask(bySession, "/api/me").StatusCode == http.StatusUnauthorized
		})
		t.Logf("in effect %v after the first commit of the restarted Postgres", time.Since(committed).Round(time.Millisecond))
		p.want(byToken, "/api/me", http.StatusUnauthorized)
		db.Close()
		testkit.Eventually(t, bound, "the sign-in", func() bool {
			return p.client.post("/login", "username", "alice", "password", password).StatusCode == http.StatusSeeOther
		})
		p.newToken()
		testkit.Eventually(t, bound, "the server to listen again", func() bool { return scrape(t, b).sum("gatehouse_listening") == 1 })
	}
}

// slowNews is a way to Postgres on which the news of changes can be held back.
type slowNews struct {
	t      testing.TB
	server string
	listen net.Listener

	mu   sync.Mutex
	open chan struct{} // closed while news come through
}

func newSlowNews(t testing.TB, databaseURL string) (*slowNews, string) {
	t.Helper()
	u, err := url.Parse(databaseURL)
	if err != nil {
		t.Fatal(err)
	}
	listen, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listen.Close() })
	n := &slowNews{t: t, server: u.Host, listen: listen, open: make(chan struct{})}
	close(n.open)
	go n.accept()
	u.Host = listen.Addr().String()
	return n, u.String()
}

func (n *slowNews) hold() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.open = make(chan struct{})
}

func (n *slowNews) release() {
	n.mu.Lock()
	defer n.mu.Unlock()
	close(n.open)
}

func (n *slowNews) gate() <-chan struct{} {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.open
}

func (n *slowNews) accept() {
	for {
		in, err := n.listen.Accept()
		if err != nil {
			return
		}
		out, err := net.Dial("tcp", n.server)
		if err != nil {
			in.Close()
			continue
		}
		go n.pass(in, out)
	}
}

// pass copies both ways. A connection on which LISTEN was said waits at the gate.
func (n *slowNews) pass(in, out net.Conn) {
	ctx, cancel := context.WithCancel(context.Background())
	listens := make(chan struct{})
	go func() {
		defer cancel()
		var once sync.Once
		io.Copy(writerFunc(func(b []byte) (int, error) {
			if strings.Contains(string(b), "LISTEN ") {
				once.Do(func() { close(listens) })
			}
			return out.Write(b)
		}), in)
	}()
	go func() {
		defer cancel()
		io.Copy(writerFunc(func(b []byte) (int, error) {
			select {
			case <-listens:
				select {
				case <-n.gate():
				case <-ctx.Done():
				}
			default:
			}
			return in.Write(b)
		}), out)
	}()
	<-ctx.Done()
	in.Close()
	out.Close()
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }

// TestAServerThatHearsLateMisleadsNobody: a server to which the news of a change are still on
// their way finishes a sign-in whose row it has read before the change. It must not put the old
// user where another server, which has heard the news already, finds and keeps it.
func TestAServerThatHearsLateMisleadsNobody(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	news, through := newSlowNews(t, s.database)
	b := s.servePlain(measured...)
	a := s.servePlain(append(measured, "DATABASE_URL", through)...)
	db := openSQL(t, "postgres", s.database)
	tries, met := 0, 0
	for ; tries < 20 && met < 3; tries++ {
		name := fmt.Sprintf("alice%d", tries)
		c := newClient(t, b.URL())
		c.register(name)
		id := sqlText(t, db, `SELECT id FROM users WHERE username = $1`, name)
		heard := scrape(t, b).sum("gatehouse_revocation_seconds_count")

		news.hold()
		// Others are before the sign-in in the queue of hashes, so that there is time for the change.
		done := make(chan answer, 1)
		var all sync.WaitGroup
		for _, who := range []string{"nobody1", "nobody2", "nobody3", name} {
			if who == name {
				testkit.Eventually(t, bound, "the others to be before it", func() bool { return scrape(t, a).sum("gatehouse_hash_queue") >= 1 })
			}
			all.Go(func() {
				other := newClient(t, a.URL())
				answer, err := other.attempt(other.form("/login", "username", who, "password", password))
				if err != nil {
					t.Error(err)
				}
				if who == name {
					done <- answer
				}
			})
		}
		read := func() bool {
			return scrape(t, a).sum("gatehouse_hash_queue") >= 2 || len(done) > 0
		}
		testkit.Eventually(t, bound, "the row to be read", read)
		if _, err := db.Exec(`UPDATE users SET active = false WHERE id = $1`, id); err != nil {
			t.Fatal(err)
		}
		testkit.Eventually(t, bound, "the other server to hear of it", func() bool {
			return scrape(t, b).sum("gatehouse_revocation_seconds_count") > heard
		})
		if got := <-done; got.StatusCode == http.StatusSeeOther {
			met++ // the password was checked against the row as it was
		}
		c.get("/dashboard") // the other server looks the user up
		news.release()

		committed := time.Now()
		for c.signedIn() {
			if time.Since(committed) > bound/2 {
				t.Fatalf("%v after a change the server that heard of it in time serves the user: the late one has misled it", bound/2)
			}
		}
		all.Wait()
		s.redisDo("FLUSHDB")
	}
	t.Logf("%d of %d sign-ins ended between the change and its news", met, tries)
	if met == 0 {
		t.Error("no sign-in met the gap; this test has shown nothing")
	}
}
