// Package locale writes dates and times as people expect them in their language. It follows the Unicode
// CLDR, as Intl.DateTimeFormat does in browsers.
package locale

import (
	"strings"
	"time"

	"gatehouse/auth/timezone"
)

// Default is the tag of the locale of users who have chosen none.
const Default = "en-GB"

// Locale is a language in which dates can be written.
type Locale struct {
	// Tag is the language tag (RFC 5646).
	Tag string
	// Name is what the language calls itself.
	Name        string
	RightToLeft bool

	hour12    bool   // hours are counted to 12 unless the user chooses otherwise
	separator string // between hours and minutes; "" for a colon
	join      string // between date and time; "" for a comma
	am, pm    string
	period    string // where "am" and "pm" go: P in relation to the time T; "" for after it
	dates     dates
}

// dates are the functions of a locales.Translator that are correct in all languages here.
type dates interface {
	FmtDateFull(time.Time) string
	FmtDateLong(time.Time) string
	WeekdayWide(time.Weekday) string
}

// All returns the languages that a user can choose, in the order of a list.
func All() []*Locale { return all }

var byTag = func() map[string]*Locale {
	m := make(map[string]*Locale, len(all))
	for _, l := range all {
		m[l.Tag] = l
	}
	return m
}()

// Find returns the locale of a tag, or that of Default.
func Find(tag string) *Locale {
	if l, ok := byTag[tag]; ok {
		return l
	}
	return byTag[Default]
}

// Dir returns the value of the attribute dir for text in the language.
func (l *Locale) Dir() string {
	if l.RightToLeft {
		return "rtl"
	}
	return "ltr"
}

// FullDate returns the date with the weekday: "Friday, 20 November 2026".
func (l *Locale) FullDate(t time.Time) string {
	date := l.dates.FmtDateFull(t)
	if strings.HasPrefix(date, "cccc") {
		// The library does not know this field of the Finnish format: the weekday in the nominative, which is
		// the essive without its ending.
		date = strings.TrimSuffix(l.dates.WeekdayWide(t.Weekday()), "na") + date[len("cccc"):]
	}
	return date
}

// Date returns the date without the weekday: "20 November 2026".
func (l *Locale) Date(t time.Time) string { return l.dates.FmtDateLong(t) }

// Time returns the time to the minute: "14:05" or "2:05 pm". hourCycle is as in Hour12.
func (l *Locale) Time(t time.Time, hourCycle string) string {
	separator := l.separator
	if separator == "" {
		separator = ":"
	}
	if !l.Hour12(hourCycle) {
		return t.Format("15" + separator + "04")
	}
	period := l.period
	if period == "" {
		period = "T\u00a0P"
	}
	return strings.NewReplacer("P", l.Period(t.Hour()), "T", t.Format("3"+separator+"04")).Replace(period)
}

// DateTime returns date, time and zone: "20 November 2026, 14:05 CET". Zones without an abbreviation are
// written as their offset from UTC. hourCycle is as in Hour12.
func (l *Locale) DateTime(t time.Time, hourCycle string) string {
	join := l.join
	if join == "" {
		join = ", "
	}
	return l.Date(t) + join + l.Time(t, hourCycle) + "\u00a0" + timezone.Abbreviation(t)
}

// Hour12 reports whether hours are counted to 12: with the hour cycle "h12" always, with "h23" never, and
// else if that is usual in the language.
func (l *Locale) Hour12(hourCycle string) bool {
	switch hourCycle {
	case "h12":
		return true
	case "h23":
		return false
	}
	return l.hour12
}

// Period returns "am" or "pm" in the language, for an hour from 0 to 23.
func (l *Locale) Period(hour int) string {
	if hour < 12 {
		return l.am
	}
	return l.pm
}
