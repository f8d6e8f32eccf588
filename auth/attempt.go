package auth

import (
	"cmp"
	"context"
	"errors"
	"time"
)

// Rate limits. All servers share the counts.
//
// An account has at most 100 consecutive failures (ASVS 6.3.1; NIST SP 800-63B, 3.2.2), the sum of
// four separate limits: 30 from unknown clients that enter its username, 30 from unknown clients that
// enter its verified address, 20 from all browsers with a device cookie together and 20 from all
// networks together in which API clients have used it. Each has a burst of ten attempts, then delays
// that double up to 15 minutes, and after its last failure no attempt for a day. No counter is shared
// between a username and its address, so that the answers for one never show what was tried on the
// other. Unknown clients use up their own limits only, not the owner's (ASVS 6.1.1).
//
// A success refunds its own attempt and nothing else. A network has a wider limit over all accounts,
// because many people may share it.
var (
	accountLimit = RateLimit{Burst: 10, BaseDelay: time.Second, MaxDelay: 15 * time.Minute, MaxFailures: 30, ResetAfter: 24 * time.Hour}
	trustedLimit = RateLimit{Burst: 10, BaseDelay: time.Second, MaxDelay: 15 * time.Minute, MaxFailures: 20, ResetAfter: 24 * time.Hour}
	// repeatLimit is for failures that were counted before, each of which still costs a hash.
	repeatLimit   = RateLimit{Burst: 300, BaseDelay: time.Second, MaxDelay: 10 * time.Second, ResetAfter: time.Minute}
	addressLimit  = RateLimit{Burst: 100, BaseDelay: time.Second, MaxDelay: time.Minute, ResetAfter: 15 * time.Minute}
	registerLimit = RateLimit{Burst: 100, BaseDelay: time.Second, MaxDelay: time.Minute, ResetAfter: time.Hour}
	// strengthLimit is faster than anyone types; an estimate may cost as much as a hash. The meter counts
	// for the network, and password changes count for the user.
	strengthLimit = RateLimit{Burst: 300, BaseDelay: time.Second, MaxDelay: 10 * time.Second, ResetAfter: time.Minute}
)

// attempt is one attempt to prove a password, with its reservations under the rate limits.
type attempt struct {
	accounts *Accounts
	client   Client
	// login is the canonical name that was entered, "" for one that cannot exist.
	login string
	// apiClient is set for a password that came with a request (HTTP Basic). Only API clients have
	// known networks; browsers have device cookies.
	apiClient bool
	// cacheMismatch is set when a cached credential revealed that the password is not the one that it
	// was made for: this counts even if the client disconnects or the server is busy.
	cacheMismatch bool
	// network is the client's network as KnownNetwork, zero unless API clients have used it.
	network KnownNetwork
	// user owns the account, once that is known.
	user User
	// accountReserved is set once the attempt at the account is reserved.
	accountReserved bool
	reservations    []Reservation
	// failures is the fingerprint of a failure of this attempt under each secret of SECRET_KEY; repeated
	// reports that it was counted within a day.
	failures []FailureFingerprint
	repeated bool
}

func addressBucket(c Client) Bucket {
	return Bucket{Key: "address:" + c.network(), Limit: addressLimit}
}

// unknownClientBucket counts under the login that was entered. It does not depend on whether there is
// such a user (ASVS 6.3.8).
func (t *attempt) unknownClientBucket() Bucket {
	keys := t.accounts.Keys.accountKeys(t.login)
	return Bucket{Key: keys[0], PreviousKeys: keys[1:], Limit: accountLimit}
}

// accountBucket returns the bucket of the user's account for this client.
func (t *attempt) accountBucket() Bucket {
	switch {
	case t.user.ID == "":
		return t.unknownClientBucket()
	case t.accounts.Keys.TrustsAnyDevice(t.client.DeviceCookies, t.user):
		return Bucket{Key: "browsers:" + t.user.ID, Limit: trustedLimit}
	case t.network.UserID == t.user.ID && t.network.Epoch == t.user.Epoch:
		return Bucket{Key: "networks:" + t.user.ID, Limit: trustedLimit}
	}
	return t.unknownClientBucket()
}

// checkRepeated sets failures and repeated.
func (t *attempt) checkRepeated(ctx context.Context, rawLogin, rawPassword string) (err error) {
	t.failures = t.accounts.Keys.failures(cmp.Or(t.login, rawLogin), t.client.network(), rawPassword)
	t.repeated, err = t.accounts.Throttle.HasFailure(ctx, t.failures...)
	return err
}

// begin reserves what it can before the user is looked up. An unknown client's attempt is refused
// without a lookup; for others, only the lookup shows which limit applies.
func (t *attempt) begin(ctx context.Context) error {
	if t.apiClient && t.login != "" {
		var err error
		t.network, err = t.accounts.Throttle.KnownNetwork(ctx, t.login, t.client.network())
		if err != nil && !errors.Is(err, ErrNotFound) {
			return err
		}
	}
	buckets := []Bucket{addressBucket(t.client)}
	if t.login != "" && t.network.UserID == "" && len(t.client.DeviceCookies) == 0 {
		buckets = append(buckets, t.unknownClientBucket())
		t.accountReserved = true
	}
	return t.reserve(ctx, buckets...)
}

