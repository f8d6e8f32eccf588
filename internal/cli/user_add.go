package cli

import (
	"context"
	"fmt"
	"slices"

	"gatehouse/auth"
)

type userAddCmd struct {
	nameArg
	passwordFlag
	Email   string `help:"Email address. It counts as verified, so the user can sign in with it."`
	Display string `name:"name" help:"Display name."`
	Group   string `help:"Add the user to this group, such as admin."`
}

func (a userAddCmd) Run(c *command) error {
	return c.withAccounts(func(accounts *auth.Accounts) error {
		// Everything that can be wrong is said before the password is asked for.
		r := auth.Registration{Username: a.Name, Email: a.Email, Name: a.Display}
		if err := accounts.CheckNewUser(c.ctx, r); err != nil {
			return err
		}
		if err := c.restoreAdminGroup(accounts, a.Group); err != nil {
			return err
		}
		if err := a.checkGroup(c.ctx, accounts); err != nil {
			return err
		}
		password, err := a.password(c)
		if err != nil {
			return err
		}
		r.Password = password
		u, err := accounts.AddUser(c.ctx, r)
		if err != nil {
			return err
		}
		if a.Group != "" {
			if _, err := accounts.SetMember(c.ctx, u.ID, a.Group, true); err != nil {
				return fmt.Errorf("added %s, but not to the group: %w", u.Username, err)
			}
		}
		c.printf("Added %s.", u.Username)
		return nil
	})
}

// restoreAdminGroup makes the group admin again if it was removed: documents and messages rely on it to make
// administrators. It does nothing for another group.
func (c *command) restoreAdminGroup(accounts *auth.Accounts, group string) error {
	if group != auth.AdminGroup {
		return nil
	}
	groups, err := accounts.Groups(c.ctx)
	if err != nil || slices.ContainsFunc(groups, func(g auth.Group) bool { return g.Name == group }) {
		return err
	}
	if err := accounts.RestoreAdminGroup(c.ctx); err != nil {
		return err
	}
	c.printf("The group %s was missing. It exists again, with its permissions.", group)
	return nil
}

// checkGroup returns auth.ErrGroupNotFound before a user is added who could not be put into the group.
func (a userAddCmd) checkGroup(ctx context.Context, accounts *auth.Accounts) error {
	if a.Group == "" {
		return nil
	}
	groups, err := accounts.Groups(ctx)
	if err == nil && !slices.ContainsFunc(groups, func(g auth.Group) bool { return g.Name == a.Group }) {
		return auth.ErrGroupNotFound
	}
	return err
}
