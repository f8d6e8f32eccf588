package browser

import (
	"fmt"
	"math"
	"net/http"
	"strings"
	"testing"
	"time"

	"gatehouse/internal/e2e/kit"
	"gatehouse/internal/testkit"
)

// wrongClock is a script that sets the browser's clock seven years ahead.
const wrongClock = `{
	const True = Date, ahead = 7 * 365 * 864e5 + 12345678;
	Date = class extends True {
		constructor(...of) { of.length ? super(...of) : super(True.now() + ahead) }
		static now() { return True.now() + ahead }
	};
}`

// TestDashboard_ShowsTheServersTime: to the second and in the user's time zone, independent of the browser's clock and
// zone. With scripts, the clock ticks.
func TestDashboard_ShowsTheServersTime(t *testing.T) {
	t.Parallel()
	server := kit.NewSite(t).Serve()
	kit.WithAndWithoutScript(t, func(t *testing.T, script bool, settings ...kit.Action) {
		p := kit.NewBrowser(t, server.URL(), append(settings, kit.TimeZone("America/New_York"), kit.OnNewDocument(wrongClock))...)
		if year := kit.Eval[int](p, `new Date().getFullYear()`); year == time.Now().Year()+7 {
			t.Fatal("the clock is already wrong") // about:blank was open before
		}
		p.Register("clock" + kit.UniqueName())
		if year := kit.Eval[int](p, `new Date().getFullYear()`); script && year < time.Now().Year()+7 {
			t.Fatalf("the browser's clock has the right year %d", year)
		}
		p.Open("/account", http.StatusOK)
		p.Select("time_zone", "Asia/Kathmandu")
		p.Submit("/account/profile", http.StatusOK)

		before := time.Now()
		p.Open("/dashboard", http.StatusOK)
		shown, now := clock(p, "Asia/Kathmandu"), time.Now()
		if shown.Before(before.Truncate(time.Second)) || shown.After(now) {
			t.Errorf("the page shows %v but was loaded between %v and %v", shown, before, now)
		}
		p.WantText("h1", "Kathmandu")
		p.WantText("#offset", "UTC+05:45")
		if visible := kit.Eval[bool](p, `document.querySelector("#now small").checkVisibility()`); visible != script {
			t.Errorf("the seconds are shown: %v; they must be if and only if they run", visible)
		}
		if !script {
			return
		}
		soonest := kit.BrowserTimeout
		for range 4 {
			next := shown.Add(time.Second)
			p.WaitFor("the next second", `document.getElementById("now").dateTime.startsWith("`+next.Format("2006-01-02T15:04:05")+`")`)
			late := time.Since(next)
			if late < 0 {
				t.Errorf("the clock is %v ahead", -late)
			}
			soonest = min(soonest, late)
			shown = clock(p, "Asia/Kathmandu")
		}
		// A busy machine may render one of the ticks late, but not all of them.
		if soonest > 500*time.Millisecond {
			t.Errorf("the clock is %v behind", soonest)
		}
	})
}

// clock returns the time that the page shows and checks that its text, hands and attributes agree.
func clock(p *kit.Browser, zone string) time.Time {
	p.T.Helper()
	// A single expression, so that no tick intervenes.
	page := kit.Eval[struct {
		DateTime, Digits, Date string
		Hands                  []float64
		SecondHand             string
		Seconds                bool
		Times                  []float64
	}](p, `({
		DateTime: document.getElementById("now").dateTime,
		Digits: document.getElementById("now").textContent,
		Date: document.getElementById("date").textContent,
		Hands: ["hour-hand", "minute-hand", "day"].map(id => {
			const { a, b } = new DOMMatrix(getComputedStyle(document.getElementById(id)).transform);
			return Math.atan2(b, a) * 180 / Math.PI;
		}),
		SecondHand: document.getElementById("second-hand").getAttribute("transform") ?? "",
		Seconds: document.querySelector("#now small").checkVisibility(),
		Times: document.getAnimations().map(a => a.effect.getComputedTiming().progress * 1440),
	})`)
	at, err := time.Parse(time.RFC3339, page.DateTime)
	if err != nil {
		p.T.Fatal(err)
	}
	location, err := time.LoadLocation(zone)
	if err != nil {
		p.T.Fatal(err)
	}
	local := at.In(location)
	if _, offset := at.Zone(); at.Format("15:04:05") != local.Format("15:04:05") {
		p.T.Errorf("got the offset %d s, which is not that of %s", offset, zone)
	}
	if page.Digits != local.Format("15:04:05") || page.Date != local.Format("Monday, 2 January 2006") {
		p.T.Errorf("the page shows %s, %s, want %v", page.Digits, page.Date, local)
	}
	minutes := float64(local.Hour()*60 + local.Minute())
	if len(page.Times) != 2 || math.Abs(page.Times[0]-minutes) > 0.01 || page.Times[1] != page.Times[0] {
		p.T.Errorf("the sky is that of the minutes %v, want %v", page.Times, minutes)
	}
	for i, degrees := range []float64{minutes / 2, minutes * 6, minutes / 4} {
		if off := math.Mod(page.Hands[i]-degrees+100.5*360, 360) - 180; math.Abs(off) > 0.01 {
			p.T.Errorf("hand %d is at %v°, want %v°", i, page.Hands[i], math.Mod(degrees, 360))
		}
	}
	second := ""
	if page.Seconds {
		second = fmt.Sprintf("rotate(%d)", local.Second()*6)
	}
	if page.SecondHand != second {
		p.T.Errorf("the second hand is at %q, want %q", page.SecondHand, second)
	}
	return at.Truncate(time.Second)
}

