// Package sessions keeps browser sessions with scs under stricter rules: it never rewrites a stored record, never adopts
// a cookie value that the server did not issue, and hands out a cookie only after the store has the session.
//
// It does not know HTTP: callers bring cookie values and set cookies.
package sessions

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/alexedwards/scs/v2"

	"gatehouse/auth"
)

// Store is the store behind the sessions: scs finds, creates and deletes records through it, package auth lists and
// ends them.
type Store interface {
	scs.CtxStore
	auth.SessionStore
}

// Lifetimes limits sessions.
type Lifetimes struct {
	// Session and Idle are for sessions that end when the browser closes.
	Session, Idle time.Duration
	// Remember and RememberIdle are for "keep me signed in".
	Remember, RememberIdle time.Duration
}

// Manager loads, starts, renews and ends sessions.
type Manager struct {
	scs       *scs.SessionManager
	store     Store
	lifetimes Lifetimes
}

// New returns a Manager for sessions that the codec encodes into the store.
func New(store Store, codec scs.Codec, lifetimes Lifetimes) *Manager {
	m := scs.New()
	m.Store = store
	m.Codec = codec
	m.HashTokenInStore = true
	m.Lifetime = lifetimes.Session
	// To renew the idle time, scs would rewrite the record on every request and so bring back sessions that were
	// ended in the meantime. Package auth renews it instead.
	m.IdleTimeout = 0
	return &Manager{scs: m, store: store, lifetimes: lifetimes}
}

// Current is the session of one request. Its zero value is a visitor without a valid session.
type Current struct {
	// Record is nil for a visitor without a valid session.
	Record *auth.Session
	// cookie is the cookie value under which the session was found.
	cookie string
	// ctx holds what scs has to write; nil if nothing.
	ctx context.Context
}

// Load appends the valid sessions of the cookie values to dst, in their order, in one round trip for all of them. It
// skips values that are unknown, expired or malformed; an error means that the store did not respond. The caller must
// check the user's epoch.
func (m *Manager) Load(ctx context.Context, dst []Current, cookies []string, now time.Time) ([]Current, error) {
	switch len(cookies) {
	case 0:
		return dst, nil
	case 1:
		id := auth.SessionID(cookies[0])
		record, err := m.store.Session(ctx, id)
		if err == nil && record.Valid(id, now) {
			dst = append(dst, Current{cookie: cookies[0], Record: &record})
		}
		if errors.Is(err, auth.ErrNotFound) {
			err = nil
		}
		return dst, err
	}
	ids := sessionIDs(cookies)
	records, err := m.store.LiveSessions(ctx, ids)
	if err != nil {
		return dst, err
	}
	for i, id := range ids {
		if record, ok := records[id]; ok && record.Valid(id, now) {
			dst = append(dst, Current{cookie: cookies[i], Record: &record})
		}
	}
	return dst, nil
}

func sessionIDs(cookies []string) []string {
	ids := make([]string, len(cookies))
	for i, cookie := range cookies {
		ids[i] = auth.SessionID(cookie)
	}
	return ids
}

// IsToken reports whether the value has the form of a session cookie's.
func IsToken(s string) bool {
	return len(s) == auth.HashLength && !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_'
	})
}

// Client describes the browser for the list of sessions.
type Client struct{ UserAgent, Address string }

// Start begins a session under a new token and ends the sessions that the browser had before (ASVS 7.2.4). Commit
// writes it.
func (m *Manager) Start(ctx context.Context, oldCookies []string, u auth.User, remember bool, c Client, now time.Time) (Current, error) {
	if err := m.End(ctx, oldCookies); err != nil {
		return Current{}, err
	}
	lifetime, idle := m.lifetimes.Session, m.lifetimes.Idle
	if remember {
		lifetime, idle = m.lifetimes.Remember, m.lifetimes.RememberIdle
	}
	fresh, err := m.scs.Load(ctx, "")
	if err != nil {
		return Current{}, err
	}
	return m.issue(fresh, auth.Session{
		UserID:      u.ID,
		Epoch:       u.Epoch,
		CreatedAt:   now,
		SignedInAt:  now,
		Deadline:    now.Add(lifetime).Truncate(time.Second),
		IdleSeconds: int64(idle / time.Second),
		Remember:    remember,
		Methods:     []string{"pwd"},
		UserAgent:   c.UserAgent,
		Address:     c.Address,
	})
}

// Renew gives the session a new token and the epoch that a change in this session has just set; the deadline stays.
// auth.ErrSessionEnded if the session was ended in the meantime. Its record may still exist then, but the change
// replaced an epoch other than the session's, or the user was disabled.
func (m *Manager) Renew(ctx context.Context, c Current, u auth.User, now time.Time) (Current, error) {
	record := *c.Record
	if !u.Active || u.PreviousEpoch != record.Epoch {
		return Current{}, auth.ErrSessionEnded
	}
	loaded, err := m.scs.Load(ctx, c.cookie)
	if err != nil {
		return Current{}, err
	}
	// scs begins a new session if this one is gone.
	if m.scs.Token(loaded) != c.cookie {
		return Current{}, auth.ErrSessionEnded
	}
	record.Epoch = u.Epoch
	record.SignedInAt = now
	return m.issue(loaded, record)
}

// issue puts the record under a new token. The caller commits.
func (m *Manager) issue(ctx context.Context, record auth.Session) (Current, error) {
	// RenewToken deletes the old key first, and the store fails if it is gone already. So only one of two concurrent
	// requests can continue a session, and none can after a sign-out.
	if err := m.scs.RenewToken(ctx); err != nil {
		return Current{}, err
	}
	m.scs.SetDeadline(ctx, record.Deadline)
	record.Version = auth.SessionVersion
	record.ID = auth.SessionID(m.scs.Token(ctx))
	m.scs.Put(ctx, auth.SessionValueKey, record)
	return Current{ctx: ctx, Record: &record}, nil
}

// End deletes the sessions of the cookie values, without looking up their users. Sessions that do not exist are not an
// error.
func (m *Manager) End(ctx context.Context, cookies []string) error {
	if len(cookies) == 0 {
		return nil
	}
	return m.store.EndAll(ctx, sessionIDs(cookies))
}

// Commit writes a session that was started or renewed and returns its cookie value, or "" if there is nothing to write.
func (m *Manager) Commit(c Current) (string, error) {
	if c.ctx == nil || m.scs.Status(c.ctx) != scs.Modified {
		return "", nil
	}
	token, _, err := m.scs.Commit(c.ctx)
	return token, err
}
