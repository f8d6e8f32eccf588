//go:build unix

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"gatehouse/internal/check/pictures"
	"gatehouse/internal/testkit/servers"
)

// test runs all checks and all tests, including the seeds of the fuzz tests.
func (c *check) test(ctx context.Context) {
	if c.prepare(ctx) {
		c.step(ctx, "go test", func(ctx context.Context) error { return c.goTest(ctx, "-count=1") })
	}
}

// nightly looks for rare failures.
func (c *check) nightly(ctx context.Context) {
	if c.prepare(ctx) {
		c.step(ctx, "go test", func(ctx context.Context) error { return c.goTest(ctx, "-count=5", "-shuffle=on") })
		c.step(ctx, "soak", c.soak)
		c.step(ctx, "fuzz", func(ctx context.Context) error { return c.run(ctx, "", "tools/fuzz", "5m") })
		c.step(ctx, "bench", c.goBench)
	}
}

// prepare runs the checks without tests and starts the servers. It reports whether the tests can
// run: a failed check does not prevent that.
func (c *check) prepare(ctx context.Context) bool {
	c.tests = &testCounts{}
	c.lint(ctx)
	return c.step(ctx, "servers", c.startServers)
}

// soak changes users for ten minutes and looks for requests that still see the old user.
func (c *check) soak(ctx context.Context) error {
	long := *c
	long.env = append(slices.Clip(c.env), "GATEHOUSE_SOAK=10m")
	return long.goTest(ctx, "-count=1", "-run=^TestSoak$")
}

func (c *check) fuzz(ctx context.Context) {
	if c.step(ctx, "servers", c.startServers) {
		c.step(ctx, "fuzz", func(ctx context.Context) error { return c.run(ctx, "", "tools/fuzz", "20s") })
	}
}

// bench measures the site before it starts the shared servers.
func (c *check) bench(ctx context.Context) {
	c.step(ctx, "site under load", c.loadSite)
	if c.step(ctx, "servers", c.startServers) {
		c.step(ctx, "go test -bench", c.goBench)
	}
}

// loadSite runs internal/bench. It builds the binary, because `go run` would not forward signals.
func (c *check) loadSite(ctx context.Context) error {
	dir, err := servers.TempDir("bench")
	if err != nil {
		return err
	}
	path := filepath.Join(dir, "bench")
	if err := c.run(ctx, "", "go", "build", "-buildvcs=false", "-o", path, "./internal/bench"); err != nil {
		return err
	}
	return c.run(ctx, "", path)
}

func (c *check) goBench(ctx context.Context) error {
	return c.run(ctx, "", "go", "test", "-run=^$", "-bench=.", "-benchmem", "-timeout=60m", "./...")
}

const (
	picturesDir   = "docs/pictures"
	pictureReport = "pictures" // ignored by git
)

// pictures photographs every page at every width and in both color schemes, and shows what changed since the last time.
// A change is no failure: people look at it, and commit the new pictures.
func (c *check) pictures(ctx context.Context) {
	if !c.step(ctx, "servers", c.startServers) {
		return
	}
	var taken string
	if c.step(ctx, "pictures", func(ctx context.Context) (err error) {
		if taken, err = servers.TempDir("pictures"); err != nil {
			return err
		}
		return c.withEnv("GATEHOUSE_PICTURES="+taken).run(ctx, "", "go", "test", "-count=1", "-timeout=20m", "-run=^TestTour_", "./internal/e2e/browser")
	}) {
		c.step(ctx, "changes", func(context.Context) error { return c.reportPictures(taken) })
	}
}

func (c *check) reportPictures(taken string) error {
	changes, err := pictures.Update(picturesDir, taken, pictureReport)
	for _, change := range changes {
		fmt.Fprintf(c.out, "%-8s %5.1f%%  %s\n", change.Kind, 100*change.Share, change.Name)
	}
	if err == nil {
		fmt.Fprintf(c.out, "%d pictures changed. %s has the new ones, %s the changed ones as old, new and difference.\n", len(changes), picturesDir, pictureReport)
	}
	return err
}

// audit compares all modules with the Go vulnerability database.
func (c *check) audit(ctx context.Context) {
	fmt.Fprintln(c.out, "govulncheck queries the Go vulnerability database: this needs the internet.")
	c.step(ctx, "govulncheck", func(ctx context.Context) error {
		return each(ctx, codeModules, func(dir string) error { return c.tool(ctx, dir, "govulncheck", "./...") })
	})
}

