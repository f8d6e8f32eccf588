package db

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"

	"gatehouse/auth"
)

// newUserColumns are the columns that Gatehouse sets in a new row; the others have their defaults.
const newUserColumns = `id, username, name, email, email_verified, time_zone, password_hash,
	epoch, active, created_at, updated_at, last_sign_in_at`

// userColumns are the columns of userRow that are in the table users.
const userColumns = newUserColumns + `, time_zone_chosen, theme, hour_cycle, locale`

// userSelect are the columns of userRow for SELECT, with the user's groups and permissions.
const userSelect = userColumns + `,
	coalesce((SELECT string_agg(m.group_name, ' ') FROM user_groups m WHERE m.user_id = users.id), '') AS groups,
	coalesce((SELECT string_agg(p.permission, ' ') FROM (
		SELECT permission FROM user_permissions WHERE user_id = users.id
		UNION
		SELECT g.permission FROM group_permissions g JOIN user_groups m ON m.group_name = g.group_name
		WHERE m.user_id = users.id) p), '') AS permissions`

// userRow is a row of users with groups and permissions.
type userRow struct {
	ID            string    `db:"id"`
	Username      string    `db:"username"`
	Name          string    `db:"name"`
	Email         string    `db:"email"`
	EmailVerified bool      `db:"email_verified"`
	TimeZone      string    `db:"time_zone"`
	ZoneChosen    bool      `db:"time_zone_chosen"`
	Theme         string    `db:"theme"`
	HourCycle     string    `db:"hour_cycle"`
	Locale        string    `db:"locale"`
	PasswordHash  string    `db:"password_hash"`
	Epoch         int64     `db:"epoch"`
	Active        bool      `db:"active"`
	CreatedAt     timestamp `db:"created_at"`
	UpdatedAt     timestamp `db:"updated_at"`
	LastSignInAt  timestamp `db:"last_sign_in_at"`
	Groups        nameList  `db:"groups"`
	Permissions   nameList  `db:"permissions"`
}

// nameList is a list of names in one column, separated by blanks.
type nameList string

func (w nameList) sorted() []string {
	list := strings.Fields(string(w))
	slices.Sort(list)
	return list
}

func (r userRow) user() auth.User {
	return auth.User{
		ID:             r.ID,
		Username:       r.Username,
		Name:           r.Name,
		Email:          r.Email,
		EmailVerified:  r.EmailVerified,
		TimeZone:       r.TimeZone,
		TimeZoneChosen: r.ZoneChosen,
		Preferences:    auth.Preferences{Theme: r.Theme, HourCycle: r.HourCycle, Locale: r.Locale},
		PasswordHash:   r.PasswordHash,
		Epoch:          r.Epoch,
		Active:         r.Active,
		CreatedAt:      time.Time(r.CreatedAt),
		UpdatedAt:      time.Time(r.UpdatedAt),
		LastSignInAt:   time.Time(r.LastSignInAt),
		Groups:         r.Groups.sorted(),
		Permissions:    r.Permissions.sorted(),
	}
}

// CreateUser inserts the row as given, with times truncated to microseconds, and returns it with the stored
// epoch. It returns auth.ErrUsernameTaken, or auth.ErrEmailTaken if u.Email is verified and another user has
// verified it; auth.ValidationErrors for text that Postgres cannot store.
func (d *DB) CreateUser(ctx context.Context, u auth.User) (auth.User, error) {
	return d.createUser(ctx, u, false)
}

// RegisterUser is CreateUser for a name that people choose themselves: it returns auth.ErrUsernameTaken also
// if another user's name looks like it, even if several register concurrently, and auth.ErrUnavailable while
// FillComputed has more to do than a registration waits for.
func (d *DB) RegisterUser(ctx context.Context, u auth.User) (auth.User, error) {
	if isStorable(u.Username) {
		if err := d.fillFew(ctx, skeletonText); err != nil {
			return auth.User{}, fmt.Errorf("%w (%w)", err, auth.ErrNotWritten)
		}
	}
	return d.createUser(ctx, u, true)
}

