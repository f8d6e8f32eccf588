package api

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"gatehouse/internal/e2e/kit"
	"gatehouse/internal/testkit"
	"gatehouse/internal/testkit/servers"
)

// TestServe_InvalidSettingsAbortStartup: the exit code is 1, and one line says what to do.
func TestServe_InvalidSettingsAbortStartup(t *testing.T) {
	t.Parallel()
	s := kit.NewSite(t)
	s.Run("", "migrate", "up").WantCode(t, 0)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { taken.Close() }) // after the parallel tests below
	closed := fmt.Sprintf("127.0.0.1:%d", testkit.FreePort(t))
	frozen := testkit.StartRedis(t)
	frozen.Pause()
	for _, test := range []struct {
		name string
		env  []string
		// says are substrings of the line.
		says []string
	}{
		{"taken port", []string{"LISTEN_ADDR", taken.Addr().String()}, []string{"LISTEN_ADDR", "in use", "another program"}},
		{"no port", []string{"LISTEN_ADDR", "localhost"}, []string{"LISTEN_ADDR", "host:port"}},
		{"unreachable Postgres", []string{"DATABASE_URL", "postgres://gatehouse:" + kit.SecretSetting + "@" + closed + "/gatehouse"}, []string{"DATABASE_URL", "Postgres", "refused"}},
		{"wrong password for Postgres", []string{"DATABASE_URL", regexp.MustCompile(`:[^:@/]+@`).ReplaceAllString(s.DatabaseURL, ":"+kit.SecretSetting+"@")}, []string{"DATABASE_URL", "password authentication failed"}},
		{"Postgres without TLS", []string{"DATABASE_URL", strings.Replace(s.DatabaseURL, "sslmode=disable", "sslmode=require", 1)}, []string{"DATABASE_URL", "does not use TLS", "?sslmode=disable"}},
		{"port of Postgres", []string{"DATABASE_URL", "postgres://gatehouse:" + kit.SecretSetting + "@localhost:54321x/gatehouse"}, []string{"DATABASE_URL", "port", "1 to 65535"}},
		{"port to listen on", []string{"LISTEN_ADDR", "localhost:80800"}, []string{"LISTEN_ADDR", `port "80800"`, "1 to 65535"}},
		{"idle time above the lifetime", []string{"SESSION_IDLE", "2d"}, []string{"SESSION_IDLE", "SESSION_LIFETIME", "24h"}},
		{"unreachable Redis", []string{"REDIS_URL", "redis://:" + kit.SecretSetting + "@" + closed}, []string{"REDIS_URL", "refused"}},
		{"silent Redis", []string{"REDIS_URL", frozen.URL()}, []string{"REDIS_URL", "unavailable"}},
		{"unreachable cache", []string{"CACHE_URL", "redis://:" + kit.SecretSetting + "@" + closed}, []string{"CACHE_URL", "refused"}},
		{"password for a Redis without", []string{"REDIS_URL", strings.Replace(s.RedisURL, "redis://", "redis://:"+kit.SecretSetting+"@", 1)}, []string{"REDIS_URL", "AUTH"}},
		{"cache in the sessions' database", []string{"CACHE_URL", s.RedisURL + "/0"}, []string{"CACHE_URL", "REDIS_URL", "same database"}},
		{"short SECRET_KEY", []string{"SECRET_KEY", "aHVudGVyMi1uZXZlcg=="}, []string{"SECRET_KEY", "13 bytes", "32", "openssl rand"}},
		{"SECRET_KEY not base64", []string{"SECRET_KEY", kit.SecretSetting + "!"}, []string{"SECRET_KEY", "base64", "openssl rand"}},
		{"missing SECRET_KEY", []string{"SECRET_KEY", ""}, []string{"SECRET_KEY", "required", "openssl rand"}},
		{"duration", []string{"SESSION_IDLE", "soon"}, []string{"SESSION_IDLE", "soon"}},
		{"duration without a unit", []string{"SESSION_LIFETIME", "3600"}, []string{"SESSION_LIFETIME", "3600"}},
		{"negative duration", []string{"REMEMBER_IDLE", "-1h"}, []string{"REMEMBER_IDLE", "at least 1s"}},
		{"network", []string{"TRUSTED_PROXIES", "10.0.0.0/99"}, []string{"TRUSTED_PROXIES", "10.0.0.0/99"}},
		{"second network", []string{"TRUSTED_PROXIES", "10.0.0.0/8,proxy"}, []string{"TRUSTED_PROXIES", "proxy"}},
		{"BASE_URL without a scheme", []string{"BASE_URL", "login.example.org"}, []string{"BASE_URL", "login.example.org"}},
		{"BASE_URL with a path", []string{"BASE_URL", "https://example.org/login"}, []string{"BASE_URL", "https://example.org/login"}},
		{"BASE_URL with a password", []string{"BASE_URL", "https://me:" + kit.SecretSetting + "@example.org"}, []string{"BASE_URL"}},
		{"invalid BASE_URL", []string{"BASE_URL", "http://%zz"}, []string{"BASE_URL"}},
		{"COOKIE_DOMAIN", []string{"COOKIE_DOMAIN", "example.com"}, []string{"COOKIE_DOMAIN", "BASE_URL"}},
		{"PASSWORD_MIN_LENGTH", []string{"PASSWORD_MIN_LENGTH", "4"}, []string{"PASSWORD_MIN_LENGTH", "8 to 64"}},
		{"REGISTRATION", []string{"REGISTRATION", "perhaps"}, []string{"REGISTRATION", "open", "closed"}},
		{"mail", []string{"SMTP_URL", "smtp://me:" + kit.SecretSetting + "@mail.example.org"}, []string{"SMTP_URL", "cannot send mail", "unset"}},
		{"metrics", []string{"METRICS_ADDR", "9090"}, []string{"METRICS_ADDR", "host:port"}},
		{"Redis Cluster", []string{"REDIS_URL", "redis+cluster://:" + kit.SecretSetting + "@a:6379,b:6379"}, []string{"REDIS_URL", "redis+cluster://", "not supported"}},
		{"Redis Sentinel", []string{"REDIS_URL", "redis+sentinel://:" + kit.SecretSetting + "@a:26379/main"}, []string{"REDIS_URL", "redis+sentinel://", "not supported"}},
		{"invalid Redis URL", []string{"REDIS_URL", "redis://:" + kit.SecretSetting + "@localhost:port"}, []string{"REDIS_URL"}},
		{"another database", []string{"DATABASE_URL", "mysql://me:" + kit.SecretSetting + "@localhost/x"}, []string{"DATABASE_URL", "postgres://", "sqlite:"}},
		{"invalid database URL", []string{"DATABASE_URL", "postgres://me:" + kit.SecretSetting + "%zz@localhost/x"}, []string{"DATABASE_URL", "percent-encoded"}},
		{"stale schema", []string{"DATABASE_URL", testkit.PostgresURL(t)}, []string{"schema", "version 0", "gatehouse migrate up", "--migrate"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			env := s.Env(append([]string{"LISTEN_ADDR", "127.0.0.1:0"}, test.env...)...)
			o := kit.RunCommand(t, env, "", "serve")
			o.WantCode(t, 1)
			kit.WantErrorLine(t, o, test.says...)
			if o.Duration > 10*time.Second {
				t.Errorf("took %v, want at most 10 s", o.Duration)
			}
			if o.Stdout != "" {
				t.Errorf("got %q on stdout, want nothing", o.Stdout)
			}
		})
	}
}

