package e2e

import (
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gatehouse/internal/testkit"
)

// closing is how long it takes at most until every server knows.
const closing = 2 * time.Second

// fullName is how the closed page greets.
const fullName = "Alice Liddell"

// closedFault says what is wrong with an answer that should be the page of a closed site, or "".
func closedFault(a answer, name string) string {
	switch {
	case a.StatusCode != http.StatusServiceUnavailable:
		return "is not 503"
	case a.Header.Get("Retry-After") == "":
		return "has no Retry-After"
	case len(a.Header.Values("Set-Cookie")) > 0:
		return "sets a cookie"
	case !strings.Contains(a.body, "back at nine"):
		return "does not say the message"
	case name != "" && !strings.Contains(a.body, name):
		return "does not know the person"
	}
	return ""
}

// TestMaintenance closes two servers by a command and stops Postgres under them: people are told
// so by name, on every server, and when it is over nobody has to sign in again.
func TestMaintenance(t *testing.T) {
	t.Parallel()
	pg := testkit.StartPostgres(t)
	s := &site{t: t, database: pg.URL(), redis: testkit.RedisURL(t)}
	a, b := s.servePlain(), s.servePlain()
	alice := newClient(t, a.URL())
	alice.wantSeeOther(alice.post("/register", "username", "alice", "password", password, "name", fullName), "/dashboard")
	p := &principal{t: t, client: alice, name: "alice", secret: password}
	p.newToken()
	p.warm()
	p.at(b.URL()).warm()
	admin := newClient(t, a.URL())
	admin.register("boss")
	s.run("", "user", "join", "boss", "admin").wantCode(t, 0)
	admin.want(admin.get("/admin/users"), http.StatusOK)
	s.run("", "maintenance", "status").wantOut(t, "The site is open.\n")

	s.run("", "maintenance", "on", "--message", "back at nine <b>").wantCode(t, 0)
	told := time.Now()
	for _, server := range []*testkit.Server{a, b} {
		testkit.Eventually(t, closing, "the site to be closed", func() bool {
			return alice.at(server.URL()).get("/dashboard").StatusCode == http.StatusServiceUnavailable
		})
	}
	t.Logf("closed on both servers within %v", time.Since(told).Round(time.Millisecond))
	for _, server := range []*testkit.Server{a, b} {
		for _, path := range []string{"/dashboard", "/account", "/admin/users", "/admin/groups", "/api/me"} {
			admin.want(admin.at(server.URL()).get(path), http.StatusOK)
		}
	}
	if out := s.run("", "maintenance", "status"); !strings.Contains(out.stdout, "closed since") || !strings.Contains(out.stdout, "back at nine") {
		t.Errorf("the status is %q", out.stdout)
	}

	closed := func(t *testing.T) {
		for _, server := range []*testkit.Server{a, b} {
			here, nobody := alice.at(server.URL()), newClient(t, server.URL())
			for _, path := range []string{"/dashboard", "/account", "/account/tokens", "/"} {
				got := here.within(promptly, here.request(http.MethodGet, path, ""))
				if fault := closedFault(got, "Hello <strong><bdi>"+fullName); fault != "" {
					t.Errorf("%s %s: %s\n%s", path, got.Status, fault, got.body)
				}
				if strings.Contains(got.body, "<b>") {
					t.Errorf("%s: the message is not escaped", path)
				}
			}
			for _, path := range []string{"/", "/register"} {
				got := nobody.within(promptly, nobody.request(http.MethodGet, path, ""))
				if fault := closedFault(got, ""); fault != "" || strings.Contains(got.body, "Alice") {
					t.Errorf("%s for a stranger: %s %s", path, got.Status, fault)
				}
			}
			changed := here.within(promptly, here.form("/account/profile", "name", "Malice", "time_zone", "UTC"))
			if fault := closedFault(changed, fullName); fault != "" || !strings.Contains(changed.body, "not saved") {
				t.Errorf("a form: %s %s\n%s", changed.Status, fault, changed.body)
			}
			for _, path := range []string{"/healthz", nobody.stylesheet(), "/login"} {
				nobody.want(nobody.within(promptly, nobody.request(http.MethodGet, path, "")), http.StatusOK)
			}
			for _, way := range ways {
				if got := p.at(server.URL()).ask(way, "/auth/verify"); got.StatusCode != http.StatusServiceUnavailable || got.Header.Get("Remote-User") != "" {
					t.Errorf("forward auth by %s: %s", way, got.Status)
				}
				got := p.at(server.URL()).ask(way, "/api/time")
				if got.StatusCode != http.StatusServiceUnavailable || got.Header.Get("Content-Type") != "application/problem+json" || got.Header.Get("Retry-After") == "" ||
					!strings.Contains(got.body, `"code":"maintenance"`) || !strings.Contains(got.body, "back at nine") {
					t.Errorf("by %s: %s %s\n%s", way, got.Status, got.Header.Get("Content-Type"), got.body)
				}
			}
		}
	}
	t.Run("with Postgres", closed)
	pg.Stop()
	t.Run("without Postgres", closed)
	t.Run("opened and closed without Postgres", func(t *testing.T) {
		s.run("", "maintenance", "off").wantOut(t, "The site is open.\n")
		testkit.Eventually(t, closing, "the site to be open", func() bool { return alice.get("/dashboard").StatusCode == http.StatusOK })
		s.run("", "maintenance", "on", "--message", "back at nine").wantCode(t, 0)
		testkit.Eventually(t, closing, "the site to be closed", func() bool { return closedFault(alice.get("/dashboard"), fullName) == "" })
	})
	pg.Start()

	s.run("", "maintenance", "off").wantCode(t, 0)
	for _, server := range []*testkit.Server{a, b} {
		testkit.Eventually(t, closing, "the site to be open", func() bool { return alice.at(server.URL()).get("/dashboard").StatusCode == http.StatusOK })
		for _, way := range ways {
			testkit.Eventually(t, recovery, way+" to work", func() bool { return p.at(server.URL()).ask(way, "/api/me").StatusCode == http.StatusOK })
		}
	}
	if n := s.sqlInt(`SELECT count(*) FROM users WHERE name = 'Malice'`); n != 0 {
		t.Error("a form was saved while the site was closed")
	}
	wantSignedIn(t, alice, alice.at(b.URL()))
}

