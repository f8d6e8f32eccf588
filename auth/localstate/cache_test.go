package localstate

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// user stands for a cached value.
type user struct {
	ID    string
	Epoch int64
}

var errUnavailable = errors.New("unavailable")

var noon = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

// enabledCache returns an enabled cache.
func enabledCache() *Cache[user] {
	m := NewCache[user](time.Hour)
	m.SetEnabled(true)
	return m
}

// row returns a load function that counts its calls and returns a user with this epoch.
func row(loads *atomic.Int64, epoch int64) func(context.Context) (user, error) {
	return func(context.Context) (user, error) {
		loads.Add(1)
		return user{ID: "u1", Epoch: epoch}, nil
	}
}

// isCached reports whether u1 is cached with this epoch.
func isCached(t *testing.T, m *Cache[user], epoch int64) bool {
	t.Helper()
	var loads atomic.Int64
	u, err := m.Load(t.Context(), "u1", noon, row(&loads, -1))
	if err != nil {
		t.Fatal(err)
	}
	return loads.Load() == 0 && u.Epoch == epoch
}

func TestCache_LoadsOnce(t *testing.T) {
	m := enabledCache()
	var loads atomic.Int64
	for _, at := range []time.Time{noon, noon, noon.Add(time.Hour)} {
		if u, err := m.Load(t.Context(), "u1", at, row(&loads, 1)); err != nil || u.Epoch != 1 || loads.Load() != 1 {
			t.Errorf("got %+v, %v after %d loads, want epoch 1 after 1", u, err, loads.Load())
		}
	}
	if m.Hits.Load() != 2 || m.Misses.Load() != 1 {
		t.Errorf("got %d hits and %d misses, want 2 and 1", m.Hits.Load(), m.Misses.Load())
	}
	if u, err := m.Load(t.Context(), "u1", noon.Add(time.Hour+1), row(&loads, 2)); err != nil || u.Epoch != 2 || loads.Load() != 2 {
		t.Errorf("after the lifetime: got %+v, %v after %d loads, want epoch 2 after 2", u, err, loads.Load())
	}
	if u, err := m.Load(t.Context(), "u2", noon, func(context.Context) (user, error) { return user{ID: "u2"}, nil }); err != nil || u.ID != "u2" {
		t.Errorf("another user: got %+v, %v; want u2", u, err)
	}
}

func TestCache_DropsInvalidatedValues(t *testing.T) {
	for what, c := range map[string]struct {
		invalidate func(*Cache[user])
		kept       bool
	}{
		"the user":                   {func(m *Cache[user]) { m.Invalidate("u1") }, false},
		"all":                        {(*Cache[user]).InvalidateAll, false},
		"disabled":                   {func(m *Cache[user]) { m.SetEnabled(false) }, false},
		"disabled and enabled again": {func(m *Cache[user]) { m.SetEnabled(false); m.SetEnabled(true) }, false},
		"enabled twice":              {func(m *Cache[user]) { m.SetEnabled(true) }, false},
		"another user":               {func(m *Cache[user]) { m.Invalidate("u2") }, true},
		"no user":                    {func(m *Cache[user]) { m.Invalidate("") }, true},
	} {
		m := enabledCache()
		var loads atomic.Int64
		if _, err := m.Load(t.Context(), "u1", noon, row(&loads, 1)); err != nil {
			t.Fatal(err)
		}
		c.invalidate(m)
		if got := isCached(t, m, 1); got != c.kept {
			t.Errorf("%s: cached: got %v, want %v", what, got, c.kept)
		}
	}
}

// TestCache_StaysEmptyWhileDisabled: without notifications of changes nothing is cached.
func TestCache_StaysEmptyWhileDisabled(t *testing.T) {
	for what, m := range map[string]*Cache[user]{"never enabled": NewCache[user](time.Hour), "disabled": enabledCache()} {
		var loads atomic.Int64
		_, _ = m.Load(t.Context(), "u1", noon, row(&loads, 1))
		m.SetEnabled(false)
		loads.Store(0)
		for i := range int64(10) {
			if u, err := m.Load(t.Context(), "u1", noon, row(&loads, i)); err != nil || u.Epoch != i {
				t.Errorf("%s: got %+v, %v; want the loaded user", what, u, err)
			}
		}
		if loads.Load() != 10 || size(m) != 0 {
			t.Errorf("%s: got %d loads and %d cached users, want 10 and 0", what, loads.Load(), size(m))
		}
		m.SetEnabled(true)
		_, _ = m.Load(t.Context(), "u1", noon, row(&loads, 1))
		if !isCached(t, m, 1) {
			t.Errorf("%s: not cached after it was enabled again", what)
		}
	}
}

func size(m *Cache[user]) int {
	n := 0
	for i := range m.shards {
		n += len(m.shards[i].entries)
	}
	return n
}

