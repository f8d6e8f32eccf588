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

// bench is one run: what is measured, and what came out.
type bench struct {
	options
	progress io.Writer

	wrk     *wrk
	site    *site
	gate    *server
	others  []*server
	targets []target

	starts  []time.Duration
	samples map[string][]sample // by the target's name, one for each round
	storms  []storm
	busy    string // the load of the machine when we began
}

// target is one address under load.
type target struct {
	name        string
	server      *server
	path        string
	headers     []string
	want        string // stands in the answer
	connections int
	duration    time.Duration
	prepare     func(context.Context) error // before each measurement; may be nil
}

// sample is one measurement of a target. Times are µs of processor time per request.
type sample struct {
	load
	server, redis, postgres float64
	// trips and allocations are Gatehouse's own counts per request; 0 for other servers.
	trips, allocations float64
}

// The names of the targets, as the report has them.
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
	anybody       = "net/http alone: 200 without looking"
)

const (
	naiveConnections = 2
	naiveDuration    = 3 * time.Second
	warmUp           = time.Second
)

func (b *bench) measure(ctx context.Context) (err error) {
	b.busy = loadAverage()
	if b.wrk, err = newWrk(); err != nil {
		return err
	}
	b.say("starting Postgres and Redis, building the program")
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

func (b *bench) say(format string, args ...any) {
	fmt.Fprintf(b.progress, "bench: "+format+"\n", args...)
}

// stop ends everything that was started.
func (b *bench) stop() {
	for _, s := range b.others {
		s.stop()
	}
	if b.gate != nil {
		b.gate.stop()
	}
	if b.site != nil {
		if err := b.site.stop(); err != nil {
			b.say("stop the servers: %v", err)
		}
	}
}

// startsMeasured is how many starts the median is of.
const startsMeasured = 10

// measureStarts starts the program again and again: from exec to the first 200.
func (b *bench) measureStarts(ctx context.Context) error {
	for range startsMeasured {
		s, took, err := start(ctx, b.site.gate)
		if err != nil {
			return err
		}
		s.stop()
		b.starts = append(b.starts, took)
	}
	b.say("start to first answer: %.0f ms", middle(b.starts, inMillis))
	return nil
}

// startServers starts what is to be measured; all stay up, and rest while it is not their turn.
func (b *bench) startServers(ctx context.Context) (err error) {
	if b.gate, _, err = start(ctx, b.site.gate); err != nil {
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
		b.others = append(b.others, s)
		byName[name] = s
	}
	return b.chooseTargets(ctx, byName)
}

// chooseTargets signs in everywhere and lists what is measured, in the order of a round.
func (b *bench) chooseTargets(ctx context.Context, others map[string]*server) error {
	session, err := signIn(ctx, b.gate.url)
	if err != nil {
		return fmt.Errorf("gatehouse: %w", err)
	}
	token, err := newToken(ctx, b.gate.url)
	if err != nil {
		return fmt.Errorf("gatehouse: %w", err)
	}
	textbookSession, err := signIn(ctx, others["textbook"].url)
	if err != nil {
		return fmt.Errorf("textbook: %w", err)
	}
	const name, json = `id="user-name">Ada Lovelace<`, `"username":"reader"`
	b.targets = []target{
		{name: dashboardPage, server: b.gate, path: "/dashboard", headers: []string{session}, want: name},
		{name: textbookPage, server: others["textbook"], path: "/dashboard", headers: []string{textbookSession}, want: name},
		{name: echoPage, server: others["echo"], path: "/dashboard", want: name},
		{name: bytesPage, server: others["nethttp"], path: "/dashboard", want: name},
		{name: timeSession, server: b.gate, path: "/api/time", headers: []string{session}, want: json},
		{name: timeBasic, server: b.gate, path: "/api/time", headers: []string{basicHeader()}, want: json, prepare: b.renewCredential},
		{name: timeToken, server: b.gate, path: "/api/time", headers: []string{token}, want: json},
		{name: naive, server: others["naive-basic"], path: "/api/time", headers: []string{basicHeader()}, want: json,
			connections: naiveConnections, duration: naiveDuration},
		{name: verifySession, server: b.gate, path: "/auth/verify", headers: []string{session}},
		{name: verifyBasic, server: b.gate, path: "/auth/verify", headers: []string{basicHeader()}, prepare: b.renewCredential},
		{name: verifyToken, server: b.gate, path: "/auth/verify", headers: []string{token}},
		{name: anybody, server: others["nethttp"], path: "/pass"},
	}
	for i := range b.targets {
		if t := &b.targets[i]; t.connections == 0 {
			t.connections, t.duration = b.connections, b.duration
		}
	}
	return b.samePage(ctx)
}

// samePage makes sure that the references show what Gatehouse does: a page that grew would
// make the comparison a lie.
func (b *bench) samePage(ctx context.Context) error {
	length := map[string]int{}
	for _, t := range b.targets[:4] {
		body, err := t.probe(ctx)
		if err != nil {
			return fmt.Errorf("%s: %w", t.name, err)
		}
		length[t.name] = len(body)
	}
	const tolerance = 64 // names, times and addresses differ in length
	for name, n := range length {
		if d := n - length[dashboardPage]; d > tolerance || d < -tolerance {
			return fmt.Errorf("%s has %d bytes, and Gatehouse's dashboard %d", name, n, length[dashboardPage])
		}
	}
	return nil
}

// renewCredential caches the reader's credential anew, so that it does not expire within a measurement.
func (b *bench) renewCredential(ctx context.Context) error {
	if err := b.site.forgetCredential(); err != nil {
		return err
	}
	status, _, err := fetch(ctx, browser, b.gate.url+"/api/time", basicHeader())
	if err != nil || status != http.StatusOK {
		return fmt.Errorf("warm the credential cache: status %d, %w", status, err)
	}
	return nil
}

// probe asks once: wrk takes a redirect for a success.
func (t target) probe(ctx context.Context) ([]byte, error) {
	status, body, err := fetch(ctx, browser, t.server.url+t.path, t.headers...)
	if err != nil {
		return nil, err
	}
	if status != http.StatusOK || !bytes.Contains(body, []byte(t.want)) {
		return nil, fmt.Errorf("answered %d, without %s", status, t.want)
	}
	return body, nil
}

func (b *bench) measureTarget(ctx context.Context, t target, round int) error {
	s, err := b.sample(ctx, t)
	if err != nil {
		return err
	}
	b.samples[t.name] = append(b.samples[t.name], s)
	b.say("round %d/%d: %-34s %s requests/s, p99 %s ms, %.0f µs of CPU", round+1, b.rounds, t.name, count(s.rate()), millis(s.P99), s.server)
	return nil
}

// sample warms the target up and measures it once.
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
	counted, err := b.counts(ctx, t.server)
	if err != nil {
		return sample{}, err
	}
	before, err := b.cpuTimes(t.server)
	if err != nil {
		return sample{}, err
	}
	l, err := b.wrk.get(ctx, t.server.url+t.path, t.headers, t.connections, t.duration)
	if err != nil {
		return sample{}, err
	}
	after, err := b.cpuTimes(t.server)
	if err != nil {
		return sample{}, err
	}
	since, err := b.counts(ctx, t.server)
	if err != nil {
		return sample{}, err
	}
	if _, err := t.probe(ctx); err != nil {
		return sample{}, fmt.Errorf("afterwards: %w", err)
	}
	if l.Bytes/l.Requests < int64(len(body)) {
		return sample{}, fmt.Errorf("answers have %d bytes on average, and the page alone %d", l.Bytes/l.Requests, len(body))
	}
	perRequest := func(i int) float64 {
		return float64((after[i] - before[i]).Microseconds()) / float64(l.Requests)
	}
	s := sample{load: l, server: perRequest(0), redis: perRequest(1), postgres: perRequest(2)}
	s.trips = (since.trips - counted.trips) / float64(l.Requests)
	s.allocations = (since.allocations - counted.allocations) / float64(l.Requests)
	return s, nil
}

// cpuTimes returns the processor time that server, Redis and Postgres took so far.
func (b *bench) cpuTimes(s *server) (t [3]time.Duration, err error) {
	var errs [3]error
	t[0], _, errs[0] = cpuTime(s.pid())
	t[1], _, errs[1] = cpuTime(b.site.redis.PID())
	t[2], errs[2] = familyTime(b.site.postgres.PID())
	return t, errors.Join(errs[:]...)
}
