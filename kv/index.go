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
	// listCap bounds the members that a list reads and shows.
	listCap = 200
	// indexCap bounds a user's index, from which only lists remove ended members.
	indexCap = 1000
	// indexTTL is the minimum time that an index lives after the last addition.
	indexTTL = 60 * 24 * time.Hour
)

// index lists a user's sessions or tokens: a sorted set of ids under prefix + user id, by the time each was
// last seen (Unix ms). A member may have ended, and a valid session or token may be missing.
type index struct {
	redis  *redisconn.Pool
	prefix string
	kind   string // "session", for errors
}

// add adds an id to the index, which then lives for at least the lifetime, and returns its size.
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
		// A key of another type would lock its user out permanently.
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

// addLimitedScript adds a member unless the index is full: ARGV = member, score, limit, TTL in ms. It
// returns 1 if the member is in the index afterwards, and never shortens the TTL.
var addLimitedScript = redisconn.NewScript(`
if redis.call('TYPE', KEYS[1]).ok ~= 'zset' then redis.call('DEL', KEYS[1]) end
if not redis.call('ZSCORE', KEYS[1], ARGV[1]) and redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[3]) then return 0 end
redis.call('ZADD', KEYS[1], ARGV[2], ARGV[1])
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[4]) then redis.call('PEXPIRE', KEYS[1], ARGV[4]) end
return 1`)

// addLimited is add with a limit, which concurrent calls do not exceed. It reports whether the index
// had room.
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

// touch returns the command that updates when an id was last seen. It never adds an id.
func (x index) touch(userID, id string, seen time.Time) redisconn.Command {
	return redisconn.Cmd("ZADD", x.prefix+userID, "XX", seen.UnixMilli(), id)
}

// drop returns the command that removes an id.
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
			return nil, fmt.Errorf("%s: invalid score in the index: %w", what, err)
		}
		members = append(members, member{pairs[i], time.UnixMilli(int64(score)).UTC()})
	}
	return members, nil
}

// allIDs returns every id.
func (x index) allIDs(ctx context.Context, userID string) ([]string, error) {
	return x.strings(ctx, "list all "+x.kind+"s", redisconn.Cmd("ZRANGE", x.prefix+userID, 0, -1))
}

// strings returns the reply of a command on the index. A key of another type is an empty index, which
// the next addition replaces.
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

// remove removes ids.
func (x index) remove(ctx context.Context, userID string, ids []string) error {
	if len(ids) == 0 {
		return nil
	}
	args := []any{x.prefix + userID}
	for _, id := range ids {
		args = append(args, id)
	}
	_, err := x.redis.Do(ctx, redisconn.Idempotent("prune "+x.kind+" index"), redisconn.Cmd("ZREM", args...))
	return err
}
