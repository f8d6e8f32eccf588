package cli

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"
)

const importedHash = "$2y$04$cX/wu8y6oT1C7ulsyH0kyuBziNEztDVvJ6seKgP4zEeaH6CCqb2l6"

// importSite runs imports into its own embedded database.
type importSite struct {
	t   *testing.T
	env map[string]string
}

func newImportSite(t *testing.T) *importSite {
	t.Helper()
	return &importSite{t, map[string]string{"DATA_DIR": filepath.Join(t.TempDir(), "data")}}
}

// run imports the rows, each with the same password hash appended. The returned error is the command's.
func (s *importSite) run(head string, rows []string, args ...string) (stdout, stderr string, err error) {
	s.t.Helper()
	text := head + ",password\n"
	for _, row := range rows {
		text += row + "," + importedHash + "\n"
	}
	setEnvironment(s.t, s.env)
	var out, errs bytes.Buffer
	err = Run(s.t.Context(), append([]string{"user", "import", "-"}, args...), IO{strings.NewReader(text), &out, &errs})
	return out.String(), errs.String(), err
}

// users returns the name and address of every user, one per line.
func (s *importSite) users() string {
	s.t.Helper()
	stdout, stderr, err := runIn(s.t, s.env, "user", "list")
	if err != nil {
		s.t.Fatalf("user list: %v %s", err, stderr)
	}
	return stdout
}

func (s *importSite) wantUsers(want ...string) {
	s.t.Helper()
	var got []string
	for line := range strings.Lines(s.users()) {
		got = append(got, strings.Fields(line)[0])
	}
	if strings.Join(got[1:], " ") != strings.Join(want, " ") {
		s.t.Errorf("got the users %q, want %q", got[1:], want)
	}
}

func reversed(rows []string) []string {
	all := make([]string, len(rows))
	for i, row := range rows {
		all[len(rows)-1-i] = row
	}
	return all
}

// TestImport_ShortNamesNeverEqualFullNames: in any order of the rows, a name derived from the part before the @ differs
// from the names derived from whole addresses.
func TestImport_ShortNamesNeverEqualFullNames(t *testing.T) {
	rows := []string{"1,support_acme.example@gmail.example", "2,support@acme.example"}
	for name, rows := range map[string][]string{"other address first": rows, "other address last": reversed(rows)} {
		t.Run(name, func(t *testing.T) {
			s := newImportSite(t)
			stdout, stderr, err := s.run("id,email", rows)
			if err != nil || !strings.Contains(stdout, "Imported 2; already imported: 0; refused: 0.") || !strings.Contains(stdout, "2 of them are named after their whole address") {
				t.Errorf("%v\n%s%s", err, stdout, stderr)
			}
			s.wantUsers("support_acme.example", "support_acme.example_gmail.example")
			for line := range strings.Lines(s.users()) {
				if strings.HasPrefix(line, "support_acme.example ") && !strings.Contains(line, "support@acme.example") {
					t.Errorf("the wrong address got the name: %s", line)
				}
			}
		})
	}
}

// TestImport_RefusedRowsKeepTheirNames: no other row gets the name that a refused row will have once it is corrected.
func TestImport_RefusedRowsKeepTheirNames(t *testing.T) {
	s := newImportSite(t)
	stdout, _, err := s.run("id,email,is_active", []string{"1,support_acme.example@gmail.example,1", "2,support@acme.example,perhaps", "3,ann@a.example,perhaps", "4,ann@b.example,1"})
	if err == nil || !strings.Contains(stdout, "Imported 2; already imported: 0; refused: 2.") {
		t.Errorf("%v\n%s", err, stdout)
	}
	s.wantUsers("ann_b.example", "support_acme.example_gmail.example")
	stdout, stderr, err := s.run("id,email,is_active", []string{"2,support@acme.example,1", "3,ann@a.example,1"})
	if err != nil {
		t.Errorf("%v\n%s%s", err, stdout, stderr)
	}
	s.wantUsers("ann", "ann_b.example", "support_acme.example", "support_acme.example_gmail.example")
}

