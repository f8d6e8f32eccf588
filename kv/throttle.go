package kv

import (
	"context"
	"crypto/rand"
	"errors"
	"time"

	"gatehouse/auth"
	"gatehouse/kv/redisconn"

	"github.com/gomodule/redigo/redis"
)

const throttlePrefix = "throttle:"

// reservationTTL is how long an attempt stays reserved if its server dies: longer than any sign-in takes.
const reservationTTL = time.Minute

// Throttle is the auth.Throttle: key "throttle:" + name, a hash of n (counted failures), until (Unix
// ms by Redis' clock before which the next attempt is refused) and, for each attempt in progress, "r:" +
// its id (Unix ms at which its reservation expires). Keys of another type and invalid fields count as
// absent.
type Throttle struct{ redis *redisconn.Pool }

var _ auth.Throttle = (*Throttle)(nil)

// NewThrottle returns the throttle in r.
func NewThrottle(r *redisconn.Pool) *Throttle { return &Throttle{r} }

// throttlePrelude begins each script. It sets the clock (now, in Unix ms), the key's state (failures,
// retry_at in Unix ms, ttl in ms) and the number of attempts in progress (reserved). It deletes a key of
// another type and expired reservations.
const throttlePrelude = `
local function number(s, limit)
  local v = tonumber(s or '')
  if not v or v ~= v or v < 0 or v > limit then return 0 end
  return math.floor(v)
end
local function int(v) return string.format('%.0f', v) end
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local kind = redis.call('TYPE', KEYS[1]).ok
local failures, retry_at, reserved = 0, 0, 0
if kind == 'hash' then
  local fields = redis.call('HGETALL', KEYS[1])
  for i = 1, #fields, 2 do
    local name, value = fields[i], fields[i + 1]
    if name == 'n' then failures = number(value, 1e9)
    elseif name == 'until' then retry_at = number(value, 1e15)
    elseif string.sub(name, 1, 2) == 'r:' then
      if number(value, now + 3600000) > now then reserved = reserved + 1
      else redis.call('HDEL', KEYS[1], name) end
    end
  end
elseif kind ~= 'none' then redis.call('DEL', KEYS[1]) end
local ttl = redis.call('PTTL', KEYS[1])
`

// limitPrelude is throttlePrelude for scripts whose ARGV begins with an auth.RateLimit: Burst, BaseDelay,
// MaxDelay, MaxFailures, ResetAfter (times in ms). count_failure counts a failure, unless MaxFailures
// is reached, and returns the wait that it starts.
const limitPrelude = throttlePrelude + `
local burst, base_delay, max_delay = math.max(tonumber(ARGV[1]), 1), tonumber(ARGV[2]), tonumber(ARGV[3])
local max_failures, reset_after = tonumber(ARGV[4]), tonumber(ARGV[5])
if retry_at > now + max_delay then retry_at = 0 end
local function count_failure()
  if max_failures > 0 and failures >= max_failures then return math.max(ttl, 0) end
  failures = failures + 1
  local wait = 0
  if failures >= burst then wait = math.min(max_delay, base_delay * 2 ^ math.min(failures - burst, 40)) end
  retry_at = math.max(retry_at, now + wait)
  ttl = math.max(reset_after, retry_at - now, 1)
  redis.call('HSET', KEYS[1], 'n', int(failures), 'until', int(retry_at))
  redis.call('PEXPIRE', KEYS[1], int(ttl))
  if max_failures > 0 and failures >= max_failures then return ttl end
  return retry_at - now
end
`

// reserveScript: ARGV[6] = mode, [7] = id of the attempt, [8] = TTL of its reservation in ms. It returns
// the wait in ms (0 if it passes), whether a failure caused that wait (rather than attempts in progress),
// the wait that an immediately counted attempt starts, and the failures before the attempt and the state
// after it (failures, retry_at, ttl).
var reserveScript = redisconn.NewScript(limitPrelude + `
local mode, failures_before = ARGV[6], failures
local wait_now, by_failures, wait_next = 0, 0, 0
if max_failures > 0 and failures >= max_failures then
  if ttl < 0 then
    ttl = math.max(reset_after, 1)
    redis.call('PEXPIRE', KEYS[1], int(ttl))
  end
  wait_now, by_failures = math.max(ttl, retry_at - now, 1), 1
elseif retry_at > now then
  wait_now, by_failures = retry_at - now, 1
elseif reserved >= math.max(burst - failures, 1) or max_failures > 0 and failures + reserved >= max_failures then
  wait_now = 1000
end
if mode == 'count' and wait_now == 0 or mode == 'count refused' and wait_now > 0 then
  wait_next = count_failure()
elseif wait_now == 0 then
  redis.call('HSET', KEYS[1], 'r:' .. ARGV[7], int(now + tonumber(ARGV[8])))
  if failures == 0 then redis.call('PEXPIRE', KEYS[1], int(math.max(ttl, tonumber(ARGV[8]))))
  elseif ttl < 0 then redis.call('PEXPIRE', KEYS[1], int(math.max(reset_after, 1))) end
end
return {wait_now, by_failures, wait_next, failures_before, failures, retry_at, ttl}`)

