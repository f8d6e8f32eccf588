// Package kv keeps in Redis what a signed-in request needs: sessions, the user cache and
// the throttles. It speaks through redigo and knows neither HTTP nor SQL.
package kv

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"gatehouse/auth"
	"gatehouse/internal/reqstats"

	"github.com/gomodule/redigo/redis"
)

const (
	// maxConns bounds the connections of one Redis. As many may stay idle: with fewer,
	// every busy moment would close connections that the next one dials again.
	maxConns = 128
	// opTimeout bounds one operation as a whole: waiting for a connection, testing or
	// dialling it, sending, reading and the one repetition. A shorter deadline of the
	// caller counts. Two in a row end within the two seconds that anybody waits for a page.
	opTimeout   = 900 * time.Millisecond
	dialTimeout = 500 * time.Millisecond
	idleTimeout = 5 * time.Minute
	// doubtAfter is the idle time after which a connection is tested before use: long
	// enough for a firewall or a server's "timeout" setting to have dropped it silently.
	doubtAfter = time.Minute
)

// Redis is a pool of connections to one Redis database. Its methods may be used by many
// goroutines at once. What Redis does not answer is an error that wraps auth.ErrUnavailable.
type Redis struct {
	target target
	pool   *redis.Pool
	tls    *tls.Config
	// timeout is opTimeout, except in tests of what a slow machine must not disturb.
	timeout time.Duration
	// failed is when a connection last broke; nil if none did. Only connections last
	// used before it are in doubt, so that calm times need no PING.
	failed atomic.Pointer[time.Time]
	// queue holds the reads that share round trips; see readTogether.
	queue     chan *read
	carriers  sync.WaitGroup
	closed    chan struct{}
	closeOnce sync.Once
	// changes is read along with every read; nil in a Redis that has no stream of them.
	changes *Changes
}

// Open returns a pool for redis://[user:pass@]host:port[/db], rediss:// (the same over
// TLS) or unix://[user:pass@]/path.sock[?db=1]. It does not connect; Ping does. An error
// is about the URL, one line, and never shows its password.
func Open(rawURL string) (*Redis, error) {
	t, err := parseTarget(rawURL)
	if err != nil {
		return nil, err
	}
	r := &Redis{target: t, tls: &tls.Config{MinVersion: tls.VersionTLS12}, timeout: opTimeout}
	r.pool = &redis.Pool{
		DialContext:         r.dial,
		TestOnBorrowContext: r.testOnBorrow,
		MaxActive:           maxConns,
		MaxIdle:             maxConns,
		IdleTimeout:         idleTimeout,
		Wait:                true,
	}
	r.openLanes()
	return r, nil
}

// Ping asks Redis for an answer.
func (r *Redis) Ping(ctx context.Context) error {
	_, err := r.do(ctx, repeatable("ping"), cmd("PING"))
	return err
}

// Close closes the idle connections now and the busy ones when they are done.
func (r *Redis) Close() error {
	r.closeLanes()
	return r.pool.Close()
}

// Stats is the state of a pool.
type Stats struct {
	// Active connections are open, busy or idle; Idle ones wait for work.
	Active, Idle int
	// Waits is how often a connection had to be waited for since the start, Waited how long in all.
	Waits  int64
	Waited time.Duration
}

// Stats returns the state of the pool.
func (r *Redis) Stats() Stats {
	s := r.pool.Stats()
	return Stats{Active: s.ActiveCount, Idle: s.IdleCount, Waits: s.WaitCount, Waited: s.WaitDuration}
}

// command is one Redis command with its arguments.
type command struct {
	name string
	args []any
}

func cmd(name string, args ...any) command { return command{name, args} }

// op says in errors what was tried, and whether Redis may be asked twice: when a connection
// breaks nobody knows whether the commands were carried out.
type op struct {
	what   string
	repeat bool
}

func repeatable(what string) op { return op{what, true} }
func once(what string) op       { return op{what, false} }

// do sends one command and returns its reply. A reply that is an error is returned as one.
func (r *Redis) do(ctx context.Context, o op, c command) (any, error) {
	replies, err := r.pipeline(ctx, o, c)
	if err != nil {
		return nil, err
	}
	return replies[0], nil
}

