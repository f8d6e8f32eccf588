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

// cheap are parameters that take no time.
var cheap = argon2id.Params{Memory: 8, Iterations: 1, Parallelism: 1, SaltLength: 16, KeyLength: 32}

func newTestHasher(t testing.TB, atOnce, queued int, wait time.Duration) *Hasher {
	t.Helper()
	h, err := newHasher(atOnce, queued, wait, cheap)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestHashParamsAreStrongEnough(t *testing.T) {
	// OWASP Password Storage Cheat Sheet; ASVS 11.4.2.
	p := DefaultParams
	if p.Memory < 19456 || p.Iterations < 2 || p.Parallelism < 1 || p.SaltLength < 16 || p.KeyLength < 32 {
		t.Errorf("got %+v", p)
	}
	h, err := NewHasher(1, DefaultParams)
	if err != nil {
		t.Fatal(err)
	}
	hash, err := h.Hash(t.Context(), "x")
	if err != nil || !strings.HasPrefix(hash, "$argon2id$v=19$m=19456,t=2,p=1$") {
		t.Errorf("got %q, %v", hash, err)
	}
	if got := cap(h.slots); got >= runtime.GOMAXPROCS(0) && got != 1 {
		t.Errorf("%d hashes at once release the pages no processor", got)
	}
}

func TestHashAndCheck(t *testing.T) {
	h := newTestHasher(t, 1, 1, time.Second)
	one, err1 := h.Hash(t.Context(), "secret")
	two, err2 := h.Hash(t.Context(), "secret")
	if err1 != nil || err2 != nil || one == two {
		t.Fatalf("got %q (%v) and %q (%v), want two hashes that differ", one, err1, two, err2)
	}
	for password, want := range map[string]bool{"secret": true, "Secret": false, "secret ": false, "": false, "a password that nobody has": false} {
		match, outdated, err := verify(h, t.Context(), password, one)
		if match != want || outdated || err != nil {
			t.Errorf("Check(%q) = %v, %v, %v; want %v", password, match, outdated, err, want)
		}
	}
	// No truncation: 80 characters are not their first 72.
	eighty := long(80)
	hash, err := h.Hash(t.Context(), eighty)
	if err != nil {
		t.Fatal(err)
	}
	if match, _, _ := verify(h, t.Context(), eighty[:72], hash); match {
		t.Error("the first 72 of 80 characters match")
	}
}

func TestCheckWithoutUser(t *testing.T) {
	h := newTestHasher(t, 1, 1, time.Second)
	for _, password := range []string{"", "x", "a password that nobody has"} {
		if match, outdated, err := verify(h, t.Context(), password, ""); match || outdated || err != nil {
			t.Errorf("Check(%q) of nobody = %v, %v, %v", password, match, outdated, err)
		}
	}
}

func TestCheckOutdated(t *testing.T) {
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
			t.Errorf("%s: got %v, %v, %v; want a match that is outdated", name, match, outdated, err)
		}
		if match, outdated, err := verify(h, t.Context(), "wrong", hash); match || outdated || err != nil {
			t.Errorf("%s: got %v, %v, %v for a wrong password", name, match, outdated, err)
		}
	}
}

func TestCheckGarbage(t *testing.T) {
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
			t.Errorf("Check against %q = %v, %v, %v; want a wrong password", hash, match, outdated, err)
		}
	}
}

