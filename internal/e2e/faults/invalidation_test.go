package faults

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"

	"gatehouse/internal/e2e/kit"
	"gatehouse/internal/testkit"
)

// revocation is a change after which a server must not use cached data.
type revocation struct {
	name string
	path string
	// over reports whether a response to one of kit.AuthMethods reflects the change.
	over func(way string, a kit.Response) bool
	ways []string
	// by maps names to the ways to make the change.
	by map[string]func(p *kit.Principal)
}

// refusedWith reports whether a response is a 401 and, for tokens, has this code.
func refusedWith(code string) func(string, kit.Response) bool {
	return func(way string, a kit.Response) bool {
		return a.StatusCode == http.StatusUnauthorized && (way != kit.ByToken || strings.Contains(a.Text, `"code":"`+code+`"`))
	}
}

func forbidden(_ string, a kit.Response) bool { return a.StatusCode == http.StatusForbidden }

// measure makes the change and sends requests with all methods concurrently, without a pause, until each response
// reflects the change. It returns the maximum time since the commit.
func (r revocation) measure(p *kit.Principal, change func(*kit.Principal)) map[string]time.Duration {
	p.T.Helper()
	change(p)
	committed := time.Now()
	var all sync.WaitGroup
	var mu sync.Mutex
	took := map[string]time.Duration{}
	for _, way := range r.ways {
		all.Go(func() {
			for {
				a, err := p.TryGet(way, r.path)
				since := time.Since(committed)
				if err == nil && r.over(way, a) {
					mu.Lock()
					defer mu.Unlock()
					took[way] = since
					return
				}
				if since > kit.MaxDelay || err != nil {
					p.T.Errorf("%s: %v after the change, %s with %s got %v %v\n%s", r.name, since, r.path, way, a.Response, err, a.Text)
					return
				}
			}
		})
	}
	all.Wait()
	return took
}

