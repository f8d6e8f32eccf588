// Package proxies tests nginx, Caddy and HAProxy in front of apps, with the configurations in deploy/.
package proxies

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse/internal/e2e/kit"
	"gatehouse/internal/testkit"
)

// The hosts share a cookie for gate.localhost. Browsers resolve all of them to this machine.
const (
	sharedDomain = "gate.localhost"
	loginHost    = "login." + sharedDomain
	appHost      = "app." + sharedDomain
)

// gatedApp is an app behind a reverse proxy that asks Gatehouse about every request.
type gatedApp struct {
	*kit.Target
	login   string // Gatehouse's origin
	backend *printer
	// behind is the address of the app behind the proxy, by default that of the printer.
	behind string
	// proxy is the proxy's address, app its origin.
	proxy, app string
	// sharing removes the lines from the configuration that hide the session from the app.
	sharing bool
}

// printer is an app that prints the requests that reach it.
type printer struct {
	*httptest.Server
	asked atomic.Int64
}

// printed is a request as the app got it.
type printed struct {
	Method, URI, Host string
	Header            http.Header
	// Length is the size of the body in bytes.
	Length int64
}

func newPrinter(t testing.TB) *printer {
	t.Helper()
	p := &printer{}
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.asked.Add(1)
		if r.URL.Path == "/favicon.ico" {
			w.WriteHeader(http.StatusNoContent)
			return
		}
		length, err := io.Copy(io.Discard, r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		e := json.NewEncoder(w)
		e.SetEscapeHTML(false)
		_ = e.Encode(printed{r.Method, r.RequestURI, r.Host, r.Header, length}) // the visitor may have disconnected
	}))
	t.Cleanup(p.Close)
	return p
}

// proxies maps names to functions that start the reverse proxies with the configurations of deploy/, in which only
// addresses are replaced.
var proxies = map[string]func(testing.TB, *gatedApp) *exec.Cmd{
	"nginx": startNginx, "caddy": startCaddy, "haproxy": startHAProxy,
}

// newGated returns an app behind the proxy, with Gatehouse on another host of the same domain.
func newGated(t testing.TB, start func(testing.TB, *gatedApp) *exec.Cmd) *gatedApp {
	t.Helper()
	s := kit.NewSite(t)
	port := testkit.FreePort(t)
	g := &gatedApp{login: fmt.Sprintf("http://%s:%d", loginHost, port), backend: newPrinter(t)}
	server := s.Serve("LISTEN_ADDR", fmt.Sprintf("127.0.0.1:%d", port), "BASE_URL", g.login, "COOKIE_DOMAIN", sharedDomain, "TRUSTED_PROXIES", "127.0.0.1")
	g.Target = &kit.Target{Site: s, Server: server, Sessions: kit.DialRedis(t, s.RedisURL), DB: kit.OpenDB(t, "postgres", s.DatabaseURL)}
	return g.inFrontOf(t, start, g.backend.Listener.Addr().String())
}

// inFrontOf returns another proxy of the same Gatehouse, in front of the app at the address.
func (g *gatedApp) inFrontOf(t testing.TB, start func(testing.TB, *gatedApp) *exec.Cmd, site string) *gatedApp {
	t.Helper()
	another := *g
	port := testkit.FreePort(t)
	another.behind = site
	another.proxy = fmt.Sprintf("127.0.0.1:%d", port)
	another.app = fmt.Sprintf("http://%s:%d", appHost, port)
	testkit.StartProgram(t, start(t, &another), another.proxy)
	return &another
}

// deployed returns a file of deploy/ with the addresses of the test's servers; pairs are further replacements.
func (g *gatedApp) deployed(t testing.TB, name string, pairs ...string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "..", "deploy", filepath.FromSlash(name)))
	if err != nil {
		t.Fatal(err)
	}
	if g.sharing {
		pairs = append(pairs, sharesSession...)
	}
	all := append([]string{"127.0.0.1:8080", strings.TrimPrefix(g.Server.URL(), "http://"), "127.0.0.1:9000", g.behind}, pairs...)
	return strings.NewReplacer(all...).Replace(string(text))
}

