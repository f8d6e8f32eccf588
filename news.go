package main

import (
	"context"
	"log/slog"
	"time"

	"gatehouse/auth"
	"gatehouse/db"
	"gatehouse/kv"
	"gatehouse/web"
)

// news invalidates what this server keeps of users when the database tells of changes, and turns
// the memory off while it cannot. No method waits for the network.
type news struct {
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

func newNews(ctx context.Context, accounts *auth.Accounts, metrics *web.Metrics, log *slog.Logger) *news {
	return &news{ctx: ctx, accounts: accounts, metrics: metrics, log: log}
}

// Listening implements db.Listener. What changed before is unknown, so everything that is cached
// is invalidated; memory is filled from the database until the cache is empty.
func (n *news) Connected() {
	n.accounts.InvalidateAllUsers()
	n.accounts.LocalCache.SetEnabled(true)
	n.accounts.LocalCache.SetDatabaseFirst(false)
	if !n.listening {
		n.log.Debug("receiving changes of users from the database")
	}
	n.listening = true
	n.metrics.SetListening(true)
}

// Deaf implements db.Listener.
func (n *news) Disconnected(err error) {
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

// Answers implements db.Listener. What the cache has of users may be old while nobody hears of
// changes, so the database is asked as long as it answers.
func (n *news) Reachable(yes bool) {
	if !n.listening {
		n.accounts.LocalCache.SetDatabaseFirst(yes)
	}
}

// Changed implements db.Listener.
func (n *news) Changed(c db.Change) {
	if c.UserID == auth.AllUsers {
		n.accounts.InvalidateAllUsers()
	} else {
		n.accounts.InvalidateUser(c.UserID)
	}
	if !c.At.IsZero() {
		n.metrics.ObserveRevocation(time.Since(c.At))
	}
}

// newMetrics returns the metrics of a server, with what its stores know of themselves.
func newMetrics(s *stores) *web.Metrics {
	m := web.NewMetrics()
	m.RegisterGauge("gatehouse_hash_queue", "Password hashes that run or wait.", nil, func() float64 { return float64(s.accounts.Hasher.Waiting()) })
	memory := s.accounts.LocalCache
	m.RegisterCounter("gatehouse_user_memory_hits_total", "Users found in this process' memory.", nil, func() float64 { return float64(memory.Hits.Load()) })
	m.RegisterCounter("gatehouse_user_memory_misses_total", "Users not found in this process' memory.", nil, func() float64 { return float64(memory.Misses.Load()) })
	for name, r := range map[string]*kv.Redis{"sessions": s.redis, "cache": s.cache} {
		labels := map[string]string{"redis": name}
		m.RegisterGauge("gatehouse_redis_connections", "Open connections to Redis.", labels, func() float64 { return float64(r.Stats().Active) })
		m.RegisterGauge("gatehouse_redis_connections_idle", "Open connections to Redis that wait for work.", labels, func() float64 { return float64(r.Stats().Idle) })
	}
	m.RegisterGauge("gatehouse_sql_connections", "Open connections to the database.", nil, func() float64 { return float64(s.database.Stats().OpenConnections) })
	m.RegisterGauge("gatehouse_sql_connections_idle", "Open connections to the database that wait for work.", nil, func() float64 { return float64(s.database.Stats().Idle) })
	m.RegisterCounter("gatehouse_user_cache_hits_total", "Users found in the cache in Redis.", nil, func() float64 { return float64(s.users.Hits.Load()) })
	m.RegisterCounter("gatehouse_user_cache_misses_total", "Users not found in the cache in Redis.", nil, func() float64 { return float64(s.users.Misses.Load()) })
	m.RegisterCounter("gatehouse_credential_cache_hits_total", "Credentials of HTTP Basic found in the cache.", nil, func() float64 { return float64(s.credentials.Hits.Load()) })
	m.RegisterCounter("gatehouse_credential_cache_misses_total", "Credentials of HTTP Basic not found in the cache.", nil, func() float64 { return float64(s.credentials.Misses.Load()) })
	return m
}
