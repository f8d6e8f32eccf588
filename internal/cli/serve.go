package cli

import (
	"fmt"
	"net"

	"gatehouse/internal/app"
	"gatehouse/internal/config"
)

type serveCmd struct {
	Migrate bool `help:"Bring the database's schema up to date first."`
}

// Run serves until the context ends, then lets the requests in flight finish.
func (cmd serveCmd) Run(c *command) error {
	return app.Serve(c.ctx, c.config, app.Options{
		Migrate:   cmd.Migrate,
		Log:       app.NewLogger(c.config.Settings, c.io.Err),
		Listening: func(addr net.Addr) { greet(c, addr) },
	})
}

// greet tells somebody who has just typed one command where to look, and what is missing
// for real use.
func greet(c *command, addr net.Addr) {
	if c.config.RedisURL != "" && !c.config.EmbeddedSQL() {
		return
	}
	w := c.io.Out
	fmt.Fprintf(w, "\nGatehouse is open at %s\n\n", browserURL(c.config, addr))
	if c.config.EmbeddedSQL() {
		fmt.Fprintf(w, "  Users are kept in SQLite (%s).\n", c.config.ResolveDatabaseURL()[len("sqlite:"):])
	}
	if c.config.RedisURL == "" {
		fmt.Fprintln(w, "  Sessions are kept in this process: they end when it does.")
	}
	fmt.Fprint(w, "\n  For a real deployment set DATABASE_URL (postgres://…), REDIS_URL (redis://…),\n  SECRET_KEY and BASE_URL (https://…); `gatehouse --help` lists all settings,\n  `gatehouse doctor` checks them.\n\n")
}

func browserURL(c config.Config, addr net.Addr) string {
	if c.BaseURL != "http://localhost:8080" {
		return c.BaseURL
	}
	_, port, err := net.SplitHostPort(addr.String())
	if err != nil {
		return c.BaseURL
	}
	return "http://" + net.JoinHostPort("localhost", port)
}
