package kv

import (
	"context"
	"encoding/json"
	"fmt"

	"gatehouse/auth"
	"gatehouse/kv/redisconn"
)

const knownNetworkPrefix = "known-network:"

// KnownNetwork implements auth.Throttle: key "known-network:" + name + ":" + network. An invalid record,
// or one of another key, is auth.ErrNotFound.
func (t *Throttle) KnownNetwork(ctx context.Context, name, network string) (auth.KnownNetwork, error) {
	const what = "find a known network"
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

// SaveKnownNetwork implements auth.Throttle.
func (t *Throttle) SaveKnownNetwork(ctx context.Context, n auth.KnownNetwork) error {
	b, err := json.Marshal(n)
	if err != nil {
		return fmt.Errorf("encode known network: %w", err)
	}
	key := knownNetworkPrefix + n.Name + ":" + n.Network
	_, err = t.redis.Do(ctx, redisconn.Idempotent("save a known network"), redisconn.Cmd("SET", key, b, "PX", redisconn.Millis(auth.KnownNetworkLifetime)))
	return err
}
