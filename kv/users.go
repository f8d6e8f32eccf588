package kv

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"gatehouse/auth"
	"gatehouse/kv/redisconn"

	"github.com/gomodule/redigo/redis"
)

const (
	userPrefix  = "user:"
	leasePrefix = "lease:"
	// leaseTTL bounds the time between a miss and its Fill.
	leaseTTL    = 5 * time.Second
	userVersion = 1
	// A failed drop is retried after minRetry, then twice as long, up to maxRetry.
	minRetry = 50 * time.Millisecond
	maxRetry = 2 * time.Second
	// maxDropWait bounds how long a lookup waits for a drop in progress. A drop takes about a millisecond; a
	// user that is read past the cache is not stored in it.
	maxDropWait = 50 * time.Millisecond
	// maxPending bounds the users with a pending drop to what one pipeline deletes within OpTimeout.
	// Beyond it, all users are dropped.
	maxPending = 1000
)

// Users is the auth.UserCache: key "user:" + id, holding a user as JSON or the lease of the request that
// is about to fill it. It may be flushed at any time.
type Users struct {
	redis *redisconn.Pool
	ttl   time.Duration
	// Log gets one warning when drops begin to fail; nil for none.
	Log *slog.Logger
	// Hits and Misses count lookups, for metrics.
	Hits, Misses atomic.Int64

	mu sync.Mutex
	// pendingDrops holds the ids whose drop is pending, at most maxPending, each with the number of its
	// latest invalidation, so that an older success does not clear a newer one. This process treats
	// these users as misses.
	pendingDrops map[string]uint64
	// pendingDropAll is the number of the latest pending invalidation of all users; 0 for none. While it
	// is pending, every user is a miss.
	pendingDropAll uint64
	lastDrop       uint64
	retrying       bool
	// firstAttempt is closed when the background goroutine has failed once or is done.
	firstAttempt chan struct{}
	closed       bool
	done         chan struct{}
	retries      sync.WaitGroup
}

var _ auth.UserCache = (*Users)(nil)

// NewUsers returns the cache in r. Users expire after ttl. The caller closes it.
func NewUsers(r *redisconn.Pool, ttl time.Duration) *Users {
	return &Users{redis: r, ttl: ttl, pendingDrops: map[string]uint64{}, done: make(chan struct{})}
}

// userRecord is the JSON record of a user, which other programs read.
type userRecord struct {
	Version int `json:"v"`
	auth.User
}

// User implements auth.UserCache in one round trip, which also requests the lease: SET NX changes nothing
// while there is a value, so that a hit does not write. On an error that wraps auth.ErrUnavailable the
// caller reads from SQL.
func (u *Users) User(ctx context.Context, id string) (auth.User, string, error) {
	if u.isDropPending(id) && !u.awaitDrop(ctx, id) {
		return auth.User{}, "", auth.ErrNotFound
	}
	user, lease, err := u.find(ctx, id)
	if err == nil && u.isDropPending(id) {
		// Invalidated during the read.
		return auth.User{}, "", auth.ErrNotFound
	}
	return user, lease, err
}

// awaitDrop waits for a drop in progress, unless it hangs or has failed, and reports whether the cache
// may be read.
func (u *Users) awaitDrop(ctx context.Context, id string) bool {
	u.mu.Lock()
	attempted := u.firstAttempt
	u.mu.Unlock()
	limit := time.NewTimer(maxDropWait)
	defer limit.Stop()
	select {
	case <-attempted:
	case <-limit.C:
	case <-ctx.Done():
	}
	return !u.isDropPending(id)
}

