package password

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alexedwards/argon2id"
)

// cheap holds parameters that make hashing fast.
var cheap = argon2id.Params{Memory: 8, Iterations: 1, Parallelism: 1, SaltLength: 16, KeyLength: 32}

func newTestHasher(t testing.TB, concurrency, queued int, wait time.Duration) *Hasher {
	t.Helper()
	h, err := newHasher(concurrency, queued, wait, cheap)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestDefaultParams_AreStrongEnough(t *testing.T) {
	// OWASP Password Storage Cheat Sheet; ASVS 11.4.2.
	p := DefaultParams
	if p.Memory < 19456 || p.Iterations < 2 || p.Parallelism < 1 || p.SaltLength < 16 || p.KeyLength < 32 {
		t.Errorf("got %+v, want at least m=19456, t=2, p=1, a salt of 16 bytes and a key of 32", p)
	}
	h, err := NewHasher(1, DefaultParams)
	if err != nil {
		t.Fatal(err)
	}
	hash, err := h.Hash(t.Context(), "x")
	if err != nil || !strings.HasPrefix(hash, "$argon2id$v=19$m=19456,t=2,p=1$") {
		t.Errorf("got %q, %v; want an argon2id hash with the default parameters", hash, err)
	}
	if got := cap(h.slots); got >= runtime.GOMAXPROCS(0) && got != 1 {
		t.Errorf("got %d concurrent hashes, want fewer than the %d processors", got, runtime.GOMAXPROCS(0))
	}
}

func TestVerify_MatchesOnlyThePassword(t *testing.T) {
	h := newTestHasher(t, 1, 1, time.Second)
	one, err1 := h.Hash(t.Context(), "secret")
	two, err2 := h.Hash(t.Context(), "secret")
	if err1 != nil || err2 != nil || one == two {
		t.Fatalf("got %q (%v) and %q (%v), want two different hashes", one, err1, two, err2)
	}
	for password, want := range map[string]bool{"secret": true, "Secret": false, "secret ": false, "": false, "no user's password": false} {
		match, outdated, err := verify(h, t.Context(), password, one)
		if match != want || outdated || err != nil {
			t.Errorf("Verify(%q) = %v, %v, %v; want match %v", password, match, outdated, err, want)
		}
	}
	// The password is not truncated to 72 bytes, as bcrypt would do.
	eighty := long(80)
	hash, err := h.Hash(t.Context(), eighty)
	if err != nil {
		t.Fatal(err)
	}
	if match, _, _ := verify(h, t.Context(), eighty[:72], hash); match {
		t.Error("the first 72 of 80 characters match")
	}
}

func TestVerify_WithoutAHashNeverMatches(t *testing.T) {
	h := newTestHasher(t, 1, 1, time.Second)
	for _, password := range []string{"", "x", "no user's password"} {
		if match, outdated, err := verify(h, t.Context(), password, ""); match || outdated || err != nil {
			t.Errorf("Verify(%q) against no hash = %v, %v, %v; want no match", password, match, outdated, err)
		}
	}
}

func TestVerify_ReportsOutdatedParams(t *testing.T) {
	h := newTestHasher(t, 1, 1, time.Second)
	for name, change := range map[string]func(*argon2id.Params){
		"memory":      func(p *argon2id.Params) { p.Memory = 16 },
		"iterations":  func(p *argon2id.Params) { p.Iterations = 2 },
		"parallelism": func(p *argon2id.Params) { p.Parallelism = 2 },
		"salt":        func(p *argon2id.Params) { p.SaltLength = 8 },
		"key":         func(p *argon2id.Params) { p.KeyLength = 16 },
	} {
		old := cheap
		change(&old)
		hash, err := argon2id.CreateHash("secret", &old)
		if err != nil {
			t.Fatal(err)
		}
		if match, outdated, err := verify(h, t.Context(), "secret", hash); !match || !outdated || err != nil {
			t.Errorf("%s: got %v, %v, %v; want an outdated match", name, match, outdated, err)
		}
		if match, outdated, err := verify(h, t.Context(), "wrong", hash); match || outdated || err != nil {
			t.Errorf("%s: wrong password: got %v, %v, %v; want no match", name, match, outdated, err)
		}
	}
}

func TestVerify_InvalidHashNeverMatches(t *testing.T) {
	h := newTestHasher(t, 1, 1, time.Second)
	const salt, key = "c2FsdHNhbHRzYWx0c2FsdA", "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE"
	for _, hash := range []string{
		"x", "secret", "$", "$$$$$", "$2a$10$abcdefghijklmnopqrstuuKkM0zPjzJzj3dD3ljKkM0zPjzJzj3dD",
		"$argon2i$v=19$m=8,t=1,p=1$" + salt + "$" + key,
		"$argon2id$v=18$m=8,t=1,p=1$" + salt + "$" + key,
		"$argon2id$v=x$m=8,t=1,p=1$" + salt + "$" + key,
		"$argon2id$v=19$m=x,t=1,p=1$" + salt + "$" + key,
		"$argon2id$v=19$m=8,t=0,p=1$" + salt + "$" + key,
		"$argon2id$v=19$m=8,t=1,p=0$" + salt + "$" + key,
		"$argon2id$v=19$m=8,t=1,p=1$!!!$" + key,
		"$argon2id$v=19$m=8,t=1,p=1$" + salt + "$!!!",
		"$argon2id$v=19$m=8,t=1,p=1$" + salt + "$",
		"$argon2id$v=19$m=8,t=1,p=1$$",
		"$argon2id$v=19$m=4294967295,t=1,p=1$" + salt + "$" + key,
		"$argon2id$v=19$m=8,t=4294967295,p=1$" + salt + "$" + key,
		"$argon2id$v=19$m=8,t=1,p=1$" + salt + "$" + key + "$",
	} {
		if match, outdated, err := verify(h, t.Context(), "secret", hash); match || outdated || err != nil {
			t.Errorf("Verify against %q = %v, %v, %v; want no match", hash, match, outdated, err)
		}
	}
}

// allocated returns the bytes that f allocated: argon2 fills its memory once for each hash.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

func TestVerify_AlwaysHashesOnce(t *testing.T) {
	const memory = 4 << 20
	params := argon2id.Params{Memory: memory >> 10, Iterations: 1, Parallelism: 1, SaltLength: 16, KeyLength: 32}
	h, err := newHasher(1, 1, time.Second, params)
	if err != nil {
		t.Fatal(err)
	}
	hash, err := h.Hash(t.Context(), "secret")
	if err != nil {
		t.Fatal(err)
	}
	for name, stored := range map[string]string{"a user": hash, "no user": "", "garbage": "garbage", "impossible": "$argon2id$v=19$m=8,t=0,p=1$c2FsdA$a2V5"} {
		got := allocated(func() { _, _, _ = verify(h, t.Context(), "wrong", stored) })
		if got < memory || got > 2*memory-1 {
			t.Errorf("%s: allocated %d bytes, want the %d of one hash", name, got, memory)
		}
	}
}

func TestHasher_LimitsConcurrency(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const concurrency, queued = 3, 5
		h := newTestHasher(t, concurrency, queued, time.Minute)
		var (
			mu            sync.Mutex
			running, most int
			done          int
		)
		finish := make(chan struct{})
		for range concurrency + queued {
			go func() {
				release, err := h.acquire(t.Context())
				if err != nil {
					t.Errorf("got %v, want a slot", err)
					return
				}
				mu.Lock()
				running++
				most = max(most, running)
				mu.Unlock()
				<-finish
				mu.Lock()
				running--
				done++
				mu.Unlock()
				release()
			}()
		}
		synctest.Wait()
		if running != concurrency || h.Waiting() != concurrency+queued {
			t.Fatalf("%d run and %d run or wait, want %d and %d", running, h.Waiting(), concurrency, concurrency+queued)
		}
		// The queue is full: hashing and verifying are refused immediately.
		if _, err := h.Hash(t.Context(), "x"); !errors.Is(err, ErrBusy) {
			t.Errorf("Hash: got %v, want ErrBusy", err)
		}
		if _, _, err := verify(h, t.Context(), "x", ""); !errors.Is(err, ErrBusy) {
			t.Errorf("Verify: got %v, want ErrBusy", err)
		}
		for i := range concurrency + queued {
			finish <- struct{}{}
			synctest.Wait()
			if want := min(concurrency, concurrency+queued-i-1); running != want {
				t.Errorf("%d run after %d finished, want %d", running, i+1, want)
			}
		}
		if most != concurrency || done != concurrency+queued || h.Waiting() != 0 {
			t.Errorf("at most %d ran, %d finished, %d wait; want %d, %d and 0", most, done, h.Waiting(), concurrency, concurrency+queued)
		}
		if _, err := h.Hash(t.Context(), "x"); err != nil {
			t.Errorf("after the queue drained: %v", err)
		}
	})
}

