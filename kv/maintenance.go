package kv

import (
	"context"
	"encoding/json"
	"fmt"

	"gatehouse/auth"
)

const (
	maintenanceKey     = "maintenance"
	maintenanceVersion = 1
)

// Maintenance is the auth.MaintenanceStore: one key.
type Maintenance struct{ redis *Redis }

var _ auth.MaintenanceStore = (*Maintenance)(nil)

// NewMaintenance returns the store in r.
func NewMaintenance(r *Redis) *Maintenance { return &Maintenance{r} }

// Maintenance implements auth.MaintenanceStore. A value that cannot be read closes the site
// all the same: somebody wanted it closed.
func (m *Maintenance) Maintenance(ctx context.Context) (*auth.Maintenance, error) {
	const what = "look for maintenance"
	replies, err := m.redis.exchange(ctx, repeatable(what), cmd("GET", maintenanceKey))
	if err != nil || replies[0] == nil {
		return nil, err
	}
	if err := replyError(what, replies[0]); err != nil && !hasCode(replies[0], "WRONGTYPE") {
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
	_, err = m.redis.do(ctx, repeatable("begin maintenance"), cmd("SET", maintenanceKey, b))
	return err
}

// EndMaintenance implements auth.MaintenanceStore.
func (m *Maintenance) EndMaintenance(ctx context.Context) error {
	_, err := m.redis.do(ctx, repeatable("end maintenance"), cmd("DEL", maintenanceKey))
	return err
}
