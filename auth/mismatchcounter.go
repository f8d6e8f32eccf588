package auth

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// mismatches are the different wrong passwords that met a cached credential a moment ago, in this
// server. A cached credential is compared before the throttle counts; of many guesses at once,
// sent from the network of the program itself, only the first few may be compared.
type mismatchCounter struct {
	// size is len(of), so that a server that nobody guesses at takes no lock.
	size atomic.Int64
	mu   sync.Mutex
	of   map[string]*mismatch
}

type mismatch struct {
	marks []string
	until time.Time
}

const (
	// maxMismatches is how many different wrong passwords may meet a cached credential before
	// the right one has to pass the throttle too.
	maxMismatches = 10
	// mismatchWindow is how long a wrong password is remembered for this: longer than the
	// throttle needs to count it and to tell the credential cache.
	mismatchWindow = time.Minute
)

// add notes a wrong password for the credential of the key; mark is a keyed hash of it. It reports
// whether the right one would have been accepted at this moment: only then the comparison has told
// something.
func (m *mismatchCounter) add(key, mark string, now time.Time) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	seen := m.of[key]
	if seen == nil || !now.Before(seen.until) {
		m.prune(now)
		seen = &mismatch{}
		m.of[key] = seen
	}
	exceeded := len(seen.marks) >= maxMismatches
	if !exceeded && !slices.Contains(seen.marks, mark) {
		seen.marks = append(seen.marks, mark)
		seen.until = now.Add(mismatchWindow)
	}
	m.size.Store(int64(len(m.of)))
	return !exceeded
}

// exceeded reports whether as many wrong passwords met the credential as may.
func (m *mismatchCounter) exceeded(key string, now time.Time) bool {
	if m.size.Load() == 0 {
		return false
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	seen := m.of[key]
	return seen != nil && now.Before(seen.until) && len(seen.marks) >= maxMismatches
}

func (m *mismatchCounter) prune(now time.Time) {
	if m.of == nil {
		m.of = map[string]*mismatch{}
	}
	for key, seen := range m.of {
		if !now.Before(seen.until) {
			delete(m.of, key)
		}
	}
}
