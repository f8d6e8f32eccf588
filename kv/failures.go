package kv

import (
	"context"
	"slices"
	"time"

	"gatehouse/auth"
	"gatehouse/kv/redisconn"
)

const (
	// maxFailures bounds the failures kept per login name and network.
	maxFailures = 8
	// failureTTL is how long a repeated failure counts as the same one: as long as the throttle keeps an
	// account's count. It is kept for twice as long, so that it does not count again in a count that
	// other failures have extended.
	failureTTL = 24 * time.Hour
)

// failureClock begins the scripts: ARGV = digest, failureTTL in ms. It sets age to the time since the
// failure was counted, or nil. The key is a sorted set of digests by Unix time in microseconds: several
// failures may be counted within a millisecond, and the oldest must be removed first.
const failureClock = `
local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2]
local ttl = tonumber(ARGV[2]) * 1000
local kind = redis.call('TYPE', KEYS[1]).ok
local counted = kind == 'zset' and redis.call('ZSCORE', KEYS[1], ARGV[1])
local age = counted and now - tonumber(counted)
if age and (age < 0 or age >= 2 * ttl) then age = nil end
`

// hasFailureScript returns 1 for a failure that was counted less than failureTTL ago.
var hasFailureScript = redisconn.NewScript(failureClock + `
return age and age < ttl and 1 or 0`)

// recordFailureScript: ARGV[3] = maxFailures. It returns an auth.Recurrence.
var recordFailureScript = redisconn.NewScript(failureClock + `
if age and age < ttl then return 1 end
if kind ~= 'zset' and kind ~= 'none' then redis.call('DEL', KEYS[1]) end
redis.call('ZADD', KEYS[1], string.format('%.0f', now), ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now - 2 * ttl))
redis.call('ZREMRANGEBYRANK', KEYS[1], 0, -1 - tonumber(ARGV[3]))
redis.call('PEXPIRE', KEYS[1], 2 * ARGV[2])
return age and 2 or 0`)

// HasFailure implements auth.Throttle in one round trip. A key of another type counts as absent.
func (t *Throttle) HasFailure(ctx context.Context, failures ...auth.FailureFingerprint) (bool, error) {
	replies, err := t.run(ctx, "find a repeated failure", hasFailureScript, failureCalls(failures))
	return slices.Contains(replies, any(int64(1))), err
}

// RecordFailure implements auth.Throttle in one round trip. The failure is new if it is new under each
// of its keys.
func (t *Throttle) RecordFailure(ctx context.Context, failures ...auth.FailureFingerprint) (auth.Recurrence, error) {
	replies, err := t.run(ctx, "record a failure", recordFailureScript, failureCalls(failures, maxFailures))
	found := func(r auth.Recurrence) bool { return slices.Contains(replies, any(int64(r))) }
	switch {
	case err != nil:
		return 0, err
	case found(auth.FailureRepeated):
		return auth.FailureRepeated, nil
	case found(auth.FailureOld):
		return auth.FailureOld, nil
	}
	return auth.FailureNew, nil
}

func failureCalls(failures []auth.FailureFingerprint, more ...any) []redisconn.ScriptCall {
	calls := make([]redisconn.ScriptCall, len(failures))
	for i, f := range failures {
		calls[i] = redisconn.Call(throttlePrefix+f.Key, append([]any{f.Digest, redisconn.Millis(failureTTL)}, more...)...)
	}
	return calls
}
