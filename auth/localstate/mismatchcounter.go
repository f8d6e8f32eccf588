package localstate

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// maxMismatches is how many different wrong passwords are compared with a cached credential before
	// the right one has to pass the rate limits too.
	maxMismatches = 10
	// mismatchWindow is how long a wrong password is remembered: longer than it takes to count it and
	// to tell the credential cache.
	mismatchWindow = time.Minute
)

// MismatchCounter counts the different wrong passwords that were recently compared with a cached
// credential. The comparison precedes the rate limits; of many concurrent guesses from the API
// client's own network, only the first few may be compared.
type MismatchCounter struct {
	// size is len(counts), so that a server without mismatches takes no lock.
	size   atomic.Int64
	mu     sync.Mutex
	counts map[string]*mismatches
}

type mismatches struct {
	digests   []string
	expiresAt time.Time
}

// Add counts a wrong password, given by its keyed hash, for the credential of the key. It reports
// whether the right one would have been accepted at this moment: only then did the comparison reveal
// anything.
func (c *MismatchCounter) Add(key, digest string, now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	m := c.counts[key]
	if m == nil || !now.Before(m.expiresAt) {
		c.prune(now)
		m = &mismatches{}
		c.counts[key] = m
	}
	exceeded := len(m.digests) >= maxMismatches
	if !exceeded && !slices.Contains(m.digests, digest) {
		m.digests = append(m.digests, digest)
		m.expiresAt = now.Add(mismatchWindow)
	}
	c.size.Store(int64(len(c.counts)))
	return !exceeded
}

// Exceeded reports whether maxMismatches was reached for the credential.
func (c *MismatchCounter) Exceeded(key string, now time.Time) bool {
	if c.size.Load() == 0 {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	m := c.counts[key]
	return m != nil && now.Before(m.expiresAt) && len(m.digests) >= maxMismatches
}

func (c *MismatchCounter) prune(now time.Time) {
	if c.counts == nil {
		c.counts = map[string]*mismatches{}
	}
	for key, m := range c.counts {
		if !now.Before(m.expiresAt) {
			delete(c.counts, key)
		}
	}
}
