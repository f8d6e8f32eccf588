package db

import (
	"context"
	"database/sql"

	"github.com/jmoiron/sqlx"

	"gatehouse/auth"
)

// administratorLock is the key of the advisory lock that changes which may leave no administrator wait for
// each other with. It has no meaning but "gatehouse" in ASCII, cut to eight octets.
const administratorLock = 0x67617465686f7573

// hasAdministrator starts from the few who have the permission, not from all users.
const hasAdministrator = `SELECT EXISTS (SELECT 1 FROM users WHERE active AND id IN (
	SELECT user_id FROM user_permissions WHERE permission = '` + auth.ManageUsers + `'
	UNION ALL
	SELECT m.user_id FROM user_groups m JOIN group_permissions g ON g.group_name = m.group_name WHERE g.permission = '` + auth.ManageUsers + `'))`

// keepAdministrator is write for a statement that may take auth.ManageUsers from the last active user who has
// it; see keepAdministratorAll.
func (d *DB) keepAdministrator(ctx context.Context, what, query string, run func(context.Context, *sqlx.Stmt) error) error {
	return d.keepAdministratorAll(ctx, what, query, func(ctx context.Context, tx *sqlx.Tx, s *sqlx.Stmt) error {
		return run(ctx, tx.StmtxContext(ctx, s))
	})
}

// keepAdministratorAll is transaction for statements that may take auth.ManageUsers from the last active user
// who has it: then they are rolled back with auth.ErrLastAdministrator, unless ctx allows it. The check is in
// their transaction, and such transactions run one after the other, so that two of them cannot
// each rely on the administrator whom the other takes away.
func (d *DB) keepAdministratorAll(ctx context.Context, what, query string, run func(context.Context, *sqlx.Tx, *sqlx.Stmt) error) error {
	if auth.LosingAdministratorsAllowed(ctx) {
		return d.transaction(ctx, what, query, nil, run)
	}
	return d.transaction(ctx, what, query, d.dialect.administratorTx, func(ctx context.Context, tx *sqlx.Tx, s *sqlx.Stmt) error {
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

// lockAdministrators makes the transaction wait for others of its kind. SQLite has one writer at a time anyway.
func (d dialect) lockAdministrators(ctx context.Context, tx *sqlx.Tx) error {
	if d.administratorTx == nil {
		return nil
	}
	_, err := tx.ExecContext(ctx, `SELECT pg_advisory_xact_lock($1)`, int64(administratorLock))
	return err
}

// afterLock is what a statement after the lock has to see: all that was committed while it waited.
var afterLock = &sql.TxOptions{Isolation: sql.LevelReadCommitted}
