package e2e

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"gatehouse/internal/testkit"
)

// TestBrowserLanding: the first page leads to both ways in, and on to the dashboard for
// whoever is in already.
func TestBrowserLanding(t *testing.T) {
	t.Parallel()
	server := newSite(t).serve()
	bothWays(t, func(t *testing.T, script bool, settings ...action) {
		p := newPerson(t, server.URL(), settings...)
		p.open("/", http.StatusOK)
		p.wantTitle(false)
		p.click(`main a[href="/login"]`, http.StatusOK)
		p.wantAt("/login")
		p.click(`a[href="/register"]`, http.StatusOK)
		p.wantAt("/register")
		p.click(`.brand`, http.StatusOK)
		p.wantAt("/")
		p.register("visitor" + unique())
		p.open("/", http.StatusOK)
		p.wantAt("/dashboard")
		p.open("/login", http.StatusOK)
		p.wantAt("/dashboard")
	})
}

// TestBrowserRegistration walks through everything that can be wrong with the form. It comes
// back as it was left, without the password, with the focus on the first field to correct and
// each message tied to its field.
func TestBrowserRegistration(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	server := s.serve()
	newClient(t, server.URL()).register("taken")

	bothWays(t, func(t *testing.T, script bool, settings ...action) {
		p := newPerson(t, server.URL(), settings...)
		for _, test := range refusedRegistrations {
			t.Run(test.name, func(t *testing.T) {
				p.t = t
				p.open("/register", http.StatusOK)
				p.wantFocus("username")
				for i, field := range registrationFields {
					p.fill(field, test.entered[i])
				}
				p.submit("/register", http.StatusUnprocessableEntity)
				p.wantAt("/register")
				p.wantTitle(true)
				p.wantAsLeft(test.entered, test.wrong)
			})
		}
		p.t = t
		if c := p.cookies(); len(c) > 0 {
			t.Errorf("refused registrations set cookies: %v", inJSON(c))
		}
	})
	t.Run("corrected", func(t *testing.T) {
		bothWays(t, func(t *testing.T, script bool, settings ...action) {
			p := newPerson(t, server.URL(), settings...)
			name := "ann" + unique()
			p.open("/register?next=/account", http.StatusOK)
			p.fill("username", name, "password", "short", "name", "Ann Example")
			p.submit("/register", http.StatusUnprocessableEntity)
			p.fill("password", password)
			p.submit("/register", http.StatusOK)
			p.wantAt("/account")
			if got := p.value("name"); got != "Ann Example" {
				t.Errorf("the account's name is %q", got)
			}
		})
	})
}

var registrationFields = [4]string{"username", "password", "name", "email"}

var refusedRegistrations = []struct {
	name    string
	entered [4]string
	wrong   map[string]string // field to part of its message
}{
	{"nothing entered", [4]string{"", "", "", ""}, map[string]string{"username": "Enter a user name.", "password": "Enter a password."}},
	{"short name", [4]string{"a", password, "", ""}, map[string]string{"username": "At least 2 characters: this has 1."}},
	{"strange name", [4]string{"a b", password, "Ann", ""}, map[string]string{"username": "Use letters, digits"}},
	{"mixed alphabets", [4]string{"p\u0430ypal", password, "", ""}, map[string]string{"username": "can't be mixed"}},
	{"reserved name", [4]string{"admin", password, "", ""}, map[string]string{"username": "reserved"}},
	{"taken name", [4]string{"Taken", password, "Ann", "ann@example.org"}, map[string]string{"username": "taken"}},
	{"short password", [4]string{"ann", "seven77", "", ""}, map[string]string{"password": "At least 8 characters: this has 7."}},
	{"common password", [4]string{"ann", "password1", "", ""}, map[string]string{"password": "Too easy to guess"}},
	{"own name as password", [4]string{"anneliese", "anneliese1", "", ""}, map[string]string{"password": "Too easy to guess"}},
	{"long name", [4]string{"ann", password, strings.Repeat("x", 101), ""}, map[string]string{"name": "At most 100 characters."}},
	{"strange address", [4]string{"ann", password, "", "ann@"}, map[string]string{"email": "Enter an address"}},
	{"strange name and address", [4]string{"ann", password, "a\u202eb", "ann"}, map[string]string{"name": "can't be used", "email": "Enter an address"}},
	{"all of it", [4]string{"<b>", "x", strings.Repeat("x", 101), `"><script>`}, map[string]string{
		"username": "Use letters", "password": "At least 8", "name": "At most 100", "email": "Enter an address",
	}},
}

