package templates

import (
	"testing"
	"time"

	"gatehouse/auth"
)

func TestNewClock_InTheZone(t *testing.T) {
	at := func(s string) time.Time {
		moment, err := time.Parse(time.RFC3339Nano, s)
		if err != nil {
			t.Fatal(err)
		}
		return moment
	}
	for _, c := range []struct {
		name, now, zone string
		want            Clock
	}{
		{"winter", "2026-01-15T08:05:30.25Z", "Europe/Berlin", Clock{
			DateTime: "2026-01-15T09:05:30.250+01:00", Hours: "09", Minutes: "05", Seconds: "30", Date: "Thursday, 15 January 2026",
			City: "Berlin", Zone: "Europe/Berlin", Offset: "UTC+01:00",
		}},
		{"summer", "2026-07-15T08:05:30Z", "Europe/Berlin", Clock{
			DateTime: "2026-07-15T10:05:30.000+02:00", Hours: "10", Minutes: "05", Seconds: "30", Date: "Wednesday, 15 July 2026",
			City: "Berlin", Zone: "Europe/Berlin", Offset: "UTC+02:00",
		}},
		{"before the clocks go forward", "2026-03-29T00:59:59Z", "Europe/Berlin", Clock{
			DateTime: "2026-03-29T01:59:59.000+01:00", Hours: "01", Minutes: "59", Seconds: "59", Date: "Sunday, 29 March 2026",
			City: "Berlin", Zone: "Europe/Berlin", Offset: "UTC+01:00",
		}},
		{"after it", "2026-03-29T01:00:00Z", "Europe/Berlin", Clock{
			DateTime: "2026-03-29T03:00:00.000+02:00", Hours: "03", Minutes: "00", Seconds: "00", Date: "Sunday, 29 March 2026",
			City: "Berlin", Zone: "Europe/Berlin", Offset: "UTC+02:00",
		}},
		{"the hour that comes twice", "2026-10-25T01:30:00Z", "Europe/Berlin", Clock{
			DateTime: "2026-10-25T02:30:00.000+01:00", Hours: "02", Minutes: "30", Seconds: "00", Date: "Sunday, 25 October 2026",
			City: "Berlin", Zone: "Europe/Berlin", Offset: "UTC+01:00",
		}},
		{"behind, on the day before", "2026-11-01T00:00:00Z", "America/Argentina/Buenos_Aires", Clock{
			DateTime: "2026-10-31T21:00:00.000-03:00", Hours: "21", Minutes: "00", Seconds: "00", Date: "Saturday, 31 October 2026",
			City: "Buenos Aires", Zone: "America/Argentina/Buenos_Aires", Offset: "UTC−03:00",
		}},
		{"half an hour, behind", "2026-01-01T03:30:00Z", "America/St_Johns", Clock{
			DateTime: "2026-01-01T00:00:00.000-03:30", Hours: "00", Minutes: "00", Seconds: "00", Date: "Thursday, 1 January 2026",
			City: "St Johns", Zone: "America/St_Johns", Offset: "UTC−03:30",
		}},
		{"half an hour, ahead", "2026-01-01T06:30:00Z", "Asia/Kolkata", Clock{
			DateTime: "2026-01-01T12:00:00.000+05:30", Hours: "12", Minutes: "00", Seconds: "00", Date: "Thursday, 1 January 2026",
			City: "Kolkata", Zone: "Asia/Kolkata", Offset: "UTC+05:30",
		}},
		{"three quarters of an hour", "2026-01-01T00:00:00Z", "Asia/Kathmandu", Clock{
			DateTime: "2026-01-01T05:45:00.000+05:45", Hours: "05", Minutes: "45", Seconds: "00", Date: "Thursday, 1 January 2026",
			City: "Kathmandu", Zone: "Asia/Kathmandu", Offset: "UTC+05:45",
		}},
		{"midnight", "2026-01-01T00:00:00Z", "UTC", Clock{
			DateTime: "2026-01-01T00:00:00.000Z", Hours: "00", Minutes: "00", Seconds: "00", Date: "Thursday, 1 January 2026",
			City: "UTC", Zone: "UTC", Offset: "UTC+00:00",
		}},
		{"the last moment of a year", "2026-12-31T23:59:59.999Z", "UTC", Clock{
			DateTime: "2026-12-31T23:59:59.999Z", Hours: "23", Minutes: "59", Seconds: "59", Date: "Thursday, 31 December 2026",
			City: "UTC", Zone: "UTC", Offset: "UTC+00:00",
		}},
		{"a zone that is none", "2026-01-01T18:00:00+02:00", "Local", Clock{
			DateTime: "2026-01-01T16:00:00.000Z", Hours: "16", Minutes: "00", Seconds: "00", Date: "Thursday, 1 January 2026",
			City: "UTC", Zone: "UTC", Offset: "UTC+00:00",
		}},
	} {
		c.want.Language, c.want.Dir = "en-GB", "ltr"
		if got := NewClock(at(c.now), c.zone, auth.Preferences{}); got != c.want {
			t.Errorf("%s:\n got %+v\nwant %+v", c.name, got, c.want)
		}
	}
}

func TestClock_HourAndMinute(t *testing.T) {
	now := time.Date(2026, 11, 20, 23, 9, 59, 0, time.UTC)
	if c := NewClock(now, "Asia/Kolkata", auth.Preferences{}); c.Hour() != "04" || c.Minute() != "39" {
		t.Errorf("got %s:%s, want 04:39", c.Hour(), c.Minute())
	}
}

// TestNewClock_AsTheUserReadsTimes: the hours to 12 or 24, and the date in the user's language.
func TestNewClock_AsTheUserReadsTimes(t *testing.T) {
	type text struct{ hours, period, periods, date, dir string }
	for _, c := range []struct {
		hour        int
		preferences auth.Preferences
		want        text
	}{
		{0, auth.Preferences{HourCycle: "h12"}, text{"12", "am", "am|pm", "Friday, 20 November 2026", "ltr"}},
		{12, auth.Preferences{HourCycle: "h12"}, text{"12", "pm", "am|pm", "Friday, 20 November 2026", "ltr"}},
		{23, auth.Preferences{Locale: "en-US"}, text{"11", "PM", "AM|PM", "Friday, November 20, 2026", "ltr"}},
		{9, auth.Preferences{Locale: "en-US", HourCycle: "h23"}, text{"09", "", "", "Friday, November 20, 2026", "ltr"}},
		{9, auth.Preferences{Locale: "fi"}, text{"09", "", "", "perjantai 20. marraskuuta 2026", "ltr"}},
		{9, auth.Preferences{Locale: "ar"}, text{"9", "ص", "ص|م", "الجمعة، 20 نوفمبر 2026", "rtl"}},
		{9, auth.Preferences{Locale: "unknown", HourCycle: "unknown"}, text{"09", "", "", "Friday, 20 November 2026", "ltr"}},
	} {
		got := NewClock(time.Date(2026, 11, 20, c.hour, 0, 0, 0, time.UTC), "UTC", c.preferences)
		if (text{got.Hours, got.Period, got.Periods, got.Date, got.Dir}) != c.want {
			t.Errorf("%+v at %d: got %+v, want %+v", c.preferences, c.hour, got, c.want)
		}
	}
	if got := NewClock(time.Date(2026, 11, 20, 0, 0, 0, 0, time.UTC), "Etc/GMT+5", auth.Preferences{}); got.City != "UTC−05:00" || got.Offset != "UTC−05:00" {
		t.Errorf("got %s, %s", got.City, got.Offset)
	}
}
