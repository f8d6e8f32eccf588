package proxies

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse/internal/e2e/kit"
	"gatehouse/internal/testkit"
)

// raw sends a request unchanged, with the Host and Cookie headers added, and returns the response. If the proxy refuses
// the request by closing the connection, raw returns a 400.
func (g *gatedApp) raw(t testing.TB, session, target string, lines ...string) kit.Response {
	t.Helper()
	text := "GET " + target + " HTTP/1.1\r\nHost: " + strings.TrimPrefix(g.app, "http://") + "\r\nCookie: gatehouse=" + session + "\r\n"
	for _, line := range lines {
		text += line + "\r\n"
	}
	return g.send(t, text+"\r\n")
}

func (g *gatedApp) send(t testing.TB, text string) kit.Response {
	t.Helper()
	conn, err := net.Dial("tcp", g.proxy)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err == io.ErrUnexpectedEOF || err == io.EOF {
		return kit.Response{Response: &http.Response{StatusCode: http.StatusBadRequest}}
	}
	if err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	return kit.Response{Response: resp, Text: string(body)}
}

// servedPath returns the path that a careless app serves for a request target: decoded, with backslashes as slashes,
// truncated at NUL, without path parameters, in lower case, and resolved.
func servedPath(target string) string {
	target, _, _ = strings.Cut(target, "?")
	target, _, _ = strings.Cut(target, "#")
	if decoded, err := url.PathUnescape(target); err == nil {
		target = decoded
	}
	target = strings.NewReplacer(`\`, "/", "\xc0\xaf", "/").Replace(target)
	target, _, _ = strings.Cut(target, "\x00")
	target, _, _ = strings.Cut(target, "?")
	target, _, _ = strings.Cut(target, "#")
	segments := strings.Split(target, "/")
	for i, s := range segments {
		segments[i], _, _ = strings.Cut(s, ";")
	}
	return strings.ToLower(path.Clean("/" + strings.Join(segments, "/")))
}

// pathCheckedIsServed checks that no spelling of a path bypasses a permission and ordinary paths reach the app unchanged.
func (g *gatedApp) pathCheckedIsServed(t *testing.T, session string) {
	ask := func(target string, want int) {
		t.Helper()
		before := g.backend.asked.Load()
		a := g.raw(t, session, target)
		if a.StatusCode != want {
			t.Errorf("%s: got %d, want %d", target, a.StatusCode, want)
		}
		if asked := g.backend.asked.Load() != before; asked != (want == http.StatusOK) {
			t.Errorf("%s: the app got the request: %t", target, asked)
		}
		if a.StatusCode != http.StatusOK {
			return
		}
		if got := reached(t, a.Text); got.URI != target {
			t.Errorf("%s: the app got a request for %s", target, got.URI)
		} else if p := servedPath(got.URI); p == "/reports" || strings.HasPrefix(p, "/reports/") {
			t.Errorf("%s: an app may serve %s", target, p)
		}
	}
	for _, target := range []string{
		"//reports/x", "/x//reports/", "///", "/./reports/x", "/x/../reports/x", "/reports/../x", "/reports/.", "/reports/..", "/x/..?y", "/%2e/reports/x", "/x/%2e%2E/reports/x", "/x/.%2e/reports/x", "/reports/%2e%2e/x",
		"/reports%2fx", "/reports%2F", "/x%2f..%2freports/x", "/reports/..%2fx", "/reports%5cx", `/reports\x`, `/x\..\reports`, "/x/..%5creports", "/reports%00", "/x%00/reports", "/%00", "/x%0a", "/x%7f",
		"/..%3b/reports/x", "/x/..%3B/reports/x", "/.%3b/reports/x", "/%3bx/reports/x", "/x/..%3b", "/reports/%2e%3bx",
		"/x/..;/reports/x", "/x;y/reports/x", "/;/reports/x", "/..;x", "/%c0%afreports/x", "/x/%c0%ae%c0%ae/reports/x", "/x%e0%80%af", "/reports%zz", "/reports%", "/x%2", "/x#/../reports/x",
	} {
		ask(target, http.StatusBadRequest)
	}
	for _, target := range []string{
		"/reports/x", "/reports", "/reports?x", "/reports/?x//y", "/%72eports/x", "/%72%65%70%6F%72%74%73/x", "/reports/%20", "/reports;x", "/%72eports;x=y", "/reports%3bx", "/reports%3fx", "/reports%23x", "/%72eports%3Fx/y", "/reports/caf%C3%A9", "/reports/a;b",
	} {
		ask(target, http.StatusForbidden)
	}
	for _, target := range []string{
		"/a%20b/c", "/caf%C3%A9/%E2%82%AC", "/a+b", "/a%2Bb%3Bc", "/a;b", "/.well-known/x", "/a..b/..c/.d/e.", "/...", "/100%25", "/x:y@z", "/~alice", "/a,b=c&d$e!f'(g)*h", "/x/", "/reportsx", "/x/reports",
		"/x?next=//evil.example/../reports/%2f%5c%00;/", "/?", "/?/../reports",
	} {
		ask(target, http.StatusOK)
	}
	// The same for anonymous visitors and for targets that are not paths.
	before := g.backend.asked.Load()
	for target, want := range map[string]int{"//reports/": 400, "/reports%2f": 400, "/reports/": 401, g.app + "/%72eports/": 401, g.app + "//reports/": 400, g.app + "/x/../reports/": 400} {
		if a := g.raw(t, "", target); a.StatusCode != want {
			t.Errorf("an anonymous visitor, %s: got %d, want %d", target, a.StatusCode, want)
		}
	}
	for _, target := range []string{"reports/", "*", "http:reports/", "http:/reports/", "http:///reports/", "http://", "?", ";", `\reports\`} {
		if a := g.raw(t, session, target); a.StatusCode < 400 || a.StatusCode >= 500 {
			t.Errorf("%s: %d", target, a.StatusCode)
		}
	}
	// Gatehouse checks the host that the app gets.
	for _, target := range []string{"http://" + appHost + "/", "http://other.example/"} {
		for _, host := range []string{"other.example", "other." + appHost, appHost + ".other.example", ""} {
			a := g.send(t, "GET "+target+" HTTP/1.1\r\nHost: "+host+"\r\nCookie: gatehouse="+session+"\r\nConnection: close\r\n\r\n")
			if a.StatusCode != http.StatusOK || a.Text == "" { // Caddy has no site of that name, and sends an empty response
				continue
			}
			if got := reached(t, a.Text); !strings.HasPrefix(target, "http://"+got.Host+"/") {
				t.Errorf("%s, with the host %q: the app got the host %q", target, host, got.Host)
			}
			before++
		}
	}
	if asked := g.backend.asked.Load() - before; asked != 0 {
		t.Errorf("the app got %d requests", asked)
	}
	ask("/", http.StatusOK)
}

// identity lists the headers that the proxies set.
var identity = []string{
	"Remote-User", "Remote-Name", "Remote-Email", "Remote-Groups", "Cookie", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "Host", "Authorization", "X-Real-Ip", "Forwarded", "X-Gatehouse-Cookie",
	"X-Gatehouse-Permission", "X-Forwarded-Uri", "X-Forwarded-Method", "X-Original-Url", "X-Original-Method", "Accept", "Content-Length", "Transfer-Encoding", "Keep-Alive", "Upgrade", "TE",
}

// hopByHopTakesNothing checks that a header that the client names in Connection (RFC 9110, section 7.6.1) reaches the app
// as usual and no further proxy removes it. upgrades is whether the proxy forwards upgrades.
func (g *gatedApp) hopByHopTakesNothing(t *testing.T, session string, upgrades bool) {
	check := func(what string, a kit.Response) (got printed) {
		t.Helper()
		if a.StatusCode != http.StatusOK {
			t.Errorf("%s: %d %s", what, a.StatusCode, a.Text)
			return got
		}
		got = reached(t, a.Text)
		for name, want := range map[string]string{"Remote-User": "alice", "Remote-Name": "Alice Exämple", "Remote-Email": "alice@example.org", "X-Forwarded-For": "127.0.0.1", "X-Forwarded-Host": strings.TrimPrefix(g.app, "http://"), "X-Forwarded-Proto": "http", "Cookie": "a=1"} {
			if v := got.Header[name]; !slices.Equal(v, []string{want}) {
				t.Errorf("%s: the app got %s: %q, want %q", what, name, v, want)
			}
		}
		for _, v := range got.Header["Connection"] {
			if !strings.EqualFold(v, "upgrade") && !strings.EqualFold(v, "close") && !strings.EqualFold(v, "keep-alive") {
				t.Errorf("%s: the app got Connection: %q", what, got.Header["Connection"])
			}
		}
		if upgrade := got.Header.Get("Upgrade") != ""; upgrade != strings.EqualFold(got.Header.Get("Connection"), "upgrade") {
			t.Errorf("%s: the app got an incomplete upgrade: %q", what, got.Header)
		}
		if got.Host != strings.TrimPrefix(g.app, "http://") {
			t.Errorf("%s: the app got Host: %s", what, got.Host)
		}
		return got
	}
	const cookie = "Cookie: a=1"
	for _, name := range identity {
		check("close, "+name, g.raw(t, session, "/", cookie, "Connection: close, "+name))
	}
	all := strings.Join(identity, ",")
	lower := strings.ToLower(all)
	check("all", g.raw(t, session, "/", cookie, "Connection: "+all+", close"))
	check("all in lower case", g.raw(t, session, "/", cookie, "connection: close,"+lower))
	check("several headers", g.raw(t, session, "/", cookie, "Connection: close", "Connection: "+all, "Connection: "+lower))
	check("several headers, the name first", g.raw(t, session, "/", cookie, "Connection: "+all, "Connection: close"))
	check("Proxy-Connection", g.raw(t, session, "/", cookie, "Connection: close", "Proxy-Connection: "+all, "Keep-Alive: "+all, "TE: trailers, "+all))
	check("a session alone in Connection", g.raw(t, session, "/", cookie, "Connection: Cookie"))
	got := check("an upgrade", g.raw(t, session, "/", cookie, "Connection: Upgrade, "+all, "Upgrade: websocket", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version: 13"))
	if upgrade := got.Header.Get("Upgrade") == "websocket"; upgrade != upgrades {
		t.Errorf("an upgrade: the app got %q", got.Header)
	}
	// Trailer fields do not become headers, declared or not (RFC 9110, section 6.5.1).
	head := "POST / HTTP/1.1\r\nHost: " + strings.TrimPrefix(g.app, "http://") + "\r\nCookie: gatehouse=" + session + "; a=1\r\nTransfer-Encoding: chunked\r\n"
	for _, declared := range []string{"", "Trailer: Remote-User, Cookie\r\n", "Trailer: Remote-User\r\nConnection: close, Trailer\r\n"} {
		check("a trailer "+declared, g.send(t, head+declared+"\r\n1\r\nx\r\n0\r\nRemote-User: mallory\r\nCookie: mallory=1\r\n\r\n"))
	}
	if a := g.raw(t, "", "/", "Connection: close, Remote-User", "Remote-User: alice"); a.StatusCode != http.StatusUnauthorized {
		t.Errorf("an anonymous visitor: %d", a.StatusCode)
	}
}

// sessionIsRemoved checks that the app gets all cookies except the session, so that it cannot impersonate the visitor.
func (g *gatedApp) sessionIsRemoved(t *testing.T, session string) {
	ask := func(lines ...string) []string {
		t.Helper()
		a := g.send(t, "GET /x HTTP/1.1\r\nHost: "+strings.TrimPrefix(g.app, "http://")+"\r\nConnection: close\r\n"+strings.Join(lines, "\r\n")+"\r\n\r\n")
		if a.StatusCode != http.StatusOK {
			t.Fatalf("%.200q: %d %s", lines, a.StatusCode, a.Text)
		}
		if strings.Contains(a.Text, session) {
			t.Errorf("%.200q: the session reached the app: %s", lines, a.Text)
		}
		return reached(t, a.Text).Header["Cookie"]
	}
	ours := "gatehouse=" + session
	for sent, want := range map[string][]string{
		ours: nil,
		ours + "; gatehouse_browser=alice.x; __Host-gatehouse=" + session + "; __Secure-gatehouse=" + session: nil,
		"a=1; " + ours + "; b=\"2 3\"; a=4":                              {`a=1; b="2 3"; a=4`},
		"c={env.HOME}; " + ours + "; d=%{+X}o":                           {"c={env.HOME}; d=%{+X}o"},
		ours + "; big=" + strings.Repeat("x", 7000):                      {"big=" + strings.Repeat("x", 7000)},
		"sessionid=django; gatehouse=planted; " + ours + "; csrftoken=x": {"sessionid=django; csrftoken=x"},
	} {
		if got := ask("Cookie: " + sent); !slices.Equal(got, want) {
			t.Errorf("%.200q: the app got the cookies %.300q, want %.300q", sent, got, want)
		}
	}
	// Several headers, together larger than a buffer of the proxies.
	big := func(name string) string { return name + "=" + strings.Repeat(name, 7000) }
	want := strings.Join([]string{big("a"), big("b"), "d=4"}, "; ")
	if got := ask("Cookie: "+big("a"), "Cookie: "+ours, "Cookie: "+big("b"), "Cookie: d=4"); !slices.Equal(got, []string{want}) {
		t.Errorf("several headers: the app got the cookies %.300q", got)
	}
	// The same when Basic authenticates the request.
	c := g.browse(t, g.app)
	req := c.NewRequest(http.MethodGet, "/x", "", "Cookie", "a=1; gatehouse="+session+"x; b=2")
	req.SetBasicAuth("alice", kit.Password)
	a := c.Do(req)
	c.WantStatus(a, http.StatusOK)
	if got := reached(t, a.Text); got.Header.Get("Cookie") != "a=1; b=2" {
		t.Errorf("with Basic the app got %q", got.Header)
	}
	// Caddy uses this name for the cookies internally.
	if a := g.raw(t, session, "/x", "X-Gatehouse-Cookie: mallory=1", "Connection: close"); a.StatusCode != http.StatusBadRequest && len(reached(t, a.Text).Header["Cookie"]) != 0 {
		t.Errorf("the app got %s", a.Text)
	}
}

// sharingAppsGetTheSession without the lines that the configurations name, the app gets the visitor's cookies
// unchanged.
func (g *gatedApp) sharingAppsGetTheSession(t *testing.T, start func(testing.TB, *gatedApp) *exec.Cmd, session string) {
	sharing := *g
	sharing.sharing = true
	site := sharing.inFrontOf(t, start, g.behind)
	sent := "a=1; gatehouse=" + session + "; b=2"
	a := site.send(t, "GET /x HTTP/1.1\r\nHost: "+strings.TrimPrefix(site.app, "http://")+"\r\nConnection: close\r\nCookie: "+sent+"\r\n\r\n")
	if a.StatusCode != http.StatusOK {
		t.Fatalf("got %d %s", a.StatusCode, a.Text)
	}
	if got := reached(t, a.Text).Header; !slices.Equal(got["Cookie"], []string{sent}) || got.Get("Remote-User") != "alice" || got["X-Gatehouse-Cookie"] != nil {
		t.Errorf("the app got %q", got)
	}
}

// largeUploads checks that curl -T can upload 50 MiB to the app, with and without a length.
func (g *gatedApp) largeUploads(t *testing.T, session string) {
	const size = 50 << 20
	name := filepath.Join(t.TempDir(), "upload")
	if err := os.WriteFile(name, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(name, size); err != nil {
		t.Fatal(err)
	}
	host := strings.TrimPrefix(g.app, "http://")
	_, port, _ := strings.Cut(host, ":")
	for what, source := range map[string]string{"with its length": name, "in chunks": "-"} {
		cmd := exec.CommandContext(t.Context(), testkit.Tool(t, "curl"), "-sS", "--max-time", "120", "--noproxy", "*", "--resolve", appHost+":"+port+":127.0.0.1", "-b", "gatehouse="+session, "-T", source, g.app+"/upload")
		file, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		cmd.Stdin = file
		output, err := cmd.CombinedOutput()
		file.Close()
		if err != nil {
			t.Fatalf("%s: %v\n%s", cmd, err, output)
		}
		if got := reached(t, string(output)); got.Method != http.MethodPut || got.Length != size || got.Header.Get("Remote-User") != "alice" {
			t.Errorf("%s: the app got %+v", what, got)
		}
	}
}

// Apps that print, as JSON, the variables that their gateway created from a request.
const (
	wsgiVariables = `import json
def app(environ, start_response):
    body = json.dumps({k: v for k, v in environ.items() if isinstance(v, str)}).encode()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]
`
	phpVariables = `<?php header("Content-Type: application/json"); echo json_encode($_SERVER, JSON_INVALID_UTF8_SUBSTITUTE | JSON_PARTIAL_OUTPUT_ON_ERROR);`
)

// gatewaysReadNoOtherSpelling checks that apps get only Gatehouse's values, although CGI, WSGI and FastCGI map
// Remote-User, Remote_User, Remote.User and others to the same variable.
func (g *gatedApp) gatewaysReadNoOtherSpelling(t *testing.T, start func(testing.TB, *gatedApp) *exec.Cmd, session string) {
	for name, command := range map[string]func(dir, address string) *exec.Cmd{
		"WSGI": func(dir, address string) *exec.Cmd {
			kit.WriteFile(t, filepath.Join(dir, "variables.py"), wsgiVariables)
			return exec.Command(testkit.Python(t, "gunicorn"), "-m", "gunicorn", "--chdir", dir, "--bind", address, "--log-level", "error", "variables:app")
		},
		"PHP": func(dir, address string) *exec.Cmd {
			return exec.Command(testkit.Tool(t, "php"), "-S", address, kit.WriteFile(t, filepath.Join(dir, "variables.php"), phpVariables))
		},
	} {
		t.Run(name, func(t *testing.T) {
			address := fmt.Sprintf("127.0.0.1:%d", testkit.FreePort(t))
			testkit.StartProgram(t, command(t.TempDir(), address), address)
			site := g.inFrontOf(t, start, address)
			site.wantNoOtherSpelling(t, session)
		})
	}
}

// wantNoOtherSpelling fails unless an app that prints its variables gets the identity from Gatehouse alone.
func (g *gatedApp) wantNoOtherSpelling(t *testing.T, session string) {
	t.Helper()
	var valid []string
	const separators = "_.!#$%&'*+^`|~-"
	for _, header := range []string{"Remote-User", "REMOTE-NAME", "remote-email", "Remote-Groups", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-User", "X-Real-Ip", "X-Original-Url"} {
		for i := range len(separators) {
			valid = append(valid, strings.ReplaceAll(header, "-", separators[i:i+1])+": mallory")
		}
		valid = append(valid, strings.Replace(header, "-", "._", 1)+": mallory", header+".: mallory", "."+header+": mallory", header+"_: mallory")
	}
	for some := range slices.Chunk(valid, 60) { // HAProxy accepts 101 headers
		g.wantVariables(t, g.raw(t, session, "/x.php", append(some, "Connection: close")...))
	}
	// Invalid names (RFC 9110, section 5.6.2) are dropped, or the request is refused.
	for _, name := range []string{"Remote User", " Remote-User", "Remote-User ", "Remote\tUser", "Remote\x00User", "Remote\xa0User", "Remote\u2010User", "Remote/User", "Remote(User", "Remote[User", "Remote\"User", "Remote@User", "Remote,User", "Remote;User", "Remote{User"} {
		a := g.raw(t, session, "/x.php", "Host-Before: 1", name+": mallory", "Connection: close")
		if a.StatusCode != http.StatusBadRequest {
			g.wantVariables(t, a)
		}
	}
}

// wantVariables fails unless an app got the identity from Gatehouse and no value from the visitor.
func (g *gatedApp) wantVariables(t *testing.T, a kit.Response) {
	t.Helper()
	var variables map[string]any
	if err := json.Unmarshal([]byte(a.Text), &variables); err != nil || a.StatusCode != http.StatusOK {
		t.Fatalf("not a response of the app: %d %v\n%s", a.StatusCode, err, a.Text)
	}
	for name, value := range variables {
		// A line that starts with a space continues the one before it (RFC 9112, section 5.2).
		if name != "HTTP_HOST_BEFORE" && strings.Contains(fmt.Sprint(value), "mallory") {
			t.Errorf("the app got %s: %q", name, value)
		}
	}
	if variables["HTTP_REMOTE_USER"] != "alice" || variables["HTTP_REMOTE_EMAIL"] != "alice@example.org" {
		t.Errorf("the app got the user %q with the address %q", variables["HTTP_REMOTE_USER"], variables["HTTP_REMOTE_EMAIL"])
	}
}
