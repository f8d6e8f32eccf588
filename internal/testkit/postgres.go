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

// PostgresURL returns the URL of a new, empty database on a shared server: the one that
// TEST_DATABASE_URL names, else one that is started for this test process. The database is
// dropped when the test ends, whoever is still connected.
func PostgresURL(t testing.TB) string {
	t.Helper()
	shared := sharedPostgres(t)
	name := "test_" + strings.ToLower(rand.Text()[:16])
	if err := execSQL(shared, "CREATE DATABASE "+name+" TEMPLATE template0"); err != nil {
		t.Fatalf("create a database on the test server: %v", err)
	}
	t.Cleanup(func() {
		if err := execSQL(shared, "DROP DATABASE IF EXISTS "+name+" WITH (FORCE)"); err != nil {
			t.Logf("drop the test's database: %v", err)
		}
	})
	u, err := url.Parse(shared)
	if err != nil {
		t.Fatalf("TEST_DATABASE_URL is no URL: %v", err)
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
		lacking(t, "TEST_DATABASE_URL is not set, and "+err.Error())
	}
	if err != nil {
		t.Fatal(err)
	}
	return p.URL()
}

// processPostgres is started for the first test that asks and ends with the process.
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

// Postgres is a cluster of the test's own, to be killed and frozen at will.
type Postgres struct {
	t      testing.TB
	server *servers.Postgres
}

// StartPostgres makes and starts a cluster that ends with the test; it takes about a second.
func StartPostgres(t testing.TB) *Postgres {
	t.Helper()
	server, err := servers.NewPostgres()
	if errors.Is(err, servers.ErrNoPostgres) {
		lacking(t, err.Error())
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { report(t, server.Remove()) })
	return &Postgres{t: t, server: server}
}

// URL names the cluster's own database, as its superuser. It stays the same over restarts.
func (p *Postgres) URL() string { return p.server.URL() }

// Start starts a stopped or killed cluster on the same port, with the same data.
func (p *Postgres) Start() { p.t.Helper(); must(p.t, p.server.Start()) }

// Stop ends all connections and shuts down in order.
func (p *Postgres) Stop() { p.t.Helper(); must(p.t, p.server.Stop()) }

// Kill ends the server as a crash would; what was committed is there after the next Start.
func (p *Postgres) Kill() { p.t.Helper(); must(p.t, p.server.Kill()) }

// Pause freezes the server: connections stay open, and nothing is answered.
func (p *Postgres) Pause() { p.t.Helper(); must(p.t, p.server.Pause()) }

// Resume ends a Pause.
func (p *Postgres) Resume() { p.t.Helper(); must(p.t, p.server.Resume()) }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// report is must for cleanups, which should all run.
func report(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Error(err)
	}
}
