package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"gatehouse/auth"
	"gatehouse/auth/identifier"
	"gatehouse/auth/password"
	"gatehouse/importer"
)

type userImportCmd struct {
	File            string   `arg:"" help:"The export; - reads standard input."`
	From            string   `default:"auto" enum:"auto,django,flask,laravel,htpasswd" help:"System that the users come from: django, flask, laravel or htpasswd."`
	Format          string   `default:"auto" enum:"auto,csv,json,htpasswd" help:"csv, json or htpasswd."`
	Source          string   `placeholder:"NAME" help:"Name of the system that the users come from, if there are several of a kind. Users are identified by this name and their ID in that system."`
	Username        string   `placeholder:"COLUMN" help:"Column of the user name. Without one, the part of the email address before the @ is used, or the whole address if that part is reserved, taken or not unique."`
	AllowReserved   bool     `help:"Also import reserved user names such as admin and support."`
	Group           []string `placeholder:"NAME" help:"Add all imported users to this group; may be repeated."`
	EmailVerified   bool     `help:"Treat all email addresses as verified, so that users can sign in with them."`
	WithoutPassword bool     `help:"Also import users whose password hash is not supported; they cannot sign in until they get a password."`
	DryRun          bool     `help:"Report what would be imported, and change nothing."`
}

func (a userImportCmd) Run(c *command) error {
	for _, group := range a.Group {
		if err := identifier.ValidateGroupName(group); err != nil {
			return fmt.Errorf("--group: %q: %w", group, err)
		}
	}
	if a.Source != "" {
		if err := identifier.ValidateSourceName(a.Source); err != nil {
			return fmt.Errorf("--source: %q: %w", a.Source, err)
		}
	}
	file, name := c.io.In, "standard input"
	if a.File != "-" {
		f, err := openInterruptibly(c.ctx, a.File)
		if err != nil {
			return fmt.Errorf("open the export: %w", err)
		}
		defer f.Close()
		file, name = f, a.File
	}
	return c.withAccounts(func(accounts *auth.Accounts) error {
		origins, ok := accounts.Users.(auth.OriginStore)
		if !ok {
			return errors.New("this database does not record where users come from")
		}
		if a.DryRun {
			origins = &dryRun{OriginStore: origins, users: accounts.Users, taken: map[string]bool{}, imported: map[[2]string]auth.User{}}
		}
		bar := newProgress(c.io.Err, file)
		r := importRun{userImportCmd: a, name: name, accounts: accounts, origins: origins, out: bar.writer(c.io.Out), err: bar.writer(c.io.Err), bar: bar, renamed: map[string]string{}, created: map[string]bool{}, short: claims{}, full: claims{}}
		return r.run(c.ctx, bar.read(interruptible(c.ctx, file)))
	})
}

// importRun is one run of the command.
type importRun struct {
	userImportCmd
	name     string // of the export, for messages
	accounts *auth.Accounts
	origins  auth.OriginStore
	out, err io.Writer
	bar      *progress
	file     importer.File

	// fromAddresses are the rows whose user name is made from an email address. They are imported last, when the names
	// that all of them claim are known.
	fromAddresses []importer.Row
	// short and full are the claims to the part of an address before the @, and to the name made from all of it.
	short, full claims

	// groups are the groups that exist before the import, by name.
	groups map[string]auth.Group
	// renamed maps the groups of the export to their names here if those differ, or to "" if they were skipped.
	renamed map[string]string
	created map[string]bool // groups

	imported, skipped, refused int
	// Of the imported users: without a password, privileged in the other system, named after their whole address.
	locked, privileged, named int
}

func (r *importRun) run(ctx context.Context, file io.Reader) error {
	options := importer.Options{Username: r.Username}
	if r.From != "auto" {
		options.Source = r.From
	}
	if r.Format != "auto" {
		options.Format = r.Format
	}
	if err := r.readGroups(ctx); err != nil {
		return err
	}
	err := importer.Read(file, options, func(f importer.File, row importer.Row) error {
		r.file = f
		if row.Address != "" {
			r.claimNames(row)
		}
		if row.Address != "" && row.Problem == "" {
			r.fromAddresses = append(r.fromAddresses, row)
			return nil
		}
		return r.importRow(ctx, row)
	})
	if err == nil {
		err = r.importFromAddresses(ctx)
	}
	r.bar.clear()
	r.report()
	if err != nil {
		return fmt.Errorf("%s: %w", r.name, err)
	}
	if r.refused > 0 {
		return errReported
	}
	return nil
}

