package kv

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse/auth"
	"gatehouse/kv/kvtest"
	"gatehouse/kv/redisconn"

	"github.com/gomodule/redigo/redis"
)

func onEachThrottle(t *testing.T, test func(t *testing.T, r *redisconn.Pool, th *Throttle)) {
	t.Helper()
	kvtest.OnEach(t, func(t *testing.T, r *redisconn.Pool) { test(t, r, NewThrottle(r)) })
}

// take reserves and counts one failed attempt. It returns the delay of a refused one, or 0.
func take(t testing.TB, th *Throttle, attempts ...auth.Bucket) time.Duration {
	t.Helper()
	got, err := th.Reserve(t.Context(), attempts...)
	if err == nil {
		_, err = th.CountFailures(t.Context(), false, got...)
	}
	var throttled auth.ThrottledError
	if errors.As(err, &throttled) {
		if throttled.RetryAfter <= 0 {
			t.Errorf("got a delay of %s, want a positive one", throttled.RetryAfter)
		}
		return throttled.RetryAfter
	}
	if err != nil {
		t.Fatal(err)
	}
	return 0
}

// taken returns the error of a Reserve.
func taken(_ []auth.Reservation, err error) error { return err }

func attempt(key string, limit auth.RateLimit) auth.Bucket {
	return auth.Bucket{Key: key, Limit: limit}
}

func count(t testing.TB, r *redisconn.Pool, key string) int {
	t.Helper()
	reply, err := r.Do(t.Context(), redisconn.Once("test"), redisconn.Cmd("HGET", "throttle:"+key, "n"))
	n, err := redis.Int(reply, err)
	if err != nil && !errors.Is(err, redis.ErrNil) {
		t.Fatal(err)
	}
	return n
}

// pass ends the delay of a key.
func pass(t testing.TB, r *redisconn.Pool, key string) {
	t.Helper()
	kvtest.Run(t, r, "HSET", "throttle:"+key, "until", 1)
}

var slow = auth.RateLimit{Burst: 3, BaseDelay: 10 * time.Minute, MaxDelay: 25 * time.Minute, ResetAfter: time.Hour}

func near(got, want time.Duration) bool { return got > want-10*time.Second && got <= want }

func TestThrottle_DelaysGrow(t *testing.T) {
	onEachThrottle(t, func(t *testing.T, r *redisconn.Pool, th *Throttle) {
		a := attempt("a", slow)
		for i := range 3 {
			if wait := take(t, th, a); wait != 0 {
				t.Fatalf("attempt %d within the burst: got a delay of %s, want none", i+1, wait)
			}
		}
		for _, want := range []time.Duration{10 * time.Minute, 20 * time.Minute, 25 * time.Minute, 25 * time.Minute} {
			for range 3 { // a refused attempt never extends the delay
				if wait := take(t, th, a); !near(wait, want) {
					t.Fatalf("got a delay of %s, want %s", wait, want)
				}
			}
			pass(t, r, "a")
			if wait := take(t, th, a); wait != 0 {
				t.Fatalf("after the delay: got a delay of %s, want none", wait)
			}
		}
		if n := count(t, r, "a"); n != 7 {
			t.Errorf("got %d counted failures, want 7", n)
		}
		if ttl := kvtest.Run(t, r, "PTTL", "throttle:a").(int64); ttl > time.Hour.Milliseconds() || ttl < (59*time.Minute).Milliseconds() {
			t.Errorf("got a TTL of %d ms, want 1 h", ttl)
		}
		if wait := take(t, th, attempt("b", slow)); wait != 0 {
			t.Errorf("another key: got a delay of %s, want none", wait)
		}
	})
}

func TestThrottle_DelayEnds(t *testing.T) {
	onEachThrottle(t, func(t *testing.T, _ *redisconn.Pool, th *Throttle) {
		a := attempt("a", auth.RateLimit{Burst: 1, BaseDelay: 200 * time.Millisecond, MaxDelay: time.Second, ResetAfter: time.Hour})
		start := time.Now()
		take(t, th, a)
		kvtest.Eventually(t, "the delay ends", func() bool { return take(t, th, a) == 0 })
		if took := time.Since(start); took < 195*time.Millisecond {
			t.Errorf("the delay ended after %s, want 200 ms", took)
		}
	})
}

func TestThrottle_Resets(t *testing.T) {
	onEachThrottle(t, func(t *testing.T, r *redisconn.Pool, th *Throttle) {
		a := attempt("a", auth.RateLimit{Burst: 1, MaxFailures: 2, ResetAfter: 100 * time.Millisecond})
		take(t, th, a)
		kvtest.Eventually(t, "the key expires", func() bool { return !kvtest.Exists(t, r, "throttle:a") })
		// ResetAfter does not cut a longer delay short.
		b := attempt("b", auth.RateLimit{Burst: 1, BaseDelay: time.Hour, MaxDelay: time.Hour, ResetAfter: time.Millisecond})
		take(t, th, b)
		if ttl := kvtest.Run(t, r, "PTTL", "throttle:b").(int64); !near(time.Duration(ttl)*time.Millisecond, time.Hour) {
			t.Errorf("got a TTL of %d ms, want the delay of 1 h", ttl)
		}
	})
}

