package web

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/alexedwards/scs/v2"

	"gatehouse/auth"
)

// SessionStore is the store behind the sessions: scs finds, creates and deletes through
// it, the rules list and end.
type SessionStore interface {
	scs.CtxStore
	auth.SessionStore
}

// Lifetimes are the limits of a session.
type Lifetimes struct {
	// Session and Idle are for sessions that end with the browser.
	Session, Idle time.Duration
	// Remember and RememberIdle are for "keep me signed in".
	Remember, RememberIdle time.Duration
}

// Sessions puts scs to work under our rules: it never rewrites a record, never adopts a
// value that it does not know, and writes the cookie only after the store has the session.
type Sessions struct {
	manager *scs.SessionManager
	store   SessionStore
	limits  Lifetimes
	cookies Cookies
}

// NewSessions returns sessions on the store, encoded by the codec.
func NewSessions(store SessionStore, codec scs.Codec, limits Lifetimes, cookies Cookies) *Sessions {
	m := scs.New()
	m.Store = store
	m.Codec = codec
	m.HashTokenInStore = true
	m.Lifetime = limits.Session
	// scs would rewrite the record on every request to renew it, and so bring back
	// sessions that were ended meanwhile. Renewing is ours.
	m.IdleTimeout = 0
	return &Sessions{manager: m, store: store, limits: limits, cookies: cookies}
}

// requestSession is the session of one request.
type requestSession struct {
	// cookie is the value that the session was found by.
	cookie string
	// ctx is where scs keeps what it has to write; nil as long as there is nothing.
	ctx context.Context
	// record is nil for a visitor without a valid session.
	record *auth.Session
}

// load appends to dst the sessions of the cookie values that are valid, in their order, and costs one
// round trip for all. A value that is unknown, expired or unreadable is skipped; an error means that the
// store did not answer. The user's epoch is the caller's to look at.
func (s *Sessions) load(ctx context.Context, dst []requestSession, cookies []string, now time.Time) ([]requestSession, error) {
	switch len(cookies) {
	case 0:
		return dst, nil
	case 1:
		id := auth.SessionID(cookies[0])
		record, err := s.store.Session(ctx, id)
		if err == nil && record.Valid(id, now) {
			dst = append(dst, requestSession{cookie: cookies[0], record: &record})
		}
		if errors.Is(err, auth.ErrNotFound) {
			err = nil
		}
		return dst, err
	}
	ids := make([]string, len(cookies))
	for i, cookie := range cookies {
		ids[i] = auth.SessionID(cookie)
	}
	records, err := s.store.LiveSessions(ctx, ids)
	if err != nil {
		return dst, err
	}
	for i, id := range ids {
		if record, ok := records[id]; ok && record.Valid(id, now) {
			dst = append(dst, requestSession{cookie: cookies[i], record: &record})
		}
	}
	return dst, nil
}

func tokenShaped(s string) bool {
	return len(s) == auth.HashLength && !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_'
	})
}

// start begins a session for the user under a new token. What the browser had before is
// gone (ASVS 7.2.4).
func (s *Sessions) start(ctx context.Context, oldCookies []string, u auth.User, remember bool, agent, address string, now time.Time) (requestSession, error) {
	if err := s.end(ctx, oldCookies); err != nil {
		return requestSession{}, err
	}
	lifetime, idle := s.limits.Session, s.limits.Idle
	if remember {
		lifetime, idle = s.limits.Remember, s.limits.RememberIdle
	}
	fresh, err := s.manager.Load(ctx, "")
	if err != nil {
		return requestSession{}, err
	}
	return s.issue(fresh, auth.Session{
		UserID:      u.ID,
		Epoch:       u.Epoch,
		CreatedAt:   now,
		SignedInAt:  now,
		Deadline:    now.Add(lifetime).Truncate(time.Second),
		IdleSeconds: int64(idle / time.Second),
		Remember:    remember,
		Methods:     []string{"pwd"},
		UserAgent:   shorten(agent, 256),
		Address:     address,
	})
}

