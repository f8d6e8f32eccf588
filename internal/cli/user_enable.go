package cli

import "gatehouse/auth"

type userEnableCmd struct{ nameArg }

func (a userEnableCmd) Run(c *command) error {
	return c.withUser(a.Name, func(accounts *auth.Accounts, u auth.User) error {
		if _, err := accounts.SetActive(c.ctx, u.ID, true); err != nil {
			return err
		}
		c.printf("Enabled %s.", u.Username)
		return nil
	})
}
