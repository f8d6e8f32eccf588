package kv

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

	"gatehouse/auth"
	"gatehouse/kv/redisconn"

	"github.com/gomodule/redigo/redis"
)

const notePrefix = "django:"

// Django is the auth.DjangoStore: Django's sessions in its own Redis, which is only read, and the
// notes of them, key "django:" + id, beside our sessions.
type Django struct {
	theirs, ours *redisconn.Pool
	prefix       string
}

var _ auth.DjangoStore = (*Django)(nil)

// NewDjango returns the store of the sessions that Django keeps in theirs, under keys that begin
// with the prefix and a colon, or with neither, as django-redis-sessions makes them.
func NewDjango(theirs, ours *redisconn.Pool, prefix string) *Django {
	if prefix != "" {
		prefix += ":"
	}
	return &Django{theirs, ours, prefix}
}

// Readable asks Django's Redis for what the bridge will ask it, for a key that nobody has.
func (d *Django) Readable(ctx context.Context) error {
	_, _, err := d.DjangoValue(ctx, "")
	if errors.Is(err, auth.ErrNotFound) {
		return nil
	}
	return err
}

// DjangoValue implements auth.DjangoStore. Whatever Django's Redis refuses is auth.ErrUnavailable.
func (d *Django) DjangoValue(ctx context.Context, key string) ([]byte, time.Duration, error) {
	const what = "find a session of Django"
	name := d.prefix + key
	replies, err := d.theirs.ReadPipelined(ctx, what, redisconn.Cmd("GETRANGE", name, 0, auth.MaxDjangoValue), redisconn.Cmd("PTTL", name))
	if err != nil {
		return nil, 0, err
	}
	if redisconn.HasCode(replies[0], "WRONGTYPE") {
		return nil, 0, auth.ErrNotFound
	}
	for _, reply := range replies {
		if said, ok := reply.(redis.Error); ok {
			return nil, 0, redisconn.Unavailable(what, said)
		}
	}
	value, _ := replies[0].([]byte)
	ttl, _ := replies[1].(int64)
	const gone = -2
	if len(value) == 0 || ttl == gone {
		return nil, 0, auth.ErrNotFound
	}
	return value, time.Duration(ttl) * time.Millisecond, nil
}

// Note implements auth.DjangoStore.
func (d *Django) Note(ctx context.Context, id string) (auth.DjangoNote, error) {
	const what = "find the note of a session of Django"
	replies, err := d.ours.ReadPipelined(ctx, what, redisconn.Cmd("GET", notePrefix+id), redisconn.Cmd("PTTL", notePrefix+id))
	if err != nil {
		return auth.DjangoNote{}, err
	}
	if redisconn.HasCode(replies[0], "WRONGTYPE") {
		return auth.DjangoNote{}, auth.ErrNotFound
	}
	if err := errors.Join(redisconn.ReplyError(what, replies[0]), redisconn.ReplyError(what, replies[1])); err != nil {
		return auth.DjangoNote{}, err
	}
	value, _ := replies[0].([]byte)
	ttl, _ := replies[1].(int64)
	note := auth.DjangoNote{Epoch: -1}
	if len(value) > maxRecord || !utf8.Valid(value) || json.Unmarshal(value, &note) != nil || !note.Whole(id) {
		return auth.DjangoNote{}, auth.ErrNotFound
	}
	note.TTL = time.Duration(ttl) * time.Millisecond
	return note, nil
}

// AddNote implements auth.DjangoStore. NX: nothing may take the place of a note that says "ended".
func (d *Django) AddNote(ctx context.Context, n auth.DjangoNote) error {
	_, err := d.set(ctx, "note a session of Django", n, "NX")
	return err
}

// KeepNote implements auth.DjangoStore.
func (d *Django) KeepNote(ctx context.Context, id string) error {
	_, err := d.ours.Do(ctx, redisconn.Idempotent("keep the note of a session of Django"), redisconn.Cmd("PEXPIRE", notePrefix+id, redisconn.Millis(auth.DjangoNoteTTL)))
	return err
}

// EndNote implements auth.DjangoStore.
func (d *Django) EndNote(ctx context.Context, n auth.DjangoNote, anyway bool) (bool, error) {
	const what = "end a session of Django here"
	if anyway {
		return d.set(ctx, what, n)
	}
	return d.set(ctx, what, n, "XX")
}

// set reports whether the condition held.
func (d *Django) set(ctx context.Context, what string, n auth.DjangoNote, condition ...any) (bool, error) {
	n.Version = auth.DjangoNoteVersion
	b, err := json.Marshal(n)
	if err != nil {
		return false, fmt.Errorf("encode the note of a session of Django: %w", err)
	}
	reply, err := d.ours.Do(ctx, redisconn.Idempotent(what), redisconn.Cmd("SET", append([]any{notePrefix + n.ID, b, "PX", redisconn.Millis(auth.DjangoNoteTTL)}, condition...)...))
	return reply != nil, err
}
