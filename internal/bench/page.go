//go:build linux

package main

import (
	"fmt"
	"html/template"
	"io/fs"
	"net/http"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"gatehouse/auth"
	"gatehouse/handlers"
	"gatehouse/static"
	"gatehouse/templates"
	"gatehouse/web"
)

// dashboard has the fields of Gatehouse's own page.
type dashboard struct {
	web.Page
	Clock        handlers.Clock
	AuthorizedBy string
	Took         string
	SQL          int64
}

func newDashboard(a account, by string, now time.Time) dashboard {
	u := &auth.User{ID: a.ID, Username: a.Username, Name: a.Name, TimeZone: a.TimeZone, Epoch: 1, Active: true}
	return dashboard{
		Page:         web.Page{Title: "Dashboard", Path: "/dashboard", User: u},
		Clock:        newClock(now, a.TimeZone),
		AuthorizedBy: by,
		Took:         fmt.Sprintf("%.1f ms", 0.5),
		SQL:          1,
	}
}

// newClock does for the references what Gatehouse's handler does.
func newClock(now time.Time, zone string) handlers.Clock {
	location, ok := auth.LoadLocation(zone)
	if !ok {
		zone, location = "UTC", time.UTC
	}
	t := now.In(location)
	hour, minute, second := t.Clock()
	return handlers.Clock{
		DateTime:    t.Format("2006-01-02T15:04:05.000Z07:00"),
		Hours:       t.Format("15"),
		Minutes:     t.Format("04"),
		Seconds:     t.Format("05"),
		Date:        t.Format("Monday, 2 January 2006"),
		City:        strings.ReplaceAll(zone[strings.LastIndexByte(zone, '/')+1:], "_", " "),
		Zone:        zone,
		Offset:      "UTC" + t.Format("-07:00"),
		HourAngle:   float64(hour%12)*30 + float64(minute)/2,
		MinuteAngle: float64(minute)*6 + float64(second)/10,
		SecondAngle: float64(second) * 6,
		Hour:        hour,
	}
}

// parseDashboard parses Gatehouse's own templates of the page.
func parseDashboard() (*template.Template, error) {
	addresses := map[string]string{}
	files, err := fs.Glob(static.FS, "*.*")
	if err != nil {
		return nil, err
	}
	for _, name := range files {
		base, ext, _ := strings.Cut(name, ".")
		addresses[name] = "/static/" + base + ".0123456789ab." + ext
	}
	functions := template.FuncMap{
		"asset": func(name string) (string, error) {
			if a, ok := addresses[name]; ok {
				return a, nil
			}
			return "", fmt.Errorf("there is no static file %q", name)
		},
		// The partials name these; the dashboard calls none of them.
		"dict":    func(...any) (map[string]any, error) { return nil, nil },
		"rfc3339": func(time.Time) string { return "" },
		"plural":  func(int, string, string) string { return "" },
	}
	return template.New("").Funcs(functions).ParseFS(templates.FS, "layout.html", "partials/*.html", "pages/dashboard.html")
}

// show renders straight into the response.
func show(c echo.Context, page *template.Template, data dashboard) error {
	c.Response().Header().Set("Content-Type", "text/html; charset=utf-8")
	c.Response().WriteHeader(http.StatusOK)
	return page.ExecuteTemplate(c.Response(), "layout", data)
}
