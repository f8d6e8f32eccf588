package api

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gatehouse/internal/e2e/kit"
	"gatehouse/internal/testkit"
)

// importPassword contains a letter with two Unicode forms.
const importPassword = "wéary-otter-lamp"

// exportDjango creates users in a Django with its own tables and dumps them.
const exportDjango = `
import sys, django
from django.conf import settings
settings.configure(
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": sys.argv[1]}},
    DEFAULT_AUTO_FIELD="django.db.models.AutoField", USE_TZ=True)
django.setup()
from django.core.management import call_command
from django.contrib.auth.models import User, Group
call_command("migrate", verbosity=0)
editors = Group.objects.create(name="Content Editors")
admins = Group.objects.create(name="admin")
alice = User.objects.create_user("dj_alice", "alice@example.org", sys.argv[2], first_name="Alice", last_name="Exämple")
alice.groups.add(editors, admins)
User.objects.create_user("dj_gone", None, sys.argv[2], is_active=False)
User.objects.create_superuser("dj_root", "", sys.argv[2])
unusable = User.objects.create_user("dj_unusable")
call_command("dumpdata", "auth.user", "auth.group", indent=1)
`

const exportWerkzeug = `
import sys, json
from werkzeug.security import generate_password_hash
print(json.dumps([{"id": 1, "username": "fl_bob", "email": "bob@example.org", "password_hash": generate_password_hash(sys.argv[1], "pbkdf2:sha256:20000"), "active": True}]))
`

const exportLaravel = `
$out = fopen("php://stdout", "w");
fputcsv($out, ["id", "name", "email", "email_verified_at", "password", "remember_token", "created_at"]);
fputcsv($out, [1, "Carol, \"C\"", "carol@example.org", "2024-05-01 10:20:30", password_hash($argv[1], PASSWORD_BCRYPT), "", "2024-05-01 10:20:30"]);
fputcsv($out, [2, "Dora", "dora@example.org", "", password_hash($argv[1], PASSWORD_ARGON2ID), "", "2024-05-01 10:20:30"]);
fputcsv($out, [3, "Emil", "emil@example.org", "", password_hash($argv[1], PASSWORD_ARGON2I), "", ""]);
`

// exported runs a program that prints an export, and returns it.
func exported(t testing.TB, name string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s: %v\n%s", name, err, &errs)
	}
	return out.String()
}

// scryptOfPython is Werkzeug's and Django's scrypt format of the password, computed by Python's hashlib: Debian's
// versions of them lack it.
const scryptOfPython = `
import sys, hashlib, base64
h = lambda n: hashlib.scrypt(sys.argv[1].encode(), salt=b"saltysalt", n=n, r=8, p=1, maxmem=64 << 20, dklen=64)
print("username,password")
print("fl_scrypt,scrypt:32768:8:1$saltysalt$" + h(32768).hex())
print("dj_scrypt,scrypt$16384$saltysalt$8$1$" + base64.b64encode(h(16384)).decode())
`

// TestImport_UsersSignInWithTheirPasswords: users of real exports sign in with their old passwords, which are rehashed
// with argon2id.
func TestImport_UsersSignInWithTheirPasswords(t *testing.T) {
	t.Parallel()
	python, php := testkit.Python(t, "django"), testkit.Tool(t, "php")
	testkit.Python(t, "flask")
	exports := map[string]string{
		"Django":   exported(t, python, "-c", exportDjango, filepath.Join(t.TempDir(), "django.db"), importPassword),
		"Werkzeug": exported(t, python, "-c", exportWerkzeug, importPassword),
		"Laravel":  exported(t, php, "-r", exportLaravel, "--", importPassword),
		"scrypt":   exported(t, python, "-c", scryptOfPython, importPassword),
		"htpasswd": "ht_joe:$2y$04$.t12C.IDskaMBitXeznv4ORUu4shcdtKDO6jfILsJvjAakaZZfLBO\n",
	}
	for name, s := range map[string]*kit.Site{"Postgres": kit.NewSite(t), "SQLite": nil} {
		t.Run(name, func(t *testing.T) { importEverything(t, s, exports) })
	}
}

