package auth

import (
	_ "embed"
	"strings"
	"sync"
	"time"
	_ "time/tzdata" // a bare machine has no zone database
)

// TimeZones returns the names of the time zones that a person can choose, sorted.
var TimeZones = sync.OnceValue(func() []string { return strings.Fields(zoneNames) })

// zoneNames are the canonical zones of the IANA database that people live in.
//
//go:embed zones.txt
var zoneNames string

// LoadLocation returns the zone of an IANA name, or false. Aliases such as "Asia/Calcutta",
// which browsers still report, are accepted; "Local", which is the server's, is not.
func LoadLocation(name string) (*time.Location, bool) {
	if l, ok := locations.Load(name); ok {
		return l.(*time.Location), true
	}
	if name == "" || name == "Local" || len(name) > 64 || ofThisMachine(name) {
		return nil, false
	}
	l, err := time.LoadLocation(name)
	if err != nil {
		return nil, false
	}
	// At most as many entries as there are zones: unknown names never get here.
	locations.Store(name, l)
	return l, true
}

// ofThisMachine reports whether a name is no zone of the IANA database, though the folder that
// the system keeps it in may have such a file: the server's own zone, or one with leap seconds.
func ofThisMachine(name string) bool {
	return name == "localtime" || name == "posixrules" || strings.HasPrefix(name, "posix/") || strings.HasPrefix(name, "right/")
}

// locations keeps parsed zones: parsing one reads its whole history.
var locations sync.Map
