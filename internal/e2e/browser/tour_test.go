package browser

import (
	"context"
	"database/sql"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/fetch"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"

	"gatehouse/internal/e2e/kit"
	"gatehouse/internal/testkit"
)

// picturesDir names the environment variable with a directory for a picture of every page at every width and in both
// color schemes, for people to review.
const picturesDir = "GATEHOUSE_PICTURES"

var (
	// longName has the maximum length and no place for a line break.
	longName    = strings.Repeat("wilhelmina", 6) + "wwww"
	longDisplay = strings.Repeat("Wolfeschlegelsteinhausen", 4) + "berg"
)

// TestTour_EveryPageIsAccessible visits every page in every state that users can reach and checks each: no
// accessibility violation (axe) in light and dark, no layout shift, nothing wider than the window, no target below 44
// px, valid HTML and CSS (the Nu checker). The kit checks for exceptions, console output and other faults.
func TestTour_EveryPageIsAccessible(t *testing.T) {
	t.Parallel()
	axe, err := os.ReadFile(testkit.NodeModule(t, "axe-core/axe.min.js"))
	if err != nil {
		t.Fatal(err)
	}
	served := t.TempDir()
	shared := newPlaces(t)
	t.Run("all", func(t *testing.T) {
		for _, o := range []*tour{{width: 360, script: true}, {width: 1440, script: true}, {width: 768}} {
			t.Run(fmt.Sprint(o.width), func(t *testing.T) {
				t.Parallel()
				o.t, o.axe, o.served, o.places = t, string(axe), served, shared
				o.run()
			})
		}
	})
	kit.CheckHTML(t, served)
}

// places are servers in special states, shared by all tours.
type places struct{ apps, closed, broken, throttled string }

func newPlaces(t *testing.T) places {
	t.Helper()
	apps := kit.NewSite(t).Serve("APPS_FILE", appsFile(t, "http://localhost:1"))
	s, broken, throttled := kit.NewSite(t), kit.NewSite(t), kit.NewSite(t)
	all := places{
		apps:      apps.URL(),
		closed:    s.Serve("REGISTRATION", "closed", "HELP_CONTACT", "help@example.org").URL(),
		broken:    broken.Serve().URL(),
		throttled: throttled.Serve().URL(),
	}

	// A missing table causes a real unexpected error.
	db, err := sql.Open("postgres", broken.DatabaseURL)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec("ALTER TABLE users RENAME TO lost"); err != nil {
		t.Fatal(err)
	}

	kit.NewClient(t, all.throttled).Register("guessed")
	c := kit.NewClient(t, all.throttled)
	for range 10 {
		c.PostForm("/login", "username", "guessed", "password", kit.WrongPassword())
	}
	for range 200 {
		c.PostForm("/register", "username", "guessed", "password", kit.Password)
	}
	return all
}

// tour is one walk through all pages at one width.
type tour struct {
	places
	t      *testing.T
	width  int64
	script bool // whether the pages' own scripts run
	axe    string
	served string // directory for the server's responses
	p      *kit.Browser
	seen   int
}

func (o *tour) run() {
	redis := testkit.StartRedis(o.t)
	s := &kit.Site{T: o.t, DatabaseURL: testkit.PostgresURL(o.t), RedisURL: redis.URL()}
	server := s.Serve()

	p := o.person(server.URL())
	o.outside(server.URL())
	o.inside(server.URL())
	s.Run("", "user", "join", longName, "admin").WantCode(o.t, 0)
	o.administrator()
	o.wrongRequests(server.URL())
	p.SignIn(longName)
	s.Run("", "maintenance", "on", "--message", "Back at nine.").WantCode(o.t, 0)
	visitor := kit.NewClient(o.t, server.URL())
	testkit.Eventually(o.t, kit.BrowserTimeout, "the site to be closed", func() bool { return visitor.Get("/").StatusCode == http.StatusServiceUnavailable })
	p.Open("/dashboard", http.StatusOK)
	o.look("dashboard-maintenance")
	p.Submit("/admin/maintenance/end", http.StatusOK)
	o.look("dashboard-reopened")
	redis.Kill()
	p.Open("/login", http.StatusOK)
	p.Fill("username", "alice", "password", kit.Password)
	p.Submit("/login", http.StatusServiceUnavailable)
	o.look("error-503-post")
	p.Open("/dashboard", http.StatusServiceUnavailable)
	o.look("error-503")

	o.launcher()

	p = o.person(o.closed)
	p.Open("/", http.StatusOK)
	o.look("landing-closed")
	p.Open("/register", http.StatusForbidden)
	o.look("register-closed")
	p.Open("/login", http.StatusOK)
	p.Do(chromedp.Click(chromedp.CSS("summary")))
	o.look("login-help")

	p = o.person(o.broken)
	p.Open("/login", http.StatusOK)
	p.Fill("username", "alice", "password", kit.Password)
	p.Submit("/login", http.StatusInternalServerError)
	o.look("error-500")

	p = o.person(o.throttled)
	for _, form := range []string{"login", "register"} {
		p.Open("/"+form, http.StatusOK)
		tryUntilThrottled(p, "/"+form)
		p.WantFocus("password")
		p.WantDescription("password", "Too many attempts. Wait ")
		o.look(form + "-429")
	}
	o.t.Logf("%d pages at %d px", o.seen, o.width)
}

