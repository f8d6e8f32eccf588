package browser

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/performance"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"gatehouse/internal/e2e/kit"
)

// appsFile writes an APPS_FILE with twelve apps at the address, one of them for administrators, and returns its path.
func appsFile(t testing.TB, address string) string {
	t.Helper()
	var b strings.Builder
	for _, name := range []string{
		"Wiki", "Grafana", "Invoices", "Zoë's calendar", "Mail", "Git", "Chat", "Files", "Tickets", "مكتبة", strings.Repeat("Wolfeschlegel", 5), "Servers",
	} {
		fmt.Fprintf(&b, "- name: %q\n  url: %s/%d\n  description: What %[1]q is good for.\n", name, address, b.Len())
	}
	b.WriteString("  group: admin\n  icon: icon.svg\n")
	dir := t.TempDir()
	path := filepath.Join(dir, "apps.yaml")
	svg := `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 8 8"><style>path{fill:#31548c}</style><path d="M0 0h8v8H0z"/></svg>`
	for file, content := range map[string]string{path: b.String(), filepath.Join(dir, "icon.svg"): svg} {
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return path
}

// pressSlash presses the key /. Unlike with chromedp.KeyEvent, a page that handles the key prevents the character, as with a
// keyboard.
func pressSlash(p *kit.Browser) {
	p.T.Helper()
	for _, kind := range []input.DispatchKeyEventType{input.DispatchKeyEventTypeRawKeyDown, input.DispatchKeyEventTypeChar, input.DispatchKeyEventTypeKeyUp} {
		event := input.DispatchKeyEventParams{Type: kind, Key: "/", Code: "Slash"}
		if kind == input.DispatchKeyEventTypeChar {
			event.Text = "/"
		}
		p.Do(kit.Command(input.DispatchKeyEvent, event))
	}
}

// visibleApps returns the names of the apps that are shown.
func visibleApps(p *kit.Browser) []string {
	p.T.Helper()
	return kit.Eval[[]string](p, `[...document.querySelectorAll(".apps li")].filter(e => e.checkVisibility()).map(e => e.querySelector("strong").textContent)`)
}

// TestLauncher_FindsAndOpensAnApp: by typing with scripts, by a form without them, and with the keyboard alone.
func TestLauncher_FindsAndOpensAnApp(t *testing.T) {
	t.Parallel()
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		fmt.Fprint(w, `<!doctype html><link rel="icon" href="data:,"><h1>The app</h1>`)
	}))
	t.Cleanup(app.Close)
	server := kit.NewSite(t).Serve("APPS_FILE", appsFile(t, app.URL))
	kit.WithAndWithoutScript(t, func(t *testing.T, script bool, settings ...kit.Action) {
		p := kit.NewBrowser(t, server.URL(), settings...)
		p.OtherHosts = append(p.OtherHosts, app.URL, "data://")
		p.Register("launch" + kit.UniqueName())
		p.Open("/dashboard", http.StatusOK)
		if apps := visibleApps(p); len(apps) != 11 || apps[0] != "Wiki" || strings.Contains(strings.Join(apps, " "), "Servers") {
			t.Errorf("the apps are %q", apps)
		}
		search := func(text string) {
			t.Helper()
			p.Fill("q", text)
			if !script {
				p.Submit("/dashboard", http.StatusOK)
			}
		}
		if script {
			pressSlash(p)
			p.WantFocus("q")
			if got := p.Value("q"); got != "" {
				t.Errorf("the key types %q into the search box", got)
			}
		}
		search("ZOE cal")
		if apps := visibleApps(p); len(apps) != 1 || apps[0] != "Zoë's calendar" {
			t.Errorf("the search finds %q", apps)
		}
		search("nothing like this")
		if apps := visibleApps(p); len(apps) != 0 {
			t.Errorf("the search finds %q", apps)
		}
		p.WantText("#no-match", "No app matches your search.")
		search("grafana")
		if !script {
			p.WantPath("/dashboard?q=grafana")
			p.Click(".apps li:not([hidden]) a", http.StatusOK)
		} else {
			p.Load(http.StatusOK, chromedp.KeyEvent(kb.Enter))
		}
		p.WantText("h1", "The app")
	})
}

func TestLauncher_ArrowKeysMoveBetweenApps(t *testing.T) {
	t.Parallel()
	server := kit.NewSite(t).Serve("APPS_FILE", appsFile(t, "http://localhost:1"))
	p := kit.NewBrowser(t, server.URL())
	p.Register("arrow" + kit.UniqueName())
	p.Open("/dashboard", http.StatusOK)
	focused := `document.activeElement.closest("li")?.querySelector("strong").textContent ?? document.activeElement.id`
	pressSlash(p)
	for _, step := range []struct{ key, want string }{
		{kb.ArrowDown, "Wiki"}, {kb.ArrowDown, "Grafana"}, {kb.ArrowRight, "Invoices"}, {kb.ArrowLeft, "Grafana"}, {kb.ArrowUp, "Wiki"}, {kb.ArrowUp, "Wiki"},
	} {
		p.Do(chromedp.KeyEvent(step.key))
		if got := kit.Eval[string](p, focused); got != step.want {
			t.Errorf("the focus is on %q, want %q", got, step.want)
		}
	}
}

