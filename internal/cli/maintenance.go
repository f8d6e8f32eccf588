package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"gatehouse/auth"
	"gatehouse/internal/app"
	"gatehouse/kv"
	"gatehouse/kv/redisconn"
)

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
		fmt.Fprintln(c.io.Out, "The site is closed; administrators go on. Open it with: gatehouse maintenance off")
		return nil
	})
}

type maintOffCmd struct{}

func (maintOffCmd) Run(c *command) error {
	return c.withMaintenance(func(m *kv.Maintenance) error {
		if err := m.EndMaintenance(c.ctx); err != nil {
			return err
		}
		fmt.Fprintln(c.io.Out, "The site is open.")
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
			fmt.Fprintln(c.io.Out, "The site is open.")
		default:
			fmt.Fprintf(c.io.Out, "The site is closed since %s. %s\n", found.Since.Format(time.RFC3339), found.Message)
		}
		return nil
	})
}

// withMaintenance needs Redis only: Postgres may be what is being worked on.
func (c *command) withMaintenance(run func(*kv.Maintenance) error) error {
	url := c.config.RedisURL
	if url == "" {
		var err error
		if url, err = app.RunningRedis(c.ctx, c.config); err != nil {
			return err
		}
	}
	if url == "" {
		return errors.New("no server runs on the embedded stores in DATA_DIR, so there is nothing to close; start one, or set REDIS_URL")
	}
	ctx, cancel := context.WithTimeout(c.ctx, app.ConnectTimeout)
	defer cancel()
	r, err := redisconn.Open(url)
	if err != nil {
		return fmt.Errorf("REDIS_URL: %w", err)
	}
	defer r.Close()
	if err := r.Ping(ctx); err != nil {
		return fmt.Errorf("REDIS_URL: %w", err)
	}
	return run(kv.NewMaintenance(r))
}
