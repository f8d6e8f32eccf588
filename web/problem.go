package web

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"gatehouse/auth"
	"gatehouse/templates"
)

// Problem is an error of the API (RFC 9457). Code is for programs, Detail for people.
type Problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail,omitempty"`
	Code   string `json:"code"`
	// Errors maps the fields of the request to what is wrong with them.
	Errors    map[string]string `json:"errors,omitempty"`
	RequestID string            `json:"request_id,omitempty"`
}

// problem is an error with the words for an API client.
type problem struct {
	status       int
	code, detail string
}

func (p problem) Error() string { return p.code }

func badRequest(code, detail string) error {
	return problem{http.StatusBadRequest, code, detail}
}

func unauthorized(code, detail string) error {
	return problem{http.StatusUnauthorized, code, detail}
}

// BadRequest says that what a program sent cannot be read.
func BadRequest(code, detail string) error { return badRequest(code, detail) }

// Unauthorized says that a program has not shown who it is.
func Unauthorized(code, detail string) error { return unauthorized(code, detail) }

// missingPermission is a 403 that says which permission it would take.
type missingPermission string

func (m missingPermission) Error() string { return "permission " + string(m) + " is missing" }

// isAPI reports whether errors of the path are problems rather than pages.
func isAPI(path string) bool {
	return strings.HasPrefix(path, "/api/") || strings.HasPrefix(path, "/auth/")
}

// newProblem returns the words for an error of the API.
func newProblem(err error, status int) Problem {
	p := Problem{Type: "about:blank", Title: http.StatusText(status), Status: status, Code: problemCodes[status]}
	if p.Code == "" {
		p.Code = "error"
	}
	var (
		said    problem
		missing missingPermission
		group   missingGroup
		closed  underMaintenance
		wrong   auth.ValidationErrors
	)
	switch {
	case errors.As(err, &said):
		p.Code, p.Detail = said.code, said.detail
	case errors.As(err, &closed):
		p.Code, p.Detail = "maintenance", strings.TrimSpace("This site is being worked on. "+closed.Message)
	case errors.As(err, &missing):
		p.Code = "missing_permission"
		p.Detail = fmt.Sprintf("This needs the permission %s.", string(missing))
	case errors.As(err, &group):
		p.Code = "missing_group"
		p.Detail = fmt.Sprintf("This is for members of the group %s.", string(group))
	case errors.As(err, &wrong):
		p.Code, p.Errors, p.Detail = "invalid", wrong, "Some fields have to be corrected."
	case errors.Is(err, auth.ErrTooManyTokens):
		p.Code, p.Detail = "too_many_tokens", fmt.Sprintf("There are %d tokens already; revoke one first.", auth.MaxTokens)
	default:
		w := errorCopies[status]
		p.Detail = w.what
	}
	return p
}

var problemCodes = map[int]string{
	http.StatusBadRequest:            "bad_request",
	http.StatusUnauthorized:          "unauthorized",
	http.StatusForbidden:             "forbidden",
	http.StatusNotFound:              "not_found",
	http.StatusMethodNotAllowed:      "method_not_allowed",
	http.StatusRequestTimeout:        "timeout",
	http.StatusRequestEntityTooLarge: "too_large",
	http.StatusUnsupportedMediaType:  "unsupported_media_type",
	http.StatusUnprocessableEntity:   "invalid",
	http.StatusTooManyRequests:       "throttled",
	http.StatusInternalServerError:   "internal",
	http.StatusServiceUnavailable:    "unavailable",
}

func (s *Server) writeProblem(c echo.Context, err error, status int, retry time.Duration) error {
	p := newProblem(err, status)
	var closed underMaintenance
	if o := outcomeOf(c); status >= 500 && !errors.As(err, &closed) {
		page := templates.ErrorPage{Status: status}
		sayWhatIsKnown(&page, o)
		if o != noChange {
			p.Detail = strings.TrimSpace(p.Detail + " " + page.Lost)
		}
	}
	p.RequestID = requestIDFrom(c.Request().Context())
	h := c.Response().Header()
	if status == http.StatusUnauthorized {
		challenge(h, c.Request(), p.Code)
	}
	if retry > 0 {
		p.Detail = strings.TrimSpace(p.Detail + " Try again in " + FormatDuration(retry) + ".")
	}
	b, err := json.Marshal(p)
	if err != nil {
		return err
	}
	return write(c, status, "application/problem+json", append(b, '\n'))
}
