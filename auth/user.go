package auth

import (
	"context"
	"errors"
	"fmt"
	"gatehouse/auth/userlist"
	"time"
)

// User is a row in users. Its JSON, without the password hash, is stored in the user cache and read by other programs.
type User struct {
	// ID is a UUIDv7 (RFC 9562), text form.
	ID string `json:"id"`
	// Username is canonical (see identifier.CanonicalUsername) and unique.
	Username string `json:"username"`
	// Name is the display name; may be empty.
	Name string `json:"name"`
	// Email is canonical; may be empty. Only a verified address signs in.
	Email         string `json:"email"`
	EmailVerified bool   `json:"email_verified"`
	// TimeZone is an IANA name such as "Europe/Berlin".
	TimeZone string `json:"time_zone"`
	// TimeZoneChosen: the user chose UTC. Otherwise UTC is the default, which the browser's zone replaces at
	// the next sign-in. Only users from a UserStore have it.
	TimeZoneChosen bool `json:"-"`
	Preferences
	// Epoch is a number from 1 to MaxEpoch that is replaced by a random one when all sessions,
	// tokens and cached credentials of the user end. Epochs are equal or not; they have no order.
	Epoch  int64 `json:"epoch"`
	Active bool  `json:"active"`

	// Groups and Permissions are sorted; the permissions include those of the groups.
	Groups      []string `json:"groups"`
	Permissions []string `json:"permissions"`

	PasswordHash string    `json:"-"`
	CreatedAt    time.Time `json:"created_at"`
	UpdatedAt    time.Time `json:"updated_at"`
	// LastSignInAt is zero for a user who never signed in.
	LastSignInAt time.Time `json:"-"`
	// PreviousEpoch is the epoch that UserStore.SetPassword or RotateEpoch replaced; 0 in every
	// other user.
	PreviousEpoch int64 `json:"-"`
}

// MaxEpoch is the highest epoch: the largest integer up to which double-precision numbers, which readers in other
// languages use, are exact.
const MaxEpoch = 1<<53 - 1

// DisplayName returns the name, or the username if the name is empty.
func (u User) DisplayName() string {
	if u.Name != "" {
		return u.Name
	}
	return u.Username
}

// signsInAs reports whether the canonical login name still belongs to the user. An address that was
// changed, or is no longer verified, does not.
func (u User) signsInAs(name string, byEmail bool) bool {
	if byEmail {
		return u.EmailVerified && u.Email == name
	}
	return u.Username == name
}

// AcceptsEpoch reports whether a session, token or cached credential of this epoch still
// authenticates the user (ASVS 7.4.2, 7.4.3).
func (u User) AcceptsEpoch(epoch int64) bool {
	return u.Active && u.Epoch == epoch
}

// UserStore stores users in SQL. Every method returns an error that wraps ErrUnavailable if the database does not answer.
type UserStore interface {
	// CreateUser inserts the row as given, with id, times and epoch, and returns the stored row: the database sets
	// another epoch for a row that looks restored from a backup, as it does if this server's clock is behind.
	// ErrUsernameTaken or ErrEmailTaken when the name or verified address exists.
	CreateUser(ctx context.Context, u User) (User, error)
	// RegisterUser is CreateUser for a name that users choose themselves: ErrUsernameTaken also when it looks like
	// another user's name (see identifier.Lookalikes).
	RegisterUser(ctx context.Context, u User) (User, error)
	// UsernameTaken reports whether RegisterUser would refuse the canonical name.
	UsernameTaken(ctx context.Context, username string) (bool, error)
	// UserByID, UserByUsername (canonical) and UserByEmail (canonical and verified)
	// return ErrNotFound when there is no such row.
	UserByID(ctx context.Context, id string) (User, error)
	UserByUsername(ctx context.Context, username string) (User, error)
	UserByEmail(ctx context.Context, email string) (User, error)
	// Users returns at most limit users ordered by username, starting after the given one ("" for the start).
	Users(ctx context.Context, after string, limit int) ([]User, error)
	// FindUsers and CountUsers implement those of Accounts.
	FindUsers(ctx context.Context, q userlist.Query) (UserPage, error)
	CountUsers(ctx context.Context, q userlist.Query, atMost int) (int, error)
	// SetPassword stores a new hash and sets a new epoch, if the epoch is still the given one; otherwise ErrStale. It
	// returns the changed row, with PreviousEpoch.
	SetPassword(ctx context.Context, id string, epoch int64, hash string) (User, error)
	// ReplaceHash replaces a hash by another one of the same password, with new parameters, and keeps the epoch. It
	// does nothing if the stored hash is no longer the old one.
	ReplaceHash(ctx context.Context, id, old, new string) error
	// SetProfile stores name, email and time zone if they are still those of from; otherwise ErrStale. A changed email
	// is unverified.
	SetProfile(ctx context.Context, id string, from, to Profile) (User, error)
	// SetPreferences stores the edited preferences.
	SetPreferences(ctx context.Context, id string, e PreferencesEdit) (User, error)
	// SetActive enables or disables a user; disabling an active one sets a new epoch. ErrLastAdministrator as in
	// GrantStore.
	SetActive(ctx context.Context, id string, active bool) (User, error)
	// VerifyEmail marks the address as verified if it is still the user's, else ErrStale. ErrEmailTaken if another
	// user has verified it.
	VerifyEmail(ctx context.Context, id, email string) (User, error)
	// DeleteUser deletes a disabled user, and returns the row without groups and permissions; ErrStale if the user
	// is active.
	DeleteUser(ctx context.Context, id string) (User, error)
	// RotateEpoch sets a new epoch, which ends all sessions, tokens and cached credentials of
	// the user. It returns the changed row, with PreviousEpoch.
	RotateEpoch(ctx context.Context, id string) (User, error)
	// RotateEpochFrom is RotateEpoch if the epoch is still the given one; otherwise ErrStale.
	RotateEpochFrom(ctx context.Context, id string, epoch int64) (User, error)
	// RecordSignIn records the time of a sign-in. It does not invalidate caches.
	RecordSignIn(ctx context.Context, id string, at time.Time) error
	// RecordFirstTimeZone is RecordSignIn, and sets the time zone, if it is UTC without having been chosen;
	// otherwise ErrStale, and nothing is changed.
	RecordFirstTimeZone(ctx context.Context, id, zone string, at time.Time) (User, error)
}

