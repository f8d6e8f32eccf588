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

// GetMe asks /api/me with these headers.
func (x *Target) GetMe(header ...string) Response {
	x.T.Helper()
	return x.NewClient().Get("/api/me", header...)
}

// GetMeBasic asks /api/me by Basic.
func (x *Target) GetMeBasic(name, secret string, header ...string) Response {
	x.T.Helper()
	return x.GetMe(append(header, "Authorization", BasicHeader(name, secret))...)
}

// WantAuthorizedBy wants an answer to this user for whom Redis alone vouched, or else the database.
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

// AddCarol adds a user with a verified address.
func (x *Target) AddCarol() {
	x.T.Helper()
	x.Run(Password, "user", "add", "carol", "--email", "carol@example.org", "--password-stdin").WantCode(x.T, 0)
}

// The ways in which a program or a browser shows who it is.
const (
	BySession = "session"
	ByBasic   = "basic"
	ByToken   = "token"
)

var AuthMethods = []string{BySession, ByBasic, ByToken}

// Principal is a user as one server knows them: by a session, by Basic and by an API token.
type Principal struct {
	T                                  testing.TB
	Client                             *Client
	ID, Name, Password, Token, TokenID string
}

// NewPrincipal registers a user at the target's server and makes a token.
func NewPrincipal(x *Target, name string) *Principal {
	x.T.Helper()
	return RegisterPrincipal(x.T, x.Server.URL(), name)
}

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

// CreateToken makes a new token by the session.
func (p *Principal) CreateToken() {
	p.T.Helper()
	a := p.Client.Do(p.Client.NewRequest(http.MethodPost, "/api/tokens", `{"name":"test"}`, "Content-Type", "application/json"))
	p.Client.WantStatus(a, http.StatusCreated)
	var made struct{ ID, Token string }
	DecodeJSON(p.T, a, &made)
	p.Token, p.TokenID = made.Token, made.ID
}

// Me is what /api/me says.
type Me struct {
	User         struct{ ID, Username, Name string }
	Groups       []string
	Method       string
	AuthorizedBy string `json:"authorized_by"`
}

func BasicHeader(name, secret string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(name+":"+secret))
}

// TokenKey is the key under which the token is kept.
func (p *Principal) TokenKey() string {
	p.T.Helper()
	id, err := auth.TokenID(p.Token)
	if err != nil {
		p.T.Fatal(err)
	}
	return "token:" + id
}

// At is the same principal at another server.
func (p *Principal) At(base string) *Principal {
	other := *p
	other.Client = p.Client.At(base)
	return &other
}

// newRequest returns a request of the principal in one of the ways, which has no other credentials.
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

func (p *Principal) Get(way, path string) Response {
	p.T.Helper()
	a, err := p.TryGet(way, path)
	if err != nil {
		p.T.Fatal(err)
	}
	return a
}

// TryGet is ask for goroutines beside the test's own.
func (p *Principal) TryGet(way, path string) (Response, error) {
	return (&Client{T: p.T, BaseURL: p.Client.BaseURL, HTTP: NoCookies}).TryDo(p.newRequest(way, path))
}

func (p *Principal) WantGet(way, path string, status int) Response {
	p.T.Helper()
	a := p.Get(way, path)
	if a.StatusCode != status {
		p.T.Fatalf("%s by %s at %s: %s, want %d\n%s", path, way, p.Client.BaseURL, a.Status, status, a.Text)
	}
	return a
}

// Cost returns the Redis round trips and SQL statements that an answer says it took.
func Cost(a Response) (trips, sql string) {
	m := regexp.MustCompile(`^redis;desc="(\d+)".*, sql;desc="(\d+)"`).FindStringSubmatch(a.Header.Get("Server-Timing"))
	if m == nil {
		return "", ""
	}
	return m[1], m[2]
}

// Warm asks until the server has everything in memory: each way costs a single round trip.
func (p *Principal) Warm() {
	p.T.Helper()
	for _, way := range AuthMethods {
		testkit.Eventually(p.T, 10*time.Second, way+" to be warm", func() bool {
			trips, sql := Cost(p.WantGet(way, "/api/me", http.StatusOK))
			return trips == "1" && sql == "0"
		})
	}
}
