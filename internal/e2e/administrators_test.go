package e2e

import (
	"path/filepath"
	"strings"
	"testing"

	"gatehouse/internal/testkit"
)

// TestLastAdministrator_StaysOnTheCommandLine: no command takes the last administrator away, unless it is forced to.
func TestLastAdministrator_StaysOnTheCommandLine(t *testing.T) {
	t.Parallel()
	env := map[string]string{"DATA_DIR": filepath.Join(t.TempDir(), "data"), "GORACE": "atexit_sleep_ms=0"}
	command := func(line string) outcome {
		t.Helper()
		return run(t, env, "", strings.Fields(line)...)
	}
	run(t, env, password+"\n", "user", "add", "alice", "--password-stdin", "--group", "admin").wantCode(t, 0)
	run(t, env, password+"\n", "user", "add", "bob", "--password-stdin").wantCode(t, 0)
	server := testkit.StartServer(t, plainBinary(t), env)
	c := newClient(t, server.URL())
	c.signIn("alice")
	for line, says := range map[string]string{
		"group remove admin": "the group admin", "group ungrant admin users.manage": "the group admin",
		"user leave alice admin": "no active user would be left", "user disable alice": "no active user would be left",
	} {
		o := command(line)
		o.wantCode(t, 1)
		wantOneLine(t, o, says, "--force")
		if o.stdout != "" {
			t.Errorf("%s says %q", line, o.stdout)
		}
	}
	c.want(c.get("/admin/users"), 200)

	// The same through another group, and by a permission of her own.
	for _, line := range []string{"group add keepers", "group grant keepers users.manage", "user join alice keepers", "user leave alice admin"} {
		command(line).wantCode(t, 0)
	}
	for _, line := range []string{"group remove keepers", "group ungrant keepers users.manage", "user leave alice keepers"} {
		o := command(line)
		o.wantCode(t, 1)
		wantOneLine(t, o, "no active user would be left", "--force")
	}
	c.want(c.get("/admin/users"), 200)
	// The page refuses it with the same rule.
	for _, path := range []string{"/admin/groups/remove", "/admin/groups/ungrant"} {
		c.want(c.post(path, "group", "keepers", "permission", "users.manage"), 422)
	}
	for _, line := range []string{"user grant alice users.manage", "group remove keepers"} {
		command(line).wantCode(t, 0)
	}
	command("user ungrant alice users.manage").wantCode(t, 1)
	c.want(c.get("/admin/users"), 200)

	// Somebody else takes over.
	command("user join bob admin").wantCode(t, 0)
	command("user ungrant alice users.manage").wantCode(t, 0)
	command("user disable bob --force").wantOut(t, "bob is disabled; all sessions are ended.\n")
	command("group remove admin --force").wantOut(t, "The group admin is removed.\n")
}

// TestUserJoin_ThatFailsSaysSo: and a user who was to be put into a group that is not there is not added.
func TestUserJoin_ThatFailsSaysSo(t *testing.T) {
	t.Parallel()
	env := map[string]string{"DATA_DIR": filepath.Join(t.TempDir(), "data"), "GORACE": "atexit_sleep_ms=0"}
	run(t, env, password+"\n", "user", "add", "alice", "--password-stdin").wantCode(t, 0)
	for _, line := range []string{"user join alice nosuch", "user leave alice nosuch", "group remove nosuch", "group grant nosuch a.b", "user add bob --password-stdin --group nosuch"} {
		o := run(t, env, password+"\n", strings.Fields(line)...)
		o.wantCode(t, 1)
		wantOneLine(t, o, "there is no group of this name", "nothing was changed")
		if o.stdout != "" || strings.Contains(o.stderr, "joined") || strings.Contains(o.stderr, "added") {
			t.Errorf("%s: %s%s", line, o.stdout, o.stderr)
		}
	}
	if list := run(t, env, "", "user", "list"); strings.Contains(list.stdout, "bob") {
		t.Errorf("bob is there:\n%s", list.stdout)
	}
}
