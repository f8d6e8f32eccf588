package cli

import (
	"errors"
	"fmt"

	"gatehouse/auth"
)

type userSetCmd struct {
	nameArg
	Email    *string `help:"Email address. It counts as verified, so the user can sign in with it. \"\" removes it."`
	Display  *string `name:"name" help:"Display name. \"\" removes it."`
	TimeZone *string `help:"Time zone, such as Europe/Berlin."`
}

// Run changes only what the flags name.
func (a userSetCmd) Run(c *command) error {
	if a.Email == nil && a.Display == nil && a.TimeZone == nil {
		return usageError{errors.New("nothing to set: use --email, --name or --time-zone"), " user set"}
	}
	edit := func(value *string) *auth.Edit {
		if value == nil {
			return nil
		}
		return &auth.Edit{To: *value}
	}
	return c.withUser(a.Name, func(accounts *auth.Accounts, u auth.User) error {
		u, err := accounts.EditProfile(c.ctx, u.ID, auth.ProfileEdit{Name: edit(a.Display), Email: edit(a.Email), TimeZone: edit(a.TimeZone)})
		if err != nil {
			return err
		}
		if a.Email != nil && u.Email != "" && !u.EmailVerified {
			if _, err := accounts.VerifyEmail(c.ctx, u.ID, u.Email); err != nil {
				return fmt.Errorf("changed %s, but the address is not verified: %w", u.Username, userMessage(err))
			}
		}
		c.printf("Changed %s.", u.Username)
		return nil
	})
}
