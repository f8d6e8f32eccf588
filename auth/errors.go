package auth

import (
	"errors"
	"fmt"
	"gatehouse/auth/password"
	"time"
)

// Errors of the rules. Callers match them with errors.Is; none contains a secret.
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
	// ErrAlreadyChanged: another request has just made the same change.
	ErrAlreadyChanged = errors.New("changed already")
	// ErrSessionEnded: the session was ended while the request ran.
	ErrSessionEnded = errors.New("session has ended")
	// ErrUnavailable: a store did not respond. Nothing is known, so nothing is allowed (fail closed). It is
	// wrapped with the operation.
	ErrUnavailable = errors.New("unavailable")
	// ErrNotWritten joins ErrUnavailable if the change was certainly not made: the database was not reached,
	// or no commit was sent.
	ErrNotWritten = errors.New("nothing was written")
	// ErrBusy: the queue for password hashes is full.
	ErrBusy = password.ErrBusy
	// ErrLastAdministrator: the change would leave no active user with ManageUsers.
	ErrLastAdministrator = errors.New("no active user would be left with the permission " + ManageUsers)
	// ErrAdminGroup: commands and documentation rely on the group admin to create administrators.
	ErrAdminGroup = errors.New("the group " + AdminGroup + " and its permission " + ManageUsers + " stay: new administrators are made with them")
	// ErrRegistrationClosed: REGISTRATION is closed.
	ErrRegistrationClosed = errors.New("registration is closed")
)

// ErrUserDeleted: the cache has a tombstone for the user. It wraps ErrNotFound.
var ErrUserDeleted = fmt.Errorf("deleted user: %w", ErrNotFound)

// ThrottledError: a rate limit refused the attempt.
type ThrottledError struct {
	// RetryAfter is the wait; always positive.
	RetryAfter time.Duration
}

func (t ThrottledError) Error() string {
	return fmt.Sprintf("throttled for %s", t.RetryAfter)
}
