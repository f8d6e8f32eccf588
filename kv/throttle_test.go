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

// take makes one attempt that fails if it passes; it returns the wait, 0 when it passed.
func take(t testing.TB, th *Throttle, attempts ...auth.Bucket) time.Duration {
	t.Helper()
	got, err := th.Reserve(t.Context(), attempts...)
	if err == nil {
		_, err = th.CountFailures(t.Context(), false, got...)
	}
	var throttled auth.ThrottledError
	if errors.As(err, &throttled) {
		if throttled.RetryAfter <= 0 {
			t.Errorf("throttled for %s", throttled.RetryAfter)
		}
		return throttled.RetryAfter
	}
	if err != nil {
		t.Fatal(err)
	}
	return 0
}

// taken is the error of a Take.
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

// pass lets the wait under a key go by without waiting for it.
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
				t.Fatalf("free attempt %d waits %s", i+1, wait)
			}
		}
		for _, want := range []time.Duration{10 * time.Minute, 20 * time.Minute, 25 * time.Minute, 25 * time.Minute} {
			for range 3 { // asking never makes it longer
				if wait := take(t, th, a); !near(wait, want) {
					t.Fatalf("waits %s, want %s", wait, want)
				}
			}
			pass(t, r, "a")
			if wait := take(t, th, a); wait != 0 {
				t.Fatalf("still waits %s when the time is over", wait)
			}
		}
		if n := count(t, r, "a"); n != 7 {
			t.Errorf("counted %d, want 7", n)
		}
		if ttl := kvtest.Run(t, r, "PTTL", "throttle:a").(int64); ttl > time.Hour.Milliseconds() || ttl < (59*time.Minute).Milliseconds() {
			t.Errorf("forgotten in %d ms, want 1 h", ttl)
		}
		if wait := take(t, th, attempt("b", slow)); wait != 0 {
			t.Errorf("another key waits %s", wait)
		}
	})
}

func TestThrottle_DelayEnds(t *testing.T) {
	onEachThrottle(t, func(t *testing.T, _ *redisconn.Pool, th *Throttle) {
		a := attempt("a", auth.RateLimit{Burst: 1, BaseDelay: 200 * time.Millisecond, MaxDelay: time.Second, ResetAfter: time.Hour})
		start := time.Now()
		take(t, th, a)
		kvtest.Eventually(t, "the wait ends", func() bool { return take(t, th, a) == 0 })
		if took := time.Since(start); took < 195*time.Millisecond {
			t.Errorf("it ended after %s, want 200 ms", took)
		}
	})
}

func TestThrottle_Resets(t *testing.T) {
	onEachThrottle(t, func(t *testing.T, r *redisconn.Pool, th *Throttle) {
		a := attempt("a", auth.RateLimit{Burst: 1, MaxFailures: 2, ResetAfter: 100 * time.Millisecond})
		take(t, th, a)
		kvtest.Eventually(t, "the key is forgotten", func() bool { return !kvtest.Exists(t, r, "throttle:a") })
		// A wait that is longer than Forget is not cut short by it.
		b := attempt("b", auth.RateLimit{Burst: 1, BaseDelay: time.Hour, MaxDelay: time.Hour, ResetAfter: time.Millisecond})
		take(t, th, b)
		if ttl := kvtest.Run(t, r, "PTTL", "throttle:b").(int64); !near(time.Duration(ttl)*time.Millisecond, time.Hour) {
			t.Errorf("the wait is forgotten in %d ms, want 1 h", ttl)
		}
	})
}

func TestThrottle_MaxFailures(t *testing.T) {
	onEachThrottle(t, func(t *testing.T, r *redisconn.Pool, th *Throttle) {
		a := attempt("a", auth.RateLimit{Burst: 100, MaxFailures: 5, ResetAfter: time.Hour})
		for range 5 {
			if take(t, th, a) != 0 {
				t.Fatal("refused before the total")
			}
		}
		kvtest.Run(t, r, "PEXPIRE", "throttle:a", 1_800_000)
		for range 3 {
			if wait := take(t, th, a); !near(wait, 30*time.Minute) {
				t.Errorf("waits %s, want the 30 min that are left", wait)
			}
		}
		kvtest.Run(t, r, "PERSIST", "throttle:a")
		if wait := take(t, th, a); !near(wait, time.Hour) || kvtest.Run(t, r, "PTTL", "throttle:a").(int64) <= 0 {
			t.Errorf("waits %s on a key without TTL, want 1 h and a TTL", wait)
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
			t.Errorf("the other key counts %d, want the 10 that passed", n)
		}
	})
}

