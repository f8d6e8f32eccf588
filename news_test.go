package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse/auth"
	"gatehouse/db"
	"gatehouse/internal/fake"
	"gatehouse/internal/testkit"
	"gatehouse/web"
)

// emptying is a cache that can be kept from being emptied, and says when it is asked to.
type emptying struct {
	mu     sync.Mutex // the cache below is for one at a time
	cache  auth.UserCache
	err    error
	asked  chan struct{} // nil for nobody who waits
	resume chan struct{}
}

func (c *emptying) User(ctx context.Context, id string) (auth.User, string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cache.User(ctx, id)
}

func (c *emptying) Fill(ctx context.Context, u auth.User, lease string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cache.Fill(ctx, u, lease)
}

func (c *emptying) Drop(ctx context.Context, id string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cache.Drop(ctx, id)
}

func (c *emptying) DropAll(ctx context.Context) error {
	if c.asked != nil {
		c.asked <- struct{}{}
		<-c.resume
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return c.err
	}
	return c.cache.DropAll(ctx)
}

func (c *emptying) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.err = err
}

// newsroom is news on stores in memory, with one user who is in the cache.
func newsroom(t *testing.T) (*news, *fake.Stores, *emptying, string) {
	t.Helper()
	stores := fake.New()
	accounts := stores.Accounts(t)
	cache := &emptying{cache: stores.Cache}
	accounts.Cache, accounts.Memory = cache, auth.NewUserMemory(time.Hour)
	stores.Users.Put(auth.User{ID: "u1", Username: "alice", Epoch: 1, Active: true})
	n := newNews(t.Context(), accounts, web.NewMetrics(), slog.New(slog.NewTextHandler(io.Discard, nil)))
	lookUp(t, n, stores)
	return n, stores, cache, "u1"
}

// lookUp returns the stores that were asked for alice: none when she was in memory.
func lookUp(t *testing.T, n *news, stores *fake.Stores) string {
	t.Helper()
	stores.Forget()
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

func wantAsked(t *testing.T, n *news, stores *fake.Stores, what, want string) {
	t.Helper()
	if got := lookUp(t, n, stores); got != want {
		t.Errorf("%s: asked %q, want %q", what, got, want)
	}
}

func TestNews(t *testing.T) {
	n, stores, _, id := newsroom(t)
	wantAsked(t, n, stores, "before anybody listens", "cache")
	n.Deaf(errors.New("not yet"))
	wantAsked(t, n, stores, "deaf", "cache")
	n.Listening()
	wantAsked(t, n, stores, "what came before is unknown", "cache users")
	wantAsked(t, n, stores, "listening", "")
	n.Changed(db.Change{UserID: id, At: time.Now()})
	wantAsked(t, n, stores, "the user changed", "cache users")
	wantAsked(t, n, stores, "after it", "")
	n.Changed(db.Change{UserID: "u2"})
	wantAsked(t, n, stores, "somebody else changed", "")
	n.Changed(db.Change{UserID: db.Everybody})
	wantAsked(t, n, stores, "anybody changed", "cache users")
	wantAsked(t, n, stores, "after it", "")
	n.Deaf(errors.New("lost"))
	wantAsked(t, n, stores, "deaf again", "cache")
	wantAsked(t, n, stores, "still deaf", "cache")
	n.Listening()
	wantAsked(t, n, stores, "listening again", "cache users")
	wantAsked(t, n, stores, "after it", "")
}

// While the cache cannot be emptied nobody knows what in it is old: memory stays off.
func TestNewsWithoutTheCache(t *testing.T) {
	n, stores, cache, _ := newsroom(t)
	cache.fail(auth.ErrUnavailable)
	n.Listening()
	wantAsked(t, n, stores, "not emptied", "cache")
	wantAsked(t, n, stores, "not trusted", "cache")
	cache.fail(nil)
	testkit.Eventually(t, 10*time.Second, "the memory to be trusted", func() bool {
		lookUp(t, n, stores)
		return lookUp(t, n, stores) == ""
	})
}

// An attempt to begin that ends after the listener went deaf must not trust its silence.
func TestDeafWhileTheCacheIsEmptied(t *testing.T) {
	n, stores, cache, _ := newsroom(t)
	cache.asked, cache.resume = make(chan struct{}), make(chan struct{})
	begun := make(chan struct{})
	go func() { defer close(begun); n.Listening() }()
	<-cache.asked
	n.Deaf(errors.New("lost"))
	close(cache.resume)
	<-begun
	lookUp(t, n, stores)
	wantAsked(t, n, stores, "deaf", "cache")
}
