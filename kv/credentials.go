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
	// maxCredential is the size limit of a credential in bytes.
	maxCredential = 2 << 10
)

// Credentials is the auth.CredentialCache: key "credential:" + login name + ":" + network. It may
// be flushed at any time. Keys "waiting:" + rate-limit key mark throttled clients until they may try
// again, so that one round trip reads both.
type Credentials struct {
	// Users is the user cache in the same Redis, read in the same round trip; nil for none.
	Users *Users
	// Hits and Misses count lookups, for metrics.
	Hits, Misses atomic.Int64

	redis        *redisconn.Pool
	ttl          time.Duration
	hints        *userHints
	decoded      *decodeCache[auth.Credential]
	decodedUsers *decodeCache[auth.User]
}

var _ auth.CredentialCache = (*Credentials)(nil)

// NewCredentials returns the cache in r. Credentials expire after ttl.
func NewCredentials(r *redisconn.Pool, ttl time.Duration) *Credentials {
	return &Credentials{redis: r, ttl: ttl, decoded: newDecodeCache[auth.Credential](), hints: newUserHints(), decodedUsers: newDecodeCache[auth.User]()}
}

// Credential implements auth.CredentialCache in one round trip.
func (c *Credentials) Credential(ctx context.Context, name, network string, throttleKeys ...string) (auth.Credential, error) {
	const what = "find credential"
	cmds := []redisconn.Command{redisconn.Cmd("GET", credentialKey(name, network))}
	for _, key := range throttleKeys {
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
	var wait int64
	for _, reply := range replies[1:] {
		if err := redisconn.ReplyError(what, reply); err != nil {
			return auth.Credential{}, err
		}
		left, _ := reply.(int64)
		wait = max(wait, left)
	}
	if wait > 0 {
		return auth.Credential{}, auth.ThrottledError{RetryAfter: time.Duration(wait) * time.Millisecond}
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

// parseCredential parses a record and checks that it is complete. Verifying its MAC takes SECRET_KEY,
// which this package does not have.
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

// MarkThrottled implements auth.CredentialCache.
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
	_, err := c.redis.Pipeline(ctx, redisconn.Idempotent("mark throttled clients"), cmds...)
	return err
}