// TestChange_TakesEffectOnEveryServer: a server that has cached a user applies every kind of change immediately to
// sessions, Basic and tokens.
func TestChange_TakesEffectOnEveryServer(t *testing.T) {
	t.Parallel()
	s := kit.NewSite(t)
	a, b := s.ServeWithoutRace(kit.MetricsOn...), s.ServeWithoutRace(kit.MetricsOn...)
	db := kit.OpenDB(t, "postgres", s.DatabaseURL)
	hand := func(statement string) func(*kit.Principal) {
		return func(p *kit.Principal) {
			if _, err := db.Exec(statement, p.ID); err != nil {
				p.T.Fatal(err)
			}
		}
	}
	admin := kit.NewClient(t, a.URL())
	admin.Register("boss")
	s.Run("", "user", "join", "boss", "admin").WantCode(t, 0)
	s.Run("", "group", "add", "staff").WantCode(t, 0)
	s.Run("", "group", "grant", "staff", "users.view").WantCode(t, 0)
	byAdmin := func(path string, fields ...string) func(*kit.Principal) {
		return func(p *kit.Principal) {
			admin.WantStatus(admin.PostForm("/admin/users/"+p.ID+path, fields...), http.StatusSeeOther)
		}
	}
	command := func(args ...string) func(*kit.Principal) {
		return func(p *kit.Principal) {
			named := slices.Clone(args)
			named[slices.Index(named, "NAME")] = p.Name
			s.Run(kit.OtherPassword, named...).WantCode(p.T, 0)
		}
	}
	// own makes a change as the same user in another browser, at the other server.
	own := func(p *kit.Principal, path string, fields ...string) {
		c := kit.NewClient(p.T, a.URL())
		c.SignIn(p.Name)
		c.WantStatus(c.PostForm(path, fields...), http.StatusSeeOther)
	}
	hashed := kit.NewClient(t, a.URL())
	hashed.WantSeeOther(hashed.PostForm("/register", "username", "hashed", "password", kit.OtherPassword), "/dashboard?notice=welcome")
	otherHash := kit.QueryText(t, db, `SELECT password_hash FROM users WHERE username = 'hashed'`)

	changes := []revocation{
		{"password changed", "/api/me", refusedWith("token_dead"), kit.AuthMethods, map[string]func(*kit.Principal){
			"app": func(p *kit.Principal) {
				own(p, "/account/password", "current_password", kit.Password, "new_password", kit.OtherPassword)
			},
			"app by an administrator": byAdmin("/password", "new_password", kit.OtherPassword),
			"command":                 command("user", "passwd", "NAME", "--password-stdin"),
			"hand":                    hand(`UPDATE users SET password_hash = '` + otherHash + `' WHERE id = $1`),
		}},
		{"disabled", "/api/me", refusedWith("user_disabled"), kit.AuthMethods, map[string]func(*kit.Principal){
			"app":     byAdmin("/active", "active", "false"),
			"command": command("user", "disable", "NAME"),
			"hand":    hand(`UPDATE users SET active = false WHERE id = $1`),
		}},
		{"signed out everywhere", "/api/me", func(way string, a kit.Response) bool {
			if way == kit.ByBasic {
				// The password is still correct, but the cached credential is not used.
				return a.StatusCode == http.StatusOK && strings.Contains(a.Text, `"authorized_by":"postgres"`)
			}
			return refusedWith("token_dead")(way, a)
		}, kit.AuthMethods, map[string]func(*kit.Principal){
			"app by the users themselves": func(p *kit.Principal) { own(p, "/account/sessions/end-others") },
			"app by an administrator":     byAdmin("/sign-out"),
			"command":                     command("user", "logout", "NAME"),
			"hand":                        hand(`UPDATE users SET epoch = epoch + 1 WHERE id = $1`),
		}},
		{"left the group", "/api/users", forbidden, kit.AuthMethods, map[string]func(*kit.Principal){
			"app":     byAdmin("/groups"),
			"command": command("user", "leave", "NAME", "staff"),
			"hand":    hand(`DELETE FROM user_groups WHERE user_id = $1`),
		}},
		{"group lost the permission", "/api/users", forbidden, kit.AuthMethods, map[string]func(*kit.Principal){
			"app": func(p *kit.Principal) {
				admin.WantStatus(admin.PostForm("/admin/groups/ungrant", "group", "staff", "permission", "users.view"), http.StatusSeeOther)
			},
			"command": func(p *kit.Principal) { s.Run("", "group", "ungrant", "staff", "users.view").WantCode(p.T, 0) },
			"hand":    hand(`DELETE FROM group_permissions WHERE group_name = 'staff' AND $1 <> ''`),
		}},
		{"deleted", "/api/me", refusedWith("token_unknown"), kit.AuthMethods, map[string]func(*kit.Principal){
			"app": func(p *kit.Principal) {
				admin.WantSeeOther(admin.PostForm("/admin/users/"+p.ID+"/delete", "username", p.Name), "/admin/users?notice=user-deleted")
			},
			"command": command("user", "delete", "NAME", "--yes"),
			"hand":    hand(`DELETE FROM users WHERE id = $1`),
		}},
		{"token revoked", "/api/me", refusedWith("token_unknown"), []string{kit.ByToken}, map[string]func(*kit.Principal){
			"page": func(p *kit.Principal) { own(p, "/account/tokens/revoke", "token", p.TokenID) },
			"api": func(p *kit.Principal) {
				c := kit.NewClient(p.T, a.URL())
				c.WantStatus(c.Do(c.NewRequest(http.MethodDelete, "/api/tokens/current", "", "Authorization", "Token "+p.Token)), http.StatusNoContent)
			},
			"api by id": func(p *kit.Principal) {
				c := p.Client.At(a.URL())
				c.WantStatus(c.Do(c.NewRequest(http.MethodDelete, "/api/tokens/"+p.TokenID, "")), http.StatusNoContent)
			},
			"all of them": func(p *kit.Principal) { own(p, "/account/tokens/revoke-all") },
			"hand":        func(p *kit.Principal) { s.RedisDo("DEL", p.TokenKey()) },
		}},
	}
	for i, change := range changes {
		for _, by := range slices.Sorted(maps.Keys(change.by)) {
			t.Run(change.name+" by "+by, func(t *testing.T) {
				db.Exec(`INSERT INTO group_permissions (group_name, permission) VALUES ('staff', 'users.view') ON CONFLICT DO NOTHING`)
				p := kit.RegisterPrincipal(t, b.URL(), fmt.Sprintf("person%d-%s", i, kit.UniqueName()))
				if _, err := db.Exec(`INSERT INTO user_groups (user_id, group_name) VALUES ($1, 'staff')`, p.ID); err != nil {
					t.Fatal(err)
				}
				for _, way := range kit.AuthMethods {
					testkit.Eventually(t, kit.MaxDelay, "the permission", func() bool { return p.Get(way, "/api/users").StatusCode == http.StatusOK })
				}
				p.Warm()
				took := change.measure(p, change.by[by])
				t.Logf("in effect on the other server, from the commit to the response: %v", took)
			})
		}
	}

	t.Run("a rolled back change has no effect", func(t *testing.T) {
		p := kit.RegisterPrincipal(t, b.URL(), "rolled-back")
		p.Warm()
		tx, err := db.Begin()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tx.Exec(`UPDATE users SET active = false, epoch = epoch + 1 WHERE id = $1`, p.ID); err != nil {
			t.Fatal(err)
		}
		p.WantGet(kit.BySession, "/api/me", http.StatusOK)
		if err := tx.Rollback(); err != nil {
			t.Fatal(err)
		}
		for _, way := range kit.AuthMethods {
			p.WantGet(way, "/api/me", http.StatusOK)
		}
	})
	t.Run("the metrics count changes and how long they took", func(t *testing.T) {
		const revocations = "gatehouse_revocation_seconds"
		counted := func(server *testkit.Server) float64 { return kit.Scrape(t, server).Sum(revocations + "_count") }
		p := kit.RegisterPrincipal(t, b.URL(), "renamed")
		var slowest time.Duration
		// A server on a busy machine may distrust its listener for a while. It then reads users from
		// SQL, and counts only the changes that follow.
		for i := 0; i < 200 || counted(a) < 200 || counted(b) < 200; i++ {
			if i == 2000 {
				t.Fatalf("after %d changes, server a has counted %v and server b %v", i, counted(a), counted(b))
			}
			name := fmt.Sprintf("Name %d", i)
			if _, err := db.Exec(`UPDATE users SET name = $1 WHERE id = $2`, name, p.ID); err != nil {
				t.Fatal(err)
			}
			committed := time.Now()
			for !strings.Contains(p.WantGet(kit.BySession, "/api/me", http.StatusOK).Text, `"`+name+`"`) {
				if time.Since(committed) > kit.MaxDelay {
					t.Fatalf("the old name is still shown after %v", kit.MaxDelay)
				}
			}
			slowest = max(slowest, time.Since(committed))
		}
		for name, server := range map[string]*testkit.Server{"a": a, "b": b} {
			m := kit.Scrape(t, server)
			t.Logf("server %s: %v changes, median ≤ %v, 99th percentile ≤ %v; all names shown after at most %v", name, m.Sum(revocations+"_count"),
				m.Quantile(revocations, .5), m.Quantile(revocations, .99), slowest)
			if m.Quantile(revocations, .5) > kit.MaxDelay {
				t.Errorf("server %s counted %v changes with a median of up to %v", name, m.Sum(revocations+"_count"), m.Quantile(revocations, .5))
			}
		}
	})
}

