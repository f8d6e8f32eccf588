// Package problem has the errors of the API (RFC 9457): a status, a code for programs and a sentence for people. All codes
// that the API can send are declared here. It does not know how errors arise or how they are sent.
package problem

import "net/http"

// Document is the body of an error response, sent as application/problem+json.
type Document struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail,omitempty"`
	Code   Code   `json:"code"`
	// Errors maps the fields of the request to what is wrong with them.
	Errors    map[string]string `json:"errors,omitempty"`
	RequestID string            `json:"request_id,omitempty"`
}

// Error is an error with its own code and detail.
type Error struct {
	Status int
	Code   Code
	Detail string
}

func (e Error) Error() string { return string(e.Code) }

// BadRequest returns a 400: the request cannot be read.
func BadRequest(code Code, detail string) error { return Error{http.StatusBadRequest, code, detail} }

// Unauthorized returns a 401: the request has no valid credentials.
func Unauthorized(code Code, detail string) error {
	return Error{http.StatusUnauthorized, code, detail}
}

// Code is the part of an error that programs act on. Each is documented in docs/api.md and docs/openapi.json.
type Code string

// Codes of requests that cannot be read.
const (
	Unreadable         Code = "bad_request"
	MalformedJSON      Code = "malformed_json"
	BadLimit           Code = "bad_limit"
	SeveralCredentials Code = "several_credentials"
	MalformedBasic     Code = "malformed_basic"
	TokenFromToken     Code = "token_from_token"
	NoCurrentToken     Code = "no_current_token"
)

// Codes of authentication.
const (
	CredentialsNeeded Code = "credentials_needed"
	WrongCredentials  Code = "wrong_credentials"
	UnknownScheme     Code = "unknown_scheme"
	TokenMalformed    Code = "token_malformed"
	TokenUnknown      Code = "token_unknown"
	TokenDead         Code = "token_dead"
	UserDisabled      Code = "user_disabled"
)

// Codes of authorization.
const (
	MissingPermission Code = "missing_permission"
	MissingGroup      Code = "missing_group"
	TokenLimited      Code = "token_limited"
)

// Codes of forward auth: the proxy's own configuration is at fault.
const (
	MalformedQuery   Code = "malformed_query"
	UnknownParameter Code = "unknown_parameter"
	UnknownHeader    Code = "unknown_header"
	BadPermission    Code = "bad_permission"
	BadGroup         Code = "bad_group"
	MisspelledPath   Code = "misspelled_path"
	AmbiguousPath    Code = "ambiguous_path"
)

// Codes of everything else.
const (
	Invalid       Code = "invalid"
	TooManyTokens Code = "too_many_tokens"
	Maintenance   Code = "maintenance"
)

// Codes of a status alone.
const (
	unauthorized         Code = "unauthorized"
	forbidden            Code = "forbidden"
	notFound             Code = "not_found"
	methodNotAllowed     Code = "method_not_allowed"
	timeout              Code = "timeout"
	tooLarge             Code = "too_large"
	unsupportedMediaType Code = "unsupported_media_type"
	throttled            Code = "throttled"
	internal             Code = "internal"
	unavailable          Code = "unavailable"
	other                Code = "error"
)

var byStatus = map[int]Code{
	http.StatusBadRequest:            Unreadable,
	http.StatusUnauthorized:          unauthorized,
	http.StatusForbidden:             forbidden,
	http.StatusNotFound:              notFound,
	http.StatusMethodNotAllowed:      methodNotAllowed,
	http.StatusRequestTimeout:        timeout,
	http.StatusRequestEntityTooLarge: tooLarge,
	http.StatusUnsupportedMediaType:  unsupportedMediaType,
	http.StatusUnprocessableEntity:   Invalid,
	http.StatusTooManyRequests:       throttled,
	http.StatusInternalServerError:   internal,
	http.StatusServiceUnavailable:    unavailable,
}

// New returns the document of a status, with the code of the status alone.
func New(status int) Document {
	code, ok := byStatus[status]
	if !ok {
		code = other
	}
	return Document{Type: "about:blank", Title: http.StatusText(status), Status: status, Code: code}
}
