package cli

import (
	"fmt"
	"net"

	"gatehouse/internal/app"
	"gatehouse/internal/config"
)

type serveCmd struct {
	Migrate bool `help:"Update the database schema first."`
}

// Run serves until the command's context ends and the requests in flight are finished.
func (cmd serveCmd) Run(c *command) error {
	return app.Serve(c.ctx, c.config, app.Options{
		Migrate:   cmd.Migrate,
		Log:       app.NewLogger(c.config.Settings, c.io.Err),
		Listening: func(addr net.Addr) { greet(c, addr) },
	})
}

// greet prints the URL of a server on embedded stores, and the settings for production.
func greet(c *command, addr net.Addr) {
	if c.config.RedisURL != "" && !c.config.EmbeddedSQL() {
		return
	}
	w := c.io.Out
	fmt.Fprintf(w, "\nGatehouse is running at %s\n\n", browserURL(c.config, addr))
	if c.config.EmbeddedSQL() {
		fmt.Fprintf(w, "  Users are stored in SQLite (%s).\n", c.config.ResolveDatabaseURL()[len("sqlite:"):])
	}
	if c.config.RedisURL == "" {
		fmt.Fprintln(w, "  Sessions are stored in this process and end when it stops.")
	}
	fmt.Fprint(w, "\n  In production, set DATABASE_URL (postgres://…), REDIS_URL (redis://…),\n  SECRET_KEY and BASE_URL (https://…). `gatehouse --help` lists all settings,\n  `gatehouse doctor` checks them.\n\n")
}

// browserURL returns BASE_URL, or, if it has its default value, localhost with the port of addr.
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
