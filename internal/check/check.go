//go:build unix

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"syscall"
	"time"

	"gatehouse/internal/testkit/servers"
)

// check runs steps one after another and records how each went.
type check struct {
	out   io.Writer
	env   []string
	steps []step
	tests *testCounts // nil if the command runs no tests
	stop  []func() error
}

type step struct {
	name string
	took time.Duration
	err  error
}

// step runs one step, unless the check was interrupted, and reports whether it succeeded.
func (c *check) step(ctx context.Context, name string, do func(context.Context) error) bool {
	if ctx.Err() != nil {
		return false
	}
	fmt.Fprintf(c.out, "\n=== %s\n", name)
	start := time.Now()
	err := do(ctx)
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		fmt.Fprintln(c.out, err)
	}
	c.steps = append(c.steps, step{name, time.Since(start), err})
	return err == nil
}

func (c *check) passed() bool {
	for _, s := range c.steps {
		if s.err != nil {
			return false
		}
	}
	return true
}

// summarize prints a line per step. If the command runs tests, the last line counts them.
func (c *check) summarize() {
	fmt.Fprintln(c.out)
	for _, s := range c.steps {
		verdict := "ok"
		if s.err != nil {
			verdict = "FAILED"
		}
		fmt.Fprintf(c.out, "%-8s%-20s%8.1fs\n", verdict, s.name, s.took.Seconds())
	}
	if c.tests != nil {
		fmt.Fprintln(c.out, c.tests)
	}
}

// startServers starts the servers that the tests share, and creates a directory for the binaries
// that they build. The tests find them through the environment.
func (c *check) startServers(context.Context) error {
	postgres, err := servers.NewPostgres()
	if err != nil {
		return err
	}
	c.stop = append(c.stop, postgres.Remove)
	binaries, err := servers.TempDir("binaries")
	if err != nil {
		return err
	}
	c.env = append(c.env,
		"GATEHOUSE_TEST_BINARIES="+binaries,
		"TEST_DATABASE_URL="+postgres.URL(),
		"GATEHOUSE_TEST_REQUIRE_SERVERS=1")
	return nil
}

func (c *check) stopServers() {
	var errs []error
	for _, stop := range c.stop {
		errs = append(errs, stop())
	}
	if err := errors.Join(errs...); err != nil {
		fmt.Fprintln(c.out, "stop the servers:", err)
	}
}

// command prepares a program, to be started in a new process group by wait. If ctx ends, the group
// gets SIGTERM, and SIGKILL 10 seconds later.
func (c *check) command(ctx context.Context, dir, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.Env = c.env
	cmd.Stdout, cmd.Stderr = c.out, c.out
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	return cmd
}

// wait starts a command and waits for it to exit.
func wait(ctx context.Context, cmd *exec.Cmd) error {
	if err := servers.Start(cmd, syscall.SIGTERM); err != nil {
		return err
	}
	err := cmd.Wait()
	if ctx.Err() != nil {
		syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // the rest of the group
		return ctx.Err()
	}
	return err
}

// run runs a program in a directory and passes its output on.
func (c *check) run(ctx context.Context, dir, name string, args ...string) error {
	return wait(ctx, c.command(ctx, dir, name, args...))
}
