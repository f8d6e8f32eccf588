package db

import (
	"context"
	"fmt"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"

	"gatehouse/auth"
)

var _ auth.OriginStore = (*DB)(nil)

// UserByOrigin implements auth.Origins.
func (d *DB) UserByOrigin(ctx context.Context, source, externalID string) (auth.User, error) {
	const what = "user by origin"
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

// ImportUser implements auth.Origins.
func (d *DB) ImportUser(ctx context.Context, u auth.User, source, externalID string) error {
	const what = "import user"
	if _, err := uuid.Parse(u.ID); err != nil {
		return fmt.Errorf("%s: id: %w", what, err)
	}
	if err := validateText(map[string]string{
		"username": u.Username, "name": u.Name, "email": u.Email, "password": u.PasswordHash, "id": externalID,
	}); err != nil {
		return err
	}
	err := d.writeAll(ctx, what, insertUser, func(ctx context.Context, tx *sqlx.Tx) error {
		if _, err := tx.ExecContext(ctx, insertUser, insertArgs(u)...); err != nil {
			return err
		}
		if err := setSkeleton(ctx, tx, u.ID, u.Username); err != nil {
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
	// Which of the two was first only the table tells: SQLite does not name the constraint.
	if _, found := d.UserByOrigin(ctx, source, externalID); found == nil {
		return auth.ErrAlreadyImported
	}
	return d.uniqueError(ctx, u, err)
}

// writeAll is write for several statements that hold together; query is the first of them.
func (d *DB) writeAll(ctx context.Context, what, query string, run func(context.Context, *sqlx.Tx) error) error {
	return d.transaction(ctx, what, query, nil, func(ctx context.Context, tx *sqlx.Tx, _ *sqlx.Stmt) error { return run(ctx, tx) })
}
