package kv

import (
	"context"
	"encoding/json"
	"fmt"

	"gatehouse/auth"
	"gatehouse/kv/redisconn"
)

const (
	maintenanceKey     = "maintenance"
	maintenanceVersion = 1
)

// Maintenance is the auth.MaintenanceStore: one key.
type Maintenance struct{ redis *redisconn.Pool }

var _ auth.MaintenanceStore = (*Maintenance)(nil)

// NewMaintenance returns the store in r.
func NewMaintenance(r *redisconn.Pool) *Maintenance { return &Maintenance{r} }

// Maintenance implements auth.MaintenanceStore. An invalid value closes the site too, because an
// operator has turned maintenance on.
func (m *Maintenance) Maintenance(ctx context.Context) (*auth.Maintenance, error) {
	const what = "read the maintenance state"
	replies, err := m.redis.Exchange(ctx, redisconn.Idempotent(what), redisconn.Cmd("GET", maintenanceKey))
	if err != nil || replies[0] == nil {
		return nil, err
	}
	if err := redisconn.ReplyError(what, replies[0]); err != nil && !redisconn.HasCode(replies[0], "WRONGTYPE") {
		return nil, err
	}
	value, _ := replies[0].([]byte)
	found := auth.Maintenance{}
	if json.Unmarshal(value, &found) != nil || found.Version != maintenanceVersion {
		return &auth.Maintenance{}, nil
	}
	return &found, nil
}

// SetMaintenance implements auth.MaintenanceStore.
func (m *Maintenance) SetMaintenance(ctx context.Context, on auth.Maintenance) error {
	on.Version = maintenanceVersion
	b, err := json.Marshal(on)
	if err != nil {
		return fmt.Errorf("encode maintenance: %w", err)
	}
	_, err = m.redis.Do(ctx, redisconn.Idempotent("begin maintenance"), redisconn.Cmd("SET", maintenanceKey, b))
	return err
}

// EndMaintenance implements auth.MaintenanceStore.
func (m *Maintenance) EndMaintenance(ctx context.Context) error {
	_, err := m.redis.Do(ctx, redisconn.Idempotent("end maintenance"), redisconn.Cmd("DEL", maintenanceKey))
	return err
}
