package kv

import (
	"context"
	"time"

	"gatehouse/auth"

	"github.com/gomodule/redigo/redis"
)

const throttlePrefix = "throttle:"

// Throttle is the auth.Throttle: key "throttle:" + name, a hash of n (attempts counted) and
// until (unix ms by Redis' clock before which the next one has to wait). Something else under
// such a key, or in such a hash, counts as absent.
type Throttle struct{ redis *Redis }

var _ auth.Throttle = (*Throttle)(nil)

// NewThrottle returns the throttle in r.
func NewThrottle(r *Redis) *Throttle { return &Throttle{r} }

// readThrottle begins each script: it sets n and, when given the longest wait in ms, ready.
const readThrottle = `
local function number(s, most)
  local v = tonumber(s or '')
  if not v or v ~= v or v < 0 or v > most then return 0 end
  return math.floor(v)
end
local kind = redis.call('TYPE', KEYS[1]).ok
local fields = {}
if kind == 'hash' then fields = redis.call('HMGET', KEYS[1], 'n', 'until') end
local n = number(fields[1], 1e9)
local function whole(v) return string.format('%.0f', v) end
`

// takeScript: ARGV = free, base, max, total, forget (times in ms). It returns the wait in ms (0
// for an attempt that was counted), the wait that the attempt begins, and the state of the key
// (n, until, PTTL) before the attempt and after it.
var takeScript = newScript(readThrottle + `
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local free, base, longest = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local total, forget = tonumber(ARGV[4]), tonumber(ARGV[5])
if kind ~= 'hash' and kind ~= 'none' then redis.call('DEL', KEYS[1]) end
local ready = number(fields[2], now + longest)
local left = redis.call('PTTL', KEYS[1])
if total > 0 and n >= total then
  if left < 0 then
    left = forget
    redis.call('PEXPIRE', KEYS[1], whole(math.max(forget, 1)))
  end
  return {math.max(left, ready - now, 1), 0, n, ready, left, n, ready, left}
end
if ready > now then return {ready - now, 0, n, ready, left, n, ready, left} end
local mine, wait, first = n + 1, 0, math.max(free, 1)
if mine >= first then wait = math.min(longest, base * 2 ^ math.min(mine - first, 40)) end
local expires = math.max(forget, wait, 1)
redis.call('HSET', KEYS[1], 'n', whole(mine), 'until', whole(now + wait))
redis.call('PEXPIRE', KEYS[1], whole(expires))
local begins = total > 0 and mine >= total and math.max(forget, wait) or wait
return {0, begins, n, ready, left, mine, now + wait, expires}`)

// refundScript undoes one Take: ARGV = the count with it, until and PTTL before it. When
// others were counted since, their until stays.
var refundScript = newScript(readThrottle + `
if kind ~= 'hash' then return 0 end
if n <= 1 then return redis.call('DEL', KEYS[1]) end
redis.call('HSET', KEYS[1], 'n', whole(n - 1))
if n ~= tonumber(ARGV[1]) then return 1 end
redis.call('HSET', KEYS[1], 'until', ARGV[2])
if tonumber(ARGV[3]) > 0 then redis.call('PEXPIRE', KEYS[1], ARGV[3]) end
return 1`)

// raiseScript brings a key to at least the state of another one: ARGV = n, until, PTTL.
var raiseScript = newScript(readThrottle + `
if kind ~= 'hash' and kind ~= 'none' then redis.call('DEL', KEYS[1]) end
local left = redis.call('PTTL', KEYS[1])
local count, ready, expires = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
redis.call('HSET', KEYS[1], 'n', whole(math.max(n, count)), 'until', whole(math.max(number(fields[2], 1e15), ready)))
return redis.call('PEXPIRE', KEYS[1], whole(math.max(left, expires, 1)))`)

// throttleState is what a key holds: attempts counted, Unix ms before which the next one has to
// wait, and ms until the key expires.
type throttleState struct{ count, until, expires int64 }

// takeReply is what takeScript did to a key.
type takeReply struct {
	key           string // without its prefix
	refused       time.Duration
	begins        time.Duration
	before, after throttleState
}

func (r takeReply) taken() auth.Taken {
	return auth.Taken{Key: r.key, Wait: r.begins, Count: r.after.count, Until: r.before.until, Expires: r.before.expires}
}

