package templates

import (
	"bytes"
	"fmt"
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
	files, err := PageLinks("/static/home.css", "/static/dashboard.js", false)
	if err != nil {
		b.Fatal(err)
	}
	for _, n := range []int{0, 10} {
		apps := make([]App, n)
		for i := range apps {
			apps[i] = App{Name: "Wiki", URL: "https://wiki.example.org", Description: "How we do things, and why.", Letter: "W", Color: i % 8}
		}
		b.Run(fmt.Sprint(n, " apps"), func(b *testing.B) {
			var body bytes.Buffer
			b.ReportAllocs()
			for b.Loop() {
				body.Reset()
				page := DashboardPage{
					Page:  Page{Title: "Dashboard", Path: "/dashboard", User: user, AssetLinks: links, PageLinks: files, NextMinute: 12},
					Clock: NewClock(now, user.TimeZone, user.Preferences), AuthorizedBy: "Redis", Took: "0.3 ms",
					Launcher: Launcher{Apps: apps, Configured: n > 0, Searchable: n >= 10, Matches: n},
				}
				if err := Dashboard(page).Render(b.Context(), &body); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
