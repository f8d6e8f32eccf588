package cli

import (
	"fmt"
	"text/tabwriter"

	"gatehouse/auth"
)

type userListCmd struct{}

// userPageSize is how many rows one query reads.
const userPageSize = 500

func (userListCmd) Run(c *command) error {
	return c.withAccounts(func(accounts *auth.Accounts) error {
		table := tabwriter.NewWriter(c.io.Out, 0, 0, 2, ' ', 0)
		fmt.Fprintln(table, "USER\tNAME\tEMAIL\tSTATE\tLAST SIGN-IN")
		for after := ""; ; {
			users, err := accounts.ListUsers(c.ctx, after, userPageSize)
			if err != nil {
				return err
			}
			for _, u := range users {
				fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", u.Username, u.Name, u.Email, state(u), lastSignIn(u))
				after = u.Username
			}
			if len(users) < userPageSize {
				return table.Flush()
			}
		}
	})
}

func state(u auth.User) string {
	if u.Active {
		return "active"
	}
	return "disabled"
}

func lastSignIn(u auth.User) string {
	if u.LastSignInAt.IsZero() {
		return "never"
	}
	return u.LastSignInAt.UTC().Format("2006-01-02 15:04Z")
}
