// Package reqstats counts the work that one request causes: Redis round trips, SQL statements and
// password hashes. The stores add to the counts, pages and metrics show them, and tests check
// their limits. It knows nothing of users, requests or stores.
package reqstats

import (
	"context"
	"sync/atomic"
	"time"
)

// Stats are the counts of one request. They may be changed and read concurrently.
type Stats struct {
	redisRoundTrips atomic.Int64
	redisTime       atomic.Int64
	sqlStatements   atomic.Int64
	sqlTime         atomic.Int64
	hashes          atomic.Int64
	changeAttempted atomic.Bool
}

type contextKey struct{}

// NewContext returns a context that carries new Stats, and the Stats.
func NewContext(ctx context.Context) (context.Context, *Stats) {
	s := new(Stats)
	return context.WithValue(ctx, contextKey{}, s), s
}

// FromContext returns the Stats of the context. It never returns nil: without Stats in the context,
// the counts are discarded.
func FromContext(ctx context.Context) *Stats {
	if s, ok := ctx.Value(contextKey{}).(*Stats); ok {
		return s
	}
	return new(Stats)
}

// AddRedis counts one round trip to Redis; a pipeline of several commands is one.
func (s *Stats) AddRedis(took time.Duration) {
	s.redisRoundTrips.Add(1)
	s.redisTime.Add(int64(took))
}

// AddSQL counts one SQL statement.
func (s *Stats) AddSQL(took time.Duration) {
	s.sqlStatements.Add(1)
	s.sqlTime.Add(int64(took))
}

// AddHash counts one password hash, created or compared.
func (s *Stats) AddHash() { s.hashes.Add(1) }

// RecordChangeAttempt records that the change that the request asks for may have been made: its
// outcome is unknown until the store answers.
func (s *Stats) RecordChangeAttempt() { s.changeAttempted.Store(true) }

// RedisRoundTrips returns the number of Redis round trips so far.
func (s *Stats) RedisRoundTrips() int64 { return s.redisRoundTrips.Load() }

// RedisTime returns the time spent waiting for Redis so far.
func (s *Stats) RedisTime() time.Duration { return time.Duration(s.redisTime.Load()) }

// SQLStatements returns the number of SQL statements so far.
func (s *Stats) SQLStatements() int64 { return s.sqlStatements.Load() }

// SQLTime returns the time spent waiting for the database so far.
func (s *Stats) SQLTime() time.Duration { return time.Duration(s.sqlTime.Load()) }

// Hashes returns the number of password hashes so far.
func (s *Stats) Hashes() int64 { return s.hashes.Load() }

// ChangeAttempted reports whether the change that the request asks for may have been made.
func (s *Stats) ChangeAttempted() bool { return s.changeAttempted.Load() }
