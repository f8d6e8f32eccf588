package api

import (
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gatehouse/internal/e2e/kit"
	"gatehouse/internal/testkit"
)

// propagation is the limit for every server to notice maintenance.
const propagation = 2 * time.Second

// fullName is the name on the maintenance page.
const fullName = "Alice Liddell"

// closedFault returns what is wrong with a response that should be the maintenance page, or "".
func closedFault(a kit.Response, name string) string {
	switch {
	case a.StatusCode != http.StatusServiceUnavailable:
		return "is not 503"
	case a.Header.Get("Retry-After") == "":
		return "has no Retry-After"
	case len(a.Header.Values("Set-Cookie")) > 0:
		return "sets a cookie"
	case !strings.Contains(a.Text, "back at nine"):
		return "does not show the message"
	case name != "" && !strings.Contains(a.Text, name):
		return "does not greet the user"
	}
	return ""
}

// TestMaintenance_GreetsUsersWithoutPostgres closes two servers with a command and stops Postgres: every server still
// greets users by name, and their sessions are valid afterwards.
func TestMaintenance_GreetsUsersWithoutPostgres(t *testing.T) {
	t.Parallel()
	pg := testkit.StartPostgres(t)
	s := &kit.Site{T: t, DatabaseURL: pg.URL(), RedisURL: testkit.RedisURL(t)}
	a, b := s.ServeWithoutRace(), s.ServeWithoutRace()
	alice := kit.NewClient(t, a.URL())
	alice.WantSeeOther(alice.PostForm("/register", "username", "alice", "password", kit.Password, "name", fullName), "/dashboard?notice=welcome")
	p := &kit.Principal{T: t, Client: alice, Name: "alice", Password: kit.Password}
	p.CreateToken()
	p.Warm()
	p.At(b.URL()).Warm()
	admin := kit.NewClient(t, a.URL())
	admin.Register("boss")
	s.Run("", "user", "join", "boss", "admin").WantCode(t, 0)
	admin.WantStatus(admin.Get("/admin/users"), http.StatusOK)
	s.Run("", "maintenance", "status").WantOutput(t, "The site is open.\n")

	s.Run("", "maintenance", "on", "--message", "back at nine <b>").WantCode(t, 0)
	begun := time.Now()
	for _, server := range []*testkit.Server{a, b} {
		testkit.Eventually(t, propagation, "the site to be closed", func() bool {
			return alice.At(server.URL()).Get("/dashboard").StatusCode == http.StatusServiceUnavailable
		})
	}
	t.Logf("both servers were closed after %v", time.Since(begun).Round(time.Millisecond))
	for _, server := range []*testkit.Server{a, b} {
		for _, path := range []string{"/dashboard", "/account", "/admin/users", "/admin/groups", "/api/me"} {
			admin.WantStatus(admin.At(server.URL()).Get(path), http.StatusOK)
		}
	}
	if out := s.Run("", "maintenance", "status"); !strings.Contains(out.Stdout, "closed since") || !strings.Contains(out.Stdout, " by ") || !strings.Contains(out.Stdout, "back at nine") {
		t.Errorf("got the status %q", out.Stdout)
	}

	closed := func(t *testing.T) {
		for _, server := range []*testkit.Server{a, b} {
			here, anonymous := alice.At(server.URL()), kit.NewClient(t, server.URL())
			for _, path := range []string{"/dashboard", "/account", "/account/tokens", "/"} {
				got := here.DoWithin(kit.ResponseTimeout, here.NewRequest(http.MethodGet, path, ""))
				if fault := closedFault(got, "Hello <strong><bdi>"+fullName); fault != "" {
					t.Errorf("%s %s: %s\n%s", path, got.Status, fault, got.Text)
				}
				if strings.Contains(got.Text, "<b>") {
					t.Errorf("%s: the message is not escaped", path)
				}
			}
			for _, path := range []string{"/", "/register"} {
				got := anonymous.DoWithin(kit.ResponseTimeout, anonymous.NewRequest(http.MethodGet, path, ""))
				if fault := closedFault(got, ""); fault != "" || strings.Contains(got.Text, "Alice") {
					t.Errorf("%s for an anonymous visitor: %s %s", path, got.Status, fault)
				}
			}
			changed := here.DoWithin(kit.ResponseTimeout, here.NewForm("/account/profile", "name", "Malice", "time_zone", "UTC"))
			if fault := closedFault(changed, fullName); fault != "" || !strings.Contains(changed.Text, "not saved") {
				t.Errorf("a form: %s %s\n%s", changed.Status, fault, changed.Text)
			}
			for _, path := range []string{"/healthz", anonymous.StylesheetPath(), "/login"} {
				anonymous.WantStatus(anonymous.DoWithin(kit.ResponseTimeout, anonymous.NewRequest(http.MethodGet, path, "")), http.StatusOK)
			}
			for _, way := range kit.AuthMethods {
				if got := p.At(server.URL()).Get(way, "/auth/verify"); got.StatusCode != http.StatusServiceUnavailable || got.Header.Get("Remote-User") != "" {
					t.Errorf("forward auth by %s: %s", way, got.Status)
				}
				got := p.At(server.URL()).Get(way, "/api/time")
				if got.StatusCode != http.StatusServiceUnavailable || got.Header.Get("Content-Type") != "application/problem+json" || got.Header.Get("Retry-After") == "" ||
					!strings.Contains(got.Text, `"code":"maintenance"`) || !strings.Contains(got.Text, "back at nine") {
					t.Errorf("by %s: %s %s\n%s", way, got.Status, got.Header.Get("Content-Type"), got.Text)
				}
			}
		}
	}
	t.Run("with Postgres", closed)
	pg.Stop()
	t.Run("without Postgres", closed)
	t.Run("opened and closed without Postgres", func(t *testing.T) {
		s.Run("", "maintenance", "off").WantOutput(t, "The site is open.\n")
		testkit.Eventually(t, propagation, "the site to be open", func() bool { return alice.Get("/dashboard").StatusCode == http.StatusOK })
		s.Run("", "maintenance", "on", "--message", "back at nine").WantCode(t, 0)
		testkit.Eventually(t, propagation, "the site to be closed", func() bool { return closedFault(alice.Get("/dashboard"), fullName) == "" })
	})
	pg.Start()

	s.Run("", "maintenance", "off").WantCode(t, 0)
	for _, server := range []*testkit.Server{a, b} {
		testkit.Eventually(t, propagation, "the site to be open", func() bool { return alice.At(server.URL()).Get("/dashboard").StatusCode == http.StatusOK })
		for _, way := range kit.AuthMethods {
			testkit.Eventually(t, kit.RecoveryTime, way+" to work", func() bool { return p.At(server.URL()).Get(way, "/api/me").StatusCode == http.StatusOK })
		}
	}
	if n := s.QueryInt(`SELECT count(*) FROM users WHERE name = 'Malice'`); n != 0 {
		t.Error("a form was saved during maintenance")
	}
	kit.WantSignedIn(t, alice, alice.At(b.URL()))
}

