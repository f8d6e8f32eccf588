//go:build linux

package main

import (
	"bytes"
	"context"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse/templates"
)

func TestParseLoad_ReadsTheLastLine(t *testing.T) {
	l, err := parseLoad("Running 1s test\n  Latency Distribution\n" +
		`{"requests":2000,"micros":2000000,"bytes":9,"p50":310,"p99":4200,"failed":0,"broken":1}` + "\n")
	if err != nil || l.rate() != 1000 || l.P99 != 4200 || l.Broken != 1 {
		t.Errorf("got %+v, %v", l, err)
	}
	for _, out := range []string{"", "unable to connect", `{"requests":1,"micros":0}`} {
		if l, err := parseLoad(out); err == nil {
			t.Errorf("%q: got %+v", out, l)
		}
	}
}

func TestParseStat_ReadsTimes(t *testing.T) {
	own, reaped, err := parseStat([]byte("7 (a) b (c) S 1 7 7 0 -1 4194560 1 2 3 4 150 50 20 5 20 0 8 0 99\n"))
	if err != nil || own != 2*time.Second || reaped != 250*time.Millisecond {
		t.Errorf("got %v, %v, %v", own, reaped, err)
	}
	if _, _, err := parseStat([]byte("7 (a) S 1")); err == nil {
		t.Error("a short line is accepted")
	}
}

func TestProc_MeasuresThisProcess(t *testing.T) {
	if _, err := treeTime(os.Getpid()); err != nil {
		t.Error(err)
	}
	if n, err := peakMemory(os.Getpid()); err != nil || n < 1<<20 {
		t.Errorf("got a peak of %d, %v", n, err)
	}
}

// TestDashboard_MatchesGatehouse compares the reference servers' dashboard with Gatehouse's.
func TestDashboard_MatchesGatehouse(t *testing.T) {
	page, err := parseDashboard()
	if err != nil {
		t.Fatal(err)
	}
	data := newDashboard(fixedAccount, "Postgres", time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC))
	if data.AssetLinks, err = templates.AssetLinks("/static/app.0123456789ab.css", "/static/app.0123456789ab.js", "/static/favicon.0123456789ab.svg"); err != nil {
		t.Fatal(err)
	}
	var got, want bytes.Buffer
	if err := page.Execute(&got, data); err != nil {
		t.Fatal(err)
	}
	if err := templates.Dashboard(data).Render(t.Context(), &want); err != nil {
		t.Fatal(err)
	}
	// Only html/template escapes the plus sign.
	if got := strings.ReplaceAll(got.String(), "&#43;", "+"); got != want.String() {
		t.Errorf("update dashboard.html; got\n%s\nwant\n%s", got, &want)
	}
}

func TestReport_JudgesGoals(t *testing.T) {
	b := &bench{options: options{rounds: 2, duration: time.Second, connections: 64}, samples: map[string][]sample{}}
	put := func(name string, rate int64, p99, cpu float64) {
		b.targets = append(b.targets, target{name: name})
		for i := range 2 {
			l := load{Requests: rate * int64(i+1), Micros: 1e6, P99: p99}
			b.samples[name] = append(b.samples[name], sample{load: l, server: cpu})
		}
	}
	put(dashboardPage, 20_000, 4000, 60)
	put(textbookPage, 5000, 30_000, 250)
	put(echoPage, 24_000, 5000, 50)
	put(timeSession, 30_000, 2000, 30)
	put(timeBasic, 27_000, 2000, 30)
	put(timeToken, 26_000, 2000, 30)
	put(naive, 40, 50_000, 40_000)
	put(unconditional, 60_000, 1000, 10)
	put(verifySession, 30_000, 2000, 30)
	put(verifyBasic, 29_000, 2000, 30)
	put(verifyToken, 31_000, 2000, 30)
	quick := load{Requests: 10_000, Micros: 1e6, P99: 1000, SignedIn: 30}
	b.storms = []storm{{quick, quick, quick, 100e6}, {quick, quick, quick, 100e6}}
	b.starts = []time.Duration{90 * time.Millisecond, 80 * time.Millisecond}
	var missed []string
	for _, g := range b.goals() {
		if !g.met {
			missed = append(missed, g.what)
		}
	}
	if want := []string{"dashboard: server CPU, to bare Echo's", "token: requests/s, to the session's", "forward auth, Basic: requests/s, to an unconditional 200"}; !slices.Equal(missed, want) {
		t.Errorf("missed: %q, want %q", missed, want)
	}
	for _, want := range []string{"30,000 (20,000 – 40,000)", "| ≥ 300 | 675 (675 – 675) | pass |", "**miss**"} {
		if !strings.Contains(b.report(), want) {
			t.Errorf("the report lacks %q:\n%s", want, b.report())
		}
	}
}

func TestCount_GroupsDigits(t *testing.T) {
	for v, want := range map[float64]string{0: "0", 999.4: "999", 1000: "1,000", 1234567: "1,234,567"} {
		if got := count(v); got != want {
			t.Errorf("count(%v) = %q, want %q", v, got, want)
		}
	}
}

func TestVersion_IsShort(t *testing.T) {
	for line, want := range map[string]string{
		"Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc": "Redis 7.0.15",
		"postgres (PostgreSQL) 15.14 (Debian 15.14-0)":         "Postgres 15.14",
	} {
		if got := version(line); got != want {
			t.Errorf("version(%q) = %q, want %q", line, got, want)
		}
	}
}

func TestOptions_AreValidated(t *testing.T) {
	var output bytes.Buffer
	for _, args := range [][]string{{"-rounds", "0"}, {"-connections", "201"}, {"-duration", "1ms"}, {"serve"}} {
		if _, err := parseOptions(args, &output); err == nil {
			t.Errorf("%v is accepted", args)
		}
	}
	o, err := parseOptions([]string{"-duration", "1400ms"}, &output)
	if err != nil || o.duration != time.Second || o.timeout() < time.Minute {
		t.Errorf("got %+v, %v", o, err)
	}
	if err := run(context.Background(), []string{"serve", "unknown"}, &output, &output); err == nil || !strings.Contains(err.Error(), "textbook") {
		t.Errorf("got %v", err)
	}
}
