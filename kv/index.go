package kv

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/gomodule/redigo/redis"

	"gatehouse/kv/redisconn"
)

const (
	// listCap bounds what a list shows and reads.
	listCap = 200
	// indexCap bounds a user's index, whose members that have ended only a list removes.
	indexCap = 1000
	// indexTTL is how long an index outlives the last addition, at least.
	indexTTL = 60 * 24 * time.Hour
)

// index is what one user has of a kind: a sorted set of ids under prefix + user id, by the time
// each was last seen (unix ms). What is in it may have ended; what is not may still be valid.
type index struct {
	redis  *redisconn.Pool
	prefix string
	kind   string // "session", for errors
}

// add puts an id into the index, which then lives at least as long as the thing itself, and returns
// how many are in it.
func (x index) add(ctx context.Context, userID, id string, now time.Time, lifetime time.Duration) (n int64, err error) {
	what := "index " + x.kind
	key := x.prefix + userID
	add := []redisconn.Command{
		redisconn.Cmd("ZADD", key, now.UnixMilli(), id),
		redisconn.Cmd("ZREMRANGEBYRANK", key, 0, -indexCap-1),
		redisconn.Cmd("PEXPIRE", key, redisconn.Millis(max(indexTTL, lifetime))),
		redisconn.Cmd("ZCARD", key),
	}
	replies, err := x.redis.Exchange(ctx, redisconn.Idempotent(what), add...)
	if err != nil {
		return 0, err
	}
	if redisconn.HasCode(replies[0], "WRONGTYPE") {
		// Something else under this key would keep its user from signing in for ever.
		add = append([]redisconn.Command{redisconn.Cmd("DEL", key)}, add...)
		_, err = x.redis.Pipeline(ctx, redisconn.Idempotent(what), add...)
		return 1, err
	}
	for _, reply := range replies {
		if err := redisconn.ReplyError(what, reply); err != nil {
			return 0, err
		}
	}
	return redis.Int64(replies[len(replies)-1], nil)
}

// addBelowScript adds a member unless the index is full: ARGV = member, score, limit, TTL in ms. It
// returns 1 if the member is in the index afterwards. The TTL is never shortened.
var addLimitedScript = redisconn.NewScript(`
if redis.call('TYPE', KEYS[1]).ok ~= 'zset' then redis.call('DEL', KEYS[1]) end
if not redis.call('ZSCORE', KEYS[1], ARGV[1]) and redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[3]) then return 0 end
redis.call('ZADD', KEYS[1], ARGV[2], ARGV[1])
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[4]) then redis.call('PEXPIRE', KEYS[1], ARGV[4]) end
return 1`)

// addBelow is add for a kind that has a limit, which holds however many are added at once. It
// reports whether there was room.
func (x index) addLimited(ctx context.Context, limit int, userID, id string, seen time.Time, lifetime time.Duration) (added bool, err error) {
	what := "index " + x.kind
	replies, err := x.redis.RunScript(ctx, what, addLimitedScript,
		redisconn.Call(x.prefix+userID, id, seen.UnixMilli(), limit, redisconn.Millis(max(indexTTL, lifetime))))
	if err != nil {
		return false, err
	}
	if err := redisconn.ReplyError(what, replies[0]); err != nil {
		return false, err
	}
	return redis.Bool(replies[0], nil)
}

// touch is the command that notes when an id was seen; it never adds one.
func (x index) touch(userID, id string, seen time.Time) redisconn.Command {
	return redisconn.Cmd("ZADD", x.prefix+userID, "XX", seen.UnixMilli(), id)
}

// drop is the command that takes an id out.
func (x index) drop(userID, id string) redisconn.Command {
	return redisconn.Cmd("ZREM", x.prefix+userID, id)
}

type member struct {
	id   string
	seen time.Time
}

// members returns at most listCap ids, last seen first.
func (x index) members(ctx context.Context, userID string) ([]member, error) {
	return x.newest(ctx, userID, listCap)
}

// newest returns at most limit ids, last seen first.
func (x index) newest(ctx context.Context, userID string, limit int) ([]member, error) {
	what := "list " + x.kind + "s"
	pairs, err := x.strings(ctx, what, redisconn.Cmd("ZREVRANGE", x.prefix+userID, 0, limit-1, "WITHSCORES"))
	if err != nil {
		return nil, err
	}
	members := make([]member, 0, len(pairs)/2)
	for i := 0; i+1 < len(pairs); i += 2 {
		score, err := strconv.ParseFloat(pairs[i+1], 64)
		if err != nil {
			return nil, fmt.Errorf("%s: score of the index: %w", what, err)
		}
		members = append(members, member{pairs[i], time.UnixMilli(int64(score)).UTC()})
	}
	return members, nil
}

// all returns every id.
func (x index) allIDs(ctx context.Context, userID string) ([]string, error) {
	return x.strings(ctx, "list all "+x.kind+"s", redisconn.Cmd("ZRANGE", x.prefix+userID, 0, -1))
}

// strings returns the reply of a command on the index. Something else under its key is an empty
// index; the next addition makes it one again.
func (x index) strings(ctx context.Context, what string, c redisconn.Command) ([]string, error) {
	replies, err := x.redis.Exchange(ctx, redisconn.Idempotent(what), c)
	if err != nil || redisconn.HasCode(replies[0], "WRONGTYPE") {
		return nil, err
	}
	if err := redisconn.ReplyError(what, replies[0]); err != nil {
		return nil, err
	}
	return redis.Strings(replies[0], nil)
}

// remove takes ids out.
func (x index) remove(ctx context.Context, userID string, ids []string) error {
	if len(ids) == 0 {
		return nil
	}
	args := []any{x.prefix + userID}
	for _, id := range ids {
		args = append(args, id)
	}
	_, err := x.redis.Do(ctx, redisconn.Idempotent("prune index of "+x.kind+"s"), redisconn.Cmd("ZREM", args...))
	return err
}
