package auth

import (
	"context"
	"gatehouse/auth/identifier"
	"slices"
	"strings"
)

// ChangeGroups puts a user into some groups and takes them out of others, all of it or nothing.
// Groups that are named nowhere stay as they are, so that of two administrators neither undoes
// what the other did. ErrGroupNotFound when one to join is missing.
func (a *Accounts) ChangeGroups(ctx context.Context, id string, join, leave []string) (User, error) {
	for _, group := range join {
		if err := identifier.ValidateGroupName(group); err != nil {
			return User{}, ValidationErrors{"group": err.Error()}
		}
	}
	// In one order, so that no two changes wait for each other.
	join, leave = slices.Sorted(slices.Values(join)), slices.Sorted(slices.Values(leave))
	var what []string
	if len(join) > 0 {
		what = append(what, "joined "+strings.Join(join, ", "))
	}
	if len(leave) > 0 {
		what = append(what, "left "+strings.Join(leave, ", "))
	}
	return a.change(ctx, "user "+strings.Join(what, " and "), id, func() (User, error) {
		return a.Grants.ChangeGroups(ctx, id, join, leave)
	})
}