// createUser inserts a user; distinct refuses a name that looks like another one. The skeleton of a name that
// an operator has chosen is computed by the next registration.
func (d *DB) createUser(ctx context.Context, u auth.User, distinct bool) (auth.User, error) {
	const what = "create user"
	if err := checkNewUser(what, &u, nil); err != nil {
		return auth.User{}, err
	}
	var stored userRow
	err := d.writeAll(ctx, what, insertQuery, func(ctx context.Context, tx *sqlx.Tx) error {
		if distinct {
			if err := d.refuseLookalike(ctx, tx, u.Username); err != nil {
				return err
			}
		}
		if err := insertUser(ctx, tx, u, distinct); err != nil {
			return err
		}
		// RETURNING does not work here: in SQLite it does not return what triggers change.
		return tx.GetContext(ctx, &stored, `SELECT epoch, updated_at FROM users WHERE id = $1`, u.ID)
	})
	if err != nil {
		return auth.User{}, d.uniqueError(ctx, u, err)
	}
	u.Epoch, u.UpdatedAt = stored.Epoch, time.Time(stored.UpdatedAt)
	return u, nil
}

// checkNewUser canonicalizes the id of a user to insert, and checks that all text can be stored, that of more
// fields included.
func checkNewUser(what string, u *auth.User, more map[string]string) error {
	id, err := uuid.Parse(u.ID)
	if err != nil {
		return fmt.Errorf("%s: id: %w", what, err)
	}
	u.ID = id.String()
	fields := map[string]string{
		"username": u.Username, "name": u.Name, "email": u.Email, "time_zone": u.TimeZone, "password": u.PasswordHash,
	}
	maps.Copy(fields, more)
	return validateText(fields)
}

const insertQuery = `INSERT INTO users (` + newUserColumns + `) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)`

// insertUser inserts the row and, if skeleton is set, the skeleton of its username.
func insertUser(ctx context.Context, tx *sqlx.Tx, u auth.User, skeleton bool) error {
	_, err := tx.ExecContext(ctx, insertQuery,
		u.ID, u.Username, u.Name, u.Email, u.EmailVerified, u.TimeZone, u.PasswordHash,
		u.Epoch, u.Active, timestamp(u.CreatedAt), timestamp(u.UpdatedAt), timestamp(u.LastSignInAt))
	if err != nil || !skeleton {
		return err
	}
	return setSkeleton(ctx, tx, u.ID, u.Username)
}

// uniqueError returns which value the violated unique constraint of an INSERT found taken.
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

// sqliteUniqueError queries the table: SQLite names the column only in the message.
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

// UserByID implements auth.UserStore. An id that is not a UUID is auth.ErrNotFound too.
func (d *DB) UserByID(ctx context.Context, id string) (auth.User, error) {
	const what = "find user by id"
	id, err := canonicalID(what, id)
	if err != nil {
		return auth.User{}, err
	}
	return d.user(ctx, what, `SELECT `+userSelect+` FROM users WHERE id = $1`, id)
}

// UserByUsername returns the user with a canonical name.
func (d *DB) UserByUsername(ctx context.Context, username string) (auth.User, error) {
	return d.user(ctx, "find user by username", `SELECT `+userSelect+` FROM users WHERE username = $1`, username)
}

// UserByEmail returns the user who verified the canonical address.
func (d *DB) UserByEmail(ctx context.Context, email string) (auth.User, error) {
	return d.user(ctx, "find user by email", `SELECT `+userSelect+` FROM users WHERE email = $1 AND email_verified`, email)
}

