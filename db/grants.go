package db

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/jmoiron/sqlx"

	"gatehouse/auth"
)

var _ auth.GrantStore = (*DB)(nil)

// groupRow is a group with its permissions and number of members.
type groupRow struct {
	Name        string   `db:"name"`
	Permissions nameList `db:"permissions"`
	Members     int      `db:"members"`
}

// Groups implements auth.GrantStore.
func (d *DB) Groups(ctx context.Context) ([]auth.Group, error) {
	var rows []groupRow
	err := d.read(ctx, "list groups", `SELECT name,
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

const deleteGroup = `DELETE FROM groups WHERE name = $1`

// RemoveGroup implements auth.GrantStore.
func (d *DB) RemoveGroup(ctx context.Context, name string) error {
	if !isStorable(name) {
		return auth.ErrGroupNotFound
	}
	n, err := d.execWith(ctx, d.writeKeepingAdministrator, "remove group", deleteGroup, name)
	if err == nil && n == 0 {
		return auth.ErrGroupNotFound
	}
	return err
}

// MembersVersions implements auth.GrantStore.
func (d *DB) MembersVersions(ctx context.Context) (map[string]string, error) {
	var rows []struct {
		Group  string `db:"group_name"`
		UserID string `db:"user_id"`
	}
	err := d.read(ctx, "list members of groups", `SELECT group_name, user_id FROM user_groups`, func(ctx context.Context, s *sqlx.Stmt) error {
		rows = nil
		return s.SelectContext(ctx, &rows)
	})
	if err != nil {
		return nil, err
	}
	ids := map[string][]string{}
	for _, r := range rows {
		ids[r.Group] = append(ids[r.Group], r.UserID)
	}
	versions := make(map[string]string, len(ids))
	for group, members := range ids {
		versions[group] = auth.MembersVersion(members)
	}
	return versions, nil
}

// RemoveGroupWithMembers implements auth.GrantStore.
func (d *DB) RemoveGroupWithMembers(ctx context.Context, name, version string) error {
	if !isStorable(name) {
		return auth.ErrGroupNotFound
	}
	return d.transactionKeepingAdministrator(ctx, "remove group", deleteGroup, func(ctx context.Context, tx *sqlx.Tx, removing *sqlx.Stmt) error {
		var found []string
		if err := tx.SelectContext(ctx, &found, d.dialect.lockGroup, name); err != nil {
			return err
		}
		if len(found) == 0 {
			return auth.ErrGroupNotFound
		}
		var members []struct {
			ID       string `db:"id"`
			Username string `db:"username"`
		}
		err := tx.SelectContext(ctx, &members, `SELECT u.id, u.username FROM user_groups m JOIN users u ON u.id = m.user_id
			WHERE m.group_name = $1 ORDER BY u.username`, name)
		if err != nil {
			return err
		}
		ids := make([]string, len(members))
		changed := auth.MembersChangedError{Members: len(members)}
		for i, m := range members {
			ids[i] = m.ID
			if i < auth.MaxNamedMembers {
				changed.Names = append(changed.Names, m.Username)
			}
		}
		if auth.MembersVersion(ids) != version {
			return changed
		}
		_, err = tx.StmtxContext(ctx, removing).ExecContext(ctx, name)
		return err
	})
}

// SetGroupPermission implements auth.GrantStore.
func (d *DB) SetGroupPermission(ctx context.Context, group, permission string, on bool) error {
	if !isStorable(group) {
		return auth.ErrGroupNotFound
	}
	query, write := `INSERT INTO group_permissions (group_name, permission) VALUES ($1, $2) ON CONFLICT DO NOTHING`, d.write
	if !on {
		write = d.writeKeepingAdministrator
		query = `DELETE FROM group_permissions WHERE group_name = $1 AND permission = $2`
		if err := d.requireGroup(ctx, group); err != nil {
			return err
		}
	}
	_, err := d.execWith(ctx, write, "set group permission", query, group, permission)
	if foreignKeyViolation(err) {
		return auth.ErrGroupNotFound
	}
	return err
}

// requireGroup returns auth.ErrGroupNotFound if there is no such group: a DELETE that affects no row does
// not report that.
func (d *DB) requireGroup(ctx context.Context, name string) error {
	const what = "find group"
	var n int
	err := d.read(ctx, what, `SELECT count(*) FROM groups WHERE name = $1`, func(ctx context.Context, s *sqlx.Stmt) error {
		return s.GetContext(ctx, &n, name)
	})
	if err == nil && n == 0 {
		return fmt.Errorf("%s: %w", what, auth.ErrGroupNotFound)
	}
	return err
}

// SetMember implements auth.GrantStore.
func (d *DB) SetMember(ctx context.Context, userID, group string, on bool) (auth.User, error) {
	if !isStorable(group) {
		return auth.User{}, auth.ErrGroupNotFound
	}
	query, write := `INSERT INTO user_groups (user_id, group_name) VALUES ($1, $2) ON CONFLICT DO NOTHING`, d.write
	if !on {
		write = d.writeKeepingAdministrator
		query = `DELETE FROM user_groups WHERE user_id = $1 AND group_name = $2`
		if err := d.requireGroup(ctx, group); err != nil {
			return auth.User{}, err
		}
	}
	return d.setGrant(ctx, write, "set group membership", query, userID, group)
}

// ChangeGroups implements auth.GrantStore.
func (d *DB) ChangeGroups(ctx context.Context, userID string, join, leave []string) (auth.User, error) {
	const (
		what       = "change groups of user"
		joinQuery  = `INSERT INTO user_groups (user_id, group_name) VALUES ($1, $2) ON CONFLICT DO NOTHING`
		leaveQuery = `DELETE FROM user_groups WHERE user_id = $1 AND group_name = $2`
	)
	leave = slices.DeleteFunc(slices.Clone(leave), func(group string) bool { return !isStorable(group) })
	if slices.ContainsFunc(join, func(group string) bool { return !isStorable(group) }) {
		return auth.User{}, auth.ErrGroupNotFound
	}
	transaction := d.transactionKeepingAdministrator
	if len(leave) == 0 {
		transaction = func(ctx context.Context, what, query string, run func(context.Context, *sqlx.Tx, *sqlx.Stmt) error) error {
			return d.transaction(ctx, what, query, nil, run)
		}
	}
	return d.changeGrants(ctx, what, userID, func(id string) error {
		return transaction(ctx, what, joinQuery, func(ctx context.Context, tx *sqlx.Tx, joining *sqlx.Stmt) error {
			for _, group := range leave {
				if _, err := tx.ExecContext(ctx, leaveQuery, id, group); err != nil {
					return err
				}
			}
			for _, group := range join {
				if _, err := tx.StmtxContext(ctx, joining).ExecContext(ctx, id, group); err != nil {
					return err
				}
			}
			return nil
		})
	})
}

// SetPermission implements auth.GrantStore.
func (d *DB) SetPermission(ctx context.Context, userID, permission string, on bool) (auth.User, error) {
	query, write := `DELETE FROM user_permissions WHERE user_id = $1 AND permission = $2`, d.writeKeepingAdministrator
	if on {
		write = d.write
		query = `INSERT INTO user_permissions (user_id, permission) VALUES ($1, $2) ON CONFLICT DO NOTHING`
	}
	return d.setGrant(ctx, write, "set user permission", query, userID, permission)
}

// DirectPermissions implements auth.GrantStore.
func (d *DB) DirectPermissions(ctx context.Context, userID string) (permissions []string, err error) {
	const what = "list permissions of user"
	id, err := canonicalID(what, userID)
	if err != nil {
		return nil, err
	}
	err = d.read(ctx, what, `SELECT permission FROM user_permissions WHERE user_id = $1 ORDER BY permission`, func(ctx context.Context, s *sqlx.Stmt) error {
		permissions = nil
		return s.SelectContext(ctx, &permissions, id)
	})
	return permissions, err
}

// setGrant runs the statement on the user and a group or permission, and returns the user afterwards.
func (d *DB) setGrant(ctx context.Context, write writer, what, query, userID, name string) (auth.User, error) {
	return d.changeGrants(ctx, what, userID, func(id string) error {
		_, err := d.execWith(ctx, write, what, query, id, name)
		return err
	})
}

// changeGrants runs a change of the user's groups or permissions, and returns the user afterwards.
func (d *DB) changeGrants(ctx context.Context, what, userID string, change func(id string) error) (auth.User, error) {
	u, err := d.UserByID(ctx, userID)
	if err != nil {
		return auth.User{}, fmt.Errorf("%w (%w)", err, auth.ErrNotWritten)
	}
	err = change(u.ID)
	if foreignKeyViolation(err) {
		// The user existed a moment ago: the group is missing, or the user has been deleted since.
		if _, err := d.UserByID(ctx, userID); errors.Is(err, auth.ErrNotFound) {
			return auth.User{}, err
		}
		return auth.User{}, fmt.Errorf("%s: %w", what, auth.ErrGroupNotFound)
	}
	if err != nil {
		return auth.User{}, err
	}
	return d.UserByID(ctx, userID)
}