// pipeline sends the commands together and returns their replies, or the first reply that
// is an error as one. All of them are carried out nevertheless.
func (r *Redis) pipeline(ctx context.Context, o op, cmds ...command) ([]any, error) {
	replies, err := r.exchange(ctx, o, cmds...)
	if err != nil {
		return nil, err
	}
	for _, reply := range replies {
		if err := replyError(o.what, reply); err != nil {
			return nil, err
		}
	}
	return replies, nil
}

// delete removes the keys in one round trip, each by a command of its own, because the nodes of
// a cluster refuse keys that live apart.
func (r *Redis) delete(ctx context.Context, what string, keys []string) error {
	if len(keys) == 0 {
		return nil
	}
	dels := make([]command, len(keys))
	for i, key := range keys {
		dels[i] = cmd("DEL", key)
	}
	_, err := r.pipeline(ctx, repeatable(what), dels...)
	return err
}

// exchange is pipeline for callers who look at each reply themselves: a reply may be a redis.Error.
func (r *Redis) exchange(ctx context.Context, o op, cmds ...command) ([]any, error) {
	ctx, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	replies, borrowed, err := r.roundTrip(ctx, cmds)
	if err != nil && borrowed && o.repeat && !isTimeout(err) {
		replies, _, err = r.roundTrip(ctx, cmds)
	}
	if err != nil {
		return nil, unavailable(o.what, err)
	}
	return replies, nil
}

// roundTrip is one flush and its replies, and one round trip in the request's Cost. Tests and
// dials of the connection are part of its time, not of the count. The error is about the
// connection; borrowed tells that there was one.
func (r *Redis) roundTrip(ctx context.Context, cmds []command) (replies []any, borrowed bool, err error) {
	start := time.Now()
	defer func() { reqstats.FromContext(ctx).AddRedis(time.Since(start)) }()
	borrowed, err = r.onConnection(ctx, func(c redis.Conn) error {
		if err := send(c, cmds); err != nil {
			return err
		}
		if err := c.Flush(); err != nil {
			return err
		}
		replies, err = receive(ctx, c, len(cmds))
		return err
	})
	return replies, borrowed, err
}

// onConnection lends a connection of the pool. borrowed tells that there was one.
func (r *Redis) onConnection(ctx context.Context, use func(redis.Conn) error) (borrowed bool, err error) {
	c, err := r.pool.GetContext(ctx)
	if err != nil {
		return false, err
	}
	defer c.Close()
	if err := use(c); err != nil {
		r.noteFailure()
		return true, err
	}
	return true, nil
}

func send(c redis.Conn, cmds []command) error {
	for _, cmd := range cmds {
		if err := c.Send(cmd.name, cmd.args...); err != nil {
			return err
		}
	}
	return nil
}

// receive reads n replies against the deadline of ctx. redigo's own DoContext would cost a
// goroutine for each command, to notice a cancelled context a second earlier at most.
func receive(ctx context.Context, c redis.Conn, n int) ([]any, error) {
	replies := make([]any, n)
	for i := range replies {
		reply, err := redis.ReceiveWithTimeout(c, remaining(ctx))
		var said redis.Error
		if errors.As(err, &said) {
			reply, err = said, nil
		}
		if err != nil {
			return nil, err
		}
		replies[i] = reply
	}
	return replies, nil
}

// remaining returns the time left; never zero, which redigo takes for "no timeout".
func remaining(ctx context.Context) time.Duration {
	deadline, ok := ctx.Deadline()
	if !ok {
		return opTimeout
	}
	return max(time.Until(deadline), time.Nanosecond)
}

// fullConn is what redigo's connections can do and its pool looks for.
type fullConn interface {
	redis.ConnWithTimeout
	redis.ConnWithContext
}

// conn is a pooled connection that remembers its socket, for the test on borrowing.
type conn struct {
	fullConn
	socket net.Conn
}

// lazyDeadlines sets a deadline when there is something to wait for. redigo sets one for each command
// and each reply, most of which are in its buffers already. Like redigo's connections it is for one
// reader and one writer.
type lazyDeadlines struct {
	net.Conn
	read, write deadline
}

// deadline is what was asked for; due says that the socket does not know it yet.
type deadline struct {
	at  time.Time
	due bool
}

func (l *lazyDeadlines) SetReadDeadline(t time.Time) error  { l.read = deadline{t, true}; return nil }
func (l *lazyDeadlines) SetWriteDeadline(t time.Time) error { l.write = deadline{t, true}; return nil }

func (l *lazyDeadlines) SetDeadline(t time.Time) error {
	return errors.Join(l.SetReadDeadline(t), l.SetWriteDeadline(t))
}

