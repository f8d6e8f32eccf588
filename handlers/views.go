package handlers

import (
	"math"
	"strconv"
	"time"

	"gatehouse/web"
)

// landingPage is GET / for people who are not signed in.
type landingPage struct {
	web.Page
	RegistrationOpen bool
}

// loginPage is the sign-in form: fields username, password, remember, next.
type loginPage struct {
	web.Page
	web.Form
	RegistrationOpen bool
	// To is the host of another site that the person goes on to; "" for a page of ours.
	To string
}

// signOutPage asks whether to sign out, for people who come from another site.
type signOutPage struct {
	web.Page
	// Next is where they go then; "" for the sign-in page.
	Next string
	// Foreign: another site's sign-in let them in, and stays.
	Foreign bool
}

// registerPage is the registration form: fields username, password, email, name, and the
// hidden time_zone that the script fills in.
type registerPage struct {
	web.Page
	web.Form
	MinLength int // of a password, in characters
}

// registrationClosedPage replaces the form when REGISTRATION is closed.
type registrationClosedPage struct {
	web.Page
}

// dashboardPage shows the time.
type dashboardPage struct {
	web.Page
	Clock ClockText
	// AuthorizedBy is Redis, Postgres or SQLite: who vouched for this request.
	AuthorizedBy string
	// Took is how long they took, in words: "0.3 ms".
	Took string
	// SQL is the number of statements that the request ran.
	SQL string
}

// Shape implements web.Stencilled: with a notice or without a person the page is another one.
func (p dashboardPage) Shape() string {
	switch {
	case p.Notice != "" || p.Refresh != 0 || p.User == nil:
		return ""
	case p.MayAdmin():
		return "admin"
	}
	return "user"
}

// Slots implements web.Stencilled.
func (p dashboardPage) Slots() []string {
	c := p.Clock
	return []string{p.User.DisplayName(), p.AuthorizedBy, p.Took, p.SQL, c.DateTime, c.Hours, c.Minutes, c.Seconds, c.Date,
		c.City, c.Zone, c.Offset, c.HourAngle, c.MinuteAngle, c.SecondAngle, c.DayAngle, c.Hour}
}

// WithSlots implements web.Stencilled.
func (p dashboardPage) WithSlots(v []string) any {
	user := *p.User
	user.Name = v[0]
	p.User, p.AuthorizedBy, p.Took, p.SQL = &user, v[1], v[2], v[3]
	p.Clock = ClockText{v[4], v[5], v[6], v[7], v[8], v[9], v[10], v[11], v[12], v[13], v[14], v[15], v[16]}
	return p
}

// ClockText is a Clock as the page writes it.
type ClockText struct {
	DateTime, Hours, Minutes, Seconds, Date, City, Zone, Offset string
	HourAngle, MinuteAngle, SecondAngle, DayAngle, Hour         string
}

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
	// Hour is 0 to 23: the sky is drawn from it, by a class "hour-14".
	Hour int
}

// DayAngle is how far the day has turned, in degrees: 0 at midnight, 180 at noon. The sun
// follows it.
func (c Clock) DayAngle() float64 { return float64(c.Hour)*15 + c.MinuteAngle/24 }

// text returns the clock as the page writes it; angles to the hundredth of a degree.
func (c Clock) text() ClockText {
	return ClockText{c.DateTime, c.Hours, c.Minutes, c.Seconds, c.Date, c.City, c.Zone, c.Offset,
		degrees(c.HourAngle), degrees(c.MinuteAngle), degrees(c.SecondAngle), degrees(c.DayAngle()), strconv.Itoa(c.Hour)}
}

func degrees(f float64) string {
	return strconv.FormatFloat(math.Round(f*100)/100, 'f', -1, 64)
}

// accountPage shows and changes what a person has here.
type accountPage struct {
	web.Page
	Profile   web.Form // fields name, email, time_zone
	Password  web.Form // fields current_password, new_password
	Zones     []ZoneGroup
	MinLength int
	Sessions  []SessionRow
	Hidden    int       // sessions that the list leaves out
	Foreign   bool      // the sign-in of another site, which is not in Sessions
	Now       time.Time // what "3 hours ago" is counted from, for the script
}

// ZoneGroup is a continent with its time zones, for the select.
type ZoneGroup struct {
	Name  string // "Europe"
	Zones []Zone
}

// Zone is one choice of the time zone select.
type Zone struct {
	ID       string // "Europe/Berlin"
	City     string // "Berlin"
	Selected bool
}

// SessionRow is one session in the person's own list.
type SessionRow struct {
	ID      string // for the form that ends it
	Device  string // "Firefox on Linux"
	Address string
	Seen    string // "now", "3 hours ago"
	SeenAt  time.Time
	Current bool // the session of this very request
	Keep    bool // "keep me signed in"
}

// endOthersPage asks before all other sessions are ended.
type endOthersPage struct {
	web.Page
	Others int // how many others there are
	// Foreign: it is the sign-in of another site, and ends with them.
	Foreign bool
}
