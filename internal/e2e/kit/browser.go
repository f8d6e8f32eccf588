package kit

import (
	"context"
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

// Action is a step that a tab takes.
type Action = chromedp.Action[chromedp.Void]

// BrowserTimeout bounds the wait for anything in a browser.
const BrowserTimeout = 20 * time.Second

// chromium is the one browser of this test process. The kernel ends it with the process.
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
		// Several windows are open, and all of them have to be rendered.
		chromedp.Flag("disable-background-timer-throttling", true),
		chromedp.Flag("disable-backgrounding-occluded-windows", true),
		chromedp.Flag("disable-renderer-backgrounding", true),
	)
	ctx, _ := chromedp.NewContext(allocator)
	return ctx, chromedp.Do(ctx)
}

// Browser is a tab in a browser with separate cookies and a separate history.
type Browser struct {
	T       testing.TB
	BaseURL string
	Ctx     context.Context
	// OtherHosts are further origins that the tab may send requests to.
	OtherHosts []string

	Mu       sync.Mutex
	Requests []*network.EventRequestWillBeSent
	Document network.RequestID // of the page that is shown
	Restored int               // pages restored from the back/forward cache
	faults   []fault
	Expected map[string]bool // "401 http://…": responses that the test asked for
}

// fault is a violation that fails the test, such as an exception, and the response that caused it, if any.
type fault struct{ text, response string }

// NewBrowser opens a tab in a new, private browser context. The settings apply before its first page. When the test
// ends, it fails if any page of the tab threw an exception, wrote to the console, violated the content security policy
// or sent a request to another host.
func NewBrowser(t testing.TB, base string, settings ...Action) *Browser {
	t.Helper()
	path := testkit.Chromium(t)
	chromium.once.Do(func() { chromium.ctx, chromium.err = startChromium(path) })
	if chromium.err != nil {
		t.Fatalf("start the browser: %v", chromium.err)
	}
	return openTab(t, chromium.ctx, base, settings, chromedp.WithNewBrowserContext())
}

// NewTab opens another tab of the same browser.
func (p *Browser) NewTab(settings ...Action) *Browser {
	p.T.Helper()
	return openTab(p.T, p.Ctx, p.BaseURL, settings)
}

func openTab(t testing.TB, parent context.Context, base string, settings []Action, options ...chromedp.ContextOption) *Browser {
	t.Helper()
	p := &Browser{T: t, BaseURL: base, Expected: make(map[string]bool)}
	var cancel context.CancelFunc
	p.Ctx, cancel = chromedp.NewContext(parent, options...)
	t.Cleanup(cancel)
	t.Cleanup(p.checkFaults)
	if err := chromedp.Listen(p.Ctx, p.notice); err != nil {
		t.Fatalf("open a tab: %v", err)
	}
	p.Do(Command(audits.Enable, cdp.Empty{}),
		Command(emulation.SetFocusEmulationEnabled, emulation.SetFocusEmulationEnabledParams{Enabled: true}),
		Viewport(1024, 768))
	p.Do(settings...)
	return p
}

// Command is a protocol command whose result is ignored.
func Command[P, R any](c cdp.Command[P, R], params P) Action {
	return chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, c, params)
		return err
	})
}

// Viewport sets the size of the window.
func Viewport(width, height int64) Action {
	return chromedp.EmulateViewport(width, height)
}

// NoScript disables the pages' scripts.
func NoScript() Action { return Scripts(false) }

// Scripts enables or disables the pages' scripts.
func Scripts(run bool) Action {
	return Command(emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: !run})
}

// TimeZone sets the browser's time zone.
func TimeZone(name string) Action {
	return Command(emulation.SetTimezoneOverride, emulation.SetTimezoneOverrideParams{TimezoneID: name})
}

// MediaFeatures sets media features, name, value, name, value…; all others have their defaults.
func MediaFeatures(pairs ...string) Action {
	params := emulation.SetEmulatedMediaParams{}
	for i := 0; i+1 < len(pairs); i += 2 {
		params.Features = append(params.Features, &emulation.MediaFeature{Name: pairs[i], Value: pairs[i+1]})
	}
	return Command(emulation.SetEmulatedMedia, params)
}

// OnNewDocument runs a script in every new page before the page's own.
func OnNewDocument(script string) Action {
	return Command(page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{Source: script})
}

