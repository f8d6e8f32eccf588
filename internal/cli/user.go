package cli

import (
	"errors"
	"fmt"

	"gatehouse/auth"
	"gatehouse/auth/identifier"
)

type userCmd struct {
	Add     userAddCmd     `cmd:"" help:"Add a user; the password is asked for."`
	Passwd  userPasswdCmd  `cmd:"" help:"Set a user's password; all sessions end."`
	List    userListCmd    `cmd:"" help:"List the users."`
	Import  userImportCmd  `cmd:"" help:"Bring in users of another system with their password hashes."`
	Disable userDisableCmd `cmd:"" help:"Disable a user; all sessions end."`
	Enable  userEnableCmd  `cmd:"" help:"Enable a user again."`
	Logout  userLogoutCmd  `cmd:"" help:"End all sessions and API tokens of a user."`
	Grant   userGrantCmd   `cmd:"" help:"Give a user a permission of their own."`
	Ungrant userUngrantCmd `cmd:"" help:"Take a user's own permission back."`
	Join    userJoinCmd    `cmd:"" help:"Put a user into a group."`
	Leave   userLeaveCmd   `cmd:"" help:"Take a user out of a group."`
}

type nameArg struct {
	Name string `arg:"" help:"User name."`
}

func (c *command) withUser(name string, run func(*auth.Accounts, auth.User) error) error {
	return c.withAccounts(func(accounts *auth.Accounts) error {
		canonical, err := identifier.CanonicalUsername(name)
		if err != nil {
			return fmt.Errorf("%q is no user name: %w", name, err)
		}
		u, err := accounts.Users.UserByUsername(c.ctx, canonical)
		if errors.Is(err, auth.ErrNotFound) {
			return fmt.Errorf("there is no user %q", canonical)
		}
		if err != nil {
			return err
		}
		return run(accounts, u)
	})
}

// changeUser runs a change of the named user and says the sentence, which has a place for the name.
func (c *command) changeUser(name, done string, change func(*auth.Accounts, string) error) error {
	return c.withUser(name, func(accounts *auth.Accounts, u auth.User) error {
		if err := change(accounts, u.ID); err != nil {
			return err
		}
		fmt.Fprintf(c.io.Out, done+"\n", u.Username)
		return nil
	})
}
