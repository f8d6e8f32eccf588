package testkit

import (
	"crypto/rand"
	"database/sql"
	"errors"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"

	_ "github.com/lib/pq" // the driver for CREATE DATABASE

	"gatehouse/internal/testkit/servers"
)

// PostgresURL creates an empty database on a shared server and returns its URL. The server is the
// one that TEST_DATABASE_URL names, or else one that runs until this test process ends. The
// database is dropped when the test ends, even if connections are still open.
func PostgresURL(t testing.TB) string {
	t.Helper()
	shared := sharedPostgres(t)
	name := "test_" + strings.ToLower(rand.Text()[:16])
	if err := execSQL(shared, "CREATE DATABASE "+name+" TEMPLATE template0"); err != nil {
		t.Fatalf("create the test database: %v", err)
	}
	t.Cleanup(func() {
		if err := execSQL(shared, "DROP DATABASE IF EXISTS "+name+" WITH (FORCE)"); err != nil {
			t.Logf("drop the test database: %v", err)
		}
	})
	u, err := url.Parse(shared)
	if err != nil {
		t.Fatalf("TEST_DATABASE_URL: %v", err)
	}
	u.Path = "/" + name
	return u.String()
}

func sharedPostgres(t testing.TB) string {
	t.Helper()
	if fromEnv := os.Getenv("TEST_DATABASE_URL"); fromEnv != "" {
		return fromEnv
	}
	p, err := processPostgres()
	if errors.Is(err, servers.ErrNoPostgres) {
		Unavailable(t, "TEST_DATABASE_URL is not set, and "+err.Error())
	}
	if err != nil {
		t.Fatal(err)
	}
	return p.URL()
}

// processPostgres starts a server on the first call; it runs until this process ends.
var processPostgres = sync.OnceValues(servers.NewPostgres)

func execSQL(databaseURL, statement string) (err error) {
	db, err := sql.Open("postgres", databaseURL)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	_, err = db.Exec(statement)
	return err
}

// Postgres is a private cluster that a test may stop, kill and pause.
type Postgres struct {
	t      testing.TB
	server *servers.Postgres
}

// StartPostgres creates and starts a cluster, which takes about a second. It is removed when the
// test ends.
func StartPostgres(t testing.TB) *Postgres {
	t.Helper()
	server, err := servers.NewPostgres()
	if errors.Is(err, servers.ErrNoPostgres) {
		Unavailable(t, err.Error())
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { report(t, server.Remove()) })
	return &Postgres{t: t, server: server}
}

// URL returns the URL of the database postgres, for the superuser. A restart does not change it.
func (p *Postgres) URL() string { return p.server.URL() }

// Start starts a stopped or killed cluster with the same port and data.
func (p *Postgres) Start() { p.t.Helper(); must(p.t, p.server.Start()) }

// Stop closes all connections and shuts down cleanly.
func (p *Postgres) Stop() { p.t.Helper(); must(p.t, p.server.Stop()) }

// Kill ends the server like a crash. Committed data is there again after the next Start.
func (p *Postgres) Kill() { p.t.Helper(); must(p.t, p.server.Kill()) }

// Pause freezes the server: its connections stay open but get no answers.
func (p *Postgres) Pause() { p.t.Helper(); must(p.t, p.server.Pause()) }

// Resume ends a Pause.
func (p *Postgres) Resume() { p.t.Helper(); must(p.t, p.server.Resume()) }

// must fails the test on an error.
func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// report is must for cleanup functions: it lets the following ones run.
func report(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Error(err)
	}
}
