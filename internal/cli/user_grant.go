package cli

import (
	"gatehouse/auth"
)

type userGrantCmd struct {
	nameArg
	permissionArg
}

func (a userGrantCmd) Run(c *command) error {
	return c.changeUser(a.Name, "%s has the permission "+a.Permission+" now.", func(accounts *auth.Accounts, id string) error {
		_, err := accounts.SetPermission(c.ctx, id, a.Permission, true)
		return err
	})
}

type userUngrantCmd struct {
	nameArg
	permissionArg
	forceFlag
}

func (a userUngrantCmd) Run(c *command) error {
	return c.changeUser(a.Name, "%s has the permission "+a.Permission+" no more, unless through a group.", func(accounts *auth.Accounts, id string) error {
		_, err := accounts.SetPermission(a.context(c), id, a.Permission, false)
		return err
	})
}
