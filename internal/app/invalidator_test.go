package app

import (
	"errors"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"gatehouse/auth"
	"gatehouse/auth/authtest"
	"gatehouse/db"
	"gatehouse/web/metrics"
)

// testInvalidator returns an invalidator on in-memory stores and the id of a cached user.
func testInvalidator(t *testing.T) (*invalidator, *authtest.Stores, string) {
	t.Helper()
	stores := authtest.New()
	accounts := stores.Accounts(t)
	accounts.LocalCache = auth.NewLocalUserCache(time.Hour)
	stores.Users.Put(auth.User{ID: "u1", Username: "alice", Epoch: 1, Active: true})
	n := newInvalidator(t.Context(), accounts, metrics.New(), slog.New(slog.NewTextHandler(io.Discard, nil)))
	lookUp(t, n, stores)
	return n, stores, "u1"
}

// lookUp looks a user up and returns the stores that it read: none if the local cache had the user.
func lookUp(t *testing.T, n *invalidator, stores *authtest.Stores) string {
	t.Helper()
	stores.Reset()
	if _, err := n.accounts.User(t.Context(), "u1"); err != nil {
		t.Fatal(err)
	}
	var read []string
	for _, call := range stores.Calls("cache.User", "users.") {
		store, _, _ := strings.Cut(call, ".")
		read = append(read, store)
	}
	return strings.Join(read, " ")
}

func wantReads(t *testing.T, n *invalidator, stores *authtest.Stores, what, want string) {
	t.Helper()
	if got := lookUp(t, n, stores); got != want {
		t.Errorf("%s: read %q, want %q", what, got, want)
	}
}

func TestInvalidator_InvalidatesOnChangesAndConnections(t *testing.T) {
	n, stores, id := testInvalidator(t)
	wantReads(t, n, stores, "before the first connection", "cache")
	n.Disconnected(errors.New("not yet"))
	wantReads(t, n, stores, "disconnected", "cache")
	n.Connected()
	wantReads(t, n, stores, "changes may have been missed", "cache users")
	wantReads(t, n, stores, "connected", "")
	n.Changed(db.Change{UserID: id, At: time.Now()})
	wantReads(t, n, stores, "the user changed", "cache users")
	wantReads(t, n, stores, "after it", "")
	n.Changed(db.Change{UserID: "u2"})
	wantReads(t, n, stores, "another user changed", "")
	n.Changed(db.Change{UserID: auth.AllUsers})
	wantReads(t, n, stores, "all users changed", "cache users")
	wantReads(t, n, stores, "after it", "")
	n.Disconnected(errors.New("lost"))
	wantReads(t, n, stores, "disconnected again", "cache")
	wantReads(t, n, stores, "still disconnected", "cache")
	n.Connected()
	wantReads(t, n, stores, "connected again", "cache users")
	wantReads(t, n, stores, "after it", "")
}

// TestInvalidator_BypassesACacheThatCannotBeEmptied: until the cache is emptied, its users may be stale, so users are
// read from the database and cached locally.
func TestInvalidator_BypassesACacheThatCannotBeEmptied(t *testing.T) {
	n, stores, id := testInvalidator(t)
	stores.FailOn("cache.Drop", auth.ErrUnavailable)
	n.Connected()
	wantReads(t, n, stores, "not emptied", "cache users")
	wantReads(t, n, stores, "in the local cache", "")
	n.Changed(db.Change{UserID: id})
	wantReads(t, n, stores, "changed", "cache users")
	wantReads(t, n, stores, "in the local cache again", "")
	stores.FailOn("cache.Drop", nil)
	n.Changed(db.Change{UserID: auth.AllUsers})
	wantReads(t, n, stores, "emptied", "cache users")
	n.Disconnected(errors.New("lost"))
	wantReads(t, n, stores, "in the cache", "cache")
}

// TestInvalidator_ReadsTheDatabaseWhileDisconnected: while disconnected, users are read from the database, and stale ones
// are dropped from the cache. The cache is used only if the database does not respond.
func TestInvalidator_ReadsTheDatabaseWhileDisconnected(t *testing.T) {
	n, stores, id := testInvalidator(t)
	n.Disconnected(errors.New("not yet"))
	wantReads(t, n, stores, "not known whether the database responds", "cache")
	n.Reachable(true)
	wantReads(t, n, stores, "it responds", "cache users")
	n.Disconnected(errors.New("still disconnected"))
	wantReads(t, n, stores, "not known to be down", "cache users")
	row := stores.Users.Row(id)
	row.Active, row.Epoch = false, 2
	stores.Users.Put(row)
	if u, err := n.accounts.User(t.Context(), id); err != nil || u.Active || stores.Cache.Has(id) {
		t.Errorf("got %+v, %v, want the row, and the stale user dropped from the cache", u, err)
	}
	lookUp(t, n, stores)
	stores.FailOn("users.", auth.ErrUnavailable)
	if u, err := n.accounts.User(t.Context(), id); err != nil || u.Active {
		t.Errorf("got %+v, %v, want the cached user while the database does not respond", u, err)
	}
	stores.FailOn("users.", nil)
	n.Reachable(false)
	wantReads(t, n, stores, "it does not respond", "cache")
	n.Reachable(true)
	n.Connected()
	wantReads(t, n, stores, "changes may have been missed", "cache users")
	wantReads(t, n, stores, "connected", "")
	n.Reachable(true)
	wantReads(t, n, stores, "still connected", "")
	n.Disconnected(errors.New("lost"))
	wantReads(t, n, stores, "not known again", "cache")
}
