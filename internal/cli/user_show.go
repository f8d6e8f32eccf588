package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"gatehouse/auth"
)

type userShowCmd struct {
	nameArg
	jsonFlag
}

// userDetails is what user show prints as JSON.
type userDetails struct {
	userJSON
	// DirectPermissions are those that no group grants, or not only.
	DirectPermissions []string `json:"direct_permissions"`
	Sessions          int      `json:"sessions"`
	Tokens            int      `json:"tokens"`
}

func (a userShowCmd) Run(c *command) error {
	return c.withUser(a.Name, func(accounts *auth.Accounts, u auth.User) error {
		direct, err := accounts.DirectPermissions(c.ctx, u.ID)
		if err != nil {
			return err
		}
		sessions, tokens, err := credentials(c.ctx, accounts, u)
		if err != nil {
			return err
		}
		details := userDetails{newUserJSON(u), orEmpty(direct), len(sessions), len(tokens)}
		if a.JSON {
			return c.printJSON(details)
		}
		sources, err := permissionSources(c.ctx, accounts, u, direct)
		if err != nil {
			return err
		}
		rows := [][]string{
			{"User", u.Username}, {"Name", orDash(u.Name)}, {"Email", emailState(u)}, {"State", details.state()}, {"Time zone", u.TimeZone},
			{"Groups", orDash(strings.Join(u.Groups, ", "))}, {"Permissions", orDash(strings.Join(sources, ", "))},
			{"Sessions", fmt.Sprint(details.Sessions)}, {"API tokens", fmt.Sprint(details.Tokens)},
			{"Created", minute(&u.CreatedAt)}, {"Last sign-in", details.lastSignIn()}, {"ID", u.ID},
		}
		return writeTable(c.io.Out, rows, 0)
	})
}

// credentials returns the live sessions and API tokens of a user. There are none without a Redis.
func credentials(ctx context.Context, accounts *auth.Accounts, u auth.User) (sessions []auth.Session, tokens []auth.Token, err error) {
	if accounts.Sessions != nil {
		if sessions, err = accounts.ListSessions(ctx, u.ID); err != nil {
			return nil, nil, err
		}
	}
	if accounts.Tokens != nil {
		if tokens, err = accounts.ListTokens(ctx, u.ID); err != nil {
			return nil, nil, err
		}
	}
	sessions = slices.DeleteFunc(sessions, func(s auth.Session) bool { return !u.AcceptsEpoch(s.Epoch) })
	tokens = slices.DeleteFunc(tokens, func(t auth.Token) bool { return !u.AcceptsEpoch(t.Epoch) })
	return sessions, tokens, nil
}

// permissionSources returns each permission of a user with the groups that grant it.
func permissionSources(ctx context.Context, accounts *auth.Accounts, u auth.User, direct []string) ([]string, error) {
	groups, err := accounts.Groups(ctx)
	if err != nil {
		return nil, err
	}
	var all []string
	for _, permission := range u.Permissions {
		var from []string
		if slices.Contains(direct, permission) {
			from = append(from, "direct")
		}
		for _, g := range groups {
			if slices.Contains(u.Groups, g.Name) && slices.Contains(g.Permissions, permission) {
				from = append(from, "group "+g.Name)
			}
		}
		all = append(all, permission+" ("+strings.Join(from, ", ")+")")
	}
	return all, nil
}

func emailState(u auth.User) string {
	switch {
	case u.Email == "":
		return "-"
	case u.EmailVerified:
		return u.Email + " (verified)"
	}
	return u.Email + " (not verified)"
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