func TestThrottle_RoundTrips(t *testing.T) {
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
		}); trips != 2 || underWay(t, r, "b") != 2 || underWay(t, r, "a") != 2 {
			t.Errorf("after a SCRIPT FLUSH: %d round trips, under way %d and %d", trips, underWay(t, r, "a"), underWay(t, r, "b"))
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
		// The third attempt under edge would begin its wait.
		if wait := take(t, th, edge, longer, fresh, full); !near(wait, 50*time.Minute) {
			t.Errorf("waits %s, want the longest, 50 min", wait)
		}
		if n := count(t, r, "edge"); n != 2 || kvtest.Exists(t, r, "throttle:fresh") {
			t.Errorf("edge counts %d, want 2; fresh must not exist", n)
		}
		if ttl := kvtest.Run(t, r, "PTTL", "throttle:edge").(int64); ttl > 60_000 {
			t.Errorf("a refused call prolonged edge to %d ms", ttl)
		}
		if wait := take(t, th, edge); wait != 0 {
			t.Errorf("edge waits %s for an attempt that was refused", wait)
		}
		if n := count(t, r, "full"); n != 1 {
			t.Errorf("full counts %d, want 1", n)
		}
	})
}

// underWay returns how many attempts are reserved.
func underWay(t testing.TB, r *redisconn.Pool, key string) int {
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

// reserve is Take for an attempt that must pass.
func reserve(t testing.TB, th *Throttle, attempts ...auth.Bucket) []auth.Reservation {
	t.Helper()
	taken, err := th.Reserve(t.Context(), attempts...)
	if err != nil {
		t.Fatal(err)
	}
	return taken
}

// fail counts an attempt that must pass as a failure.
func fail(t testing.TB, th *Throttle, attempts ...auth.Bucket) {
	t.Helper()
	if wait := take(t, th, attempts...); wait != 0 {
		t.Fatalf("refused for %s", wait)
	}
}

func refund(t testing.TB, th *Throttle, taken ...auth.Reservation) {
	t.Helper()
	if err := th.Refund(t.Context(), taken...); err != nil {
		t.Fatal(err)
	}
}

// A refund ends its own attempt: the count, the waits and the TTL are what they would be without it.
func TestRefund_RefundsOnlyItsAttempt(t *testing.T) {
	onEachThrottle(t, func(t *testing.T, r *redisconn.Pool, th *Throttle) {
		a, b := attempt("a", slow), attempt("b", slow)
		fail(t, th, a, b)
		mine := reserve(t, th, a)
		refund(t, th, mine...)
		if count(t, r, "a") != 1 || count(t, r, "b") != 1 || underWay(t, r, "a") != 0 {
			t.Fatalf("a counts %d, b %d, under way %d", count(t, r, "a"), count(t, r, "b"), underWay(t, r, "a"))
		}
		// Overlapping attempts that are taken back prolong nothing and leave no wait.
		kvtest.Run(t, r, "PEXPIRE", "throttle:a", 60_000)
		first, second := reserve(t, th, a), reserve(t, th, a)
		refund(t, th, first...)
		refund(t, th, second...)
		if ttl := kvtest.Run(t, r, "PTTL", "throttle:a").(int64); ttl > 60_000 || kvtest.Run(t, r, "HGET", "throttle:a", "until") == nil {
			t.Errorf("refunded attempts prolonged the key to %d ms", ttl)
		}
		fail(t, th, a)
		mine = reserve(t, th, a)
		refund(t, th, mine...)
		if wait := take(t, th, a); wait != 0 {
			t.Errorf("waits %s for an attempt that was refunded", wait)
		}
		// The wait that somebody else's failure began stays, however late the refund is.
		for range 3 {
			refund(t, th, mine...)
		}
		if wait := take(t, th, a); !near(wait, 10*time.Minute) || count(t, r, "a") != 3 {
			t.Errorf("waits %s and counts %d, want 10 min and 3", wait, count(t, r, "a"))
		}
		kvtest.Run(t, r, "DEL", "throttle:a")
		refund(t, th, reserve(t, th, a)...)
		if kvtest.Exists(t, r, "throttle:a") {
			t.Error("nothing is counted, but the key is there")
		}
		refund(t, th)
		refund(t, th, auth.Reservation{Key: "none", ID: "x"})
	})
}

// What is under way leaves no wait and no failure behind, whatever overlaps.
func TestReservation_StartsNoDelay(t *testing.T) {
	onEachThrottle(t, func(t *testing.T, r *redisconn.Pool, th *Throttle) {
		a := attempt("a", slow)
		var all []auth.Reservation
		for range 3 {
			all = append(all, reserve(t, th, a)...)
		}
		// The allowance is under way: refused for a moment, and nobody is told to wait.
		refused, err := th.Reserve(t.Context(), a)
		var throttled auth.ThrottledError
		if !errors.As(err, &throttled) || throttled.RetryAfter != time.Second || len(refused) != 1 || refused[0].RetryAfter != 0 {
			t.Errorf("got %+v, %v", refused, err)
		}
		refund(t, th, all[1:]...)
		if wait := take(t, th, a); wait != 0 {
			t.Errorf("waits %s after a refund", wait)
		}
		// After the free ones, one at a time.
		fail(t, th, a)
		failed, err := th.CountFailures(t.Context(), false, all[0])
		if err != nil || len(failed) != 1 || !near(failed[0].RetryAfter, 10*time.Minute) || count(t, r, "a") != 3 {
			t.Errorf("the third failure: %+v, %v, count %d", failed, err, count(t, r, "a"))
		}
		pass(t, r, "a")
		mine := reserve(t, th, a)
		if wait := take(t, th, a); wait != time.Second {
			t.Errorf("a second one at once waits %s", wait)
		}
		refund(t, th, mine...)
		fail(t, th, a)
		// A server that died leaves nothing for long.
		kvtest.Run(t, r, "DEL", "throttle:a")
		for range 3 {
			reserve(t, th, a)
		}
		if ttl := kvtest.Run(t, r, "PTTL", "throttle:a").(int64); ttl <= 0 || ttl > time.Minute.Milliseconds() {
			t.Errorf("reservations are kept for %d ms", ttl)
		}
		fields, _ := redis.Strings(kvtest.Run(t, r, "HKEYS", "throttle:a"), nil)
		for _, name := range fields {
			kvtest.Run(t, r, "HSET", "throttle:a", name, 1)
		}
		if wait := take(t, th, a); wait != 0 || underWay(t, r, "a") != 0 || count(t, r, "a") != 1 {
			t.Errorf("waits %s, %d under way, count %d", wait, underWay(t, r, "a"), count(t, r, "a"))
		}
	})
}

// Failures and attempts under way never exceed the total together.
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
			t.Errorf("%d failures, %d are counted, want at most 5", failures.Load(), n)
		}
	})
}

