package localstate

import (
	"sync"
	"time"
)

const (
	// rejectionTTL is how long a rejection is cached.
	rejectionTTL = time.Second
	// maxRejections bounds the memory; beyond it the cache starts empty.
	maxRejections = 10_000
)

// RejectionCache remembers for rejectionTTL which sessions and tokens the database has rejected,
// because their user has no row or another epoch. Such a credential may stay stored: a session of a
// user without a row counts again if a restore brings the row back, and nothing can be ended while
// Redis accepts no writes. Without the cache it would cost SQL on every request.
//
// The key is the credential and not the user, so that a user who is inserted again can sign in
// immediately. Every change of a user clears the cache.
type RejectionCache struct {
	mu sync.RWMutex
	// generation counts the clears, so that a rejection from before a change is never stored after it.
	generation uint64
	rejections map[string]rejection
}

type rejection struct {
	err       error
	expiresAt time.Time
}

// Find returns the cached rejection of a credential, or nil, and the generation to pass to Store.
func (c *RejectionCache) Find(id string, now time.Time) (generation uint64, err error) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if r, ok := c.rejections[id]; ok && now.Before(r.expiresAt) {
		return c.generation, r.err
	}
	return c.generation, nil
}

// Store caches the rejection of a credential, unless the cache was cleared since Find returned the
// generation.
func (c *RejectionCache) Store(id string, err error, generation uint64, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.generation != generation {
		return
	}
	if c.rejections == nil || len(c.rejections) >= maxRejections {
		c.rejections = map[string]rejection{}
	}
	c.rejections[id] = rejection{err, now.Add(rejectionTTL)}
}

// Clear empties the cache.
func (c *RejectionCache) Clear() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.generation++
	c.rejections = nil
}
