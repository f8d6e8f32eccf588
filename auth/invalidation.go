package auth

import (
	"context"
	"fmt"
)

// AllUsers stands in a ChangeLog for the id of every user.
const AllUsers = "*"

// ChangeLog announces changed users to all servers.
type ChangeLog interface {
	// Append announces a user, or AllUsers, once a change is committed. It is retried in the
	// background when it fails.
	Append(ctx context.Context, userID string) error
	// Sync returns when this server has invalidated every user who was announced before the call.
	Sync(ctx context.Context) error
}

// InvalidateUser makes this server forget a user who was changed, by whomever. It never waits for the
// network: the cached user is bypassed until the cache has dropped it. That comes first, so that
// memory cannot be filled from the cache in between.
func (a *Accounts) InvalidateUser(id string) {
	a.Cache.Invalidate(id)
	if a.LocalCache != nil {
		a.LocalCache.Invalidate(id)
	}
	a.rejections.Clear()
}

// InvalidateAllUsers is InvalidateUser for all users, when nobody knows who was changed.
func (a *Accounts) InvalidateAllUsers() {
	a.Cache.InvalidateAll()
	if a.LocalCache != nil {
		a.LocalCache.InvalidateAll()
	}
	a.rejections.Clear()
}

// InvalidateLocalUsers empties local memory and leaves the cache alone.
func (a *Accounts) InvalidateLocalUsers() {
	if a.LocalCache != nil {
		a.LocalCache.InvalidateAll()
	}
}

// change drops the cached user, runs the change, and drops it again. Dropping before tells
// whether the cache can be reached at all, while refusing is still possible; dropping after
// takes away what was read in between. When that fails the cache tries again by itself.
func (a *Accounts) change(ctx context.Context, what, id string, run func() (User, error)) (User, error) {
	if err := a.drop(ctx, id); err != nil {
		return User{}, fmt.Errorf("drop the cached user before a change (nothing was changed): %w", err)
	}
	u, err := run()
	a.recordChangeAttempt(ctx, err)
	if err == nil {
		id = u.ID // canonical
	}
	// Whatever the answer: a lost reply may be a change that was made.
	a.InvalidateUser(id)
	a.announce(ctx, id)
	if dropErr := a.Cache.Drop(context.WithoutCancel(ctx), id); dropErr != nil {
		a.Log.ErrorContext(ctx, "the cached user could not be dropped after a change; trying again", "error", dropErr, "user_id", id)
	}
	if err != nil {
		return User{}, fmt.Errorf("change a user: %w", err)
	}
	a.event(ctx, what, nil, "username", u.Username, "user_id", u.ID)
	return u, nil
}

// announce publishes a change to all servers after its commit and before it is answered: a server that
// invalidated the user before the commit could load the old row again. The cache is dropped after
// the announcement, because users in memory that no announcement has invalidated may be put back
// into it until then.
func (a *Accounts) announce(ctx context.Context, id string) {
	if a.Changes == nil {
		return
	}
	if err := a.Changes.Append(context.WithoutCancel(ctx), id); err != nil {
		a.Log.ErrorContext(ctx, "a change was not announced to other servers, which wait for the database's notification; trying again", "error", err, "user_id", id)
	}
}

// drop is InvalidateUser and waits until the cache has dropped the user.
func (a *Accounts) drop(ctx context.Context, id string) error {
	a.InvalidateUser(id)
	return a.Cache.Drop(ctx, id)
}

// changeGroup drops all cached users around a change, as change does with one.
func (a *Accounts) changeGroup(ctx context.Context, what, group string, run func() error) error {
	if err := a.dropAll(ctx); err != nil {
		return fmt.Errorf("drop the cached users before a change (nothing was changed): %w", err)
	}
	err := run()
	a.recordChangeAttempt(ctx, err)
	a.InvalidateAllUsers()
	a.announce(ctx, AllUsers)
	if dropErr := a.Cache.DropAll(context.WithoutCancel(ctx)); dropErr != nil {
		a.Log.ErrorContext(ctx, "the cached users could not be dropped after a change of a group", "error", dropErr, "group", group)
	}
	if err != nil {
		return fmt.Errorf("change a group: %w", err)
	}
	a.event(ctx, what, nil, "group", group)
	return nil
}

// dropAll is InvalidateAllUsers and waits until the cache has dropped the users.
func (a *Accounts) dropAll(ctx context.Context) error {
	a.InvalidateAllUsers()
	return a.Cache.DropAll(ctx)
}
