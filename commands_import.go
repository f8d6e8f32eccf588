package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"gatehouse/auth"
	"gatehouse/importer"
)

type userImportCmd struct {
	File            string   `arg:"" help:"The export; - for standard input."`
	From            string   `default:"auto" enum:"auto,django,flask,laravel,htpasswd" help:"Where the users come from: django, flask, laravel or htpasswd."`
	Format          string   `default:"auto" enum:"auto,csv,json,htpasswd" help:"csv, json or htpasswd."`
	Username        string   `placeholder:"COLUMN" help:"The column of the user name. Without one the part of the address before the @ is taken."`
	Group           []string `placeholder:"NAME" help:"Put all of them into this group; may be given several times."`
	EmailVerified   bool     `help:"You vouch for all addresses, so they sign in too."`
	WithoutPassword bool     `help:"Take users whose password hash cannot be kept, too; nobody can sign in as them until they get a password."`
	DryRun          bool     `help:"Say what would be done, and change nothing."`
}

func (a userImportCmd) Run(c *command) error {
	file, name := c.io.in, "standard input"
	if a.File != "-" {
		f, err := os.Open(a.File)
		if err != nil {
			return fmt.Errorf("open the export: %w", err)
		}
		defer f.Close()
		file, name = f, a.File
	}
	return c.withAccounts(func(accounts *auth.Accounts) error {
		origins, ok := accounts.Users.(auth.Origins)
		if !ok {
			return errors.New("this database keeps no origins of users")
		}
		i := importing{userImportCmd: a, name: name, accounts: accounts, origins: origins, out: c.io.out, err: c.io.err, renamed: map[string]string{}, added: map[string]int{}}
		return i.run(c.ctx, file)
	})
}

// importing is one run of the command.
type importing struct {
	userImportCmd
	name     string
	accounts *auth.Accounts
	origins  auth.Origins
	out, err io.Writer

	file                                       importer.File
	imported, there, refused, locked, powerful int
	// renamed are groups that got another name, added the names of this run, for the dry one.
	renamed map[string]string
	added   map[string]int
}

func (i *importing) run(ctx context.Context, file io.Reader) error {
	options := importer.Options{Username: i.Username}
	if i.From != "auto" {
		options.Source = i.From
	}
	if i.Format != "auto" {
		options.Format = i.Format
	}
	err := importer.Read(file, options, func(f importer.File, row importer.Row) error {
		i.file = f
		return i.one(ctx, row)
	})
	i.report()
	if err != nil {
		return fmt.Errorf("%s: %w", i.name, err)
	}
	if i.refused > 0 {
		return errTold
	}
	return nil
}

// one brings in one user. The error is one that ends the run: of the row it is told and counted.
func (i *importing) one(ctx context.Context, row importer.Row) error {
	if row.Fault != "" {
		i.refuse(row, row.Fault)
		return nil
	}
	in := auth.Import{
		Source: i.file.Source, ExternalID: row.ID, Username: row.Username, Name: row.Name, Email: row.Email,
		EmailVerified: row.Verified || i.EmailVerified, Active: row.Active, CreatedAt: row.Created, Hash: row.Hash,
		Groups: append(i.groups(row.Groups), i.Group...),
	}
	if i.WithoutPassword && auth.CheckLegacyHash(in.Hash) != nil {
		in.Hash = ""
	} else if in.Hash == "" {
		in.Hash = "!" // which is refused, with a sentence that says what to do
	}
	err := i.bring(ctx, in)
	var wrong auth.Invalid
	switch {
	case errors.Is(err, auth.ErrImported):
		i.there++
	case errors.As(err, &wrong):
		i.refuse(row, sentences(wrong))
	case err != nil:
		return fmt.Errorf("line %d: %w; what stands before it is done, and running this again goes on from there", row.Line, err)
	default:
		i.imported++
		if in.Hash == "" {
			i.locked++
		}
		if row.Powers {
			i.powerful++
		}
	}
	return nil
}

// bring imports the user, or looks whether that could be done.
func (i *importing) bring(ctx context.Context, in auth.Import) error {
	if !i.DryRun {
		_, err := i.accounts.ImportUser(ctx, i.origins, in)
		return err
	}
	u, err := i.accounts.CheckImport(in)
	if err != nil {
		return err
	}
	if _, err := i.origins.UserByOrigin(ctx, in.Source, in.ExternalID); !errors.Is(err, auth.ErrNotFound) {
		return errors.Join(err, imported(err))
	}
	_, err = i.accounts.Users.UserByUsername(ctx, u.Username)
	if err == nil || i.added[u.Username] > 0 {
		return auth.Invalid{"username": "Another account here has this name."}
	}
	i.added[u.Username]++
	if !errors.Is(err, auth.ErrNotFound) {
		return err
	}
	return nil
}

func imported(err error) error {
	if err == nil {
		return auth.ErrImported
	}
	return nil
}

// sentences returns what is wrong with a row, in one line.
func sentences(wrong auth.Invalid) string {
	var all []string
	for _, field := range slices.Sorted(maps.Keys(wrong)) {
		all = append(all, wrong[field])
	}
	return strings.Join(all, " ")
}

func (i *importing) refuse(row importer.Row, why string) {
	i.refused++
	who := printable(row.Username)
	if who != "" {
		who += ": "
	}
	fmt.Fprintf(i.err, "%s:%d: %s%s\n", i.name, row.Line, who, why)
}

// printable keeps a name from the file from writing over the terminal.
func printable(s string) string {
	if r := []rune(s); len(r) > 64 {
		s = string(r[:64]) + "…"
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 || r >= 0x200b && r <= 0x206f {
			return '\uFFFD'
		}
		return r
	}, s)
}

// groups returns the names that groups of another system have here. What the group admin may here
// it may not have there: nobody becomes an administrator by an import.
func (i *importing) groups(names []string) []string {
	var all []string
	for _, name := range names {
		here := groupName(name)
		if here == auth.AdminGroup {
			i.renamed[name] = ""
			continue
		}
		if here != name {
			i.renamed[name] = here
		}
		all = append(all, here)
	}
	return all
}

// groupName returns "content-editors" for "Content Editors".
func groupName(name string) string {
	parts := strings.FieldsFunc(strings.ToLower(name), func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '_' && r != '-'
	})
	return strings.Join(parts, "-")
}

func (i *importing) report() {
	did := "Imported"
	if i.DryRun {
		did = "Nothing is changed. To be imported:"
	}
	fmt.Fprintf(i.out, "%s %d; there already: %d; refused: %d.\n", did, i.imported, i.there, i.refused)
	if i.locked > 0 {
		fmt.Fprintf(i.out, "%d of them have no password and cannot sign in: gatehouse user passwd NAME.\n", i.locked)
	}
	if i.powerful > 0 {
		fmt.Fprintf(i.out, "%d of them were superusers or staff, which gives nothing here: gatehouse user join NAME admin.\n", i.powerful)
	}
	for _, name := range slices.Sorted(maps.Keys(i.renamed)) {
		if here := i.renamed[name]; here != "" {
			fmt.Fprintf(i.out, "The group %q is %s here.\n", printable(name), here)
		} else {
			fmt.Fprintf(i.out, "The group %q was left out, since its namesake here administers users: gatehouse user join NAME admin.\n", printable(name))
		}
	}
}
