package cli

import "gatehouse/auth"

type userUngrantCmd struct {
	nameArg
	permissionArg
	forceFlag
}

func (a userUngrantCmd) Run(c *command) error {
	return c.withUser(a.Name, func(accounts *auth.Accounts, u auth.User) error {
		if _, err := accounts.SetPermission(a.context(c), u.ID, a.Permission, false); err != nil {
			return err
		}
		c.printf("Revoked %s from %s. Groups may still grant it.", a.Permission, u.Username)
		return nil
	})
}
