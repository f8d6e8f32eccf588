package templates

import (
	"gatehouse/auth/timezone"
	"strings"
	"time"
)

// Clock is one moment as the dashboard shows it, in the user's time zone.
type Clock struct {
	DateTime string // RFC 3339 with the zone's offset, for <time datetime> and the script
	Hours    string // "09"
	Minutes  string // "05"
	Seconds  string // "30"
	Date     string // "Friday, 20 November 2026"
	City     string // "Berlin"
	Zone     string // "Europe/Berlin", for the script
	Offset   string // "UTC+01:00"
}

// NewClock returns the moment in the zone, or in UTC if there is no such zone. It is exact to the second; the
// script continues from there.
func NewClock(now time.Time, zone string) Clock {
	location, ok := timezone.Load(zone)
	if !ok {
		zone, location = "UTC", time.UTC
	}
	t := now.In(location)
	dateTime := t.Format("2006-01-02T15:04:05.000Z07:00")
	return Clock{
		DateTime: dateTime,
		Hours:    dateTime[11:13],
		Minutes:  dateTime[14:16],
		Seconds:  dateTime[17:19],
		Date:     t.Format("Monday, 2 January 2006"),
		City:     city(zone),
		Zone:     zone,
		Offset:   "UTC" + t.Format("-07:00"),
	}
}

// city returns the last part of a zone's name: "Buenos Aires" of "America/Argentina/Buenos_Aires".
func city(zone string) string {
	return strings.ReplaceAll(zone[strings.LastIndexByte(zone, '/')+1:], "_", " ")
}

// Hour and Minute return the local time in two digits each, "00" to "23" and "00" to "59": the stylesheet chooses the look
// of the sky by them.
func (c Clock) Hour() string   { return c.DateTime[11:13] }
func (c Clock) Minute() string { return c.DateTime[14:16] }
