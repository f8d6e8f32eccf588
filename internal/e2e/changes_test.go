package e2e

import (
	"fmt"
	"net/http"
	"testing"

	"gatehouse/internal/testkit"
)

// silence takes away the triggers that notify servers of changes: what is left is what the servers
// and commands announce themselves. Listening goes on, so that users stay in local memory.
func silence(x *target) {
	x.t.Helper()
	for trigger, table := range map[string]string{"users_tell": "users", "user_groups_tell": "user_groups", "user_permissions_tell": "user_permissions", "group_permissions_tell": "group_permissions"} {
		x.exec(`DROP TRIGGER ` + trigger + ` ON ` + table)
	}
}

// TestChange_ImmediateOnOtherServers: without any notification, a change made through one server is in
// effect for the very next request at another: 1,000 changes, and no stale answer.
func TestChange_ImmediateOnOtherServers(t *testing.T) {
	t.Parallel()
	x := newTarget(t)
	p := newPrincipal(x, "alice")
	there := p.at(x.serve().URL())
	silence(x)
	stale := 0
	for i := range 980 {
		way, name := ways[i%3], fmt.Sprint("Alice ", i)
		p.client.wantSeeOther(p.client.post("/account/profile", "name", name, "email", "", "time_zone", "UTC"), "/account?notice=profile")
		got := ""
		if i%2 == 0 {
			got = there.want(way, "/auth/verify", http.StatusOK).Header.Get("Remote-Name")
		} else {
			var me meAnswer
			decode(t, there.want(way, "/api/me", http.StatusOK), &me)
			got = me.User.Name
		}
		if got != name {
			t.Errorf("by %s she is called %q after change %d", way, got, i)
			stale++
		}
		if stale > 10 {
			t.Fatal("and so on")
		}
	}
	// What ends everything, each change followed at once by one way.
	admin := newClient(t, x.server.URL())
	admin.register("the-admin")
	if out := x.run("", "user", "join", "the-admin", "admin"); out.code != 0 {
		t.Fatalf("%+v", out)
	}
	for i := range 10 {
		for _, way := range ways {
			there.want(way, "/api/time", http.StatusOK)
		}
		admin.wantSeeOther(admin.post("/admin/users/"+p.id+"/active", "active", "false"), "/admin/users/"+p.id+"?notice=user-disabled")
		if a := there.ask(ways[i%3], "/api/me"); a.StatusCode != http.StatusUnauthorized {
			t.Errorf("disabled, by %s: %s", ways[i%3], a.Status)
		}
		admin.wantSeeOther(admin.post("/admin/users/"+p.id+"/active", "active", "true"), "/admin/users/"+p.id+"?notice=user-enabled")
		x.forgetThrottles()
		flushWaits(x)
		p.client.signIn("alice")
		p.newToken()
		there = p.at(there.client.base)
	}
}

// flushWaits forgets what Basic has to wait for.
func flushWaits(x *target) {
	x.t.Helper()
	keys, err := x.cache.Do("KEYS", "waiting:*")
	if err != nil {
		x.t.Fatal(err)
	}
	for _, key := range keys.([]any) {
		if _, err := x.cache.Do("DEL", key); err != nil {
			x.t.Fatal(err)
		}
	}
}