func TestThrottle_RefusesAfterMaxFailures(t *testing.T) {
	onEachThrottle(t, func(t *testing.T, r *redisconn.Pool, th *Throttle) {
		a := attempt("a", auth.RateLimit{Burst: 100, MaxFailures: 5, ResetAfter: time.Hour})
		for range 5 {
			if take(t, th, a) != 0 {
				t.Fatal("refused before MaxFailures")
			}
		}
		kvtest.Run(t, r, "PEXPIRE", "throttle:a", 1_800_000)
		for range 3 {
			if wait := take(t, th, a); !near(wait, 30*time.Minute) {
				t.Errorf("got a delay of %s, want the remaining 30 min", wait)
			}
		}
		kvtest.Run(t, r, "PERSIST", "throttle:a")
		if wait := take(t, th, a); !near(wait, time.Hour) || kvtest.Run(t, r, "PTTL", "throttle:a").(int64) <= 0 {
			t.Errorf("on a key without TTL: got a delay of %s, want 1 h and a TTL", wait)
		}
	})
}

func TestThrottle_IsExactUnderConcurrency(t *testing.T) {
	onEachThrottle(t, func(t *testing.T, r *redisconn.Pool, th *Throttle) {
		r.Timeout = time.Minute // a burst of scripts is slow in the embedded Redis under the race detector
		a := attempt("a", auth.RateLimit{Burst: 10, BaseDelay: time.Hour, MaxDelay: time.Hour, ResetAfter: time.Hour})
		wide := attempt("wide", auth.RateLimit{Burst: 1000, BaseDelay: time.Hour, MaxDelay: time.Hour, ResetAfter: time.Hour})
		var passed atomic.Int64
		var wg sync.WaitGroup
		for range 64 {
			wg.Go(func() {
				if take(t, th, wide, a) == 0 {
					passed.Add(1)
				}
			})
		}
		wg.Wait()
		if passed.Load() != 10 {
			t.Errorf("%d of 64 passed, want 10", passed.Load())
		}
		if n := count(t, r, "wide"); n != 10 {
			t.Errorf("the other key: got %d counted failures, want the 10 that passed", n)
		}
	})
}

func TestReserve_TakesOneRoundTrip(t *testing.T) {
	onEachThrottle(t, func(t *testing.T, r *redisconn.Pool, th *Throttle) {
		a, b, c := attempt("a", slow), attempt("b", slow), attempt("c", slow)
		take(t, th, a)
		if trips := kvtest.RoundTrips(t, func(ctx context.Context) {
			if err := taken(th.Reserve(ctx, a, b, c)); err != nil {
				t.Error(err)
			}
		}); trips != 1 {
			t.Errorf("three keys took %d round trips, want 1", trips)
		}
		kvtest.Run(t, r, "SCRIPT", "FLUSH")
		if trips := kvtest.RoundTrips(t, func(ctx context.Context) {
			if err := taken(th.Reserve(ctx, a, b, c)); err != nil {
				t.Error(err)
			}
		}); trips != 2 || reserved(t, r, "b") != 2 || reserved(t, r, "a") != 2 {
			t.Errorf("after a SCRIPT FLUSH: got %d round trips and %d and %d reservations, want 2 of each", trips, reserved(t, r, "a"), reserved(t, r, "b"))
		}
		if err := taken(th.Reserve(t.Context())); err != nil {
			t.Errorf("no keys: %v", err)
		}
	})
}

func TestReserve_RefundsOtherKeysWhenRefused(t *testing.T) {
	onEachThrottle(t, func(t *testing.T, r *redisconn.Pool, th *Throttle) {
		full := attempt("full", auth.RateLimit{Burst: 1, BaseDelay: 30 * time.Minute, MaxDelay: time.Hour, ResetAfter: time.Hour})
		longer := attempt("longer", auth.RateLimit{Burst: 1, BaseDelay: 50 * time.Minute, MaxDelay: time.Hour, ResetAfter: time.Hour})
		edge, fresh := attempt("edge", slow), attempt("fresh", slow)
		take(t, th, full)
		take(t, th, longer)
		take(t, th, edge)
		take(t, th, edge)
		kvtest.Run(t, r, "PEXPIRE", "throttle:edge", 60_000)
		// The third failure of edge would start its delay.
		if wait := take(t, th, edge, longer, fresh, full); !near(wait, 50*time.Minute) {
			t.Errorf("got a delay of %s, want the longest, 50 min", wait)
		}
		if n := count(t, r, "edge"); n != 2 || kvtest.Exists(t, r, "throttle:fresh") {
			t.Errorf("edge: got %d counted failures, want 2; fresh must not exist", n)
		}
		if ttl := kvtest.Run(t, r, "PTTL", "throttle:edge").(int64); ttl > 60_000 {
			t.Errorf("a refused attempt extended the TTL of edge to %d ms", ttl)
		}
		if wait := take(t, th, edge); wait != 0 {
			t.Errorf("edge: got a delay of %s for a refused attempt, want none", wait)
		}
		if n := count(t, r, "full"); n != 1 {
			t.Errorf("full: got %d counted failures, want 1", n)
		}
	})
}

