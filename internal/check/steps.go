//go:build unix

package main

import (
	"context"
	"fmt"
	"io"
	"os/exec"
	"syscall"
	"time"

	"gatehouse/internal/testkit/servers"
)

// gate runs steps one after the other and remembers how each went.
type gate struct {
	out   io.Writer
	env   []string
	steps []step
	tests *report // nil if the command runs no tests

	stop []func() error // what stops the servers
}

type step struct {
	name string
	took time.Duration
	err  error
}

// step runs one step, unless the gate was interrupted, and says whether it went well.
func (g *gate) step(ctx context.Context, name string, do func(context.Context) error) bool {
	if ctx.Err() != nil {
		return false
	}
	fmt.Fprintf(g.out, "\n=== %s\n", name)
	start := time.Now()
	err := do(ctx)
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		fmt.Fprintln(g.out, err)
	}
	g.steps = append(g.steps, step{name, time.Since(start), err})
	return err == nil
}

func (g *gate) passed() bool {
	for _, s := range g.steps {
		if s.err != nil {
			return false
		}
	}
	return true
}

// summarize prints a line per step and, where tests were to run, their count as the last line.
func (g *gate) summarize() {
	if g.tests != nil {
		g.tests.list()
	}
	fmt.Fprintln(g.out)
	for _, s := range g.steps {
		verdict := "ok"
		if s.err != nil {
			verdict = "FAILED"
		}
		fmt.Fprintf(g.out, "%-8s%-20s%8.1fs\n", verdict, s.name, s.took.Seconds())
	}
	if g.tests != nil {
		fmt.Fprintln(g.out, g.tests.count())
	}
}

// command prepares a program in a process group of its own. When the gate is interrupted,
// the group is asked to end, and killed 10 seconds later.
func (g *gate) command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = g.env
	cmd.Stdout, cmd.Stderr = g.out, g.out
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	return cmd
}

// finish starts a command and waits for it.
func finish(ctx context.Context, cmd *exec.Cmd) error {
	if err := servers.Start(cmd, syscall.SIGTERM); err != nil {
		return err
	}
	err := cmd.Wait()
	if ctx.Err() != nil {
		syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // what is left of the group
		return ctx.Err()
	}
	return err
}

// run runs a program with its output passed on.
func (g *gate) run(ctx context.Context, name string, args ...string) error {
	return finish(ctx, g.command(ctx, name, args...))
}
