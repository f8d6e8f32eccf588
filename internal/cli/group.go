package cli

import (
	"context"

	"gatehouse/auth"
)

type groupCmd struct {
	Add     groupAddCmd     `cmd:"" help:"Add a group."`
	Remove  groupRemoveCmd  `cmd:"" help:"Remove a group."`
	List    groupListCmd    `cmd:"" help:"List the groups."`
	Grant   groupGrantCmd   `cmd:"" help:"Grant a permission to all members of a group."`
	Ungrant groupUngrantCmd `cmd:"" help:"Revoke a permission from a group."`
}

type groupArg struct {
	Group string `arg:"" help:"Group, such as admin."`
}

// forceFlag is the flag of commands that can take the last administrator's permission away.
type forceFlag struct {
	Force bool `help:"Proceed even if no active user keeps the permission users.manage."`
}

// context returns the command's context, which carries the flag to package auth.
func (f forceFlag) context(c *command) context.Context {
	if f.Force {
		return auth.AllowLosingAdministrators(c.ctx)
	}
	return c.ctx
}
