package browser

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"gatehouse/auth/locale"
	"gatehouse/internal/e2e/kit"
)

// choose selects a radio button.
func choose(p *kit.Browser, name, value string) {
	p.T.Helper()
	p.Do(chromedp.Evaluate[chromedp.Void](`document.querySelector('[name="` + name + `"][value="` + value + `"]').click()`))
}

// background is the color of the page, and of the browser's own controls.
const background = `getComputedStyle(document.body).backgroundColor + " " + getComputedStyle(document.documentElement).colorScheme`

// TestAppearance_ThemeOverridesTheDevice: also without scripts, and only for the user who chose it.
func TestAppearance_ThemeOverridesTheDevice(t *testing.T) {
	t.Parallel()
	server := kit.NewSite(t).Serve()
	const light, dark = "rgb(246, 244, 239)", "rgb(20, 24, 29)"
	kit.WithAndWithoutScript(t, func(t *testing.T, script bool, settings ...kit.Action) {
		p := kit.NewBrowser(t, server.URL(), append(settings, kit.MediaFeatures("prefers-color-scheme", "dark"))...)
		want := func(where, color, schemes string) {
			t.Helper()
			if got := kit.Eval[string](p, background); got != color+" "+schemes {
				t.Errorf("%s: got %s, want %s %s", where, got, color, schemes)
			}
		}
		p.Register("theme" + kit.UniqueName())
		want("by default", dark, "light dark")
		p.Open("/account", http.StatusOK)
		choose(p, "theme", "light")
		p.Submit("/account/appearance", http.StatusOK)
		p.WantText("#appearance .notice", "Changes saved.")
		want("after the choice", light, "light")
		p.Open("/dashboard", http.StatusOK)
		want("on another page", light, "light")
		if color := kit.Eval[string](p, `[...document.querySelectorAll("meta[name=theme-color]")].map(m => m.content + m.media).join()`); color != "#f6f4ef" {
			t.Errorf("got the theme colors %s", color)
		}
		p.Open("/account", http.StatusOK)
		choose(p, "theme", "dark")
		p.Submit("/account/appearance", http.StatusOK)
		p.Do(kit.MediaFeatures("prefers-color-scheme", "light"))
		want("on a light device", dark, "dark")
		p.Submit("/logout", http.StatusOK)
		want("for visitors", light, "light dark")
		for name := range p.Cookies() {
			if strings.Contains(name, "theme") {
				t.Errorf("the browser got the cookie %s", name)
			}
		}
	})
}

// TestLocale_AgreesWithTheBrowser: the script writes the date at midnight as the server does. Some versions of the CLDR have other spaces.
func TestLocale_AgreesWithTheBrowser(t *testing.T) {
	t.Parallel()
	p := kit.NewBrowser(t, kit.NewSite(t).Serve().URL())
	p.Open("/login", http.StatusOK)
	spaces := strings.NewReplacer("\u00a0", " ", "\u202f", " ")
	for _, l := range locale.All() {
		var dates []string
		var days []int64
		for day := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC); day.Year() == 2026; day = day.AddDate(0, 0, 17) { // every month and weekday
			dates = append(dates, spaces.Replace(l.FullDate(day)))
			days = append(days, day.UnixMilli())
		}
		got := kit.Eval[[]string](p, kit.ToJSON(days)+`.map(day => new Intl.DateTimeFormat("`+l.Tag+`", { timeZone: "UTC", dateStyle: "full" }).format(day))`)
		for i := range got {
			if spaces.Replace(got[i]) != dates[i] {
				t.Errorf("%s: the browser writes %q, the server %q", l.Tag, got[i], dates[i])
			}
		}
	}
}

// TestDashboard_CountsHoursTo12: with the date in the user's language, which the script keeps.
func TestDashboard_CountsHoursTo12(t *testing.T) {
	t.Parallel()
	server := kit.NewSite(t).Serve()
	kit.WithAndWithoutScript(t, func(t *testing.T, script bool, settings ...kit.Action) {
		p := kit.NewBrowser(t, server.URL(), settings...)
		p.Register("hours" + kit.UniqueName())
		p.Open("/account", http.StatusOK)
		choose(p, "hour_cycle", "h12")
		p.Select("locale", "ar")
		p.Submit("/account/appearance", http.StatusOK)
		p.Open("/dashboard", http.StatusOK)
		first := kit.Eval[string](p, `document.getElementById("now").dateTime`)
		if script {
			p.WaitFor("a tick", `document.getElementById("now").dateTime !== "`+first+`"`)
		}
		page := kit.Eval[struct{ DateTime, Digits, Date, Lang, Dir string }](p, `({
			DateTime: document.getElementById("now").dateTime,
			Digits: document.getElementById("now").textContent,
			Date: document.getElementById("date").textContent,
			Lang: document.getElementById("date").lang,
			Dir: getComputedStyle(document.getElementById("date")).direction,
		})`)
		at, err := time.Parse(time.RFC3339, page.DateTime)
		if err != nil {
			t.Fatal(err)
		}
		l := locale.Find("ar")
		if want := at.Format("3:04:05") + "\u00a0" + l.Period(at.Hour()); page.Digits != want {
			t.Errorf("got %q, want %q", page.Digits, want)
		}
		if page.Date != l.FullDate(at) || page.Lang != "ar" || page.Dir != "rtl" {
			t.Errorf("got %+v, want the date %q from right to left", page, l.FullDate(at))
		}
	})
}

// TestLogin_TakesTheBrowsersTimeZone: at the first sign-in of a user whom an operator added. Without scripts the zone stays UTC.
func TestLogin_TakesTheBrowsersTimeZone(t *testing.T) {
	t.Parallel()
	s := kit.NewSite(t)
	server := s.Serve()
	kit.WithAndWithoutScript(t, func(t *testing.T, script bool, settings ...kit.Action) {
		name := "added" + kit.UniqueName()
		s.Run(kit.Password+"\n", "user", "add", name, "--password-stdin").WantCode(t, 0)
		p := kit.NewBrowser(t, server.URL(), append(settings, kit.TimeZone("Asia/Tokyo"))...)
		p.SignIn(name)
		city := "UTC"
		if script {
			city = "Tokyo"
		}
		p.WantText("h1", city)
		p.Submit("/logout", http.StatusOK)
		p.Do(kit.TimeZone("Europe/Berlin"))
		p.SignIn(name)
		if script {
			p.WantText("h1", "Tokyo")
		}
	})
}

// TestAccount_FindsTheZoneByTyping: the labels begin with the city, so the browser's own search finds it.
func TestAccount_FindsTheZoneByTyping(t *testing.T) {
	t.Parallel()
	server := kit.NewSite(t).Serve()
	kit.WithAndWithoutScript(t, func(t *testing.T, script bool, settings ...kit.Action) {
		p := kit.NewBrowser(t, server.URL(), settings...)
		p.Register("typing" + kit.UniqueName())
		p.Open("/account", http.StatusOK)
		p.Do(chromedp.Evaluate[chromedp.Void](`document.getElementById("time_zone").focus()`), chromedp.KeyEvent("Buenos"))
		if got := p.Value("time_zone"); got != "America/Argentina/Buenos_Aires" {
			t.Errorf("typing Buenos selects %s", got)
		}
		if label := kit.Eval[string](p, `document.getElementById("time_zone").selectedOptions[0].label`); label != "Buenos Aires, Argentina (UTC−03:00)" {
			t.Errorf("got the label %q", label)
		}
	})
}