// reserved returns the number of reservations under a key.
func reserved(t testing.TB, r *redisconn.Pool, key string) int {
	t.Helper()
	fields, err := redis.Strings(kvtest.Run(t, r, "HKEYS", "throttle:"+key), nil)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, name := range fields {
		if strings.HasPrefix(name, "r:") {
			n++
		}
	}
	return n
}

// reserve reserves an attempt, which must pass.
func reserve(t testing.TB, th *Throttle, attempts ...auth.Bucket) []auth.Reservation {
	t.Helper()
	taken, err := th.Reserve(t.Context(), attempts...)
	if err != nil {
		t.Fatal(err)
	}
	return taken
}

// fail makes a failed attempt, which must pass the throttle.
func fail(t testing.TB, th *Throttle, attempts ...auth.Bucket) {
	t.Helper()
	if wait := take(t, th, attempts...); wait != 0 {
		t.Fatalf("got a delay of %s, want none", wait)
	}
}

func refund(t testing.TB, th *Throttle, taken ...auth.Reservation) {
	t.Helper()
	if err := th.Refund(t.Context(), taken...); err != nil {
		t.Fatal(err)
	}
}

// TestRefund_RefundsOnlyItsAttempt: after a refund the count, the delay and the TTL are as if the attempt had not been
// made.
func TestRefund_RefundsOnlyItsAttempt(t *testing.T) {
	onEachThrottle(t, func(t *testing.T, r *redisconn.Pool, th *Throttle) {
		a, b := attempt("a", slow), attempt("b", slow)
		fail(t, th, a, b)
		mine := reserve(t, th, a)
		refund(t, th, mine...)
		if count(t, r, "a") != 1 || count(t, r, "b") != 1 || reserved(t, r, "a") != 0 {
			t.Fatalf("got the counts %d and %d and %d reservations, want 1, 1 and 0", count(t, r, "a"), count(t, r, "b"), reserved(t, r, "a"))
		}
		// Overlapping attempts that are refunded extend no TTL and leave no delay.
		kvtest.Run(t, r, "PEXPIRE", "throttle:a", 60_000)
		first, second := reserve(t, th, a), reserve(t, th, a)
		refund(t, th, first...)
		refund(t, th, second...)
		if ttl := kvtest.Run(t, r, "PTTL", "throttle:a").(int64); ttl > 60_000 || kvtest.Run(t, r, "HGET", "throttle:a", "until") == nil {
			t.Errorf("refunded attempts extended the TTL to %d ms", ttl)
		}
		fail(t, th, a)
		mine = reserve(t, th, a)
		refund(t, th, mine...)
		if wait := take(t, th, a); wait != 0 {
			t.Errorf("got a delay of %s for a refunded attempt, want none", wait)
		}
		// A late refund does not end the delay that another attempt's failure started.
		for range 3 {
			refund(t, th, mine...)
		}
		if wait := take(t, th, a); !near(wait, 10*time.Minute) || count(t, r, "a") != 3 {
			t.Errorf("got a delay of %s and %d counted failures, want 10 min and 3", wait, count(t, r, "a"))
		}
		kvtest.Run(t, r, "DEL", "throttle:a")
		refund(t, th, reserve(t, th, a)...)
		if kvtest.Exists(t, r, "throttle:a") {
			t.Error("the key exists although nothing is counted")
		}
		refund(t, th)
		refund(t, th, auth.Reservation{Key: "none", ID: "x"})
	})
}

