package kv

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"gatehouse/auth"

	"github.com/gomodule/redigo/redis"
)

const (
	userPrefix  = "user:"
	leasePrefix = "lease:"
	// leaseTTL is how long a filler may take between its miss and its Fill.
	leaseTTL    = 5 * time.Second
	userVersion = 1
	// A failed Drop is tried again after minRetry, then twice as long, up to maxRetry.
	minRetry = 50 * time.Millisecond
	maxRetry = 2 * time.Second
)

// Users is the auth.UserCache: key "user:" + id, a user as JSON or the lease of whoever is
// about to fill it. It may be flushed at any moment.
type Users struct {
	redis *Redis
	ttl   time.Duration
	// Hits and Misses count look-ups, for metrics.
	Hits, Misses atomic.Int64

	mu sync.Mutex
	// undropped holds the ids whose Drop failed, each with the number of that Drop, so
	// that an older success does not strike out a newer failure.
	undropped map[string]uint64
	// undroppedAll is the number of a DropAll that failed: so long, all users are taken for
	// misses. 0 for none.
	undroppedAll uint64
	drops        uint64
	retrying     bool
	closed       bool
	done         chan struct{}
	retries      sync.WaitGroup
}

var _ auth.UserCache = (*Users)(nil)

// NewUsers returns the cache in r, which keeps a user for at most ttl. Close it at the end.
func NewUsers(r *Redis, ttl time.Duration) *Users {
	return &Users{redis: r, ttl: ttl, undropped: map[string]uint64{}, done: make(chan struct{})}
}

// userRecord is the JSON under the key; other programs read it.
type userRecord struct {
	Version int `json:"v"`
	auth.User
}

// User returns the cached user in one round trip. The lease is asked for in the same one: SET
// NX changes nothing while there is a value, so that a hit does not write. An error that wraps
// auth.ErrUnavailable sends the caller to SQL.
func (u *Users) User(ctx context.Context, id string) (auth.User, string, error) {
	if u.isUndropped(id) {
		return auth.User{}, "", auth.ErrNotFound
	}
	const what = "find cached user"
	key, lease := userPrefix+id, leasePrefix+rand.Text()
	replies, err := u.redis.exchange(ctx, repeatable(what),
		cmd("GET", key), cmd("SET", key, lease, "NX", "PX", millis(leaseTTL)))
	if err != nil {
		return auth.User{}, "", err
	}
	value, _ := replies[0].([]byte)
	if replies[1] == "OK" || string(value) == lease {
		// Also when GET saw a user, who was dropped right after, and when the command was
		// repeated on a new connection and finds its own lease.
		u.Misses.Add(1)
		return auth.User{}, lease, auth.ErrNotFound
	}
	if replies[0] == nil {
		return auth.User{}, "", missed(what, replies[1])
	}
	if err := replyError(what, replies[0]); err != nil && !hasCode(replies[0], "WRONGTYPE") {
		return auth.User{}, "", err
	}
	if bytes.HasPrefix(value, []byte(leasePrefix)) {
		return auth.User{}, "", auth.ErrNotFound
	}
	user, ok := parseUser(value, id)
	if !ok {
		return auth.User{}, "", u.discard(ctx, key)
	}
	u.Hits.Add(1)
	return user, "", nil
}

// missed is the answer when there was nothing to read and no lease to be had.
func missed(what string, reply any) error {
	if err := replyError(what, reply); err != nil {
		return err
	}
	return auth.ErrNotFound
}

// discard deletes what cannot be read, so that the next request gets a lease.
func (u *Users) discard(ctx context.Context, key string) error {
	if _, err := u.redis.do(ctx, repeatable("discard cached user"), cmd("DEL", key)); err != nil {
		return err
	}
	return auth.ErrNotFound
}

// parseUser checks that the value is a whole record of this user: a mixed-up value must never
// become somebody else.
func parseUser(value []byte, id string) (auth.User, bool) {
	rec := userRecord{User: auth.User{Epoch: -1}}
	if !utf8.Valid(value) || json.Unmarshal(value, &rec) != nil {
		return auth.User{}, false
	}
	whole := rec.Version == userVersion && rec.ID == id && id != "" && rec.Username != "" && rec.Epoch >= 0
	return rec.User, whole
}

// fillScript: KEYS[1] = user:ID; ARGV = lease, record, TTL in ms.
var fillScript = newScript(`
if redis.call('TYPE', KEYS[1]).ok ~= 'string' or redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1`)

// Fill stores the user if the lease is still there; otherwise it does nothing.
func (u *Users) Fill(ctx context.Context, user auth.User, lease string) error {
	if lease == "" || u.isUndropped(user.ID) {
		return nil
	}
	record, err := json.Marshal(userRecord{userVersion, user})
	if err != nil {
		return fmt.Errorf("encode user for the cache: %w", err)
	}
	const what = "fill user cache"
	replies, err := u.redis.run(ctx, what, fillScript,
		call{userPrefix + user.ID, []any{lease, record, millis(u.ttl)}})
	if err != nil {
		return err
	}
	return replyError(what, replies[0])
}

