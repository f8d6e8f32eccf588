package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/alecthomas/kong"
	"golang.org/x/term"

	"gatehouse/auth"
)

// cli is every command with its flags.
type cli struct {
	Settings `embed:"" group:"Settings (as environment variables too)"`

	Serve   serveCmd   `cmd:"" default:"withargs" help:"Serve the site (this is what gatehouse alone does)."`
	Migrate migrateCmd `cmd:"" help:"Bring the database's schema up to date."`
	User    userCmd    `cmd:"" help:"Add, list and change users; effective at once in every running server."`
	Group   groupCmd   `cmd:"" help:"Add, list and change groups and what their members may."`
	Maint   maintCmd   `cmd:"" name:"maintenance" help:"Close the site for everybody but administrators, and open it again."`
	Doctor  doctorCmd  `cmd:"" help:"Check every setting and server, one line each."`
	Version versionCmd `cmd:"" help:"Print the version."`
}

// env is what a command gets.
type command struct {
	ctx    context.Context
	config Config
	io     stdio
}

// run parses the arguments and runs the command that they name.
func run(ctx context.Context, args []string, env map[string]string, io stdio) error {
	var c cli
	exited := false
	parser, err := kong.New(&c,
		kong.Name("gatehouse"),
		kong.Description("Signs people in once and lets every app check it at Redis speed."),
		kong.Writers(io.out, io.err),
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
	if err := refuseNotYet(env); err != nil {
		return err
	}
	config, err := c.check()
	if err != nil && !strings.HasPrefix(parsed.Command(), "version") && !strings.HasPrefix(parsed.Command(), "doctor") {
		return err
	}
	return parsed.Run(&command{ctx: ctx, config: config, io: io}, &c.Settings)
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

// version is set by the linker in a release.
var version = ""

type versionCmd struct{}

func (versionCmd) Run(c *command) error {
	fmt.Fprintln(c.io.out, "gatehouse", programVersion())
	return nil
}

func programVersion() string {
	if version != "" {
		return version
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return "devel " + s.Value
		}
	}
	return "devel"
}

type migrateCmd struct {
	Up     migrateUpCmd     `cmd:"" help:"Apply what is missing; several at once wait for each other."`
	Status migrateStatusCmd `cmd:"" help:"List the migrations."`
}

type migrateUpCmd struct{}

func (migrateUpCmd) Run(c *command) error {
	d, err := openDatabase(c.ctx, c.config)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Migrate(c.ctx); err != nil {
		return fmt.Errorf("DATABASE_URL: %w", err)
	}
	current, _, err := d.SchemaVersions(c.ctx)
	if err != nil {
		return fmt.Errorf("DATABASE_URL: %w", err)
	}
	fmt.Fprintf(c.io.out, "The schema is at version %d.\n", current)
	return nil
}

type migrateStatusCmd struct{}

func (migrateStatusCmd) Run(c *command) error {
	d, err := openDatabase(c.ctx, c.config)
	if err != nil {
		return err
	}
	defer d.Close()
	all, err := d.Status(c.ctx)
	if err != nil {
		return fmt.Errorf("DATABASE_URL: %w", err)
	}
	table := tabwriter.NewWriter(c.io.out, 0, 0, 2, ' ', 0)
	for _, m := range all {
		state := "pending"
		if !m.Pending() {
			state = "applied " + m.AppliedAt.UTC().Format("2006-01-02 15:04:05Z")
		}
		fmt.Fprintf(table, "%d\t%s\t%s\n", m.Version, m.Name, state)
	}
	return table.Flush()
}

type userCmd struct {
	Add     userAddCmd     `cmd:"" help:"Add a user; the password is asked for."`
	Passwd  userPasswdCmd  `cmd:"" help:"Set a user's password; all sessions end."`
	List    userListCmd    `cmd:"" help:"List the users."`
	Import  userImportCmd  `cmd:"" help:"Bring in users of another system with their password hashes."`
	Disable userDisableCmd `cmd:"" help:"Disable a user; all sessions end."`
	Enable  userEnableCmd  `cmd:"" help:"Enable a user again."`
	Logout  userLogoutCmd  `cmd:"" help:"End all sessions and API tokens of a user."`
	Grant   userGrantCmd   `cmd:"" help:"Give a user a permission of their own."`
	Ungrant userUngrantCmd `cmd:"" help:"Take a user's own permission back."`
	Join    userJoinCmd    `cmd:"" help:"Put a user into a group."`
	Leave   userLeaveCmd   `cmd:"" help:"Take a user out of a group."`
}

type nameArg struct {
	Name string `arg:"" help:"User name."`
}

type passwordFlag struct {
	PasswordStdin bool `help:"Read the password from standard input (one line) instead of the terminal."`
}

// password reads a new password: twice from a terminal, once from a pipe.
func (p passwordFlag) password(c *command) (string, error) {
	if p.PasswordStdin {
		return firstLineOf(interruptible(c.ctx, c.io.in))
	}
	f, ok := c.io.in.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return "", errors.New("there is no terminal to ask for the password on; use --password-stdin")
	}
	first, err := ask(c, f, "Password: ")
	if err != nil {
		return "", err
	}
	second, err := ask(c, f, "Again: ")
	if err != nil {
		return "", err
	}
	if first != second {
		return "", errors.New("the two passwords differ; nothing was changed")
	}
	return first, nil
}

