package kv

import (
	"context"
	"encoding/json"
	"errors"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse/auth"
	"gatehouse/internal/testkit"
	"gatehouse/kv/kvtest"
	"gatehouse/kv/redisconn"

	"github.com/gomodule/redigo/redis"
)

func onEachUsers(t *testing.T, test func(t *testing.T, r *redisconn.Pool, u *Users)) {
	t.Helper()
	kvtest.OnEach(t, func(t *testing.T, r *redisconn.Pool) { test(t, r, newUsers(t, r)) })
}

func newUsers(t testing.TB, r *redisconn.Pool) *Users {
	t.Helper()
	u := NewUsers(r, time.Hour)
	t.Cleanup(func() { u.Close() })
	return u
}

func someUser(id string) auth.User {
	now := time.Now().UTC().Truncate(time.Microsecond)
	return auth.User{ID: id, Username: "alice", Name: "Alice <é>", Email: "a@example.org", EmailVerified: true,
		TimeZone: "Europe/Berlin", Epoch: 2, Active: true, PasswordHash: "$argon2id$secret", CreatedAt: now, UpdatedAt: now}
}

// miss reads a user who is not cached and returns the lease.
func miss(t testing.TB, u *Users, id string) string {
	t.Helper()
	got, lease, err := u.User(t.Context(), id)
	if !errors.Is(err, auth.ErrNotFound) || got.ID != "" {
		t.Fatalf("got %+v, %v; want a miss", got, err)
	}
	return lease
}

func fill(t testing.TB, u *Users, user auth.User, lease string) {
	t.Helper()
	if err := u.Fill(t.Context(), user, lease); err != nil {
		t.Fatal(err)
	}
}

func cached(t testing.TB, u *Users, id string) (auth.User, bool) {
	t.Helper()
	user, _, err := u.User(t.Context(), id)
	if err != nil && !errors.Is(err, auth.ErrNotFound) {
		t.Fatal(err)
	}
	return user, err == nil
}

func TestUsers_FillMakesAHit(t *testing.T) {
	onEachUsers(t, func(t *testing.T, r *redisconn.Pool, u *Users) {
		var lease string
		if trips := kvtest.RoundTrips(t, func(ctx context.Context) { _, lease, _ = u.User(ctx, "u1") }); trips != 1 || lease == "" {
			t.Fatalf("a miss took %d round trips and gave lease %q, want 1 and a lease", trips, lease)
		}
		if second := miss(t, u, "u1"); second != "" {
			t.Error("two requests got a lease")
		}
		if ttl := kvtest.Run(t, r, "PTTL", "user:u1").(int64); ttl <= 0 || ttl > 5000 {
			t.Errorf("lease: got a TTL of %d ms, want 5 s", ttl)
		}
		want := someUser("u1")
		fill(t, u, want, lease)
		var got auth.User
		var err error
		if trips := kvtest.RoundTrips(t, func(ctx context.Context) { got, lease, err = u.User(ctx, "u1") }); trips != 1 || err != nil || lease != "" {
			t.Fatalf("a hit took %d round trips, gave lease %q and %v; want 1 and no lease", trips, lease, err)
		}
		want.PasswordHash = ""
		if !reflect.DeepEqual(got, want) {
			t.Errorf("got  %+v\nwant %+v", got, want)
		}
		if ttl := kvtest.Run(t, r, "PTTL", "user:u1").(int64); ttl <= 3_590_000 || ttl > 3_600_000 {
			t.Errorf("user: got a TTL of %d ms, want 1 h", ttl)
		}
		raw, _ := redis.String(kvtest.Run(t, r, "GET", "user:u1"), nil)
		var m map[string]any
		if json.Unmarshal([]byte(raw), &m) != nil || m["v"] != 1.0 || m["id"] != "u1" || strings.Contains(raw, "argon2id") {
			t.Errorf("got %s, want v, id and no password hash", raw)
		}
	})
}

