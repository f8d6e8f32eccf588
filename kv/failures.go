package kv

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"gatehouse/auth"

	"github.com/gomodule/redigo/redis"
)

const (
	// keptFailures is how many different failures are kept of one login name and network.
	keptFailures = 8
	// failureTTL is how long they are kept after the last new one: as long as the throttle
	// remembers an account.
	failureTTL = 24 * time.Hour
)

// keepFailureScript: ARGV = mark, number of marks, TTL in ms. It returns 1 when the mark is new.
var keepFailureScript = newScript(`
local kind = redis.call('TYPE', KEYS[1]).ok
if kind ~= 'list' and kind ~= 'none' then redis.call('DEL', KEYS[1]) end
for _, mark in ipairs(redis.call('LRANGE', KEYS[1], 0, -1)) do
  if mark == ARGV[1] then return 0 end
end
redis.call('LPUSH', KEYS[1], ARGV[1])
redis.call('LTRIM', KEYS[1], 0, tonumber(ARGV[2]) - 1)
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 1`)

// Repeated implements auth.Throttle in one round trip: "throttle:" + the failure's key is a list
// of marks. Something else under such a key is an empty list.
func (t *Throttle) Repeated(ctx context.Context, failures ...auth.Failure) (bool, error) {
	const what = "look for a repeated failure"
	if len(failures) == 0 {
		return false, nil
	}
	cmds := make([]command, len(failures))
	for i, f := range failures {
		cmds[i] = cmd("LRANGE", throttlePrefix+f.Key, 0, keptFailures-1)
	}
	replies, err := t.redis.exchange(ctx, repeatable(what), cmds...)
	if err != nil {
		return false, err
	}
	for i, reply := range replies {
		if hasCode(reply, "WRONGTYPE") {
			continue
		}
		if err := replyError(what, reply); err != nil {
			return false, err
		}
		marks, err := redis.Strings(reply, nil)
		if err != nil {
			return false, fmt.Errorf("%s: %w", what, err)
		}
		if slices.Contains(marks, failures[i].Mark) {
			return true, nil
		}
	}
	return false, nil
}

// KeepFailure implements auth.Throttle in one round trip. The failure is new if it is under
// each of its keys.
func (t *Throttle) KeepFailure(ctx context.Context, failures ...auth.Failure) (isNew bool, err error) {
	const what = "keep a failure"
	calls := make([]call, len(failures))
	for i, f := range failures {
		calls[i] = call{throttlePrefix + f.Key, []any{f.Mark, keptFailures, millis(failureTTL)}}
	}
	replies, err := t.redis.run(ctx, what, keepFailureScript, calls...)
	if err != nil {
		return false, err
	}
	isNew = true
	for _, reply := range replies {
		if err := replyError(what, reply); err != nil {
			return false, err
		}
		isNew = isNew && reply == int64(1)
	}
	return isNew, nil
}

const knownNetworkPrefix = "known-network:"

// KnownNetwork implements auth.Throttle: "known-network:" + name + ":" + network. What
// cannot be read, or belongs under another key, is no record.
func (t *Throttle) KnownNetwork(ctx context.Context, name, network string) (auth.KnownNetwork, error) {
	const what = "look for a known network"
	replies, err := t.redis.exchange(ctx, repeatable(what), cmd("GET", knownNetworkPrefix+name+":"+network))
	if err != nil {
		return auth.KnownNetwork{}, err
	}
	if hasCode(replies[0], "WRONGTYPE") {
		return auth.KnownNetwork{}, auth.ErrNotFound
	}
	if err := replyError(what, replies[0]); err != nil {
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
func (t *Throttle) KeepKnownNetwork(ctx context.Context, n auth.KnownNetwork) error {
	b, err := json.Marshal(n)
	if err != nil {
		return fmt.Errorf("encode a known network: %w", err)
	}
	key := knownNetworkPrefix + n.Name + ":" + n.Network
	_, err = t.redis.do(ctx, repeatable("keep a known network"), cmd("SET", key, b, "PX", millis(auth.KnownNetworkLifetime)))
	return err
}
