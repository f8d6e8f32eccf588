// Package cli is the command line: one file per command, the prompts, and the exit code after an error or a signal. It
// knows neither HTTP nor SQL.
package cli

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"regexp"
	"strings"

	"github.com/alecthomas/kong"

	"gatehouse/auth"
	"gatehouse/internal/app"
	"gatehouse/internal/config"
)

// cli is every command with its flags.
type cli struct {
	config.Settings `embed:"" group:"Settings (flags or environment variables)"`

	Serve   serveCmd   `cmd:"" default:"withargs" help:"Serve the site. This is the default command."`
	Migrate migrateCmd `cmd:"" help:"Update the database schema."`
	User    userCmd    `cmd:"" help:"Add, list and change users. Changes take effect immediately on every running server."`
	Group   groupCmd   `cmd:"" help:"Add, list and change groups and their permissions."`
	Maint   maintCmd   `cmd:"" name:"maintenance" help:"Close the site to everyone but administrators, and reopen it."`
	Doctor  doctorCmd  `cmd:"" help:"Check every setting and server, one line each."`
	Version versionCmd `cmd:"" help:"Print the version."`
}

// IO is where a command reads and writes.
type IO struct {
	In       io.Reader
	Out, Err io.Writer
}

// command is what every command runs with.
type command struct {
	ctx    context.Context
	config config.Config
	io     IO
}

// Run parses the arguments and runs the command that they name.
func Run(ctx context.Context, args []string, io IO) error {
	var c cli
	exited := false
	parser, err := kong.New(&c,
		kong.Name("gatehouse"),
		kong.Description("Single sign-on that any app can check with one Redis lookup."),
		kong.Writers(io.Out, io.Err),
		kong.Exit(func(int) { exited = true }),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, Tree: true, WrapUpperBound: 100}),
	)
	if err != nil {
		return fmt.Errorf("build the command line: %w", err)
	}
	unsetEmpty(parser.Model)
	parsed, err := parser.Parse(args)
	if exited {
		return nil // after --help
	}
	if err != nil {
		return nameVariable(parser.Model, err)
	}
	if err := config.RefuseUnsupported(); err != nil {
		return err
	}
	checked, err := c.Validate()
	if err != nil && !strings.HasPrefix(parsed.Command(), "version") && !strings.HasPrefix(parsed.Command(), "doctor") {
		return err
	}
	return parsed.Run(&command{ctx: ctx, config: checked, io: io}, &c.Settings)
}

// unsetEmpty unsets the variables of flags that are set to the empty string, which kong would take for a value.
func unsetEmpty(model *kong.Application) {
	for _, flag := range model.Flags {
		for _, name := range flag.Envs {
			if os.Getenv(name) == "" {
				os.Unsetenv(name)
			}
		}
	}
}

// badFlag matches an error about the value of a flag.
var badFlag = regexp.MustCompile(`^--([a-z-]+)(?:=[^\s:]+)?(:? .*?)(?: \(from envar .*\))?$`)

// nameVariable adds the variable's name to an error about a setting, because most settings come from the environment.
func nameVariable(model *kong.Application, err error) error {
	m := badFlag.FindStringSubmatch(err.Error())
	if m == nil {
		return err
	}
	for _, flag := range model.Flags {
		if flag.Name == m[1] && len(flag.Envs) > 0 {
			return fmt.Errorf("%s (--%s)%s", flag.Envs[0], m[1], m[2])
		}
	}
	return err
}

// withAccounts calls run with the accounts of a server with these settings.
func (c *command) withAccounts(run func(*auth.Accounts) error) error {
	log := slog.New(slog.NewTextHandler(c.io.Err, &slog.HandlerOptions{Level: slog.LevelWarn}))
	s, err := app.OpenForCommand(c.ctx, c.config, log)
	if err != nil {
		return err
	}
	defer s.Close()
	return userMessage(run(s.Accounts))
}

// printf prints a line on standard output.
func (c *command) printf(format string, args ...any) {
	fmt.Fprintf(c.io.Out, format+"\n", args...)
}
