package kv

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"gatehouse/auth"
	"gatehouse/kv/redisconn"
)

const (
	tokenPrefix = "token:"
	// writeUsesEvery is the interval at which the times of last use are written, all in one round trip.
	writeUsesEvery = 2 * time.Second
	// maxPendingUses bounds the uses that wait to be written; further ones are not recorded.
	maxPendingUses = 10_000
)

// Tokens is the auth.TokenStore: key "token:" + id. The time of a token's last use is in its user's
// index, so that a record is not rewritten.
type Tokens struct {
	redis   *redisconn.Pool
	index   index
	log     *slog.Logger
	decoded *decodeCache[auth.Token]
	// pruning shares concurrent calls of prune for the same user.
	pruning singleflight.Group

	mu      sync.Mutex
	pending map[string]tokenUse
	done    chan struct{}
	writer  sync.WaitGroup
	closing sync.Once
}

type tokenUse struct {
	userID string
	at     time.Time
}

var _ auth.TokenStore = (*Tokens)(nil)

// NewTokens returns the tokens in r. Close writes the pending uses.
func NewTokens(r *redisconn.Pool, log *slog.Logger) *Tokens {
	t := &Tokens{redis: r, index: index{r, "tokens:", "token"}, log: log, decoded: newDecodeCache[auth.Token](), pending: map[string]tokenUse{}, done: make(chan struct{})}
	t.writer.Go(t.writeUses)
	return t
}

// Create implements auth.TokenStore. It writes the record before the index entry, because a list removes
// index entries without a record. If the index is full, it removes the record again; its secret has
// not been handed out.
func (t *Tokens) Create(ctx context.Context, rec auth.Token, current func(context.Context) (int64, error)) error {
	rec.Version = auth.TokenVersion
	b, err := json.Marshal(rec)
	if err != nil {
		return fmt.Errorf("encode token: %w", err)
	}
	if len(b) > maxRecord {
		return errors.New("create token: record is over 8 KiB")
	}
	now := time.Now()
	lifetime := rec.ExpiresAt.Sub(now)
	if lifetime <= 0 {
		return errors.New("create token: it has already expired")
	}
	// NX: a retried command must not restore a token that was revoked in between.
	_, err = t.redis.Do(ctx, redisconn.Idempotent("create token"), redisconn.Cmd("SET", tokenPrefix+rec.ID, b, "NX", "PX", redisconn.Millis(lifetime)))
	if err != nil {
		return err
	}
	added, err := t.addToIndex(ctx, rec, lifetime, current)
	if err == nil && !added {
		err = auth.ErrTooManyTokens
	}
	if err != nil {
		return errors.Join(err, t.remove(context.WithoutCancel(ctx), rec.UserID, []string{rec.ID}))
	}
	return nil
}

// addToIndex adds a token to its user's index and reports whether it had room. If it is full, addToIndex
// prunes it and tries once more.
func (t *Tokens) addToIndex(ctx context.Context, rec auth.Token, lifetime time.Duration, current func(context.Context) (int64, error)) (bool, error) {
	add := func() (bool, error) {
		return t.index.addLimited(ctx, auth.MaxTokens, rec.UserID, rec.ID, time.UnixMilli(neverUsed), lifetime)
	}
	added, err := add()
	if err != nil || added {
		return added, err
	}
	// Concurrent requests of a user share one prune.
	pruned := t.pruning.DoChan(rec.UserID, func() (any, error) {
		return nil, t.prune(context.WithoutCancel(ctx), rec.UserID, current)
	})
	select {
	case result := <-pruned:
		if result.Err != nil {
			return false, result.Err
		}
	case <-ctx.Done():
		return false, ctx.Err()
	}
	return add()
}

