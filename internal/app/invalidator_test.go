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
	"gatehouse/web"
)

// testInvalidator returns an invalidator on stores in memory, with one user who is in the cache.
func testInvalidator(t *testing.T) (*invalidator, *authtest.Stores, string) {
	t.Helper()
	stores := authtest.New()
	accounts := stores.Accounts(t)
	accounts.LocalCache = auth.NewLocalUserCache(time.Hour)
	stores.Users.Put(auth.User{ID: "u1", Username: "alice", Epoch: 1, Active: true})
	n := newInvalidator(t.Context(), accounts, web.NewMetrics(), slog.New(slog.NewTextHandler(io.Discard, nil)))
	lookUp(t, n, stores)
	return n, stores, "u1"
}

// lookUp returns the stores that were asked for alice: none when she was in memory.
func lookUp(t *testing.T, n *invalidator, stores *authtest.Stores) string {
	t.Helper()
	stores.Reset()
	if _, err := n.accounts.User(t.Context(), "u1"); err != nil {
		t.Fatal(err)
	}
	var asked []string
	for _, call := range stores.Calls("cache.User", "users.") {
		store, _, _ := strings.Cut(call, ".")
		asked = append(asked, store)
	}
	return strings.Join(asked, " ")
}

func wantAsked(t *testing.T, n *invalidator, stores *authtest.Stores, what, want string) {
	t.Helper()
	if got := lookUp(t, n, stores); got != want {
		t.Errorf("%s: asked %q, want %q", what, got, want)
	}
}

func TestInvalidator(t *testing.T) {
	n, stores, id := testInvalidator(t)
	wantAsked(t, n, stores, "before anybody listens", "cache")
	n.Disconnected(errors.New("not yet"))
	wantAsked(t, n, stores, "deaf", "cache")
	n.Connected()
	wantAsked(t, n, stores, "what came before is unknown", "cache users")
	wantAsked(t, n, stores, "listening", "")
	n.Changed(db.Change{UserID: id, At: time.Now()})
	wantAsked(t, n, stores, "the user changed", "cache users")
	wantAsked(t, n, stores, "after it", "")
	n.Changed(db.Change{UserID: "u2"})
	wantAsked(t, n, stores, "somebody else changed", "")
	n.Changed(db.Change{UserID: auth.AllUsers})
	wantAsked(t, n, stores, "anybody changed", "cache users")
	wantAsked(t, n, stores, "after it", "")
	n.Disconnected(errors.New("lost"))
	wantAsked(t, n, stores, "deaf again", "cache")
	wantAsked(t, n, stores, "still deaf", "cache")
	n.Connected()
	wantAsked(t, n, stores, "listening again", "cache users")
	wantAsked(t, n, stores, "after it", "")
}

// While the cache cannot be emptied nobody knows what in it is old: users come from the database,
// and are kept in memory.
func TestInvalidator_CacheCannotBeEmptied(t *testing.T) {
	n, stores, id := testInvalidator(t)
	stores.FailOn("cache.Drop", auth.ErrUnavailable)
	n.Connected()
	wantAsked(t, n, stores, "not emptied", "cache users")
	wantAsked(t, n, stores, "in memory", "")
	n.Changed(db.Change{UserID: id})
	wantAsked(t, n, stores, "changed", "cache users")
	wantAsked(t, n, stores, "in memory again", "")
	stores.FailOn("cache.Drop", nil)
	n.Changed(db.Change{UserID: auth.AllUsers})
	wantAsked(t, n, stores, "emptied", "cache users")
	n.Disconnected(errors.New("lost"))
	wantAsked(t, n, stores, "in the cache", "cache")
}

// While nobody listens the database is asked as long as it answers; what the cache has beside it is
// mended, and counts where the database does not answer any more.
func TestInvalidator_AsksTheDatabaseWhileDisconnected(t *testing.T) {
	n, stores, id := testInvalidator(t)
	n.Disconnected(errors.New("not yet"))
	wantAsked(t, n, stores, "unknown whether the database answers", "cache")
	n.Reachable(true)
	wantAsked(t, n, stores, "it answers", "cache users")
	n.Disconnected(errors.New("still deaf"))
	wantAsked(t, n, stores, "it was not heard that it does not", "cache users")
	row := stores.Users.Row(id)
	row.Active, row.Epoch = false, 2
	stores.Users.Put(row)
	if u, err := n.accounts.User(t.Context(), id); err != nil || u.Active || stores.Cache.Has(id) {
		t.Errorf("got %+v, %v, want the row, and the stale user out of the cache", u, err)
	}
	lookUp(t, n, stores)
	stores.FailOn("users.", auth.ErrUnavailable)
	if u, err := n.accounts.User(t.Context(), id); err != nil || u.Active {
		t.Errorf("got %+v, %v, want the cached user of a database that does not answer", u, err)
	}
	stores.FailOn("users.", nil)
	n.Reachable(false)
	wantAsked(t, n, stores, "it does not answer", "cache")
	n.Reachable(true)
	n.Connected()
	wantAsked(t, n, stores, "what came before is unknown", "cache users")
	wantAsked(t, n, stores, "listening", "")
	n.Reachable(true)
	wantAsked(t, n, stores, "still listening", "")
	n.Disconnected(errors.New("lost"))
	wantAsked(t, n, stores, "unknown again", "cache")
}
