package faults

import (
	"database/sql"
	"encoding/json"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gatehouse/internal/e2e/kit"
	"gatehouse/internal/testkit"
)

// feedSite is a server and a database in which the test changes users directly.
type feedSite struct {
	t      *testing.T
	server *testkit.Server
	env    map[string]string
	db     *sql.DB
	// fillers is a statement that inserts $1 users whose names begin with "filler".
	fillers string
}

// onBothDatabases runs a test against a server on Postgres and one on SQLite, with sessions in one Redis and the cache
// in another.
func onBothDatabases(t *testing.T, test func(t *testing.T, s *feedSite, cache *testkit.Redis)) {
	t.Run("Postgres", func(t *testing.T) {
		cache := testkit.StartRedis(t)
		s := kit.NewSite(t)
		env := s.Env(append(kit.MetricsOn, "CACHE_URL", cache.URL())...)
		server := testkit.StartServer(t, testkit.BuildWithoutRace(t), env, "--migrate")
		test(t, &feedSite{t: t, server: server, env: env, db: kit.OpenDB(t, "postgres", s.DatabaseURL), fillers: `
			INSERT INTO users (id, username, password_hash)
			SELECT gen_random_uuid(), 'filler' || n, 'x' FROM generate_series(1, $1::int) n`}, cache)
	})
	t.Run("SQLite", func(t *testing.T) {
		cache := testkit.StartRedis(t)
		file := filepath.Join(t.TempDir(), "users.db")
		s := &kit.Site{T: t, DatabaseURL: "sqlite:" + file, RedisURL: testkit.RedisURL(t)}
		env := s.Env(append(kit.MetricsOn, "CACHE_URL", cache.URL())...)
		server := testkit.StartServer(t, testkit.BuildWithoutRace(t), env)
		test(t, &feedSite{t: t, server: server, env: env, db: kit.OpenDB(t, "sqlite", "file:"+file+"?_busy_timeout=5000&_foreign_keys=1"), fillers: `
			WITH RECURSIVE series (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM series WHERE n < $1)
			INSERT INTO users (id, username, password_hash)
			SELECT printf('00000000-0000-4000-8000-%012d', n), 'filler' || n, 'x' FROM series`}, cache)
	})
}

func (s *feedSite) exec(statement string, args ...any) {
	s.t.Helper()
	if _, err := s.db.Exec(statement, args...); err != nil {
		s.t.Fatalf("%s: %v", statement, err)
	}
}

// fill inserts n users directly in SQL, and waits until registration works again.
func (s *feedSite) fill(n int) {
	s.t.Helper()
	s.exec(s.fillers, n)
	kit.NewClient(s.t, s.server.URL()).PostForm("/register", "username", "first"+kit.UniqueName(), "password", kit.Password) // makes the server compute the missing skeletons
	testkit.Eventually(s.t, kit.WaitTimeout, "the skeletons of the new names", func() bool {
		var missing int
		err := s.db.QueryRow(`SELECT count(*) FROM user_skeletons WHERE skeleton IS NULL`).Scan(&missing)
		return err == nil && missing == 0
	})
}

// wantOut sends requests with the session and the token until both are refused, and fails if one is accepted again
// afterwards.
func wantOut(t *testing.T, p *kit.Principal) {
	t.Helper()
	committed := time.Now()
	for _, way := range []string{kit.BySession, kit.ByToken} {
		testkit.Eventually(t, kit.MaxDelay, "the "+way+" to be refused", func() bool {
			return p.Get(way, "/api/me").StatusCode == http.StatusUnauthorized
		})
	}
	t.Logf("refused after %v", time.Since(committed).Round(time.Millisecond))
	for range 10 {
		for _, way := range []string{kit.BySession, kit.ByToken} {
			p.WantGet(way, "/api/me", http.StatusUnauthorized)
		}
	}
}

