package cli

import "gatehouse/auth"

type groupUngrantCmd struct {
	groupArg
	permissionArg
	forceFlag
}

func (a groupUngrantCmd) Run(c *command) error {
	return c.withAccounts(func(accounts *auth.Accounts) error {
		if err := accounts.SetGroupPermission(a.context(c), a.Group, a.Permission, false); err != nil {
			return err
		}
		c.printf("Revoked %s from the group %s.", a.Permission, a.Group)
		return nil
	})
}