// TestRegistration_TakesTheBrowsersTimeZone: the script sends it with the form; without scripts the clock starts in
// UTC.
func TestRegistration_TakesTheBrowsersTimeZone(t *testing.T) {
	t.Parallel()
	server := kit.NewSite(t).Serve()
	kit.WithAndWithoutScript(t, func(t *testing.T, script bool, settings ...kit.Action) {
		p := kit.NewBrowser(t, server.URL(), append(settings, kit.TimeZone("Asia/Tokyo"))...)
		p.Open("/register", http.StatusOK)
		// A failed attempt keeps the time zone.
		p.Fill("username", "zone"+kit.UniqueName(), "password", "short")
		p.Submit("/register", http.StatusUnprocessableEntity)
		p.Fill("password", kit.Password)
		p.Submit("/register", http.StatusOK)
		city, offset := "UTC", "UTC+00:00"
		if script {
			city, offset = "Tokyo", "UTC+09:00"
		}
		p.WantText("h1", city)
		p.WantText("#offset", offset)
		p.Open("/account", http.StatusOK)
		if got := p.Value("time_zone"); !strings.HasSuffix(got, city) {
			t.Errorf("got the time zone %q, want %s", got, city)
		}
	})
}

// TestDashboard_ShowsWhatAuthorizedTheRequest: the first page may need SQL; the second one needs only Redis.
func TestDashboard_ShowsWhatAuthorizedTheRequest(t *testing.T) {
	t.Parallel()
	server := kit.NewSite(t).Serve()
	kit.WithAndWithoutScript(t, func(t *testing.T, script bool, settings ...kit.Action) {
		p := kit.NewBrowser(t, server.URL(), settings...)
		p.Register("authorized"+kit.UniqueName(), "name", "Ada Lovelace")
		p.Open("/dashboard", http.StatusOK)
		p.WantText("#authorized-by", "Redis")
		p.WantText("#user-name", "Ada Lovelace")
		p.WantText(".confirmed", "0 SQL")
	})
}

func TestAccount_UpdatesTheProfile(t *testing.T) {
	t.Parallel()
	server := kit.NewSite(t).Serve()
	kit.WithAndWithoutScript(t, func(t *testing.T, script bool, settings ...kit.Action) {
		p := kit.NewBrowser(t, server.URL(), settings...)
		p.Register("profile" + kit.UniqueName())
		p.Click(`nav a[href="/account"]`, http.StatusOK)
		p.Fill("name", "Grace Hopper", "email", "grace@")
		p.Select("time_zone", "Pacific/Auckland")
		p.Submit("/account/profile", http.StatusUnprocessableEntity)
		p.WantTitle(true)
		p.WantFocus("email")
		p.WantDescription("email", "Error: ", "Enter an address")
		if p.Value("name") != "Grace Hopper" || p.Value("email") != "grace@" || p.Value("time_zone") != "Pacific/Auckland" {
			t.Error("the form lost the input")
		}
		p.Fill("email", kit.UniqueName()+"@example.org")
		p.Submit("/account/profile", http.StatusOK)
		p.WantNotice(script, "/account", "profile", "Changes saved.")
		p.Click(`nav a[href="/dashboard"]`, http.StatusOK)
		p.WantText("#user-name", "Grace Hopper")
		p.WantText("h1", "Auckland")
		clock(p, "Pacific/Auckland")
	})
}

