package db

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/jmoiron/sqlx"

	"gatehouse/auth"
)

// listenSQLite polls the file until ctx ends. Triggers record whose data a change affects; PRAGMA
// data_version cheaply tells whether there is anything to read.
func (d *DB) listenSQLite(ctx context.Context, l Listener) {
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	var checked time.Time
	for ctx.Err() == nil {
		err := d.watchSQLite(ctx, tick.C, l)
		if ctx.Err() != nil {
			return
		}
		l.Disconnected(err)
		// The file may be readable even if it cannot be watched.
		if time.Since(checked) >= reachableInterval {
			checked = time.Now()
			l.Reachable(d.usersReadable(ctx))
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
}

// usersReadable reports whether users can be read. Unlike Ping, which SQLite answers without reading the
// file, it reads a row.
func (d *DB) usersReadable(ctx context.Context) bool {
	var found bool
	return d.read(ctx, "check that users can be read", `SELECT EXISTS (SELECT 1 FROM users)`, func(ctx context.Context, s *sqlx.Stmt) error {
		return s.GetContext(ctx, &found)
	}) == nil
}

// watchSQLite watches the file on one separate connection: data_version can only be compared within a
// connection, and counts the commits of all others
// (https://www.sqlite.org/pragma.html#pragma_data_version).
func (d *DB) watchSQLite(ctx context.Context, tick <-chan time.Time, l Listener) error {
	conn, closeConn, err := d.separateConn(ctx)
	if err != nil {
		return fmt.Errorf("watch the SQLite file: %w", err)
	}
	defer closeConn()
	var version int64
	if err := conn.QueryRowContext(ctx, `PRAGMA data_version`).Scan(&version); err != nil {
		return fmt.Errorf("watch the SQLite file: %w", err)
	}
	seen, err := lastChangePosition(ctx, conn)
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
		if seen, err = deliverChanges(ctx, conn, seen, l); err != nil {
			return err
		}
	}
}

// changePosition is how far the table user_changes has been read.
type changePosition struct {
	// The last row. Only a restored file has a different one under this number.
	seq    int64
	userID string
	at     timestamp
	// maxRowID is the largest rowid in users. It falls when a user is deleted, which user_changes records, and
	// when a file from before a registration is restored, which it does not.
	maxRowID int64
}

func (m changePosition) sameRow(o changePosition) bool {
	return m.seq == o.seq && m.userID == o.userID && time.Time(m.at).Equal(time.Time(o.at))
}

// lastChangePosition returns the end of user_changes.
func lastChangePosition(ctx context.Context, conn *sql.Conn) (changePosition, error) {
	var m changePosition
	err := conn.QueryRowContext(ctx, `SELECT seq, user_id, changed_at FROM user_changes ORDER BY seq DESC LIMIT 1`).Scan(&m.seq, &m.userID, &m.at)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return changePosition{}, fmt.Errorf("read user_changes: %w", err)
	}
	m.maxRowID, err = maxUserRowID(ctx, conn)
	return m, err
}

func maxUserRowID(ctx context.Context, conn *sql.Conn) (rowid int64, err error) {
	if err := conn.QueryRowContext(ctx, `SELECT coalesce(max(rowid), 0) FROM users`).Scan(&rowid); err != nil {
		return 0, fmt.Errorf("read the last user id: %w", err)
	}
	return rowid, nil
}

// deliverChanges passes the changes after seen to l, and returns the new position. The table keeps about a
// thousand rows, and goes back in time when a file is restored: a missing row stands for all users.
func deliverChanges(ctx context.Context, conn *sql.Conn, seen changePosition, l Listener) (changePosition, error) {
	maxRowID, err := maxUserRowID(ctx, conn)
	if err != nil {
		return seen, err
	}
	changes, complete, err := changesSince(ctx, conn, seen)
	if err != nil {
		return seen, err
	}
	if !complete || len(changes) == 0 && maxRowID < seen.maxRowID {
		// Read the position first: later changes are delivered next time.
		if seen, err = lastChangePosition(ctx, conn); err == nil {
			l.Changed(Change{UserID: auth.AllUsers})
		}
		return seen, err
	}
	for _, c := range changes {
		l.Changed(Change{UserID: c.userID, At: time.Time(c.at)})
		seen = c
	}
	seen.maxRowID = maxRowID
	return seen, nil
}

// changesSince returns the rows after a position; complete is false if any is missing in between.
func changesSince(ctx context.Context, conn *sql.Conn, after changePosition) (changes []changePosition, complete bool, err error) {
	rows, err := conn.QueryContext(ctx, `SELECT seq, user_id, changed_at FROM user_changes WHERE seq >= $1 ORDER BY seq`, after.seq)
	if err != nil {
		return nil, false, fmt.Errorf("read user_changes: %w", err)
	}
	defer rows.Close()
	last, complete := int64(0), after.seq == 0
	for rows.Next() {
		var c changePosition
		if err := rows.Scan(&c.seq, &c.userID, &c.at); err != nil {
			return nil, false, fmt.Errorf("read user_changes: %w", err)
		}
		if last == 0 && after.seq > 0 {
			complete = c.sameRow(after)
		} else {
			complete = complete && c.seq == last+1
			changes = append(changes, c)
		}
		last = c.seq
	}
	return changes, complete, rows.Err()
}

// separateConn returns a connection outside the pool, and the function that closes it.
func (d *DB) separateConn(ctx context.Context) (*sql.Conn, func(), error) {
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
