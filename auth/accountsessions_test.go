package auth_test

import (
	"encoding/json"
	"errors"
	"testing"
	"time"

	"gatehouse/auth"
)

// TestSessionUser_ReadsTheRowOfAnotherEpoch: epochs have no order, so a session of another epoch than the cached user's is
// newer or stale. The row decides, and a stale session is deleted.
func TestSessionUser_ReadsTheRowOfAnotherEpoch(t *testing.T) {
	for what, c := range map[string]struct {
		epoch  func(u auth.User) int64 // of the session
		change func(w *world, u auth.User)
		want   error
		kept   bool
	}{
		"current": {func(u auth.User) int64 { return u.Epoch }, func(*world, auth.User) {}, nil, true},
		"lower":   {func(u auth.User) int64 { return u.Epoch - 1 }, func(*world, auth.User) {}, auth.ErrNotFound, false},
		"higher":  {func(u auth.User) int64 { return u.Epoch + 1 }, func(*world, auth.User) {}, auth.ErrNotFound, false},
		"of a manual change without a notification yet": {func(u auth.User) int64 { return 5 }, func(w *world, u auth.User) {
			row := w.rows().Row(u.ID)
			row.Epoch = 5
			w.rows().Put(row)
		}, nil, true},
		"stale while the database is down": {func(u auth.User) int64 { return u.Epoch + 1 }, func(w *world, _ auth.User) { w.FailOn("users.", errDown) }, auth.ErrNotFound, true},
	} {
		w := newWorld(t)
		w.LocalCache = auth.NewLocalUserCache(time.Hour)
		w.LocalCache.SetEnabled(true)
		u := w.add(t, "alice")
		u.Epoch = 7
		w.rows().Put(u)
		if _, err := w.User(t.Context(), u.ID); err != nil {
			t.Fatal(err)
		}
		s := auth.Session{Version: 1, ID: auth.SessionID(what), UserID: u.ID, Epoch: c.epoch(u), Deadline: noon.Add(time.Hour), IdleSeconds: 7200}
		record, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		w.Stores.Sessions.Put(s.ID, record)
		c.change(w, u)
		got, err := w.SessionUser(t.Context(), s)
		if !errors.Is(err, c.want) || err == nil && got.Epoch != s.Epoch {
			t.Errorf("%s: got epoch %d, %v; want %v", what, got.Epoch, err, c.want)
		}
		if _, kept := w.Stores.Sessions.Record(s.ID); kept != c.kept {
			t.Errorf("%s: session stored: got %v, want %v", what, kept, c.kept)
		}
	}
}