func TestChange_TakesEffectOnTheEmbeddedStores(t *testing.T) {
	t.Parallel()
	env := map[string]string{"DATA_DIR": filepath.Join(t.TempDir(), "data"), "METRICS_ADDR": "127.0.0.1:0"}
	server := testkit.StartServer(t, testkit.BuildWithoutRace(t), env)
	db := kit.OpenDB(t, "sqlite", "file:"+filepath.Join(env["DATA_DIR"], "gatehouse.db")+"?_busy_timeout=5000&_foreign_keys=1")
	hand := func(statement string) func(*kit.Principal) {
		return func(p *kit.Principal) {
			if _, err := db.Exec(statement, p.ID); err != nil {
				p.T.Fatal(err)
			}
		}
	}
	command := func(args ...string) func(*kit.Principal) {
		return func(p *kit.Principal) {
			named := slices.Clone(args)
			named[slices.Index(named, "NAME")] = p.Name
			kit.RunCommand(p.T, env, kit.OtherPassword, named...).WantCode(p.T, 0)
		}
	}
	kit.RunCommand(t, env, "", "group", "add", "staff").WantCode(t, 0)
	kit.RunCommand(t, env, "", "group", "grant", "staff", "users.view").WantCode(t, 0)
	for i, change := range []revocation{
		{"password changed", "/api/me", refusedWith("token_dead"), kit.AuthMethods, map[string]func(*kit.Principal){
			"command": command("user", "passwd", "NAME", "--password-stdin"),
			"hand":    hand(`UPDATE users SET password_hash = '$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHQ$c29tZWhhc2g' WHERE id = $1`),
		}},
		{"disabled", "/api/me", refusedWith("user_disabled"), kit.AuthMethods, map[string]func(*kit.Principal){
			"command": command("user", "disable", "NAME"),
			"hand":    hand(`UPDATE users SET active = 0 WHERE id = $1`),
		}},
		{"signed out everywhere", "/api/me", func(way string, a kit.Response) bool {
			if way == kit.ByBasic {
				return a.StatusCode == http.StatusOK && strings.Contains(a.Text, `"authorized_by":"sqlite"`)
			}
			return refusedWith("token_dead")(way, a)
		}, kit.AuthMethods, map[string]func(*kit.Principal){
			"command": command("user", "logout", "NAME"),
			"hand":    hand(`UPDATE users SET epoch = epoch + 1 WHERE id = $1`),
		}},
		{"left the group", "/api/users", forbidden, kit.AuthMethods, map[string]func(*kit.Principal){
			"command": command("user", "leave", "NAME", "staff"),
			"hand":    hand(`DELETE FROM user_groups WHERE user_id = $1`),
		}},
		{"group lost the permission", "/api/users", forbidden, kit.AuthMethods, map[string]func(*kit.Principal){
			"command": func(p *kit.Principal) {
				kit.RunCommand(p.T, env, "", "group", "ungrant", "staff", "users.view").WantCode(p.T, 0)
			},
			"hand": hand(`DELETE FROM group_permissions WHERE group_name = 'staff' AND $1 <> ''`),
		}},
		{"deleted", "/api/me", refusedWith("token_unknown"), kit.AuthMethods, map[string]func(*kit.Principal){
			"hand": hand(`DELETE FROM users WHERE id = $1`),
		}},
		{"token revoked", "/api/me", refusedWith("token_unknown"), []string{kit.ByToken}, map[string]func(*kit.Principal){
			"page": func(p *kit.Principal) {
				p.Client.WantStatus(p.Client.PostForm("/account/tokens/revoke", "token", p.TokenID), http.StatusSeeOther)
			},
		}},
	} {
		for _, by := range slices.Sorted(maps.Keys(change.by)) {
			t.Run(change.name+" by "+by, func(t *testing.T) {
				kit.RunCommand(t, env, "", "group", "grant", "staff", "users.view").WantCode(t, 0)
				p := kit.RegisterPrincipal(t, server.URL(), fmt.Sprintf("person%d-%s", i, kit.UniqueName()))
				hand(`INSERT INTO user_groups (user_id, group_name) VALUES ($1, 'staff')`)(p)
				for _, way := range kit.AuthMethods {
					testkit.Eventually(t, kit.MaxDelay, "the permission", func() bool { return p.Get(way, "/api/users").StatusCode == http.StatusOK })
				}
				p.Warm()
				t.Logf("in effect, from the commit to the response: %v", change.measure(p, change.by[by]))
			})
		}
	}
	m := kit.Scrape(t, server)
	const revocations = "gatehouse_revocation_seconds"
	t.Logf("%v changes, median ≤ %v, 99th percentile ≤ %v", m.Sum(revocations+"_count"), m.Quantile(revocations, .5), m.Quantile(revocations, .99))
	if m.Sum(revocations+"_count") == 0 || m.Quantile(revocations, .5) > kit.MaxDelay {
		t.Errorf("the server counted %v changes with a median of up to %v", m.Sum(revocations+"_count"), m.Quantile(revocations, .5))
	}
}

