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

// miss asks for a user who is not cached and returns the lease.
func miss(t testing.TB, u *Users, id string) string {
	t.Helper()
	got, lease, err := u.User(t.Context(), id)
	if !errors.Is(err, auth.ErrNotFound) || got.ID != "" {
		t.Fatalf("got %+v, %v, want a miss", got, err)
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

func TestUsers_MissFillHit(t *testing.T) {
	onEachUsers(t, func(t *testing.T, r *redisconn.Pool, u *Users) {
		var lease string
		if trips := kvtest.RoundTrips(t, func(ctx context.Context) { _, lease, _ = u.User(ctx, "u1") }); trips != 1 || lease == "" {
			t.Fatalf("a miss took %d round trips and gave lease %q, want 1 and a lease", trips, lease)
		}
		if second := miss(t, u, "u1"); second != "" {
			t.Error("two requests hold a lease")
		}
		if ttl := kvtest.Run(t, r, "PTTL", "user:u1").(int64); ttl <= 0 || ttl > 5000 {
			t.Errorf("the lease lives for %d ms, want 5 s", ttl)
		}
		want := someUser("u1")
		fill(t, u, want, lease)
		var got auth.User
		var err error
		if trips := kvtest.RoundTrips(t, func(ctx context.Context) { got, lease, err = u.User(ctx, "u1") }); trips != 1 || err != nil || lease != "" {
			t.Fatalf("a hit took %d round trips, gave lease %q and %v", trips, lease, err)
		}
		want.PasswordHash = ""
		if !reflect.DeepEqual(got, want) {
			t.Errorf("got  %+v\nwant %+v", got, want)
		}
		if ttl := kvtest.Run(t, r, "PTTL", "user:u1").(int64); ttl <= 3_590_000 || ttl > 3_600_000 {
			t.Errorf("the user lives for %d ms, want 1 h", ttl)
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
			t.Fatal("a miss")
		}
	}
	if after := writes(); before == "" || after != before {
		t.Errorf("the count of writes went from %q to %q", before, after)
	}
}

func TestLease_OneForConcurrentMisses(t *testing.T) {
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
			t.Fatal("stored with somebody else's lease")
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

// A row whose epoch only rises, read and filled by some while another raises it and drops the
// cache: after a drop nobody may see an older epoch.
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
				t.Errorf("%s: got %+v", name, got)
			}
			if kvtest.Exists(t, r, "user:u1") {
				t.Errorf("%s: it is still there", name)
			}
		}
		kvtest.Run(t, r, "RPUSH", "user:u1", "x")
		fill(t, u, someUser("u1"), "lease:x")
		if _, ok := cached(t, u, "u1"); ok || kvtest.Exists(t, r, "user:u1") {
			t.Error("a list is not dropped")
		}
		fill(t, u, someUser("u1"), miss(t, u, "u1"))
		if _, ok := cached(t, u, "u1"); !ok {
			t.Error("no hit after the garbage is gone")
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
				t.Error("not filled after the script was forgotten")
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
			t.Errorf("%v keys are left, or a failed drop is still remembered", n)
		}
	})
}

// Credentials and others live in the same Redis, whatever their names look like.
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
			t.Errorf("%v keys are left, want %d", n, len(others))
		}
		for _, key := range others {
			if !kvtest.Exists(t, r, key) {
				t.Errorf("%s is gone", key)
			}
		}
		fill(t, u, someUser("u1"), lease)
		if _, ok := cached(t, u, "u1"); ok {
			t.Error("a row read before was stored after it")
		}
	})
}

// A DropAll that failed is made good later; so long nobody is taken from the cache.
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
			t.Errorf("%s has a lease while all are to be dropped", id)
		}
	}
	fill(t, u, someUser("u2"), lease) // would fail if it asked Redis
	m.SetError("")
	kvtest.Eventually(t, "all are dropped", func() bool { return !u.isDropPending("u1") && !u.isDropPending("u3") })
	if n := kvtest.Run(t, r, "DBSIZE"); n != int64(0) {
		t.Errorf("%v keys are left", n)
	}
	fill(t, u, someUser("u1"), miss(t, u, "u1"))
	if _, ok := cached(t, u, "u1"); !ok {
		t.Error("nobody is cached any more")
	}
	// A newer success makes it good as well, and an older one does not.
	older := u.beginDrop()
	newer := u.beginDrop()
	u.mu.Lock()
	u.pendingDropAll = newer
	u.mu.Unlock()
	u.clearPendingAll(older)
	if !u.isDropPending("u1") {
		t.Error("the newer failure is forgotten")
	}
	if err := u.DropAll(t.Context()); err != nil || u.isDropPending("u1") {
		t.Errorf("got %v", err)
	}
	// At the end it is tried once more.
	v := NewUsers(r, time.Hour)
	fill(t, v, someUser("u1"), miss(t, v, "u1"))
	m.SetError(broken)
	kvtest.WantUnavailable(t, v.DropAll(t.Context()))
	kvtest.WantUnavailable(t, v.Close())
	m.SetError("")
}

// A Redis that hangs holds nobody up who says that a user has changed, and from that moment on no
// answer comes from it: one batch drops them all when it is back.
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
		t.Fatal("it waits for a Redis that hangs")
	}
	for i := range 100 {
		if miss(t, u, strconv.Itoa(i)) != "" {
			t.Fatal("a lease for a user whose drop is pending")
		}
	}
	fill(t, u, someUser("late"), lease) // would fail if it asked Redis
	s.Resume()
	kvtest.Eventually(t, "all are dropped", func() bool { return len(u.pendingIDs()) == 0 })
	for i := range 100 {
		if kvtest.Exists(t, r, "user:"+strconv.Itoa(i)) {
			t.Errorf("%d is still there", i)
		}
	}
	if _, ok := cached(t, u, "calm"); !ok {
		t.Error("a user who did not change was dropped, too")
	}
	fill(t, u, someUser("1"), miss(t, u, "1"))
	if _, ok := cached(t, u, "1"); !ok {
		t.Error("nobody is cached any more")
	}
}