func TestHelp_NamesSettingsAndCommands(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"--help"}, {"-h"}, {"serve", "--help"}, {"user", "add", "--help"}} {
		o := kit.RunCommand(t, map[string]string{"SECRET_KEY": kit.SecretKey}, "", args...)
		o.WantCode(t, 0)
		if o.Stderr != "" || !strings.HasPrefix(o.Stdout, "Usage: gatehouse") {
			t.Errorf("%v: stdout %q, stderr %q", args, o.Stdout, o.Stderr)
		}
		kit.WantNoSecret(t, o)
	}
	help := kit.RunCommand(t, nil, "", "--help").Stdout
	for _, word := range []string{"$LISTEN_ADDR", "$BASE_URL", "$DATABASE_URL", "$REDIS_URL", "$SECRET_KEY", "serve", "migrate", "user", "doctor", "version"} {
		if !strings.Contains(help, word) {
			t.Errorf("--help does not name %s", word)
		}
	}
	o := kit.RunCommand(t, map[string]string{"BASE_URL": "nonsense"}, "", "version")
	o.WantCode(t, 0)
	if !regexp.MustCompile(`^gatehouse \S.*\n$`).MatchString(o.Stdout) {
		t.Errorf("version: %q", o.Stdout)
	}
	for _, args := range [][]string{{"nonsense"}, {"--nonsense"}, {"user"}, {"user", "add"}, {"migrate"}} {
		o := kit.RunCommand(t, nil, "", args...)
		o.WantCode(t, 2)
		kit.WantErrorLine(t, o, "--help")
	}
}

