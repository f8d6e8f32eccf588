package security

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"

	"gatehouse/internal/e2e/kit"
	"gatehouse/internal/testkit"
)

// hostileInputs are inputs that exploit programs that trust them.
var hostileInputs = []string{
	"' OR '1'='1' --", `"; DROP TABLE users; --`, "1; SELECT pg_sleep(5)", "%' UNION SELECT password_hash FROM users --", `\'; COPY users TO PROGRAM 'id'`, "$1", "$$", "E'\\000'",
	"\x00", "a\x00b", "\x00\x00\x00\x00", "\xff\xfe\xfd", "a\xc3", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xc0\x80", "\xe2\x82", "\u0000\ufffe\uffff",
	"\u202egnp.exe", "\u2066\u2067\u2068\u2069", "\u200b\u200c\u200d\ufeff", "z̸̡̢̛̗̘̙̜̝̞̟̠̣̤̥̦̩̪̫̬̭̮̯̰̱̲̳", "ﷺ", strings.Repeat("e\u0301", 500), "🏳️‍🌈👩‍👩‍👧‍👦", "Ω≈ç√∫˜µ≤≥÷", "ﬀﬁﬂ", "İıſK", "\U000e0001\U000e0041", "\ue000",
	"<script>alert(1)</script>", `"><img src=x onerror=alert(1)>`, `'><svg/onload=alert(1)>`, `</textarea></title><script>alert(1)</script>`, "<!--", "]]>", "&lt;script&gt;", `" autofocus onfocus="alert(1)`, "javascript:alert(1)",
	`</style><iframe src=//evil.example>`, "`${alert(1)}`", "{{.}}", "{{7*7}}", "{{define \"main\"}}{{end}}", "${7*7}", "<%= 7*7 %>", "#{7*7}", "${jndi:ldap://evil.example/a}", "*{T(java.lang.Runtime)}",
	"%s%s%s%s%n%n%x", "%!d(string=x)", "%99999999s", "\r\nSet-Cookie: a=b\r\n\r\n<html>", "a\nb\nc", "\t\v\f\b\a\x1b[2J", "%0d%0aX-Injected: y", "; id", "| cat /etc/passwd", "$(id)", "../../../../etc/passwd",
	"*\r\n$4\r\nPING\r\n", "\r\nFLUSHALL\r\n", "session:*", "{\"v\":1}", "null", "undefined", "NaN", "-1", "9223372036854775808", "1e309", "0x7f", "true", "[]", "", " ", "\u3000", "=cmd|'/C calc'!A0",
	strings.Repeat("(", 10_000), strings.Repeat("a@", 5_000), strings.Repeat("[", 5_000) + "@example.org", "a@" + strings.Repeat("b.", 5_000) + "c", "\"\"@example.org", "a@[127.0.0.1]", "a@b@c.org", "xn--@xn--.xn--", strings.Repeat("4@8({[<36$5!1|07+%2", 6),
	strings.Repeat("ａ", 300_000), strings.Repeat("x", 1_000_000), strings.Repeat("\u0301", 100_000),
}

