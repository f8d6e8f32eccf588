package kv

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"gatehouse/auth"
	"gatehouse/internal/reqstats"
	"gatehouse/kv/redisconn"

	"github.com/alexedwards/scs/redisstore"
	"github.com/gomodule/redigo/redis"
)

const (
	sessionPrefix = "session:"
)

// Sessions keeps sessions. It is the scs.CtxStore of a SessionManager with HashTokenInStore,
// Codec and no IdleTimeout, so that its "token" is always an auth.SessionID; and it is the
// auth.SessionStore. A record is written once, when it is created: what changes afterwards is
// the key's TTL, so that no write can bring an ended session back.
type Sessions struct {
	*redisstore.RedisStore
	redis   *redisconn.Pool
	index   index
	decoded *decodeCache[auth.Session]
}

var _ auth.SessionStore = (*Sessions)(nil)

// NewSessions returns the sessions of a Redis.
func NewSessions(r *redisconn.Pool) *Sessions {
	return &Sessions{redisstore.NewWithPrefix(r.ConnPool(), sessionPrefix), r, index{r, "sessions:", "session"}, newDecodeCache[auth.Session]()}
}

// Session returns the session of an id, with what is left of its key's time, in one round trip. A
// key that holds no string, or a record that cannot be read or names another id, is
// auth.ErrNotFound. The deadline is the caller's to look at.
func (s *Sessions) Session(ctx context.Context, id string) (auth.Session, error) {
	replies, err := s.readSessions(ctx, id)
	if err != nil {
		return auth.Session{}, err
	}
	return s.parse(id, replies)
}