// TestChange_WhileNoServerRuns: cached users in Redis may be stale when a server starts, and not even the first
// request uses them.
func TestChange_WhileNoServerRuns(t *testing.T) {
	t.Parallel()
	s := kit.NewSite(t)
	db := kit.OpenDB(t, "postgres", s.DatabaseURL)
	for _, test := range []struct{ name, change string }{
		{"disabled", `UPDATE users SET active = false WHERE id = $1`},
		{"signed out", `UPDATE users SET epoch = epoch + 1 WHERE id = $1`},
		{"deleted", `DELETE FROM users WHERE id = $1`},
	} {
		t.Run(test.name, func(t *testing.T) {
			first := s.ServeWithoutRace()
			p := kit.RegisterPrincipal(t, first.URL(), kit.UniqueName())
			p.Warm()
			first.Stop()
			cache := kit.DialRedis(t, s.RedisURL+"/1")
			cached, err := redis.String(cache.Do("GET", "user:"+p.ID))
			if err != nil || !strings.Contains(cached, p.Name) {
				t.Fatalf("the cache has %q for the user (%v), so the test is inconclusive", cached, err)
			}
			if _, err := db.Exec(test.change, p.ID); err != nil {
				t.Fatal(err)
			}
			p = p.At(s.ServeWithoutRace().URL())
			for _, way := range []string{kit.BySession, kit.ByToken} {
				p.WantGet(way, "/api/me", http.StatusUnauthorized)
			}
			if a := p.Get(kit.ByBasic, "/api/me"); a.StatusCode == http.StatusOK && !strings.Contains(a.Text, `"authorized_by":"postgres"`) {
				t.Errorf("Basic is authorized by the stale cache: %s", a.Text)
			}
		})
	}
}

