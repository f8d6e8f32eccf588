package security

import (
	"path/filepath"
	"strings"
	"testing"

	"gatehouse/internal/e2e/kit"
	"gatehouse/internal/testkit"
)

// TestLastAdministrator_CommandsRefuseToRemoveThem: unless --force is given.
func TestLastAdministrator_CommandsRefuseToRemoveThem(t *testing.T) {
	t.Parallel()
	env := map[string]string{"DATA_DIR": filepath.Join(t.TempDir(), "data"), "GORACE": "atexit_sleep_ms=0"}
	command := func(line string) kit.CommandResult {
		t.Helper()
		return kit.RunCommand(t, env, "", strings.Fields(line)...)
	}
	kit.RunCommand(t, env, kit.Password+"\n", "user", "add", "alice", "--password-stdin", "--group", "admin").WantCode(t, 0)
	kit.RunCommand(t, env, kit.Password+"\n", "user", "add", "bob", "--password-stdin").WantCode(t, 0)
	server := testkit.StartServer(t, testkit.BuildWithoutRace(t), env)
	c := kit.NewClient(t, server.URL())
	c.SignIn("alice")
	for line, says := range map[string]string{
		"group remove admin": "the group admin", "group ungrant admin users.manage": "the group admin",
		"user leave alice admin": "no active user would be left", "user disable alice": "no active user would be left",
	} {
		o := command(line)
		o.WantCode(t, 1)
		kit.WantErrorLine(t, o, says, "--force")
		if o.Stdout != "" {
			t.Errorf("%s prints %q", line, o.Stdout)
		}
	}
	c.WantStatus(c.Get("/admin/users"), 200)

	// The same for administrators through another group or with a direct permission.
	for _, line := range []string{"group add keepers", "group grant keepers users.manage", "user join alice keepers", "user leave alice admin"} {
		command(line).WantCode(t, 0)
	}
	for _, line := range []string{"group remove keepers", "group ungrant keepers users.manage", "user leave alice keepers"} {
		o := command(line)
		o.WantCode(t, 1)
		kit.WantErrorLine(t, o, "no active user would be left", "--force")
	}
	c.WantStatus(c.Get("/admin/users"), 200)
	// The page enforces the same rule.
	for _, path := range []string{"/admin/groups/remove", "/admin/groups/ungrant"} {
		c.WantStatus(c.PostForm(path, "group", "keepers", "permission", "users.manage"), 422)
	}
	for _, line := range []string{"user grant alice users.manage", "group remove keepers"} {
		command(line).WantCode(t, 0)
	}
	command("user ungrant alice users.manage").WantCode(t, 1)
	c.WantStatus(c.Get("/admin/users"), 200)

	// Another administrator takes over.
	command("user join bob admin").WantCode(t, 0)
	command("user ungrant alice users.manage").WantCode(t, 0)
	command("user disable bob --force").WantOutput(t, "Disabled bob and ended all their sessions.\n")
	command("group remove admin --force").WantOutput(t, "Removed the group admin.\n")
}

// TestUserJoin_MissingGroupIsAnError: and a user who was to be added to a missing group is not created.
func TestUserJoin_MissingGroupIsAnError(t *testing.T) {
	t.Parallel()
	env := map[string]string{"DATA_DIR": filepath.Join(t.TempDir(), "data"), "GORACE": "atexit_sleep_ms=0"}
	kit.RunCommand(t, env, kit.Password+"\n", "user", "add", "alice", "--password-stdin").WantCode(t, 0)
	for _, line := range []string{"user join alice nosuch", "user leave alice nosuch", "group remove nosuch", "group grant nosuch a.b", "user add bob --password-stdin --group nosuch"} {
		o := kit.RunCommand(t, env, kit.Password+"\n", strings.Fields(line)...)
		o.WantCode(t, 1)
		kit.WantErrorLine(t, o, "there is no such group", "nothing was changed")
		if o.Stdout != "" || strings.Contains(o.Stderr, "joined") || strings.Contains(o.Stderr, "added") {
			t.Errorf("%s: %s%s", line, o.Stdout, o.Stderr)
		}
	}
	if list := kit.RunCommand(t, env, "", "user", "list"); strings.Contains(list.Stdout, "bob") {
		t.Errorf("bob exists:\n%s", list.Stdout)
	}
}