// wantAsLeft wants the registration form with what was entered, cut to what a field holds, and with exactly these
// fields marked, each tied to its message; the first of them has the focus.
func (p *person) wantAsLeft(entered [4]string, wrong map[string]string) {
	p.t.Helper()
	focused := false
	for i, field := range registrationFields {
		want := entered[i]
		switch field {
		case "password":
			want = ""
		case "name":
			want = want[:min(len(want), 100)]
		}
		if got := p.value(field); got != want {
			p.t.Errorf("%s is %q, want it as it was left: %q", field, got, want)
		}
		message, marked := wrong[field]
		if got := p.has(`#` + field + `[aria-invalid="true"]`); got != marked {
			p.t.Errorf("%s marked as wrong: %v, want %v", field, got, marked)
		}
		if !marked {
			continue
		}
		p.wantDescribed(field, "Error: ", message)
		if !focused {
			p.wantFocus(field)
			focused = true
		}
	}
}

// TestBrowserRegistrationClosed: the page says so, and the landing page offers no account.
func TestBrowserRegistrationClosed(t *testing.T) {
	t.Parallel()
	server := newSite(t).serve("REGISTRATION", "closed")
	p := newPerson(t, server.URL())
	p.open("/register", http.StatusForbidden)
	p.wantText("h1", "Registration is closed")
	for _, path := range []string{"/", "/login"} {
		p.open(path, http.StatusOK)
		if p.has(`a[href^="/register"]`) {
			t.Errorf("%s leads to the registration", path)
		}
	}
}

func TestBrowserSignIn(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	server := s.serve()
	newClient(t, server.URL()).register("alice")

	bothWays(t, func(t *testing.T, script bool, settings ...action) {
		p := newPerson(t, server.URL(), settings...)

		p.open("/account?x=1", http.StatusOK)
		p.wantAt("/login?next=%2Faccount%3Fx%3D1")
		p.wantFocus("username")

		p.submit("/login", http.StatusUnprocessableEntity)
		p.wantTitle(true)
		p.wantFocus("username")
		for field, message := range map[string]string{"username": "Enter your user name.", "password": "Enter your password."} {
			p.wantDescribed(field, message)
		}
		p.fill("username", "alice")
		p.submit("/login", http.StatusUnprocessableEntity)
		p.wantFocus("password")

		p.do(chromedp.Click(chromedp.CSS(`.choice`)))
		p.fill("password", "not-her-password")
		p.submit("/login", http.StatusUnauthorized)
		p.wantTitle(true)
		p.wantFocus("password")
		p.wantDescribed("password", "Wrong user name or password")
		if p.value("username") != "alice" || p.value("password") != "" || !eval[bool](p, `document.querySelector("[name=remember]").checked`) {
			t.Error("the form is not as it was left")
		}

		p.fill("password", password)
		p.submit("/login", http.StatusOK)
		p.wantAt("/account?x=1")
		p.wantCookie(30 * 24 * time.Hour)

		p.submit("/logout", http.StatusOK)
		p.wantAt("/login?notice=signed-out")
		p.wantText(`[role="status"]`, "You are signed out.")
		p.signIn("alice")
		p.wantCookie(0)

		p.submit("/logout", http.StatusOK)
		p.open("/login?next=//evil.example/", http.StatusOK)
		p.fill("username", "alice", "password", password)
		p.submit("/login", http.StatusOK)
		p.wantAt("/dashboard")
	})
}

// wantCookie wants a session cookie that ends with the browser, or lasts about so long.
func (p *person) wantCookie(lasting time.Duration) {
	p.t.Helper()
	c := p.cookies()["gatehouse"]
	if c == nil {
		p.t.Error("there is no session cookie")
		return
	}
	if !c.HTTPOnly || c.SameSite != network.CookieSameSiteLax || c.Path != "/" {
		p.t.Errorf("the session cookie is %s", inJSON(c))
	}
	if c.Session != (lasting == 0) {
		p.t.Errorf("the cookie ends with the browser: %v, want %v", c.Session, lasting == 0)
	}
	if left := time.Duration(c.Expires*float64(time.Second)) - time.Duration(time.Now().UnixNano()); lasting > 0 && (left < lasting-time.Hour || left > lasting+time.Minute) {
		p.t.Errorf("the cookie lasts %v, want about %v", left, lasting)
	}
}