func importEverything(t *testing.T, s *kit.Site, exports map[string]string) {
	dir := t.TempDir()
	env := map[string]string{"DATA_DIR": dir, "LOG_LEVEL": "debug", "GORACE": "atexit_sleep_ms=0"}
	driver, source := "sqlite", filepath.Join(dir, "gatehouse.db")
	if s != nil {
		env, driver, source = s.Env(), "postgres", s.DatabaseURL
	}
	server := testkit.StartServer(t, testkit.BuildBinary(t), env, "--migrate")
	sql := kit.OpenDB(t, driver, source)
	value := func(query string, args ...any) (v string) {
		t.Helper()
		if err := sql.QueryRow(query, args...).Scan(&v); err != nil {
			t.Fatalf("%s: %v", query, err)
		}
		return v
	}
	importing := func(text string, args ...string) kit.CommandResult {
		t.Helper()
		o := kit.RunCommand(t, env, text, append([]string{"user", "import", "-"}, args...)...)
		for _, secret := range []string{"$2y$", "pbkdf2", "argon2", "@example.org", importPassword} {
			if strings.Contains(o.Stdout+o.Stderr, secret) {
				t.Errorf("the command printed %q:\n%s%s", secret, o.Stdout, o.Stderr)
			}
		}
		return o
	}
	for name, want := range map[string]string{"Django": "Imported 3; already imported: 0; refused: 1.", "Werkzeug": "Imported 1;", "Laravel": "Imported 3;", "scrypt": "Imported 2;", "htpasswd": "Imported 1;"} {
		before := value(`SELECT count(*) FROM users`)
		dry := importing(exports[name], "--dry-run")
		if after := value(`SELECT count(*) FROM users`); after != before || !strings.Contains(dry.Stdout, "nothing was changed") {
			t.Errorf("%s: a dry run left %s users, were %s: %s", name, after, before, dry.Stdout)
		}
		o := importing(exports[name])
		if !strings.Contains(o.Stdout, want) || (o.ExitCode != 0) != (name == "Django") {
			t.Fatalf("%s: exit %d\n%s%s", name, o.ExitCode, o.Stdout, o.Stderr)
		}
		if name == "Django" {
			if !strings.Contains(o.Stderr, "dj_unusable: There is no usable password.") || !strings.Contains(o.Stdout, `"Content Editors" is named content-editors here`) ||
				!strings.Contains(o.Stdout, `"admin" was skipped`) || !strings.Contains(o.Stdout, "1 of them were superusers") {
				t.Errorf("Django: %s%s", o.Stdout, o.Stderr)
			}
		}
		again := importing(exports[name])
		if !strings.Contains(again.Stdout, "Imported 0;") {
			t.Errorf("%s, again: %s", name, again.Stdout)
		}
	}
	// Users without a password are imported only if the operator asks for it.
	if o := importing(exports["Django"], "--without-password"); o.ExitCode != 0 || !strings.Contains(o.Stdout, "Imported 1; already imported: 3") || !strings.Contains(o.Stdout, "have no password") {
		t.Errorf("without a password: %d %s%s", o.ExitCode, o.Stdout, o.Stderr)
	}
	if got := value(`SELECT count(*) FROM user_groups WHERE group_name = 'admin'`); got != "0" {
		t.Errorf("%s became administrators through an import", got)
	}
	for login, want := range map[string]string{
		"dj_alice": "Alice Exämple", "dj_root": "", "fl_bob": "", "carol@example.org": `Carol, "C"`, "carol": `Carol, "C"`, "dora": "Dora", "emil": "Emil", "fl_scrypt": "", "dj_scrypt": "", "ht_joe": "",
	} {
		username, _, _ := strings.Cut(login, "@")
		c := kit.NewClient(t, server.URL())
		if a := c.PostForm("/login", "username", login, "password", "not-"+importPassword); a.StatusCode != http.StatusUnauthorized {
			t.Errorf("%s with a wrong password: %s", login, a.Status)
		}
		epoch := value(`SELECT epoch FROM users WHERE username = $1`, username)
		for round := range 2 {
			// Some authenticate with Basic first, which also rehashes the password.
			if strings.HasPrefix(login, "d") && round == 0 {
				req := kit.NewClient(t, server.URL()).NewRequest(http.MethodGet, "/api/me", "")
				req.SetBasicAuth(login, importPassword)
				if a := c.Do(req); a.StatusCode != http.StatusOK {
					t.Errorf("%s by Basic: %s", login, a.Status)
				}
			}
			c.WantSeeOther(c.PostForm("/login", "username", login, "password", importPassword), "/dashboard")
			if hash := value(`SELECT password_hash FROM users WHERE username = $1`, username); !strings.HasPrefix(hash, "$argon2id$v=19$m=19456,t=2,p=1$") {
				t.Errorf("%s still has the hash %.12s…", login, hash)
			}
		}
		if got := value(`SELECT epoch FROM users WHERE username = $1`, username); got != epoch {
			t.Errorf("%s: the upgrade raised the epoch from %s to %s", login, epoch, got)
		}
		if got := value(`SELECT name FROM users WHERE username = $1`, username); got != want {
			t.Errorf("%s has the name %q, want %q", login, got, want)
		}
		if !c.IsSignedIn() {
			t.Errorf("%s is not signed in", login)
		}
	}
	c := kit.NewClient(t, server.URL())
	for login, why := range map[string]string{"dj_gone": "inactive", "dora@example.org": "unverified address", "dj_unusable": "no password", "alice@example.org": "unverified address"} {
		if a := c.PostForm("/login", "username", login, "password", importPassword); a.StatusCode != http.StatusUnauthorized {
			t.Errorf("%s (%s): %s", login, why, a.Status)
		}
	}
	if got := value(`SELECT string_agg(group_name, ' ') FROM user_groups JOIN users ON users.id = user_id WHERE username = 'dj_alice'`); got != "content-editors" {
		t.Errorf("dj_alice is in %q", got)
	}
}