// TestLoad_StoresNothingInvalidatedMeanwhile: a value read before an invalidation is returned but not cached.
func TestLoad_StoresNothingInvalidatedMeanwhile(t *testing.T) {
	for what, c := range map[string]struct {
		invalidate func(*Cache[user])
		kept       bool
	}{
		"nothing":                    {func(*Cache[user]) {}, true},
		"the user":                   {func(m *Cache[user]) { m.Invalidate("u1") }, false},
		"all":                        {(*Cache[user]).InvalidateAll, false},
		"disabled":                   {func(m *Cache[user]) { m.SetEnabled(false) }, false},
		"disabled and enabled again": {func(m *Cache[user]) { m.SetEnabled(false); m.SetEnabled(true) }, false},
		"enabled twice":              {func(m *Cache[user]) { m.SetEnabled(true) }, false},
	} {
		m := enabledCache()
		begun, finish := make(chan struct{}), make(chan struct{})
		answered := make(chan user)
		go func() {
			u, _ := m.Load(t.Context(), "u1", noon, func(context.Context) (user, error) {
				close(begun)
				<-finish
				return user{ID: "u1", Epoch: 1}, nil
			})
			answered <- u
		}()
		<-begun
		c.invalidate(m)
		close(finish)
		if u := <-answered; u.Epoch != 1 {
			t.Errorf("%s: got %+v, want the loaded user", what, u)
		}
		if got := isCached(t, m, 1); got != c.kept {
			t.Errorf("%s: cached: got %v, want %v", what, got, c.kept)
		}
	}
	// Enabled only while the load runs: earlier invalidations were missed.
	m := NewCache[user](time.Hour)
	_, err := m.Load(t.Context(), "u1", noon, func(context.Context) (user, error) {
		m.SetEnabled(true)
		return user{ID: "u1", Epoch: 1}, nil
	})
	if err != nil || isCached(t, m, 1) {
		t.Errorf("a load that began while disabled is cached (%v)", err)
	}
}

func TestLoad_IsSharedByConcurrentMisses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := enabledCache()
		var loads atomic.Int64
		finish := make(chan struct{})
		var answers sync.WaitGroup
		for range 64 {
			answers.Go(func() {
				u, err := m.Load(t.Context(), "u1", noon, func(ctx context.Context) (user, error) {
					<-finish
					return row(&loads, 5)(ctx)
				})
				if err != nil || u.Epoch != 5 {
					t.Errorf("got %+v, %v; want epoch 5", u, err)
				}
			})
		}
		synctest.Wait() // all 64 share the load
		close(finish)
		answers.Wait()
		if loads.Load() != 1 || m.Misses.Load() != 64 {
			t.Errorf("got %d loads and %d misses, want 1 and 64", loads.Load(), m.Misses.Load())
		}
	})
}

// TestLoad_OutlivesACallerThatLeaves: a caller can stop waiting without ending the load for the others.
func TestLoad_OutlivesACallerThatLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := enabledCache()
		finish := make(chan struct{})
		load := func(ctx context.Context) (user, error) {
			<-finish
			return user{ID: "u1", Epoch: 1}, ctx.Err()
		}
		type answer struct {
			user user
			err  error
		}
		ask := func(ctx context.Context) <-chan answer {
			c := make(chan answer, 1)
			go func() {
				u, err := m.Load(ctx, "u1", noon, load)
				c <- answer{u, err}
			}()
			synctest.Wait()
			return c
		}
		impatient, leave := context.WithCancel(t.Context())
		first := ask(impatient) // starts the load
		hurried, stop := context.WithTimeout(t.Context(), time.Second)
		defer stop()
		second, third := ask(hurried), ask(t.Context())
		leave()
		if a := <-first; !errors.Is(a.err, context.Canceled) {
			t.Errorf("the canceled caller: got %+v, want context.Canceled", a)
		}
		if a := <-second; !errors.Is(a.err, context.DeadlineExceeded) {
			t.Errorf("the caller with a timeout: got %+v, want context.DeadlineExceeded", a)
		}
		close(finish)
		if a := <-third; a.err != nil || a.user.Epoch != 1 {
			t.Errorf("the remaining caller: got %+v, want the user", a)
		}
		if !isCached(t, m, 1) {
			t.Error("the loaded user is not cached")
		}
	})
}

