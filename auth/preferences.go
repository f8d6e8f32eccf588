package auth

import (
	"context"
	"fmt"
	"slices"

	"gatehouse/auth/locale"
)

// Preferences are how pages look to a user and how they write times. The zero value leaves everything to
// the device and the defaults.
type Preferences struct {
	// Theme is "light" or "dark"; "" follows the device.
	Theme string `json:"theme"`
	// HourCycle is "h12" or "h23" (Unicode Technical Standard 35, key hc); "" follows the locale.
	HourCycle string `json:"hour_cycle"`
	// Locale is the tag of the language of dates (RFC 5646), one of locale.All; "" is locale.Default.
	Locale string `json:"locale"`
}

// PreferencesEdit holds the preferences to set; nil for an unchanged one. There are no conflicts: whichever
// of two concurrent edits of the same preference comes last wins.
type PreferencesEdit struct {
	Theme, HourCycle, Locale *string
}

// EditPreferences applies the edits and keeps every other preference. The error is ValidationErrors for
// values that cannot be chosen.
func (a *Accounts) EditPreferences(ctx context.Context, id string, e PreferencesEdit) (User, error) {
	if err := e.validate().orNil(); err != nil {
		return User{}, err
	}
	if e == (PreferencesEdit{}) {
		u, err := a.Users.UserByID(ctx, id)
		if err != nil {
			return User{}, fmt.Errorf("look up a user to change preferences: %w", err)
		}
		return u, nil
	}
	return a.change(ctx, "preferences changed", id, func() (User, error) {
		return a.Users.SetPreferences(ctx, id, e)
	})
}

func (e PreferencesEdit) validate() ValidationErrors {
	wrong := ValidationErrors{}
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

// DateLocale returns the language in which the user reads dates.
func (u User) DateLocale() *locale.Locale { return locale.Find(u.Locale) }