// prune removes tokens without a record and tokens of another epoch than the user's current one. It does
// not use the epoch of the new token: a request that was delayed past a password change still has the old
// epoch, by which all tokens created since would look dead.
func (t *Tokens) prune(ctx context.Context, userID string, current func(context.Context) (int64, error)) error {
	live, err := t.List(ctx, userID)
	if err != nil {
		return err
	}
	epoch, err := current(ctx)
	if err != nil {
		return err
	}
	var dead []string
	for _, other := range live {
		if other.Epoch != epoch {
			dead = append(dead, other.ID)
		}
	}
	return t.remove(ctx, userID, dead)
}

// neverUsed is the time of an unused token in the index, in Unix ms.
const neverUsed = 0

// Find implements auth.TokenStore.
func (t *Tokens) Find(ctx context.Context, id string) (auth.Token, error) {
	const what = "find token"
	replies, err := t.redis.ReadPipelined(ctx, what, redisconn.Cmd("GET", tokenPrefix+id))
	if err != nil {
		return auth.Token{}, err
	}
	if err := redisconn.ReplyError(what, replies[0]); err != nil && !redisconn.HasCode(replies[0], "WRONGTYPE") {
		return auth.Token{}, err
	}
	value, _ := replies[0].([]byte)
	rec, ok := t.decoded.decode(value, parseToken)
	if !ok || !rec.Valid(id, time.Now()) {
		return auth.Token{}, auth.ErrNotFound
	}
	return rec, nil
}

var tokenFields = fieldNamesOf(auth.Token{})

func parseToken(value []byte) (auth.Token, bool) {
	rec := auth.Token{Epoch: -1}
	if len(value) > maxRecord {
		return auth.Token{}, false
	}
	if fields, ok := tokenFields.decode(value, &rec); !ok || !isUTC(fields["expires_at"]) {
		return auth.Token{}, false
	}
	return rec, rec.Version == auth.TokenVersion && len(rec.ID) == auth.HashLength && rec.TokenID != "" && rec.UserID != "" &&
		rec.Epoch >= 0 && !rec.ExpiresAt.IsZero()
}

// RecordUse implements auth.TokenStore.
func (t *Tokens) RecordUse(rec auth.Token, at time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, known := t.pending[rec.ID]; known || len(t.pending) < maxPendingUses {
		t.pending[rec.ID] = tokenUse{rec.UserID, at}
	}
}

// List implements auth.TokenStore, and removes ended tokens from the index.
func (t *Tokens) List(ctx context.Context, userID string) ([]auth.Token, error) {
	members, err := t.index.members(ctx, userID)
	if err != nil || len(members) == 0 {
		return nil, err
	}
	gets := make([]redisconn.Command, len(members))
	for i, m := range members {
		gets[i] = redisconn.Cmd("GET", tokenPrefix+m.id)
	}
	const what = "list tokens"
	replies, err := t.redis.Exchange(ctx, redisconn.Idempotent(what), gets...)
	if err != nil {
		return nil, err
	}
	var live []auth.Token
	var ended []string
	now := time.Now()
	for i, m := range members {
		if err := redisconn.ReplyError(what, replies[i]); err != nil && !redisconn.HasCode(replies[i], "WRONGTYPE") {
			return nil, err
		}
		if replies[i] == nil {
			ended = append(ended, m.id)
			continue
		}
		value, _ := replies[i].([]byte)
		rec, ok := parseToken(value)
		if !ok || rec.UserID != userID || !rec.Valid(m.id, now) {
			continue
		}
		if m.seen.UnixMilli() != neverUsed {
			rec.LastUsed = m.seen
		}
		live = append(live, rec)
	}
	slices.SortStableFunc(live, func(a, b auth.Token) int { return b.CreatedAt.Compare(a.CreatedAt) })
	// Best effort: the list is valid even if Redis accepts no writes, and the next one retries.
	_ = t.index.remove(ctx, userID, ended)
	return live, nil
}

