//go:build unix

// Gate runs everything that a change has to pass, on servers of its own:
//
//	CGO_ENABLED=0 go run ./internal/check test
//
// It is built without cgo because the C compiler, which the race detector needs, is one
// of the things that it installs.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"gatehouse/internal/testkit/servers"
)

// commands are what `gate NAME` runs: each is a list of steps.
var commands = map[string]func(*gate, context.Context){
	"test":    (*gate).test,
	"lint":    (*gate).lint,
	"bench":   (*gate).bench,
	"fuzz":    (*gate).fuzz,
	"nightly": (*gate).nightly,
	"audit":   (*gate).audit,
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	context.AfterFunc(ctx, stop) // a second signal ends us at once
	servers.DieWithParent()
	err := run(ctx, os.Args[1:], os.Stdout)
	if err == nil {
		return
	}
	if !errors.Is(err, errFailed) {
		fmt.Fprintln(os.Stderr, "gate:", err)
	}
	os.Exit(1)
}

// errFailed needs no further words: the summary has said what failed.
var errFailed = errors.New("not passed")

func run(ctx context.Context, args []string, out io.Writer) error {
	if len(args) != 1 || commands[args[0]] == nil {
		return errors.New("usage: gate test|lint|bench|fuzz|nightly|audit")
	}
	if err := toModuleRoot(); err != nil {
		return err
	}
	g := &gate{out: out, env: toolEnv(os.Environ())}
	commands[args[0]](g, ctx)
	g.stopServers()
	if ctx.Err() != nil {
		fmt.Fprintln(out, "\ninterrupted")
	}
	g.summarize()
	if ctx.Err() != nil || !g.passed() {
		return errFailed
	}
	return nil
}

func toModuleRoot() error {
	dir, err := os.Getwd()
	if err != nil {
		return err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return os.Chdir(dir)
		}
		if dir == filepath.Dir(dir) {
			return errors.New("run me inside the repository")
		}
		dir = filepath.Dir(dir)
	}
}

// toolEnv is the environment of everything that the gate runs: without the CGO_ENABLED=0
// that it was itself started with, without what would change libpq's defaults, and with the
// directories where Debian keeps servers.
func toolEnv(environ []string) []string {
	var env []string
	for _, entry := range environ {
		name, value, _ := strings.Cut(entry, "=")
		switch {
		case name == "CGO_ENABLED", strings.HasPrefix(name, "PG"):
		case name == "PATH":
			env = append(env, "PATH="+value+":/usr/sbin:/sbin")
		default:
			env = append(env, entry)
		}
	}
	return env
}
