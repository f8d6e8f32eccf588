package auth_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"gatehouse/auth"
)

// TestTouchSession_ActsLikeARequest: activity in another program renews a session as a request here would, and does
// nothing for an invalid one.
func TestTouchSession_ActsLikeARequest(t *testing.T) {
	id := auth.SessionID(strings.Repeat("A", 43))
	for name, c := range map[string]struct {
		change func(*auth.Session, *auth.User)
		ttl    time.Duration
		want   []string
	}{
		"just used":        {func(*auth.Session, *auth.User) {}, 2 * time.Hour, []string{"sessions.Find", "cache.User", "users.UserByID", "cache.Fill"}},
		"used a while ago": {func(*auth.Session, *auth.User) {}, time.Hour, []string{"sessions.Find", "cache.User", "users.UserByID", "cache.Fill", "sessions.Renew"}},
		"expired":          {func(s *auth.Session, _ *auth.User) { s.Deadline = noon }, time.Hour, []string{"sessions.Find"}},
		"another key's":    {func(s *auth.Session, _ *auth.User) { s.ID = "x" }, time.Hour, []string{"sessions.Find"}},
		"an older epoch":   {func(s *auth.Session, _ *auth.User) { s.Epoch = 0 }, time.Hour, []string{"sessions.Find", "cache.User", "users.UserByID", "cache.Fill"}},
		"disabled":         {func(_ *auth.Session, u *auth.User) { u.Active = false }, time.Hour, []string{"sessions.Find", "cache.User", "users.UserByID", "cache.Fill"}},
		"unknown user":     {func(s *auth.Session, _ *auth.User) { s.UserID = "nobody" }, time.Hour, []string{"sessions.Find", "cache.User", "users.UserByID", "cache.FillDeleted"}},
	} {
		w := newWorld(t)
		// The user is in memory but no longer in the cache.
		w.LocalCache = auth.NewLocalUserCache(time.Hour)
		w.LocalCache.SetEnabled(true)
		u := w.add(t, "alice")
		s := auth.Session{Version: 1, ID: id, UserID: u.ID, Epoch: u.Epoch, Deadline: noon.Add(24 * time.Hour), IdleSeconds: 7200}
		c.change(&s, &u)
		w.rows().Put(u)
		if _, err := w.User(t.Context(), u.ID); err != nil {
			t.Fatal(err)
		}
		if err := w.Stores.Cache.Drop(t.Context(), u.ID); err != nil {
			t.Fatal(err)
		}
		record, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		w.Stores.Sessions.Put(id, record)
		w.Stores.Sessions.TTL = c.ttl
		w.Reset()
		if err := w.TouchSession(t.Context(), id); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		var calls []string
		for _, call := range w.Calls() {
			what, _, _ := strings.Cut(call, " ")
			calls = append(calls, what)
		}
		if strings.Join(calls, " ") != strings.Join(c.want, " ") {
			t.Errorf("%s: got the calls %q, want %q", name, calls, c.want)
		}
	}
	w := newWorld(t)
	if err := w.TouchSession(t.Context(), id); err != nil {
		t.Errorf("a deleted session: %v", err)
	}
	w.FailOn("sessions.Find", errDown)
	wantError(t, w.TouchSession(t.Context(), id), auth.ErrUnavailable)
}