func ask(c *command, f *os.File, prompt string) (string, error) {
	fmt.Fprint(c.io.err, prompt)
	password, err := readPassword(c.ctx, int(f.Fd()))
	fmt.Fprintln(c.io.err)
	if err != nil {
		return "", fmt.Errorf("read the password (nothing was changed): %w", err)
	}
	return password, nil
}

// firstLineOf reads as far as the end of the first line, which need not be the end of the pipe.
func firstLineOf(r io.Reader) (string, error) {
	// A little more than the longest password, so that one that is too long is noticed.
	line, err := bufio.NewReaderSize(r, 8<<10).ReadSlice('\n')
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, bufio.ErrBufferFull) {
		return "", fmt.Errorf("read the password from standard input (nothing was changed): %w", err)
	}
	return strings.TrimSuffix(strings.TrimSuffix(string(line), "\n"), "\r"), nil
}

type userAddCmd struct {
	nameArg
	passwordFlag
	Email   string `help:"Address; you vouch for it, so it signs in too."`
	Display string `name:"name" help:"What pages call the user."`
	Group   string `help:"Put the user into this group, such as admin."`
}

func (a userAddCmd) Run(c *command) error {
	return c.withAccounts(func(accounts *auth.Accounts) error {
		if err := a.checkGroup(c.ctx, accounts); err != nil {
			return err
		}
		password, err := a.password(c)
		if err != nil {
			return err
		}
		u, err := accounts.AddUser(c.ctx, auth.Registration{Username: a.Name, Password: password, Email: a.Email, Name: a.Display})
		if err != nil {
			return err
		}
		if a.Group != "" {
			if _, err := accounts.SetMember(c.ctx, u.ID, a.Group, true); err != nil {
				return fmt.Errorf("%s is added, but not to the group: %w", u.Username, err)
			}
		}
		fmt.Fprintf(c.io.out, "Added %s.\n", u.Username)
		return nil
	})
}

// checkGroup looks for the group before there is a user who would have to do without it.
func (a userAddCmd) checkGroup(ctx context.Context, accounts *auth.Accounts) error {
	if a.Group == "" {
		return nil
	}
	groups, err := accounts.Grants.Groups(ctx)
	if err == nil && !slices.ContainsFunc(groups, func(g auth.Group) bool { return g.Name == a.Group }) {
		return auth.ErrGroupNotFound
	}
	return err
}

type userPasswdCmd struct {
	nameArg
	passwordFlag
}

