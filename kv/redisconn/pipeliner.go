package redisconn

import (
	"context"
	"errors"
	"sync"
	"time"

	"gatehouse/internal/reqstats"

	"github.com/gomodule/redigo/redis"
)

const (
	// pipelineConns is how many connections carry the pipelined reads. While one waits for its
	// replies, the next batch collects in the queue for the other.
	pipelineConns = 2
	// maxQueuedReads bounds the queue; overflow uses its own connection.
	maxQueuedReads = 1024
	// maxBatch bounds the reads of one batch.
	maxBatch = 128
)

// pipeliner sends the reads of concurrent requests in batches: one flush and one wait for all of
// them, which saves each a system call or two and a connection. Redis answers commands in order.
type pipeliner struct {
	pool      *Pool
	queue     chan *read
	workers   sync.WaitGroup
	closed    chan struct{}
	closeOnce sync.Once
}

// read is one read that shares a round trip with others.
type read struct {
	cmds    []Command
	replies []any
	err     error
	done    chan struct{}
}

func (r *read) finish(err error) {
	r.err = err
	close(r.done)
}

// ReadHook adds one command to every pipelined read, at the end of its batch.
type ReadHook struct {
	// Command returns the command and a cursor for Receive.
	Command func() (cmd Command, cursor string)
	// Receive handles the reply before any read of the batch returns. Its error fails all of them.
	Receive func(cursor string, reply any) error
}

// SetReadHook sets the hook. Call it before the pool is used concurrently.
func (p *Pool) SetReadHook(hook ReadHook) { p.readHook = &hook }

// ReadPipelined is Exchange for small idempotent reads: those of concurrent requests share round trips.
func (p *Pool) ReadPipelined(ctx context.Context, what string, cmds ...Command) ([]any, error) {
	start := time.Now()
	r := &read{cmds: cmds, done: make(chan struct{})}
	select {
	case p.pipeliner.queue <- r:
	default:
		return p.readAlone(ctx, what, cmds)
	}
	err := p.await(ctx, r)
	if err == nil || IsTimeout(err) || ctx.Err() != nil {
		reqstats.FromContext(ctx).AddRedis(time.Since(start))
	}
	switch {
	case err == nil:
		return r.replies, nil
	case IsTimeout(err) || ctx.Err() != nil:
		return nil, Unavailable(what, err)
	}
	// The shared connection broke: retry on a separate one.
	return p.readAlone(ctx, what, cmds)
}

// readAlone is ReadPipelined on a separate connection.
func (p *Pool) readAlone(ctx context.Context, what string, cmds []Command) ([]any, error) {
	if p.readHook == nil {
		return p.Exchange(ctx, Idempotent(what), cmds...)
	}
	hookCmd, cursor := p.readHook.Command()
	replies, err := p.Exchange(ctx, Idempotent(what), append(cmds[:len(cmds):len(cmds)], hookCmd)...)
	if err != nil {
		return nil, err
	}
	return replies[:len(cmds)], p.readHook.Receive(cursor, replies[len(cmds)])
}

// await waits for a queued read, at most as long as Exchange would.
func (p *Pool) await(ctx context.Context, r *read) error {
	limit := time.NewTimer(p.Timeout)
	defer limit.Stop()
	select {
	case <-r.done:
		return r.err
	case <-limit.C:
		return context.DeadlineExceeded
	case <-ctx.Done():
		return ctx.Err()
	}
}

// newPipeliner starts the workers; close stops them.
func newPipeliner(p *Pool) *pipeliner {
	pl := &pipeliner{pool: p, queue: make(chan *read, maxQueuedReads), closed: make(chan struct{})}
	for range pipelineConns {
		pl.workers.Go(pl.runBatches)
	}
	return pl
}

var errPoolClosed = errors.New("the pool is closed")

func (pl *pipeliner) close() {
	pl.closeOnce.Do(func() { close(pl.closed) })
	pl.workers.Wait()
	for {
		select {
		case r := <-pl.queue:
			r.finish(errPoolClosed)
		default:
			return
		}
	}
}

// runBatches sends queued reads in batches until the pipeliner is closed.
func (pl *pipeliner) runBatches() {
	batch := make([]*read, 0, maxBatch)
	for {
		select {
		case <-pl.closed:
			return
		case first := <-pl.queue:
			batch = append(batch[:0], first)
		}
		for more := true; more && len(batch) < maxBatch; {
			select {
			case next := <-pl.queue:
				batch = append(batch, next)
			default:
				more = false
			}
		}
		pl.runBatch(batch)
	}
}

func (pl *pipeliner) runBatch(batch []*read) {
	ctx, cancel := context.WithTimeout(context.Background(), pl.pool.Timeout)
	defer cancel()
	hook := pl.pool.readHook
	finished := 0
	var hookErr error
	_, err := pl.pool.withConn(ctx, func(c redis.Conn) error {
		for _, r := range batch {
			if err := send(c, r.cmds); err != nil {
				return err
			}
		}
		var cursor string
		if hook != nil {
			var hookCmd Command
			hookCmd, cursor = hook.Command()
			if err := send(c, []Command{hookCmd}); err != nil {
				return err
			}
		}
		if err := c.Flush(); err != nil {
			return err
		}
		for _, r := range batch {
			replies, err := receive(ctx, c, len(r.cmds))
			if err != nil {
				return err
			}
			r.replies = replies
			if hook == nil {
				r.finish(nil)
				finished++
			}
		}
		if hook == nil {
			return nil
		}
		// No read returns before the hook has its reply.
		reply, err := receive(ctx, c, 1)
		if err != nil {
			return err
		}
		hookErr = hook.Receive(cursor, reply[0])
		return nil
	})
	if err == nil {
		err = hookErr
	}
	for _, r := range batch[finished:] {
		r.finish(err)
	}
}
