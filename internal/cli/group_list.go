package cli

import (
	"fmt"
	"strings"

	"gatehouse/auth"
)

type groupListCmd struct{ jsonFlag }

func (a groupListCmd) Run(c *command) error {
	return c.withAccounts(func(accounts *auth.Accounts) error {
		groups, err := accounts.Groups(c.ctx)
		if err != nil {
			return err
		}
		for i := range groups {
			groups[i].Permissions = orEmpty(groups[i].Permissions)
		}
		return printList(c, a.jsonFlag, groups, []string{"GROUP", "MEMBERS", "PERMISSIONS"}, func(g auth.Group) []string {
			return []string{g.Name, fmt.Sprint(g.Members), strings.Join(g.Permissions, " ")}
		})
	})
}
