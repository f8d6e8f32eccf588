package auth

import (
	"context"
	"gatehouse/auth/identifier"
	"slices"
)

// Permissions of Gatehouse itself. Other apps define their own ("billing.refund").
const (
	// ViewUsers is needed to look at other people's accounts.
	ViewUsers = "users.view"
	// ManageUsers is needed to change them; it includes ViewUsers.
	ManageUsers = "users.manage"
)

// AdminGroup has every permission of Gatehouse from the first migration on.
const AdminGroup = "admin"

// HasPermission reports whether the user has the permission, of their own or through a group.
func (u User) HasPermission(permission string) bool {
	return u.Active && allows(u.Permissions, permission)
}

// InGroup reports whether the user belongs to the group.
func (u User) InGroup(group string) bool {
	return u.Active && slices.Contains(u.Groups, group)
}

func allows(permissions []string, wanted string) bool {
	if slices.Contains(permissions, wanted) {
		return true
	}
	// ManageUsers includes ViewUsers.
	return wanted == ViewUsers && slices.Contains(permissions, ManageUsers)
}

// SetPermission gives a user a permission of their own, or removes it.
func (a *Accounts) SetPermission(ctx context.Context, id, permission string, on bool) (User, error) {
	if err := identifier.ValidatePermissionName(permission); err != nil {
		return User{}, ValidationErrors{"permission": err.Error()}
	}
	return a.change(ctx, onOff(on, "permission granted: "+permission, "permission taken: "+permission), id, func() (User, error) {
		return a.Grants.SetPermission(ctx, id, permission, on)
	})
}

// DirectPermissions returns the permissions that were granted to the user directly, sorted.
func (a *Accounts) DirectPermissions(ctx context.Context, id string) ([]string, error) {
	return a.Grants.DirectPermissions(ctx, id)
}

type mayLoseAdministrators struct{}

// AllowLosingAdministrators returns a context in which a change can take ManageUsers from the last
// user who has it. It is for operators, who can create a new administrator on the command line. They may also remove
// the group admin, unless that would leave no administrator.
func AllowLosingAdministrators(ctx context.Context) context.Context {
	return context.WithValue(ctx, mayLoseAdministrators{}, true)
}

// LosingAdministratorsAllowed reports whether ctx is from AllowLosingAdministrators.
func LosingAdministratorsAllowed(ctx context.Context) bool {
	allowed, _ := ctx.Value(mayLoseAdministrators{}).(bool)
	return allowed
}
