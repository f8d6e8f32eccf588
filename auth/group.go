package auth

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"gatehouse/auth/identifier"
	"slices"
	"strings"
)

// Group is a set of users with common permissions.
type Group struct {
	Name        string   `json:"name"`
	Permissions []string `json:"permissions"`
	Members     int      `json:"members"`
}

// MaxNamedMembers is the maximum number of members that MembersChangedError names.
const MaxNamedMembers = 10

// MembersChangedError: the group has other members than the caller was shown, and is unchanged.
type MembersChangedError struct {
	// Members is the current number of members, and Names the first MaxNamedMembers of them by name.
	Members int
	Names   []string
}

func (MembersChangedError) Error() string { return "the members of the group changed" }

// MembersVersion returns a hash of a set of user ids, in any order: the SHA-256 of the sorted ids, in hex.
func MembersVersion(ids []string) string {
	sum := sha256.Sum256([]byte(strings.Join(slices.Sorted(slices.Values(ids)), "\n")))
	return hex.EncodeToString(sum[:])
}

// ErrGroupNotFound: there is no group of this name.
var ErrGroupNotFound = errors.New("no such group")

// GrantStore stores groups, their members and permissions in SQL. A change without effect is not an error. The errors are
// ErrNotFound for an unknown user, ErrGroupNotFound for an unknown group, and ErrLastAdministrator for a change that would
// take ManageUsers from the last active user who has it, which the store checks in the change's own transaction.
type GrantStore interface {
	// Groups returns all groups by name.
	Groups(ctx context.Context) ([]Group, error)
	AddGroup(ctx context.Context, name string) error
	RemoveGroup(ctx context.Context, name string) error
	// MembersVersions returns the MembersVersion of every group that has members, by name.
	MembersVersions(ctx context.Context) (map[string]string, error)
	// RemoveGroupWithMembers removes the group if the MembersVersion of its members is the given one, and returns
	// MembersChangedError otherwise. It checks the version in the transaction that removes the group, so that no user can
	// join in between.
	RemoveGroupWithMembers(ctx context.Context, name, version string) error
	SetGroupPermission(ctx context.Context, group, permission string, on bool) error
	SetMember(ctx context.Context, userID, group string, on bool) (User, error)
	// ChangeGroups adds the user to all groups of join and removes them from those of leave, or changes nothing.
	// Groups to leave need not exist.
	ChangeGroups(ctx context.Context, userID string, join, leave []string) (User, error)
	SetPermission(ctx context.Context, userID, permission string, on bool) (User, error)
	// DirectPermissions returns the permissions that were granted to the user directly, sorted.
	DirectPermissions(ctx context.Context, userID string) ([]string, error)
}

// Groups returns all groups ordered by name.
func (a *Accounts) Groups(ctx context.Context) ([]Group, error) { return a.Grants.Groups(ctx) }

// MembersVersions returns the MembersVersion of every group that has members, by group name.
func (a *Accounts) MembersVersions(ctx context.Context) (map[string]string, error) {
	return a.Grants.MembersVersions(ctx)
}

// AddGroup creates a group without members or permissions.
func (a *Accounts) AddGroup(ctx context.Context, name string) error {
	if err := identifier.ValidateGroupName(name); err != nil {
		return ValidationErrors{"group": err.Error()}
	}
	return a.changeGroup(ctx, "group added", name, func() error { return a.Grants.AddGroup(ctx, name) })
}

// RestoreAdminGroup makes the group admin again, with its permissions, after an operator has removed it.
func (a *Accounts) RestoreAdminGroup(ctx context.Context) error {
	if err := a.AddGroup(ctx, AdminGroup); err != nil {
		return err
	}
	for _, permission := range []string{ViewUsers, ManageUsers} {
		if err := a.SetGroupPermission(ctx, AdminGroup, permission, true); err != nil {
			return err
		}
	}
	return nil
}

// removalContext returns the context to remove a group with. Only operators may remove the group admin, and even they
// only while another active user can administer: ErrAdminGroup, and ErrLastAdministrator from the store.
func removalContext(ctx context.Context, name string) (context.Context, error) {
	if name != AdminGroup {
		return ctx, nil
	}
	if !LosingAdministratorsAllowed(ctx) {
		return nil, ErrAdminGroup
	}
	return context.WithValue(ctx, mayLoseAdministrators{}, false), nil
}

// RemoveGroup removes a group; its members lose its permissions. ErrAdminGroup for the group admin.
func (a *Accounts) RemoveGroup(ctx context.Context, name string) error {
	ctx, err := removalContext(ctx, name)
	if err != nil {
		return err
	}
	return a.changeGroup(ctx, "group removed", name, func() error { return a.Grants.RemoveGroup(ctx, name) })
}

// RemoveGroupWithMembers is RemoveGroup for a caller who was shown the members with the MembersVersion. It returns
// MembersChangedError if the group has other members by now.
func (a *Accounts) RemoveGroupWithMembers(ctx context.Context, name, version string) error {
	ctx, err := removalContext(ctx, name)
	if err != nil {
		return err
	}
	return a.changeGroup(ctx, "group removed", name, func() error { return a.Grants.RemoveGroupWithMembers(ctx, name, version) })
}

// SetGroupPermission gives a permission to a group or removes it. ErrAdminGroup for removing ManageUsers from the group
// admin.
func (a *Accounts) SetGroupPermission(ctx context.Context, group, permission string, on bool) error {
	if err := identifier.ValidatePermissionName(permission); err != nil {
		return ValidationErrors{"permission": err.Error()}
	}
	if group == AdminGroup && permission == ManageUsers && !on && !LosingAdministratorsAllowed(ctx) {
		return ErrAdminGroup
	}
	return a.changeGroup(ctx, onOff(on, "group granted "+permission, "group lost "+permission), group, func() error {
		return a.Grants.SetGroupPermission(ctx, group, permission, on)
	})
}

// SetMember adds a user to a group or removes them.
func (a *Accounts) SetMember(ctx context.Context, id, group string, on bool) (User, error) {
	if err := identifier.ValidateGroupName(group); err != nil {
		return User{}, ValidationErrors{"group": err.Error()}
	}
	return a.change(ctx, onOff(on, "user joined "+group, "user left "+group), id, func() (User, error) {
		return a.Grants.SetMember(ctx, id, group, on)
	})
}

// ChangeGroups adds a user to some groups and removes them from others, in one transaction. Other groups are unchanged, so
// that concurrent changes by two administrators do not undo each other. ErrGroupNotFound when a group to join is missing.
func (a *Accounts) ChangeGroups(ctx context.Context, id string, join, leave []string) (User, error) {
	for _, group := range join {
		if err := identifier.ValidateGroupName(group); err != nil {
			return User{}, ValidationErrors{"group": err.Error()}
		}
	}
	// Sorted, so that concurrent changes cannot deadlock.
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

func onOff(on bool, yes, no string) string {
	if on {
		return yes
	}
	return no
}
