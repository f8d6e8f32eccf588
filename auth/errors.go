package auth

import (
	"errors"
	"fmt"
	"gatehouse/auth/password"
	"time"
)

// The reasons for which the rules say no. Callers match them with errors.Is;
// none of them carries a secret.
var (
	// ErrNotFound: there is no such user, session or key.
	ErrNotFound = errors.New("not found")
	// ErrWrongCredentials: unknown name, wrong password or a disabled user.
	// It is one error on purpose (ASVS 6.3.8): the caller cannot tell them apart.
	ErrWrongCredentials = errors.New("wrong user name or password")
	// ErrUsernameTaken: another user has this canonical name.
	ErrUsernameTaken = errors.New("user name is taken")
	// ErrEmailTaken: another user has verified this address.
	ErrEmailTaken = errors.New("email address is taken")
	// ErrStale: the row changed since it was read; read it again.
	ErrStale = errors.New("changed in the meantime")
	// ErrAlreadyChanged: another request has just made the very change that this one asks for.
	ErrAlreadyChanged = errors.New("changed already")
	// ErrSessionEnded: the session was ended while the request ran.
	ErrSessionEnded = errors.New("session has ended")
	// ErrUnavailable: a database or Redis did not answer. Nothing is known, so
	// nothing is allowed (fail closed). Wrapped with what was tried.
	ErrUnavailable = errors.New("unavailable")
	// ErrNotWritten joins ErrUnavailable when the database cannot have made the change: it was not
	// reached, or not told to commit.
	ErrNotWritten = errors.New("nothing was written")
	// ErrBusy: more password hashes are wanted than the queue holds.
	ErrBusy = password.ErrBusy
	// ErrLastAdministrator: the change would leave no active user who may administer users.
	ErrLastAdministrator = errors.New("no active user would be left with the permission " + ManageUsers)
	// ErrAdminGroup: commands and documents rely on the group admin to make administrators.
	ErrAdminGroup = errors.New("the group " + AdminGroup + " and its permission " + ManageUsers + " stay: new administrators are made with them")
	// ErrRegistrationClosed: REGISTRATION is closed.
	ErrRegistrationClosed = errors.New("registration is closed")
)

// ErrUserDeleted: the cache has a tombstone for the user. It wraps ErrNotFound.
var ErrUserDeleted = fmt.Errorf("deleted user: %w", ErrNotFound)

// ThrottledError says that the caller has to wait before trying again.
type ThrottledError struct {
	// RetryAfter is the wait; always positive.
	RetryAfter time.Duration
}

func (t ThrottledError) Error() string {
	return fmt.Sprintf("throttled for %s", t.RetryAfter)
}