// tryUntilThrottled sends a form until it is throttled. The waits grow with each try, so this happens soon.
func tryUntilThrottled(p *kit.Browser, action string) {
	p.T.Helper()
	for range 10 {
		p.Fill("username", "guessed", "password", kit.WrongPassword())
		if p.LoadAny(chromedp.Click(chromedp.CSS(kit.SubmitButton(action)))) == http.StatusTooManyRequests {
			return
		}
	}
	p.T.Fatalf("%s is never throttled", action)
}

// person opens a browser for the next part of the tour.
func (o *tour) person(base string) *kit.Browser {
	settings := []kit.Action{kit.Viewport(o.width, 900)}
	if !o.script {
		settings = append(settings, kit.NoScript())
	}
	o.p = kit.NewBrowser(o.t, base, settings...)
	return o.p
}

// outside visits the pages for anonymous visitors.
func (o *tour) outside(base string) {
	kit.NewClient(o.t, base).Register("taken")
	p := o.p
	p.Open("/", http.StatusOK)
	o.look("landing")
	p.Open("/api", http.StatusOK)
	o.look("api")
	p.Open("/register", http.StatusOK)
	o.look("register")
	for _, test := range refusedRegistrations {
		switch test.name {
		case "nothing entered", "common password", "taken name", "all of it":
			p.Open("/register?next=/account", http.StatusOK)
			for i, field := range registrationFields {
				p.Fill(field, test.entered[i])
			}
			p.Submit("/register", http.StatusUnprocessableEntity)
			o.look("register-" + strings.ReplaceAll(test.name, " ", "-"))
		}
	}
	if o.script {
		o.meter()
	}

	p.Open("/login?next=/account", http.StatusOK)
	o.look("login")
	p.Submit("/login", http.StatusUnprocessableEntity)
	o.look("login-empty")
	p.Fill("username", longName, "password", "wrong")
	p.Submit("/login", http.StatusUnauthorized)
	o.look("login-wrong")
	p.Open("/nowhere", http.StatusNotFound)
	o.look("error-404")
	p.Open("/password/strength", http.StatusMethodNotAllowed)
	o.look("error-405")
}

// launcher visits the dashboard with apps.
func (o *tour) launcher() {
	p := o.person(o.apps)
	p.Register(fmt.Sprint("launcher", o.width), "name", longDisplay)
	p.Open("/dashboard", http.StatusOK)
	o.look("dashboard-apps")
	p.Open("/dashboard?q=nothing-like-this", http.StatusOK)
	o.look("dashboard-apps-none")
}

// meter visits the registration while a password is being typed.
func (o *tour) meter() {
	p := o.p
	p.Open("/register", http.StatusOK)
	p.Fill("username", "meter", "password", "password1")
	p.WaitFor("a rating", `document.querySelector(".strength[data-score]")`)
	o.look("register-weak-password")
	p.Fill("password", kit.Password)
	p.WaitFor("a rating", `document.querySelector(".strength[data-score='4']")`)
	o.look("register-strong-password")
}

