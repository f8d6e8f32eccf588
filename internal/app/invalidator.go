package app

import (
	"context"
	"log/slog"
	"time"

	"gatehouse/auth"
	"gatehouse/db"
	"gatehouse/web/metrics"
)

// invalidator is the db.Listener that invalidates cached users when the database announces changes, and turns the
// local cache off while it cannot announce them. Its methods do not wait for the network.
type invalidator struct {
	ctx      context.Context
	accounts *auth.Accounts
	metrics  *metrics.Metrics
	log      *slog.Logger

	connected bool
	warned    time.Time // when the log last said that the connection is lost
}

// warnInterval is how often the log repeats that the connection is lost.
const warnInterval = time.Minute

func newInvalidator(ctx context.Context, accounts *auth.Accounts, metrics *metrics.Metrics, log *slog.Logger) *invalidator {
	return &invalidator{ctx: ctx, accounts: accounts, metrics: metrics, log: log}
}

// Connected invalidates everything, because messages sent while disconnected are lost. The local cache is filled from
// the database until the cache in Redis is empty.
func (i *invalidator) Connected() {
	i.accounts.InvalidateAllUsers()
	i.accounts.LocalCache.SetEnabled(true)
	i.accounts.LocalCache.SetDatabaseFirst(false)
	if !i.connected {
		i.log.Debug("receiving user changes from the database")
	}
	i.connected = true
	i.metrics.SetListening(true)
}

// Disconnected turns the local cache off. It is called after every failed attempt to connect.
func (i *invalidator) Disconnected(err error) {
	i.accounts.LocalCache.SetEnabled(false)
	i.metrics.SetListening(false)
	if i.connected {
		i.accounts.LocalCache.SetDatabaseFirst(false) // until Reachable says whether it responds
	}
	if i.ctx.Err() == nil && (i.connected || time.Since(i.warned) > warnInterval) {
		i.log.Warn("not receiving user changes from the database; the local user cache is off until the connection is back", "error", err)
		i.warned = time.Now()
	}
	i.connected = false
}

// Reachable makes lookups read the database while it responds but announces no changes: the cache in Redis may be stale.
func (i *invalidator) Reachable(yes bool) {
	if !i.connected {
		i.accounts.LocalCache.SetDatabaseFirst(yes)
	}
}

// Changed invalidates a user, or all of them.
func (i *invalidator) Changed(c db.Change) {
	if c.UserID == auth.AllUsers {
		i.accounts.InvalidateAllUsers()
	} else {
		i.accounts.InvalidateUser(c.UserID)
	}
	if !c.At.IsZero() {
		i.metrics.ObserveRevocation(time.Since(c.At))
	}
}
