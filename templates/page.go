package templates

import (
	"cmp"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/a-h/templ"

	"gatehouse/auth"
	"gatehouse/auth/locale"
	"gatehouse/auth/timezone"
)

// Page is what the layout needs. The struct of every page embeds it.
type Page struct {
	// Title is the name of the page. The layout adds "· Gatehouse". The title of an error begins with "Error: ".
	Title string
	// Description is for search engines; empty on pages that they cannot reach.
	Description string
	// Path is the path of the request; the navigation marks the current page by it.
	Path string
	// User is the signed-in user, or nil.
	User *auth.User
	// Notice is about what has just been done; may be empty.
	Notice Notice
	// Address is the address to show instead of that of the request, for a page that answers a form or has a notice,
	// so that reloading it does not repeat either; may be empty.
	Address string
	// Refresh is the number of seconds after which the browser loads the page again; 0 for never.
	Refresh int
	// NextMinute is the number of seconds after which a browser without scripts loads the page again, to show the next minute; 0
	// for never.
	NextMinute int
	// Closed leaves out links to pages that are closed for maintenance.
	Closed bool
	// Maintenance tells administrators that the site is closed to everyone else; nil while it is open.
	Maintenance *auth.Maintenance
	// AssetLinks load the static files.
	AssetLinks templ.Component
	// Landing is set on the landing page, whose header is a line above the sky.
	Landing bool
	// PageLinks load the files that only this page needs; may be nil.
	PageLinks templ.Component
}

// Notice is a sentence about what has just been done ("Changes saved.").
type Notice struct {
	Text string
	// Section is the id of the section that shows it, because it is about that section; "" for the top of the page.
	Section string
}

// ShowsAdmin reports whether the user may see the administration pages.
func (p Page) ShowsAdmin() bool { return p.User != nil && p.User.HasPermission(auth.ViewUsers) }

// current returns the value of aria-current for a link: "page" on the pages at the given paths, "true" elsewhere in
// the section, else "".
func (p Page) current(section string, pages ...string) string {
	switch {
	case slices.Contains(pages, p.Path):
		return "page"
	case p.Path == section, strings.HasPrefix(p.Path, section+"/"):
		return "true"
	}
	return ""
}

// LocalTime returns a time in the user's time zone and language: "3 December 2026, 14:05 CET".
func (p Page) LocalTime(t time.Time) string {
	hourCycle := ""
	if p.User != nil {
		hourCycle = p.User.HourCycle
	}
	return p.locale().DateTime(t.In(p.location()), hourCycle)
}

// LocalDate returns the date of a time in the user's time zone and language: "3 December 2026".
func (p Page) LocalDate(t time.Time) string { return p.locale().Date(t.In(p.location())) }

func (p Page) location() *time.Location {
	if p.User != nil {
		if l, ok := timezone.Load(p.User.TimeZone); ok {
			return l
		}
	}
	return time.UTC
}

func (p Page) locale() *locale.Locale {
	if p.User == nil {
		return locale.Find(locale.Default)
	}
	return p.User.DateLocale()
}

// dateLanguage returns the attributes of an element that contains a date and is written in another language than the page.
func (p Page) dateLanguage() templ.Attributes {
	l := p.locale()
	if l.Tag == locale.Default {
		return nil
	}
	return templ.Attributes{"lang": l.Tag, "dir": l.Dir()}
}

// Theme returns the theme that the user has chosen, or "".
func (p Page) Theme() string {
	if p.User == nil {
		return ""
	}
	return p.User.Theme
}

// colorSchemes returns the theme as CSS has it: browsers paint the page in it before they have the stylesheet.
func (p Page) colorSchemes() string { return cmp.Or(p.Theme(), "light dark") }

func rfc3339(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// plural returns "1 session" or "2 sessions".
func plural(n int, one, many string) string { return strconv.Itoa(n) + " " + pluralWord(n, one, many) }

func pluralWord(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}

// withNext adds the address to continue to after signing in; "" adds nothing.
func withNext(path, next string) string {
	if next == "" {
		return path
	}
	return path + "?next=" + url.QueryEscape(next)
}
