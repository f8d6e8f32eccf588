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

// takeScript: ARGV = free, base, max, total, forget (times in ms). It returns the wait in ms
// and, for an attempt that was counted (wait 0), what giveBackScript needs: the count with it, and
// until and PTTL before it; and last the wait that the attempt begins.
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
  return {math.max(left, ready - now, 1), 0, 0, 0, 0}
end
if ready > now then return {ready - now, 0, 0, 0, 0} end
local mine, wait, first = n + 1, 0, math.max(free, 1)
if mine >= first then wait = math.min(longest, base * 2 ^ math.min(mine - first, 40)) end
redis.call('HSET', KEYS[1], 'n', whole(mine), 'until', whole(now + wait))
redis.call('PEXPIRE', KEYS[1], whole(math.max(forget, wait, 1)))
return {0, mine, ready, left, total > 0 and mine >= total and math.max(forget, wait) or wait}`)

// giveBackScript undoes one Take: ARGV = the count with it, until and PTTL before it. When
// others were counted since, their until stays.
var giveBackScript = newScript(readThrottle + `
if kind ~= 'hash' then return 0 end
if n <= 1 then return redis.call('DEL', KEYS[1]) end
redis.call('HSET', KEYS[1], 'n', whole(n - 1))
if n ~= tonumber(ARGV[1]) then return 1 end
redis.call('HSET', KEYS[1], 'until', ARGV[2])
if tonumber(ARGV[3]) > 0 then redis.call('PEXPIRE', KEYS[1], ARGV[3]) end
return 1`)

// refundScript takes back one attempt and the wait that it began.
var refundScript = newScript(readThrottle + `
if kind ~= 'hash' then return 0 end
if n <= 1 then return redis.call('DEL', KEYS[1]) end
redis.call('HSET', KEYS[1], 'n', whole(n - 1), 'until', '0')
return 1`)

// Take counts one attempt under each key, in one round trip; see auth.Throttle. It is never
// repeated on a broken connection, which would count twice.
func (t *Throttle) Take(ctx context.Context, attempts ...auth.Attempt) (map[string]time.Duration, error) {
	if len(attempts) == 0 {
		return nil, nil
	}
	const what = "take from throttle"
	calls := make([]call, len(attempts))
	for i, a := range attempts {
		calls[i] = call{throttlePrefix + a.Key, limitArgs(a.Limit)}
	}
	replies, err := t.redis.run(ctx, what, takeScript, calls...)
	if err != nil {
		return nil, err
	}
	var wait int64
	var counted []call
	refusing, beginning := map[string]time.Duration{}, map[string]time.Duration{}
	for i, reply := range replies {
		if replyErr := replyError(what, reply); replyErr != nil {
			err = replyErr
			continue
		}
		answer, parseErr := redis.Int64s(reply, nil)
		if parseErr != nil || len(answer) != 5 {
			err = unavailable(what, redis.Error("unexpected reply"))
			continue
		}
		wait = max(wait, answer[0])
		if answer[0] > 0 {
			refusing[attempts[i].Key] = time.Duration(answer[0]) * time.Millisecond
			continue
		}
		if answer[4] > 0 {
			beginning[attempts[i].Key] = time.Duration(answer[4]) * time.Millisecond
		}
		counted = append(counted, call{calls[i].key, []any{answer[1], answer[2], answer[3]}})
	}
	if err == nil && wait == 0 {
		return beginning, nil
	}
	return refusing, t.refuse(ctx, wait, err, counted)
}

// refuse gives back what a refused Take counted, also for a client who has gone.
func (t *Throttle) refuse(ctx context.Context, wait int64, cause error, counted []call) error {
	giveBackErr := t.run(context.WithoutCancel(ctx), "give back to throttle", giveBackScript, counted)
	if cause != nil {
		return cause
	}
	if giveBackErr != nil {
		return giveBackErr
	}
	return auth.Throttled{RetryAfter: time.Duration(wait) * time.Millisecond}
}

// limitArgs never lets the longest wait be shorter than the first.
func limitArgs(l auth.Limit) []any {
	base := max(millis(l.Base), 0)
	return []any{l.Free, base, max(millis(l.Max), base), l.Total, max(millis(l.Forget), 0)}
}

// Refund takes back one counted attempt of each key, and the wait after the last one.
func (t *Throttle) Refund(ctx context.Context, keys ...string) error {
	calls := make([]call, len(keys))
	for i, key := range keys {
		calls[i] = call{key: throttlePrefix + key}
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

// Reset forgets the keys.
func (t *Throttle) Reset(ctx context.Context, keys ...string) error {
	if len(keys) == 0 {
		return nil
	}
	dels := make([]command, len(keys))
	for i, key := range keys {
		dels[i] = cmd("DEL", throttlePrefix+key)
	}
	_, err := t.redis.pipeline(ctx, repeatable("reset throttle"), dels...)
	return err
}