// TestReservation_StartsNoDelay: a reservation starts no delay and counts no failure, whatever overlaps with it.
func TestReservation_StartsNoDelay(t *testing.T) {
	onEachThrottle(t, func(t *testing.T, r *redisconn.Pool, th *Throttle) {
		a := attempt("a", slow)
		var all []auth.Reservation
		for range 3 {
			all = append(all, reserve(t, th, a)...)
		}
		// The whole burst is reserved: the attempt is refused for a second, without starting a delay.
		refused, err := th.Reserve(t.Context(), a)
		var throttled auth.ThrottledError
		if !errors.As(err, &throttled) || throttled.RetryAfter != time.Second || len(refused) != 1 || refused[0].RetryAfter != 0 {
			t.Errorf("got %+v, %v; want a ThrottledError of 1s and no delay", refused, err)
		}
		refund(t, th, all[1:]...)
		if wait := take(t, th, a); wait != 0 {
			t.Errorf("got a delay of %s after a refund, want none", wait)
		}
		// After the burst, one attempt at a time passes.
		fail(t, th, a)
		failed, err := th.CountFailures(t.Context(), false, all[0])
		if err != nil || len(failed) != 1 || !near(failed[0].RetryAfter, 10*time.Minute) || count(t, r, "a") != 3 {
			t.Errorf("the third failure: got %+v, %v and %d counted, want a delay of 10 min and 3", failed, err, count(t, r, "a"))
		}
		pass(t, r, "a")
		mine := reserve(t, th, a)
		if wait := take(t, th, a); wait != time.Second {
			t.Errorf("a concurrent attempt: got a delay of %s, want 1s", wait)
		}
		refund(t, th, mine...)
		fail(t, th, a)
		// The reservations of a killed server expire.
		kvtest.Run(t, r, "DEL", "throttle:a")
		for range 3 {
			reserve(t, th, a)
		}
		if ttl := kvtest.Run(t, r, "PTTL", "throttle:a").(int64); ttl <= 0 || ttl > time.Minute.Milliseconds() {
			t.Errorf("reservations: got a TTL of %d ms, want at most a minute", ttl)
		}
		fields, _ := redis.Strings(kvtest.Run(t, r, "HKEYS", "throttle:a"), nil)
		for _, name := range fields {
			kvtest.Run(t, r, "HSET", "throttle:a", name, 1)
		}
		if wait := take(t, th, a); wait != 0 || reserved(t, r, "a") != 0 || count(t, r, "a") != 1 {
			t.Errorf("got a delay of %s, %d reservations and %d counted failures, want 0, 0 and 1", wait, reserved(t, r, "a"), count(t, r, "a"))
		}
	})
}

