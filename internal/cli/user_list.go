package cli

import (
	"time"

	"gatehouse/auth"
)

type userListCmd struct{ jsonFlag }

// userPageSize is how many rows one query reads.
const userPageSize = 500

func (a userListCmd) Run(c *command) error {
	return c.withAccounts(func(accounts *auth.Accounts) error {
		var all []userJSON
		for after := ""; ; {
			users, err := accounts.ListUsers(c.ctx, after, userPageSize)
			if err != nil {
				return err
			}
			for _, u := range users {
				all = append(all, newUserJSON(u))
				after = u.Username
			}
			if len(users) < userPageSize {
				break
			}
		}
		return printList(c, a.jsonFlag, all, []string{"USER", "NAME", "EMAIL", "STATE", "LAST SIGN-IN"}, func(u userJSON) []string {
			return []string{u.Username, u.Name, u.Email, u.state(), u.lastSignIn()}
		})
	})
}

// userJSON is a user in the output of --json. The names are stable; those in /api/users are the same.
type userJSON struct {
	ID            string     `json:"id"`
	Username      string     `json:"username"`
	Name          string     `json:"name"`
	Email         string     `json:"email"`
	EmailVerified bool       `json:"email_verified"`
	Active        bool       `json:"active"`
	TimeZone      string     `json:"time_zone"`
	Groups        []string   `json:"groups"`
	Permissions   []string   `json:"permissions"`
	CreatedAt     *time.Time `json:"created_at"`
	LastSignInAt  *time.Time `json:"last_sign_in_at"`
}

func newUserJSON(u auth.User) userJSON {
	return userJSON{
		ID: u.ID, Username: u.Username, Name: u.Name, Email: u.Email, EmailVerified: u.EmailVerified, Active: u.Active, TimeZone: u.TimeZone,
		Groups: orEmpty(u.Groups), Permissions: orEmpty(u.Permissions), CreatedAt: timestamp(u.CreatedAt), LastSignInAt: timestamp(u.LastSignInAt),
	}
}

// orEmpty returns the list, which JSON shows as [] and not as null.
func orEmpty(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}

func (u userJSON) state() string {
	if u.Active {
		return "active"
	}
	return "disabled"
}

func (u userJSON) lastSignIn() string {
	if u.LastSignInAt == nil {
		return "never"
	}
	return minute(u.LastSignInAt)
}