func TestMigrate_OnPostgres(t *testing.T) {
	t.Parallel()
	s := kit.NewSite(t)
	status := func(state string) {
		t.Helper()
		o := s.Run("", "migrate", "status")
		o.WantCode(t, 0)
		for line := range strings.Lines(o.Stdout) {
			if !regexp.MustCompile(`^\d+ +\d{5}_\w+\.sql +` + state).MatchString(line) {
				t.Errorf("migrate status: %q, want %q", line, state)
			}
		}
	}
	status(`pending\n$`)
	if n := s.QueryInt(`SELECT count(*) FROM pg_tables WHERE schemaname = 'public'`); n != 0 {
		t.Error("migrate status changed the database")
	}
	for _, o := range kit.RunTwice(func() kit.CommandResult { return s.Run("", "migrate", "up") }) {
		if !regexp.MustCompile(`^The schema is at version [1-9]\d*\.\n$`).MatchString(o.Stdout) || o.ExitCode != 0 || o.Stderr != "" {
			t.Errorf("migrate up: exit code %d, %q, %q", o.ExitCode, o.Stdout, o.Stderr)
		}
	}
	status(`applied \d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ\n$`)
	if n := s.QueryInt(`SELECT count(*) - count(DISTINCT version_id) FROM goose_db_version`); n != 0 {
		t.Error("a migration was applied twice")
	}
	s.Run("", "migrate", "up").WantCode(t, 0)

	if _, err := kit.OpenDB(t, "postgres", s.DatabaseURL).Exec(`INSERT INTO goose_db_version (version_id, is_applied) VALUES (99999, true)`); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"serve"}, {"serve", "--migrate"}, {"migrate", "up"}, {"user", "list"}} {
		o := s.Run("", args...)
		o.WantCode(t, 1)
		kit.WantErrorLine(t, o, "newer than this program")
	}
}

func TestMigrate_OnEmbeddedDatabase(t *testing.T) {
	t.Parallel()
	env := map[string]string{"DATA_DIR": filepath.Join(t.TempDir(), "data")}
	for _, o := range kit.RunTwice(func() kit.CommandResult { return kit.RunCommand(t, env, "", "migrate", "up") }) {
		if o.ExitCode != 0 || o.Stderr != "" {
			t.Errorf("migrate up: exit code %d, %q, %q", o.ExitCode, o.Stdout, o.Stderr)
		}
	}
	kit.RunCommand(t, env, kit.Password, "user", "add", "alice", "--password-stdin").WantOutput(t, "Added alice.\n")
}