// TestAccount_ChangesThePassword: it requires the current password and ends every other session.
func TestAccount_ChangesThePassword(t *testing.T) {
	t.Parallel()
	server := kit.NewSite(t).Serve()
	kit.WithAndWithoutScript(t, func(t *testing.T, script bool, settings ...kit.Action) {
		name := "change" + kit.UniqueName()
		p, other := kit.NewBrowser(t, server.URL(), settings...), kit.NewBrowser(t, server.URL(), settings...)
		p.Register(name)
		other.SignIn(name)

		p.Open("/account", http.StatusOK)
		for _, wrong := range []struct{ current, next, field, message string }{
			{"", "short", "current_password", "Enter your current password."},
			{kit.Password, "short", "new_password", "Use at least 8 characters (this has 5)."},
			{"not-the-password", "tidy-badger-kettle", "current_password", "This is not your current password."},
		} {
			p.Fill("current_password", wrong.current, "new_password", wrong.next)
			p.Submit("/account/password", http.StatusUnprocessableEntity)
			p.WantTitle(true)
			p.WantFocus(wrong.field)
			p.WantDescription(wrong.field, "Error: ", wrong.message)
		}
		other.Open("/account", http.StatusOK)
		other.WantPath("/account")

		p.Fill("current_password", kit.Password, "new_password", "tidy-badger-kettle")
		p.Submit("/account/password", http.StatusOK)
		p.WantNotice(script, "/account", "password", "Password changed")
		other.Open("/account", http.StatusOK)
		other.WantPath("/login?next=%2Faccount")
		other.Fill("username", name, "password", kit.Password)
		other.Submit("/login", http.StatusUnauthorized)
		other.Fill("password", "tidy-badger-kettle")
		other.Submit("/login", http.StatusOK)
		other.WantPath("/account")
	})
}

// TestAccount_EndsOtherSessions: first one of them, then all.
func TestAccount_EndsOtherSessions(t *testing.T) {
	t.Parallel()
	server := kit.NewSite(t).Serve()
	kit.WithAndWithoutScript(t, func(t *testing.T, script bool, settings ...kit.Action) {
		name := "sessions" + kit.UniqueName()
		p := kit.NewBrowser(t, server.URL(), settings...)
		p.Register(name)
		p.Open("/account#sessions", http.StatusOK)
		p.WantText("#sessions", "This is your only session.")
		if p.Has(`a[href="/account/sessions/end-others"]`) {
			t.Error("the page offers to end other sessions although there are none")
		}
		p.Open("/account/sessions/end-others", http.StatusOK)
		p.WantText("h1", "No other sessions")

		var others []*kit.Browser
		for range 3 {
			other := kit.NewBrowser(t, server.URL(), settings...)
			other.SignIn(name)
			others = append(others, other)
		}
		p.Click(`main a.button`, http.StatusOK)
		p.WantPath("/account")
		rows := kit.Eval[[]string](p, `[...document.querySelectorAll(".sessions > li")].map(row => row.innerText)`)
		if len(rows) != 4 || !strings.Contains(rows[0], "This device") || !strings.Contains(rows[0], "Chrome") || !strings.Contains(rows[0], "on Linux") ||
			!strings.Contains(rows[0], "127.0.0.1") || !strings.Contains(rows[0], "Active now") || !strings.Contains(rows[0], "without use") {
			t.Errorf("got the sessions %q", rows)
		}
		if missing := kit.Eval[[]string](p, `[...document.querySelectorAll(".device use")].filter(e => !e.getBBox().width).map(e => e.outerHTML)`); len(missing) > 0 || !p.Has(".device") {
			t.Errorf("icons that show nothing: %q", missing)
		}

		// The newest of the others is listed first.
		p.Click(`.sessions > li:nth-child(2) button`, http.StatusOK)
		p.WantNotice(script, "/account", "session-ended", "Session ended.")
		ended := 0
		for _, other := range others {
			other.Open("/dashboard", http.StatusOK)
			if other.Path() == "/login?next=%2Fdashboard" {
				ended++
			}
		}
		if ended != 1 {
			t.Errorf("one click ended %d sessions, want 1", ended)
		}

		p.Click(`a[href="/account/sessions/end-others"]`, http.StatusOK)
		p.WantText("main", "This ends 2 sessions immediately")
		p.Click(`main a[href="/account#sessions"]`, http.StatusOK) // cancel
		p.Click(`a[href="/account/sessions/end-others"]`, http.StatusOK)
		p.Submit("/account/sessions/end-others", http.StatusOK)
		p.WantNotice(script, "/account", "others-ended", "All other sessions ended.")
		for _, other := range others {
			other.Open("/dashboard", http.StatusOK)
			other.WantPath("/login?next=%2Fdashboard")
		}
		p.Click(`nav a[href="/dashboard"]`, http.StatusOK)
		p.WantPath("/dashboard")
	})
}