// TestChange_NotDelayedByAFrozenCache: while the cache hangs, changes of any number of users take effect on time.
func TestChange_NotDelayedByAFrozenCache(t *testing.T) {
	onBothDatabases(t, func(t *testing.T, s *feedSite, cache *testkit.Redis) {
		s.fill(1500)
		for _, test := range []struct {
			name       string
			otherStays bool
			change     func(p *kit.Principal)
		}{
			{"61 changes, one by one", true, func(p *kit.Principal) {
				for i := range 60 {
					s.exec(`UPDATE users SET name = name || 'x' WHERE username = 'filler' || $1`, i+1)
				}
				s.exec(`UPDATE users SET active = false WHERE id = $1`, p.ID)
			}},
			{"1501 in one statement", false, func(*kit.Principal) { s.exec(`UPDATE users SET active = false`) }},
		} {
			t.Run(test.name, func(t *testing.T) {
				p := kit.RegisterPrincipal(t, s.server.URL(), "alice"+kit.UniqueName())
				other := kit.RegisterPrincipal(t, s.server.URL(), "bob"+kit.UniqueName())
				for _, who := range []*kit.Principal{p, other} {
					for _, way := range []string{kit.BySession, kit.ByToken} {
						testkit.Eventually(t, kit.MaxDelay, "the user to be in memory", func() bool {
							trips, sql := kit.Cost(who.WantGet(way, "/api/me", http.StatusOK))
							return trips == "1" && sql == "0"
						})
					}
				}
				cache.Pause()
				defer cache.Resume()
				test.change(p)
				wantOut(t, p)
				if test.otherStays {
					other.WantGet(kit.BySession, "/api/me", http.StatusOK)
				} else {
					wantOut(t, other)
				}
				cache.Resume()
				// Stale entries of the cache do not revive the user.
				wantOut(t, p)
			})
		}
	})
}

// TestListening_APoolerIsNotTrusted: through a pooler in transaction mode LISTEN succeeds, but no notification ever
// arrives. The server logs it and reads the database instead, and doctor names the remedy; with a direct connection
// for notifications, servers behind the pooler work as usual.
func TestListening_APoolerIsNotTrusted(t *testing.T) {
	t.Parallel()
	s := kit.NewSite(t)
	direct := s.DatabaseURL
	db := kit.OpenDB(t, "postgres", direct)
	s.DatabaseURL = testkit.PgBouncer(t, direct)
	pooled := append(kit.MetricsOn, "DATABASE_URL", s.DatabaseURL+"&binary_parameters=yes")
	both := append(kit.MetricsOn, "DATABASE_LISTEN_URL", direct)

	kit.RunCommand(t, s.Env(both...), "", "migrate", "up").WantCode(t, 0)
	pooledOnly, listening := s.ServeWithoutRace(pooled...), s.ServeWithoutRace(both...)
	disable := func(p *kit.Principal) {
		if _, err := db.Exec(`UPDATE users SET active = false WHERE id = $1`, p.ID); err != nil {
			t.Fatal(err)
		}
	}

	alice, bob := kit.RegisterPrincipal(t, pooledOnly.URL(), "alice"), kit.RegisterPrincipal(t, listening.URL(), "bob")
	bob.Warm()
	if n := kit.Scrape(t, listening).Sum("gatehouse_listening"); n != 1 {
		t.Errorf("gatehouse_listening is %v with a direct connection, want 1", n)
	}
	disable(bob)
	wantOut(t, bob)

	testkit.Eventually(t, kit.MaxDelay, "the server to read the database", func() bool {
		_, sql := kit.Cost(alice.WantGet(kit.BySession, "/api/me", http.StatusOK))
		return sql == "1"
	})
	testkit.Eventually(t, kit.MaxDelay, "the log to name the setting", func() bool { return strings.Contains(pooledOnly.Log(), "DATABASE_LISTEN_URL") })
	if n := kit.Scrape(t, pooledOnly).Sum("gatehouse_listening"); n != 0 {
		t.Errorf("gatehouse_listening is %v through the pooler, want 0", n)
	}
	listening.Stop() // otherwise it would invalidate the cached user
	disable(alice)
	wantOut(t, alice)

	bad := kit.RunCommand(t, s.Env(pooled...), "", "doctor")
	bad.WantCode(t, 1)
	if !strings.Contains(bad.Stdout, "FAULT  changes") || !strings.Contains(bad.Stdout, "DATABASE_LISTEN_URL") {
		t.Errorf("doctor printed\n%s", bad.Stdout)
	}
	good := kit.RunCommand(t, s.Env(both...), "", "doctor")
	good.WantCode(t, 0)
	if !strings.Contains(good.Stdout, "ok     changes") {
		t.Errorf("doctor printed\n%s", good.Stdout)
	}
}

