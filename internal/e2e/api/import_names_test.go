package api

import (
	"path/filepath"
	"strings"
	"testing"

	"gatehouse/internal/e2e/kit"
)

const importedHash = "$2y$04$cX/wu8y6oT1C7ulsyH0kyuBziNEztDVvJ6seKgP4zEeaH6CCqb2l6"

// importer runs imports on the embedded stores.
type importer struct {
	t   *testing.T
	env map[string]string
}

func newImporter(t *testing.T) *importer {
	t.Helper()
	return &importer{t, map[string]string{"DATA_DIR": filepath.Join(t.TempDir(), "data"), "GORACE": "atexit_sleep_ms=0"}}
}

// run imports rows with the columns of head, such as "id,username", all with the same hash.
func (i *importer) run(head string, rows []string, args ...string) kit.CommandResult {
	i.t.Helper()
	text := head + ",password\n"
	for _, row := range rows {
		text += row + "," + importedHash + "\n"
	}
	return kit.RunCommand(i.t, i.env, text, append([]string{"user", "import", "-"}, args...)...)
}

// users returns the names of all users.
func (i *importer) users() string {
	i.t.Helper()
	o := kit.RunCommand(i.t, i.env, "", "user", "list")
	o.WantCode(i.t, 0)
	var names []string
	for line := range strings.Lines(o.Stdout) {
		names = append(names, strings.Fields(line)[0])
	}
	return strings.Join(names[1:], " ")
}

func (i *importer) wantUsers(want string) {
	i.t.Helper()
	if got := i.users(); got != want {
		i.t.Errorf("got the users %q, want %q", got, want)
	}
}

// TestImport_ReservedNamesAreRefused: unless the operator allows them.
func TestImport_ReservedNamesAreRefused(t *testing.T) {
	t.Parallel()
	i := newImporter(t)
	rows := []string{"1,admin", "2,R00t", "3,ann"}
	o := i.run("id,username", rows)
	o.WantCode(t, 1)
	if strings.Count(o.Stderr, "This name is reserved. Use --allow-reserved to import it.") != 2 || !strings.Contains(o.Stdout, "Imported 1; already imported: 0; refused: 2.") {
		t.Errorf("%s%s", o.Stdout, o.Stderr)
	}
	i.wantUsers("ann")
	i.run("id,username", rows, "--allow-reserved").WantCode(t, 0)
	i.wantUsers("admin ann r00t")
}

// TestImport_DerivesUniqueNamesFromAddresses: the name is the part before the @ if that is free, not reserved and used
// by one address only, and otherwise the whole address with _ for @.
func TestImport_DerivesUniqueNamesFromAddresses(t *testing.T) {
	t.Parallel()
	i := newImporter(t)
	kit.RunCommand(t, i.env, kit.Password+"\n", "user", "add", "dora", "--password-stdin").WantCode(t, 0)
	rows := []string{
		"1,admin@evil.example", "2,Ann@a.example", "3,ann@b.example", "4,bob@a.example", "5,dora@a.example",
		"6,b.admin@x.example", "7,plus+sign@a.example", "8,ADMIN@other.example",
	}
	const want = "admin_evil.example admin_other.example ann_a.example ann_b.example b.admin bob dora dora_a.example"
	dry := i.run("id,email", rows, "--dry-run", "--allow-reserved")
	i.wantUsers("dora")
	o := i.run("id,email", rows, "--allow-reserved") // does not apply to derived names
	o.WantCode(t, 1)
	i.wantUsers(want)
	if !strings.Contains(o.Stdout, "Imported 7; already imported: 0; refused: 1.") || !strings.Contains(o.Stdout, "5 of them are named after their whole address") ||
		strings.Count(o.Stderr, "\n") != 1 || !strings.Contains(o.Stderr, "standard input:8: ") {
		t.Errorf("%s%s", o.Stdout, o.Stderr)
	}
	if dry.Stderr != o.Stderr || strings.ReplaceAll(dry.Stdout, "Dry run, nothing was changed. Would import", "Imported") != o.Stdout {
		t.Errorf("the dry run printed\n%s%sbut the import printed\n%s%s", dry.Stdout, dry.Stderr, o.Stdout, o.Stderr)
	}
	// A second run, in another order and with some rows gone, still recognizes every user.
	again := i.run("id,email", []string{"3,ann@b.example", "5,dora@a.example", "4,bob@a.example", "1,admin@evil.example"})
	again.WantCode(t, 0)
	if !strings.Contains(again.Stdout, "Imported 0; already imported: 4; refused: 0.") {
		t.Errorf("%s%s", again.Stdout, again.Stderr)
	}
	i.run("id,email", []string{"9,bob@c.example"}).WantCode(t, 0)
	i.wantUsers(strings.Replace(want, "bob", "bob bob_c.example", 1))
	// A name in the export takes precedence over a derived one.
	j := newImporter(t)
	j.run("id,username", []string{"1,ann@a.example", "2,ann"}, "--username", "username").WantCode(t, 0)
	j.wantUsers("ann ann_a.example")
	// Without ids, the whole address identifies a user.
	k := newImporter(t)
	k.run("email", []string{"ann@a.example", "ann@b.example"}).WantCode(t, 0)
	k.wantUsers("ann_a.example ann_b.example")
}

