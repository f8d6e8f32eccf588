package handlers

import (
	"strings"
	"testing"

	"gatehouse/templates"
)

func TestNewDevice_NamesBrowserSystemAndKind(t *testing.T) {
	const webkit = "AppleWebKit/537.36 (KHTML, like Gecko) "
	for agent, want := range map[string]templates.Device{
		"": {Name: "Unknown device"},
		"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0":                                            {Name: "Firefox on Linux", Kind: templates.Desktop, Browser: templates.Firefox},
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64) " + webkit + "Chrome/140.0.0.0 Safari/537.36":                            {Name: "Chrome on Windows", Kind: templates.Desktop, Browser: templates.Chrome},
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64) " + webkit + "Chrome/140.0.0.0 Safari/537.36 Edg/140.0.0.0":              {Name: "Edge on Windows", Kind: templates.Desktop, Browser: templates.Edge},
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64) " + webkit + "Chrome/140.0.0.0 Safari/537.36 OPR/122.0.0.0":              {Name: "Opera on Windows", Kind: templates.Desktop, Browser: templates.Opera},
		"Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) " + webkit + "Version/18.5 Mobile/15E148 Safari/604.1":      {Name: "Safari on iOS", Kind: templates.Phone, Browser: templates.Safari},
		"Mozilla/5.0 (iPad; CPU OS 12_5 like Mac OS X) " + webkit + "Version/12.1.2 Mobile/15E148 Safari/604.1":             {Name: "Safari on iOS", Kind: templates.Tablet, Browser: templates.Safari},
		"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) " + webkit + "Version/18.5 Safari/605.1.15":                        {Name: "Safari on macOS", Kind: templates.Desktop, Browser: templates.Safari},
		"Mozilla/5.0 (Linux; Android 15; Pixel 9) " + webkit + "Chrome/140.0.0.0 Mobile Safari/537.36":                      {Name: "Chrome on Android", Kind: templates.Phone, Browser: templates.Chrome},
		"Mozilla/5.0 (Linux; Android 15; SM-S921B) " + webkit + "SamsungBrowser/28.0 Chrome/130.0.0.0 Mobile Safari/537.36": {Name: "Samsung Browser on Android", Kind: templates.Phone, Browser: templates.OtherBrowser},
		"curl/8.5.0":             {Name: "curl", Kind: templates.Program},
		"python-requests/2.32.3": {Name: "python-requests", Kind: templates.Program},
	} {
		if got := newDevice(agent); got != want {
			t.Errorf("newDevice(%q) = %+v, want %+v", agent, got, want)
		}
	}
	for _, agent := range []string{"\x00", "\xff\xfe", "(((((", strings.Repeat("Mozilla/", 1000), "<script>"} {
		if got := newDevice(agent); len([]rune(got.Name)) > maxDevice {
			t.Errorf("newDevice(%.20q) has a name of %d characters", agent, len([]rune(got.Name)))
		}
	}
}
