package kit

import (
	"database/sql"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"

	"gatehouse/auth"
	"gatehouse/handlers"
	"gatehouse/internal/testkit"
)

// Target is a running server with access to its Redis, database, log and socket.
type Target struct {
	*Site
	Server   *testkit.Server
	Sessions redis.Conn // sessions and throttles
	Cache    redis.Conn // cached users
	DB       *sql.DB
}

// NewTarget starts a server with separate stores; pairs are settings.
func NewTarget(t testing.TB, pairs ...string) *Target {
	t.Helper()
	x := &Target{Site: NewSite(t)}
	x.Server = x.Serve(pairs...)
	x.Sessions, x.Cache = DialRedis(t, x.RedisURL), DialRedis(t, x.RedisURL+"/1")
	var err error
	if x.DB, err = sql.Open("postgres", x.DatabaseURL); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = x.DB.Close() })
	return x
}

// DialRedis connects to a Redis and closes the connection when the test ends.
func DialRedis(t testing.TB, url string) redis.Conn {
	t.Helper()
	c, err := redis.DialURL(url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// dialEmbeddedRedis connects to the Redis inside the server that runs on a DATA_DIR.
func dialEmbeddedRedis(t testing.TB, dir string, database int) redis.Conn {
	t.Helper()
	c, err := redis.Dial("unix", filepath.Join(dir, "redis.sock"), redis.DialDatabase(database))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// NewClient returns a client without cookies.
func (x *Target) NewClient() *Client {
	x.T.Helper()
	return NewClient(x.T, x.Server.URL())
}

// Do runs a Redis command on the database of the sessions.
func (x *Target) Do(command string, args ...any) any {
	x.T.Helper()
	reply, err := x.Sessions.Do(command, args...)
	if err != nil {
		x.T.Fatalf("%s %v: %v", command, args, err)
	}
	return reply
}

// Int is Do for an integer reply.
func (x *Target) Int(command string, args ...any) int64 {
	x.T.Helper()
	n, err := redis.Int64(x.Do(command, args...), nil)
	if err != nil {
		x.T.Fatalf("%s %v: %v", command, args, err)
	}
	return n
}

// Keys returns the keys that match a pattern.
func (x *Target) Keys(pattern string) []string {
	x.T.Helper()
	keys, err := redis.Strings(x.Do("KEYS", pattern), nil)
	if err != nil {
		x.T.Fatal(err)
	}
	return keys
}

// TTL returns a key's remaining time; negative if it has none or does not exist.
func (x *Target) TTL(key string) time.Duration {
	x.T.Helper()
	return time.Duration(x.Int("PTTL", key)) * time.Millisecond
}

// Exec runs SQL directly on the database.
func (x *Target) Exec(statement string, args ...any) {
	x.T.Helper()
	if _, err := x.DB.ExecContext(x.T.Context(), statement, args...); err != nil {
		x.T.Fatalf("%s: %v", statement, err)
	}
}

// BlockedStatements is a query for the number of statements that wait for a lock in the test's own
// database: other tests use other databases of the same Postgres.
const BlockedStatements = `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`

// QueryValue returns one value of the database as text.
func (x *Target) QueryValue(query string, args ...any) string {
	x.T.Helper()
	var v sql.NullString
	if err := x.DB.QueryRowContext(x.T.Context(), query, args...).Scan(&v); err != nil {
		x.T.Fatalf("%s: %v", query, err)
	}
	return v.String
}

// UserID returns the id of a user.
func (x *Target) UserID(username string) string {
	x.T.Helper()
	return x.QueryValue(`SELECT id FROM users WHERE username = $1`, username)
}

// Snapshot returns everything that a request could change as one text: all users, and all keys with their values,
// without their remaining times.
func (x *Target) Snapshot() string {
	x.T.Helper()
	var b strings.Builder
	b.WriteString(x.QueryValue(`SELECT coalesce(string_agg(users::text, E'\n' ORDER BY id), '') FROM users`))
	keys := x.Keys("*")
	slices.Sort(keys)
	for _, key := range keys {
		fmt.Fprintf(&b, "\n%s %x", key, x.Do("DUMP", key))
	}
	return b.String()
}

// CookieOpensDashboard reports whether a Cookie header opens the dashboard.
func (x *Target) CookieOpensDashboard(cookies string) bool {
	x.T.Helper()
	c := x.NewClient()
	a := c.Get("/dashboard", "Cookie", cookies)
	if a.StatusCode != http.StatusOK && a.StatusCode != http.StatusSeeOther {
		x.T.Fatalf("GET /dashboard: %s\n%s", a.Status, a.Text)
	}
	return a.StatusCode == http.StatusOK
}

// RoutePaths returns the paths of all routes for a method.
func RoutePaths(method string) []string {
	var paths []string
	for _, r := range (&handlers.Handlers{}).Routes() {
		if r.Method == method {
			paths = append(paths, r.Path)
		}
	}
	return paths
}

// CacheDo runs a Redis command on the database of the caches.
func (x *Target) CacheDo(command string, args ...any) any {
	x.T.Helper()
	reply, err := x.Cache.Do(command, args...)
	if err != nil {
		x.T.Fatalf("%s: %v", command, err)
	}
	return reply
}

// CacheKeys returns the cache's keys that match a pattern, sorted.
func (x *Target) CacheKeys(pattern string) []string {
	x.T.Helper()
	keys, err := redis.Strings(x.CacheDo("KEYS", pattern), nil)
	if err != nil {
		x.T.Fatal(err)
	}
	slices.Sort(keys)
	return keys
}

// WriteFile writes a file and returns its path.
func WriteFile(t testing.TB, path, text string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// SessionKey returns the Redis key of the client's session.
func (x *Target) SessionKey(c *Client) string {
	x.T.Helper()
	return "session:" + auth.SessionID(c.Cookie(SessionCookie))
}

// FlushCache empties the user and credential caches.
func (x *Target) FlushCache() {
	x.T.Helper()
	if _, err := x.Cache.Do("FLUSHDB"); err != nil {
		x.T.Fatal(err)
	}
}
