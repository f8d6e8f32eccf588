package auth

import (
	"cmp"
	"context"
	"errors"
	"time"
)

// guess is one try at a password, and what the throttle counted for it.
type attempt struct {
	accounts *Accounts
	client   Client
	// login is the canonical name that was typed, "" for one that nobody can have.
	login string
	// program is set for a password that came with a request (HTTP Basic). Only programs have
	// known networks: people have known browsers.
	apiClient bool
	// compared is set when a cached credential told that the password is not the one that it was made
	// for: this counts, also for a client that has gone and a server that is busy.
	cacheMismatch bool
	// network is the visitor's network as KnownNetwork, zero unless programs used it before.
	network KnownNetwork
	// user is whose account it is, as soon as that is known.
	user User
	// counted is set once the attempt at the account is taken.
	counted      bool
	reservations []Reservation
	// failures is the guess as a failure under each secret of SECRET_KEY; repeated reports that it was
	// counted within a day.
	failures []FailureFingerprint
	repeated bool
}

func addressAttempt(v Client) Bucket {
	return Bucket{Key: "address:" + v.network(), Limit: addressLimit}
}

// strangerAttempt counts under what was typed. Nothing about it depends on whether there is such
// a user (ASVS 6.3.8).
func (g *attempt) strangerAttempt() Bucket {
	keys := g.accounts.Keys.accountKeys(g.login)
	return Bucket{Key: keys[0], PreviousKeys: keys[1:], Limit: accountLimit}
}

// accountAttempt returns the attempt at the user's account.
func (g *attempt) accountAttempt() Bucket {
	switch {
	case g.user.ID == "":
		return g.strangerAttempt()
	case g.accounts.Keys.TrustsAnyDevice(g.client.DeviceCookies, g.user):
		return Bucket{Key: "browsers:" + g.user.ID, Limit: trustedLimit}
	case g.network.UserID == g.user.ID && g.network.Epoch == g.user.Epoch:
		return Bucket{Key: "networks:" + g.user.ID, Limit: trustedLimit}
	}
	return g.strangerAttempt()
}

// look finds out whether the same guess failed before.
func (g *attempt) checkRepeated(ctx context.Context, rawLogin, rawPassword string) (err error) {
	g.failures = g.accounts.Keys.failures(cmp.Or(g.login, rawLogin), g.client.network(), rawPassword)
	g.repeated, err = g.accounts.Throttle.HasFailure(ctx, g.failures...)
	return err
}

// begin takes what can be taken before the look-up. A stranger's attempt is refused without
// one; which limit the others have only the look-up tells.
func (g *attempt) begin(ctx context.Context) error {
	if g.apiClient && g.login != "" {
		var err error
		g.network, err = g.accounts.Throttle.KnownNetwork(ctx, g.login, g.client.network())
		if err != nil && !errors.Is(err, ErrNotFound) {
			return err
		}
	}
	attempts := []Bucket{addressAttempt(g.client)}
	if g.login != "" && g.network.UserID == "" && len(g.client.DeviceCookies) == 0 {
		attempts = append(attempts, g.strangerAttempt())
		g.counted = true
	}
	return g.reserve(ctx, attempts...)
}

// countAccount takes the attempt at the account, unless begin did.
func (g *attempt) reserveAccount(ctx context.Context) error {
	if g.login == "" || g.counted {
		return nil
	}
	g.counted = true
	return g.reserve(ctx, g.accountAttempt())
}

// take reserves the attempts. ThrottledError when one of them has to wait.
func (g *attempt) reserve(ctx context.Context, attempts ...Bucket) error {
	for i := range attempts {
		attempts[i].CountOnRefusal = g.isNewMismatch()
	}
	taken, err := g.accounts.Throttle.Reserve(ctx, attempts...)
	if err != nil {
		g.markThrottled(ctx, taken)
		if len(g.reservations) == 0 && g.isNewMismatch() {
			g.recordFailure(ctx) // it counts where it was refused
		}
		// The known user's name only, as with a failure: what was typed may be a password.
		g.accounts.event(ctx, "sign-in throttled", err, "username", g.user.Username, "user_id", g.user.ID, "address", g.client.Address.String())
		return errors.Join(err, g.end(ctx))
	}
	g.reservations = append(g.reservations, taken...)
	return nil
}

// tellsMore reports whether the comparison with a cached credential told what no failure that is
// counted already did.
func (g *attempt) isNewMismatch() bool { return g.cacheMismatch && !g.repeated }

// check verifies the password and settles what was taken: a failure counts the first time; a
// success, and what tells nothing about the password, does not.
//
// The same failure from the same network again tells nothing, so it does not count, and a program
// that goes on with an old password does not lock its owner out. It is verified like any other, so
// that no answer and no time depends on whether there is such an account: the password may be the right one
// by now. How many such hashes a network may ask for is limited.
func (g *attempt) check(ctx context.Context, rawLogin, rawPassword string) error {
	if g.failures == nil {
		if err := g.checkRepeated(ctx, rawLogin, rawPassword); err != nil {
			return errors.Join(err, g.end(ctx))
		}
	}
	if g.repeated {
		if err := g.reserve(ctx, Bucket{Key: "repeats:" + g.client.network(), Limit: repeatLimit, CountOnReserve: true}); err != nil {
			return err
		}
	}
	err := g.accounts.verify(ctx, g.user, rawPassword)
	switch {
	case err == nil:
		return g.refund(ctx)
	case !errors.Is(err, ErrWrongCredentials):
		return errors.Join(err, g.end(ctx))
	}
	// Without the count there is no verdict.
	if err := g.fail(ctx); err != nil {
		return err
	}
	return ErrWrongCredentials
}

