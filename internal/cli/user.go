package cli

import (
	"errors"
	"fmt"

	"gatehouse/auth"
	"gatehouse/auth/identifier"
)

type userCmd struct {
	Add     userAddCmd     `cmd:"" help:"Add a user; asks for the password."`
	Passwd  userPasswdCmd  `cmd:"" help:"Set a user's password; ends all their sessions."`
	List    userListCmd    `cmd:"" help:"List the users."`
	Show    userShowCmd    `cmd:"" help:"Show a user, and where their permissions come from."`
	Set     userSetCmd     `cmd:"" help:"Change a user's email address, display name or time zone."`
	Verify  userVerifyCmd  `cmd:"" help:"Mark a user's email address as verified, so that they can sign in with it."`
	Import  userImportCmd  `cmd:"" help:"Import the users of another system with their password hashes."`
	Disable userDisableCmd `cmd:"" help:"Disable a user; ends all their sessions."`
	Enable  userEnableCmd  `cmd:"" help:"Enable a disabled user."`
	Delete  userDeleteCmd  `cmd:"" help:"Delete a user with all their sessions and API tokens; asks for confirmation."`
	Logout  userLogoutCmd  `cmd:"" help:"End all sessions and API tokens of a user."`
	Grant   userGrantCmd   `cmd:"" help:"Grant a permission to a user."`
	Ungrant userUngrantCmd `cmd:"" help:"Revoke a permission that was granted to a user directly."`
	Join    userJoinCmd    `cmd:"" help:"Add a user to a group."`
	Leave   userLeaveCmd   `cmd:"" help:"Remove a user from a group."`
}

type nameArg struct {
	Name string `arg:"" help:"User name."`
}

type permissionArg struct {
	Permission string `arg:"" help:"Permission, such as users.view."`
}

// withUser calls run with the named user.
func (c *command) withUser(name string, run func(*auth.Accounts, auth.User) error) error {
	return c.withAccounts(func(accounts *auth.Accounts) error {
		canonical, err := identifier.CanonicalUsername(name)
		if err != nil {
			return fmt.Errorf("%q is not a valid user name: %w", name, err)
		}
		u, err := accounts.UserByUsername(c.ctx, canonical)
		if errors.Is(err, auth.ErrNotFound) {
			return fmt.Errorf("there is no user %q", canonical)
		}
		if err != nil {
			return err
		}
		return run(accounts, u)
	})
}
