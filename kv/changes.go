package kv

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"gatehouse/auth"
	"gatehouse/kv/redisconn"

	"github.com/gomodule/redigo/redis"
)

const (
	changesKey = "user-changes"
	// changesField is the only field of an entry: a user's id, or auth.AllUsers.
	changesField = "user"
	// changesLength caps the stream; Redis may keep up to a hundred entries more. A server that was
	// idle while more users changed invalidates all users.
	changesLength = 1000
	// embeddedChangesLength caps the stream in the embedded Redis, which scans all entries on every read.
	embeddedChangesLength = 32
	// changesBatch bounds the entries that one read returns.
	changesBatch = 100
)

// ChangeReceiver invalidates cached users. Its methods never wait for the network.
type ChangeReceiver interface {
	InvalidateUser(id string)
	InvalidateAllUsers()
	// InvalidateLocalUsers clears the cache in this process only.
	InvalidateLocalUsers()
}

// Changes is the auth.ChangeLog: the capped stream "user-changes" beside the sessions. A change is
// appended after its commit and before its request is answered. Every read of a session or token also
// reads, in the same round trip, the entries that are new to this process, and returns only after the
// receiver has handled them: every request that begins after a change was answered sees the change.
//
// A read starts at the last known entry to detect gaps. If that entry is missing, the stream was trimmed,
// flushed or restored, and all users are invalidated. While there is no stream, changes cannot be
// announced, so every read clears the local cache.
type Changes struct {
	redis  *redisconn.Pool
	length int
	log    *slog.Logger

	// last is the id of the last entry that the receiver handled; "" for an empty stream. Stores hold mu.
	last     atomic.Pointer[string]
	mu       sync.Mutex
	receiver ChangeReceiver

	// pending holds the entries whose append failed.
	pendingMu sync.Mutex
	pending   map[string]bool
	retrying  bool
	closed    bool
	done      chan struct{}
	retries   sync.WaitGroup
}

var _ auth.ChangeLog = (*Changes)(nil)

// NewChanges returns the stream in r; embedded is set for an embedded Redis. The caller closes it.
func NewChanges(r *redisconn.Pool, embedded bool, log *slog.Logger) *Changes {
	c := &Changes{redis: r, length: changesLength, log: log, pending: map[string]bool{}, done: make(chan struct{})}
	if embedded {
		c.length = embeddedChangesLength
	}
	c.last.Store(new(string))
	return c
}

// Follow passes the changes to the receiver from now on, with every read in r. Call it once, before r is
// used concurrently; earlier changes are unknown to the receiver. An error means that the stream cannot
// be read.
func (c *Changes) Follow(ctx context.Context, receiver ChangeReceiver) error {
	n, err := redis.Int64(c.redis.Do(ctx, redisconn.Idempotent("find changed users"), redisconn.Cmd("XLEN", changesKey)))
	if err != nil || n == 0 {
		// A key of another type is replaced; Sync returns any other error.
		if err := c.Append(ctx, auth.AllUsers); err != nil {
			c.log.WarnContext(ctx, "user changes cannot be announced to other servers; the local user cache stays off until they can", "error", err)
		}
	}
	c.receiver = receiver
	c.redis.SetReadHook(redisconn.ReadHook{Command: c.readCommand, Receive: c.receive})
	return c.Sync(ctx)
}

// Append implements auth.ChangeLog. A failed append is retried in the background.
func (c *Changes) Append(ctx context.Context, userID string) error {
	err := c.append(context.WithoutCancel(ctx), userID)
	if err != nil {
		c.retryLater(userID)
	}
	return err
}

func (c *Changes) append(ctx context.Context, userIDs ...string) error {
	const what = "announce changed users"
	cmds := make([]redisconn.Command, len(userIDs))
	for i, id := range userIDs {
		cmds[i] = redisconn.Cmd("XADD", changesKey, "MAXLEN", "~", c.length, "*", changesField, id)
	}
	replies, err := c.redis.Exchange(ctx, redisconn.Idempotent(what), cmds...)
	if err != nil {
		return err
	}
	if redisconn.HasCode(replies[0], "WRONGTYPE") {
		replies, err = c.redis.Exchange(ctx, redisconn.Idempotent(what), append([]redisconn.Command{redisconn.Cmd("DEL", changesKey)}, cmds...)...)
		if err != nil {
			return err
		}
	}
	for _, reply := range replies {
		if err := redisconn.ReplyError(what, reply); err != nil {
			if redisconn.HasCode(reply, "OOM") {
				// A full Redis still executes DEL. Without the stream every server clears its local
				// cache on every read until an append succeeds.
				_, delErr := c.redis.Do(ctx, redisconn.Idempotent(what), redisconn.Cmd("DEL", changesKey))
				err = errors.Join(err, delErr)
			}
			return err
		}
	}
	return nil
}

// Sync implements auth.ChangeLog in one round trip.
func (c *Changes) Sync(ctx context.Context) error {
	_, err := c.redis.ReadPipelined(ctx, "read changed users")
	return err
}

// readCommand returns the command that reads from the last known entry on, and that entry's id.
func (c *Changes) readCommand() (redisconn.Command, string) {
	last := *c.last.Load()
	if last == "" {
		return redisconn.Cmd("XREVRANGE", changesKey, "+", "-", "COUNT", 1), ""
	}
	return redisconn.Cmd("XRANGE", changesKey, last, "+", "COUNT", changesBatch), last
}

