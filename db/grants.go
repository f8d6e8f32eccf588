package db

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/jmoiron/sqlx"
	"golang.org/x/text/unicode/norm"

	"gatehouse/auth"
	"gatehouse/auth/identifier"
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

const deleteGroup = `DELETE FROM groups WHERE name = $1`

// RemoveGroup implements auth.GrantStore.
func (d *DB) RemoveGroup(ctx context.Context, name string) error {
	if !isText(name) {
		return auth.ErrGroupNotFound
	}
	n, err := d.execBy(ctx, d.keepAdministrator, "remove group", deleteGroup, name)
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
	err := d.read(ctx, "members of groups", `SELECT group_name, user_id FROM user_groups`, func(ctx context.Context, s *sqlx.Stmt) error {
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
	if !isText(name) {
		return auth.ErrGroupNotFound
	}
	return d.keepAdministratorAll(ctx, "remove group", deleteGroup, func(ctx context.Context, tx *sqlx.Tx, removing *sqlx.Stmt) error {
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
	if !isText(group) {
		return auth.ErrGroupNotFound
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
		return auth.ErrGroupNotFound
	}
	return err
}

// knowsGroup returns auth.ErrGroupNotFound when there is no such group, which taking something away
// from it does not tell.
func (d *DB) knowsGroup(ctx context.Context, name string) error {
	const what = "look for a group"
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
	if !isText(group) {
		return auth.User{}, auth.ErrGroupNotFound
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

// ChangeGroups implements auth.GrantStore.
func (d *DB) ChangeGroups(ctx context.Context, userID string, join, leave []string) (auth.User, error) {
	const (
		what       = "change groups of user"
		joinQuery  = `INSERT INTO user_groups (user_id, group_name) VALUES ($1, $2) ON CONFLICT DO NOTHING`
		leaveQuery = `DELETE FROM user_groups WHERE user_id = $1 AND group_name = $2`
	)
	leave = slices.DeleteFunc(slices.Clone(leave), func(group string) bool { return !isText(group) })
	if slices.ContainsFunc(join, func(group string) bool { return !isText(group) }) {
		return auth.User{}, auth.ErrGroupNotFound
	}
	transaction := d.keepAdministratorAll
	if len(leave) == 0 {
		transaction = func(ctx context.Context, what, query string, run func(context.Context, *sqlx.Tx, *sqlx.Stmt) error) error {
			return d.transaction(ctx, what, query, nil, run)
		}
	}
	return d.granted(ctx, what, userID, func(id string) error {
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
	query, write := `DELETE FROM user_permissions WHERE user_id = $1 AND permission = $2`, d.keepAdministrator
	if on {
		write = d.write
		query = `INSERT INTO user_permissions (user_id, permission) VALUES ($1, $2) ON CONFLICT DO NOTHING`
	}
	return d.grant(ctx, write, "set permission of user", query, userID, permission)
}

// grant runs the statement and returns the user as it is afterwards.
func (d *DB) grant(ctx context.Context, write writer, what, query, userID, name string) (auth.User, error) {
	return d.granted(ctx, what, userID, func(id string) error {
		_, err := d.execBy(ctx, write, what, query, id, name)
		return err
	})
}

// granted runs a change of what the user belongs to or may, and returns the user as it is afterwards.
func (d *DB) granted(ctx context.Context, what, userID string, change func(id string) error) (auth.User, error) {
	u, err := d.UserByID(ctx, userID)
	if err != nil {
		return auth.User{}, fmt.Errorf("%w (%w)", err, auth.ErrNotWritten)
	}
	err = change(u.ID)
	if foreignKeyViolation(err) {
		// The user was there a moment ago: the group is missing, or the user is gone since.
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

// likeEscapes makes a text mean itself inside LIKE.
var likeEscapes = strings.NewReplacer(`\`, `\\`, "%", `\%`, "_", `\_`)

// searchWindow is how many users in the order of the list Postgres looks at before it asks the index. A
// text that many users have fills a page from there.
const searchWindow = 2000

// SearchUsers implements auth.GrantStore. The database folds the case of both sides in the
// same way, each once: of all letters or of ASCII's alone, but what is written alike is always found.
func (d *DB) SearchUsers(ctx context.Context, text, after string, limit int) ([]auth.User, error) {
	if limit < 1 || !isText(after) || !isText(text) || utf8.RuneCountInString(text) > identifier.MaxSearch {
		return nil, nil
	}
	text = norm.NFC.String(text)
	if text == "" {
		return d.Users(ctx, after, limit)
	}
	if d.dialect.searchFirst != "" {
		users, err := d.search(ctx, d.dialect.searchFirst, after, likePattern(text), limit)
		if err != nil || len(users) == limit {
			return users, err
		}
	}
	query, term := d.dialect.search, text
	if d.path == "" {
		term = likePattern(text)
		if !hasTrigram(text) {
			query = d.dialect.searchShort
		}
	}
	return d.search(ctx, query, after, term, limit)
}

func likePattern(text string) string { return "%" + likeEscapes.Replace(text) + "%" }

// hasTrigram reports whether an index of trigrams can narrow a search for the text: it knows words of
// letters and digits only. Without one the whole index would be read, and all rows after it.
func hasTrigram(text string) bool {
	run := 0
	for _, r := range text {
		if !unicode.IsLetter(r) && !unicode.IsDigit(r) {
			run = 0
			continue
		}
		if run++; run == 3 {
			return true
		}
	}
	return false
}

func (d *DB) search(ctx context.Context, query, after, term string, limit int) ([]auth.User, error) {
	var rows []userRow
	err := d.read(ctx, "search users", query, func(ctx context.Context, s *sqlx.Stmt) error {
		rows = nil
		return s.SelectContext(ctx, &rows, after, term, limit)
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
