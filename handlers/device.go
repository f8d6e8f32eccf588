package handlers

import (
	"strings"

	"github.com/mileusna/useragent"

	"gatehouse/templates"
)

// maxDevice bounds a device's name in characters, because a user agent can be any text.
const maxDevice = 60

// newDevice describes the browser or program that sent a user agent, such as "Firefox on Linux".
func newDevice(agent string) templates.Device {
	ua := useragent.Parse(agent)
	switch {
	case ua.Name == "" || agent == "":
		return templates.Device{Name: "Unknown device"}
	case ua.OS == "":
		return templates.Device{Name: atMost(ua.Name, maxDevice), Kind: deviceKind(ua)}
	}
	return templates.Device{Name: atMost(ua.Name+" on "+ua.OS, maxDevice), Kind: deviceKind(ua), Browser: browserFamily(ua.Name)}
}

// deviceKind returns the kind of device. A client without an operating system is a program, such as curl.
func deviceKind(ua useragent.UserAgent) templates.DeviceKind {
	switch {
	case ua.Tablet:
		return templates.Tablet
	case ua.Mobile:
		return templates.Phone
	case ua.OS == "":
		return templates.Program
	}
	return templates.Desktop
}

// browserFamily returns the family of a browser, by its name.
func browserFamily(name string) templates.Browser {
	for _, family := range []templates.Browser{templates.Chrome, templates.Firefox, templates.Safari, templates.Edge, templates.Opera} {
		if strings.Contains(strings.ToLower(name), string(family)) {
			return family
		}
	}
	return templates.OtherBrowser
}

func atMost(s string, n int) string {
	if r := []rune(s); len(r) > n {
		return string(r[:n-1]) + "…"
	}
	return s
}
