//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"
)

// bench is one run: its options, its servers and its measurements.
type bench struct {
	options
	progress io.Writer

	wrk        *wrk
	site       *site
	gatehouse  *server
	references []*server
	targets    []target

	starts     []time.Duration
	samples    map[string][]sample // by the name of the target, one per round
	storms     []storm
	loadBefore string // load average before the run
}

// target is a URL that is measured under load.
type target struct {
	name        string
	server      *server
	path        string
	headers     []string
	want        string // part of the response body
	connections int
	duration    time.Duration
	prepare     func(context.Context) error // runs before each measurement; may be nil
}

// sample is one measurement of a target. server, redis and postgres are µs of CPU time per request.
type sample struct {
	load
	server, redis, postgres float64
	// roundTrips and allocations are Gatehouse's own counts per request; 0 for other servers.
	roundTrips, allocations float64
}

// The names of the targets in the report.
const (
	dashboardPage = "Gatehouse: dashboard, signed in"
	timeSession   = "Gatehouse: /api/time, session"
	timeBasic     = "Gatehouse: /api/time, Basic, warm"
	timeToken     = "Gatehouse: /api/time, token"
	textbookPage  = "textbook: dashboard, signed in"
	echoPage      = "Echo alone: the same page"
	bytesPage     = "net/http alone: the same bytes"
	naive         = "naive Basic: a hash each time"
	verifySession = "Gatehouse: /auth/verify, session"
	verifyBasic   = "Gatehouse: /auth/verify, Basic, warm"
	verifyToken   = "Gatehouse: /auth/verify, token"
	unconditional = "net/http alone: unconditional 200"
)

const (
	naiveConnections = 2
	naiveDuration    = 3 * time.Second
	warmUp           = time.Second
)

func (b *bench) measure(ctx context.Context) (err error) {
	b.loadBefore = loadAverage()
	if b.wrk, err = newWrk(); err != nil {
		return err
	}
	b.progressf("starting Postgres and Redis, building the program")
	if b.site, err = newSite(ctx); err != nil {
		return err
	}
	if err := b.measureStarts(ctx); err != nil {
		return fmt.Errorf("start to first answer: %w", err)
	}
	if err := b.startServers(ctx); err != nil {
		return err
	}
	for round := range b.rounds {
		for _, t := range b.targets {
			if err := b.measureTarget(ctx, t, round); err != nil {
				return fmt.Errorf("%s: %w", t.name, err)
			}
		}
		if err := b.measureStorm(ctx, round); err != nil {
			return fmt.Errorf("sign-in storm: %w", err)
		}
	}
	if b.profile == "" {
		return nil
	}
	return b.takeProfile(ctx)
}

// progressf prints a line about the progress.
func (b *bench) progressf(format string, args ...any) {
	fmt.Fprintf(b.progress, "bench: "+format+"\n", args...)
}

// stop stops all servers.
func (b *bench) stop() {
	for _, s := range b.references {
		s.stop()
	}
	if b.gatehouse != nil {
		b.gatehouse.stop()
	}
	if b.site != nil {
		if err := b.site.stop(); err != nil {
			b.progressf("stop the servers: %v", err)
		}
	}
}

// measuredStarts is the number of starts in the median.
const measuredStarts = 10

// measureStarts measures the time from exec to the first 200, several times.
func (b *bench) measureStarts(ctx context.Context) error {
	for range measuredStarts {
		s, took, err := start(ctx, b.site.gatehouse)
		if err != nil {
			return err
		}
		s.stop()
		b.starts = append(b.starts, took)
	}
	b.progressf("start to first answer: %.0f ms", medianOf(b.starts, inMillis))
	return nil
}

// startServers starts all measured servers. Those that are not being measured are idle.
func (b *bench) startServers(ctx context.Context) (err error) {
	if b.gatehouse, _, err = start(ctx, b.site.gatehouse); err != nil {
		return fmt.Errorf("start gatehouse: %w", err)
	}
	byName := map[string]*server{}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	for _, name := range []string{"textbook", "echo", "nethttp", "naive-basic"} {
		s, _, err := start(ctx, program{path: self, args: []string{"serve", name}, ready: "/healthz", env: map[string]string{
			"DATABASE_URL": b.site.postgres.URL(),
			"REDIS_URL":    b.site.redis.URL() + "/2",
		}})
		if err != nil {
			return fmt.Errorf("start %s: %w", name, err)
		}
		b.references = append(b.references, s)
		byName[name] = s
	}
	return b.chooseTargets(ctx, byName)
}