// reserveAccount reserves the attempt at the account, unless begin did.
func (t *attempt) reserveAccount(ctx context.Context) error {
	if t.login == "" || t.accountReserved {
		return nil
	}
	t.accountReserved = true
	return t.reserve(ctx, t.accountBucket())
}

// reserve reserves the attempt under the buckets. ThrottledError when one of them has to wait.
func (t *attempt) reserve(ctx context.Context, buckets ...Bucket) error {
	for i := range buckets {
		buckets[i].CountOnRefusal = t.isNewMismatch()
	}
	reservations, err := t.accounts.Throttle.Reserve(ctx, buckets...)
	if err != nil {
		t.markThrottled(ctx, reservations)
		if len(t.reservations) == 0 && t.isNewMismatch() {
			t.recordFailure(ctx) // it was counted where it was refused
		}
		// Only a known user's name is logged: the login that was entered may be a password.
		t.accounts.event(ctx, "sign-in throttled", err, "username", t.user.Username, "user_id", t.user.ID, "address", t.client.Address.String())
		return errors.Join(err, t.end(ctx))
	}
	t.reservations = append(t.reservations, reservations...)
	return nil
}

// isNewMismatch reports whether the comparison with a cached credential revealed something that no
// counted failure had revealed before.
func (t *attempt) isNewMismatch() bool { return t.cacheMismatch && !t.repeated }

// check verifies the password and settles the reservations: a failure counts the first time; a
// success, and an attempt that reveals nothing about the password, does not.
//
// The same failure from the same network again reveals nothing, so it does not count, and an API client
// with an old password does not lock its owner out. It is verified like any other, so that neither the
// answer nor the time depends on whether the account exists, and because the password may be the
// right one by now. repeatLimit bounds these hashes for each network.
func (t *attempt) check(ctx context.Context, rawLogin, rawPassword string) error {
	if t.failures == nil {
		if err := t.checkRepeated(ctx, rawLogin, rawPassword); err != nil {
			return errors.Join(err, t.end(ctx))
		}
	}
	if t.repeated {
		if err := t.reserve(ctx, Bucket{Key: "repeats:" + t.client.network(), Limit: repeatLimit, CountOnReserve: true}); err != nil {
			return err
		}
	}
	err := t.accounts.verify(ctx, t.user, rawPassword)
	switch {
	case err == nil:
		return t.refund(ctx)
	case !errors.Is(err, ErrWrongCredentials):
		return errors.Join(err, t.end(ctx))
	}
	// A failure that cannot be counted gets no verdict.
	if err := t.fail(ctx); err != nil {
		return err
	}
	return ErrWrongCredentials
}

// recordFailure records the failure's fingerprint. One that cannot be recorded is new.
func (t *attempt) recordFailure(ctx context.Context) Recurrence {
	recurrence, err := t.accounts.Throttle.RecordFailure(context.WithoutCancel(ctx), t.failures...)
	if err != nil {
		t.accounts.Log.WarnContext(ctx, "a failed sign-in was not recorded; the same failure will count again", "error", err)
		return FailureNew
	}
	return recurrence
}

// fail counts the reservations as failures, unless the same failure was counted before.
func (t *attempt) fail(ctx context.Context) error {
	recurrence := t.recordFailure(ctx)
	if recurrence == FailureRepeated || t.repeated {
		return t.refund(ctx)
	}
	reservations := t.reservations
	t.reservations = nil
	failed, err := t.accounts.Throttle.CountFailures(context.WithoutCancel(ctx), recurrence == FailureOld, reservations...)
	t.markThrottled(ctx, failed)
	return err
}

// end settles the reservations of an attempt without a verdict: it counts only if the comparison with
// a cached credential revealed something.
func (t *attempt) end(ctx context.Context) error {
	if len(t.reservations) > 0 && t.isNewMismatch() {
		return t.fail(ctx)
	}
	return t.refund(ctx)
}

// refund ends the reservations without a failure, even if the client has disconnected.
func (t *attempt) refund(ctx context.Context) error {
	reservations := t.reservations
	t.reservations = nil
	if len(reservations) == 0 {
		return nil
	}
	return t.accounts.Throttle.Refund(context.WithoutCancel(ctx), reservations...)
}

// markThrottled marks networks that have to wait in the credential cache, which answers without the
// rate limits: for every account, or for this one after an API client's attempts. Attempts of unknown
// clients elsewhere do not affect the network of a cached credential.
func (t *attempt) markThrottled(ctx context.Context, reservations []Reservation) {
	if t.accounts.Credentials == nil {
		return
	}
	waits := map[string]time.Duration{}
	for _, r := range reservations {
		switch {
		case r.RetryAfter <= 0:
		case r.Key == addressBucket(t.client).Key:
			waits[r.Key] = max(waits[r.Key], r.RetryAfter)
		case t.apiClient && !r.Bucket.CountOnReserve:
			key := t.accounts.Keys.APIClientKey(t.login, t.client.network())
			waits[key] = max(waits[key], r.RetryAfter)
		}
	}
	if len(waits) == 0 {
		return
	}
	if err := t.accounts.Credentials.MarkThrottled(context.WithoutCancel(ctx), waits); err != nil {
		t.accounts.Log.WarnContext(ctx, "the credential cache could not record which networks are throttled", "error", err)
	}
}