// countFailureScript: ARGV[6] = 1 for a failure that was counted before, [7] = id of the attempt. It turns
// the attempt's reservation into a failure and returns the wait that this starts.
var countFailureScript = redisconn.NewScript(limitPrelude + `
redis.call('HDEL', KEYS[1], 'r:' .. ARGV[7])
if ARGV[6] == '1' and failures > 0 then return 0 end
return count_failure()`)

// raiseScript raises a key to at least another key's state: ARGV = failures, retry_at, ttl.
var raiseScript = redisconn.NewScript(throttlePrelude + `
local other_failures, other_retry_at, other_ttl = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
redis.call('HSET', KEYS[1], 'n', int(math.max(failures, other_failures)), 'until', int(math.max(retry_at, other_retry_at)))
return redis.call('PEXPIRE', KEYS[1], int(math.max(ttl, other_ttl, 1)))`)

// reserveReply is the reply of reserveScript about one key.
type reserveReply struct {
	// wait is the time until the next attempt is allowed; 0 if this one passed.
	wait time.Duration
	// byFailures is set if failures caused the wait, and not attempts in progress.
	byFailures bool
	// nextWait is the wait that the attempt started, if it was counted immediately.
	nextWait       time.Duration
	failuresBefore int64
	// failures, retryAt (Unix ms) and ttl (ms) are the state afterwards.
	failures, retryAt, ttl int64
}

// Reserve implements auth.Throttle in one round trip; a refusal takes more, and so does adopting a count
// after a key rotation. It is never retried on a broken connection, which could count twice.
func (t *Throttle) Reserve(ctx context.Context, buckets ...auth.Bucket) ([]auth.Reservation, error) {
	if len(buckets) == 0 {
		return nil, nil
	}
	const what = "reserve an attempt"
	id := rand.Text()
	var all []auth.Reservation
	var calls []redisconn.ScriptCall
	for _, b := range buckets {
		for _, key := range append([]string{b.Key}, b.PreviousKeys...) {
			all = append(all, auth.Reservation{Key: key, ID: id, Bucket: b})
			calls = append(calls, redisconn.Call(throttlePrefix+key, append(limitArgs(b.Limit), reserveMode(b), id, redisconn.Millis(reservationTTL))...))
		}
	}
	replies, err := t.redis.RunScript(ctx, what, reserveScript, calls...)
	if err != nil {
		return nil, err
	}
	var wait time.Duration
	var passed, refused []auth.Reservation
	states := make([]reserveReply, len(all))
	for i, reply := range replies {
		state, replyErr := parseReserveReply(what, reply)
		states[i] = state
		switch {
		case replyErr != nil:
			err = replyErr
		case state.wait > 0:
			wait = max(wait, state.wait)
			if state.byFailures {
				all[i].RetryAfter = max(state.wait, state.nextWait)
			}
			refused = append(refused, all[i])
		default:
			all[i].RetryAfter = state.nextWait
			passed = append(passed, all[i])
		}
	}
	if err == nil && wait == 0 {
		return passed, t.adoptPreviousCounts(ctx, buckets, states)
	}
	// Also if the client has gone.
	ctx = context.WithoutCancel(ctx)
	if releaseErr := t.releaseRefused(ctx, passed); err == nil {
		err = releaseErr
	}
	if err == nil {
		err = t.adoptPreviousCounts(ctx, buckets, states)
	}
	// A wait refuses the attempt, even if updating the other keys failed.
	if wait > 0 {
		err = auth.ThrottledError{RetryAfter: wait}
	}
	return refused, err
}

// releaseRefused refunds the keys that passed of a refused call, and counts those with CountOnRefusal.
func (t *Throttle) releaseRefused(ctx context.Context, passed []auth.Reservation) error {
	var counted, others []auth.Reservation
	for _, r := range passed {
		if r.Bucket.CountOnRefusal {
			counted = append(counted, r)
		} else {
			others = append(others, r)
		}
	}
	_, err := t.CountFailures(ctx, false, counted...)
	return errors.Join(err, t.Refund(ctx, others...))
}

