package e2e

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"gatehouse/internal/testkit"
)

// endings are what ends every session and API token of a user, by name: by the user's own session, or by hand.
var endings = map[string]func(p *principal, byHand func(statement string)){
	"password": func(p *principal, _ func(string)) {
		p.client.wantSeeOther(p.client.changePassword(password, otherPassword), "/account?notice=password#password")
	},
	"end all others": func(p *principal, _ func(string)) {
		p.client.wantSeeOther(p.client.post("/account/sessions/end-others"), "/account?notice=others-ended#sessions")
	},
	"by hand": func(p *principal, byHand func(string)) {
		byHand(`UPDATE users SET epoch = epoch + 1`)
	},
}

// TestEpoch_RestoredBackupRevivesNothing: sessions and API tokens that ended after a backup stay
// ended when the backup is restored, and so do those that began after it when a later epoch is set.
func TestEpoch_RestoredBackupRevivesNothing(t *testing.T) {
	t.Parallel()
	for name, end := range endings {
		t.Run("Postgres/"+name, func(t *testing.T) {
			s := newSite(t)
			server := s.serve()
			dump := filepath.Join(t.TempDir(), "backup.sql")
			restoreRevivesNothing(t, server, end, func(statement string) { byHand(t, s.env(), statement) },
				func() { runTool(t, "pg_dump", "--clean", "--if-exists", "--no-owner", "--file", dump, s.database) },
				func() *testkit.Server {
					server.Stop()
					runTool(t, "psql", "--quiet", "--set", "ON_ERROR_STOP=1", "--output", os.DevNull, "--file", dump, s.database)
					return s.serve()
				})
		})
		t.Run("SQLite/"+name, func(t *testing.T) {
			s := &site{t: t, database: "sqlite:" + filepath.Join(t.TempDir(), "users.db"), redis: testkit.RedisURL(t)}
			server := s.serve()
			path, backup := s.database[len("sqlite:"):], filepath.Join(t.TempDir(), "backup.db")
			restoreRevivesNothing(t, server, end, func(statement string) { byHand(t, s.env(), statement) },
				func() { byHand(t, s.env(), `VACUUM INTO '`+backup+`'`) },
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
					return s.serve()
				})
		})
	}
}

func restoreRevivesNothing(t *testing.T, server *testkit.Server, end func(*principal, func(string)), byHand func(string), save func(), restore func() *testkit.Server) {
	p := registerPrincipal(t, server.URL(), "alice")
	before := *p
	before.client = p.client.copy(server.URL())
	save()
	end(p, byHand)
	gone := func(what string, p *principal) {
		t.Helper()
		for _, way := range []string{bySession, byToken} {
			testkit.Eventually(t, generous, what+" to end the "+way, func() bool {
				return p.ask(way, "/api/me").StatusCode == http.StatusUnauthorized
			})
		}
	}
	gone("the change", &before)
	after := *p
	after.client = newClient(t, server.URL())
	secret := password
	if after.client.post("/login", "username", "alice", "password", secret).StatusCode != http.StatusSeeOther {
		secret = otherPassword
		after.client.wantSeeOther(after.client.post("/login", "username", "alice", "password", secret), "/dashboard")
	}
	after.newToken()

	server = restore()
	lost := after.at(server.URL())
	gone("the backup", before.at(server.URL()))
	gone("the backup", lost)
	// A change after the restore must not meet the epoch that a change before it set.
	back := newClient(t, server.URL())
	back.wantSeeOther(back.post("/login", "username", "alice", "password", password), "/dashboard")
	byHand(`UPDATE users SET epoch = epoch + 1`)
	wantSignedOutSoon(t, back)
	gone("the next change", lost)
	gone("the next change", before.at(server.URL()))
}

func wantSignedOutSoon(t *testing.T, c *client) {
	t.Helper()
	testkit.Eventually(t, generous, "the session to end", func() bool { return c.get("/dashboard").StatusCode != http.StatusOK })
}

// runTool runs a program that has to succeed.
func runTool(t *testing.T, name string, args ...string) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", name, err, out)
	}
}