// Take counts one attempt under each key, in one round trip; see auth.Throttle. It is never
// repeated on a broken connection, which would count twice. More round trips are needed to refuse,
// and once for a key that takes over a count after a rotation.
func (t *Throttle) Take(ctx context.Context, attempts ...auth.Attempt) ([]auth.Taken, error) {
	if len(attempts) == 0 {
		return nil, nil
	}
	const what = "take from throttle"
	var keys []string
	var calls []call
	for _, a := range attempts {
		for _, key := range append([]string{a.Key}, a.Previous...) {
			keys = append(keys, key)
			calls = append(calls, call{throttlePrefix + key, limitArgs(a.Limit)})
		}
	}
	replies, err := t.redis.run(ctx, what, takeScript, calls...)
	if err != nil {
		return nil, err
	}
	var wait time.Duration
	var counted, refused []auth.Taken
	took := make([]takeReply, len(keys))
	for i, reply := range replies {
		one, replyErr := readTake(what, keys[i], reply)
		switch {
		case replyErr != nil:
			err = replyErr
		case one.refused > 0:
			refused = append(refused, auth.Taken{Key: one.key, Wait: one.refused})
			wait = max(wait, one.refused)
		default:
			counted = append(counted, one.taken())
		}
		took[i] = one
	}
	if err == nil && wait == 0 {
		return counted, t.takeOver(ctx, attempts, took, counted)
	}
	// Also for a client that has gone.
	ctx = context.WithoutCancel(ctx)
	if giveBackErr := t.Refund(ctx, counted...); err == nil {
		err = giveBackErr
	}
	if err == nil {
		err = t.takeOver(ctx, attempts, took, nil)
	}
	// A wait that was read refuses, whatever could not be written of the other keys.
	if wait > 0 {
		err = auth.Throttled{RetryAfter: wait}
	}
	return refused, err
}

func readTake(what, key string, reply any) (takeReply, error) {
	if err := replyError(what, reply); err != nil {
		return takeReply{key: key}, err
	}
	n, err := redis.Int64s(reply, nil)
	if err != nil || len(n) != 8 {
		return takeReply{key: key}, unavailable(what, redis.Error("unexpected reply"))
	}
	return takeReply{
		key:     key,
		refused: time.Duration(n[0]) * time.Millisecond,
		begins:  time.Duration(n[1]) * time.Millisecond,
		before:  throttleState{n[2], n[3], n[4]},
		after:   throttleState{n[5], n[6], n[7]},
	}, nil
}

// takeOver raises each attempt's key to the highest count of its previous ones: to the state with
// the attempt where it was counted, else to the one without. A refund then undoes the raised
// attempt.
func (t *Throttle) takeOver(ctx context.Context, attempts []auth.Attempt, took []takeReply, counted []auth.Taken) error {
	var raises []call
	for _, a := range attempts {
		current, previous := took[0], took[1:1+len(a.Previous)]
		took = took[1+len(a.Previous):]
		for _, p := range previous {
			state := p.before
			if counted != nil {
				state = p.after
			}
			if p.before.count <= current.before.count {
				continue
			}
			raises = append(raises, call{throttlePrefix + a.Key, []any{state.count, state.until, state.expires}})
			for i := range counted {
				if counted[i].Key == a.Key && counted[i].Count < p.after.count {
					counted[i] = p.taken()
					counted[i].Key = a.Key
				}
			}
		}
	}
	return t.run(ctx, "take over throttle", raiseScript, raises)
}

// limitArgs never lets the longest wait be shorter than the first.
func limitArgs(l auth.Limit) []any {
	base := max(millis(l.Base), 0)
	return []any{l.Free, base, max(millis(l.Max), base), l.Total, max(millis(l.Forget), 0)}
}

// Refund takes back what Take counted.
func (t *Throttle) Refund(ctx context.Context, taken ...auth.Taken) error {
	calls := make([]call, len(taken))
	for i, one := range taken {
		calls[i] = call{throttlePrefix + one.Key, []any{one.Count, one.Until, one.Expires}}
	}
	return t.run(ctx, "refund throttle", refundScript, calls)
}

func (t *Throttle) run(ctx context.Context, what string, s script, calls []call) error {
	if len(calls) == 0 {
		return nil
	}
	replies, err := t.redis.run(ctx, what, s, calls...)
	if err != nil {
		return err
	}
	for _, reply := range replies {
		if err := replyError(what, reply); err != nil {
			return err
		}
	}
	return nil
}