// inside visits the pages of a user with long names and several sessions.
func (o *tour) inside(base string) {
	p := o.p
	p.Register(longName, "name", longDisplay, "email", longName+"@example.org")
	o.look("dashboard")
	p.Open("/account/sessions/end-others", http.StatusOK)
	o.look("end-others-none")
	other := kit.NewClient(o.t, base)
	other.SignIn(longName)
	p.Open("/account/sessions/end-others", http.StatusOK)
	o.look("end-others-one")
	for _, agent := range []string{strings.Repeat("Agent", 60), "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Mobile/15E148 Safari/604.1", ""} {
		c := kit.NewClient(o.t, base)
		c.Do(c.NewRequest(http.MethodPost, "/login", kit.EncodeForm("username", longName, "password", kit.Password, "remember", "on"),
			"Content-Type", kit.FormContentType, "User-Agent", agent))
	}
	p.Open("/account/sessions/end-others", http.StatusOK)
	o.look("end-others")
	p.Open("/account", http.StatusOK)
	o.look("account")
	p.Click(`.sessions > li:nth-child(2) button`, http.StatusOK)
	o.look("account-session-ended")
	o.appearance()
	p.Fill("name", strings.Repeat("x", 101), "email", "nobody@")
	p.Submit("/account/profile", http.StatusUnprocessableEntity)
	o.look("account-profile-errors")
	p.Submit("/account/password", http.StatusUnprocessableEntity)
	o.look("account-password-errors")
	p.Fill("current_password", "wrong-password", "new_password", "tidy-badger-kettle")
	p.Submit("/account/password", http.StatusUnprocessableEntity)
	o.look("account-password-wrong")
	p.Fill("current_password", kit.Password, "new_password", kit.OtherPassword)
	p.Submit("/account/password", http.StatusOK)
	o.look("account-password-changed")
	p.Fill("current_password", kit.OtherPassword, "new_password", kit.Password)
	p.Submit("/account/password", http.StatusOK)
	o.endedSession(base)
	elsewhere := "?next=" + url.QueryEscape("http://localhost:1/"+strings.Repeat("x", 100))
	p.Open("/sign-out"+elsewhere, http.StatusOK)
	o.look("sign-out")
	p.Open("/sign-out", http.StatusOK)
	p.Click(`main form[action="/logout"] button`, http.StatusOK)
	o.look("login-signed-out")
	p.Open("/login"+elsewhere, http.StatusOK)
	o.look("login-for-another-site")
}

// endedSession visits the pages of a form that is submitted after its session has ended.
func (o *tour) endedSession(base string) {
	p := o.p
	p.Fill("name", longDisplay+"x", "email", longName+"@example.org")
	elsewhere := kit.NewClient(o.t, base)
	elsewhere.SignIn(longName)
	elsewhere.WantStatus(elsewhere.PostForm("/account/sessions/end-others"), http.StatusSeeOther)
	p.Submit("/account/profile", http.StatusUnauthorized)
	o.look("login-session-ended")
	p.Fill("username", longName, "password", kit.Password)
	p.Submit("/login", http.StatusOK)
	o.look("account-draft")
}

// appearance visits pages in a theme of their own, with dates that are written from right to left.
func (o *tour) appearance() {
	p := o.p
	choose(p, "theme", "dark")
	choose(p, "hour_cycle", "h12")
	p.Select("locale", "ar")
	p.Submit("/account/appearance", http.StatusOK)
	o.look("account-appearance")
	p.Open("/dashboard", http.StatusOK)
	o.look("dashboard-12-hours")
	p.Open("/account", http.StatusOK)
	choose(p, "theme", "")
	choose(p, "hour_cycle", "")
	p.Select("locale", "en-GB")
	p.Submit("/account/appearance", http.StatusOK)
}

