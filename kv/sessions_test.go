package kv

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"gatehouse/auth"
	"gatehouse/kv/kvtest"
	"gatehouse/kv/redisconn"

	"github.com/alexedwards/scs/v2"
	"github.com/gomodule/redigo/redis"
)

var _ scs.CtxStore = (*Sessions)(nil)

func onEachSessions(t *testing.T, test func(t *testing.T, r *redisconn.Pool, s *Sessions)) {
	t.Helper()
	kvtest.OnEach(t, func(t *testing.T, r *redisconn.Pool) { test(t, r, NewSessions(r)) })
}

func commit(t testing.TB, s *Sessions, rec auth.Session) {
	t.Helper()
	if err := s.CommitCtx(t.Context(), rec.ID, encode(t, rec), time.Time{}); err != nil {
		t.Fatal(err)
	}
}

// find reads a session as a request does.
func find(t testing.TB, s *Sessions, id string) (auth.Session, bool) {
	t.Helper()
	rec, err := s.Session(t.Context(), id)
	if err != nil && !errors.Is(err, auth.ErrNotFound) {
		t.Fatal(err)
	}
	return rec, err == nil && rec.Valid(id, time.Now())
}

func TestSessions_FindReturnsWhatWasCommitted(t *testing.T) {
	onEachSessions(t, func(t *testing.T, r *redisconn.Pool, s *Sessions) {
		rec := newSession(1, "u1")
		trips := kvtest.RoundTrips(t, func(ctx context.Context) {
			if err := s.CommitCtx(ctx, rec.ID, encode(t, rec), time.Time{}); err != nil {
				t.Fatal(err)
			}
		})
		if trips != 2 {
			t.Errorf("commit took %d round trips, want 2", trips)
		}
		var got auth.Session
		var err error
		if trips := kvtest.RoundTrips(t, func(ctx context.Context) { got, err = s.Session(ctx, rec.ID) }); trips != 1 || err != nil {
			t.Fatalf("got %v in %d round trips, want it found in 1", err, trips)
		}
		if got.UserID != "u1" || got.TTL <= rec.Idle()-time.Minute || got.TTL > rec.Idle() {
			t.Errorf("got %+v, want u1 with a TTL of about %s", got, rec.Idle())
		}
		if ttl := kvtest.Run(t, r, "PTTL", "sessions:u1").(int64); ttl < (indexTTL-time.Minute).Milliseconds() || ttl > indexTTL.Milliseconds() {
			t.Errorf("index: got a TTL of %d ms, want 60 days", ttl)
		}
		if _, found, err := s.FindCtx(t.Context(), testID(2)); found || err != nil {
			t.Errorf("got %t, %v for an unknown session; want not found", found, err)
		}
	})
}

func TestCommit_SetsTheTTL(t *testing.T) {
	onEachSessions(t, func(t *testing.T, r *redisconn.Pool, s *Sessions) {
		short := newSession(1, "u1")
		short.Deadline = time.Now().Add(time.Hour)
		commit(t, s, short)
		if ttl := kvtest.Run(t, r, "PTTL", "session:"+short.ID).(int64); ttl > time.Hour.Milliseconds() {
			t.Errorf("got a TTL of %d ms, want at most the hour until the deadline", ttl)
		}
		long := newSession(2, "u2")
		long.Deadline = time.Now().Add(90 * 24 * time.Hour)
		commit(t, s, long)
		if ttl := kvtest.Run(t, r, "PTTL", "sessions:u2").(int64); ttl < (89 * 24 * time.Hour).Milliseconds() {
			t.Errorf("index: got a TTL of %d ms, want at least that of its session", ttl)
		}
	})
}

func TestCommit_RefusesInvalidRecords(t *testing.T) {
	onEachSessions(t, func(t *testing.T, r *redisconn.Pool, s *Sessions) {
		past := newSession(1, "u1")
		past.Deadline = time.Now().Add(-time.Minute)
		for name, b := range map[string][]byte{
			"another id": encode(t, newSession(2, "u1")), "past its deadline": encode(t, past), "garbage": []byte("{}"), "nothing": nil,
		} {
			if err := s.CommitCtx(t.Context(), testID(1), b, time.Now().Add(time.Hour)); err == nil {
				t.Errorf("%s: stored, want an error", name)
			}
		}
		if kvtest.Exists(t, r, "session:"+testID(1)) || kvtest.Exists(t, r, "sessions:u1") {
			t.Error("a refused record left a key")
		}
	})
}