func TestUsers_HitWritesNothing(t *testing.T) {
	r := kvtest.OpenServer(t)
	u := newUsers(t, r)
	fill(t, u, someUser("u1"), miss(t, u, "u1"))
	writes := func() string {
		info, _ := redis.String(kvtest.Run(t, r, "INFO", "persistence"), nil)
		_, rest, _ := strings.Cut(info, "rdb_changes_since_last_save:")
		n, _, _ := strings.Cut(rest, "\r")
		return n
	}
	before := writes()
	for range 10 {
		if _, ok := cached(t, u, "u1"); !ok {
			t.Fatal("got a miss, want a hit")
		}
	}
	if after := writes(); before == "" || after != before {
		t.Errorf("got %q writes, want %q", after, before)
	}
}

func TestLease_IsGivenToOneOfConcurrentMisses(t *testing.T) {
	onEachUsers(t, func(t *testing.T, _ *redisconn.Pool, u *Users) {
		var leases atomic.Int64
		var wg sync.WaitGroup
		for range 32 {
			wg.Go(func() {
				if miss(t, u, "u1") != "" {
					leases.Add(1)
				}
			})
		}
		wg.Wait()
		if leases.Load() != 1 {
			t.Errorf("got %d leases, want 1", leases.Load())
		}
	})
}

func TestFill_AfterADropStoresNothing(t *testing.T) {
	onEachUsers(t, func(t *testing.T, r *redisconn.Pool, u *Users) {
		old := someUser("u1")
		lease := miss(t, u, "u1")
		if err := u.Drop(t.Context(), "u1"); err != nil {
			t.Fatal(err)
		}
		fill(t, u, old, lease)
		if kvtest.Exists(t, r, "user:u1") {
			t.Fatal("a row read before the drop was stored after it")
		}
		next := miss(t, u, "u1")
		fill(t, u, old, lease)
		fill(t, u, old, "")
		fill(t, u, old, "lease:guess")
		if _, ok := cached(t, u, "u1"); ok {
			t.Fatal("stored with an invalid lease")
		}
		changed := old
		changed.Epoch = 3
		fill(t, u, changed, next)
		fill(t, u, old, next)
		if got, ok := cached(t, u, "u1"); !ok || got.Epoch != 3 {
			t.Errorf("got %+v, want epoch 3", got)
		}
	})
}

