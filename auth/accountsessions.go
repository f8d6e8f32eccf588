package auth

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// SessionUser returns the user of a session; ErrNotFound when the session is no longer valid. A session
// that is stale according to the user's row is ended, so that no later epoch can match it, unless the
// request that made it stale is about to renew it: the second request of a double click presents it then.
//
// A session of a user without a row stays stored: the table may be empty for a moment during a restore.
func (a *Accounts) SessionUser(ctx context.Context, s Session) (User, error) {
	now := a.now()
	changes, err := a.rejections.Find(s.ID, now)
	if err != nil {
		return User{}, err
	}
	u, verified, err := a.userAtEpoch(ctx, s.UserID, s.Epoch)
	if errors.Is(err, ErrNotFound) {
		a.rejections.Store(s.ID, err, changes, now)
	}
	if err != nil || u.AcceptsEpoch(s.Epoch) {
		return u, err
	}
	err = fmt.Errorf("user of a stale session: %w", ErrNotFound)
	if verified {
		a.rejections.Store(s.ID, err, changes, now)
		a.endRejected(ctx, s, now)
	}
	return User{}, err
}

// endRejected ends a session whose epoch is not the user's. A failure is only logged: the epoch still
// rejects the session.
func (a *Accounts) endRejected(ctx context.Context, s Session, now time.Time) {
	if now.UnixMilli() < a.endAfter.Load() {
		return
	}
	var err error
	if !s.External {
		err = a.Sessions.EndRejected(ctx, s.UserID, s.ID)
	} else if a.EndExternal != nil {
		err = a.EndExternal(ctx, s)
	}
	if err == nil || errors.Is(err, ErrNotFound) || ctx.Err() != nil {
		return
	}
	a.endAfter.Store(now.Add(endPause).UnixMilli())
	a.Log.WarnContext(ctx, "a stale session is still stored; it is refused by its epoch", "error", err, "user_id", s.UserID)
}

// endPause is the pause after a failure to end a rejected credential, so that a Redis that accepts no
// writes does not get one more with every request.
const endPause = time.Second

// currentEpoch returns a function that reads the epoch in the user's row.
func (a *Accounts) currentEpoch(id string) func(context.Context) (int64, error) {
	return func(ctx context.Context) (int64, error) {
		u, err := a.Users.UserByID(ctx, id)
		return u.Epoch, err
	}
}

// endStale ends the stored sessions and API tokens of earlier epochs, so that they stay ended if the row
// is restored from a backup. keep is a session whose token is about to be renewed, or "". A failure is
// only logged: the epoch still rejects them.
func (a *Accounts) endStale(ctx context.Context, id, keep string) (ended bool) {
	ctx = context.WithoutCancel(ctx)
	err := a.endStored(ctx, id, keep)
	if err != nil {
		a.Log.WarnContext(ctx, "stale sessions and tokens are still stored; they are refused by their epoch", "error", err, "user_id", id)
	}
	return err == nil
}

// endStored is endStale with the error.
func (a *Accounts) endStored(ctx context.Context, id, keep string) error {
	current := a.currentEpoch(id)
	var err error
	if a.Sessions != nil {
		err = a.Sessions.EndStale(ctx, id, keep, current)
	}
	if a.Tokens != nil {
		err = errors.Join(err, a.Tokens.EndStale(ctx, id, current))
	}
	return err
}

// TouchSession does what a request would do for a session that another program used: it renews the idle
// time if that is due, and puts the user into the shared cache, where that program looks. A session that
// is not valid is left alone, without an error.
func (a *Accounts) TouchSession(ctx context.Context, id string) error {
	now := a.now()
	s, err := a.Sessions.Session(ctx, id)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("touch a session: %w", err)
	}
	if !s.Valid(id, now) {
		return nil
	}
	// The shared cache may have lost a user whom the local cache still has.
	u, err := a.cacheUser(ctx, s.UserID)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if !u.AcceptsEpoch(s.Epoch) || !s.NeedsRenewal(now) {
		return nil
	}
	a.RenewIdleTime(ctx, s, now)
	return nil
}

// RenewIdleTime renews the idle time of a session that is in use, on a best-effort basis: a session that
// can be read is valid even if Redis is full or a replica. If Redis accepts no writes for longer, sessions
// end at their idle time.
func (a *Accounts) RenewIdleTime(ctx context.Context, s Session, now time.Time) {
	if now.UnixMilli() < a.renewAfter.Load() {
		return
	}
	err := a.Sessions.Renew(ctx, s)
	if err == nil || ctx.Err() != nil {
		return
	}
	a.renewAfter.Store(now.Add(renewalPause).UnixMilli())
	if last := a.warnedOfRenewal.Load(); now.Unix()-last >= 60 && a.warnedOfRenewal.CompareAndSwap(last, now.Unix()) {
		a.Log.WarnContext(ctx, "the idle time of sessions is not renewed because Redis accepts no writes; sessions end at their idle timeout", "error", err)
	}
}

// renewalPause is the pause after a failed renewal, so that a Redis that accepts no writes does not get
// one more with every request.
const renewalPause = time.Second

// SignOutEverywhere ends all sessions and API tokens of the user. The session keep, if any, stays stored:
// the caller renews its token.
func (a *Accounts) SignOutEverywhere(ctx context.Context, id, keep string) (User, error) {
	u, err := a.change(ctx, "signed out everywhere", id, func() (User, error) {
		return a.Users.RotateEpoch(ctx, id)
	})
	if err == nil {
		a.endStale(ctx, u.ID, keep)
	}
	return u, err
}

// EndOtherSessions ends all sessions and API tokens of the user except the session keep, of the given
// epoch, whose token the caller renews. ErrStale when another change has ended that session in the
// meantime: of several sessions that concurrently end all others, one remains.
func (a *Accounts) EndOtherSessions(ctx context.Context, id, keep string, epoch int64) (User, error) {
	if err := a.holdForRenewal(ctx, keep); err != nil {
		return User{}, err
	}
	u, err := a.change(ctx, "signed out everywhere", id, func() (User, error) {
		return a.Users.RotateEpochFrom(ctx, id, epoch)
	})
	if err == nil {
		a.endStale(ctx, u.ID, keep)
	}
	return u, err
}

// holdForRenewal announces that the session will be renewed after the following change. If that fails,
// the renewal would fail too, so the change must not be made.
func (a *Accounts) holdForRenewal(ctx context.Context, id string) error {
	if id == "" {
		return nil
	}
	if err := a.Sessions.HoldForRenewal(ctx, id); err != nil {
		return fmt.Errorf("announce the renewal of a session (nothing was changed): %w", err)
	}
	return nil
}

// ListSessions returns the user's live sessions, last seen first, with LastSeen set.
func (a *Accounts) ListSessions(ctx context.Context, userID string) ([]Session, error) {
	return a.Sessions.List(ctx, userID)
}

// EndSession ends one session if it belongs to the user; ErrNotFound otherwise.
func (a *Accounts) EndSession(ctx context.Context, userID, id string) error {
	return a.Sessions.End(ctx, userID, id)
}