// WithAndWithoutScript runs a test with the pages' scripts and without them.
func WithAndWithoutScript(t *testing.T, test func(t *testing.T, script bool, settings ...Action)) {
	t.Run("script", func(t *testing.T) { test(t, true) })
	t.Run("no script", func(t *testing.T) { test(t, false, NoScript()) })
}

// notice handles an event of the tab, on the goroutine that reads them.
func (p *Browser) notice(event any) {
	p.Mu.Lock()
	defer p.Mu.Unlock()
	switch e := event.(type) {
	case *network.EventRequestWillBeSent:
		p.Requests = append(p.Requests, e)
		if u, err := url.Parse(e.Request.URL); err != nil || !p.known(u) {
			p.fault("a request to another host: %s", e.Request.URL)
		}
	case *network.EventResponseReceived:
		if e.Type == network.ResourceTypeDocument {
			p.Document = e.RequestID
		}
	case *network.EventLoadingFailed:
		if !e.Canceled {
			p.fault("loading failed: %s %s", e.ErrorText, e.BlockedReason)
		}
	case *page.EventFrameNavigated:
		if e.Type == page.NavigationTypeBackForwardCacheRestore {
			p.Restored++
		}
	case *runtime.EventExceptionThrown:
		p.fault("an exception: %s", ToJSON(e.ExceptionDetails))
	case *runtime.EventConsoleAPICalled:
		p.fault("console.%s: %s", e.Type, ToJSON(e.Args))
	case *log.EventEntryAdded:
		p.noticeEntry(e.Entry)
	case *audits.EventIssueAdded:
		issue := ToJSON(e.Issue)
		// A page that reloads itself, as the page of an outage does, is skipped by the back button, which is as it should be.
		if !strings.Contains(issue, `"NavigationEntryMarkedSkippable"`) {
			p.fault("an issue: %s", issue)
		}
	case *page.EventJavascriptDialogOpening:
		p.fault("a dialog: %s", e.Message)
	case *inspector.EventTargetCrashed:
		p.fault("the page crashed")
	}
}

// noticeEntry handles a line of the browser's own log. It has one for every response above 399, which is not a fault
// if the test asked for that response.
func (p *Browser) noticeEntry(e *log.Entry) {
	if e.Level != log.EntryLevelWarning && e.Level != log.EntryLevelError {
		return // such as: input came before autofocus took effect
	}
	f := fault{text: fmt.Sprintf("the browser's log: %s %s: %s (%s)", e.Source, e.Level, e.Text, e.URL)}
	var status int
	if _, rest, ok := strings.Cut(e.Text, "responded with a status of "); ok && e.Source == log.EntrySourceNetwork {
		_, _ = fmt.Sscanf(rest, "%d", &status)
		f.response = StatusLine(status, e.URL)
	}
	p.faults = append(p.faults, f)
}

// StatusLine identifies a response: "401 http://…".
func StatusLine(status int, url string) string { return fmt.Sprint(status, " ", url) }

func (p *Browser) fault(format string, args ...any) {
	p.faults = append(p.faults, fault{text: fmt.Sprintf(format, args...)})
}

func (p *Browser) known(u *url.URL) bool {
	origin := u.Scheme + "://" + u.Host
	return origin == p.BaseURL || u.String() == "about:blank" || slices.Contains(p.OtherHosts, origin)
}

// ToJSON returns v as JSON, or the error.
func ToJSON(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

func (p *Browser) checkFaults() {
	p.T.Helper()
	// Events are ordered: after this response all earlier ones have been handled.
	ctx, cancel := p.StepContext() // a page with an open dialog never responds
	defer cancel()
	if _, err := chromedp.Run(ctx, chromedp.Evaluate[int]("1")); err != nil {
		p.T.Errorf("the tab no longer responds: %v", err)
	}
	p.Mu.Lock()
	defer p.Mu.Unlock()
	for _, f := range p.faults {
		if !p.Expected[f.response] {
			p.T.Error(f.text)
		}
	}
}

// StepContext returns a context for one step, with BrowserTimeout.
func (p *Browser) StepContext() (context.Context, context.CancelFunc) {
	return context.WithTimeout(p.Ctx, BrowserTimeout)
}

// Do takes steps that load no page.
func (p *Browser) Do(steps ...Action) {
	p.T.Helper()
	ctx, cancel := p.StepContext()
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		p.T.Fatal(err)
	}
}

