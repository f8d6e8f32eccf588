//go:build linux

package main

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

// report returns all measurements as Markdown.
func (b *bench) report() string {
	var w strings.Builder
	fmt.Fprintf(&w, "%s; %d rounds of %s in turn, %d connections; medians (smallest – largest).\n\n",
		b.machine(), b.rounds, b.duration, b.connections)
	b.writeTargets(&w)
	fmt.Fprintln(&w)
	b.writeStorms(&w)
	fmt.Fprintln(&w)
	writeGoals(&w, b.goals())
	return w.String()
}

func (b *bench) writeTargets(w *strings.Builder) {
	fmt.Fprintln(w, "| | requests/s | p50 ms | p99 ms | CPU µs/request: server | Redis | Postgres | round trips to Redis | allocations |")
	fmt.Fprintln(w, "| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
	for _, t := range b.targets {
		all := b.samples[t.name]
		fmt.Fprintf(w, "| %s | %s | %s | %s | %s | %s | %s | %s |\n", t.name,
			spread(all, sample.rate, count),
			millis(medianOf(all, func(s sample) float64 { return s.P50 })),
			spread(all, func(s sample) float64 { return s.P99 }, millis),
			spread(all, func(s sample) float64 { return s.server }, micros),
			micros(medianOf(all, func(s sample) float64 { return s.redis })),
			micros(medianOf(all, func(s sample) float64 { return s.postgres })),
			ownCounts(all))
	}
}

// ownCounts returns the two columns of Gatehouse's own counts, empty for other servers.
func ownCounts(all []sample) string {
	roundTrips, allocations := medianOf(all, func(s sample) float64 { return s.roundTrips }), medianOf(all, func(s sample) float64 { return s.allocations })
	if allocations == 0 {
		return "|"
	}
	return fmt.Sprintf("%.2f | %.0f", roundTrips, allocations)
}

func (b *bench) writeStorms(w *strings.Builder) {
	fmt.Fprintf(w, "| dashboard on %d connections | requests/s | p99 ms |\n| --- | --- | --- |\n", pageConnections)
	fmt.Fprintf(w, "| calm | %s | %s |\n",
		spread(b.storms, func(s storm) float64 { return s.calm.rate() }, count),
		spread(b.storms, func(s storm) float64 { return s.calm.P99 }, millis))
	fmt.Fprintf(w, "| while %d connections sign in | %s | %s |\n", stormConnections,
		spread(b.storms, func(s storm) float64 { return s.pages.rate() }, count),
		spread(b.storms, func(s storm) float64 { return s.pages.P99 }, millis))
	var refused int64
	for _, s := range b.storms {
		refused += s.signIns.Refused
	}
	fmt.Fprintf(w, "\nSign-ins: %s a second, half of them within %s ms; %d refused with 503.\n",
		spread(b.storms, signInRate, count), millis(medianOf(b.storms, func(s storm) float64 { return s.signIns.P50 })), refused)
}

// inMillis returns the duration in milliseconds.
func inMillis(d time.Duration) float64 { return float64(d) / 1e6 }

func signInRate(s storm) float64 { return s.signIns.perSecond(s.signIns.SignedIn) }

// goal is a stated target and its measurement.
type goal struct {
	what     string
	stated   string
	measured string
	met      bool
}

// goals compares medians with the targets. Ratios are taken within each round, so that a machine
// that is busy for a while does not distort them.
func (b *bench) goals() []goal {
	rate := sample.rate
	p99 := func(s sample) float64 { return s.P99 }
	cpu := func(s sample) float64 { return s.server }
	return []goal{
		atLeast("dashboard: requests/s, to the textbook's", 4, b.ratios(dashboardPage, textbookPage, rate), times),
		atMost("dashboard: p99, to the textbook's", 1.0/3, b.ratios(dashboardPage, textbookPage, p99), times),
		atMost("dashboard: server CPU, to bare Echo's", 1, b.ratios(dashboardPage, echoPage, cpu), times),
		atLeast("warm Basic: requests/s, to the session's", 0.9, b.ratios(timeBasic, timeSession, rate), times),
		atLeast("token: requests/s, to the session's", 0.9, b.ratios(timeToken, timeSession, rate), times),
		atLeast("warm Basic: requests/s, to naive Basic's", 300, b.ratios(timeBasic, naive, rate), times),
		atLeast("forward auth, session: requests/s, to an unconditional 200", 0.5, b.ratios(verifySession, unconditional, rate), times),
		atLeast("forward auth, Basic: requests/s, to an unconditional 200", 0.5, b.ratios(verifyBasic, unconditional, rate), times),
		atLeast("forward auth, token: requests/s, to an unconditional 200", 0.5, b.ratios(verifyToken, unconditional, rate), times),
		atLeast("storm: dashboard requests/s, to its calm rate", 0.85, each(b.storms, storm.relativeRate), times),
		atLeast("storm: sign-ins/s", 25, each(b.storms, signInRate), decimal),
		below("storm: peak memory, MB", 150, each(b.storms, func(s storm) float64 { return megabytes(s.peak) }), decimal),
		below("start to first answer, ms", 100, each(b.starts, inMillis), decimal),
	}
}

func writeGoals(w *strings.Builder, goals []goal) {
	fmt.Fprintln(w, "| target | stated | measured | |")
	fmt.Fprintln(w, "| --- | --- | --- | --- |")
	for _, g := range goals {
		verdict := "pass"
		if !g.met {
			verdict = "**miss**"
		}
		fmt.Fprintf(w, "| %s | %s | %s | %s |\n", g.what, g.stated, g.measured, verdict)
	}
}

// ratios divides the values of one target by those of another, round by round.
func (b *bench) ratios(name, base string, value func(sample) float64) []float64 {
	var all []float64
	for i, s := range b.samples[name] {
		all = append(all, value(s)/value(b.samples[base][i]))
	}
	return all
}

func atLeast(what string, limit float64, values []float64, show func(float64) string) goal {
	return goal{what, "≥ " + show(limit), spread(values, identity, show), median(values) >= limit}
}

func atMost(what string, limit float64, values []float64, show func(float64) string) goal {
	return goal{what, "≤ " + show(limit), spread(values, identity, show), median(values) <= limit}
}

func below(what string, limit float64, values []float64, show func(float64) string) goal {
	return goal{what, "< " + show(limit), spread(values, identity, show), median(values) < limit}
}

// identity returns v.
func identity(v float64) float64 { return v }

func each[T any](all []T, value func(T) float64) []float64 {
	var values []float64
	for _, v := range all {
		values = append(values, value(v))
	}
	return values
}

// median returns the middle value, or the mean of the middle two.
func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// medianOf returns the median of a value of all elements.
func medianOf[T any](all []T, value func(T) float64) float64 { return median(each(all, value)) }

// spread returns "median (smallest – largest)".
func spread[T any](all []T, value func(T) float64, show func(float64) string) string {
	values := each(all, value)
	text := show(median(values))
	if len(values) > 1 {
		text += fmt.Sprintf(" (%s – %s)", show(slices.Min(values)), show(slices.Max(values)))
	}
	return text
}

// count formats 12345 as 12,345.
func count(v float64) string {
	s := strconv.FormatFloat(v, 'f', 0, 64)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

func millis(micros float64) string { return fmt.Sprintf("%.2f", micros/1000) }

// micros shows tenths only below 10.
func micros(v float64) string {
	if v < 10 {
		return fmt.Sprintf("%.1f", v)
	}
	return count(v)
}

func times(v float64) string {
	if v >= 100 {
		return count(v)
	}
	return fmt.Sprintf("%.2f", v)
}

func decimal(v float64) string { return fmt.Sprintf("%.0f", v) }

func megabytes(n int64) float64 { return float64(n) / 1e6 }

// machine describes the machine and the versions of the servers.
func (b *bench) machine() string {
	parts := []string{fmt.Sprintf("%d × %s", runtime.NumCPU(), processor()), "load " + b.loadBefore + " before", runtime.Version()}
	for _, name := range []string{"redis-server", "postgres"} {
		if out, err := exec.Command(name, "--version").Output(); err == nil {
			parts = append(parts, version(string(out)))
		}
	}
	return strings.Join(parts, "; ")
}

// version shortens "Redis server v=7.0.15 sha=…" and "postgres (PostgreSQL) 15.14 (Debian…)".
func version(line string) string {
	for _, word := range strings.Fields(line) {
		word = strings.TrimPrefix(word, "v=")
		if word != "" && word[0] >= '0' && word[0] <= '9' {
			if strings.Contains(line, "PostgreSQL") {
				return "Postgres " + word
			}
			return "Redis " + word
		}
	}
	return strings.TrimSpace(line)
}

func processor() string {
	data, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return runtime.GOARCH
	}
	for line := range strings.Lines(string(data)) {
		name, value, _ := strings.Cut(line, ":")
		if strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return runtime.GOARCH
}

// loadAverage returns the load of the last minute. If it is more than a few tenths, other processes
// were running, and the results are too low.
func loadAverage() string {
	data, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	first, _, _ := strings.Cut(string(data), " ")
	return first
}