// Users returns at most limit users, ordered by the bytes of their usernames.
func (d *DB) Users(ctx context.Context, after string, limit int) ([]auth.User, error) {
	if limit < 1 || !isStorable(after) {
		return nil, nil
	}
	var rows []userRow
	err := d.read(ctx, "list users", `SELECT `+userSelect+` FROM users WHERE username > $1 ORDER BY username LIMIT $2`,
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

// nextEpoch returns the SQL of a new epoch, which is random and differs from the old one. Its parameter is an
// epochOffset, which the statement also stores as epoch_offset: triggers replace any other new epoch, as one
// that was set by hand or restored from a backup.
func nextEpoch(parameter string) string {
	return `1 + (epoch + ` + parameter + `) % ` + strconv.FormatInt(auth.MaxEpoch, 10)
}

// epochOffset returns a random number from 0 to auth.MaxEpoch - 2.
func epochOffset() int64 { return rand.Int64N(auth.MaxEpoch - 1) }

// epochBefore returns the epoch from which nextEpoch computed the given one.
func epochBefore(epoch, offset int64) int64 {
	if before := (epoch - 1 - offset + auth.MaxEpoch) % auth.MaxEpoch; before > 0 {
		return before
	}
	return auth.MaxEpoch
}

// SetPassword returns auth.ErrStale if the user has another epoch, and auth.ErrNotFound if there is no such
// user.
func (d *DB) SetPassword(ctx context.Context, id string, epoch int64, hash string) (auth.User, error) {
	u, err := d.change(ctx, "set password", `UPDATE users
		SET password_hash = $2, epoch = `+nextEpoch("$5")+`, epoch_offset = $5, updated_at = $3
		WHERE id = $1 AND epoch = $4 RETURNING `+userSelect,
		id, hash, now(), epoch, epochOffset())
	return d.finishEpochChange(ctx, "set password", id, u, epoch, err)
}

// finishEpochChange completes the result of a change that required the given epoch. If the change found no
// row, it finds out whether there is no such user or whether the user has another epoch.
func (d *DB) finishEpochChange(ctx context.Context, what, id string, u auth.User, epoch int64, err error) (auth.User, error) {
	if err == nil {
		u.PreviousEpoch = epoch
	}
	return d.orStale(ctx, what, id, u, err)
}

// orStale completes the result of a change that required more than the id: if it found no row although there is such a
// user, the error is auth.ErrStale.
func (d *DB) orStale(ctx context.Context, what, id string, u auth.User, err error) (auth.User, error) {
	if !errors.Is(err, auth.ErrNotFound) {
		return u, err
	}
	if _, err := d.UserByID(ctx, id); err != nil {
		return auth.User{}, err
	}
	return auth.User{}, fmt.Errorf("%s: %w", what, auth.ErrStale)
}

// ReplaceHash implements auth.UserStore. It sets updated_at, by which triggers see that the password is the
// same.
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

// SetProfile returns auth.ValidationErrors for text that Postgres cannot store, auth.ErrStale if the profile is
// no longer from, and auth.ErrNotFound if there is no such user.
func (d *DB) SetProfile(ctx context.Context, id string, from, to auth.Profile) (auth.User, error) {
	if err := validateText(map[string]string{"name": to.Name, "email": to.Email, "time_zone": to.TimeZone}); err != nil {
		return auth.User{}, err
	}
	const what = "set profile"
	u, err := d.change(ctx, what, `UPDATE users
		SET name = $2, email = $3, email_verified = (email_verified AND email = $3),
			time_zone_chosen = (time_zone_chosen OR time_zone <> $4), time_zone = $4, updated_at = $5
		WHERE id = $1 AND name = $6 AND email = $7 AND time_zone = $8 RETURNING `+userSelect,
		id, to.Name, to.Email, to.TimeZone, now(), from.Name, from.Email, from.TimeZone)
	return d.orStale(ctx, what, id, u, err)
}

// VerifyEmail implements auth.UserStore.
func (d *DB) VerifyEmail(ctx context.Context, id, email string) (auth.User, error) {
	const what = "verify email"
	if !isStorable(email) {
		return auth.User{}, fmt.Errorf("%s: %w", what, auth.ErrStale)
	}
	u, err := d.change(ctx, what, `UPDATE users SET email_verified = $4, updated_at = $3
		WHERE id = $1 AND email = $2 AND email <> '' RETURNING `+userSelect, id, email, now(), true)
	if _, taken := uniqueViolation(err); taken {
		return auth.User{}, fmt.Errorf("%s: %w", what, auth.ErrEmailTaken)
	}
	return d.orStale(ctx, what, id, u, err)
}

// DeleteUser implements auth.UserStore. What belongs to the user is deleted by foreign keys.
func (d *DB) DeleteUser(ctx context.Context, id string) (auth.User, error) {
	const what = "delete user"
	u, err := d.changeWith(ctx, d.writeKeepingAdministrator, what, `DELETE FROM users WHERE id = $1 AND NOT active RETURNING `+userColumns, id)
	return d.orStale(ctx, what, id, u, err)
}

// SetPreferences returns auth.ErrNotFound if there is no such user.
func (d *DB) SetPreferences(ctx context.Context, id string, e auth.PreferencesEdit) (auth.User, error) {
	return d.change(ctx, "set preferences", `UPDATE users
		SET theme = coalesce($2, theme), hour_cycle = coalesce($3, hour_cycle), locale = coalesce($4, locale), updated_at = $5
		WHERE id = $1 RETURNING `+userSelect,
		id, e.Theme, e.HourCycle, e.Locale, now())
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

// RotateEpoch ends all sessions, tokens and cached credentials of the user.
func (d *DB) RotateEpoch(ctx context.Context, id string) (auth.User, error) {
	offset := epochOffset()
	u, err := d.change(ctx, "rotate epoch", `UPDATE users SET epoch = `+nextEpoch("$3")+`, epoch_offset = $3, updated_at = $2
		WHERE id = $1 RETURNING `+userSelect,
		id, now(), offset)
	if err == nil {
		u.PreviousEpoch = epochBefore(u.Epoch, offset)
	}
	return u, err
}

// RotateEpochFrom returns auth.ErrStale if the user has another epoch, and auth.ErrNotFound if there is no such
// user.
func (d *DB) RotateEpochFrom(ctx context.Context, id string, epoch int64) (auth.User, error) {
	const what = "rotate epoch"
	u, err := d.change(ctx, what, `UPDATE users SET epoch = `+nextEpoch("$3")+`, epoch_offset = $3, updated_at = $2
		WHERE id = $1 AND epoch = $4 RETURNING `+userSelect,
		id, now(), epochOffset(), epoch)
	return d.finishEpochChange(ctx, what, id, u, epoch, err)
}

// RecordSignIn does not change updated_at. It returns auth.ErrNotFound if there is no such user.
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

// RecordFirstTimeZone returns auth.ErrStale also if there is no such user.
func (d *DB) RecordFirstTimeZone(ctx context.Context, id, zone string, at time.Time) (auth.User, error) {
	const what = "record sign-in and time zone"
	u, err := d.change(ctx, what, `UPDATE users SET last_sign_in_at = $2, time_zone = $3, updated_at = $4
		WHERE id = $1 AND time_zone = 'UTC' AND NOT time_zone_chosen RETURNING `+userSelect,
		id, timestamp(at), zone, now())
	if errors.Is(err, auth.ErrNotFound) {
		return auth.User{}, fmt.Errorf("%s: %w", what, auth.ErrStale)
	}
	return u, err
}

// user finds a user by one text.
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

// change runs an UPDATE … RETURNING on the user with this id, which is $1.
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

// exec runs a statement and returns how many rows it changed.
func (d *DB) exec(ctx context.Context, what, query string, args ...any) (rows int64, err error) {
	return d.execWith(ctx, d.write, what, query, args...)
}

// writer runs a statement in its own transaction: write or writeKeepingAdministrator.
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

// canonicalID returns the id in the form of both databases (RFC 9562, section 4), or auth.ErrNotFound if it
// is not a UUID, which Postgres would answer with SQLSTATE 22P02.
func canonicalID(what, id string) (string, error) {
	parsed, err := uuid.Parse(id)
	if err != nil || len(id) != len(uuid.UUID{}.String()) {
		return "", fmt.Errorf("%s: %w", what, auth.ErrNotFound)
	}
	return parsed.String(), nil
}

// validateText returns auth.ValidationErrors for the fields that cannot be stored, or nil.
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