// worked returns the octets that f allocated: argon2 fills its memory once for each hash.
func worked(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

func TestEveryCheckIsOneHash(t *testing.T) {
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
	for name, stored := range map[string]string{"a user": hash, "nobody": "", "garbage": "garbage", "impossible": "$argon2id$v=19$m=8,t=0,p=1$c2FsdA$a2V5"} {
		got := worked(func() { _, _, _ = verify(h, t.Context(), "wrong", stored) })
		if got < memory || got > 2*memory-1 {
			t.Errorf("%s: %d octets were filled, want those of one hash, %d", name, got, memory)
		}
	}
}

func TestNoMoreThanSoManyAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const atOnce, queued = 3, 5
		h := newTestHasher(t, atOnce, queued, time.Minute)
		var (
			mu            sync.Mutex
			running, most int
			done          int
		)
		finish := make(chan struct{})
		for range atOnce + queued {
			go func() {
				release, err := h.acquire(t.Context())
				if err != nil {
					t.Errorf("got %v, want a place", err)
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
		if running != atOnce || h.Waiting() != atOnce+queued {
			t.Fatalf("%d run and %d run or wait, want %d and %d", running, h.Waiting(), atOnce, atOnce+queued)
		}
		// The queue is full: both kinds of work are refused at once.
		if _, err := h.Hash(t.Context(), "x"); !errors.Is(err, ErrBusy) {
			t.Errorf("Hash: got %v, want ErrBusy", err)
		}
		if _, _, err := verify(h, t.Context(), "x", ""); !errors.Is(err, ErrBusy) {
			t.Errorf("Check: got %v, want ErrBusy", err)
		}
		for i := range atOnce + queued {
			finish <- struct{}{}
			synctest.Wait()
			if want := min(atOnce, atOnce+queued-i-1); running != want {
				t.Errorf("%d run after %d have finished, want %d", running, i+1, want)
			}
		}
		if most != atOnce || done != atOnce+queued || h.Waiting() != 0 {
			t.Errorf("at most %d ran, %d finished, %d wait", most, done, h.Waiting())
		}
		if _, err := h.Hash(t.Context(), "x"); err != nil {
			t.Errorf("after the storm: %v", err)
		}
	})
}

func TestHashAndCheckTakePlaces(t *testing.T) {
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
			t.Errorf("%d are left", h.Waiting())
		}
	})
}

func TestQueuedWorkIsDroppedWithItsClient(t *testing.T) {
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
			t.Errorf("%d run or wait, want the first alone", h.Waiting())
		}
		release()
	})
}

func TestNoWorkForClientsThatHaveGone(t *testing.T) {
	h := newTestHasher(t, 1, 1, time.Minute)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for range 100 { // a free place and an ended context are ready at the same time
		if _, err := h.Hash(ctx, "x"); !errors.Is(err, context.Canceled) {
			t.Fatalf("Hash: got %v, want context.Canceled", err)
		}
		if _, _, err := verify(h, ctx, "x", ""); !errors.Is(err, context.Canceled) {
			t.Fatalf("Check: got %v, want context.Canceled", err)
		}
	}
	if h.Waiting() != 0 || len(h.slots) != 0 {
		t.Errorf("%d places and %d slots are still taken", h.Waiting(), len(h.slots))
	}
}

func TestLongWaitIsBusy(t *testing.T) {
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
			t.Errorf("waited %s", waited)
		}
	})
}

// TestAPlaceRests: after a hash its place stays empty for a part of what a hash takes, so that
// hashing never takes a processor whole; whoever asked does not wait for it.
func TestAPlaceRests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newTestHasher(t, 1, 4, time.Minute)
		h.cooldown = 50
		begun := time.Now()
		// Hashing takes no time by the bubble's clock, so the work is stood in for.
		for i := range 3 {
			release, err := h.acquire(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if at, want := time.Since(begun), time.Duration(i)*150*time.Millisecond; at != want {
				t.Errorf("hash %d began after %s, want %s", i, at, want)
			}
			time.Sleep(100 * time.Millisecond) // the bubble's clock
			release()
			if at, want := time.Since(begun), time.Duration(i)*150*time.Millisecond+100*time.Millisecond; at != want {
				t.Errorf("hash %d was answered after %s, want %s", i, at, want)
			}
		}
		// A slower one rests no longer.
		release, err := h.acquire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		release()
		slow := time.Now()
		release, err = h.acquire(t.Context())
		if err != nil || time.Since(slow) != 50*time.Millisecond {
			t.Errorf("after a slow hash the place rested for %s (%v), want 50ms", time.Since(slow), err)
		}
		release()
		synctest.Wait()
		time.Sleep(time.Minute) // the last rest ends
	})
}

// verify is Hasher.Verify for a password whose typed form is the normalized one.
func verify(h *Hasher, ctx context.Context, password, hash string) (match, outdated bool, err error) {
	return h.Verify(ctx, password, password, hash)
}

// TestDo_SharesSlotsWithHashes: other work and hashes together never exceed the slots, and are refused
// when the queue is full.
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
		t.Errorf("a hash in a full queue: %v", err)
	}
	if err := h.Do(t.Context(), func() {}); !errors.Is(err, ErrBusy) {
		t.Errorf("other work in a full queue: %v", err)
	}
	select {
	case err := <-queued:
		t.Errorf("two run in one slot: %v", err)
	default:
	}
	close(finish)
	if err := <-queued; err != nil {
		t.Error(err)
	}
	if h.fastest.Load() != 0 {
		t.Error("other work counts as the duration of a hash")
	}
}
