package web

import (
	"bytes"
	"encoding/json"
	"gatehouse/web/cookies"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"regexp"
	"strings"
	"testing"
)

func TestTruncate_KeepsValidUTF8(t *testing.T) {
	for _, c := range []struct {
		s    string
		n    int
		want string
	}{
		{"", 5, ""}, {"abc", 5, "abc"}, {"abcde", 5, "abcde"}, {"abcdef", 5, "abcde"},
		{"aé", 2, "a"}, {"aé", 3, "aé"}, {"😀😀", 7, "😀"}, {"😀", 3, ""}, {"a\xffb", 5, "ab"}, {"\xff\xff", 1, ""}, {"abc", 0, ""},
	} {
		if got := truncate(c.s, c.n); got != c.want {
			t.Errorf("truncate(%q, %d) = %q, want %q", c.s, c.n, got, c.want)
		}
	}
}

func TestRequestID_AcceptsSafeIDsOnly(t *testing.T) {
	with := func(id string) string {
		req := httptest.NewRequest("GET", "/", nil)
		req.Header.Set("X-Request-Id", id)
		return requestID(req)
	}
	for _, id := range []string{"a", "0123-abc_DEF.9", strings.Repeat("a", 64)} {
		if got := with(id); got != id {
			t.Errorf("%q became %q", id, got)
		}
	}
	made := regexp.MustCompile(`^[A-Za-z0-9_-]{16}$`)
	for _, id := range []string{"", strings.Repeat("a", 65), "a b", "a\nb", "<b>", "é", "a;b", `"`, "a/b"} {
		if got := with(id); got == id || !made.MatchString(got) {
			t.Errorf("%q became %q", id, got)
		}
	}
	if one, two := with(""), with(""); one == two {
		t.Error("two requests have the same id")
	}
}

func proxies(list ...string) func(*site) {
	return func(s *site) {
		for _, p := range list {
			s.TrustedProxies = append(s.TrustedProxies, netip.MustParsePrefix(p))
		}
	}
}

var forged = []string{
	"X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-User", "X_Forwarded_For", "X-Forwarded_Host", "x_forwarded-for",
	"Forwarded", "X-Real-Ip", "X_Real_IP", "x-real_ip", "X-Request-Id", "X_Request_ID",
	"Remote-User", "Remote_User", "REMOTE-GROUPS", "remote_email", "Remote-Name",
}

func TestForgedHeaders_AreDropped(t *testing.T) {
	s := newSite(t, nil, proxies("10.0.0.0/8", "2001:db8::/32"))
	for remote, trusted := range map[string]bool{
		"10.1.2.3:4444": true, "[::ffff:10.1.2.3]:4444": true, "[2001:db8::1]:4444": true,
		"192.0.2.1:4444": false, "127.0.0.1:4444": false, "[::1]:4444": false, "[2001:db9::1]:4444": false, "11.0.0.1:4444": false, "@": false, "": false, "10.1.2.3": false,
	} {
		req := httptest.NewRequest("GET", "/", nil)
		req.RemoteAddr = remote
		for _, name := range forged {
			req.Header[name] = []string{"evil"} // bypasses the canonical spelling, like a raw header
		}
		req.Header.Set("Accept", "text/html")
		req.Header.Set("X-Forwardedfor", "not ours")
		s.dropForgedHeaders(req)
		want := 2
		if trusted {
			want += len(forged)
		}
		if len(req.Header) != want {
			t.Errorf("from %q: got %d headers, want %d: %v", remote, len(req.Header), want, req.Header)
		}
	}
}

