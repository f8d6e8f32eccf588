package security

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"gatehouse/internal/e2e/kit"
	"gatehouse/internal/testkit"
)

func readFirst(conn net.Conn) (kit.Response, error) { return kit.ReadResponse(bufio.NewReader(conn)) }

// TestASVS_4_1_3_ForgedHeadersAreIgnored: headers that only a trusted proxy may set have no effect on a client's identity,
// address and scheme.
func TestASVS_4_1_3_ForgedHeadersAreIgnored(t *testing.T) {
	t.Parallel()
	x := kit.NewTarget(t)
	c := x.NewClient()
	c.Register("alice")
	for _, name := range []string{
		"Remote-User", "Remote_User", "REMOTE-USER", "Remote-Email", "Remote-Groups", "Remote-Name", "X-Forwarded-User", "X_Forwarded_User", "X-Remote-User", "X-Auth-Request-User",
		"X-Forwarded-Email", "X-Authenticated-User", "X-User-Id", "X-Webauth-User", "Authorization",
	} {
		for _, value := range []string{"alice", x.UserID("alice"), "Basic YWxpY2U6d2Vhcnktb3R0ZXItbGFtcA==", "Bearer " + c.Cookie(kit.SessionCookie), "Token " + c.Cookie(kit.SessionCookie)} {
			v := x.NewClient()
			v.WantSeeOther(v.Get("/dashboard", name, value), "/login?next=%2Fdashboard")
		}
	}
	for _, header := range [][]string{
		{"X-Forwarded-Host", "evil.example"}, {"X-Forwarded-Proto", "https"}, {"X-Forwarded-Prefix", "/evil"}, {"X-Forwarded-Server", "evil.example"}, {"X-Original-Url", "/account"},
		{"X-Rewrite-Url", "/account"}, {"X-Original-Host", "evil.example"}, {"Forwarded", "host=evil.example;proto=https"}, {"X-Forwarded-Scheme", "https"}, {"X-Request-Id", "evil.example"},
	} {
		v := x.NewClient()
		for _, path := range []string{"/", "/login", "/dashboard", "/nothing"} {
			plain, forged := v.Get(path), v.Get(path, header...)
			if forged.Status != plain.Status || strings.Contains(forged.Text+fmt.Sprint(forged.Header), "evil") {
				t.Errorf("%s with %q: %s, %v", path, header, forged.Status, forged.Header)
			}
		}
	}
	if strings.Contains(x.Server.Log(), "evil.example") {
		t.Error("the log contains a forged header")
	}
}

// TestASVS_4_1_3_TrustedProxySetsTheRequestID: if the id is valid.
func TestASVS_4_1_3_TrustedProxySetsTheRequestID(t *testing.T) {
	t.Parallel()
	x := kit.NewTarget(t, "TRUSTED_PROXIES", "127.0.0.1")
	c := x.NewClient()
	for id, kept := range map[string]bool{
		"0af7651916cd43dd": true, "a.b-c_d": true, "": false, strings.Repeat("a", 65): false, "a b": false, "<script>": false, `a"b`: false, "ä": false,
	} {
		if got := c.Get("/", "X-Request-Id", id).Header.Get("X-Request-Id"); (got == id) != kept || got == "" {
			t.Errorf("sent the id %q, got %q", id, got)
		}
	}
}

// TestASVS_4_1_3_InvalidHosts: a missing, duplicate or malformed Host is a 400, and no page, link or redirect is built
// from a Host.
func TestASVS_4_1_3_InvalidHosts(t *testing.T) {
	t.Parallel()
	x := kit.NewTarget(t)
	for what, head := range map[string]string{
		"none":      "",
		"two":       "Host: a\r\nHost: b\r\n",
		"NUL":       "Host: a\x00b\r\n",
		"a space":   "Host: a b\r\n",
		"a slash":   "Host: a/b\r\n",
		"markup":    "Host: <script>\r\n",
		"a newline": "Host: a\n b\r\n",
		"no UTF-8":  "Host: \xff\r\n",
		"a quote":   "Host: a\"b\r\n",
	} {
		responses := x.SendRaw("GET / HTTP/1.1\r\n" + head + "Connection: close\r\n\r\n")
		if len(responses) != 1 || responses[0].StatusCode != http.StatusBadRequest {
			t.Errorf("with a host of %s: got %d responses, %v", what, len(responses), responses)
		}
	}
	for _, host := range []string{"evil.example", "evil.example:80", "127.0.0.1@evil.example", "[::1]", "localhost:22", ""} {
		for _, path := range []string{"/", "/login", "/register", "/dashboard", "/nothing", "/logout"} {
			for _, a := range x.SendRaw("GET " + path + " HTTP/1.1\r\nHost: " + host + "\r\nConnection: close\r\n\r\n") {
				if strings.Contains(a.Text+fmt.Sprint(a.Header), "evil") || a.StatusCode >= 500 {
					t.Errorf("GET %s with the host %q: %s, %v", path, host, a.Status, a.Header)
				}
			}
		}
	}
}

