package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
)

// interruption is the cause of a context that a signal canceled.
type interruption struct{ signal os.Signal }

func (i interruption) Error() string { return "interrupted (" + i.signal.String() + ")" }

// Is makes an interruption a context.Canceled.
func (i interruption) Is(target error) bool { return target == context.Canceled }

// UntilSignal returns a context that the first of the signals cancels, with the signal as its cause.
func UntilSignal(signals ...os.Signal) (ctx context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(context.Background())
	caught := make(chan os.Signal, 1)
	signal.Notify(caught, signals...)
	go func() {
		select {
		case s := <-caught:
			cancel(interruption{s})
		case <-ctx.Done():
		}
	}()
	return ctx, func() {
		signal.Stop(caught)
		cancel(nil)
	}
}

// interruptible returns a reader of r whose Read fails once ctx ends. It may have read more of r than it returned.
func interruptible(ctx context.Context, r io.Reader) io.Reader {
	in, out := io.Pipe()
	context.AfterFunc(ctx, func() { out.CloseWithError(context.Cause(ctx)) })
	go func() {
		_, err := io.Copy(out, r)
		out.CloseWithError(err)
	}()
	return in
}

// openInterruptibly is os.Open that also returns when ctx ends: opening a named pipe waits for its writer.
func openInterruptibly(ctx context.Context, name string) (*os.File, error) {
	type opened struct {
		f   *os.File
		err error
	}
	done := make(chan opened, 1)
	go func() {
		f, err := os.Open(name)
		done <- opened{f, err}
	}()
	select {
	case o := <-done:
		return o.f, o.err
	case <-ctx.Done():
		return nil, fmt.Errorf("open %s: %w", name, context.Cause(ctx))
	}
}
