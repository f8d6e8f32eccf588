package auth

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

var noon = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

// newSession returns a session from noon with an idle timeout of two hours and a maximum age of a day.
func newSession() Session {
	return Session{
		Version: SessionVersion, ID: SessionID("cookie"), UserID: "u1", Epoch: 1, CreatedAt: noon, SignedInAt: noon,
		Deadline: noon.Add(24 * time.Hour), IdleSeconds: 7200, TTL: 2 * time.Hour,
	}
}

func TestSessionID_IsTheHashOfTheCookie(t *testing.T) {
	// echo -n cookie | openssl dgst -sha256 -binary | basenc --base64url
	if got := SessionID("cookie"); got != "1-g-KKBLU35kQkVGsUyvm2e60vKNq85oEW4NNyMZ-gA" {
		t.Errorf("got %q, want the documented hash", got)
	}
}

func TestSession_Valid(t *testing.T) {
	id := SessionID("cookie")
	for _, c := range []struct {
		name   string
		id     string
		at     time.Duration
		change func(*Session)
		want   bool
	}{
		{"fresh", id, 0, func(*Session) {}, true},
		{"a moment before the deadline", id, 24*time.Hour - 1, func(*Session) {}, true},
		{"at the deadline", id, 24 * time.Hour, func(*Session) {}, false},
		{"after it", id, 48 * time.Hour, func(*Session) {}, false},
		{"after it, with a key that never expires", id, 48 * time.Hour, func(s *Session) { s.TTL = -1 }, false},
		{"the record of another key", SessionID("other"), 0, func(*Session) {}, false},
		{"no id", "", 0, func(s *Session) {}, false},
		{"no user", id, 0, func(s *Session) { s.UserID = "" }, false},
		{"an older format", id, 0, func(s *Session) { s.Version = 0 }, false},
		{"a newer format", id, 0, func(s *Session) { s.Version = 2 }, false},
		{"no idle time", id, 0, func(s *Session) { s.IdleSeconds = 0 }, false},
		{"negative idle time", id, 0, func(s *Session) { s.IdleSeconds = -1 }, false},
		{"no deadline", id, 0, func(s *Session) { s.Deadline = time.Time{} }, false},
	} {
		s := newSession()
		c.change(&s)
		if got := s.Valid(c.id, noon.Add(c.at)); got != c.want {
			t.Errorf("%s: got %v, want %v", c.name, got, c.want)
		}
	}
}

func TestSession_FreshTTLEndsAtTheDeadline(t *testing.T) {
	s := newSession()
	for at, want := range map[time.Duration]time.Duration{
		0:                          2 * time.Hour,
		21 * time.Hour:             2 * time.Hour,
		22 * time.Hour:             2 * time.Hour,
		23 * time.Hour:             time.Hour,
		24*time.Hour - time.Second: time.Second,
		24 * time.Hour:             0,
		25 * time.Hour:             -time.Hour,
	} {
		if got := s.FreshTTL(noon.Add(at)); got != want {
			t.Errorf("after %s: got %s, want %s", at, got, want)
		}
	}
}

func TestSession_NeedsRenewalAfterATenth(t *testing.T) {
	for _, c := range []struct {
		name    string
		at, ttl time.Duration
		want    bool
	}{
		{"just set", 0, 2 * time.Hour, false},
		{"a tenth has passed", time.Hour, 108 * time.Minute, false},
		{"more than a tenth has passed", time.Hour, 108*time.Minute - 1, true},
		{"about to expire", time.Hour, time.Second, true},
		{"no TTL (PERSIST)", time.Hour, -1, true},
		{"far too long", time.Hour, 30 * time.Hour, true},
		{"rounding", time.Hour, 2*time.Hour + time.Second, false},
		{"just too long", time.Hour, 2*time.Hour + time.Second + 1, true},
		{"near the deadline, the key expires at it", 23 * time.Hour, time.Hour, false},
		{"near the deadline, the key expires after it", 23 * time.Hour, time.Hour + 2*time.Second, true},
		{"near the deadline, the key has no TTL", 23 * time.Hour, -1, true},
	} {
		s := newSession()
		s.TTL = c.ttl
		if got := s.NeedsRenewal(noon.Add(c.at)); got != c.want {
			t.Errorf("%s: got %v, want %v", c.name, got, c.want)
		}
	}
}

func TestUser_AcceptsOnlyItsEpoch(t *testing.T) {
	for _, c := range []struct {
		active bool
		epoch  int64
		want   bool
	}{{true, 3, true}, {true, 2, false}, {true, 4, false}, {false, 3, false}} {
		u := User{Active: c.active, Epoch: 3}
		if got := u.AcceptsEpoch(c.epoch); got != c.want {
			t.Errorf("active %v, epoch %d: got %v, want %v", c.active, c.epoch, got, c.want)
		}
	}
}

func TestUser_JSONHoldsNoHash(t *testing.T) {
	b, err := json.Marshal(User{ID: "u1", Username: "alice", PasswordHash: "$argon2id$secret"})
	if err != nil || strings.Contains(string(b), "argon2id") {
		t.Errorf("got %s, %v; want no password hash", b, err)
	}
}

func TestUser_DisplayNameFallsBackToTheUsername(t *testing.T) {
	if got := (User{Username: "alice", Name: "Alice"}).DisplayName(); got != "Alice" {
		t.Errorf("got %q, want Alice", got)
	}
	if got := (User{Username: "alice"}).DisplayName(); got != "alice" {
		t.Errorf("got %q, want alice", got)
	}
}

func TestErrors_NameOnlyTheFields(t *testing.T) {
	err := fmt.Errorf("outer: %w", ValidationErrors{"b": "secret text", "a": "x"})
	var wrong ValidationErrors
	if !errors.As(err, &wrong) || err.Error() != "outer: invalid a, b" {
		t.Errorf("got %q, want only the names of the fields", err)
	}
	if (ValidationErrors{}).orNil() != nil {
		t.Error("empty ValidationErrors are an error")
	}
	if got := (ThrottledError{3 * time.Second}).Error(); got != "throttled for 3s" {
		t.Errorf("got %q, want the delay", got)
	}
}
