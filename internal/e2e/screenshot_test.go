//go:build screenshot

package e2e

import (
	"math"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// TestScreenshot makes the picture in the README anew:
//
//	go test -tags screenshot -run TestScreenshot ./internal/e2e
func TestScreenshot(t *testing.T) {
	p := newPerson(t, newSite(t).serve().URL(), viewport(1200, 750), media("prefers-color-scheme", "light"))
	p.register("ada", "name", "Ada Lovelace")
	p.open("/account", http.StatusOK)
	zone, city := cityAt(18)
	p.choose("time_zone", zone)
	p.submit("/account/profile", http.StatusOK)
	p.open("/dashboard", http.StatusOK)
	p.wantText("h1", city)
	ctx, cancel := p.limited()
	defer cancel()
	data, err := chromedp.Run(ctx, chromedp.CaptureScreenshot())
	if err != nil {
		t.Fatal(err)
	}
	if len(data) > 150_000 {
		t.Errorf("the picture has %d octets", len(data))
	}
	if err := os.WriteFile("../../../docs/dashboard.png", data, 0o644); err != nil {
		t.Fatal(err)
	}
}

// cityAt returns a place where it is about that hour now.
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
