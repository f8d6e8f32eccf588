package db

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	neturl "net/url"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"

	"gatehouse/auth"
	"gatehouse/internal/reqstats"
	"gatehouse/internal/testkit"
)

// onBoth runs a test on an empty database of either kind.
func onBoth(t *testing.T, test func(t *testing.T, d *DB)) {
	t.Run("Postgres", func(t *testing.T) { t.Parallel(); test(t, open(t, testkit.PostgresURL(t))) })
	t.Run("SQLite", func(t *testing.T) { t.Parallel(); test(t, open(t, sqliteURL(t))) })
}

// onBothMigrated runs a test on a database with the current schema.
func onBothMigrated(t *testing.T, test func(t *testing.T, d *DB)) {
	onBoth(t, func(t *testing.T, d *DB) {
		ok(t, d.Migrate(t.Context()))
		test(t, d)
	})
}

func sqliteURL(t *testing.T) string {
	return "sqlite:" + filepath.Join(t.TempDir(), "odd name ?#%20.db")
}

func open(t testing.TB, url string, options ...Option) *DB {
	t.Helper()
	d, err := Open(t.Context(), url, options...)
	ok(t, err)
	t.Cleanup(func() { _ = d.Close() }) // fails if the server was stopped first
	return d
}

// newUser returns a user with a new id.
func newUser(username string) auth.User {
	at := time.Now().UTC().Truncate(time.Microsecond)
	return auth.User{
		ID: uuid.Must(uuid.NewV7()).String(), Username: username, TimeZone: "UTC",
		Groups: []string{}, Permissions: []string{},
		PasswordHash: "hash of " + username, Epoch: 1, Active: true, CreatedAt: at, UpdatedAt: at,
	}
}

func create(t *testing.T, d *DB, u auth.User) auth.User {
	t.Helper()
	ok(t, second(d.CreateUser(t.Context(), u)))
	return u
}

func byID(t *testing.T, d *DB, id string) auth.User {
	t.Helper()
	u, err := d.UserByID(t.Context(), id)
	ok(t, err)
	return u
}

// byHand runs SQL on its own connection, as an operator at a prompt does.
func byHand(t testing.TB, d *DB, query string, args ...any) error {
	t.Helper()
	pool, err := d.connect()
	ok(t, err)
	defer pool.Close()
	_, err = pool.ExecContext(t.Context(), query, args...)
	return err
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantErr(t testing.TB, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("got error %v, want %v", err, want)
	}
}

func equal[T any](t testing.TB, what string, got, want T) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("%s: got %v, want %v", what, got, want)
	}
}

func TestOpen_RefusesInvalidURLs(t *testing.T) {
	for _, url := range []string{
		"", "mysql://localhost/x", "sqlite:", "sqlite::memory:", "sqlite:" + filepath.Join(t.TempDir(), "no", "such", "folder.db"),
		"postgres://u:hush%zz@localhost/x", "postgres://u:hush@localhost:no/x", "postgres://u:hush@a:1,b:no/x",
		"postgres://u:hush@a,/x", "postgres://u:hush@localhost/x?sslmode=hush-no",
	} {
		d, err := Open(t.Context(), url)
		if err == nil {
			_ = d.Close()
			t.Errorf("%q was accepted", url)
		}
		if err != nil && strings.Contains(err.Error(), "u:hush") {
			t.Errorf("the error contains the password: %v", err)
		}
	}
}

func TestOpen_SQLiteFilesArePrivate(t *testing.T) {
	url := sqliteURL(t)
	d := open(t, url)
	ok(t, d.Migrate(t.Context()))
	files, err := filepath.Glob(filepath.Join(filepath.Dir(d.path), "*"))
	ok(t, err)
	if len(files) < 3 {
		t.Fatalf("got %q, want the file, -wal and -shm", files)
	}
	for _, f := range files {
		equal(t, f, fileMode(t, f), 0o600)
	}
}

