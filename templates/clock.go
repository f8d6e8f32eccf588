package templates

import (
	"strconv"
	"time"

	"gatehouse/auth"
	"gatehouse/auth/locale"
	"gatehouse/auth/timezone"
)

// Clock is one moment as the dashboard shows it, in the user's time zone and as the user reads times.
type Clock struct {
	DateTime string // RFC 3339 with the zone's offset, for <time datetime> and the script
	Hours    string // "09", or "9" if hours are counted to 12
	Minutes  string // "05"
	Seconds  string // "30"
	// Period is "am" or "pm" in the user's language, and Periods are both, for the script; "" if hours are counted to 24.
	Period, Periods string
	Date            string // "Friday, 20 November 2026"
	// Language and Dir are those of Date.
	Language, Dir string
	City          string // "Berlin"
	Zone          string // "Europe/Berlin", for the script
	Offset        string // "UTC+01:00"
}

// NewClock returns the moment in the zone, or in UTC if there is no such zone. It is exact to the second; the
// script continues from there.
func NewClock(now time.Time, zone string, as auth.Preferences) Clock {
	location, ok := timezone.Load(zone)
	if !ok {
		zone, location = "UTC", time.UTC
	}
	t := now.In(location)
	dateTime := t.Format("2006-01-02T15:04:05.000Z07:00")
	l := locale.Find(as.Locale)
	c := Clock{
		DateTime: dateTime,
		Hours:    dateTime[11:13],
		Minutes:  dateTime[14:16],
		Seconds:  dateTime[17:19],
		Date:     l.FullDate(t),
		Language: l.Tag,
		Dir:      l.Dir(),
		City:     timezone.City(zone),
		Zone:     zone,
		Offset:   timezone.Offset(t),
	}
	if l.Hour12(as.HourCycle) {
		c.Hours = strconv.Itoa((t.Hour()+11)%12 + 1)
		c.Period, c.Periods = l.Period(t.Hour()), l.Period(0)+"|"+l.Period(12)
	}
	return c
}

// Hour and Minute return the local time in two digits each, "00" to "23" and "00" to "59": the stylesheet chooses the look
// of the sky by them.
func (c Clock) Hour() string   { return c.DateTime[11:13] }
func (c Clock) Minute() string { return c.DateTime[14:16] }
