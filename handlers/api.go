package handlers

import (
	"cmp"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"gatehouse/auth"
	"gatehouse/web"
	"gatehouse/web/problem"
)

// apiUser is the JSON of a user.
type apiUser struct {
	ID       string `json:"id"`
	Username string `json:"username"`
	Name     string `json:"name"`
}

func newAPIUser(u *auth.User) apiUser { return apiUser{u.ID, u.Username, u.Name} }

type apiTime struct {
	Time         time.Time `json:"time"`
	TimeZone     string    `json:"timezone"`
	User         apiUser   `json:"user"`
	AuthorizedBy string    `json:"authorized_by"`
}

func (h *Handlers) apiTime(r *web.Request) (web.Response, error) {
	return web.JSON(http.StatusOK, apiTime{
		Time:         r.Now().UTC(),
		TimeZone:     r.User().TimeZone,
		User:         newAPIUser(r.User()),
		AuthorizedBy: strings.ToLower(authorizedBy(r)),
	}), nil
}

type apiMe struct {
	User        apiUser  `json:"user"`
	Groups      []string `json:"groups"`
	Permissions []string `json:"permissions"`
	// Preferences let apps look and write times as the user chose here.
	Preferences apiPreferences `json:"preferences"`
	// Method is "session", "basic" or "token".
	Method       string `json:"method"`
	AuthorizedBy string `json:"authorized_by"`
}

// apiPreferences are the preferences as they apply: the defaults of those that the user has not chosen.
type apiPreferences struct {
	TimeZone string `json:"timezone"`
	Theme    string `json:"theme"` // or "system"
	// HourCycle is "h12" or "h23".
	HourCycle string `json:"hour_cycle"`
	Locale    string `json:"locale"`
}

func newAPIPreferences(u *auth.User) apiPreferences {
	l, hourCycle := u.DateLocale(), "h23"
	if l.Hour12(u.HourCycle) {
		hourCycle = "h12"
	}
	return apiPreferences{TimeZone: u.TimeZone, Theme: cmp.Or(u.Theme, "system"), HourCycle: hourCycle, Locale: l.Tag}
}

func (h *Handlers) apiMe(r *web.Request) (web.Response, error) {
	return web.JSON(http.StatusOK, apiMe{
		User:         newAPIUser(r.User()),
		Groups:       orEmpty(r.User().Groups),
		Permissions:  orEmpty(r.Permissions()),
		Preferences:  newAPIPreferences(r.User()),
		Method:       r.AuthMethod(),
		AuthorizedBy: strings.ToLower(authorizedBy(r)),
	}), nil
}

func orEmpty(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}

type apiToken struct {
	ID          string     `json:"id"`
	Token       string     `json:"token,omitempty"`
	Name        string     `json:"name"`
	Hint        *string    `json:"hint"`
	CreatedAt   time.Time  `json:"created_at"`
	ExpiresAt   time.Time  `json:"expires_at"`
	LastUsedAt  *time.Time `json:"last_used_at"`
	Permissions []string   `json:"permissions"`
}

func newAPIToken(t auth.Token) apiToken {
	out := apiToken{ID: t.TokenID, Name: t.Name, CreatedAt: t.CreatedAt.UTC(), ExpiresAt: t.ExpiresAt.UTC(), Permissions: t.Permissions}
	if t.Hint != "" {
		out.Hint = &t.Hint
	}
	if !t.LastUsed.IsZero() {
		at := t.LastUsed.UTC()
		out.LastUsedAt = &at
	}
	return out
}

// createTokenRequest is the body of POST /api/tokens. Username and password authenticate clients that send no
// Authorization header.
type createTokenRequest struct {
	Username    string   `json:"username"`
	Password    string   `json:"password"`
	Name        string   `json:"name"`
	ExpiresIn   int64    `json:"expires_in"` // seconds; 0 for the default
	Permissions []string `json:"permissions"`
}

func (h *Handlers) apiCreateToken(r *web.Request) (web.Response, error) {
	var body createTokenRequest
	if err := r.DecodeJSON(&body); err != nil {
		return web.Response{}, err
	}
	owner, err := h.tokenOwner(r, body)
	if err != nil {
		return web.Response{}, err
	}
	if body.Name == "" {
		body.Name = "API"
	}
	lifetime := time.Duration(min(max(body.ExpiresIn, -1), 1<<31)) * time.Second
	secret, t, err := h.Accounts.NewToken(r.Context(), owner, auth.TokenRequest{Name: body.Name, Lifetime: lifetime, Permissions: body.Permissions})
	var wrong auth.ValidationErrors
	if errors.As(err, &wrong) {
		wrong.Rename("lifetime", "expires_in")
	}
	if err != nil {
		return web.Response{}, err
	}
	created := newAPIToken(t)
	created.Token = secret
	return web.JSON(http.StatusCreated, created), nil
}

