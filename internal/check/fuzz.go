//go:build unix

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// target is a fuzz test. go test takes only one at a time.
type target struct{ pkg, name string }

// fuzzEach runs every fuzz target for a while, without the race detector, which the seeds
// meet in the ordinary tests: it would leave a tenth of the inputs.
func (g *gate) fuzzEach(ctx context.Context, each time.Duration) error {
	targets, err := g.fuzzTargets(ctx)
	if err != nil {
		return err
	}
	var failed []string
	for _, t := range targets {
		if err := g.fuzzOne(ctx, t, each); err != nil {
			failed = append(failed, t.pkg+"."+t.name)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	if g.tests != nil {
		for _, name := range failed {
			g.tests.fail(name + " (fuzzing)")
		}
	}
	if len(failed) > 0 {
		return fmt.Errorf("failed: %s", strings.Join(failed, ", "))
	}
	return nil
}

// fuzzOne prints one line if all is well, and everything if not.
func (g *gate) fuzzOne(ctx context.Context, t target, each time.Duration) error {
	out, err := g.fuzzRun(ctx, t, each)
	if err != nil && endedLate(out) {
		out, err = g.fuzzRun(ctx, t, each)
	}
	if err != nil {
		fmt.Fprintf(g.out, "%s\nFAIL  %s.%s: %v\n", out, t.pkg, t.name, err)
		return err
	}
	fmt.Fprintf(g.out, "ok    %s.%s%s\n", t.pkg, t.name, executions(out))
	return nil
}

func (g *gate) fuzzRun(ctx context.Context, t target, each time.Duration) ([]byte, error) {
	var out bytes.Buffer
	cmd := g.command(ctx, "go", "test", "-run=^$", "-fuzz=^"+t.name+"$", "-fuzztime="+each.String(), t.pkg)
	cmd.Stdout, cmd.Stderr = &out, &out
	err := finish(ctx, cmd)
	return out.Bytes(), err
}

// endedLate recognizes a run that failed only because its time was up while an input was
// being tried, which go test now and then reports as a failure.
func endedLate(out []byte) bool {
	return bytes.Contains(out, []byte("context deadline exceeded")) &&
		!bytes.Contains(out, []byte("Failing input written"))
}

var execsPattern = regexp.MustCompile(`execs: (\d+)`)

// executions is the last count of inputs that a run printed.
func executions(out []byte) string {
	all := execsPattern.FindAllSubmatch(out, -1)
	if len(all) == 0 {
		return ""
	}
	return fmt.Sprintf(", %s inputs", all[len(all)-1][1])
}

// fuzzTargets finds the targets in the sources; asking the test binaries would start them.
func (g *gate) fuzzTargets(ctx context.Context) ([]target, error) {
	var list bytes.Buffer
	cmd := g.command(ctx, "go", "list", "-json=ImportPath,Dir,TestGoFiles,XTestGoFiles", "./...")
	cmd.Stdout = &list
	if err := finish(ctx, cmd); err != nil {
		return nil, err
	}
	var targets []target
	for packages := json.NewDecoder(&list); ; {
		var p struct {
			ImportPath, Dir           string
			TestGoFiles, XTestGoFiles []string
		}
		if err := packages.Decode(&p); errors.Is(err, io.EOF) {
			return targets, nil
		} else if err != nil {
			return nil, err
		}
		for _, file := range slices.Concat(p.TestGoFiles, p.XTestGoFiles) {
			source, err := os.ReadFile(filepath.Join(p.Dir, file))
			if err != nil {
				return nil, err
			}
			for _, name := range fuzzFuncs(source) {
				targets = append(targets, target{p.ImportPath, name})
			}
		}
	}
}

var fuzzPattern = regexp.MustCompile(`(?m)^func (Fuzz\w*)\(\w+ \*testing\.F\)`)

func fuzzFuncs(source []byte) []string {
	var names []string
	for _, match := range fuzzPattern.FindAllSubmatch(source, -1) {
		names = append(names, string(match[1]))
	}
	return names
}