// What was compared counts where it is refused too, and the total is its bound.
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
				t.Fatalf("compared guess %d passed", i)
			}
			if n := count(t, r, "a"); n != min(3+i, 5) {
				t.Errorf("%d are counted after %d", n, i+1)
			}
		}
		if n := count(t, r, "other"); n != 5 || underWay(t, r, "other") != 0 {
			t.Errorf("the other key counts %d, %d under way", n, underWay(t, r, "other"))
		}
		if wait := take(t, th, a); !near(wait, 2*time.Hour) {
			t.Errorf("after the total it waits %s", wait)
		}
		// Nor is it lost where others are under way.
		kvtest.Run(t, r, "DEL", "throttle:a")
		reserve(t, th, a)
		reserve(t, th, a)
		if wait := take(t, th, compared); wait <= 0 || count(t, r, "a") != 1 {
			t.Errorf("waits %s, counted %d", wait, count(t, r, "a"))
		}
	})
}

// A count goes on under the new key of a rotation, also where the old one refuses.
func TestThrottle_AdoptsCountsOfPreviousKeys(t *testing.T) {
	onEachThrottle(t, func(t *testing.T, r *redisconn.Pool, th *Throttle) {
		limit := auth.RateLimit{Burst: 3, BaseDelay: 10 * time.Minute, MaxDelay: time.Hour, MaxFailures: 5, ResetAfter: 2 * time.Hour}
		old, both, fresh := attempt("old", limit), auth.Bucket{Key: "new", PreviousKeys: []string{"old"}, Limit: limit}, attempt("new", limit)
		wantCount := func(what string, oldCount, newCount int) {
			t.Helper()
			if o, n := count(t, r, "old"), count(t, r, "new"); o != oldCount || n != newCount {
				t.Errorf("%s: the keys count %d and %d, want %d and %d", what, o, n, oldCount, newCount)
			}
		}
		fail(t, th, old)
		refund(t, th, reserve(t, th, both)...) // Redis knows the scripts now
		fail(t, th, both)
		wantCount("taken over", 2, 2)
		if trips := kvtest.RoundTrips(t, func(ctx context.Context) {
			mine, err := th.Reserve(ctx, both)
			if err != nil {
				t.Fatal(err)
			}
			if err := th.Refund(ctx, mine...); err != nil {
				t.Fatal(err)
			}
		}); trips != 2 {
			t.Errorf("taking and refunding took %d round trips, want 2", trips)
		}
		wantCount("refunded", 2, 2)
		// One that is taken over and refunded at once is back where it was.
		kvtest.Run(t, r, "DEL", "throttle:new")
		refund(t, th, reserve(t, th, both)...)
		wantCount("taken over and refunded", 2, 2)
		if underWay(t, r, "old") != 0 || underWay(t, r, "new") != 0 {
			t.Error("something is still under way")
		}
		kvtest.Run(t, r, "DEL", "throttle:new")
		fail(t, th, old)
		for range 2 {
			if wait := take(t, th, both); !near(wait, 10*time.Minute) {
				t.Errorf("waits %s, want what the old key waits", wait)
			}
		}
		wantCount("refused", 3, 3)
		if wait := take(t, th, fresh); !near(wait, 10*time.Minute) {
			t.Errorf("after the rotation it waits %s", wait)
		}
		kvtest.Run(t, r, "DEL", "throttle:new")
		kvtest.Run(t, r, "HSET", "throttle:old", "n", 5, "until", 0)
		if wait := take(t, th, both); !near(wait, 2*time.Hour) {
			t.Errorf("waits %s, want 2 h", wait)
		}
		if wait := take(t, th, fresh); !near(wait, 2*time.Hour) {
			t.Errorf("after the rotation it waits %s, want 2 h", wait)
		}
		// A count under the new key alone, by a server that knows no other, is not lost either.
		kvtest.Run(t, r, "DEL", "throttle:old", "throttle:new")
		fail(t, th, fresh)
		fail(t, th, fresh)
		fail(t, th, both)
		wantCount("ahead", 1, 3)
		if wait := take(t, th, both); !near(wait, 10*time.Minute) {
			t.Errorf("waits %s", wait)
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
				t.Errorf("%s: repeated %t, %v", what, found, err)
			}
			if got, err := th.RecordFailure(t.Context(), f...); err != nil || got != want {
				t.Errorf("%s: got %d, %v, want %d", what, got, err, want)
			}
		}
		wants("the first", auth.FailureNew, of(1)...)
		wants("again", auth.FailureRepeated, of(1)...)
		wants("another", auth.FailureNew, of(2)[1])
		// One that is known under the old key only is repeated, and kept under the new one.
		wants("after a rotation", auth.FailureRepeated, of(2)...)
		wants("after a rotation, new key", auth.FailureRepeated, of(2)[0])
		for n := range maxFailures {
			wants("one more", auth.FailureNew, of(10+n)...)
		}
		if n := kvtest.Run(t, r, "ZCARD", "throttle:failures:a"); n != int64(maxFailures) {
			t.Errorf("%v are kept", n)
		}
		wants("the eighth last", auth.FailureRepeated, of(10)...)
		wants("one more than is kept", auth.FailureNew, of(1)...)
		if ttl := kvtest.Run(t, r, "PTTL", "throttle:failures:a").(int64); !near(time.Duration(ttl)*time.Millisecond, 48*time.Hour) {
			t.Errorf("they are kept for %d ms, want two days", ttl)
		}
		// Each is the same one for a day after it counted, however many others or repetitions came since.
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
		wants("in the way", auth.FailureNew, of(10)[0])
		wants("in the way, again", auth.FailureRepeated, of(10)[0])
		if trips := kvtest.RoundTrips(t, func(ctx context.Context) {
			_, _ = th.HasFailure(ctx, of(1)...)
			_, _ = th.RecordFailure(ctx, of(1)...)
		}); trips != 2 {
			t.Errorf("%d round trips, want one each", trips)
		}
		// Of many at once one is new.
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
			t.Errorf("%d of 32 were new", isNew.Load())
		}
	})
}