// TestLoad_IsNotSharedAcrossAnInvalidation: a load that began before an invalidation may have read the old row. A later
// caller starts another one, and only that one is cached, whichever finishes first.
func TestLoad_IsNotSharedAcrossAnInvalidation(t *testing.T) {
	for _, oldFirst := range []bool{true, false} {
		for _, invalidate := range []func(*Cache[user]){func(m *Cache[user]) { m.Invalidate("u1") }, (*Cache[user]).InvalidateAll} {
			synctest.Test(t, func(t *testing.T) {
				m := enabledCache()
				gates := map[int64]chan struct{}{1: make(chan struct{}), 2: make(chan struct{})}
				var loads atomic.Int64
				ask := func(epoch int64) <-chan user {
					c := make(chan user, 1)
					go func() {
						u, err := m.Load(t.Context(), "u1", noon, func(ctx context.Context) (user, error) {
							<-gates[epoch]
							return row(&loads, epoch)(ctx)
						})
						if err != nil {
							t.Error(err)
						}
						c <- u
					}()
					synctest.Wait()
					return c
				}
				before := ask(1)
				invalidate(m)
				after, later := ask(2), ask(2)
				order := []int64{2, 1}
				if oldFirst {
					order = []int64{1, 2}
				}
				for _, epoch := range order {
					close(gates[epoch])
					synctest.Wait()
				}
				if got := []int64{(<-before).Epoch, (<-after).Epoch, (<-later).Epoch}; got[0] != 1 || got[1] != 2 || got[2] != 2 || loads.Load() != 2 {
					t.Errorf("got the epochs %v from %d loads, want 1, 2, 2 from 2", got, loads.Load())
				}
				if !isCached(t, m, 2) {
					t.Error("the new row is not cached")
				}
			})
		}
	}
}

func TestLoad_DoesNotStoreErrors(t *testing.T) {
	m := enabledCache()
	for range 2 {
		_, err := m.Load(t.Context(), "u1", noon, func(context.Context) (user, error) { return user{ID: "u1", Epoch: 9}, errUnavailable })
		if !errors.Is(err, errUnavailable) || size(m) != 0 {
			t.Errorf("got %v and %d cached users, want the error and 0", err, size(m))
		}
	}
	// A panic in the load is returned as an error: nothing else in that goroutine recovers it.
	u, err := m.Load(t.Context(), "u1", noon, func(context.Context) (user, error) { panic("the reason") })
	if err == nil || !strings.Contains(err.Error(), "the reason") || !strings.Contains(err.Error(), "cache_test.go") || u.ID != "" || size(m) != 0 {
		t.Errorf("got %+v, %v; want an error with the reason and the stack", u, err)
	}
}

func TestCache_IsBounded(t *testing.T) {
	m := enabledCache()
	const users = 2 * cacheShards * shardCapacity
	generations := make([]uint64, cacheShards)
	for i := range m.shards {
		generations[i] = m.shards[i].generation
	}
	for i := range users {
		id := strconv.Itoa(i)
		_, _, now := m.get(id, noon)
		m.store(id, user{ID: id}, now, noon)
		if _, ok, _ := m.get(id, noon); !ok {
			t.Fatalf("user %d is not cached", i)
		}
	}
	if n := size(m); n > cacheShards*shardCapacity || n < cacheShards*shardCapacity/4 {
		t.Errorf("got %d cached users, want at most %d", n, cacheShards*shardCapacity)
	}
	for i := range m.shards {
		if len(m.shards[i].entries) > shardCapacity {
			t.Errorf("shard %d holds %d users, want at most %d", i, len(m.shards[i].entries), shardCapacity)
		}
		if m.shards[i].generation != generations[i] {
			t.Errorf("evicting changed the generation of shard %d", i)
		}
	}
}

// TestCache_IsSafeForConcurrentUse: several readers load a row while a writer raises its epoch and invalidates it. After
// the invalidation no reader sees an older epoch.
func TestCache_IsSafeForConcurrentUse(t *testing.T) {
	m := enabledCache()
	var epoch atomic.Int64
	ctx, stop := context.WithCancel(t.Context())
	load := func(context.Context) (user, error) { return user{ID: "u1", Epoch: epoch.Load()}, nil }
	var readers sync.WaitGroup
	for range 3 {
		readers.Go(func() {
			for ctx.Err() == nil {
				if _, err := m.Load(t.Context(), "u1", noon, load); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for i := range 200 {
		want := epoch.Add(1)
		switch {
		case i%50 == 0:
			m.SetEnabled(false)
			m.SetEnabled(true)
		case i%10 == 0:
			m.InvalidateAll()
		default:
			m.Invalidate("u1")
		}
		if u, err := m.Load(t.Context(), "u1", noon, load); err != nil || u.Epoch < want {
			t.Fatalf("got %+v, %v after the invalidation of epoch %d", u, err, want)
		}
	}
	stop()
	readers.Wait()
}

func BenchmarkCacheHit(b *testing.B) {
	m := enabledCache()
	load := func(context.Context) (user, error) { return user{ID: "u1"}, nil }
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := m.Load(context.Background(), "u1", noon, load); err != nil {
				b.Error(fmt.Errorf("look up: %w", err))
			}
		}
	})
}
