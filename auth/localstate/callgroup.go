package localstate

import (
	"context"
	"errors"
	"sync"
)

// CallGroup lets concurrent calls with the same key share one run. Unlike singleflight, it cancels the
// run once no caller waits for it.
type CallGroup[V any] struct {
	mu    sync.Mutex
	calls map[string]*call[V]
}

// call is one run. value and err are set when done is closed.
type call[V any] struct {
	done   chan struct{}
	cancel context.CancelCauseFunc
	// waiting is the number of callers, the one that runs it included.
	waiting int
	value   V
	err     error
}

var errAborted = errors.New("the shared call was aborted")

// Do runs the function, or waits for a call with the same key that is running. shared reports that
// another caller started it.
func (g *CallGroup[V]) Do(ctx context.Context, key string, run func(context.Context) (V, error)) (value V, shared bool, err error) {
	if ctx.Err() != nil {
		return value, false, context.Cause(ctx)
	}
	g.mu.Lock()
	if c := g.calls[key]; c != nil {
		c.waiting++
		g.mu.Unlock()
		select {
		case <-c.done:
			return c.value, true, c.err
		case <-ctx.Done():
			g.leave(key, c, context.Cause(ctx))
			return value, true, context.Cause(ctx)
		}
	}
	runCtx, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	c := &call[V]{done: make(chan struct{}), cancel: cancel, waiting: 1, err: errAborted}
	if g.calls == nil {
		g.calls = map[string]*call[V]{}
	}
	g.calls[key] = c
	g.mu.Unlock()
	stop := context.AfterFunc(ctx, func() { g.leave(key, c, context.Cause(ctx)) })
	defer func() {
		stop()
		g.mu.Lock()
		if g.calls[key] == c {
			delete(g.calls, key)
		}
		g.mu.Unlock()
		close(c.done)
		cancel(nil)
	}()
	c.value, c.err = run(runCtx)
	return c.value, false, c.err
}

// leave cancels the call if no other caller waits for it.
func (g *CallGroup[V]) leave(key string, c *call[V], cause error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if c.waiting--; c.waiting > 0 {
		return
	}
	if g.calls[key] == c {
		delete(g.calls, key)
	}
	c.cancel(cause)
}
