//go:build linux

// Bench measures Gatehouse under load, beside the textbook use of the same libraries and
// beside servers that do less, in one run on servers of its own (docs/benchmarks.md):
//
//	go run ./internal/bench [-duration 4s] [-rounds 5] [-connections 64] [-o FILE] [-profile DIR]
//
// A missed target is no failure; a measurement that went wrong is.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"gatehouse/internal/testkit/servers"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	context.AfterFunc(ctx, stop) // a second signal ends us at once
	servers.DieWithParent()
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	if err == nil || errors.Is(err, flag.ErrHelp) {
		return
	}
	fmt.Fprintln(os.Stderr, "bench:", err)
	os.Exit(1)
}

func run(ctx context.Context, args []string, out, progress io.Writer) error {
	if len(args) == 2 && args[0] == "serve" {
		return serveReference(ctx, args[1])
	}
	o, err := parseOptions(args, progress)
	if err != nil {
		return err
	}
	b := &bench{options: o, progress: progress, samples: map[string][]sample{}}
	defer b.stop()
	ctx, cancel := context.WithTimeout(ctx, o.longest())
	defer cancel()
	if err := b.measure(ctx); err != nil {
		return err
	}
	text := b.report()
	if _, err := io.WriteString(out, text); err != nil {
		return fmt.Errorf("print the report: %w", err)
	}
	if o.output == "" {
		return nil
	}
	return os.WriteFile(o.output, []byte(text), 0o644)
}

// options are the flags.
type options struct {
	duration    time.Duration // of one measurement; wrk takes whole seconds
	rounds      int
	connections int
	output      string // a file for the report; may be empty
	profile     string // a directory for the profile; may be empty
}

// longest bounds the whole run: what the measurements take, and three minutes for all else (a profile, too).
func (o options) longest() time.Duration {
	round := 11*(warmUp+o.duration) + warmUp + naiveDuration + 2*(o.duration+stormLead)
	return time.Duration(o.rounds)*round + 3*time.Minute
}

// maxConnections leaves room below the 300 connections of our Postgres: the textbook's pool
// opens one for each request in flight.
const maxConnections = 200

func parseOptions(args []string, w io.Writer) (options, error) {
	var o options
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.SetOutput(w)
	f.DurationVar(&o.duration, "duration", 4*time.Second, "how long each measurement takes, in whole seconds")
	f.IntVar(&o.rounds, "rounds", 5, "how often each is repeated; they take turns")
	f.IntVar(&o.connections, "connections", 64, "open connections of the load")
	f.StringVar(&o.output, "o", "", "write the report to this `file` as well")
	f.StringVar(&o.profile, "profile", "", "write a CPU profile of the dashboard under load into this `directory`")
	if err := f.Parse(args); err != nil {
		return options{}, err
	}
	o.duration = o.duration.Round(time.Second)
	switch {
	case f.NArg() > 0:
		return options{}, fmt.Errorf("%q is not expected; see -help", f.Arg(0))
	case o.duration < time.Second || o.duration > time.Hour:
		return options{}, errors.New("-duration must be 1s to 1h")
	case o.rounds < 1:
		return options{}, errors.New("-rounds must be at least 1")
	case o.connections < 1 || o.connections > maxConnections:
		return options{}, fmt.Errorf("-connections must be 1 to %d", maxConnections)
	}
	return o, nil
}
