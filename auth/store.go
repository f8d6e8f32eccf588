package auth

import (
	"context"
	"time"
)

// UserStore keeps users in SQL. Every method may return an error that wraps
// ErrUnavailable when the database does not answer.
type UserStore interface {
	// CreateUser inserts the row as given (ID, times and epoch included) and returns it as it is
	// stored: the database sets another epoch when the row looks like one from a backup, as it does
	// when this server's clock is behind.
	// ErrUsernameTaken or ErrEmailTaken when the name or verified address exists.
	CreateUser(ctx context.Context, u User) (User, error)
	// RegisterUser is CreateUser for a name that people choose for themselves: ErrUsernameTaken
	// also when another user's name can be mistaken for it (see identifier.Lookalikes).
	RegisterUser(ctx context.Context, u User) (User, error)
	// UsernameTaken reports whether RegisterUser would refuse the canonical name.
	UsernameTaken(ctx context.Context, username string) (bool, error)
	// UserByID, UserByUsername (canonical) and UserByEmail (canonical and verified)
	// return ErrNotFound when there is no such row.
	UserByID(ctx context.Context, id string) (User, error)
	UserByUsername(ctx context.Context, username string) (User, error)
	UserByEmail(ctx context.Context, email string) (User, error)
	// Users returns at most limit users ordered by username, beginning after the given one ("" for the start).
	Users(ctx context.Context, after string, limit int) ([]User, error)
	// SetPassword stores a new hash and sets a new epoch, if the epoch is still the
	// given one; else ErrStale. It returns the row as it is afterwards, with PreviousEpoch.
	SetPassword(ctx context.Context, id string, epoch int64, hash string) (User, error)
	// ReplaceHash swaps one hash of the same password for another (new parameters). The
	// epoch stays. It does nothing when the stored hash is no longer the old one.
	ReplaceHash(ctx context.Context, id, old, new string) error
	// SetProfile stores name, email and time zone if they are still those of from, else
	// ErrStale. A changed email is unverified.
	SetProfile(ctx context.Context, id string, from, to Profile) (User, error)
	// SetActive enables or disables; disabling sets a new epoch. No change, no new epoch.
	// ErrLastAdministrator as GrantStore has it.
	SetActive(ctx context.Context, id string, active bool) (User, error)
	// RotateEpoch sets a new epoch, which ends all sessions, tokens and cached credentials of
	// the user. It returns the row as it is afterwards, with PreviousEpoch.
	RotateEpoch(ctx context.Context, id string) (User, error)
	// RotateEpochFrom is RotateEpoch if the epoch is still the given one; else ErrStale.
	RotateEpochFrom(ctx context.Context, id string, epoch int64) (User, error)
	// RecordSignIn notes the time of a sign-in; it is no change that drops caches.
	RecordSignIn(ctx context.Context, id string, at time.Time) error
}

// UserCache keeps users, without their password hash, in a Redis that may be flushed at any moment.
//
// A miss hands out a lease; Fill stores the user only if the lease is still there. Drop
// removes user and lease, so that a row read before a change can never be stored after it
// (the lease of "Scaling Memcache at Facebook", NSDI 2013, section 3.2.1).
type UserCache interface {
	// User returns the cached user. Otherwise ErrNotFound, or ErrUserDeleted for a tombstone, and a
	// lease; the lease is "" when another request is filling already, and then Fill does nothing.
	User(ctx context.Context, id string) (u User, lease string, err error)
	// SharedLease returns the lease of the request that is filling already, or "". What was known
	// to be current after the call may be filled with it: a drop takes the lease from both.
	SharedLease(ctx context.Context, id string) (lease string, err error)
	Fill(ctx context.Context, u User, lease string) error
	// FillDeleted stores a tombstone if the lease is still there: for a minute, other programs
	// take the user's sessions for signed out without asking.
	FillDeleted(ctx context.Context, id, lease string) error
	// Invalidate makes User a miss without a lease in this process, at once and without asking
	// Redis, until the user was dropped, which it does in the background until it succeeds.
	Invalidate(id string)
	InvalidateAll()
	// Drop is Invalidate and waits for the first attempt, whose error it returns.
	Drop(ctx context.Context, id string) error
	// DropAll removes every user and lease, and nothing else that is in the same Redis.
	DropAll(ctx context.Context) error
}

