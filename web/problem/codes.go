package problem

import (
	"net/http"
	"slices"
)

// Code is the part of an error that programs act on. Other packages cannot make one, so that every code that can be sent
// is declared below and documented in docs/api.md and docs/openapi.json; a test compares them.
type Code struct{ name string }

var declared []string

func declare(name string) Code {
	declared = append(declared, name)
	return Code{name}
}

// Codes returns the names of all codes, sorted.
func Codes() []string { return slices.Sorted(slices.Values(declared)) }

func (c Code) String() string { return c.name }

// MarshalText implements encoding.TextMarshaler.
func (c Code) MarshalText() ([]byte, error) { return []byte(c.name), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (c *Code) UnmarshalText(text []byte) error {
	c.name = string(text)
	return nil
}

// Codes of requests that cannot be read.
var (
	Unreadable         = declare("bad_request")
	MalformedJSON      = declare("malformed_json")
	BadLimit           = declare("bad_limit")
	SeveralCredentials = declare("several_credentials")
	MalformedBasic     = declare("malformed_basic")
	TokenFromToken     = declare("token_from_token")
	NoCurrentToken     = declare("no_current_token")
)

// Codes of authentication.
var (
	CredentialsNeeded = declare("credentials_needed")
	WrongCredentials  = declare("wrong_credentials")
	UnknownScheme     = declare("unknown_scheme")
	TokenMalformed    = declare("token_malformed")
	TokenUnknown      = declare("token_unknown")
	TokenDead         = declare("token_dead")
	UserDisabled      = declare("user_disabled")
)

// Codes of authorization.
var (
	MissingPermission = declare("missing_permission")
	MissingGroup      = declare("missing_group")
	TokenLimited      = declare("token_limited")
)

// Codes of forward auth. They are caused by the proxy's configuration.
var (
	MalformedQuery   = declare("malformed_query")
	UnknownParameter = declare("unknown_parameter")
	UnknownHeader    = declare("unknown_header")
	BadPermission    = declare("bad_permission")
	BadGroup         = declare("bad_group")
	MisspelledPath   = declare("misspelled_path")
	AmbiguousPath    = declare("ambiguous_path")
)

// Codes of requests that were read and cannot be carried out.
var (
	Invalid       = declare("invalid")
	TooManyTokens = declare("too_many_tokens")
	Maintenance   = declare("maintenance")
)

// Codes that say no more than their status.
var (
	forbidden            = declare("forbidden")
	notFound             = declare("not_found")
	methodNotAllowed     = declare("method_not_allowed")
	timeout              = declare("timeout")
	tooLarge             = declare("too_large")
	unsupportedMediaType = declare("unsupported_media_type")
	throttled            = declare("throttled")
	internal             = declare("internal")
	unavailable          = declare("unavailable")
)

var byStatus = map[int]Code{
	http.StatusBadRequest:            Unreadable,
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
