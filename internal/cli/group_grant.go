package cli

import (
	"gatehouse/auth"
)

type groupGrantCmd struct {
	groupArg
	permissionArg
}

func (a groupGrantCmd) Run(c *command) error {
	return c.changeGroup("The group "+a.Group+" has the permission "+a.Permission+" now.", func(accounts *auth.Accounts) error {
		return accounts.SetGroupPermission(c.ctx, a.Group, a.Permission, true)
	})
}

type groupUngrantCmd struct {
	groupArg
	permissionArg
	forceFlag
}

func (a groupUngrantCmd) Run(c *command) error {
	return c.changeGroup("The group "+a.Group+" has the permission "+a.Permission+" no more.", func(accounts *auth.Accounts) error {
		return accounts.SetGroupPermission(a.context(c), a.Group, a.Permission, false)
	})
}
