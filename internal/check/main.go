//go:build unix

// Command check runs everything that a change has to pass, on private servers. The Makefile
// installs what it needs and runs it in the root of the repository.
//
// It knows nothing of Gatehouse but where its modules, tools and servers are.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"gatehouse/internal/testkit/servers"
)

// commands maps the argument of check to the steps that it runs.
var commands = map[string]func(*check, context.Context){
	"test":     (*check).test,
	"lint":     (*check).lint,
	"bench":    (*check).bench,
	"fuzz":     (*check).fuzz,
	"nightly":  (*check).nightly,
	"audit":    (*check).audit,
	"pictures": (*check).pictures,
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	context.AfterFunc(ctx, stop) // a second signal ends the process immediately
	servers.DieWithParent()
	err := run(ctx, os.Args[1:])
	if err == nil {
		return
	}
	if !errors.Is(err, errFailed) {
		fmt.Fprintln(os.Stderr, "check:", err)
	}
	os.Exit(1)
}

// errFailed needs no message: the summary says what failed.
var errFailed = errors.New("a step failed")

func run(ctx context.Context, args []string) error {
	if len(args) != 1 || commands[args[0]] == nil {
		return errors.New("usage: check test|lint|bench|fuzz|nightly|audit|pictures")
	}
	c := &check{out: os.Stdout, env: os.Environ()}
	commands[args[0]](c, ctx)
	c.stopServers()
	if ctx.Err() != nil {
		fmt.Fprintln(c.out, "\ninterrupted")
	}
	c.summarize()
	if ctx.Err() != nil || !c.passed() {
		return errFailed
	}
	return nil
}
