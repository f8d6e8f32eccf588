package cli

import "gatehouse/auth"

type userGrantCmd struct {
	nameArg
	permissionArg
}

func (a userGrantCmd) Run(c *command) error {
	return c.withUser(a.Name, func(accounts *auth.Accounts, u auth.User) error {
		if _, err := accounts.SetPermission(c.ctx, u.ID, a.Permission, true); err != nil {
			return err
		}
		c.printf("Granted %s to %s.", a.Permission, u.Username)
		return nil
	})
}