// Revoke implements auth.TokenStore.
func (t *Tokens) Revoke(ctx context.Context, userID, tokenID string) error {
	live, err := t.List(ctx, userID)
	if err != nil {
		return err
	}
	for _, rec := range live {
		if rec.TokenID == tokenID {
			_, err := t.redis.Pipeline(ctx, redisconn.Idempotent("revoke token"), redisconn.Cmd("DEL", tokenPrefix+rec.ID), t.index.drop(userID, rec.ID))
			return err
		}
	}
	return auth.ErrNotFound
}

// RevokeAll implements auth.TokenStore.
func (t *Tokens) RevokeAll(ctx context.Context, userID string) error {
	ids, err := t.index.allIDs(ctx, userID)
	if err != nil {
		return err
	}
	return t.remove(ctx, userID, ids)
}

// EndStale implements auth.TokenStore. It keeps the records, so that requests with such a token can be
// told why it is rejected.
func (t *Tokens) EndStale(ctx context.Context, userID string, current func(context.Context) (int64, error)) error {
	ids, err := t.index.allIDs(ctx, userID)
	if err != nil || len(ids) == 0 {
		return err
	}
	const what = "end stale tokens"
	replies, err := t.redis.Exchange(ctx, redisconn.Idempotent(what), cmdPerID("GET", tokenPrefix, ids)...)
	if err != nil {
		return err
	}
	epoch, err := current(ctx)
	if errors.Is(err, auth.ErrNotFound) {
		return t.remove(ctx, userID, ids)
	}
	if err != nil {
		return err
	}
	now := time.Now()
	var cmds []redisconn.Command
	for i, id := range ids {
		value, _ := replies[i].([]byte)
		rec, ok := parseToken(value)
		if !ok || rec.UserID != userID || !rec.Valid(id, now) || rec.Epoch == epoch || rec.Epoch == 0 {
			continue
		}
		rec.Epoch = 0
		b, err := json.Marshal(rec)
		if err != nil {
			return fmt.Errorf("encode token: %w", err)
		}
		// XX: a token that was revoked in between must not come back.
		cmds = append(cmds, redisconn.Cmd("SET", tokenPrefix+id, b, "XX", "PX", redisconn.Millis(rec.ExpiresAt.Sub(now))))
	}
	if len(cmds) == 0 {
		return nil
	}
	_, err = t.redis.Pipeline(ctx, redisconn.Idempotent(what), cmds...)
	return err
}

// remove ends the tokens with these ids.
func (t *Tokens) remove(ctx context.Context, userID string, ids []string) error {
	if len(ids) == 0 {
		return nil
	}
	keys := make([]string, len(ids))
	for i, id := range ids {
		keys[i] = tokenPrefix + id
	}
	if err := t.redis.Delete(ctx, "end tokens", keys); err != nil {
		return err
	}
	return t.index.remove(ctx, userID, ids)
}

// Close stops the writer and writes the pending uses.
func (t *Tokens) Close() error {
	t.closing.Do(func() { close(t.done) })
	t.writer.Wait()
	return t.flush()
}

func (t *Tokens) writeUses() {
	tick := time.NewTicker(writeUsesEvery)
	defer tick.Stop()
	for {
		select {
		case <-t.done:
			return
		case <-tick.C:
		}
		if err := t.flush(); err != nil {
			t.log.Warn("cannot write the times of last use of API tokens", "error", err)
		}
	}
}

// flush writes the pending uses. A failed write is not retried: it only affects a date in a list.
func (t *Tokens) flush() error {
	t.mu.Lock()
	uses := t.pending
	t.pending = map[string]tokenUse{}
	t.mu.Unlock()
	if len(uses) == 0 {
		return nil
	}
	cmds := make([]redisconn.Command, 0, len(uses))
	for id, u := range uses {
		cmds = append(cmds, t.index.touch(u.userID, id, u.at))
	}
	_, err := t.redis.Pipeline(context.Background(), redisconn.Idempotent("record uses of tokens"), cmds...)
	return err
}
