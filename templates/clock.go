package templates

import (
	"gatehouse/auth/timezone"
	"math"
	"strconv"
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
	// Angles of the hands in degrees, clockwise from twelve, for an SVG transform.
	HourAngle, MinuteAngle, SecondAngle float64
	// Hour is 0 to 23. The class "hour-14" sets the colors of the sky.
	Hour int
}

// NewClock returns the moment in the zone, or in UTC if there is no such zone. It is exact to the second; the
// script continues from there.
func NewClock(now time.Time, zone string) Clock {
	location, ok := timezone.Load(zone)
	if !ok {
		zone, location = "UTC", time.UTC
	}
	t := now.In(location)
	hour, minute, second := t.Clock()
	dateTime := t.Format("2006-01-02T15:04:05.000Z07:00")
	return Clock{
		DateTime:    dateTime,
		Hours:       dateTime[11:13],
		Minutes:     dateTime[14:16],
		Seconds:     dateTime[17:19],
		Date:        t.Format("Monday, 2 January 2006"),
		City:        city(zone),
		Zone:        zone,
		Offset:      "UTC" + t.Format("-07:00"),
		HourAngle:   float64(hour%12)*30 + float64(minute)/2,
		MinuteAngle: float64(minute)*6 + float64(second)/10,
		SecondAngle: float64(second) * 6,
		Hour:        hour,
	}
}

// city returns the last part of a zone's name: "Buenos Aires" of "America/Argentina/Buenos_Aires".
func city(zone string) string {
	return strings.ReplaceAll(zone[strings.LastIndexByte(zone, '/')+1:], "_", " ")
}

// DayAngle is the rotation of the sky in degrees: 0 at midnight, 180 at noon. The sun follows it.
func (c Clock) DayAngle() float64 { return float64(c.Hour)*15 + c.MinuteAngle/24 }

// rotate returns an SVG transform, to the hundredth of a degree.
func rotate(degrees float64) string {
	b := append(make([]byte, 0, 24), "rotate("...)
	b = strconv.AppendFloat(b, math.Round(degrees*100)/100, 'f', -1, 64)
	return string(append(b, ')'))
}
