package auth

import (
	"context"
	"time"
)

// Throttle enforces rate limits with counts that all servers share.
type Throttle interface {
	// Reserve reserves one attempt under each key, in one round trip, each key atomically by the store's
	// own clock. Failures and pending attempts together never exceed the burst, so that concurrent
	// attempts gain nothing. It returns ThrottledError with the longest wait if any key has to wait; asking
	// never extends a wait, and a refused call refunds its reservations under the other keys.
	//
	// The result has an entry for each key that passed or, with Throttled, that refused. Each
	// attempt that passed and is not Counted ends with CountFailures or Refund; one whose server dies
	// ends by itself after a minute.
	Reserve(ctx context.Context, attempts ...Bucket) ([]Reservation, error)
	// CountFailures counts the reservations as failures, and returns them with the waits that this starts.
	// again is set for FailureOld: it counts only under keys whose count has been reset.
	CountFailures(ctx context.Context, again bool, taken ...Reservation) ([]Reservation, error)
	// Refund ends the reservations without counting them.
	Refund(ctx context.Context, taken ...Reservation) error

	// HasFailure reports whether any of the failures was recorded within a day.
	HasFailure(ctx context.Context, failures ...FailureFingerprint) (bool, error)
	// RecordFailure records a failure, given once for each secret of a rotation, among the last few under
	// its key. It reports, atomically, whether the failure is new.
	RecordFailure(ctx context.Context, failures ...FailureFingerprint) (Recurrence, error)

	// KnownNetwork returns the record that SaveKnownNetwork stored for the name and network;
	// ErrNotFound when there is none.
	KnownNetwork(ctx context.Context, name, network string) (KnownNetwork, error)
	SaveKnownNetwork(ctx context.Context, n KnownNetwork) error
}

// RateLimit limits the attempts under one key.
type RateLimit struct {
	// Burst is the number of attempts without a delay.
	Burst int
	// After the burst, each attempt has to wait BaseDelay × 2ⁿ after the previous one, at most MaxDelay.
	BaseDelay, MaxDelay time.Duration
	// MaxFailures is the number of failures after which no attempt is accepted until ResetAfter has passed;
	// 0 for no maximum.
	MaxFailures int
	// ResetAfter is the time after the last counted attempt at which the count is reset.
	ResetAfter time.Duration
}

// Bucket is a key to count attempts under, without the "throttle:" prefix, and its limit.
type Bucket struct {
	Key string
	// PreviousKeys are the same key under older secrets of SECRET_KEY. The attempt counts under them too,
	// and Key adopts a higher count, so that a rotation loses none.
	PreviousKeys []string
	Limit        RateLimit
	// CountOnReserve counts an accepted attempt immediately, without a result.
	CountOnReserve bool
	// CountOnRefusal also counts a refused attempt, up to MaxFailures, because it has already revealed
	// something about the password.
	CountOnRefusal bool
}

// Reservation is the result of Reserve or CountFailures for one key.
type Reservation struct {
	Key string
	ID  string
	// Attempt is what was taken.
	Bucket Bucket
	// RetryAfter is the wait because of failures; zero for none, and if only pending attempts caused the
	// refusal.
	RetryAfter time.Duration
}

// FailureFingerprint identifies a failed sign-in, to recognize the same one later. Both parts are keyed
// hashes: neither reveals the input, or allows testing a guess.
type FailureFingerprint struct {
	// Key stands for the login name and the network.
	Key string
	// Digest stands for the password. It does not depend on the account, so that no answer shows whether
	// the account exists or has changed.
	Digest string
}

// Recurrence is whether a failure was recorded before.
type Recurrence int

const (
	FailureNew Recurrence = iota
	// FailureRepeated was recorded within a day.
	FailureRepeated
	// FailureOld was recorded more than a day ago. It is already counted unless the count was reset since.
	FailureOld
)