func TestSessions_IgnoreKeysOfAnotherType(t *testing.T) {
	onEachSessions(t, func(t *testing.T, r *redisconn.Pool, s *Sessions) {
		kvtest.Run(t, r, "RPUSH", "session:"+testID(1), "x")
		if _, found, err := s.FindCtx(t.Context(), testID(1)); found || err != nil {
			t.Errorf("got %t, %v for a list, want not found", found, err)
		}
		if err := s.End(t.Context(), "u1", testID(1)); !errors.Is(err, auth.ErrNotFound) {
			t.Errorf("End of a list: got %v, want ErrNotFound", err)
		}
		kvtest.Run(t, r, "SET", "sessions:u1", "garbage")
		commit(t, s, newSession(2, "u1"))
		kvtest.Run(t, r, "ZADD", "sessions:u1", 1, testID(1))
		list, err := s.List(t.Context(), "u1")
		if err != nil || len(list) != 1 || list[0].ID != testID(2) {
			t.Errorf("got %v, %v, want the one session", list, err)
		}
	})
}

func TestFind_InvalidRecordIsAnonymous(t *testing.T) {
	onEachSessions(t, func(t *testing.T, r *redisconn.Pool, s *Sessions) {
		for _, value := range []string{"", "garbage", `{"v":1}`, `{"id":"` + testID(1) + `"}`} {
			kvtest.Run(t, r, "SET", "session:"+testID(1), value)
			if rec, ok := find(t, s, testID(1)); ok {
				t.Errorf("%q: got %+v, want no session", value, rec)
			}
		}
	})
}

func TestFind_EndsAtTheDeadlineWithoutTTL(t *testing.T) {
	onEachSessions(t, func(t *testing.T, r *redisconn.Pool, s *Sessions) {
		rec := newSession(1, "u1")
		rec.Deadline = time.Now().Add(2 * time.Second)
		commit(t, s, rec)
		kvtest.Run(t, r, "PERSIST", "session:"+rec.ID)
		got, ok := find(t, s, rec.ID)
		if !ok || got.TTL >= 0 || !got.NeedsRenewal(time.Now()) {
			t.Fatalf("got %t and TTL %s, want a session without a TTL", ok, got.TTL)
		}
		kvtest.Eventually(t, "the session ends at its deadline", func() bool { _, ok := find(t, s, rec.ID); return !ok })
		if !kvtest.Exists(t, r, "session:"+rec.ID) {
			t.Error("the key expired, so the deadline was not tested")
		}
		if list, err := s.List(t.Context(), "u1"); err != nil || len(list) != 0 {
			t.Errorf("got the list %v, %v; want none", list, err)
		}
	})
}

func TestFind_RefusesARecordOfAnotherKey(t *testing.T) {
	onEachSessions(t, func(t *testing.T, r *redisconn.Pool, s *Sessions) {
		rec := newSession(1, "u1")
		rec.UserAgent = `x","id":"` + testID(2) + `"`
		kvtest.Run(t, r, "SET", "session:"+testID(2), encode(t, rec))
		if _, found, err := s.FindCtx(t.Context(), testID(2)); found || err != nil {
			t.Errorf("got %t, %v, want not found", found, err)
		}
		kvtest.Run(t, r, "ZADD", "sessions:u1", 1, testID(2))
		if list, err := s.List(t.Context(), "u1"); err != nil || len(list) != 0 {
			t.Errorf("got the list %v, %v; want none", list, err)
		}
		if err := s.End(t.Context(), "u1", testID(2)); !errors.Is(err, auth.ErrNotFound) {
			t.Errorf("End: got %v, want ErrNotFound", err)
		}
	})
}

