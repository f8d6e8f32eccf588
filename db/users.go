package db

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"

	"gatehouse/auth"
)

// userColumns are the columns of userRow, for SELECT and RETURNING.
const userColumns = `id, username, name, email, email_verified, time_zone, password_hash,
	epoch, active, created_at, updated_at, last_sign_in_at`

// userSelect are the columns of userRow: those of the table, and what the user belongs to and
// may, as words.
const userSelect = userColumns + `,
	coalesce((SELECT string_agg(m.group_name, ' ') FROM user_groups m WHERE m.user_id = users.id), '') AS groups,
	coalesce((SELECT string_agg(p.permission, ' ') FROM (
		SELECT permission FROM user_permissions WHERE user_id = users.id
		UNION
		SELECT g.permission FROM group_permissions g JOIN user_groups m ON m.group_name = g.group_name
		WHERE m.user_id = users.id) p), '') AS permissions`

// userRow is a row of users.
type userRow struct {
	ID            string    `db:"id"`
	Username      string    `db:"username"`
	Name          string    `db:"name"`
	Email         string    `db:"email"`
	EmailVerified bool      `db:"email_verified"`
	TimeZone      string    `db:"time_zone"`
	PasswordHash  string    `db:"password_hash"`
	Epoch         int64     `db:"epoch"`
	Active        bool      `db:"active"`
	CreatedAt     timestamp `db:"created_at"`
	UpdatedAt     timestamp `db:"updated_at"`
	LastSignInAt  timestamp `db:"last_sign_in_at"`
	Groups        nameList  `db:"groups"`
	Permissions   nameList  `db:"permissions"`
}

// words are several words in one column.
type nameList string

func (w nameList) sorted() []string {
	list := strings.Fields(string(w))
	slices.Sort(list)
	return list
}

func (r userRow) user() auth.User {
	return auth.User{
		ID:            r.ID,
		Username:      r.Username,
		Name:          r.Name,
		Email:         r.Email,
		EmailVerified: r.EmailVerified,
		TimeZone:      r.TimeZone,
		PasswordHash:  r.PasswordHash,
		Epoch:         r.Epoch,
		Active:        r.Active,
		CreatedAt:     time.Time(r.CreatedAt),
		UpdatedAt:     time.Time(r.UpdatedAt),
		LastSignInAt:  time.Time(r.LastSignInAt),
		Groups:        r.Groups.sorted(),
		Permissions:   r.Permissions.sorted(),
	}
}

const insertUser = `INSERT INTO users (` + userColumns + `) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)`

// insertArgs are the parameters of insertUser.
func insertArgs(u auth.User) []any {
	return []any{u.ID, u.Username, u.Name, u.Email, u.EmailVerified, u.TimeZone, u.PasswordHash,
		u.Epoch, u.Active, timestamp(u.CreatedAt), timestamp(u.UpdatedAt), timestamp(u.LastSignInAt)}
}

// CreateUser inserts the row as given and returns it with the epoch that is stored; times are cut to
// microseconds. It returns auth.ErrUsernameTaken, or auth.ErrEmailTaken when u.Email is verified and another
// user has verified it; auth.Invalid for text that Postgres cannot hold.
func (d *DB) CreateUser(ctx context.Context, u auth.User) (auth.User, error) {
	return d.createUser(ctx, u, false)
}

// RegisterUser is CreateUser for a name that people choose for themselves: auth.ErrUsernameTaken also when
// another user's name looks like it, however many register at once; auth.ErrUnavailable while FillSkeletons has
// more to do than a registration waits for.
func (d *DB) RegisterUser(ctx context.Context, u auth.User) (auth.User, error) {
	if isStorable(u.Username) {
		if err := d.fillFewSkeletons(ctx); err != nil {
			return auth.User{}, fmt.Errorf("%w (%w)", err, auth.ErrNotWritten)
		}
	}
	return d.createUser(ctx, u, true)
}

