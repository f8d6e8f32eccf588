// Package timezone lists the time zones that people can choose, and loads them by name. It embeds
// the IANA database and reads nothing of the machine.
package timezone

import (
	_ "embed"
	"strings"
	"sync"
	"time"
	_ "time/tzdata" // a bare machine has no time zone database
)

// zoneNames are the canonical zones of the IANA database that people live in.
//
//go:embed zones.txt
var zoneNames string

// Names returns the names of the time zones that a person can choose, sorted.
var Names = sync.OnceValue(func() []string { return strings.Fields(zoneNames) })

// locations caches parsed zones: parsing one reads its whole history.
var locations sync.Map

// Load returns the zone of an IANA name, or false. Aliases such as "Asia/Calcutta", which browsers
// still report, are accepted; "Local", which is the server's zone, is not.
func Load(name string) (*time.Location, bool) {
	if l, ok := locations.Load(name); ok {
		return l.(*time.Location), true
	}
	if name == "" || name == "Local" || len(name) > 64 || isSystemFile(name) {
		return nil, false
	}
	l, err := time.LoadLocation(name)
	if err != nil {
		return nil, false
	}
	// Unknown names never get here, so there are at most as many entries as zones.
	locations.Store(name, l)
	return l, true
}

// isSystemFile reports whether a name is not an IANA zone, but may be a file in the system's zone
// directory: the server's own zone, or one with leap seconds.
func isSystemFile(name string) bool {
	return name == "localtime" || name == "posixrules" || strings.HasPrefix(name, "posix/") || strings.HasPrefix(name, "right/")
}

// City returns what people call the zone: "Buenos Aires" for "America/Argentina/Buenos_Aires". A zone without
// a city is named by its offset: "Etc/GMT+5", whose sign is that of POSIX, is "UTC−05:00".
func City(name string) string {
	if generic, ok := strings.CutPrefix(name, "Etc/"); ok {
		l, known := Load(name)
		if !known {
			return generic
		}
		// These zones have had one offset since 1970.
		if at := time.Unix(0, 0).In(l); !isUTC(at) {
			return Offset(at)
		}
		return "UTC"
	}
	return spaced(name[strings.LastIndexByte(name, '/')+1:])
}

// Label returns the name of a zone for a list, and its offset at the time: "Berlin (UTC+01:00)". It begins
// with the city, by which people search. Cities that share a name are told apart by their region:
// "Knox, Indiana (UTC−06:00)".
func Label(name string, at time.Time) string {
	city := City(name)
	l, ok := Load(name)
	if !ok || strings.HasPrefix(city, "UTC") {
		return city
	}
	if parts := strings.Split(name, "/"); len(parts) == 3 {
		city += ", " + spaced(parts[1])
	}
	return city + " (" + Offset(at.In(l)) + ")"
}

func spaced(name string) string { return strings.ReplaceAll(name, "_", " ") }

func isUTC(t time.Time) bool {
	_, offset := t.Zone()
	return offset == 0
}

// Abbreviation returns the abbreviation of the time's zone, "CET", or its offset if the zone has none.
func Abbreviation(t time.Time) string {
	name, _ := t.Zone()
	if name == "" || name[0] == '+' || name[0] == '-' {
		return Offset(t)
	}
	return name
}

// Offset returns the difference from UTC: "UTC+01:00", and with a minus sign (U+2212) "UTC−05:00".
func Offset(t time.Time) string {
	offset := t.Format("-07:00")
	if offset[0] == '-' {
		return "UTC−" + offset[1:]
	}
	return "UTC" + offset
}
