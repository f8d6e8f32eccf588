package authtest

import (
	"context"
	"maps"
	"slices"
	"strings"

	"gatehouse/auth"
)

// Grants is an auth.GrantStore on the rows of Users, with the group of the first migration.
type Grants struct {
	*CallLog
	users  *Users
	groups map[string][]string
	// own holds the permissions that users have of their own.
	own map[string][]string
}

var _ auth.GrantStore = (*Grants)(nil)

func newGrants(j *CallLog, users *Users) *Grants {
	return &Grants{
		CallLog: j, users: users, own: map[string][]string{},
		groups: map[string][]string{auth.AdminGroup: {auth.ManageUsers, auth.ViewUsers}},
	}
}

// keepAdministrator runs a change and reverts it if it leaves no administrator, as the SQL store does.
func (s *Grants) keepAdministrator(ctx context.Context, change func() error) error {
	before, rows, groups, own := s.hasAdministrator(), maps.Clone(s.users.rows), maps.Clone(s.groups), maps.Clone(s.own)
	err := change()
	if err != nil || !before || s.hasAdministrator() || auth.LosingAdministratorsAllowed(ctx) {
		return err
	}
	s.users.rows, s.groups, s.own = rows, groups, own
	return auth.ErrLastAdministrator
}

func (s *Grants) hasAdministrator() bool {
	for _, u := range s.users.rows {
		if u.HasPermission(auth.ManageUsers) {
			return true
		}
	}
	return false
}

// Groups implements auth.GrantStore.
func (s *Grants) Groups(ctx context.Context) ([]auth.Group, error) {
	if err := s.LogCall(ctx, "grants.Groups"); err != nil {
		return nil, err
	}
	var all []auth.Group
	for _, name := range slices.Sorted(maps.Keys(s.groups)) {
		g := auth.Group{Name: name, Permissions: slices.Clone(s.groups[name])}
		for _, u := range s.users.rows {
			if slices.Contains(u.Groups, name) {
				g.Members++
			}
		}
		all = append(all, g)
	}
	return all, nil
}

// AddGroup implements auth.GrantStore.
func (s *Grants) AddGroup(ctx context.Context, name string) error {
	if err := s.LogCall(ctx, "grants.AddGroup", name); err != nil {
		return err
	}
	if _, ok := s.groups[name]; !ok {
		s.groups[name] = []string{}
	}
	return nil
}

// RemoveGroup implements auth.GrantStore.
func (s *Grants) RemoveGroup(ctx context.Context, name string) error {
	if err := s.LogCall(ctx, "grants.RemoveGroup", name); err != nil {
		return err
	}
	if _, ok := s.groups[name]; !ok {
		return auth.ErrGroupNotFound
	}
	return s.keepAdministrator(ctx, func() error {
		for id, u := range s.users.rows {
			s.ownOf(u)
			u.Groups = with(u.Groups, name, false)
			s.users.rows[id] = u
		}
		delete(s.groups, name)
		s.recompute()
		return nil
	})
}

// members returns the users who are in the group, by name.
func (s *Grants) members(name string) (ids, usernames []string) {
	for _, u := range slices.SortedFunc(maps.Values(s.users.rows), func(a, b auth.User) int { return strings.Compare(a.Username, b.Username) }) {
		if slices.Contains(u.Groups, name) {
			ids, usernames = append(ids, u.ID), append(usernames, u.Username)
		}
	}
	return ids, usernames
}

// MembersVersions implements auth.GrantStore.
func (s *Grants) MembersVersions(ctx context.Context) (map[string]string, error) {
	if err := s.LogCall(ctx, "grants.MembersVersions"); err != nil {
		return nil, err
	}
	versions := map[string]string{}
	for name := range s.groups {
		if ids, _ := s.members(name); len(ids) > 0 {
			versions[name] = auth.MembersVersion(ids)
		}
	}
	return versions, nil
}

// RemoveGroupWithMembers implements auth.GrantStore.
func (s *Grants) RemoveGroupWithMembers(ctx context.Context, name, version string) error {
	if _, ok := s.groups[name]; ok {
		if ids, names := s.members(name); auth.MembersVersion(ids) != version {
			return auth.MembersChangedError{Members: len(ids), Names: names[:min(len(names), auth.MaxNamedMembers)]}
		}
	}
	return s.RemoveGroup(ctx, name)
}

