package cli

import (
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"

	"gatehouse/internal/app"
	"gatehouse/internal/config"
)

type serveCmd struct {
	Migrate bool `help:"Update the database schema first."`
}

// Run serves until the command's context ends and the requests in flight are finished.
func (cmd serveCmd) Run(c *command) error {
	log := app.NewLogger(c.config.Settings, c.io.Err)
	if n := len(c.fromFile); n > 0 {
		log.Info("read " + settings(n) + " from " + config.EnvFile)
	}
	return app.Serve(c.ctx, c.config, app.Options{
		Migrate:   cmd.Migrate,
		Log:       log,
		Listening: func(started app.Started) { greet(c, started, log) },
	})
}

// greet prints the URL of a server on embedded stores, and what is left to set up. A server on other stores only logs how
// to make an administrator, if there is none.
func greet(c *command, started app.Started, log *slog.Logger) {
	join := c.typed("user join NAME admin")
	if c.config.RedisURL != "" && !c.config.EmbeddedSQL() {
		if !started.HasAdministrator {
			log.Info("there is no administrator yet; create an account and run: " + join)
		}
		return
	}
	var b strings.Builder
	p := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	p("\nGatehouse is running at %s\n", browserURL(c.config, started.Addr))
	if c.config.EmbeddedSQL() {
		p("  Users are stored in SQLite (%s).", c.config.ResolveDatabaseURL()[len("sqlite:"):])
	}
	if c.config.RedisURL == "" {
		p("  Sessions are stored in this process and end when it stops.")
	}
	if !started.HasAdministrator {
		p("\n  There is no administrator yet. Create an account in the browser, and then, in\n  a second terminal, replace NAME by its user name:\n\n      %s", join)
	}
	p("")
	if advice := c.productionAdvice(); advice != "" {
		p("%s", wrap(advice, "  ", 80))
	}
	p("  All settings: %s help settings\n  Check them:   %s\n", config.Program(), c.typed("doctor"))
	fmt.Fprint(c.io.Out, b.String())
}

// productionAdvice names the settings for production that are not set yet; "" if all are.
func (c *command) productionAdvice() string {
	var missing []string
	for _, s := range []struct {
		missing bool
		name    string
	}{
		{c.config.EmbeddedSQL(), "DATABASE_URL (postgres://…)"},
		{c.config.RedisURL == "", "REDIS_URL (redis://…)"},
		{c.config.SecretKey == "", "SECRET_KEY"},
		{c.config.Base.Scheme != "https", "BASE_URL (https://…)"},
	} {
		if s.missing {
			missing = append(missing, s.name)
		}
	}
	switch n := len(missing); n {
	case 0:
		return ""
	case 1:
		return "In production, set " + missing[0] + "."
	default:
		return "In production, set " + strings.Join(missing[:n-1], ", ") + " and " + missing[n-1] + "."
	}
}

// typed returns a command line that reaches this server's stores if it is typed in the same directory.
func (c *command) typed(args string) string {
	line := config.Program() + " " + args
	if c.config.DataDir != "./data" && !slices.Contains(c.fromFile, "DATA_DIR") {
		line = "DATA_DIR=" + shellQuote(c.config.DataDir) + " " + line
	}
	return line
}

// shellQuote quotes a word for a shell, if it needs that.
func shellQuote(s string) string {
	if strings.ContainsFunc(s, func(r rune) bool {
		return !strings.ContainsRune("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789/._-+:@%,", r)
	}) {
		return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
	}
	return s
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