// TestImport_InvalidRowIsRefusedAsAWhole: the row is reported by its line number and creates no user, origin or group.
func TestImport_InvalidRowIsRefusedAsAWhole(t *testing.T) {
	t.Parallel()
	s := kit.NewSite(t)
	s.Run("", "migrate", "up").WantCode(t, 0)
	s.Run(kit.Password+"\n", "user", "add", "taken", "--password-stdin", "--email", "taken@example.org").WantCode(t, 0)
	const good = "$2y$04$cX/wu8y6oT1C7ulsyH0kyuBziNEztDVvJ6seKgP4zEeaH6CCqb2l6"
	rows := []struct{ row, says string }{
		{"1,fine,Fine,,x," + good, ""},
		{"2,bad hash,,,," + good, "Use letters"},
		{"3,apr,,,new-group,$apr1$HiDb33pW$09LBUYKfHDvWtgS8pRs0Y/", "apr1"},
		{"4,taken,,,new-group," + good, "Another account here has this name"},
		{"5,address,,taken@example.org,new-group," + good, "Another account has this address"},
		{"6,group,,,9group," + good, "cannot be converted"},
		{"7,short", "2 fields"},
		{"8,nul\x00,,,," + good, "Use letters"},
		{"9,email,,not an address,new-group," + good, ""},
		{"10,\"two\nlines\",,,new-group," + good, "Use letters"},
		{"11,huge,,,new-group,pbkdf2_sha256$99999999$s$UrLtbWjGd+14QGW+ayS1GaTKjwxBs3n5VFCkEQ7T9Ec=", "too high or too low"},
		{"12,ĀDMIN\u202e,,,new-group," + good, "Use letters"},
		{"1,again,,,new-group," + good, "again: Its ID belongs to fine here"},
		{"13,last,,,x," + good, ""},
	}
	file := "id,username,name,email,groups,password\n"
	refused, line := 0, 2
	var want []string
	for _, r := range rows {
		if r.says != "" || strings.Contains(r.row, "not an address") {
			want = append(want, fmt.Sprintf("standard input:%d: ", line))
			refused++
		}
		file += r.row + "\n"
		line += strings.Count(r.row, "\n") + 1
	}
	o := s.Run(file, "user", "import", "-", "--email-verified")
	o.WantCode(t, 1)
	reported := strings.Split(strings.TrimSpace(o.Stderr), "\n")
	if len(reported) != refused {
		t.Fatalf("%d rows reported, want %d:\n%s%s", len(reported), refused, o.Stdout, o.Stderr)
	}
	i := 0
	for _, r := range rows {
		if r.says == "" && !strings.Contains(r.row, "not an address") {
			continue
		}
		if !strings.HasPrefix(reported[i], want[i]) || !strings.Contains(reported[i], r.says) || strings.Contains(reported[i], "\u202e") {
			t.Errorf("reported %q, want %q and %q", reported[i], want[i], r.says)
		}
		i++
	}
	if want := fmt.Sprintf("Imported 2; already imported: 0; refused: %d.", refused); !strings.Contains(o.Stdout, want) {
		t.Errorf("got %q, want %q", o.Stdout, want)
	}
	for query, want := range map[string]int{
		`SELECT count(*) FROM users`: 3, `SELECT count(*) FROM user_origins`: 2, `SELECT count(*) FROM user_groups`: 2,
		`SELECT count(*) FROM groups WHERE name NOT IN ('admin', 'x')`: 0,
	} {
		if got := s.QueryInt(query); got != want {
			t.Errorf("%s is %d, want %d", query, got, want)
		}
	}
}

