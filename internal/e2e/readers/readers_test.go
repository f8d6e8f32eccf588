// Package readers tests the session readers in clients/, which let apps in other languages share the session, and the
// bridge from Django.
package readers

import (
	"crypto/rand"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"

	"gatehouse/auth"
	"gatehouse/internal/e2e/kit"
	"gatehouse/internal/testkit"
)

// readerApp is an example app in clients/.
type readerApp struct {
	name string
	// command returns the command that starts the app on the port; clients is a copy of clients/.
	command func(t testing.TB, clients string, port int) *exec.Cmd
}

var readerApps = []readerApp{
	{"flask", gunicorn("flask", "flask_app:app")},
	{"django", gunicorn("django", "django_app:application")},
	{"express", node("express_app.mjs")},
	{"fastify", node("fastify_app.mjs")},
	{"go", func(t testing.TB, _ string, _ int) *exec.Cmd {
		return exec.Command(testkit.Build(t, "clients/go/example"))
	}},
	{"php", func(t testing.TB, clients string, port int) *exec.Cmd {
		cmd := exec.Command(testkit.PHP(t, "redis"), "-S", localAddress(port), "app.php")
		cmd.Dir = filepath.Join(clients, "php")
		cmd.Env = []string{"PHP_CLI_SERVER_WORKERS=4"} // several workers, as production servers have
		return cmd
	}},
}

// gunicorn runs with threads, because browsers open connections that they do not use immediately, and one of those
// would block a worker without threads.
func gunicorn(framework, application string) func(testing.TB, string, int) *exec.Cmd {
	return func(t testing.TB, clients string, port int) *exec.Cmd {
		cmd := exec.Command(testkit.Python(t, framework, "redis", "gunicorn"), "-m", "gunicorn",
			"--bind", localAddress(port), "--threads", "8", application)
		cmd.Dir = filepath.Join(clients, "python")
		return cmd
	}
}

func node(script string) func(testing.TB, string, int) *exec.Cmd {
	return func(t testing.TB, clients string, _ int) *exec.Cmd {
		cmd := exec.Command(testkit.Tool(t, "node"), script)
		cmd.Dir = filepath.Join(clients, "node")
		return cmd
	}
}

func localAddress(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }

// copyOfClients returns a writable copy of clients/ with the npm packages installed.
func copyOfClients(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(filepath.Join("..", "..", "..", "clients"))); err != nil {
		t.Fatal(err)
	}
	modules := filepath.Dir(filepath.Dir(testkit.NodeModule(t, "redis/package.json")))
	if err := os.Symlink(modules, filepath.Join(dir, "node_modules")); err != nil {
		t.Fatal(err)
	}
	return dir
}

// platform is Gatehouse and the settings to start apps next to it, on other ports of the same host and with only a
// reader's rights in Redis.
type platform struct {
	*kit.Target
	store       *testkit.Redis
	env, appEnv map[string]string
	login       string // Gatehouse's origin
	clients     string // a copy of clients/
}

// runningApp is an app that was started.
type runningApp struct{ name, origin string }

// newPlatform starts Gatehouse with the user cache in this database of its Redis. Apps get a setting for it unless it
// is their default.
func newPlatform(t testing.TB, cacheDatabase int) *platform {
	t.Helper()
	secret := rand.Text()
	n := &platform{
		// Without fsync, written data survives a kill of the process, though not a crash of the machine.
		store:   testkit.StartRedis(t, slices.Concat([]string{"--appendonly", "yes", "--appendfsync", "no", "--user"}, readerRights(t, secret))...),
		clients: copyOfClients(t),
	}
	s := &kit.Site{T: t, DatabaseURL: testkit.PostgresURL(t), RedisURL: n.store.URL()}
	address := localAddress(testkit.FreePort(t))
	n.login = "http://" + address
	cache := fmt.Sprintf("/%d", cacheDatabase)
	n.env = s.Env("LISTEN_ADDR", address, "BASE_URL", n.login, "CACHE_URL", s.RedisURL+cache)
	asReader := strings.Replace(s.RedisURL, "redis://", "redis://reader:"+secret+"@", 1)
	n.appEnv = map[string]string{"REDIS_URL": asReader, "BASE_URL": n.login}
	if cacheDatabase != 1 {
		n.appEnv["CACHE_URL"] = asReader + cache
	}
	n.Target = &kit.Target{Site: s, Server: testkit.StartServer(t, testkit.BuildBinary(t), n.env, "--migrate"), DB: kit.OpenDB(t, "postgres", s.DatabaseURL)}
	n.dial()
	n.awaitSubscriber(t)
	return n
}