func (u *Users) find(ctx context.Context, id string) (auth.User, string, error) {
	const what = "find cached user"
	key, lease := userPrefix+id, leasePrefix+rand.Text()
	replies, err := u.redis.Exchange(ctx, redisconn.Idempotent(what),
		redisconn.Cmd("GET", key), redisconn.Cmd("SET", key, lease, "NX", "PX", redisconn.Millis(leaseTTL)))
	if err != nil {
		return auth.User{}, "", err
	}
	value, _ := replies[0].([]byte)
	if replies[1] == "OK" || string(value) == lease {
		// Also if GET found a user that was dropped right afterwards, and if the retry on a new
		// connection finds its own lease.
		u.Misses.Add(1)
		return auth.User{}, lease, auth.ErrNotFound
	}
	if replies[0] == nil {
		return auth.User{}, "", missError(what, replies[1])
	}
	if err := redisconn.ReplyError(what, replies[0]); err != nil && !redisconn.HasCode(replies[0], "WRONGTYPE") {
		return auth.User{}, "", err
	}
	if bytes.HasPrefix(value, []byte(leasePrefix)) {
		return auth.User{}, "", auth.ErrNotFound
	}
	user, ok := parseUser(value, id)
	if !ok && isTombstone(value, id) {
		return auth.User{}, string(value), auth.ErrUserDeleted
	}
	if !ok {
		return auth.User{}, "", u.discard(ctx, key)
	}
	u.Hits.Add(1)
	return user, "", nil
}

// SharedLease implements auth.UserCache in one round trip.
func (u *Users) SharedLease(ctx context.Context, id string) (string, error) {
	if u.isDropPending(id) {
		return "", nil
	}
	const what = "find a lease"
	replies, err := u.redis.Exchange(ctx, redisconn.Idempotent(what), redisconn.Cmd("GET", userPrefix+id))
	if err != nil {
		return "", err
	}
	if value, _ := replies[0].([]byte); bytes.HasPrefix(value, []byte(leasePrefix)) {
		return string(value), nil
	}
	return "", nil
}

// missError returns the error of a miss without a lease.
func missError(what string, reply any) error {
	if err := redisconn.ReplyError(what, reply); err != nil {
		return err
	}
	return auth.ErrNotFound
}

// discard deletes an invalid record, so that the next request gets a lease.
func (u *Users) discard(ctx context.Context, key string) error {
	if _, err := u.redis.Do(ctx, redisconn.Idempotent("discard cached user"), redisconn.Cmd("DEL", key)); err != nil {
		return err
	}
	return auth.ErrNotFound
}

var userFields = fieldNamesOf(userRecord{})

// parseUser parses a record and checks that it is complete and belongs to this user.
func parseUser(value []byte, id string) (auth.User, bool) {
	u, ok := parseAnyUser(value)
	return u, ok && u.ID == id
}

// parseAnyUser is parseUser for a record of any user.
func parseAnyUser(value []byte) (auth.User, bool) {
	rec := userRecord{User: auth.User{Epoch: -1}}
	if _, ok := userFields.decode(value, &rec); !ok {
		return auth.User{}, false
	}
	valid := rec.Version == userVersion && rec.ID != "" && rec.Username != "" && rec.Epoch >= 0
	return rec.User, valid
}

// fillScript: KEYS[1] = user:ID; ARGV = lease, record, TTL in ms.
var fillScript = redisconn.NewScript(`
if redis.call('TYPE', KEYS[1]).ok ~= 'string' or redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1`)

// Fill stores the user if the lease still exists.
func (u *Users) Fill(ctx context.Context, user auth.User, lease string) error {
	if lease == "" || u.isDropPending(user.ID) {
		return nil
	}
	record, err := json.Marshal(userRecord{userVersion, user})
	if err != nil {
		return fmt.Errorf("encode cached user: %w", err)
	}
	const what = "fill user cache"
	replies, err := u.redis.RunScript(ctx, what, fillScript,
		redisconn.Call(userPrefix+user.ID, lease, record, redisconn.Millis(u.ttl)))
	if err != nil {
		return err
	}
	return redisconn.ReplyError(what, replies[0])
}

// tombstoneTTL is short because restoring a deleted user, as from a backup, does not remove the tombstone;
// signing in does.
const tombstoneTTL = time.Minute

// tombstone replaces the record of a deleted user. To other programs it is an inactive user.
type tombstone struct {
	Version  int    `json:"v"`
	ID       string `json:"id"`
	Username string `json:"username"`
	Epoch    int64  `json:"epoch"`
	Active   bool   `json:"active"`
	Deleted  bool   `json:"deleted"`
	// Lease makes the value unique, so that it also serves as a lease.
	Lease string `json:"lease"`
}

