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
	"time"

	"gatehouse/internal/testkit/servers"
)

// test is the one gate: all checks and all tests, the seeds of the fuzz targets among them.
func (g *gate) test(ctx context.Context) {
	if g.ready(ctx) {
		g.step(ctx, "go test", func(ctx context.Context) error { return g.goTest(ctx, "-count=1") })
	}
}

// nightly takes the time to look for what happens rarely.
func (g *gate) nightly(ctx context.Context) {
	if g.ready(ctx) {
		g.step(ctx, "go test", func(ctx context.Context) error { return g.goTest(ctx, "-count=5", "-shuffle=on") })
		g.step(ctx, "soak", g.soak)
		g.step(ctx, "fuzz", func(ctx context.Context) error { return g.fuzzEach(ctx, 5*time.Minute) })
		g.step(ctx, "bench", g.goBench)
	}
}

// soak looks for ten minutes for somebody who is served after they were changed.
func (g *gate) soak(ctx context.Context) error {
	long := *g
	long.env = append(slices.Clip(g.env), "GATEHOUSE_SOAK=10m")
	return long.goTest(ctx, "-count=1", "-run=^TestSoak$")
}

// ready gets the machine and the code checked and the servers started. Failing checks do not
// keep the tests from running; a lacking server does.
func (g *gate) ready(ctx context.Context) bool {
	g.tests = newReport(g.out)
	if !g.step(ctx, "packages", g.installPackages) || !g.step(ctx, "npm", g.installModules) {
		return false
	}
	g.lint(ctx)
	return g.step(ctx, "servers", g.startServers)
}

func (g *gate) fuzz(ctx context.Context) {
	if g.step(ctx, "packages", g.installPackages) && g.step(ctx, "servers", g.startServers) {
		g.step(ctx, "fuzz", func(ctx context.Context) error { return g.fuzzEach(ctx, 20*time.Second) })
	}
}

// bench measures whole servers first, before there are others beside them.
func (g *gate) bench(ctx context.Context) {
	if !g.step(ctx, "packages", g.installBenchPackages) {
		return
	}
	g.step(ctx, "site under load", g.loadSite)
	if g.step(ctx, "servers", g.startServers) {
		g.step(ctx, "go test -bench", g.goBench)
	}
}

// loadSite runs the benchmark of the program, built first so that it gets our signals.
func (g *gate) loadSite(ctx context.Context) error {
	dir, err := servers.TempDir("bench")
	if err != nil {
		return err
	}
	path := filepath.Join(dir, "bench")
	if err := g.run(ctx, "go", "build", "-buildvcs=false", "-o", path, "./internal/bench"); err != nil {
		return err
	}
	return g.run(ctx, path)
}

func (g *gate) goBench(ctx context.Context) error {
	return g.run(ctx, "go", "test", "-run=^$", "-bench=.", "-benchmem", "-timeout=60m", "./...")
}

// audit compares the code with the list of known vulnerabilities.
func (g *gate) audit(ctx context.Context) {
	fmt.Fprintln(g.out, "govulncheck asks the Go vulnerability database: this needs the internet.")
	g.step(ctx, "govulncheck", func(ctx context.Context) error { return g.tool(ctx, "govulncheck", "./...") })
}

// lint needs neither servers nor further packages.
func (g *gate) lint(ctx context.Context) {
	g.step(ctx, "gofmt", g.gofmt)
	g.step(ctx, "go generate", g.generate)
	g.step(ctx, "go vet", func(ctx context.Context) error { return g.run(ctx, "go", "vet", "./...", goReader) })
	g.step(ctx, "staticcheck", func(ctx context.Context) error { return g.tool(ctx, "staticcheck", "./...", goReader) })
	g.step(ctx, "go mod tidy", func(ctx context.Context) error { return errors.Join(g.tidy(ctx, "."), g.tidy(ctx, "clients/go")) })
	g.step(ctx, "go mod verify", func(ctx context.Context) error { return g.run(ctx, "go", "mod", "verify") })
}

// tool runs a Go tool whose version tools/go.mod pins, apart from the program's own modules.
func (g *gate) tool(ctx context.Context, args ...string) error {
	return g.run(ctx, "go", append([]string{"tool", "-modfile=tools/go.mod"}, args...)...)
}

func (g *gate) gofmt(ctx context.Context) error {
	var files bytes.Buffer
	cmd := g.command(ctx, "gofmt", "-l", ".")
	cmd.Stdout = &files
	if err := finish(ctx, cmd); err != nil {
		return err
	}
	if files.Len() > 0 {
		return fmt.Errorf("not formatted (make fmt):\n%s", strings.TrimSpace(files.String()))
	}
	return nil
}

// generate regenerates the pages' Go code and fails if it was not that of the *.templ files.
func (g *gate) generate(ctx context.Context) error {
	before, err := generatedPages()
	if err != nil {
		return err
	}
	if err := g.run(ctx, "go", "generate", "./templates"); err != nil {
		return err
	}
	after, err := generatedPages()
	if err != nil {
		return err
	}
	if !maps.Equal(before, after) {
		return errors.New("templates/*_templ.go were stale; they have been regenerated, commit them")
	}
	return nil
}

// generatedPages returns the content of the generated files by path.
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

// goReader is the Go session reader, a module of its own, which ./... does not include.
const goReader = "gatehouse/clients/go/..."

// tidy compares the go.mod in dir with the imports. That takes modules which no build needs, so that a
// developer who is offline is let off with a word; under CI it has to work.
func (g *gate) tidy(ctx context.Context, dir string) error {
	var diff bytes.Buffer
	cmd := g.command(ctx, "go", "-C", dir, "mod", "tidy", "-diff")
	cmd.Stdout = &diff
	err := finish(ctx, cmd)
	if diff.Len() > 0 {
		return fmt.Errorf("%s/go.mod is not tidy:\n%s", dir, diff.Bytes())
	}
	if err != nil && ctx.Err() == nil && os.Getenv("CI") == "" {
		fmt.Fprintf(g.out, "not compared (%v): are the modules out of reach?\n", err)
		return nil
	}
	return err
}

// startServers starts what tests share and tells them through the environment.
func (g *gate) startServers(context.Context) error {
	postgres, err := servers.NewPostgres()
	if err != nil {
		return err
	}
	g.stop = append(g.stop, postgres.Remove)
	redis, err := servers.NewRedis()
	if err != nil {
		return err
	}
	g.stop = append(g.stop, redis.Remove)
	npm, err := filepath.Abs(npmDir)
	if err != nil {
		return err
	}
	g.env = append(g.env,
		"TEST_DATABASE_URL="+postgres.URL(),
		"TEST_REDIS_URL="+redis.URL(),
		"GATEHOUSE_TEST_REQUIRE_SERVERS=1",
		"GATEHOUSE_TEST_NPM="+npm)
	return nil
}

func (g *gate) stopServers() {
	var errs []error
	for _, stop := range g.stop {
		errs = append(errs, stop())
	}
	if err := errors.Join(errs...); err != nil {
		fmt.Fprintln(g.out, "stop the servers:", err)
	}
}
