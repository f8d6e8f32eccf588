package auth

import (
	"context"
	"fmt"
	"hash/maphash"
	"maps"
	"runtime/debug"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"
)

// LocalUserCache keeps users in this process, in front of the cache in Redis. It is only as
// good as the news of changes that reach it, so it holds users only while somebody tells it
// of them (Trust), and nothing otherwise.
//
// A user is stored only if no news came between the beginning of the look-up and its end:
// a row that was read before a change can never be stored after it.
type LocalUserCache struct {
	ttl    time.Duration
	seed   maphash.Seed
	shards [cacheShards]cacheShard
	flight singleflight.Group
	// trusted is off while nobody listens for changes.
	enabled atomic.Bool
	// askDatabase is on while nobody listens and the database answers.
	databaseFirst atomic.Bool
	// Hits and Misses count look-ups, for metrics.
	Hits, Misses atomic.Int64
}

const (
	cacheShards = 64
	// shardUsers bounds a shard; 64 × 1024 users take some 30 MB.
	shardUsers = 1024
)

type cacheShard struct {
	mu sync.RWMutex
	// news counts what invalidated anything in the shard.
	generation uint64
	users      map[string]entry
}

type entry struct {
	user      User
	expiresAt time.Time
}

// NewUserMemory returns an empty memory. Users stay for at most ttl.
func NewLocalUserCache(ttl time.Duration) *LocalUserCache {
	return &LocalUserCache{ttl: ttl, seed: maphash.MakeSeed()}
}

// User returns the user from memory, else from load, which runs once for all who wait for
// the same user. Nobody joins a load that began before the last news of that user.
func (m *LocalUserCache) User(ctx context.Context, id string, now time.Time, load func(context.Context) (User, error)) (User, error) {
	u, ok, news := m.get(id, now)
	if ok {
		m.Hits.Add(1)
		return u, nil
	}
	m.Misses.Add(1)
	// The load serves others too, so it does not end with the first who asked; the stores
	// have time limits of their own.
	shared := context.WithoutCancel(ctx)
	answer := m.flight.DoChan(id+" "+strconv.FormatUint(news, 10), func() (any, error) {
		u, err := loadSafely(shared, load)
		if err == nil {
			m.store(u, news, now)
		}
		return u, err
	})
	select {
	case <-ctx.Done():
		return User{}, ctx.Err()
	case a := <-answer:
		u, _ := a.Val.(User)
		return u, a.Err
	}
}

// SetEnabled turns the memory on when somebody listens for changes, and empties it when not.
func (m *LocalUserCache) SetEnabled(on bool) {
	if !on {
		m.enabled.Store(false)
	}
	m.InvalidateAll()
	if on {
		m.enabled.Store(true)
	}
}

// SetDatabaseFirst says whether each look-up asks the database, and the cache only where that does not
// answer: nobody hears of changes, which may have made the cache stale.
func (m *LocalUserCache) SetDatabaseFirst(on bool) { m.databaseFirst.Store(on) }

// Invalidate drops one user from this process' memory only.
func (m *LocalUserCache) Invalidate(id string) {
	s := m.shard(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.generation++
	delete(s.users, id)
}

// InvalidateAll empties the memory.
func (m *LocalUserCache) InvalidateAll() {
	for i := range m.shards {
		s := &m.shards[i]
		s.mu.Lock()
		s.generation++
		s.users = nil
		s.mu.Unlock()
	}
}

// recall returns the user if it is here, and the shard's count of news to store one with.
func (m *LocalUserCache) get(id string, now time.Time) (u User, ok bool, news uint64) {
	s := m.shard(id)
	s.mu.RLock()
	defer s.mu.RUnlock()
	r, ok := s.users[id]
	if !ok || now.After(r.expiresAt) || !m.enabled.Load() {
		return User{}, false, s.generation
	}
	return r.user, true, s.generation
}

func (m *LocalUserCache) store(u User, news uint64, now time.Time) {
	s := m.shard(u.ID)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.generation != news || !m.enabled.Load() {
		return
	}
	if s.users == nil || len(s.users) >= shardUsers {
		// Beginning anew costs a round trip for each user that is still about; keeping
		// an order of use would cost every request.
		s.users = make(map[string]entry)
	}
	s.users[u.ID] = entry{u, now.Add(m.ttl)}
}

// ids returns the ids of all users in memory.
func (m *LocalUserCache) ids() []string {
	var ids []string
	for i := range m.shards {
		s := &m.shards[i]
		s.mu.RLock()
		ids = slices.AppendSeq(ids, maps.Keys(s.users))
		s.mu.RUnlock()
	}
	return ids
}

func (m *LocalUserCache) shard(id string) *cacheShard {
	return &m.shards[maphash.String(m.seed, id)%cacheShards]
}

// loadSafely makes a panic an error: the load has a goroutine of its own, where nobody who
// waits for it could recover, and the whole process would end.
func loadSafely(ctx context.Context, load func(context.Context) (User, error)) (u User, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic while a user was looked up: %v\n%s", p, debug.Stack())
		}
	}()
	return load(ctx)
}