// listeners returns the ids of the Postgres backends that serve LISTEN connections of this database.
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

// cutListeners terminates the LISTEN connections, as an administrator or a firewall would, and returns their number.
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

// handConn returns a connection that is already open.
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

// TestListening_ConnectionTerminatedBeforeAChange: the connection on which a server receives changes is terminated
// again and again, and a user is disabled at the same moment. The change still takes effect once the server listens
// again, because it then discards everything that it cached.
func TestListening_ConnectionTerminatedBeforeAChange(t *testing.T) {
	t.Parallel()
	s := kit.NewSite(t)
	b := s.ServeWithoutRace(kit.MetricsOn...)
	db := kit.OpenDB(t, "postgres", s.DatabaseURL)
	p := kit.RegisterPrincipal(t, b.URL(), "alice")
	var slowest time.Duration
	for i := range 12 {
		p.Warm()
		before := strings.Count(b.Log(), "not receiving user changes")
		// The connection terminated before may still be listed, and a new one may not have sent LISTEN yet.
		testkit.Eventually(t, kit.WaitTimeout, "one connection to listen", func() bool { return len(listeners(t, db)) == 1 })
		cutListeners(t, db)
		statement := `UPDATE users SET epoch = epoch + 1`
		if i%2 == 1 {
			statement = `UPDATE users SET active = false`
		}
		if _, err := db.Exec(statement); err != nil {
			t.Fatal(err)
		}
		committed := time.Now()
		for p.Get(kit.BySession, "/api/me").StatusCode != http.StatusUnauthorized {
			if time.Since(committed) > kit.MaxDelay {
				t.Fatalf("the session is still accepted %v after the change", kit.MaxDelay)
			}
		}
		slowest = max(slowest, time.Since(committed))
		p.WantGet(kit.ByToken, "/api/me", http.StatusUnauthorized)
		testkit.Eventually(t, kit.MaxDelay, "the server to listen again", func() bool {
			return strings.Count(b.Log(), "not receiving user changes") > before && kit.Scrape(t, b).Sum("gatehouse_listening") == 1
		})
		if _, err := db.Exec(`UPDATE users SET active = true`); err != nil {
			t.Fatal(err)
		}
		testkit.Eventually(t, kit.MaxDelay, "the sign-in", func() bool {
			return p.Client.PostForm("/login", "username", "alice", "password", kit.Password).StatusCode == http.StatusSeeOther
		})
		p.CreateToken()
	}
	t.Logf("in effect at most %v after the change, with the listener terminated just before it", slowest)
}

