package e2e

import (
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"gatehouse/internal/testkit"
)

// wrongClock sets the browser's clock years ahead.
const wrongClock = `{
	const True = Date, ahead = 7 * 365 * 864e5 + 12345678;
	Date = class extends True {
		constructor(...of) { of.length ? super(...of) : super(True.now() + ahead) }
		static now() { return True.now() + ahead }
	};
}`

// TestBrowserClock: the dashboard's time is the server's to the second, in the user's zone,
// whatever the browser's own clock and zone say; with scripts it goes on by itself.
func TestBrowserClock(t *testing.T) {
	t.Parallel()
	server := newSite(t).serve()
	bothWays(t, func(t *testing.T, script bool, settings ...action) {
		p := newPerson(t, server.URL(), append(settings, inZone("America/New_York"), before(wrongClock))...)
		if year := eval[int](p, `new Date().getFullYear()`); year == time.Now().Year()+7 {
			t.Fatal("the clock is wrong already") // about:blank was there before
		}
		p.register("clock" + unique())
		if year := eval[int](p, `new Date().getFullYear()`); script && year < time.Now().Year()+7 {
			t.Fatalf("the browser's clock is not wrong: %d", year)
		}
		p.open("/account", http.StatusOK)
		p.choose("time_zone", "Asia/Kathmandu")
		p.submit("/account/profile", http.StatusOK)

		before := time.Now()
		p.open("/dashboard", http.StatusOK)
		shown, now := p.clock("Asia/Kathmandu"), time.Now()
		if shown.Before(before.Truncate(time.Second)) || shown.After(now) {
			t.Errorf("the page shows %v, and was loaded from %v to %v", shown, before, now)
		}
		p.wantText("h1", "Kathmandu")
		p.wantText("#offset", "UTC+05:45")
		if !script {
			return
		}
		soonest := patience
		for range 4 {
			next := shown.Add(time.Second)
			p.await("the next second", `document.getElementById("now").dateTime.startsWith("`+next.Format("2006-01-02T15:04:05")+`")`)
			late := time.Since(next)
			if late < 0 {
				t.Errorf("the clock is %v ahead", -late)
			}
			soonest = min(soonest, late)
			shown = p.clock("Asia/Kathmandu")
		}
		// A busy machine may draw one of the ticks late, not all of them.
		if soonest > 500*time.Millisecond {
			t.Errorf("the clock is %v behind", soonest)
		}
	})
}

// clock returns the time that the page shows, after comparing what people read with what
// machines read.
func (p *person) clock(zone string) time.Time {
	p.t.Helper()
	// One expression, so that no tick comes between.
	page := eval[struct {
		DateTime, Digits, Date string
		Hands                  []string
		Sky                    string
	}](p, `({
		DateTime: document.getElementById("now").dateTime,
		Digits: document.getElementById("now").textContent,
		Date: document.getElementById("date").textContent,
		Hands: ["hour-hand", "minute-hand", "second-hand", "day"].map(id => document.getElementById(id).getAttribute("transform")),
		Sky: document.querySelector(".sky").className,
	})`)
	at, err := time.Parse(time.RFC3339, page.DateTime)
	if err != nil {
		p.t.Fatal(err)
	}
	location, err := time.LoadLocation(zone)
	if err != nil {
		p.t.Fatal(err)
	}
	local := at.In(location)
	if _, offset := at.Zone(); at.Format("15:04:05") != local.Format("15:04:05") {
		p.t.Errorf("the time is written with the offset %d s, which is not that of %s", offset, zone)
	}
	if page.Digits != local.Format("15:04:05") || page.Date != local.Format("Monday, 2 January 2006") {
		p.t.Errorf("the page says %s, %s; want %v", page.Digits, page.Date, local)
	}
	if want := "sky hour-" + strconv.Itoa(local.Hour()); page.Sky != want {
		p.t.Errorf("the sky is %q, want %q", page.Sky, want)
	}
	hours := float64(local.Hour()) + float64(local.Minute())/60
	for i, want := range []float64{hours * 30, float64(local.Minute())*6 + float64(local.Second())/10, float64(local.Second()) * 6, hours * 15} {
		got, err := strconv.ParseFloat(strings.TrimSuffix(strings.TrimPrefix(page.Hands[i], "rotate("), ")"), 64)
		if turn := int(got*10+3600-want*10+5) % 3600; err != nil || turn > 10 {
			p.t.Errorf("hand %d is at %s, want about %v", i, page.Hands[i], want)
		}
	}
	return at.Truncate(time.Second)
}

// TestBrowserZone: the script tells the registration where the person is; without it the
// clock starts in UTC.
func TestBrowserZone(t *testing.T) {
	t.Parallel()
	server := newSite(t).serve()
	bothWays(t, func(t *testing.T, script bool, settings ...action) {
		p := newPerson(t, server.URL(), append(settings, inZone("Asia/Tokyo"))...)
		p.open("/register", http.StatusOK)
		// An error on the way loses nothing.
		p.fill("username", "zone"+unique(), "password", "short")
		p.submit("/register", http.StatusUnprocessableEntity)
		p.fill("password", password)
		p.submit("/register", http.StatusOK)
		city, offset := "UTC", "UTC+00:00"
		if script {
			city, offset = "Tokyo", "UTC+09:00"
		}
		p.wantText("h1", city)
		p.wantText("#offset", offset)
		p.open("/account", http.StatusOK)
		if got := p.value("time_zone"); !strings.HasSuffix(got, city) {
			t.Errorf("the account's zone is %q, want %s", got, city)
		}
	})
}

