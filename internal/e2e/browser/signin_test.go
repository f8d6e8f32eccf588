// Package browser tests the pages in Chromium, with and without scripts.
package browser

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"gatehouse/internal/e2e/kit"
	"gatehouse/internal/testkit"
)

// TestLandingPage_LeadsToTheForms: and redirects signed-in users to the dashboard.
func TestLandingPage_LeadsToTheForms(t *testing.T) {
	t.Parallel()
	server := kit.NewSite(t).Serve()
	kit.WithAndWithoutScript(t, func(t *testing.T, script bool, settings ...kit.Action) {
		p := kit.NewBrowser(t, server.URL(), settings...)
		p.Open("/", http.StatusOK)
		p.WantTitle(false)
		p.Click(`main a[href="/login"]`, http.StatusOK)
		p.WantPath("/login")
		p.Click(`a[href="/register"]`, http.StatusOK)
		p.WantPath("/register")
		p.Click(`.brand`, http.StatusOK)
		p.WantPath("/")
		p.Register("visitor" + kit.UniqueName())
		p.Open("/", http.StatusOK)
		p.WantPath("/dashboard")
		p.Open("/login", http.StatusOK)
		p.WantPath("/dashboard")
	})
}

// TestRegistration_ShowsErrorsAtTheFields: for every kind of error, the form is shown again, filled in except for the
// password, with the focus on the first invalid field and each message linked to its field.
func TestRegistration_ShowsErrorsAtTheFields(t *testing.T) {
	t.Parallel()
	s := kit.NewSite(t)
	server := s.Serve()
	kit.NewClient(t, server.URL()).Register("taken")

	kit.WithAndWithoutScript(t, func(t *testing.T, script bool, settings ...kit.Action) {
		p := kit.NewBrowser(t, server.URL(), settings...)
		for _, test := range refusedRegistrations {
			t.Run(test.name, func(t *testing.T) {
				p.T = t
				p.Open("/register", http.StatusOK)
				p.WantFocus("username")
				for i, field := range registrationFields {
					p.Fill(field, test.entered[i])
				}
				p.Submit("/register", http.StatusUnprocessableEntity)
				p.WantPath("/register")
				p.WantTitle(true)
				wantFormKept(p, test.entered, test.wrong)
			})
		}
		p.T = t
		if c := p.Cookies(); len(c) > 0 {
			t.Errorf("refused registrations set cookies: %v", kit.ToJSON(c))
		}
	})
	t.Run("corrected", func(t *testing.T) {
		kit.WithAndWithoutScript(t, func(t *testing.T, script bool, settings ...kit.Action) {
			p := kit.NewBrowser(t, server.URL(), settings...)
			name := "ann" + kit.UniqueName()
			p.Open("/register?next=/account", http.StatusOK)
			p.Fill("username", name, "password", "short", "name", "Ann Example")
			p.Submit("/register", http.StatusUnprocessableEntity)
			p.Fill("password", kit.Password)
			p.Submit("/register", http.StatusOK)
			p.WantPath("/account")
			if got := p.Value("name"); got != "Ann Example" {
				t.Errorf("got the name %q", got)
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
	{"short name", [4]string{"a", kit.Password, "", ""}, map[string]string{"username": "Use at least 2 characters (this has 1)."}},
	{"invalid name", [4]string{"a b", kit.Password, "Ann", ""}, map[string]string{"username": "Use letters, digits"}},
	{"mixed alphabets", [4]string{"p\u0430ypal", kit.Password, "", ""}, map[string]string{"username": "can't be mixed"}},
	{"reserved name", [4]string{"admin", kit.Password, "", ""}, map[string]string{"username": "reserved"}},
	{"taken name", [4]string{"Taken", kit.Password, "Ann", "ann@example.org"}, map[string]string{"username": "taken"}},
	{"short password", [4]string{"ann", "seven77", "", ""}, map[string]string{"password": "Use at least 8 characters (this has 7)."}},
	{"common password", [4]string{"ann", "password1", "", ""}, map[string]string{"password": "Too easy to guess"}},
	{"own name as password", [4]string{"anneliese", "anneliese1", "", ""}, map[string]string{"password": "Too easy to guess"}},
	{"long name", [4]string{"ann", kit.Password, strings.Repeat("x", 101), ""}, map[string]string{"name": "Use at most 100 characters."}},
	{"invalid address", [4]string{"ann", kit.Password, "", "ann@"}, map[string]string{"email": "Enter an address"}},
	{"invalid name and address", [4]string{"ann", kit.Password, "a\u202eb", "ann"}, map[string]string{"name": "can't be used", "email": "Enter an address"}},
	{"all of it", [4]string{"<b>", "x", strings.Repeat("x", 101), `"><script>`}, map[string]string{
		"username": "Use letters", "password": "Use at least 8", "name": "Use at most 100", "email": "Enter an address",
	}},
}

// wantFormKept fails unless the registration form has the input, up to the length of a field, and exactly these fields
// are marked as invalid, each linked to its message, with the focus on the first one.
func wantFormKept(p *kit.Browser, entered [4]string, wrong map[string]string) {
	p.T.Helper()
	focused := false
	for i, field := range registrationFields {
		want := entered[i]
		switch field {
		case "password":
			want = ""
		case "name":
			want = want[:min(len(want), 100)]
		}
		if got := p.Value(field); got != want {
			p.T.Errorf("%s is %q, want the input %q", field, got, want)
		}
		message, marked := wrong[field]
		if got := p.Has(`#` + field + `[aria-invalid="true"]`); got != marked {
			p.T.Errorf("%s marked as wrong: %v, want %v", field, got, marked)
		}
		if !marked {
			continue
		}
		p.WantDescription(field, "Error: ", message)
		if !focused {
			p.WantFocus(field)
			focused = true
		}
	}
}

// TestRegistration_Closed: the registration page says that it is closed, and no page links to it.
func TestRegistration_Closed(t *testing.T) {
	t.Parallel()
	server := kit.NewSite(t).Serve("REGISTRATION", "closed")
	p := kit.NewBrowser(t, server.URL())
	p.Open("/register", http.StatusForbidden)
	p.WantText("h1", "Registration is closed")
	for _, path := range []string{"/", "/login"} {
		p.Open(path, http.StatusOK)
		if p.Has(`a[href^="/register"]`) {
			t.Errorf("%s links to the registration", path)
		}
	}
}

func TestSignIn_RemembersAndRedirects(t *testing.T) {
	t.Parallel()
	s := kit.NewSite(t)
	server := s.Serve()
	kit.NewClient(t, server.URL()).Register("alice")

	kit.WithAndWithoutScript(t, func(t *testing.T, script bool, settings ...kit.Action) {
		p := kit.NewBrowser(t, server.URL(), settings...)

		p.Open("/account?x=1", http.StatusOK)
		p.WantPath("/login?next=%2Faccount%3Fx%3D1")
		p.WantFocus("username")

		p.Submit("/login", http.StatusUnprocessableEntity)
		p.WantTitle(true)
		p.WantFocus("username")
		for field, message := range map[string]string{"username": "Enter your user name.", "password": "Enter your password."} {
			p.WantDescription(field, message)
		}
		p.Fill("username", "alice")
		p.Submit("/login", http.StatusUnprocessableEntity)
		p.WantFocus("password")

		p.Do(chromedp.Click(chromedp.CSS(`.choice`)))
		p.Fill("password", "not-her-password")
		p.Submit("/login", http.StatusUnauthorized)
		p.WantTitle(true)
		p.WantFocus("password")
		p.WantDescription("password", "Wrong user name or password")
		if p.Value("username") != "alice" || p.Value("password") != "" || !kit.Eval[bool](p, `document.querySelector("[name=remember]").checked`) {
			t.Error("the form lost what was entered")
		}

		p.Fill("password", kit.Password)
		p.Submit("/login", http.StatusOK)
		p.WantPath("/account?x=1")
		wantCookie(p, 30*24*time.Hour)

		p.Submit("/logout", http.StatusOK)
		p.WantPath(signedOut(script))
		p.WantText(`[role="status"]`, "You're signed out.")
		p.SignIn("alice")
		wantCookie(p, 0)

		p.Submit("/logout", http.StatusOK)
		p.Open("/login?next=//evil.example/", http.StatusOK)
		p.Fill("username", "alice", "password", kit.Password)
		p.Submit("/login", http.StatusOK)
		p.WantPath("/dashboard")
	})
}

// wantCookie fails unless the session cookie lasts for about this long or, for 0, until the browser is closed.
func wantCookie(p *kit.Browser, lasting time.Duration) {
	p.T.Helper()
	c := p.Cookies()["gatehouse"]
	if c == nil {
		p.T.Error("there is no session cookie")
		return
	}
	if !c.HTTPOnly || c.SameSite != network.CookieSameSiteLax || c.Path != "/" {
		p.T.Errorf("got the session cookie %s", kit.ToJSON(c))
	}
	if c.Session != (lasting == 0) {
		p.T.Errorf("the cookie ends with the browser: %v, want %v", c.Session, lasting == 0)
	}
	if left := time.Duration(c.Expires*float64(time.Second)) - time.Duration(time.Now().UnixNano()); lasting > 0 && (left < lasting-time.Hour || left > lasting+time.Minute) {
		p.T.Errorf("the cookie lasts %v, want about %v", left, lasting)
	}
}

// TestPages_WorkWithTheKeyboard: from the registration to the sign-out with only Tab, Enter and letters, and with a
// visible focus.
func TestPages_WorkWithTheKeyboard(t *testing.T) {
	t.Parallel()
	server := kit.NewSite(t).Serve()
	kit.WithAndWithoutScript(t, func(t *testing.T, script bool, settings ...kit.Action) {
		p := kit.NewBrowser(t, server.URL(), settings...)
		p.Open("/", http.StatusOK)
		press(p, "the skip link", `document.activeElement.matches(".skip")`)
		press(p, "the link to the registration", `document.activeElement.matches("main a[href='/register']")`)
		p.Load(http.StatusOK, chromedp.KeyEvent(kb.Enter))

		p.WantFocus("username") // without a key press
		name := "keys" + kit.UniqueName()
		p.Do(chromedp.KeyEvent(name))
		press(p, "the password", `document.activeElement.id === "password"`)
		p.Do(chromedp.KeyEvent(kit.Password))
		if script {
			press(p, "the button that shows it", `document.activeElement.matches(".show")`)
			p.Do(chromedp.KeyEvent(" "))
			p.WaitFor("the password to be shown", `document.getElementById("password").type === "text"`)
		}
		press(p, "the name", `document.activeElement.id === "name"`)
		press(p, "the address", `document.activeElement.id === "email"`)
		press(p, "the button", `document.activeElement.matches("button.wide")`)
		p.Load(http.StatusOK, chromedp.KeyEvent(kb.Enter))

		p.WantNotice(script, "/dashboard", "welcome", "Welcome, "+name)
		p.Open("/dashboard", http.StatusOK)
		p.WantText("#user-name", name)
		press(p, "the sign-out button", `document.activeElement.matches("form[action='/logout'] button")`)
		p.Load(http.StatusOK, chromedp.KeyEvent(kb.Enter))

		p.WantPath(signedOut(script))
		p.WantFocus("username")
		p.Do(chromedp.KeyEvent(name))
		press(p, "the password", `document.activeElement.id === "password"`)
		p.Do(chromedp.KeyEvent(kit.Password))
		p.Load(http.StatusOK, chromedp.KeyEvent(kb.Enter)) // Enter in a field submits the form
		p.WantPath("/dashboard")

		// The skip link leads past the header.
		p.Open("/account", http.StatusOK)
		press(p, "the skip link", `document.activeElement.matches(".skip")`)
		p.Do(chromedp.KeyEvent(kb.Enter))
		press(p, "the first field of the page", `document.activeElement.matches("main #name")`)
	})
}

// press presses Tab until the expression is true, at most ten times, and checks that the focus is visible at each step.
func press(p *kit.Browser, what, expression string) {
	p.T.Helper()
	for range 10 {
		p.Do(chromedp.KeyEvent(kb.Tab))
		if !kit.Eval[bool](p, `(() => { const s = getComputedStyle(document.activeElement); return s.outlineStyle !== "none" && parseFloat(s.outlineWidth) >= 2 })()`) {
			p.T.Errorf("the focus is not visible on %s", kit.Eval[string](p, `document.activeElement.outerHTML`))
		}
		if kit.Eval[bool](p, expression) {
			return
		}
	}
	p.T.Fatalf("Tab does not lead to %s; the focus is on %s", what, kit.Eval[string](p, `document.activeElement.outerHTML`))
}

// TestRegistration_DoubleClickCreatesOneAccount: and shows no error.
func TestRegistration_DoubleClickCreatesOneAccount(t *testing.T) {
	t.Parallel()
	server := kit.NewSite(t).Serve()
	p := kit.NewBrowser(t, server.URL())
	p.Open("/register", http.StatusOK)
	p.Fill("username", "twice", "password", kit.Password)
	box := kit.Eval[struct{ X, Y, Width, Height float64 }](p, `document.querySelector("`+strings.ReplaceAll(kit.SubmitButton("/register"), `"`, `'`)+`").getBoundingClientRect().toJSON()`)
	x, y := box.X+box.Width/2, box.Y+box.Height/2
	// The response is slow, so that the later clicks precede it.
	p.Do(kit.Command(network.EmulateNetworkConditionsByRule, network.EmulateNetworkConditionsByRuleParams{
		MatchedNetworkConditions: []*network.Conditions{{Latency: 700, DownloadThroughput: -1, UploadThroughput: -1}},
	}))
	sent := chromedp.Func(func(ctx context.Context, _ *chromedp.Target) error {
		testkit.Eventually(t, kit.BrowserTimeout, "the form to be sent", func() bool { return p.CountPosts("/register") > 0 })
		return nil
	})
	click := chromedp.MouseClickXY(x, y)
	p.Load(http.StatusOK, click, click, sent, click, click)
	p.WantPath("/dashboard")
	if n := p.CountPosts("/register"); n != 1 {
		t.Errorf("got %d registration requests, want 1", n)
	}
}

// TestSubmitButton_WorksAfterGoingBack: the button is enabled after the back button restores the page and after a
// stopped request.
func TestSubmitButton_WorksAfterGoingBack(t *testing.T) {
	t.Parallel()
	server := kit.NewSite(t).Serve()
	kit.NewClient(t, server.URL()).Register("alice")
	p := kit.NewBrowser(t, server.URL())
	p.Open("/login", http.StatusOK)
	p.Fill("username", "alice", "password", kit.Password)
	p.Submit("/login", http.StatusOK)
	p.WantPath("/dashboard")
	p.Submit("/logout", http.StatusOK)
	p.Back() // to the dashboard, which is no longer shown
	p.WaitFor("the sign-in form", `document.readyState === "complete" && location.pathname === "/login"`)
	p.WantText(kit.SubmitButton("/login"), "Sign in")
	p.Fill("username", "alice", "password", kit.Password)
	p.Submit("/login", http.StatusOK)
	p.WantPath("/dashboard")
}

// TestPasswordField_RatesAndShowsPasswords: the meter rates the password during typing without moving the page, and the
// password can be shown. Without scripts, the page has neither.
func TestPasswordField_RatesAndShowsPasswords(t *testing.T) {
	t.Parallel()
	server := kit.NewSite(t).Serve()
	t.Run("script", func(t *testing.T) {
		p := kit.NewBrowser(t, server.URL())
		p.Open("/register", http.StatusOK)
		top := `document.querySelector("button.wide").getBoundingClientRect().top`
		before := kit.Eval[float64](p, top)
		meter := `document.querySelector("[role=meter]")`

		p.Do(chromedp.SendKeys(chromedp.CSS("#password"), "password1"))
		p.WaitFor("a weak rating", meter+`.ariaValueText === "Weak" || `+meter+`.ariaValueText === "Very weak"`)
		p.WantText(".strength", "Too easy to guess")
		if p.Has("#password-help") && kit.Eval[bool](p, `document.querySelector("#password-help").checkVisibility({visibilityProperty: true})`) {
			t.Error("hint and rating are both shown")
		}
		p.Fill("password", kit.Password)
		p.WaitFor("a strong rating", meter+`.ariaValueText === "Strong" && `+meter+`.ariaValueNow === "4"`)
		p.WantText(".strength", "Strong")
		p.Fill("username", strings.ReplaceAll(kit.Password, "-", "."))
		p.Fill("password", strings.ReplaceAll(kit.Password, "-", "."))
		p.WaitFor("a rating that takes the user name into account", meter+`.ariaValueNow === "0" || `+meter+`.ariaValueNow === "1"`)
		if after := kit.Eval[float64](p, top); after != before {
			t.Errorf("the rating moved the form by %v px", after-before)
		}

		p.Do(chromedp.Click(chromedp.CSS(".show")))
		if got := kit.Eval[string](p, `document.getElementById("password").type + " " + document.querySelector(".show").innerText`); got != "text Hide" {
			t.Errorf("after Show: %q", got)
		}
		p.Do(chromedp.Click(chromedp.CSS(".show")))
		if got := kit.Eval[string](p, `document.getElementById("password").type + " " + document.querySelector(".show").innerText`); got != "password Show" {
			t.Errorf("after Hide: %q", got)
		}
	})
	t.Run("no script", func(t *testing.T) {
		p := kit.NewBrowser(t, server.URL(), kit.NoScript())
		p.Open("/register", http.StatusOK)
		p.Do(chromedp.SendKeys(chromedp.CSS("#password"), "password1"))
		if kit.Eval[bool](p, `document.querySelector("[role=meter]").checkVisibility({visibilityProperty: true})`) {
			t.Error("the page has a meter that nothing updates")
		}
		if p.Has(".show") {
			t.Error("the page has a button that does nothing")
		}
		if !strings.Contains(p.Text("#password-help"), "At least 8 characters") {
			t.Error("the page has no hint")
		}
	})
}

// signedOut returns the address after signing out. Scripts take the notice out of it.
func signedOut(script bool) string {
	if script {
		return "/login"
	}
	return "/login?notice=signed-out"
}
