package auth

import (
	"context"
	"errors"
	"fmt"
	"gatehouse/auth/password"
)

// ChangePassword sets a new password after verifying the current one (ASVS 6.2.2). A new epoch ends all
// other sessions (7.4.3); the caller renews its own, v.SessionID.
//
// If another change has ended that session in the meantime, the error is ErrAlreadyChanged if the
// password is already next, as after the first request of a double click, and ErrStale otherwise.
func (a *Accounts) ChangePassword(ctx context.Context, id, current, next string, v Client) (User, error) {
	u, err := a.Users.UserByID(ctx, id)
	if err != nil {
		return User{}, fmt.Errorf("look up a user to change the password: %w", err)
	}
	wrong := ValidationErrors{}
	if current == "" {
		wrong["current_password"] = "Enter your current password."
	}
	if err := a.countEstimate(ctx, u.ID); err != nil {
		return User{}, err
	}
	password, err := a.newPassword(ctx, "new_password", next, wrong, u.Username, u.Name, u.Email)
	if err != nil {
		return User{}, err
	}
	if len(wrong) > 0 {
		return User{}, wrong
	}
	g := attempt{accounts: a, client: v, login: u.Username, user: u, accountReserved: true}
	if err := g.reserve(ctx, addressBucket(v), g.accountBucket()); err != nil {
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
	g = attempt{accounts: a, client: v, login: u.Username, accountReserved: true}
	if g.user, err = a.Users.UserByID(ctx, id); err != nil {
		return User{}, fmt.Errorf("look up a user whose password was changed meanwhile: %w", err)
	}
	if err := g.reserve(ctx, addressBucket(v), g.accountBucket()); err != nil {
		return User{}, err
	}
	return User{}, a.changedMeanwhile(ctx, &g, next)
}

// changedMeanwhile returns ErrAlreadyChanged if next is the current password of g.user, and ErrStale
// otherwise. This is an attempt like any other, for which the caller has made the reservations.
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

// ThrottlePasswords counts a password that the administrator sets for a user, because its estimate costs as much as a
// hash. It returns ThrottledError if there were too many.
func (a *Accounts) ThrottlePasswords(ctx context.Context, administratorID string) error {
	return a.countEstimate(ctx, administratorID)
}

// SetPassword sets a password for an operator, who does not need the current one.
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

// newPassword returns the normalized form of a new password and adds its errors to wrong. The error is
// ErrBusy, or the context's, if its strength could not be estimated.
func (a *Accounts) newPassword(ctx context.Context, field, raw string, wrong ValidationErrors, about ...string) (password string, err error) {
	err = a.Hasher.Do(ctx, func() {
		password = checked(field, raw, func(s string) (string, error) { return a.Policy.Check(s, about...) }, wrong)
	})
	return password, err
}

// EstimateStrength estimates a password for the strength meter. The error is ThrottledError when a
// network sends more requests than a person types, and ErrBusy when the queue for hashes is full.
func (a *Accounts) EstimateStrength(ctx context.Context, v Client, raw string, about ...string) (password.Strength, error) {
	if err := a.countEstimate(ctx, v.network()); err != nil {
		return password.Strength{}, err
	}
	var strength password.Strength
	err := a.Hasher.Do(ctx, func() { strength = a.Policy.Strength(raw, about...) })
	return strength, err
}

// countEstimate counts an estimate for a network, or for the id of a signed-in user.
func (a *Accounts) countEstimate(ctx context.Context, source string) error {
	_, err := a.Throttle.Reserve(ctx, Bucket{Key: "strength:" + source, Limit: strengthLimit, CountOnReserve: true})
	return err
}