// chooseTargets signs in to the servers and lists the targets in the order of a round.
func (b *bench) chooseTargets(ctx context.Context, references map[string]*server) error {
	session, err := signIn(ctx, b.gatehouse.url)
	if err != nil {
		return fmt.Errorf("gatehouse: %w", err)
	}
	token, err := newToken(ctx, b.gatehouse.url)
	if err != nil {
		return fmt.Errorf("gatehouse: %w", err)
	}
	textbookSession, err := signIn(ctx, references["textbook"].url)
	if err != nil {
		return fmt.Errorf("textbook: %w", err)
	}
	const name, json = `id="user-name">Ada Lovelace<`, `"username":"reader"`
	b.targets = []target{
		{name: dashboardPage, server: b.gatehouse, path: "/dashboard", headers: []string{session}, want: name},
		{name: textbookPage, server: references["textbook"], path: "/dashboard", headers: []string{textbookSession}, want: name},
		{name: echoPage, server: references["echo"], path: "/dashboard", want: name},
		{name: bytesPage, server: references["nethttp"], path: "/dashboard", want: name},
		{name: timeSession, server: b.gatehouse, path: "/api/time", headers: []string{session}, want: json},
		{name: timeBasic, server: b.gatehouse, path: "/api/time", headers: []string{basicHeader()}, want: json, prepare: b.renewCredential},
		{name: timeToken, server: b.gatehouse, path: "/api/time", headers: []string{token}, want: json},
		{name: naive, server: references["naive-basic"], path: "/api/time", headers: []string{basicHeader()}, want: json,
			connections: naiveConnections, duration: naiveDuration},
		{name: verifySession, server: b.gatehouse, path: "/auth/verify", headers: []string{session}},
		{name: verifyBasic, server: b.gatehouse, path: "/auth/verify", headers: []string{basicHeader()}, prepare: b.renewCredential},
		{name: verifyToken, server: b.gatehouse, path: "/auth/verify", headers: []string{token}},
		{name: unconditional, server: references["nethttp"], path: "/pass"},
	}
	for i := range b.targets {
		if t := &b.targets[i]; t.connections == 0 {
			t.connections, t.duration = b.connections, b.duration
		}
	}
	return b.checkPageSizes(ctx)
}

// checkPageSizes makes sure that the reference servers send the same page as Gatehouse: the comparison
// is meaningless if one of them grows.
func (b *bench) checkPageSizes(ctx context.Context) error {
	length := map[string]int{}
	for _, t := range b.targets[:4] {
		body, err := t.probe(ctx)
		if err != nil {
			return fmt.Errorf("%s: %w", t.name, err)
		}
		length[t.name] = len(body)
	}
	const tolerance = 64 // bytes; names, times and URLs differ in length
	for name, n := range length {
		if d := n - length[dashboardPage]; d > tolerance || d < -tolerance {
			return fmt.Errorf("%s sends %d bytes, but Gatehouse's dashboard has %d", name, n, length[dashboardPage])
		}
	}
	return nil
}

// renewCredential replaces the cached credential, so that it does not expire during a measurement.
func (b *bench) renewCredential(ctx context.Context) error {
	if err := b.site.dropCredential(); err != nil {
		return err
	}
	status, _, err := fetch(ctx, client, b.gatehouse.url+"/api/time", basicHeader())
	if err != nil || status != http.StatusOK {
		return fmt.Errorf("warm the credential cache: status %d, %w", status, err)
	}
	return nil
}

// probe sends one request and checks the response: wrk counts a redirect as a success.
func (t target) probe(ctx context.Context) ([]byte, error) {
	status, body, err := fetch(ctx, client, t.server.url+t.path, t.headers...)
	if err != nil {
		return nil, err
	}
	if status != http.StatusOK || !bytes.Contains(body, []byte(t.want)) {
		return nil, fmt.Errorf("status %d, or no %s in the response", status, t.want)
	}
	return body, nil
}

func (b *bench) measureTarget(ctx context.Context, t target, round int) error {
	s, err := b.sample(ctx, t)
	if err != nil {
		return err
	}
	b.samples[t.name] = append(b.samples[t.name], s)
	b.progressf("round %d/%d: %-34s %s requests/s, p99 %s ms, %.0f µs of CPU", round+1, b.rounds, t.name, count(s.rate()), millis(s.P99), s.server)
	return nil
}

// sample warms up the target and measures it once.
func (b *bench) sample(ctx context.Context, t target) (sample, error) {
	if t.prepare != nil {
		if err := t.prepare(ctx); err != nil {
			return sample{}, err
		}
	}
	if _, err := b.wrk.get(ctx, t.server.url+t.path, t.headers, t.connections, warmUp); err != nil {
		return sample{}, fmt.Errorf("warm up: %w", err)
	}
	body, err := t.probe(ctx)
	if err != nil {
		return sample{}, err
	}
	countsBefore, err := b.counts(ctx, t.server)
	if err != nil {
		return sample{}, err
	}
	cpuBefore, err := b.cpuTimes(t.server)
	if err != nil {
		return sample{}, err
	}
	l, err := b.wrk.get(ctx, t.server.url+t.path, t.headers, t.connections, t.duration)
	if err != nil {
		return sample{}, err
	}
	cpuAfter, err := b.cpuTimes(t.server)
	if err != nil {
		return sample{}, err
	}
	countsAfter, err := b.counts(ctx, t.server)
	if err != nil {
		return sample{}, err
	}
	if _, err := t.probe(ctx); err != nil {
		return sample{}, fmt.Errorf("after the measurement: %w", err)
	}
	if l.Bytes/l.Requests < int64(len(body)) {
		return sample{}, fmt.Errorf("responses have %d bytes on average, but the page alone has %d", l.Bytes/l.Requests, len(body))
	}
	perRequest := func(i int) float64 {
		return float64((cpuAfter[i] - cpuBefore[i]).Microseconds()) / float64(l.Requests)
	}
	s := sample{load: l, server: perRequest(0), redis: perRequest(1), postgres: perRequest(2)}
	s.roundTrips = (countsAfter.roundTrips - countsBefore.roundTrips) / float64(l.Requests)
	s.allocations = (countsAfter.allocations - countsBefore.allocations) / float64(l.Requests)
	return s, nil
}

// cpuTimes returns the CPU time that the server, Redis and Postgres have used so far.
func (b *bench) cpuTimes(s *server) (t [3]time.Duration, err error) {
	var errs [3]error
	t[0], _, errs[0] = cpuTime(s.pid())
	t[1], _, errs[1] = cpuTime(b.site.redis.PID())
	t[2], errs[2] = treeTime(b.site.postgres.PID())
	return t, errors.Join(errs[:]...)
}
