package app

import (
	"context"
	"log/slog"
	"time"

	"gatehouse/auth"
	"gatehouse/db"
	"gatehouse/web"
)

// invalidator invalidates what this server keeps of users when the database tells of changes, and turns
// the memory off while it cannot. No method waits for the network.
type invalidator struct {
	ctx      context.Context
	accounts *auth.Accounts
	metrics  *web.Metrics
	log      *slog.Logger
	// listening is what was last reported, and reported when the log said that it is not so.
	listening bool
	reported  time.Time
}

// remindDeaf is how often the log says that changes are still not heard of.
const remindDeaf = time.Minute

func newInvalidator(ctx context.Context, accounts *auth.Accounts, metrics *web.Metrics, log *slog.Logger) *invalidator {
	return &invalidator{ctx: ctx, accounts: accounts, metrics: metrics, log: log}
}

// Connected implements db.Listener. What changed before is unknown, so everything that is cached
// is invalidated; memory is filled from the database until the cache is empty.
func (n *invalidator) Connected() {
	n.accounts.InvalidateAllUsers()
	n.accounts.LocalCache.SetEnabled(true)
	n.accounts.LocalCache.SetDatabaseFirst(false)
	if !n.listening {
		n.log.Debug("receiving changes of users from the database")
	}
	n.listening = true
	n.metrics.SetListening(true)
}

// Disconnected implements db.Listener.
func (n *invalidator) Disconnected(err error) {
	n.accounts.LocalCache.SetEnabled(false)
	n.metrics.SetListening(false)
	if n.listening {
		n.accounts.LocalCache.SetDatabaseFirst(false) // until it is known whether it answers
	}
	// It is called again for each attempt that fails.
	if n.ctx.Err() == nil && (n.listening || time.Since(n.reported) > remindDeaf) {
		n.log.Warn("changes of users are not heard of; users stay out of memory until they are", "error", err)
		n.reported = time.Now()
	}
	n.listening = false
}

// Reachable implements db.Listener. What the cache has of users may be old while nobody hears of
// changes, so the database is asked as long as it answers.
func (n *invalidator) Reachable(yes bool) {
	if !n.listening {
		n.accounts.LocalCache.SetDatabaseFirst(yes)
	}
}

// Changed implements db.Listener.
func (n *invalidator) Changed(c db.Change) {
	if c.UserID == auth.AllUsers {
		n.accounts.InvalidateAllUsers()
	} else {
		n.accounts.InvalidateUser(c.UserID)
	}
	if !c.At.IsZero() {
		n.metrics.ObserveRevocation(time.Since(c.At))
	}
}
