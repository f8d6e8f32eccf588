package cli

import (
	"fmt"

	"gatehouse/auth"
)

type userPasswdCmd struct {
	nameArg
	passwordFlag
}

func (a userPasswdCmd) Run(c *command) error {
	return c.withUser(a.Name, func(accounts *auth.Accounts, u auth.User) error {
		password, err := a.password(c)
		if err != nil {
			return err
		}
		if _, err := accounts.SetPassword(c.ctx, u, password); err != nil {
			return err
		}
		fmt.Fprintf(c.io.Out, "%s has a new password; all sessions are ended.\n", u.Username)
		return nil
	})
}