// TestASVS_1_2_4_HostileFormFields sends each hostile input in every field of every form: the server responds quickly and
// without an error, echoes nothing unescaped and logs exactly one line.
func TestASVS_1_2_4_HostileFormFields(t *testing.T) {
	t.Parallel()
	x := kit.NewTarget(t)
	c := x.NewClient()
	c.Register("alice")
	for _, f := range []struct {
		path   string
		fields []string // names and harmless values
		// Each field gets every nth short input, starting at a different one, and all long ones: some forms cost a
		// password hash or a rating each time.
		every int
	}{
		{"/login", []string{"username", "nobody", "password", kit.Password, "remember", "on", "next", "/account"}, 4},
		{"/register", []string{"username", "b", "password", kit.Password, "email", "b@example.org", "name", "Bob", "time_zone", "UTC", "next", "/account"}, 2},
		{"/password/strength", []string{"password", "x", "username", "bob", "name", "Bob", "email", "b@example.org"}, 3},
		{"/account/profile", []string{"name", "Alice", "email", "a@example.org", "time_zone", "UTC"}, 2},
		{"/account/password", []string{"current_password", "x", "new_password", "x"}, 2},
		{"/account/sessions/end", []string{"session", "x"}, 1},
		{"/logout", []string{"x", "y"}, 4},
	} {
		for i := 0; i < len(f.fields); i += 2 {
			for n, value := range hostileInputs {
				if len(value) < 10_000 && n%f.every != i/2%f.every {
					continue
				}
				fields := append([]string{}, f.fields...)
				fields[i+1] = value
				v := c
				if f.every == 4 { // these forms change the session
					v = x.NewClient()
				}
				within(t, time.Second, fmt.Sprintf("%s with %s %.40q", f.path, f.fields[i], value), func() {
					x.ClearThrottles()
					wantCleanResponse(x, v.PostForm(f.path, fields...), fmt.Sprintf("%s with %s %.40q", f.path, f.fields[i], value))
				})
			}
		}
	}
	if !c.IsSignedIn() || c.Get("/account").StatusCode != http.StatusOK {
		t.Error("the account page is broken afterwards")
	}
	wantCleanLog(x)
}

// TestASVS_1_2_4_HostilePathsHeadersAndCookies: the same for paths, queries, headers and cookies.
func TestASVS_1_2_4_HostilePathsHeadersAndCookies(t *testing.T) {
	t.Parallel()
	x := kit.NewTarget(t)
	c := x.NewClient()
	c.Register("alice")
	for _, value := range hostileInputs {
		if len(value) > 20_000 {
			value = value[:20_000]
		}
		what := fmt.Sprintf("%.40q", value)
		escaped := url.QueryEscape(value)
		within(t, time.Second, what, func() {
			for _, path := range []string{
				"/login?next=" + escaped + "&notice=" + escaped + "&" + escaped + "=x", "/register?next=" + escaped, "/account?notice=" + escaped,
				"/" + url.PathEscape(value), "/static/" + url.PathEscape(value), "/dashboard?" + escaped,
			} {
				wantCleanResponse(x, c.Get(path), "GET "+path[:min(len(path), 80)])
			}
		})
		// No library sends these; net/http may refuse them before the handlers are called.
		oneLine := strings.Map(func(r rune) rune {
			if r == '\r' || r == '\n' {
				return ' '
			}
			return r
		}, value)
		for _, name := range []string{"User-Agent", "Accept-Language", "Accept-Encoding", "Referer", "Authorization", "X-Request-Id", "X-Forwarded-For", "If-None-Match", "Range", "Content-Type"} {
			head := "GET /account HTTP/1.1\r\nHost: x\r\nCookie: " + c.SessionCookieHeader() + "\r\n" + name + ": " + oneLine + "\r\nConnection: close\r\n\r\n"
			for _, a := range x.SendRaw(head) {
				wantCleanResponse(x, a, name+": "+what)
			}
		}
		for _, cookie := range []string{kit.SessionCookie + "=" + oneLine, kit.SessionCookie + "_browser=" + oneLine, oneLine + "=x", oneLine} {
			for _, path := range []string{"/", "/account"} {
				for _, a := range x.SendRaw("GET " + path + " HTTP/1.1\r\nHost: x\r\nCookie: " + cookie + "\r\nConnection: close\r\n\r\n") {
					wantCleanResponse(x, a, "Cookie: "+what)
				}
			}
		}
	}
	// The User-Agent of a sign-in is shown in the list of sessions.
	for _, value := range hostileInputs {
		if len(value) > 20_000 || strings.ContainsAny(value, "\r\n\x00\x1b\v\f\b\a") || len(value)%3 != 0 {
			continue
		}
		x.GuessPassword("alice", kit.Password, "User-Agent", value)
	}
	wantCleanResponse(x, c.Get("/account"), "the account page")
	wantCleanLog(x)
}

