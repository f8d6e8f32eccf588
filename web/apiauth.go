package web

import (
	"encoding/base64"
	"errors"
	"net/http"
	"strings"
	"unicode"
	"unicode/utf8"

	"gatehouse/auth"
	"gatehouse/web/problem"
)

// Methods of authentication, as responses and metrics name them.
const (
	BySession = "session"
	ByBasic   = "basic"
	ByToken   = "token"
)

// identifyAPI identifies the user of a request to an API route by its Authorization header or, only without one, by its
// session. Wrong credentials are an error; without any, the user stays nil.
func (s *Server) identifyAPI(r *Request) error {
	headers := r.echo.Request().Header.Values("Authorization")
	switch len(headers) {
	case 0:
		return s.identify(r)
	case 1:
		return s.authenticateHeader(r, headers[0])
	}
	return problem.BadRequest(problem.SeveralCredentials, "The request has more than one Authorization header. Send one.")
}

func (s *Server) authenticateHeader(r *Request, header string) error {
	scheme, credentials, _ := strings.Cut(header, " ")
	credentials = strings.TrimLeft(credentials, " ")
	switch {
	case strings.EqualFold(scheme, "Basic"):
		return s.authenticateBasic(r, credentials)
	case strings.EqualFold(scheme, "Bearer"), strings.EqualFold(scheme, "Token"):
		return s.authenticateToken(r, credentials)
	}
	return problem.Unauthorized(problem.UnknownScheme, "Use the scheme Basic, Bearer or Token in the Authorization header.")
}

func (s *Server) authenticateBasic(r *Request, credentials string) error {
	login, password, err := parseBasic(credentials)
	if err != nil {
		return err
	}
	u, err := s.Accounts.AuthenticateBasic(r.ctx, login, password, r.Client())
	s.Metrics.CountSignIn(ByBasic, err)
	if errors.Is(err, auth.ErrWrongCredentials) {
		return problem.Unauthorized(problem.WrongCredentials, "The username or password is wrong, or the account is disabled.")
	}
	if err != nil {
		return err
	}
	r.signedIn(u, ByBasic, u.Permissions)
	return nil
}

// parseBasic parses the credentials of RFC 7617 in UTF-8. The password may contain colons.
func parseBasic(credentials string) (login, password string, err error) {
	malformed := problem.BadRequest(problem.MalformedBasic, "Basic credentials are the base64 of username:password in UTF-8.")
	if len(credentials) > maxBasic {
		return "", "", malformed
	}
	b, err := base64.StdEncoding.DecodeString(credentials)
	if err != nil {
		b, err = base64.RawStdEncoding.DecodeString(credentials)
	}
	if err != nil || !utf8.Valid(b) {
		return "", "", malformed
	}
	login, password, ok := strings.Cut(string(b), ":")
	if !ok || strings.ContainsFunc(string(b), unicode.IsControl) {
		return "", "", malformed
	}
	return login, password, nil
}

// maxBasic is in octets of base64, four times what the longest username and password need.
const maxBasic = 8 << 10

func (s *Server) authenticateToken(r *Request, secret string) error {
	u, t, err := s.Accounts.AuthenticateToken(r.ctx, secret)
	s.Metrics.CountSignIn(ByToken, err)
	for reason, refusal := range tokenRefusals {
		if errors.Is(err, reason) {
			return problem.Unauthorized(refusal.code, refusal.detail)
		}
	}
	if err != nil {
		return err
	}
	r.signedIn(u, ByToken, u.Permissions)
	r.token = &t
	return nil
}

// tokenRefusals says why a token was refused: the holder of a token may know.
var tokenRefusals = map[error]struct {
	code   problem.Code
	detail string
}{
	auth.ErrTokenMalformed:   {problem.TokenMalformed, "This is not an API token: it is mistyped, truncated or not from this site."},
	auth.ErrTokenUnknown:     {problem.TokenUnknown, "The token has expired, was revoked or was never valid. Create a new one."},
	auth.ErrTokenInvalidated: {problem.TokenDead, "The account's password was changed or all its sessions were ended after the token was created. Create a new one."},
	auth.ErrUserDisabled:     {problem.UserDisabled, "The token's account is disabled. Ask an administrator."},
}

const bearerChallenge = `Bearer realm="Gatehouse"`

// challenge adds WWW-Authenticate (RFC 9110, section 11.6.1). It does not offer Basic to scripts in a browser, which
// would open a password dialog over the page.
func challenge(h http.Header, req *http.Request, code problem.Code) {
	if mode := req.Header.Get("Sec-Fetch-Mode"); mode == "" || mode == "navigate" {
		h.Add("WWW-Authenticate", `Basic realm="Gatehouse", charset="UTF-8"`)
	}
	bearer := bearerChallenge
	if strings.HasPrefix(code.String(), "token_") || code == problem.UserDisabled {
		bearer += `, error="invalid_token"` // RFC 6750, 3.1
	}
	h.Add("WWW-Authenticate", bearer)
}
