package cli

import (
	"fmt"

	"gatehouse/auth"
)

type userEnableCmd struct{ nameArg }

func (a userEnableCmd) Run(c *command) error {
	return c.withUser(a.Name, func(accounts *auth.Accounts, u auth.User) error {
		if _, err := accounts.SetActive(c.ctx, u.ID, true); err != nil {
			return err
		}
		fmt.Fprintf(c.io.Out, "%s is enabled.\n", u.Username)
		return nil
	})
}
