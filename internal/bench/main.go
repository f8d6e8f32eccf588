//go:build linux

// Command bench measures Gatehouse under load on private servers, and in the same run compares it
// with the textbook use of the same libraries and with servers that do less (docs/benchmarks.md):
//
//	go run ./internal/bench [-duration 4s] [-rounds 5] [-connections 64] [-o FILE] [-profile DIR]
//
// A missed target is not an error; a failed measurement is. It needs Linux, for /proc.
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
	context.AfterFunc(ctx, stop) // a second signal ends the process immediately
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
	ctx, cancel := context.WithTimeout(ctx, o.timeout())
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

// options are the command-line flags.
type options struct {
	duration    time.Duration // of one measurement, in whole seconds, as wrk requires
	rounds      int
	connections int
	output      string // file for the report; may be empty
	profile     string // directory for the profile; may be empty
}

// timeout bounds the whole run: the measurements, and three minutes for the rest, including a profile.
func (o options) timeout() time.Duration {
	round := 11*(warmUp+o.duration) + warmUp + naiveDuration + 2*(o.duration+stormLead)
	return time.Duration(o.rounds)*round + 3*time.Minute
}

// maxConnections is below the 300 connections of the test Postgres: the textbook's pool opens one
// for each concurrent request.
const maxConnections = 200

func parseOptions(args []string, w io.Writer) (options, error) {
	var o options
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.SetOutput(w)
	f.DurationVar(&o.duration, "duration", 4*time.Second, "duration of each measurement, in whole seconds")
	f.IntVar(&o.rounds, "rounds", 5, "number of interleaved measurements of each target")
	f.IntVar(&o.connections, "connections", 64, "number of concurrent connections")
	f.StringVar(&o.output, "o", "", "write the report to this `file` as well")
	f.StringVar(&o.profile, "profile", "", "write a CPU profile of the dashboard under load into this `directory`")
	if err := f.Parse(args); err != nil {
		return options{}, err
	}
	o.duration = o.duration.Round(time.Second)
	switch {
	case f.NArg() > 0:
		return options{}, fmt.Errorf("unexpected argument %q; see -help", f.Arg(0))
	case o.duration < time.Second || o.duration > time.Hour:
		return options{}, errors.New("-duration must be between 1s and 1h")
	case o.rounds < 1:
		return options{}, errors.New("-rounds must be at least 1")
	case o.connections < 1 || o.connections > maxConnections:
		return options{}, fmt.Errorf("-connections must be between 1 and %d", maxConnections)
	}
	return o, nil
}