// administrator visits the pages for API tokens and for administrators.
func (o *tour) administrator() {
	p := o.p
	p.SignIn(longName)
	o.look("dashboard-admin")
	p.Open("/account/tokens", http.StatusOK)
	o.look("tokens-none")
	p.Fill("name", strings.Repeat("x", 101))
	p.OtherHosts = append(p.OtherHosts, "data://") // the icon that Chromium draws in a date field
	check(p, "days", "date")
	check(p, "access", "limited")
	p.Submit("/account/tokens", http.StatusUnprocessableEntity)
	o.look("tokens-errors")
	p.Fill("name", longDisplay)
	check(p, "days", "30")
	p.Submit("/account/tokens", http.StatusOK)
	o.look("tokens-made")
	p.Open("/account/tokens", http.StatusOK)
	o.look("tokens")
	p.Open("/account/tokens/revoke-all", http.StatusOK)
	o.look("tokens-revoke-all")
	p.Open("/admin/users", http.StatusOK)
	o.look("users")
	p.Open("/admin/users?q=nobody-like-this&group=admin&sort=created", http.StatusOK)
	o.look("users-none")
	p.Open("/admin/users?group=admin&state=active&order=desc", http.StatusOK)
	o.look("users-filtered")
	p.Click(`tbody a`, http.StatusOK)
	o.look("user-self")
	p.Open("/admin/users/new", http.StatusOK)
	o.look("user-add")
	p.Fill("username", "with space", "email", "nowhere", "password", "short")
	p.Submit("/admin/users/new", http.StatusUnprocessableEntity)
	o.look("user-add-errors")
	p.Fill("username", "mia"+longName[3:], "name", longDisplay, "email", strings.Repeat("m", 60)+"@example.org", "password", kit.Password)
	p.Submit("/admin/users/new", http.StatusOK)
	o.look("user-added")
	user := kit.Eval[string](p, "location.pathname")
	p.Fill("permission", "Everything")
	p.Submit(user+"/permissions/grant", http.StatusUnprocessableEntity)
	o.look("user-permission-error")
	p.Fill("permission", "billing.refund")
	p.Submit(user+"/permissions/grant", http.StatusOK)
	o.look("user")
	p.Submit(user+"/password", http.StatusUnprocessableEntity)
	o.look("user-password-error")
	p.Open(user+"/delete", http.StatusOK)
	o.look("user-delete")
	p.Fill("username", "nobody")
	p.Submit(user+"/delete", http.StatusUnprocessableEntity)
	o.look("user-delete-error")
	p.Fill("username", "mia"+longName[3:])
	p.Submit(user+"/delete", http.StatusOK)
	o.look("user-deleted")
	p.Open("/admin/groups", http.StatusOK)
	o.look("groups")
	p.Submit("/admin/groups", http.StatusUnprocessableEntity)
	o.look("groups-error")
	p.Submit("/logout", http.StatusOK)
}

// wrongRequests visits the errors that the links and buttons of pages never cause.
func (o *tour) wrongRequests(base string) {
	p := o.p
	submit := func(status int, change string) {
		p.Open("/login", http.StatusOK)
		p.Fill("username", "alice", "password", kit.Password)
		p.Load(status, chromedp.Evaluate[chromedp.Void](`{ const form = document.querySelector("form"); `+change+`; form.requestSubmit() }`))
	}
	submit(http.StatusRequestEntityTooLarge, `form.elements.username.value = "x".repeat(1.2e6)`)
	o.look("error-413")
	submit(http.StatusUnsupportedMediaType, `form.enctype = "text/plain"`)
	o.look("error-415")

	// A form damaged in transit.
	damaged := make(chan error, 1)
	paused := chromedp.Events(p.Ctx, fetch.RequestPaused)
	p.Do(kit.Command(fetch.Enable, fetch.EnableParams{Patterns: []*fetch.RequestPattern{{URLPattern: base + "/login"}}}))
	go func() {
		for e, err := range paused {
			if err != nil {
				damaged <- err
				return
			}
			params := fetch.ContinueRequestParams{RequestID: e.RequestID}
			if e.Request.Method == http.MethodPost {
				params.PostData = []byte("username=%zz")
			}
			if _, err := chromedp.Call(p.Ctx, fetch.ContinueRequest, params); err != nil || e.Request.Method == http.MethodPost {
				damaged <- err
				return
			}
		}
	}()
	submit(http.StatusBadRequest, ``)
	if err := <-damaged; err != nil {
		o.t.Fatal(err)
	}
	p.Do(kit.Command(fetch.Disable, cdp.Empty{}))
	o.look("error-400")

	// A page of another site that submits Gatehouse's form.
	foreign := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		fmt.Fprintf(w, `<!doctype html><link rel="icon" href="data:,"><form action="%s/login" method="post"><input name="user" autocomplete="off"><button>Win</button></form>`, base)
	}))
	o.t.Cleanup(foreign.Close)
	p.OtherHosts = append(p.OtherHosts, foreign.URL, "data://")
	p.Load(http.StatusOK, chromedp.Navigate(foreign.URL))
	p.Click("button", http.StatusForbidden)
	o.look("error-403")
}

