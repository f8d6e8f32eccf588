package cli

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
	"gatehouse/auth/identifier"
	"gatehouse/auth/password"
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
			return errors.New("this database keeps no origins of users")
		}
		if a.DryRun {
			origins = &dryRun{OriginStore: origins, users: accounts.Users, taken: map[string]bool{}, imported: map[[2]string]auth.User{}}
		}
		i := importing{userImportCmd: a, name: name, accounts: accounts, origins: origins, out: c.io.Out, err: c.io.Err, renamed: map[string]string{}, made: map[string]bool{}, short: claims{}, full: claims{}}
		return i.run(c.ctx, interruptible(c.ctx, file))
	})
}

// importing is one run of the command.
type importing struct {
	userImportCmd
	name     string
	accounts *auth.Accounts
	origins  auth.OriginStore
	out, err io.Writer

	file                                       importer.File
	imported, there, refused, locked, powerful int
	// fromAddresses are the rows whose name is made from an address. They are imported at the end, when the names that
	// all of them ask for are known.
	fromAddresses []importer.Row
	// short and full are the names that such rows ask for: of the part before the @, and of the whole address.
	short, full claims
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
		if row.Address != "" {
			i.claimNames(row)
		}
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
		return errReported
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

// claims are the rows that ask for a name, by the name: the id of the row, and whether other rows ask for it too.
type claims map[string]struct {
	id     string
	shared bool
}

// add notes that the row with the id asks for the name. Rows with one id are one user.
func (c claims) add(name, id string) {
	claim, known := c[name]
	if !known {
		claim.id = id
	}
	claim.shared = claim.shared || claim.id != id
	c[name] = claim
}

// claimNames notes the names that a row asks for whose name is made from an address. A row that is refused counts too:
// it asks again once it is corrected.
func (i *importing) claimNames(row importer.Row) {
	if short, err := identifier.CanonicalUsername(row.Username); err == nil {
		i.short.add(short, row.ID)
	}
	if full, err := identifier.UsernameFromEmail(row.Address); err == nil {
		i.full.add(full, row.ID)
	}
}

// restFromAddresses imports the rows whose name is made from an address.
func (i *importing) restFromAddresses(ctx context.Context) error {
	for _, row := range i.fromAddresses {
		long := false
		err := i.oneNamed(ctx, row, func(ctx context.Context) (name string, err error) {
			name, long, err = i.nameFromAddress(ctx, row)
			return name, err
		}, func() {
			if long {
				i.inFull++
			}
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// nameFromAddress returns the user name of a row that has none of its own: the part of the address before the @ if it
// is free, else (long) a name made from the whole address. It depends on which rows there are and not on their order,
// so that no row gets a name made from the address of another one. auth.ValidationErrors if there is no such name.
func (i *importing) nameFromAddress(ctx context.Context, row importer.Row) (name string, long bool, err error) {
	short, err := identifier.CanonicalUsername(row.Username)
	if err != nil {
		return row.Username, false, nil // the import refuses it and says why
	}
	_, another := i.full[short]
	if !another && !i.short[short].shared && !identifier.IsReserved(short) {
		free, err := i.isFree(ctx, short)
		if err != nil {
			return "", false, fmt.Errorf("look whether a user name is free: %w", err)
		}
		if free {
			return short, false, nil
		}
	}
	full, err := identifier.UsernameFromEmail(row.Address)
	if err != nil {
		return "", false, auth.ValidationErrors{"username": "The part of the address before the @ is reserved, taken or not unique, and the whole address makes no user name: " + err.Error()}
	}
	if i.full[full].shared {
		return "", false, auth.ValidationErrors{"username": "Another row has the same address, or one that makes the same user name. Keep one of them."}
	}
	return full, true, nil
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

// one imports a row under the user name that it has.
func (i *importing) one(ctx context.Context, row importer.Row) error {
	return i.oneNamed(ctx, row, func(context.Context) (string, error) { return row.Username, nil }, func() {})
}

// oneNamed imports a row under the name that choose returns, and calls done if it was imported. choose is called only if the
// user is not here yet; the name is not printed, since it may be made from an address. The error is one that ends the
// run: a row that is refused is reported and counted.
func (i *importing) oneNamed(ctx context.Context, row importer.Row, choose func(context.Context) (string, error), done func()) error {
	if row.Fault != "" {
		i.refuse(row, row.Fault)
		return nil
	}
	in := auth.ImportedUser{
		Source: i.source(), ExternalID: row.ID, Name: row.Name, Email: row.Email,
		EmailVerified: row.Verified || i.EmailVerified, Active: row.Active, CreatedAt: row.Created, Hash: row.Hash, AllowReserved: i.AllowReserved,
	}
	if i.WithoutPassword && password.ValidateLegacyHash(in.Hash) != nil {
		in.Hash = ""
	} else if in.Hash == "" {
		in.Hash = "!" // which is refused, with a sentence that says what to do
	}
	var groups []string
	u, err := i.accounts.ImportUser(ctx, i.origins, in, func(ctx context.Context, in *auth.ImportedUser) (err error) {
		var fault string
		if groups, fault = i.groupsHere(row.Groups); fault != "" {
			return auth.ValidationErrors{"group": fault}
		}
		groups = append(groups, i.Group...)
		in.Groups = groups
		in.Username, err = choose(ctx)
		return err
	})
	var wrong auth.ValidationErrors
	switch {
	case errors.Is(err, auth.ErrAlreadyImported):
		i.skip(row, u)
	case errors.As(err, &wrong):
		i.refuse(row, sentences(wrong))
	case err != nil:
		return fmt.Errorf("line %d: %w; what stands before it is done, and running this again goes on from there", row.Line, err)
	default:
		i.imported++
		done()
		for _, group := range groups {
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
	name, _ := identifier.CanonicalUsername(row.Username)
	// Who has a name that is made of an address may have got either: others come and go.
	full, err := identifier.UsernameFromEmail(row.Address)
	if here.Username != name && (err != nil || here.Username != full) {
		who := cmp.Or(nameWithoutAddress(here.Username), "another user")
		i.refuse(row, fmt.Sprintf("Its id is the one of %s here (source %s). If the export is of another system, name that: --source NAME.", who, i.source()))
		return
	}
	i.there++
	who := nameWithoutAddress(here.Username)
	if id := printable(row.ID); who == "" && id != "" && nameWithoutAddress(row.ID) != "" {
		who = "The user with the id " + id
	}
	fmt.Fprintf(i.out, "%s:%d: %s is there already.\n", i.name, row.Line, cmp.Or(who, "This user"))
}

// nameWithoutAddress returns the name of a user here as it may be printed: "" for one that has the form of
// identifier.UsernameFromEmail, since it gives the address away.
func nameWithoutAddress(name string) string {
	if at := strings.LastIndexByte(name, '_'); at > 0 {
		if address, err := identifier.CanonicalEmail(name[:at] + "@" + name[at+1:]); err == nil && address != "" {
			return ""
		}
	}
	return printable(name)
}

// dryRun stores nothing, and answers as if it had.
type dryRun struct {
	auth.OriginStore
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
	return d.OriginStore.UserByOrigin(ctx, source, externalID)
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
func sentences(wrong auth.ValidationErrors) string {
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
		if identifier.ValidateGroupName(here) != nil {
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