// createUser inserts a user; distinct refuses a name that looks like another one. The skeleton of a name
// that an operator gave is computed by the next registration.
func (d *DB) createUser(ctx context.Context, u auth.User, distinct bool) (auth.User, error) {
	const what = "create user"
	id, err := uuid.Parse(u.ID)
	if err != nil {
		return auth.User{}, fmt.Errorf("%s: id: %w", what, err)
	}
	u.ID = id.String()
	if err := validateText(map[string]string{
		"username": u.Username, "name": u.Name, "email": u.Email, "time_zone": u.TimeZone, "password": u.PasswordHash,
	}); err != nil {
		return auth.User{}, err
	}
	var stored userRow
	err = d.writeAll(ctx, what, insertUser, func(ctx context.Context, tx *sqlx.Tx) error {
		if distinct {
			if err := d.refuseLookalike(ctx, tx, u.Username); err != nil {
				return err
			}
		}
		if _, err := tx.ExecContext(ctx, insertUser, insertArgs(u)...); err != nil {
			return err
		}
		if distinct {
			if err := setSkeleton(ctx, tx, u.ID, u.Username); err != nil {
				return err
			}
		}
		// RETURNING would not do: in SQLite it does not see what triggers change.
		return tx.GetContext(ctx, &stored, `SELECT epoch, updated_at FROM users WHERE id = $1`, u.ID)
	})
	if err != nil {
		return auth.User{}, d.uniqueError(ctx, u, err)
	}
	u.Epoch, u.UpdatedAt = stored.Epoch, time.Time(stored.UpdatedAt)
	return u, nil
}

// taken tells the unique violations of an insert apart.
func (d *DB) uniqueError(ctx context.Context, u auth.User, err error) error {
	constraint, ok := uniqueViolation(err)
	if !ok {
		return err
	}
	switch constraint {
	case "users_username_key":
		return auth.ErrUsernameTaken
	case "users_email_verified_key":
		return auth.ErrEmailTaken
	case "":
		return d.sqliteUniqueError(ctx, u, err)
	}
	return err
}

// takenSQLite asks the table, because SQLite names the column in the message only.
func (d *DB) sqliteUniqueError(ctx context.Context, u auth.User, violation error) error {
	_, err := d.UserByUsername(ctx, u.Username)
	if err == nil {
		return auth.ErrUsernameTaken
	}
	if !errors.Is(err, auth.ErrNotFound) {
		return err
	}
	if u.EmailVerified {
		return auth.ErrEmailTaken
	}
	return violation
}

// UserByID returns auth.ErrNotFound for an id that is no UUID, too.
func (d *DB) UserByID(ctx context.Context, id string) (auth.User, error) {
	const what = "user by id"
	id, err := canonicalID(what, id)
	if err != nil {
		return auth.User{}, err
	}
	return d.user(ctx, what, `SELECT `+userSelect+` FROM users WHERE id = $1`, id)
}

// UserByUsername returns the user of a canonical name.
func (d *DB) UserByUsername(ctx context.Context, username string) (auth.User, error) {
	return d.user(ctx, "user by username", `SELECT `+userSelect+` FROM users WHERE username = $1`, username)
}

// UserByEmail returns the user who verified the canonical address.
func (d *DB) UserByEmail(ctx context.Context, email string) (auth.User, error) {
	return d.user(ctx, "user by email", `SELECT `+userSelect+` FROM users WHERE email = $1 AND email_verified`, email)
}

