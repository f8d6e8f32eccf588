//go:build unix

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"gatehouse/internal/testkit/servers"
)

// testCounts counts tests, including subtests.
type testCounts struct {
	total, failed, skipped int
	took                   time.Duration
}

func (t *testCounts) String() string {
	return fmt.Sprintf("%d passed, %d failed, %d skipped in %v",
		max(0, t.total-t.failed-t.skipped), t.failed, t.skipped, t.took.Round(time.Second))
}

// goTest runs the tests of all modules with the race detector. gotestsum prints a line per
// package, and at the end the output of failed and skipped tests. A skipped test is an error:
// everything that tests need is installed.
func (c *check) goTest(ctx context.Context, flags ...string) error {
	race := c.withEnv("CGO_ENABLED=1") // the race detector needs cgo
	return each(ctx, codeModules, func(dir string) error {
		return race.gotestsum(ctx, dir, slices.Concat([]string{"-race", "-timeout=20m"}, flags))
	})
}

// gotestsum runs the tests of one module and adds to c.tests.
func (c *check) gotestsum(ctx context.Context, dir string, flags []string) error {
	temp, err := servers.TempDir("gotestsum")
	if err != nil {
		return err
	}
	counts := filepath.Join(temp, "counts")
	args := slices.Concat([]string{"gotestsum", "--format=pkgname", "--format-hide-empty-pkg", "--format-icons=text",
		`--post-run-command=sh -c 'echo $TESTS_TOTAL $TESTS_FAILED $TESTS_SKIPPED >"$0"' ` + counts, "--"}, flags, []string{"./..."})
	start := time.Now()
	err = c.tool(ctx, dir, args...)
	c.tests.took += time.Since(start)
	if ctx.Err() != nil {
		c.tests.failed++
		return ctx.Err()
	}
	var total, failed, skipped int
	if text, errRead := os.ReadFile(counts); errRead != nil {
		err = errors.Join(err, errRead)
	} else if _, errScan := fmt.Sscan(string(text), &total, &failed, &skipped); errScan != nil {
		err = errors.Join(err, fmt.Errorf("read the test counts %q: %w", text, errScan))
	}
	if err != nil {
		failed = max(1, failed) // it may have failed before the first test
	}
	if skipped > 0 {
		err = errors.Join(err, fmt.Errorf("%d tests were skipped", skipped))
	}
	c.tests.total += total
	c.tests.failed += failed
	c.tests.skipped += skipped
	return err
}
