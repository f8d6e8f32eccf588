package redisconn

import (
	"context"
	"errors"
	"net"
	"time"

	"github.com/gomodule/redigo/redis"
)

// testAfterIdle is the idle time after which a connection is tested before use: a firewall or the
// server's "timeout" setting may have dropped it silently.
const testAfterIdle = time.Minute

// conn is a pooled connection that gives access to its socket, for testOnBorrow.
type conn struct {
	fullConn
	socket net.Conn
}

// fullConn lists the methods of redigo's connections that its pool relies on.
type fullConn interface {
	redis.ConnWithTimeout
	redis.ConnWithContext
}

func (p *Pool) dial(ctx context.Context) (redis.Conn, error) {
	var socket net.Conn
	dialer := net.Dialer{Timeout: DialTimeout}
	c, err := redis.DialContext(ctx, p.target.network, p.target.address,
		redis.DialContextFunc(func(ctx context.Context, network, address string) (_ net.Conn, err error) {
			if network == "unix" {
				socket, err = DialUnix(ctx, dialer, address)
			} else {
				socket, err = dialer.DialContext(ctx, network, address)
			}
			return &lazyDeadlines{Conn: socket}, err
		}),
		redis.DialUseTLS(p.target.tls),
		redis.DialTLSConfig(p.tls),
		redis.DialTLSHandshakeTimeout(DialTimeout),
		redis.DialUsername(p.target.user),
		redis.DialPassword(p.target.password),
		redis.DialDatabase(p.target.database),
		redis.DialReadTimeout(OpTimeout),
		redis.DialWriteTimeout(OpTimeout),
	)
	if err != nil {
		p.NoteFailure()
		return nil, p.target.redact(err)
	}
	return &conn{c.(fullConn), socket}, nil
}

// testOnBorrow checks whether the server has closed the connection, which costs a system call and
// no round trip, and sends a PING only on a suspect connection. The pool closes a connection that fails and
// takes the next one, so that a restart of Redis does not cause one error per idle connection.
func (p *Pool) testOnBorrow(ctx context.Context, c redis.Conn, lastUsed time.Time) error {
	if err := connClosed(c.(*conn).socket, p.target.tls); err != nil {
		p.NoteFailure()
		return err
	}
	if !p.isSuspect(lastUsed) {
		return nil
	}
	_, err := redis.DoWithTimeout(c, remaining(ctx), "PING")
	if err != nil {
		p.NoteFailure()
	}
	return err
}

// isSuspect reports whether a connection may be dead: it was idle for long, or others broke since.
func (p *Pool) isSuspect(lastUsed time.Time) bool {
	failed := p.failed.Load()
	return time.Since(lastUsed) > testAfterIdle || failed != nil && lastUsed.Before(*failed)
}

// lazyDeadlines passes a deadline to the socket only before it is read or written. redigo sets one for each
// command and each reply, most of which are in its buffers already. Like redigo's connections it
// supports one concurrent reader and one writer.
type lazyDeadlines struct {
	net.Conn
	read, write deadline
}

// deadline is a requested deadline; pending is set until the socket has it.
type deadline struct {
	at      time.Time
	pending bool
}

func (l *lazyDeadlines) SetReadDeadline(t time.Time) error  { l.read = deadline{t, true}; return nil }
func (l *lazyDeadlines) SetWriteDeadline(t time.Time) error { l.write = deadline{t, true}; return nil }

func (l *lazyDeadlines) SetDeadline(t time.Time) error {
	return errors.Join(l.SetReadDeadline(t), l.SetWriteDeadline(t))
}

func (l *lazyDeadlines) Read(b []byte) (int, error) {
	if l.read.pending {
		l.read.pending = false
		if err := l.Conn.SetReadDeadline(l.read.at); err != nil {
			return 0, err
		}
	}
	return l.Conn.Read(b)
}

func (l *lazyDeadlines) Write(b []byte) (int, error) {
	if l.write.pending {
		l.write.pending = false
		if err := l.Conn.SetWriteDeadline(l.write.at); err != nil {
			return 0, err
		}
	}
	return l.Conn.Write(b)
}