// SetGroupPermission implements auth.GrantStore.
func (s *Grants) SetGroupPermission(ctx context.Context, group, permission string, on bool) error {
	if err := s.LogCall(ctx, "grants.SetGroupPermission", group, permission); err != nil {
		return err
	}
	if _, ok := s.groups[group]; !ok {
		return auth.ErrGroupNotFound
	}
	return s.keepAdministrator(ctx, func() error {
		for _, u := range s.users.rows {
			s.ownOf(u)
		}
		s.groups[group] = with(s.groups[group], permission, on)
		s.recompute()
		return nil
	})
}

// SetMember implements auth.GrantStore.
func (s *Grants) SetMember(ctx context.Context, userID, group string, on bool) (u auth.User, err error) {
	err = s.keepAdministrator(ctx, func() error {
		u, err = s.users.update(ctx, "grants.SetMember", userID, func(u *auth.User) error {
			if _, ok := s.groups[group]; !ok {
				return auth.ErrGroupNotFound
			}
			own := s.ownOf(*u)
			u.Groups = with(u.Groups, group, on)
			u.Permissions = s.permissions(*u, own)
			return nil
		})
		return err
	})
	if err != nil {
		return auth.User{}, err
	}
	return u, nil
}

// ChangeGroups implements auth.GrantStore.
func (s *Grants) ChangeGroups(ctx context.Context, userID string, join, leave []string) (u auth.User, err error) {
	err = s.keepAdministrator(ctx, func() error {
		u, err = s.users.update(ctx, "grants.ChangeGroups", userID, func(u *auth.User) error {
			own := s.ownOf(*u)
			for _, group := range leave {
				u.Groups = with(u.Groups, group, false)
			}
			for _, group := range join {
				if _, ok := s.groups[group]; !ok {
					return auth.ErrGroupNotFound
				}
				u.Groups = with(u.Groups, group, true)
			}
			u.Permissions = s.permissions(*u, own)
			return nil
		})
		return err
	})
	if err != nil {
		return auth.User{}, err
	}
	return u, nil
}

// SetPermission implements auth.GrantStore.
func (s *Grants) SetPermission(ctx context.Context, userID, permission string, on bool) (u auth.User, err error) {
	err = s.keepAdministrator(ctx, func() error {
		u, err = s.users.update(ctx, "grants.SetPermission", userID, func(u *auth.User) error {
			s.own[userID] = with(s.ownOf(*u), permission, on)
			u.Permissions = s.permissions(*u, s.own[userID])
			return nil
		})
		return err
	})
	if err != nil {
		return auth.User{}, err
	}
	return u, nil
}

// DirectPermissions implements auth.GrantStore.
func (s *Grants) DirectPermissions(ctx context.Context, userID string) ([]string, error) {
	if err := s.LogCall(ctx, "grants.DirectPermissions", userID); err != nil {
		return nil, err
	}
	return slices.Clone(s.ownOf(s.users.rows[userID])), nil
}

// ownOf returns the user's own permissions: for a row from Put, those that none of its groups has.
func (s *Grants) ownOf(u auth.User) []string {
	own, ok := s.own[u.ID]
	if !ok {
		own = slices.Clone(u.Permissions)
		for _, g := range u.Groups {
			for _, p := range s.groups[g] {
				own = with(own, p, false)
			}
		}
		s.own[u.ID] = own
	}
	return own
}

func (s *Grants) permissions(u auth.User, own []string) []string {
	all := slices.Clone(own)
	for _, g := range u.Groups {
		all = append(all, s.groups[g]...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

func (s *Grants) recompute() {
	for id, u := range s.users.rows {
		u.Permissions = s.permissions(u, s.own[id])
		s.users.rows[id] = u
	}
}

// with returns the sorted list with the word added or removed.
func with(list []string, word string, on bool) []string {
	list = slices.DeleteFunc(slices.Clone(list), func(have string) bool { return have == word })
	if on {
		list = append(list, word)
	}
	slices.Sort(list)
	return list
}