// wantCleanResponse fails if the response is a server error or a page with elements that its templates do not have.
func wantCleanResponse(x *kit.Target, a kit.Response, what string) {
	x.T.Helper()
	if a.StatusCode >= 500 {
		x.T.Errorf("%s: got %s", what, a.Status)
	}
	for name, values := range a.Header {
		if name == "X-Injected" || name == "Set-Cookie" && strings.HasPrefix(values[0], "a=") {
			x.T.Errorf("%s causes the header %s: %q", what, name, values)
		}
	}
	if !strings.HasPrefix(a.Header.Get("Content-Type"), "text/html") {
		return
	}
	tokens := html.NewTokenizer(strings.NewReader(a.Text))
	for tokens.Next() != html.ErrorToken {
		token := tokens.Token()
		if token.Type == html.CommentToken {
			x.T.Errorf("%s adds a comment to the page: %.100q", what, token.Data)
		}
		if token.Type == html.StartTagToken || token.Type == html.SelfClosingTagToken {
			wantOwnElement(x, token, what)
		}
	}
}

// wantOwnElement fails if the templates do not have the element.
func wantOwnElement(x *kit.Target, token html.Token, what string) {
	x.T.Helper()
	switch token.Data {
	case "img", "iframe", "object", "embed", "base", "style", "textarea", "video", "audio":
		x.T.Errorf("%s adds <%s> to the page", what, token.Data)
	}
	for _, attr := range token.Attr {
		value := strings.ToLower(strings.TrimSpace(attr.Val))
		local := strings.HasPrefix(value, "/") && !strings.HasPrefix(value, "//") || strings.HasPrefix(value, "#") || value == ""
		switch {
		case strings.HasPrefix(attr.Key, "on"), attr.Key == "style", attr.Key == "formaction":
			x.T.Errorf("%s adds %s=%q to the page", what, attr.Key, attr.Val)
		case (attr.Key == "href" || attr.Key == "src" || attr.Key == "action") && !local:
			x.T.Errorf("%s adds %s=%.100q to the page", what, attr.Key, attr.Val)
		}
	}
	if token.Data == "script" && !strings.Contains(token.String(), `src="/static/`) {
		x.T.Errorf("%s adds a script to the page: %s", what, token)
	}
}

// wantCleanLog waits until the log is quiet, and fails on lines that are not JSON, requests with two lines, panics and
// errors.
func wantCleanLog(x *kit.Target) {
	x.T.Helper()
	last := x.RequestLog(x.NewClient().Get("/healthz")).Text("request_id")
	seen := map[string]bool{}
	for _, line := range x.LogLines(0) {
		if level := line.Text("level"); level == "ERROR" {
			x.T.Errorf("the log has an error: %.500v", line)
		}
		if line.Text("msg") != "request" {
			continue
		}
		id := line.Text("request_id")
		if id == "" || seen[id] {
			x.T.Errorf("got no request id or two log lines for %q", id)
		}
		seen[id] = true
	}
	if !seen[last] {
		x.T.Error("the last request has no log line")
	}
}

// TestPages_EscapeStoredText: on every page that shows it.
func TestPages_EscapeStoredText(t *testing.T) {
	t.Parallel()
	x := kit.NewTarget(t)
	c := x.NewClient()
	c.Register("alice")
	for _, name := range []string{`<b>"bold"</b>`, `"><script>alert(1)</script>`, "{{.User}}", "' onfocus='x", "</bdi></script>", "&amp;"} {
		c.WantSeeOther(c.PostForm("/account/profile", "name", name, "time_zone", "UTC"), "/account?notice=profile")
		for _, path := range []string{"/dashboard", "/account"} {
			a := c.Get(path)
			wantCleanResponse(x, a, fmt.Sprintf("%s for the name %q", path, name))
			if !strings.Contains(a.Text, html.EscapeString(name)) {
				t.Errorf("%s does not show the name %q", path, name)
			}
		}
	}
}

