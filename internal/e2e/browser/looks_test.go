package browser

import (
	"bytes"
	"context"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"math"
	"net/http"
	"net/http/httputil"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"

	"gatehouse/internal/e2e/kit"
)

// TestFirstVisit_TransfersLittle: the sign-in page and its files take less than 15,000 bytes.
func TestFirstVisit_TransfersLittle(t *testing.T) {
	t.Parallel()
	server := kit.NewSite(t).Serve()
	p := kit.NewBrowser(t, server.URL())
	p.Open("/login", http.StatusOK)
	pieces := append([]string{p.BaseURL + "/login"}, kit.Eval[[]string](p, `[...document.querySelectorAll("link[href], script[src], img[src]")].map(e => e.href || e.src)`)...)
	total := 0
	for _, piece := range pieces {
		total += transferred(t, piece)
	}
	t.Logf("%d bytes, including headers, for %v", total, pieces)
	if total >= 15_000 || len(pieces) != 4 { // page, style, script, icon
		t.Errorf("the first visit takes %d bytes in %d responses, want less than 15,000 in 4", total, len(pieces))
	}
	// Chromium fetches the icon at any time, but it must not request anything else.
	p.Mu.Lock()
	defer p.Mu.Unlock()
	for _, e := range p.Requests {
		if !slices.Contains(pieces, e.Request.URL) {
			t.Errorf("the page requested %s", e.Request.URL)
		}
	}
}

// transferred returns the size of a response on the wire in bytes, compressed as for a browser.
func transferred(t *testing.T, url string) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept-Encoding", "gzip, deflate, br, zstd")
	resp, err := (&http.Transport{DisableCompression: true, DisableKeepAlives: true}).RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	raw, err := httputil.DumpResponse(resp, true)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s %v", url, resp.Status, err)
	}
	return len(raw)
}

// TestPages_RespectMediaPreferences: nothing moves for users who prefer reduced motion, and the style sheet does not
// override forced colors.
func TestPages_RespectMediaPreferences(t *testing.T) {
	t.Parallel()
	server := kit.NewSite(t).Serve()
	for _, test := range [][]string{
		{"prefers-reduced-motion", "reduce"},
		{"forced-colors", "active", "prefers-color-scheme", "dark"},
		{"forced-colors", "active", "prefers-color-scheme", "light"},
		{"prefers-contrast", "more"},
	} {
		t.Run(strings.Join(test, " "), func(t *testing.T) {
			p := kit.NewBrowser(t, server.URL(), kit.MediaFeatures(test...))
			check := func(path string) {
				t.Helper()
				p.WantPath(path)
				if !kit.Eval[bool](p, `[...document.querySelectorAll("h1, main p, main a, button")].every(e => e.closest(".visually-hidden, details:not([open]) > :not(summary), .strength, .skip, nav, .brand") || e.checkVisibility({ opacityProperty: true, visibilityProperty: true }))`) {
					t.Errorf("%s: an element is invisible", path)
				}
				if test[0] == "prefers-reduced-motion" {
					// Include animations that start with the pointer or the focus.
					p.Do(chromedp.Evaluate[chromedp.Void](`document.querySelectorAll("button, a").forEach(e => { e.focus(); e.dispatchEvent(new Event("mouseenter")) })`))
					if moving := kit.Eval[[]string](p, `document.getAnimations().filter(a => a.playState !== "paused").map(a => a.animationName ?? a.transitionProperty)`); len(moving) > 0 {
						t.Errorf("%s: %q moves", path, moving)
					}
				}
				if test[0] == "forced-colors" {
					if plain := kit.Eval[[]string](p, `[...document.querySelectorAll("main button, main a.button")].filter(e => e.checkVisibility() && !e.matches(".show") && getComputedStyle(e).borderTopWidth === "0px").map(e => e.outerHTML)`); len(plain) > 0 {
						t.Errorf("%s: buttons without a border: %q", path, plain)
					}
				}
			}
			for _, path := range []string{"/", "/login", "/register"} {
				p.Open(path, http.StatusOK)
				check(path)
			}
			p.Register("motion" + kit.UniqueName())
			check("/dashboard")
			p.Open("/account", http.StatusOK)
			check("/account")
		})
	}
}

// TestClock_IsLegibleAllDay: in both color schemes the text has a contrast of 4.5:1 (WCAG 1.4.3) with every point of the
// sky behind it, the light around the sun included. Axe does not check colors on gradients.
func TestClock_IsLegibleAllDay(t *testing.T) {
	t.Parallel()
	server := kit.NewSite(t).Serve()
	// Without scripts, so that the sky does not change.
	p := kit.NewBrowser(t, server.URL(), kit.NoScript())
	p.Register("sky" + kit.UniqueName())
	p.Open("/dashboard?q=x", http.StatusOK) // during a search the page does not reload
	checkSky(t, p, ".clock")
	p.Submit("/logout", http.StatusOK)
	p.Open("/", http.StatusOK)
	checkSky(t, p, ".welcome")
}

