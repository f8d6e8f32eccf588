package db

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/pressly/goose/v3"
)

const (
	// sqliteConns is the size of the pool: in WAL mode, readers run concurrently with each other and with
	// the single writer.
	sqliteConns = 8
	// busyTimeout is how long SQLite waits for another process' write. That wait ignores the context, so
	// it is short, and DB.statement retries until the context ends.
	busyTimeout = 200 * time.Millisecond
	// pollInterval is the interval at which the file is checked for changes.
	pollInterval = 25 * time.Millisecond
	// reachableInterval is the minimum time between two calls of Listener.Reachable while the file cannot
	// be watched.
	reachableInterval = time.Second
)

var sqliteDialect = dialect{
	name:       "SQLite",
	goose:      goose.DialectSQLite3,
	migrations: "sqlite",
	hasTable:   `SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = $1)`,
	lastSignIn: "coalesce(last_sign_in_at, '0')",
	lockGroup:  `SELECT name FROM groups WHERE name = $1`, // there is a single writer
}

func openSQLite(ctx context.Context, path string) (*DB, error) {
	path = strings.TrimPrefix(path, "//")
	if path == "" || strings.HasPrefix(path, ":") {
		return nil, errors.New("sqlite: must be followed by the path of a file")
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("open SQLite: %w", err)
	}
	if err := createPrivate(path); err != nil {
		return nil, fmt.Errorf("open SQLite: %w", err)
	}
	connect := func() (*sql.DB, error) { return sql.Open("sqlite", sqliteDSN(path)) }
	pool, err := connect()
	if err != nil {
		return nil, fmt.Errorf("open SQLite: %w", err)
	}
	pool.SetMaxOpenConns(sqliteConns)
	pool.SetMaxIdleConns(sqliteConns)
	pool.SetConnMaxIdleTime(maxIdleTime)
	d := &DB{
		dialect:    sqliteDialect,
		pool:       sqlx.NewDb(pool, "sqlite"),
		writerSlot: make(chan struct{}, 1),
		path:       path,
		connect:    connect,
		computed:   newComputedFill(),
	}
	if err := d.Ping(ctx); err != nil {
		_ = d.Close()
		return nil, fmt.Errorf("open SQLite %s: %w", path, err)
	}
	return d, nil
}

// createPrivate creates the file with mode 0600, because it will hold password hashes. SQLite gives the
// files beside it (-wal, -shm) the same mode.
func createPrivate(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	return f.Close()
}

// sqliteDSN returns the data source name; see the driver's documentation of Driver.Open.
//
// WAL lets readers run concurrently with the writer. synchronous FULL makes every commit survive a power
// failure. Transactions begin as writers (immediate), because upgrading a reader fails immediately with
// SQLITE_BUSY if another process has written in between.
func sqliteDSN(path string) string {
	q := url.Values{
		"_busy_timeout": {strconv.FormatInt(busyTimeout.Milliseconds(), 10)},
		"_journal_mode": {"WAL"},
		"_synchronous":  {"FULL"},
		"_foreign_keys": {"1"},
		"_txlock":       {"immediate"},
		"_dqs":          {"0"},
	}
	return "file:" + (&url.URL{Path: path}).EscapedPath() + "?" + q.Encode()
}

// lockSQLite makes this process the only one that migrates the file. goose has no lock for SQLite, so an
// empty database next to the file is locked instead, which works on every system and ends with the
// process.
func lockSQLite(ctx context.Context, path string) (unlock func(), err error) {
	path += ".migrate-lock"
	if err := createPrivate(path); err != nil {
		return nil, err
	}
	pool, err := sql.Open("sqlite", "file:"+(&url.URL{Path: path}).EscapedPath())
	if err != nil {
		return nil, err
	}
	pool.SetMaxOpenConns(1)
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		_, err := pool.ExecContext(ctx, `BEGIN EXCLUSIVE`)
		if err == nil {
			return func() { _ = pool.Close() }, nil
		}
		if !isBusy(err) {
			_ = pool.Close()
			return nil, err
		}
		select {
		case <-ctx.Done():
			_ = pool.Close()
			return nil, ctx.Err()
		case <-tick.C:
		}
	}
}
