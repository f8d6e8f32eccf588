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

	"gatehouse/auth"
)

const (
	// sqliteConns is the size of the pool: readers work beside each other and beside
	// the one writer (WAL).
	sqliteConns = 8
	// busyTimeout is how long SQLite waits for another process' write at a time. That
	// wait does not end with the context, so it is short, and DB.statement repeats it
	// until the context ends.
	busyTimeout = 200 * time.Millisecond
	// watchInterval is how often the file is looked at for changes.
	watchInterval = 25 * time.Millisecond
	// answersInterval is how often a Listener is told at most whether the file can be read while it
	// cannot be watched.
	answersInterval = time.Second
)

var sqliteDialect = dialect{
	name:       "SQLite",
	goose:      goose.DialectSQLite3,
	migrations: "sqlite",
	hasTable:   `SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = $1)`,
	// The planner would rather look up each row in the table, which takes ten times as long. The expression
	// has to be that of the index.
	search: searchQuery(`SELECT id FROM users INDEXED BY users_search_idx
		WHERE username > $1 AND instr(lower(username || char(10) || name || char(10) || email), (SELECT lower($2))) > 0 ORDER BY username LIMIT $3`),
	lockGroup: `SELECT name FROM groups WHERE name = $1`, // its transaction is the only one that writes
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
		dialect:   sqliteDialect,
		pool:      sqlx.NewDb(pool, "sqlite"),
		writing:   make(chan struct{}, 1),
		path:      path,
		connect:   connect,
		skeletons: newSkeletonFill(),
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

// listenSQLite looks at the file until ctx ends. Triggers write down whom a change concerns;
// PRAGMA data_version tells for almost nothing whether it is worth reading.
func (d *DB) listenSQLite(ctx context.Context, l Listener) {
	tick := time.NewTicker(watchInterval)
	defer tick.Stop()
	var asked time.Time
	for ctx.Err() == nil {
		err := d.watchSQLite(ctx, tick.C, l)
		if ctx.Err() != nil {
			return
		}
		l.Disconnected(err)
		// Whether the file can be read is worth knowing although it cannot be watched.
		if time.Since(asked) >= answersInterval {
			asked = time.Now()
			l.Reachable(d.usersReadable(ctx))
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
}

// usersReadable reports whether users can be read. It says more than Ping, which SQLite answers without
// looking at the file.
func (d *DB) usersReadable(ctx context.Context) bool {
	var found bool
	return d.read(ctx, "look whether users can be read", `SELECT EXISTS (SELECT 1 FROM users)`, func(ctx context.Context, s *sqlx.Stmt) error {
		return s.GetContext(ctx, &found)
	}) == nil
}

// watchSQLite watches on one connection. data_version only ever compares within a
// connection, and counts the commits of all others
// (https://www.sqlite.org/pragma.html#pragma_data_version), so it must be our own.
func (d *DB) watchSQLite(ctx context.Context, tick <-chan time.Time, l Listener) error {
	conn, done, err := d.ownConn(ctx)
	if err != nil {
		return fmt.Errorf("watch the SQLite file: %w", err)
	}
	defer done()
	var version int64
	if err := conn.QueryRowContext(ctx, `PRAGMA data_version`).Scan(&version); err != nil {
		return fmt.Errorf("watch the SQLite file: %w", err)
	}
	seen, err := readFeedMark(ctx, conn)
	if err != nil {
		return err
	}
	l.Connected()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick:
		}
		last := version
		if err := conn.QueryRowContext(ctx, `PRAGMA data_version`).Scan(&version); err != nil {
			return fmt.Errorf("watch the SQLite file: %w", err)
		}
		if version == last {
			continue
		}
		if seen, err = tellChanges(ctx, conn, seen, l); err != nil {
			return err
		}
	}
}

// feedMark is how far the feed of changes was read.
type feedMark struct {
	// The last row of user_changes. Only a restored file has another one under this number.
	seq    int64
	userID string
	at     timestamp
	// lastUser is the largest rowid in users. It falls when a user is deleted, of which the feed
	// tells, and when a file is restored from before a registration, of which it does not.
	lastUser int64
}

func (m feedMark) sameRow(o feedMark) bool {
	return m.seq == o.seq && m.userID == o.userID && time.Time(m.at).Equal(time.Time(o.at))
}

// readFeedMark returns the end of the feed.
func readFeedMark(ctx context.Context, conn *sql.Conn) (feedMark, error) {
	var m feedMark
	err := conn.QueryRowContext(ctx, `SELECT seq, user_id, changed_at FROM user_changes ORDER BY seq DESC LIMIT 1`).Scan(&m.seq, &m.userID, &m.at)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return feedMark{}, fmt.Errorf("read the changes: %w", err)
	}
	m.lastUser, err = readLastUser(ctx, conn)
	return m, err
}

func readLastUser(ctx context.Context, conn *sql.Conn) (rowid int64, err error) {
	if err := conn.QueryRowContext(ctx, `SELECT coalesce(max(rowid), 0) FROM users`).Scan(&rowid); err != nil {
		return 0, fmt.Errorf("read the last user: %w", err)
	}
	return rowid, nil
}

// tellChanges tells what came into the feed after seen, and returns how far it got. The feed keeps
// about a thousand rows and goes back when a file is restored: a row that is missing concerns
// everybody.
func tellChanges(ctx context.Context, conn *sql.Conn, seen feedMark, l Listener) (feedMark, error) {
	lastUser, err := readLastUser(ctx, conn)
	if err != nil {
		return seen, err
	}
	changes, whole, err := readFeed(ctx, conn, seen)
	if err != nil {
		return seen, err
	}
	if !whole || len(changes) == 0 && lastUser < seen.lastUser {
		// The mark comes first: what is changed after it is told the next time.
		if seen, err = readFeedMark(ctx, conn); err == nil {
			l.Changed(Change{UserID: auth.AllUsers})
		}
		return seen, err
	}
	for _, c := range changes {
		l.Changed(Change{UserID: c.userID, At: time.Time(c.at)})
		seen = c
	}
	seen.lastUser = lastUser
	return seen, nil
}

// readFeed returns the rows after the mark; whole says that none is missing in between.
func readFeed(ctx context.Context, conn *sql.Conn, after feedMark) (changes []feedMark, whole bool, err error) {
	rows, err := conn.QueryContext(ctx, `SELECT seq, user_id, changed_at FROM user_changes WHERE seq >= $1 ORDER BY seq`, after.seq)
	if err != nil {
		return nil, false, fmt.Errorf("read the changes: %w", err)
	}
	defer rows.Close()
	last, whole := int64(0), after.seq == 0
	for rows.Next() {
		var c feedMark
		if err := rows.Scan(&c.seq, &c.userID, &c.at); err != nil {
			return nil, false, fmt.Errorf("read the changes: %w", err)
		}
		if last == 0 && after.seq > 0 {
			whole = c.sameRow(after)
		} else {
			whole = whole && c.seq == last+1
			changes = append(changes, c)
		}
		last = c.seq
	}
	return changes, whole, rows.Err()
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
