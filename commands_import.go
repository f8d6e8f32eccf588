package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"

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
	for _, group := range a.Group {
		if err := auth.CheckGroup(group); err != nil {
			return fmt.Errorf("--group: %q: %w", group, err)
		}
	}
	file, name := c.io.in, "standard input"
	if a.File != "-" {
		f, err := openInterruptibly(c.ctx, a.File)
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
		if a.DryRun {
			origins = &dryRun{Origins: origins, users: accounts.Users, taken: map[string]bool{}}
		}
		i := importing{userImportCmd: a, name: name, accounts: accounts, origins: origins, out: c.io.out, err: c.io.err, renamed: map[string]string{}, made: map[string]bool{}}
		return i.run(c.ctx, interruptible(c.ctx, file))
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
	// groups are those that were here before, by name.
	groups map[string]auth.Group
	// renamed are groups that got another name, or were left out ("").
	renamed map[string]string
	made    map[string]bool
}

func (i *importing) run(ctx context.Context, file io.Reader) error {
	options := importer.Options{Username: i.Username}
	if i.From != "auto" {
		options.Source = i.From
	}
	if i.Format != "auto" {
		options.Format = i.Format
	}
	if err := i.readGroups(ctx); err != nil {
		return err
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

func (i *importing) readGroups(ctx context.Context) error {
	all, err := i.accounts.Grants.Groups(ctx)
	if err != nil {
		return fmt.Errorf("look which groups there are: %w", err)
	}
	i.groups = make(map[string]auth.Group, len(all))
	for _, g := range all {
		i.groups[g.Name] = g
	}
	return nil
}

// one brings in one user. The error is one that ends the run: of the row it is told and counted.
func (i *importing) one(ctx context.Context, row importer.Row) error {
	if row.Fault != "" {
		i.refuse(row, row.Fault)
		return nil
	}
	groups, fault := i.groupsHere(row.Groups)
	if fault != "" {
		i.refuse(row, fault)
		return nil
	}
	in := auth.Import{
		Source: i.file.Source, ExternalID: row.ID, Username: row.Username, Name: row.Name, Email: row.Email,
		EmailVerified: row.Verified || i.EmailVerified, Active: row.Active, CreatedAt: row.Created, Hash: row.Hash,
		Groups: append(groups, i.Group...),
	}
	if i.WithoutPassword && auth.CheckLegacyHash(in.Hash) != nil {
		in.Hash = ""
	} else if in.Hash == "" {
		in.Hash = "!" // which is refused, with a sentence that says what to do
	}
	_, err := i.accounts.ImportUser(ctx, i.origins, in)
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
		for _, group := range in.Groups {
			if _, known := i.groups[group]; !known {
				i.made[group] = true
			}
		}
		if in.Hash == "" {
			i.locked++
		}
		if row.Powers {
			i.powerful++
		}
	}
	return nil
}

// dryRun stores nothing, and answers as if it had.
type dryRun struct {
	auth.Origins
	users auth.UserStore
	// taken are the names, verified addresses and origins of this run, each after what it is.
	taken map[string]bool
}

func (d *dryRun) UserByOrigin(ctx context.Context, source, externalID string) (auth.User, error) {
	if d.taken["origin "+source+" "+externalID] {
		return auth.User{}, nil
	}
	return d.Origins.UserByOrigin(ctx, source, externalID)
}

func (d *dryRun) ImportUser(ctx context.Context, u auth.User, source, externalID string) error {
	if _, err := d.users.UserByUsername(ctx, u.Username); err == nil || d.taken["name "+u.Username] {
		return auth.ErrUsernameTaken
	} else if !errors.Is(err, auth.ErrNotFound) {
		return err
	}
	if u.EmailVerified {
		if _, err := d.users.UserByEmail(ctx, u.Email); err == nil || d.taken["address "+u.Email] {
			return auth.ErrEmailTaken
		} else if !errors.Is(err, auth.ErrNotFound) {
			return err
		}
		d.taken["address "+u.Email] = true
	}
	d.taken["name "+u.Username], d.taken["origin "+source+" "+externalID] = true, true
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

// printable is a name from the file that may be printed: one that cannot write over the terminal, and
// nothing that may be an address or a hash, which stand there when columns have shifted.
func printable(s string) string {
	if strings.ContainsAny(s, "@$") {
		return ""
	}
	if r := []rune(s); len(r) > 64 {
		s = string(r[:64]) + "…"
	}
	return strings.Map(func(r rune) rune {
		if !unicode.IsGraphic(r) {
			return '\uFFFD'
		}
		return r
	}, s)
}

// groupsHere returns the names that groups of another system have here. One that may administer users
// here may not do so there: nobody becomes an administrator by an import. fault is a sentence about
// a name that no group can have here.
func (i *importing) groupsHere(names []string) (all []string, fault string) {
	for _, name := range names {
		here := groupName(name)
		if auth.CheckGroup(here) != nil {
			return nil, fmt.Sprintf("The name of the group %q cannot be made one lower-case word of plain letters and digits, such as editors.", printable(name))
		}
		if here == auth.AdminGroup || slices.Contains(i.groups[here].Permissions, auth.ManageUsers) {
			i.renamed[name] = ""
			continue
		}
		if here != name {
			i.renamed[name] = here
		}
		all = append(all, here)
	}
	return all, ""
}

// groupName returns "content-editors" for "Content Éditors", and "" for what has letters or signs that
// no name here is made of.
func groupName(name string) string {
	plain := strings.Map(func(r rune) rune {
		if unicode.Is(unicode.Mn, r) {
			return -1
		}
		return unicode.ToLower(r)
	}, norm.NFD.String(name))
	if strings.ContainsFunc(plain, func(r rune) bool { return r > unicode.MaxASCII || r == '@' || r == '$' }) {
		return ""
	}
	parts := strings.FieldsFunc(plain, func(r rune) bool {
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
	if i.From == "auto" && i.file.Source != "" {
		fmt.Fprintf(i.out, "The file was taken for an export of %s (%s).\n", i.file.Source, i.file.Format)
	}
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
			fmt.Fprintf(i.out, "The group %q was left out, since its namesake here administers users: gatehouse user join NAME %s.\n", printable(name), groupName(name))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(i.made)) {
		fmt.Fprintf(i.out, "The group %s was not here before; its members may do nothing by it yet: gatehouse group grant %s PERMISSION.\n", name, name)
	}
}