func TestClientIP_TrustsProxiesOnly(t *testing.T) {
	for _, c := range []struct {
		name    string
		proxies []string
		remote  string
		xff     []string
		want    string
	}{
		{"no proxies", nil, "192.0.2.1:1", nil, "192.0.2.1"},
		{"no proxies, forged", nil, "192.0.2.1:1", []string{"1.2.3.4"}, "192.0.2.1"},
		{"no proxies, forged from loopback", nil, "127.0.0.1:1", []string{"1.2.3.4"}, "127.0.0.1"},
		{"IPv6", nil, "[2001:db8::1]:1", nil, "2001:db8::1"},
		{"mapped IPv4", nil, "[::ffff:192.0.2.1]:1", nil, "192.0.2.1"},
		{"unix socket", nil, "@", nil, "0.0.0.0"},
		{"from the proxy", []string{"10.0.0.0/8"}, "10.0.0.1:1", []string{"192.0.2.1"}, "192.0.2.1"},
		{"from the proxy, forged before it", []string{"10.0.0.0/8"}, "10.0.0.1:1", []string{"1.2.3.4, 192.0.2.1"}, "192.0.2.1"},
		{"from the proxy, forged in a separate line", []string{"10.0.0.0/8"}, "10.0.0.1:1", []string{"1.2.3.4", "192.0.2.1"}, "192.0.2.1"},
		{"two proxies", []string{"10.0.0.0/8"}, "10.0.0.1:1", []string{"1.2.3.4, 192.0.2.1, 10.0.0.2"}, "192.0.2.1"},
		{"not from the proxy", []string{"10.0.0.0/8"}, "192.0.2.1:1", []string{"1.2.3.4"}, "192.0.2.1"},
		{"another private network", []string{"10.0.0.0/8"}, "192.168.0.1:1", []string{"1.2.3.4"}, "192.168.0.1"},
		{"loopback is not trusted by itself", []string{"10.0.0.0/8"}, "127.0.0.1:1", []string{"1.2.3.4"}, "127.0.0.1"},
		{"nor behind a proxy", []string{"10.0.0.0/8"}, "10.0.0.1:1", []string{"1.2.3.4, 127.0.0.1"}, "127.0.0.1"},
		{"a single address", []string{"10.0.0.1/32"}, "10.0.0.2:1", []string{"1.2.3.4"}, "10.0.0.2"},
		{"with host bits", []string{"10.0.0.9/8"}, "10.0.0.1:1", []string{"192.0.2.1"}, "192.0.2.1"},
		{"IPv6 proxy", []string{"2001:db8::/32"}, "[2001:db8::1]:1", []string{"2001:db9::5"}, "2001:db9::5"},
		{"no header", []string{"10.0.0.0/8"}, "10.0.0.1:1", nil, "10.0.0.1"},
		{"garbage", []string{"10.0.0.0/8"}, "10.0.0.1:1", []string{"garbage"}, "10.0.0.1"},
	} {
		var got string
		route := Get("/", Unauthenticated, func(r *Request) (Response, error) {
			got = r.Client().Address.String()
			return Text(http.StatusOK, "ok"), nil
		})
		s := newSite(t, []Route{route}, proxies(c.proxies...))
		s.do("GET", "/", func(r *http.Request) {
			r.RemoteAddr = c.remote
			for _, v := range c.xff {
				r.Header.Add("X-Forwarded-For", v)
			}
		}, header("X-Real-Ip", "1.1.1.1"), header("Forwarded", "for=1.1.1.1"))
		if got != c.want {
			t.Errorf("%s: got %s, want %s", c.name, got, c.want)
		}
	}
}

func TestSecurityHeaders_AreOnEveryResponse(t *testing.T) {
	s := newSite(t, userRoutes)
	secure := newSite(t, userRoutes, func(s *site) { s.Cookies.Secure = true })
	shared := newSite(t, userRoutes, func(s *site) { s.Cookies = cookies.Policy{Secure: true, Domain: "example.org"} })
	for _, path := range []string{"/", "/private", "/machine", "/nowhere", s.statics.urls["app.css"]} {
		h := s.do("GET", path).Header()
		csp := h.Get("Content-Security-Policy")
		for _, want := range []string{"default-src 'none'", "base-uri 'none'", "form-action 'self'", "frame-ancestors 'none'"} {
			if !strings.Contains(csp, want) {
				t.Errorf("%s: the policy %q lacks %s", path, csp, want)
			}
		}
		if strings.Contains(csp, "unsafe") || strings.Contains(csp, "*") {
			t.Errorf("%s: got the policy %q", path, csp)
		}
		for name, want := range map[string]string{
			"X-Content-Type-Options": "nosniff", "Referrer-Policy": "same-origin", "Cross-Origin-Opener-Policy": "same-origin",
			"X-Frame-Options": "DENY", "Strict-Transport-Security": "",
		} {
			if got := h.Get(name); got != want {
				t.Errorf("%s: %s is %q, want %q", path, name, got, want)
			}
		}
		if h.Get("X-Request-Id") == "" {
			t.Errorf("%s: no request id", path)
		}
		if got := secure.do("GET", path).Header().Get("Strict-Transport-Security"); got != "max-age=31536000" {
			t.Errorf("%s: HSTS is %q under https", path, got)
		}
		if got := shared.do("GET", path).Header().Get("Strict-Transport-Security"); got != "max-age=31536000; includeSubDomains" {
			t.Errorf("%s: HSTS is %q where subdomains share the session", path, got)
		}
	}
}

