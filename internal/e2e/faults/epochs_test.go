package faults

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"gatehouse/internal/e2e/kit"
	"gatehouse/internal/testkit"
)

// endings are the ways to end every session and API token of a user: through the user's session, or directly in SQL.
var endings = map[string]func(p *kit.Principal, execSQL func(statement string)){
	"password": func(p *kit.Principal, _ func(string)) {
		p.Client.WantSeeOther(p.Client.ChangePassword(kit.Password, kit.OtherPassword), "/account?notice=password")
	},
	"end all others": func(p *kit.Principal, _ func(string)) {
		p.Client.WantSeeOther(p.Client.PostForm("/account/sessions/end-others"), "/account?notice=others-ended")
	},
	"SQL": func(p *kit.Principal, execSQL func(string)) {
		execSQL(`UPDATE users SET epoch = epoch + 1`)
	},
}

// TestEpoch_RestoredBackupRevivesNothing: sessions and API tokens that ended after a backup stay invalid when the
// backup is restored, and those created after it become invalid when a later epoch is set.
func TestEpoch_RestoredBackupRevivesNothing(t *testing.T) {
	t.Parallel()
	for name, end := range endings {
		t.Run("Postgres/"+name, func(t *testing.T) {
			s := kit.NewSite(t)
			server := s.Serve()
			dump := filepath.Join(t.TempDir(), "backup.sql")
			restoreRevivesNothing(t, server, end, func(statement string) { execSQL(t, s.Env(), statement) },
				func() { runTool(t, "pg_dump", "--clean", "--if-exists", "--no-owner", "--file", dump, s.DatabaseURL) },
				func() *testkit.Server {
					server.Stop()
					runTool(t, "psql", "--quiet", "--set", "ON_ERROR_STOP=1", "--output", os.DevNull, "--file", dump, s.DatabaseURL)
					return s.Serve()
				})
		})
		t.Run("SQLite/"+name, func(t *testing.T) {
			s := &kit.Site{T: t, DatabaseURL: "sqlite:" + filepath.Join(t.TempDir(), "users.db"), RedisURL: testkit.RedisURL(t)}
			server := s.Serve()
			path, backup := s.DatabaseURL[len("sqlite:"):], filepath.Join(t.TempDir(), "backup.db")
			restoreRevivesNothing(t, server, end, func(statement string) { execSQL(t, s.Env(), statement) },
				func() { execSQL(t, s.Env(), `VACUUM INTO '`+backup+`'`) },
				func() *testkit.Server {
					server.Stop()
					for _, file := range []string{path, path + "-wal", path + "-shm"} {
						if err := os.RemoveAll(file); err != nil {
							t.Fatal(err)
						}
					}
					if err := os.Rename(backup, path); err != nil {
						t.Fatal(err)
					}
					return s.Serve()
				})
		})
	}
}

func restoreRevivesNothing(t *testing.T, server *testkit.Server, end func(*kit.Principal, func(string)), execSQL func(string), save func(), restore func() *testkit.Server) {
	p := kit.RegisterPrincipal(t, server.URL(), "alice")
	before := *p
	before.Client = p.Client.CopySession(server.URL())
	save()
	end(p, execSQL)
	gone := func(what string, p *kit.Principal) {
		t.Helper()
		for _, way := range []string{kit.BySession, kit.ByToken} {
			testkit.Eventually(t, kit.WaitTimeout, what+" to end the "+way, func() bool {
				return p.Get(way, "/api/me").StatusCode == http.StatusUnauthorized
			})
		}
	}
	gone("the change", &before)
	after := *p
	after.Client = kit.NewClient(t, server.URL())
	secret := kit.Password
	if after.Client.PostForm("/login", "username", "alice", "password", secret).StatusCode != http.StatusSeeOther {
		secret = kit.OtherPassword
		after.Client.WantSeeOther(after.Client.PostForm("/login", "username", "alice", "password", secret), "/dashboard")
	}
	after.CreateToken()

	server = restore()
	lost := after.At(server.URL())
	gone("the backup", before.At(server.URL()))
	gone("the backup", lost)
	// A change after the restore must not set the epoch of a change before it.
	back := kit.NewClient(t, server.URL())
	back.WantSeeOther(back.PostForm("/login", "username", "alice", "password", kit.Password), "/dashboard")
	execSQL(`UPDATE users SET epoch = epoch + 1`)
	wantSignedOutSoon(t, back)
	gone("the next change", lost)
	gone("the next change", before.At(server.URL()))
}

func wantSignedOutSoon(t *testing.T, c *kit.Client) {
	t.Helper()
	testkit.Eventually(t, kit.WaitTimeout, "the session to end", func() bool { return c.Get("/dashboard").StatusCode != http.StatusOK })
}

// runTool runs a program and fails the test if it fails.
func runTool(t *testing.T, name string, args ...string) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", name, err, out)
	}
}
