// Package redisconn is the Redis client under the stores of package kv: URLs, a connection pool,
// pipelining of concurrent reads, and scripts. It speaks through redigo and knows no key, no record,
// neither HTTP nor SQL.
package redisconn

import (
	"context"
	"crypto/tls"
	"sync/atomic"
	"time"

	"github.com/gomodule/redigo/redis"
)

const (
	// MaxConns bounds the connections of one pool. As many may stay idle: with fewer, every load peak
	// would close connections that the next one has to dial again.
	MaxConns = 128
	// OpTimeout bounds one operation as a whole: waiting for a connection, testing or dialing it,
	// sending, reading and the one retry. An earlier deadline of the caller counts. Two operations in
	// a row end within the two seconds that a page may take.
	OpTimeout = 900 * time.Millisecond
	// DialTimeout bounds one attempt to connect.
	DialTimeout = 500 * time.Millisecond
	idleTimeout = 5 * time.Minute
)

// Pool is a pool of connections to one Redis database. It is safe for concurrent use. When Redis
// does not answer, methods return an error that wraps auth.ErrUnavailable.
type Pool struct {
	// Timeout is the limit of one operation: OpTimeout unless set before the first one.
	Timeout time.Duration

	target target
	pool   *redis.Pool
	tls    *tls.Config
	// failed is when a connection last broke; nil if none did. Only connections last used before
	// that are tested, so that no PING is needed in normal operation.
	failed    atomic.Pointer[time.Time]
	pipeliner *pipeliner
	readHook  *ReadHook
}

// Open returns a pool for redis://[user:pass@]host:port[/db], rediss:// (the same over
// TLS) or unix://[user:pass@]/path.sock[?db=1]. It does not connect; Ping does. An error
// is about the URL, in one line, and never contains its password.
func Open(rawURL string) (*Pool, error) {
	t, err := parseTarget(rawURL)
	if err != nil {
		return nil, err
	}
	p := &Pool{Timeout: OpTimeout, target: t, tls: &tls.Config{MinVersion: tls.VersionTLS12}}
	p.pool = &redis.Pool{
		DialContext:         p.dial,
		TestOnBorrowContext: p.testOnBorrow,
		MaxActive:           MaxConns,
		MaxIdle:             MaxConns,
		IdleTimeout:         idleTimeout,
		Wait:                true,
	}
	p.pipeliner = newPipeliner(p)
	return p, nil
}

// Ping checks that Redis answers.
func (p *Pool) Ping(ctx context.Context) error {
	_, err := p.Do(ctx, Idempotent("ping"), Cmd("PING"))
	return err
}

// Close closes the idle connections now and the busy ones when they are returned.
func (p *Pool) Close() error {
	p.pipeliner.close()
	return p.pool.Close()
}

// Stats is the state of a pool.
type Stats struct {
	// Active counts all open connections, Idle those that are not in use.
	Active, Idle int
}

// Stats returns the state of the pool.
func (p *Pool) Stats() Stats {
	s := p.pool.Stats()
	return Stats{Active: s.ActiveCount, Idle: s.IdleCount}
}

// ConnPool returns the pool for code that takes a redigo pool and no context: getting a connection
// fails after OpTimeout. Closing it closes nothing.
func (p *Pool) ConnPool() *redis.Pool {
	return &redis.Pool{Dial: func() (redis.Conn, error) {
		ctx, cancel := context.WithTimeout(context.Background(), OpTimeout)
		defer cancel()
		return p.pool.GetContext(ctx)
	}}
}

// withConn runs use on a connection of the pool. borrowed reports whether it got one.
func (p *Pool) withConn(ctx context.Context, use func(redis.Conn) error) (borrowed bool, err error) {
	c, err := p.pool.GetContext(ctx)
	if err != nil {
		return false, err
	}
	defer c.Close()
	if err := use(c); err != nil {
		p.NoteFailure()
		return true, err
	}
	return true, nil
}

// NoteFailure records that a connection broke: the others are tested before their next use.
func (p *Pool) NoteFailure() {
	now := time.Now()
	p.failed.Store(&now)
}