func TestDelete_SucceedsOnce(t *testing.T) {
	onEachSessions(t, func(t *testing.T, r *redisconn.Pool, s *Sessions) {
		rec := newSession(1, "u1")
		commit(t, s, rec)
		var wg sync.WaitGroup
		errs := make(chan error, 16)
		for range cap(errs) {
			wg.Go(func() { errs <- s.DeleteCtx(t.Context(), rec.ID) })
		}
		wg.Wait()
		close(errs)
		won := 0
		for err := range errs {
			if err == nil {
				won++
			} else if !errors.Is(err, auth.ErrSessionEnded) {
				t.Error(err)
			}
		}
		if won != 1 {
			t.Errorf("%d of 16 calls succeeded, want 1", won)
		}
		if err := s.DeleteCtx(t.Context(), auth.SessionID("")); err != nil {
			t.Errorf("an anonymous visitor: %v", err)
		}
	})
}

func TestRenew_SetsTheTTL(t *testing.T) {
	onEachSessions(t, func(t *testing.T, r *redisconn.Pool, s *Sessions) {
		rec := newSession(1, "u1")
		commit(t, s, rec)
		before := kvtest.Run(t, r, "GET", "session:"+rec.ID)
		kvtest.Run(t, r, "PEXPIRE", "session:"+rec.ID, 60_000)
		kvtest.Run(t, r, "ZADD", "sessions:u1", 1, rec.ID)
		if trips := kvtest.RoundTrips(t, func(ctx context.Context) {
			if err := s.Renew(ctx, rec); err != nil {
				t.Fatal(err)
			}
		}); trips != 1 {
			t.Errorf("took %d round trips, want 1", trips)
		}
		if got, ok := find(t, s, rec.ID); !ok || got.TTL < rec.Idle()-time.Minute {
			t.Errorf("got TTL %s, want %s", got.TTL, rec.Idle())
		}
		if after := kvtest.Run(t, r, "GET", "session:"+rec.ID); string(before.([]byte)) != string(after.([]byte)) {
			t.Error("Renew changed the record")
		}
		list, err := s.List(t.Context(), "u1")
		if err != nil || len(list) != 1 || time.Since(list[0].LastSeen) > time.Minute {
			t.Errorf("got %v, %v; want one session seen just now", list, err)
		}
	})
}

func TestRenew_IgnoresEndedSessions(t *testing.T) {
	onEachSessions(t, func(t *testing.T, r *redisconn.Pool, s *Sessions) {
		if err := s.Renew(t.Context(), newSession(1, "u1")); err != nil {
			t.Fatal(err)
		}
		if kvtest.Exists(t, r, "session:"+testID(1)) || kvtest.Exists(t, r, "sessions:u1") {
			t.Error("Renew created a key")
		}
	})
}

func TestRenew_NeverRestoresASession(t *testing.T) {
	onEachSessions(t, func(t *testing.T, r *redisconn.Pool, s *Sessions) {
		for i := range 50 {
			rec := newSession(i, "u1")
			commit(t, s, rec)
			var wg sync.WaitGroup
			for range 4 {
				wg.Go(func() {
					for range 5 {
						if err := s.Renew(t.Context(), rec); err != nil {
							t.Error(err)
						}
					}
				})
			}
			wg.Go(func() {
				if err := s.DeleteCtx(t.Context(), rec.ID); err != nil {
					t.Error(err)
				}
			})
			wg.Wait()
			if kvtest.Exists(t, r, "session:"+rec.ID) {
				t.Fatal("Renew restored an ended session")
			}
		}
	})
}