func TestUserCommands_ChangeUsers(t *testing.T) {
	t.Parallel()
	s := kit.NewSite(t)
	s.Run("", "migrate", "up").WantCode(t, 0)
	c := kit.NewClient(t, s.Serve("REGISTRATION", "closed").URL())

	s.Run(kit.Password+"\n", "user", "add", "Alice", "--password-stdin", "--name", "Alice Example", "--email", "Alice@Example.org").WantOutput(t, "Added alice.\n")
	s.Run(kit.Password+"\r\n", "user", "add", "admin", "--password-stdin").WantOutput(t, "Added admin.\n")
	c.SignIn("alice")
	c.WantSeeOther(c.PostForm("/login", "username", "alice@example.org", "password", kit.Password), "/dashboard")
	kit.NewClient(t, c.BaseURL).SignIn("admin")

	for _, test := range []struct {
		name, stdin string
		args        []string
		says        []string
	}{
		{"weak password", "password1\n", []string{"user", "add", "bob", "--password-stdin"}, []string{"password:", "Too easy to guess"}},
		{"short password", "x7!\n", []string{"user", "add", "bob", "--password-stdin"}, []string{"password:", "Use at least 8 characters"}},
		{"no password", "", []string{"user", "add", "bob", "--password-stdin"}, []string{"password:", "Enter a password"}},
		{"no terminal", kit.Password, []string{"user", "add", "bob"}, []string{"no terminal", "--password-stdin"}},
		{"taken name", kit.Password, []string{"user", "add", "ALICE", "--password-stdin"}, []string{"username:", "taken"}},
		{"bad name", kit.Password, []string{"user", "add", "no spaces", "--password-stdin"}, []string{"username:", "letters"}},
		{"bad address", kit.Password, []string{"user", "add", "bob", "--password-stdin", "--email", "bob"}, []string{"email:", "name@example.org"}},
		{"taken address", kit.Password, []string{"user", "add", "bob", "--password-stdin", "--email", "alice@example.org"}, []string{"email:", "Another account"}},
		{"weak new password", "12345678\n", []string{"user", "passwd", "alice", "--password-stdin"}, []string{"password:", "Too easy to guess"}},
		{"unknown user to change", kit.OtherPassword, []string{"user", "passwd", "nobody", "--password-stdin"}, []string{`no user "nobody"`}},
		{"unknown user to disable", "", []string{"user", "disable", "nobody"}, []string{`no user "nobody"`}},
		{"unknown user to enable", "", []string{"user", "enable", "nobody"}, []string{`no user "nobody"`}},
		{"unknown user to log out", "", []string{"user", "logout", "nobody"}, []string{`no user "nobody"`}},
		{"no name", "", []string{"user", "logout", "no spaces"}, []string{`"no spaces" is not a valid user name`}},
	} {
		t.Run(test.name, func(t *testing.T) {
			o := s.Run(test.stdin, test.args...)
			o.WantCode(t, 1)
			kit.WantErrorLine(t, o, test.says...)
			if o.Stdout != "" {
				t.Errorf("got %q on stdout, want nothing", o.Stdout)
			}
		})
	}
	if n := s.QueryInt(`SELECT count(*) FROM users`); n != 2 {
		t.Errorf("got %d users, want 2", n)
	}

	s.Run("", "user", "disable", "admin").WantCode(t, 0)
	list := s.Run("", "user", "list")
	list.WantCode(t, 0)
	want := `^USER +NAME +EMAIL +STATE +LAST SIGN-IN\n` +
		`admin +disabled +\d{4}-\d\d-\d\d \d\d:\d\dZ\n` +
		`alice +Alice Example +alice@example\.org +active +\d{4}-\d\d-\d\d \d\d:\d\dZ\n$`
	if !regexp.MustCompile(want).MatchString(list.Stdout) {
		t.Errorf("user list:\n%s", list.Stdout)
	}
	kit.WantNoSecret(t, list)
	if strings.Contains(list.Stdout, "argon2id") {
		t.Error("the list shows password hashes")
	}
}

