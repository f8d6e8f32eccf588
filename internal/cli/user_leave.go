package cli

import "gatehouse/auth"

type userLeaveCmd struct {
	nameArg
	groupArg
	forceFlag
}

func (a userLeaveCmd) Run(c *command) error {
	return c.withUser(a.Name, func(accounts *auth.Accounts, u auth.User) error {
		if _, err := accounts.SetMember(a.context(c), u.ID, a.Group, false); err != nil {
			return err
		}
		c.printf("%s is not in the group %s.", u.Username, a.Group)
		return nil
	})
}
