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

const sessionPrefix = "session:"

// Sessions is the auth.SessionStore and the scs.CtxStore of a SessionManager with HashTokenInStore,
// Codec and no IdleTimeout, so that its "token" is always an auth.SessionID. A record is written only
// once, when it is created; later only the key's TTL changes, so that no write can restore an ended
// session.
type Sessions struct {
	*redisstore.RedisStore
	redis   *redisconn.Pool
	index   index
	decoded *decodeCache[auth.Session]
}

var _ auth.SessionStore = (*Sessions)(nil)

// NewSessions returns the sessions in r.
func NewSessions(r *redisconn.Pool) *Sessions {
	return &Sessions{redisstore.NewWithPrefix(r.ConnPool(), sessionPrefix), r, index{r, "sessions:", "session"}, newDecodeCache[auth.Session]()}
}

// Session returns the session of an id, with the remaining TTL of its key, in one round trip. It returns
// auth.ErrNotFound also for a key of another type, an invalid record and a record of another id. The
// caller checks the deadline.
func (s *Sessions) Session(ctx context.Context, id string) (auth.Session, error) {
	replies, err := s.readSessions(ctx, id)
	if err != nil {
		return auth.Session{}, err
	}
	return s.parse(id, replies)
}

// LiveSessions implements auth.SessionStore: Session for several ids, in one round trip.
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