// importRow imports a row under its own user name.
func (r *importRun) importRow(ctx context.Context, row importer.Row) error {
	return r.importNamed(ctx, row, func(context.Context) (string, error) { return row.Username, nil }, func() {})
}

// importNamed imports a row under the name that choose returns, and calls done if it was imported. It calls choose for
// new users only, and does not print the name, which may reveal an address. It reports and counts a refused row; an
// error ends the run.
func (r *importRun) importNamed(ctx context.Context, row importer.Row, choose func(context.Context) (string, error), done func()) error {
	if row.Problem != "" {
		r.refuse(row, row.Problem)
		return nil
	}
	in := auth.ImportedUser{
		Source: r.source(), ExternalID: row.ID, Name: row.Name, Email: row.Email,
		EmailVerified: row.Verified || r.EmailVerified, Active: row.Active, CreatedAt: row.Created, Hash: row.Hash, AllowReserved: r.AllowReserved,
	}
	if r.WithoutPassword && password.ValidateLegacyHash(in.Hash) != nil {
		in.Hash = ""
	} else if in.Hash == "" {
		in.Hash = "!" // is refused with a message that says what to do
	}
	var groups []string
	u, err := r.accounts.ImportUser(ctx, r.origins, in, func(ctx context.Context, in *auth.ImportedUser) (err error) {
		var problem string
		if groups, problem = r.groupNames(row.Groups); problem != "" {
			return auth.ValidationErrors{"group": problem}
		}
		groups = append(groups, r.Group...)
		in.Groups = groups
		in.Username, err = choose(ctx)
		return err
	})
	var invalid auth.ValidationErrors
	switch {
	case errors.Is(err, auth.ErrAlreadyImported):
		r.skip(row, u)
	case errors.As(err, &invalid):
		r.refuse(row, r.explain(row, invalid))
	case err != nil:
		return fmt.Errorf("line %d: %w; the rows imported so far are kept, and running the command again imports the rest", row.Line, err)
	default:
		done()
		r.count(row, in.Hash == "", groups)
	}
	return nil
}

// count counts an imported row.
func (r *importRun) count(row importer.Row, locked bool, groups []string) {
	r.imported++
	for _, group := range groups {
		if _, existed := r.groups[group]; !existed {
			r.created[group] = true
		}
	}
	if locked {
		r.locked++
	}
	if row.Privileged {
		r.privileged++
	}
}

// source returns the name of the system that the users come from.
func (r *importRun) source() string { return cmp.Or(r.Source, r.file.Source) }

// skip reports a row whose ID is known: it is the same user, or the user of another system.
func (r *importRun) skip(row importer.Row, here auth.User) {
	name, _ := identifier.CanonicalUsername(row.Username)
	// A user whose name was made from an address may have got either form, depending on the other users at the time.
	full, err := identifier.UsernameFromEmail(row.Address)
	if here.Username != name && (err != nil || here.Username != full) {
		who := cmp.Or(nameWithoutAddress(here.Username), "another user")
		r.refuse(row, fmt.Sprintf("Its ID belongs to %s here (source %s). If the export comes from another system, name that system with --source NAME.", who, r.source()))
		return
	}
	r.skipped++
	who := nameWithoutAddress(here.Username)
	if id := printable(row.ID); who == "" && id != "" && nameWithoutAddress(row.ID) != "" {
		who = "The user with the ID " + id
	}
	fmt.Fprintf(r.out, "%s:%d: %s was already imported.\n", r.name, row.Line, cmp.Or(who, "This user"))
}

// explain returns what is wrong with a row, in one line.
func (r *importRun) explain(row importer.Row, invalid auth.ValidationErrors) string {
	var all []string
	for field, message := range sortedByKey(invalid) {
		name, err := identifier.CanonicalUsername(row.Username)
		if field == "username" && err == nil && row.Address == "" && !r.AllowReserved && identifier.IsReserved(name) {
			message += " Use --allow-reserved to import it."
		}
		if field == "password" {
			message += " Use --without-password to import the user without a password."
		}
		all = append(all, message)
	}
	return strings.Join(all, " ")
}

func (r *importRun) refuse(row importer.Row, why string) {
	r.refused++
	who := printable(row.Username)
	if who != "" {
		who += ": "
	}
	fmt.Fprintf(r.err, "%s:%d: %s%s\n", r.name, row.Line, who, why)
}