func TestList_OrdersByLastSeen(t *testing.T) {
	onEachSessions(t, func(t *testing.T, r *redisconn.Pool, s *Sessions) {
		for i := range 3 {
			commit(t, s, newSession(i, "u1"))
			kvtest.Run(t, r, "ZADD", "sessions:u1", 1000*(i+1), testID(i))
		}
		commit(t, s, newSession(9, "u2"))
		kvtest.Run(t, r, "ZADD", "sessions:u1", 5000, testID(9))     // of another user
		kvtest.Run(t, r, "ZADD", "sessions:u1", 6000, testID(10))    // does not exist
		kvtest.Run(t, r, "SET", "session:"+testID(11), "unreadable") // stays in the index
		kvtest.Run(t, r, "ZADD", "sessions:u1", 7000, testID(11))
		kvtest.Run(t, r, "ZADD", "sessions:u1", 4000, "not an id \x00") // does not exist
		list, err := s.List(t.Context(), "u1")
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, rec := range list {
			got = append(got, rec.ID)
		}
		if want := []string{testID(2), testID(1), testID(0)}; !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
		if !list[0].LastSeen.Equal(time.UnixMilli(3000)) {
			t.Errorf("last seen %s, want 3 s after 1970", list[0].LastSeen)
		}
		if n := kvtest.Run(t, r, "ZCARD", "sessions:u1"); n != int64(5) {
			t.Errorf("got %d members of the index, want the 5 whose keys exist", n)
		}
		if list, err := s.List(t.Context(), "nobody"); err != nil || len(list) != 0 {
			t.Errorf("got %v, %v for a user without sessions; want none", list, err)
		}
	})
}

func TestSessionIndex_IsBounded(t *testing.T) {
	onEachSessions(t, func(t *testing.T, r *redisconn.Pool, s *Sessions) {
		args := []any{"sessions:u1"}
		for i := range indexCap + 5 {
			args = append(args, i, fmt.Sprint("old ", i))
		}
		kvtest.Run(t, r, "ZADD", args...)
		commit(t, s, newSession(1, "u1"))
		// Ended sessions are removed from the index before a live one is ended.
		if n := kvtest.Run(t, r, "ZCARD", "sessions:u1"); n != int64(1) {
			t.Errorf("got %d members of the index, want 1", n)
		}
		if list, err := s.List(t.Context(), "u1"); err != nil || len(list) != 1 {
			t.Errorf("got %d sessions, %v, want the new one", len(list), err)
		}
	})
}

// liveSessions returns the number of session records.
func liveSessions(t testing.TB, r *redisconn.Pool) int {
	t.Helper()
	keys, err := redis.Strings(kvtest.Run(t, r, "KEYS", "session:*"), nil)
	if err != nil {
		t.Fatal(err)
	}
	return len(keys)
}

// TestList_FindsLiveSessionsAmongEndedOnes: more sessions than the limit, from before it was introduced, sort after many
// ended ones.
func TestList_FindsLiveSessionsAmongEndedOnes(t *testing.T) {
	onEachSessions(t, func(t *testing.T, r *redisconn.Pool, s *Sessions) {
		const live, ended = auth.MaxSessions + 50, 300
		for i := range live {
			rec := newSession(i, "u1")
			kvtest.Run(t, r, "SET", "session:"+rec.ID, encode(t, rec))
			kvtest.Run(t, r, "ZADD", "sessions:u1", 1000+i, rec.ID)
		}
		for i := range ended {
			kvtest.Run(t, r, "ZADD", "sessions:u1", 10_000+i, testID(5000+i))
		}
		for range 2 {
			got, err := s.List(t.Context(), "u1")
			if err != nil || len(got) != live || got[0].ID != testID(live-1) {
				t.Fatalf("listed %d sessions, %v; want %d", len(got), err, live)
			}
		}
		if n := kvtest.Run(t, r, "ZCARD", "sessions:u1"); n != int64(live) {
			t.Errorf("got %v members of the index, want %d", n, live)
		}
	})
}

