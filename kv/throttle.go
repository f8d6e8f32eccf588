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

// reservationTTL is how long an attempt whose server died stays reserved, in the way of others: longer
// than any sign-in takes.
const reservationTTL = time.Minute

// Throttle is the auth.Throttle: key "throttle:" + name, a hash of n (failures counted), until (unix
// ms by Redis' clock before which the next attempt has to wait) and, for each attempt under way,
// "r:" + its id (unix ms at which its reservation ends). Something else under such a key, or in such
// a hash, counts as absent.
type Throttle struct{ redis *redisconn.Pool }

var _ auth.Throttle = (*Throttle)(nil)

// NewThrottle returns the throttle in r.
func NewThrottle(r *redisconn.Pool) *Throttle { return &Throttle{r} }

// readThrottle begins each script. It sets the clock (now, in Unix ms), the key's state (n, ready, its
// PTTL as left) and how many attempts are under way, and removes what is no throttle, and
// reservations that have ended.
const throttlePrelude = `
local function number(s, most)
  local v = tonumber(s or '')
  if not v or v ~= v or v < 0 or v > most then return 0 end
  return math.floor(v)
end
local function whole(v) return string.format('%.0f', v) end
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local kind = redis.call('TYPE', KEYS[1]).ok
local n, ready, reserved = 0, 0, 0
if kind == 'hash' then
  local fields = redis.call('HGETALL', KEYS[1])
  for i = 1, #fields, 2 do
    local name, value = fields[i], fields[i + 1]
    if name == 'n' then n = number(value, 1e9)
    elseif name == 'until' then ready = number(value, 1e15)
    elseif string.sub(name, 1, 2) == 'r:' then
      if number(value, now + 3600000) > now then reserved = reserved + 1
      else redis.call('HDEL', KEYS[1], name) end
    end
  end
elseif kind ~= 'none' then redis.call('DEL', KEYS[1]) end
local left = redis.call('PTTL', KEYS[1])
`

// limitThrottle follows readThrottle where ARGV begins with free, base, max, total, forget (times in
// ms). fail counts a failure, unless the total is reached, and returns the wait that it begins.
const limitPrelude = throttlePrelude + `
local first, base, longest = math.max(tonumber(ARGV[1]), 1), tonumber(ARGV[2]), tonumber(ARGV[3])
local total, forget = tonumber(ARGV[4]), tonumber(ARGV[5])
if ready > now + longest then ready = 0 end
local function fail()
  if total > 0 and n >= total then return math.max(left, 0) end
  n = n + 1
  local wait = 0
  if n >= first then wait = math.min(longest, base * 2 ^ math.min(n - first, 40)) end
  ready = math.max(ready, now + wait)
  left = math.max(forget, ready - now, 1)
  redis.call('HSET', KEYS[1], 'n', whole(n), 'until', whole(ready))
  redis.call('PEXPIRE', KEYS[1], whole(left))
  if total > 0 and n >= total then return left end
  return ready - now
end
`

// takeScript: ARGV[6] = mode, [7] = id of the attempt, [8] = ms that its reservation lasts. It returns
// the wait in ms (0 for an attempt that passed), whether a failure began it (and not attempts under way),
// the wait that an attempt which counts at once begins, and the state of the key before the attempt (n)
// and after it (n, until, PTTL).
var reserveScript = redisconn.NewScript(limitPrelude + `
local mode, before = ARGV[6], n
local refused, waits, begins = 0, 0, 0
if total > 0 and n >= total then
  if left < 0 then
    left = math.max(forget, 1)
    redis.call('PEXPIRE', KEYS[1], whole(left))
  end
  refused, waits = math.max(left, ready - now, 1), 1
elseif ready > now then
  refused, waits = ready - now, 1
elseif reserved >= math.max(first - n, 1) or total > 0 and n + reserved >= total then
  refused = 1000
end
if mode == 'count' and refused == 0 or mode == 'compared' and refused > 0 then
  begins = fail()
elseif refused == 0 then
  redis.call('HSET', KEYS[1], 'r:' .. ARGV[7], whole(now + tonumber(ARGV[8])))
  if n == 0 then redis.call('PEXPIRE', KEYS[1], whole(math.max(left, tonumber(ARGV[8]))))
  elseif left < 0 then redis.call('PEXPIRE', KEYS[1], whole(math.max(forget, 1))) end
end
return {refused, waits, begins, before, n, ready, left}`)

// failScript: ARGV[6] = 1 for a failure that was counted before, [7] = id of the attempt. It turns the
// attempt's reservation into a failure and returns the wait that this begins.
var countFailureScript = redisconn.NewScript(limitPrelude + `
redis.call('HDEL', KEYS[1], 'r:' .. ARGV[7])
if ARGV[6] == '1' and n > 0 then return 0 end
return fail()`)

// raiseScript brings a key to at least the state of another one: ARGV = n, until, PTTL.
var raiseScript = redisconn.NewScript(throttlePrelude + `
local count, wait, expires = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
redis.call('HSET', KEYS[1], 'n', whole(math.max(n, count)), 'until', whole(math.max(ready, wait)))
return redis.call('PEXPIRE', KEYS[1], whole(math.max(left, expires, 1)))`)

// takeReply is what takeScript did to a key, and the state that it left.
type reserveReply struct {
	key         string // without its prefix
	refused     time.Duration
	waits       bool
	begins      time.Duration
	countBefore int64
	// count, until (Unix ms) and expires (ms, as PTTL) are n, until and the TTL afterwards.
	count, until, expires int64
}