// keep keeps the failure. One that could not be kept is new.
func (g *attempt) recordFailure(ctx context.Context) Recurrence {
	recurrence, err := g.accounts.Throttle.RecordFailure(context.WithoutCancel(ctx), g.failures...)
	if err != nil {
		g.accounts.Log.WarnContext(ctx, "a failed sign-in was not kept; its repetition will count again", "error", err)
		return FailureNew
	}
	return recurrence
}

// fail counts what was taken, unless the same failure was counted before.
func (g *attempt) fail(ctx context.Context) error {
	recurrence := g.recordFailure(ctx)
	if recurrence == FailureRepeated || g.repeated {
		return g.refund(ctx)
	}
	taken := g.reservations
	g.reservations = nil
	failed, err := g.accounts.Throttle.CountFailures(context.WithoutCancel(ctx), recurrence == FailureOld, taken...)
	g.markThrottled(ctx, failed)
	return err
}

// end settles what was taken by a guess that got no verdict: it counts only if a cached credential
// told something.
func (g *attempt) end(ctx context.Context) error {
	if len(g.reservations) > 0 && g.isNewMismatch() {
		return g.fail(ctx)
	}
	return g.refund(ctx)
}

// giveBack ends what was taken without a failure, also for a client that has gone.
func (g *attempt) refund(ctx context.Context) error {
	taken := g.reservations
	g.reservations = nil
	if len(taken) == 0 {
		return nil
	}
	return g.accounts.Throttle.Refund(context.WithoutCancel(ctx), taken...)
}

// markWaiting tells the credential cache, which answers without asking the throttle, which
// networks have to wait: for every account, or after a program's guesses for this one. What
// strangers guess elsewhere does not concern the network of a cached credential.
func (g *attempt) markThrottled(ctx context.Context, taken []Reservation) {
	if g.accounts.Credentials == nil {
		return
	}
	waits := map[string]time.Duration{}
	for _, t := range taken {
		switch {
		case t.RetryAfter <= 0:
		case t.Key == addressAttempt(g.client).Key:
			waits[t.Key] = max(waits[t.Key], t.RetryAfter)
		case g.apiClient && !t.Bucket.CountOnReserve:
			key := g.accounts.Keys.APIClientKey(g.login, g.client.network())
			waits[key] = max(waits[key], t.RetryAfter)
		}
	}
	if len(waits) == 0 {
		return
	}
	if err := g.accounts.Credentials.MarkThrottled(context.WithoutCancel(ctx), waits); err != nil {
		g.accounts.Log.WarnContext(ctx, "the credential cache was not told who has to wait", "error", err)
	}
}

// Rate limits. All servers share the counts.
//
// An account has at most 100 consecutive failures (ASVS 6.3.1; NIST SP 800-63B, 3.2.2), the sum
// of four separate limits: 30 from strangers who type its user name, 30 from strangers who type
// its verified address, 20 from all known browsers together and 20 from all networks together
// in which programs have used it. Each has ten free attempts, then waits that double up to 15
// minutes, and after its last failure none for a day. No counter is shared between a name and
// its address, so that the answers for one never show what was tried on the other. Strangers
// use up their own limits only, not the owner's (ASVS 6.1.1).
//
// A success takes back its own attempt and nothing else. A network has a wider limit over all
// accounts, because many people may share it.
var (
	accountLimit = RateLimit{Burst: 10, BaseDelay: time.Second, MaxDelay: 15 * time.Minute, MaxFailures: 30, ResetAfter: 24 * time.Hour}
	trustedLimit = RateLimit{Burst: 10, BaseDelay: time.Second, MaxDelay: 15 * time.Minute, MaxFailures: 20, ResetAfter: 24 * time.Hour}
	// repeatLimit is for failures that were counted before, which cost a hash all the same.
	repeatLimit   = RateLimit{Burst: 300, BaseDelay: time.Second, MaxDelay: 10 * time.Second, ResetAfter: time.Minute}
	addressLimit  = RateLimit{Burst: 100, BaseDelay: time.Second, MaxDelay: time.Minute, ResetAfter: 15 * time.Minute}
	registerLimit = RateLimit{Burst: 100, BaseDelay: time.Second, MaxDelay: time.Minute, ResetAfter: time.Hour}
	// An estimate may cost as much as a hash. This is faster than anyone types. The meter counts for the
	// network, and password changes count for the user.
	strengthLimit = RateLimit{Burst: 300, BaseDelay: time.Second, MaxDelay: 10 * time.Second, ResetAfter: time.Minute}
)
