package kv

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"

	"gatehouse/auth"
	"gatehouse/internal/testkit"
	"gatehouse/kv/kvtest"
	"gatehouse/kv/redisconn"
)

// changesHeard is a ChangeReceiver that writes down what it hears.
type changesHeard struct {
	mu     sync.Mutex
	users  []string
	all    int
	memory int
}

func (h *changesHeard) InvalidateUser(id string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.users = append(h.users, id)
}

func (h *changesHeard) InvalidateAllUsers() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.all++
}

func (h *changesHeard) InvalidateLocalUsers() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.memory++
}

// take returns what was heard since it was last called.
func (h *changesHeard) take() (users []string, all, memory int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	users, all, memory = h.users, h.all, h.memory
	h.users, h.all, h.memory = nil, 0, 0
	return users, all, memory
}

func newChanges(t testing.TB, r *redisconn.Pool) *Changes {
	t.Helper()
	c := NewChanges(r, false, slog.New(slog.DiscardHandler))
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// follow opens a server's Redis on the same database as r, with what it hears.
func follow(t testing.TB, r *redisconn.Pool) (*Changes, *changesHeard) {
	t.Helper()
	changes := newChanges(t, kvtest.Reopen(t, r))
	h := &changesHeard{}
	if err := changes.Follow(t.Context(), h); err != nil {
		t.Fatal(err)
	}
	h.take()
	return changes, h
}

// TestChanges_ArriveWithEveryRead: reading a session or a token returns after every change that was
// announced before it was handed over, in the one round trip that it takes anyway.
func TestChanges_ArriveWithEveryRead(t *testing.T) {
	kvtest.OnEach(t, func(t *testing.T, r *redisconn.Pool) {
		changes, h := follow(t, r)
		sessions, tokens := NewSessions(changes.redis), newTokens(t, changes.redis)
		rec, token := newSession(1, "u1"), newToken(1, "u1")
		commit(t, sessions, rec)
		createToken(t, tokens, token)
		writer := newChanges(t, r)
		h.take()
		for i := range 20 {
			id := fmt.Sprint("user-", i)
			if err := writer.Append(t.Context(), id); err != nil {
				t.Fatal(err)
			}
			trips := kvtest.RoundTrips(t, func(ctx context.Context) {
				var err error
				if i%2 == 0 {
					_, err = sessions.Session(ctx, rec.ID)
				} else {
					_, err = tokens.Find(ctx, token.ID)
				}
				if err != nil {
					t.Fatal(err)
				}
			})
			if users, all, memory := h.take(); trips != 1 || !slices.Equal(users, []string{id}) || all != 0 || memory != 0 {
				t.Fatalf("after %s: heard %q, %d times of all, %d of none, in %d round trips", id, users, all, memory, trips)
			}
		}
		if _, err := sessions.Session(t.Context(), rec.ID); err != nil {
			t.Fatal(err)
		}
		if users, all, memory := h.take(); len(users) != 0 || all != 0 || memory != 0 {
			t.Errorf("without a change: heard %q, %d, %d", users, all, memory)
		}
		if err := writer.Append(t.Context(), auth.AllUsers); err != nil {
			t.Fatal(err)
		}
		_ = changes.Sync(t.Context())
		if _, all, _ := h.take(); all != 1 {
			t.Errorf("a change of all users was heard %d times", all)
		}
	})
}

// TestChanges_GapInvalidatesAll: a stream that is gone, went back or does not reach back far enough
// invalidates all users; one that is not there empties local memory on every read until it is.
func TestChanges_GapInvalidatesAll(t *testing.T) {
	kvtest.OnEach(t, func(t *testing.T, r *redisconn.Pool) {
		changes, h := follow(t, r)
		writer := newChanges(t, r)
		sync := func() {
			t.Helper()
			if err := changes.Sync(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		for what, lose := range map[string]func(){
			"trimmed": func() { kvtest.Run(t, r, "XADD", changesKey, "MAXLEN", 1, "*", changesField, "u1") },
			"replaced": func() {
				kvtest.Run(t, r, "DEL", changesKey)
				kvtest.Run(t, r, "XADD", changesKey, "1-1", changesField, "u1")
			},
			"newest lost":   func() { kvtest.Run(t, r, "XDEL", changesKey, *changes.last.Load()) },
			"many missed":   func() { _ = writer.append(t.Context(), slices.Repeat([]string{"u1"}, changesBatch)...) },
			"strange entry": func() { kvtest.Run(t, r, "XADD", changesKey, "*", "who", "u1") },
		} {
			_ = writer.Append(t.Context(), "u0")
			_ = writer.Append(t.Context(), "u0")
			sync()
			sync()
			h.take()
			lose()
			sync()
			if _, all, _ := h.take(); all != 1 {
				t.Errorf("%s: all were invalidated %d times", what, all)
			}
			kvtest.Run(t, r, "DEL", changesKey)
			kvtest.Eventually(t, "the stream is back and read", func() bool { sync(); return *changes.last.Load() != "" })
			h.take()
			_ = writer.Append(t.Context(), "u2")
			sync()
			if users, all, _ := h.take(); !slices.Equal(users, []string{"u2"}) && all == 0 {
				t.Errorf("after %s: heard %q of a change of u2", what, users)
			}
		}
	})
}

// TestChanges_FullRedisDisablesTheLocalCache: a Redis that takes no writes cannot be told of changes, but it deletes:
// every server empties its memory on every read until the stream is back.
func TestChanges_FullRedisDisablesTheLocalCache(t *testing.T) {
	s := testkit.StartRedis(t)
	r := kvtest.Open(t, kvtest.ServerURL(s))
	changes, h := follow(t, r)
	writer := newChanges(t, r)
	kvtest.Run(t, r, "CONFIG", "SET", "maxmemory", 1)
	for i := range 3 {
		err := writer.Append(t.Context(), "u1")
		kvtest.WantUnavailable(t, err)
		if err := changes.Sync(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, all, memory := h.take(); all+memory != 1 || i == 0 && all != 1 {
			t.Errorf("change %d: all were invalidated %d times, memory emptied %d times", i, all, memory)
		}
	}
	kvtest.Run(t, r, "CONFIG", "SET", "maxmemory", 0)
	kvtest.Eventually(t, "the stream is back and read", func() bool {
		_ = changes.Sync(t.Context())
		return *changes.last.Load() != ""
	})
	if _, all, _ := h.take(); all == 0 {
		t.Error("nothing was invalidated when the stream came back")
	}
}

// TestChanges_FailedAppendIsRetried: what could not be announced is announced as soon as Redis is back.
func TestChanges_FailedAppendIsRetried(t *testing.T) {
	s := testkit.StartRedis(t)
	writer := newChanges(t, kvtest.Open(t, kvtest.ServerURL(s)))
	s.Kill()
	kvtest.WantUnavailable(t, writer.Append(t.Context(), "u1"))
	s.Start()
	r := kvtest.Open(t, kvtest.ServerURL(s))
	kvtest.Eventually(t, "the change is announced", func() bool { return kvtest.Run(t, r, "XLEN", changesKey) == int64(1) })
	if err := writer.Close(); err != nil {
		t.Error(err)
	}
}

// TestChanges_ArriveBeforeConcurrentReadsReturn: reads from many goroutines hand over every change before they return.
func TestChanges_ArriveBeforeConcurrentReadsReturn(t *testing.T) {
	kvtest.OnEach(t, func(t *testing.T, r *redisconn.Pool) {
		changes := newChanges(t, kvtest.Reopen(t, r))
		latest := &latestChange{}
		if err := changes.Follow(t.Context(), latest); err != nil {
			t.Fatal(err)
		}
		writer := newChanges(t, r)
		stop := make(chan struct{})
		var readers sync.WaitGroup
		for range 16 {
			readers.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
						_ = changes.Sync(context.Background())
					}
				}
			})
		}
		defer readers.Wait()
		defer close(stop)
		for i := range 300 {
			id := fmt.Sprint(i)
			if err := writer.Append(t.Context(), id); err != nil {
				t.Fatal(err)
			}
			if err := changes.Sync(t.Context()); err != nil {
				t.Fatal(err)
			}
			if !latest.heard(id) {
				t.Fatalf("change %d was not handed over before the read returned", i)
			}
		}
	})
}

// latestChange remembers everything that was heard.
type latestChange struct{ users sync.Map }

func (l *latestChange) InvalidateUser(id string) { l.users.Store(id, true) }
func (l *latestChange) InvalidateAllUsers()      { l.users.Store(auth.AllUsers, true) }
func (l *latestChange) InvalidateLocalUsers()    {}
func (l *latestChange) heard(id string) bool {
	_, ok := l.users.Load(id)
	return ok
}
