package e2e

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/audits"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/inspector"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"gatehouse/internal/testkit"
	"gatehouse/internal/testkit/servers"
)

// action is what a tab is told to do.
type action = chromedp.Action[chromedp.Void]

// patience is how long a test waits for anything in a browser.
const patience = 20 * time.Second

// chromium is the one browser of this test process. The kernel ends it with us.
var chromium struct {
	once sync.Once
	ctx  context.Context
	err  error
}

func startChromium(path string) (context.Context, error) {
	profile, err := servers.TempDir("chromium")
	if err != nil {
		return nil, err
	}
	allocator, _ := chromedp.NewExecAllocator(context.Background(),
		chromedp.ExecPath(path), chromedp.UserDataDir(profile),
		chromedp.Headless, chromedp.NoSandbox, chromedp.DisableGPU, chromedp.NoFirstRun, chromedp.NoDefaultBrowserCheck,
		chromedp.Flag("disable-quic", true),
		chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true),
		chromedp.Flag("disable-sync", true),
		chromedp.Flag("disable-dev-shm-usage", true), // containers give it 64 MB
		// Several windows are open, and all of them are looked at.
		chromedp.Flag("disable-background-timer-throttling", true),
		chromedp.Flag("disable-backgrounding-occluded-windows", true),
		chromedp.Flag("disable-renderer-backgrounding", true),
	)
	ctx, _ := chromedp.NewContext(allocator)
	return ctx, chromedp.Do(ctx)
}

// person is somebody with a browser of their own: cookies, history and one tab.
type person struct {
	t    testing.TB
	base string
	ctx  context.Context
	// elsewhere are other hosts that the test itself sends the person to.
	elsewhere []string

	mu       sync.Mutex
	requests []*network.EventRequestWillBeSent
	document network.RequestID // of the page that is shown
	restored int               // pages that came back from memory
	faults   []fault
	wanted   map[string]bool // "401 http://…": what the test asked for
}

// fault is something that no page of ours should do.
type fault struct{ text, answer string }

// newPerson opens a tab in a new, private browser context. The settings apply before its
// first page. When the test ends it fails if any page of the tab threw an exception, wrote to
// the console, broke the content security policy or asked another host for something.
func newPerson(t testing.TB, base string, settings ...action) *person {
	t.Helper()
	path := testkit.Chromium(t)
	chromium.once.Do(func() { chromium.ctx, chromium.err = startChromium(path) })
	if chromium.err != nil {
		t.Fatalf("start the browser: %v", chromium.err)
	}
	return openTab(t, chromium.ctx, base, settings, chromedp.WithNewBrowserContext())
}

// newTab opens a second tab of the same browser.
func (p *person) newTab(settings ...action) *person {
	p.t.Helper()
	return openTab(p.t, p.ctx, p.base, settings)
}

func openTab(t testing.TB, parent context.Context, base string, settings []action, options ...chromedp.ContextOption) *person {
	t.Helper()
	p := &person{t: t, base: base, wanted: make(map[string]bool)}
	var cancel context.CancelFunc
	p.ctx, cancel = chromedp.NewContext(parent, options...)
	t.Cleanup(cancel)
	t.Cleanup(p.checkFaults)
	if err := chromedp.Listen(p.ctx, p.notice); err != nil {
		t.Fatalf("open a tab: %v", err)
	}
	p.do(command(audits.Enable, cdp.Empty{}),
		command(emulation.SetFocusEmulationEnabled, emulation.SetFocusEmulationEnabledParams{Enabled: true}),
		viewport(1024, 768))
	p.do(settings...)
	return p
}

// command is a protocol command whose answer does not matter.
func command[P, R any](c cdp.Command[P, R], params P) action {
	return chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, c, params)
		return err
	})
}

func viewport(width, height int64) action {
	return chromedp.EmulateViewport(width, height)
}

func withoutScript() action { return scripts(false) }

// scripts says whether pages may run theirs.
func scripts(run bool) action {
	return command(emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: !run})
}

