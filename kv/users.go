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
	// leaseTTL is how long a filler may take between its miss and its Fill.
	leaseTTL    = 5 * time.Second
	userVersion = 1
	// A failed drop is retried after minRetry, then twice as long, up to maxRetry.
	minRetry = 50 * time.Millisecond
	maxRetry = 2 * time.Second
	// dropPatience is how long a look-up waits at most for a drop that is under way. A drop takes
	// a millisecond, and who is read past the cache does not get into it.
	maxDropWait = 50 * time.Millisecond
	// maxPending bounds the users whose drop is pending: it is what one pipeline deletes within
	// opTimeout. Beyond it all users are dropped instead.
	maxPending = 1000
)

// Users is the auth.UserCache: key "user:" + id, a user as JSON or the lease of whoever is
// about to fill it. It may be flushed at any moment.
type Users struct {
	redis *redisconn.Pool
	ttl   time.Duration
	// Log is told once when drops begin to fail; nil for nobody.
	Log *slog.Logger
	// Hits and Misses count look-ups, for metrics.
	Hits, Misses atomic.Int64

	mu sync.Mutex
	// undropped holds the ids whose drop is pending, at most maxPending, each with the number of
	// its newest invalidation, so that an older success does not strike out a newer one. This
	// process treats these users as misses.
	pendingDrops map[string]uint64
	// undroppedAll is the number of the newest invalidation of all users that is pending: until
	// then every user is a miss. 0 for none.
	pendingDropAll uint64
	lastDrop       uint64
	retrying       bool
	// attempted is closed when the background work has failed once or is done.
	firstAttempt chan struct{}
	closed       bool
	done         chan struct{}
	retries      sync.WaitGroup
}

var _ auth.UserCache = (*Users)(nil)

// NewUsers returns the cache in r, which keeps a user for at most ttl. Close it at the end.
func NewUsers(r *redisconn.Pool, ttl time.Duration) *Users {
	return &Users{redis: r, ttl: ttl, pendingDrops: map[string]uint64{}, done: make(chan struct{})}
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
	if u.isDropPending(id) && !u.awaitDrop(ctx, id) {
		return auth.User{}, "", auth.ErrNotFound
	}
	user, lease, err := u.find(ctx, id)
	if err == nil && u.isDropPending(id) {
		// Invalidated while Redis was asked.
		return auth.User{}, "", auth.ErrNotFound
	}
	return user, lease, err
}

// awaitDrop waits for a drop that is under way, unless it hangs or has failed, and reports whether
// the cache can be asked.
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
		// Also when GET saw a user, who was dropped right after, and when the command was
		// repeated on a new connection and finds its own lease.
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

// missed is the answer when there was nothing to read and no lease to be had.
func missError(what string, reply any) error {
	if err := redisconn.ReplyError(what, reply); err != nil {
		return err
	}
	return auth.ErrNotFound
}

// discard deletes what cannot be read, so that the next request gets a lease.
func (u *Users) discard(ctx context.Context, key string) error {
	if _, err := u.redis.Do(ctx, redisconn.Idempotent("discard cached user"), redisconn.Cmd("DEL", key)); err != nil {
		return err
	}
	return auth.ErrNotFound
}

var userFields = fieldNamesOf(userRecord{})

// parseUser checks that the value is a whole record of this user: a mixed-up value must never
// become somebody else.
func parseUser(value []byte, id string) (auth.User, bool) {
	u, ok := parseAnyUser(value)
	return u, ok && u.ID == id
}

// parseAnyUser is parseUser before it is known whose record it should be.
func parseAnyUser(value []byte) (auth.User, bool) {
	rec := userRecord{User: auth.User{Epoch: -1}}
	if _, ok := userFields.decode(value, &rec); !ok {
		return auth.User{}, false
	}
	whole := rec.Version == userVersion && rec.ID != "" && rec.Username != "" && rec.Epoch >= 0
	return rec.User, whole
}

// fillScript: KEYS[1] = user:ID; ARGV = lease, record, TTL in ms.
var fillScript = redisconn.NewScript(`
if redis.call('TYPE', KEYS[1]).ok ~= 'string' or redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1`)

// Fill stores the user if the lease is still there; otherwise it does nothing.
func (u *Users) Fill(ctx context.Context, user auth.User, lease string) error {
	if lease == "" || u.isDropPending(user.ID) {
		return nil
	}
	record, err := json.Marshal(userRecord{userVersion, user})
	if err != nil {
		return fmt.Errorf("encode user for the cache: %w", err)
	}
	const what = "fill user cache"
	replies, err := u.redis.RunScript(ctx, what, fillScript,
		redisconn.Call(userPrefix+user.ID, lease, record, redisconn.Millis(u.ttl)))
	if err != nil {
		return err
	}
	return redisconn.ReplyError(what, replies[0])
}

