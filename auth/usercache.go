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

// UserCache keeps users, without their password hash, in a Redis that may be flushed at any moment.
//
// A miss hands out a lease; Fill stores the user only if the lease is still there. Drop
// removes user and lease, so that a row read before a change can never be stored after it
// (the lease of "Scaling Memcache at Facebook", NSDI 2013, section 3.2.1).
type UserCache interface {
	// User returns the cached user. Otherwise ErrNotFound, or ErrUserDeleted for a tombstone, and a
	// lease; the lease is "" when another request is filling already, and then Fill does nothing.
	User(ctx context.Context, id string) (u User, lease string, err error)
	// SharedLease returns the lease of the request that is filling already, or "". What was known
	// to be current after the call may be filled with it: a drop takes the lease from both.
	SharedLease(ctx context.Context, id string) (lease string, err error)
	Fill(ctx context.Context, u User, lease string) error
	// FillDeleted stores a tombstone if the lease is still there: for a minute, other programs
	// take the user's sessions for signed out without asking.
	FillDeleted(ctx context.Context, id, lease string) error
	// Invalidate makes User a miss without a lease in this process, at once and without asking
	// Redis, until the user was dropped, which it does in the background until it succeeds.
	Invalidate(id string)
	InvalidateAll()
	// Drop is Invalidate and waits for the first attempt, whose error it returns.
	Drop(ctx context.Context, id string) error
	// DropAll removes every user and lease, and nothing else that is in the same Redis.
	DropAll(ctx context.Context) error
}

// User returns a user by id: from memory, from the cache, or from the database, filling both.
func (a *Accounts) User(ctx context.Context, id string) (User, error) {
	if a.LocalCache == nil {
		return a.loadUser(ctx, id)
	}
	return a.LocalCache.Load(ctx, id, a.now(), func(ctx context.Context) (User, error) { return a.loadUser(ctx, id) })
}

// UserAtEpoch returns the user of a credential of this epoch.
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

// loadUser returns the user from the cache, or from the database, and then fills the cache.
func (a *Accounts) loadUser(ctx context.Context, id string) (User, error) {
	return a.load(ctx, id, false)
}

// cacheUser is loadUser, except that memory stands in for a database that is down: it makes sure that the
// user is in the cache even then. While the database answers, memory is not asked: it may not have been
// notified yet of a change by hand, and what it puts into the cache reaches servers that were.
func (a *Accounts) cacheUser(ctx context.Context, id string) (User, error) {
	return a.load(ctx, id, true)
}

func (a *Accounts) load(ctx context.Context, id string, memory bool) (User, error) {
	cached, lease, err := a.Cache.User(ctx, id)
	isCached := err == nil
	missed := errors.Is(err, ErrNotFound) && !errors.Is(err, ErrUserDeleted)
	if isCached && (a.LocalCache == nil || !a.LocalCache.DatabaseFirst()) {
		return cached, nil
	}
	// A cache that is down costs a statement, and nobody their session.
	u, err := a.Users.UserByID(ctx, id)
	if isCached {
		return a.checkCached(cached, u, err)
	}
	if memory && missed && errors.Is(err, ErrUnavailable) {
		if u, ok := a.fillFromMemory(ctx, id, lease); ok {
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

// fillFromMemory fills the cache with a user who is in memory, if memory is trusted and has every
// announced change, and returns the user. A change is announced before it takes the lease away: once
// there is a lease and memory is up to date, the change is known here or the lease is gone.
func (a *Accounts) fillFromMemory(ctx context.Context, id, lease string) (User, bool) {
	if a.LocalCache == nil || a.Changes == nil {
		return User{}, false
	}
	if lease == "" {
		lease, _ = a.Cache.SharedLease(ctx, id) // of somebody who may be waiting for the database
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

// RefillCache puts the users who are in memory back into a cache that was flushed, so that they are not missing there
// if the database goes down later. It reads them from the database, or from memory that is still trusted while the
// database is down.
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

// refillWorkers bound what a refill asks of Redis at once.
const refillWorkers = 8

func (a *Accounts) refill(ctx context.Context, id string) {
	if ctx.Err() != nil {
		return
	}
	_, _ = a.cacheUser(ctx, id) // one that is not filled now is filled when it is asked for
}

// checkCached returns the user that the database has, and invalidates a cached one that differs:
// apps that read the session find it there. Without an answer of the database the cached one counts.
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

// sameRecord reports whether the cache keeps the same of both.
func sameRecord(a, b User) bool {
	one, errA := json.Marshal(a)
	other, errB := json.Marshal(b)
	return errA == nil && errB == nil && bytes.Equal(one, other)
}

// LocalUserCache keeps users in this process, in front of the UserCache.
type LocalUserCache = localstate.Cache[User]

// NewLocalUserCache returns an empty, disabled cache. Users stay for at most ttl.
func NewLocalUserCache(ttl time.Duration) *LocalUserCache { return localstate.NewCache[User](ttl) }
