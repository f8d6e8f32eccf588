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
		if err := a.checkGroup(c.ctx, accounts); err != nil {
			return err
		}
		password, err := a.password(c)
		if err != nil {
			return err
		}
		u, err := accounts.AddUser(c.ctx, auth.Registration{Username: a.Name, Password: password, Email: a.Email, Name: a.Display})
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