// checkSky checks the contrast of a text under the sky all day long.
func checkSky(t *testing.T, p *kit.Browser, text string) {
	for _, width := range []int64{360, 768, 1440} {
		for _, scheme := range []string{"light", "dark"} {
			p.Do(kit.Viewport(width, 900), kit.MediaFeatures("prefers-color-scheme", scheme, "prefers-reduced-motion", "reduce"))
			least, at := math.Inf(1), 0
			for _, minute := range skyMinutes() {
				ratio := contrast(p, text, minute)
				if ratio < 4.5 {
					t.Errorf("%s, %s, %d px, %s: got a contrast of %.2f", text, scheme, width, timeOfDay(minute), ratio)
				}
				if ratio < least {
					least, at = ratio, minute
				}
			}
			t.Logf("%s, %s, %d px: the least contrast is %.2f, at %s", text, scheme, width, least, timeOfDay(at))
		}
	}
}

// skyMinutes returns the minutes of the day at which to look at the sky: each second hour, and each quarter of an hour
// while the sun is low and its light is near the text.
func skyMinutes() []int {
	var all []int
	for minute := 0; minute < 24*60; minute += 15 {
		if low := 5*60 < minute && minute < 8*60 || 16*60 < minute && minute < 20*60; low || minute%120 == 0 {
			all = append(all, minute)
		}
	}
	return all
}

func timeOfDay(minute int) string { return fmt.Sprintf("%02d:%02d", minute/60, minute%60) }

// contrast returns the lowest contrast between the text of an element and the sky behind it.
func contrast(p *kit.Browser, selector string, minute int) float64 {
	p.T.Helper()
	look := kit.Eval[struct {
		Ink                 [3]float64
		X, Y, Width, Height float64
	}](p, fmt.Sprintf(`(() => {
		document.documentElement.style.setProperty("--now", %d);
		const block = document.querySelector("%s"), { x, y, height } = block.getBoundingClientRect(), text = document.createRange();
		const width = Math.max(...[...block.children].map(line => { text.selectNodeContents(line); return text.getBoundingClientRect().right })) - x;
		const ink = getComputedStyle(block).color.match(/[\d.]+/g).slice(0, 3).map(Number);
		block.style.visibility = "hidden";
		return { Ink: ink, X: x, Y: y, Width: width, Height: height };
	})()`, minute, selector))
	ctx, cancel := p.StepContext()
	defer cancel()
	data, err := chromedp.Run(ctx, func(ctx context.Context, t *chromedp.Target) ([]byte, error) {
		res, err := cdp.Call(ctx, t, page.CaptureScreenshot, page.CaptureScreenshotParams{
			Clip: &page.Viewport{X: look.X, Y: look.Y, Width: look.Width, Height: look.Height, Scale: 1},
		})
		return res.Data, err
	})
	if err != nil {
		p.T.Fatal(err)
	}
	p.Do(chromedp.Evaluate[chromedp.Void](`document.querySelector("` + selector + `").style.visibility = ""`))
	picture, err := png.Decode(bytes.NewReader(data))
	if err != nil {
		p.T.Fatal(err)
	}
	return leastContrast(picture, luminance(look.Ink[0]/255, look.Ink[1]/255, look.Ink[2]/255))
}

// leastContrast returns the lowest contrast between a picture's pixels and text of the luminance ink.
func leastContrast(picture image.Image, ink float64) float64 {
	least, seen := math.Inf(1), map[color.Color]bool{}
	for y := picture.Bounds().Min.Y; y < picture.Bounds().Max.Y; y++ {
		for x := picture.Bounds().Min.X; x < picture.Bounds().Max.X; x++ {
			c := picture.At(x, y)
			if seen[c] {
				continue
			}
			seen[c] = true
			r, g, b, _ := c.RGBA()
			behind := luminance(float64(r)/0xffff, float64(g)/0xffff, float64(b)/0xffff)
			least = min(least, (max(ink, behind)+0.05)/(min(ink, behind)+0.05))
		}
	}
	return least
}

// luminance returns the relative luminance of WCAG 2.2.
func luminance(r, g, b float64) float64 {
	linear := func(c float64) float64 {
		if c <= 0.04045 {
			return c / 12.92
		}
		return math.Pow((c+0.055)/1.055, 2.4)
	}
	return 0.2126*linear(r) + 0.7152*linear(g) + 0.0722*linear(b)
}
