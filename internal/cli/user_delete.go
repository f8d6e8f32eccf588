package cli

import (
	"errors"
	"fmt"

	"gatehouse/auth"
)

type userDeleteCmd struct {
	nameArg
	forceFlag
	Yes bool `help:"Do not ask for confirmation."`
}

// Run ends all sessions and API tokens of the user before it deletes the row.
func (a userDeleteCmd) Run(c *command) error {
	return c.withUser(a.Name, func(accounts *auth.Accounts, u auth.User) error {
		if !a.Yes {
			if err := c.confirmName(fmt.Sprintf("This deletes %s (%s) for good. Type the user name to confirm: ", u.Username, u.DisplayName()), u.Username); err != nil {
				return err
			}
		}
		if _, err := accounts.DeleteUser(a.context(c), u.ID); err != nil {
			return err
		}
		c.printf("Deleted %s.", u.Username)
		return nil
	})
}

// confirmName asks on the terminal for a name, and returns an error if the answer is not that name.
func (c *command) confirmName(question, name string) error {
	if _, ok := c.terminal(); !ok {
		return errors.New("there is no terminal to ask for confirmation; use --yes")
	}
	fmt.Fprint(c.io.Err, question)
	answer, err := readFirstLine(interruptible(c.ctx, c.io.In))
	if err != nil {
		fmt.Fprintln(c.io.Err)
		return fmt.Errorf("read the answer (nothing was changed): %w", err)
	}
	if answer != name {
		return errors.New("the names do not match; nothing was changed")
	}
	return nil
}