// TestSessionLimit_EndsTheOldestFirst: one session beyond the limit ends only the least recently seen one.
func TestSessionLimit_EndsTheOldestFirst(t *testing.T) {
	onEachSessions(t, func(t *testing.T, r *redisconn.Pool, s *Sessions) {
		const kept = auth.MaxSessions
		for i := range kept {
			commit(t, s, newSession(i, "u1"))
			kvtest.Run(t, r, "ZADD", "sessions:u1", 1000+i, testID(i))
		}
		kvtest.Run(t, r, "DEL", "session:"+testID(7)) // signed out
		commit(t, s, newSession(kept, "u1"))
		if _, ok := find(t, s, testID(0)); !ok {
			t.Error("a session was ended below the limit")
		}
		commit(t, s, newSession(5000, "u2"))
		kvtest.Run(t, r, "ZADD", "sessions:u1", 1, testID(5000)) // of another user: removed from the index, not ended
		// The oldest session was used, so the second one is the least recently seen.
		kvtest.Run(t, r, "ZADD", "sessions:u1", time.Now().UnixMilli(), testID(0))
		commit(t, s, newSession(kept+1, "u1"))
		for id, want := range map[int]bool{0: true, 1: false, 2: true, kept: true, kept + 1: true, 5000: true} {
			if _, ok := find(t, s, testID(id)); ok != want {
				t.Errorf("session %d is live: got %t, want %t", id, ok, want)
			}
		}
		if n := liveSessions(t, r); n != kept+1 {
			t.Errorf("got %d sessions, want %d of the user and one of another", n, kept)
		}
		// A server whose clock is behind can sign in, too.
		future := []any{"sessions:u1"}
		for i := range kept + 2 {
			future = append(future, time.Now().Add(time.Hour).UnixMilli(), testID(i))
		}
		kvtest.Run(t, r, "ZADD", append(future[:1:1], append([]any{"XX"}, future[1:]...)...)...)
		commit(t, s, newSession(kept+2, "u1"))
		if _, ok := find(t, s, testID(kept+2)); !ok {
			t.Error("the new session was ended")
		}
	})
}

// TestSessionLimit_HoldsForConcurrentSignIns: the limit holds once all concurrent sign-ins have returned.
func TestSessionLimit_HoldsForConcurrentSignIns(t *testing.T) {
	onEachSessions(t, func(t *testing.T, r *redisconn.Pool, s *Sessions) {
		const have, parallel = auth.MaxSessions - 10, 20
		for i := range have {
			commit(t, s, newSession(i, "u1"))
		}
		var wg sync.WaitGroup
		for i := range parallel {
			wg.Go(func() { commit(t, s, newSession(have+i, "u1")) })
		}
		wg.Wait()
		commit(t, s, newSession(have+parallel, "u1"))
		if _, ok := find(t, s, testID(have+parallel)); !ok {
			t.Error("the newest session was ended")
		}
		// A sign-in never ends its own session. With equal timestamps it may end another one instead.
		if n := liveSessions(t, r); n > auth.MaxSessions || n < auth.MaxSessions-parallel {
			t.Errorf("got %d sessions, want at most %d and at least %d", n, auth.MaxSessions, auth.MaxSessions-parallel)
		}
		if n := kvtest.Run(t, r, "ZCARD", "sessions:u1").(int64); n > auth.MaxSessions {
			t.Errorf("got %d members of the index, want at most %d", n, auth.MaxSessions)
		}
	})
}

func TestEnd_OnlyOwnSessions(t *testing.T) {
	onEachSessions(t, func(t *testing.T, r *redisconn.Pool, s *Sessions) {
		commit(t, s, newSession(1, "u1"))
		commit(t, s, newSession(2, "u2"))
		for _, id := range []string{testID(2), testID(3), "", "x", "sessions:u1"} {
			if err := s.End(t.Context(), "u1", id); !errors.Is(err, auth.ErrNotFound) {
				t.Errorf("End(%q): got %v, want ErrNotFound", id, err)
			}
		}
		if err := s.End(t.Context(), "u1", testID(1)); err != nil {
			t.Fatal(err)
		}
		if kvtest.Exists(t, r, "session:"+testID(1)) || kvtest.Exists(t, r, "sessions:u1") || !kvtest.Exists(t, r, "session:"+testID(2)) {
			t.Error("want u1's session and index deleted and u2's session kept")
		}
	})
}

func TestSessions_MethodsWithoutContextWork(t *testing.T) {
	onEachSessions(t, func(t *testing.T, r *redisconn.Pool, s *Sessions) {
		rec := newSession(1, "u1")
		if err := s.Commit(rec.ID, encode(t, rec), time.Time{}); err != nil {
			t.Fatal(err)
		}
		if b, found, err := s.Find(rec.ID); err != nil || !found {
			t.Errorf("got %t, %v; want it found", found, err)
		} else if _, ok := decode(t, b); !ok {
			t.Error("Decode refuses what Find returned")
		}
		if err := s.Delete(rec.ID); err != nil || kvtest.Exists(t, r, "session:"+rec.ID) {
			t.Errorf("Delete: got %v, want the key deleted", err)
		}
		if _, err := s.All(); !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("All: got %v, want ErrUnsupported", err)
		}
	})
}

