// Package cli is the command line: a file per command, the prompts, and what an error or a signal exits with.
package cli

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"

	"github.com/alecthomas/kong"

	"gatehouse/auth"
	"gatehouse/internal/app"
	"gatehouse/internal/config"
)

// cli is every command with its flags.
type cli struct {
	config.Settings `embed:"" group:"Settings (as environment variables too)"`

	Serve   serveCmd   `cmd:"" default:"withargs" help:"Serve the site (this is what gatehouse alone does)."`
	Migrate migrateCmd `cmd:"" help:"Bring the database's schema up to date."`
	User    userCmd    `cmd:"" help:"Add, list and change users; effective at once in every running server."`
	Group   groupCmd   `cmd:"" help:"Add, list and change groups and what their members may."`
	Maint   maintCmd   `cmd:"" name:"maintenance" help:"Close the site for everybody but administrators, and open it again."`
	Doctor  doctorCmd  `cmd:"" help:"Check every setting and server, one line each."`
	Version versionCmd `cmd:"" help:"Print the version."`
}

// command is what a command gets.
type command struct {
	ctx    context.Context
	config config.Config
	io     IO
}

// Run parses the arguments and runs the command that they name.
func Run(ctx context.Context, args []string, env map[string]string, io IO) error {
	var c cli
	exited := false
	parser, err := kong.New(&c,
		kong.Name("gatehouse"),
		kong.Description("Signs people in once and lets every app check it at Redis speed."),
		kong.Writers(io.Out, io.Err),
		kong.Exit(func(int) { exited = true }),
		kong.Resolvers(environmentResolver(env)),
		kong.ValueFormatter(helpWithVariable),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, Tree: true, WrapUpperBound: 100}),
	)
	if err != nil {
		return fmt.Errorf("build the command line: %w", err)
	}
	parsed, err := parser.Parse(args)
	if exited {
		return nil // --help was asked for and given
	}
	if err != nil {
		return namingVariable(err)
	}
	if err := config.RefuseUnsupported(env); err != nil {
		return err
	}
	checked, err := c.Validate()
	if err != nil && !strings.HasPrefix(parsed.Command(), "version") && !strings.HasPrefix(parsed.Command(), "doctor") {
		return err
	}
	return parsed.Run(&command{ctx: ctx, config: checked, io: io}, &c.Settings)
}

// environmentResolver reads LISTEN_ADDR for --listen-addr. An empty variable is an unset one.
func environmentResolver(env map[string]string) kong.Resolver {
	return kong.ResolverFunc(func(_ *kong.Context, parent *kong.Path, flag *kong.Flag) (any, error) {
		if v := env[variable(flag.Name)]; v != "" && flag.Group != nil {
			return v, nil
		}
		return nil, nil
	})
}

func variable(flag string) string {
	return strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

func helpWithVariable(v *kong.Value) string {
	if v.Flag == nil || v.Flag.Group == nil {
		return v.Help
	}
	return v.Help + " ($" + variable(v.Name) + ")"
}

// namingVariable puts the variable's name beside the flag's, because most people set the former.
func namingVariable(err error) error {
	flag, rest, ok := strings.Cut(strings.TrimPrefix(err.Error(), "--"), ":")
	flag, _, _ = strings.Cut(flag, "=")
	if !ok || !strings.HasPrefix(err.Error(), "--") || strings.ContainsAny(flag, " ") {
		return err
	}
	return fmt.Errorf("%s (--%s):%s", variable(flag), flag, rest)
}

// withAccounts runs a command on the stores that a server with these settings uses.
func (c *command) withAccounts(run func(*auth.Accounts) error) error {
	// Events of commands go where the command's own words go.
	log := slog.New(slog.NewTextHandler(c.io.Err, &slog.HandlerOptions{Level: slog.LevelWarn}))
	s, err := app.OpenForCommand(c.ctx, c.config, log)
	if err != nil {
		return err
	}
	defer s.Close()
	return refusal(run(s.Accounts))
}

// IO is where a command reads and writes.
type IO struct {
	In       io.Reader
	Out, Err io.Writer
}

// Environment returns the variables by name.
func Environment(list []string) map[string]string {
	env := make(map[string]string, len(list))
	for _, entry := range list {
		name, value, _ := strings.Cut(entry, "=")
		env[name] = value
	}
	return env
}
