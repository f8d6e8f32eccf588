//go:build unix

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strings"
)

// maySkip names the tests, as "package.Test", that may be skipped under the gate, and why.
// It has everything that tests ask for, so that a skipped test is one that nobody runs.
var maySkip = map[string]string{}

// goTest runs all tests under the race detector.
func (g *gate) goTest(ctx context.Context, flags ...string) error {
	args := slices.Concat([]string{"test", "-json", "-race", "-timeout=20m"}, flags, []string{"./...", goReader})
	cmd := g.command(ctx, "go", args...)
	cmd.Env = append(slices.Clip(g.env), "CGO_ENABLED=1") // the race detector needs it
	err := g.tests.follow(ctx, cmd)
	if err != nil && g.tests.failed == 0 {
		g.tests.failed++ // it did not get as far as a test
	}
	if skipped := g.tests.wronglySkipped(); len(skipped) > 0 {
		err = errors.Join(err, fmt.Errorf("%d tests were skipped that should not be", len(skipped)))
	}
	return err
}

// event is a line of `go test -json` (go doc test2json).
type event struct {
	Action, Package, Test, Output string
	Elapsed                       float64
}

// report follows the events of a test run: it prints a line per package, the output of
// what fails, and counts. Subtests count like tests.
type report struct {
	out      io.Writer
	packages map[string]*packageRun

	passed, failed int
	failures       []string
	skips          []skip
}

type skip struct{ name, reason string }

type packageRun struct {
	lines []outputLine
	state map[string]string // "run", "pass", "fail" or "skip" for each test
	tests int
}

type outputLine struct{ test, text string }

func newReport(out io.Writer) *report {
	return &report{out: out, packages: map[string]*packageRun{}}
}

// follow runs `go test -json` and reads it to its end.
func (r *report) follow(ctx context.Context, cmd *exec.Cmd) error {
	reader, writer := io.Pipe()
	cmd.Stdout = writer
	read := make(chan error, 1)
	go func() {
		err := r.read(reader)
		reader.CloseWithError(err) // does not leave the writer waiting
		read <- err
	}()
	err := finish(ctx, cmd)
	writer.Close()
	return errors.Join(err, <-read)
}

func (r *report) read(events io.Reader) error {
	lines := bufio.NewReader(events)
	for {
		line, err := lines.ReadString('\n')
		if line != "" {
			r.line(line)
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (r *report) line(line string) {
	var e event
	if err := json.Unmarshal([]byte(line), &e); err != nil {
		fmt.Fprint(r.out, line) // such as a word of the go command's own
		return
	}
	if e.Package == "" {
		fmt.Fprint(r.out, e.Output) // the compiler's
		return
	}
	p := r.packages[e.Package]
	if p == nil {
		p = &packageRun{state: map[string]string{}}
		r.packages[e.Package] = p
	}
	switch {
	case e.Action == "output":
		p.lines = append(p.lines, outputLine{e.Test, e.Output})
	case e.Test != "":
		r.test(p, e)
	case e.Action == "pass" || e.Action == "fail" || e.Action == "skip":
		r.finish(p, e)
		delete(r.packages, e.Package)
	}
}

// test takes note of a test that starts or ends. The output of passed tests is forgotten.
func (r *report) test(p *packageRun, e event) {
	switch e.Action {
	case "run":
		p.tests++
	case "pass":
		r.passed++
		p.lines = slices.DeleteFunc(p.lines, func(l outputLine) bool { return l.test == e.Test })
	case "fail":
		r.fail(e.Package + "." + e.Test)
	case "skip":
		r.skips = append(r.skips, skip{e.Package + "." + e.Test, p.reason(e.Test)})
	default:
		return
	}
	p.state[e.Test] = e.Action
}

func (r *report) fail(name string) {
	r.failed++
	r.failures = append(r.failures, name)
}

// reason is what a skipped test said, without the lines of go test.
func (p *packageRun) reason(test string) string {
	var said []string
	for _, l := range p.lines {
		text := strings.TrimSpace(l.text)
		if l.test == test && !strings.HasPrefix(text, "=== ") && !strings.HasPrefix(text, "--- ") {
			said = append(said, text)
		}
	}
	return strings.Join(said, " ")
}

// finish prints what there is to say about a package. A test that never ended was cut off by
// a panic or the time-out and has failed; so has a package that fails without a failed test.
func (r *report) finish(p *packageRun, e event) {
	before := r.failed
	for test, state := range p.state {
		if state == "run" {
			p.state[test] = "fail"
			r.fail(e.Package + "." + test + " (did not end)")
		}
	}
	switch e.Action {
	case "skip":
		fmt.Fprintf(r.out, "-     %s: no tests\n", e.Package)
	case "pass":
		fmt.Fprintf(r.out, "ok    %-40s %6.1fs %5d tests\n", e.Package, e.Elapsed, p.tests)
	case "fail":
		if !p.anyFailed() && r.failed == before {
			r.fail(e.Package)
		}
		p.print(r.out)
		fmt.Fprintf(r.out, "FAIL  %-40s %6.1fs %5d tests\n", e.Package, e.Elapsed, p.tests)
	}
}

func (p *packageRun) anyFailed() bool {
	for _, state := range p.state {
		if state == "fail" {
			return true
		}
	}
	return false
}

// print prints what failed tests and the package itself said, in the order in which they did.
func (p *packageRun) print(out io.Writer) {
	for _, l := range p.lines {
		if l.test == "" || p.state[l.test] == "fail" {
			fmt.Fprint(out, l.text)
		}
	}
}

func (r *report) wronglySkipped() []skip {
	return slices.DeleteFunc(slices.Clone(r.skips), func(s skip) bool {
		_, allowed := maySkip[s.name]
		return allowed
	})
}

// list names the tests that failed and those that were skipped.
func (r *report) list() {
	if len(r.failures) > 0 {
		fmt.Fprintln(r.out, "\nfailed:")
	}
	for _, name := range r.failures {
		fmt.Fprintln(r.out, "  "+name)
	}
	if len(r.skips) > 0 {
		fmt.Fprintln(r.out, "\nskipped, which fails the gate unless it is allowed to:")
	}
	for _, s := range r.skips {
		allowed := ""
		if why, ok := maySkip[s.name]; ok {
			allowed = " (allowed: " + why + ")"
		}
		fmt.Fprintf(r.out, "  %s: %s%s\n", s.name, s.reason, allowed)
	}
}

func (r *report) count() string {
	return fmt.Sprintf("%d passed, %d failed, %d skipped", r.passed, r.failed, len(r.skips))
}
