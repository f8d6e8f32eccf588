package templates

import (
	"bytes"
	"testing"
	"time"

	"gatehouse/auth"
)

// BenchmarkDashboard renders the page into a buffer, clock included.
func BenchmarkDashboard(b *testing.B) {
	user := &auth.User{Username: "ada", Name: "Ada Lovelace", TimeZone: "Europe/Berlin", Active: true}
	now := time.Date(2026, 11, 20, 23, 59, 59, 0, time.UTC)
	links, err := AssetLinks("/static/app.css", "/static/app.js", "/static/favicon.svg")
	if err != nil {
		b.Fatal(err)
	}
	var body bytes.Buffer
	b.ReportAllocs()
	for b.Loop() {
		body.Reset()
		page := DashboardPage{
			Page:  Page{Title: "Dashboard", Path: "/dashboard", User: user, AssetLinks: links},
			Clock: NewClock(now, user.TimeZone), AuthorizedBy: "Redis", Took: "0.3 ms",
		}
		if err := Dashboard(page).Render(b.Context(), &body); err != nil {
			b.Fatal(err)
		}
	}
}
