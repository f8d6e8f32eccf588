package kv

import (
	"context"
	"errors"
	"gatehouse/internal/reqstats"
	"time"

	"github.com/gomodule/redigo/redis"
)

const (
	// lanes is how many connections carry the reads of all requests together. While one waits
	// for its replies the others collect what comes next.
	lanes = 2
	// laneQueue is how many reads may wait for a lane; more go their own way.
	laneQueue = 1024
	// laneBatch is how many reads are sent together at most.
	laneBatch = 128
)

// read is one small read that shares a round trip with others.
type read struct {
	cmds    []command
	replies []any
	err     error
	done    chan struct{}
}

// readTogether is exchange for small reads that may be repeated: those of concurrent requests
// are sent together, one flush and one wait for all, which saves each a system call or two and a
// connection. Redis allows it, because replies come in the order of commands.
func (r *Redis) readTogether(ctx context.Context, what string, cmds ...command) ([]any, error) {
	start := time.Now()
	call := &read{cmds: cmds, done: make(chan struct{})}
	select {
	case r.queue <- call:
	default:
		return r.readAlone(ctx, what, cmds)
	}
	err := r.await(ctx, call)
	if err == nil || isTimeout(err) || ctx.Err() != nil {
		reqstats.FromContext(ctx).AddRedis(time.Since(start))
	}
	switch {
	case err == nil:
		return call.replies, nil
	case isTimeout(err) || ctx.Err() != nil:
		return nil, unavailable(what, err)
	}
	// The lane's connection broke: each asks again on its own.
	return r.readAlone(ctx, what, cmds)
}

// readAlone is readTogether on a connection of its own.
func (r *Redis) readAlone(ctx context.Context, what string, cmds []command) ([]any, error) {
	if r.changes == nil {
		return r.exchange(ctx, repeatable(what), cmds...)
	}
	stream, from := r.changes.read()
	replies, err := r.exchange(ctx, repeatable(what), append(cmds[:len(cmds):len(cmds)], stream)...)
	if err != nil {
		return nil, err
	}
	return replies[:len(cmds)], r.changes.receive(from, replies[len(cmds)])
}

// await waits for a read, but no longer than for one of its own.
func (r *Redis) await(ctx context.Context, call *read) error {
	limit := time.NewTimer(r.timeout)
	defer limit.Stop()
	select {
	case <-call.done:
		return call.err
	case <-limit.C:
		return context.DeadlineExceeded
	case <-ctx.Done():
		return ctx.Err()
	}
}

var errLaneClosed = errors.New("the pool is closed")

// openLanes starts the goroutines that carry reads. Close ends them.
func (r *Redis) openLanes() {
	r.queue = make(chan *read, laneQueue)
	r.closed = make(chan struct{})
	for range lanes {
		r.carriers.Go(r.carry)
	}
}

func (r *Redis) closeLanes() {
	r.closeOnce.Do(func() { close(r.closed) })
	r.carriers.Wait()
	for {
		select {
		case call := <-r.queue:
			call.finish(errLaneClosed)
		default:
			return
		}
	}
}

func (c *read) finish(err error) {
	c.err = err
	close(c.done)
}

// carry takes what has come in, sends it, and hands out the replies.
func (r *Redis) carry() {
	batch := make([]*read, 0, laneBatch)
	for {
		select {
		case <-r.closed:
			return
		case first := <-r.queue:
			batch = append(batch[:0], first)
		}
		for more := true; more && len(batch) < laneBatch; {
			select {
			case next := <-r.queue:
				batch = append(batch, next)
			default:
				more = false
			}
		}
		r.carryBatch(batch)
	}
}

func (r *Redis) carryBatch(batch []*read) {
	ctx, cancel := context.WithTimeout(context.Background(), r.timeout)
	defer cancel()
	done := 0
	var refused error
	_, err := r.onConnection(ctx, func(c redis.Conn) error {
		for _, call := range batch {
			if err := send(c, call.cmds); err != nil {
				return err
			}
		}
		var stream command
		var from string
		if r.changes != nil {
			stream, from = r.changes.read()
			if err := send(c, []command{stream}); err != nil {
				return err
			}
		}
		if err := c.Flush(); err != nil {
			return err
		}
		for _, call := range batch {
			replies, err := receive(ctx, c, len(call.cmds))
			if err != nil {
				return err
			}
			call.replies = replies
			if r.changes == nil {
				call.finish(nil)
				done++
			}
		}
		if r.changes == nil {
			return nil
		}
		// Nobody goes on before this process has heard of the changes.
		reply, err := receive(ctx, c, 1)
		if err != nil {
			return err
		}
		refused = r.changes.receive(from, reply[0])
		return nil
	})
	if err == nil {
		err = refused
	}
	for _, call := range batch[done:] {
		call.finish(err)
	}
}