func TestHasher_HashAndVerifyTakeSlots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newTestHasher(t, 1, 2, time.Minute)
		release, err := h.acquire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var finished sync.WaitGroup
		finished.Go(func() { _, _ = h.Hash(t.Context(), "x") })
		finished.Go(func() { _, _, _ = verify(h, t.Context(), "x", "") })
		synctest.Wait()
		if h.Waiting() != 3 {
			t.Errorf("%d run or wait, want 3", h.Waiting())
		}
		release()
		finished.Wait()
		if h.Waiting() != 0 {
			t.Errorf("%d still run or wait, want 0", h.Waiting())
		}
	})
}

func TestHasher_DropsQueuedWorkOnCancel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newTestHasher(t, 1, 1, time.Minute)
		release, err := h.acquire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		left := make(chan error, 1)
		go func() {
			_, err := h.Hash(ctx, "x")
			left <- err
		}()
		synctest.Wait()
		cancel()
		if err := <-left; !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want context.Canceled", err)
		}
		if h.Waiting() != 1 {
			t.Errorf("%d run or wait, want only the first", h.Waiting())
		}
		release()
	})
}

func TestHasher_SkipsCanceledRequests(t *testing.T) {
	h := newTestHasher(t, 1, 1, time.Minute)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for range 100 { // select may see a free slot or the canceled context first
		if _, err := h.Hash(ctx, "x"); !errors.Is(err, context.Canceled) {
			t.Fatalf("Hash: got %v, want context.Canceled", err)
		}
		if _, _, err := verify(h, ctx, "x", ""); !errors.Is(err, context.Canceled) {
			t.Fatalf("Verify: got %v, want context.Canceled", err)
		}
	}
	if h.Waiting() != 0 || len(h.slots) != 0 {
		t.Errorf("%d queue places and %d slots are still taken, want none", h.Waiting(), len(h.slots))
	}
}