// TestImport_UnreadableFileIsReported: in one sentence.
func TestImport_UnreadableFileIsReported(t *testing.T) {
	t.Parallel()
	s := kit.NewSite(t)
	s.Run("", "migrate", "up").WantCode(t, 0)
	for text, says := range map[string]string{"": "the file is empty", "a,b\n": "no column for the password hash", "\xff\n": "not UTF-8", "[{": "ends unexpectedly"} {
		o := s.Run(text, "user", "import", "-")
		o.WantCode(t, 1)
		if !strings.Contains(o.Stderr, "gatehouse: standard input: ") || !strings.Contains(o.Stderr, says) {
			t.Errorf("%q: %s", text, o.Stderr)
		}
	}
	o := s.Run("", "user", "import", filepath.Join(t.TempDir(), "nowhere.csv"))
	o.WantCode(t, 1)
	if !strings.Contains(o.Stderr, "nowhere.csv") {
		t.Errorf("a missing file: %s", o.Stderr)
	}
}

// TestImport_PrintsNoAddressOrHash: not even if the operator mixes up the columns.
func TestImport_PrintsNoAddressOrHash(t *testing.T) {
	t.Parallel()
	s := kit.NewSite(t)
	s.Run("", "migrate", "up").WantCode(t, 0)
	const address, hash = "ann@wonderland.test", "$2y$04$cX/wu8y6oT1C7ulsyH0kyuBziNEztDVvJ6seKgP4zEeaH6CCqb2l6"
	for name, file := range map[string]string{
		"no head":              address + "," + hash + "\n",
		"an address as a name": "username,password\n" + address + "," + hash + "\n",
		"a hash as a name":     "username,password\n" + hash + "," + hash + "\n",
		"shifted":              "username,password,is_active,created_at,groups\nann," + hash + "," + address + "," + hash + "," + hash + "\n",
		"groups":               "username,password,groups\nann," + hash + "," + address + "\nbob," + hash + "," + hash + "\n",
		"a hash as an address": "username,password,email\nann," + hash + "," + hash + "\n",
		"an address as a hash": "username,password\nann," + address + "\n",
		"quotes":               "username,password,email\nann," + hash + ",\"" + address + "\"x\n",
		"too many":             "username,password,email\nann,x,x," + hash + "," + address + "\n",
		"JSON":                 `[{"username":"` + address + `","password":"` + hash + `"}, "` + hash + `", ` + hash + `]`,
		"htpasswd":             hash + "\n" + address + ":" + hash + "\n",
	} {
		o := s.Run(file, "user", "import", "-")
		o.WantCode(t, 1)
		if strings.Contains(o.Stdout+o.Stderr, "wonderland") || strings.Contains(o.Stdout+o.Stderr, "cX/") || strings.Contains(o.Stdout+o.Stderr, "cx-wu8y6") || o.Stderr == "" {
			t.Errorf("%s: the command printed\n%s%s", name, o.Stdout, o.Stderr)
		}
	}
	if got := s.QueryInt(`SELECT (SELECT count(*) FROM users) + (SELECT count(*) FROM groups WHERE name <> 'admin')`); got != 0 {
		t.Errorf("%d users and groups were created", got)
	}
}