// tombstoneTTL is short because inserting a user again, as from a backup, takes no tombstone away;
// signing in does.
const tombstoneTTL = time.Minute

// tombstone stands in the place of a deleted user. To other programs it is a user who is not active.
type tombstone struct {
	Version  int    `json:"v"`
	ID       string `json:"id"`
	Username string `json:"username"`
	Epoch    int64  `json:"epoch"`
	Active   bool   `json:"active"`
	Deleted  bool   `json:"deleted"`
	// Lease makes the value unique, so that it is a lease for whoever finds it.
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
		return fmt.Errorf("encode a deleted user for the cache: %w", err)
	}
	const what = "fill user cache"
	replies, err := u.redis.RunScript(ctx, what, fillScript, redisconn.Call(userPrefix+id, lease, record, redisconn.Millis(tombstoneTTL)))
	if err != nil {
		return err
	}
	return redisconn.ReplyError(what, replies[0])
}

const (
	// cacheIDKey holds a random text that is made anew when the cache was flushed.
	cacheIDKey = "cache-id"
	// flushInterval is how often the cache is looked at for a flush.
	flushInterval = 250 * time.Millisecond
)

// WatchFlush calls refill after each flush of the cache, until ctx ends.
func (u *Users) WatchFlush(ctx context.Context, refill func(context.Context)) {
	const what = "look whether the cache was flushed"
	tick := time.NewTicker(flushInterval)
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

// idIn returns the cache's id; false when the flush came between the two commands.
func cacheID(replies []any) (string, bool) {
	if len(replies) < 2 {
		return "", false
	}
	id, ok := replies[1].([]byte)
	return string(id), ok
}

// Invalidate implements auth.UserCache: from now on this process treats the user as a miss, until
// the cached user and any lease were dropped, which goes on in the background. It never waits.
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

// Drop is Invalidate and waits for the first attempt. It goes on when ctx is canceled, because the
// row has changed already. When it fails it returns the error, and is retried like Invalidate.
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

// DropAll removes every cached user and lease, and nothing else: credentials live beside
// them. It also makes good every drop that is pending. The work is bounded by the size of the
// database, not by opTimeout: each step has its own. When it fails it is retried like Invalidate.
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

// remember notes a pending drop. The caller holds the lock.
func (u *Users) addPending(id string, number uint64) {
	u.pendingDrops[id] = max(u.pendingDrops[id], number)
	if len(u.pendingDrops) > maxPending {
		u.addPendingAll(u.lastDrop)
	}
}

// rememberAll notes that all users are to be dropped, which includes each that was noted before.
// The caller holds the lock.
func (u *Users) addPendingAll(number uint64) {
	u.pendingDropAll = max(u.pendingDropAll, number)
	maps.DeleteFunc(u.pendingDrops, func(_ string, n uint64) bool { return n <= u.pendingDropAll })
}

// retryRest starts the background work if anything is pending.
func (u *Users) retryPending() {
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.pendingDrops) > 0 || u.pendingDropAll > 0 {
		u.startRetrying()
	}
}

// startRetrying starts the background work unless it is running. The caller holds the lock.
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

// forget strikes out the invalidations that came before the drop of this number began.
func (u *Users) clearPending(number uint64, ids ...string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, id := range ids {
		if pending, ok := u.pendingDrops[id]; ok && pending <= number {
			delete(u.pendingDrops, id)
		}
	}
}

// forgetAll strikes out all invalidations that came before the DropAll of this number began.
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

// pending returns the ids whose drop is pending.
func (u *Users) pendingIDs() []string {
	u.mu.Lock()
	defer u.mu.Unlock()
	return slices.Collect(maps.Keys(u.pendingDrops))
}

// retry drops what is pending until nothing is. What is invalidated meanwhile goes into the next
// batch.
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
			u.Log.Warn("changed users cannot be dropped from the cache; they are read from the database until they are", "error", err)
		}
		wait = min(max(2*wait, minRetry), maxRetry)
		select {
		case <-u.done:
			return
		case <-time.After(wait):
		}
	}
}

// idle reports whether nothing is pending, and then ends the background work.
func (u *Users) idle() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.retrying = len(u.pendingDrops) > 0 || u.pendingDropAll > 0
	return !u.retrying
}

// retryAll is one attempt for everything that is pending.
func (u *Users) retryAll() error {
	if u.isDropPending("") {
		number := u.beginDrop()
		if err := u.dropAll(context.Background()); err != nil {
			return errors.Join(err, errors.New("users that may have changed may still be cached"))
		}
		u.clearPendingAll(number)
	}
	number := u.beginDrop()
	ids := u.pendingIDs()
	if err := u.drop(context.Background(), ids...); err != nil {
		return errors.Join(err, fmt.Errorf("%d dropped users may still be cached", len(ids)))
	}
	u.clearPending(number, ids...)
	return nil
}
