package handlers

import (
	"fmt"
	"net/url"
	"testing"
	"time"

	"gatehouse/auth"
)

func TestTokenDates_EndWithTheDayInTheUsersZone(t *testing.T) {
	// In Berlin it is already Sunday, 22 November 2026.
	now := time.Date(2026, 11, 21, 23, 30, 0, 5, time.UTC)
	dates := newTokenDates(&auth.User{TimeZone: "Europe/Berlin"}, now)
	for date, want := range map[string]string{
		"2026-11-23": "2026-11-23T23:59:59+01:00",
		"2027-07-01": "2027-07-01T23:59:59+02:00",
		"2027-11-22": "2027-11-22T23:59:59+01:00",
		"2027-11-23": "2027-11-23T00:30:00+01:00", // 366 days from now
		"2026-11-22": "", "2027-11-24": "", "2025-01-01": "", "2027-02-30": "", "": "", "tomorrow": "", "2026-12-1": "",
		"2027-01-01T00:00": "", "02027-01-01": "", "99999-01-01": "", "２０２７-01-01": "", "2027-01-01\x00": "",
	} {
		got, ok := dates.end(date)
		if ok != (want != "") || ok && got.Format(time.RFC3339) != want {
			t.Errorf("the end of %q is %s, %v; want %q", date, got.Format(time.RFC3339), ok, want)
		}
	}
	if got, ok := newTokenDates(&auth.User{TimeZone: "Mars/Olympus"}, now).end("2026-11-22"); !ok || got.Format(time.RFC3339) != "2026-11-22T23:59:59Z" {
		t.Errorf("without a zone, the end is %s, %v", got, ok)
	}
}

func TestNewTokenRequest_FullAccessMustBeChosen(t *testing.T) {
	for query, want := range map[string]string{
		"":                               "[]string(nil)", // programs that do not send the field
		"permissions=a.b":                `[]string{"a.b"}`,
		"access=full":                    "[]string(nil)",
		"access=full&permissions=a.b":    "[]string(nil)",
		"access=limited":                 "[]string{}",
		"access=limited&permissions=a.b": `[]string{"a.b"}`,
		"access=Full":                    "[]string{}",
		"access=x&permissions=a.b&permissions=c.d": `[]string{"a.b", "c.d"}`,
	} {
		form, err := url.ParseQuery(query)
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprintf("%#v", newTokenRequest(form, tokenDates{}).Permissions); got != want {
			t.Errorf("%q gives the permissions %s, want %s", query, got, want)
		}
	}
}

func TestLifetimeChoices_IncludeDefaultAndSubmitted(t *testing.T) {
	now := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	for _, test := range []struct {
		standard     time.Duration
		chosen, want string
	}{
		{72 * time.Hour, "3", "[3 days*] [7 days] [30 days] [90 days] [365 days]"},
		{7 * day, "7", "[7 days*] [30 days] [90 days] [365 days]"},
		{7 * day, "date", "[7 days] [30 days] [90 days] [365 days]"},
		{72 * time.Hour, "12", "[3 days] [7 days] [12 days*] [30 days] [90 days] [365 days]"},
		{36 * time.Hour, "", "[36 hours*] [7 days] [30 days] [90 days] [365 days]"},
		{90 * time.Minute, "", "[90 minutes*] [7 days] [30 days] [90 days] [365 days]"},
		{day, "1", "[1 day*] [7 days] [30 days] [90 days] [365 days]"},
		{7 * day, "soon", "[7 days] [30 days] [90 days] [365 days]"},
		{7 * day, "367", "[7 days] [30 days] [90 days] [365 days]"},
	} {
		got := ""
		for _, choice := range lifetimeChoices(test.standard, test.chosen, now) {
			mark := ""
			if choice.Checked {
				mark = "*"
			}
			got += " [" + choice.Words + mark + "]"
		}
		if got != " "+test.want {
			t.Errorf("default %s, chosen %q: got%s, want %s", test.standard, test.chosen, got, test.want)
		}
	}
}
