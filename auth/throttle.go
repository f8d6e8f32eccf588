package auth

import (
	"context"
	"time"
)

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