// inZone puts the browser's machine into a time zone.
func inZone(name string) action {
	return command(emulation.SetTimezoneOverride, emulation.SetTimezoneOverrideParams{TimezoneID: name})
}

// media sets media features, name, value, name, value…; all others are as by default.
func media(pairs ...string) action {
	params := emulation.SetEmulatedMediaParams{}
	for i := 0; i+1 < len(pairs); i += 2 {
		params.Features = append(params.Features, &emulation.MediaFeature{Name: pairs[i], Value: pairs[i+1]})
	}
	return command(emulation.SetEmulatedMedia, params)
}

// before runs a script in every new page, ahead of the page's own.
func before(script string) action {
	return command(page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{Source: script})
}

// bothWays runs a test with the pages' scripts and without them.
func bothWays(t *testing.T, test func(t *testing.T, script bool, settings ...action)) {
	t.Run("script", func(t *testing.T) { test(t, true) })
	t.Run("no script", func(t *testing.T) { test(t, false, withoutScript()) })
}

// notice is called for every event of the tab, on the goroutine that reads them.
func (p *person) notice(event any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch e := event.(type) {
	case *network.EventRequestWillBeSent:
		p.requests = append(p.requests, e)
		if u, err := url.Parse(e.Request.URL); err != nil || !p.known(u) {
			p.fault("a request to another host: %s", e.Request.URL)
		}
	case *network.EventResponseReceived:
		if e.Type == network.ResourceTypeDocument {
			p.document = e.RequestID
		}
	case *network.EventLoadingFailed:
		if !e.Canceled {
			p.fault("loading failed: %s %s", e.ErrorText, e.BlockedReason)
		}
	case *page.EventFrameNavigated:
		if e.Type == page.NavigationTypeBackForwardCacheRestore {
			p.restored++
		}
	case *runtime.EventExceptionThrown:
		p.fault("an exception: %s", inJSON(e.ExceptionDetails))
	case *runtime.EventConsoleAPICalled:
		p.fault("console.%s: %s", e.Type, inJSON(e.Args))
	case *log.EventEntryAdded:
		p.noticeEntry(e.Entry)
	case *audits.EventIssueAdded:
		p.fault("an issue: %s", inJSON(e.Issue))
	case *page.EventJavascriptDialogOpening:
		p.fault("a dialog: %s", e.Message)
	case *inspector.EventTargetCrashed:
		p.fault("the page crashed")
	}
}

// noticeEntry takes a line of the browser's own log. It writes one for every answer above
// 399, which is no fault if the test asked for just that.
func (p *person) noticeEntry(e *log.Entry) {
	if e.Level != log.EntryLevelWarning && e.Level != log.EntryLevelError {
		return // such as: somebody typed before autofocus had its turn
	}
	f := fault{text: fmt.Sprintf("the browser's log: %s %s: %s (%s)", e.Source, e.Level, e.Text, e.URL)}
	var status int
	if _, rest, ok := strings.Cut(e.Text, "responded with a status of "); ok && e.Source == log.EntrySourceNetwork {
		_, _ = fmt.Sscanf(rest, "%d", &status)
		f.answer = answerOf(status, e.URL)
	}
	p.faults = append(p.faults, f)
}

func answerOf(status int, url string) string { return fmt.Sprint(status, " ", url) }

func (p *person) fault(format string, args ...any) {
	p.faults = append(p.faults, fault{text: fmt.Sprintf(format, args...)})
}

func (p *person) known(u *url.URL) bool {
	origin := u.Scheme + "://" + u.Host
	return origin == p.base || u.String() == "about:blank" || slices.Contains(p.elsewhere, origin)
}