// Take reserves one attempt under each key, in one round trip; see auth.Throttle. It is never
// repeated on a broken connection, which would count twice. More round trips are needed to refuse,
// and once for a key that takes over a count after a rotation.
func (t *Throttle) Reserve(ctx context.Context, attempts ...auth.Bucket) ([]auth.Reservation, error) {
	if len(attempts) == 0 {
		return nil, nil
	}
	const what = "take from throttle"
	id := rand.Text()
	var all []auth.Reservation
	var calls []redisconn.ScriptCall
	for _, a := range attempts {
		for _, key := range append([]string{a.Key}, a.PreviousKeys...) {
			all = append(all, auth.Reservation{Key: key, ID: id, Bucket: a})
			calls = append(calls, redisconn.Call(throttlePrefix+key, append(limitArgs(a.Limit), reserveMode(a), id, redisconn.Millis(reservationTTL))...))
		}
	}
	replies, err := t.redis.RunScript(ctx, what, reserveScript, calls...)
	if err != nil {
		return nil, err
	}
	var wait time.Duration
	var passed, refused []auth.Reservation
	took := make([]reserveReply, len(all))
	for i, reply := range replies {
		one, replyErr := parseReserveReply(what, all[i].Key, reply)
		took[i] = one
		switch {
		case replyErr != nil:
			err = replyErr
		case one.refused > 0:
			wait = max(wait, one.refused)
			if one.waits {
				all[i].RetryAfter = max(one.refused, one.begins)
			}
			refused = append(refused, all[i])
		default:
			all[i].RetryAfter = one.begins
			passed = append(passed, all[i])
		}
	}
	if err == nil && wait == 0 {
		return passed, t.adoptPreviousCounts(ctx, attempts, took)
	}
	// Also for a client that has gone.
	ctx = context.WithoutCancel(ctx)
	if giveBackErr := t.releaseRefused(ctx, passed); err == nil {
		err = giveBackErr
	}
	if err == nil {
		err = t.adoptPreviousCounts(ctx, attempts, took)
	}
	// A wait that was read refuses, whatever could not be written of the other keys.
	if wait > 0 {
		err = auth.ThrottledError{RetryAfter: wait}
	}
	return refused, err
}

// settleRefused gives back what passed of a call that was refused, and counts what was compared.
func (t *Throttle) releaseRefused(ctx context.Context, passed []auth.Reservation) error {
	var compared, others []auth.Reservation
	for _, one := range passed {
		if one.Bucket.CountOnRefusal {
			compared = append(compared, one)
		} else {
			others = append(others, one)
		}
	}
	_, err := t.CountFailures(ctx, false, compared...)
	return errors.Join(err, t.Refund(ctx, others...))
}

func reserveMode(a auth.Bucket) string {
	switch {
	case a.CountOnReserve:
		return "count"
	case a.CountOnRefusal:
		return "compared"
	}
	return "reserve"
}

func parseReserveReply(what, key string, reply any) (reserveReply, error) {
	if err := redisconn.ReplyError(what, reply); err != nil {
		return reserveReply{key: key}, err
	}
	n, err := redis.Int64s(reply, nil)
	if err != nil || len(n) != 7 {
		return reserveReply{key: key}, redisconn.Unavailable(what, redis.Error("unexpected reply"))
	}
	return reserveReply{
		key:         key,
		refused:     time.Duration(n[0]) * time.Millisecond,
		waits:       n[1] == 1,
		begins:      time.Duration(n[2]) * time.Millisecond,
		countBefore: n[3],
		count:       n[4], until: n[5], expires: n[6],
	}, nil
}

// takeOver raises each attempt's key to the highest count of its previous ones.
func (t *Throttle) adoptPreviousCounts(ctx context.Context, attempts []auth.Bucket, took []reserveReply) error {
	var raises []redisconn.ScriptCall
	for _, a := range attempts {
		current, previous := took[0], took[1:1+len(a.PreviousKeys)]
		took = took[1+len(a.PreviousKeys):]
		for _, p := range previous {
			if p.countBefore > current.countBefore {
				raises = append(raises, redisconn.Call(throttlePrefix+a.Key, p.count, p.until, p.expires))
			}
		}
	}
	_, err := t.run(ctx, "take over throttle", raiseScript, raises)
	return err
}

// limitArgs never lets the longest wait be shorter than the first.
func limitArgs(l auth.RateLimit) []any {
	base := max(redisconn.Millis(l.BaseDelay), 0)
	return []any{l.Burst, base, max(redisconn.Millis(l.MaxDelay), base), l.MaxFailures, max(redisconn.Millis(l.ResetAfter), 0)}
}

// Fail implements auth.Throttle in one round trip.
func (t *Throttle) CountFailures(ctx context.Context, again bool, taken ...auth.Reservation) ([]auth.Reservation, error) {
	calls := make([]redisconn.ScriptCall, 0, len(taken))
	failed := make([]auth.Reservation, 0, len(taken))
	for _, one := range taken {
		if !one.Bucket.CountOnReserve {
			calls = append(calls, redisconn.Call(throttlePrefix+one.Key, append(limitArgs(one.Bucket.Limit), boolArg(again), one.ID)...))
			failed = append(failed, one)
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
func (t *Throttle) Refund(ctx context.Context, taken ...auth.Reservation) error {
	const what = "refund throttle"
	cmds := make([]redisconn.Command, 0, len(taken))
	for _, one := range taken {
		cmds = append(cmds, redisconn.Cmd("HDEL", throttlePrefix+one.Key, "r:"+one.ID))
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
