package cli

import "gatehouse/auth"

type userDisableCmd struct {
	nameArg
	forceFlag
}

func (a userDisableCmd) Run(c *command) error {
	return c.withUser(a.Name, func(accounts *auth.Accounts, u auth.User) error {
		if _, err := accounts.SetActive(a.context(c), u.ID, false); err != nil {
			return err
		}
		c.printf("Disabled %s and ended all their sessions.", u.Username)
		return nil
	})
}