func TestHasher_LongWaitIsBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newTestHasher(t, 1, 1, 5*time.Second)
		release, err := h.acquire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer release()
		begun := time.Now()
		if _, err := h.Hash(t.Context(), "x"); !errors.Is(err, ErrBusy) {
			t.Errorf("got %v, want ErrBusy", err)
		}
		if waited := time.Since(begun); waited != 5*time.Second {
			t.Errorf("waited %s, want 5s", waited)
		}
	})
}

// TestHasher_Cooldown: after a hash its slot stays empty for a fraction of the hash's duration, so that hashing never
// occupies a whole processor. The caller does not wait for the cooldown.
func TestHasher_Cooldown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newTestHasher(t, 1, 4, time.Minute)
		h.cooldown = 50
		begun := time.Now()
		// The bubble's clock is fake: hashing takes no time by it, so sleeping stands for the work.
		for i := range 3 {
			release, err := h.acquire(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if at, want := time.Since(begun), time.Duration(i)*150*time.Millisecond; at != want {
				t.Errorf("hash %d began after %s, want %s", i, at, want)
			}
			time.Sleep(100 * time.Millisecond) // on the fake clock
			release()
			if at, want := time.Since(begun), time.Duration(i)*150*time.Millisecond+100*time.Millisecond; at != want {
				t.Errorf("hash %d returned after %s, want %s", i, at, want)
			}
		}
		// A slower hash does not extend the cooldown.
		release, err := h.acquire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second) // on the fake clock
		release()
		slow := time.Now()
		release, err = h.acquire(t.Context())
		if err != nil || time.Since(slow) != 50*time.Millisecond {
			t.Errorf("after a slow hash the cooldown took %s (%v), want 50ms", time.Since(slow), err)
		}
		release()
		synctest.Wait()
		time.Sleep(time.Minute) // on the fake clock: the last cooldown ends
	})
}

// verify is Hasher.Verify for a password whose typed form is the normalized one.
func verify(h *Hasher, ctx context.Context, password, hash string) (match, outdated bool, err error) {
	return h.Verify(ctx, password, password, hash)
}

// TestDo_SharesSlotsWithHashes: other work and hashes share the slots and the queue.
func TestDo_SharesSlotsWithHashes(t *testing.T) {
	h := newTestHasher(t, 1, 1, time.Minute)
	started, finish := make(chan struct{}), make(chan struct{})
	go func() { _ = h.Do(t.Context(), func() { close(started); <-finish }) }()
	<-started
	queued := make(chan error, 1)
	go func() { queued <- h.Do(t.Context(), func() {}) }()
	for h.Waiting() < 2 {
		runtime.Gosched()
	}
	if _, err := h.Hash(t.Context(), "x"); !errors.Is(err, ErrBusy) {
		t.Errorf("a hash in a full queue: got %v, want ErrBusy", err)
	}
	if err := h.Do(t.Context(), func() {}); !errors.Is(err, ErrBusy) {
		t.Errorf("other work in a full queue: got %v, want ErrBusy", err)
	}
	select {
	case err := <-queued:
		t.Errorf("the queued work did not wait for the slot: %v", err)
	default:
	}
	close(finish)
	if err := <-queued; err != nil {
		t.Error(err)
	}
	if h.fastest.Load() != 0 {
		t.Error("the duration of other work was recorded as that of a hash")
	}
}
