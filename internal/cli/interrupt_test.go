package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestOpenInterruptibly_EndsWithTheContext(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	time.AfterFunc(10*time.Millisecond, func() { cancel(interruption{syscall.SIGINT}) })
	_, err := openInterruptibly(ctx, pipe)
	if !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "interrupted") || exitCode(ctx, err) != 130 {
		t.Errorf("got %v, exit code %d", err, exitCode(ctx, err))
	}
	if _, err := openInterruptibly(t.Context(), pipe+"x"); err == nil || exitCode(t.Context(), err) != 1 {
		t.Errorf("a missing file: got %v", err)
	}
}

func TestInterruptible_EndsWithTheContext(t *testing.T) {
	text := strings.Repeat("x", 1<<20)
	got, err := io.ReadAll(interruptible(t.Context(), strings.NewReader(text)))
	if err != nil || string(got) != text {
		t.Errorf("got %d bytes, %v", len(got), err)
	}
	in, out := io.Pipe() // never ends
	defer out.Close()
	ctx, cancel := context.WithCancelCause(t.Context())
	r := interruptible(ctx, in)
	if _, err := fmt.Fprint(out, "a"); err != nil {
		t.Fatal(err)
	}
	if n, err := r.Read(make([]byte, 9)); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	cancel(interruption{syscall.SIGTERM})
	if _, err := r.Read(make([]byte, 9)); !errors.Is(err, context.Canceled) || exitCode(ctx, err) != 143 {
		t.Errorf("got %v, exit code %d", err, exitCode(ctx, err))
	}
}