// TestBrowserKeyboard: nothing but Tab, Enter and letters from the registration to the
// sign-out; and the focus is always visible.
func TestBrowserKeyboard(t *testing.T) {
	t.Parallel()
	server := newSite(t).serve()
	bothWays(t, func(t *testing.T, script bool, settings ...action) {
		p := newPerson(t, server.URL(), settings...)
		p.open("/", http.StatusOK)
		p.press("the skip link", `document.activeElement.matches(".skip")`)
		p.press("the way to the registration", `document.activeElement.matches("main a[href='/register']")`)
		p.load(http.StatusOK, chromedp.KeyEvent(kb.Enter))

		p.wantFocus("username") // without a key
		name := "keys" + unique()
		p.do(chromedp.KeyEvent(name))
		p.press("the password", `document.activeElement.id === "password"`)
		p.do(chromedp.KeyEvent(password))
		if script {
			p.press("the button that shows it", `document.activeElement.matches(".show")`)
			p.do(chromedp.KeyEvent(" "))
			p.await("the password to be shown", `document.getElementById("password").type === "text"`)
		}
		p.press("the name", `document.activeElement.id === "name"`)
		p.press("the address", `document.activeElement.id === "email"`)
		p.press("the button", `document.activeElement.matches("button.wide")`)
		p.load(http.StatusOK, chromedp.KeyEvent(kb.Enter))

		p.wantAt("/dashboard")
		p.wantText("#user-name", name)
		p.press("the way out", `document.activeElement.matches("form[action='/logout'] button")`)
		p.load(http.StatusOK, chromedp.KeyEvent(kb.Enter))

		p.wantAt("/login?notice=signed-out")
		p.wantFocus("username")
		p.do(chromedp.KeyEvent(name))
		p.press("the password", `document.activeElement.id === "password"`)
		p.do(chromedp.KeyEvent(password))
		p.load(http.StatusOK, chromedp.KeyEvent(kb.Enter)) // Enter in a field sends the form
		p.wantAt("/dashboard")

		// The skip link leads past the header.
		p.press("the skip link", `document.activeElement.matches(".skip")`)
		p.do(chromedp.KeyEvent(kb.Enter))
		p.press("a link of the page itself", `document.activeElement.matches("main a")`)
	})
}

// press presses Tab until the expression holds, ten times at most, and wants to see where
// the focus is on the way.
func (p *person) press(what, expression string) {
	p.t.Helper()
	for range 10 {
		p.do(chromedp.KeyEvent(kb.Tab))
		if !eval[bool](p, `(() => { const s = getComputedStyle(document.activeElement); return s.outlineStyle !== "none" && parseFloat(s.outlineWidth) >= 2 })()`) {
			p.t.Errorf("the focus cannot be seen on %s", eval[string](p, `document.activeElement.outerHTML`))
		}
		if eval[bool](p, expression) {
			return
		}
	}
	p.t.Fatalf("Tab does not lead to %s; the focus is on %s", what, eval[string](p, `document.activeElement.outerHTML`))
}

// TestBrowserDoubleClick: somebody who clicks twice makes one account, not one and an error.
func TestBrowserDoubleClick(t *testing.T) {
	t.Parallel()
	server := newSite(t).serve()
	p := newPerson(t, server.URL())
	p.open("/register", http.StatusOK)
	p.fill("username", "twice", "password", password)
	box := eval[struct{ X, Y, Width, Height float64 }](p, `document.querySelector("`+strings.ReplaceAll(submitButton("/register"), `"`, `'`)+`").getBoundingClientRect().toJSON()`)
	x, y := box.X+box.Width/2, box.Y+box.Height/2
	// The answer takes its time, so that the later clicks come while it is under way.
	p.do(command(network.EmulateNetworkConditionsByRule, network.EmulateNetworkConditionsByRuleParams{
		MatchedNetworkConditions: []*network.Conditions{{Latency: 700, DownloadThroughput: -1, UploadThroughput: -1}},
	}))
	sent := chromedp.Func(func(ctx context.Context, _ *chromedp.Target) error {
		testkit.Eventually(t, patience, "the form to be sent", func() bool { return p.posts("/register") > 0 })
		return nil
	})
	click := chromedp.MouseClickXY(x, y)
	p.load(http.StatusOK, click, click, sent, click, click)
	p.wantAt("/dashboard")
	if n := p.posts("/register"); n != 1 {
		t.Errorf("%d registrations were sent, want 1", n)
	}
}