// TestRequestSmuggling: the end of a request is unambiguous. A request that two parsers could read differently is refused
// or closes the connection.
func TestRequestSmuggling(t *testing.T) {
	t.Parallel()
	x := kit.NewTarget(t)
	c := x.NewClient()
	c.Register("alice")
	x.ClearThrottles()
	before := x.Snapshot()
	// The inner request would sign alice out.
	inner := "POST /logout HTTP/1.1\r\nHost: x\r\nCookie: " + c.SessionCookieHeader() + "\r\nContent-Length: 0\r\n\r\n"
	post := "POST /login HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\n"
	length := fmt.Sprintf("Content-Length: %d\r\n", len(inner))
	for what, request := range map[string]string{
		"two lengths":                      post + length + "Content-Length: 0\r\n\r\n" + inner,
		"two lengths in one":               post + fmt.Sprintf("Content-Length: %d, 0\r\n\r\n", len(inner)) + inner,
		"a length with a sign":             post + fmt.Sprintf("Content-Length: +%d\r\n\r\n", len(inner)) + inner,
		"a negative length":                post + "Content-Length: -1\r\n\r\n" + inner,
		"a hexadecimal length":             post + "Content-Length: 0x10\r\n\r\n" + inner,
		"an unknown encoding":              post + "Transfer-Encoding: xchunked\r\n" + length + "\r\n" + inner,
		"two encodings":                    post + "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n" + inner,
		"an encoding twice":                post + "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n" + inner,
		"an encoding with a vertical tab":  post + "Transfer-Encoding: \vchunked\r\n\r\n0\r\n\r\n" + inner,
		"a space before the colon":         post + "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n" + inner,
		"a folded line":                    post + "Transfer-Encoding:\r\n chunked\r\n" + length + "\r\n" + inner,
		"a chunk of a negative size":       post + "Transfer-Encoding: chunked\r\n\r\n-1\r\n" + inner,
		"a chunk of a huge size":           post + "Transfer-Encoding: chunked\r\n\r\nffffffffffffffff1\r\n" + inner,
		"a chunk with an invalid size":     post + "Transfer-Encoding: chunked\r\n\r\n0x0\r\n\r\n" + inner,
		"a chunk that ends with a bare LF": post + "Transfer-Encoding: chunked\r\n\r\n5;\nabcde\r\n0\r\n\r\n" + inner,
		"a body that is all length":        post + length + "\r\n" + inner,
		"a chunk with the request":         post + fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(inner), inner),
		"a request line of two":            "GET / HTTP/1.1 HTTP/1.1\r\nHost: x\r\n\r\n" + strings.Repeat(" ", 3) + inner[:0],
		"a bare CR in a header":            "GET / HTTP/1.1\r\nHost: x\r\nA: b\rPOST /logout HTTP/1.1\r\n\r\n",
		"a NUL in a header":                "GET / HTTP/1.1\r\nHost: x\r\nA: b\x00\r\n\r\n",
		"a header without a name":          "GET / HTTP/1.1\r\nHost: x\r\n: b\r\n\r\n",
		"a method with a line end":         "GE\rT / HTTP/1.1\r\nHost: x\r\n\r\n",
		"a connection to another site":     "CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example\r\n\r\n",
		"HTTP/2 without TLS":               "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
		"an upgrade":                       "GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n",
		"an unknown version":               "GET / HTTP/3.0\r\nHost: x\r\n\r\n",
		"OPTIONS *":                        "OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
		"a target that is not a path":      "GET dashboard HTTP/1.1\r\nHost: x\r\n\r\n",
		"a target of another scheme":       "GET file:///etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n",
		"a target with a fragment":         "GET /dashboard#x HTTP/1.1\r\nHost: x\r\n\r\n",
		"an unknown expectation":           post + "Expect: 200-ok\r\nContent-Length: 3\r\n\r\na=b",
	} {
		for _, a := range x.SendRaw(request) {
			if a.StatusCode == http.StatusOK && strings.Contains(a.Text, "alice") || a.StatusCode == http.StatusSeeOther && strings.Contains(a.Header.Get("Location"), "signed-out") {
				t.Errorf("%s: the inner request got %s", what, a.Status)
			}
			if a.StatusCode == http.StatusInternalServerError || a.StatusCode == http.StatusBadGateway || a.StatusCode == http.StatusSwitchingProtocols {
				t.Errorf("%s: %s", what, a.Status)
			}
		}
	}
	x.ClearThrottles()
	if after := x.Snapshot(); after != before {
		t.Errorf("the state changed to\n%s\nfrom\n%s", after, before)
	}
	kit.WantSignedIn(t, c)
}