// Load takes steps that load a page, waits for it, after all redirects, and checks its status.
func (p *Browser) Load(status int, steps ...Action) {
	p.T.Helper()
	if got := p.LoadAny(steps...); got != status {
		p.T.Fatalf("%s: status %d, want %d\n%s", p.Path(), got, status, p.Text("body"))
	}
}

// LoadAny is Load with any status, which it returns.
func (p *Browser) LoadAny(steps ...Action) int {
	p.T.Helper()
	ctx, cancel := p.StepContext()
	defer cancel()
	resp, err := chromedp.RunResponse(ctx, steps...)
	if err != nil {
		p.T.Fatalf("load a page (now at %s): %v", p.Path(), err)
	}
	if resp == nil {
		p.T.Fatalf("the steps loaded no page: still at %s", p.Path())
	}
	address, _, _ := strings.Cut(resp.URL, "#")
	p.Mu.Lock()
	defer p.Mu.Unlock()
	p.Expected[StatusLine(int(resp.Status), address)] = true
	return int(resp.Status)
}

// Open goes to a page as if its address had been typed.
func (p *Browser) Open(path string, status int) {
	p.T.Helper()
	p.Load(status, chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		res, err := cdp.Call(ctx, t, page.Navigate, page.NavigateParams{URL: p.BaseURL + path})
		if err == nil && res.ErrorText != "" {
			err = errors.New(res.ErrorText)
		}
		return err
	}))
}

// Click loads a page by a click on an element.
func (p *Browser) Click(selector string, status int) {
	p.T.Helper()
	p.Load(status, chromedp.Click(chromedp.CSS(selector)))
}

// Submit clicks the button of the form with this action.
func (p *Browser) Submit(action string, status int) {
	p.T.Helper()
	p.Click(SubmitButton(action), status)
}

// SubmitButton returns the selector of that button.
func SubmitButton(action string) string {
	return `form[action="` + action + `"] button:not([type="button"])`
}

// Fill types into fields: id, text, id, text….
func (p *Browser) Fill(fields ...string) {
	p.T.Helper()
	for i := 0; i+1 < len(fields); i += 2 {
		p.Do(chromedp.Evaluate[chromedp.Void](`(e => { e.focus(); e.select() })(document.getElementById("`+fields[i]+`"))`),
			chromedp.KeyEvent(kb.Backspace),
			Command(input.InsertText, input.InsertTextParams{Text: fields[i+1]}))
	}
}

// Select selects an option.
func (p *Browser) Select(id, value string) {
	p.T.Helper()
	p.Do(chromedp.SetValue(chromedp.CSS("#"+id), value))
}

// Register creates an account through the form.
func (p *Browser) Register(username string, more ...string) {
	p.T.Helper()
	p.Open("/register", http.StatusOK)
	p.Fill(append([]string{"username", username, "password", Password}, more...)...)
	p.Submit("/register", http.StatusOK)
	if got := strings.TrimSuffix(p.Path(), "?notice=welcome"); got != "/dashboard" {
		p.T.Fatalf("at %s after the registration\n%s", got, p.Text("body"))
	}
}

// SignIn signs in through the form.
func (p *Browser) SignIn(username string) {
	p.T.Helper()
	p.Open("/login", http.StatusOK)
	p.Fill("username", username, "password", Password)
	p.Submit("/login", http.StatusOK)
	p.WantPath("/dashboard")
}

// Eval returns the value of an expression or, if that is a promise, its result. It works in pages whose own scripts
// are disabled as well, unless it awaits something.
func Eval[T any](p *Browser, expression string) T {
	p.T.Helper()
	ctx, cancel := p.StepContext()
	defer cancel()
	v, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	if err != nil {
		p.T.Fatalf("%.200s: %v", expression, err)
	}
	return v
}

// WaitFor waits until an expression is true, even across page loads.
func (p *Browser) WaitFor(what, expression string) {
	p.T.Helper()
	ctx, cancel := p.StepContext()
	defer cancel()
	testkit.Eventually(p.T, BrowserTimeout, what, func() bool {
		ok, err := chromedp.Run(ctx, chromedp.Evaluate[bool]("!!("+expression+")"))
		return err == nil && ok
	})
}

