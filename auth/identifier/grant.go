package identifier

import "regexp"

// permissionName matches dotted lower-case words, such as "users.view".
var permissionName = regexp.MustCompile(`^[a-z][a-z0-9_-]*(\.[a-z][a-z0-9_-]*)+$`)

// groupName matches one lower-case word, such as "admin".
var groupName = regexp.MustCompile(`^[a-z][a-z0-9_-]*$`)

// MaxGrantName is the longest name of a permission or group, in bytes.
const MaxGrantName = 64

// ValidatePermissionName returns a message for people if the name is not a valid permission.
func ValidatePermissionName(name string) error {
	if len(name) > MaxGrantName || !permissionName.MatchString(name) {
		return userMessage("A permission is lower-case words with dots between them, such as users.view.")
	}
	return nil
}

// ValidateGroupName returns a message for people if the name is not a valid group.
func ValidateGroupName(name string) error {
	if len(name) > MaxGrantName || !groupName.MatchString(name) {
		return userMessage("A group is one lower-case word, such as admin.")
	}
	return nil
}

// ValidateSourceName returns a message for people if the name is not a valid import source.
func ValidateSourceName(name string) error {
	if ValidateGroupName(name) != nil {
		return userMessage("The name of a system is one lower-case word, such as shop.")
	}
	return nil
}
