// Package e2e holds the tests that talk to the real program from outside: over HTTP, in a
// browser, on the command line, with real Postgres and Redis behind it.
package e2e

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"gatehouse/auth"
	"gatehouse/internal/testkit"
)

const (
	// password passes every rule for new passwords.
	password = "weary-otter-lamp"
	// secretKey is for tests only.
	secretKey = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
	// generous bounds the wait for a condition that holds within milliseconds on a quiet machine. Only a server that
	// never gets there takes as long, however busy the machine is.
	generous = 20 * time.Second
)

// site is a Postgres and a Redis, and as many servers on them as the test starts.
type site struct {
	t        testing.TB
	database string
	redis    string
}

// newSite returns stores of the test's own with the schema in place.
func newSite(t testing.TB) *site {
	t.Helper()
	return &site{t: t, database: testkit.PostgresURL(t), redis: testkit.RedisURL(t)}
}

// env returns the settings of a server on the site; pairs are name, value, name, value….
func (s *site) env(pairs ...string) map[string]string {
	env := map[string]string{
		"DATABASE_URL": s.database,
		"REDIS_URL":    s.redis,
		"SECRET_KEY":   secretKey,
		"LOG_LEVEL":    "debug",
		// A race build otherwise waits a second before it exits.
		"GORACE": strings.TrimSpace(os.Getenv("GORACE") + " atexit_sleep_ms=0"),
	}
	maps.Copy(env, pairsOf(pairs))
	return env
}

func pairsOf(pairs []string) map[string]string {
	m := make(map[string]string)
	for i := 0; i+1 < len(pairs); i += 2 {
		m[pairs[i]] = pairs[i+1]
	}
	return m
}

// serve starts a server on the site.
func (s *site) serve(pairs ...string) *testkit.Server {
	s.t.Helper()
	return s.serveBinary(testkit.BuildBinary(s.t), pairs...)
}

// serveBinary starts a server and waits until it receives changes from the database: before that it keeps no user in
// memory, and once it does, it empties the cache.
func (s *site) serveBinary(binary string, pairs ...string) *testkit.Server {
	s.t.Helper()
	env := s.env(pairs...)
	server := testkit.StartServer(s.t, binary, env, "--migrate")
	if env["DATABASE_URL"] == s.database && env["LOG_LEVEL"] == "debug" {
		testkit.Eventually(s.t, generous, "the server to receive changes", func() bool {
			return strings.Contains(server.Log(), "receiving changes of users from the database")
		})
	}
	return server
}

// client is a person's browser as far as HTTP goes: it keeps cookies and follows no redirects.
type client struct {
	t    testing.TB
	base string
	http *http.Client
}

func newClient(t testing.TB, base string) *client {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &client{t: t, base: base, http: &http.Client{
		Jar:           jar,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// at returns the same browser at another server: cookies do not look at ports.
func (c *client) at(base string) *client {
	return &client{t: c.t, base: base, http: c.http}
}

// answer is a response, read to its end.
type answer struct {
	*http.Response
	body string
}

func (c *client) do(req *http.Request) answer {
	c.t.Helper()
	a, err := c.attempt(req)
	if err != nil {
		c.t.Fatalf("%s %s: %v", req.Method, req.URL, err)
	}
	return a
}

// attempt is do for goroutines beside the test's own, which may not end the test.
func (c *client) attempt(req *http.Request) (answer, error) {
	resp, err := c.http.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return answer{}, fmt.Errorf("read the answer: %w", err)
	}
	return answer{resp, string(body)}, nil
}

// request returns a request to the server; header lists name, value, name, value….
func (c *client) request(method, path, body string, header ...string) *http.Request {
	c.t.Helper()
	req, err := http.NewRequestWithContext(c.t.Context(), method, c.base+path, strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	return req
}

func (c *client) get(path string, header ...string) answer {
	c.t.Helper()
	return c.do(c.request(http.MethodGet, path, "", header...))
}

// post sends a form; fields are name, value, name, value….
func (c *client) post(path string, fields ...string) answer {
	c.t.Helper()
	return c.do(c.request(http.MethodPost, path, form(fields...), "Content-Type", "application/x-www-form-urlencoded"))
}

func form(fields ...string) string {
	values := url.Values{}
	for name, value := range pairsOf(fields) {
		values.Set(name, value)
	}
	return values.Encode()
}

// register makes an account through the form and leaves the client signed in.
func (c *client) register(username string) {
	c.t.Helper()
	a := c.post("/register", "username", username, "password", password)
	c.wantSeeOther(a, "/dashboard")
}

// signIn signs in through the form.
func (c *client) signIn(username string, fields ...string) {
	c.t.Helper()
	a := c.post("/login", append([]string{"username", username, "password", password}, fields...)...)
	c.wantSeeOther(a, "/dashboard")
}

func (c *client) wantSeeOther(a answer, location string) {
	c.t.Helper()
	if a.StatusCode != http.StatusSeeOther || a.Header.Get("Location") != location {
		c.t.Fatalf("%s %s: %s to %q, want 303 to %q\n%s", a.Request.Method, a.Request.URL.Path, a.Status, a.Header.Get("Location"), location, a.body)
	}
}

func (c *client) want(a answer, status int) {
	c.t.Helper()
	if a.StatusCode != status {
		c.t.Fatalf("%s %s: %s, want %d\n%s", a.Request.Method, a.Request.URL.Path, a.Status, status, a.body)
	}
}

// signedIn reports whether the dashboard greets the client. Every answer but the page and
// the way to the sign-in form fails the test.
func (c *client) signedIn() bool {
	c.t.Helper()
	a := c.get("/dashboard")
	switch {
	case a.StatusCode == http.StatusOK && strings.Contains(a.body, `id="user-name"`):
		return true
	case a.StatusCode == http.StatusSeeOther && strings.HasPrefix(a.Header.Get("Location"), "/login"):
		return false
	}
	c.t.Fatalf("GET /dashboard: %s to %q\n%s", a.Status, a.Header.Get("Location"), a.body)
	return false
}

// cookie returns the value of one of the client's cookies, or "".
func (c *client) cookie(name string) string {
	c.t.Helper()
	u, err := url.Parse(c.base)
	if err != nil {
		c.t.Fatal(err)
	}
	for _, k := range c.http.Jar.Cookies(u) {
		if k.Name == name {
			return k.Value
		}
	}
	return ""
}

// setCookie plants a cookie.
func (c *client) setCookie(name, value string) {
	c.t.Helper()
	u, err := url.Parse(c.base)
	if err != nil {
		c.t.Fatal(err)
	}
	c.http.Jar.SetCookies(u, []*http.Cookie{{Name: name, Value: value, Path: "/"}})
}

// accountKey is what the throttle counts the failures of a name under.
func accountKey(name string) string { return parsedKeys().AccountKey(name) }

// waitingKey is the Redis key that makes a program wait.
func waitingKey(name, network string) string {
	return "waiting:" + parsedKeys().APIClientKey(name, network)
}

func parsedKeys() auth.Keys {
	keys, err := auth.ParseKeys(secretKey)
	if err != nil {
		panic(err)
	}
	return keys
}

// throttleKey is the Redis key of it.
func throttleKey(name string) string { return "throttle:" + accountKey(name) }
