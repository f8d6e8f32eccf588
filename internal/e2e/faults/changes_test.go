package faults

import (
	"fmt"
	"net/http"
	"testing"

	"gatehouse/internal/e2e/kit"
	"gatehouse/internal/testkit"
)

// disableTriggers drops the triggers that notify servers of changes, so that only the changes that servers and commands
// publish arrive. Servers keep listening, so users stay in local memory.
func disableTriggers(x *kit.Target) {
	x.T.Helper()
	for trigger, table := range map[string]string{"users_tell": "users", "user_groups_tell": "user_groups", "user_permissions_tell": "user_permissions", "group_permissions_tell": "group_permissions"} {
		x.Exec(`DROP TRIGGER ` + trigger + ` ON ` + table)
	}
}

// TestChange_ImmediateOnOtherServers: even without notifications, a change through one server takes effect for the next
// request at another: 1,000 changes without a stale response.
func TestChange_ImmediateOnOtherServers(t *testing.T) {
	t.Parallel()
	x := kit.NewTarget(t)
	p := kit.NewPrincipal(x, "alice")
	there := p.At(x.Serve().URL())
	disableTriggers(x)
	stale := 0
	for i := range 980 {
		way, name := kit.AuthMethods[i%3], fmt.Sprint("Alice ", i)
		p.Client.WantSeeOther(p.Client.PostForm("/account/profile", "name", name, "email", "", "time_zone", "UTC"), "/account?notice=profile")
		got := ""
		if i%2 == 0 {
			got = there.WantGet(way, "/auth/verify", http.StatusOK).Header.Get("Remote-Name")
		} else {
			var me kit.Me
			kit.DecodeJSON(t, there.WantGet(way, "/api/me", http.StatusOK), &me)
			got = me.User.Name
		}
		if got != name {
			t.Errorf("with %s: got the name %q after change %d", way, got, i)
			stale++
		}
		if stale > 10 {
			t.Fatal("stopping after these errors")
		}
	}
	// Changes that end every session and token, each followed immediately by one request.
	admin := kit.NewClient(t, x.Server.URL())
	admin.Register("the-admin")
	if out := x.Run("", "user", "join", "the-admin", "admin"); out.ExitCode != 0 {
		t.Fatalf("%+v", out)
	}
	for i := range 10 {
		for _, way := range kit.AuthMethods {
			there.WantGet(way, "/api/time", http.StatusOK)
		}
		admin.WantSeeOther(admin.PostForm("/admin/users/"+p.ID+"/active", "active", "false"), "/admin/users/"+p.ID+"?notice=user-disabled")
		if a := there.Get(kit.AuthMethods[i%3], "/api/me"); a.StatusCode != http.StatusUnauthorized {
			t.Errorf("disabled, by %s: %s", kit.AuthMethods[i%3], a.Status)
		}
		admin.WantSeeOther(admin.PostForm("/admin/users/"+p.ID+"/active", "active", "true"), "/admin/users/"+p.ID+"?notice=user-enabled")
		x.ClearThrottles()
		flushWaits(x)
		p.Client.SignIn("alice")
		p.CreateToken()
		there = p.At(there.Client.BaseURL)
	}
}

// flushWaits ends the waits of programs that use Basic.
func flushWaits(x *kit.Target) {
	x.T.Helper()
	keys, err := x.Cache.Do("KEYS", "waiting:*")
	if err != nil {
		x.T.Fatal(err)
	}
	for _, key := range keys.([]any) {
		if _, err := x.Cache.Do("DEL", key); err != nil {
			x.T.Fatal(err)
		}
	}
}

