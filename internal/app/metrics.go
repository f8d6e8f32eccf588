package app

import (
	"sync/atomic"

	"gatehouse/kv/redisconn"
	"gatehouse/web/metrics"
)

// newMetrics returns the metrics of a server, including those of its stores.
func newMetrics(s *Stores) *metrics.Metrics {
	m := metrics.New()
	gauge := func(name, help string, labels map[string]string, value func() int) {
		m.RegisterGauge(name, help, labels, func() float64 { return float64(value()) })
	}
	counter := func(name, help string, value *atomic.Int64) {
		m.RegisterCounter(name, help, nil, func() float64 { return float64(value.Load()) })
	}
	gauge("gatehouse_hash_queue", "Password hashes that run or wait.", nil, s.Accounts.Hasher.Waiting)
	counter("gatehouse_user_memory_hits_total", "Users found in the local cache of this process.", &s.Accounts.LocalCache.Hits)
	counter("gatehouse_user_memory_misses_total", "Users not found in the local cache of this process.", &s.Accounts.LocalCache.Misses)
	for name, r := range map[string]*redisconn.Pool{"sessions": s.redis, "cache": s.cache} {
		labels := map[string]string{"redis": name}
		gauge("gatehouse_redis_connections", "Open connections to Redis.", labels, func() int { return r.Stats().Active })
		gauge("gatehouse_redis_connections_idle", "Idle connections to Redis.", labels, func() int { return r.Stats().Idle })
	}
	gauge("gatehouse_sql_connections", "Open connections to the database.", nil, func() int { return s.database.Stats().OpenConnections })
	gauge("gatehouse_sql_connections_idle", "Idle connections to the database.", nil, func() int { return s.database.Stats().Idle })
	counter("gatehouse_user_cache_hits_total", "Users found in the user cache in Redis.", &s.users.Hits)
	counter("gatehouse_user_cache_misses_total", "Users not found in the user cache in Redis.", &s.users.Misses)
	counter("gatehouse_credential_cache_hits_total", "HTTP Basic credentials found in the credential cache.", &s.credentials.Hits)
	counter("gatehouse_credential_cache_misses_total", "HTTP Basic credentials not found in the credential cache.", &s.credentials.Misses)
	return m
}