// look checks the current page.
func (o *tour) look(name string) {
	o.t.Helper()
	o.seen++
	if !o.script && strings.HasPrefix(name, "dashboard") {
		o.p.WaitFor("a page that does not reload now", `parseInt(document.querySelector("meta[http-equiv=refresh]")?.content ?? 60) > 15`)
	}
	o.keep(name)
	if !o.script {
		// The page was rendered without scripts; from here on it is only measured.
		o.p.Do(kit.Scripts(true))
		defer o.p.Do(kit.Scripts(false))
	}
	if shift := kit.Eval[layoutShift](o.p, layoutShifts); shift.Sum >= 0.005 {
		o.t.Errorf("%s: the layout shifts by %v: %q", name, shift.Sum, shift.Sources)
	}
	if wide := kit.Eval[[]string](o.p, overflowing); len(wide) > 0 {
		o.t.Errorf("%s: wider than the window: %q", name, wide)
	}
	if small := kit.Eval[[]string](o.p, smallTargets); len(small) > 0 {
		o.t.Errorf("%s: targets under 44 px: %q", name, small)
	}
	o.p.Do(chromedp.Evaluate[chromedp.Void](o.axe))
	for _, scheme := range []string{"light", "dark"} {
		o.p.Do(kit.MediaFeatures("prefers-color-scheme", scheme, "prefers-reduced-motion", "reduce"))
		for _, violation := range kit.Eval[[]string](o.p, axeRun) {
			if strings.HasPrefix(violation, "meta-refresh: ") && (name == "error-503" || strings.HasPrefix(name, "dashboard")) && !o.script {
				continue // without scripts only a meta refresh can reload the page
			}
			o.t.Errorf("%s, %s: %s", name, scheme, violation)
		}
		o.picture(fmt.Sprintf("%s-%d-%s.png", name, o.width, scheme))
	}
	o.p.Do(kit.MediaFeatures())
}

// layoutShift is the movement of the page since it began to load, including movement after user input, which browsers do
// not count. On a busy machine, a parser that pauses within a word causes a shift of one or two thousandths.
type layoutShift struct {
	Sum     float64
	Sources []string
}

const layoutShifts = `new Promise(done => {
	const all = { Sum: 0, Sources: [] };
	const add = list => { for (const shift of list) {
		all.Sum += shift.value;
		all.Sources.push(...shift.sources.map(s => (s.node?.outerHTML ?? "").slice(0, 60) + " by " + (s.currentRect.top - s.previousRect.top) + " px"));
	} };
	const observer = new PerformanceObserver(list => add(list.getEntries()));
	observer.observe({ type: "layout-shift", buffered: true });
	requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(() => { add(observer.takeRecords()); done(all) })));
})`

// overflowing is an expression for the elements that overflow the window horizontally.
const overflowing = `(() => {
	const root = document.documentElement;
	if (root.scrollWidth <= root.clientWidth) return [];
	return [...document.querySelectorAll("body *")].filter(e => e.getBoundingClientRect().right > root.clientWidth + 1).map(e => e.outerHTML.slice(0, 120)).concat("scrollWidth " + root.scrollWidth);
})()`

// smallTargets is an expression for the links and controls that are too small; a label is part of its checkbox.
const smallTargets = `[...document.querySelectorAll("a, button, input:not([type=hidden]), select, summary")]
	.filter(e => e.checkVisibility() && !e.matches(".skip"))
	.map(e => {
		const { width, height } = (e.matches("[type=checkbox], [type=radio]") ? e.closest("label") : e).getBoundingClientRect();
		return width < 44 || height < 44 ? width + "x" + height + " " + e.outerHTML.slice(0, 100) : "";
	}).filter(Boolean)`