// Text returns the visible text of the first element that matches.
func (p *Browser) Text(selector string) string {
	p.T.Helper()
	return Eval[string](p, `document.querySelector(`+ToJSON(selector)+`)?.innerText ?? "nothing matches"`)
}

// Has reports whether an element matches.
func (p *Browser) Has(selector string) bool {
	p.T.Helper()
	return Eval[bool](p, `!!document.querySelector(`+ToJSON(selector)+`)`)
}

// Value returns the value of a field.
func (p *Browser) Value(id string) string {
	p.T.Helper()
	return Eval[string](p, `document.getElementById("`+id+`").value`)
}

// Path returns the path and query of the page.
func (p *Browser) Path() string {
	p.T.Helper()
	return Eval[string](p, `location.pathname + location.search`)
}

// WantPath fails unless the page has this path and query.
func (p *Browser) WantPath(path string) {
	p.T.Helper()
	if got := p.Path(); got != path {
		p.T.Fatalf("at %s, want %s\n%s", got, path, p.Text("body"))
	}
}

// WantNotice fails unless the page has the notice, focused and within the window. Scripts take it out of the address.
func (p *Browser) WantNotice(script bool, path, key, text string) {
	p.T.Helper()
	p.WaitFor("the focus on the notice", `document.activeElement.matches(".notice")`)
	p.WantText(`[role="status"]`, text)
	if !script {
		path += "?notice=" + key
	}
	p.WantPath(path)
	if !Eval[bool](p, `(({ top, bottom }) => top >= 0 && bottom <= innerHeight)(document.activeElement.getBoundingClientRect())`) {
		p.T.Errorf("the notice of %s is outside the window", path)
	}
}

// WantText fails unless the element's text contains the part.
func (p *Browser) WantText(selector, part string) {
	p.T.Helper()
	if got := p.Text(selector); !strings.Contains(got, part) {
		p.T.Errorf("%s at %s: got %q, want %q in it", selector, p.Path(), got, part)
	}
}

// WantTitle fails unless the title marks the page as one with an error, if wrong is true, or as one without.
func (p *Browser) WantTitle(wrong bool) {
	p.T.Helper()
	title := Eval[string](p, `document.title`)
	if strings.HasPrefix(title, "Error: ") != wrong || !strings.HasSuffix(title, " · Gatehouse") {
		p.T.Errorf("%s has the title %q", p.Path(), title)
	}
}

// WantFocus waits for the focus, which pages move to a field once they are rendered.
func (p *Browser) WantFocus(id string) {
	p.T.Helper()
	p.WaitFor("the focus on "+id, `document.activeElement.id === "`+id+`"`)
}

// WantDescription fails unless the field's aria-describedby leads to texts that contain the parts.
func (p *Browser) WantDescription(id string, parts ...string) {
	p.T.Helper()
	got := Eval[string](p, `(document.getElementById("`+id+`").getAttribute("aria-describedby") ?? "").split(" ").filter(Boolean)
		.map(id => document.getElementById(id)?.textContent ?? "nothing has the id " + id).join(" ")`)
	for _, part := range parts {
		if !strings.Contains(got, part) {
			p.T.Errorf("%s is described as %q, want %q in it", id, got, part)
		}
	}
}

// CountPosts returns the number of POST requests for the path.
func (p *Browser) CountPosts(path string) int {
	p.Mu.Lock()
	defer p.Mu.Unlock()
	n := 0
	for _, e := range p.Requests {
		if e.Request.Method == http.MethodPost && e.Request.URL == p.BaseURL+path {
			n++
		}
	}
	return n
}

// Cookies returns the tab's cookies for the site by name.
func (p *Browser) Cookies() map[string]*network.Cookie {
	p.T.Helper()
	ctx, cancel := p.StepContext()
	defer cancel()
	res, err := chromedp.Call(ctx, network.GetCookies, network.GetCookiesParams{URLs: []string{p.BaseURL + "/"}})
	if err != nil {
		p.T.Fatal(err)
	}
	all := make(map[string]*network.Cookie)
	for _, c := range res.Cookies {
		all[c.Name] = c
	}
	return all
}

// Back presses the browser's back button without waiting for the page.
func (p *Browser) Back() {
	p.T.Helper()
	p.Do(chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
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