// TestListening_WithoutItUsersAreReadFromTheDatabase: while a server cannot receive changes it caches no users
// locally, at the cost of one more Redis round trip and one SQL statement. So direct changes in SQL still take effect, and
// stay in effect when it listens again.
func TestListening_WithoutItUsersAreReadFromTheDatabase(t *testing.T) {
	t.Parallel()
	s := kit.NewSite(t)
	a, b := s.ServeWithoutRace(kit.MetricsOn...), s.ServeWithoutRace(kit.MetricsOn...)
	db, prompt := kit.OpenDB(t, "postgres", s.DatabaseURL), handConn(t, kit.OpenDB(t, "postgres", s.DatabaseURL))
	listeners(t, db) // connects
	u, err := url.Parse(s.DatabaseURL)
	if err != nil {
		t.Fatal(err)
	}
	name := strings.TrimPrefix(u.Path, "/")
	u.Path = "/postgres"
	elsewhere := kit.OpenDB(t, "postgres", u.String())
	// Open connections keep working; new ones are refused.
	allow := func(yes bool) {
		if _, err := elsewhere.Exec(fmt.Sprintf(`ALTER DATABASE %s WITH ALLOW_CONNECTIONS %t`, name, yes)); err != nil {
			t.Fatal(err)
		}
	}
	alice, bob, carol := kit.RegisterPrincipal(t, b.URL(), "alice"), kit.RegisterPrincipal(t, b.URL(), "bob"), kit.RegisterPrincipal(t, b.URL(), "carol")
	admin := kit.NewClient(t, a.URL())
	admin.Register("boss")
	s.Run("", "user", "join", "boss", "admin").WantCode(t, 0)
	admin.WantStatus(admin.Get("/admin/users/"+bob.ID), http.StatusOK)
	for _, p := range []*kit.Principal{alice, bob, carol} {
		p.Warm()
	}
	if n := kit.Scrape(t, b).Sum("gatehouse_listening"); n != 1 {
		t.Fatalf("gatehouse_listening is %v before any connection was terminated", n)
	}

	testkit.Eventually(t, kit.WaitTimeout, "two connections to listen", func() bool { return len(listeners(t, db)) == 2 })
	allow(false)
	cutListeners(t, db)
	for _, server := range []*testkit.Server{a, b} {
		testkit.Eventually(t, kit.MaxDelay, "the server to notice", func() bool { return kit.Scrape(t, server).Sum("gatehouse_listening") == 0 })
	}
	cost := func(p *kit.Principal) string {
		trips, sql := kit.Cost(p.WantGet(kit.BySession, "/dashboard", http.StatusOK))
		return trips + " round trips, " + sql + " statements"
	}
	for _, p := range []*kit.Principal{alice, alice.At(a.URL())} {
		testkit.Eventually(t, kit.MaxDelay, "the server to read the database", func() bool { return cost(p) == "2 round trips, 1 statements" })
	}
	for range 5 {
		if got := cost(alice); got != "2 round trips, 1 statements" {
			t.Errorf("without listening, a page costs %s, want 2 and 1", got)
		}
	}
	admin.WantStatus(admin.PostForm("/admin/users/"+bob.ID+"/active", "active", "false"), http.StatusSeeOther)
	for _, way := range kit.AuthMethods {
		bob.WantGet(way, "/api/me", http.StatusUnauthorized)
	}
	if _, err := prompt.ExecContext(t.Context(), `UPDATE users SET active = false WHERE id = $1`, alice.ID); err != nil {
		t.Fatal(err)
	}
	// The pool has a single connection. While the server's check of notifications uses it, the response is a 503.
	for _, way := range kit.AuthMethods {
		for _, p := range []*kit.Principal{alice, alice.At(a.URL())} {
			testkit.Eventually(t, kit.MaxDelay, "the "+way+" to be refused", func() bool {
				status := p.Get(way, "/api/me").StatusCode
				if status != http.StatusUnauthorized && status != http.StatusServiceUnavailable {
					t.Fatalf("%s: %d, want 401, or 503 for a moment", way, status)
				}
				return status == http.StatusUnauthorized
			})
		}
	}
	cached := kit.DialRedis(t, s.RedisURL+"/1")
	testkit.Eventually(t, kit.MaxDelay, "the cached user, which other apps read, to be deleted", func() bool {
		record, err := redis.String(cached.Do("GET", "user:"+alice.ID))
		return errors.Is(err, redis.ErrNil) || err == nil && !strings.Contains(record, `"active":true`)
	})
	allow(true)
	for _, server := range []*testkit.Server{a, b} {
		testkit.Eventually(t, kit.MaxDelay, "the server to listen again", func() bool { return kit.Scrape(t, server).Sum("gatehouse_listening") == 1 })
	}
	for _, way := range kit.AuthMethods {
		alice.WantGet(way, "/api/me", http.StatusUnauthorized)
		alice.At(a.URL()).WantGet(way, "/api/me", http.StatusUnauthorized)
	}
	carol.Warm()
}