func TestPostgresConfig_ParsesEveryHost(t *testing.T) {
	tests := []struct{ url, hosts, target string }{
		{"postgres://u:p%40@one/x", "one:5432", ""},
		{"postgres://u:p%40@one:1/x?a=b,c&TimeZone=Asia/Tokyo", "one:1", ""},
		{"postgres://u:p%40@one:1,two:2/x", "one:1 two:2", "read-write"},
		{"postgresql://u:p%40@one,two,[::1]:3,[::2]/x?target_session_attrs=any", "one:5432 two:5432 ::1:3 ::2:5432", "any"},
		{"postgres://u:p%40@/x?host=one,two&port=1,2", "one:1 two:2", "read-write"},
	}
	for _, test := range tests {
		cfg, err := postgresConfig(test.url)
		ok(t, err)
		got := cfg.Host + ":" + itoa(cfg.Port)
		for _, m := range cfg.Multi {
			got += " " + m.Host + ":" + itoa(m.Port)
		}
		equal(t, test.url, got, test.hosts)
		equal(t, test.url, string(cfg.TargetSessionAttrs), test.target)
		equal(t, "password", cfg.Password, "p@")
		equal(t, "database", cfg.Database, "x")
		equal(t, "time zone", fmt.Sprint(cfg.Runtime["timezone"], cfg.Runtime["TimeZone"]), "UTC")
	}
}

// TestOpen_UsesTheSecondHost: nothing listens at the first host.
func TestOpen_UsesTheSecondHost(t *testing.T) {
	url, err := neturl.Parse(testkit.PostgresURL(t))
	ok(t, err)
	if url.Host == "" {
		testkit.Unavailable(t, "TEST_DATABASE_URL names no host")
	}
	url.Host = "127.0.0.1:1," + url.Host
	d := open(t, url.String())
	ok(t, d.Ping(t.Context()))
}

func TestName_NamesTheDatabase(t *testing.T) {
	onBoth(t, func(t *testing.T, d *DB) {
		equal(t, "name", d.Name(), strings.TrimPrefix(t.Name(), "TestName_NamesTheDatabase/"))
	})
}

func TestStatements_AreCounted(t *testing.T) {
	onBothMigrated(t, func(t *testing.T, d *DB) {
		create(t, d, newUser("first"))
		u := newUser("alice")
		count := func(want int64, run func(ctx context.Context)) {
			t.Helper()
			ctx, cost := reqstats.NewContext(t.Context())
			run(ctx)
			equal(t, "statements", cost.SQLStatements(), want)
			if want > 0 && cost.SQLTime() <= 0 {
				t.Fatalf("got an SQL time of %v, want more than 0", cost.SQLTime())
			}
		}
		count(1, func(ctx context.Context) { ok(t, second(d.CreateUser(ctx, u))) })
		count(1, func(ctx context.Context) { _, _ = d.UserByID(ctx, u.ID) })
		count(1, func(ctx context.Context) { _, _ = d.UserByUsername(ctx, "nobody") })
		count(1, func(ctx context.Context) { _, _ = d.Users(ctx, "", 10) })
		count(1, func(ctx context.Context) { _, _ = d.RotateEpoch(ctx, u.ID) })
		count(1, func(ctx context.Context) { ok(t, d.RecordSignIn(ctx, u.ID, time.Now())) })
		count(0, func(ctx context.Context) { _, _ = d.UserByID(ctx, "no uuid") })
		count(0, func(ctx context.Context) { _, _ = d.UserByUsername(ctx, "\x00") })
		count(2, func(ctx context.Context) { _, _ = d.SetPassword(ctx, u.ID, 1, "h") }) // stale: a second statement finds out why
	})
}

func TestCanceledContext_IsNotUnavailable(t *testing.T) {
	onBothMigrated(t, func(t *testing.T, d *DB) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		for what, err := range map[string]error{
			"read":  second(d.UserByUsername(ctx, "x")),
			"write": second(d.CreateUser(ctx, newUser("x"))),
		} {
			wantErr(t, err, context.Canceled)
			if errors.Is(err, auth.ErrUnavailable) {
				t.Fatalf("%s: a canceled call is reported as ErrUnavailable: %v", what, err)
			}
		}
	})
}

