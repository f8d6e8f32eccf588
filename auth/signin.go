package auth

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"gatehouse/auth/identifier"
	"gatehouse/auth/password"
	"strconv"
	"strings"
)

// SignIn returns the user whose name (or verified address) and password these are.
//
// ErrWrongCredentials for every cause that lies with name, password or a disabled
// account; ThrottledError, ErrBusy or ErrUnavailable otherwise.
func (a *Accounts) SignIn(ctx context.Context, login, rawPassword string, v Client) (User, error) {
	return a.signIn(ctx, attempt{client: v}, login, rawPassword)
}

// SignInAPIClient is SignIn for a program that sends the password with its request: strangers who guess
// elsewhere do not keep it out where it was used before.
func (a *Accounts) SignInAPIClient(ctx context.Context, login, rawPassword string, v Client) (User, error) {
	return a.signIn(ctx, attempt{client: v, apiClient: true}, login, rawPassword)
}

func (a *Accounts) signIn(ctx context.Context, g attempt, login, rawPassword string) (User, error) {
	v := g.client
	user, err := a.checkThrottled(ctx, g, login, rawPassword)
	if err != nil {
		return User{}, err
	}
	if err := a.Users.RecordSignIn(ctx, user.ID, a.now()); err != nil {
		return User{}, fmt.Errorf("record a sign-in: %w", err)
	}
	a.event(ctx, "signed in", nil, "username", user.Username, "user_id", user.ID, "address", v.Address.String())
	return user, nil
}

// checkThrottled returns the user whose name and password these are, and counts a failure.
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
			// The user may have changed between the shared verdict and the start of this request. Unknown
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
			// The known user's name, not what was typed: that might be a password in the wrong field.
			a.event(ctx, "sign-in failed", nil, "username", user.Username, "user_id", user.ID, "address", g.client.Address.String())
		}
		if err != nil {
			return User{}, err
		}
		return user, nil
	}
}

// flightKey is the same for attempts that cannot differ in their outcome or in what they count.
func (g *attempt) flightKey(rawLogin, rawPassword string) string {
	fields := []string{cmp.Or(g.login, rawLogin), g.client.network(), rawPassword, strconv.FormatBool(g.apiClient), strconv.FormatBool(g.cacheMismatch)}
	return string(g.accounts.Keys.sign(flightPurpose, append(fields, g.client.DeviceCookies...)...))
}

// verifyThrottled sets g.user and verifies the password, if the throttle lets it.
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
		// The cached credential is that of a program here.
		g.user = User{ID: g.network.UserID, Epoch: g.network.Epoch}
		err = errors.Join(err, g.reserveAccount(ctx))
	} else if err == nil {
		err = g.reserveAccount(ctx)
	}
	if err != nil {
		// Nothing was learned about the password here.
		return errors.Join(err, g.end(ctx))
	}
	if err := g.check(ctx, login, rawPassword); err != nil {
		return err
	}
	a.remember(ctx, user.ID, g.apiClient)
	if g.apiClient {
		a.rememberProgram(ctx, *g, rawPassword)
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

// remember brings a user who was verified into the caches, so that the next request need not
// read them. The row is read once more for it: the one that was verified is older than any lease,
// and another server may have heard of a change in between already, and would keep the old user
// when it finds it. A program's warm requests read the cached user along with the credential: a flush loses both, so
// that memory alone is not enough for it.
func (a *Accounts) remember(ctx context.Context, id string, program bool) {
	if a.LocalCache == nil {
		return
	}
	find := a.User
	if program {
		find = a.cacheUser
	}
	if _, err := find(ctx, id); err != nil {
		a.Log.WarnContext(ctx, "a verified user was not cached", "error", err, "user_id", id)
	}
}

// canonicalLogin returns the form of a login name that is looked up and throttled, or ""
// for what can be nobody's name.
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

// verify checks the password. A user who does not exist (the zero User) costs as much as a
// wrong password (ASVS 6.3.8).
func (a *Accounts) verify(ctx context.Context, user User, rawPassword string) error {
	password, ok := password.Normalize(rawPassword)
	if !ok {
		password = "" // matches nothing: no stored password is empty
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

// upgradeHash stores the password under today's parameters. Failing to is no reason to
// refuse a right password.
func (a *Accounts) upgradeHash(ctx context.Context, u User, password string) {
	hash, err := a.Hasher.Hash(ctx, password)
	if err == nil {
		err = a.Users.ReplaceHash(ctx, u.ID, u.PasswordHash, hash)
	}
	a.event(ctx, "password hash upgraded", err, "username", u.Username, "user_id", u.ID)
}