// TestListening_PostgresRestarts: a Postgres that was killed does not report the changes that were made before the
// server listens again.
func TestListening_PostgresRestarts(t *testing.T) {
	t.Parallel()
	pg := testkit.StartPostgres(t)
	s := &kit.Site{T: t, DatabaseURL: pg.URL(), RedisURL: testkit.RedisURL(t)}
	b := s.ServeWithoutRace(kit.MetricsOn...)
	p := kit.RegisterPrincipal(t, b.URL(), "alice")
	for range 3 {
		p.Warm()
		pg.Kill()
		testkit.Eventually(t, kit.MaxDelay, "the server to notice", func() bool { return kit.Scrape(t, b).Sum("gatehouse_listening") == 0 })
		for _, way := range kit.AuthMethods {
			want := "2"
			if way == kit.ByBasic {
				want = "1" // the user is read together with the credential
			}
			if trips, sql := kit.Cost(p.WantGet(way, "/api/me", http.StatusOK)); trips != want || sql != "0" {
				t.Errorf("without Postgres, %s costs %s round trips and %s statements, want %s and 0", way, trips, sql, want)
			}
		}
		pg.Start()
		db := kit.OpenDB(t, "postgres", s.DatabaseURL)
		if _, err := db.Exec(`UPDATE users SET epoch = epoch + 1`); err != nil {
			t.Fatal(err)
		}
		committed := time.Now()
		testkit.Eventually(t, kit.MaxDelay, "the session to be refused", func() bool {
			return p.Get(kit.BySession, "/api/me").StatusCode == http.StatusUnauthorized
		})
		t.Logf("in effect %v after the first commit of the restarted Postgres", time.Since(committed).Round(time.Millisecond))
		p.WantGet(kit.ByToken, "/api/me", http.StatusUnauthorized)
		db.Close()
		testkit.Eventually(t, kit.MaxDelay, "the sign-in", func() bool {
			return p.Client.PostForm("/login", "username", "alice", "password", kit.Password).StatusCode == http.StatusSeeOther
		})
		p.CreateToken()
		testkit.Eventually(t, kit.MaxDelay, "the server to listen again", func() bool { return kit.Scrape(t, b).Sum("gatehouse_listening") == 1 })
	}
}