// Drop removes the user and any lease. It goes on when ctx is cancelled, because the row has
// changed already. When it fails it returns the error and is tried again in the background
// until it succeeds; so long, this process takes the user for a miss.
func (u *Users) Drop(ctx context.Context, id string) error {
	number := u.begin()
	if err := u.drop(context.WithoutCancel(ctx), id); err != nil {
		u.remember(id, number)
		return err
	}
	u.forget(id, number)
	return nil
}

func (u *Users) drop(ctx context.Context, id string) error {
	_, err := u.redis.do(ctx, repeatable("drop cached user"), cmd("DEL", userPrefix+id))
	return err
}

// DropAll removes every cached user and lease, and nothing else: credentials live beside
// them. It also makes good every Drop that failed. The work is bounded by the size of the
// database, not by opTimeout: each step has its own. When it fails it is tried again as a Drop is.
func (u *Users) DropAll(ctx context.Context) error {
	number := u.begin()
	if err := u.dropAll(context.WithoutCancel(ctx)); err != nil {
		u.rememberAll(number)
		return err
	}
	u.forgetAll(number)
	return nil
}

func (u *Users) dropAll(ctx context.Context) error {
	const what = "drop all cached users"
	for cursor := "0"; ; {
		page, err := redis.Values(u.redis.do(ctx, repeatable(what), cmd("SCAN", cursor, "MATCH", userPrefix+"*", "COUNT", 1000)))
		if err != nil {
			return err
		}
		var keys []string
		if _, err := redis.Scan(page, &cursor, &keys); err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		if err := u.redis.delete(ctx, what, keys); err != nil {
			return err
		}
		if cursor == "0" {
			return nil
		}
	}
}

// Close ends the background work. It tries the drops that failed once more and returns an
// error if Redis still does not take them.
func (u *Users) Close() error {
	u.mu.Lock()
	if u.closed {
		u.mu.Unlock()
		return nil
	}
	u.closed = true
	close(u.done)
	u.mu.Unlock()
	u.retries.Wait()
	return u.retryAll()
}

func (u *Users) isUndropped(id string) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	_, ok := u.undropped[id]
	return ok || u.undroppedAll > 0
}

// begin returns the number of a new Drop.
func (u *Users) begin() uint64 {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.drops++
	return u.drops
}

func (u *Users) remember(id string, number uint64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.undropped[id] = max(u.undropped[id], number)
	u.retryLater()
}

func (u *Users) rememberAll(number uint64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.undroppedAll = max(u.undroppedAll, number)
	u.retryLater()
}

// retryLater begins the retrying, unless it goes on already. The caller holds the lock.
func (u *Users) retryLater() {
	if u.retrying || u.closed {
		return
	}
	u.retrying = true
	u.retries.Go(u.retry)
}

// forget strikes out the failures that began before the Drop of this number did.
func (u *Users) forget(id string, number uint64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if failed, ok := u.undropped[id]; ok && failed <= number {
		delete(u.undropped, id)
	}
}

// forgetAll strikes out all failures that began before the DropAll of this number did.
func (u *Users) forgetAll(number uint64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for id, failed := range u.undropped {
		if failed <= number {
			delete(u.undropped, id)
		}
	}
	if u.undroppedAll <= number {
		u.undroppedAll = 0
	}
}

func (u *Users) failures() map[string]uint64 {
	u.mu.Lock()
	defer u.mu.Unlock()
	failures := make(map[string]uint64, len(u.undropped))
	for id, number := range u.undropped {
		failures[id] = number
	}
	return failures
}

func (u *Users) retry() {
	wait := minRetry
	for !u.idle() {
		select {
		case <-u.done:
			return
		case <-time.After(wait):
		}
		wait = min(2*wait, maxRetry)
		if u.retryAll() == nil {
			wait = minRetry
		}
	}
}

// idle reports whether nothing is left to retry, and then ends the retrying.
func (u *Users) idle() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.retrying = len(u.undropped) > 0 || u.undroppedAll > 0
	return !u.retrying
}

// retryAll stops at the first failure: the others would only wait for the same timeout.
func (u *Users) retryAll() error {
	if u.isUndropped("") {
		number := u.begin()
		if err := u.dropAll(context.Background()); err != nil {
			return errors.Join(err, errors.New("users that may have changed may still be cached"))
		}
		u.forgetAll(number)
	}
	for id := range u.failures() {
		number := u.begin()
		if err := u.drop(context.Background(), id); err != nil {
			return errors.Join(err, fmt.Errorf("%d dropped users may still be cached", len(u.failures())))
		}
		u.forget(id, number)
	}
	return nil
}
