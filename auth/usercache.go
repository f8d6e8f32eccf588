package auth

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"gatehouse/auth/localstate"
	"sync"
	"time"
)

// UserCache caches users, without their password hash, for all servers. It may be flushed at any time.
//
// A miss issues a lease, and Fill stores the user only if the lease still exists. Drop removes user and
// lease, so that a row read before a change can never be stored after it (the leases of "Scaling
// Memcache at Facebook", NSDI 2013, section 3.2.1).
type UserCache interface {
	// User returns the cached user; otherwise ErrNotFound, or ErrUserDeleted for a tombstone, and a
	// lease. The lease is "" if another request is already filling the cache; Fill then does nothing.
	User(ctx context.Context, id string) (u User, lease string, err error)
	// SharedLease returns the lease of the request that is filling the cache, or "". It may be used to
	// fill in a user who is known to be current after the call: a drop voids the lease for both.
	SharedLease(ctx context.Context, id string) (lease string, err error)
	Fill(ctx context.Context, u User, lease string) error
	// FillDeleted stores a tombstone if the lease still exists: for a minute, other programs treat the
	// user's sessions as signed out without asking.
	FillDeleted(ctx context.Context, id, lease string) error
	// Invalidate makes User a miss without a lease in this process, immediately and without network
	// access, until the user has been dropped, which it retries in the background.
	Invalidate(id string)
	InvalidateAll()
	// Drop is Invalidate, and returns the error of the first attempt to drop.
	Drop(ctx context.Context, id string) error
	// DropAll removes every user and lease, and nothing else.
	DropAll(ctx context.Context) error
}

// User returns a user by id: from the local cache, the shared cache or the database, filling both caches.
func (a *Accounts) User(ctx context.Context, id string) (User, error) {
	if a.LocalCache == nil {
		return a.loadUser(ctx, id)
	}
	return a.LocalCache.Load(ctx, id, a.now(), func(ctx context.Context) (User, error) { return a.loadUser(ctx, id) })
}

// UserAtEpoch returns the user of a credential with this epoch.
func (a *Accounts) UserAtEpoch(ctx context.Context, id string, epoch int64) (User, error) {
	u, _, err := a.userAtEpoch(ctx, id, epoch)
	return u, err
}

// userOf returns the user of a session, token or credential of this epoch. Epochs have no order:
// one that differs from the cached user's is either stale, or newer than what is cached here.
// Only the row shows which; verified reports whether it was read. While the database does not
// answer, the cached user decides.
func (a *Accounts) userAtEpoch(ctx context.Context, id string, epoch int64) (u User, verified bool, err error) {
	u, err = a.User(ctx, id)
	if err != nil || u.Epoch == epoch || epoch == 0 || a.LocalCache == nil {
		return u, false, err
	}
	row, err := a.Users.UserByID(ctx, id)
	if errors.Is(err, ErrUnavailable) {
		return u, false, nil
	}
	if errors.Is(err, ErrNotFound) || err == nil && row.Epoch != u.Epoch {
		a.InvalidateUser(id)
	}
	if err != nil {
		return User{}, false, fmt.Errorf("look up a user: %w", err)
	}
	return row, true, nil
}

// loadUser returns the user from the shared cache, or from the database, and then fills the cache.
func (a *Accounts) loadUser(ctx context.Context, id string) (User, error) {
	return a.load(ctx, id, false)
}

// cacheUser is loadUser, except that the local cache replaces a database that is down, so that the user
// is in the shared cache even then. While the database responds, the local cache is not used: it may not
// have been notified yet of a manual change, and would fill a stale user in for other servers.
func (a *Accounts) cacheUser(ctx context.Context, id string) (User, error) {
	return a.load(ctx, id, true)
}