// TestSignIn_HostileNamesReachNoStore: impossible names are not used in SQL, and no Redis key is built from them.
func TestSignIn_HostileNamesReachNoStore(t *testing.T) {
	t.Parallel()
	x := kit.NewTarget(t)
	for i, value := range hostileInputs {
		if i%3 == 0 && len(value) < 100_000 && value != "" {
			x.GuessPassword(value, kit.Password)
			x.Do("HSET", "throttle:address:127.0.0.1", "n", "1", "until", "0")
		}
	}
	for _, key := range x.Keys("throttle:account:*") {
		if name := strings.TrimPrefix(key, "throttle:account:"); len(name) > 320 || strings.ContainsAny(name, "\x00\r\n<>\"'* ") {
			t.Errorf("a sign-in created the key %.100q", key)
		}
	}
	for _, line := range x.LogLines(0) {
		if strings.Contains(fmt.Sprint(line["error"]), "SQLSTATE") || strings.Contains(fmt.Sprint(line["error"]), "pq:") {
			t.Errorf("Postgres refused a statement: %v", line)
		}
	}
}

// TestForms_DuplicateAndManyFields: the first of two fields is used, the query is ignored, and the response to a form with
// far too many fields is quick.
func TestForms_DuplicateAndManyFields(t *testing.T) {
	t.Parallel()
	x := kit.NewTarget(t)
	x.NewClient().Register("alice")
	x.NewClient().Register("bob")
	send := func(path, body string) kit.Response {
		c := x.NewClient()
		return c.Do(c.NewRequest(http.MethodPost, path, body, "Content-Type", kit.FormContentType))
	}
	a := send("/login", "username=alice&password="+kit.Password+"&username=bob&password=x")
	if a.StatusCode != http.StatusSeeOther {
		t.Fatalf("a sign-in with a second name: got %s", a.Status)
	}
	if who := requestUser(x, a); who != x.UserID("alice") {
		t.Errorf("the sign-in used the second of two names: %s", who)
	}
	if a := send("/login?username=alice&password="+kit.Password, "username=bob&password=x"); a.StatusCode != http.StatusUnauthorized {
		t.Errorf("a sign-in with another name in the query: got %s", a.Status)
	}
	if a := send("/login?username=alice&password="+kit.Password, ""); a.StatusCode != http.StatusUnprocessableEntity {
		t.Errorf("a sign-in with only a query: got %s", a.Status)
	}
	for what, body := range map[string]string{
		"many names":       strings.Repeat("a&", 32_000),
		"many values":      strings.Repeat("username=alice&", 4_300),
		"many escapes":     "username=" + strings.Repeat("%41", 21_000),
		"many semicolons":  strings.Repeat("a=b;", 16_000),
		"broken escapes":   strings.Repeat("%", 65_000),
		"many equal signs": strings.Repeat("=", 65_000),
		"more than 64 KiB": strings.Repeat("a&", 500_000),
	} {
		within(t, time.Second, what, func() {
			x.ClearThrottles()
			if a := send("/login", body+"&username=nobody&password=x"); a.StatusCode >= 500 || a.StatusCode < 400 {
				t.Errorf("a form of %s: got %s", what, a.Status)
			}
		})
	}
	c := x.NewClient()
	within(t, time.Second, "a long query", func() {
		wantCleanResponse(x, c.Get("/login?"+strings.Repeat("a&", 25_000)+"next=/account"), "a query of many parameters")
	})
	wantCleanLog(x)
}

// requestUser returns the id of the user that the response's cookie signs in.
func requestUser(x *kit.Target, a kit.Response) string {
	x.T.Helper()
	for _, k := range a.Cookies() {
		if k.Name == kit.SessionCookie {
			c := x.NewClient()
			c.SetCookie(k.Name, k.Value)
			return x.RequestLog(c.Get("/dashboard")).Text("user_id")
		}
	}
	return ""
}