func (l *lazyDeadlines) Read(p []byte) (int, error) {
	if l.read.due {
		l.read.due = false
		if err := l.Conn.SetReadDeadline(l.read.at); err != nil {
			return 0, err
		}
	}
	return l.Conn.Read(p)
}

func (l *lazyDeadlines) Write(p []byte) (int, error) {
	if l.write.due {
		l.write.due = false
		if err := l.Conn.SetWriteDeadline(l.write.at); err != nil {
			return 0, err
		}
	}
	return l.Conn.Write(p)
}

func (r *Redis) dial(ctx context.Context) (redis.Conn, error) {
	var socket net.Conn
	dialer := net.Dialer{Timeout: dialTimeout}
	c, err := redis.DialContext(ctx, r.target.network, r.target.address,
		redis.DialContextFunc(func(ctx context.Context, network, address string) (_ net.Conn, err error) {
			if network == "unix" {
				socket, err = dialUnix(ctx, dialer, address)
			} else {
				socket, err = dialer.DialContext(ctx, network, address)
			}
			return &lazyDeadlines{Conn: socket}, err
		}),
		redis.DialUseTLS(r.target.tls),
		redis.DialTLSConfig(r.tls),
		redis.DialTLSHandshakeTimeout(dialTimeout),
		redis.DialUsername(r.target.user),
		redis.DialPassword(r.target.password),
		redis.DialDatabase(r.target.database),
		redis.DialReadTimeout(opTimeout),
		redis.DialWriteTimeout(opTimeout),
	)
	if err != nil {
		r.noteFailure()
		return nil, r.target.redact(err)
	}
	return &conn{c.(fullConn), socket}, nil
}

// testOnBorrow looks whether the server has hung up, which costs a system call and no round
// trip, and PINGs only a connection in doubt. The pool closes a connection that fails and
// takes the next, so that a restart of Redis is not one error for each idle connection.
func (r *Redis) testOnBorrow(ctx context.Context, c redis.Conn, lastUsed time.Time) error {
	if err := hungUp(c.(*conn).socket, r.target.tls); err != nil {
		r.noteFailure()
		return err
	}
	if !r.inDoubt(lastUsed) {
		return nil
	}
	_, err := redis.DoWithTimeout(c, remaining(ctx), "PING")
	if err != nil {
		r.noteFailure()
	}
	return err
}

func (r *Redis) inDoubt(lastUsed time.Time) bool {
	failed := r.failed.Load()
	return time.Since(lastUsed) > doubtAfter || failed != nil && lastUsed.Before(*failed)
}

func (r *Redis) noteFailure() {
	now := time.Now()
	r.failed.Store(&now)
}

// unavailable wraps an error of the connection with what was tried.
func unavailable(what string, err error) error {
	return fmt.Errorf("redis: %s: %w: %w", what, auth.ErrUnavailable, err)
}

// replyError returns the error that a reply is, or nil.
func replyError(what string, reply any) error {
	said, ok := reply.(redis.Error)
	if !ok {
		return nil
	}
	if cannotServe(said) {
		return unavailable(what, said)
	}
	return fmt.Errorf("redis: %s: %w", what, said)
}

// unservingCodes are the error codes of a Redis that is there but cannot do what it is asked now.
var unservingCodes = map[string]bool{
	"LOADING": true, "MASTERDOWN": true, "READONLY": true, "CLUSTERDOWN": true, "TRYAGAIN": true,
	"OOM": true, "MISCONF": true, "NOREPLICAS": true, "BUSY": true, "NOAUTH": true,
}

func cannotServe(said redis.Error) bool {
	text := string(said)
	code, _, _ := strings.Cut(text, " ")
	if unservingCodes[code] || strings.HasPrefix(text, "ERR max number of clients") {
		return true
	}
	// Redis before 7 reports an error inside a script as "ERR Error running script (call to
	// f_…): @user_script:3: OOM command not allowed …".
	_, inner, inScript := strings.Cut(text, "@user_script:")
	_, inner, found := strings.Cut(inner, ": ")
	code, _, _ = strings.Cut(strings.TrimPrefix(inner, "-"), " ")
	return inScript && found && unservingCodes[code]
}

func hasCode(reply any, code string) bool {
	said, ok := reply.(redis.Error)
	return ok && strings.HasPrefix(string(said), code+" ")
}

func isTimeout(err error) bool {
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}