// dial connects to Redis, again if it was restarted.
func (n *platform) dial() {
	n.T.Helper()
	n.Sessions, n.Cache = kit.DialRedis(n.T, n.RedisURL), kit.DialRedis(n.T, n.env["CACHE_URL"])
}

// awaitSubscriber waits until Gatehouse receives the apps' messages.
func (n *platform) awaitSubscriber(t testing.TB) {
	t.Helper()
	testkit.Eventually(t, 10*time.Second, "Gatehouse to subscribe", func() bool {
		reply, err := redis.Values(n.Do("PUBSUB", "NUMSUB", "gatehouse:used"), nil)
		return err == nil && len(reply) == 2 && reply[1].(int64) == 1
	})
}

// start starts an app with the platform's settings and almost nothing else in its environment.
func (n *platform) start(t testing.TB, app readerApp) runningApp {
	t.Helper()
	port := testkit.FreePort(t)
	cmd := app.command(t, n.clients, port)
	all := map[string]string{
		"PORT": fmt.Sprint(port), "PATH": os.Getenv("PATH"), "HOME": n.clients, "PYTHONDONTWRITEBYTECODE": "1",
		"GORACE": "atexit_sleep_ms=0",
	}
	maps.Copy(all, n.appEnv)
	for name, value := range all {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	p := testkit.StartProgram(t, cmd, localAddress(port))
	t.Cleanup(func() {
		if strings.Contains(p.Output(), "WARNING: DATA RACE") {
			t.Errorf("data race in %s:\n%s", app.name, p.Output())
		}
	})
	return runningApp{app.name, "http://" + localAddress(port)}
}

var rightsOfReaders = regexp.MustCompile(`(?m)^ACL SETUSER (reader on .*)$`)

// readerRights returns the rights that docs/session-format.md lists for a reader, as an ACL user with the password in
// the syntax of redis.conf.
func readerRights(t testing.TB, secret string) []string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "..", "docs", "session-format.md"))
	if err != nil {
		t.Fatal(err)
	}
	found := rightsOfReaders.FindSubmatch(text)
	if found == nil {
		t.Fatal("docs/session-format.md does not list the rights of a reader")
	}
	return strings.Fields(strings.Replace(string(found[1]), ">PASSWORD", ">"+secret, 1))
}

// TestReaderRights_AreMinimal: the Redis user of docs/session-format.md cannot change anything, and cannot read keys
// that readers do not need.
func TestReaderRights_AreMinimal(t *testing.T) {
	r := testkit.StartRedis(t, append([]string{"--user"}, readerRights(t, "secret")...)...)
	c := kit.DialRedis(t, r.URL())
	for command, want := range map[string]bool{
		"GET session:x": true, "PTTL session:x": true, "GET user:x": true, "PUBLISH gatehouse:used x": true, "SELECT 1": true, "PING": true,
		"SET session:x y": false, "DEL session:x": false, "PEXPIRE session:x 1": false, "PERSIST session:x": false, "GETDEL user:x": false,
		"GETEX user:x": false, "SET user:x y": false, "EXPIRE user:x 1": false, "RENAME user:x user:y": false,
		"GET sessions:x": false, "GET token:x": false, "GET credential:x": false, "GET throttle:x": false, "GET maintenance": false,
		"PUBLISH other x": false, "SUBSCRIBE gatehouse:used": false, "KEYS *": false, "SCAN 0": false, "FLUSHALL": false, "FLUSHDB": false,
		"CONFIG GET *": false, "EVAL x 0": false, "MONITOR": false, "SHUTDOWN": false, "ACL LIST": false, "CLIENT LIST": false, "DEBUG SLEEP": false,
	} {
		args := redis.Args{"DRYRUN", "reader"}.AddFlat(strings.Fields(command))
		said, err := redis.String(c.Do("ACL", args...))
		if err != nil {
			t.Errorf("%s: %v", command, err)
		}
		if (said == "OK") != want {
			t.Errorf("%s: Redis replied %q", command, said)
		}
	}
}

