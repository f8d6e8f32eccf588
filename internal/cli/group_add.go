package cli

import "gatehouse/auth"

type groupAddCmd struct{ groupArg }

// Run succeeds if the group exists already.
func (a groupAddCmd) Run(c *command) error {
	return c.withAccounts(func(accounts *auth.Accounts) error {
		if err := accounts.AddGroup(c.ctx, a.Group); err != nil {
			return err
		}
		c.printf("The group %s exists.", a.Group)
		return nil
	})
}
