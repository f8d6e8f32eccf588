package cli

import (
	"context"
	"fmt"

	"gatehouse/auth"
)

type groupCmd struct {
	Add     groupAddCmd     `cmd:"" help:"Add a group."`
	Remove  groupRemoveCmd  `cmd:"" help:"Remove a group."`
	List    groupListCmd    `cmd:"" help:"List the groups."`
	Grant   groupGrantCmd   `cmd:"" help:"Give all members of a group a permission."`
	Ungrant groupUngrantCmd `cmd:"" help:"Take a permission from a group."`
}

type permissionArg struct {
	Permission string `arg:"" help:"Permission, such as users.view."`
}

type groupArg struct {
	Group string `arg:"" help:"Group, such as admin."`
}

func (c *command) changeGroup(done string, change func(*auth.Accounts) error) error {
	return c.withAccounts(func(accounts *auth.Accounts) error {
		if err := change(accounts); err != nil {
			return err
		}
		fmt.Fprintln(c.io.Out, done)
		return nil
	})
}

// forceFlag is for commands that may leave nobody who can administer users.
type forceFlag struct {
	Force bool `help:"Do it even if no active user is left with the permission users.manage."`
}

func (f forceFlag) context(c *command) context.Context {
	if f.Force {
		return auth.AllowLosingAdministrators(c.ctx)
	}
	return c.ctx
}