// What is pending is bounded: beyond it all users are dropped at once.
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
			t.Fatalf("%d users are pending, want at most %d", n, maxPending)
		}
	}
	for _, id := range []string{"0", strconv.Itoa(5*maxPending - 1), "calm"} {
		if miss(t, u, id) != "" {
			t.Errorf("a lease for %s while all are to be dropped", id)
		}
	}
	s.Resume()
	kvtest.Eventually(t, "all are dropped", func() bool { return !u.isDropPending("calm") && len(u.pendingIDs()) == 0 })
	if kvtest.Exists(t, r, "user:calm") {
		t.Error("not all were dropped")
	}
}

// A user who is invalidated while Redis is asked does not come from there, even if it answers then.
func TestInvalidate_DuringARead(t *testing.T) {
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
	kvtest.Eventually(t, "Redis is asked", func() bool { return r.Stats().Active > r.Stats().Idle })
	u.Invalidate("u1")
	// The drop hangs, too: it must not be struck out before the answer is there.
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

// broken makes every command fail, as a Redis does that is not there.
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
		t.Error("a lease for a user whose drop is pending")
	}
	fill(t, u, someUser("u2"), lease) // would fail if it asked Redis
	if _, _, err := u.User(t.Context(), "u3"); !errors.Is(err, auth.ErrUnavailable) {
		t.Errorf("another user: got %v, want ErrUnavailable", err)
	}
	m.SetError("")
	kvtest.Eventually(t, "both are dropped", func() bool { return !u.isDropPending("u1") && !u.isDropPending("u2") })
	if kvtest.Exists(t, r, "user:u1") || kvtest.Exists(t, r, "user:u2") {
		t.Error("forgotten, but not dropped")
	}
	if miss(t, u, "u1") == "" {
		t.Error("no lease after the drop succeeded")
	}
	// It works a second time, after the background work has ended.
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
	kvtest.Eventually(t, "it is dropped", func() bool { return !u.isDropPending("u1") })
}

// An older drop that succeeds late says nothing about a newer one that failed.
func TestDrop_OldSuccessKeepsNewFailure(t *testing.T) {
	u := newUsers(t, kvtest.OpenEmbedded(t))
	older, newer := u.beginDrop(), u.beginDrop()
	u.mu.Lock()
	u.pendingDrops["u1"] = newer
	u.mu.Unlock()
	u.clearPending(older, "u1")
	if !u.isDropPending("u1") {
		t.Error("the newer failure is forgotten")
	}
	u.clearPending(u.beginDrop(), "u1")
	if u.isDropPending("u1") {
		t.Error("a newer success does not count")
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
		t.Errorf("got %v, want the drop made good", err)
	}
}

func TestUsers_Unreachable(t *testing.T) {
	u := newUsers(t, kvtest.Open(t, "redis://127.0.0.1:1"))
	_, lease, err := u.User(t.Context(), "u1")
	kvtest.WantUnavailable(t, err)
	if lease != "" {
		t.Error("a lease from nowhere")
	}
	kvtest.WantUnavailable(t, u.Fill(t.Context(), someUser("u1"), "lease:x"))
	kvtest.WantUnavailable(t, u.DropAll(t.Context()))
}

// A hit needs no memory: a full cache still answers for those in it.
func TestUsers_FullCacheStillHits(t *testing.T) {
	s := testkit.StartRedis(t)
	r := kvtest.Open(t, kvtest.ServerURL(s))
	u := newUsers(t, r)
	fill(t, u, someUser("u1"), miss(t, u, "u1"))
	kvtest.Run(t, r, "CONFIG", "SET", "maxmemory", "1mb")
	if _, ok := cached(t, u, "u1"); !ok {
		t.Error("a miss")
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
					b.Fatal("a miss")
				}
			}
		})
	}
}

// TestTombstone_ServesAsALease: readers find a user who is not active; the server asks the database
// again, and puts what it finds in its place unless the user was dropped meanwhile.
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
			t.Fatalf("readers find %v, %v", record, err)
		}
		if ttl := kvtest.Run(t, r, "PTTL", "user:u1").(int64); ttl <= 0 || ttl > tombstoneTTL.Milliseconds() {
			t.Errorf("it lives for %d ms", ttl)
		}
		_, first, err := u.User(t.Context(), "u1")
		if !errors.Is(err, auth.ErrUserDeleted) || !errors.Is(err, auth.ErrNotFound) || first == "" {
			t.Fatalf("got the lease %q, %v", first, err)
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
			t.Errorf("a lease from before a drop was good: %v", err)
		}
		if err := u.Fill(t.Context(), back, second); err != nil {
			t.Fatal(err)
		}
		if got, _, err := u.User(t.Context(), "u1"); err != nil || got.Epoch != 3 {
			t.Errorf("after the user came back: %+v, %v", got, err)
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
			kvtest.Eventually(t, "the cache has an id", func() bool { return kvtest.Exists(t, r, cacheIDKey) })
			kvtest.Run(t, r, "FLUSHDB")
			select {
			case <-refills:
			case <-time.After(10 * time.Second):
				t.Fatal("a flush was not seen")
			}
		}
		if len(refills) != 0 {
			t.Errorf("%d refills too many", len(refills))
		}
	})
}
