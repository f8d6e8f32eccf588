package kv

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

	"gatehouse/auth"
)

// maxRecord is the size limit of a session record in bytes.
const maxRecord = 8 << 10

// Codec is the scs.Codec of the sessions: one auth.Session under auth.SessionValueKey, as JSON that
// other programs read.
type Codec struct{}

// Encode returns the JSON of the auth.Session in values with the deadline of scs, in UTC and
// whole seconds. It returns an error for any other values, and for a record above maxRecord.
func (Codec) Encode(deadline time.Time, values map[string]any) ([]byte, error) {
	rec, ok := values[auth.SessionValueKey].(auth.Session)
	if !ok || len(values) != 1 {
		return nil, fmt.Errorf("encode session: want one auth.Session under %q", auth.SessionValueKey)
	}
	rec.Version = auth.SessionVersion
	rec.Deadline = deadline.UTC().Truncate(time.Second)
	rec.CreatedAt, rec.SignedInAt = rec.CreatedAt.UTC(), rec.SignedInAt.UTC()
	b, err := json.Marshal(rec)
	if err != nil {
		return nil, fmt.Errorf("encode session: %w", err)
	}
	if len(b) > maxRecord {
		return nil, errors.New("encode session: record is over 8 KiB")
	}
	return b, nil
}

// Decode parses what FindCtx returned. It never returns an error, because scs would answer every
// request of that browser with an error page: an invalid record, or one past its deadline, has no
// values, so the visitor is anonymous.
func (Codec) Decode(b []byte) (time.Time, map[string]any, error) {
	rec, ok := parseSession(b)
	if !ok || !time.Now().Before(rec.Deadline) {
		return time.Time{}, map[string]any{}, nil
	}
	return rec.Deadline, map[string]any{auth.SessionValueKey: rec}, nil
}

var sessionFields = fieldNamesOf(auth.Session{})

// parseSession parses a record and reports whether it is valid. A missing required field makes it
// invalid: the epoch starts at -1 so that a record without one does not pass as epoch 0.
func parseSession(b []byte) (auth.Session, bool) {
	if len(b) > maxRecord || !utf8.Valid(b) {
		return auth.Session{}, false
	}
	rec := auth.Session{Epoch: -1}
	fields, ok := sessionFields.decode(b, &rec)
	if !ok || !isUTC(fields["deadline"]) {
		return auth.Session{}, false
	}
	valid := rec.Version == auth.SessionVersion && len(rec.ID) == auth.HashLength && rec.UserID != "" && rec.Epoch >= 0 &&
		rec.IdleSeconds > 0 && rec.IdleSeconds <= int64(auth.MaxSessionIdle/time.Second) && !rec.Deadline.IsZero()
	return rec, valid
}
