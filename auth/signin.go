package auth

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"gatehouse/auth/identifier"
	"gatehouse/auth/password"
	"gatehouse/auth/timezone"
	"strconv"
	"strings"
)

// SignIn verifies a username (or verified address) and a password, and returns the user.
//
// The error is ErrWrongCredentials for a wrong name, a wrong password and a disabled account alike;
// ThrottledError, ErrBusy or ErrUnavailable otherwise.
func (a *Accounts) SignIn(ctx context.Context, login, rawPassword string, v Client) (User, error) {
	return a.signIn(ctx, attempt{client: v}, login, rawPassword)
}

// SignInAPIClient is SignIn for an API client that sends the password with its request: failed attempts
// from other networks do not lock it out of a network where it was used before.
func (a *Accounts) SignInAPIClient(ctx context.Context, login, rawPassword string, v Client) (User, error) {
	return a.signIn(ctx, attempt{client: v, apiClient: true}, login, rawPassword)
}

func (a *Accounts) signIn(ctx context.Context, g attempt, login, rawPassword string) (User, error) {
	v := g.client
	user, err := a.checkThrottled(ctx, g, login, rawPassword)
	if err != nil {
		return User{}, err
	}
	if user, err = a.recordSignIn(ctx, user, v.TimeZone); err != nil {
		return User{}, err
	}
	a.event(ctx, "signed in", nil, "username", user.Username, "user_id", user.ID, "address", v.Address.String())
	return user, nil
}

// recordSignIn notes the time of a sign-in. It also stores the browser's zone if the user has chosen none.
func (a *Accounts) recordSignIn(ctx context.Context, u User, zone string) (User, error) {
	if u.TimeZone == "UTC" && !u.TimeZoneChosen && zone != "UTC" {
		if _, ok := timezone.Load(zone); ok {
			changed, err := a.change(ctx, "time zone taken from the browser", u.ID, func() (User, error) {
				return a.Users.RecordFirstTimeZone(ctx, u.ID, zone, a.now())
			})
			if err == nil {
				return changed, nil
			}
			// The zone is a convenience: without the user cache, or after a concurrent choice, the sign-in goes on.
			a.Log.WarnContext(ctx, "the browser's time zone was not stored", "error", err, "user_id", u.ID)
		}
	}
	if err := a.Users.RecordSignIn(ctx, u.ID, a.now()); err != nil {
		return User{}, fmt.Errorf("record a sign-in: %w", err)
	}
	return u, nil
}

// checkThrottled verifies a login and password under the rate limits, and counts a failure.
func (a *Accounts) checkThrottled(ctx context.Context, g attempt, login, rawPassword string) (User, error) {
	name, byEmail := canonicalLogin(login)
	g.accounts, g.login = a, name
	if g.cacheMismatch {
		ctx = context.WithoutCancel(ctx)
	}
	key := g.flightKey(login, rawPassword)
	for {
		user, shared, err := a.attempts.Do(ctx, key, func(ctx context.Context) (User, error) {
			err := a.verifyThrottled(ctx, &g, login, rawPassword)
			return g.user, err
		})
		if shared && (err == nil || errors.Is(err, ErrWrongCredentials)) {
			// The user may have changed between the shared result and the start of this request. Unknown
			// names are looked up too, so that they cost the same.
			row, lookUpErr := a.lookUp(ctx, name, byEmail)
			if lookUpErr != nil {
				return User{}, lookUpErr
			}
			if row.ID != user.ID || row.Epoch != user.Epoch || row.Active != user.Active || row.PasswordHash != user.PasswordHash {
				continue
			}
		}
		if errors.Is(err, ErrWrongCredentials) {
			// Only a known user's name is logged: the login that was entered may be a password.
			a.event(ctx, "sign-in failed", nil, "username", user.Username, "user_id", user.ID, "address", g.client.Address.String())
		}
		if err != nil {
			return User{}, err
		}
		return user, nil
	}
}

