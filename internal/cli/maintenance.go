package cli

import (
	"errors"
	"fmt"
	"os/user"
	"time"

	"gatehouse/auth"
	"gatehouse/internal/app"
	"gatehouse/internal/config"
	"gatehouse/kv"
)

type maintCmd struct {
	On     maintOnCmd     `cmd:"" help:"Close the site."`
	Off    maintOffCmd    `cmd:"" help:"Reopen the site."`
	Status maintStatusCmd `cmd:"" help:"Print whether the site is closed."`
}

type maintOnCmd struct {
	Message string `help:"Text for the maintenance page, such as \"back at nine\"."`
}

// maxMessageBytes is the maximum length of the message.
const maxMessageBytes = 500

func (a maintOnCmd) Run(c *command) error {
	if len(a.Message) > maxMessageBytes {
		return fmt.Errorf("the message has %d bytes; the maximum is %d", len(a.Message), maxMessageBytes)
	}
	return c.withMaintenance(func(m *kv.Maintenance) error {
		if err := m.SetMaintenance(c.ctx, auth.Maintenance{Message: a.Message, Since: time.Now().UTC(), By: operator()}); err != nil {
			return err
		}
		c.printf("The site is closed to everyone but administrators. Reopen it with: %s maintenance off", config.ProgramName())
		return nil
	})
}

// operator returns the name of the system's user who runs the command, or "".
func operator() string {
	u, err := user.Current()
	if err != nil {
		return ""
	}
	return u.Username
}

type maintOffCmd struct{}

func (maintOffCmd) Run(c *command) error {
	return c.withMaintenance(func(m *kv.Maintenance) error {
		if err := m.EndMaintenance(c.ctx); err != nil {
			return err
		}
		c.printf("The site is open.")
		return nil
	})
}

type maintStatusCmd struct{ jsonFlag }

// maintenanceJSON is the state of the site in the output of --json.
type maintenanceJSON struct {
	Closed  bool       `json:"closed"`
	Since   *time.Time `json:"since"`
	By      string     `json:"by"`
	Message string     `json:"message"`
}

func (a maintStatusCmd) Run(c *command) error {
	return c.withMaintenance(func(m *kv.Maintenance) error {
		found, err := m.Maintenance(c.ctx)
		switch {
		case err != nil:
			return err
		case a.JSON && found == nil:
			return c.printJSON(maintenanceJSON{})
		case a.JSON:
			return c.printJSON(maintenanceJSON{true, timestamp(found.Since), found.By, found.Message})
		case found == nil:
			c.printf("The site is open.")
		default:
			by := ""
			if found.By != "" {
				by = " by " + found.By
			}
			c.printf("The site has been closed since %s%s. %s", found.Since.Format(time.RFC3339), by, found.Message)
		}
		return nil
	})
}

// withMaintenance calls run with the maintenance state in Redis. It does not open the database, which may be down for
// the maintenance.
func (c *command) withMaintenance(run func(*kv.Maintenance) error) error {
	url := c.config.RedisURL
	if url == "" {
		var err error
		if url, err = app.RunningRedis(c.ctx, c.config); err != nil {
			return err
		}
	}
	if url == "" {
		return errors.New("no server runs on the embedded stores in DATA_DIR, so there is no site to close; start one, or set REDIS_URL")
	}
	r, err := app.OpenRedis(c.ctx, url)
	if err != nil {
		return fmt.Errorf("REDIS_URL: %w", err)
	}
	defer r.Close()
	return run(kv.NewMaintenance(r))
}