// TestBrowserWhoVouched: the first look may cost SQL; the second one is Redis' alone.
func TestBrowserWhoVouched(t *testing.T) {
	t.Parallel()
	server := newSite(t).serve()
	bothWays(t, func(t *testing.T, script bool, settings ...action) {
		p := newPerson(t, server.URL(), settings...)
		p.register("vouched"+unique(), "name", "Ada Lovelace")
		p.open("/dashboard", http.StatusOK)
		p.wantText("#authorized-by", "Redis")
		p.wantText("#user-name", "Ada Lovelace")
		p.wantText(".vouched", "0 SQL")
	})
}

func TestBrowserProfile(t *testing.T) {
	t.Parallel()
	server := newSite(t).serve()
	bothWays(t, func(t *testing.T, script bool, settings ...action) {
		p := newPerson(t, server.URL(), settings...)
		p.register("profile" + unique())
		p.click(`nav a[href="/account"]`, http.StatusOK)
		p.fill("name", "Grace Hopper", "email", "grace@")
		p.choose("time_zone", "Pacific/Auckland")
		p.submit("/account/profile", http.StatusUnprocessableEntity)
		p.wantTitle(true)
		p.wantFocus("email")
		p.wantDescribed("email", "Error: ", "Enter an address")
		if p.value("name") != "Grace Hopper" || p.value("email") != "grace@" || p.value("time_zone") != "Pacific/Auckland" {
			t.Error("the form is not as it was left")
		}
		p.fill("email", unique()+"@example.org")
		p.submit("/account/profile", http.StatusOK)
		p.wantAt("/account?notice=profile")
		p.wantText(`[role="status"]`, "Your details are saved.")
		p.click(`nav a[href="/dashboard"]`, http.StatusOK)
		p.wantText("#user-name", "Grace Hopper")
		p.wantText("h1", "Auckland")
		p.clock("Pacific/Auckland")
	})
}

// TestBrowserPasswordChange: it needs the current password and ends every other session.
func TestBrowserPasswordChange(t *testing.T) {
	t.Parallel()
	server := newSite(t).serve()
	bothWays(t, func(t *testing.T, script bool, settings ...action) {
		name := "change" + unique()
		p, other := newPerson(t, server.URL(), settings...), newPerson(t, server.URL(), settings...)
		p.register(name)
		other.signIn(name)

		p.open("/account", http.StatusOK)
		for _, wrong := range []struct{ current, next, field, message string }{
			{"", "short", "current_password", "Enter your current password."},
			{password, "short", "new_password", "At least 8 characters: this has 5."},
			{"not-the-password", "tidy-badger-kettle", "current_password", "This is not your current password."},
		} {
			p.fill("current_password", wrong.current, "new_password", wrong.next)
			p.submit("/account/password", http.StatusUnprocessableEntity)
			p.wantTitle(true)
			p.wantFocus(wrong.field)
			p.wantDescribed(wrong.field, "Error: ", wrong.message)
		}
		other.open("/account", http.StatusOK)
		other.wantAt("/account")

		p.fill("current_password", password, "new_password", "tidy-badger-kettle")
		p.submit("/account/password", http.StatusOK)
		p.wantAt("/account?notice=password")
		p.wantText(`[role="status"]`, "Your password is changed")
		other.open("/account", http.StatusOK)
		other.wantAt("/login?next=%2Faccount")
		other.fill("username", name, "password", password)
		other.submit("/login", http.StatusUnauthorized)
		other.fill("password", "tidy-badger-kettle")
		other.submit("/login", http.StatusOK)
		other.wantAt("/account")
	})
}