// Users returns at most limit users, ordered by the bytes of their names.
func (d *DB) Users(ctx context.Context, after string, limit int) ([]auth.User, error) {
	if limit < 1 || !isStorable(after) {
		return nil, nil
	}
	var rows []userRow
	err := d.read(ctx, "users", `SELECT `+userSelect+` FROM users WHERE username > $1 ORDER BY username LIMIT $2`,
		func(ctx context.Context, s *sqlx.Stmt) error {
			rows = nil
			return s.SelectContext(ctx, &rows, after, limit)
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

// nextEpoch is the SQL of a new epoch: random, and never the old one. Its parameter is the
// result of epochOffset, which the statement stores as epoch_offset as well: triggers take any
// other new epoch for one that was set by hand or restored from a backup, and replace it.
func nextEpoch(parameter string) string {
	return `1 + (epoch + ` + parameter + `) % ` + strconv.FormatInt(auth.MaxEpoch, 10)
}

// epochOffset returns a random number from 0 to auth.MaxEpoch - 2.
func epochOffset() int64 { return rand.Int64N(auth.MaxEpoch - 1) }

// epochBefore returns the epoch that nextEpoch turned into the given one.
func epochBefore(epoch, offset int64) int64 {
	if before := (epoch - 1 - offset + auth.MaxEpoch) % auth.MaxEpoch; before > 0 {
		return before
	}
	return auth.MaxEpoch
}

// SetPassword returns auth.ErrStale when the epoch is not the given one, and
// auth.ErrNotFound when there is no such user.
func (d *DB) SetPassword(ctx context.Context, id string, epoch int64, hash string) (auth.User, error) {
	u, err := d.change(ctx, "set password", `UPDATE users
		SET password_hash = $2, epoch = `+nextEpoch("$5")+`, epoch_offset = $5, updated_at = $3
		WHERE id = $1 AND epoch = $4 RETURNING `+userSelect,
		id, hash, now(), epoch, epochOffset())
	return d.finishEpochChange(ctx, "set password", id, u, epoch, err)
}

// changedFrom completes the result of a change that was made only if the epoch was the given one: of no
// row it tells whether there is no user, or one of another epoch.
func (d *DB) finishEpochChange(ctx context.Context, what, id string, u auth.User, epoch int64, err error) (auth.User, error) {
	if err == nil {
		u.PreviousEpoch = epoch
	}
	if !errors.Is(err, auth.ErrNotFound) {
		return u, err
	}
	if _, err := d.UserByID(ctx, id); err != nil {
		return auth.User{}, err
	}
	return auth.User{}, fmt.Errorf("%s: %w", what, auth.ErrStale)
}

// ReplaceHash swaps the hash; see auth.UserStore. It sets updated_at, which tells the
// triggers that this is no new password.
func (d *DB) ReplaceHash(ctx context.Context, id, old, new string) error {
	const what = "replace hash"
	id, err := canonicalID(what, id)
	if err != nil {
		return err
	}
	_, err = d.exec(ctx, what, `UPDATE users SET password_hash = $3, updated_at = $4
		WHERE id = $1 AND password_hash = $2`,
		id, old, new, now())
	return err
}

// SetProfile returns auth.Invalid for text that Postgres cannot hold, auth.ErrStale when the
// profile is not from, and auth.ErrNotFound when there is no such user.
func (d *DB) SetProfile(ctx context.Context, id string, from, to auth.Profile) (auth.User, error) {
	if err := validateText(map[string]string{"name": to.Name, "email": to.Email, "time_zone": to.TimeZone}); err != nil {
		return auth.User{}, err
	}
	const what = "set profile"
	u, err := d.change(ctx, what, `UPDATE users
		SET name = $2, email = $3, email_verified = (email_verified AND email = $3), time_zone = $4, updated_at = $5
		WHERE id = $1 AND name = $6 AND email = $7 AND time_zone = $8 RETURNING `+userSelect,
		id, to.Name, to.Email, to.TimeZone, now(), from.Name, from.Email, from.TimeZone)
	if !errors.Is(err, auth.ErrNotFound) {
		return u, err
	}
	if _, err := d.UserByID(ctx, id); err != nil {
		return auth.User{}, err
	}
	return auth.User{}, fmt.Errorf("%s: %w", what, auth.ErrStale)
}

// SetActive enables or disables the user.
func (d *DB) SetActive(ctx context.Context, id string, active bool) (auth.User, error) {
	write := d.writeKeepingAdministrator
	if active {
		write = d.write
	}
	return d.changeWith(ctx, write, "set active", `UPDATE users
		SET active = $2,
		    epoch = CASE WHEN active AND NOT $2 THEN `+nextEpoch("$4")+` ELSE epoch END,
		    epoch_offset = CASE WHEN active AND NOT $2 THEN $4 ELSE epoch_offset END,
		    updated_at = CASE WHEN active <> $2 THEN $3 ELSE updated_at END
		WHERE id = $1 RETURNING `+userSelect,
		id, active, now(), epochOffset())
}

// RotateEpoch ends everything that the user is signed in with.
func (d *DB) RotateEpoch(ctx context.Context, id string) (auth.User, error) {
	offset := epochOffset()
	u, err := d.change(ctx, "raise epoch", `UPDATE users SET epoch = `+nextEpoch("$3")+`, epoch_offset = $3, updated_at = $2
		WHERE id = $1 RETURNING `+userSelect,
		id, now(), offset)
	if err == nil {
		u.PreviousEpoch = epochBefore(u.Epoch, offset)
	}
	return u, err
}

// RotateEpochFrom returns auth.ErrStale when the epoch is not the given one, and auth.ErrNotFound
// when there is no such user.
func (d *DB) RotateEpochFrom(ctx context.Context, id string, epoch int64) (auth.User, error) {
	const what = "raise epoch"
	u, err := d.change(ctx, what, `UPDATE users SET epoch = `+nextEpoch("$3")+`, epoch_offset = $3, updated_at = $2
		WHERE id = $1 AND epoch = $4 RETURNING `+userSelect,
		id, now(), epochOffset(), epoch)
	return d.finishEpochChange(ctx, what, id, u, epoch, err)
}

// RecordSignIn leaves updated_at alone. It returns auth.ErrNotFound when there is no such user.
func (d *DB) RecordSignIn(ctx context.Context, id string, at time.Time) error {
	const what = "record sign-in"
	id, err := canonicalID(what, id)
	if err != nil {
		return err
	}
	n, err := d.exec(ctx, what, `UPDATE users SET last_sign_in_at = $2 WHERE id = $1`, id, timestamp(at))
	if err == nil && n == 0 {
		return fmt.Errorf("%s: %w", what, auth.ErrNotFound)
	}
	return err
}

// user reads one user by one piece of text.
func (d *DB) user(ctx context.Context, what, query, key string) (auth.User, error) {
	if !isStorable(key) {
		return auth.User{}, fmt.Errorf("%s: %w", what, auth.ErrNotFound)
	}
	var row userRow
	err := d.read(ctx, what, query, func(ctx context.Context, s *sqlx.Stmt) error {
		return s.GetContext(ctx, &row, key)
	})
	if err != nil {
		return auth.User{}, err
	}
	return row.user(), nil
}

// change runs an UPDATE … RETURNING of the user with this id, which is $1.
func (d *DB) change(ctx context.Context, what, query, id string, args ...any) (auth.User, error) {
	return d.changeWith(ctx, d.write, what, query, id, args...)
}

func (d *DB) changeWith(ctx context.Context, write writer, what, query, id string, args ...any) (auth.User, error) {
	id, err := canonicalID(what, id)
	if err != nil {
		return auth.User{}, err
	}
	var row userRow
	err = write(ctx, what, query, func(ctx context.Context, s *sqlx.Stmt) error {
		return s.GetContext(ctx, &row, append([]any{id}, args...)...)
	})
	if err != nil {
		return auth.User{}, err
	}
	return row.user(), nil
}

// exec runs a statement that changes rows and returns how many.
func (d *DB) exec(ctx context.Context, what, query string, args ...any) (rows int64, err error) {
	return d.execWith(ctx, d.write, what, query, args...)
}

// writer runs a statement in a transaction of its own: write or keepAdministrator.
type writer func(ctx context.Context, what, query string, run func(context.Context, *sqlx.Stmt) error) error

func (d *DB) execWith(ctx context.Context, write writer, what, query string, args ...any) (rows int64, err error) {
	err = write(ctx, what, query, func(ctx context.Context, s *sqlx.Stmt) error {
		res, err := s.ExecContext(ctx, args...)
		if err != nil {
			return err
		}
		rows, err = res.RowsAffected()
		return err
	})
	return rows, err
}

// canonicalID returns the id as both databases write it (RFC 9562 section 4), or
// auth.ErrNotFound when it is no UUID, which Postgres would answer with SQLSTATE 22P02.
func canonicalID(what, id string) (string, error) {
	parsed, err := uuid.Parse(id)
	if err != nil || len(id) != len(uuid.UUID{}.String()) {
		return "", fmt.Errorf("%s: %w", what, auth.ErrNotFound)
	}
	return parsed.String(), nil
}

// invalidText returns auth.Invalid for the fields that isText refuses, or nil.
func validateText(fields map[string]string) error {
	invalid := auth.ValidationErrors{}
	for field, s := range fields {
		if !isStorable(s) {
			invalid[field] = "Contains characters that cannot be stored."
		}
	}
	if len(invalid) == 0 {
		return nil
	}
	return invalid
}