func TestDeadline_IsUnavailable(t *testing.T) {
	onBothMigrated(t, func(t *testing.T, d *DB) {
		ctx, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
		defer cancel()
		wantErr(t, second(d.UserByUsername(ctx, "x")), auth.ErrUnavailable)
		wantErr(t, second(d.CreateUser(ctx, newUser("x"))), auth.ErrUnavailable)
	})
}

// TestSQLite_LockByAnotherProcessIsUnavailable: while another process locks the file, writes fail within the timeout.
func TestSQLite_LockByAnotherProcessIsUnavailable(t *testing.T) {
	t.Parallel()
	d := open(t, sqliteURL(t))
	ok(t, d.Migrate(t.Context()))
	other, done, err := d.separateConn(t.Context())
	ok(t, err)
	defer done()
	_, err = other.ExecContext(t.Context(), `BEGIN IMMEDIATE`)
	ok(t, err)

	start := time.Now()
	var group sync.WaitGroup
	for range 3 { // two of them wait for the first one
		group.Go(func() {
			if _, err := d.CreateUser(t.Context(), newUser("x")); !errors.Is(err, auth.ErrUnavailable) {
				t.Errorf("got %v, want ErrUnavailable", err)
			}
		})
	}
	group.Wait()
	inTime(t, start)
	if took := time.Since(start); took < statementTimeout/2 {
		t.Fatalf("gave up after %v, want at least %v", took, statementTimeout/2)
	}
	if _, err := d.Users(t.Context(), "", 1); err != nil {
		t.Fatalf("reading while the file is locked: %v", err)
	}
	_, err = other.ExecContext(t.Context(), `ROLLBACK`)
	ok(t, err)
	create(t, d, newUser("x"))
}

func TestPostgres_RecoversFromOutages(t *testing.T) {
	t.Parallel()
	pg := testkit.StartPostgres(t)
	d := open(t, pg.URL())
	ok(t, d.Migrate(t.Context()))
	u := create(t, d, newUser("alice"))

	fails := func(what string) {
		t.Helper()
		start := time.Now()
		_, err := d.UserByID(t.Context(), u.ID)
		wantErr(t, err, auth.ErrUnavailable)
		inTime(t, start)
		start = time.Now()
		_, err = d.RotateEpoch(t.Context(), u.ID)
		wantErr(t, err, auth.ErrUnavailable)
		inTime(t, start)
		if !strings.Contains(err.Error(), "rotate epoch: Postgres: unavailable") {
			t.Fatalf("%s: got %v, want an error that names the operation", what, err)
		}
		wantErr(t, d.Ping(t.Context()), auth.ErrUnavailable)
	}
	restarts := map[string]func(){
		"killed":  pg.Kill,
		"stopped": pg.Stop,
	}
	for what, stop := range restarts {
		fillPool(t, d, u.ID)
		stop()
		fails(what)
		pg.Start()
		byID(t, d, u.ID)
		equal(t, "epoch after "+what, byID(t, d, u.ID).Epoch, u.Epoch)

		// Every pooled connection is dead, but neither reads nor writes fail.
		fillPool(t, d, u.ID)
		stop()
		pg.Start()
		byID(t, d, u.ID)
		fillPool(t, d, u.ID)
		stop()
		pg.Start()
		changed, err := d.RotateEpoch(t.Context(), u.ID)
		ok(t, err)
		wantNewEpoch(t, u.Epoch, changed.Epoch)
		u = changed
	}

	fillPool(t, d, u.ID)
	pg.Pause()
	fails("paused")
	pg.Resume()
	testkit.Eventually(t, 10*time.Second, "Postgres to be back", func() bool { return d.Ping(t.Context()) == nil })
}

// fillPool fills the pool with idle connections.
func fillPool(t *testing.T, d *DB, id string) {
	t.Helper()
	d.pool.SetMaxIdleConns(0) // closes the dead ones
	d.pool.SetMaxIdleConns(postgresConns)
	var conns []func() error
	for range postgresConns {
		c, err := d.pool.Conn(t.Context())
		ok(t, err)
		ok(t, c.PingContext(t.Context()))
		conns = append(conns, c.Close)
	}
	for _, done := range conns {
		ok(t, done())
	}
	equal(t, "idle connections", d.pool.Stats().Idle, postgresConns)
}

