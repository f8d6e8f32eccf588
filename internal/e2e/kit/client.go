package kit

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse/internal/testkit"
)

// Client is an HTTP client with a cookie jar that follows no redirects.
type Client struct {
	T       testing.TB
	BaseURL string
	HTTP    *http.Client
}

// NewClient returns a client without cookies for the server at a base URL.
func NewClient(t testing.TB, base string) *Client {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &Client{T: t, BaseURL: base, HTTP: &http.Client{
		Jar:           jar,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// At returns a client with the same cookies for another server: cookies ignore ports.
func (c *Client) At(base string) *Client {
	return &Client{T: c.T, BaseURL: base, HTTP: c.HTTP}
}

// CopySession returns a new client with a copy of the current session cookie.
func (c *Client) CopySession(base string) *Client {
	c.T.Helper()
	copied := NewClient(c.T, base)
	copied.SetCookie(SessionCookie, c.Cookie(SessionCookie))
	return copied
}

// Response is an HTTP response whose body has been read.
type Response struct {
	*http.Response
	Text string
}

// Do sends a request and fails the test if there is no response.
func (c *Client) Do(req *http.Request) Response {
	c.T.Helper()
	a, err := c.TryDo(req)
	if err != nil {
		c.T.Fatalf("%s %s: %v", req.Method, req.URL, err)
	}
	return a
}

// TryDo is Do for other goroutines, which must not end the test.
func (c *Client) TryDo(req *http.Request) (Response, error) {
	resp, err := c.HTTP.Do(req)
	if err != nil {
		return Response{}, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return Response{}, fmt.Errorf("read the response: %w", err)
	}
	return Response{resp, string(body)}, nil
}

// DoWithin is Do with a limit on the duration, which fails the test.
func (c *Client) DoWithin(limit time.Duration, req *http.Request) Response {
	c.T.Helper()
	begun := time.Now()
	a := c.Do(req)
	if took := time.Since(begun); took > limit {
		c.T.Errorf("%s %s took %v, want at most %v", req.Method, req.URL.Path, took, limit)
	}
	return a
}

// NewRequest returns a request to the server; header lists name, value, name, value….
func (c *Client) NewRequest(method, path, body string, header ...string) *http.Request {
	c.T.Helper()
	req, err := http.NewRequestWithContext(c.T.Context(), method, c.BaseURL+path, strings.NewReader(body))
	if err != nil {
		c.T.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	return req
}

// AcceptHTML is an Accept header as browsers send it.
const AcceptHTML = "text/html,application/xhtml+xml"

// Get sends a GET request; header lists name, value, name, value….
func (c *Client) Get(path string, header ...string) Response {
	c.T.Helper()
	return c.Do(c.NewRequest(http.MethodGet, path, "", header...))
}

// WantStatus fails the test unless the response has the status.
func (c *Client) WantStatus(a Response, status int) {
	c.T.Helper()
	if a.StatusCode != status {
		c.T.Fatalf("%s %s: %s, want %d\n%s", a.Request.Method, a.Request.URL.Path, a.Status, status, a.Text)
	}
}

// WantSeeOther fails the test unless the response is a 303 to the location.
func (c *Client) WantSeeOther(a Response, location string) {
	c.T.Helper()
	if a.StatusCode != http.StatusSeeOther || a.Header.Get("Location") != location {
		c.T.Fatalf("%s %s: %s to %q, want 303 to %q\n%s", a.Request.Method, a.Request.URL.Path, a.Status, a.Header.Get("Location"), location, a.Text)
	}
}

// Register creates an account through the form, which signs the client in.
func (c *Client) Register(username string) {
	c.T.Helper()
	a := c.PostForm("/register", "username", username, "password", Password)
	c.WantSeeOther(a, "/dashboard?notice=welcome")
}

// SignIn signs in through the form.
func (c *Client) SignIn(username string, fields ...string) {
	c.T.Helper()
	a := c.PostForm("/login", append([]string{"username", username, "password", Password}, fields...)...)
	c.WantSeeOther(a, "/dashboard")
}

// ChangePassword submits the form that changes the password.
func (c *Client) ChangePassword(current, next string) Response {
	c.T.Helper()
	return c.PostForm("/account/password", "current_password", current, "new_password", next)
}

var sessionField = regexp.MustCompile(`name="session" value="([^"]+)"`)

// OtherSessionIDs returns the ids of the sessions that the account page offers to end.
func (c *Client) OtherSessionIDs() []string {
	c.T.Helper()
	var ids []string
	for _, m := range sessionField.FindAllStringSubmatch(c.Get("/account").Text, -1) {
		ids = append(ids, m[1])
	}
	return ids
}

// IsSignedIn reports whether the dashboard greets the client. Any response except the page and a redirect to the
// sign-in form fails the test.
func (c *Client) IsSignedIn() bool {
	c.T.Helper()
	a := c.Get("/dashboard")
	switch {
	case a.StatusCode == http.StatusOK && strings.Contains(a.Text, `id="user-name"`):
		return true
	case a.StatusCode == http.StatusSeeOther && strings.HasPrefix(a.Header.Get("Location"), "/login"):
		return false
	}
	c.T.Fatalf("GET /dashboard: %s to %q\n%s", a.Status, a.Header.Get("Location"), a.Text)
	return false
}

// WantSignedIn fails unless every client is signed in.
func WantSignedIn(t *testing.T, clients ...*Client) {
	t.Helper()
	for i, c := range clients {
		if !c.IsSignedIn() {
			t.Errorf("client %d of %d is not signed in at %s", i+1, len(clients), c.BaseURL)
		}
	}
}

// IsSessionEnded reports whether the response to a form says that the session has ended: the sign-in page that carries the
// form, or a redirect to the sign-in page if there is nothing to carry.
func IsSessionEnded(a Response) bool {
	location := a.Header.Get("Location")
	return a.StatusCode == http.StatusUnauthorized && strings.Contains(a.Text, "Your session has ended") ||
		a.StatusCode == http.StatusSeeOther && strings.HasPrefix(location, "/login?next=%2F") && strings.HasSuffix(location, "&notice=ended")
}

// WantSessionEnded fails unless IsSessionEnded.
func (c *Client) WantSessionEnded(a Response) {
	c.T.Helper()
	if !IsSessionEnded(a) {
		c.T.Errorf("%s %s: %s to %q, want the sign-in page of an ended session", a.Request.Method, a.Request.URL.Path, a.Status, a.Header.Get("Location"))
	}
}

// WantSignedOut waits until other servers have noticed a change, and fails if a client is signed in again afterwards.
func WantSignedOut(t *testing.T, clients ...*Client) {
	t.Helper()
	for i, c := range clients {
		testkit.Eventually(t, WaitTimeout, fmt.Sprintf("client %d of %d to be signed out at %s", i+1, len(clients), c.BaseURL),
			func() bool { return !c.IsSignedIn() })
		if c.IsSignedIn() {
			t.Errorf("client %d of %d is signed in again at %s", i+1, len(clients), c.BaseURL)
		}
	}
}

// Cookie returns the value of one of the client's cookies, or "".
func (c *Client) Cookie(name string) string {
	c.T.Helper()
	u, err := url.Parse(c.BaseURL)
	if err != nil {
		c.T.Fatal(err)
	}
	for _, k := range c.HTTP.Jar.Cookies(u) {
		if k.Name == name {
			return k.Value
		}
	}
	return ""
}

// SetCookie adds a cookie to the client's jar.
func (c *Client) SetCookie(name, value string) {
	c.T.Helper()
	u, err := url.Parse(c.BaseURL)
	if err != nil {
		c.T.Fatal(err)
	}
	c.HTTP.Jar.SetCookies(u, []*http.Cookie{{Name: name, Value: value, Path: "/"}})
}

// SessionCookieHeader returns a Cookie header with the client's session and no other cookies.
func (c *Client) SessionCookieHeader() string {
	c.T.Helper()
	value := c.Cookie(SessionCookie)
	if value == "" {
		c.T.Fatal("the client has no session cookie")
	}
	return SessionCookie + "=" + value
}

// CookiesOf returns the cookies that a response sets, by name, and fails if a name is set twice.
func (c *Client) CookiesOf(a Response) map[string]*http.Cookie {
	c.T.Helper()
	all := map[string]*http.Cookie{}
	for _, k := range a.Cookies() {
		if all[k.Name] != nil {
			c.T.Errorf("%s %s sets %s twice", a.Request.Method, a.Request.URL.Path, k.Name)
		}
		all[k.Name] = k
	}
	return all
}

var stylesheetPath = regexp.MustCompile(`/static/app\.[0-9a-f]+\.css`)

// StylesheetPath returns the path of a static file.
func (c *Client) StylesheetPath() string {
	c.T.Helper()
	found := stylesheetPath.FindString(c.Get("/login").Text)
	if found == "" {
		c.T.Fatal("the sign-in page names no style sheet")
	}
	return found
}

// DecodeJSON decodes the body of a response into v.
func DecodeJSON(t testing.TB, a Response, v any) {
	t.Helper()
	if err := json.Unmarshal([]byte(a.Text), v); err != nil {
		t.Fatalf("%s: %v\n%s", a.Request.URL.Path, err, a.Text)
	}
}

// ComparableResponse returns everything that a client can see of a response, except for the user name that it sent and
// values that differ in every response.
func ComparableResponse(a Response, name string) string {
	header := maps.Clone(a.Header)
	for _, each := range []string{"Date", "X-Request-Id"} {
		delete(header, each)
	}
	body := strings.ReplaceAll(a.Text, `value="`+name+`"`, `value="NAME"`)
	return fmt.Sprintf("%s\n%v\n%s", a.Status, header, body)
}

// RunConcurrently starts n goroutines at the same moment and returns their responses.
func RunConcurrently(t *testing.T, n int, send func(i int) (Response, error)) []Response {
	t.Helper()
	responses, errs := make([]Response, n), make([]error, n)
	begin := make(chan struct{})
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			<-begin
			responses[i], errs[i] = send(i)
		})
	}
	close(begin)
	all.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	return responses
}

// UniqueName returns a name that no other user has.
func UniqueName() string { return strings.ToLower(rand.Text()[:8]) }