func inJSON(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

func (p *person) checkFaults() {
	p.t.Helper()
	// Events come in order: after this answer all earlier ones have been noticed.
	ctx, cancel := p.limited() // a page with an open dialog never answers
	defer cancel()
	if _, err := chromedp.Run(ctx, chromedp.Evaluate[int]("1")); err != nil {
		p.t.Errorf("the tab does not answer any more: %v", err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, f := range p.faults {
		if !p.wanted[f.answer] {
			p.t.Error(f.text)
		}
	}
}

// limited bounds one step.
func (p *person) limited() (context.Context, context.CancelFunc) {
	return context.WithTimeout(p.ctx, patience)
}

// do takes steps that load no page.
func (p *person) do(steps ...action) {
	p.t.Helper()
	ctx, cancel := p.limited()
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		p.t.Fatal(err)
	}
}

// load takes steps that load a page, waits for it (after all redirects) and checks its status.
func (p *person) load(status int, steps ...action) {
	p.t.Helper()
	if got := p.loadAny(steps...); got != status {
		p.t.Fatalf("%s: status %d, want %d\n%s", p.at(), got, status, p.text("body"))
	}
}

// loadAny is load with any status, which it returns.
func (p *person) loadAny(steps ...action) int {
	p.t.Helper()
	ctx, cancel := p.limited()
	defer cancel()
	resp, err := chromedp.RunResponse(ctx, steps...)
	if err != nil {
		p.t.Fatalf("load a page (now at %s): %v", p.at(), err)
	}
	if resp == nil {
		p.t.Fatalf("the steps led to another part of %s and loaded nothing", p.at())
	}
	address, _, _ := strings.Cut(resp.URL, "#")
	p.mu.Lock()
	defer p.mu.Unlock()
	p.wanted[answerOf(int(resp.Status), address)] = true
	return int(resp.Status)
}

// open goes to a page as by typing its address.
func (p *person) open(path string, status int) {
	p.t.Helper()
	p.load(status, chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		res, err := cdp.Call(ctx, t, page.Navigate, page.NavigateParams{URL: p.base + path})
		if err == nil && res.ErrorText != "" {
			err = errors.New(res.ErrorText)
		}
		return err
	}))
}

// click loads a page by a click.
func (p *person) click(selector string, status int) {
	p.t.Helper()
	p.load(status, chromedp.Click(chromedp.CSS(selector)))
}

// submit presses the button of the form with the action.
func (p *person) submit(action string, status int) {
	p.t.Helper()
	p.click(submitButton(action), status)
}

func submitButton(action string) string {
	return `form[action="` + action + `"] button:not([type="button"])`
}

// fill types into fields: id, text, id, text….
func (p *person) fill(fields ...string) {
	p.t.Helper()
	for i := 0; i+1 < len(fields); i += 2 {
		p.do(chromedp.Evaluate[chromedp.Void](`(e => { e.focus(); e.select() })(document.getElementById("`+fields[i]+`"))`),
			chromedp.KeyEvent(kb.Backspace),
			command(input.InsertText, input.InsertTextParams{Text: fields[i+1]}))
	}
}

// choose sets a select.
func (p *person) choose(id, value string) {
	p.t.Helper()
	p.do(chromedp.SetValue(chromedp.CSS("#"+id), value))
}

// register makes an account through the form.
func (p *person) register(username string, more ...string) {
	p.t.Helper()
	p.open("/register", http.StatusOK)
	p.fill(append([]string{"username", username, "password", password}, more...)...)
	p.submit("/register", http.StatusOK)
	p.wantAt("/dashboard")
}

// signIn signs in through the form.
func (p *person) signIn(username string) {
	p.t.Helper()
	p.open("/login", http.StatusOK)
	p.fill("username", username, "password", password)
	p.submit("/login", http.StatusOK)
	p.wantAt("/dashboard")
}

// eval returns the value of an expression, or of the promise that it is. It works in pages
// whose own scripts are off, too, as long as it waits for nothing.
func eval[T any](p *person, expression string) T {
	p.t.Helper()
	ctx, cancel := p.limited()
	defer cancel()
	v, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	if err != nil {
		p.t.Fatalf("%.200s: %v", expression, err)
	}
	return v
}

