package cli

import "gatehouse/auth"

type groupGrantCmd struct {
	groupArg
	permissionArg
}

func (a groupGrantCmd) Run(c *command) error {
	return c.withAccounts(func(accounts *auth.Accounts) error {
		if err := accounts.SetGroupPermission(c.ctx, a.Group, a.Permission, true); err != nil {
			return err
		}
		c.printf("Granted %s to the group %s.", a.Permission, a.Group)
		return nil
	})
}