// An old failure does not count twice in a count that others keep alive, and does not prolong it.
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
			t.Errorf("where nothing is counted any more it counts %d, want 1", n)
		}
		fail(t, th, a)
		kvtest.Run(t, r, "PEXPIRE", "throttle:a", 60_000)
		for range 5 {
			again()
		}
		if n, ttl := count(t, r, "a"), kvtest.Run(t, r, "PTTL", "throttle:a").(int64); n != 2 || ttl > 60_000 || underWay(t, r, "a") != 0 {
			t.Errorf("it counts %d for %d ms", n, ttl)
		}
	})
}

func TestKnownNetwork_SaveAndFind(t *testing.T) {
	onEachThrottle(t, func(t *testing.T, r *redisconn.Pool, th *Throttle) {
		want := auth.KnownNetwork{Version: 1, Name: "alice", Network: "192.0.2.7", UserID: "u1", Epoch: 3}
		find := func(name, network string) auth.KnownNetwork {
			t.Helper()
			n, err := th.KnownNetwork(t.Context(), name, network)
			if err != nil && (!errors.Is(err, auth.ErrNotFound) || n != auth.KnownNetwork{}) {
				t.Errorf("got %+v, %v", n, err)
			}
			return n
		}
		if find("alice", "192.0.2.7") != (auth.KnownNetwork{}) {
			t.Error("known before")
		}
		if err := th.SaveKnownNetwork(t.Context(), want); err != nil {
			t.Fatal(err)
		}
		const key = "known-network:alice:192.0.2.7"
		if got := find("alice", "192.0.2.7"); got != want || find("bob", "192.0.2.7") != (auth.KnownNetwork{}) || find("alice", "192.0.2.8") != (auth.KnownNetwork{}) {
			t.Errorf("got %+v", got)
		}
		if ttl := kvtest.Run(t, r, "PTTL", key).(int64); !near(time.Duration(ttl)*time.Millisecond, 30*24*time.Hour) {
			t.Errorf("it is known for %d ms", ttl)
		}
		good, _ := redis.String(kvtest.Run(t, r, "GET", key), nil)
		for what, value := range map[string]string{
			"text": "x", "empty": "", "null": "null", "another name": strings.Replace(good, "alice", "bob", 1), "another network": strings.Replace(good, ".7", ".8", 1),
			"no user": strings.Replace(good, "u1", "", 1), "version": strings.Replace(good, `"v":1`, `"v":2`, 1),
		} {
			kvtest.Run(t, r, "SET", key, value)
			if got := find("alice", "192.0.2.7"); got != (auth.KnownNetwork{}) {
				t.Errorf("%s: got %+v", what, got)
			}
		}
		kvtest.Run(t, r, "DEL", key)
		kvtest.Run(t, r, "RPUSH", key, "x")
		if find("alice", "192.0.2.7") != (auth.KnownNetwork{}) {
			t.Error("a list is a known network")
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
				t.Errorf("%s: waits %s", name, wait)
			}
			if n := count(t, r, "a"); n != 1 {
				t.Errorf("%s: counts %d, want 1", name, n)
			}
		}
	})
}