func (a *Accounts) load(ctx context.Context, id string, useLocal bool) (User, error) {
	cached, lease, err := a.Cache.User(ctx, id)
	isCached := err == nil
	missed := errors.Is(err, ErrNotFound) && !errors.Is(err, ErrUserDeleted)
	if isCached && (a.LocalCache == nil || !a.LocalCache.DatabaseFirst()) {
		return cached, nil
	}
	// A cache that is down costs a statement, but no session.
	u, err := a.Users.UserByID(ctx, id)
	if isCached {
		return a.checkCached(cached, u, err)
	}
	if useLocal && missed && errors.Is(err, ErrUnavailable) {
		if u, ok := a.fillFromLocal(ctx, id, lease); ok {
			return u, nil
		}
	}
	if errors.Is(err, ErrNotFound) && lease != "" {
		if err := a.Cache.FillDeleted(ctx, id, lease); err != nil {
			a.Log.WarnContext(ctx, "could not mark a deleted user in the user cache", "error", err, "user_id", id)
		}
	}
	if err != nil {
		return User{}, fmt.Errorf("look up a user: %w", err)
	}
	if lease != "" {
		a.fill(ctx, u, lease)
	}
	return u, nil
}

func (a *Accounts) fill(ctx context.Context, u User, lease string) {
	if err := a.Cache.Fill(ctx, u, lease); err != nil {
		a.Log.WarnContext(ctx, "the user cache was not filled", "error", err, "user_id", u.ID)
	}
}

// fillFromLocal fills the shared cache with a locally cached user, if the local cache is enabled and has
// received every announced change, and returns the user. A change is announced before it voids the
// lease: with a lease and an up-to-date local cache, the change is either known here or the lease void.
func (a *Accounts) fillFromLocal(ctx context.Context, id, lease string) (User, bool) {
	if a.LocalCache == nil || a.Changes == nil {
		return User{}, false
	}
	if lease == "" {
		lease, _ = a.Cache.SharedLease(ctx, id) // of a request that may be waiting for the database
	}
	if lease == "" || a.Changes.Sync(ctx) != nil {
		return User{}, false
	}
	u, ok := a.LocalCache.Get(id, a.now())
	if ok {
		a.fill(ctx, u, lease)
	}
	return u, ok
}

// RefillCache restores the locally cached users to a shared cache that was flushed, in case the database
// goes down later. It reads them from the database, or from the local cache while the database is down.
func (a *Accounts) RefillCache(ctx context.Context) {
	ids := make(chan string)
	var workers sync.WaitGroup
	for range refillWorkers {
		workers.Go(func() {
			for id := range ids {
				a.refill(ctx, id)
			}
		})
	}
	for _, id := range a.LocalCache.IDs() {
		ids <- id
	}
	close(ids)
	workers.Wait()
}

// refillWorkers bounds the concurrent requests of a refill.
const refillWorkers = 8

func (a *Accounts) refill(ctx context.Context, id string) {
	if ctx.Err() != nil {
		return
	}
	_, _ = a.cacheUser(ctx, id) // best effort: a miss is filled on the next request
}

// checkCached returns the user as the database has it, and invalidates a cached one that differs, which
// other apps would read. If the database does not respond, the cached user counts.
func (a *Accounts) checkCached(cached, u User, err error) (User, error) {
	if errors.Is(err, ErrUnavailable) {
		return cached, nil
	}
	if !sameRecord(cached, u) {
		a.Cache.Invalidate(cached.ID)
	}
	if err != nil {
		return User{}, fmt.Errorf("look up a user: %w", err)
	}
	return u, nil
}

// sameRecord reports whether both have the same cache record.
func sameRecord(a, b User) bool {
	one, errA := json.Marshal(a)
	other, errB := json.Marshal(b)
	return errA == nil && errB == nil && bytes.Equal(one, other)
}

// LocalUserCache keeps users in this process, in front of the UserCache.
type LocalUserCache = localstate.Cache[User]

// NewLocalUserCache returns an empty, disabled cache. Users stay for at most ttl.
func NewLocalUserCache(ttl time.Duration) *LocalUserCache { return localstate.NewCache[User](ttl) }