// TestChange_ImmediateAfterCommands: changes by command take effect for the next request, too, with Postgres and with the
// embedded stores.
func TestChange_ImmediateAfterCommands(t *testing.T) {
	t.Parallel()
	x := kit.NewTarget(t)
	disableTriggers(x)
	both := []*testkit.Server{x.Server, x.Serve()}
	p := kit.NewPrincipal(x, "alice")
	command := func(args ...string) {
		t.Helper()
		if out := x.Run("", args...); out.ExitCode != 0 {
			t.Fatalf("%q: %+v", args, out)
		}
	}
	command("group", "add", "staff")
	for _, way := range kit.AuthMethods {
		for _, server := range both {
			at := p.At(server.URL())
			at.WantGet(way, "/auth/verify", http.StatusOK)
			command("user", "join", "alice", "staff")
			at.WantGet(way, "/auth/verify?group=staff", http.StatusOK)
			command("user", "leave", "alice", "staff")
			at.WantGet(way, "/auth/verify?group=staff", http.StatusForbidden)
			command("user", "grant", "alice", "books.read")
			at.WantGet(way, "/auth/verify?permission=books.read", http.StatusOK)
			command("user", "ungrant", "alice", "books.read")
			at.WantGet(way, "/auth/verify?permission=books.read", http.StatusForbidden)
		}
	}
	command("group", "grant", "staff", "books.write")
	command("user", "join", "alice", "staff")
	p.WantGet(kit.BySession, "/auth/verify?permission=books.write", http.StatusOK)
	command("group", "ungrant", "staff", "books.write") // affects all users
	for _, server := range both {
		for _, way := range kit.AuthMethods {
			p.At(server.URL()).WantGet(way, "/auth/verify?permission=books.write", http.StatusForbidden)
		}
	}
	command("user", "disable", "alice")
	for _, server := range both {
		for _, way := range []string{kit.BySession, kit.ByToken} {
			p.At(server.URL()).WantGet(way, "/api/me", http.StatusUnauthorized)
		}
	}
}

// TestChangeStream_LossInvalidatesEverything: when the stream is missing, went backward or no longer has the last entry
// that the server read, local memory is not used.
func TestChangeStream_LossInvalidatesEverything(t *testing.T) {
	t.Parallel()
	x := kit.NewTarget(t)
	disableTriggers(x)
	p := kit.NewPrincipal(x, "alice")
	x.Exec(`INSERT INTO groups (name) VALUES ('staff')`)
	losses := map[string]func(){
		"flushed":  func() { x.Do("DEL", "user-changes") },
		"replaced": func() { x.Do("DEL", "user-changes"); x.Do("XADD", "user-changes", "*", "user", "somebody") },
		"restored": func() {
			old := x.Do("DUMP", "user-changes")
			x.Do("XADD", "user-changes", "*", "user", "somebody")
			p.WantGet(kit.BySession, "/api/me", http.StatusOK)
			x.Do("RESTORE", "user-changes", 0, old, "REPLACE")
		},
		"trimmed": func() {
			x.Do("XADD", "user-changes", "*", "user", "somebody")
			x.Do("XTRIM", "user-changes", "MAXLEN", 1)
		},
		"overtaken": func() {
			for range 250 {
				x.Do("XADD", "user-changes", "*", "user", "somebody")
			}
		},
		"a string": func() { x.Do("SET", "user-changes", "something else") },
	}
	inGroup := false
	for name, lose := range losses {
		for _, way := range []string{kit.BySession, kit.ByToken} {
			var want int
			testkit.Eventually(t, kit.WaitTimeout, "a stale response from local memory", func() bool {
				awaitStream(x)
				testkit.Eventually(t, kit.WaitTimeout, "the user to be in memory", func() bool { return fromMemory(x, p, way) })
				// The change is made directly in SQL and the cached user deleted, so only local memory has the old user.
				inGroup = !inGroup
				if inGroup {
					x.Exec(`INSERT INTO user_groups (user_id, group_name) VALUES ($1, 'staff')`, p.ID)
					want = http.StatusOK
				} else {
					x.Exec(`DELETE FROM user_groups`)
					want = http.StatusForbidden
				}
				if _, err := x.Cache.Do("DEL", "user:"+p.ID); err != nil {
					t.Fatal(err)
				}
				// The response is not stale if the repair of the stream has just invalidated everything again.
				return p.Get(way, "/auth/verify?group=staff").StatusCode != want
			})
			lose()
			if a := p.Get(way, "/auth/verify?group=staff"); a.StatusCode != want {
				t.Errorf("%s, %s: got %s, want %d", name, way, a.Status, want)
			}
		}
	}
}

// awaitStream waits until the key holds a stream again.
func awaitStream(x *kit.Target) {
	x.T.Helper()
	testkit.Eventually(x.T, kit.WaitTimeout, "the stream to exist", func() bool { return fmt.Sprint(x.Do("TYPE", "user-changes")) == "stream" })
}

// fromMemory reports whether the cost of a request shows that the user is in local memory.
func fromMemory(x *kit.Target, p *kit.Principal, way string) bool {
	x.T.Helper()
	line := x.RequestLog(p.Get(way, "/api/time"))
	return line["redis"] == 1.0 && line["sql"] == 0.0
}
