package cli

import "gatehouse/auth"

type groupRemoveCmd struct {
	groupArg
	forceFlag
}

func (a groupRemoveCmd) Run(c *command) error {
	return c.withAccounts(func(accounts *auth.Accounts) error {
		if err := accounts.RemoveGroup(a.context(c), a.Group); err != nil {
			return err
		}
		c.printf("Removed the group %s.", a.Group)
		return nil
	})
}
