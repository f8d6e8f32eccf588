package auth

import (
	"context"
	"time"
)

// Maintenance closes the site for everybody but administrators.
type Maintenance struct {
	Version int `json:"v"`
	// Message is the operators' own words; may be empty.
	Message string    `json:"message"`
	Since   time.Time `json:"since"`
}

// MaintenanceStore keeps in Redis whether there is maintenance, for all servers.
type MaintenanceStore interface {
	// Maintenance returns nil when there is none.
	Maintenance(ctx context.Context) (*Maintenance, error)
	SetMaintenance(ctx context.Context, m Maintenance) error
	EndMaintenance(ctx context.Context) error
}