// TestImport_TwoSystemsSideBySide: both systems have a user with the key 1.
func TestImport_TwoSystemsSideBySide(t *testing.T) {
	t.Parallel()
	i := newImporter(t)
	first := []string{"1,ann,f", "2,bob,f"}
	second := []string{"1,carl,f", "2,bob,f", "3,dora,f"}
	const head = "id,username,is_superuser" // as in Django's export
	i.run(head, first).WantCode(t, 0)

	// Imported as the first system: a different name under the same key is an error; existing users are listed.
	for _, args := range [][]string{{"--dry-run"}, nil} {
		o := i.run(head, second, args...)
		o.WantCode(t, 1)
		if !strings.Contains(o.Stderr, "standard input:2: carl: ") || !strings.Contains(o.Stderr, "ann") || !strings.Contains(o.Stderr, "--source") || strings.Count(o.Stderr, "\n") != 1 {
			t.Errorf("%v: %s", args, o.Stderr)
		}
		if !strings.Contains(o.Stdout, "standard input:3: bob was already imported.\n") || !strings.Contains(o.Stdout, " 1; already imported: 1; refused: 1.") {
			t.Errorf("%v: %s", args, o.Stdout)
		}
	}
	i.wantUsers("ann bob dora")
	o := i.run(head, second, "--source", "shop")
	o.WantCode(t, 1) // two names belong to other users here
	i.wantUsers("ann bob carl dora")
	if strings.Count(o.Stderr, "Another account here has this name") != 2 || !strings.Contains(o.Stdout, "Imported 1; already imported: 0; refused: 2.") {
		t.Errorf("%s%s", o.Stdout, o.Stderr)
	}
	again := i.run(head, second[:1], "--source", "shop")
	again.WantCode(t, 0)
	if !strings.Contains(again.Stdout, "carl was already imported.") {
		t.Errorf("%s", again.Stdout)
	}
	for _, name := range []string{"Shop", "a b", "-x", strings.Repeat("a", 65)} {
		o := i.run(head, first, "--source="+name)
		o.WantCode(t, 1)
		kit.WantErrorLine(t, o, "--source")
	}
}

// TestImport_ExpensiveArgon2IsRefused: the error names the parameters and the limits.
func TestImport_ExpensiveArgon2IsRefused(t *testing.T) {
	t.Parallel()
	i := newImporter(t)
	const rest = "$c2FsdHNhbHRzYWx0c2FsdA$K9PUBQVkyKcZ2qJ4gJ6y3Q0hJ3vJ0k4dDq8bS0Xy0xQ\n"
	text := "username,password\n" +
		"a1,\"$argon2id$v=19$m=262144,t=10,p=1" + strings.TrimSuffix(rest, "\n") + "\"\n" +
		"a2,\"$argon2id$v=19$m=262145,t=1,p=1" + strings.TrimSuffix(rest, "\n") + "\"\n" +
		"a3,\"argon2$argon2id$v=19$m=1024,t=11,p=1" + strings.TrimSuffix(rest, "\n") + "\"\n" +
		"a4,\"$argon2i$v=19$m=1048576,t=64,p=1" + strings.TrimSuffix(rest, "\n") + "\"\n"
	o := kit.RunCommand(t, i.env, text, "user", "import", "-")
	o.WantCode(t, 1)
	i.wantUsers("a1")
	for _, says := range []string{":3: a2: The password hash is argon2 with 257 MiB and 1 pass", ":4: a3: The password hash is argon2 with 1 MiB and 11 passes", ":5: a4: The password hash is argon2 with 1024 MiB and 64 passes"} {
		if !strings.Contains(o.Stderr, says) || strings.Count(o.Stderr, "at most 256 MiB and 10 passes") != 3 {
			t.Errorf("the output lacks %q:\n%s", says, o.Stderr)
		}
	}
}