func TestDoctor_ReportsProblems(t *testing.T) {
	t.Parallel()
	s := kit.NewSite(t)
	lines := func(t *testing.T, o kit.CommandResult) map[string]string {
		t.Helper()
		if o.Stderr != "" {
			t.Errorf("got %q on stderr, want nothing", o.Stderr)
		}
		kit.WantNoSecret(t, o)
		found := map[string]string{}
		checks, _, _ := strings.Cut(o.Stdout, "\n\n")
		for line := range strings.Lines(checks + "\n") {
			if m := regexp.MustCompile(`^(ok|warn|FAULT) +(\w+) +(\S.*)\n$`).FindStringSubmatch(line); m != nil {
				found[m[2]] = m[1] + " " + m[3]
			} else if line != "\n" {
				t.Errorf("doctor printed %q", line)
			}
		}
		return found
	}
	listen := []string{"LISTEN_ADDR", fmt.Sprintf("127.0.0.1:%d", testkit.FreePort(t))}
	doctor := func(pairs ...string) kit.CommandResult {
		return kit.RunCommand(t, s.Env(append(listen, pairs...)...), "", "doctor")
	}

	stale := doctor()
	stale.WantCode(t, 1)
	if got := lines(t, stale)["DATABASE_URL"]; !strings.HasPrefix(got, "FAULT") || !strings.Contains(got, "gatehouse migrate up") {
		t.Errorf("stale schema: %q", got)
	}
	s.Run("", "migrate", "up").WantCode(t, 0)
	good := doctor()
	good.WantCode(t, 0)
	for what, line := range lines(t, good) {
		if !strings.HasPrefix(line, "ok ") {
			t.Errorf("%s: %s", what, line)
		}
	}
	for _, what := range []string{"settings", "SECRET_KEY", "BASE_URL", "LISTEN_ADDR", "DATABASE_URL", "REDIS_URL", "CACHE_URL"} {
		if lines(t, good)[what] == "" {
			t.Errorf("doctor does not mention %s", what)
		}
	}

	closed := fmt.Sprintf("127.0.0.1:%d", testkit.FreePort(t))
	several := doctor("DATABASE_URL", "postgres://me:"+kit.SecretSetting+"@"+closed+"/x", "REDIS_URL", "redis://:"+kit.SecretSetting+"@"+closed, "SECRET_KEY", "c2hvcnQ=", "BASE_URL", "http://example.org")
	several.WantCode(t, 1)
	found := lines(t, several)
	for _, what := range []string{"DATABASE_URL", "REDIS_URL", "CACHE_URL", "SECRET_KEY"} {
		if !strings.HasPrefix(found[what], "FAULT") {
			t.Errorf("%s: %q", what, found[what])
		}
	}
	if !strings.HasPrefix(found["BASE_URL"], "warn") || !strings.Contains(several.Stdout, "\n4 problems found.\n") {
		t.Errorf("doctor with four problems and a warning:\n%s", several.Stdout)
	}

	evicting := testkit.StartRedis(t, "--maxmemory-policy", "allkeys-lru")
	o := doctor("REDIS_URL", evicting.URL())
	o.WantCode(t, 1)
	if got := lines(t, o)["REDIS_URL"]; !strings.HasPrefix(got, "FAULT") || !strings.Contains(got, "noeviction") {
		t.Errorf("a Redis that evicts: %q", got)
	}
	bad := doctor("TRUSTED_PROXIES", "nonsense")
	bad.WantCode(t, 1)
	if got := lines(t, bad)["settings"]; !strings.HasPrefix(got, "FAULT TRUSTED_PROXIES") {
		t.Errorf("an invalid setting: %q", got)
	}
	kit.RunCommand(t, map[string]string{"LISTEN_ADDR": listen[1]}, "", "doctor").WantCode(t, 0)
}

// TestServe_StartsWithoutSettings: without arguments, in an empty directory, the program serves the site and prints its
// address.
func TestServe_StartsWithoutSettings(t *testing.T) {
	binary := testkit.BuildWithoutRace(t)
	var best time.Duration
	for range 3 {
		port := testkit.FreePort(t)
		took, said := serveWithoutArguments(t, binary, port)
		for _, part := range []string{fmt.Sprintf("Gatehouse is running at http://localhost:%d\n", port), "SQLite", "Sessions are stored in this process", "DATABASE_URL", "gatehouse doctor"} {
			if !strings.Contains(said, part) {
				t.Errorf("the output lacks %q:\n%s", part, said)
			}
		}
		if best == 0 || took < best {
			best = took
		}
	}
	t.Logf("the first page took %v from the start", best.Round(time.Millisecond))
	if best > time.Second {
		t.Errorf("the first page took %v from the start, want at most 1 s", best)
	}
}

// serveWithoutArguments runs the program without arguments. It returns the time to the first page and the output.
func serveWithoutArguments(t *testing.T, binary string, port int) (took time.Duration, said string) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	cmd := exec.CommandContext(ctx, binary)
	cmd.Dir = t.TempDir()
	// localhost:8080, the default, may be taken where the test runs.
	cmd.Env = []string{fmt.Sprintf("LISTEN_ADDR=localhost:%d", port)}
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	var out strings.Builder
	cmd.Stdout = &out
	begun := time.Now()
	if err := servers.Start(cmd, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	address := fmt.Sprintf("http://localhost:%d/register", port)
	testkit.Eventually(t, 30*time.Second, "the first page", func() bool {
		resp, err := http.Get(address)
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
	took = time.Since(begun)
	stop()
	if err := cmd.Wait(); err != nil && cmd.ProcessState.ExitCode() != 0 {
		t.Errorf("the server ended with %v", err)
	}
	return took, out.String()
}
