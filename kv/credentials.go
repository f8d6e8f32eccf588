package kv

import (
	"context"
	"encoding/json"
	"fmt"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"gatehouse/auth"
	"gatehouse/kv/redisconn"
)

const (
	credentialPrefix = "credential:"
	throttledPrefix  = "waiting:"
	// maxCredential is the size in bytes above which a credential is not read.
	maxCredential = 2 << 10
)

// Credentials is the auth.CredentialCache: key "credential:" + login name + ":" + network. It may
// be flushed at any moment. Under "waiting:" + key it marks, for as long as they have to wait,
// the networks that the throttle refuses: so one round trip tells both.
type Credentials struct {
	redis   *redisconn.Pool
	ttl     time.Duration
	decoded *decodeCache[auth.Credential]
	// Users is the cache of users in the same Redis, which is read along with the credentials;
	// nil for none.
	Users        *Users
	hints        *userHints
	decodedUsers *decodeCache[auth.User]
	// Hits and Misses count look-ups, for metrics.
	Hits, Misses atomic.Int64
}

var _ auth.CredentialCache = (*Credentials)(nil)

// NewCredentials returns the cache in r, which keeps a credential for ttl.
func NewCredentials(r *redisconn.Pool, ttl time.Duration) *Credentials {
	return &Credentials{redis: r, ttl: ttl, decoded: newDecodeCache[auth.Credential](), hints: newUserHints(), decodedUsers: newDecodeCache[auth.User]()}
}

// Credential implements auth.CredentialCache in one round trip.
func (c *Credentials) Credential(ctx context.Context, name, network string, waitKeys ...string) (auth.Credential, error) {
	const what = "find credential"
	cmds := []redisconn.Command{redisconn.Cmd("GET", credentialKey(name, network))}
	for _, key := range waitKeys {
		cmds = append(cmds, redisconn.Cmd("PTTL", throttledPrefix+key))
	}
	userID := c.hints.user(name)
	if userID != "" {
		cmds = append(cmds, redisconn.Cmd("GET", userPrefix+userID))
	}
	replies, err := c.redis.ReadPipelined(ctx, what, cmds...)
	if err != nil {
		return auth.Credential{}, err
	}
	var user any
	if userID != "" {
		replies, user = replies[:len(replies)-1], replies[len(replies)-1]
	}
	var longest int64
	for _, reply := range replies[1:] {
		if err := redisconn.ReplyError(what, reply); err != nil {
			return auth.Credential{}, err
		}
		wait, _ := reply.(int64)
		longest = max(longest, wait)
	}
	if longest > 0 {
		return auth.Credential{}, auth.ThrottledError{RetryAfter: time.Duration(longest) * time.Millisecond}
	}
	if err := redisconn.ReplyError(what, replies[0]); err != nil && !redisconn.HasCode(replies[0], "WRONGTYPE") {
		return auth.Credential{}, err
	}
	value, _ := replies[0].([]byte)
	found, ok := c.decoded.decode(value, parseCredential)
	if !ok || found.Name != name || found.Network != network {
		c.Misses.Add(1)
		return auth.Credential{}, auth.ErrNotFound
	}
	c.Hits.Add(1)
	c.hints.store(name, found.UserID)
	if found.UserID == userID {
		found.User = c.cachedUser(user, userID)
	}
	return found, nil
}

// parseCredential checks that the value is a whole record. Whether it proves
// anything only the keeper of SECRET_KEY can tell.
func parseCredential(value []byte) (auth.Credential, bool) {
	rec := auth.Credential{Epoch: -1}
	if len(value) > maxCredential || !utf8.Valid(value) || json.Unmarshal(value, &rec) != nil {
		return auth.Credential{}, false
	}
	return rec, rec.Version == auth.CredentialVersion && rec.Name != "" && rec.Network != "" && rec.UserID != "" && rec.Epoch >= 0 && len(rec.MAC) == 32
}

// FillCredential implements auth.CredentialCache.
func (c *Credentials) FillCredential(ctx context.Context, rec auth.Credential) error {
	b, err := json.Marshal(rec)
	if err != nil {
		return fmt.Errorf("encode credential: %w", err)
	}
	_, err = c.redis.Do(ctx, redisconn.Idempotent("fill credential cache"), redisconn.Cmd("SET", credentialKey(rec.Name, rec.Network), b, "PX", redisconn.Millis(c.ttl)))
	return err
}

func credentialKey(name, network string) string { return credentialPrefix + name + ":" + network }

// MarkWaiting implements auth.CredentialCache.
func (c *Credentials) MarkThrottled(ctx context.Context, waits map[string]time.Duration) error {
	var cmds []redisconn.Command
	for key, wait := range waits {
		if wait > 0 {
			cmds = append(cmds, redisconn.Cmd("SET", throttledPrefix+key, 1, "PX", redisconn.Millis(wait)))
		}
	}
	if len(cmds) == 0 {
		return nil
	}
	_, err := c.redis.Pipeline(ctx, redisconn.Idempotent("mark who has to wait"), cmds...)
	return err
}
