package auth

import (
	"regexp"
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

// permissionName: dotted lower-case words, such as "users.view".
var permissionName = regexp.MustCompile(`^[a-z][a-z0-9_-]*(\.[a-z][a-z0-9_-]*)+$`)

// groupName: one lower-case word, such as "admin".
var groupName = regexp.MustCompile(`^[a-z][a-z0-9_-]*$`)

// MaxGrantName is the longest name of a permission or group, in octets.
const MaxGrantName = 64

// ValidatePermissionName returns a sentence about a name that can be no permission.
func ValidatePermissionName(name string) error {
	if len(name) > MaxGrantName || !permissionName.MatchString(name) {
		return userMessage("A permission is lower-case words with dots between them, such as users.view.")
	}
	return nil
}

// ValidateGroupName returns a sentence about a name that can be no group.
func ValidateGroupName(name string) error {
	if len(name) > MaxGrantName || !groupName.MatchString(name) {
		return userMessage("A group is one lower-case word, such as admin.")
	}
	return nil
}

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
