//go:build screenshot

package browser

import (
	"fmt"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"gatehouse/internal/e2e/kit"
)

// TestScreenshot updates the screenshot in the README:
//
//	go test -tags screenshot -run TestScreenshot ./internal/e2e/browser
func TestScreenshot(t *testing.T) {
	apps := filepath.Join(t.TempDir(), "apps.yaml")
	list := ""
	for _, app := range [][2]string{
		{"Wiki", "How we do things, and why."}, {"Grafana", "Dashboards and alerts."}, {"Invoices", "Send, remind and book."},
		{"Calendar", "Rooms, holidays and who is on call."}, {"Code", "Repositories, reviews and releases."}, {"Files", "Shared folders."},
	} {
		list += fmt.Sprintf("- name: %s\n  url: https://example.org\n  description: %s\n", app[0], app[1])
	}
	if err := os.WriteFile(apps, []byte(list), 0o600); err != nil {
		t.Fatal(err)
	}
	p := kit.NewBrowser(t, kit.NewSite(t).Serve("APPS_FILE", apps).URL(), kit.Viewport(1200, 750), kit.MediaFeatures("prefers-color-scheme", "light"))
	p.Register("ada", "name", "Ada Lovelace")
	p.Open("/account", http.StatusOK)
	zone, city := cityAt(18)
	p.Select("time_zone", zone)
	p.Submit("/account/profile", http.StatusOK)
	p.Open("/dashboard", http.StatusOK)
	p.WantText("h1", city)
	ctx, cancel := p.StepContext()
	defer cancel()
	data, err := chromedp.Run(ctx, chromedp.CaptureScreenshot())
	if err != nil {
		t.Fatal(err)
	}
	if len(data) > 150_000 {
		t.Errorf("got a screenshot of %d bytes", len(data))
	}
	if err := os.WriteFile("../../../docs/dashboard.png", data, 0o644); err != nil {
		t.Fatal(err)
	}
}

// cityAt returns a place where the local time is closest to half past the hour.
func cityAt(hour int) (zone, city string) {
	var best float64 = 24
	for _, name := range []string{
		"Europe/Paris", "Europe/Helsinki", "Asia/Dubai", "Asia/Karachi", "Asia/Kolkata", "Asia/Dhaka", "Asia/Bangkok",
		"Asia/Singapore", "Asia/Tokyo", "Australia/Sydney", "Pacific/Noumea", "Pacific/Auckland", "Pacific/Honolulu",
		"America/Anchorage", "America/Los_Angeles", "America/Denver", "America/Chicago", "America/New_York",
		"America/Halifax", "America/Sao_Paulo", "Atlantic/South_Georgia", "Atlantic/Azores", "Europe/London",
	} {
		location, err := time.LoadLocation(name)
		if err != nil {
			continue
		}
		now := time.Now().In(location)
		off := math.Abs(float64(now.Hour()) + float64(now.Minute())/60 - float64(hour) - 0.5)
		if off < best {
			best, zone = off, name
		}
	}
	return zone, strings.ReplaceAll(zone[strings.LastIndexByte(zone, '/')+1:], "_", " ")
}