// TestReservations_RespectMaxFailures: failures and reservations together never exceed MaxFailures.
func TestReservations_RespectMaxFailures(t *testing.T) {
	onEachThrottle(t, func(t *testing.T, r *redisconn.Pool, th *Throttle) {
		r.Timeout = time.Minute
		a := attempt("a", auth.RateLimit{Burst: 10, BaseDelay: time.Hour, MaxDelay: time.Hour, MaxFailures: 5, ResetAfter: time.Hour})
		var passed, failures atomic.Int64
		var wg sync.WaitGroup
		for i := range 64 {
			wg.Go(func() {
				got, err := th.Reserve(t.Context(), a)
				if err != nil {
					return
				}
				if passed.Add(1); i%2 == 0 {
					err = th.Refund(t.Context(), got...)
				} else {
					failures.Add(1)
					_, err = th.CountFailures(t.Context(), false, got...)
				}
				if err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if n := count(t, r, "a"); n > 5 || int64(n) != failures.Load() || passed.Load() == 0 {
			t.Errorf("got %d failures, of which %d are counted; want all, and at most 5", failures.Load(), n)
		}
	})
}

// TestCountOnRefusal_CountsRefusedAttempts: with CountOnRefusal a refused attempt counts too, up to MaxFailures.
func TestCountOnRefusal_CountsRefusedAttempts(t *testing.T) {
	onEachThrottle(t, func(t *testing.T, r *redisconn.Pool, th *Throttle) {
		a := attempt("a", auth.RateLimit{Burst: 2, BaseDelay: time.Hour, MaxDelay: time.Hour, MaxFailures: 5, ResetAfter: 2 * time.Hour})
		other, compared := attempt("other", slow), a
		compared.CountOnRefusal = true
		otherCompared := other
		otherCompared.CountOnRefusal = true
		fail(t, th, a)
		fail(t, th, a)
		for i := range 5 {
			if wait := take(t, th, compared, otherCompared); wait <= 0 {
				t.Fatalf("guess %d passed, want it refused", i)
			}
			if n := count(t, r, "a"); n != min(3+i, 5) {
				t.Errorf("got %d counted failures after %d guesses, want %d", n, i+1, min(3+i, 5))
			}
		}
		if n := count(t, r, "other"); n != 5 || reserved(t, r, "other") != 0 {
			t.Errorf("the other key: got %d counted failures and %d reservations, want 5 and 0", n, reserved(t, r, "other"))
		}
		if wait := take(t, th, a); !near(wait, 2*time.Hour) {
			t.Errorf("after MaxFailures: got a delay of %s, want 2 h", wait)
		}
		// It counts while others are reserved, too.
		kvtest.Run(t, r, "DEL", "throttle:a")
		reserve(t, th, a)
		reserve(t, th, a)
		if wait := take(t, th, compared); wait <= 0 || count(t, r, "a") != 1 {
			t.Errorf("got a delay of %s and %d counted failures, want a delay and 1", wait, count(t, r, "a"))
		}
	})
}

// TestThrottle_AdoptsCountsOfPreviousKeys: after a key rotation a count continues under the new key, also while the old
// one refuses.
func TestThrottle_AdoptsCountsOfPreviousKeys(t *testing.T) {
	onEachThrottle(t, func(t *testing.T, r *redisconn.Pool, th *Throttle) {
		limit := auth.RateLimit{Burst: 3, BaseDelay: 10 * time.Minute, MaxDelay: time.Hour, MaxFailures: 5, ResetAfter: 2 * time.Hour}
		old, both, fresh := attempt("old", limit), auth.Bucket{Key: "new", PreviousKeys: []string{"old"}, Limit: limit}, attempt("new", limit)
		wantCount := func(what string, oldCount, newCount int) {
			t.Helper()
			if o, n := count(t, r, "old"), count(t, r, "new"); o != oldCount || n != newCount {
				t.Errorf("%s: got the counts %d and %d, want %d and %d", what, o, n, oldCount, newCount)
			}
		}
		fail(t, th, old)
		refund(t, th, reserve(t, th, both)...) // loads the scripts into Redis
		fail(t, th, both)
		wantCount("adopted", 2, 2)
		if trips := kvtest.RoundTrips(t, func(ctx context.Context) {
			mine, err := th.Reserve(ctx, both)
			if err != nil {
				t.Fatal(err)
			}
			if err := th.Refund(ctx, mine...); err != nil {
				t.Fatal(err)
			}
		}); trips != 2 {
			t.Errorf("reserving and refunding took %d round trips, want 2", trips)
		}
		wantCount("refunded", 2, 2)
		// Adopting a count and refunding the attempt leaves the count unchanged.
		kvtest.Run(t, r, "DEL", "throttle:new")
		refund(t, th, reserve(t, th, both)...)
		wantCount("adopted and refunded", 2, 2)
		if reserved(t, r, "old") != 0 || reserved(t, r, "new") != 0 {
			t.Error("a reservation is left")
		}
		kvtest.Run(t, r, "DEL", "throttle:new")
		fail(t, th, old)
		for range 2 {
			if wait := take(t, th, both); !near(wait, 10*time.Minute) {
				t.Errorf("got a delay of %s, want the 10 min of the old key", wait)
			}
		}
		wantCount("refused", 3, 3)
		if wait := take(t, th, fresh); !near(wait, 10*time.Minute) {
			t.Errorf("after the rotation: got a delay of %s, want 10 min", wait)
		}
		kvtest.Run(t, r, "DEL", "throttle:new")
		kvtest.Run(t, r, "HSET", "throttle:old", "n", 5, "until", 0)
		if wait := take(t, th, both); !near(wait, 2*time.Hour) {
			t.Errorf("got a delay of %s, want 2 h", wait)
		}
		if wait := take(t, th, fresh); !near(wait, 2*time.Hour) {
			t.Errorf("after the rotation: got a delay of %s, want 2 h", wait)
		}
		// A count under the new key only, by a server without the old key, is not lost either.
		kvtest.Run(t, r, "DEL", "throttle:old", "throttle:new")
		fail(t, th, fresh)
		fail(t, th, fresh)
		fail(t, th, both)
		wantCount("ahead", 1, 3)
		if wait := take(t, th, both); !near(wait, 10*time.Minute) {
			t.Errorf("got a delay of %s, want 10 min", wait)
		}
		wantCount("ahead and refused", 1, 3)
	})
}

func TestFailures_AreRecognized(t *testing.T) {
	onEachThrottle(t, func(t *testing.T, r *redisconn.Pool, th *Throttle) {
		of := func(n int) []auth.FailureFingerprint {
			return []auth.FailureFingerprint{{Key: "failures:a", Digest: fmt.Sprint("mark", n)}, {Key: "failures:b", Digest: fmt.Sprint("other", n)}}
		}
		wants := func(what string, want auth.Recurrence, f ...auth.FailureFingerprint) {
			t.Helper()
			found, err := th.HasFailure(t.Context(), f...)
			if err != nil || found != (want == auth.FailureRepeated) {
				t.Errorf("%s: HasFailure: got %t, %v; want %t", what, found, err, want == auth.FailureRepeated)
			}
			if got, err := th.RecordFailure(t.Context(), f...); err != nil || got != want {
				t.Errorf("%s: RecordFailure: got %d, %v; want %d", what, got, err, want)
			}
		}
		wants("the first", auth.FailureNew, of(1)...)
		wants("again", auth.FailureRepeated, of(1)...)
		wants("another", auth.FailureNew, of(2)[1])
		// A failure stored only under the old key is repeated, and is stored under the new one.
		wants("after a rotation", auth.FailureRepeated, of(2)...)
		wants("after a rotation, new key", auth.FailureRepeated, of(2)[0])
		for n := range maxFailures {
			wants("one more", auth.FailureNew, of(10+n)...)
		}
		if n := kvtest.Run(t, r, "ZCARD", "throttle:failures:a"); n != int64(maxFailures) {
			t.Errorf("got %v stored failures, want %d", n, maxFailures)
		}
		wants("the oldest stored", auth.FailureRepeated, of(10)...)
		wants("evicted", auth.FailureNew, of(1)...)
		if ttl := kvtest.Run(t, r, "PTTL", "throttle:failures:a").(int64); !near(time.Duration(ttl)*time.Millisecond, 48*time.Hour) {
			t.Errorf("got a TTL of %d ms, want two days", ttl)
		}
		// For a day after it counted, a failure is a repetition, whatever happened since.
		day := 24 * time.Hour.Milliseconds()
		counted := func(mark string, ago int64) {
			now, err := redis.Int64s(kvtest.Run(t, r, "TIME"), nil)
			if err != nil {
				t.Fatal(err)
			}
			kvtest.Run(t, r, "ZADD", "throttle:failures:a", (now[0]*1000-ago)*1000, mark)
		}
		counted("mark17", day-60_000)
		wants("before the day is over", auth.FailureRepeated, of(17)[0])
		wants("before the day is over, again", auth.FailureRepeated, of(17)[0])
		counted("mark17", day+60_000)
		wants("after the day", auth.FailureOld, of(17)[0])
		wants("after that", auth.FailureRepeated, of(17)[0])
		counted("mark16", 2*day+60_000)
		wants("after two days", auth.FailureNew, of(16)[0])
		kvtest.Run(t, r, "DEL", "throttle:failures:a")
		kvtest.Run(t, r, "SET", "throttle:failures:a", "x")
		wants("key of another type", auth.FailureNew, of(10)[0])
		wants("key of another type, again", auth.FailureRepeated, of(10)[0])
		if trips := kvtest.RoundTrips(t, func(ctx context.Context) {
			_, _ = th.HasFailure(ctx, of(1)...)
			_, _ = th.RecordFailure(ctx, of(1)...)
		}); trips != 2 {
			t.Errorf("got %d round trips, want one each", trips)
		}
		// Of concurrent equal failures one is new.
		r.Timeout = time.Minute
		var isNew atomic.Int64
		var wg sync.WaitGroup
		for range 32 {
			wg.Go(func() {
				if found, err := th.RecordFailure(t.Context(), of(99)[0]); err != nil {
					t.Error(err)
				} else if found == auth.FailureNew {
					isNew.Add(1)
				}
			})
		}
		wg.Wait()
		if isNew.Load() != 1 {
			t.Errorf("%d of 32 were new, want 1", isNew.Load())
		}
	})
}

// TestOldFailure_CountsOncePerCount: an old failure counts only if nothing else is counted, and does not extend the TTL.
func TestOldFailure_CountsOncePerCount(t *testing.T) {
	onEachThrottle(t, func(t *testing.T, r *redisconn.Pool, th *Throttle) {
		a := attempt("a", slow)
		again := func() {
			t.Helper()
			if _, err := th.CountFailures(t.Context(), true, reserve(t, th, a)...); err != nil {
				t.Fatal(err)
			}
		}
		again()
		if n := count(t, r, "a"); n != 1 {
			t.Errorf("without a count: got %d counted failures, want 1", n)
		}
		fail(t, th, a)
		kvtest.Run(t, r, "PEXPIRE", "throttle:a", 60_000)
		for range 5 {
			again()
		}
		if n, ttl := count(t, r, "a"), kvtest.Run(t, r, "PTTL", "throttle:a").(int64); n != 2 || ttl > 60_000 || reserved(t, r, "a") != 0 {
			t.Errorf("got %d counted failures and a TTL of %d ms, want 2 and at most 60000", n, ttl)
		}
	})
}

func TestKnownNetwork_IsFoundAfterSaving(t *testing.T) {
	onEachThrottle(t, func(t *testing.T, r *redisconn.Pool, th *Throttle) {
		want := auth.KnownNetwork{Version: 1, Name: "alice", Network: "192.0.2.7", UserID: "u1", Epoch: 3}
		find := func(name, network string) auth.KnownNetwork {
			t.Helper()
			n, err := th.KnownNetwork(t.Context(), name, network)
			if err != nil && (!errors.Is(err, auth.ErrNotFound) || n != auth.KnownNetwork{}) {
				t.Errorf("got %+v, %v; want none with ErrNotFound", n, err)
			}
			return n
		}
		if find("alice", "192.0.2.7") != (auth.KnownNetwork{}) {
			t.Error("found before it was saved")
		}
		if err := th.SaveKnownNetwork(t.Context(), want); err != nil {
			t.Fatal(err)
		}
		const key = "known-network:alice:192.0.2.7"
		if got := find("alice", "192.0.2.7"); got != want || find("bob", "192.0.2.7") != (auth.KnownNetwork{}) || find("alice", "192.0.2.8") != (auth.KnownNetwork{}) {
			t.Errorf("got %+v, want %+v for its own name and network only", got, want)
		}
		if ttl := kvtest.Run(t, r, "PTTL", key).(int64); !near(time.Duration(ttl)*time.Millisecond, 30*24*time.Hour) {
			t.Errorf("got a TTL of %d ms, want 30 days", ttl)
		}
		good, _ := redis.String(kvtest.Run(t, r, "GET", key), nil)
		for what, value := range map[string]string{
			"text": "x", "empty": "", "null": "null", "another name": strings.Replace(good, "alice", "bob", 1), "another network": strings.Replace(good, ".7", ".8", 1),
			"no user": strings.Replace(good, "u1", "", 1), "version": strings.Replace(good, `"v":1`, `"v":2`, 1),
		} {
			kvtest.Run(t, r, "SET", key, value)
			if got := find("alice", "192.0.2.7"); got != (auth.KnownNetwork{}) {
				t.Errorf("%s: got %+v, want none", what, got)
			}
		}
		kvtest.Run(t, r, "DEL", key)
		kvtest.Run(t, r, "RPUSH", key, "x")
		if find("alice", "192.0.2.7") != (auth.KnownNetwork{}) {
			t.Error("a list was returned as a known network")
		}
	})
}

func TestThrottle_InvalidStateIsAbsent(t *testing.T) {
	onEachThrottle(t, func(t *testing.T, r *redisconn.Pool, th *Throttle) {
		now := strconv.FormatInt(time.Now().UnixMilli(), 10)
		for name, set := range map[string][]any{
			"string": {"SET", "throttle:a", "x"}, "list": {"RPUSH", "throttle:a", "x"},
			"text in hash": {"HSET", "throttle:a", "n", "many", "until", "later"}, "nan": {"HSET", "throttle:a", "n", "nan", "until", "nan"},
			"infinite": {"HSET", "throttle:a", "n", "inf", "until", "inf"}, "negative": {"HSET", "throttle:a", "n", "-9", "until", "-9"},
			"far off": {"HSET", "throttle:a", "n", "0", "until", "9" + now}, "huge": {"HSET", "throttle:a", "n", "1e300", "until", "1e300"},
			"other fields": {"HSET", "throttle:a", "x", "y"}, "hex": {"HSET", "throttle:a", "n", "0xffffffffffff", "until", ""},
		} {
			kvtest.Run(t, r, "DEL", "throttle:a")
			kvtest.Run(t, r, set[0].(string), set[1:]...)
			if err := th.Refund(t.Context(), auth.Reservation{Key: "a", ID: "x"}); err != nil {
				t.Errorf("%s: refund: %v", name, err)
			}
			kvtest.Run(t, r, "DEL", "throttle:a")
			kvtest.Run(t, r, set[0].(string), set[1:]...)
			if wait := take(t, th, attempt("a", slow)); wait != 0 {
				t.Errorf("%s: got a delay of %s, want none", name, wait)
			}
			if n := count(t, r, "a"); n != 1 {
				t.Errorf("%s: got %d counted failures, want 1", name, n)
			}
		}
	})
}

func TestThrottle_UnreachableIsUnavailable(t *testing.T) {
	th := NewThrottle(kvtest.Open(t, "redis://127.0.0.1:1"))
	kvtest.WantUnavailable(t, taken(th.Reserve(t.Context(), attempt("a", slow))))
	kvtest.WantUnavailable(t, th.Refund(t.Context(), auth.Reservation{Key: "a", ID: "x"}))
	_, err := th.HasFailure(t.Context(), auth.FailureFingerprint{Key: "a", Digest: "b"})
	kvtest.WantUnavailable(t, err)
	_, err = th.RecordFailure(t.Context(), auth.FailureFingerprint{Key: "a", Digest: "b"})
	kvtest.WantUnavailable(t, err)
	_, err = th.KnownNetwork(t.Context(), "alice", "192.0.2.7")
	kvtest.WantUnavailable(t, err)
	kvtest.WantUnavailable(t, th.SaveKnownNetwork(t.Context(), auth.KnownNetwork{Name: "alice"}))
}

func TestRateLimit_AllowsZeroValues(t *testing.T) {
	onEachThrottle(t, func(t *testing.T, _ *redisconn.Pool, th *Throttle) {
		none := attempt("a", auth.RateLimit{BaseDelay: time.Hour, MaxDelay: 9 * time.Hour, ResetAfter: time.Hour})
		if wait := take(t, th, none); wait != 0 {
			t.Errorf("the first attempt: got a delay of %s, want none", wait)
		}
		if wait := take(t, th, none); !near(wait, time.Hour) {
			t.Errorf("got a delay of %s, want 1 h", wait)
		}
		constant := attempt("b", auth.RateLimit{Burst: 1, BaseDelay: time.Hour, ResetAfter: time.Hour})
		take(t, th, constant)
		if wait := take(t, th, constant); !near(wait, time.Hour) {
			t.Errorf("without MaxDelay: got a delay of %s, want BaseDelay", wait)
		}
	})
}

// TestRunScript_RepeatsOnlyMissedCalls: only the calls that were answered with NOSCRIPT are run again.
func TestRunScript_RepeatsOnlyMissedCalls(t *testing.T) {
	f := kvtest.StartFakeServer(t, func(n int64, _ []string) string {
		if n == 2 {
			return "-NOSCRIPT No matching script.\r\n"
		}
		return fmt.Sprintf(":%d\r\n", n)
	})
	replies, err := kvtest.Open(t, f.URL("")).RunScript(t.Context(), "test", reserveScript, redisconn.Call("a"), redisconn.Call("b"), redisconn.Call("c"))
	if err != nil || !slices.Equal(replies, []any{int64(1), int64(4), int64(3)}) || f.Commands() != "EVALSHA EVALSHA EVALSHA EVAL" {
		t.Errorf("got %v, %v after the commands %s; want one repeated call", replies, err, f.Commands())
	}
}

func TestCountFailures_ReturnsTheDelays(t *testing.T) {
	onEachThrottle(t, func(t *testing.T, r *redisconn.Pool, th *Throttle) {
		a, b := attempt("a", slow), attempt("b", auth.RateLimit{Burst: 1000, BaseDelay: time.Hour, MaxDelay: time.Hour, ResetAfter: time.Hour})
		wants := func(what string, refused bool, want map[string]time.Duration, attempts ...auth.Bucket) {
			t.Helper()
			took, err := th.Reserve(t.Context(), attempts...)
			if err == nil {
				took, err = th.CountFailures(t.Context(), false, took...)
			}
			waits := map[string]time.Duration{}
			for _, one := range took {
				if one.RetryAfter > 0 {
					waits[one.Key] = one.RetryAfter
				}
			}
			var throttled auth.ThrottledError
			if errors.As(err, &throttled) != refused || err != nil && !refused {
				t.Errorf("%s: got %v, want refused: %t", what, err, refused)
			}
			if len(waits) != len(want) {
				t.Errorf("%s: got %v, want %v", what, waits, want)
			}
			for key, wait := range want {
				if !near(waits[key], wait) {
					t.Errorf("%s: %s: got a delay of %s, want %s", what, key, waits[key], wait)
				}
			}
		}
		none := map[string]time.Duration{}
		wants("first", false, none, a, b)
		wants("second", false, none, a, b)
		// The third attempt is the last of the burst and starts the delay.
		wants("third", false, map[string]time.Duration{"a": 10 * time.Minute}, a, b)
		wants("refused", true, map[string]time.Duration{"a": 10 * time.Minute}, b, a)
		wants("refused again", true, map[string]time.Duration{"a": 10 * time.Minute}, a)
		if n := count(t, r, "b"); n != 3 {
			t.Errorf("b: got %d counted failures, want 3", n)
		}
		pass(t, r, "a")
		wants("the next delay", false, map[string]time.Duration{"a": 20 * time.Minute}, a, b)
		pass(t, r, "a")
		wants("at most MaxDelay", false, map[string]time.Duration{"a": 25 * time.Minute}, a)
		// After MaxFailures the delay lasts until the count is reset.
		c := attempt("c", auth.RateLimit{Burst: 100, BaseDelay: time.Second, MaxDelay: time.Second, MaxFailures: 2, ResetAfter: time.Hour})
		wants("before MaxFailures", false, none, c)
		wants("MaxFailures", false, map[string]time.Duration{"c": time.Hour}, c)
		wants("after MaxFailures", true, map[string]time.Duration{"c": time.Hour}, c)
		wants("two of them", true, map[string]time.Duration{"a": 25 * time.Minute, "c": time.Hour}, a, c, b)
		// A limit without a delay.
		wants("no BaseDelay", false, none, attempt("d", auth.RateLimit{Burst: 1, ResetAfter: time.Hour}))
		wants("nothing", false, none)
	})
	th := NewThrottle(kvtest.Open(t, "redis://127.0.0.1:1"))
	if waits, err := th.Reserve(t.Context(), attempt("a", slow)); len(waits) != 0 || !errors.Is(err, auth.ErrUnavailable) {
		t.Errorf("got %v, %v; want no delays and ErrUnavailable", waits, err)
	}
}