// renew gives the session a new token and the epoch that a change of its own has just set; the
// deadline stays. auth.ErrSessionEnded when somebody ended it meanwhile: it stays ended. Its key
// may still be there then, but the change replaced another epoch than the session's, or the user
// was disabled.
func (s *Sessions) renew(ctx context.Context, c requestSession, u auth.User, now time.Time) (requestSession, error) {
	record := *c.record
	if !u.Active || u.PreviousEpoch != record.Epoch {
		return requestSession{}, auth.ErrSessionEnded
	}
	loaded, err := s.manager.Load(ctx, c.cookie)
	if err != nil {
		return requestSession{}, err
	}
	// For a session that is gone scs would begin a new one.
	if s.manager.Token(loaded) != c.cookie {
		return requestSession{}, auth.ErrSessionEnded
	}
	record.Epoch = u.Epoch
	record.SignedInAt = now
	return s.issue(loaded, record)
}

// issue puts the record under a token of its own; the caller commits.
func (s *Sessions) issue(ctx context.Context, record auth.Session) (requestSession, error) {
	// RenewToken deletes the old key first, and our store fails when it is gone already:
	// so only one of two requests can carry a session on, and none after a sign-out.
	if err := s.manager.RenewToken(ctx); err != nil {
		return requestSession{}, err
	}
	s.manager.SetDeadline(ctx, record.Deadline)
	record.Version = auth.SessionVersion
	record.ID = auth.SessionID(s.manager.Token(ctx))
	s.manager.Put(ctx, auth.SessionValueKey, record)
	return requestSession{ctx: ctx, record: &record}, nil
}

// end deletes the sessions of the cookie values, whether or not their users could be looked up. One
// that is gone already is no error.
func (s *Sessions) end(ctx context.Context, cookies []string) error {
	if len(cookies) == 0 {
		return nil
	}
	ids := make([]string, len(cookies))
	for i, cookie := range cookies {
		ids[i] = auth.SessionID(cookie)
	}
	return s.store.EndAll(ctx, ids)
}

// commit writes a session that was started or renewed and returns its cookie value; ""
// when there is nothing to write.
func (s *Sessions) commit(c requestSession) (string, error) {
	if c.ctx == nil || s.manager.Status(c.ctx) != scs.Modified {
		return "", nil
	}
	token, _, err := s.manager.Commit(c.ctx)
	return token, err
}

// shorten cuts s to at most n bytes of valid UTF-8.
func shorten(s string, n int) string {
	s = strings.ToValidUTF8(s, "")
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// Cookies knows the names and attributes of our cookies (RFC 6265bis; ASVS 3.3.1).
type Cookies struct {
	// Secure is set when people type https.
	Secure bool
	// Domain shares the session with subdomains; empty for this host alone.
	Domain string
}

// The names of our cookies, without their prefix.
const (
	sessionCookieName = "gatehouse"
	browserCookieName = "gatehouse_browser"
)

// SessionName returns the name of the session cookie. The prefix makes the browser refuse one
// that somebody else planted.
func (k Cookies) SessionName() string { return k.prefix() + sessionCookieName }

// browser returns the name of the cookie that makes a browser known. It is for this host alone,
// also where the session is shared.
func (k Cookies) browser() string { return Cookies{Secure: k.Secure}.prefix() + browserCookieName }

func (k Cookies) prefix() string {
	switch {
	case !k.Secure:
		return ""
	case k.Domain != "":
		return "__Secure-"
	default:
		return "__Host-"
	}
}

func (k Cookies) cookie(name, value string) *http.Cookie {
	return &http.Cookie{
		Name:     name,
		Value:    value,
		Path:     "/",
		Domain:   k.Domain,
		Secure:   k.Secure,
		HttpOnly: true,
		SameSite: http.SameSiteLaxMode,
	}
}

// sessionCookie returns the cookie of a session: one that ends with the browser, or one that
// lasts to the deadline.
func (k Cookies) sessionCookie(token string, s auth.Session, now time.Time) *http.Cookie {
	c := k.cookie(k.SessionName(), token)
	if s.Remember {
		c.Expires = s.Deadline
		c.MaxAge = max(1, int(s.Deadline.Sub(now)/time.Second))
	}
	return c
}

func (k Cookies) endedCookie() *http.Cookie {
	c := k.cookie(k.SessionName(), "")
	c.MaxAge = -1
	c.Expires = time.Unix(1, 0)
	return c
}

// browserLifetime is how long a browser stays known without a sign-in.
const browserLifetime = 365 * 24 * time.Hour

func (k Cookies) browserCookie(value string) *http.Cookie {
	c := Cookies{Secure: k.Secure}.cookie(k.browser(), value)
	c.MaxAge = int(browserLifetime / time.Second)
	return c
}
