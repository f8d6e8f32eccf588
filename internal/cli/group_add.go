package cli

import (
	"gatehouse/auth"
)

type groupAddCmd struct{ groupArg }

func (a groupAddCmd) Run(c *command) error {
	return c.changeGroup("The group "+a.Group+" is there.", func(accounts *auth.Accounts) error { return accounts.AddGroup(c.ctx, a.Group) })
}
