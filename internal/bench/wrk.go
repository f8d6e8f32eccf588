//go:build linux

package main

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"gatehouse/internal/testkit/servers"
)

// load is the result of one run of wrk.
type load struct {
	Requests int64   `json:"requests"`
	Micros   float64 `json:"micros"` // duration of the run
	Bytes    int64   `json:"bytes"`  // received, including headers
	P50      float64 `json:"p50"`    // µs
	P99      float64 `json:"p99"`    // µs
	Failed   int64   `json:"failed"` // responses with a status of 400 or above
	Broken   int64   `json:"broken"` // failed connections and late responses

	// SignedIn (303), Refused (503) and Odd (any other status) count the responses to sign-ins.
	SignedIn int64 `json:"signed_in"`
	Refused  int64 `json:"refused"`
	Odd      int64 `json:"odd"`
	OddCode  int64 `json:"odd_code"` // status of the last odd response
}

// perSecond is the rate of n events in the run.
func (l load) perSecond(n int64) float64 { return float64(n) / (l.Micros / 1e6) }

func (l load) rate() float64 { return l.perSecond(l.Requests) }

// The scripts only report: one that looks at every response would cost more than the servers. The
// script for sign-ins must, because each needs a different body.
var (
	//go:embed report.lua
	reportLua string
	//go:embed signin.lua
	signInLua string
)

// wrk is the load generator.
type wrk struct{ path, dir string }

// responseTimeout is when wrk counts a response as late. A sign-in may be queued for five seconds.
const responseTimeout = 15 * time.Second

func newWrk() (*wrk, error) {
	path, err := exec.LookPath("wrk")
	if err != nil {
		return nil, errors.New("wrk is not installed (Debian: wrk); as root, `make bench` installs it")
	}
	dir, err := servers.TempDir("wrk")
	if err != nil {
		return nil, err
	}
	for name, text := range map[string]string{"report.lua": reportLua, "signin.lua": signInLua} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return nil, err
		}
	}
	return &wrk{path, dir}, nil
}

// get sends GETs with headers such as "Cookie: a=b".
func (w *wrk) get(ctx context.Context, url string, headers []string, connections int, d time.Duration) (load, error) {
	var args []string
	for _, h := range headers {
		args = append(args, "-H", h)
	}
	l, err := w.run(ctx, "report.lua", nil, append(args, url), connections, d)
	if err == nil && l.Failed > 0 {
		err = fmt.Errorf("%d of %d responses are errors", l.Failed, l.Requests)
	}
	return l, err
}

// signIn posts sign-ins of the first n seeded users in turn.
func (w *wrk) signIn(ctx context.Context, url string, n, connections int, d time.Duration) (load, error) {
	env := []string{"BENCH_USERS=" + strconv.Itoa(n), "BENCH_NAME=" + stormName, "BENCH_PASSWORD=" + password}
	l, err := w.run(ctx, "signin.lua", env, []string{url}, connections, d)
	if err == nil && l.Odd > 0 {
		err = fmt.Errorf("%d responses to sign-ins are neither 303 nor 503 (the last: %d)", l.Odd, l.OddCode)
	}
	return l, err
}

// run runs wrk on one thread, which sends more than these servers can handle.
func (w *wrk) run(ctx context.Context, script string, env, args []string, connections int, d time.Duration) (load, error) {
	ctx, cancel := context.WithTimeout(ctx, d+responseTimeout+30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, w.path, append([]string{
		"--threads", "1", "--connections", strconv.Itoa(connections), "--duration", fmt.Sprintf("%.0fs", d.Seconds()),
		"--timeout", fmt.Sprintf("%.0fs", responseTimeout.Seconds()), "--latency", "--script", filepath.Join(w.dir, script),
	}, args...)...)
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH")}, env...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := servers.Start(cmd, syscall.SIGKILL); err != nil {
		return load{}, fmt.Errorf("start wrk: %w", err)
	}
	if err := cmd.Wait(); err != nil {
		return load{}, fmt.Errorf("wrk: %w\n%s", errors.Join(err, ctx.Err()), out.Bytes())
	}
	l, err := parseLoad(out.String())
	if err == nil && l.Broken > 0 {
		err = fmt.Errorf("wrk: %d failed connections or late responses", l.Broken)
	}
	if err == nil && l.Requests == 0 {
		err = errors.New("wrk: no responses")
	}
	if err != nil {
		return load{}, fmt.Errorf("%w\n%s", err, out.Bytes())
	}
	return l, nil
}

// parseLoad parses the last line of output, which the scripts print.
func parseLoad(out string) (load, error) {
	lines := strings.Split(strings.TrimSpace(out), "\n")
	var l load
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &l); err != nil {
		return load{}, fmt.Errorf("parse the last line of wrk: %w", err)
	}
	if l.Micros <= 0 {
		return load{}, errors.New("wrk: the run has no duration")
	}
	return l, nil
}
