package authtest

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"gatehouse/auth"
)

// Sessions is an auth.SessionStore and an scs.CtxStore.
type Sessions struct {
	*CallLog
	records map[string][]byte
	held    map[string]bool
	// TTL is the remaining time of every key; zero for the whole idle time.
	TTL time.Duration
}

var _ auth.SessionStore = (*Sessions)(nil)

// Len returns the number of sessions.
func (s *Sessions) Len() int { return len(s.records) }

// Put stores any value under an id.
func (s *Sessions) Put(id string, record []byte) { s.records[id] = record }

// Record returns the session of an id.
func (s *Sessions) Record(id string) (auth.Session, bool) {
	var rec auth.Session
	b, ok := s.records[id]
	return rec, ok && json.Unmarshal(b, &rec) == nil
}

// Session implements auth.SessionStore.
func (s *Sessions) Session(ctx context.Context, id string) (auth.Session, error) {
	if err := s.LogCall(ctx, "sessions.Find", id); err != nil {
		return auth.Session{}, err
	}
	rec, ok := s.Record(id)
	if !ok {
		return auth.Session{}, auth.ErrNotFound
	}
	rec.TTL = cmp.Or(s.TTL, rec.Idle())
	return rec, nil
}

// LiveSessions implements auth.SessionStore.
func (s *Sessions) LiveSessions(ctx context.Context, ids []string) (map[string]auth.Session, error) {
	if err := s.LogCall(ctx, "sessions.Find", ids...); err != nil {
		return nil, err
	}
	live := map[string]auth.Session{}
	for _, id := range ids {
		if rec, ok := s.Record(id); ok {
			rec.TTL = cmp.Or(s.TTL, rec.Idle())
			live[id] = rec
		}
	}
	return live, nil
}

// EndAll implements auth.SessionStore.
func (s *Sessions) EndAll(ctx context.Context, ids []string) error {
	if err := s.LogCall(ctx, "sessions.Delete", ids...); err != nil {
		return err
	}
	for _, id := range ids {
		delete(s.records, id)
	}
	return nil
}

// FindCtx implements scs.CtxStore.
func (s *Sessions) FindCtx(ctx context.Context, id string) ([]byte, bool, error) {
	if err := s.LogCall(ctx, "sessions.Find", id); err != nil {
		return nil, false, err
	}
	b, ok := s.records[id]
	return b, ok, nil
}

// CommitCtx implements scs.CtxStore.
func (s *Sessions) CommitCtx(ctx context.Context, id string, record []byte, _ time.Time) error {
	if err := s.LogCall(ctx, "sessions.Commit", id); err != nil {
		return err
	}
	s.records[id] = record
	return nil
}

// DeleteCtx implements scs.CtxStore; auth.ErrSessionEnded when there is no such session.
func (s *Sessions) DeleteCtx(ctx context.Context, id string) error {
	if err := s.LogCall(ctx, "sessions.Delete", id); err != nil {
		return err
	}
	if _, ok := s.records[id]; !ok {
		return auth.ErrSessionEnded
	}
	delete(s.records, id)
	return nil
}

// Find implements scs.Store.
func (s *Sessions) Find(id string) ([]byte, bool, error) {
	return s.FindCtx(context.Background(), id)
}

// Commit implements scs.Store.
func (s *Sessions) Commit(id string, record []byte, expiry time.Time) error {
	return s.CommitCtx(context.Background(), id, record, expiry)
}

// Delete implements scs.Store.
func (s *Sessions) Delete(id string) error { return s.DeleteCtx(context.Background(), id) }

// Renew implements auth.SessionStore.
func (s *Sessions) Renew(ctx context.Context, rec auth.Session) error {
	return s.LogCall(ctx, "sessions.Renew", rec.ID)
}

// List implements auth.SessionStore.
func (s *Sessions) List(ctx context.Context, userID string) ([]auth.Session, error) {
	if err := s.LogCall(ctx, "sessions.List", userID); err != nil {
		return nil, err
	}
	var all []auth.Session
	for id := range s.records {
		if rec, ok := s.Record(id); ok && rec.UserID == userID {
			rec.LastSeen = rec.SignedInAt
			all = append(all, rec)
		}
	}
	return all, nil
}

// End implements auth.SessionStore.
func (s *Sessions) End(ctx context.Context, userID, id string) error {
	if err := s.LogCall(ctx, "sessions.End", userID, id); err != nil {
		return err
	}
	if rec, ok := s.Record(id); !ok || rec.UserID != userID {
		return auth.ErrNotFound
	}
	delete(s.records, id)
	return nil
}

// HoldForRenewal implements auth.SessionStore. The hold does not expire.
func (s *Sessions) HoldForRenewal(ctx context.Context, id string) error {
	if err := s.LogCall(ctx, "sessions.Hold", id); err != nil {
		return err
	}
	s.held[id] = true
	return nil
}

// EndRejected implements auth.SessionStore.
func (s *Sessions) EndRejected(ctx context.Context, userID, id string) error {
	if s.held[id] {
		return nil
	}
	return s.End(ctx, userID, id)
}

// EndStale implements auth.SessionStore.
func (s *Sessions) EndStale(ctx context.Context, userID, keep string, current func(context.Context) (int64, error)) error {
	if err := s.LogCall(ctx, "sessions.EndStale", userID); err != nil {
		return err
	}
	epoch, err := current(ctx)
	if err != nil && !errors.Is(err, auth.ErrNotFound) {
		return err
	}
	for id := range s.records {
		if rec, ok := s.Record(id); ok && rec.UserID == userID && id != keep && (err != nil || rec.Epoch != epoch) {
			delete(s.records, id)
		}
	}
	return nil
}

// Codec is an scs.Codec. An invalid record has no values, so the visitor is anonymous.
type Codec struct{}

// Encode implements scs.Codec.
func (Codec) Encode(deadline time.Time, values map[string]any) ([]byte, error) {
	rec, ok := values[auth.SessionValueKey].(auth.Session)
	if !ok || len(values) != 1 {
		return nil, fmt.Errorf("not one session: %v", values)
	}
	if !rec.Deadline.Equal(deadline) {
		return nil, errors.New("scs and the record differ about the deadline")
	}
	return json.Marshal(rec)
}

// Decode implements scs.Codec.
func (Codec) Decode(b []byte) (time.Time, map[string]any, error) {
	var rec auth.Session
	if json.Unmarshal(b, &rec) != nil {
		return time.Time{}, map[string]any{}, nil
	}
	return rec.Deadline, map[string]any{auth.SessionValueKey: rec}, nil
}
