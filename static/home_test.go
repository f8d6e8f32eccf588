package static_test

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"gatehouse/static"
)

// color is sRGB, 0 to 255 each.
type color [3]float64

// keyframe is the sky at a time of the day.
type keyframe struct {
	percent  float64
	sky, low color
}

// stylesheet returns home.css.
func stylesheet(t *testing.T) string {
	t.Helper()
	css, err := static.FS.ReadFile("home.css")
	if err != nil {
		t.Fatal(err)
	}
	return string(css)
}

func hex(t *testing.T, s string) color {
	t.Helper()
	if len(s) == 3 {
		s = string([]byte{s[0], s[0], s[1], s[1], s[2], s[2]})
	}
	n, err := strconv.ParseUint(s, 16, 32)
	if err != nil || len(s) != 6 {
		t.Fatalf("%q is not a color", s)
	}
	return color{float64(n >> 16), float64(n >> 8 & 255), float64(n & 255)}
}

// block returns the content of a rule.
func block(t *testing.T, css, start string) string {
	t.Helper()
	_, rest, ok := strings.Cut(css, start)
	content, _, closed := strings.Cut(rest, "\n}")
	if !ok || !closed {
		t.Fatalf("home.css has no %q", start)
	}
	return content
}

var (
	skyFrame = regexp.MustCompile(`(?m)^  ([\d.]+)%(, to)? \{ --sky: #(\w+); --low: #(\w+)`)
	dayInk   = regexp.MustCompile(`--day-ink: light-dark\(#(\w+), #(\w+)\)`)
	veil     = regexp.MustCompile(`--veil: light-dark\(#(\w+), #(\w+)\)`)
	inkFrame = regexp.MustCompile(`0%, ([\d.]+)%, to \{ --sky-ink: var\(--night-ink\).*\n  ([\d.]+)% \{ --sky-ink: var\(--day-ink\)`)
	letters  = regexp.MustCompile(`\[data-color="(\d)"\] \{ --letter: #(\w+) \}`)
)

// sky returns the keyframes in order, with that of the next midnight.
func sky(t *testing.T, css string) []keyframe {
	t.Helper()
	var all []keyframe
	for _, m := range skyFrame.FindAllStringSubmatch(block(t, css, "@keyframes sky {"), -1) {
		percent, err := strconv.ParseFloat(m[1], 64)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, keyframe{percent, hex(t, m[3]), hex(t, m[4])})
	}
	if len(all) < 10 || all[0].percent != 0 || !slices.IsSortedFunc(all, func(a, b keyframe) int { return int(math.Copysign(1, a.percent-b.percent)) }) {
		t.Fatalf("the sky has the keyframes %v", all)
	}
	return append(all, keyframe{100, all[0].sky, all[0].low})
}

// at interpolates as browsers do: linearly, in sRGB.
func at(frames []keyframe, minute int) (top, horizon color) {
	percent := float64(minute) / 14.4
	i := 0
	for frames[i+1].percent <= percent {
		i++
	}
	from, to := frames[i], frames[i+1]
	f := (percent - from.percent) / (to.percent - from.percent)
	return mix(from.sky, to.sky, f), mix(from.low, to.low, f)
}

func mix(a, b color, f float64) (c color) {
	for i := range c {
		c[i] = a[i] + (b[i]-a[i])*f
	}
	return c
}

func multiply(a, b color) (c color) {
	for i := range c {
		c[i] = a[i] * b[i] / 255
	}
	return c
}

// contrast returns the contrast ratio of WCAG 2.2.
func contrast(a, b color) float64 {
	luminance := func(c color) (sum float64) {
		for i, weight := range []float64{0.2126, 0.7152, 0.0722} {
			v := c[i] / 255
			if v <= 0.04045 {
				v /= 12.92
			} else {
				v = math.Pow((v+0.055)/1.055, 2.4)
			}
			sum += weight * v
		}
		return sum
	}
	la, lb := luminance(a), luminance(b)
	return (max(la, lb) + 0.05) / (min(la, lb) + 0.05)
}

// TestSky_TextIsLegibleAtEveryMinute: in both themes, the text has a contrast of at least 4.5:1 with the top of the sky, the
// horizon and everything in between.
func TestSky_TextIsLegibleAtEveryMinute(t *testing.T) {
	css := stylesheet(t)
	frames := sky(t, css)
	switches := inkFrame.FindStringSubmatch(css)
	inks, veils := dayInk.FindStringSubmatch(css), veil.FindStringSubmatch(css)
	if switches == nil || inks == nil || veils == nil {
		t.Fatal("home.css does not say when the text changes its color, or to which")
	}
	dusk, _ := strconv.ParseFloat(switches[1], 64)
	dawn, _ := strconv.ParseFloat(switches[2], 64)
	for theme, name := range []string{"light", "dark"} {
		day, over := hex(t, inks[theme+1]), hex(t, veils[theme+1])
		least, when := math.Inf(1), 0
		for minute := range 24 * 60 {
			ink := color{255, 255, 255}
			if percent := float64(minute) / 14.4; percent >= dawn && percent < dusk {
				ink = day
			}
			top, horizon := at(frames, minute)
			for i := range 9 {
				ratio := contrast(ink, multiply(mix(top, horizon, float64(i)/8), over))
				if ratio < least {
					least, when = ratio, minute
				}
				if ratio < 4.5 {
					t.Errorf("%s, %02d:%02d: the contrast is %.2f", name, minute/60, minute%60, ratio)
				}
			}
		}
		t.Logf("%s: the least contrast is %.2f, at %02d:%02d", name, least, when/60, when%60)
	}
}

// TestSky_MovesSmoothly: from one minute to the next no color changes visibly, except where the text changes its own.
func TestSky_MovesSmoothly(t *testing.T) {
	frames := sky(t, stylesheet(t))
	var jumps []string
	for minute := range 24*60 - 1 {
		top, horizon := at(frames, minute)
		nextTop, nextHorizon := at(frames, minute+1)
		for i := range top {
			if math.Abs(top[i]-nextTop[i]) > 4 || math.Abs(horizon[i]-nextHorizon[i]) > 4 {
				jumps = append(jumps, fmt.Sprintf("%02d:%02d", minute/60, minute%60))
				break
			}
		}
	}
	if strings.Join(jumps, " ") != "06:31 17:51" {
		t.Errorf("the sky jumps at %q", jumps)
	}
}

// TestSky_KnowsEveryMinute: the server names the hour and the minute, and the stylesheet turns both into numbers.
func TestSky_KnowsEveryMinute(t *testing.T) {
	css := stylesheet(t)
	for n := range 60 {
		if rule := fmt.Sprintf(`[data-minute="%02d"]{--past:%d}`, n, n); !strings.Contains(css, rule) {
			t.Errorf("no %s", rule)
		}
		if rule := fmt.Sprintf(`[data-hour="%02d"]{--hour:%d}`, n, n); strings.Contains(css, rule) != (n < 24) {
			t.Errorf("%s is there: %v", rule, n >= 24)
		}
	}
}

func TestLauncher_LettersAreLegible(t *testing.T) {
	colors := letters.FindAllStringSubmatch(stylesheet(t), -1)
	if len(colors) != 8 { // launcher.Colors
		t.Errorf("got %d colors, want 8", len(colors))
	}
	for _, m := range colors {
		if ratio := contrast(color{255, 255, 255}, hex(t, m[2])); ratio < 4.5 {
			t.Errorf("color %s: the contrast is %.2f", m[1], ratio)
		}
	}
}
