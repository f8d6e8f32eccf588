package auth

import (
	"context"
	"errors"
	"maps"
	"net/netip"
	"slices"
	"time"
)

// The limits of guessing. All servers count together.
//
// An account: ten free, then waits that double up to a quarter of an hour; after 100
// failures in a row (NIST SP 800-63B, 3.2.2) none for a day. A known browser has an allowance of its
// own, so that those who guess lock out themselves and not the owner (ASVS 6.1.1). An
// address has a wider one, because many people may share it.
var (
	accountLimit  = Limit{Free: 10, Base: time.Second, Max: 15 * time.Minute, Total: 100, Forget: 24 * time.Hour}
	browserLimit  = accountLimit
	addressLimit  = Limit{Free: 100, Base: time.Second, Max: time.Minute, Forget: 15 * time.Minute}
	registerLimit = Limit{Free: 100, Base: time.Second, Max: time.Minute, Forget: time.Hour}
	// An estimate may cost as much as a hash. This is faster than anyone types. The meter counts for the
	// network, and password changes count for the user.
	strengthLimit = Limit{Free: 300, Base: time.Second, Max: 10 * time.Second, Forget: time.Minute}
)

// Visitor is who asks, as far as one can know without a sign-in.
type Visitor struct {
	Address netip.Addr
	// BrowserCookie is the value of the cookie that a sign-in left, if any.
	BrowserCookie string
	// SessionID is the id of the session that the visitor is signed in by, if any.
	SessionID string
	// Epoch is that of the session; 0 without one.
	Epoch int64
}

// network returns what the throttle counts for the visitor's address: IPv6 by /64,
// which is what one customer gets.
func (v Visitor) network() string {
	a := v.Address.Unmap().WithZone("")
	if a.Is6() {
		p, _ := a.Prefix(64)
		return p.String()
	}
	return a.String()
}

// guess is one try at a password, and what the throttle was told of it.
type guess struct {
	accounts *Accounts
	visitor  Visitor
	// login is the canonical name that was typed: known browsers are known under it.
	login string
	// user is whose account it is, as soon as that is known.
	user User
	// counted are the keys that were counted; own the one that a success resets.
	counted []string
	own     string
	waits   map[string]time.Duration
}

// address is the attempt of the visitor's network.
func (g *guess) address() Attempt { return addressAttempt(g.visitor) }

// account is the attempt at the account of a username: of the browser in which it is known, or
// of all strangers together.
func (g *guess) account(username string) Attempt {
	a := g.accounts.accountAttempt(g.login, username, g.visitor)
	g.own = a.Key
	return a
}

func addressAttempt(v Visitor) Attempt {
	return Attempt{Key: "address:" + v.network(), Limit: addressLimit}
}

func (a *Accounts) accountAttempt(login, username string, v Visitor) Attempt {
	if b, ok := a.Keys.Known(v.BrowserCookie, login); ok {
		return Attempt{Key: "browser:" + b.id, Limit: browserLimit}
	}
	return Attempt{Key: a.Keys.AccountKey(username), Limit: accountLimit}
}

// take counts the attempts. Throttled when one of them has to wait.
func (g *guess) take(ctx context.Context, attempts ...Attempt) error {
	waits, err := g.accounts.Throttle.Take(ctx, attempts...)
	if g.waits == nil {
		g.waits = map[string]time.Duration{}
	}
	maps.Copy(g.waits, waits)
	if err != nil {
		g.markWaiting(ctx)
		// The known user's name only, as with a failure: what was typed may be a password.
		g.accounts.event(ctx, "sign-in throttled", err, "username", g.user.Username, "user_id", g.user.ID, "address", g.visitor.Address.String())
		return err
	}
	for _, a := range attempts {
		g.counted = append(g.counted, a.Key)
	}
	return nil
}

// failed keeps what was counted, and tells the credential cache who has to wait from now on.
func (g *guess) failed(ctx context.Context) { g.markWaiting(ctx) }

// giveBack takes the count back: nothing was learned about the password.
func (g *guess) giveBack(ctx context.Context) error {
	if len(g.counted) == 0 {
		return nil
	}
	return g.accounts.Throttle.Refund(context.WithoutCancel(ctx), g.counted...)
}

// succeeded forgets the account's failures. The address keeps its own (ASVS 6.3.4): only this
// try is taken back.
func (g *guess) succeeded(ctx context.Context) error {
	var err error
	if g.own != "" {
		err = g.accounts.Throttle.Reset(ctx, g.own)
	}
	rest := slices.DeleteFunc(g.counted, func(key string) bool { return key == g.own })
	return errors.Join(err, g.accounts.Throttle.Refund(ctx, rest...))
}

// markWaiting tells the credential cache, which answers without asking the throttle, whom the
// throttle refuses. An account has to wait under its address as well as under its name; one
// that is not verified may be somebody else's, whom nobody must lock out by claiming it.
func (g *guess) markWaiting(ctx context.Context) {
	if g.accounts.Credentials == nil || len(g.waits) == 0 {
		return
	}
	waits, u := maps.Clone(g.waits), g.user
	names := []string{g.login, u.Username}
	if u.EmailVerified {
		names = append(names, u.Email)
	}
	for _, name := range names {
		if wait, ok := g.waits[g.own]; ok && name != "" && g.own == g.accounts.Keys.AccountKey(u.Username) {
			waits[g.accounts.Keys.AccountKey(name)] = wait
		}
	}
	if err := g.accounts.Credentials.MarkWaiting(context.WithoutCancel(ctx), waits); err != nil {
		g.accounts.Log.WarnContext(ctx, "the credential cache was not told who has to wait", "error", err)
	}
}
