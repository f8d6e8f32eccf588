package cli

import (
	"gatehouse/auth"
)

type groupRemoveCmd struct {
	groupArg
	forceFlag
}

func (a groupRemoveCmd) Run(c *command) error {
	return c.changeGroup("The group "+a.Group+" is removed.", func(accounts *auth.Accounts) error { return accounts.RemoveGroup(a.context(c), a.Group) })
}