// TestImport_RefusesAddressesWithTheSameName: all such rows are refused, so that the order of rows does not decide.
func TestImport_RefusesAddressesWithTheSameName(t *testing.T) {
	for name, rows := range map[string][]string{
		"the same address":                   {"1,ann@a.example", "2,ANN@a.example"},
		"addresses that make the same name":  {"1,ann@a.example", "2,ａｎｎ@a.example"},
		"the same address, with a third row": {"1,ann@a.example", "2,ann@a.example", "3,bob@a.example"},
	} {
		for _, rows := range [][]string{rows, reversed(rows)} {
			s := newImportSite(t)
			stdout, stderr, err := s.run("id,email", rows)
			if err == nil || strings.Count(stderr, "Another row has the same address") != 2 || strings.Count(stderr, "\n") != 2 {
				t.Errorf("%s: %v\n%s%s", name, err, stdout, stderr)
			}
			if strings.Contains(s.users(), "ann") {
				t.Errorf("%s: one of them was imported:\n%s", name, s.users())
			}
		}
	}
	// Without ids, the two rows are the same user.
	s := newImportSite(t)
	if stdout, stderr, err := s.run("email", []string{"ann@a.example", "ann@a.example"}); err != nil || !strings.Contains(stdout, "Imported 1; already imported: 1; refused: 0.") {
		t.Errorf("%v\n%s%s", err, stdout, stderr)
	}
}

// TestImport_SkipsImportedUsers: a second import, with any options, skips the users of the first one without validating
// them.
func TestImport_SkipsImportedUsers(t *testing.T) {
	long := strings.Repeat("d", 60) + ".long.example"
	for name, c := range map[string]struct {
		head  string
		rows  []string
		first []string
		want  []string
	}{
		"an address that gives no name": {"id,email", []string{"1,jane@" + long}, nil, []string{"jane"}},
		"reserved names":                {"id,username", []string{"1,admin", "2,ann"}, []string{"--allow-reserved"}, []string{"admin", "ann"}},
		"no password":                   {"id,username,is_active", []string{"1,ann,1"}, nil, []string{"ann"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newImportSite(t)
			if stdout, stderr, err := s.run(c.head, c.rows, c.first...); err != nil {
				t.Fatalf("%v\n%s%s", err, stdout, stderr)
			}
			s.wantUsers(c.want...)
			for _, args := range [][]string{{"--dry-run"}, nil} {
				stdout, stderr, err := s.run(c.head, c.rows, args...)
				if err != nil || !strings.Contains(stdout, " 0; already imported: ") || !strings.Contains(stdout, "; refused: 0.") || stderr != "" {
					t.Errorf("%v: %v\n%s%s", args, err, stdout, stderr)
				}
			}
			s.wantUsers(c.want...)
		})
	}
}

// TestImport_PrintsNoAddresses: the import identifies a user by name or, if the name is derived from an address, by the ID
// in the other system. The output contains no address and no name that reveals one.
func TestImport_PrintsNoAddresses(t *testing.T) {
	s := newImportSite(t)
	rows := []string{"1,admin@evil.example", "2,Bob@a.example", "k@b.example,ann@a.example", "4,ann@b.example"}
	first, firstErr, err := s.run("id,email", rows)
	if err != nil {
		t.Fatalf("%v\n%s%s", err, first, firstErr)
	}
	s.wantUsers("admin_evil.example", "ann_a.example", "ann_b.example", "bob")
	stdout, stderr, err := s.run("id,email", rows)
	if err != nil || stderr != "" {
		t.Errorf("%v\n%s", err, stderr)
	}
	for _, line := range []string{":2: The user with the ID 1 was already imported.\n", ":3: bob was already imported.\n", ":4: This user was already imported.\n", ":5: The user with the ID 4 was already imported.\n"} {
		if !strings.Contains(stdout, "standard input"+line) {
			t.Errorf("the output lacks %q:\n%s", line, stdout)
		}
	}
	// An export of another system uses the same IDs for different users.
	other, refused, err := s.run("id,email", []string{"1,carl@c.example", "2,dora@c.example"})
	if err == nil || !strings.Contains(refused, "carl: Its ID belongs to another user here (source flask).") || !strings.Contains(refused, "dora: Its ID belongs to bob here (source flask).") {
		t.Errorf("%v\n%s", err, refused)
	}
	for _, address := range []string{"evil.example", "a.example", "b.example", "c.example"} {
		if strings.Contains(first+firstErr+stdout+stderr+other+refused, address) {
			t.Errorf("the command prints %q:\n%s", address, first+firstErr+stdout+stderr+other+refused)
		}
	}
}
