package django

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/gomodule/redigo/redis"

	"gatehouse/auth"
	"gatehouse/kv/redisconn"
)

const (
	notePrefix = "django:"
	// maxNoteSize is the largest note that is decoded, in bytes.
	maxNoteSize = 8 << 10
)

// RedisStore is the Store on two Redis servers: Django's, which is only read, and ours, which keeps
// the notes beside our sessions.
type RedisStore struct {
	theirs, ours *redisconn.Pool
	prefix       string
}

var _ Store = (*RedisStore)(nil)

// NewRedisStore returns a store of the sessions that django-redis-sessions keeps in theirs: under
// keys that begin with the prefix and a colon, or without either if the prefix is "".
func NewRedisStore(theirs, ours *redisconn.Pool, prefix string) *RedisStore {
	if prefix != "" {
		prefix += ":"
	}
	return &RedisStore{theirs, ours, prefix}
}

// CheckAccess sends Django's Redis the commands that the bridge needs, for a key that cannot exist.
func (s *RedisStore) CheckAccess(ctx context.Context) error {
	_, _, err := s.SessionValue(ctx, "")
	if errors.Is(err, auth.ErrNotFound) {
		return nil
	}
	return err
}

// SessionValue implements Store. An error reply of Django's Redis is auth.ErrUnavailable.
func (s *RedisStore) SessionValue(ctx context.Context, key string) ([]byte, time.Duration, error) {
	const what = "find a Django session"
	name := s.prefix + key
	replies, err := s.theirs.ReadPipelined(ctx, what, redisconn.Cmd("GETRANGE", name, 0, MaxValueSize), redisconn.Cmd("PTTL", name))
	if err != nil {
		return nil, 0, err
	}
	if redisconn.HasCode(replies[0], "WRONGTYPE") {
		return nil, 0, auth.ErrNotFound
	}
	for _, reply := range replies {
		if replyErr, ok := reply.(redis.Error); ok {
			return nil, 0, redisconn.Unavailable(what, replyErr)
		}
	}
	value, _ := replies[0].([]byte)
	ttl, _ := replies[1].(int64)
	const noKey = -2
	if len(value) == 0 || ttl == noKey {
		return nil, 0, auth.ErrNotFound
	}
	return value, time.Duration(ttl) * time.Millisecond, nil
}

// Note implements Store.
func (s *RedisStore) Note(ctx context.Context, id string) (Note, error) {
	const what = "find the note of a Django session"
	replies, err := s.ours.ReadPipelined(ctx, what, redisconn.Cmd("GET", notePrefix+id), redisconn.Cmd("PTTL", notePrefix+id))
	if err != nil {
		return Note{}, err
	}
	if redisconn.HasCode(replies[0], "WRONGTYPE") {
		return Note{}, auth.ErrNotFound
	}
	if err := errors.Join(redisconn.ReplyError(what, replies[0]), redisconn.ReplyError(what, replies[1])); err != nil {
		return Note{}, err
	}
	value, _ := replies[0].([]byte)
	ttl, _ := replies[1].(int64)
	note := Note{Epoch: -1}
	if len(value) > maxNoteSize || !utf8.Valid(value) || json.Unmarshal(value, &note) != nil || !note.Valid(id) {
		return Note{}, auth.ErrNotFound
	}
	note.TTL = time.Duration(ttl) * time.Millisecond
	return note, nil
}

// AddNote implements Store. NX keeps a note that says that the session has ended.
func (s *RedisStore) AddNote(ctx context.Context, n Note) error {
	_, err := s.set(ctx, "add the note of a Django session", n, "NX")
	return err
}

// RenewNote implements Store.
func (s *RedisStore) RenewNote(ctx context.Context, id string) error {
	_, err := s.ours.Do(ctx, redisconn.Idempotent("renew the note of a Django session"), redisconn.Cmd("PEXPIRE", notePrefix+id, redisconn.Millis(NoteTTL)))
	return err
}

// EndNote implements Store.
func (s *RedisStore) EndNote(ctx context.Context, n Note, create bool) (bool, error) {
	const what = "end a Django session here"
	if create {
		return s.set(ctx, what, n)
	}
	return s.set(ctx, what, n, "XX")
}

// set reports whether the condition held.
func (s *RedisStore) set(ctx context.Context, what string, n Note, condition ...any) (bool, error) {
	n.Version = NoteVersion
	b, err := json.Marshal(n)
	if err != nil {
		return false, fmt.Errorf("encode the note of a Django session: %w", err)
	}
	reply, err := s.ours.Do(ctx, redisconn.Idempotent(what), redisconn.Cmd("SET", append([]any{notePrefix + n.ID, b, "PX", redisconn.Millis(NoteTTL)}, condition...)...))
	return reply != nil, err
}
