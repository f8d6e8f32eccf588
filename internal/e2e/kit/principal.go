package kit

import (
	"encoding/base64"
	"net/http"
	"regexp"
	"testing"
	"time"

	"gatehouse/auth"
	"gatehouse/internal/testkit"
)

// Principal is a user as one server knows them: with a session, a password for Basic and an API token.
type Principal struct {
	T                                  testing.TB
	Client                             *Client
	ID, Name, Password, Token, TokenID string
}

// The methods by which programs and browsers authenticate.
const (
	BySession = "session"
	ByBasic   = "basic"
	ByToken   = "token"
)

// AuthMethods lists all methods of authentication.
var AuthMethods = []string{BySession, ByBasic, ByToken}

// NewPrincipal registers a user at the target's server and creates a token.
func NewPrincipal(x *Target, name string) *Principal {
	x.T.Helper()
	return RegisterPrincipal(x.T, x.Server.URL(), name)
}

// RegisterPrincipal is NewPrincipal for the server at a base URL.
func RegisterPrincipal(t testing.TB, base, name string) *Principal {
	t.Helper()
	p := &Principal{T: t, Client: NewClient(t, base), Name: name, Password: Password}
	p.Client.Register(name)
	p.CreateToken()
	var me Me
	DecodeJSON(t, p.WantGet(BySession, "/api/me", http.StatusOK), &me)
	p.ID = me.User.ID
	return p
}

// CreateToken replaces the principal's token with a new one.
func (p *Principal) CreateToken() {
	p.T.Helper()
	a := p.Client.Do(p.Client.NewRequest(http.MethodPost, "/api/tokens", `{"name":"test"}`, "Content-Type", "application/json"))
	p.Client.WantStatus(a, http.StatusCreated)
	var made struct{ ID, Token string }
	DecodeJSON(p.T, a, &made)
	p.Token, p.TokenID = made.Token, made.ID
}

// Me is the body of /api/me.
type Me struct {
	User         struct{ ID, Username, Name string }
	Groups       []string
	Method       string
	AuthorizedBy string `json:"authorized_by"`
}

// BasicHeader returns the value of an Authorization header.
func BasicHeader(name, secret string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(name+":"+secret))
}

// TokenKey returns the Redis key of the token.
func (p *Principal) TokenKey() string {
	p.T.Helper()
	id, err := auth.TokenID(p.Token)
	if err != nil {
		p.T.Fatal(err)
	}
	return "token:" + id
}

// At returns the same principal at another server.
func (p *Principal) At(base string) *Principal {
	other := *p
	other.Client = p.Client.At(base)
	return &other
}

// newRequest returns a request with the credentials of one method and no others.
func (p *Principal) newRequest(way, path string) *http.Request {
	req, err := http.NewRequestWithContext(p.T.Context(), http.MethodGet, p.Client.BaseURL+path, nil)
	if err != nil {
		p.T.Fatal(err)
	}
	switch way {
	case BySession:
		req.AddCookie(&http.Cookie{Name: SessionCookie, Value: p.Client.Cookie(SessionCookie)})
	case ByBasic:
		req.Header.Set("Authorization", BasicHeader(p.Name, p.Password))
	case ByToken:
		req.Header.Set("Authorization", "Bearer "+p.Token)
	}
	return req
}

// NoCookies sends requests without a cookie jar.
var NoCookies = &http.Client{
	Transport:     &http.Transport{MaxIdleConnsPerHost: 64},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// Get requests a path with one of AuthMethods.
func (p *Principal) Get(way, path string) Response {
	p.T.Helper()
	a, err := p.TryGet(way, path)
	if err != nil {
		p.T.Fatal(err)
	}
	return a
}

// TryGet is Get for other goroutines, which must not end the test.
func (p *Principal) TryGet(way, path string) (Response, error) {
	return (&Client{T: p.T, BaseURL: p.Client.BaseURL, HTTP: NoCookies}).TryDo(p.newRequest(way, path))
}

// WantGet is Get, and fails unless the response has the status.
func (p *Principal) WantGet(way, path string, status int) Response {
	p.T.Helper()
	a := p.Get(way, path)
	if a.StatusCode != status {
		p.T.Fatalf("%s by %s at %s: %s, want %d\n%s", path, way, p.Client.BaseURL, a.Status, status, a.Text)
	}
	return a
}

// Cost returns the Redis round trips and SQL statements of a response, from its Server-Timing header.
func Cost(a Response) (trips, sql string) {
	m := regexp.MustCompile(`^redis;desc="(\d+)".*, sql;desc="(\d+)"`).FindStringSubmatch(a.Header.Get("Server-Timing"))
	if m == nil {
		return "", ""
	}
	return m[1], m[2]
}

// Warm sends requests until the server has cached everything: each method costs a single round trip.
func (p *Principal) Warm() {
	p.T.Helper()
	for _, way := range AuthMethods {
		testkit.Eventually(p.T, 10*time.Second, way+" to be warm", func() bool {
			trips, sql := Cost(p.WantGet(way, "/api/me", http.StatusOK))
			return trips == "1" && sql == "0"
		})
	}
}

// GetMe requests /api/me with these headers.
func (x *Target) GetMe(header ...string) Response {
	x.T.Helper()
	return x.NewClient().Get("/api/me", header...)
}

// GetMeBasic requests /api/me with Basic authentication.
func (x *Target) GetMeBasic(name, secret string, header ...string) Response {
	x.T.Helper()
	return x.GetMe(append(header, "Authorization", BasicHeader(name, secret))...)
}

// WantAuthorizedBy fails unless the response is for this user and was authorized by this store, such as "redis".
func (x *Target) WantAuthorizedBy(a Response, username, by string) {
	x.T.Helper()
	var me Me
	if a.StatusCode == http.StatusOK {
		DecodeJSON(x.T, a, &me)
	}
	if me.User.Username != username || me.AuthorizedBy != by {
		x.T.Fatalf("%s for %q by %q, want %q by %q\n%s", a.Status, me.User.Username, me.AuthorizedBy, username, by, a.Text)
	}
}

// AddCarol adds the user carol with a verified email address.
func (x *Target) AddCarol() {
	x.T.Helper()
	x.Run(Password, "user", "add", "carol", "--email", "carol@example.org", "--password-stdin").WantCode(x.T, 0)
}
