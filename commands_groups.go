package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"gatehouse/auth"
	"gatehouse/kv"
)

type permissionArg struct {
	Permission string `arg:"" help:"Permission, such as users.view."`
}

type groupArg struct {
	Group string `arg:"" help:"Group, such as admin."`
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

// refusal returns what a person at a terminal reads about a change that was refused.
func refusal(err error) error {
	var wrong auth.ValidationErrors
	switch {
	case errors.As(err, &wrong):
		return fieldsInOneLine(wrong)
	case errors.Is(err, auth.ErrLastAdministrator):
		return fmt.Errorf("%w; make somebody else an administrator first (gatehouse user join NAME admin), or use --force", auth.ErrLastAdministrator)
	case errors.Is(err, auth.ErrAdminGroup):
		return fmt.Errorf("%w; --force does it nevertheless", auth.ErrAdminGroup)
	case errors.Is(err, auth.ErrGroupNotFound):
		return errors.New("there is no group of this name; nothing was changed (gatehouse group list shows all)")
	}
	return err
}

type userGrantCmd struct {
	nameArg
	permissionArg
}

func (a userGrantCmd) Run(c *command) error {
	return c.changeUser(a.Name, "%s has the permission "+a.Permission+" now.", func(accounts *auth.Accounts, id string) error {
		_, err := accounts.SetPermission(c.ctx, id, a.Permission, true)
		return err
	})
}

type userUngrantCmd struct {
	nameArg
	permissionArg
	forceFlag
}

func (a userUngrantCmd) Run(c *command) error {
	return c.changeUser(a.Name, "%s has the permission "+a.Permission+" no more, unless through a group.", func(accounts *auth.Accounts, id string) error {
		_, err := accounts.SetPermission(a.context(c), id, a.Permission, false)
		return err
	})
}

type userJoinCmd struct {
	nameArg
	groupArg
}

func (a userJoinCmd) Run(c *command) error {
	return c.changeUser(a.Name, "%s is in the group "+a.Group+".", func(accounts *auth.Accounts, id string) error {
		_, err := accounts.SetMember(c.ctx, id, a.Group, true)
		return err
	})
}

type userLeaveCmd struct {
	nameArg
	groupArg
	forceFlag
}

func (a userLeaveCmd) Run(c *command) error {
	return c.changeUser(a.Name, "%s is not in the group "+a.Group+".", func(accounts *auth.Accounts, id string) error {
		_, err := accounts.SetMember(a.context(c), id, a.Group, false)
		return err
	})
}

// changeUser runs a change of the named user and says the sentence, which has a place for the name.
func (c *command) changeUser(name, done string, change func(*auth.Accounts, string) error) error {
	return c.withUser(name, func(accounts *auth.Accounts, u auth.User) error {
		if err := change(accounts, u.ID); err != nil {
			return err
		}
		fmt.Fprintf(c.io.out, done+"\n", u.Username)
		return nil
	})
}

type groupCmd struct {
	Add     groupAddCmd     `cmd:"" help:"Add a group."`
	Remove  groupRemoveCmd  `cmd:"" help:"Remove a group."`
	List    groupListCmd    `cmd:"" help:"List the groups."`
	Grant   groupGrantCmd   `cmd:"" help:"Give all members of a group a permission."`
	Ungrant groupUngrantCmd `cmd:"" help:"Take a permission from a group."`
}

type groupAddCmd struct{ groupArg }

func (a groupAddCmd) Run(c *command) error {
	return c.changeGroup("The group "+a.Group+" is there.", func(accounts *auth.Accounts) error { return accounts.AddGroup(c.ctx, a.Group) })
}

type groupRemoveCmd struct {
	groupArg
	forceFlag
}

func (a groupRemoveCmd) Run(c *command) error {
	return c.changeGroup("The group "+a.Group+" is removed.", func(accounts *auth.Accounts) error { return accounts.RemoveGroup(a.context(c), a.Group) })
}

type groupGrantCmd struct {
	groupArg
	permissionArg
}

func (a groupGrantCmd) Run(c *command) error {
	return c.changeGroup("The group "+a.Group+" has the permission "+a.Permission+" now.", func(accounts *auth.Accounts) error {
		return accounts.SetGroupPermission(c.ctx, a.Group, a.Permission, true)
	})
}

type groupUngrantCmd struct {
	groupArg
	permissionArg
	forceFlag
}

func (a groupUngrantCmd) Run(c *command) error {
	return c.changeGroup("The group "+a.Group+" has the permission "+a.Permission+" no more.", func(accounts *auth.Accounts) error {
		return accounts.SetGroupPermission(a.context(c), a.Group, a.Permission, false)
	})
}

func (c *command) changeGroup(done string, change func(*auth.Accounts) error) error {
	return c.withAccounts(func(accounts *auth.Accounts) error {
		if err := change(accounts); err != nil {
			return err
		}
		fmt.Fprintln(c.io.out, done)
		return nil
	})
}

type groupListCmd struct{}

func (groupListCmd) Run(c *command) error {
	return c.withAccounts(func(accounts *auth.Accounts) error {
		groups, err := accounts.Grants.Groups(c.ctx)
		if err != nil {
			return err
		}
		table := tabwriter.NewWriter(c.io.out, 0, 0, 2, ' ', 0)
		fmt.Fprintln(table, "GROUP\tMEMBERS\tPERMISSIONS")
		for _, g := range groups {
			fmt.Fprintf(table, "%s\t%d\t%s\n", g.Name, g.Members, strings.Join(g.Permissions, " "))
		}
		return table.Flush()
	})
}

type maintCmd struct {
	On     maintOnCmd     `cmd:"" help:"Close the site."`
	Off    maintOffCmd    `cmd:"" help:"Open the site again."`
	Status maintStatusCmd `cmd:"" help:"Say whether the site is closed."`
}

type maintOnCmd struct {
	Message string `help:"What people read on the page, such as \"back at nine\"."`
}

// maxMaintenance is the longest message, in octets.
const maxMaintenance = 500

func (a maintOnCmd) Run(c *command) error {
	if len(a.Message) > maxMaintenance {
		return fmt.Errorf("the message is longer than %d characters", maxMaintenance)
	}
	return c.withMaintenance(func(m *kv.Maintenance) error {
		if err := m.SetMaintenance(c.ctx, auth.Maintenance{Message: a.Message, Since: time.Now().UTC()}); err != nil {
			return err
		}
		fmt.Fprintln(c.io.out, "The site is closed; administrators go on. Open it with: gatehouse maintenance off")
		return nil
	})
}

type maintOffCmd struct{}

func (maintOffCmd) Run(c *command) error {
	return c.withMaintenance(func(m *kv.Maintenance) error {
		if err := m.EndMaintenance(c.ctx); err != nil {
			return err
		}
		fmt.Fprintln(c.io.out, "The site is open.")
		return nil
	})
}

type maintStatusCmd struct{}

func (maintStatusCmd) Run(c *command) error {
	return c.withMaintenance(func(m *kv.Maintenance) error {
		found, err := m.Maintenance(c.ctx)
		switch {
		case err != nil:
			return err
		case found == nil:
			fmt.Fprintln(c.io.out, "The site is open.")
		default:
			fmt.Fprintf(c.io.out, "The site is closed since %s. %s\n", found.Since.Format(time.RFC3339), found.Message)
		}
		return nil
	})
}

// withMaintenance needs Redis only: Postgres may be what is being worked on.
func (c *command) withMaintenance(run func(*kv.Maintenance) error) error {
	url := c.config.RedisURL
	if url == "" {
		var err error
		if url, err = c.config.runningRedis(c.ctx); err != nil {
			return err
		}
	}
	if url == "" {
		return errors.New("no server runs on the embedded stores in DATA_DIR, so there is nothing to close; start one, or set REDIS_URL")
	}
	ctx, cancel := context.WithTimeout(c.ctx, patience)
	defer cancel()
	r, err := kv.Open(url)
	if err != nil {
		return fmt.Errorf("REDIS_URL: %w", err)
	}
	defer r.Close()
	if err := r.Ping(ctx); err != nil {
		return fmt.Errorf("REDIS_URL: %w", err)
	}
	return run(kv.NewMaintenance(r))
}