func TestThrottle_Unavailable(t *testing.T) {
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

func TestRateLimit_ZeroValues(t *testing.T) {
	onEachThrottle(t, func(t *testing.T, _ *redisconn.Pool, th *Throttle) {
		none := attempt("a", auth.RateLimit{BaseDelay: time.Hour, MaxDelay: 9 * time.Hour, ResetAfter: time.Hour})
		if wait := take(t, th, none); wait != 0 {
			t.Errorf("the first attempt has nothing to wait after, but waits %s", wait)
		}
		if wait := take(t, th, none); !near(wait, time.Hour) {
			t.Errorf("waits %s, want 1 h", wait)
		}
		constant := attempt("b", auth.RateLimit{Burst: 1, BaseDelay: time.Hour, ResetAfter: time.Hour})
		take(t, th, constant)
		if wait := take(t, th, constant); !near(wait, time.Hour) {
			t.Errorf("without MaxDelay: waits %s, want Base", wait)
		}
	})
}

// Only the calls that Redis did not know the script for are run again.
func TestRunScript_RepeatsOnlyMissedCalls(t *testing.T) {
	f := kvtest.StartFakeServer(t, func(n int64, _ []string) string {
		if n == 2 {
			return "-NOSCRIPT No matching script.\r\n"
		}
		return fmt.Sprintf(":%d\r\n", n)
	})
	replies, err := kvtest.Open(t, f.URL("")).RunScript(t.Context(), "test", reserveScript, redisconn.Call("a"), redisconn.Call("b"), redisconn.Call("c"))
	if err != nil || !slices.Equal(replies, []any{int64(1), int64(4), int64(3)}) || f.Commands() != "EVALSHA EVALSHA EVALSHA EVAL" {
		t.Errorf("got %v, %v for %s", replies, err, f.Commands())
	}
}

func TestReserve_ReturnsTheDelays(t *testing.T) {
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
				t.Errorf("%s: got %v", what, err)
			}
			if len(waits) != len(want) {
				t.Errorf("%s: got %v, want %v", what, waits, want)
			}
			for key, wait := range want {
				if !near(waits[key], wait) {
					t.Errorf("%s: %s waits %s, want %s", what, key, waits[key], wait)
				}
			}
		}
		none := map[string]time.Duration{}
		wants("first", false, none, a, b)
		wants("second", false, none, a, b)
		// The third is free, and the wait after it begins now.
		wants("third", false, map[string]time.Duration{"a": 10 * time.Minute}, a, b)
		wants("refused", true, map[string]time.Duration{"a": 10 * time.Minute}, b, a)
		wants("still", true, map[string]time.Duration{"a": 10 * time.Minute}, a)
		if n := count(t, r, "b"); n != 3 {
			t.Errorf("b counts %d, want 3", n)
		}
		pass(t, r, "a")
		wants("the next wait", false, map[string]time.Duration{"a": 20 * time.Minute}, a, b)
		pass(t, r, "a")
		wants("at most Max", false, map[string]time.Duration{"a": 25 * time.Minute}, a)
		// What has come to its total waits until it is forgotten.
		c := attempt("c", auth.RateLimit{Burst: 100, BaseDelay: time.Second, MaxDelay: time.Second, MaxFailures: 2, ResetAfter: time.Hour})
		wants("before the total", false, none, c)
		wants("the total", false, map[string]time.Duration{"c": time.Hour}, c)
		wants("after the total", true, map[string]time.Duration{"c": time.Hour}, c)
		wants("two of them", true, map[string]time.Duration{"a": 25 * time.Minute, "c": time.Hour}, a, c, b)
		// A limit that knows no waiting.
		wants("no base", false, none, attempt("d", auth.RateLimit{Burst: 1, ResetAfter: time.Hour}))
		wants("nothing", false, none)
	})
	th := NewThrottle(kvtest.Open(t, "redis://127.0.0.1:1"))
	if waits, err := th.Reserve(t.Context(), attempt("a", slow)); len(waits) != 0 || !errors.Is(err, auth.ErrUnavailable) {
		t.Errorf("got %v, %v", waits, err)
	}
}
