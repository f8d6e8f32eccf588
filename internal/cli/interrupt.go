package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"reflect"
	"syscall"
	"time"

	"golang.org/x/term"
)

// interruption is the cause of a context that a signal ended.
type interruption struct{ signal os.Signal }

func (i interruption) Error() string { return "interrupted (" + i.signal.String() + ")" }

// Is makes it what the standard library's contexts end with.
func (i interruption) Is(target error) bool { return target == context.Canceled }

// UntilSignal returns a context that ends with an interruption.
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

// exitCode returns what a command that failed exits with: 128 and the signal's number, as shells count, for one
// that a signal ended.
func exitCode(ctx context.Context, err error) int {
	if i, ok := errors.AsType[interruption](context.Cause(ctx)); ok && errors.Is(err, context.Canceled) {
		if s, ok := i.signal.(syscall.Signal); ok {
			return 128 + int(s)
		}
	}
	return 1
}

// Report prints the error of a command, unless it is printed already, and returns what the program exits with.
func Report(ctx context.Context, err error, w io.Writer) int {
	if err == nil {
		return 0
	}
	code := exitCode(ctx, err)
	if _, said := errors.AsType[interruption](err); code > 1 && !said {
		err = fmt.Errorf("interrupted: %w", err)
	}
	if !errors.Is(err, errReported) {
		fmt.Fprintln(w, "gatehouse:", err)
	}
	return code
}

// interruptible returns a reader of the same text whose Read ends with the context. What is read of r afterwards
// is lost.
func interruptible(ctx context.Context, r io.Reader) io.Reader {
	in, out := io.Pipe()
	context.AfterFunc(ctx, func() { out.CloseWithError(context.Cause(ctx)) })
	go func() {
		_, err := io.Copy(out, r)
		out.CloseWithError(err)
	}()
	return in
}

// openInterruptibly is os.Open, which waits for a writer where the file is a named pipe.
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

// restoreWait is how long a terminal's echo may take to be turned off.
const restoreWait = time.Second

// readPassword is term.ReadPassword that ends with the context, and leaves the terminal as it was then, too.
func readPassword(ctx context.Context, terminal int) (string, error) {
	before, err := term.GetState(terminal)
	if err != nil {
		return "", err
	}
	type answer struct {
		text []byte
		err  error
	}
	done := make(chan answer, 1)
	go func() {
		text, err := term.ReadPassword(terminal)
		done <- answer{text, err}
	}()
	select {
	case a := <-done:
		return string(a.text), a.err
	case <-ctx.Done():
	}
	// The echo may be about to be turned off. It is turned on again afterwards, not before.
	for deadline := time.Now().Add(restoreWait); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if now, err := term.GetState(terminal); err != nil || !reflect.DeepEqual(now, before) {
			break
		}
	}
	return "", errors.Join(context.Cause(ctx), term.Restore(terminal, before))
}
