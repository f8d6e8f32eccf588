package main

import (
	"cmp"
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
	Source          string   `placeholder:"NAME" help:"What to call the system that the users come from, if there are several of a kind. Users are known by this name and their id there."`
	Username        string   `placeholder:"COLUMN" help:"The column of the user name. Without one the part of the address before the @ is taken, or all of the address where that part is reserved, taken or not unique."`
	AllowReserved   bool     `help:"Take reserved names such as admin and support, too."`
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
	if a.Source != "" {
		if err := auth.CheckSource(a.Source); err != nil {
			return fmt.Errorf("--source: %q: %w", a.Source, err)
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
			origins = &dryRun{Origins: origins, users: accounts.Users, taken: map[string]bool{}, imported: map[[2]string]auth.User{}}
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
	// fromAddresses are the rows whose name was made of an address: who else has it is known at the end.
	fromAddresses []importer.Row
	// inFull counts those that are called by their whole address.
	inFull int
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
		if row.Address != "" && row.Fault == "" {
			i.fromAddresses = append(i.fromAddresses, row)
			return nil
		}
		return i.one(ctx, row)
	})
	if err == nil {
		err = i.restFromAddresses(ctx)
	}
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

// restFromAddresses brings in those whose name is made of their address. The part before the @ is the name of one
// who alone has it, here and in the export; nobody gets a name that is another's, or that is reserved,
// because of the order of the rows.
func (i *importing) restFromAddresses(ctx context.Context) error {
	short := make([]string, len(i.fromAddresses))
	rows := map[string]int{}
	for n, row := range i.fromAddresses {
		// What is no name is refused with the reason further down.
		short[n], _ = auth.CanonicalUsername(row.Username)
		rows[short[n]]++
	}
	for n, row := range i.fromAddresses {
		free := rows[short[n]] == 1 && !auth.ReservedUsername(short[n])
		if free && short[n] != "" {
			var err error
			if free, err = i.isFree(ctx, short[n]); err != nil {
				return fmt.Errorf("line %d: look whether a user name is free: %w", row.Line, err)
			}
		}
		if err := i.oneFromAddress(ctx, row, short[n], free); err != nil {
			return err
		}
	}
	return nil
}

func (i *importing) isFree(ctx context.Context, name string) (bool, error) {
	if dry, ok := i.origins.(*dryRun); ok && dry.taken["name "+name] {
		return false, nil
	}
	_, err := i.accounts.Users.UserByUsername(ctx, name)
	if errors.Is(err, auth.ErrNotFound) {
		return true, nil
	}
	return false, err
}

func (i *importing) oneFromAddress(ctx context.Context, row importer.Row, short string, free bool) error {
	if free || short == "" {
		return i.one(ctx, row)
	}
	full, err := auth.UsernameFromAddress(row.Address)
	if err != nil {
		i.refuse(row, "The part of the address before the @ is reserved, taken or not unique, and the whole address makes no user name: "+err.Error())
		return nil
	}
	before := i.imported
	err = i.oneNamed(ctx, row, full)
	i.inFull += i.imported - before
	return err
}

func (i *importing) one(ctx context.Context, row importer.Row) error {
	return i.oneNamed(ctx, row, row.Username)
}

// oneNamed brings in one user under the name, which is not printed: it may be made of an address. The error is one that ends the run: of the row it is told and counted.
func (i *importing) oneNamed(ctx context.Context, row importer.Row, name string) error {
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
		Source: i.source(), ExternalID: row.ID, Username: name, Name: row.Name, Email: row.Email,
		EmailVerified: row.Verified || i.EmailVerified, Active: row.Active, CreatedAt: row.Created, Hash: row.Hash,
		Groups: append(groups, i.Group...), AllowReserved: i.AllowReserved,
	}
	if i.WithoutPassword && auth.CheckLegacyHash(in.Hash) != nil {
		in.Hash = ""
	} else if in.Hash == "" {
		in.Hash = "!" // which is refused, with a sentence that says what to do
	}
	u, err := i.accounts.ImportUser(ctx, i.origins, in)
	var wrong auth.Invalid
	switch {
	case errors.Is(err, auth.ErrImported):
		i.skip(row, u)
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

// source is the name of the system that the users are known by.
func (i *importing) source() string { return cmp.Or(i.Source, i.file.Source) }

// skip notes a row whose id is known: of the same user, or of another system's.
func (i *importing) skip(row importer.Row, here auth.User) {
	name, _ := auth.CanonicalUsername(row.Username)
	// Who has a name that is made of an address may have got either: others come and go.
	full, err := auth.UsernameFromAddress(row.Address)
	if here.Username != name && (err != nil || here.Username != full) {
		i.refuse(row, fmt.Sprintf("Its id is the one of %s here (source %s). If the export is of another system, name that: --source NAME.", printable(here.Username), i.source()))
		return
	}
	i.there++
	fmt.Fprintf(i.out, "%s:%d: %s is there already.\n", i.name, row.Line, printable(row.Username))
}

// dryRun stores nothing, and answers as if it had.
type dryRun struct {
	auth.Origins
	users auth.UserStore
	// taken are the names, verified addresses and origins of this run, each after what it is.
	taken map[string]bool
	// imported are the users of this run by source and id.
	imported map[[2]string]auth.User
}

func (d *dryRun) UserByOrigin(ctx context.Context, source, externalID string) (auth.User, error) {
	if u, ok := d.imported[[2]string{source, externalID}]; ok {
		return u, nil
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
	d.taken["name "+u.Username] = true
	d.imported[[2]string{source, externalID}] = u
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
	if i.inFull > 0 {
		fmt.Fprintf(i.out, "%d of them are named after their whole address, since the part before the @ is reserved, taken or not unique: gatehouse user list.\n", i.inFull)
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