// TestBrowserBusyButton: a page that comes back, or a request that was stopped, must not
// leave a button that does nothing.
func TestBrowserBusyButton(t *testing.T) {
	t.Parallel()
	server := newSite(t).serve()
	newClient(t, server.URL()).register("alice")
	p := newPerson(t, server.URL())
	p.open("/login", http.StatusOK)
	p.fill("username", "alice", "password", password)
	p.submit("/login", http.StatusOK)
	p.wantAt("/dashboard")
	p.submit("/logout", http.StatusOK)
	p.back() // to the dashboard, which is not shown any more
	p.await("the sign-in form", `document.readyState === "complete" && location.pathname === "/login"`)
	p.wantText(submitButton("/login"), "Sign in")
	p.fill("username", "alice", "password", password)
	p.submit("/login", http.StatusOK)
	p.wantAt("/dashboard")
}

// TestBrowserPasswordField: the meter judges while one types and nothing moves; the password
// can be shown. Neither is promised to a browser without scripts.
func TestBrowserPasswordField(t *testing.T) {
	t.Parallel()
	server := newSite(t).serve()
	t.Run("script", func(t *testing.T) {
		p := newPerson(t, server.URL())
		p.open("/register", http.StatusOK)
		top := `document.querySelector("button.wide").getBoundingClientRect().top`
		before := eval[float64](p, top)
		meter := `document.querySelector("[role=meter]")`

		p.do(chromedp.SendKeys(chromedp.CSS("#password"), "password1"))
		p.await("a weak judgement", meter+`.ariaValueText === "Weak" || `+meter+`.ariaValueText === "Very weak"`)
		p.wantText(".strength", "Too easy to guess")
		if p.has("#password-help") && eval[bool](p, `document.querySelector("#password-help").checkVisibility({visibilityProperty: true})`) {
			t.Error("hint and judgement are both shown")
		}
		p.fill("password", password)
		p.await("a strong judgement", meter+`.ariaValueText === "Strong" && `+meter+`.ariaValueNow === "4"`)
		p.wantText(".strength", "Strong")
		p.fill("username", strings.ReplaceAll(password, "-", "."))
		p.fill("password", strings.ReplaceAll(password, "-", "."))
		p.await("a judgement that knows the user name", meter+`.ariaValueNow === "0" || `+meter+`.ariaValueNow === "1"`)
		if after := eval[float64](p, top); after != before {
			t.Errorf("the judgement moved the form by %v px", after-before)
		}

		p.do(chromedp.Click(chromedp.CSS(".show")))
		if got := eval[string](p, `document.getElementById("password").type + " " + document.querySelector(".show").innerText`); got != "text Hide" {
			t.Errorf("after Show: %q", got)
		}
		p.do(chromedp.Click(chromedp.CSS(".show")))
		if got := eval[string](p, `document.getElementById("password").type + " " + document.querySelector(".show").innerText`); got != "password Show" {
			t.Errorf("after Hide: %q", got)
		}
	})
	t.Run("no script", func(t *testing.T) {
		p := newPerson(t, server.URL(), withoutScript())
		p.open("/register", http.StatusOK)
		p.do(chromedp.SendKeys(chromedp.CSS("#password"), "password1"))
		if eval[bool](p, `document.querySelector("[role=meter]").checkVisibility({visibilityProperty: true})`) {
			t.Error("there is a meter that nothing moves")
		}
		if p.has(".show") {
			t.Error("there is a button that does nothing")
		}
		if !strings.Contains(p.text("#password-help"), "At least 8 characters") {
			t.Error("there is no hint")
		}
	})
}
