package auth

import (
	"context"
	"sync/atomic"
	"time"
)

// Cost counts what answering one request took from the servers behind us. The
// stores add to it, the pages show it, and the tests hold it to its budget.
type Cost struct {
	redisTrips atomic.Int64
	redisTime  atomic.Int64
	sql        atomic.Int64
	sqlTime    atomic.Int64
	hashes     atomic.Int64
	change     atomic.Bool
}

type costKey struct{}

// WithCost returns a context whose Redis round trips and SQL statements are
// counted in the returned Cost.
func WithCost(ctx context.Context) (context.Context, *Cost) {
	c := new(Cost)
	return context.WithValue(ctx, costKey{}, c), c
}

// CostFrom returns the Cost of the context. It never returns nil: outside of a
// request the counts go nowhere.
func CostFrom(ctx context.Context) *Cost {
	if c, ok := ctx.Value(costKey{}).(*Cost); ok {
		return c
	}
	return new(Cost)
}

// AddRedis counts one round trip to Redis (several commands sent together are one).
func (c *Cost) AddRedis(took time.Duration) {
	c.redisTrips.Add(1)
	c.redisTime.Add(int64(took))
}

// AddSQL counts one SQL statement.
func (c *Cost) AddSQL(took time.Duration) {
	c.sql.Add(1)
	c.sqlTime.Add(int64(took))
}

// RedisTrips returns the number of Redis round trips so far.
func (c *Cost) RedisTrips() int64 { return c.redisTrips.Load() }

// RedisTime returns the time spent waiting for Redis so far.
func (c *Cost) RedisTime() time.Duration { return time.Duration(c.redisTime.Load()) }

// SQL returns the number of SQL statements so far.
func (c *Cost) SQL() int64 { return c.sql.Load() }

// SQLTime returns the time spent waiting for the database so far.
func (c *Cost) SQLTime() time.Duration { return time.Duration(c.sqlTime.Load()) }

// AddHash counts one password hash, made or compared.
func (c *Cost) AddHash() { c.hashes.Add(1) }

// AttemptChange notes that the change that the request asks for may have been made from now on:
// its outcome is unknown until the store answers.
func (c *Cost) AttemptChange() { c.change.Store(true) }

// ChangeAttempted reports whether the change that the request asks for may have been made.
func (c *Cost) ChangeAttempted() bool { return c.change.Load() }

// Hashes returns the number of password hashes so far.
func (c *Cost) Hashes() int64 { return c.hashes.Load() }
