package handlers

import (
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"gatehouse/auth"
	"gatehouse/auth/timezone"
	"gatehouse/templates"
	"gatehouse/web"
)

const (
	day = 24 * time.Hour
	// maxTokenDays is the maximum lifetime of a token in the form.
	maxTokenDays = int(auth.MaxTokenLifetime / day)
	// onDate is the value of the field days if the token expires on the date in the field until.
	onDate = "date"
	// fullAccess and limitedAccess are the values of the field access.
	fullAccess, limitedAccess = "full", "limited"
	// refusedLifetime stands for an invalid one, so that auth reports it together with the other errors.
	refusedLifetime = -time.Second
)

// newTokenRequest reads the form that creates a token.
func newTokenRequest(form url.Values, dates tokenDates) auth.TokenRequest {
	request := auth.TokenRequest{Name: form.Get("name"), Permissions: chosenPermissions(form)}
	switch days := strings.TrimSpace(form.Get("days")); days {
	case "": // the default
	case onDate:
		var ok bool
		if request.ExpiresAt, ok = dates.end(form.Get("until")); !ok {
			request.Lifetime = refusedLifetime
		}
	default:
		request.Lifetime = parseDays(days)
	}
	return request
}

// chosenPermissions returns the permissions that limit the token, or nil for full access. A form without the field
// access limits the token if it selects any. An unknown value never means full access.
func chosenPermissions(form url.Values) []string {
	selected := form["permissions"]
	switch form.Get("access") {
	case fullAccess:
		return nil
	case "":
		return selected
	}
	return append([]string{}, selected...) // never nil, which would be full access
}

// parseDays returns a number of days as a lifetime, or refusedLifetime.
func parseDays(days string) time.Duration {
	n, err := strconv.Atoi(days)
	if err != nil || n < 1 || n > maxTokenDays {
		return refusedLifetime
	}
	return time.Duration(n) * day
}

// daysField returns the value of the field days for a lifetime; "" is the default, which need not be a number of days.
func daysField(lifetime time.Duration) string {
	if lifetime%day != 0 {
		return ""
	}
	return strconv.Itoa(int(lifetime / day))
}

// lifetimeChoices returns the lifetimes that the form offers, the shortest first: the usual ones, the default, and the
// submitted one. chosen is the value of the field days.
func lifetimeChoices(standard time.Duration, chosen string, now time.Time) []templates.Lifetime {
	offered := []time.Duration{7 * day, 30 * day, 90 * day, 365 * day, standard}
	if submitted := parseDays(chosen); submitted > 0 {
		offered = append(offered, submitted)
	}
	slices.Sort(offered)
	var choices []templates.Lifetime
	for _, lifetime := range slices.Compact(offered) {
		value := daysField(lifetime)
		choices = append(choices, templates.Lifetime{
			Days: value, Words: lifetimeWords(lifetime), EndsAt: now.Add(lifetime), Checked: value == chosen,
		})
	}
	return choices
}

// lifetimeWords returns a lifetime in the largest unit in which it is a whole number.
func lifetimeWords(d time.Duration) string {
	switch {
	case d%day == 0:
		return web.FormatCount(int(d/day), "day")
	case d%time.Hour == 0:
		return web.FormatCount(int(d/time.Hour), "hour")
	}
	return web.FormatCount(int(d/time.Minute), "minute")
}

// tokenDates are the dates on which a token that is created now may expire, in the user's time zone.
type tokenDates struct{ now time.Time }

func newTokenDates(u *auth.User, now time.Time) tokenDates {
	if zone, ok := timezone.Load(u.TimeZone); ok {
		return tokenDates{now.In(zone)}
	}
	return tokenDates{now.UTC()}
}

// first and last return a time on the first and the last possible date.
func (d tokenDates) first() time.Time { return d.now.AddDate(0, 0, 1) }
func (d tokenDates) last() time.Time  { return d.now.AddDate(0, 0, maxTokenDays) }

// end returns the last second of a date, or false if a token cannot expire on it.
func (d tokenDates) end(date string) (time.Time, bool) {
	t, err := time.ParseInLocation(time.DateOnly, date, d.now.Location())
	if err != nil || date < d.first().Format(time.DateOnly) || date > d.last().Format(time.DateOnly) {
		return time.Time{}, false
	}
	end := time.Date(t.Year(), t.Month(), t.Day(), 23, 59, 59, 0, t.Location())
	// On the last date, the longest lifetime ends before the day does.
	return slices.MinFunc([]time.Time{end, d.now.Truncate(time.Second).Add(auth.MaxTokenLifetime)}, time.Time.Compare), true
}
