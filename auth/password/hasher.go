package password

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/alexedwards/argon2id"
)

// Hasher hashes and verifies passwords. A fixed number of hashes run concurrently and a bounded
// number wait, so that a burst of sign-ins exhausts neither memory nor processors.
//
// After each hash its slot stays unused for a cooldown. Otherwise a burst of sign-ins would keep its
// processors busy without a pause, and slow down every page.
type Hasher struct {
	// OnHash is called for each hash that is computed; may be nil.
	OnHash func(context.Context)

	// fastest is the duration of the fastest hash so far, in nanoseconds: the cost of a hash that
	// nothing else slows down.
	fastest atomic.Int64
	// cooldown is how long a slot stays unused after a hash, in percent of fastest.
	cooldown int64
	slots    chan struct{}
	queue    chan struct{}
	timeout  time.Duration
	params   argon2id.Params
	// dummyHash is verified if there is no usable hash, so that this takes as long.
	dummyHash string
}

// DefaultParams are the parameters of argon2id: OWASP's first choice of 19 MiB, two passes and one
// lane (ASVS 11.4.2; Password Storage Cheat Sheet).
var DefaultParams = argon2id.Params{Memory: 19 * 1024, Iterations: 2, Parallelism: 1, SaltLength: 16, KeyLength: 32}

// ErrBusy: the queue for password hashes is full, or the wait took too long.
var ErrBusy = errors.New("too many concurrent sign-ins")

const (
	queueLength  = 128
	queueTimeout = 5 * time.Second
	// cooldownPercent leaves more than a third of the hashing processors to other requests; measured
	// on two cores, about 30 sign-ins a second remain.
	cooldownPercent = 60
)

// NewHasher returns a Hasher that computes at most the given number of hashes concurrently.
func NewHasher(concurrency int, params argon2id.Params) (*Hasher, error) {
	h, err := newHasher(max(1, concurrency), queueLength, queueTimeout, params)
	if err != nil {
		return nil, err
	}
	h.cooldown = cooldownPercent
	return h, nil
}

func newHasher(concurrency, queued int, timeout time.Duration, params argon2id.Params) (*Hasher, error) {
	dummy, err := argon2id.CreateHash("no user's password", &params)
	if err != nil {
		return nil, fmt.Errorf("hash the dummy password: %w", err)
	}
	return &Hasher{
		slots:     make(chan struct{}, concurrency),
		queue:     make(chan struct{}, queued+concurrency),
		timeout:   timeout,
		params:    params,
		dummyHash: dummy,
	}, nil
}

// Hash returns the PHC string of a normalized password. The error is ErrBusy, or the context's.
func (h *Hasher) Hash(ctx context.Context, password string) (string, error) {
	release, err := h.acquire(ctx)
	if err != nil {
		return "", err
	}
	defer release()
	hash, err := argon2id.CreateHash(password, &h.params)
	if err != nil {
		return "", fmt.Errorf("hash a password: %w", err)
	}
	return hash, nil
}

// Verify compares a password with a stored hash. password is the normalized form and typed the
// original one, which another system may have hashed. An empty hash, or one that cannot be computed,
// costs the same and never matches. outdated reports that the hash was made with other parameters, or
// by another system, and should be replaced. The error is ErrBusy, or the context's.
func (h *Hasher) Verify(ctx context.Context, password, typed, hash string) (match, outdated bool, err error) {
	release, err := h.acquire(ctx)
	if err != nil {
		return false, false, err
	}
	defer release()
	if legacy, err := parseLegacyHash(hash); err == nil && !h.isCurrent(hash) {
		match := legacy(password) || typed != password && legacy(typed)
		return match, match, nil
	}
	if !isComputable(hash) {
		_, _, err = argon2id.CheckHash(password, h.dummyHash)
		return false, false, err
	}
	match, params, err := argon2id.CheckHash(password, hash)
	if err != nil {
		return false, false, fmt.Errorf("verify a password: %w", err)
	}
	return match, match && *params != h.params, nil
}

// Do runs work in a slot for hashes: estimating a password's strength may cost as much as a hash. The
// error is ErrBusy, or the context's.
func (h *Hasher) Do(ctx context.Context, work func()) error {
	if err := h.acquireSlot(ctx); err != nil {
		return err
	}
	start := time.Now()
	// The cooldown follows from the duration of work, which says nothing about that of a hash.
	defer func() { h.releaseSlot(time.Since(start) * time.Duration(h.cooldown) / 100) }()
	work()
	return nil
}

// Waiting returns the number of hashes that run or wait.
func (h *Hasher) Waiting() int { return len(h.queue) }

// acquire takes a slot for one hash. release gives it back after the cooldown.
func (h *Hasher) acquire(ctx context.Context) (release func(), err error) {
	if err := h.acquireSlot(ctx); err != nil {
		return nil, err
	}
	if h.OnHash != nil {
		h.OnHash(ctx)
	}
	start := time.Now()
	return func() { h.releaseSlot(h.cooldownAfter(time.Since(start))) }, nil
}

func (h *Hasher) acquireSlot(ctx context.Context) error {
	select {
	case h.queue <- struct{}{}:
	default:
		return ErrBusy
	}
	ctx, cancel := context.WithTimeoutCause(ctx, h.timeout, ErrBusy)
	defer cancel()
	select {
	case h.slots <- struct{}{}:
	case <-ctx.Done():
		<-h.queue
		return context.Cause(ctx)
	}
	if ctx.Err() != nil { // both were ready, and select takes either
		h.releaseSlot(0)
		return context.Cause(ctx)
	}
	return nil
}

// cooldownAfter returns the cooldown after a hash that took so long.
func (h *Hasher) cooldownAfter(took time.Duration) time.Duration {
	for {
		fastest := h.fastest.Load()
		if took <= 0 || fastest != 0 && int64(took) >= fastest || h.fastest.CompareAndSwap(fastest, int64(took)) {
			break
		}
	}
	return time.Duration(h.fastest.Load() * h.cooldown / 100)
}

// releaseSlot frees the place in the queue immediately and the slot after the cooldown.
func (h *Hasher) releaseSlot(cooldown time.Duration) {
	<-h.queue
	if cooldown <= 0 {
		<-h.slots
		return
	}
	time.AfterFunc(cooldown, func() { <-h.slots })
}

// isCurrent reports whether the hash has this Hasher's parameters. Any other may be of another
// system's.
func (h *Hasher) isCurrent(hash string) bool {
	p, _, _, err := argon2id.DecodeHash(hash)
	return err == nil && *p == h.params
}

// isComputable reports whether argon2 can compute a stored hash: it panics without passes, lanes or a
// key, and allocates whatever memory the hash asks for.
func isComputable(hash string) bool {
	p, _, _, err := argon2id.DecodeHash(hash)
	return err == nil && p.Memory <= maxHashMemory && p.Iterations >= 1 && p.Iterations <= maxHashPasses && p.Parallelism >= 1 && p.KeyLength >= minHashKey
}

const (
	maxHashMemory = 1 << 20 // KiB
	maxHashPasses = 64
	minHashKey    = 16 // bytes; a shorter one could match by chance
)