// wantNothingRefused fails if an app tried a command that readers have no right to. The rights themselves are checked
// by TestReaderRights_AreMinimal.
func (n *platform) wantNothingRefused(t testing.TB) {
	t.Helper()
	log, err := redis.Values(n.Do("ACL", "LOG"), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range log {
		t.Errorf("an app exceeded a reader's rights: %q", entry)
	}
}

// member is a user as an app sees them.
type member struct {
	Username, Name      string
	Groups, Permissions []string
}

// memberOf returns the user that an app reports for the client, or nil if the client is not signed in. Any other response
// and any cacheable one fails the test.
func memberOf(c *kit.Client) *member {
	c.T.Helper()
	a := c.Get("/whoami", "Accept", "application/json")
	wantPrivate(c.T, a)
	if a.StatusCode == http.StatusUnauthorized {
		return nil
	}
	c.WantStatus(a, http.StatusOK)
	if kind := a.Header.Get("Content-Type"); !strings.HasPrefix(kind, "application/json") {
		c.T.Errorf("/whoami has the type %q", kind)
	}
	m := &member{}
	kit.DecodeJSON(c.T, a, m)
	if m.Groups == nil || m.Permissions == nil {
		c.T.Errorf("%s lacks a list", a.Text)
	}
	return m
}

// wantSignedIn fails unless the app recognizes the user immediately.
func wantSignedIn(c *kit.Client, username string) {
	c.T.Helper()
	if m := memberOf(c); m == nil || m.Username != username {
		c.T.Fatalf("at %s, %s is signed in as %+v", c.BaseURL, username, m)
	}
}

// wantAnonymous fails unless the app refuses the client immediately.
func wantAnonymous(c *kit.Client) {
	c.T.Helper()
	if m := memberOf(c); m != nil {
		c.T.Fatalf("at %s, an anonymous visitor is signed in as %+v", c.BaseURL, m)
	}
}

// soon waits until a change in SQL has reached an app, which must not sign the client out in the meantime.
func soon(c *kit.Client, what string, cond func(*member) bool) {
	c.T.Helper()
	testkit.Eventually(c.T, kit.WaitTimeout, what, func() bool {
		m := memberOf(c)
		if m == nil {
			c.T.Fatalf("signed out while waiting for %s", what)
		}
		return cond(m)
	})
}

// soonAnonymous waits until the app refuses the client, and fails if it accepts the client again.
func soonAnonymous(c *kit.Client, after string) {
	c.T.Helper()
	testkit.Eventually(c.T, kit.WaitTimeout, "the refusal after "+after, func() bool { return memberOf(c) == nil })
	wantAnonymous(c)
}

// TestApps_ShareTheSession: users signed in at Gatehouse are signed in to the apps, and changes there take effect
// at their next request.
func TestApps_ShareTheSession(t *testing.T) {
	t.Parallel()
	n := newPlatform(t, 1)
	pages := t.TempDir()
	for _, example := range readerApps {
		t.Run(example.name, func(t *testing.T) {
			app := n.start(t, example)
			username := "alice-" + app.name
			kit.NewClient(t, n.login).Register(username)
			t.Run("browser", func(t *testing.T) { n.inBrowser(t, app, username, filepath.Join(pages, app.name)) })
			t.Run("anonymous visitors", func(t *testing.T) { n.anonymous(t, app) })
			t.Run("cookies", func(t *testing.T) { n.cookies(t, app, username) })
			t.Run("changes", func(t *testing.T) { n.changes(t, app, username) })
			t.Run("one change after the other", func(t *testing.T) { n.manyChanges(t, app, username) })
			t.Run("cache flushed", func(t *testing.T) { n.cacheFlushed(t, app, username) })
			t.Run("staying signed in", func(t *testing.T) { n.stayingSignedIn(t, app, username) })
		})
	}
	t.Run("valid HTML", func(t *testing.T) { kit.CheckHTML(t, pages) })
	t.Run("no app exceeded its rights", func(t *testing.T) { n.wantNothingRefused(t) })
}

// signedIn returns a client of the app that has signed in at Gatehouse.
func (n *platform) signedIn(t testing.TB, app runningApp, username string) *kit.Client {
	t.Helper()
	c := kit.NewClient(t, n.login)
	c.SignIn(username)
	return c.At(app.origin)
}

// hostileName would break out of an attribute and a tag, and reverses the text direction.
const hostileName = "\"><script>alert(1)</script>' \u202Eecila\u202C 🦊 &amp;"

// inBrowser visits the app, signs in at Gatehouse, returns and signs out. It saves the app's pages in files with the
// prefix.
func (n *platform) inBrowser(t *testing.T, app runningApp, username, prefix string) {
	// A dialog would block the test.
	p := kit.NewBrowser(t, app.origin, kit.OnNewDocument(`window.alert = () => console.error("a name ran as a script")`))
	p.OtherHosts = []string{n.login}
	p.Expected[kit.StatusLine(http.StatusNotFound, app.origin+"/favicon.ico")] = true
	const wanted = "/?tab=a%26b&q=%C3%BC%20x&next=%2F%2Fevil.example"
	p.Open(wanted, http.StatusOK)
	wantHref(p, n.login+"/login")
	p.Fill("username", username, "password", kit.Password)
	p.Submit("/login", http.StatusOK)
	if got := kit.Eval[string](p, "location.href"); got != app.origin+wanted {
		t.Fatalf("after signing in at %s, want %s", got, app.origin+wanted)
	}
	if got := p.Text("#greeting"); got != "Hello, "+username {
		t.Errorf("got the greeting %q", got)
	}

	c := kit.NewClient(t, app.origin)
	c.SetCookie(kit.SessionCookie, p.Cookies()[kit.SessionCookie].Value)
	p.Open("/reports", http.StatusForbidden)
	n.Run("", "user", "grant", username, "reports.view").WantCode(t, 0)
	testkit.Eventually(t, kit.WaitTimeout, "the permission", func() bool { return c.Get("/reports").StatusCode == http.StatusOK })
	p.Open("/reports", http.StatusOK)
	if got := p.Text("h1"); got != "Reports" {
		t.Errorf("got the heading %q", got)
	}

	n.Exec(`UPDATE users SET name = $1 WHERE username = $2`, hostileName, username)
	soon(c, "the new name", func(m *member) bool { return m.Name == hostileName })
	for _, path := range []string{"/", "/open"} {
		p.Open(path, http.StatusOK)
		if got := kit.Eval[string](p, `document.querySelector("#greeting").textContent`); got != "Hello, "+hostileName {
			t.Errorf("%s greets %q", path, got)
		}
		if n := kit.Eval[int](p, `document.querySelectorAll("h1 *, script").length`); n != 0 {
			t.Errorf("%s: a name injected %d elements", path, n)
		}
	}
	p.Open("/", http.StatusOK)
	p.WantText("body", "reports.view")
	for path, file := range map[string]string{"/": "home", "/open": "open", "/reports": "reports"} {
		kit.WriteFile(t, prefix+"-"+file+".html", c.Get(path, "Accept", kit.AcceptHTML).Text)
	}
	kit.WriteFile(t, prefix+"-stranger.html", kit.NewClient(t, app.origin).Get("/open").Text)

	p.Click("#sign-out", http.StatusOK)
	wantHref(p, n.login+"/sign-out")
	p.Submit("/logout", http.StatusOK)
	wantAnonymous(c)
	if a := c.Get("/", "Accept", kit.AcceptHTML); a.StatusCode != http.StatusSeeOther {
		t.Errorf("after the sign-out: %s", a.Status)
	}
	p.Open("/open", http.StatusOK)
	if got := p.Text("#greeting"); got != "Hello, stranger" {
		t.Errorf("got the greeting %q after the sign-out", got)
	}
	p.Click("#sign-in", http.StatusOK)
	wantHref(p, n.login+"/login")
}

// wantHref fails unless the page has this address, without its query.
func wantHref(p *kit.Browser, address string) {
	p.T.Helper()
	if got := kit.Eval[string](p, "location.origin + location.pathname"); got != address {
		p.T.Fatalf("at %s, want %s\n%s", got, address, p.Text("body"))
	}
}

var percentEncoded = regexp.MustCompile(`^[A-Za-z0-9._~!'()*%-]+$`)

// anonymous checks that a browser is redirected to the sign-in and back to the same page and that a program gets an
// error.
func (n *platform) anonymous(t *testing.T, app runningApp) {
	c := kit.NewClient(t, app.origin)
	for _, wanted := range []string{
		"/", "/reports", "/whoami", "/reports?q=%22%3E%3Cscript%3E&x=a+b%26c%23d&y=%C3%BC", "/?next=https://evil.example/&a=1&a=2", "/?x=%0d%0aSet-Cookie:%20a=b", "/?a;b=%2",
	} {
		for _, method := range []string{http.MethodGet, http.MethodHead} {
			a := c.Do(c.NewRequest(method, wanted, "", "Accept", kit.AcceptHTML))
			location, encoded, _ := strings.Cut(a.Header.Get("Location"), "?next=")
			next, err := url.QueryUnescape(encoded)
			if a.StatusCode != http.StatusSeeOther || location != n.login+"/login" || err != nil || next != app.origin+wanted || !percentEncoded.MatchString(encoded) {
				t.Errorf("%s %s: %s to %q", method, wanted, a.Status, a.Header.Get("Location"))
			}
			wantPrivate(t, a)
		}
	}
	for _, path := range []string{"/", "/reports", "/whoami"} {
		for _, accept := range []string{"", "*/*", "application/json"} {
			a := c.Get(path, "Accept", accept)
			if a.StatusCode != http.StatusUnauthorized {
				t.Errorf("%s for a program that accepts %q: %s", path, accept, a.Status)
			}
			wantPrivate(t, a)
		}
	}
	a := c.Get("/open")
	c.WantStatus(a, http.StatusOK)
	if !strings.Contains(a.Text, `<h1 id="greeting">Hello, stranger</h1>`) {
		t.Errorf("got the greeting of an anonymous visitor\n%s", a.Text)
	}
	wantPrivate(t, a)
}

// cacheFault returns what is wrong with a response that must not be cached and must not set cookies, or "".
func cacheFault(a kit.Response) string {
	switch {
	case a.Header.Get("Cache-Control") != "no-store":
		return "is not no-store"
	case len(a.Header.Values("Set-Cookie")) > 0:
		return "sets a cookie"
	}
	return ""
}

// wantPrivate fails if the response can be cached or sets cookies.
func wantPrivate(t testing.TB, a kit.Response) {
	t.Helper()
	if fault := cacheFault(a); fault != "" {
		t.Errorf("%s: %s %s: %v", a.Request.URL, a.Status, fault, a.Header)
	}
}

// cookies checks that the session's cookie is found among others and that other values of its name are ignored.
func (n *platform) cookies(t *testing.T, app runningApp, username string) {
	good := n.signedIn(t, app, username).Cookie(kit.SessionCookie)
	unknown := strings.Repeat("A", 43)
	for cookie, want := range map[string]bool{
		"gatehouse=" + good:                                                true,
		"a=b; gatehouse=" + good + "; c=d":                                 true,
		"gatehouse=short; gatehouse=" + good:                               true,
		"gatehouse=; gatehouse=" + good:                                    true,
		"gatehouse=" + good + "; gatehouse=short":                          true,
		"gatehouse=" + good + "; gatehouse=" + unknown:                     true,
		"gatehouse=" + unknown + "; gatehouse=" + good:                     true,
		strings.Repeat("gatehouse="+unknown+"; ", 4) + "gatehouse=" + good: false,
		"\xa0gatehouse=" + good:                                            false,
		"gatehouse\xa0=" + good:                                            false,
		"Gatehouse=" + good:                                                false,
		"xgatehouse=" + good:                                               false,
		"__Host-gatehouse=" + good:                                         false,
		"gatehouse=" + good + "x":                                          false,
		"gatehouse=" + good[:42]:                                           false,
		"gatehouse=" + good[:42] + "%41":                                   false,
		"gatehouse=" + unknown:                                             false,
		"gatehouse":                                                        false,
		"gatehouse=":                                                       false,
		"gatehouse[]=" + good:                                              false,
		"gatehouse=\"; \xff\xfe=\x01; =; ;;":                               false,
		"gatehouse=../../session:x; gatehouse=*; gatehouse=\u00e9":         false,
		"gatehouse=" + strings.Repeat("x", 3000):                           false,
		strings.Repeat("a=b; ", 300) + "gatehouse=" + unknown + ";":        false,
	} {
		c := kit.NewClient(t, app.origin)
		c.T = t
		req := c.NewRequest(http.MethodGet, "/whoami", "", "Accept", "application/json")
		req.Header["Cookie"] = []string{withoutControls(cookie)}
		a := c.Do(req)
		if status := map[bool]int{true: http.StatusOK, false: http.StatusUnauthorized}[want]; a.StatusCode != status {
			t.Errorf("with the cookies %q: %s, want %d\n%s", cookie, a.Status, status, a.Text)
		}
		wantPrivate(t, a)
	}
}

// withoutControls drops the bytes that net/http does not send in a header.
func withoutControls(s string) string {
	return string(slices.DeleteFunc([]byte(s), func(b byte) bool { return b < ' ' }))
}

// changes checks that every change of a user reaches the app and that a sign-out takes effect at the next request.
func (n *platform) changes(t *testing.T, app runningApp, username string) {
	c := n.signedIn(t, app, username)
	wantSignedIn(c, username)
	n.Exec(`UPDATE users SET name = 'Alice the First' WHERE username = $1`, username)
	soon(c, "the new name", func(m *member) bool { return m.Name == "Alice the First" })
	if a := c.Get("/", "Accept", kit.AcceptHTML); !strings.Contains(a.Text, `<h1 id="greeting">Hello, Alice the First</h1>`) {
		t.Errorf("got the greeting\n%s", a.Text)
	}
	n.Exec(`INSERT INTO user_groups (user_id, group_name) SELECT id, 'admin' FROM users WHERE username = $1`, username)
	soon(c, "the group", func(m *member) bool {
		return slices.Contains(m.Groups, "admin") && slices.Contains(m.Permissions, "users.manage")
	})
	n.Exec(`DELETE FROM user_groups WHERE user_id = (SELECT id FROM users WHERE username = $1)`, username)
	soon(c, "the group to be gone", func(m *member) bool { return len(m.Groups) == 0 && !slices.Contains(m.Permissions, "users.manage") })

	other := kit.NewClient(t, n.login)
	other.SignIn(username)
	other.WantSeeOther(other.PostForm("/account/sessions/end-others"), "/account?notice=others-ended")
	soonAnonymous(c, "the end of all other sessions")
	wantSignedIn(other.At(app.origin), username)

	c = n.signedIn(t, app, username)
	wantSignedIn(c, username)
	other.WantSeeOther(other.ChangePassword(kit.Password, kit.OtherPassword), "/account?notice=password")
	soonAnonymous(c, "a change of the password")
	wantSignedIn(other.At(app.origin), username)
	other.WantSeeOther(other.ChangePassword(kit.OtherPassword, kit.Password), "/account?notice=password")

	c = n.signedIn(t, app, username)
	wantSignedIn(c, username)
	n.Exec(`UPDATE users SET active = false WHERE username = $1`, username)
	soonAnonymous(c, "the user was disabled")
	n.Exec(`UPDATE users SET active = true WHERE username = $1`, username)
	testkit.Eventually(t, kit.WaitTimeout, "a new sign-in", func() bool {
		return c.At(n.login).PostForm("/login", "username", username, "password", kit.Password).StatusCode == http.StatusSeeOther
	})
	wantSignedIn(c, username)

	copied := c.CopySession(app.origin)
	c.At(n.login).WantSeeOther(c.At(n.login).PostForm("/logout"), "/login?notice=signed-out")
	wantAnonymous(copied)
}

// manyChanges checks that each change at Gatehouse reaches the app's next request, which finds the user even while servers
// invalidate the cache again.
func (n *platform) manyChanges(t *testing.T, app runningApp, username string) {
	c := n.signedIn(t, app, username)
	for i := range 50 {
		name := fmt.Sprintf("Alice %d", i)
		own := c.At(n.login)
		own.WantSeeOther(own.PostForm("/account/profile", "name", name, "email", "", "time_zone", "UTC"), "/account?notice=profile")
		if m := memberOf(c); m == nil || m.Name != name {
			t.Fatalf("renamed to %s, but the app has %+v", name, m)
		}
	}
}

// cacheFlushed checks that users stay signed in, even if many requests arrive concurrently after the flush.
func (n *platform) cacheFlushed(t *testing.T, app runningApp, username string) {
	c := n.signedIn(t, app, username)
	for range 3 {
		wantSignedIn(c, username)
		n.flushCache()
		responses := kit.RunConcurrently(t, 6, func(int) (kit.Response, error) { return c.TryDo(c.NewRequest(http.MethodGet, "/whoami", "")) })
		for _, a := range responses {
			c.WantStatus(a, http.StatusOK)
		}
	}
	// While a server fills the cache, the app waits.
	key := "user:" + n.UserID(username)
	record, err := redis.String(n.Cache.Do("GET", key))
	if err != nil {
		t.Fatal(err)
	}
	n.cacheDo("SET", key, "lease:another-server")
	published := n.CommandCalls("publish")
	waiting := make(chan kit.Response, 1)
	go func() {
		a, err := c.TryDo(c.NewRequest(http.MethodGet, "/whoami", ""))
		if err != nil {
			t.Errorf("while the cache is being filled: %v", err)
		}
		waiting <- a
	}()
	testkit.Eventually(t, 5*time.Second, "the app to publish its request", func() bool { return n.CommandCalls("publish") > published })
	n.cacheDo("SET", key, record)
	if a := <-waiting; a.Response != nil {
		c.WantStatus(a, http.StatusOK)
	}
}

func (n *platform) flushCache() { n.T.Helper(); n.cacheDo("FLUSHDB") }

func (n *platform) cacheDo(command string, args ...any) {
	n.T.Helper()
	if _, err := n.Cache.Do(command, args...); err != nil {
		n.T.Fatalf("%s: %v", command, err)
	}
}

// stayingSignedIn checks that the app reports the use of the session when a renewal is due, and not before.
func (n *platform) stayingSignedIn(t *testing.T, app runningApp, username string) {
	c := n.signedIn(t, app, username)
	key := "session:" + auth.SessionID(c.Cookie(kit.SessionCookie))
	fresh := n.TTL(key)
	wantSignedIn(c, username)
	published := n.CommandCalls("publish")
	for range 5 {
		wantSignedIn(c, username)
	}
	if now := n.CommandCalls("publish"); now != published {
		t.Errorf("got %d messages for 5 requests with a new session, want 0", now-published)
	}
	n.Do("PEXPIRE", key, (fresh * 8 / 10).Milliseconds())
	wantSignedIn(c, username)
	testkit.Eventually(t, 5*time.Second, "the session to be renewed", func() bool { return n.TTL(key) > fresh*99/100 })
	published = n.CommandCalls("publish")
	wantSignedIn(c, username)
	if now := n.CommandCalls("publish"); now != published {
		t.Error("got a message for a session that was just renewed")
	}
}