// TestBodies_AreLimited: to 64 KiB, with and without a Content-Length, and a larger body closes the connection.
func TestBodies_AreLimited(t *testing.T) {
	t.Parallel()
	x := kit.NewTarget(t)
	for what, request := range map[string]string{
		"a length of 1 TiB": "POST /login HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 1099511627776\r\n\r\nusername=a",
		"chunks": "POST /login HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\nTransfer-Encoding: chunked\r\n\r\n" +
			strings.Repeat("10000\r\n"+strings.Repeat("a", 0x10000)+"\r\n", 17) + "0\r\n\r\nGET /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
	} {
		conn := x.Dial()
		go func() { _, _ = conn.Write([]byte(request)) }()
		a, err := readFirst(conn)
		if err != nil || a.StatusCode != http.StatusRequestEntityTooLarge {
			t.Errorf("%s: %v %v", what, a.Response, err)
		}
	}
	for _, a := range x.SendRaw("GET / HTTP/1.1\r\nHost: x\r\nX-Long: " + strings.Repeat("a", 70_000) + "\r\n\r\n") {
		if a.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
			t.Errorf("a header of 70 KB: got %s", a.Status)
		}
	}
}

// TestASVS_16_3_1_SecurityEventsAreLogged: each sign-in, failure, throttling and change is one line with user, address
// and time; names cannot inject lines.
func TestASVS_16_3_1_SecurityEventsAreLogged(t *testing.T) {
	t.Parallel()
	x := kit.NewTarget(t)
	c, other := x.NewClient(), x.NewClient()
	c.Register("alice")
	c.PostForm("/logout")
	c.SignIn("alice")
	other.SignIn("alice")
	x.GuessPassword("alice", kit.OtherPassword)
	x.GuessPassword("nobody", kit.OtherPassword)
	x.GuessPassword("al\r\n{\"msg\":\"signed in\",\"event\":true}\r\nice", kit.OtherPassword)
	x.GuessPassword("al\u2028ice", kit.OtherPassword)
	x.GuessPassword("a@b.org\r\nX", kit.OtherPassword)
	c.PostForm("/account/profile", "name", "Alice", "time_zone", "UTC")
	c.ChangePassword("wrong", kit.OtherPassword)
	c.ChangePassword(kit.Password, kit.OtherPassword)
	c.PostForm("/account/sessions/end-others")
	other.PostForm("/login", "username", "alice", "password", kit.OtherPassword)
	c.PostForm("/account/sessions/end", "session", strings.TrimPrefix(x.SessionKey(other), "session:"))
	x.Do("HSET", kit.ThrottleKey("alice"), "n", "50", "until", x.RedisMillis()+600_000)
	x.GuessPassword("alice", kit.OtherPassword)
	c.WantSeeOther(c.Get("/"), "/dashboard")

	alice := x.UserID("alice")
	for message, want := range map[string]int{
		"registered": 1, "signed in": 3, "signed out": 1, "sign-in failed": 5, "sign-in throttled": 1, "profile changed": 1,
		"password change failed": 1, "password changed": 1, "signed out everywhere": 1, "session ended": 1,
	} {
		events := x.Events(message)
		if len(events) != want {
			t.Errorf("the log: got %q %d times, want %d", message, len(events), want)
		}
		for _, line := range events {
			if _, err := time.Parse(time.RFC3339Nano, line.Text("time")); err != nil || line.Text("request_id") == "" {
				t.Errorf("the event lacks time or request: %v", line)
			}
			if line.Text("user_id") != alice && !strings.HasPrefix(message, "sign-in") {
				t.Errorf("the event has no user: %v", line)
			}
			if strings.HasPrefix(message, "sign") && message != "signed out" && message != "signed out everywhere" && line.Text("address") != "127.0.0.1" {
				t.Errorf("the event has no address: %v", line)
			}
		}
	}
}