// SetActive disables or enables a user; the sessions of a disabled user end immediately.
func (a *Accounts) SetActive(ctx context.Context, id string, active bool) (User, error) {
	what := "user disabled"
	if active {
		what = "user enabled"
	}
	u, err := a.change(ctx, what, id, func() (User, error) {
		return a.Users.SetActive(ctx, id, active)
	})
	if err == nil && !active {
		a.endStale(ctx, u.ID, "")
	}
	return u, err
}

// VerifyEmail marks an address as verified for an operator, who vouches for it: the user can sign in with it.
// ErrStale if it is no longer the user's address.
func (a *Accounts) VerifyEmail(ctx context.Context, id, email string) (User, error) {
	u, err := a.change(ctx, "email address verified", id, func() (User, error) { return a.Users.VerifyEmail(ctx, id, email) })
	if errors.Is(err, ErrEmailTaken) {
		return User{}, ValidationErrors{"email": "Another account has verified this address."}
	}
	return u, err
}

// DeleteUser deletes a user. Disabling the user comes first: it sets a new epoch and ends the sessions and tokens, so
// that none can become valid again if a later step fails, or if the row is restored from a backup. If ending them fails,
// the user stays, disabled, and DeleteUser can be called again. ErrStale if the user was enabled in the meantime.
func (a *Accounts) DeleteUser(ctx context.Context, id string) (User, error) {
	u, err := a.SetActive(ctx, id, false)
	if err != nil {
		return User{}, err
	}
	if err := a.endStored(ctx, u.ID, ""); err != nil {
		return User{}, fmt.Errorf("end the sessions and tokens of a user before the deletion (the user is only disabled): %w", err)
	}
	deleted, err := a.change(ctx, "user deleted", u.ID, func() (User, error) { return a.Users.DeleteUser(ctx, u.ID) })
	if err == nil {
		// Those of sign-ins in progress, and the records of tokens, which were kept to explain rejections.
		a.endStale(ctx, u.ID, "")
	}
	return deleted, err
}

// StoredUser reads a user from the database, bypassing the caches. ErrNotFound when there is
// none.
func (a *Accounts) StoredUser(ctx context.Context, id string) (User, error) {
	return a.Users.UserByID(ctx, id)
}

// UserByUsername returns the user of a canonical username. ErrNotFound when there is none.
func (a *Accounts) UserByUsername(ctx context.Context, username string) (User, error) {
	return a.Users.UserByUsername(ctx, username)
}

// ListUsers returns at most limit users ordered by username, starting after the given one ("" for the
// beginning).
func (a *Accounts) ListUsers(ctx context.Context, after string, limit int) ([]User, error) {
	return a.Users.Users(ctx, after, limit)
}

// UserPage is a page of a list of users.
type UserPage struct {
	Users []User
	// Previous is the Before of the page before this one, and Next the After of the one behind it; "" for none.
	Previous, Next string
}

// FindUsers returns a page of the users that match. If the users before a place have been deleted, it is the first page.
func (a *Accounts) FindUsers(ctx context.Context, q userlist.Query) (UserPage, error) {
	return a.Users.FindUsers(ctx, q)
}

// CountUsers counts the users that match, up to atMost + 1.
func (a *Accounts) CountUsers(ctx context.Context, q userlist.Query, atMost int) (int, error) {
	return a.Users.CountUsers(ctx, q, atMost)
}

// SearchUsers is ListUsers for users that match the text.
func (a *Accounts) SearchUsers(ctx context.Context, text, after string, limit int) ([]User, error) {
	page, err := a.FindUsers(ctx, userlist.Query{Text: text, After: after, Limit: limit})
	return page.Users, err
}
