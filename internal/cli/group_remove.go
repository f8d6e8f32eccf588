package cli

import (
	"errors"
	"fmt"

	"gatehouse/auth"
	"gatehouse/internal/config"
)

type groupRemoveCmd struct {
	groupArg
	forceFlag
}

func (a groupRemoveCmd) Run(c *command) error {
	return c.withAccounts(func(accounts *auth.Accounts) error {
		err := accounts.RemoveGroup(a.context(c), a.Group)
		if a.Force && errors.Is(err, auth.ErrLastAdministrator) {
			return fmt.Errorf("%v: --force removes the group %s only if someone has that permission without it (%s user grant NAME %s)", err, a.Group, config.ProgramName(), auth.ManageUsers)
		}
		if err != nil {
			return err
		}
		c.printf("Removed the group %s.", a.Group)
		return nil
	})
}
