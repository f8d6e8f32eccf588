package cli

import (
	"fmt"

	"gatehouse/auth"
	"gatehouse/internal/config"
)

type userVerifyCmd struct{ nameArg }

// Run succeeds if the address is verified already.
func (a userVerifyCmd) Run(c *command) error {
	return c.withUser(a.Name, func(accounts *auth.Accounts, u auth.User) error {
		if u.Email == "" {
			return fmt.Errorf("%s has no email address; set one with: %s user set %s --email ADDRESS", u.Username, config.ProgramName(), u.Username)
		}
		if _, err := accounts.VerifyEmail(c.ctx, u.ID, u.Email); err != nil {
			return err
		}
		c.printf("%s is verified, so %s can sign in with it.", u.Email, u.Username)
		return nil
	})
}
