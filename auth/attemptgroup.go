package auth

import (
	"context"
	"errors"
	"sync"
)

// flights let equal attempts to sign in that are under way at once in this server share one
// verdict: a program's parallel requests take one place in the throttle and one hash.
type attemptGroup struct {
	mu sync.Mutex
	of map[string]*flight
}

// flight is one attempt. user and err are set when done is closed.
type flight struct {
	done   chan struct{}
	cancel context.CancelCauseFunc
	// waiting is how many requests want the verdict, whoever began it.
	waiting int
	user    User
	err     error
}

var errAttemptAborted = errors.New("the attempt to sign in was aborted")

// do runs the attempt of the key, or waits for the one that is under way. Its context ends when
// every request that waits for it has gone. shared reports that another request began it.
func (f *attemptGroup) do(ctx context.Context, key string, run func(context.Context) (User, error)) (user User, shared bool, err error) {
	if ctx.Err() != nil {
		return User{}, false, context.Cause(ctx)
	}
	f.mu.Lock()
	if one := f.of[key]; one != nil {
		one.waiting++
		f.mu.Unlock()
		select {
		case <-one.done:
			return one.user, true, one.err
		case <-ctx.Done():
			f.leave(key, one, context.Cause(ctx))
			return User{}, true, context.Cause(ctx)
		}
	}
	runCtx, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	one := &flight{done: make(chan struct{}), cancel: cancel, waiting: 1, err: errAttemptAborted}
	if f.of == nil {
		f.of = map[string]*flight{}
	}
	f.of[key] = one
	f.mu.Unlock()
	stop := context.AfterFunc(ctx, func() { f.leave(key, one, context.Cause(ctx)) })
	defer func() {
		stop()
		f.mu.Lock()
		if f.of[key] == one {
			delete(f.of, key)
		}
		f.mu.Unlock()
		close(one.done)
		cancel(nil)
	}()
	one.user, one.err = run(runCtx)
	return one.user, false, one.err
}

// leave ends the attempt if nobody waits for it any more.
func (f *attemptGroup) leave(key string, one *flight, cause error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if one.waiting--; one.waiting > 0 {
		return
	}
	if f.of[key] == one {
		delete(f.of, key)
	}
	one.cancel(cause)
}