// parse returns the session of an id from its two replies.
func (s *Sessions) parse(id string, replies []any) (auth.Session, error) {
	record, ttl, err := findRecord(id, replies)
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

// FindCtx returns the record for Codec.Decode. It finds what Session finds.
func (s *Sessions) FindCtx(ctx context.Context, id string) ([]byte, bool, error) {
	replies, err := s.readSessions(ctx, id)
	if err != nil {
		return nil, false, err
	}
	record, _, err := findRecord(id, replies)
	if errors.Is(err, auth.ErrNotFound) {
		return nil, false, nil
	}
	return record, err == nil, err
}

const findSession = "find session"

// readSessions reads each id's record and the TTL of its key: two replies per id.
func (s *Sessions) readSessions(ctx context.Context, ids ...string) ([]any, error) {
	cmds := make([]redisconn.Command, 0, 2*len(ids))
	for _, id := range ids {
		cmds = append(cmds, redisconn.Cmd("GET", sessionPrefix+id), redisconn.Cmd("PTTL", sessionPrefix+id))
	}
	return s.redis.ReadPipelined(ctx, findSession, cmds...)
}

// findRecord returns the record of an id and the TTL of its key from the two replies.
func findRecord(id string, replies []any) (record []byte, ttl time.Duration, err error) {
	if redisconn.HasCode(replies[0], "WRONGTYPE") {
		return nil, 0, auth.ErrNotFound
	}
	if err := errors.Join(redisconn.ReplyError(findSession, replies[0]), redisconn.ReplyError(findSession, replies[1])); err != nil {
		return nil, 0, err
	}
	record, _ = replies[0].([]byte)
	millis, _ := replies[1].(int64)
	const noKey = -2 // the key expired between the two commands
	// A quote inside a JSON string is escaped, so this can only match the field.
	if record == nil || millis == noKey || !bytes.Contains(record, []byte(`"id":"`+id+`"`)) {
		return nil, 0, auth.ErrNotFound
	}
	return record, time.Duration(millis) * time.Millisecond, nil
}

// CommitCtx stores a new record, which must be valid under id, and adds it to its user's index. It
// ignores the expiry of scs: the key's TTL is the record's idle time, at most until its deadline. If the
// user then has more than auth.MaxSessions, the oldest end.
func (s *Sessions) CommitCtx(ctx context.Context, id string, record []byte, _ time.Time) error {
	now := time.Now()
	rec, ok := parseSession(record)
	if !ok || !rec.Valid(id, now) {
		return errors.New("commit session: the record is invalid under its key")
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

// endOldest ends the user's sessions above auth.MaxSessions, least recently seen first. Every sign-in
// that finds the index full calls it after adding its own session, so that the limit holds once the last
// of several concurrent sign-ins has been answered. It spares the new session: this server's clock may be
// behind.
func (s *Sessions) endOldest(ctx context.Context, userID, newID string) error {
	ids, err := s.index.allIDs(ctx, userID)
	if err != nil || len(ids) <= auth.MaxSessions {
		return err
	}
	const what = "count sessions"
	replies, err := s.redis.Pipeline(ctx, redisconn.Idempotent(what), cmdPerID("EXISTS", sessionPrefix, ids)...)
	if err != nil {
		return err
	}
	var live, ended []string
	for i, id := range ids {
		if replies[i] == int64(0) {
			ended = append(ended, id)
		} else {
			live = append(live, id)
		}
	}
	excess := max(len(live)-auth.MaxSessions, 0)
	live = slices.DeleteFunc(live, func(id string) bool { return id == newID })
	oldest := live[:min(excess, len(live))]
	if err := s.endOwned(ctx, userID, oldest); err != nil {
		return err
	}
	return s.index.remove(ctx, userID, append(ended, oldest...))
}

// endOwned ends those of the sessions that belong to the user.
func (s *Sessions) endOwned(ctx context.Context, userID string, ids []string) error {
	if len(ids) == 0 {
		return nil
	}
	replies, err := s.redis.Exchange(ctx, redisconn.Idempotent("end the oldest sessions"), cmdPerID("GET", sessionPrefix, ids)...)
	if err != nil {
		return err
	}
	var owned []string
	for i, id := range ids {
		if _, ok := parseOwned(replies[i], userID, id); ok {
			owned = append(owned, id)
		}
	}
	return s.EndAll(ctx, owned)
}

// create retries when the connection breaks: the id is still unknown to anyone else, so the session
// cannot have been ended in between.
func (s *Sessions) create(ctx context.Context, id string, record []byte, expiry time.Time) error {
	const what = "commit session"
	if err := ctx.Err(); err != nil {
		return redisconn.Unavailable(what, err)
	}
	err := s.commitOnce(ctx, id, record, expiry)
	var refusal redis.Error
	if errors.As(err, &refusal) {
		return redisconn.ReplyError(what, refusal)
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
	var refusal redis.Error
	if err != nil && !errors.As(err, &refusal) {
		s.redis.NoteFailure()
	}
	return err
}

// DeleteCtx ends a session. It returns auth.ErrSessionEnded if the session did not exist: a token is
// renewed by first deleting the old key, and only the request that deletes it proceeds.
func (s *Sessions) DeleteCtx(ctx context.Context, id string) error {
	if id == noSession {
		return nil
	}
	// No retry: it would report a session as missing that the first attempt deleted.
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

// noSession is the id that scs deletes when it renews the token of a visitor without a session.
var noSession = auth.SessionID("")

// Find is FindCtx without a context.
func (s *Sessions) Find(id string) ([]byte, bool, error) {
	return s.FindCtx(context.Background(), id)
}

// Commit is CommitCtx without a context.
func (s *Sessions) Commit(id string, record []byte, expiry time.Time) error {
	return s.CommitCtx(context.Background(), id, record, expiry)
}

// Delete is DeleteCtx without a context.
func (s *Sessions) Delete(id string) error { return s.DeleteCtx(context.Background(), id) }

// All returns errors.ErrUnsupported: it would scan the whole database.
func (s *Sessions) All() (map[string][]byte, error) {
	return nil, fmt.Errorf("all sessions: %w", errors.ErrUnsupported)
}

// Renew sets the key's TTL, if the key still exists, and updates the index, in one round trip.
func (s *Sessions) Renew(ctx context.Context, rec auth.Session) error {
	now := time.Now()
	_, err := s.redis.Pipeline(ctx, redisconn.Idempotent("renew session"),
		redisconn.Cmd("PEXPIRE", sessionPrefix+rec.ID, max(redisconn.Millis(rec.FreshTTL(now)), 1)),
		s.index.touch(rec.UserID, rec.ID, now))
	return err
}

// List returns the user's live sessions, last seen first, and removes ended ones from the index. It
// reads the whole index, so that ended sessions never hide live ones.
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
		if rec, ok := parseOwned(replies[i], userID, m.id); ok && rec.Valid(m.id, now) {
			rec.LastSeen = m.seen
			live = append(live, rec)
		}
	}
	// Best effort: the list is valid even if Redis accepts no writes, and the next one retries.
	_ = s.index.remove(ctx, userID, ended)
	return live, nil
}

// parseOwned parses a reply that should be the user's record of this id.
func parseOwned(reply any, userID, id string) (auth.Session, bool) {
	b, ok := reply.([]byte)
	if !ok {
		return auth.Session{}, false
	}
	rec, ok := parseSession(b)
	return rec, ok && rec.UserID == userID && rec.ID == id
}

// End ends one session of the user. It returns auth.ErrNotFound if there is none or it belongs to
// another user.
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
	// Ids are never reused, so the key cannot have got another session in between.
	_, err = s.redis.Pipeline(ctx, redisconn.Idempotent(what),
		redisconn.Cmd("DEL", sessionPrefix+id), s.index.drop(userID, id))
	return err
}

const (
	renewingPrefix = "renewing:"
	// renewalTimeout exceeds the time between a request's HoldForRenewal and its renewal.
	renewalTimeout = 10 * time.Second
)

// HoldForRenewal implements auth.SessionStore: key "renewing:" + id.
func (s *Sessions) HoldForRenewal(ctx context.Context, id string) error {
	_, err := s.redis.Do(ctx, redisconn.Idempotent("hold session"), redisconn.Cmd("SET", renewingPrefix+id, 1, "PX", redisconn.Millis(renewalTimeout)))
	return err
}

// EndRejected implements auth.SessionStore.
func (s *Sessions) EndRejected(ctx context.Context, userID, id string) error {
	held, err := redis.Int64(s.redis.Do(ctx, redisconn.Idempotent("end rejected session"), redisconn.Cmd("EXISTS", renewingPrefix+id)))
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
	replies, err := s.redis.Exchange(ctx, redisconn.Idempotent(what), cmdPerID("GET", sessionPrefix, ids)...)
	if err != nil {
		return err
	}
	epoch, err := current(ctx)
	if err != nil && !errors.Is(err, auth.ErrNotFound) {
		return err
	}
	userGone := err != nil
	var keys, stale []string
	for i, id := range ids {
		if rec, ok := parseOwned(replies[i], userID, id); ok && id != keep && (userGone || rec.Epoch != epoch) {
			keys, stale = append(keys, sessionPrefix+id), append(stale, id)
		}
	}
	if err := s.redis.Delete(ctx, what, keys); err != nil {
		return err
	}
	return s.index.remove(ctx, userID, stale)
}

// cmdPerID returns a command on the key of each id.
func cmdPerID(name, prefix string, ids []string) []redisconn.Command {
	cmds := make([]redisconn.Command, len(ids))
	for i, id := range ids {
		cmds[i] = redisconn.Cmd(name, prefix+id)
	}
	return cmds
}
