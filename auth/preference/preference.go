// Package preference holds what users choose about the look of pages and the way they write times.
package preference

import (
	"slices"

	"gatehouse/auth/locale"
)

// Set are the preferences of a user. The zero value leaves everything to the device and the defaults.
type Set struct {
	// Theme is "light" or "dark"; "" follows the device.
	Theme string `json:"theme"`
	// HourCycle is "h12" or "h23" (Unicode Technical Standard 35, key hc); "" follows the locale.
	HourCycle string `json:"hour_cycle"`
	// Locale is the tag of the language of dates (RFC 5646), one of locale.All; "" is locale.Default.
	Locale string `json:"locale"`
}

// DateLocale returns the language in which the user reads dates.
func (s Set) DateLocale() *locale.Locale { return locale.Find(s.Locale) }

// Edit holds the preferences to set; nil for an unchanged one. There are no conflicts: whichever of two
// concurrent edits of the same preference comes last wins.
type Edit struct {
	Theme, HourCycle, Locale *string
}

// Validate returns a message for each field whose value cannot be chosen.
func (e Edit) Validate() map[string]string {
	wrong := map[string]string{}
	if e.Theme != nil && !slices.Contains([]string{"", "light", "dark"}, *e.Theme) {
		wrong["theme"] = "Choose a theme from the list."
	}
	if e.HourCycle != nil && !slices.Contains([]string{"", "h12", "h23"}, *e.HourCycle) {
		wrong["hour_cycle"] = "Choose a clock from the list."
	}
	if e.Locale != nil && *e.Locale != "" && locale.Find(*e.Locale).Tag != *e.Locale {
		wrong["locale"] = "Choose a language from the list."
	}
	return wrong
}