// await waits until an expression holds, whatever page is shown meanwhile.
func (p *person) await(what, expression string) {
	p.t.Helper()
	ctx, cancel := p.limited()
	defer cancel()
	testkit.Eventually(p.t, patience, what, func() bool {
		ok, err := chromedp.Run(ctx, chromedp.Evaluate[bool]("!!("+expression+")"))
		return err == nil && ok
	})
}

// text returns the visible text of the first element that matches.
func (p *person) text(selector string) string {
	p.t.Helper()
	return eval[string](p, `document.querySelector(`+inJSON(selector)+`)?.innerText ?? "nothing matches"`)
}

// has reports whether something matches.
func (p *person) has(selector string) bool {
	p.t.Helper()
	return eval[bool](p, `!!document.querySelector(`+inJSON(selector)+`)`)
}

// value returns what a field holds.
func (p *person) value(id string) string {
	p.t.Helper()
	return eval[string](p, `document.getElementById("`+id+`").value`)
}

// at returns the path and query of the page.
func (p *person) at() string {
	p.t.Helper()
	return eval[string](p, `location.pathname + location.search`)
}

func (p *person) wantAt(path string) {
	p.t.Helper()
	if got := p.at(); got != path {
		p.t.Fatalf("at %s, want %s\n%s", got, path, p.text("body"))
	}
}

func (p *person) wantText(selector, part string) {
	p.t.Helper()
	if got := p.text(selector); !strings.Contains(got, part) {
		p.t.Errorf("%s at %s says %q, want %q in it", selector, p.at(), got, part)
	}
}

// wantTitle wants an error's title if wrong, else one that is none.
func (p *person) wantTitle(wrong bool) {
	p.t.Helper()
	title := eval[string](p, `document.title`)
	if strings.HasPrefix(title, "Error: ") != wrong || !strings.HasSuffix(title, " · Gatehouse") {
		p.t.Errorf("the title of %s is %q", p.at(), title)
	}
}

// wantFocus waits for the focus, which pages give to a field once they are drawn.
func (p *person) wantFocus(id string) {
	p.t.Helper()
	p.await("the focus on "+id, `document.activeElement.id === "`+id+`"`)
}

// wantDescribed wants the parts in what the field refers to as its description.
func (p *person) wantDescribed(id string, parts ...string) {
	p.t.Helper()
	got := eval[string](p, `(document.getElementById("`+id+`").getAttribute("aria-describedby") ?? "").split(" ").filter(Boolean)
		.map(id => document.getElementById(id)?.textContent ?? "nothing has the id " + id).join(" ")`)
	for _, part := range parts {
		if !strings.Contains(got, part) {
			p.t.Errorf("%s is described as %q, want %q in it", id, got, part)
		}
	}
}

// posts counts the POST requests for the path.
func (p *person) posts(path string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for _, e := range p.requests {
		if e.Request.Method == http.MethodPost && e.Request.URL == p.base+path {
			n++
		}
	}
	return n
}

// cookies returns the person's cookies at the site by name.
func (p *person) cookies() map[string]*network.Cookie {
	p.t.Helper()
	ctx, cancel := p.limited()
	defer cancel()
	res, err := chromedp.Call(ctx, network.GetCookies, network.GetCookiesParams{URLs: []string{p.base + "/"}})
	if err != nil {
		p.t.Fatal(err)
	}
	all := make(map[string]*network.Cookie)
	for _, c := range res.Cookies {
		all[c.Name] = c
	}
	return all
}

// back presses the browser's back button and waits for nothing.
func (p *person) back() {
	p.t.Helper()
	p.do(chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		history, err := cdp.Call(ctx, t, page.GetNavigationHistory, cdp.Empty{})
		if err != nil {
			return err
		}
		if history.CurrentIndex == 0 {
			return errors.New("there is no page to go back to")
		}
		_, err = cdp.Call(ctx, t, page.NavigateToHistoryEntry, page.NavigateToHistoryEntryParams{
			EntryID: history.Entries[history.CurrentIndex-1].ID,
		})
		return err
	}))
}

// unique returns letters for the name of a user that nobody else has.
func unique() string { return strings.ToLower(rand.Text()[:8]) }