// AllUsers stands in a ChangeLog for the id of every user.
const AllUsers = "*"

// ChangeLog announces changed users to all servers.
type ChangeLog interface {
	// Append announces a user, or AllUsers, once a change is committed. It is retried in the
	// background when it fails.
	Append(ctx context.Context, userID string) error
	// Sync returns when this server has invalidated every user who was announced before the call.
	Sync(ctx context.Context) error
}

// RateLimit says how attempts under one key are slowed down.
type RateLimit struct {
	// Burst attempts pass without a wait.
	Burst int
	// After them each attempt has to wait Base × 2ⁿ after the one before, at most Max.
	BaseDelay, MaxDelay time.Duration
	// MaxFailures attempts at the most, then none until Forget has passed; 0 for no total.
	MaxFailures int
	// ResetAfter drops the count when so much time has passed since the last counted attempt.
	ResetAfter time.Duration
}

// Throttle counts attempts in Redis, so that all servers share the count.
type Throttle interface {
	// Reserve reserves one attempt under each key, all in one round trip, each key atomically by
	// Redis' own clock. Failures and attempts under way together never exceed what is free, so
	// that attempts at once gain nothing. It returns ThrottledError with the longest wait if any key
	// has to wait; waiting is never made longer by asking, and attempts reserved under the other
	// keys of a refused call are given back.
	//
	// The result has an entry for each key that passed or, with Throttled, that refused. Each
	// attempt that passed and is not Counted ends with CountFailures or Refund; one whose server dies
	// ends by itself after a minute.
	Reserve(ctx context.Context, attempts ...Bucket) ([]Reservation, error)
	// CountFailures counts the attempts as failures, which may begin waits: the result has them. again is
	// set for FailureOld: it counts only where nothing is counted any more.
	CountFailures(ctx context.Context, again bool, taken ...Reservation) ([]Reservation, error)
	// Refund ends the attempts without counting them. Nothing else changes.
	Refund(ctx context.Context, taken ...Reservation) error

	// HasFailure reports whether any of the failures was counted within a day.
	HasFailure(ctx context.Context, failures ...FailureFingerprint) (bool, error)
	// RecordFailure keeps the failure, given once for each key of a rotation, among the last few
	// under its key. It reports whether it is new, atomically for concurrent requests.
	RecordFailure(ctx context.Context, failures ...FailureFingerprint) (Recurrence, error)

	// KnownNetwork returns the record that SaveKnownNetwork stored for the name and network;
	// ErrNotFound when there is none.
	KnownNetwork(ctx context.Context, name, network string) (KnownNetwork, error)
	SaveKnownNetwork(ctx context.Context, n KnownNetwork) error
}

// Bucket is one key to count under, without the "throttle:" prefix, and its limit.
type Bucket struct {
	Key string
	// PreviousKeys are the keys of the same attempt under older secrets of SECRET_KEY. The attempt
	// counts under them too, and Key takes over a higher count, so that a rotation loses none.
	PreviousKeys []string
	Limit        RateLimit
	// CountOnReserve is set for what needs no verdict: it counts at once if it passes.
	CountOnReserve bool
	// CountOnRefusal is set for a guess whose comparison has told something already: it counts where it
	// is refused too, up to the limit's total.
	CountOnRefusal bool
}

// Reservation says what Reserve or CountFailures did to one key.
type Reservation struct {
	Key string
	// ID is that of the reservation.
	ID string
	// Attempt is what was taken.
	Bucket Bucket
	// Wait is how long the key has to wait from now on, because of failures; zero for none, and
	// where only attempts under way refused the attempt.
	RetryAfter time.Duration
}

// FailureFingerprint is a failed sign-in as it is kept to recognize the same one again. Both parts are
// keyed hashes: neither shows what was typed, or allows a guess to be tested.
type FailureFingerprint struct {
	// Key stands for the login name and the network.
	Key string
	// Digest stands for the password. It does not depend on the account, so that nothing about the
	// answers tells whether there is one, or that it was changed.
	Digest string
}

// Recurrence says whether a failure was counted before.
type Recurrence int

const (
	FailureNew Recurrence = iota
	// FailureRepeated was counted within a day.
	FailureRepeated
	// FailureOld was counted more than a day ago. It is part of the count already unless that was
	// dropped since.
	FailureOld
)
