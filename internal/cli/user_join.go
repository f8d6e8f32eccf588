package cli

import (
	"gatehouse/auth"
)

type userJoinCmd struct {
	nameArg
	groupArg
}

func (a userJoinCmd) Run(c *command) error {
	return c.changeUser(a.Name, "%s is in the group "+a.Group+".", func(accounts *auth.Accounts, id string) error {
		_, err := accounts.SetMember(c.ctx, id, a.Group, true)
		return err
	})
}

type userLeaveCmd struct {
	nameArg
	groupArg
	forceFlag
}

func (a userLeaveCmd) Run(c *command) error {
	return c.changeUser(a.Name, "%s is not in the group "+a.Group+".", func(accounts *auth.Accounts, id string) error {
		_, err := accounts.SetMember(a.context(c), id, a.Group, false)
		return err
	})
}
