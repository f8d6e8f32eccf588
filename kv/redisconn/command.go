package redisconn

import (
	"context"
	"errors"
	"time"

	"gatehouse/internal/reqstats"

	"github.com/gomodule/redigo/redis"
)

// Command is one Redis command with its arguments.
type Command struct {
	Name string
	Args []any
}

// Cmd returns a command.
func Cmd(name string, args ...any) Command { return Command{name, args} }

// Op describes an operation in errors, and says whether it may be retried: after a connection broke
// it is unknown whether Redis executed the commands.
type Op struct {
	what       string
	idempotent bool
}

// Idempotent describes an operation that is retried once when its connection breaks.
func Idempotent(what string) Op { return Op{what, true} }

// Once describes an operation that is never retried.
func Once(what string) Op { return Op{what, false} }

// Do sends one command and returns its reply. An error reply is returned as error.
func (p *Pool) Do(ctx context.Context, op Op, c Command) (any, error) {
	replies, err := p.Pipeline(ctx, op, c)
	if err != nil {
		return nil, err
	}
	return replies[0], nil
}

// Pipeline sends the commands in one round trip and returns their replies. The first error reply is
// returned as error; Redis executes the other commands all the same.
func (p *Pool) Pipeline(ctx context.Context, op Op, cmds ...Command) ([]any, error) {
	replies, err := p.Exchange(ctx, op, cmds...)
	if err != nil {
		return nil, err
	}
	for _, reply := range replies {
		if err := ReplyError(op.what, reply); err != nil {
			return nil, err
		}
	}
	return replies, nil
}

// Delete removes the keys in one round trip. Each has a DEL of its own, because a cluster refuses
// commands on keys of different nodes.
func (p *Pool) Delete(ctx context.Context, what string, keys []string) error {
	if len(keys) == 0 {
		return nil
	}
	dels := make([]Command, len(keys))
	for i, key := range keys {
		dels[i] = Cmd("DEL", key)
	}
	_, err := p.Pipeline(ctx, Idempotent(what), dels...)
	return err
}

// Exchange is Pipeline for callers that check each reply themselves: a reply may be a redis.Error.
func (p *Pool) Exchange(ctx context.Context, op Op, cmds ...Command) ([]any, error) {
	ctx, cancel := context.WithTimeout(ctx, p.Timeout)
	defer cancel()
	replies, borrowed, err := p.roundTrip(ctx, cmds)
	if err != nil && borrowed && op.idempotent && !IsTimeout(err) {
		replies, _, err = p.roundTrip(ctx, cmds)
	}
	if err != nil {
		return nil, Unavailable(op.what, err)
	}
	return replies, nil
}

// roundTrip sends the commands, reads their replies and counts one round trip in the request's
// Cost, whose time includes testing and dialing the connection. Its error is one of the connection;
// borrowed reports whether there was one.
func (p *Pool) roundTrip(ctx context.Context, cmds []Command) (replies []any, borrowed bool, err error) {
	start := time.Now()
	defer func() { reqstats.FromContext(ctx).AddRedis(time.Since(start)) }()
	borrowed, err = p.withConn(ctx, func(c redis.Conn) error {
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

func send(c redis.Conn, cmds []Command) error {
	for _, cmd := range cmds {
		if err := c.Send(cmd.Name, cmd.Args...); err != nil {
			return err
		}
	}
	return nil
}

// receive reads n replies before the deadline of ctx. redigo's own DoContext would start a goroutine
// for each command, only to notice a canceled context up to a second earlier.
func receive(ctx context.Context, c redis.Conn, n int) ([]any, error) {
	replies := make([]any, n)
	for i := range replies {
		reply, err := redis.ReceiveWithTimeout(c, remaining(ctx))
		var refusal redis.Error
		if errors.As(err, &refusal) {
			reply, err = refusal, nil
		}
		if err != nil {
			return nil, err
		}
		replies[i] = reply
	}
	return replies, nil
}

// remaining returns the time left; never zero, which means "no timeout" to redigo.
func remaining(ctx context.Context) time.Duration {
	deadline, ok := ctx.Deadline()
	if !ok {
		return OpTimeout
	}
	return max(time.Until(deadline), time.Nanosecond)
}

// Millis returns d in milliseconds, rounded up, so that no positive duration becomes zero.
func Millis(d time.Duration) int64 {
	return int64((d + time.Millisecond - 1) / time.Millisecond)
}
