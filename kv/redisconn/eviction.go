package redisconn

import (
	"context"
	"strings"

	"github.com/gomodule/redigo/redis"
)

// EvictionPolicy returns the server's maxmemory-policy, such as "noeviction"; with any other a full
// Redis signs users out. Hosted servers forbid CONFIG and report the policy in INFO. It is "" when
// the server reports it in neither, as the embedded one does. An error wraps auth.ErrUnavailable.
func (p *Pool) EvictionPolicy(ctx context.Context) (string, error) {
	const what = "read the eviction policy"
	replies, err := p.Exchange(ctx, Idempotent(what), Cmd("CONFIG", "GET", "maxmemory-policy"), Cmd("INFO", "memory"))
	if err != nil {
		return "", err
	}
	for _, reply := range replies {
		if refusal, ok := reply.(redis.Error); ok && isTemporary(refusal) {
			return "", Unavailable(what, refusal)
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
