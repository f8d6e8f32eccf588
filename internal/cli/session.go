package cli

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/mileusna/useragent"

	"gatehouse/auth"
)

type sessionCmd struct {
	List sessionListCmd `cmd:"" help:"List the sessions of a user."`
	End  sessionEndCmd  `cmd:"" help:"End one session of a user."`
}

type sessionListCmd struct {
	nameArg
	jsonFlag
}

// sessionJSON is a session in the output of --json. The names are those of the session record.
type sessionJSON struct {
	ID         string     `json:"id"`
	SignedInAt *time.Time `json:"signed_in_at"`
	LastSeenAt *time.Time `json:"last_seen_at"`
	// Deadline ends the session even if it is used.
	Deadline    *time.Time `json:"deadline"`
	IdleSeconds int64      `json:"idle_seconds"`
	Remember    bool       `json:"remember"`
	Methods     []string   `json:"amr"`
	UserAgent   string     `json:"user_agent"`
	Address     string     `json:"address"`
}

// sessionIDShown is how much of a session's ID the table shows, which is enough to end it.
const sessionIDShown = 10

func (a sessionListCmd) Run(c *command) error {
	return c.withUser(a.Name, func(accounts *auth.Accounts, u auth.User) error {
		sessions, _, err := credentials(c.ctx, accounts, u)
		if err != nil {
			return err
		}
		var all []sessionJSON
		for _, s := range sessions {
			all = append(all, sessionJSON{
				ID: s.ID, SignedInAt: timestamp(s.SignedInAt), LastSeenAt: timestamp(s.LastSeen), Deadline: timestamp(s.Deadline),
				IdleSeconds: s.IdleSeconds, Remember: s.Remember, Methods: orEmpty(s.Methods), UserAgent: s.UserAgent, Address: s.Address,
			})
		}
		return printList(c, a.jsonFlag, all, []string{"SESSION", "SIGNED IN", "LAST SEEN", "ENDS BY", "ADDRESS", "DEVICE"}, func(s sessionJSON) []string {
			id := typable(s.ID)
			return []string{id[:min(sessionIDShown, len(id))], minute(s.SignedInAt), minute(s.LastSeenAt), minute(s.Deadline), s.Address, device(s.UserAgent)}
		})
	})
}

// typable returns a session's ID without the hyphens at its beginning, which would make it a flag.
func typable(id string) string { return strings.TrimLeft(id, "-") }

// device returns "Firefox on Linux" for a User-Agent header, or the header if it is unknown.
func device(agent string) string {
	ua := useragent.Parse(agent)
	switch {
	case ua.Name == "" || ua.Name == agent:
		return cmp.Or(agent, "-")
	case ua.OS == "":
		return ua.Name
	}
	return ua.Name + " on " + ua.OS
}

type sessionEndCmd struct {
	nameArg
	Session string `arg:"" help:"The session's ID, or its beginning, as session list shows it."`
}

func (a sessionEndCmd) Run(c *command) error {
	return c.withUser(a.Name, func(accounts *auth.Accounts, u auth.User) error {
		sessions, _, err := credentials(c.ctx, accounts, u)
		if err != nil {
			return err
		}
		var found []string
		for _, s := range sessions {
			if strings.HasPrefix(typable(s.ID), typable(a.Session)) {
				found = append(found, s.ID)
			}
		}
		switch len(found) {
		case 0:
			return fmt.Errorf("%s has no session %q", u.Username, a.Session)
		case 1:
		default:
			return fmt.Errorf("the IDs of %d sessions of %s begin with %q: use a longer part", len(found), u.Username, a.Session)
		}
		if err := accounts.EndSession(c.ctx, u.ID, found[0]); err != nil {
			return err
		}
		c.printf("Ended the session of %s.", u.Username)
		return nil
	})
}