// TestDashboard_ReloadsWithoutScripts at the next minute.
func TestDashboard_ReloadsWithoutScripts(t *testing.T) {
	t.Parallel()
	p := kit.NewBrowser(t, kit.NewSite(t).Serve().URL(), kit.NoScript())
	p.Register("reload" + kit.UniqueName())
	p.Open("/dashboard", http.StatusOK)
	refresh := kit.Eval[string](p, `document.querySelector("meta[http-equiv=refresh]").content`)
	var seconds int
	if n, err := fmt.Sscanf(refresh, "%d; url=/dashboard?refresh", &seconds); n != 1 || err != nil || seconds < 1 || seconds > 60 {
		t.Errorf("the page reloads: %q", refresh)
	}
	p.Open("/dashboard?refresh", http.StatusOK)
	p.WantText(`nav [aria-current="page"]`, "Dashboard")
}

// TestLanding_ShowsTheVisitorsSky: with scripts the sky is that of the browser's local time from the first paint on, without
// them that of UTC.
func TestLanding_ShowsTheVisitorsSky(t *testing.T) {
	t.Parallel()
	server := kit.NewSite(t).Serve()
	kit.WithAndWithoutScript(t, func(t *testing.T, script bool, settings ...kit.Action) {
		p := kit.NewBrowser(t, server.URL(), append(settings, kit.TimeZone("Asia/Tokyo"))...)
		p.Open("/", http.StatusOK)
		// One expression, so that the minute does not change in between.
		page := kit.Eval[struct {
			Sky        []float64
			Tokyo, UTC float64
			Blocking   string
		}](p, `({
			Sky: document.getAnimations().map(a => a.effect.getComputedTiming().progress * 1440),
			Tokyo: new Date().getHours() * 60 + new Date().getMinutes(),
			UTC: new Date().getUTCHours() * 60 + new Date().getUTCMinutes(),
			Blocking: performance.getEntriesByType("resource").filter(e => e.renderBlockingStatus === "blocking").map(e => e.name).join(" "),
		})`)
		want := page.UTC
		if script {
			want = page.Tokyo
			if !strings.Contains(page.Blocking, "/static/landing.") {
				t.Errorf("the first paint waits only for %s", page.Blocking)
			}
		}
		// A minute may have begun since the page was rendered.
		if len(page.Sky) != 2 || want-page.Sky[0] < -0.01 || want-page.Sky[0] > 1.01 {
			t.Errorf("the sky is that of minute %v, want %v", page.Sky, want)
		}
		if kit.Eval[bool](p, `document.querySelector("#second-hand").checkVisibility()`) {
			t.Error("the second hand stands still")
		}
		p.Click(`main a[href="/login"]`, http.StatusOK)
	})
}

// TestSky_DoesNotRepaint: the animations that hold the colors of the sky stand still, so that the browser does nothing between
// two minutes.
func TestSky_DoesNotRepaint(t *testing.T) {
	t.Parallel()
	p := kit.NewBrowser(t, kit.NewSite(t).Serve().URL())
	p.Open("/", http.StatusOK)
	states := kit.Eval[[]string](p, `document.getAnimations().map(a => a.playState)`)
	if len(states) != 2 || states[0] != "paused" || states[1] != "paused" {
		t.Errorf("the animations are %q, want them paused", states)
	}
	before, err := layoutAndStyle(p)
	if err != nil {
		t.Fatal(err)
	}
	kit.Eval[int](p, `new Promise(done => setTimeout(() => done(1), 1500))`)
	after, err := layoutAndStyle(p)
	if err != nil {
		t.Fatal(err)
	}
	// The tick of a minute and the measurement itself may cost one each.
	if after-before > 2 {
		t.Errorf("the browser calculated styles %v times in 1.5 s", after-before)
	}
}

// layoutAndStyle returns how often the browser has calculated the styles of the page.
func layoutAndStyle(p *kit.Browser) (float64, error) {
	ctx, cancel := p.StepContext()
	defer cancel()
	if _, err := chromedp.Call(ctx, performance.Enable, performance.EnableParams{}); err != nil {
		return 0, err
	}
	res, err := chromedp.Call(ctx, performance.GetMetrics, cdp.Empty{})
	if err != nil {
		return 0, err
	}
	for _, m := range res.Metrics {
		if m.Name == "RecalcStyleCount" {
			return m.Value, nil
		}
	}
	return 0, errors.New("the browser does not count")
}
