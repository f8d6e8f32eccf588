package authtest

import (
	"context"
	"errors"
	"slices"
	"time"

	"gatehouse/auth"
)

// Tokens is an auth.TokenStore.
type Tokens struct {
	*CallLog
	records map[string]auth.Token
}

var _ auth.TokenStore = (*Tokens)(nil)

// Put stores any record under an id.
func (s *Tokens) Put(id string, t auth.Token) { s.records[id] = t }

// Record returns the token of an id.
func (s *Tokens) Record(id string) (auth.Token, bool) {
	t, ok := s.records[id]
	return t, ok
}

// Len returns the number of tokens.
func (s *Tokens) Len() int { return len(s.records) }

// Create implements auth.TokenStore.
func (s *Tokens) Create(ctx context.Context, t auth.Token, _ func(context.Context) (int64, error)) error {
	if err := s.LogCall(ctx, "tokens.Create", t.UserID); err != nil {
		return err
	}
	if len(s.of(t.UserID)) >= auth.MaxTokens {
		return auth.ErrTooManyTokens
	}
	s.records[t.ID] = t
	return nil
}

// Find implements auth.TokenStore.
func (s *Tokens) Find(ctx context.Context, id string) (auth.Token, error) {
	if err := s.LogCall(ctx, "tokens.Find", id); err != nil {
		return auth.Token{}, err
	}
	t, ok := s.records[id]
	if !ok {
		return auth.Token{}, auth.ErrNotFound
	}
	return t, nil
}

// RecordUse implements auth.TokenStore.
func (s *Tokens) RecordUse(t auth.Token, at time.Time) {
	_ = s.LogCall(context.Background(), "tokens.RecordUse", t.TokenID)
	if rec, ok := s.records[t.ID]; ok {
		rec.LastUsed = at
		s.records[t.ID] = rec
	}
}

func (s *Tokens) of(userID string) []auth.Token {
	var all []auth.Token
	for _, t := range s.records {
		if t.UserID == userID {
			all = append(all, t)
		}
	}
	slices.SortFunc(all, func(a, b auth.Token) int { return b.CreatedAt.Compare(a.CreatedAt) })
	return all
}

// List implements auth.TokenStore.
func (s *Tokens) List(ctx context.Context, userID string) ([]auth.Token, error) {
	if err := s.LogCall(ctx, "tokens.List", userID); err != nil {
		return nil, err
	}
	return s.of(userID), nil
}

// Revoke implements auth.TokenStore.
func (s *Tokens) Revoke(ctx context.Context, userID, tokenID string) error {
	if err := s.LogCall(ctx, "tokens.Revoke", userID, tokenID); err != nil {
		return err
	}
	for id, t := range s.records {
		if t.UserID == userID && t.TokenID == tokenID {
			delete(s.records, id)
			return nil
		}
	}
	return auth.ErrNotFound
}

// RevokeAll implements auth.TokenStore.
func (s *Tokens) RevokeAll(ctx context.Context, userID string) error {
	if err := s.LogCall(ctx, "tokens.RevokeAll", userID); err != nil {
		return err
	}
	for _, t := range s.of(userID) {
		delete(s.records, t.ID)
	}
	return nil
}

// EndStale implements auth.TokenStore.
func (s *Tokens) EndStale(ctx context.Context, userID string, current func(context.Context) (int64, error)) error {
	if err := s.LogCall(ctx, "tokens.EndStale", userID); err != nil {
		return err
	}
	epoch, err := current(ctx)
	if err != nil && !errors.Is(err, auth.ErrNotFound) {
		return err
	}
	for _, t := range s.of(userID) {
		if err != nil {
			delete(s.records, t.ID)
		} else if t.Epoch != epoch {
			t.Epoch = 0
			s.records[t.ID] = t
		}
	}
	return nil
}
