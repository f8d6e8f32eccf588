package db

import (
	"context"
	"fmt"

	"github.com/jmoiron/sqlx"

	"gatehouse/auth"
)

var _ auth.OriginStore = (*DB)(nil)

// UserByOrigin implements auth.OriginStore.
func (d *DB) UserByOrigin(ctx context.Context, source, externalID string) (auth.User, error) {
	const what = "find user by origin"
	if !isStorable(source) || !isStorable(externalID) {
		return auth.User{}, fmt.Errorf("%s: %w", what, auth.ErrNotFound)
	}
	var row userRow
	err := d.read(ctx, what, `SELECT `+userSelect+` FROM users
		WHERE id = (SELECT user_id FROM user_origins WHERE source = $1 AND external_id = $2)`,
		func(ctx context.Context, s *sqlx.Stmt) error { return s.GetContext(ctx, &row, source, externalID) })
	if err != nil {
		return auth.User{}, err
	}
	return row.user(), nil
}

// ImportUser implements auth.OriginStore.
func (d *DB) ImportUser(ctx context.Context, u auth.User, source, externalID string) error {
	const what = "import user"
	if err := checkNewUser(what, &u, map[string]string{"id": externalID}); err != nil {
		return err
	}
	err := d.writeAll(ctx, what, insertQuery, func(ctx context.Context, tx *sqlx.Tx) error {
		if err := insertUser(ctx, tx, u, true); err != nil {
			return err
		}
		for _, group := range u.Groups {
			if _, err := tx.ExecContext(ctx, `INSERT INTO groups (name) VALUES ($1) ON CONFLICT DO NOTHING`, group); err != nil {
				return err
			}
			if _, err := tx.ExecContext(ctx, `INSERT INTO user_groups (user_id, group_name) VALUES ($1, $2)`, u.ID, group); err != nil {
				return err
			}
		}
		_, err := tx.ExecContext(ctx, `INSERT INTO user_origins (source, external_id, user_id) VALUES ($1, $2, $3)`, source, externalID, u.ID)
		return err
	})
	if err == nil {
		return nil
	}
	// Query the table for the violated constraint: SQLite does not name it.
	if _, found := d.UserByOrigin(ctx, source, externalID); found == nil {
		return auth.ErrAlreadyImported
	}
	return d.uniqueError(ctx, u, err)
}

// writeAll is write for several statements; query is the one that is prepared.
func (d *DB) writeAll(ctx context.Context, what, query string, run func(context.Context, *sqlx.Tx) error) error {
	return d.transaction(ctx, what, query, nil, func(ctx context.Context, tx *sqlx.Tx, _ *sqlx.Stmt) error { return run(ctx, tx) })
}
