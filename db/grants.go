package db

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jmoiron/sqlx"

	"gatehouse/auth"
)

var _ auth.GrantStore = (*DB)(nil)

// groupRow is a group with what belongs to it.
type groupRow struct {
	Name        string `db:"name"`
	Permissions words  `db:"permissions"`
	Members     int    `db:"members"`
}

// Groups implements auth.GrantStore.
func (d *DB) Groups(ctx context.Context) ([]auth.Group, error) {
	var rows []groupRow
	err := d.read(ctx, "groups", `SELECT name,
			coalesce((SELECT string_agg(p.permission, ' ') FROM group_permissions p WHERE p.group_name = groups.name), '') AS permissions,
			(SELECT count(*) FROM user_groups m WHERE m.group_name = groups.name) AS members
		FROM groups ORDER BY name`,
		func(ctx context.Context, s *sqlx.Stmt) error {
			rows = nil
			return s.SelectContext(ctx, &rows)
		})
	if err != nil {
		return nil, err
	}
	groups := make([]auth.Group, len(rows))
	for i, r := range rows {
		groups[i] = auth.Group{Name: r.Name, Permissions: r.Permissions.sorted(), Members: r.Members}
	}
	return groups, nil
}

// AddGroup implements auth.GrantStore.
func (d *DB) AddGroup(ctx context.Context, name string) error {
	_, err := d.exec(ctx, "add group", `INSERT INTO groups (name) VALUES ($1) ON CONFLICT DO NOTHING`, name)
	return err
}

// RemoveGroup implements auth.GrantStore.
func (d *DB) RemoveGroup(ctx context.Context, name string) error {
	if !isText(name) {
		return auth.ErrNoGroup
	}
	n, err := d.execBy(ctx, d.keepAdministrator, "remove group", `DELETE FROM groups WHERE name = $1`, name)
	if err == nil && n == 0 {
		return auth.ErrNoGroup
	}
	return err
}

// SetGroupPermission implements auth.GrantStore.
func (d *DB) SetGroupPermission(ctx context.Context, group, permission string, on bool) error {
	if !isText(group) {
		return auth.ErrNoGroup
	}
	query, write := `INSERT INTO group_permissions (group_name, permission) VALUES ($1, $2) ON CONFLICT DO NOTHING`, d.write
	if !on {
		write = d.keepAdministrator
		query = `DELETE FROM group_permissions WHERE group_name = $1 AND permission = $2`
		if err := d.knowsGroup(ctx, group); err != nil {
			return err
		}
	}
	_, err := d.execBy(ctx, write, "set permission of group", query, group, permission)
	if foreignKeyViolation(err) {
		return auth.ErrNoGroup
	}
	return err
}

// knowsGroup returns auth.ErrNoGroup when there is no such group, which taking something away
// from it does not tell.
func (d *DB) knowsGroup(ctx context.Context, name string) error {
	const what = "look for a group"
	var n int
	err := d.read(ctx, what, `SELECT count(*) FROM groups WHERE name = $1`, func(ctx context.Context, s *sqlx.Stmt) error {
		return s.GetContext(ctx, &n, name)
	})
	if err == nil && n == 0 {
		return fmt.Errorf("%s: %w", what, auth.ErrNoGroup)
	}
	return err
}

// SetMember implements auth.GrantStore.
func (d *DB) SetMember(ctx context.Context, userID, group string, on bool) (auth.User, error) {
	if !isText(group) {
		return auth.User{}, auth.ErrNoGroup
	}
	query, write := `INSERT INTO user_groups (user_id, group_name) VALUES ($1, $2) ON CONFLICT DO NOTHING`, d.write
	if !on {
		write = d.keepAdministrator
		query = `DELETE FROM user_groups WHERE user_id = $1 AND group_name = $2`
		if err := d.knowsGroup(ctx, group); err != nil {
			return auth.User{}, err
		}
	}
	return d.grant(ctx, write, "set member of group", query, userID, group)
}

// SetPermission implements auth.GrantStore.
func (d *DB) SetPermission(ctx context.Context, userID, permission string, on bool) (auth.User, error) {
	query, write := `DELETE FROM user_permissions WHERE user_id = $1 AND permission = $2`, d.keepAdministrator
	if on {
		write = d.write
		query = `INSERT INTO user_permissions (user_id, permission) VALUES ($1, $2) ON CONFLICT DO NOTHING`
	}
	return d.grant(ctx, write, "set permission of user", query, userID, permission)
}

// grant runs the statement and returns the user as it is afterwards.
func (d *DB) grant(ctx context.Context, write writer, what, query, userID, name string) (auth.User, error) {
	u, err := d.UserByID(ctx, userID)
	if err != nil {
		return auth.User{}, err
	}
	_, err = d.execBy(ctx, write, what, query, u.ID, name)
	if foreignKeyViolation(err) {
		// The user was there a moment ago: the group is missing, or the user is gone since.
		if _, err := d.UserByID(ctx, userID); errors.Is(err, auth.ErrNotFound) {
			return auth.User{}, err
		}
		return auth.User{}, fmt.Errorf("%s: %w", what, auth.ErrNoGroup)
	}
	if err != nil {
		return auth.User{}, err
	}
	return d.UserByID(ctx, userID)
}

// likeEscapes makes a text mean itself inside LIKE … ESCAPE '!'.
var likeEscapes = strings.NewReplacer("!", "!!", "%", "!%", "_", "!_")

// SearchUsers implements auth.GrantStore. The database folds the case of both sides in the
// same way: of all letters or of ASCII's alone, but what is written alike is always found.
func (d *DB) SearchUsers(ctx context.Context, text, after string, limit int) ([]auth.User, error) {
	if limit < 1 || !isText(after) || !isText(text) {
		return nil, nil
	}
	var rows []userRow
	pattern := "%" + likeEscapes.Replace(text) + "%"
	err := d.read(ctx, "search users", `SELECT `+userSelect+` FROM users
		WHERE username > $1 AND (lower(username) LIKE lower($2) ESCAPE '!' OR lower(name) LIKE lower($2) ESCAPE '!' OR lower(email) LIKE lower($2) ESCAPE '!')
		ORDER BY username LIMIT $3`,
		func(ctx context.Context, s *sqlx.Stmt) error {
			rows = nil
			return s.SelectContext(ctx, &rows, after, pattern, limit)
		})
	if err != nil {
		return nil, err
	}
	users := make([]auth.User, len(rows))
	for i, r := range rows {
		users[i] = r.user()
	}
	return users, nil
}
