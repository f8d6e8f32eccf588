package auth

import (
	"context"
	"fmt"
)

// AllUsers is the id in a ChangeLog that stands for every user.
const AllUsers = "*"

// ChangeLog announces changed users to all servers.
type ChangeLog interface {
	// Append announces a user, or AllUsers, after a change is committed. A failure is retried in the
	// background.
	Append(ctx context.Context, userID string) error
	// Sync waits until this server has invalidated every user who was announced before the call.
	Sync(ctx context.Context) error
}

// InvalidateUser invalidates a changed user in this server's caches. It never waits for the network: the
// shared cache is bypassed until it has dropped the user. This comes first, so that the local cache
// cannot be filled from it in between.
func (a *Accounts) InvalidateUser(id string) {
	a.Cache.Invalidate(id)
	if a.LocalCache != nil {
		a.LocalCache.Invalidate(id)
	}
	a.rejections.Clear()
}

// InvalidateAllUsers is InvalidateUser for all users, for changes whose user is unknown.
func (a *Accounts) InvalidateAllUsers() {
	a.Cache.InvalidateAll()
	if a.LocalCache != nil {
		a.LocalCache.InvalidateAll()
	}
	a.rejections.Clear()
}

// InvalidateLocalUsers empties the local cache and leaves the shared cache alone.
func (a *Accounts) InvalidateLocalUsers() {
	if a.LocalCache != nil {
		a.LocalCache.InvalidateAll()
	}
}

// change drops the cached user, runs the change, and drops the user again. The first drop shows whether
// the cache is reachable while the change can still be refused; the second one removes what was read in
// between, and is retried in the background.
func (a *Accounts) change(ctx context.Context, what, id string, run func() (User, error)) (User, error) {
	if err := a.drop(ctx, id); err != nil {
		return User{}, fmt.Errorf("drop the cached user before a change (nothing was changed): %w", err)
	}
	u, err := run()
	a.recordChangeAttempt(ctx, err)
	if err == nil {
		id = u.ID // canonical
	}
	// Even after an error: the change may have been made although the reply was lost.
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

// announce publishes a change to all servers after its commit and before the response: a server that
// invalidated the user before the commit could load the old row again. The shared cache is dropped after
// the announcement, because until then a server may fill it from its local cache.
func (a *Accounts) announce(ctx context.Context, id string) {
	if a.Changes == nil {
		return
	}
	if err := a.Changes.Append(context.WithoutCancel(ctx), id); err != nil {
		a.Log.ErrorContext(ctx, "a change was not announced to other servers, which wait for the database's notification; trying again", "error", err, "user_id", id)
	}
}

// drop is InvalidateUser, and waits until the shared cache has dropped the user.
func (a *Accounts) drop(ctx context.Context, id string) error {
	a.InvalidateUser(id)
	return a.Cache.Drop(ctx, id)
}

// changeGroup is change for a group: it drops all cached users before and after.
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

// dropAll is InvalidateAllUsers, and waits until the shared cache has dropped the users.
func (a *Accounts) dropAll(ctx context.Context) error {
	a.InvalidateAllUsers()
	return a.Cache.DropAll(ctx)
}