// tokenOwner returns the user for whom a token is requested. A token cannot create another one, because a leaked token
// could then renew itself forever.
func (h *Handlers) tokenOwner(r *web.Request, body createTokenRequest) (auth.User, error) {
	if r.AuthMethod() == web.ByToken {
		return auth.User{}, problem.BadRequest(problem.TokenFromToken, "A token can't create tokens. Use HTTP Basic, or send username and password in the body.")
	}
	// The user in the body takes precedence over the session.
	inBody := body.Username != "" || body.Password != ""
	if r.User() != nil && (r.AuthMethod() == web.ByBasic || !inBody) {
		return *r.User(), nil
	}
	if body.Username == "" || body.Password == "" {
		return auth.User{}, problem.Unauthorized(problem.CredentialsNeeded, "Send HTTP Basic, or username and password in the body.")
	}
	u, err := h.Accounts.SignInAPIClient(r.Context(), body.Username, body.Password, r.Client())
	r.CountSignIn(err)
	if errors.Is(err, auth.ErrWrongCredentials) {
		return auth.User{}, problem.Unauthorized(problem.WrongCredentials, "The username or password is wrong, or the account is disabled.")
	}
	return u, err
}

func (h *Handlers) apiTokens(r *web.Request) (web.Response, error) {
	tokens, err := h.Accounts.ListTokens(r.Context(), r.User().ID)
	if err != nil {
		return web.Response{}, err
	}
	list := make([]apiToken, 0, len(tokens))
	for _, t := range tokens {
		if r.User().AcceptsEpoch(t.Epoch) {
			list = append(list, newAPIToken(t))
		}
	}
	return web.JSON(http.StatusOK, map[string]any{"tokens": list}), nil
}

func (h *Handlers) apiRevokeToken(r *web.Request) (web.Response, error) {
	if err := h.Accounts.RevokeToken(r.Context(), *r.User(), r.Param("id")); err != nil {
		return web.Response{}, err
	}
	return web.NoContent(), nil
}

func (h *Handlers) apiRevokeCurrentToken(r *web.Request) (web.Response, error) {
	if r.Token() == nil {
		return web.Response{}, problem.BadRequest(problem.NoCurrentToken, "This request was not made with an API token.")
	}
	if err := h.Accounts.RevokeToken(r.Context(), *r.User(), r.Token().TokenID); err != nil {
		return web.Response{}, err
	}
	return web.NoContent(), nil
}

type apiUserRow struct {
	apiUser
	Email        string     `json:"email"`
	Active       bool       `json:"active"`
	Groups       []string   `json:"groups"`
	Permissions  []string   `json:"permissions"`
	CreatedAt    time.Time  `json:"created_at"`
	LastSignInAt *time.Time `json:"last_sign_in_at"`
}

// Numbers of users in a page of the list.
const (
	defaultUsersPerPage = 50
	maxUsersPerPage     = 200
)

func (h *Handlers) apiUsers(r *web.Request) (web.Response, error) {
	limit := defaultUsersPerPage
	if q := r.Query("limit"); q != "" {
		n, err := strconv.Atoi(q)
		if err != nil || n < 1 || n > maxUsersPerPage {
			return web.Response{}, problem.BadRequest(problem.BadLimit, "limit must be a number from 1 to 200.")
		}
		limit = n
	}
	// Fetch one more to learn whether there is a next page.
	users, err := h.Accounts.SearchUsers(r.Context(), r.Query("q"), r.Query("after"), limit+1)
	if err != nil {
		return web.Response{}, err
	}
	next := ""
	if len(users) > limit {
		users = users[:limit]
		next = users[limit-1].Username
	}
	rows := make([]apiUserRow, len(users))
	for i, u := range users {
		rows[i] = apiUserRow{apiUser: newAPIUser(&u), Email: u.Email, Active: u.Active, Groups: orEmpty(u.Groups),
			Permissions: orEmpty(u.Permissions), CreatedAt: u.CreatedAt.UTC()}
		if !u.LastSignInAt.IsZero() {
			at := u.LastSignInAt.UTC()
			rows[i].LastSignInAt = &at
		}
	}
	return web.JSON(http.StatusOK, map[string]any{"users": rows, "next": next}), nil
}

// openAPI serves the API description.
func (h *Handlers) openAPI(*web.Request) (web.Response, error) {
	return web.Document("application/json", h.OpenAPI), nil
}

// authorizedBy returns the store that confirmed the request: the database if any SQL ran.
func authorizedBy(r *web.Request) string {
	if r.Stats().SQLStatements() > 0 {
		return r.DatabaseName()
	}
	return "Redis"
}