// TestMaintenanceBeforeTheStart: a server that starts while the site is closed is closed.
func TestMaintenanceBeforeTheStart(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.run("", "maintenance", "on", "--message", "back at nine").wantCode(t, 0)
	c := newClient(t, s.servePlain().URL())
	testkit.Eventually(t, closing, "the site to be closed", func() bool { return closedFault(c.get("/"), "") == "" })
	s.redisDo("SET", "maintenance", "what nobody can read")
	testkit.Eventually(t, closing, "the message to go", func() bool { return !strings.Contains(c.get("/").body, "back at nine") })
	c.want(c.get("/"), http.StatusServiceUnavailable)
	s.run("", "maintenance", "off").wantCode(t, 0)
	testkit.Eventually(t, closing, "the site to be open", func() bool { return c.get("/").StatusCode == http.StatusOK })
}

// TestMaintenanceOnTheEmbeddedStores: the command finds the Redis inside of the server by DATA_DIR.
func TestMaintenanceOnTheEmbeddedStores(t *testing.T) {
	t.Parallel()
	env := map[string]string{"DATA_DIR": filepath.Join(t.TempDir(), "data")}
	if out := run(t, env, "", "maintenance", "on"); out.code != 1 || strings.Count(out.stderr, "\n") != 1 || !strings.Contains(out.stderr, "DATA_DIR") {
		t.Errorf("without a server: exit code %d, %q", out.code, out.stderr)
	}
	server := testkit.StartServer(t, plainBinary(t), env)
	c := newClient(t, server.URL())
	c.wantSeeOther(c.post("/register", "username", "alice", "password", password, "name", fullName), "/dashboard")
	run(t, env, "", "maintenance", "on", "--message", "back at nine").wantCode(t, 0)
	testkit.Eventually(t, closing, "the site to be closed", func() bool { return closedFault(c.get("/dashboard"), "Hello <strong><bdi>"+fullName) == "" })
	c.want(c.get("/healthz"), http.StatusOK)
	run(t, env, "", "user", "join", "alice", "admin").wantCode(t, 0)
	testkit.Eventually(t, bound, "the new administrator to be let in", func() bool { return c.get("/dashboard").StatusCode == http.StatusOK })
	run(t, env, "", "user", "leave", "alice", "admin", "--force").wantCode(t, 0)
	testkit.Eventually(t, bound, "the page to be closed again", func() bool { return closedFault(c.get("/dashboard"), fullName) == "" })
	run(t, env, "", "maintenance", "off").wantOut(t, "The site is open.\n")
	testkit.Eventually(t, closing, "the site to be open", func() bool { return c.get("/dashboard").StatusCode == http.StatusOK })
}

// TestMaintenanceInABrowser: the person sees their own name and the message, with Postgres
// stopped, and the page opens by itself or by its button when it is over.
func TestMaintenanceInABrowser(t *testing.T) {
	t.Parallel()
	pg := testkit.StartPostgres(t)
	s := &site{t: t, database: pg.URL(), redis: testkit.RedisURL(t)}
	server := s.servePlain()
	p := newPerson(t, server.URL())
	p.register("alice", "name", fullName)
	s.run("", "maintenance", "on", "--message", "back at nine").wantCode(t, 0)
	stranger := newClient(t, server.URL())
	testkit.Eventually(t, closing, "the site to be closed", func() bool { return stranger.get("/").StatusCode == http.StatusServiceUnavailable })
	pg.Stop()

	p.open("/dashboard", http.StatusServiceUnavailable)
	p.wantText("h1", "Closed for a moment")
	p.wantText("main", "Hello "+fullName)
	p.wantText("main", "back at nine")
	p.wantText("main", "You stay signed in")
	if !p.has(`link[rel="stylesheet"]`) || eval[int](p, `document.styleSheets.length`) == 0 {
		t.Error("the page has no style")
	}
	p.open("/account", http.StatusServiceUnavailable)
	p.wantText("main", "Hello "+fullName)

	pg.Start()
	s.run("", "maintenance", "off").wantCode(t, 0)
	testkit.Eventually(t, closing, "the site to be open", func() bool { return stranger.get("/").StatusCode == http.StatusOK })
	p.click("a.button", http.StatusOK)
	p.wantAt("/account")
	p.open("/dashboard", http.StatusOK)
	p.wantText("#user-name", fullName)
}
