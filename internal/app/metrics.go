package app

import (
	"gatehouse/kv/redisconn"
	"gatehouse/web"
)

// newMetrics returns the metrics of a server, with what its stores know of themselves.
func newMetrics(s *Stores) *web.Metrics {
	m := web.NewMetrics()
	m.RegisterGauge("gatehouse_hash_queue", "Password hashes that run or wait.", nil, func() float64 { return float64(s.Accounts.Hasher.Waiting()) })
	memory := s.Accounts.LocalCache
	m.RegisterCounter("gatehouse_user_memory_hits_total", "Users found in this process' memory.", nil, func() float64 { return float64(memory.Hits.Load()) })
	m.RegisterCounter("gatehouse_user_memory_misses_total", "Users not found in this process' memory.", nil, func() float64 { return float64(memory.Misses.Load()) })
	for name, r := range map[string]*redisconn.Pool{"sessions": s.redis, "cache": s.cache} {
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
