package redisconn

import "time"

// TestAfterIdle is testAfterIdle for external tests.
const TestAfterIdle = testAfterIdle

// IsSuspect is isSuspect for external tests.
func (p *Pool) IsSuspect(lastUsed time.Time) bool { return p.isSuspect(lastUsed) }
