package auth

import (
	"context"
	"errors"
	"fmt"
	"gatehouse/auth/password"
)

// ChangePassword sets a new password after checking the current one (ASVS 6.2.2). A new
// epoch ends all other sessions (7.4.3); the caller renews its own, v.SessionID.
//
// When another change has ended that session meanwhile the error is ErrAlreadyChanged if the password is
// next already, as after the first request of a double click, and else ErrStale.
func (a *Accounts) ChangePassword(ctx context.Context, id, current, next string, v Client) (User, error) {
	u, err := a.Users.UserByID(ctx, id)
	if err != nil {
		return User{}, fmt.Errorf("look up a user to change the password: %w", err)
	}
	wrong := ValidationErrors{}
	if current == "" {
		wrong["current_password"] = "Enter your current password."
	}
	if err := a.takeEstimate(ctx, u.ID); err != nil {
		return User{}, err
	}
	password, err := a.newPassword(ctx, "new_password", next, wrong, u.Username, u.Name, u.Email)
	if err != nil {
		return User{}, err
	}
	if len(wrong) > 0 {
		return User{}, wrong
	}
	g := attempt{accounts: a, client: v, login: u.Username, user: u, counted: true}
	if err := g.reserve(ctx, addressAttempt(v), g.accountAttempt()); err != nil {
		return User{}, err
	}
	if v.Epoch != 0 && u.Epoch != v.Epoch {
		return User{}, a.changedMeanwhile(ctx, &g, next)
	}
	err = g.check(ctx, u.Username, current)
	if errors.Is(err, ErrWrongCredentials) {
		a.event(ctx, "password change failed", nil, "username", u.Username, "user_id", u.ID)
		return User{}, ValidationErrors{"current_password": "This is not your current password."}
	}
	if err != nil {
		return User{}, err
	}
	if err := a.holdForRenewal(ctx, v.SessionID); err != nil {
		return User{}, err
	}
	changed, err := a.setPassword(ctx, u, password, v.SessionID)
	if !errors.Is(err, ErrStale) {
		return changed, err
	}
	g = attempt{accounts: a, client: v, login: u.Username, counted: true}
	if g.user, err = a.Users.UserByID(ctx, id); err != nil {
		return User{}, fmt.Errorf("look up a user whose password was changed meanwhile: %w", err)
	}
	if err := g.reserve(ctx, addressAttempt(v), g.accountAttempt()); err != nil {
		return User{}, err
	}
	return User{}, a.changedMeanwhile(ctx, &g, next)
}

// changedMeanwhile returns ErrAlreadyChanged if next is the password of g.user now, and else ErrStale. That
// is a guess like any other, which the caller has counted.
func (a *Accounts) changedMeanwhile(ctx context.Context, g *attempt, next string) error {
	err := g.check(ctx, g.user.Username, next)
	if errors.Is(err, ErrWrongCredentials) {
		return ErrStale
	}
	if err != nil {
		return err
	}
	return ErrAlreadyChanged
}

// SetPassword sets a password for an operator, who need not know the current one.
func (a *Accounts) SetPassword(ctx context.Context, u User, next string) (User, error) {
	wrong := ValidationErrors{}
	password, err := a.newPassword(ctx, "password", next, wrong, u.Username, u.Name, u.Email)
	if err != nil {
		return User{}, err
	}
	if len(wrong) > 0 {
		return User{}, wrong
	}
	return a.setPassword(ctx, u, password, "")
}

func (a *Accounts) setPassword(ctx context.Context, u User, password, keep string) (User, error) {
	hash, err := a.Hasher.Hash(ctx, password)
	if err != nil {
		return User{}, err
	}
	changed, err := a.change(ctx, "password changed", u.ID, func() (User, error) {
		return a.Users.SetPassword(ctx, u.ID, u.Epoch, hash)
	})
	if err == nil {
		a.endStale(ctx, u.ID, keep)
	}
	return changed, err
}

// newPassword returns the normal form of a new password and notes what is wrong with it. The
// error is ErrBusy, or the context's, when there was no place to estimate it.
func (a *Accounts) newPassword(ctx context.Context, field, raw string, wrong ValidationErrors, about ...string) (password string, err error) {
	err = a.Hasher.Do(ctx, func() {
		password = checked(field, raw, func(s string) (string, error) { return a.Policy.Check(s, about...) }, wrong)
	})
	return password, err
}

// EstimateStrength estimates a password for the meter. It returns ThrottledError when a network asks faster
// than people type, and ErrBusy when the queue for hashing is full.
func (a *Accounts) EstimateStrength(ctx context.Context, v Client, raw string, about ...string) (password.Strength, error) {
	if err := a.takeEstimate(ctx, v.network()); err != nil {
		return password.Strength{}, err
	}
	var strength password.Strength
	err := a.Hasher.Do(ctx, func() { strength = a.Policy.Strength(raw, about...) })
	return strength, err
}

// takeEstimate counts an estimate for a network, or for the id of a user who is signed in.
func (a *Accounts) takeEstimate(ctx context.Context, who string) error {
	_, err := a.Throttle.Reserve(ctx, Bucket{Key: "strength:" + who, Limit: strengthLimit, CountOnReserve: true})
	return err
}
