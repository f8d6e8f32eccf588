package cli

import (
	"fmt"
	"strings"
	"text/tabwriter"

	"gatehouse/auth"
)

type groupListCmd struct{}

func (groupListCmd) Run(c *command) error {
	return c.withAccounts(func(accounts *auth.Accounts) error {
		groups, err := accounts.Groups(c.ctx)
		if err != nil {
			return err
		}
		table := tabwriter.NewWriter(c.io.Out, 0, 0, 2, ' ', 0)
		fmt.Fprintln(table, "GROUP\tMEMBERS\tPERMISSIONS")
		for _, g := range groups {
			fmt.Fprintf(table, "%s\t%d\t%s\n", g.Name, g.Members, strings.Join(g.Permissions, " "))
		}
		return table.Flush()
	})
}