// sharesSession removes the lines of the configurations that must not be used with an app with a session reader.
var sharesSession = []string{
	"proxy_set_header Cookie $gatehouse_cookie;", "",
	"request_header Cookie {http.request.header.X-Gatehouse-Cookie}", "", `@gatehouse_no_cookie header Cookie ""`, "", "request_header @gatehouse_no_cookie -Cookie", "",
	`, "cookie" }`, " }",
}

var nginxExample = regexp.MustCompile(`(?m)^#   (.*)$`)

// startNginx runs the example at the top of gatehouse.conf.
func startNginx(t testing.TB, g *gatedApp) *exec.Cmd { return startNginxWith(t, g) }

// startNginxWith is startNginx with replacements in the example.
func startNginxWith(t testing.TB, g *gatedApp, pairs ...string) *exec.Cmd {
	dir := t.TempDir()
	kit.WriteFile(t, filepath.Join(dir, "gatehouse-fastcgi.conf"), g.deployed(t, "nginx/gatehouse-fastcgi.conf"))
	conf := g.deployed(t, "nginx/gatehouse.conf")
	kit.WriteFile(t, filepath.Join(dir, "gatehouse.conf"), conf)
	kit.WriteFile(t, filepath.Join(dir, "gatehouse-location.conf"), g.deployed(t, "nginx/gatehouse-location.conf"))
	var example []string
	for _, line := range nginxExample.FindAllStringSubmatch(conf, -1) {
		example = append(example, line[1])
	}
	servers := strings.NewReplacer(pairs...).Replace(strings.Join(example, "\n"))
	servers = strings.NewReplacer("/etc/nginx/", dir+"/", "server_name app.example.org;", "server_name "+appHost+"; listen "+g.proxy+";").Replace(servers)
	main := "daemon off;\nmaster_process off;\npid " + dir + "/pid;\nerror_log stderr warn;\nevents {}\nhttp {\naccess_log off;\n"
	for _, temp := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		main += temp + "_temp_path " + dir + "/" + temp + ";\n"
	}
	return exec.Command(testkit.Tool(t, "nginx"), "-e", "stderr", "-c", kit.WriteFile(t, filepath.Join(dir, "nginx.conf"), main+servers+"\n}\n"))
}

func startCaddy(t testing.TB, g *gatedApp) *exec.Cmd {
	dir := t.TempDir()
	conf := "{\n\tadmin off\n\tauto_https off\n}\n" + g.deployed(t, "caddy/Caddyfile", "app.example.org {", g.app+" {\n\tbind 127.0.0.1")
	cmd := exec.Command(testkit.Tool(t, "caddy"), "run", "--adapter", "caddyfile", "--config", kit.WriteFile(t, filepath.Join(dir, "Caddyfile"), conf))
	cmd.Env = []string{"HOME=" + dir, "PATH=" + os.Getenv("PATH")}
	return cmd
}

func startHAProxy(t testing.TB, g *gatedApp) *exec.Cmd {
	dir := t.TempDir()
	lua := kit.WriteFile(t, filepath.Join(dir, "gatehouse.lua"), g.deployed(t, "haproxy/gatehouse.lua"))
	conf := g.deployed(t, "haproxy/haproxy.cfg", "/etc/haproxy/gatehouse.lua", lua, "bind :80", "bind "+g.proxy)
	return exec.Command(testkit.Tool(t, "haproxy"), "-db", "-f", kit.WriteFile(t, filepath.Join(dir, "haproxy.cfg"), conf))
}

