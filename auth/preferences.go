package auth

import (
	"context"
	"fmt"

	"gatehouse/auth/preference"
)

// Preferences are how pages look to a user and how they write times; PreferencesEdit are changes of them.
type (
	Preferences     = preference.Set
	PreferencesEdit = preference.Edit
)

// EditPreferences applies the edits and keeps every other preference. The error is ValidationErrors for
// values that cannot be chosen.
func (a *Accounts) EditPreferences(ctx context.Context, id string, e PreferencesEdit) (User, error) {
	if err := ValidationErrors(e.Validate()).orNil(); err != nil {
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
