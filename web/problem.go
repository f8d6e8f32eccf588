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
	"gatehouse/web/logging"
	"gatehouse/web/problem"
)

// missingPermission is the 403 of a request that lacks a permission.
type missingPermission string

func (m missingPermission) Error() string { return "permission " + string(m) + " is missing" }

// missingGroup is the 403 of a request that lacks a group.
type missingGroup string

func (m missingGroup) Error() string { return "not in the group " + string(m) }

// missing returns what a 403 is about, "permission" or "group", and its name.
func missing(err error) (what, name string) {
	var (
		permission missingPermission
		group      missingGroup
	)
	switch {
	case errors.As(err, &permission):
		return "permission", string(permission)
	case errors.As(err, &group):
		return "group", string(group)
	}
	return "", ""
}

// isAPI reports whether errors of the path are problems rather than pages.
func isAPI(path string) bool {
	return strings.HasPrefix(path, "/api/") || strings.HasPrefix(path, "/auth/")
}

// newProblem returns the document for an error of the API.
func newProblem(err error, status int) problem.Document {
	p := problem.New(status)
	var (
		own     problem.Error
		closed  underMaintenance
		invalid auth.ValidationErrors
	)
	what, name := missing(err)
	switch {
	case errors.As(err, &own):
		p.Code, p.Detail = own.Code, own.Detail
	case errors.As(err, &closed):
		p.Code, p.Detail = problem.Maintenance, strings.TrimSpace("This site is down for maintenance. "+closed.Message)
	case what == "permission":
		p.Code, p.Detail = problem.MissingPermission, fmt.Sprintf("This needs the permission %s.", name)
	case what == "group":
		p.Code, p.Detail = problem.MissingGroup, fmt.Sprintf("This is for members of the group %s.", name)
	case errors.As(err, &invalid):
		p.Code, p.Errors, p.Detail = problem.Invalid, invalid, "Some fields are invalid."
	case errors.Is(err, auth.ErrTooManyTokens):
		p.Code, p.Detail = problem.TooManyTokens, fmt.Sprintf("You already have %d tokens. Revoke one first.", auth.MaxTokens)
	default:
		p.Detail = errorCopies[status].what
	}
	return p
}

func (s *Server) writeProblem(c echo.Context, err error, status int, retry time.Duration) error {
	p := newProblem(err, status)
	var closed underMaintenance
	if o := outcomeOf(c); status >= 500 && !errors.As(err, &closed) {
		page := templates.ErrorPage{Status: status}
		describeOutcome(&page, o)
		if o != noChange {
			p.Detail = strings.TrimSpace(p.Detail + " " + page.Lost)
		}
	}
	p.RequestID = logging.RequestID(c.Request().Context())
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