// browse returns a client at the origin that resolves all hosts to this machine.
func (g *gatedApp) browse(t testing.TB, origin string) *kit.Client {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		_, port, err := net.SplitHostPort(address)
		if err != nil {
			return nil, err
		}
		return (&net.Dialer{}).DialContext(ctx, network, "127.0.0.1:"+port)
	}}
	t.Cleanup(transport.CloseIdleConnections)
	return &kit.Client{T: t, BaseURL: origin, HTTP: &http.Client{Jar: jar, Transport: transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
}

// reached returns the request that the app got, from its response.
func reached(t testing.TB, body string) printed {
	t.Helper()
	var p printed
	if err := json.Unmarshal([]byte(body), &p); err != nil {
		t.Fatalf("not a response of the app: %v\n%s", err, body)
	}
	return p
}

func TestProxies_InFrontOfAnApp(t *testing.T) {
	t.Parallel()
	for name, start := range proxies {
		t.Run(name, func(t *testing.T) {
			g := newGated(t, start)
			alice := g.browse(t, g.login)
			alice.Register("alice")
			g.Exec(`UPDATE users SET name = 'Alice Exämple', email = 'alice@example.org', email_verified = true WHERE username = 'alice'`)
			t.Run("sign-in returns", g.signInReturns)
			t.Run("nothing is spoofed", func(t *testing.T) { g.nothingIsSpoofed(t, alice.At(g.app)) })
			t.Run("permissions", func(t *testing.T) { g.permissions(t, alice.At(g.app)) })
			t.Run("programs", g.programs)
			t.Run("open redirects", g.openRedirects)
			session := alice.Cookie("gatehouse")
			t.Run("the path that is checked is served", func(t *testing.T) { g.pathCheckedIsServed(t, session) })
			t.Run("hop-by-hop headers remove nothing", func(t *testing.T) { g.hopByHopTakesNothing(t, session, name != "nginx") })
			t.Run("apps do not get the session", func(t *testing.T) { g.sessionIsRemoved(t, session) })
			t.Run("apps that share the session get it", func(t *testing.T) { g.sharingAppsGetTheSession(t, start, session) })
			t.Run("large uploads", func(t *testing.T) { g.largeUploads(t, session) })
			t.Run("gateways get no other spelling", func(t *testing.T) { g.gatewaysReadNoOtherSpelling(t, start, session) })
			t.Run("sign-out", func(t *testing.T) {
				alice.WantSeeOther(alice.PostForm("/logout"), "/login?notice=signed-out")
				if a := alice.At(g.app).Get("/"); a.StatusCode != http.StatusUnauthorized {
					t.Errorf("after the sign-out: %s", a.Status)
				}
			})
		})
	}
}

// signInReturns checks that a browser without a session gets the sign-in page and, after the sign-in, exactly the page
// that it requested.
func (g *gatedApp) signInReturns(t *testing.T) {
	p := kit.NewBrowser(t, g.app)
	p.OtherHosts = []string{g.login}
	const wanted = "/reading/list?tab=a%26b&page=2&q=%C3%BC"
	before := g.backend.asked.Load()
	p.Open(wanted, http.StatusOK)
	if got := kit.Eval[string](p, "location.origin + location.pathname"); got != g.login+"/login" {
		t.Fatalf("at %s, want the sign-in page", got)
	}
	p.WantText("main", strings.TrimPrefix(g.app, "http://"))
	if g.backend.asked.Load() != before {
		t.Error("the request of an anonymous visitor reached the app")
	}
	// The requested address survives a wrong password.
	p.Fill("username", "alice", "password", "not-"+kit.Password)
	p.Submit("/login", http.StatusUnauthorized)
	p.Fill("password", kit.Password)
	p.Submit("/login", http.StatusOK)
	if got := kit.Eval[string](p, "location.href"); got != g.app+wanted {
		t.Fatalf("at %s, want %s", got, g.app+wanted)
	}
	got := reached(t, p.Text("body"))
	for name, want := range map[string]string{"Remote-User": "alice", "Remote-Name": "Alice Exämple", "Remote-Email": "alice@example.org"} {
		if v := got.Header[name]; !slices.Equal(v, []string{want}) {
			t.Errorf("the app got %s: %q, want %q", name, v, want)
		}
	}
	if got.URI != wanted || strings.Trim(strings.Join(got.Header["Remote-Groups"], ""), " ") != "" {
		t.Errorf("the app got %+v", got)
	}
}

// nothingIsSpoofed checks that no header of a visitor about identity or origin, in any spelling, reaches the app.
func (g *gatedApp) nothingIsSpoofed(t *testing.T, c *kit.Client) {
	c.T = t
	req := c.NewRequest(http.MethodGet, "/x", "")
	for _, name := range []string{
		"Remote-User", "Remote-Name", "Remote-Email", "Remote-Groups", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-Uri", "X-Forwarded-Method",
		"X-Forwarded-User", "X-Forwarded-Email", "X-Forwarded-Groups", "X-Forwarded-Preferred-Username", "X-Forwarded-Prefix", "X-Original-URL", "X-Original-Method", "Forwarded", "X-Real-Ip",
	} {
		for _, spelling := range []string{name, strings.ToLower(name), strings.ReplaceAll(name, "-", "_"), strings.ToLower(strings.ReplaceAll(name, "-", "_")), strings.Replace(name, "-", "_", 1)} {
			req.Header[spelling] = []string{"mallory"}
		}
	}
	a := c.Do(req)
	c.WantStatus(a, http.StatusOK)
	got := reached(t, a.Text)
	for name, values := range got.Header {
		if strings.Contains(strings.Join(values, " "), "mallory") || strings.Contains(name, "_") {
			t.Errorf("the app got %s: %q", name, values)
		}
	}
	if got.Header.Get("Remote-User") != "alice" {
		t.Errorf("the app got the user %q", got.Header["Remote-User"])
	}
	// The same without a session.
	before := g.backend.asked.Load()
	stranger := g.browse(t, g.app)
	req = stranger.NewRequest(http.MethodGet, "/x", "", "Remote-User", "alice", "Remote_User", "alice", "X-Original-URL", g.login+"/", "X-Forwarded-Uri", "/")
	if a := stranger.Do(req); a.StatusCode != http.StatusUnauthorized || g.backend.asked.Load() != before {
		t.Errorf("an anonymous visitor got %s", a.Status)
	}
}

func (g *gatedApp) permissions(t *testing.T, c *kit.Client) {
	c.T = t
	if a := c.Get("/reports/2026", "Accept", kit.AcceptHTML); a.StatusCode != http.StatusForbidden || !strings.Contains(a.Text, "Ask an administrator") {
		t.Errorf("without the permission: %s %s", a.Status, a.Text)
	}
	g.Run("", "user", "grant", "alice", "reports.view").WantCode(t, 0)
	testkit.Eventually(t, kit.WaitTimeout, "the permission", func() bool { return c.Get("/reports/2026").StatusCode == http.StatusOK })
	g.Run("", "user", "ungrant", "alice", "reports.view").WantCode(t, 0)
	testkit.Eventually(t, kit.WaitTimeout, "the permission to go", func() bool { return c.Get("/reports/2026").StatusCode == http.StatusForbidden })
	// The visitor's query neither adds nor removes requirements.
	for _, path := range []string{"/reports/?permission=users.view", "/reports/?group=x"} {
		if a := c.Get(path); a.StatusCode != http.StatusForbidden {
			t.Errorf("%s: %s", path, a.Status)
		}
	}
	if a := c.Get("/?permission=nobody.has"); a.StatusCode != http.StatusOK {
		t.Errorf("a query for the app: %s", a.Status)
	}
	g.Exec(`UPDATE users SET active = false WHERE username = 'alice'`)
	testkit.Eventually(t, kit.WaitTimeout, "the disabled user to be refused", func() bool { return c.Get("/").StatusCode == http.StatusUnauthorized })
	g.Exec(`UPDATE users SET active = true WHERE username = 'alice'`)
	testkit.Eventually(t, kit.WaitTimeout, "a new sign-in", func() bool {
		return c.At(g.login).PostForm("/login", "username", "alice", "password", kit.Password).StatusCode == http.StatusSeeOther
	})
}

// programs checks that programs can authenticate with Basic and tokens and that refusals have the challenges for both.
func (g *gatedApp) programs(t *testing.T) {
	c := g.browse(t, g.app)
	a := c.Get("/")
	if challenge := a.Header.Get("WWW-Authenticate"); a.StatusCode != http.StatusUnauthorized || !strings.HasPrefix(challenge, "Basic ") {
		t.Errorf("a program: %s, with the challenge %q", a.Status, challenge)
	}
	if a := c.Get("/", "Sec-Fetch-Mode", "cors", "Accept", "*/*"); a.StatusCode != http.StatusUnauthorized || strings.Contains(strings.Join(a.Header["Www-Authenticate"], ""), "Basic") {
		t.Errorf("a script of a page: %s, with the challenge %q", a.Status, a.Header["Www-Authenticate"])
	}
	basic := func(password string) kit.Response {
		req := c.NewRequest(http.MethodPost, "/x", "some data")
		req.SetBasicAuth("alice", password)
		return c.Do(req)
	}
	a = basic(kit.Password)
	c.WantStatus(a, http.StatusOK)
	if got := reached(t, a.Text); got.Header.Get("Remote-User") != "alice" || got.Header.Get("Authorization") != "" || got.Method != http.MethodPost {
		t.Errorf("the app got %+v", got)
	}
	if a := basic("wrong-" + kit.Password); a.StatusCode != http.StatusUnauthorized || a.Header.Get("Location") != "" {
		t.Errorf("a wrong password: %s", a.Status)
	}
	req := g.browse(t, g.login).NewRequest(http.MethodPost, "/api/tokens", `{"username":"alice","password":"`+kit.Password+`","name":"proxy"}`, "Content-Type", "application/json")
	made := c.Do(req)
	c.WantStatus(made, http.StatusCreated)
	var token struct{ Token string }
	if err := json.Unmarshal([]byte(made.Text), &token); err != nil {
		t.Fatal(err)
	}
	a = c.Get("/", "Authorization", "Bearer "+token.Token)
	c.WantStatus(a, http.StatusOK)
	if got := reached(t, a.Text); got.Header.Get("Remote-User") != "alice" || got.Header.Get("Authorization") != "" {
		t.Errorf("the app got %+v", got)
	}
	c.WantStatus(c.Get("/", "Authorization", "Bearer "+token.Token+"x"), http.StatusUnauthorized)
	c.WantStatus(c.Get("/reports/", "Authorization", "Bearer "+token.Token), http.StatusForbidden)
}

// openRedirects checks that no requested address leads from the sign-in to another site.
func (g *gatedApp) openRedirects(t *testing.T) {
	visitor := g.browse(t, g.login)
	for _, target := range []string{
		"//evil.example", "///evil.example", "//evil.example/%2f..", `/\evil.example`, `\\evil.example`, "/%09/evil.example", "/%0d%0aLocation:%20https://evil.example", "/%2f..", "/%5cevil.example",
		"http://evil.example/", "https://evil.example/", "/@evil.example", "/?next=https://evil.example", "/x?https://evil.example", "@evil.example", ".evil.example", "/#@evil.example", "*",
	} {
		for _, host := range []string{strings.TrimPrefix(g.app, "http://"), "evil.example", appHost + "@evil.example", "evil.example:80#." + sharedDomain, "evil" + sharedDomain, sharedDomain + ".evil.example"} {
			location := g.requestRaw(t, target, host)
			if location == "" {
				continue // refused by the proxy itself
			}
			u, err := url.Parse(location)
			if err != nil || !strings.HasPrefix(location, g.login+"/login") || u.Host != strings.TrimPrefix(g.login, "http://") {
				t.Errorf("%q at %q leads to %q", target, host, location)
				continue
			}
			next := u.Query().Get("next")
			if n, err := url.Parse(next); next != "" && (err != nil || n.Hostname() != appHost && !strings.HasSuffix(n.Hostname(), "."+sharedDomain) || n.User != nil) {
				t.Errorf("%q at %q continues to %q", target, host, next)
			}
			// The final location of the browser.
			a := visitor.PostForm("/login", "username", "alice", "password", kit.Password, "next", next)
			if to := a.Header.Get("Location"); a.StatusCode != http.StatusSeeOther || to != "/dashboard" && to != next {
				t.Errorf("%q at %q: the sign-in leads to %q with %s", target, host, to, a.Status)
			}
		}
	}
}

// requestRaw sends a request line unchanged and returns the Location of the response.
func (g *gatedApp) requestRaw(t *testing.T, target, host string) string {
	t.Helper()
	conn, err := net.Dial("tcp", g.proxy)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\nAccept: %s\r\nConnection: close\r\n\r\n", target, host, kit.AcceptHTML)
	location := ""
	if err := readHead(conn, func(name, value string) {
		if strings.EqualFold(name, "Location") {
			location = value
		}
	}); err != nil {
		t.Fatalf("%q at %q: %v", target, host, err)
	}
	if location == "" {
		return ""
	}
	if strings.ContainsAny(location, "\r\n") {
		t.Errorf("%q at %q breaks the header: %q", target, host, location)
	}
	return location
}

// readHead reads the head of a response from the connection.
func readHead(conn net.Conn, header func(name, value string)) error {
	text, err := io.ReadAll(conn)
	if err != nil && len(text) == 0 {
		return err
	}
	head, _, _ := strings.Cut(string(text), "\r\n\r\n")
	for _, line := range strings.Split(head, "\r\n")[1:] {
		name, value, _ := strings.Cut(line, ":")
		header(name, strings.TrimSpace(value))
	}
	return nil
}

// TestNginx_FastCGIGetsTheSameHeaders: nginx does not apply proxy_set_header to FastCGI.
func TestNginx_FastCGIGetsTheSameHeaders(t *testing.T) {
	t.Parallel()
	g := newGated(t, startNginx)
	alice := g.browse(t, g.login)
	alice.Register("alice")
	g.Exec(`UPDATE users SET email = 'alice@example.org', email_verified = true WHERE username = 'alice'`)
	dir := t.TempDir()
	script := kit.WriteFile(t, filepath.Join(dir, "variables.php"), phpVariables)
	address := fmt.Sprintf("127.0.0.1:%d", testkit.FreePort(t))
	testkit.StartProgram(t, exec.Command(testkit.Tool(t, "php-cgi"), "-b", address), address)
	site := g.inFrontOf(t, func(t testing.TB, g *gatedApp) *exec.Cmd {
		return startNginxWith(t, g, "proxy_pass http://app;", "fastcgi_param REQUEST_METHOD $request_method; fastcgi_param REDIRECT_STATUS 200; fastcgi_param REMOTE_USER $remote_user; fastcgi_param SCRIPT_FILENAME "+script+";\n"+
			"include /etc/nginx/gatehouse-fastcgi.conf; fastcgi_pass app;")
	}, address)
	site.wantNoOtherSpelling(t, alice.Cookie("gatehouse"))
}

// TestProxies_FailClosed: while Redis or Gatehouse is unavailable, no request reaches the app, and visitors are not
// asked to sign in again.
func TestProxies_FailClosed(t *testing.T) {
	t.Parallel()
	for name, start := range proxies {
		t.Run(name, func(t *testing.T) {
			g := newGated(t, start)
			alice := g.browse(t, g.login)
			alice.Register("alice")
			c := alice.At(g.app)
			c.WantStatus(c.Get("/"), http.StatusOK)
			before := g.backend.asked.Load()
			g.Do("CLIENT", "PAUSE", "3000", "ALL")
			a := c.Get("/", "Accept", kit.AcceptHTML)
			if a.StatusCode != http.StatusServiceUnavailable || a.Header.Get("Retry-After") == "" || len(a.Cookies()) != 0 || g.backend.asked.Load() != before {
				t.Errorf("without Redis: %s, %v", a.Status, a.Header)
			}
			testkit.Eventually(t, 10*time.Second, "Redis to be back", func() bool { return c.Get("/").StatusCode == http.StatusOK })
			g.Server.Stop()
			if a := c.Get("/", "Accept", kit.AcceptHTML); a.StatusCode < 500 || g.backend.asked.Load() <= before {
				t.Errorf("without Gatehouse: %s", a.Status)
			}
			after := g.backend.asked.Load()
			c.Get("/")
			if g.backend.asked.Load() != after {
				t.Error("without Gatehouse, a request reached the app")
			}
		})
	}
}