// TestSignOut_BackButtonShowsNothingPrivate: neither from the browser's cache nor from memory, not even for a moment,
// nor in another tab.
func TestSignOut_BackButtonShowsNothingPrivate(t *testing.T) {
	t.Parallel()
	server := kit.NewSite(t).Serve()
	private := `/Secret Name|Sign out|127\.0\.0\.1/.test(document.body.innerText)`
	gone := `document.readyState === "complete" && location.pathname === "/login"`
	kit.WithAndWithoutScript(t, func(t *testing.T, script bool, settings ...kit.Action) {
		name := "back" + kit.UniqueName()
		p := kit.NewBrowser(t, server.URL(), settings...)
		p.Register(name, "name", "Secret Name")
		p.Click(`nav a[href="/account"]`, http.StatusOK)
		if !kit.Eval[bool](p, private) {
			t.Fatal("the test does not recognize private content")
		}
		p.Submit("/logout", http.StatusOK)
		for range 2 {
			p.Back()
			p.WaitFor("the sign-in page", gone)
			if kit.Eval[bool](p, private) {
				t.Errorf("the back button shows %s", p.Text("body"))
			}
		}
		if p.Restored > 0 {
			t.Error("a page was restored from memory")
		}

		p.SignIn(name)
		p.Click(`nav a[href="/account"]`, http.StatusOK)
		tab := p.NewTab(settings...)
		tab.Open("/dashboard", http.StatusOK)
		tab.Submit("/logout", http.StatusOK)
		p.Back() // the dashboard may still be in memory
		p.WaitFor("the sign-in page", gone)
		if kit.Eval[bool](p, private) {
			t.Errorf("the back button shows %s", p.Text("body"))
		}
		if p.Restored > 0 {
			t.Error("a page was restored from memory after the sign-out in another tab")
		}
	})
}

// TestUnavailablePage_ReloadsAutomatically: without Redis a private page is unavailable, and reloads at the same
// address, still signed in, when Redis is back.
func TestUnavailablePage_ReloadsAutomatically(t *testing.T) {
	t.Parallel()
	redis := testkit.StartRedis(t, "--appendonly", "yes")
	s := &kit.Site{T: t, DatabaseURL: testkit.PostgresURL(t), RedisURL: redis.URL()}
	server := s.Serve()
	p, plain := kit.NewBrowser(t, server.URL()), kit.NewBrowser(t, server.URL(), kit.NoScript())
	for _, p := range []*kit.Browser{p, plain} {
		p.Register("outage" + kit.UniqueName())
	}
	redis.Kill()
	for _, p := range []*kit.Browser{p, plain} {
		p.Open("/account", http.StatusServiceUnavailable)
		p.WantTitle(true)
		p.WantText("h1", "Back in a moment")
		p.WantText("main", "tries again automatically in 5 seconds")
		if p.Cookies()["gatehouse"] == nil {
			t.Error("the session cookie is gone")
		}
	}
	redis.Start()
	for _, p := range []*kit.Browser{p, plain} {
		p.WaitFor("the page to reload automatically", `location.pathname === "/account" && document.querySelector("h1")?.innerText === "Account"`)
	}
}

// TestUnavailablePage_DoesNotRepeatAPost: a failed form is not submitted again automatically.
func TestUnavailablePage_DoesNotRepeatAPost(t *testing.T) {
	t.Parallel()
	redis := testkit.StartRedis(t)
	s := &kit.Site{T: t, DatabaseURL: testkit.PostgresURL(t), RedisURL: redis.URL()}
	p := kit.NewBrowser(t, s.Serve().URL())
	p.Open("/login", http.StatusOK)
	redis.Kill()
	p.Fill("username", "alice", "password", kit.Password)
	p.Submit("/login", http.StatusServiceUnavailable)
	if p.Has("body[data-refresh]") || p.Has("[http-equiv]") {
		t.Error("the response to a POST reloads automatically")
	}
	p.WantText("main", "Try again in 5 seconds")
}