// flightKey is equal for attempts with the same result and the same counts.
func (g *attempt) flightKey(rawLogin, rawPassword string) string {
	fields := []string{cmp.Or(g.login, rawLogin), g.client.network(), rawPassword, strconv.FormatBool(g.apiClient), strconv.FormatBool(g.cacheMismatch)}
	return string(g.accounts.Keys.sign(flightPurpose, append(fields, g.client.DeviceCookies...)...))
}

// verifyThrottled sets g.user and verifies the password, unless a rate limit refuses.
func (a *Accounts) verifyThrottled(ctx context.Context, g *attempt, login, rawPassword string) error {
	if g.cacheMismatch {
		if err := g.checkRepeated(ctx, login, rawPassword); err != nil {
			return err
		}
	}
	if err := g.begin(ctx); err != nil {
		return err
	}
	_, byEmail := canonicalLogin(login)
	user, err := a.lookUp(ctx, g.login, byEmail)
	g.user = user
	if err != nil && g.cacheMismatch {
		// The cached credential belongs to an API client of this user.
		g.user = User{ID: g.network.UserID, Epoch: g.network.Epoch}
		err = errors.Join(err, g.reserveAccount(ctx))
	} else if err == nil {
		err = g.reserveAccount(ctx)
	}
	if err != nil {
		// Nothing was revealed about the password.
		return errors.Join(err, g.end(ctx))
	}
	if err := g.check(ctx, login, rawPassword); err != nil {
		return err
	}
	a.cacheVerified(ctx, user.ID, g.apiClient)
	if g.apiClient {
		a.cacheCredential(ctx, *g, rawPassword)
	}
	return nil
}

// lookUp returns the user of a canonical name or address; the zero User when there is none.
func (a *Accounts) lookUp(ctx context.Context, name string, byEmail bool) (User, error) {
	find := a.Users.UserByUsername
	if byEmail {
		find = a.Users.UserByEmail
	}
	user, err := find(ctx, name)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return User{}, fmt.Errorf("look up a user to sign in: %w", err)
	}
	return user, nil
}

// cacheVerified puts a verified user into the caches for the next request. It reads the row again: the
// one that was verified is older than any lease, and another server, which may already have invalidated
// the user, would then store the old row. An API client's warm requests read the cached user together
// with the credential, so the local cache alone does not suffice for them.
func (a *Accounts) cacheVerified(ctx context.Context, id string, apiClient bool) {
	if a.LocalCache == nil {
		return
	}
	find := a.User
	if apiClient {
		find = a.cacheUser
	}
	if _, err := find(ctx, id); err != nil {
		a.Log.WarnContext(ctx, "a verified user was not cached", "error", err, "user_id", id)
	}
}

// canonicalLogin returns the canonical form of a login, under which it is looked up and rate-limited, or
// "" if it cannot exist.
func canonicalLogin(login string) (name string, byEmail bool) {
	if strings.Contains(login, "@") {
		email, err := identifier.CanonicalEmail(login)
		if err != nil {
			return "", true
		}
		return email, true
	}
	name, err := identifier.CanonicalUsername(login)
	if err != nil {
		return "", false
	}
	return name, false
}

// verify checks the password. An unknown user (the zero User) costs as much as a wrong password (ASVS
// 6.3.8).
func (a *Accounts) verify(ctx context.Context, user User, rawPassword string) error {
	password, ok := password.Normalize(rawPassword)
	if !ok {
		password = "" // never matches: no stored password is empty
	}
	typed := rawPassword
	if !ok {
		typed = ""
	}
	match, outdated, err := a.Hasher.Verify(ctx, password, typed, user.PasswordHash)
	if err != nil {
		return err
	}
	if !match || !ok || !user.Active {
		return ErrWrongCredentials
	}
	if outdated {
		a.upgradeHash(ctx, user, password)
	}
	return nil
}

// upgradeHash stores a hash with the current parameters. A failure does not affect the sign-in.
func (a *Accounts) upgradeHash(ctx context.Context, u User, password string) {
	hash, err := a.Hasher.Hash(ctx, password)
	if err == nil {
		err = a.Users.ReplaceHash(ctx, u.ID, u.PasswordHash, hash)
	}
	a.event(ctx, "password hash upgraded", err, "username", u.Username, "user_id", u.ID)
}