// LiveSessions implements auth.SessionStore: it is Session for several ids, in one round trip.
func (s *Sessions) LiveSessions(ctx context.Context, ids []string) (map[string]auth.Session, error) {
	replies, err := s.readSessions(ctx, ids...)
	if err != nil {
		return nil, err
	}
	live := make(map[string]auth.Session, len(ids))
	for i, id := range ids {
		rec, err := s.parse(id, replies[2*i:])
		if errors.Is(err, auth.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		live[id] = rec
	}
	return live, nil
}

// parse returns the session of an id from the two replies about it.
func (s *Sessions) parse(id string, replies []any) (auth.Session, error) {
	record, ttl, err := foundSession(id, replies)
	if err != nil {
		return auth.Session{}, err
	}
	rec, ok := s.decoded.decode(record, parseSession)
	if !ok {
		return auth.Session{}, auth.ErrNotFound
	}
	rec.TTL = ttl
	return rec, nil
}

// FindCtx returns the record for Codec.Decode; one that Session would not find is not found.
func (s *Sessions) FindCtx(ctx context.Context, id string) ([]byte, bool, error) {
	replies, err := s.readSessions(ctx, id)
	if err != nil {
		return nil, false, err
	}
	record, _, err := foundSession(id, replies)
	if errors.Is(err, auth.ErrNotFound) {
		return nil, false, nil
	}
	return record, err == nil, err
}

const findSession = "find session"

// readSessions asks for each id's record and for the time that its key has left: two replies an id.
func (s *Sessions) readSessions(ctx context.Context, ids ...string) ([]any, error) {
	cmds := make([]redisconn.Command, 0, 2*len(ids))
	for _, id := range ids {
		cmds = append(cmds, redisconn.Cmd("GET", sessionPrefix+id), redisconn.Cmd("PTTL", sessionPrefix+id))
	}
	return s.redis.ReadPipelined(ctx, findSession, cmds...)
}

// foundSession reads the two replies about an id: its record, and the time that its key has left.
func foundSession(id string, replies []any) (record []byte, left time.Duration, err error) {
	if redisconn.HasCode(replies[0], "WRONGTYPE") {
		return nil, 0, auth.ErrNotFound
	}
	if err := errors.Join(redisconn.ReplyError(findSession, replies[0]), redisconn.ReplyError(findSession, replies[1])); err != nil {
		return nil, 0, err
	}
	record, _ = replies[0].([]byte)
	ttl, _ := replies[1].(int64)
	const gone = -2 // the key ended between the two commands
	// A quote inside a JSON string is escaped, so that this can only be the field.
	if record == nil || ttl == gone || !bytes.Contains(record, []byte(`"id":"`+id+`"`)) {
		return nil, 0, auth.ErrNotFound
	}
	return record, time.Duration(ttl) * time.Millisecond, nil
}

// CommitCtx stores a new record and adds it to its user's index. The expiry of scs is not
// used: the key lives for the record's idle time, at most to its deadline. The record must be
// valid under id. A user who has more than auth.MaxSessions then loses the oldest.
func (s *Sessions) CommitCtx(ctx context.Context, id string, record []byte, _ time.Time) error {
	now := time.Now()
	rec, ok := parseSession(record)
	if !ok || !rec.Valid(id, now) {
		return errors.New("commit session: the record is not valid under its key")
	}
	if err := s.create(ctx, id, record, now.Add(rec.FreshTTL(now))); err != nil {
		return err
	}
	n, err := s.index.add(ctx, rec.UserID, rec.ID, now, rec.Deadline.Sub(now))
	if err != nil || n <= auth.MaxSessions {
		return err
	}
	return s.endOldest(ctx, rec.UserID, rec.ID)
}

// makeRoom ends the user's sessions above auth.MaxSessions, least recently seen first. Each sign-in
// that finds the index full does so after it added its own session, so that the limit holds when the
// last of many has been answered. The new session is spared: the clock of its server may be behind.
func (s *Sessions) endOldest(ctx context.Context, userID, newID string) error {
	ids, err := s.index.allIDs(ctx, userID)
	if err != nil || len(ids) <= auth.MaxSessions {
		return err
	}
	const what = "count sessions"
	asks := make([]redisconn.Command, len(ids))
	for i, id := range ids {
		asks[i] = redisconn.Cmd("EXISTS", sessionPrefix+id)
	}
	replies, err := s.redis.Pipeline(ctx, redisconn.Idempotent(what), asks...)
	if err != nil {
		return err
	}
	var live, drop []string
	for i, id := range ids {
		if replies[i] == int64(0) {
			drop = append(drop, id)
		} else {
			live = append(live, id)
		}
	}
	over := max(len(live)-auth.MaxSessions, 0)
	live = slices.DeleteFunc(live, func(id string) bool { return id == newID })
	oldest := live[:min(over, len(live))]
	if err := s.endOwned(ctx, userID, oldest); err != nil {
		return err
	}
	return s.index.remove(ctx, userID, append(drop, oldest...))
}

// endOwn ends those of the sessions that are the user's.
func (s *Sessions) endOwned(ctx context.Context, userID string, ids []string) error {
	if len(ids) == 0 {
		return nil
	}
	gets := make([]redisconn.Command, len(ids))
	for i, id := range ids {
		gets[i] = redisconn.Cmd("GET", sessionPrefix+id)
	}
	replies, err := s.redis.Exchange(ctx, redisconn.Idempotent("end the oldest sessions"), gets...)
	if err != nil {
		return err
	}
	var own []string
	for i, id := range ids {
		if _, ok := parseOwned(replies[i], userID, id); ok {
			own = append(own, id)
		}
	}
	return s.EndAll(ctx, own)
}

// create is repeated when the connection breaks: nobody else knows this id yet, so nobody can
// have ended it in between.
func (s *Sessions) create(ctx context.Context, id string, record []byte, expiry time.Time) error {
	const what = "commit session"
	if err := ctx.Err(); err != nil {
		return redisconn.Unavailable(what, err)
	}
	err := s.commitOnce(ctx, id, record, expiry)
	var said redis.Error
	if errors.As(err, &said) {
		return redisconn.ReplyError(what, said)
	}
	if err != nil && !redisconn.IsTimeout(err) {
		err = s.commitOnce(ctx, id, record, expiry)
	}
	if err != nil {
		return redisconn.Unavailable(what, err)
	}
	return nil
}

func (s *Sessions) commitOnce(ctx context.Context, id string, record []byte, expiry time.Time) error {
	start := time.Now()
	err := s.RedisStore.Commit(id, record, expiry)
	reqstats.FromContext(ctx).AddRedis(time.Since(start))
	var said redis.Error
	if err != nil && !errors.As(err, &said) {
		s.redis.NoteFailure()
	}
	return err
}

// DeleteCtx ends a session. It returns auth.ErrSessionEnded when the session was gone already:
// a token is renewed by deleting the old key first, and that must fail if somebody else ended it.
func (s *Sessions) DeleteCtx(ctx context.Context, id string) error {
	if id == noSession {
		return nil
	}
	// Not repeated: the second answer would say "gone" of a session that we ended.
	n, err := redis.Int64(s.redis.Do(ctx, redisconn.Once("delete session"), redisconn.Cmd("DEL", sessionPrefix+id)))
	if err != nil {
		return err
	}
	if n == 0 {
		return auth.ErrSessionEnded
	}
	return nil
}

// EndAll implements auth.SessionStore in one round trip.
func (s *Sessions) EndAll(ctx context.Context, ids []string) error {
	keys := make([]string, len(ids))
	for i, id := range ids {
		keys[i] = sessionPrefix + id
	}
	return s.redis.Delete(ctx, "end sessions", keys)
}

// noSession is what scs deletes when it renews the token of a visitor who has none.
var noSession = auth.SessionID("")

// Find, Commit and Delete are the forms of scs.Store, without a context. All is refused: it
// would be a KEYS over everything.
func (s *Sessions) Find(id string) ([]byte, bool, error) {
	return s.FindCtx(context.Background(), id)
}

// Commit is CommitCtx without a context.
func (s *Sessions) Commit(id string, record []byte, expiry time.Time) error {
	return s.CommitCtx(context.Background(), id, record, expiry)
}

// Delete is DeleteCtx without a context.
func (s *Sessions) Delete(id string) error { return s.DeleteCtx(context.Background(), id) }

// All returns errors.ErrUnsupported.
func (s *Sessions) All() (map[string][]byte, error) {
	return nil, fmt.Errorf("all sessions: %w", errors.ErrUnsupported)
}

// Renew sets the key's TTL, which does nothing to a key that is gone, and notes the time in
// the index. It is one round trip.
func (s *Sessions) Renew(ctx context.Context, rec auth.Session) error {
	now := time.Now()
	_, err := s.redis.Pipeline(ctx, redisconn.Idempotent("renew session"),
		redisconn.Cmd("PEXPIRE", sessionPrefix+rec.ID, max(redisconn.Millis(rec.FreshTTL(now)), 1)),
		s.index.touch(rec.UserID, rec.ID, now))
	return err
}

// List returns the user's live sessions, last seen first, and removes from the index those that are
// gone. It reads all that the index holds, 1,000 at most: what has ended must not hide what has not.
func (s *Sessions) List(ctx context.Context, userID string) ([]auth.Session, error) {
	members, err := s.index.newest(ctx, userID, indexCap)
	if err != nil || len(members) == 0 {
		return nil, err
	}
	gets := make([]redisconn.Command, len(members))
	for i, m := range members {
		gets[i] = redisconn.Cmd("GET", sessionPrefix+m.id)
	}
	const what = "list sessions"
	replies, err := s.redis.Exchange(ctx, redisconn.Idempotent(what), gets...)
	if err != nil {
		return nil, err
	}
	var live []auth.Session
	var gone []string
	now := time.Now()
	for i, m := range members {
		if err := redisconn.ReplyError(what, replies[i]); err != nil && !redisconn.HasCode(replies[i], "WRONGTYPE") {
			return nil, err
		}
		if replies[i] == nil {
			gone = append(gone, m.id)
			continue
		}
		if rec, ok := parseOwned(replies[i], userID, m.id); ok && rec.Valid(m.id, now) {
			rec.LastSeen = m.seen
			live = append(live, rec)
		}
	}
	// As far as possible: what was read counts although Redis takes no writes; the next list removes them.
	_ = s.index.remove(ctx, userID, gone)
	return live, nil
}

// ownedBy reads a reply that should be the user's record of this id.
func parseOwned(reply any, userID, id string) (auth.Session, bool) {
	b, ok := reply.([]byte)
	if !ok {
		return auth.Session{}, false
	}
	rec, ok := parseSession(b)
	return rec, ok && rec.UserID == userID && rec.ID == id
}

// End ends one session of the user. It returns auth.ErrNotFound when there is no such session
// or it is somebody else's.
func (s *Sessions) End(ctx context.Context, userID, id string) error {
	if len(id) != auth.HashLength {
		return auth.ErrNotFound
	}
	const what = "end session"
	replies, err := s.redis.Exchange(ctx, redisconn.Idempotent(what), redisconn.Cmd("GET", sessionPrefix+id))
	if err != nil {
		return err
	}
	if err := redisconn.ReplyError(what, replies[0]); err != nil && !redisconn.HasCode(replies[0], "WRONGTYPE") {
		return err
	}
	if _, ok := parseOwned(replies[0], userID, id); !ok {
		return auth.ErrNotFound
	}
	// An id is never used again, so that between reading and ending nothing else can have taken its place.
	_, err = s.redis.Pipeline(ctx, redisconn.Idempotent(what),
		redisconn.Cmd("DEL", sessionPrefix+id), s.index.drop(userID, id))
	return err
}

const (
	renewingPrefix = "renewing:"
	// renewalTime is more than a request takes between the announcement and the renewal.
	renewalTime = 10 * time.Second
)

// HoldForRenewal implements auth.SessionStore: key "renewing:" + id.
func (s *Sessions) HoldForRenewal(ctx context.Context, id string) error {
	_, err := s.redis.Do(ctx, redisconn.Idempotent("hold session"), redisconn.Cmd("SET", renewingPrefix+id, 1, "PX", redisconn.Millis(renewalTime)))
	return err
}

// EndRefused implements auth.SessionStore.
func (s *Sessions) EndRejected(ctx context.Context, userID, id string) error {
	held, err := redis.Int64(s.redis.Do(ctx, redisconn.Idempotent("end refused session"), redisconn.Cmd("EXISTS", renewingPrefix+id)))
	if err != nil || held > 0 {
		return err
	}
	return s.End(ctx, userID, id)
}

// EndStale implements auth.SessionStore.
func (s *Sessions) EndStale(ctx context.Context, userID, keep string, current func(context.Context) (int64, error)) error {
	ids, err := s.index.allIDs(ctx, userID)
	if err != nil || len(ids) == 0 {
		return err
	}
	const what = "end stale sessions"
	replies, err := s.redis.Exchange(ctx, redisconn.Idempotent(what), gets(sessionPrefix, ids)...)
	if err != nil {
		return err
	}
	epoch, err := current(ctx)
	if err != nil && !errors.Is(err, auth.ErrNotFound) {
		return err
	}
	gone := err != nil
	var keys, stale []string
	for i, id := range ids {
		if rec, ok := parseOwned(replies[i], userID, id); ok && id != keep && (gone || rec.Epoch != epoch) {
			keys, stale = append(keys, sessionPrefix+id), append(stale, id)
		}
	}
	if err := s.redis.Delete(ctx, what, keys); err != nil {
		return err
	}
	return s.index.remove(ctx, userID, stale)
}

// gets returns a GET for each id.
func gets(prefix string, ids []string) []redisconn.Command {
	cmds := make([]redisconn.Command, len(ids))
	for i, id := range ids {
		cmds[i] = redisconn.Cmd("GET", prefix+id)
	}
	return cmds
}