func TestCrossOrigin_ChangesAreRefused(t *testing.T) {
	changed := 0
	s := newSite(t, []Route{Post("/change", Open, func(*Request) (Response, error) {
		changed++
		return Text(http.StatusOK, "ok"), nil
	}), Get("/change", Open, showUser)})
	refused := map[string][]string{
		"cross-site":                      {"Sec-Fetch-Site", "cross-site"},
		"same-site":                       {"Sec-Fetch-Site", "same-site"},
		"foreign origin":                  {"Origin", "https://evil.example"},
		"null origin":                     {"Origin", "null"},
		"garbage origin":                  {"Origin", "%zz"},
		"empty origin":                    {"Origin", ""},
		"our name as a prefix":            {"Origin", "https://example.com.evil.example"},
		"foreign origin, claimed as same": {"Origin", "https://evil.example", "Sec-Fetch-Site", "same-origin"},
		"foreign origin, typed":           {"Origin", "https://evil.example", "Sec-Fetch-Site", "none"},
		"one of ours and a foreign one":   {"Origin", "https://example.com", "Origin", "https://evil.example"},
		// An attacker on the network can forge plain-http pages.
		"our host by http":                  {"Origin", "http://example.com"},
		"our host by http, claimed as same": {"Origin", "http://example.com", "Sec-Fetch-Site", "same-origin"},
		"BASE_URL by http":                  {"Origin", "http://login.example.org", "Sec-Fetch-Site", "same-origin"},
		"our host by another scheme":        {"Origin", "ftp://example.com"},
		"our host without a scheme":         {"Origin", "//example.com"},
		"our origin with a path":            {"Origin", "https://example.com/"},
		"our origin with a user":            {"Origin", "https://u@example.com"},
	}
	send := func(method string, pairs []string) *httptest.ResponseRecorder {
		return s.do(method, "https://example.com/change", func(r *http.Request) {
			for i := 0; i < len(pairs); i += 2 {
				r.Header.Add(pairs[i], pairs[i+1])
			}
		})
	}
	for name, pairs := range refused {
		w := send("POST", pairs)
		if changed != 0 {
			t.Fatalf("%s: the handler ran", name)
		}
		if name == "empty origin" && w.Code == http.StatusForbidden {
			continue
		}
		wantErrorPage(t, w, http.StatusForbidden)
		if w := send("GET", pairs); w.Code != http.StatusOK {
			t.Errorf("%s: GET: got %d", name, w.Code)
		}
	}
	for name, pairs := range map[string][]string{
		"no browser":     {},
		"same-origin":    {"Sec-Fetch-Site", "same-origin"},
		"typed":          {"Sec-Fetch-Site", "none"},
		"our origin":     {"Origin", "https://example.com", "Sec-Fetch-Site", "same-origin"},
		"an old browser": {"Origin", "https://example.com"},
		"behind a proxy": {"Origin", "https://login.example.org", "Sec-Fetch-Site", "same-origin"},
		// Browsers send lower case; other clients need not.
		"in capitals": {"Origin", "HTTPS://example.com", "Sec-Fetch-Site", "same-origin"},
	} {
		changed = 0
		if w := send("POST", pairs); w.Code != http.StatusOK || changed != 1 {
			t.Errorf("%s: got %d, changed %d times", name, w.Code, changed)
		}
	}
}

// TestOrigin_SchemeIsThatOfBaseURL: behind a proxy that terminates TLS, requests arrive by plain http, so the request
// does not reveal the scheme of the public site.
func TestOrigin_SchemeIsThatOfBaseURL(t *testing.T) {
	for base, origins := range map[string]map[string]int{
		"https://example.com":      {"https://example.com": 200, "http://example.com": 403},
		"http://example.com":       {"http://example.com": 200, "https://example.com": 403},
		"https://example.com:8443": {"https://example.com:8443": 200, "http://example.com:8443": 403, "https://example.com": 200},
	} {
		s := newSite(t, []Route{Post("/change", Open, showUser)}, func(s *site) { s.BaseOrigin = base })
		for origin, want := range origins {
			for _, target := range []string{"http://example.com/change", "https://example.com/change"} {
				if w := s.do("POST", target, header("Origin", origin), header("Sec-Fetch-Site", "same-origin")); w.Code != want {
					t.Errorf("BASE_URL %s: POST to %s from %s: got %d, want %d", base, target, origin, w.Code, want)
				}
			}
		}
	}
}

func TestLogRequests_WritesOneLine(t *testing.T) {
	s := newSite(t, userRoutes)
	token := s.signedIn(t, "u1")
	s.log.Reset()
	s.do("GET", "/private?secret=hunter2", s.session(token), header("User-Agent", "x"))
	lines := bytes.Split(bytes.TrimSpace(s.log.Bytes()), []byte("\n"))
	if len(lines) != 1 {
		t.Fatalf("got %d lines: %s", len(lines), s.log.String())
	}
	var line map[string]any
	if err := json.Unmarshal(lines[0], &line); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]any{"msg": "request", "method": "GET", "route": "/private", "path": "/private", "status": 200.0, "user_id": "u1", "address": "192.0.2.1", "redis": 0.0, "sql": 0.0} {
		if line[name] != want {
			t.Errorf("%s is %v, want %v", name, line[name], want)
		}
	}
	if id, _ := line["request_id"].(string); len(id) != 16 {
		t.Errorf("got the request id %v", line["request_id"])
	}
	for _, bad := range []string{"hunter2", token} {
		if strings.Contains(s.log.String(), bad) {
			t.Errorf("the log holds %q", bad)
		}
	}
	s.log.Reset()
	s.do("GET", "/%0d%0amsg=forged"+strings.Repeat("x", 5000))
	for line := range bytes.Lines(s.log.Bytes()) {
		if !json.Valid(line) || len(line) > 1500 {
			t.Errorf("got a line of %d octets: %.300s", len(line), line)
		}
	}
}
