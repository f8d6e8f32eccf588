package cli

import "gatehouse/auth"

type userJoinCmd struct {
	nameArg
	groupArg
}

func (a userJoinCmd) Run(c *command) error {
	return c.withUser(a.Name, func(accounts *auth.Accounts, u auth.User) error {
		if err := c.restoreAdminGroup(accounts, a.Group); err != nil {
			return err
		}
		if _, err := accounts.SetMember(c.ctx, u.ID, a.Group, true); err != nil {
			return err
		}
		c.printf("%s is in the group %s.", u.Username, a.Group)
		return nil
	})
}
