package auth

import (
	"sync"
	"time"
)

// refusals remembers for refusalTime which sessions and tokens the database has said are dead: their user has
// no row, or another epoch. Such a credential may stay stored: a session of a user without a row counts again if a restore
// brings the row back, and nothing can be ended while Redis takes no writes. Without refusals it would cost
// SQL on every request.
//
// The key is the credential and not the user, so that a user who is inserted again can sign in at once.
// Any changed user empties it.
type rejectionCache struct {
	mu sync.RWMutex
	// changes counts what emptied it, so that no verdict from before a change is stored after it.
	changes uint64
	dead    map[string]rejection
}

type rejection struct {
	err   error
	until time.Time
}

const (
	// refusalTime is how long a dead credential is refused without asking the database again.
	refusalTime = time.Second
	// maxRefusals bounds the memory that refusals take; beyond it they begin anew.
	maxRefusals = 10_000
)

// find returns what note wants, and why the credential was refused or nil.
func (r *rejectionCache) find(id string, now time.Time) (changes uint64, err error) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if found, ok := r.dead[id]; ok && now.Before(found.until) {
		return r.changes, found.err
	}
	return r.changes, nil
}

// note stores the verdict on a credential, if no user was changed since find returned changes.
func (r *rejectionCache) store(id string, err error, changes uint64, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.changes != changes {
		return
	}
	if r.dead == nil || len(r.dead) >= maxRefusals {
		r.dead = map[string]rejection{}
	}
	r.dead[id] = rejection{err, now.Add(refusalTime)}
}

// forget empties it.
func (r *rejectionCache) clear() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.changes++
	r.dead = nil
}
