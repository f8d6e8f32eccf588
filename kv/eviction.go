package kv

import (
	"context"
	"strings"

	"github.com/gomodule/redigo/redis"
)

// EvictionPolicy returns the server's maxmemory-policy, such as "noeviction"; any other would
// sign people out when memory is short. Hosted servers forbid CONFIG and tell it in INFO. It
// is "" when the server tells it in neither, as the embedded one does. The error is
// auth.ErrUnavailable.
func (r *Redis) EvictionPolicy(ctx context.Context) (string, error) {
	const what = "ask for the eviction policy"
	replies, err := r.exchange(ctx, repeatable(what), cmd("CONFIG", "GET", "maxmemory-policy"), cmd("INFO", "memory"))
	if err != nil {
		return "", err
	}
	for _, reply := range replies {
		if said, ok := reply.(redis.Error); ok && cannotServe(said) {
			return "", unavailable(what, said)
		}
	}
	if pair, err := redis.Strings(replies[0], nil); err == nil && len(pair) == 2 {
		return pair[1], nil
	}
	info, _ := redis.String(replies[1], nil)
	for line := range strings.Lines(info) {
		if policy, ok := strings.CutPrefix(line, "maxmemory_policy:"); ok {
			return strings.TrimSpace(policy), nil
		}
	}
	return "", nil
}