// TestImport_CreatesGroupsButNoAdministrators: missing groups are created and reported; no user is added to a
// group that administers users here.
func TestImport_CreatesGroupsButNoAdministrators(t *testing.T) {
	t.Parallel()
	s := kit.NewSite(t)
	s.Run("", "migrate", "up").WantCode(t, 0)
	for _, command := range []string{"group add readers", "group add helpers", "group grant helpers users.manage", "group add lookers", "group grant lookers users.view"} {
		s.Run("", strings.Fields(command)...).WantCode(t, 0)
	}
	const file = `{"username":"ann","password":"$2y$04$cX/wu8y6oT1C7ulsyH0kyuBziNEztDVvJ6seKgP4zEeaH6CCqb2l6","groups":["Readers","Rédaction Web","Helpers","lookers","ADMIN"]}
{"username":"bob","password":"$2y$04$cX/wu8y6oT1C7ulsyH0kyuBziNEztDVvJ6seKgP4zEeaH6CCqb2l6","groups":["Ærø"]}
`
	for _, args := range [][]string{{"--dry-run"}, nil} {
		o := s.Run(file, append([]string{"user", "import", "-", "--group", "all"}, args...)...)
		o.WantCode(t, 1)
		for _, says := range []string{
			`The group "Readers" is named readers here.`, `The group "Rédaction Web" is named redaction-web here.`,
			`The group "Helpers" was skipped, because the group helpers administers users here. Add a user to it with: gatehouse user join NAME helpers`, `The group "ADMIN" was skipped`,
			"The group redaction-web is new", "The group all is new", "Read as: flask (json).",
		} {
			if !strings.Contains(o.Stdout, says) {
				t.Errorf("%v: the output lacks %q:\n%s", args, says, o.Stdout)
			}
		}
		if strings.Contains(o.Stdout, "The group readers is new") || !strings.HasPrefix(o.Stderr, `standard input:2: bob: The group name "Ærø" cannot be converted`) {
			t.Errorf("%v: %s%s", args, o.Stdout, o.Stderr)
		}
	}
	var got string
	if err := kit.OpenDB(t, "postgres", s.DatabaseURL).QueryRow(`SELECT string_agg(group_name, ' ' ORDER BY group_name) FROM user_groups`).Scan(&got); err != nil || got != "all lookers readers redaction-web" {
		t.Errorf("ann is in %q, %v", got, err)
	}
	o := s.Run(file, "user", "import", "-", "--group", "No Group")
	o.WantCode(t, 1)
	kit.WantErrorLine(t, o, "--group", `"No Group"`)
}

// TestImport_DryRunPredictsTheImport: even for rows that conflict only with each other.
func TestImport_DryRunPredictsTheImport(t *testing.T) {
	t.Parallel()
	s := kit.NewSite(t)
	s.Run("", "migrate", "up").WantCode(t, 0)
	s.Run(kit.Password+"\n", "user", "add", "taken", "--password-stdin", "--email", "taken@example.org").WantCode(t, 0)
	const hash = "$2y$04$cX/wu8y6oT1C7ulsyH0kyuBziNEztDVvJ6seKgP4zEeaH6CCqb2l6"
	const file = "id,username,email,password\n" +
		"1,ann,ann@example.org," + hash + "\n" +
		"2,Ann,other@example.org," + hash + "\n" +
		"3,taken,," + hash + "\n" +
		"4,taker,TAKEN@example.org," + hash + "\n" +
		"5,anna,Ann@example.org," + hash + "\n" +
		"1,annie,," + hash + "\n" +
		"6,nohash,,!\n" +
		"7,last,last@example.org," + hash + "\n"
	dry := s.Run(file, "user", "import", "-", "--dry-run", "--email-verified")
	if got := s.QueryInt(`SELECT count(*) FROM users`); got != 1 {
		t.Errorf("%d users after a dry run", got)
	}
	o := s.Run(file, "user", "import", "-", "--email-verified")
	if dry.ExitCode != o.ExitCode || dry.Stderr != o.Stderr || strings.ReplaceAll(dry.Stdout, "Dry run, nothing was changed. Would import", "Imported") != o.Stdout {
		t.Errorf("the dry run printed\n%s%sbut the import printed\n%s%s", dry.Stdout, dry.Stderr, o.Stdout, o.Stderr)
	}
	if !strings.HasPrefix(o.Stdout, "Imported 2; already imported: 0; refused: 6.\n") || strings.Count(o.Stderr, "\n") != 6 {
		t.Errorf("got %s%s", o.Stdout, o.Stderr)
	}
}
