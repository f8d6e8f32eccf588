// Package kit contains the shared helpers of the end-to-end tests: running Gatehouse, HTTP clients, a browser, direct
// access to Postgres and Redis, and checks of responses. Only tests may import it.
package kit

import (
	"database/sql"
	"maps"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/gomodule/redigo/redis"
	_ "github.com/lib/pq"  // the driver for the tests' own queries
	_ "modernc.org/sqlite" // and for the embedded database

	"gatehouse/internal/testkit"
)

const (
	// Password passes every rule for new passwords.
	Password = "weary-otter-lamp"
	// OtherPassword is a second valid password.
	OtherPassword = "brisk-walnut-tram"
	// SecretKey is the SECRET_KEY of test servers.
	SecretKey = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
	// SessionCookie is the name of the session cookie.
	SessionCookie = "gatehouse"
)

// Site is a Postgres and a Redis, and as many servers on them as the test starts.
type Site struct {
	T           testing.TB
	DatabaseURL string
	RedisURL    string
}

// NewSite returns a site with a separate Redis and a separate, migrated Postgres database.
func NewSite(t testing.TB) *Site {
	t.Helper()
	return &Site{T: t, DatabaseURL: testkit.PostgresURL(t), RedisURL: testkit.RedisURL(t)}
}

// Env returns the settings of a server on the site; pairs are name, value, name, value….
func (s *Site) Env(pairs ...string) map[string]string {
	env := map[string]string{
		"DATABASE_URL": s.DatabaseURL,
		"REDIS_URL":    s.RedisURL,
		"SECRET_KEY":   SecretKey,
		"LOG_LEVEL":    "debug",
		// Otherwise a race build waits a second before it exits.
		"GORACE": strings.TrimSpace(os.Getenv("GORACE") + " atexit_sleep_ms=0"),
	}
	maps.Copy(env, pairsOf(pairs))
	return env
}

func pairsOf(pairs []string) map[string]string {
	m := make(map[string]string)
	for i := 0; i+1 < len(pairs); i += 2 {
		m[pairs[i]] = pairs[i+1]
	}
	return m
}

// Serve starts a server on the site; pairs are further settings.
func (s *Site) Serve(pairs ...string) *testkit.Server {
	s.T.Helper()
	return s.serveBinary(testkit.BuildBinary(s.T), pairs...)
}

// ServeWithoutRace is Serve without the race detector.
func (s *Site) ServeWithoutRace(pairs ...string) *testkit.Server {
	s.T.Helper()
	return s.serveBinary(testkit.BuildWithoutRace(s.T), pairs...)
}

// serveBinary starts a server and waits until it receives changes from the database: until then it caches no user
// locally, and once it does, it empties the cache.
func (s *Site) serveBinary(binary string, pairs ...string) *testkit.Server {
	s.T.Helper()
	env := s.Env(pairs...)
	server := testkit.StartServer(s.T, binary, env, "--migrate")
	if env["DATABASE_URL"] == s.DatabaseURL && env["LOG_LEVEL"] == "debug" {
		testkit.Eventually(s.T, WaitTimeout, "the server to receive changes", func() bool {
			return strings.Contains(server.Log(), "receiving user changes from the database")
		})
	}
	return server
}

// Reset deletes all users and everything in Redis.
func (s *Site) Reset() {
	s.T.Helper()
	if _, err := OpenDB(s.T, "postgres", s.DatabaseURL).Exec(`DELETE FROM users`); err != nil {
		s.T.Fatal(err)
	}
	s.RedisDo("FLUSHALL")
}

// QueryInt returns the number that a query selects in the site's Postgres.
func (s *Site) QueryInt(query string) int {
	s.T.Helper()
	db := OpenDB(s.T, "postgres", s.DatabaseURL)
	defer db.Close()
	var n int
	if err := db.QueryRow(query).Scan(&n); err != nil {
		s.T.Fatal(err)
	}
	return n
}

// RedisDo sends one command to database 0 of the site's Redis, on a new connection.
func (s *Site) RedisDo(command string, args ...any) any {
	s.T.Helper()
	conn, err := redis.DialURL(s.RedisURL)
	if err != nil {
		s.T.Fatal(err)
	}
	defer conn.Close()
	reply, err := conn.Do(command, args...)
	if err != nil {
		s.T.Fatalf("%s: %v", command, err)
	}
	return reply
}

// RedisInt is RedisDo for an integer reply.
func (s *Site) RedisInt(command string, args ...any) int64 {
	s.T.Helper()
	n, err := redis.Int64(s.RedisDo(command, args...), nil)
	if err != nil {
		s.T.Fatalf("%s: %v", command, err)
	}
	return n
}

// CommandCalls returns how many times the site's Redis has executed a command.
func (s *Site) CommandCalls(command string) int {
	s.T.Helper()
	info, err := redis.String(s.RedisDo("INFO", "commandstats"), nil)
	if err != nil {
		s.T.Fatal(err)
	}
	for line := range strings.Lines(info) {
		if rest, ok := strings.CutPrefix(line, "cmdstat_"+command+":calls="); ok {
			number, _, _ := strings.Cut(rest, ",")
			n, err := strconv.Atoi(number)
			if err != nil {
				s.T.Fatal(err)
			}
			return n
		}
	}
	return 0
}

// OpenDB opens a database for the test's own queries and closes it when the test ends.
func OpenDB(t testing.TB, driver, source string) *sql.DB {
	t.Helper()
	db, err := sql.Open(driver, source)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

// QueryText returns the text that a query selects.
func QueryText(t testing.TB, db *sql.DB, query string, args ...any) string {
	t.Helper()
	var s string
	if err := db.QueryRow(query, args...).Scan(&s); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return s
}