func isTombstone(value []byte, id string) bool {
	var t tombstone
	return json.Unmarshal(value, &t) == nil && t.Version == userVersion && t.ID == id && t.Deleted && !t.Active && t.Lease != ""
}

// FillDeleted implements auth.UserCache.
func (u *Users) FillDeleted(ctx context.Context, id, lease string) error {
	if lease == "" || u.isDropPending(id) {
		return nil
	}
	record, err := json.Marshal(tombstone{Version: userVersion, ID: id, Deleted: true, Lease: rand.Text()})
	if err != nil {
		return fmt.Errorf("encode tombstone: %w", err)
	}
	const what = "fill user cache"
	replies, err := u.redis.RunScript(ctx, what, fillScript, redisconn.Call(userPrefix+id, lease, record, redisconn.Millis(tombstoneTTL)))
	if err != nil {
		return err
	}
	return redisconn.ReplyError(what, replies[0])
}

const (
	// cacheIDKey holds a random id, which is missing after a flush.
	cacheIDKey = "cache-id"
	// flushCheckInterval is the time between two checks for a flush.
	flushCheckInterval = 250 * time.Millisecond
)

// WatchFlush calls refill after each flush of the cache, until ctx ends.
func (u *Users) WatchFlush(ctx context.Context, refill func(context.Context)) {
	const what = "check for a flushed cache"
	tick := time.NewTicker(flushCheckInterval)
	defer tick.Stop()
	for known := ""; ; {
		replies, err := u.redis.Pipeline(ctx, redisconn.Idempotent(what), redisconn.Cmd("SET", cacheIDKey, rand.Text(), "NX"), redisconn.Cmd("GET", cacheIDKey))
		if id, ok := cacheID(replies); err == nil && ok {
			if known != "" && id != known {
				refill(ctx)
			}
			known = id
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// cacheID returns the cache's id; false if a flush came between the two commands.
func cacheID(replies []any) (string, bool) {
	if len(replies) < 2 {
		return "", false
	}
	id, ok := replies[1].([]byte)
	return string(id), ok
}

// Invalidate implements auth.UserCache: this process treats the user as a miss until the cached user and
// any lease have been dropped in the background. It never waits.
func (u *Users) Invalidate(id string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.lastDrop++
	u.addPending(id, u.lastDrop)
	u.startRetrying()
}

// InvalidateAll is Invalidate for all users.
func (u *Users) InvalidateAll() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.lastDrop++
	u.addPendingAll(u.lastDrop)
	u.startRetrying()
}

// Drop is Invalidate, but waits for the first attempt and returns its error; a failed drop is retried like
// Invalidate. It continues when ctx is canceled, because the row has already changed.
func (u *Users) Drop(ctx context.Context, id string) error {
	u.mu.Lock()
	u.lastDrop++
	number := u.lastDrop
	u.addPending(id, number)
	u.mu.Unlock()
	err := u.drop(context.WithoutCancel(ctx), id)
	if err == nil {
		u.clearPending(number, id)
	}
	u.retryPending()
	return err
}

func (u *Users) drop(ctx context.Context, ids ...string) error {
	keys := make([]string, len(ids))
	for i, id := range ids {
		keys[i] = userPrefix + id
	}
	return u.redis.Delete(ctx, "drop cached users", keys)
}

// DropAll removes every cached user and lease, and nothing else: the same database holds credentials. It
// completes all pending drops. OpTimeout applies to each step, not to the whole. A failed DropAll is
// retried like Invalidate.
func (u *Users) DropAll(ctx context.Context) error {
	u.mu.Lock()
	u.lastDrop++
	number := u.lastDrop
	u.addPendingAll(number)
	u.mu.Unlock()
	err := u.dropAll(context.WithoutCancel(ctx))
	if err == nil {
		u.clearPendingAll(number)
	}
	u.retryPending()
	return err
}

func (u *Users) dropAll(ctx context.Context) error {
	const what = "drop all cached users"
	for cursor := "0"; ; {
		page, err := redis.Values(u.redis.Do(ctx, redisconn.Idempotent(what), redisconn.Cmd("SCAN", cursor, "MATCH", userPrefix+"*", "COUNT", 1000)))
		if err != nil {
			return err
		}
		var keys []string
		if _, err := redis.Scan(page, &cursor, &keys); err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		if err := u.redis.Delete(ctx, what, keys); err != nil {
			return err
		}
		if cursor == "0" {
			return nil
		}
	}
}

// Close stops the background goroutine and retries the pending drops once. It returns an error if they
// fail again.
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

func (u *Users) isDropPending(id string) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	_, ok := u.pendingDrops[id]
	return ok || u.pendingDropAll > 0
}

// begin returns the number of a new drop.
func (u *Users) beginDrop() uint64 {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.lastDrop++
	return u.lastDrop
}

// addPending records a pending drop. The caller holds the lock.
func (u *Users) addPending(id string, number uint64) {
	u.pendingDrops[id] = max(u.pendingDrops[id], number)
	if len(u.pendingDrops) > maxPending {
		u.addPendingAll(u.lastDrop)
	}
}

// addPendingAll records that all users are to be dropped, which includes earlier pending drops. The caller
// holds the lock.
func (u *Users) addPendingAll(number uint64) {
	u.pendingDropAll = max(u.pendingDropAll, number)
	maps.DeleteFunc(u.pendingDrops, func(_ string, n uint64) bool { return n <= u.pendingDropAll })
}

// retryPending starts the background goroutine if a drop is pending.
func (u *Users) retryPending() {
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.pendingDrops) > 0 || u.pendingDropAll > 0 {
		u.startRetrying()
	}
}

