package auth

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"time"
)

const (
	// SessionValueKey is the only key in an scs session; its value is a Session.
	SessionValueKey = "session"
	// MaxSessionIdle bounds Session.IdleSeconds, so that it fits a time.Duration: ten years.
	MaxSessionIdle = 10 * 365 * 24 * time.Hour
	// HashLength is the length of 32 bytes in unpadded base64url: of a SHA-256 such as a SessionID, of
	// an HMAC and of a session token.
	HashLength = 43
)

// Session is one browser's sign-in, stored in Redis under "session:" + ID. Other programs read it too, so its JSON names
// are a contract.
type Session struct {
	Version int `json:"v"`
	// ID is the SessionID of the cookie's value. The record repeats it, so that a reply for another key is detected.
	ID     string `json:"id"`
	UserID string `json:"user_id"`
	// Epoch is the user's epoch at sign-in; the session is invalid once the user has another one.
	Epoch int64 `json:"epoch"`
	// CreatedAt is when this chain of sessions began; a renewed token keeps it.
	CreatedAt time.Time `json:"created_at"`
	// SignedInAt is when the password was last checked.
	SignedInAt time.Time `json:"signed_in_at"`
	// Deadline ends the session whatever the key's TTL says (ASVS 7.3.2).
	Deadline time.Time `json:"deadline"`
	// IdleSeconds is the time without a request after which the session ends (ASVS 7.3.1).
	IdleSeconds int64 `json:"idle_seconds"`
	// Remember makes the cookie outlive the browser ("keep me signed in").
	Remember bool `json:"remember"`
	// Methods are authentication methods as in RFC 8176 ("pwd").
	Methods   []string `json:"amr"`
	UserAgent string   `json:"user_agent"`
	Address   string   `json:"address"`

	// TTL is the key's remaining time when it was read; negative when it had none.
	TTL time.Duration `json:"-"`
	// External marks a session of another program that signs users in here too. It is read and never renewed.
	External bool `json:"-"`
	// LastSeen is filled by SessionStore.List only; exact to a tenth of the idle time.
	LastSeen time.Time `json:"-"`
}

// SessionVersion is the "v" of the session record that this program writes and reads.
const SessionVersion = 1

// SessionID returns the id of the session of a cookie value: the unpadded base64url of its SHA-256. The cookie value
// itself is never stored.
func SessionID(cookie string) string {
	h := sha256.Sum256([]byte(cookie))
	return base64.RawURLEncoding.EncodeToString(h[:])
}

// Idle returns the idle limit.
func (s *Session) Idle() time.Duration { return time.Duration(s.IdleSeconds) * time.Second }

// Valid reports whether the record is valid now under this id. It does not check the epoch; User.AcceptsEpoch does.
func (s *Session) Valid(id string, now time.Time) bool {
	return s.Version == SessionVersion && s.ID == id && s.UserID != "" && s.IdleSeconds > 0 && now.Before(s.Deadline)
}

// FreshTTL returns the key's new TTL if the session is used now: the idle time, but not past the deadline.
func (s *Session) FreshTTL(now time.Time) time.Duration {
	return min(s.Idle(), s.Deadline.Sub(now))
}

// NeedsRenewal reports whether a tenth of the idle time has passed since the TTL was
// last set, or the key has no TTL, so that renewing it is worth a command.
func (s *Session) NeedsRenewal(now time.Time) bool {
	fresh := s.FreshTTL(now)
	return s.TTL < 0 || s.TTL > fresh+time.Second || (fresh == s.Idle() && fresh-s.TTL > s.Idle()/10)
}

// MaxSessions is the maximum number of live sessions of a user (ASVS 7.1.2). A further sign-in ends the least recently
// seen one.
const MaxSessions = 200

// SessionStore has the operations on sessions that scs lacks. Creating, finding and deleting go through scs.
type SessionStore interface {
	// Session returns the live session of the id, with TTL set; ErrNotFound when there is none or the record is
	// invalid.
	Session(ctx context.Context, id string) (Session, error)
	// LiveSessions is Session for several ids in one round trip. Those without a session are left out.
	LiveSessions(ctx context.Context, ids []string) (map[string]Session, error)
	// EndAll ends the sessions with these ids, of any user. Sessions that no longer exist are not an error.
	EndAll(ctx context.Context, ids []string) error
	// Renew sets the key's TTL to s.FreshTTL, only if the key still exists.
	Renew(ctx context.Context, s Session) error
	// List returns the user's live sessions, last seen first, with LastSeen set.
	List(ctx context.Context, userID string) ([]Session, error)
	// End ends one session if it belongs to the user; ErrNotFound otherwise.
	End(ctx context.Context, userID, id string) error
	// HoldForRenewal keeps EndRejected from ending the session while a request of that session sets a new epoch and
	// then renews it. The hold expires after some seconds, in case the request fails in between.
	HoldForRenewal(ctx context.Context, id string) error
	// EndRejected is End for a session of another epoch than the user's, unless it is held.
	EndRejected(ctx context.Context, userID, id string) error
	// EndStale ends the user's sessions of any epoch but the current one, except the one with
	// the id keep. It calls current after reading the sessions, so that one that began under a
	// newer epoch meanwhile is kept; ErrNotFound from current ends all of them.
	EndStale(ctx context.Context, userID, keep string, current func(context.Context) (epoch int64, err error)) error
}
