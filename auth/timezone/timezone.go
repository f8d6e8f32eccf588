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