// startRetrying starts the background goroutine unless it is running. The caller holds the lock.
func (u *Users) startRetrying() {
	if u.retrying || u.closed {
		return
	}
	u.retrying = true
	done := make(chan struct{})
	u.firstAttempt = done
	attempted := sync.OnceFunc(func() { close(done) })
	u.retries.Go(func() { u.retry(attempted) })
}

// clearPending removes the invalidations from before the drop with this number.
func (u *Users) clearPending(number uint64, ids ...string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, id := range ids {
		if pending, ok := u.pendingDrops[id]; ok && pending <= number {
			delete(u.pendingDrops, id)
		}
	}
}

// clearPendingAll removes all invalidations from before the DropAll with this number.
func (u *Users) clearPendingAll(number uint64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for id, failed := range u.pendingDrops {
		if failed <= number {
			delete(u.pendingDrops, id)
		}
	}
	if u.pendingDropAll <= number {
		u.pendingDropAll = 0
	}
}

// pendingIDs returns the ids with a pending drop.
func (u *Users) pendingIDs() []string {
	u.mu.Lock()
	defer u.mu.Unlock()
	return slices.Collect(maps.Keys(u.pendingDrops))
}

// retry drops the pending users until there are none. Those invalidated meanwhile go into the next batch.
func (u *Users) retry(attempted func()) {
	defer attempted()
	var wait time.Duration
	for !u.idle() {
		err := u.retryAll()
		if err == nil {
			wait = 0
			continue
		}
		attempted()
		if wait == 0 && u.Log != nil {
			u.Log.Warn("cannot drop changed users from the cache; reading them from the database until that succeeds", "error", err)
		}
		wait = min(max(2*wait, minRetry), maxRetry)
		select {
		case <-u.done:
			return
		case <-time.After(wait):
		}
	}
}

// idle reports whether no drop is pending; if so, the background goroutine ends.
func (u *Users) idle() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.retrying = len(u.pendingDrops) > 0 || u.pendingDropAll > 0
	return !u.retrying
}

// retryAll tries all pending drops once.
func (u *Users) retryAll() error {
	if u.isDropPending("") {
		number := u.beginDrop()
		if err := u.dropAll(context.Background()); err != nil {
			return errors.Join(err, errors.New("outdated users may still be cached"))
		}
		u.clearPendingAll(number)
	}
	number := u.beginDrop()
	ids := u.pendingIDs()
	if err := u.drop(context.Background(), ids...); err != nil {
		return errors.Join(err, fmt.Errorf("%d outdated users may still be cached", len(ids)))
	}
	u.clearPending(number, ids...)
	return nil
}