// TestAmbiguousFraming_ClosesTheConnection: if a proxy could delimit the body differently than the server, the server
// reads no further request (RFC 9112, sections 6.1 and 6.3).
func TestAmbiguousFraming_ClosesTheConnection(t *testing.T) {
	t.Parallel()
	x := kit.NewTarget(t)
	const (
		both = "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n"
		next = "GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
		kind = "Host: x\r\nContent-Type: application/x-www-form-urlencoded\r\n"
	)
	for what, request := range map[string]string{
		"a page":             "POST /login HTTP/1.1\r\n" + kind + both + "\r\n0\r\n\r\n",
		"the other order":    "POST /login HTTP/1.1\r\n" + kind + "transfer-encoding: Chunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\n",
		"forward auth":       "POST /auth/verify HTTP/1.1\r\n" + kind + both + "\r\n0\r\n\r\n",
		"the API":            "POST /api/tokens HTTP/1.1\r\n" + kind + both + "\r\n0\r\n\r\n",
		"a file":             "GET " + x.NewClient().StylesheetPath() + " HTTP/1.1\r\n" + kind + both + "\r\n0\r\n\r\n",
		"no such page":       "POST /nowhere HTTP/1.1\r\n" + kind + both + "\r\n0\r\n\r\n",
		"an encoding in 1.0": "POST /healthz HTTP/1.0\r\nConnection: keep-alive\r\n" + kind + "Transfer-Encoding: chunked\r\n\r\n",
		"both in 1.0":        "POST /healthz HTTP/1.0\r\nConnection: keep-alive\r\n" + kind + both + "\r\n0\r\n",
	} {
		responses := x.SendRaw(request + next)
		if len(responses) != 1 || !responses[0].Close || responses[0].StatusCode >= 500 {
			t.Errorf("%s: got %d responses, want one and a closed connection: %v", what, len(responses), responses)
		}
	}
	// Unambiguous requests keep their connection.
	for what, request := range map[string]string{
		"a length": "POST /login HTTP/1.1\r\n" + kind + "Content-Length: 3\r\n\r\na=b", "no body": "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
	} {
		if responses := x.SendRaw(request + next); len(responses) != 2 || responses[0].Close {
			t.Errorf("%s: got %d responses, want two: %v", what, len(responses), responses)
		}
	}
}

// TestAbsoluteTarget_IsAPathOnThisSite: with the same cookies and rules.
func TestAbsoluteTarget_IsAPathOnThisSite(t *testing.T) {
	t.Parallel()
	x := kit.NewTarget(t)
	c := x.NewClient()
	c.Register("alice")
	for _, test := range []struct {
		target, cookie string
		status         int
	}{
		{"http://evil.example/dashboard", c.SessionCookieHeader(), http.StatusOK},
		{"http://evil.example/dashboard", "", http.StatusSeeOther},
		{"http://evil.example/nothing", "", http.StatusNotFound},
	} {
		for _, a := range x.SendRaw("GET " + test.target + " HTTP/1.1\r\nHost: x\r\nCookie: " + test.cookie + "\r\nConnection: close\r\n\r\n") {
			if a.StatusCode != test.status || strings.Contains(a.Text+fmt.Sprint(a.Header), "evil") {
				t.Errorf("GET %s: %s, %v", test.target, a.Status, a.Header)
			}
		}
	}
}

