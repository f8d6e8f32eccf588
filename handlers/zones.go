package handlers

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"gatehouse/auth/timezone"
	"gatehouse/templates"
)

// zoneGroups returns the time zones by continent, with the given one selected. It is added if the list has it only
// under another name. The labels begin with the city, so that typing its name selects it, and have the offset at the
// given time.
func zoneGroups(selected string, now time.Time) []templates.ZoneGroup {
	names := timezone.Names()
	if _, ok := timezone.Load(selected); ok && !slices.Contains(names, selected) {
		names = append(slices.Clone(names), selected)
	}
	groups := map[string][]templates.Zone{}
	for _, name := range names {
		continent, _, found := strings.Cut(name, "/")
		if !found || continent == "Etc" {
			continent = "Universal"
		}
		groups[continent] = append(groups[continent], templates.Zone{
			ID: name, Label: timezone.Label(name, now), Selected: name == selected,
		})
	}
	var list []templates.ZoneGroup
	for continent, zones := range groups {
		slices.SortFunc(zones, func(a, b templates.Zone) int { return cmp.Compare(a.Label, b.Label) })
		list = append(list, templates.ZoneGroup{Name: continent, Zones: zones})
	}
	slices.SortFunc(list, func(a, b templates.ZoneGroup) int { return strings.Compare(a.Name, b.Name) })
	return list
}
