package auth_test

import (
	"errors"
	"testing"
	"time"

	"gatehouse/auth"
)

// wantCalls makes five requests and checks how many store calls with the prefix they cause.
func (w *world) wantCalls(t *testing.T, what, prefix string, want int, request func()) {
	t.Helper()
	w.Reset()
	for range 5 {
		request()
	}
	if calls := w.Calls(prefix); len(calls) != want {
		t.Errorf("%s: got %d calls of %s…, want %d: %v", what, len(calls), prefix, want, calls)
	}
}

// TestDeletedUser_CostsOneLookupPerSecond: the credential stays stored, since the table may be empty for a moment during
// a restore.
func TestDeletedUser_CostsOneLookupPerSecond(t *testing.T) {
	w := newWorld(t)
	now := noon
	w.Now = func() time.Time { return now }
	w.LocalCache = auth.NewLocalUserCache(time.Hour)
	w.LocalCache.SetEnabled(true)
	u := w.add(t, "alice")
	secret, _, err := w.NewToken(t.Context(), u, auth.TokenRequest{Name: "n", Lifetime: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	session := auth.Session{Version: 1, ID: "s1", UserID: u.ID, Epoch: u.Epoch}
	presented := map[string]struct {
		want    error
		present func() error
	}{
		"session": {auth.ErrNotFound, func() error { _, err := w.SessionUser(t.Context(), session); return err }},
		"token":   {auth.ErrTokenUnknown, func() error { _, _, err := w.AuthenticateToken(t.Context(), secret); return err }},
	}
	for what, p := range presented {
		w.rows().Put(u)
		w.InvalidateUser(u.ID)
		if err := p.present(); err != nil {
			t.Fatal(err)
		}
		w.rows().Delete(u.ID)
		w.InvalidateUser(u.ID)
		refused := func() {
			t.Helper()
			if err := p.present(); !errors.Is(err, p.want) {
				t.Errorf("%s: got %v, want %v", what, err, p.want)
			}
		}
		w.wantCalls(t, what, "users.", 1, refused)
		now = now.Add(time.Second)
		w.wantCalls(t, what+", a second later", "users.", 1, refused)
		w.wantCalls(t, what+", then", "cache.", 0, refused)
		w.wantCalls(t, what+", then", "sessions.End", 0, refused)
		w.wantCalls(t, what+", then", "tokens.EndStale", 0, refused)

		// The user is inserted again: a new session is valid immediately, the old credential within a second or
		// on the next notification.
		w.rows().Put(u)
		fresh := session
		fresh.ID = "new " + what
		if _, err := w.SessionUser(t.Context(), fresh); err != nil {
			t.Errorf("%s: a new session of the restored user: %v", what, err)
		}
		w.InvalidateUser(u.ID)
		if err := p.present(); err != nil {
			t.Errorf("%s, after the user was restored: %v", what, err)
		}
		now = now.Add(time.Second)
	}
}

// TestStaleCredential_IsNotEndedOnEveryRequest: while Redis refuses writes, requests do not keep trying to delete it.
func TestStaleCredential_IsNotEndedOnEveryRequest(t *testing.T) {
	w := newWorld(t)
	now := noon
	w.Now = func() time.Time { return now }
	w.LocalCache = auth.NewLocalUserCache(time.Hour)
	w.LocalCache.SetEnabled(true)
	u := w.add(t, "alice")
	var secrets []string
	for range 5 {
		secret, _, err := w.NewToken(t.Context(), u, auth.TokenRequest{Name: "n", Lifetime: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		secrets = append(secrets, secret)
	}
	session := auth.Session{Version: 1, ID: "s1", UserID: u.ID, Epoch: u.Epoch}
	u.Epoch = 7
	w.rows().Put(u)
	w.InvalidateUser(u.ID)
	if _, err := w.User(t.Context(), u.ID); err != nil {
		t.Fatal(err)
	}
	w.FailOn("sessions.End", errDown)
	w.FailOn("tokens.EndStale", errDown)
	stale := func() {
		if _, err := w.SessionUser(t.Context(), session); !errors.Is(err, auth.ErrNotFound) {
			t.Errorf("the stale session: got %v, want ErrNotFound", err)
		}
	}
	w.wantCalls(t, "stale session", "users.", 1, stale)
	now = now.Add(time.Second)
	w.wantCalls(t, "stale session, a second later", "sessions.End", 1, stale)
	now = now.Add(time.Second)
	token := func() {
		if _, _, err := w.AuthenticateToken(t.Context(), secrets[0]); !errors.Is(err, auth.ErrTokenInvalidated) {
			t.Errorf("the stale token: got %v, want ErrTokenInvalidated", err)
		}
	}
	w.wantCalls(t, "stale token", "users.UserByID", 1, token)
	now = now.Add(time.Second)
	i := 0
	w.wantCalls(t, "five stale tokens", "tokens.EndStale", 1, func() {
		if _, _, err := w.AuthenticateToken(t.Context(), secrets[i]); !errors.Is(err, auth.ErrTokenInvalidated) {
			t.Errorf("stale token %d: got %v, want ErrTokenInvalidated", i, err)
		}
		i++
	})
}
