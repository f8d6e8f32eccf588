package authtest

import (
	"context"
	"sync/atomic"

	"gatehouse/auth"
)

// Maintenance is an auth.MaintenanceStore.
type Maintenance struct {
	*CallLog
	now atomic.Pointer[auth.Maintenance]
}

var _ auth.MaintenanceStore = (*Maintenance)(nil)

// Maintenance implements auth.MaintenanceStore.
func (s *Maintenance) Maintenance(ctx context.Context) (*auth.Maintenance, error) {
	if err := s.LogCall(ctx, "maintenance.Maintenance"); err != nil {
		return nil, err
	}
	return s.now.Load(), nil
}

// SetMaintenance implements auth.MaintenanceStore.
func (s *Maintenance) SetMaintenance(ctx context.Context, m auth.Maintenance) error {
	if err := s.LogCall(ctx, "maintenance.Set"); err != nil {
		return err
	}
	s.now.Store(&m)
	return nil
}

// EndMaintenance implements auth.MaintenanceStore.
func (s *Maintenance) EndMaintenance(ctx context.Context) error {
	if err := s.LogCall(ctx, "maintenance.End"); err != nil {
		return err
	}
	s.now.Store(nil)
	return nil
}