// delayedPostgres is a TCP proxy to Postgres that can hold back notifications of changes.
type delayedPostgres struct {
	t      testing.TB
	server string
	listen net.Listener

	mu   sync.Mutex
	open chan struct{} // closed while notifications pass
}

func newDelayedPostgres(t testing.TB, databaseURL string) (*delayedPostgres, string) {
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
	n := &delayedPostgres{t: t, server: u.Host, listen: listen, open: make(chan struct{})}
	close(n.open)
	go n.accept()
	u.Host = listen.Addr().String()
	return n, u.String()
}

func (n *delayedPostgres) hold() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.open = make(chan struct{})
}

func (n *delayedPostgres) release() {
	n.mu.Lock()
	defer n.mu.Unlock()
	close(n.open)
}

func (n *delayedPostgres) gate() <-chan struct{} {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.open
}

func (n *delayedPostgres) accept() {
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

// pass copies in both directions. Connections that have sent LISTEN wait at the gate.
func (n *delayedPostgres) pass(in, out net.Conn) {
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

// TestListening_LateServerDoesNotRefillTheCache: a server that has not received a change yet finishes a sign-in for
// which it read the row before the change. It must not write the old user to the cache, because another server that has
// already received the change would use it.
func TestListening_LateServerDoesNotRefillTheCache(t *testing.T) {
	t.Parallel()
	s := kit.NewSite(t)
	delayed, through := newDelayedPostgres(t, s.DatabaseURL)
	b := s.ServeWithoutRace(kit.MetricsOn...)
	a := s.ServeWithoutRace(append(kit.MetricsOn, "DATABASE_URL", through)...)
	db := kit.OpenDB(t, "postgres", s.DatabaseURL)
	tries, met := 0, 0
	for ; tries < 20 && met < 3; tries++ {
		name := fmt.Sprintf("alice%d", tries)
		c := kit.NewClient(t, b.URL())
		c.Register(name)
		id := kit.QueryText(t, db, `SELECT id FROM users WHERE username = $1`, name)
		counted := kit.Scrape(t, b).Sum("gatehouse_revocation_seconds_count")

		delayed.hold()
		// Other sign-ins ahead in the hash queue leave time for the change.
		done := make(chan kit.Response, 1)
		var all sync.WaitGroup
		for _, who := range []string{"nobody1", "nobody2", "nobody3", name} {
			if who == name {
				testkit.Eventually(t, kit.MaxDelay, "the other sign-ins to be queued", func() bool { return kit.Scrape(t, a).Sum("gatehouse_hash_queue") >= 1 })
			}
			all.Go(func() {
				other := kit.NewClient(t, a.URL())
				response, err := other.TryDo(other.NewForm("/login", "username", who, "password", kit.Password))
				if err != nil {
					t.Error(err)
				}
				if who == name {
					done <- response
				}
			})
		}
		read := func() bool {
			return kit.Scrape(t, a).Sum("gatehouse_hash_queue") >= 2 || len(done) > 0
		}
		testkit.Eventually(t, kit.MaxDelay, "the row to be read", read)
		if _, err := db.Exec(`UPDATE users SET active = false WHERE id = $1`, id); err != nil {
			t.Fatal(err)
		}
		testkit.Eventually(t, kit.MaxDelay, "the other server to receive it", func() bool {
			return kit.Scrape(t, b).Sum("gatehouse_revocation_seconds_count") > counted
		})
		if got := <-done; got.StatusCode == http.StatusSeeOther {
			met++ // the password was checked against the old row
		}
		c.Get("/dashboard") // the other server loads the user
		delayed.release()

		committed := time.Now()
		for c.IsSignedIn() {
			if time.Since(committed) > kit.MaxDelay/2 {
				t.Fatalf("%v after a change, the server that received it still accepts the user: the late server has refilled the cache", kit.MaxDelay/2)
			}
		}
		all.Wait()
		s.RedisDo("FLUSHDB")
	}
	t.Logf("%d of %d sign-ins ended between the change and its notification", met, tries)
	if met == 0 {
		t.Error("no sign-in ended between change and notification, so the test is inconclusive")
	}
}