func TestMaintenance_HoldsForAServerThatStartsLater(t *testing.T) {
	t.Parallel()
	s := kit.NewSite(t)
	s.Run("", "maintenance", "on", "--message", "back at nine").WantCode(t, 0)
	c := kit.NewClient(t, s.ServeWithoutRace().URL())
	testkit.Eventually(t, propagation, "the site to be closed", func() bool { return closedFault(c.Get("/"), "") == "" })
	s.RedisDo("SET", "maintenance", "unreadable")
	testkit.Eventually(t, propagation, "the message to go", func() bool { return !strings.Contains(c.Get("/").Text, "back at nine") })
	c.WantStatus(c.Get("/"), http.StatusServiceUnavailable)
	s.Run("", "maintenance", "off").WantCode(t, 0)
	testkit.Eventually(t, propagation, "the site to be open", func() bool { return c.Get("/").StatusCode == http.StatusOK })
}

// TestMaintenance_OnTheEmbeddedStores: the command finds the server's embedded Redis through DATA_DIR.
func TestMaintenance_OnTheEmbeddedStores(t *testing.T) {
	t.Parallel()
	env := map[string]string{"DATA_DIR": filepath.Join(t.TempDir(), "data")}
	if out := kit.RunCommand(t, env, "", "maintenance", "on"); out.ExitCode != 1 || strings.Count(out.Stderr, "\n") != 1 || !strings.Contains(out.Stderr, "DATA_DIR") {
		t.Errorf("without a server: exit code %d, %q", out.ExitCode, out.Stderr)
	}
	server := testkit.StartServer(t, testkit.BuildWithoutRace(t), env)
	c := kit.NewClient(t, server.URL())
	c.WantSeeOther(c.PostForm("/register", "username", "alice", "password", kit.Password, "name", fullName), "/dashboard?notice=welcome")
	kit.RunCommand(t, env, "", "maintenance", "on", "--message", "back at nine").WantCode(t, 0)
	testkit.Eventually(t, propagation, "the site to be closed", func() bool { return closedFault(c.Get("/dashboard"), "Hello <strong><bdi>"+fullName) == "" })
	c.WantStatus(c.Get("/healthz"), http.StatusOK)
	kit.RunCommand(t, env, "", "user", "join", "alice", "admin").WantCode(t, 0)
	testkit.Eventually(t, kit.MaxDelay, "the new administrator to have access", func() bool { return c.Get("/dashboard").StatusCode == http.StatusOK })
	kit.RunCommand(t, env, "", "user", "leave", "alice", "admin", "--force").WantCode(t, 0)
	testkit.Eventually(t, kit.MaxDelay, "the page to be closed again", func() bool { return closedFault(c.Get("/dashboard"), fullName) == "" })
	kit.RunCommand(t, env, "", "maintenance", "off").WantOutput(t, "The site is open.\n")
	testkit.Eventually(t, propagation, "the site to be open", func() bool { return c.Get("/dashboard").StatusCode == http.StatusOK })
}

