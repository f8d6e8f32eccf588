package handlers

import (
	"cmp"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"gatehouse/auth/timezone"
	"gatehouse/templates"
)

// zoneGroups returns the time zones by continent, with the given one selected. It is added if the list has it only
// under another name. The labels begin with the city, so that typing its name selects it, and have the offset at the
// given time.
func zoneGroups(selected string, now time.Time) []templates.ZoneGroup {
	var groups []templates.ZoneGroup
	if _, ok := timezone.Load(selected); ok && !slices.Contains(timezone.Names(), selected) {
		groups = groupZones(append(slices.Clone(timezone.Names()), selected), now)
	} else {
		groups = listedZones(now)
	}
	for i, g := range groups {
		groups[i].Zones = slices.Clone(g.Zones)
		for j, z := range g.Zones {
			groups[i].Zones[j].Selected = z.ID == selected
		}
	}
	return groups
}

// zoneList are the groups of all listed zones, with their offsets in one quarter of an hour.
type zoneList struct {
	quarter time.Time
	groups  []templates.ZoneGroup
}

// lastZones caches the list: making it takes about a millisecond. Offsets change only at quarters of an hour.
var lastZones atomic.Pointer[zoneList]

// listedZones returns the groups of all listed zones. The caller must not change the zones.
func listedZones(now time.Time) []templates.ZoneGroup {
	quarter := now.UTC().Truncate(15 * time.Minute)
	list := lastZones.Load()
	if list == nil || !list.quarter.Equal(quarter) {
		list = &zoneList{quarter, groupZones(timezone.Names(), quarter)}
		lastZones.Store(list)
	}
	return slices.Clone(list.groups)
}

// groupZones returns the zones by continent, ordered by their labels.
func groupZones(names []string, now time.Time) []templates.ZoneGroup {
	groups := map[string][]templates.Zone{}
	for _, name := range names {
		continent, _, found := strings.Cut(name, "/")
		if !found || continent == "Etc" {
			continent = "Universal"
		}
		groups[continent] = append(groups[continent], templates.Zone{ID: name, Label: timezone.Label(name, now)})
	}
	var list []templates.ZoneGroup
	for continent, zones := range groups {
		slices.SortFunc(zones, func(a, b templates.Zone) int { return cmp.Compare(a.Label, b.Label) })
		list = append(list, templates.ZoneGroup{Name: continent, Zones: zones})
	}
	slices.SortFunc(list, func(a, b templates.ZoneGroup) int { return strings.Compare(a.Name, b.Name) })
	return list
}
