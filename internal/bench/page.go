//go:build linux

package main

import (
	_ "embed"
	"fmt"
	"html/template"
	"net/http"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"gatehouse/auth"
	"gatehouse/templates"
)

// dashboardHTML is Gatehouse's dashboard for html/template, with line breaks that are not part of the page.
//
//go:embed dashboard.html
var dashboardHTML string

func parseDashboard() (*template.Template, error) {
	return template.New("dashboard").Parse(strings.ReplaceAll(dashboardHTML, "\n", ""))
}

func newDashboard(a account, by string, now time.Time) templates.DashboardPage {
	u := &auth.User{ID: a.ID, Username: a.Username, Name: a.Name, TimeZone: a.TimeZone, Epoch: 1, Active: true}
	return templates.DashboardPage{
		Page:         templates.Page{Title: "Dashboard", Path: "/dashboard", User: u},
		Clock:        templates.NewClock(now, a.TimeZone, auth.Preferences{}),
		AuthorizedBy: by,
		Took:         fmt.Sprintf("%.1f ms", 0.5),
		SQL:          1,
	}
}

// show renders straight into the response.
func show(c echo.Context, page *template.Template, data templates.DashboardPage) error {
	c.Response().Header().Set("Content-Type", "text/html; charset=utf-8")
	c.Response().WriteHeader(http.StatusOK)
	return page.Execute(c.Response(), data)
}