// TestMaintenance_InABrowser: with Postgres stopped, users see their name and the message, and the page reloads, by
// itself or with its button, when the site is open again.
func TestMaintenance_InABrowser(t *testing.T) {
	t.Parallel()
	pg := testkit.StartPostgres(t)
	s := &kit.Site{T: t, DatabaseURL: pg.URL(), RedisURL: testkit.RedisURL(t)}
	server := s.ServeWithoutRace()
	p := kit.NewBrowser(t, server.URL())
	p.Register("alice", "name", fullName)
	s.Run("", "maintenance", "on", "--message", "back at nine").WantCode(t, 0)
	stranger := kit.NewClient(t, server.URL())
	testkit.Eventually(t, propagation, "the site to be closed", func() bool { return stranger.Get("/").StatusCode == http.StatusServiceUnavailable })
	pg.Stop()

	p.Open("/dashboard", http.StatusServiceUnavailable)
	p.WantText("h1", "Down for maintenance")
	p.WantText("main", "Hello "+fullName)
	p.WantText("main", "back at nine")
	p.WantText("main", "You're still signed in")
	if !p.Has(`link[rel="stylesheet"]`) || kit.Eval[int](p, `document.styleSheets.length`) == 0 {
		t.Error("the page has no style sheet")
	}
	p.Open("/account", http.StatusServiceUnavailable)
	p.WantText("main", "Hello "+fullName)

	pg.Start()
	s.Run("", "maintenance", "off").WantCode(t, 0)
	testkit.Eventually(t, propagation, "the site to be open", func() bool { return stranger.Get("/").StatusCode == http.StatusOK })
	p.Click("a.button", http.StatusOK)
	p.WantPath("/account")
	p.Open("/dashboard", http.StatusOK)
	p.WantText("#user-name", fullName)
}