// TestASVS_16_2_5_NoSecretsInTheLog: at level debug, after valid, invalid and malformed requests of every kind, the
// log contains no password, cookie, hash or key.
func TestASVS_16_2_5_NoSecretsInTheLog(t *testing.T) {
	t.Parallel()
	x := kit.NewTarget(t)
	c := x.NewClient()
	c.Register("alice")
	secrets := []string{kit.Password, kit.OtherPassword, "mistyped-secret", kit.SecretKey, "bearer-secret"}
	collect := func() { secrets = append(secrets, c.Cookie(kit.SessionCookie), c.Cookie(kit.SessionCookie+"_browser")) }
	collect()
	secrets = append(secrets, x.QueryValue(`SELECT password_hash FROM users`))
	c.ChangePassword("mistyped-secret", kit.OtherPassword)
	c.ChangePassword(kit.Password, "short")
	c.ChangePassword(kit.Password, kit.OtherPassword)
	collect()
	c.PostForm("/login", "username", "alice", "password", "mistyped-secret")
	c.PostForm("/password/strength", "password", "mistyped-secret")
	c.Get("/login?password=mistyped-secret&token=bearer-secret")
	c.Get("/nothing?token=bearer-secret", "Authorization", "Bearer bearer-secret")
	for _, body := range []string{"password=mistyped-secret%zz", "%zz=mistyped-secret", "password=mistyped-secret;x", "username=alice&password=mistyped-secret\x00"} {
		c.Do(c.NewRequest(http.MethodPost, "/login", body, "Content-Type", kit.FormContentType))
	}
	c.Do(c.NewRequest(http.MethodPost, "/login", "password=mistyped-secret", "Content-Type", "text/mistyped", "Origin", "https://evil.example"))
	x.SendRaw("POST /login HTTP/1.1\r\nHost: x\r\nCookie: gatehouse=bearer-secret\r\nbroken header bearer-secret\r\n\r\n")
	x.SendRaw("GET /?token=bearer-secret HTTP/9.9\r\nHost: x\r\n\r\n")
	x.Do("SET", x.SessionKey(c), "garbage")
	c.Get("/dashboard")
	c.WantSeeOther(c.PostForm("/login", "username", "alice", "password", kit.OtherPassword), "/dashboard")
	collect()
	wantCleanLog(x)
	for _, secret := range secrets {
		if log := x.Server.Log(); secret != "" && strings.Contains(log, secret) {
			at := strings.Index(log, secret)
			t.Errorf("the log contains %q: …%s", secret, log[max(0, at-200):min(len(log), at+100)])
		}
	}
}

// TestASVS_16_5_ErrorsAreGenericAndFailClosed: when a store fails, pages ask to try again later, private pages stay
// inaccessible, and no internals are revealed.
func TestASVS_16_5_ErrorsAreGenericAndFailClosed(t *testing.T) {
	t.Parallel()
	store := testkit.StartRedis(t)
	x := kit.NewTarget(t, "REDIS_URL", store.URL())
	c := x.NewClient()
	c.Register("alice")
	kit.WantSignedIn(t, c)
	store.Kill()
	for _, a := range []kit.Response{
		c.Get("/dashboard"), c.Get("/account"), c.PostForm("/account/profile", "name", "x"), c.PostForm("/login", "username", "alice", "password", kit.Password), c.PostForm("/logout"),
		c.PostForm("/register", "username", "bob", "password", kit.Password),
	} {
		c.WantStatus(a, http.StatusServiceUnavailable)
		if a.Header.Get("Retry-After") == "" || len(a.Cookies()) > 0 {
			t.Errorf("%s: Retry-After %q, cookies %v", a.Request.URL.Path, a.Header.Get("Retry-After"), a.Cookies())
		}
		for _, inner := range []string{"redis", "Redis", "dial", "127.0.0.1", "refused", "goroutine", ".go:", "EOF", "pq:"} {
			if strings.Contains(a.Text, inner) {
				t.Errorf("%s reveals %q", a.Request.URL.Path, inner)
			}
		}
	}
	if n := x.QueryValue(`SELECT count(*) FROM users`); n != "1" {
		t.Errorf("got %s users", n)
	}
	c.WantStatus(c.Get("/"), http.StatusOK)
	c.WantStatus(c.Get("/login"), http.StatusOK)
	store.Start()
}
