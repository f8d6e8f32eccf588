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

// Methods of signing in, as answers and logs name them.
const (
	BySession = "session"
	ByBasic   = "basic"
	ByToken   = "token"
)

// identifyAPI finds out who asks on a route for programs: whoever the Authorization header
// names, and the session only without one. The error is a challenge when it is nobody.
func (s *Server) identifyAPI(r *Request) error {
	headers := r.echo.Request().Header.Values("Authorization")
	switch len(headers) {
	case 0:
		return s.identify(r)
	case 1:
		return s.authenticateHeader(r, headers[0])
	}
	return problem.BadRequest(problem.SeveralCredentials, "The request has more than one Authorization header; send one.")
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
	return problem.Unauthorized(problem.UnknownScheme, "The Authorization header names a scheme other than Basic, Bearer and Token.")
}

func (s *Server) authenticateBasic(r *Request, credentials string) error {
	login, password, err := parseBasic(credentials)
	if err != nil {
		return err
	}
	u, err := s.Accounts.AuthenticateBasic(r.ctx, login, password, r.Visitor())
	s.Metrics.CountSignIn(ByBasic, err)
	if errors.Is(err, auth.ErrWrongCredentials) {
		return problem.Unauthorized(problem.WrongCredentials, "User name or password is wrong, or the account is disabled.")
	}
	if err != nil {
		return err
	}
	r.signedIn(u, ByBasic, u.Permissions)
	return nil
}

// parseBasic reads the credentials of RFC 7617 in UTF-8: the password may contain colons.
func parseBasic(credentials string) (login, password string, err error) {
	malformed := problem.BadRequest(problem.MalformedBasic, "The credentials of Basic are the base64 of name:password in UTF-8.")
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

// maxBasic is in octets of base64; the longest name and password fit four times.
const maxBasic = 8 << 10

func (s *Server) authenticateToken(r *Request, secret string) error {
	u, t, err := s.Accounts.AuthenticateToken(r.ctx, secret)
	s.Metrics.CountSignIn(ByToken, err)
	for reason, say := range tokenRefusals {
		if errors.Is(err, reason) {
			return problem.Unauthorized(say.code, say.detail)
		}
	}
	if err != nil {
		return err
	}
	r.signedIn(u, ByToken, u.Permissions)
	r.token = &t
	return nil
}

// tokenRefusals are what an API client can act on. Who has the token may know.
var tokenRefusals = map[error]struct {
	code   problem.Code
	detail string
}{
	auth.ErrTokenMalformed:   {problem.TokenMalformed, "This is not an API token: it is mistyped, cut or from somewhere else."},
	auth.ErrTokenUnknown:     {problem.TokenUnknown, "The token is expired, revoked or was never valid. Get a new one."},
	auth.ErrTokenInvalidated: {problem.TokenDead, "The account's password was changed or all its sessions were ended after the token was made. Get a new one."},
	auth.ErrUserDisabled:     {problem.UserDisabled, "The account that the token belongs to is disabled. Ask an administrator."},
}

const bearerChallenge = `Bearer realm="Gatehouse"`

// challenge adds WWW-Authenticate (RFC 9110, 11.6.1). A script in a browser is not offered
// Basic: the browser would open its own password window over our page.
func challenge(h http.Header, req *http.Request, code problem.Code) {
	if mode := req.Header.Get("Sec-Fetch-Mode"); mode == "" || mode == "navigate" {
		h.Add("WWW-Authenticate", `Basic realm="Gatehouse", charset="UTF-8"`)
	}
	bearer := bearerChallenge
	if strings.HasPrefix(string(code), "token_") || code == problem.UserDisabled {
		bearer += `, error="invalid_token"` // RFC 6750, 3.1
	}
	h.Add("WWW-Authenticate", bearer)
}