// TestSessions_WorkAsAnSCSStore: through the scs manager, as the web server uses it.
func TestSessions_WorkAsAnSCSStore(t *testing.T) {
	onEachSessions(t, func(t *testing.T, r *redisconn.Pool, s *Sessions) {
		m := scs.New()
		m.Store, m.Codec, m.HashTokenInStore, m.Lifetime = s, Codec{}, true, time.Hour
		load := func(cookie string) context.Context {
			t.Helper()
			ctx, err := m.Load(t.Context(), cookie)
			if err != nil {
				t.Fatal(err)
			}
			return ctx
		}
		signIn := func(ctx context.Context) string {
			t.Helper()
			if err := m.RenewToken(ctx); err != nil {
				t.Fatal(err)
			}
			rec := newSession(0, "u1")
			rec.ID = auth.SessionID(m.Token(ctx))
			m.Put(ctx, auth.SessionValueKey, rec)
			cookie, _, err := m.Commit(ctx)
			if err != nil {
				t.Fatal(err)
			}
			return cookie
		}
		cookie := signIn(load(""))
		ctx := load(cookie)
		if rec, ok := m.Get(ctx, auth.SessionValueKey).(auth.Session); !ok || !rec.Valid(auth.SessionID(cookie), time.Now()) {
			t.Fatalf("got %v, want the session", m.Get(ctx, auth.SessionValueKey))
		}
		other := load(cookie)
		if err := m.Destroy(other); err != nil {
			t.Fatal(err)
		}
		if err := m.RenewToken(ctx); !errors.Is(err, auth.ErrSessionEnded) {
			t.Errorf("renewing an ended session: got %v, want ErrSessionEnded", err)
		}
		if m.Exists(load(cookie), auth.SessionValueKey) {
			t.Error("the cookie of an ended session is signed in")
		}
		kvtest.Run(t, r, "SET", "session:"+auth.SessionID("planted"), "garbage")
		if again := signIn(load("planted")); again == "planted" {
			t.Error("the planted cookie was adopted")
		}
	})
}

// TestFind_SessionEndsBetweenGetAndPTTL: a find sends two commands, and the session can end between them.
func TestFind_SessionEndsBetweenGetAndPTTL(t *testing.T) {
	record := encode(t, newSession(1, "u1"))
	f := kvtest.StartFakeServer(t, func(n int64, _ []string) string {
		if n == 1 {
			return fmt.Sprintf("$%d\r\n%s\r\n", len(record), record)
		}
		return ":-2\r\n"
	})
	s := NewSessions(kvtest.Open(t, f.URL("")))
	if _, found, err := s.FindCtx(t.Context(), testID(1)); found || err != nil {
		t.Errorf("got %t, %v, want not found", found, err)
	}
}

func TestLiveSessions_TakesOneRoundTrip(t *testing.T) {
	onEachSessions(t, func(t *testing.T, r *redisconn.Pool, s *Sessions) {
		first, second := newSession(1, "u1"), newSession(2, "u2")
		commit(t, s, first)
		commit(t, s, second)
		kvtest.Run(t, r, "HSET", "session:"+testID(3), "a", "b")
		kvtest.Run(t, r, "SET", "session:"+testID(4), "{}")
		var live map[string]auth.Session
		var err error
		trips := kvtest.RoundTrips(t, func(ctx context.Context) {
			live, err = s.LiveSessions(ctx, []string{testID(9), testID(3), second.ID, testID(4), first.ID, second.ID})
		})
		if err != nil || trips != 1 || len(live) != 2 || live[first.ID].UserID != "u1" || live[second.ID].UserID != "u2" || live[second.ID].TTL <= 0 {
			t.Errorf("got %+v, %v in %d round trips, want the two live sessions in 1", live, err, trips)
		}
	})
}

