// Package cli is the command line: one file per command, the prompts, and the exit code after an error or a signal. It
// knows neither HTTP nor SQL.
package cli

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"slices"

	"github.com/alecthomas/kong"

	"gatehouse/auth"
	"gatehouse/internal/app"
	"gatehouse/internal/config"
)

// cli is every command with its flags.
type cli struct {
	ShowVersion     kong.VersionFlag `name:"version" help:"Print the version."`
	config.Settings `embed:"" group:"Settings (flags or environment variables)"`

	Serve   serveCmd   `cmd:"" default:"withargs" help:"Serve the site. This is the default command."`
	Migrate migrateCmd `cmd:"" help:"Update the database schema."`
	User    userCmd    `cmd:"" help:"Add, list and change users. Changes take effect immediately on every running server."`
	Group   groupCmd   `cmd:"" help:"Add, list and change groups and their permissions."`
	Session sessionCmd `cmd:"" help:"List and end sessions."`
	Token   tokenCmd   `cmd:"" help:"List and revoke API tokens."`
	Maint   maintCmd   `cmd:"" name:"maintenance" help:"Close the site to everyone but administrators, and reopen it."`
	Doctor  doctorCmd  `cmd:"" help:"Check every setting and server, one line each."`
	Help    helpCmd    `cmd:"" help:"Explain a command, or list the settings: help settings."`
	Version versionCmd `cmd:"" help:"Print the version."`

	Completion completionCmd `cmd:"" help:"Print a script that completes commands in bash, zsh or fish."`
	Complete   completeCmd   `cmd:"" name:"__complete" hidden:"" passthrough:""`
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
	// faults are the invalid settings, for the commands that run in spite of them.
	faults config.Faults
	// fromFile are the settings that come from config.EnvFile.
	fromFile []string
	io       IO
}

// withoutSettings are the first arguments of commands that use no settings, and so do not read the file .env.
var withoutSettings = []string{"version", "--version", "completion", "__complete"}

// settingsOptional is implemented by commands that run even if settings are invalid.
type settingsOptional interface{ settingsOptional() }

// Run parses the arguments and runs the command that they name.
func Run(ctx context.Context, args []string, io IO) error {
	var c cli
	exited := false
	parser, err := newParser(&c, io, func() { exited = true })
	if err != nil {
		return fmt.Errorf("build the command line: %w", err)
	}
	unsetEmpty(parser.Model)
	var faults config.Faults
	var fromFile []string
	if len(args) == 0 || !slices.Contains(withoutSettings, args[0]) {
		if fromFile, err = config.ReadEnvFile(config.EnvFile, variables(parser.Model)); err != nil {
			faults = append(faults, err)
		}
	}
	unsetEmpty(parser.Model)
	faults = append(faults, unsetInvalid(parser.Model)...)
	parsed, err := parser.Parse(args)
	if exited {
		return nil // after --help
	}
	if err != nil {
		return usageError{nameVariable(parser.Model, err), commandOf(args, err)}
	}
	capIdleTimes(parsed, &c.Settings)
	checked, invalid := c.Validate()
	faults = slices.Concat(faults, invalid, config.CheckUnsupported())
	selected := parsed.Selected().Target.Addr().Interface()
	if _, ok := selected.(*serveCmd); ok && c.SecretKey == "" {
		if err := checked.RequireSecretKey(); err != nil {
			faults = append(faults, err)
		}
	}
	if _, ok := selected.(settingsOptional); !ok && len(faults) > 0 {
		return faults
	}
	return parsed.Run(&command{ctx: ctx, config: checked, faults: faults, fromFile: fromFile, io: io})
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
