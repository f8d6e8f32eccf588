package handlers

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"gatehouse/auth"
	"gatehouse/web"
)

func (h *Handlers) dashboard(r *web.Request) (web.Response, error) {
	cost := r.Stats()
	page := dashboardPage{
		Page:         r.Page("Dashboard"),
		Clock:        newClock(r.Now(), r.User().TimeZone).text(),
		AuthorizedBy: authorizedBy(r),
		Took:         strconv.FormatFloat(float64(cost.RedisTime()+cost.SQLTime())/float64(time.Millisecond), 'f', 1, 64) + " ms",
		SQL:          strconv.FormatInt(cost.SQLStatements(), 10),
	}
	return web.Show(http.StatusOK, "dashboard", page), nil
}

// newClock returns the moment in the zone. Second and hands are exact to the second that the
// page was made in; the script goes on from there.
func newClock(now time.Time, zone string) Clock {
	location, ok := auth.LoadLocation(zone)
	if !ok {
		zone, location = "UTC", time.UTC
	}
	t := now.In(location)
	hour, minute, second := t.Clock()
	return Clock{
		DateTime:    t.Format("2006-01-02T15:04:05.000Z07:00"),
		Hours:       t.Format("15"),
		Minutes:     t.Format("04"),
		Seconds:     t.Format("05"),
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
