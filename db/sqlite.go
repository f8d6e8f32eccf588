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
	// sqliteConns is the size of the pool: readers work beside each other and beside
	// the one writer (WAL).
	sqliteConns = 8
	// busyTimeout is how long SQLite waits for another process' write at a time. That
	// wait does not end with the context, so it is short, and DB.statement repeats it
	// until the context ends.
	busyTimeout = 200 * time.Millisecond
	// watchInterval is how often Watch looks.
	watchInterval = 100 * time.Millisecond
)

var sqliteDialect = dialect{
	name:       "SQLite",
	goose:      goose.DialectSQLite3,
	migrations: "sqlite",
	hasTable:   `SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = $1)`,
}

func openSQLite(ctx context.Context, path string) (*DB, error) {
	path = strings.TrimPrefix(path, "//")
	if path == "" || strings.HasPrefix(path, ":") {
		return nil, errors.New("database URL: sqlite: needs the path of a file")
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
	pool.SetConnMaxIdleTime(idleLimit)
	d := &DB{
		dialect: sqliteDialect,
		pool:    sqlx.NewDb(pool, "sqlite"),
		writing: make(chan struct{}, 1),
		path:    path,
		connect: connect,
	}
	if err := d.Ping(ctx); err != nil {
		_ = d.Close()
		return nil, fmt.Errorf("open SQLite %s: %w", path, err)
	}
	return d, nil
}

// createPrivate creates the file for its owner only, for it will hold password hashes.
// SQLite gives its helper files (-wal, -shm) the same permissions.
func createPrivate(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	return f.Close()
}

// sqliteDSN returns what the driver wants: see its documentation of Driver.Open.
//
// WAL lets readers and the writer work at once. synchronous FULL keeps every commit over a
// power cut: an account that was acknowledged must be there tomorrow.
// Transactions begin as writers, because one that turns into a writer fails at once
// with SQLITE_BUSY when another wrote in between, without waiting.
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

// Watch calls changed whenever a SQLite file was changed, by this process or another,
// until ctx ends: a tenth of a second late at most. It also calls it once at the
// beginning, and when it cannot tell, for then the file may have changed. With Postgres
// it returns at once.
//
// Looking costs no SQL statement in the sense of auth.Cost: it belongs to no request.
func (d *DB) Watch(ctx context.Context, changed func()) {
	if d.path == "" {
		return
	}
	tick := time.NewTicker(watchInterval)
	defer tick.Stop()
	for ctx.Err() == nil {
		d.watchUntilError(ctx, tick.C, changed)
	}
}

// watchUntilError watches on one connection. data_version only ever compares within a
// connection, and counts the commits of all others
// (https://www.sqlite.org/pragma.html#pragma_data_version), so it must be our own.
func (d *DB) watchUntilError(ctx context.Context, tick <-chan time.Time, changed func()) {
	next := func() bool {
		select {
		case <-ctx.Done():
			return false
		case <-tick:
			return true
		}
	}
	conn, done, err := d.ownConn(ctx)
	if err != nil {
		changed()
		next()
		return
	}
	defer done()
	for last := int64(-1); ; {
		var version int64
		err := conn.QueryRowContext(ctx, `PRAGMA data_version`).Scan(&version)
		if ctx.Err() != nil {
			return
		}
		if err != nil || version != last {
			changed()
		}
		if !next() || err != nil {
			return
		}
		last = version
	}
}

// ownConn returns a connection outside of the pool, and what closes it.
func (d *DB) ownConn(ctx context.Context) (*sql.Conn, func(), error) {
	pool, err := d.connect()
	if err != nil {
		return nil, nil, err
	}
	conn, err := pool.Conn(ctx)
	if err != nil {
		_ = pool.Close()
		return nil, nil, err
	}
	return conn, func() { _ = conn.Close(); _ = pool.Close() }, nil
}

// lockSQLite makes this process the only one that migrates the file. goose has no lock
// for SQLite, so an empty database next to the file is locked: on every system, and
// until the process ends at the latest.
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
	tick := time.NewTicker(watchInterval)
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
