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

// recordedChanges is a ChangeReceiver that records what it receives.
type recordedChanges struct {
	mu     sync.Mutex
	users  []string
	all    int
	memory int
}

func (h *recordedChanges) InvalidateUser(id string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.users = append(h.users, id)
}

func (h *recordedChanges) InvalidateAllUsers() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.all++
}

func (h *recordedChanges) InvalidateLocalUsers() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.memory++
}

// take returns and clears what was received.
func (h *recordedChanges) take() (users []string, all, memory int) {
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

// follow starts a second server on the database of r and returns what it receives.
func follow(t testing.TB, r *redisconn.Pool) (*Changes, *recordedChanges) {
	t.Helper()
	changes := newChanges(t, kvtest.Reopen(t, r))
	h := &recordedChanges{}
	if err := changes.Follow(t.Context(), h); err != nil {
		t.Fatal(err)
	}
	h.take()
	return changes, h
}

// TestChanges_ArriveWithEveryRead: reading a session or a token delivers every change published before, in the same round
// trip.
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
				t.Fatalf("after %s: received the users %q, all users %d times and a local reset %d times in %d round trips; want only this user in 1", id, users, all, memory, trips)
			}
		}
		if _, err := sessions.Session(t.Context(), rec.ID); err != nil {
			t.Fatal(err)
		}
		if users, all, memory := h.take(); len(users) != 0 || all != 0 || memory != 0 {
			t.Errorf("without a change: received %q, %d, %d; want nothing", users, all, memory)
		}
		if err := writer.Append(t.Context(), auth.AllUsers); err != nil {
			t.Fatal(err)
		}
		_ = changes.Sync(t.Context())
		if _, all, _ := h.take(); all != 1 {
			t.Errorf("a change of all users was received %d times, want once", all)
		}
	})
}

// TestChanges_GapInvalidatesAll: a stream that was deleted, replaced or trimmed too far invalidates all users. While the
// stream does not exist, every read clears the local cache.
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
				t.Errorf("%s: all users were invalidated %d times, want once", what, all)
			}
			kvtest.Run(t, r, "DEL", changesKey)
			kvtest.Eventually(t, "the stream is recreated and read", func() bool { sync(); return *changes.last.Load() != "" })
			h.take()
			_ = writer.Append(t.Context(), "u2")
			sync()
			if users, all, _ := h.take(); !slices.Equal(users, []string{"u2"}) && all == 0 {
				t.Errorf("after %s: received %q, want u2", what, users)
			}
		}
	})
}

// TestChanges_FullRedisDisablesTheLocalCache: a full Redis refuses new changes but still deletes the stream, so every
// server clears its local cache on every read until the stream is recreated.
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
			t.Errorf("change %d: all users were invalidated %d times and the local cache cleared %d times, want one of them", i, all, memory)
		}
	}
	kvtest.Run(t, r, "CONFIG", "SET", "maxmemory", 0)
	kvtest.Eventually(t, "the stream is recreated and read", func() bool {
		_ = changes.Sync(t.Context())
		return *changes.last.Load() != ""
	})
	if _, all, _ := h.take(); all == 0 {
		t.Error("nothing was invalidated when the stream was recreated")
	}
}

// TestChanges_FailedAppendIsRetried: a change that could not be published is published when Redis is back.
func TestChanges_FailedAppendIsRetried(t *testing.T) {
	s := testkit.StartRedis(t)
	writer := newChanges(t, kvtest.Open(t, kvtest.ServerURL(s)))
	s.Kill()
	kvtest.WantUnavailable(t, writer.Append(t.Context(), "u1"))
	s.Start()
	r := kvtest.Open(t, kvtest.ServerURL(s))
	kvtest.Eventually(t, "the change is published", func() bool { return kvtest.Run(t, r, "XLEN", changesKey) == int64(1) })
	if err := writer.Close(); err != nil {
		t.Error(err)
	}
}

// TestChanges_ArriveBeforeConcurrentReadsReturn: concurrent reads deliver every earlier change before they return.
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
			if !latest.received(id) {
				t.Fatalf("change %d was not delivered before the read returned", i)
			}
		}
	})
}

// latestChange is a ChangeReceiver that records the changed users.
type latestChange struct{ users sync.Map }

func (l *latestChange) InvalidateUser(id string) { l.users.Store(id, true) }
func (l *latestChange) InvalidateAllUsers()      { l.users.Store(auth.AllUsers, true) }
func (l *latestChange) InvalidateLocalUsers()    {}
func (l *latestChange) received(id string) bool {
	_, ok := l.users.Load(id)
	return ok
}
