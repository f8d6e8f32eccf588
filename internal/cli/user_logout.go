package cli

import "gatehouse/auth"

type userLogoutCmd struct{ nameArg }

func (a userLogoutCmd) Run(c *command) error {
	return c.withUser(a.Name, func(accounts *auth.Accounts, u auth.User) error {
		if _, err := accounts.SignOutEverywhere(c.ctx, u.ID, ""); err != nil {
			return err
		}
		c.printf("Ended all sessions and API tokens of %s.", u.Username)
		return nil
	})
}
