package auth

import (
	"context"
	"time"
)

// Maintenance closes the site to everyone except administrators.
type Maintenance struct {
	Version int `json:"v"`
	// Message is shown to users; may be empty.
	Message string    `json:"message"`
	Since   time.Time `json:"since"`
	// By names who closed the site, for administrators; empty in records from before the field existed.
	By string `json:"by,omitempty"`
}

// MaintenanceStore stores the maintenance state for all servers.
type MaintenanceStore interface {
	// Maintenance returns nil while the site is open.
	Maintenance(ctx context.Context) (*Maintenance, error)
	SetMaintenance(ctx context.Context, m Maintenance) error
	EndMaintenance(ctx context.Context) error
}