// receive passes the entries in the reply to the receiver. On error, changes may have been missed.
func (c *Changes) receive(from string, reply any) error {
	const what = "read changed users"
	if redisconn.HasCode(reply, "WRONGTYPE") {
		reply = []any{}
	}
	if err := redisconn.ReplyError(what, reply); err != nil {
		return redisconn.Unavailable(what, err)
	}
	entries, ok := reply.([]any)
	if !ok {
		return redisconn.Unavailable(what, redis.Error("unexpected reply"))
	}
	// The common case: the last known entry and nothing after it.
	if id, _, ok := parseEntry(entries, 0); ok && len(entries) == 1 && string(id) == from {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(entries) == 0 {
		c.streamLost(from)
		return nil
	}
	first, _, ok := parseEntry(entries, 0)
	newest, _, okNewest := parseEntry(entries, len(entries)-1)
	switch {
	case !ok || !okNewest:
		return redisconn.Unavailable(what, redis.Error("unexpected entry"))
	case from == "" || string(first) != from:
		c.receiver.InvalidateAllUsers()
		c.setLast(string(newest))
		return nil
	case len(entries) == changesBatch:
		c.receiver.InvalidateAllUsers()
		c.setLast("") // the next read starts at the end
		return nil
	}
	last := *c.last.Load()
	for i := 1; i < len(entries); i++ {
		id, user, ok := parseEntry(entries, i)
		switch {
		case ok && last != "" && !isLater(string(id), last):
			// A concurrent read has passed it on already.
		case !ok || len(user) == 0 || string(user) == auth.AllUsers:
			c.receiver.InvalidateAllUsers()
		default:
			c.receiver.InvalidateUser(string(user))
		}
	}
	if last == "" || isLater(string(newest), last) {
		c.setLast(string(newest))
	}
	return nil
}

// streamLost handles a missing stream, in which changes may have been lost. The caller holds the lock.
func (c *Changes) streamLost(from string) {
	if from == "" {
		c.receiver.InvalidateLocalUsers()
	} else {
		c.receiver.InvalidateAllUsers()
		c.setLast("")
	}
	c.retryLater(auth.AllUsers)
}

func (c *Changes) setLast(last string) { c.last.Store(&last) }

// parseEntry returns the id of an entry and its user, if it has one.
func parseEntry(entries []any, i int) (id, user []byte, ok bool) {
	if i >= len(entries) {
		return nil, nil, false
	}
	pair, ok := entries[i].([]any)
	if !ok || len(pair) != 2 {
		return nil, nil, false
	}
	id, ok = pair[0].([]byte)
	fields, _ := pair[1].([]any)
	for f := 0; f+1 < len(fields); f += 2 {
		if name, _ := fields[f].([]byte); string(name) == changesField {
			user, _ = fields[f+1].([]byte)
		}
	}
	return id, user, ok && len(id) > 0
}

// isLater compares two entry ids, each "MILLISECONDS-SEQUENCE".
func isLater(a, b string) bool {
	aTime, aSeq := parseEntryID(a)
	bTime, bSeq := parseEntryID(b)
	return aTime > bTime || aTime == bTime && aSeq > bSeq
}

func parseEntryID(id string) (ms, seq uint64) {
	head, tail, _ := strings.Cut(id, "-")
	ms, _ = strconv.ParseUint(head, 10, 64)
	seq, _ = strconv.ParseUint(tail, 10, 64)
	return ms, seq
}

// retryLater queues an entry for the background goroutine, and starts that unless it is running.
func (c *Changes) retryLater(userID string) {
	c.pendingMu.Lock()
	defer c.pendingMu.Unlock()
	if len(c.pending) >= changesBatch {
		clear(c.pending)
		userID = auth.AllUsers
	}
	c.pending[userID] = true
	if c.retrying || c.closed {
		return
	}
	c.retrying = true
	c.retries.Go(c.retry)
}

func (c *Changes) retry() {
	for wait := minRetry; ; wait = min(2*wait, maxRetry) {
		select {
		case <-c.done:
			return
		case <-time.After(wait):
		}
		if c.retryAll() == nil && c.idle() {
			return
		}
	}
}

// retryAll appends the pending entries.
func (c *Changes) retryAll() error {
	c.pendingMu.Lock()
	ids := make([]string, 0, len(c.pending))
	for id := range c.pending {
		ids = append(ids, id)
	}
	clear(c.pending)
	c.pendingMu.Unlock()
	if len(ids) == 0 {
		return nil
	}
	err := c.append(context.Background(), ids...)
	if err != nil {
		c.pendingMu.Lock()
		for _, id := range ids {
			c.pending[id] = true
		}
		c.pendingMu.Unlock()
	}
	return err
}

// idle reports whether nothing is pending; if so, the background goroutine ends.
func (c *Changes) idle() bool {
	c.pendingMu.Lock()
	defer c.pendingMu.Unlock()
	c.retrying = len(c.pending) > 0
	return !c.retrying
}

// Close stops the background goroutine and retries the pending appends once.
func (c *Changes) Close() error {
	c.pendingMu.Lock()
	if c.closed {
		c.pendingMu.Unlock()
		return nil
	}
	c.closed = true
	close(c.done)
	c.pendingMu.Unlock()
	c.retries.Wait()
	if err := c.retryAll(); err != nil {
		return fmt.Errorf("announce changed users: %w", err)
	}
	return nil
}