// TestPostgres_WriteIsNotRetried: if the connection breaks before the reply, the write may have been committed. It is
// reported as unavailable and not repeated.
func TestPostgres_WriteIsNotRetried(t *testing.T) {
	t.Parallel()
	d := open(t, testkit.PostgresURL(t))
	ok(t, d.Migrate(t.Context()))
	u := create(t, d, newUser("alice"))
	ok(t, byHand(t, d, `CREATE SEQUENCE tries`))
	ok(t, byHand(t, d, `CREATE FUNCTION die() RETURNS trigger LANGUAGE plpgsql AS $$
		BEGIN
			PERFORM nextval('tries'); -- survives the rollback
			PERFORM pg_terminate_backend(pg_backend_pid());
			RETURN NEW;
		END $$`))
	ok(t, byHand(t, d, `CREATE TRIGGER die BEFORE UPDATE ON users FOR EACH ROW EXECUTE FUNCTION die()`))
	_, err := d.RotateEpoch(t.Context(), u.ID)
	wantErr(t, err, auth.ErrUnavailable)
	var tries int
	ok(t, d.pool.GetContext(t.Context(), &tries, `SELECT last_value FROM tries`))
	equal(t, "executions", tries, 1)
}

// TestBrokenConnection_RetriesOnlyReads: a read is retried once on another connection, a write is not.
func TestBrokenConnection_RetriesOnlyReads(t *testing.T) {
	d := open(t, sqliteURL(t))
	ctx, cost := reqstats.NewContext(t.Context())
	runs := 0
	breaks := func(times int) func(context.Context, *sqlx.Stmt) error {
		runs = 0
		return func(context.Context, *sqlx.Stmt) error {
			if runs++; runs <= times {
				return driver.ErrBadConn
			}
			return nil
		}
	}
	ok(t, d.read(ctx, "read", `SELECT 1`, breaks(1)))
	equal(t, "statements", cost.SQLStatements(), 1)
	wantErr(t, d.read(ctx, "read", `SELECT 1`, breaks(9)), auth.ErrUnavailable)
	equal(t, "runs", runs, 2)
	wantErr(t, d.write(ctx, "write", `SELECT 1`, breaks(1)), auth.ErrUnavailable)
	equal(t, "runs", runs, 1)
}

// TestConn_ReportsAResetAsEOF: lib/pq must treat a reset connection like a closed one.
func TestConn_ReportsAResetAsEOF(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	ok(t, err)
	defer listener.Close()
	c, err := dialer{replyTimeout: time.Second}.DialContext(t.Context(), "tcp", listener.Addr().String())
	ok(t, err)
	defer c.Close()
	peer, err := listener.Accept()
	ok(t, err)
	ok(t, peer.(*net.TCPConn).SetLinger(0)) // the close is a reset
	ok(t, peer.Close())
	if n, err := c.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Fatalf("got %d, %v; want 0, EOF", n, err)
	}
}

// TestConn_KeepsTheHandshakeDeadline: a server that is silent during the handshake times out at lib/pq's own deadline, so
// that the next host is tried.
func TestConn_KeepsTheHandshakeDeadline(t *testing.T) {
	ours, theirs := net.Pipe()
	defer theirs.Close()
	c := &conn{Conn: ours, replyTimeout: time.Hour}
	ok(t, c.SetDeadline(time.Now().Add(10*time.Millisecond)))
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("got %v, want ErrDeadlineExceeded", err)
	}
}

// inTime fails if a call took much longer than its timeout. The margin allows for a busy machine.
func inTime(t *testing.T, start time.Time) {
	t.Helper()
	if took := time.Since(start); took > 5*statementTimeout {
		t.Fatalf("took %v, want at most %v", took, 5*statementTimeout)
	}
}

func second[T any](_ T, err error) error { return err }
