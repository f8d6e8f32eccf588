package auth_test

import (
	"context"
	"testing"
	"time"

	"gatehouse/auth"
)

// changeLog is an auth.ChangeLog whose Sync makes a concurrent change.
type changeLog struct{ sync func() error }

func (changeLog) Append(context.Context, string) error { return nil }
func (c changeLog) Sync(context.Context) error         { return c.sync() }

// TestRefillCache_SurvivesALateNotification: the cache is flushed while one server has been notified of a manual change
// and another has not. The late server must not give the other one its stale user through the cache.
func TestRefillCache_SurvivesALateNotification(t *testing.T) {
	late := newWorld(t)
	u := late.add(t, "alice")
	late.LocalCache = auth.NewLocalUserCache(time.Hour)
	late.LocalCache.SetEnabled(true)
	late.Changes = changeLog{func() error { return nil }} // the change is not in the log
	other := &auth.Accounts{Users: late.Accounts.Users, Cache: late.Accounts.Cache, Changes: late.Changes, Log: late.Log, LocalCache: auth.NewLocalUserCache(time.Hour)}
	other.LocalCache.SetEnabled(true)
	servers := []*auth.Accounts{late.Accounts, other}
	for _, a := range servers {
		if _, err := a.User(t.Context(), u.ID); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := late.rows().SetActive(t.Context(), u.ID, false); err != nil {
		t.Fatal(err)
	}
	other.InvalidateUser(u.ID)
	late.RefillCache(t.Context())
	if got, err := other.User(t.Context(), u.ID); err != nil || got.Active {
		t.Errorf("the notified server: got %+v, %v; want an inactive user", got, err)
	}
	late.InvalidateUser(u.ID)
	for i, a := range servers {
		a.RefillCache(t.Context())
		if got, err := a.User(t.Context(), u.ID); err != nil || got.Active {
			t.Errorf("after the last notification server %d: got %+v, %v; want an inactive user", i, got, err)
		}
	}
}

// TestRefillCache_NeverPutsStaleUsersBack: while the database is down, the cache is refilled from memory only with users
// that are still current after the lease was taken.
func TestRefillCache_NeverPutsStaleUsersBack(t *testing.T) {
	for what, c := range map[string]struct {
		sync func(w *world, id string) error
		want bool
	}{
		"nothing changed":     {func(*world, string) error { return nil }, true},
		"announced meanwhile": {func(w *world, id string) error { w.InvalidateUser(id); return nil }, false},
		"dropped meanwhile":   {func(w *world, id string) error { return w.Stores.Cache.Drop(t.Context(), id) }, false},
		"sync fails":          {func(*world, string) error { return errDown }, false},
		"memory is off":       {func(w *world, id string) error { w.LocalCache.SetEnabled(false); return nil }, false},
	} {
		w := newWorld(t)
		w.LocalCache = auth.NewLocalUserCache(time.Hour)
		w.LocalCache.SetEnabled(true)
		u := w.add(t, "alice")
		if _, err := w.User(t.Context(), u.ID); err != nil {
			t.Fatal(err)
		}
		_ = w.Stores.Cache.Drop(t.Context(), u.ID) // as a flush does
		w.FailOn("users.", errDown)
		w.Changes = changeLog{func() error { return c.sync(w, u.ID) }}
		w.RefillCache(t.Context())
		if got := w.Stores.Cache.Has(u.ID); got != c.want {
			t.Errorf("%s: cached: got %v, want %v", what, got, c.want)
		}
	}
}