// codeModules are the directories of the modules with packages; allModules adds the one that only
// pins tools.
var (
	codeModules = []string{".", "clients/go"}
	allModules  = append(slices.Clip(codeModules), "tools")
)

// lint needs neither servers nor Debian packages.
func (c *check) lint(ctx context.Context) {
	c.step(ctx, "gofmt", c.gofmt)
	c.step(ctx, "go generate", c.generate)
	c.step(ctx, "go vet", func(ctx context.Context) error {
		return each(ctx, codeModules, func(dir string) error { return c.run(ctx, dir, "go", "vet", "./...") })
	})
	c.step(ctx, "go vet, macOS", func(ctx context.Context) error {
		return c.withEnv("GOOS=darwin", "CGO_ENABLED=0").run(ctx, "", "go", "vet", "./...")
	})
	c.step(ctx, "go build, Windows", func(ctx context.Context) error {
		return c.withEnv("GOOS=windows", "CGO_ENABLED=0").run(ctx, "", "go", "build", "./...")
	})
	c.step(ctx, "staticcheck", func(ctx context.Context) error {
		return each(ctx, codeModules, func(dir string) error { return c.tool(ctx, dir, "staticcheck", "./...") })
	})
	c.step(ctx, "go mod tidy", func(ctx context.Context) error {
		return each(ctx, allModules, func(dir string) error { return c.tidy(ctx, dir) })
	})
	c.step(ctx, "go mod verify", func(ctx context.Context) error {
		return each(ctx, allModules, func(dir string) error { return c.run(ctx, dir, "go", "mod", "verify") })
	})
}

// each calls do for every directory, unless ctx ends, and joins the errors.
func each(ctx context.Context, dirs []string, do func(dir string) error) error {
	var errs []error
	for _, dir := range dirs {
		if ctx.Err() != nil {
			break
		}
		if err := do(dir); err != nil {
			errs = append(errs, fmt.Errorf("module %s: %w", dir, err))
		}
	}
	return errors.Join(errs...)
}

// withEnv returns a copy of c whose commands have further environment variables.
func (c *check) withEnv(env ...string) *check {
	changed := *c
	changed.env = slices.Concat(c.env, env)
	return &changed
}

// tool runs a Go tool in the version of tools/go.mod.
func (c *check) tool(ctx context.Context, dir string, args ...string) error {
	modfile, err := filepath.Abs("tools/go.mod")
	if err != nil {
		return err
	}
	return c.run(ctx, dir, "go", append([]string{"tool", "-modfile=" + modfile}, args...)...)
}

func (c *check) gofmt(ctx context.Context) error {
	var files bytes.Buffer
	cmd := c.command(ctx, "", "gofmt", "-l", ".")
	cmd.Stdout = &files
	if err := wait(ctx, cmd); err != nil {
		return err
	}
	if files.Len() > 0 {
		return fmt.Errorf("not formatted (run make fmt):\n%s", strings.TrimSpace(files.String()))
	}
	return nil
}

// generate regenerates the Go code of the pages and fails if it was stale.
func (c *check) generate(ctx context.Context) error {
	before, err := generatedPages()
	if err != nil {
		return err
	}
	if err := c.run(ctx, "", "go", "generate", "./templates"); err != nil {
		return err
	}
	after, err := generatedPages()
	if err != nil {
		return err
	}
	if !maps.Equal(before, after) {
		return errors.New("templates/*_templ.go were stale and have been regenerated: commit them")
	}
	return nil
}

// generatedPages returns the contents of the generated files by path.
func generatedPages() (map[string]string, error) {
	paths, err := filepath.Glob("templates/*_templ.go")
	if err != nil {
		return nil, err
	}
	files := map[string]string{}
	for _, path := range paths {
		content, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		files[path] = string(content)
	}
	return files, nil
}

// tidy compares go.mod with the imports. That needs modules that no build needs, so a developer
// who is offline only gets a message; in CI the comparison must succeed.
func (c *check) tidy(ctx context.Context, dir string) error {
	var diff bytes.Buffer
	cmd := c.command(ctx, dir, "go", "mod", "tidy", "-diff")
	cmd.Stdout = &diff
	err := wait(ctx, cmd)
	if diff.Len() > 0 {
		return fmt.Errorf("not tidy:\n%s", diff.Bytes())
	}
	if err != nil && ctx.Err() == nil && os.Getenv("CI") == "" {
		fmt.Fprintf(c.out, "go mod tidy failed (%v), and is ignored outside CI: are you offline?\n", err)
		return nil
	}
	return err
}