func reserveMode(b auth.Bucket) string {
	switch {
	case b.CountOnReserve:
		return "count"
	case b.CountOnRefusal:
		return "count refused"
	}
	return "reserve"
}

func parseReserveReply(what string, reply any) (reserveReply, error) {
	if err := redisconn.ReplyError(what, reply); err != nil {
		return reserveReply{}, err
	}
	n, err := redis.Int64s(reply, nil)
	if err != nil || len(n) != 7 {
		return reserveReply{}, redisconn.Unavailable(what, redis.Error("unexpected reply"))
	}
	return reserveReply{
		wait:           time.Duration(n[0]) * time.Millisecond,
		byFailures:     n[1] == 1,
		nextWait:       time.Duration(n[2]) * time.Millisecond,
		failuresBefore: n[3],
		failures:       n[4], retryAt: n[5], ttl: n[6],
	}, nil
}

// adoptPreviousCounts raises each bucket's key to the highest count of its previous keys.
func (t *Throttle) adoptPreviousCounts(ctx context.Context, buckets []auth.Bucket, states []reserveReply) error {
	var raises []redisconn.ScriptCall
	for _, b := range buckets {
		current, previous := states[0], states[1:1+len(b.PreviousKeys)]
		states = states[1+len(b.PreviousKeys):]
		for _, p := range previous {
			if p.failuresBefore > current.failuresBefore {
				raises = append(raises, redisconn.Call(throttlePrefix+b.Key, p.failures, p.retryAt, p.ttl))
			}
		}
	}
	_, err := t.run(ctx, "adopt counts of previous keys", raiseScript, raises)
	return err
}

// limitArgs returns the arguments of limitPrelude. MaxDelay is at least BaseDelay.
func limitArgs(l auth.RateLimit) []any {
	base := max(redisconn.Millis(l.BaseDelay), 0)
	return []any{l.Burst, base, max(redisconn.Millis(l.MaxDelay), base), l.MaxFailures, max(redisconn.Millis(l.ResetAfter), 0)}
}

// CountFailures implements auth.Throttle in one round trip.
func (t *Throttle) CountFailures(ctx context.Context, again bool, reservations ...auth.Reservation) ([]auth.Reservation, error) {
	calls := make([]redisconn.ScriptCall, 0, len(reservations))
	failed := make([]auth.Reservation, 0, len(reservations))
	for _, r := range reservations {
		if !r.Bucket.CountOnReserve {
			calls = append(calls, redisconn.Call(throttlePrefix+r.Key, append(limitArgs(r.Bucket.Limit), boolArg(again), r.ID)...))
			failed = append(failed, r)
		}
	}
	replies, err := t.run(ctx, "count a failure", countFailureScript, calls)
	if err != nil {
		return nil, err
	}
	for i, reply := range replies {
		wait, _ := reply.(int64)
		failed[i].RetryAfter = time.Duration(wait) * time.Millisecond
	}
	return failed, nil
}

func boolArg(set bool) int {
	if set {
		return 1
	}
	return 0
}

// Refund implements auth.Throttle in one round trip.
func (t *Throttle) Refund(ctx context.Context, reservations ...auth.Reservation) error {
	const what = "refund an attempt"
	cmds := make([]redisconn.Command, 0, len(reservations))
	for _, r := range reservations {
		cmds = append(cmds, redisconn.Cmd("HDEL", throttlePrefix+r.Key, "r:"+r.ID))
	}
	if len(cmds) == 0 {
		return nil
	}
	replies, err := t.redis.Exchange(ctx, redisconn.Idempotent(what), cmds...)
	if err != nil {
		return err
	}
	for _, reply := range replies {
		if err := redisconn.ReplyError(what, reply); err != nil && !redisconn.HasCode(reply, "WRONGTYPE") {
			return err
		}
	}
	return nil
}

func (t *Throttle) run(ctx context.Context, what string, s redisconn.Script, calls []redisconn.ScriptCall) ([]any, error) {
	if len(calls) == 0 {
		return nil, nil
	}
	replies, err := t.redis.RunScript(ctx, what, s, calls...)
	if err != nil {
		return nil, err
	}
	for _, reply := range replies {
		if err := redisconn.ReplyError(what, reply); err != nil {
			return nil, err
		}
	}
	return replies, nil
}