// TestCookieTossing: planted cookies are neither adopted nor echoed.
func TestCookieTossing(t *testing.T) {
	t.Parallel()
	x := kit.NewTarget(t)
	c, mallory := x.NewClient(), x.NewClient()
	c.Register("alice")
	mallory.Register("mallory")
	garbage := kit.SessionCookie + "=" + strings.Repeat("A", 43)
	for _, cookies := range []string{garbage + "; " + mallory.SessionCookieHeader(), mallory.SessionCookieHeader() + "; " + garbage, strings.Repeat(garbage+"; ", 500)} {
		v := x.NewClient()
		a := v.Do(v.NewRequest(http.MethodPost, "/login", kit.EncodeForm("username", "alice", "password", kit.Password), "Content-Type", kit.FormContentType, "Cookie", cookies))
		v.WantSeeOther(a, "/dashboard")
		if got := requestUser(x, a); got != x.UserID("alice") {
			t.Errorf("with planted cookies, alice is signed in as %s", got)
		}
		if k := v.CookiesOf(a)[kit.SessionCookie]; k.Value == mallory.Cookie(kit.SessionCookie) || k.Value == strings.Repeat("A", 43) {
			t.Error("a planted cookie was adopted")
		}
	}
	if x.CookieOpensDashboard(garbage) {
		t.Error("a planted cookie opens the dashboard")
	}
	// The known-browser cookie is not a session.
	for _, name := range []string{kit.SessionCookie, kit.SessionCookie + "_browser"} {
		if x.CookieOpensDashboard(name + "=" + c.Cookie(kit.SessionCookie+"_browser")) {
			t.Errorf("the known-browser cookie as %s opens the dashboard", name)
		}
	}
}

// TestPrivatePages_IgnoreRangesAndConditions: no header causes a partial response or a 304.
func TestPrivatePages_IgnoreRangesAndConditions(t *testing.T) {
	t.Parallel()
	x := kit.NewTarget(t)
	c := x.NewClient()
	c.Register("alice")
	file := regexp.MustCompile(`/static/app\.[0-9a-f]+\.css`).FindString(c.Get("/").Text + c.Get("/account").Text)
	for _, path := range []string{"/account", "/dashboard", file} {
		for _, header := range [][]string{
			{"Range", "bytes=0-10"}, {"Range", "bytes=-1"}, {"Range", "bytes=" + strings.Repeat("0-,", 5000)}, {"Range", "bytes=99999999-"}, {"If-Range", "x", "Range", "bytes=0-1"},
			{"If-None-Match", "*"}, {"If-Modified-Since", "Fri, 01 Jan 2100 00:00:00 GMT"}, {"If-Match", `"x"`}, {"Accept-Encoding", "gzip;q=0, *;q=0, identity;q=0"},
		} {
			if a := c.Get(path, header...); a.StatusCode != http.StatusOK || len(a.Text) < 500 {
				t.Errorf("%s with %.40q: %s, %d bytes", path, header, a.Status, len(a.Text))
			}
		}
	}
}

