package auth

import (
	"slices"
)

// Permissions of the program itself. Other apps name their own ("billing.refund").
const (
	// ViewUsers is needed to look at other people's accounts.
	ViewUsers = "users.view"
	// ManageUsers is needed to change them; it includes looking.
	ManageUsers = "users.manage"
)

// AdminGroup has every permission of the program from the first migration on.
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
	// Who may change may look.
	return wanted == ViewUsers && slices.Contains(permissions, ManageUsers)
}
