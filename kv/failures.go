package kv

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"gatehouse/auth"
	"gatehouse/kv/redisconn"
)

const (
	// keptFailures is how many different failures are kept of one login name and network.
	maxFailures = 8
	// failureTTL is for how long after it was counted a failure is the same one again: as long as the
	// throttle remembers an account. For as long again it is kept, so that it does not count twice
	// in a count that other failures have kept alive.
	failureTTL = 24 * time.Hour
)

// failureClock begins the scripts: ARGV = mark, failureTTL in ms. It sets the time since the mark was
// counted as age, or nil. The key is a sorted set of marks by the Unix microseconds at which they were counted: several
// can count within a millisecond, and the oldest has to go first.
const failureClock = `
local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2]
local ttl = tonumber(ARGV[2]) * 1000
local kind = redis.call('TYPE', KEYS[1]).ok
local counted = kind == 'zset' and redis.call('ZSCORE', KEYS[1], ARGV[1])
local age = counted and now - tonumber(counted)
if age and (age < 0 or age >= 2 * ttl) then age = nil end
`

// repeatedScript returns 1 for a failure that was counted less than failureTTL ago.
var hasFailureScript = redisconn.NewScript(failureClock + `
return age and age < ttl and 1 or 0`)

// keepFailureScript: ARGV[3] = number of marks. It returns an auth.Recurrence.
var recordFailureScript = redisconn.NewScript(failureClock + `
if age and age < ttl then return 1 end
if kind ~= 'zset' and kind ~= 'none' then redis.call('DEL', KEYS[1]) end
redis.call('ZADD', KEYS[1], string.format('%.0f', now), ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now - 2 * ttl))
redis.call('ZREMRANGEBYRANK', KEYS[1], 0, -1 - tonumber(ARGV[3]))
redis.call('PEXPIRE', KEYS[1], 2 * ARGV[2])
return age and 2 or 0`)

// Repeated implements auth.Throttle in one round trip. Something else under a failure's key is no
// failure.
func (t *Throttle) HasFailure(ctx context.Context, failures ...auth.FailureFingerprint) (bool, error) {
	replies, err := t.run(ctx, "look for a repeated failure", hasFailureScript, failureCalls(failures))
	return slices.Contains(replies, any(int64(1))), err
}

// KeepFailure implements auth.Throttle in one round trip. The failure is new if it is under
// each of its keys.
func (t *Throttle) RecordFailure(ctx context.Context, failures ...auth.FailureFingerprint) (auth.Recurrence, error) {
	replies, err := t.run(ctx, "keep a failure", recordFailureScript, failureCalls(failures, maxFailures))
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

const knownNetworkPrefix = "known-network:"

// KnownNetwork implements auth.Throttle: "known-network:" + name + ":" + network. What
// cannot be read, or belongs under another key, is no record.
func (t *Throttle) KnownNetwork(ctx context.Context, name, network string) (auth.KnownNetwork, error) {
	const what = "look for a known network"
	replies, err := t.redis.Exchange(ctx, redisconn.Idempotent(what), redisconn.Cmd("GET", knownNetworkPrefix+name+":"+network))
	if err != nil {
		return auth.KnownNetwork{}, err
	}
	if redisconn.HasCode(replies[0], "WRONGTYPE") {
		return auth.KnownNetwork{}, auth.ErrNotFound
	}
	if err := redisconn.ReplyError(what, replies[0]); err != nil {
		return auth.KnownNetwork{}, err
	}
	value, _ := replies[0].([]byte)
	var n auth.KnownNetwork
	if json.Unmarshal(value, &n) != nil || n.Version != auth.KnownNetworkVersion || n.Name != name || n.Network != network || n.UserID == "" {
		return auth.KnownNetwork{}, auth.ErrNotFound
	}
	return n, nil
}

// KeepKnownNetwork implements auth.Throttle.
func (t *Throttle) SaveKnownNetwork(ctx context.Context, n auth.KnownNetwork) error {
	b, err := json.Marshal(n)
	if err != nil {
		return fmt.Errorf("encode a known network: %w", err)
	}
	key := knownNetworkPrefix + n.Name + ":" + n.Network
	_, err = t.redis.Do(ctx, redisconn.Idempotent("keep a known network"), redisconn.Cmd("SET", key, b, "PX", redisconn.Millis(auth.KnownNetworkLifetime)))
	return err
}