const axeRun = `axe.run(document, { resultTypes: ["violations"], rules: { "target-size": { enabled: true } } }).then(result =>
	result.violations.map(v => v.id + ": " + v.help + ": " + v.nodes.map(n => n.html.slice(0, 200) + " " + n.failureSummary).join("; ")))`

// keep saves the HTML and CSS that the server sent.
func (o *tour) keep(name string) {
	o.t.Helper()
	ctx, cancel := o.p.StepContext()
	defer cancel()
	o.p.Mu.Lock()
	document := o.p.Document
	o.p.Mu.Unlock()
	res, err := chromedp.Call(ctx, network.GetResponseBody, network.GetResponseBodyParams{RequestID: document})
	if err != nil {
		o.t.Fatalf("%s: read the response: %v", name, err)
	}
	file := filepath.Join(o.served, name+".html") // equal at all widths
	if err := os.WriteFile(file, res.Body, 0o600); err != nil {
		o.t.Fatal(err)
	}
	if name != "landing" {
		return
	}
	c := kit.NewClient(o.t, o.p.BaseURL)
	for file, selector := range map[string]string{"app.css": "link[href*='/app.']", "home.css": "link[href*='/home.']", "favicon.svg": "link[rel=icon]"} {
		path := kit.Eval[string](o.p, `document.querySelector("`+selector+`").getAttribute("href")`)
		if err := os.WriteFile(filepath.Join(o.served, file), []byte(c.Get(path).Text), 0o600); err != nil {
			o.t.Fatal(err)
		}
	}
}

func (o *tour) picture(file string) {
	o.t.Helper()
	dir := os.Getenv(picturesDir)
	if dir == "" {
		return
	}
	o.p.Do(chromedp.Evaluate[chromedp.Void](freeze))
	if err := os.WriteFile(filepath.Join(dir, file), picture(o.p), 0o600); err != nil {
		o.t.Fatal(err)
	}
}

// freeze is an expression that replaces what differs from run to run with examples: times, ids, ports and secrets.
const freeze = `(() => {
	const examples = [
		[/(127\.0\.0\.1|localhost):\d+/g, "login.example.org"],
		[/\d+(\.\d+)? ms\b/g, "0.3 ms"],
		[/\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b/g, "01a2003f-8a94-7c34-a59c-0ad55ecdf446"],
		[/\bgatehouse_[A-Za-z0-9…]{6,}/g, token => token.replace(/[A-Za-z0-9]/g, "x")],
		[/\b\d{1,2} (January|February|March|April|May|June|July|August|September|October|November|December) \d{4}/g, "20 November 2026"],
		[/(?<!UTC.)\b\d{2}:\d{2}(:\d{2})?\b/g, "10:24"],
		[/\b\d+ (seconds?|minutes?) ago\b/g, "just now"],
	];
	const replace = text => examples.reduce((text, [pattern, example]) => text.replace(pattern, example), text);
	const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
	while (texts.nextNode()) {
		const { data } = texts.currentNode, frozen = replace(data);
		if (frozen !== data) texts.currentNode.data = frozen;
	}
	for (const field of document.querySelectorAll("input[readonly], textarea[readonly]")) field.value = replace(field.value);
	for (const code of document.querySelectorAll(".request code")) code.textContent = "BBjnH4oRbYKPvUP8";
	const sky = document.querySelector(".sky");
	if (sky) {
		// The page's script goes on with the original.
		const still = sky.cloneNode(true);
		still.style.setProperty("--now", 10 * 60 + 24);
		["10", "24", "36"].forEach((digits, i) => { const part = still.querySelectorAll("#now span")[i]; if (part) part.textContent = digits });
		sky.replaceWith(still);
	}
})()`

// picture returns a PNG of the whole page.
func picture(p *kit.Browser) []byte {
	p.T.Helper()
	ctx, cancel := p.StepContext()
	defer cancel()
	png, err := chromedp.Run(ctx, func(ctx context.Context, t *chromedp.Target) ([]byte, error) {
		yes := true
		res, err := cdp.Call(ctx, t, page.CaptureScreenshot, page.CaptureScreenshotParams{CaptureBeyondViewport: &yes, FromSurface: &yes})
		return res.Data, err
	})
	if err != nil {
		p.T.Fatal(err)
	}
	return png
}