func TestEndAll_EndsSessionsOfAnyUser(t *testing.T) {
	onEachSessions(t, func(t *testing.T, _ *redisconn.Pool, s *Sessions) {
		for i := 1; i <= 3; i++ {
			commit(t, s, newSession(i, fmt.Sprintf("u%d", i)))
		}
		trips := kvtest.RoundTrips(t, func(ctx context.Context) {
			if err := s.EndAll(ctx, []string{testID(1), testID(9), testID(3), testID(1)}); err != nil {
				t.Error(err)
			}
		})
		for i, want := range map[int]bool{1: false, 2: true, 3: false} {
			if _, found := find(t, s, testID(i)); found != want {
				t.Errorf("session %d is live: got %t, want %t", i, found, want)
			}
		}
		if err := s.EndAll(t.Context(), nil); trips != 1 || err != nil {
			t.Errorf("got %d round trips, want 1; EndAll of no sessions: %v", trips, err)
		}
	})
}

// TestEndStale_SparesTheCurrentEpoch: sessions of any other epoch end, lower or higher, except the one that is about to
// be renewed. The epoch is read after the sessions.
func TestEndStale_SparesTheCurrentEpoch(t *testing.T) {
	onEachSessions(t, func(t *testing.T, r *redisconn.Pool, s *Sessions) {
		for n, epoch := range []int64{1, 1 << 52, 7, 7, 1} {
			rec := newSession(n, "u1")
			rec.Epoch = epoch
			commit(t, s, rec)
		}
		other := newSession(9, "u2")
		commit(t, s, other)
		live := func() (live []int) {
			for n := range 10 {
				if _, ok := find(t, s, testID(n)); ok {
					live = append(live, n)
				}
			}
			return live
		}
		down := func(context.Context) (int64, error) { return 0, auth.ErrUnavailable }
		if err := s.EndStale(t.Context(), "u1", "", down); !errors.Is(err, auth.ErrUnavailable) || len(live()) != 6 {
			t.Fatalf("without a database: got %v and the live sessions %v, want ErrUnavailable and all 6", err, live())
		}
		var late auth.Session
		current := func(context.Context) (int64, error) {
			late = newSession(5, "u1")
			late.Epoch = 8 // starts under a newer epoch, after the sessions were read
			commit(t, s, late)
			return 7, nil
		}
		if err := s.EndStale(t.Context(), "u1", testID(4), current); err != nil {
			t.Fatal(err)
		}
		if got := live(); !slices.Equal(got, []int{2, 3, 4, 5, 9}) {
			t.Errorf("got the live sessions %v, want [2 3 4 5 9]", got)
		}
		gone := func(context.Context) (int64, error) { return 0, auth.ErrNotFound }
		if err := s.EndStale(t.Context(), "u1", "", gone); err != nil {
			t.Fatal(err)
		}
		if got := live(); !slices.Equal(got, []int{9}) {
			t.Errorf("after the user was deleted: got the live sessions %v, want [9]", got)
		}
	})
}

// TestEndRejected_SparesHeldSessions: the request that changed the epoch is about to renew its own session.
func TestEndRejected_SparesHeldSessions(t *testing.T) {
	onEachSessions(t, func(t *testing.T, r *redisconn.Pool, s *Sessions) {
		held, other := newSession(1, "u1"), newSession(2, "u1")
		commit(t, s, held)
		commit(t, s, other)
		if err := s.HoldForRenewal(t.Context(), held.ID); err != nil {
			t.Fatal(err)
		}
		for _, id := range []string{held.ID, other.ID} {
			if err := s.EndRejected(t.Context(), "u1", id); err != nil {
				t.Error(err)
			}
		}
		if _, ok := find(t, s, held.ID); !ok {
			t.Error("a held session was ended")
		}
		if _, ok := find(t, s, other.ID); ok {
			t.Error("a rejected session was not ended")
		}
		if ttl := kvtest.Run(t, r, "PTTL", "renewing:"+held.ID).(int64); ttl <= 0 || ttl > renewalTimeout.Milliseconds() {
			t.Errorf("got a hold of %d ms, want at most %s", ttl, renewalTimeout)
		}
		kvtest.Run(t, r, "DEL", "renewing:"+held.ID)
		if err := s.EndRejected(t.Context(), "u1", held.ID); err != nil {
			t.Error(err)
		}
		if _, ok := find(t, s, held.ID); ok {
			t.Error("a rejected session was not ended after its hold")
		}
	})
}