// TestPipelinedRequests_DoNotMix: on one connection, each request of two users and of anonymous visitors gets the right
// page.
func TestPipelinedRequests_DoNotMix(t *testing.T) {
	t.Parallel()
	x := kit.NewTarget(t)
	alice, bob := x.NewClient(), x.NewClient()
	alice.Register("alice")
	bob.Register("bob")
	var all strings.Builder
	cookies := []string{alice.SessionCookieHeader(), bob.SessionCookieHeader(), ""}
	// The server buffers at most 128 lines.
	const requests = 30
	for i := range requests - 1 {
		fmt.Fprintf(&all, "GET /dashboard HTTP/1.1\r\nHost: x\r\nCookie: %s\r\n\r\n", cookies[i%3])
	}
	fmt.Fprintf(&all, "GET /dashboard HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
	responses := x.SendRaw(all.String())
	if len(responses) != requests {
		t.Fatalf("got %d responses to %d requests", len(responses), requests)
	}
	for i, a := range responses {
		isAlice, isBob := strings.Contains(a.Text, `id="user-name">alice<`), strings.Contains(a.Text, `id="user-name">bob<`)
		if isAlice != (i%3 == 0) || isBob != (i%3 == 1) || i%3 == 2 && a.StatusCode != http.StatusSeeOther {
			t.Errorf("response %d: got %s, alice's %v, bob's %v", i, a.Status, isAlice, isBob)
		}
	}
}

// TestConcurrentRequests_DoNotMix: the same over many concurrent connections, including forms.
func TestConcurrentRequests_DoNotMix(t *testing.T) {
	t.Parallel()
	x := kit.NewTarget(t)
	names := []string{"alice", "bob", "carol", "dave"}
	clients := make([]*kit.Client, len(names))
	for i, name := range names {
		clients[i] = x.NewClient()
		clients[i].Register(name)
	}
	for i, a := range kit.RunConcurrently(t, 200, func(i int) (kit.Response, error) {
		c := clients[i%4]
		if i%5 == 0 {
			return c.TryDo(c.NewForm("/account/profile", "name", strings.ToUpper(names[i%4]), "time_zone", "UTC"))
		}
		return c.TryDo(c.NewRequest(http.MethodGet, []string{"/dashboard", "/account"}[i%2], ""))
	}) {
		if a.StatusCode >= 400 || len(a.Cookies()) > 0 {
			t.Errorf("request %d: %s, cookies %v", i, a.Status, a.Cookies())
		}
		for j, name := range names {
			if shows := strings.Contains(a.Text, ">"+name+"<") || strings.Contains(a.Text, ">"+strings.ToUpper(name)+"<"); shows && j != i%4 {
				t.Errorf("%s got a page of %s", names[i%4], name)
			}
		}
	}
	for _, name := range names {
		if got := x.QueryValue(`SELECT name FROM users WHERE username = $1`, name); got != strings.ToUpper(name) {
			t.Errorf("%s has the name %q", name, got)
		}
	}
}

// TestPaths_HaveOneSpelling: a private page has a single path, so that proxies' rules for it cannot be bypassed.
func TestPaths_HaveOneSpelling(t *testing.T) {
	t.Parallel()
	x := kit.NewTarget(t)
	c := x.NewClient()
	c.Register("alice")
	for _, path := range []string{"/dashboard", "/account", "/account/sessions/end-others"} {
		for _, other := range []string{path + "/", "/" + path, path + "%20", path + "%00", path + ";x", path + ".html", strings.ToUpper(path), "/." + path, "/x/.." + path, path + "/.", path + "%2f", "/%2e" + path, path + "%3fx"} {
			for _, a := range x.SendRaw("GET " + other + " HTTP/1.1\r\nHost: x\r\nCookie: " + c.SessionCookieHeader() + "\r\nConnection: close\r\n\r\n") {
				if slash := other == path+"/" && a.StatusCode == http.StatusPermanentRedirect && a.Header.Get("Location") == path; a.StatusCode < 400 && !slash {
					t.Errorf("GET %s: got %s to %q", other, a.Status, a.Header.Get("Location"))
				}
			}
		}
	}
}

// TestCanceledRequest_IsNoSuccess: the server treats a client that closes its sending half as disconnected and cancels the
// request. The client may still read, so the response must not look like a page.
func TestCanceledRequest_IsNoSuccess(t *testing.T) {
	t.Parallel()
	x := kit.NewTarget(t)
	c := x.NewClient()
	c.Register("alice")
	seen := map[int]int{}
	testkit.Eventually(t, 20*time.Second, "a canceled request", func() bool {
		conn := x.Dial()
		request := "GET /dashboard HTTP/1.1\r\nHost: x\r\nCookie: " + c.SessionCookieHeader() + "\r\n\r\n"
		if _, err := io.WriteString(conn, strings.Repeat(request, 40)); err != nil {
			t.Fatal(err)
		}
		_ = conn.(*net.TCPConn).CloseWrite()
		for r := bufio.NewReader(conn); ; {
			a, err := kit.ReadResponse(r)
			if err != nil {
				break
			}
			seen[a.StatusCode]++
			if a.StatusCode < 400 && !strings.Contains(a.Text, `id="user-name">alice<`) {
				t.Fatalf("a canceled request: got %s with %d bytes", a.Status, len(a.Text))
			}
		}
		return seen[499] > 0
	})
}
