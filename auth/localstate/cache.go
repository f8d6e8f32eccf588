// Package localstate keeps state in this process only, to answer repeated and concurrent requests
// without asking a store again: cached values, shared calls, recent rejections and mismatches. It
// knows neither users nor stores.
package localstate

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

// Cache keeps values by id. It is only as current as the invalidations that reach it, so it stores
// values only while it is enabled.
//
// A value is stored only if nothing was invalidated between the start and the end of its load: a value
// that was read before a change can never be stored after it.
type Cache[V any] struct {
	ttl    time.Duration
	seed   maphash.Seed
	shards [cacheShards]cacheShard[V]
	loads  singleflight.Group
	// enabled is off while invalidations do not arrive.
	enabled atomic.Bool
	// sourceFirst is on while invalidations do not arrive but the source of the values answers.
	sourceFirst atomic.Bool
	// Hits and Misses count lookups, for metrics.
	Hits, Misses atomic.Int64
}

const (
	cacheShards = 64
	// shardCapacity bounds a shard; 64 × 1024 users take about 30 MB.
	shardCapacity = 1024
)

type cacheShard[V any] struct {
	mu sync.RWMutex
	// generation counts the invalidations in the shard.
	generation uint64
	entries    map[string]entry[V]
}

type entry[V any] struct {
	value     V
	expiresAt time.Time
}

// NewCache returns an empty, disabled cache. Values stay for at most ttl.
func NewCache[V any](ttl time.Duration) *Cache[V] {
	return &Cache[V]{ttl: ttl, seed: maphash.MakeSeed()}
}

// Load returns the cached value, or the one that load returns. Concurrent misses of the same id share
// one load, unless the id was invalidated after the load began.
func (c *Cache[V]) Load(ctx context.Context, id string, now time.Time, load func(context.Context) (V, error)) (V, error) {
	v, ok, generation := c.get(id, now)
	if ok {
		c.Hits.Add(1)
		return v, nil
	}
	c.Misses.Add(1)
	// Other callers share the load, so it outlives the first one; the stores have timeouts of their own.
	shared := context.WithoutCancel(ctx)
	result := c.loads.DoChan(id+" "+strconv.FormatUint(generation, 10), func() (any, error) {
		v, err := recoverPanic(shared, load)
		if err == nil {
			c.store(id, v, generation, now)
		}
		return v, err
	})
	select {
	case <-ctx.Done():
		var zero V
		return zero, ctx.Err()
	case r := <-result:
		v, _ := r.Val.(V)
		return v, r.Err
	}
}

// Get returns the value if it is cached.
func (c *Cache[V]) Get(id string, now time.Time) (v V, ok bool) {
	v, ok, _ = c.get(id, now)
	return v, ok
}

// SetEnabled turns the cache on or off; both empty it.
func (c *Cache[V]) SetEnabled(on bool) {
	if !on {
		c.enabled.Store(false)
	}
	c.InvalidateAll()
	if on {
		c.enabled.Store(true)
	}
}

// SetDatabaseFirst sets whether each lookup asks the database, and the shared cache only if that does
// not answer: without invalidations the shared cache may be stale.
func (c *Cache[V]) SetDatabaseFirst(on bool) { c.sourceFirst.Store(on) }

// DatabaseFirst reports what SetDatabaseFirst set.
func (c *Cache[V]) DatabaseFirst() bool { return c.sourceFirst.Load() }

// Invalidate drops one value.
func (c *Cache[V]) Invalidate(id string) {
	s := c.shard(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.generation++
	delete(s.entries, id)
}

// InvalidateAll drops every value.
func (c *Cache[V]) InvalidateAll() {
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		s.generation++
		s.entries = nil
		s.mu.Unlock()
	}
}

// IDs returns the ids of all cached values.
func (c *Cache[V]) IDs() []string {
	var ids []string
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.RLock()
		ids = slices.AppendSeq(ids, maps.Keys(s.entries))
		s.mu.RUnlock()
	}
	return ids
}

// get returns the value if it is cached, and the shard's generation to store one with.
func (c *Cache[V]) get(id string, now time.Time) (v V, ok bool, generation uint64) {
	s := c.shard(id)
	s.mu.RLock()
	defer s.mu.RUnlock()
	e, ok := s.entries[id]
	if !ok || now.After(e.expiresAt) || !c.enabled.Load() {
		return v, false, s.generation
	}
	return e.value, true, s.generation
}

func (c *Cache[V]) store(id string, v V, generation uint64, now time.Time) {
	s := c.shard(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.generation != generation || !c.enabled.Load() {
		return
	}
	if s.entries == nil || len(s.entries) >= shardCapacity {
		// Emptying a full shard costs a round trip for each value that is still in use; tracking the
		// order of use would cost every request.
		s.entries = make(map[string]entry[V])
	}
	s.entries[id] = entry[V]{v, now.Add(c.ttl)}
}

func (c *Cache[V]) shard(id string) *cacheShard[V] {
	return &c.shards[maphash.String(c.seed, id)%cacheShards]
}

// recoverPanic turns a panic into an error: the load runs in a goroutine of its own, where a panic
// would end the process.
func recoverPanic[V any](ctx context.Context, load func(context.Context) (V, error)) (v V, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic while loading a value: %v\n%s", p, debug.Stack())
		}
	}()
	return load(ctx)
}