// TestBrowserSessions: one browser sees the others and ends one, then all of them.
func TestBrowserSessions(t *testing.T) {
	t.Parallel()
	server := newSite(t).serve()
	bothWays(t, func(t *testing.T, script bool, settings ...action) {
		name := "sessions" + unique()
		p := newPerson(t, server.URL(), settings...)
		p.register(name)
		p.click(`.next a[href="/account#sessions"]`, http.StatusOK)
		if p.has(`a[href="/account/sessions/end-others"]`) {
			t.Error("there is an offer to end other sessions, and there are none")
		}
		p.open("/account/sessions/end-others", http.StatusOK)
		p.wantText("h1", "No other sessions")

		var others []*person
		for range 3 {
			other := newPerson(t, server.URL(), settings...)
			other.signIn(name)
			others = append(others, other)
		}
		p.click(`main a.button`, http.StatusOK)
		p.wantAt("/account")
		rows := eval[[]string](p, `[...document.querySelectorAll(".sessions > li")].map(row => row.innerText)`)
		if len(rows) != 4 || !strings.Contains(rows[0], "this one") || !strings.Contains(rows[0], "Chrome") || !strings.Contains(rows[0], "on Linux") ||
			!strings.Contains(rows[0], "127.0.0.1") || !strings.Contains(rows[0], "now") {
			t.Errorf("the sessions are listed as %q", rows)
		}

		// The newest of the others comes first.
		p.click(`.sessions > li:nth-child(2) button`, http.StatusOK)
		p.wantText(`[role="status"]`, "That session is ended.")
		ended := 0
		for _, other := range others {
			other.open("/dashboard", http.StatusOK)
			if other.at() == "/login?next=%2Fdashboard" {
				ended++
			}
		}
		if ended != 1 {
			t.Errorf("%d sessions were ended by one click, want 1", ended)
		}

		p.click(`a[href="/account/sessions/end-others"]`, http.StatusOK)
		p.wantText("main", "2 sessions end at once")
		p.click(`main a[href="/account#sessions"]`, http.StatusOK) // no, after all
		p.click(`a[href="/account/sessions/end-others"]`, http.StatusOK)
		p.submit("/account/sessions/end-others", http.StatusOK)
		p.wantAt("/account?notice=others-ended")
		p.wantText(`[role="status"]`, "All other sessions are ended.")
		for _, other := range others {
			other.open("/dashboard", http.StatusOK)
			other.wantAt("/login?next=%2Fdashboard")
		}
		p.click(`nav a[href="/dashboard"]`, http.StatusOK)
		p.wantAt("/dashboard")
	})
}

// TestBrowserBackAfterSignOut: the back button shows nothing of what the person saw, neither
// from the browser's cache nor from memory, not even for a moment; and no more does another tab.
func TestBrowserBackAfterSignOut(t *testing.T) {
	t.Parallel()
	server := newSite(t).serve()
	private := `/Secret Name|Sign out|127\.0\.0\.1/.test(document.body.innerText)`
	gone := `document.readyState === "complete" && location.pathname === "/login"`
	bothWays(t, func(t *testing.T, script bool, settings ...action) {
		name := "back" + unique()
		p := newPerson(t, server.URL(), settings...)
		p.register(name, "name", "Secret Name")
		p.click(`nav a[href="/account"]`, http.StatusOK)
		if !eval[bool](p, private) {
			t.Fatal("the test does not see what is private")
		}
		p.submit("/logout", http.StatusOK)
		for range 2 {
			p.back()
			p.await("the sign-in page", gone)
			if eval[bool](p, private) {
				t.Errorf("back shows %s", p.text("body"))
			}
		}
		if p.restored > 0 {
			t.Error("a page came back from memory, if only for a moment")
		}

		p.signIn(name)
		p.click(`nav a[href="/account"]`, http.StatusOK)
		tab := p.newTab(settings...)
		tab.open("/dashboard", http.StatusOK)
		tab.submit("/logout", http.StatusOK)
		p.back() // the dashboard may still be in memory
		p.await("the sign-in page", gone)
		if eval[bool](p, private) {
			t.Errorf("back shows %s", p.text("body"))
		}
		if p.restored > 0 {
			t.Error("a page came back from memory after the sign-out in another tab")
		}
	})
}

// TestBrowserOutage: without Redis a private page says so and comes back by itself, at the
// same address, still signed in.
func TestBrowserOutage(t *testing.T) {
	t.Parallel()
	redis := testkit.StartRedis(t, "--appendonly", "yes")
	s := &site{t: t, database: testkit.PostgresURL(t), redis: redis.URL()}
	server := s.serve()
	p, plain := newPerson(t, server.URL()), newPerson(t, server.URL(), withoutScript())
	for _, p := range []*person{p, plain} {
		p.register("outage" + unique())
	}
	redis.Kill()
	for _, p := range []*person{p, plain} {
		p.open("/account", http.StatusServiceUnavailable)
		p.wantTitle(true)
		p.wantText("h1", "Back in a moment")
		p.wantText("main", "tries again by itself in 5 seconds")
		if p.cookies()["gatehouse"] == nil {
			t.Error("the session cookie is gone")
		}
	}
	redis.Start()
	for _, p := range []*person{p, plain} {
		p.await("the page to come back by itself", `location.pathname === "/account" && document.querySelector("h1")?.innerText === "Account"`)
	}
}

// TestBrowserRepeatedError: what a person posted in vain is not posted again by itself.
func TestBrowserRepeatedError(t *testing.T) {
	t.Parallel()
	redis := testkit.StartRedis(t)
	s := &site{t: t, database: testkit.PostgresURL(t), redis: redis.URL()}
	p := newPerson(t, s.serve().URL())
	p.open("/login", http.StatusOK)
	redis.Kill()
	p.fill("username", "alice", "password", password)
	p.submit("/login", http.StatusServiceUnavailable)
	if p.has("body[data-refresh]") || p.has("[http-equiv]") {
		t.Error("the answer to a POST refreshes itself")
	}
	p.wantText("main", "Try again in 5 seconds")
}