// TestChange_ImmediateAfterCommands: so it is for changes by command, with Postgres as with the embedded stores.
func TestChange_ImmediateAfterCommands(t *testing.T) {
	t.Parallel()
	x := newTarget(t)
	silence(x)
	both := []*testkit.Server{x.server, x.serve()}
	p := newPrincipal(x, "alice")
	command := func(args ...string) {
		t.Helper()
		if out := x.run("", args...); out.code != 0 {
			t.Fatalf("%q: %+v", args, out)
		}
	}
	command("group", "add", "staff")
	for _, way := range ways {
		for _, server := range both {
			at := p.at(server.URL())
			at.want(way, "/auth/verify", http.StatusOK)
			command("user", "join", "alice", "staff")
			at.want(way, "/auth/verify?group=staff", http.StatusOK)
			command("user", "leave", "alice", "staff")
			at.want(way, "/auth/verify?group=staff", http.StatusForbidden)
			command("user", "grant", "alice", "books.read")
			at.want(way, "/auth/verify?permission=books.read", http.StatusOK)
			command("user", "ungrant", "alice", "books.read")
			at.want(way, "/auth/verify?permission=books.read", http.StatusForbidden)
		}
	}
	command("group", "grant", "staff", "books.write")
	command("user", "join", "alice", "staff")
	p.want(bySession, "/auth/verify?permission=books.write", http.StatusOK)
	command("group", "ungrant", "staff", "books.write") // concerns all users
	for _, server := range both {
		for _, way := range ways {
			p.at(server.URL()).want(way, "/auth/verify?permission=books.write", http.StatusForbidden)
		}
	}
	command("user", "disable", "alice")
	for _, server := range both {
		for _, way := range []string{bySession, byToken} {
			p.at(server.URL()).want(way, "/api/me", http.StatusUnauthorized)
		}
	}
}

// TestChangeStream_LossInvalidatesEverything: when the stream is gone, went back or does not reach back far
// enough, nothing in local memory is used any more.
func TestChangeStream_LossInvalidatesEverything(t *testing.T) {
	t.Parallel()
	x := newTarget(t)
	silence(x)
	p := newPrincipal(x, "alice")
	x.exec(`INSERT INTO groups (name) VALUES ('staff')`)
	losses := map[string]func(){
		"flushed":  func() { x.do("DEL", "user-changes") },
		"replaced": func() { x.do("DEL", "user-changes"); x.do("XADD", "user-changes", "*", "user", "somebody") },
		"restored": func() {
			old := x.do("DUMP", "user-changes")
			x.do("XADD", "user-changes", "*", "user", "somebody")
			p.want(bySession, "/api/me", http.StatusOK)
			x.do("RESTORE", "user-changes", 0, old, "REPLACE")
		},
		"trimmed": func() {
			x.do("XADD", "user-changes", "*", "user", "somebody")
			x.do("XTRIM", "user-changes", "MAXLEN", 1)
		},
		"overtaken": func() {
			for range 250 {
				x.do("XADD", "user-changes", "*", "user", "somebody")
			}
		},
		"a string": func() { x.do("SET", "user-changes", "something else") },
	}
	inGroup := false
	for name, lose := range losses {
		for _, way := range []string{bySession, byToken} {
			var want int
			testkit.Eventually(t, generous, "an answer from local memory that is stale", func() bool {
				x.healStream()
				testkit.Eventually(t, generous, "the user to be in memory", func() bool { return x.fromMemory(p, way) })
				// By hand, and out of the cache: what is left is local memory.
				inGroup = !inGroup
				if inGroup {
					x.exec(`INSERT INTO user_groups (user_id, group_name) VALUES ($1, 'staff')`, p.id)
					want = http.StatusOK
				} else {
					x.exec(`DELETE FROM user_groups`)
					want = http.StatusForbidden
				}
				if _, err := x.cache.Do("DEL", "user:"+p.id); err != nil {
					t.Fatal(err)
				}
				// Not if what healed the stream has just invalidated everything once more.
				return p.ask(way, "/auth/verify?group=staff").StatusCode != want
			})
			lose()
			if a := p.ask(way, "/auth/verify?group=staff"); a.StatusCode != want {
				t.Errorf("%s, %s: %s, want %d", name, way, a.Status, want)
			}
		}
	}
}

// healStream waits until the stream is one again.
func (x *target) healStream() {
	x.t.Helper()
	testkit.Eventually(x.t, generous, "the stream to be there", func() bool { return fmt.Sprint(x.do("TYPE", "user-changes")) == "stream" })
}

// fromMemory reports whether a request costs what it does with the user in memory.
func (x *target) fromMemory(p *principal, way string) bool {
	x.t.Helper()
	line := x.requestLine(p.ask(way, "/api/time"))
	return line["redis"] == 1.0 && line["sql"] == 0.0
}
