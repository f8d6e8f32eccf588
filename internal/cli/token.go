package cli

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"gatehouse/auth"
)

type tokenCmd struct {
	List   tokenListCmd   `cmd:"" help:"List the API tokens of a user."`
	Revoke tokenRevokeCmd `cmd:"" help:"Revoke an API token of a user."`
}

type tokenListCmd struct {
	nameArg
	jsonFlag
}

// tokenJSON is an API token in the output of --json. The names are those of /api/tokens.
type tokenJSON struct {
	ID   string `json:"id"`
	Name string `json:"name"`
	// Hint is the beginning and end of the token; "" for one from before it was stored.
	Hint       string     `json:"hint"`
	CreatedAt  *time.Time `json:"created_at"`
	ExpiresAt  *time.Time `json:"expires_at"`
	LastUsedAt *time.Time `json:"last_used_at"`
	// Permissions is null for all permissions of the owner.
	Permissions []string `json:"permissions"`
}

func (a tokenListCmd) Run(c *command) error {
	return c.withUser(a.Name, func(accounts *auth.Accounts, u auth.User) error {
		_, tokens, err := credentials(c.ctx, accounts, u)
		if err != nil {
			return err
		}
		var all []tokenJSON
		for _, t := range tokens {
			all = append(all, tokenJSON{t.TokenID, t.Name, t.Hint, timestamp(t.CreatedAt), timestamp(t.ExpiresAt), timestamp(t.LastUsed), t.Permissions})
		}
		return printList(c, a.jsonFlag, all, []string{"TOKEN", "NAME", "HINT", "LAST USED", "EXPIRES", "PERMISSIONS"}, func(t tokenJSON) []string {
			used := "never"
			if t.LastUsedAt != nil {
				used = minute(t.LastUsedAt)
			}
			return []string{t.ID, t.Name, orDash(t.Hint), used, minute(t.ExpiresAt), t.access()}
		})
	})
}

// access returns what a token may do.
func (t tokenJSON) access() string {
	switch {
	case t.Permissions == nil:
		return "full access"
	case len(t.Permissions) == 0:
		return "none"
	}
	return strings.Join(t.Permissions, " ")
}

type tokenRevokeCmd struct {
	nameArg
	Token string `arg:"" help:"The token's ID, as token list shows it."`
}

func (a tokenRevokeCmd) Run(c *command) error {
	return c.withUser(a.Name, func(accounts *auth.Accounts, u auth.User) error {
		err := auth.ErrNotFound
		if accounts.Tokens != nil {
			err = accounts.RevokeToken(c.ctx, u, a.Token)
		}
		if errors.Is(err, auth.ErrNotFound) {
			return fmt.Errorf("%s has no API token %q", u.Username, a.Token)
		}
		if err != nil {
			return err
		}
		c.printf("Revoked the API token of %s.", u.Username)
		return nil
	})
}