func (a userPasswdCmd) Run(c *command) error {
	return c.withUser(a.Name, func(accounts *auth.Accounts, u auth.User) error {
		password, err := a.password(c)
		if err != nil {
			return err
		}
		if _, err := accounts.SetPassword(c.ctx, u, password); err != nil {
			return err
		}
		fmt.Fprintf(c.io.out, "%s has a new password; all sessions are ended.\n", u.Username)
		return nil
	})
}

type userDisableCmd struct {
	nameArg
	forceFlag
}

func (a userDisableCmd) Run(c *command) error {
	return c.withUser(a.Name, func(accounts *auth.Accounts, u auth.User) error {
		if _, err := accounts.SetActive(a.context(c), u.ID, false); err != nil {
			return err
		}
		fmt.Fprintf(c.io.out, "%s is disabled; all sessions are ended.\n", u.Username)
		return nil
	})
}

type userEnableCmd struct{ nameArg }

func (a userEnableCmd) Run(c *command) error {
	return c.withUser(a.Name, func(accounts *auth.Accounts, u auth.User) error {
		if _, err := accounts.SetActive(c.ctx, u.ID, true); err != nil {
			return err
		}
		fmt.Fprintf(c.io.out, "%s is enabled.\n", u.Username)
		return nil
	})
}

type userLogoutCmd struct{ nameArg }

func (a userLogoutCmd) Run(c *command) error {
	return c.withUser(a.Name, func(accounts *auth.Accounts, u auth.User) error {
		if _, err := accounts.SignOutEverywhere(c.ctx, u.ID, ""); err != nil {
			return err
		}
		fmt.Fprintf(c.io.out, "All sessions of %s are ended.\n", u.Username)
		return nil
	})
}

type userListCmd struct{}

// pageOfUsers is how many rows are read at once.
const pageOfUsers = 500

func (userListCmd) Run(c *command) error {
	return c.withAccounts(func(accounts *auth.Accounts) error {
		table := tabwriter.NewWriter(c.io.out, 0, 0, 2, ' ', 0)
		fmt.Fprintln(table, "USER\tNAME\tEMAIL\tSTATE\tLAST SIGN-IN")
		for after := ""; ; {
			users, err := accounts.Users.Users(c.ctx, after, pageOfUsers)
			if err != nil {
				return err
			}
			for _, u := range users {
				fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", u.Username, u.Name, u.Email, state(u), lastSignIn(u))
				after = u.Username
			}
			if len(users) < pageOfUsers {
				return table.Flush()
			}
		}
	})
}

func state(u auth.User) string {
	if u.Active {
		return "active"
	}
	return "disabled"
}

func lastSignIn(u auth.User) string {
	if u.LastSignInAt.IsZero() {
		return "never"
	}
	return u.LastSignInAt.UTC().Format("2006-01-02 15:04Z")
}

// withAccounts runs a command on the stores that a server with these settings uses.
func (c *command) withAccounts(run func(*auth.Accounts) error) error {
	// Events of commands go where the command's own words go.
	log := slog.New(slog.NewTextHandler(c.io.err, &slog.HandlerOptions{Level: slog.LevelWarn}))
	s, err := openForCommand(c.ctx, c.config, log)
	if err != nil {
		return err
	}
	defer s.Close()
	return refusal(run(s.accounts))
}

func (c *command) withUser(name string, run func(*auth.Accounts, auth.User) error) error {
	return c.withAccounts(func(accounts *auth.Accounts) error {
		canonical, err := auth.CanonicalUsername(name)
		if err != nil {
			return fmt.Errorf("%q is no user name: %w", name, err)
		}
		u, err := accounts.Users.UserByUsername(c.ctx, canonical)
		if errors.Is(err, auth.ErrNotFound) {
			return fmt.Errorf("there is no user %q", canonical)
		}
		if err != nil {
			return err
		}
		return run(accounts, u)
	})
}

func fieldsInOneLine(wrong auth.ValidationErrors) error {
	var parts []string
	for field, message := range wrong {
		parts = append(parts, field+": "+message)
	}
	return errors.New(strings.Join(parts, " "))
}