// TestLease_NeverStoresAnOutdatedUser: several readers fill the cache while a writer raises the row's epoch and drops the
// cache. After a drop no reader sees an older epoch.
func TestLease_NeverStoresAnOutdatedUser(t *testing.T) {
	onEachUsers(t, func(t *testing.T, _ *redisconn.Pool, u *Users) {
		var epoch atomic.Int64
		ctx, stop := context.WithCancel(t.Context())
		var readers sync.WaitGroup
		for range 8 {
			readers.Go(func() {
				for ctx.Err() == nil {
					_, lease, err := u.User(t.Context(), "u1")
					if errors.Is(err, auth.ErrNotFound) {
						row := someUser("u1")
						row.Epoch = epoch.Load()
						err = u.Fill(t.Context(), row, lease)
					}
					if err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		for range 200 {
			want := epoch.Add(1)
			if err := u.Drop(t.Context(), "u1"); err != nil {
				t.Fatal(err)
			}
			if got, ok := cached(t, u, "u1"); ok && got.Epoch < want {
				t.Fatalf("epoch %d is cached after the drop of %d", got.Epoch, want)
			}
		}
		stop()
		readers.Wait()
	})
}

func TestUsers_InvalidRecordIsAMiss(t *testing.T) {
	onEachUsers(t, func(t *testing.T, r *redisconn.Pool, u *Users) {
		for name, value := range map[string]string{
			"empty": "", "text": "x", "null": "null", "array": "[]", "version": `{"v":2,"id":"u1","username":"a","epoch":1,"active":true}`,
			"no version": `{"id":"u1","username":"a","epoch":1,"active":true}`, "another's": `{"v":1,"id":"u2","username":"a","epoch":1,"active":true}`,
			"no epoch": `{"v":1,"id":"u1","username":"a","active":true}`, "no name": `{"v":1,"id":"u1","epoch":1,"active":true}`,
			"trailing": `{"v":1,"id":"u1","username":"a","epoch":1,"active":true}}`, "not UTF-8": `{"v":1,"id":"u1","username":"` + "\xff" + `","epoch":1}`,
		} {
			kvtest.Run(t, r, "SET", "user:u1", value)
			if got, ok := cached(t, u, "u1"); ok {
				t.Errorf("%s: got %+v, want a miss", name, got)
			}
			if kvtest.Exists(t, r, "user:u1") {
				t.Errorf("%s: the invalid record was not deleted", name)
			}
		}
		kvtest.Run(t, r, "RPUSH", "user:u1", "x")
		fill(t, u, someUser("u1"), "lease:x")
		if _, ok := cached(t, u, "u1"); ok || kvtest.Exists(t, r, "user:u1") {
			t.Error("a list was not deleted")
		}
		fill(t, u, someUser("u1"), miss(t, u, "u1"))
		if _, ok := cached(t, u, "u1"); !ok {
			t.Error("no hit after the invalid record was deleted")
		}
	})
}

func TestFill_AfterScriptFlush(t *testing.T) {
	onEachUsers(t, func(t *testing.T, r *redisconn.Pool, u *Users) {
		for i := range 3 {
			kvtest.Run(t, r, "SCRIPT", "FLUSH")
			id := strconv.Itoa(i)
			fill(t, u, someUser(id), miss(t, u, id))
			if _, ok := cached(t, u, id); !ok {
				t.Error("not filled after SCRIPT FLUSH")
			}
		}
	})
}

func TestDropAll_RemovesUsersAndLeases(t *testing.T) {
	onEachUsers(t, func(t *testing.T, r *redisconn.Pool, u *Users) {
		lease := miss(t, u, "u1")
		fill(t, u, someUser("u2"), miss(t, u, "u2"))
		u.mu.Lock()
		u.pendingDrops["u3"] = 0
		u.mu.Unlock()
		if err := u.DropAll(t.Context()); err != nil {
			t.Fatal(err)
		}
		fill(t, u, someUser("u1"), lease)
		if n := kvtest.Run(t, r, "DBSIZE"); n != int64(0) || u.isDropPending("u3") {
			t.Errorf("got %v keys and perhaps a pending drop, want neither", n)
		}
	})
}

// TestDropAll_KeepsOtherKeys: credentials and other records are in the same Redis.
func TestDropAll_KeepsOtherKeys(t *testing.T) {
	onEachUsers(t, func(t *testing.T, r *redisconn.Pool, u *Users) {
		r.Timeout = time.Minute // a page of the scan is slow in the embedded Redis under the race detector
		others := []string{"credential:alice", "waiting:account:alice", "users:u1", "user", "auser:u1", "USER:u1", "session:u1", "token:user:u1", "lease:u1"}
		for _, key := range others {
			kvtest.Run(t, r, "SET", key, "x")
		}
		const users = 2500 // more than a page of the scan
		var keys []any
		for i := range users {
			keys = append(keys, "user:"+strconv.Itoa(i), "x")
		}
		kvtest.Run(t, r, "MSET", keys...)
		kvtest.Run(t, r, "RPUSH", "user:list", "x")
		lease := miss(t, u, "u1")
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := u.DropAll(ctx); err != nil {
			t.Fatal(err)
		}
		if n := kvtest.Run(t, r, "DBSIZE"); n != int64(len(others)) {
			t.Errorf("got %v keys, want %d", n, len(others))
		}
		for _, key := range others {
			if !kvtest.Exists(t, r, key) {
				t.Errorf("%s was deleted", key)
			}
		}
		fill(t, u, someUser("u1"), lease)
		if _, ok := cached(t, u, "u1"); ok {
			t.Error("a row read before DropAll was stored after it")
		}
	})
}

// TestDropAll_IsRetried: a failed DropAll is retried, and until it succeeds the cache returns no user.
func TestDropAll_IsRetried(t *testing.T) {
	m, r := kvtest.OpenMiniredis(t)
	u := newUsers(t, r)
	fill(t, u, someUser("u1"), miss(t, u, "u1"))
	lease := miss(t, u, "u2")
	m.SetError(broken)
	kvtest.WantUnavailable(t, u.DropAll(t.Context()))
	kvtest.WantUnavailable(t, u.Drop(t.Context(), "u3"))
	for _, id := range []string{"u1", "u2", "u4"} {
		if miss(t, u, id) != "" {
			t.Errorf("%s: got a lease while DropAll is pending", id)
		}
	}
	fill(t, u, someUser("u2"), lease) // would fail if it called Redis
	m.SetError("")
	kvtest.Eventually(t, "all are dropped", func() bool { return !u.isDropPending("u1") && !u.isDropPending("u3") })
	if n := kvtest.Run(t, r, "DBSIZE"); n != int64(0) {
		t.Errorf("got %v keys, want none", n)
	}
	fill(t, u, someUser("u1"), miss(t, u, "u1"))
	if _, ok := cached(t, u, "u1"); !ok {
		t.Error("the user is not cached after the drop")
	}
	// A newer success clears the failure, an older one does not.
	older := u.beginDrop()
	newer := u.beginDrop()
	u.mu.Lock()
	u.pendingDropAll = newer
	u.mu.Unlock()
	u.clearPendingAll(older)
	if !u.isDropPending("u1") {
		t.Error("an older success cleared the newer failure")
	}
	if err := u.DropAll(t.Context()); err != nil || u.isDropPending("u1") {
		t.Errorf("got %v, want DropAll to succeed and clear the failure", err)
	}
	// Close retries it once.
	v := NewUsers(r, time.Hour)
	fill(t, v, someUser("u1"), miss(t, v, "u1"))
	m.SetError(broken)
	kvtest.WantUnavailable(t, v.DropAll(t.Context()))
	kvtest.WantUnavailable(t, v.Close())
	m.SetError("")
}

// TestInvalidate_NeverWaits: Invalidate does not wait for a Redis that hangs. The cache returns none of the invalidated
// users, and one batch drops them when Redis is back.
func TestInvalidate_NeverWaits(t *testing.T) {
	s := testkit.StartRedis(t)
	r := kvtest.Open(t, kvtest.ServerURL(s))
	u := newUsers(t, r)
	for i := range 100 {
		id := strconv.Itoa(i)
		fill(t, u, someUser(id), miss(t, u, id))
	}
	fill(t, u, someUser("calm"), miss(t, u, "calm"))
	lease := miss(t, u, "late")
	s.Pause()
	defer s.Resume()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range 100 {
			u.Invalidate(strconv.Itoa(i))
		}
		u.Invalidate("late")
	}()
	select {
	case <-done:
	case <-time.After(redisconn.OpTimeout):
		t.Fatal("Invalidate waits for a Redis that hangs")
	}
	for i := range 100 {
		if miss(t, u, strconv.Itoa(i)) != "" {
			t.Fatal("got a lease for a user whose drop is pending")
		}
	}
	fill(t, u, someUser("late"), lease) // would fail if it called Redis
	s.Resume()
	kvtest.Eventually(t, "all are dropped", func() bool { return len(u.pendingIDs()) == 0 })
	for i := range 100 {
		if kvtest.Exists(t, r, "user:"+strconv.Itoa(i)) {
			t.Errorf("user %d was not dropped", i)
		}
	}
	if _, ok := cached(t, u, "calm"); !ok {
		t.Error("an unchanged user was dropped")
	}
	fill(t, u, someUser("1"), miss(t, u, "1"))
	if _, ok := cached(t, u, "1"); !ok {
		t.Error("the user is not cached after the drop")
	}
}

// TestInvalidate_BacklogDropsAll: pending drops are limited; beyond the limit all users are dropped.
func TestInvalidate_BacklogDropsAll(t *testing.T) {
	s := testkit.StartRedis(t)
	r := kvtest.Open(t, kvtest.ServerURL(s))
	u := newUsers(t, r)
	fill(t, u, someUser("calm"), miss(t, u, "calm"))
	s.Pause()
	defer s.Resume()
	for i := range 5 * maxPending {
		u.Invalidate(strconv.Itoa(i))
		if n := len(u.pendingIDs()); n > maxPending {
			t.Fatalf("got %d pending drops, want at most %d", n, maxPending)
		}
	}
	for _, id := range []string{"0", strconv.Itoa(5*maxPending - 1), "calm"} {
		if miss(t, u, id) != "" {
			t.Errorf("%s: got a lease while DropAll is pending", id)
		}
	}
	s.Resume()
	kvtest.Eventually(t, "all are dropped", func() bool { return !u.isDropPending("calm") && len(u.pendingIDs()) == 0 })
	if kvtest.Exists(t, r, "user:calm") {
		t.Error("a user was not dropped")
	}
}

// TestInvalidate_WinsOverAConcurrentRead: a user who is invalidated during a read is not returned.
func TestInvalidate_WinsOverAConcurrentRead(t *testing.T) {
	s := testkit.StartRedis(t)
	r := kvtest.Open(t, kvtest.ServerURL(s))
	r.Timeout = time.Minute
	u := newUsers(t, r)
	fill(t, u, someUser("u1"), miss(t, u, "u1"))
	s.Pause()
	answer := make(chan error, 1)
	go func() {
		_, _, err := u.User(t.Context(), "u1")
		answer <- err
	}()
	kvtest.Eventually(t, "the read is sent", func() bool { return r.Stats().Active > r.Stats().Idle })
	u.Invalidate("u1")
	// The drop hangs too: it must stay pending until the read returns.
	u.mu.Lock()
	u.pendingDrops["u1"] = 1 << 40
	u.mu.Unlock()
	s.Resume()
	if err := <-answer; !errors.Is(err, auth.ErrNotFound) {
		t.Errorf("got %v, want a miss", err)
	}
	u.mu.Lock()
	u.pendingDrops["u1"] = 1
	u.mu.Unlock()
}

func TestDrop_IgnoresCancellation(t *testing.T) {
	onEachUsers(t, func(t *testing.T, r *redisconn.Pool, u *Users) {
		fill(t, u, someUser("u1"), miss(t, u, "u1"))
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := u.Drop(ctx, "u1"); err != nil || kvtest.Exists(t, r, "user:u1") {
			t.Errorf("got %v, want the user dropped", err)
		}
	})
}

// broken is the reply of a Redis that is temporarily unavailable.
const broken = "LOADING not now"

func TestDrop_IsRetried(t *testing.T) {
	m, r := kvtest.OpenMiniredis(t)
	u := newUsers(t, r)
	fill(t, u, someUser("u1"), miss(t, u, "u1"))
	lease := miss(t, u, "u2")
	m.SetError(broken)
	kvtest.WantUnavailable(t, u.Drop(t.Context(), "u1"))
	kvtest.WantUnavailable(t, u.Drop(t.Context(), "u2"))
	if lease := miss(t, u, "u1"); lease != "" {
		t.Error("got a lease for a user whose drop is pending")
	}
	fill(t, u, someUser("u2"), lease) // would fail if it called Redis
	if _, _, err := u.User(t.Context(), "u3"); !errors.Is(err, auth.ErrUnavailable) {
		t.Errorf("another user: got %v, want ErrUnavailable", err)
	}
	m.SetError("")
	kvtest.Eventually(t, "both are dropped", func() bool { return !u.isDropPending("u1") && !u.isDropPending("u2") })
	if kvtest.Exists(t, r, "user:u1") || kvtest.Exists(t, r, "user:u2") {
		t.Error("no drop is pending, but a key was not dropped")
	}
	if miss(t, u, "u1") == "" {
		t.Error("no lease after the drop succeeded")
	}
	// A second failure restarts the background retries.
	m.SetError(broken)
	kvtest.WantUnavailable(t, u.Drop(t.Context(), "u1"))
	m.SetError("")
	kvtest.Eventually(t, "dropped again", func() bool { return !u.isDropPending("u1") })
}

func TestDrop_IsRetriedAfterARestart(t *testing.T) {
	s := testkit.StartRedis(t)
	u := newUsers(t, kvtest.Open(t, kvtest.ServerURL(s)))
	s.Kill()
	kvtest.WantUnavailable(t, u.Drop(t.Context(), "u1"))
	s.Start()
	kvtest.Eventually(t, "the user is dropped", func() bool { return !u.isDropPending("u1") })
}

// TestDrop_OldSuccessKeepsNewFailure: the late success of an older drop does not clear a newer failure.
func TestDrop_OldSuccessKeepsNewFailure(t *testing.T) {
	u := newUsers(t, kvtest.OpenEmbedded(t))
	older, newer := u.beginDrop(), u.beginDrop()
	u.mu.Lock()
	u.pendingDrops["u1"] = newer
	u.mu.Unlock()
	u.clearPending(older, "u1")
	if !u.isDropPending("u1") {
		t.Error("an older success cleared the newer failure")
	}
	u.clearPending(u.beginDrop(), "u1")
	if u.isDropPending("u1") {
		t.Error("a newer success did not clear the failure")
	}
}

func TestUsersClose_RetriesOnce(t *testing.T) {
	m, r := kvtest.OpenMiniredis(t)
	u := NewUsers(r, time.Hour)
	m.SetError(broken)
	kvtest.WantUnavailable(t, u.Drop(t.Context(), "u1"))
	kvtest.WantUnavailable(t, u.Close())
	kvtest.WantUnavailable(t, u.Drop(t.Context(), "u2"))
	if err := u.Close(); err != nil {
		t.Errorf("the second Close: %v", err)
	}

	v := NewUsers(r, time.Hour)
	kvtest.WantUnavailable(t, v.Drop(t.Context(), "u1"))
	m.SetError("")
	if err := v.Close(); err != nil || v.isDropPending("u1") {
		t.Errorf("got %v, want the drop retried", err)
	}
}

func TestUsers_UnreachableIsUnavailable(t *testing.T) {
	u := newUsers(t, kvtest.Open(t, "redis://127.0.0.1:1"))
	_, lease, err := u.User(t.Context(), "u1")
	kvtest.WantUnavailable(t, err)
	if lease != "" {
		t.Errorf("got the lease %q, want none", lease)
	}
	kvtest.WantUnavailable(t, u.Fill(t.Context(), someUser("u1"), "lease:x"))
	kvtest.WantUnavailable(t, u.DropAll(t.Context()))
}

// TestUsers_FullCacheStillHits: a hit writes nothing, so a full Redis still answers it.
func TestUsers_FullCacheStillHits(t *testing.T) {
	s := testkit.StartRedis(t)
	r := kvtest.Open(t, kvtest.ServerURL(s))
	u := newUsers(t, r)
	fill(t, u, someUser("u1"), miss(t, u, "u1"))
	kvtest.Run(t, r, "CONFIG", "SET", "maxmemory", "1mb")
	if _, ok := cached(t, u, "u1"); !ok {
		t.Error("got a miss, want a hit")
	}
	_, _, err := u.User(t.Context(), "u2")
	kvtest.WantUnavailable(t, err)
}

func BenchmarkUserHit(b *testing.B) {
	for name, openRedis := range map[string]func() *redisconn.Pool{
		"embedded": func() *redisconn.Pool { return kvtest.OpenEmbedded(b) },
		"server":   func() *redisconn.Pool { return kvtest.OpenServer(b) },
	} {
		b.Run(name, func(b *testing.B) {
			r := openRedis()
			u := newUsers(b, r)
			fill(b, u, someUser("u1"), miss(b, u, "u1"))
			b.ReportAllocs()
			for b.Loop() {
				if _, ok := cached(b, u, "u1"); !ok {
					b.Fatal("got a miss, want a hit")
				}
			}
		})
	}
}

// TestTombstone_ServesAsALease: other readers find an inactive user. The server reads the row again and replaces the
// tombstone, unless the user was dropped meanwhile.
func TestTombstone_ServesAsALease(t *testing.T) {
	kvtest.OnEach(t, func(t *testing.T, r *redisconn.Pool) {
		u := NewUsers(r, time.Hour)
		t.Cleanup(func() { _ = u.Close() })
		_, lease, _ := u.User(t.Context(), "u1")
		if err := u.FillDeleted(t.Context(), "u1", lease); err != nil {
			t.Fatal(err)
		}
		var record map[string]any
		if err := json.Unmarshal(kvtest.Run(t, r, "GET", "user:u1").([]byte), &record); err != nil || record["v"] != 1.0 || record["id"] != "u1" || record["active"] != false {
			t.Fatalf("got the record %v, %v; want an inactive user", record, err)
		}
		if ttl := kvtest.Run(t, r, "PTTL", "user:u1").(int64); ttl <= 0 || ttl > tombstoneTTL.Milliseconds() {
			t.Errorf("got a TTL of %d ms, want at most %s", ttl, tombstoneTTL)
		}
		_, first, err := u.User(t.Context(), "u1")
		if !errors.Is(err, auth.ErrUserDeleted) || !errors.Is(err, auth.ErrNotFound) || first == "" {
			t.Fatalf("got the lease %q, %v; want a lease and ErrUserDeleted", first, err)
		}
		if err := u.Drop(t.Context(), "u1"); err != nil {
			t.Fatal(err)
		}
		_, lease, _ = u.User(t.Context(), "u1")
		_ = u.FillDeleted(t.Context(), "u1", lease)
		_, second, _ := u.User(t.Context(), "u1")
		back := auth.User{ID: "u1", Username: "alice", Epoch: 3, Active: true}
		if err := u.Fill(t.Context(), back, first); err != nil {
			t.Fatal(err)
		}
		if _, _, err := u.User(t.Context(), "u1"); !errors.Is(err, auth.ErrUserDeleted) {
			t.Errorf("a lease from before the drop was accepted: %v", err)
		}
		if err := u.Fill(t.Context(), back, second); err != nil {
			t.Fatal(err)
		}
		if got, _, err := u.User(t.Context(), "u1"); err != nil || got.Epoch != 3 {
			t.Errorf("after the user was restored: got %+v, %v; want epoch 3", got, err)
		}
	})
}

// TestWatchFlush_SeesEachFlush: the cache is refilled once after each flush.
func TestWatchFlush_SeesEachFlush(t *testing.T) {
	kvtest.OnEach(t, func(t *testing.T, r *redisconn.Pool) {
		u := NewUsers(r, time.Hour)
		t.Cleanup(func() { _ = u.Close() })
		ctx, cancel := context.WithCancel(t.Context())
		refills := make(chan bool, 10)
		var watch sync.WaitGroup
		watch.Go(func() { u.WatchFlush(ctx, func(context.Context) { refills <- true }) })
		defer watch.Wait()
		defer cancel()
		for range 2 {
			kvtest.Eventually(t, "the cache id is set", func() bool { return kvtest.Exists(t, r, cacheIDKey) })
			kvtest.Run(t, r, "FLUSHDB")
			select {
			case <-refills:
			case <-time.After(10 * time.Second):
				t.Fatal("no refill after a flush")
			}
		}
		if len(refills) != 0 {
			t.Errorf("got %d extra refills, want none", len(refills))
		}
	})
}
