package cli

import "gatehouse/auth"

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
		c.printf("Changed the password of %s and ended all their sessions.", u.Username)
		return nil
	})
}
