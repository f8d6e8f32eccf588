package db

import (
	"context"
	"database/sql"

	"github.com/jmoiron/sqlx"

	"gatehouse/auth"
)

// administratorLock is the key of the advisory lock that serializes changes which could remove the last
// administrator. It is an arbitrary number: "gatehouse" in ASCII, cut to eight bytes.
const administratorLock = 0x67617465686f7573

// hasAdministrator starts from the few users with the permission instead of scanning all users.
const hasAdministrator = `SELECT EXISTS (SELECT 1 FROM users WHERE active AND id IN (
	SELECT user_id FROM user_permissions WHERE permission = '` + auth.ManageUsers + `'
	UNION ALL
	SELECT m.user_id FROM user_groups m JOIN group_permissions g ON g.group_name = m.group_name WHERE g.permission = '` + auth.ManageUsers + `'))`

// HasAdministrator reports whether an active user has auth.ManageUsers.
func (d *DB) HasAdministrator(ctx context.Context) (found bool, err error) {
	err = d.read(ctx, "look for an administrator", hasAdministrator, func(ctx context.Context, s *sqlx.Stmt) error {
		return s.GetContext(ctx, &found)
	})
	return found, err
}

// writeKeepingAdministrator is write for a statement that may take auth.ManageUsers from the last active
// user who has it; see transactionKeepingAdministrator.
func (d *DB) writeKeepingAdministrator(ctx context.Context, what, query string, run func(context.Context, *sqlx.Stmt) error) error {
	return d.transactionKeepingAdministrator(ctx, what, query, func(ctx context.Context, tx *sqlx.Tx, s *sqlx.Stmt) error {
		return run(ctx, tx.StmtxContext(ctx, s))
	})
}

// transactionKeepingAdministrator is transaction for statements that may take auth.ManageUsers from the last
// active user who has it: it rolls them back with auth.ErrLastAdministrator, unless ctx allows the loss. The
// check is part of the transaction, and such transactions are serialized, so that two of them cannot each
// rely on the administrator that the other one removes.
func (d *DB) transactionKeepingAdministrator(ctx context.Context, what, query string, run func(context.Context, *sqlx.Tx, *sqlx.Stmt) error) error {
	if auth.LosingAdministratorsAllowed(ctx) {
		return d.transaction(ctx, what, query, nil, run)
	}
	return d.transaction(ctx, what, query, d.dialect.administratorTxOptions, func(ctx context.Context, tx *sqlx.Tx, s *sqlx.Stmt) error {
		if err := d.dialect.lockAdministrators(ctx, tx); err != nil {
			return err
		}
		var before, after bool
		if err := tx.GetContext(ctx, &before, hasAdministrator); err != nil {
			return err
		}
		if err := run(ctx, tx, s); err != nil {
			return err
		}
		if err := tx.GetContext(ctx, &after, hasAdministrator); err != nil {
			return err
		}
		if before && !after {
			return auth.ErrLastAdministrator
		}
		return nil
	})
}

// lockAdministrators makes the transaction wait for others of its kind. SQLite has a single writer anyway.
func (d dialect) lockAdministrators(ctx context.Context, tx *sqlx.Tx) error {
	if d.administratorTxOptions == nil {
		return nil
	}
	_, err := tx.ExecContext(ctx, `SELECT pg_advisory_xact_lock($1)`, int64(administratorLock))
	return err
}

// readCommitted lets statements after the lock see everything that was committed while they waited.
var readCommitted = &sql.TxOptions{Isolation: sql.LevelReadCommitted}