// TestListening_ASilentConnectionIsNotTrusted: the server notices an open connection that no longer transmits anything,
// and trusts it again once it does.
func TestListening_ASilentConnectionIsNotTrusted(t *testing.T) {
	t.Parallel()
	s := kit.NewSite(t)
	slow, through := newDelayedPostgres(t, s.DatabaseURL)
	server := s.ServeWithoutRace(append(kit.MetricsOn, "DATABASE_LISTEN_URL", through)...)
	db := kit.OpenDB(t, "postgres", s.DatabaseURL)
	listening := func() float64 { return kit.Scrape(t, server).Sum("gatehouse_listening") }
	p := kit.RegisterPrincipal(t, server.URL(), "alice")
	p.Warm()
	slow.hold()
	if _, err := db.Exec(`UPDATE users SET active = false WHERE id = $1`, p.ID); err != nil {
		t.Fatal(err)
	}
	wantOut(t, p)
	testkit.Eventually(t, kit.MaxDelay, "the metric to be 0", func() bool { return listening() == 0 })
	slow.release()
	testkit.Eventually(t, kit.MaxDelay, "the metric to be 1", func() bool { return listening() == 1 })
	wantOut(t, p)
	other := kit.RegisterPrincipal(t, server.URL(), "bob")
	other.Warm()
}

// TestLog_AnOutageIsOneLinePerSecond: without Postgres, the log does not get a line for each failing request.
func TestLog_AnOutageIsOneLinePerSecond(t *testing.T) {
	pg := testkit.StartPostgres(t)
	s := &kit.Site{T: t, DatabaseURL: pg.URL(), RedisURL: testkit.RedisURL(t)}
	server := s.ServeWithoutRace("LOG_LEVEL", "info")
	pg.Kill()
	begun := time.Now()
	about := func() (times []time.Time) {
		for line := range strings.Lines(server.Log()) {
			var r struct {
				Time       time.Time
				Msg, Error string
			}
			if json.Unmarshal([]byte(line), &r) == nil && r.Msg != "request" && r.Error != "" && r.Time.After(begun) {
				times = append(times, r.Time)
			}
		}
		return times
	}
	const users = 20
	asked := 0
	// Continue until the log has a few lines and there are many more requests than lines.
	for len(about()) < 4 || asked < 10*users {
		if time.Since(begun) > time.Minute {
			t.Fatalf("got %d lines in a minute of requests, so the test is inconclusive", len(about()))
		}
		kit.RunConcurrently(t, users, func(i int) (kit.Response, error) {
			c := kit.NewClient(t, server.URL())
			return c.TryDo(c.NewRequest(http.MethodGet, "/readyz", ""))
		})
		asked += users
	}
	// One line reports that no changes are received; the others are rate-limited.
	times := about()
	if most := int(time.Since(begun)/time.Second) + 2; len(times) > most {
		t.Errorf("%d lines for %d requests in %v, want at most %d", len(times), asked, time.Since(begun), most)
	}
	t.Logf("%d lines for %d requests in %v", len(times), asked, time.Since(begun).Round(time.Millisecond))
}
