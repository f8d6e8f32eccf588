package db

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"

	"gatehouse/auth"
	"gatehouse/internal/testkit"
)

func postgresURL(t *testing.T) string { return testkit.PostgresURL(t) }

// otherProcess names the file that a copy of this test program changes; see TestMain.
const otherProcess = "GATEHOUSE_TEST_CHANGE_SQLITE"

// TestMain makes the second process of TestWatch out of this test program.
func TestMain(m *testing.M) {
	path := os.Getenv(otherProcess)
	if path == "" {
		os.Exit(m.Run())
	}
	d, err := Open(context.Background(), "sqlite:"+path)
	if err == nil {
		err = d.CreateUser(context.Background(), newUser("other"))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func TestWatch(t *testing.T) {
	t.Parallel()
	d := open(t, sqliteURL(t))
	ok(t, d.Migrate(t.Context()))
	u := create(t, d, newUser("alice"))

	ctx, cost := auth.WithCost(t.Context())
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	calls, ended := make(chan struct{}, 100), make(chan struct{})
	go func() {
		defer close(ended)
		d.Watch(ctx, func() { calls <- struct{}{} })
	}()
	wait(t, calls, "the beginning")

	_, err := d.RaiseEpoch(t.Context(), u.ID)
	ok(t, err)
	wait(t, calls, "a change of our own")

	ok(t, byHand(t, d, `UPDATE users SET name = 'by hand'`))
	wait(t, calls, "a change on another connection")

	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), otherProcess+"="+d.path)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	wait(t, calls, "a change of another process")
	if _, err := d.UserByUsername(t.Context(), "other"); err != nil {
		t.Fatal(err)
	}

	byID(t, d, u.ID)
	cancel()
	wait(t, ended, "the end")
	equal(t, "calls without a change", len(calls), 0)
	equal(t, "statements counted", cost.SQL(), 0)
}

// Whoever cannot look must assume a change.
func TestWatchError(t *testing.T) {
	t.Parallel()
	d := open(t, sqliteURL(t))
	ok(t, os.Remove(d.path))
	ok(t, os.Mkdir(d.path, 0o700))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	calls := make(chan struct{})
	go d.Watch(ctx, func() {
		select {
		case calls <- struct{}{}:
		case <-ctx.Done():
		}
	})
	wait(t, calls, "the first error")
	wait(t, calls, "the second error")
}

func TestWatchPostgresReturns(t *testing.T) {
	d := open(t, "postgres://u@127.0.0.1:1/x")
	d.Watch(t.Context(), func() { t.Error("called") })
}

func wait(t *testing.T, c <-chan struct{}, what string) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(10 * time.Second):
		t.Fatalf("Watch did not notice %s", what)
	}
}
