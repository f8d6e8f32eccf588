package cli

import (
	"fmt"

	"gatehouse/auth"
)

type userLogoutCmd struct{ nameArg }

func (a userLogoutCmd) Run(c *command) error {
	return c.withUser(a.Name, func(accounts *auth.Accounts, u auth.User) error {
		if _, err := accounts.SignOutEverywhere(c.ctx, u.ID, ""); err != nil {
			return err
		}
		fmt.Fprintf(c.io.Out, "All sessions of %s are ended.\n", u.Username)
		return nil
	})
}
