package web

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"github.com/labstack/echo/v4"

	"gatehouse/auth"
	"gatehouse/internal/reqstats"
	"gatehouse/templates"
	"gatehouse/web/logging"
	"gatehouse/web/problem"
)

// retryUnavailable is the Retry-After of a response for which Redis or the database was unavailable.
const retryUnavailable = 5 * time.Second

// retryBusy is the Retry-After when too many passwords are being hashed.
const retryBusy = 3 * time.Second

// answerError turns every error into a response. The log has the error itself; the page says what it means for the user.
func (s *Server) answerError(c echo.Context, err error) {
	status, retry := classify(err)
	s.logError(c, status, err)
	if c.Response().Committed {
		return // the response has started; a second one would corrupt it
	}
	if errors.Is(err, context.Canceled) && c.Request().Context().Err() != nil {
		// A client that closed only its sending half still reads: without a status it would get a 200.
		_ = write(c, statusClientGone, "", nil)
		return
	}
	if retry > 0 {
		c.Response().Header().Set("Retry-After", strconv.Itoa(seconds(retry)))
	}
	if err := s.writeError(c, err, status, retry); err != nil && !errors.Is(err, errClientGone) {
		s.Log.ErrorContext(c.Request().Context(), "cannot write the error page", "error", err)
		_ = write(c, http.StatusInternalServerError, "text/plain; charset=utf-8", []byte("Something went wrong on our side. Try again.\n"))
	}
}

// writeError answers API requests with a problem (RFC 9457), and all others with a page.
func (s *Server) writeError(c echo.Context, err error, status int, retry time.Duration) error {
	visitor := c.Get(visitorKey) != nil
	if isAPI(c.Request().URL.Path) && !visitor {
		return s.writeProblem(c, err, status, retry)
	}
	page := errorPage(status)
	page.Path, page.AssetLinks = c.Request().URL.Path, s.assetLinks
	page.RequestID = logging.RequestID(c.Request().Context())
	what, name := missing(err)
	if what != "" {
		describeNoAccess(&page, what, name)
	}
	if retry > 0 {
		page.RetryAfter = seconds(retry)
		page.RetryIn = FormatDuration(retry)
		if c.Request().Method == http.MethodGet {
			page.Refresh = page.RetryAfter
		}
	}
	var closed underMaintenance
	maintenance := errors.As(err, &closed)
	if maintenance {
		describeMaintenance(&page, closed)
	}
	describeOutcome(&page, outcomeOf(c))
	if visitor {
		return s.writeVisitorPage(c, page, what != "")
	}
	if maintenance {
		return s.writeMaintenance(c, closed, page)
	}
	return s.writeErrorPage(c, page)
}

// describeNoAccess explains that the user lacks a permission or is not in a group.
func describeNoAccess(page *templates.ErrorPage, what, name string) {
	page.Heading, page.Do = "You don't have access", "Need it? Ask an administrator."
	page.Title = "Error: " + page.Heading
	page.What = "This page requires the permission " + name + "."
	if what == "group" {
		page.What = "This page is for members of the group " + name + "."
	}
}

// changeOutcome says whether a failed request made its change.
type changeOutcome int

const (
	// noChange: the request changes nothing.
	noChange changeOutcome = iota
	notAttempted
	// maybeMade: it was attempted, and only the store knows whether it succeeded.
	maybeMade
)

func outcomeOf(c echo.Context) changeOutcome {
	req := c.Request()
	switch {
	case req.Method == http.MethodGet || req.Method == http.MethodHead:
		return noChange
	case reqstats.FromContext(req.Context()).ChangeAttempted():
		return maybeMade
	}
	return notAttempted
}

const (
	signInNotAffected = "Your sign-in is not affected."
	nothingSaved      = "Nothing was saved, and your sign-in is not affected."
	maybeSaved        = "Your change may have been saved. Check before you try again."
)

// describeOutcome says whether a change was made, as far as that is known. It does not mention changes to users who
// only opened a page.
func describeOutcome(p *templates.ErrorPage, o changeOutcome) {
	unavailable := p.Status == http.StatusServiceUnavailable
	switch {
	case o == noChange && unavailable:
		p.Lost = signInNotAffected
	case o == noChange:
		p.Lost = ""
	case o == maybeMade, o == notAttempted && p.Status == http.StatusInternalServerError:
		// An unexpected error may have happened before or after the change.
		p.Lost, p.RetryAfter = maybeSaved, 0
	case unavailable:
		p.Lost = nothingSaved
	}
	if unavailable && o != noChange {
		p.Do = "" // the page does not reload automatically
	}
}

// statusClientGone is the status that nginx logs when the client closes the connection.
const statusClientGone = 499

func (s *Server) writeErrorPage(c echo.Context, page templates.ErrorPage) error {
	r := s.newRequest(c)
	// Signed-in users keep their navigation and can sign out. That is not worth a second error, another call to a store
	// that has just failed, or a lookup for a request that was rejected early.
	if page.Status < 500 && c.Request().Method == http.MethodGet && s.identify(r) == nil {
		page.User = r.user
	}
	return s.send(r, Show(page.Status, templates.Error(page)))
}

// classify returns the status of an error, and when to retry (0 for never).
func classify(err error) (status int, retry time.Duration) {
	var (
		throttled auth.ThrottledError
		invalid   auth.ValidationErrors
		tooLarge  *http.MaxBytesError
		httpError *echo.HTTPError
		own       problem.Error
		missing   missingPermission
		group     missingGroup
		closed    underMaintenance
	)
	switch {
	case errors.As(err, &own):
		return own.Status, 0
	case errors.As(err, &missing), errors.As(err, &group):
		return http.StatusForbidden, 0
	case errors.As(err, &closed):
		return http.StatusServiceUnavailable, retryMaintenance
	case errors.Is(err, auth.ErrTooManyTokens):
		return http.StatusUnprocessableEntity, 0
	case errors.As(err, &throttled):
		return http.StatusTooManyRequests, throttled.RetryAfter
	case errors.Is(err, auth.ErrBusy):
		return http.StatusServiceUnavailable, retryBusy
	case errors.Is(err, auth.ErrUnavailable), errors.Is(err, context.DeadlineExceeded):
		return http.StatusServiceUnavailable, retryUnavailable
	case errors.As(err, &tooLarge):
		return http.StatusRequestEntityTooLarge, 0
	case errors.As(err, &invalid):
		return http.StatusUnprocessableEntity, 0
	case errors.Is(err, auth.ErrNotFound):
		return http.StatusNotFound, 0
	case errors.As(err, &httpError):
		return httpError.Code, 0
	}
	return http.StatusInternalServerError, 0
}

func (s *Server) logError(c echo.Context, status int, err error) {
	level := slog.LevelDebug
	switch {
	case errors.Is(err, errClientGone), errors.Is(err, context.Canceled), errors.As(err, new(underMaintenance)):
	case status >= 500:
		level = slog.LevelError
	case status == http.StatusForbidden:
		level = slog.LevelWarn
	}
	s.Log.Log(c.Request().Context(), level, "request failed", "status", status, "error", err)
}

// errorPage returns the page for a status.
func errorPage(status int) templates.ErrorPage {
	w, ok := errorCopies[status]
	if !ok {
		w = errorCopies[http.StatusInternalServerError]
		if status < 500 {
			w = errorCopies[http.StatusBadRequest]
		}
	}
	return templates.ErrorPage{
		Page:    templates.Page{Title: fmt.Sprintf("Error: %s", w.heading)},
		Status:  status,
		Heading: w.heading, What: w.what, Lost: w.lost, Do: w.do,
	}
}

type errorCopy struct{ heading, what, lost, do string }

var errorCopies = map[int]errorCopy{
	http.StatusBadRequest: {
		"We couldn't understand that request",
		"Part of what your browser sent was damaged or missing.",
		"Nothing was changed.",
		"Go back, reload the page and try again.",
	},
	http.StatusForbidden: {
		"Request blocked",
		"The request didn't come from a page of this site, or your account isn't allowed to make it.",
		"Nothing was changed.",
		"Open the page on this site and try again from there.",
	},
	http.StatusNotFound: {
		"Page not found",
		"There is nothing at this address.",
		"",
		"Check the address for typos, or go to the home page.",
	},
	http.StatusMethodNotAllowed: {
		"This page can't be opened directly",
		"This address only works when a button or form on this site sends you there.",
		"Nothing was changed.",
		"Go to the home page and use the button there.",
	},
	http.StatusRequestTimeout: {
		"That took too long",
		"Your browser didn't finish sending the request in time.",
		"Nothing was saved.",
		"Check your connection, then go back and send it again.",
	},
	http.StatusRequestEntityTooLarge: {
		"That's too large",
		"The request is larger than 64 KiB or has more than 1,024 fields, which is the most that this site accepts.",
		"Nothing was saved.",
		"Go back, shorten it and send it again.",
	},
	http.StatusUnsupportedMediaType: {
		"Unsupported format",
		"The form was sent in a format that this page doesn't accept.",
		"Nothing was changed.",
		"Reload the page and send the form from there.",
	},
	http.StatusUnprocessableEntity: {
		"Check what you entered",
		"Some of what you entered isn't valid.",
		"Nothing was saved.",
		"Go back, correct it and send it again.",
	},
	http.StatusTooManyRequests: {
		"Too many attempts",
		"There have been too many attempts from here or for this account, so further attempts are blocked for a while.",
		"Nothing was changed, and you stay signed in wherever you are signed in.",
		"Wait a moment, then try again.",
	},
	http.StatusInternalServerError: {
		"Unexpected error",
		"Something went wrong on our side. We've logged it.",
		maybeSaved,
		"Try again. If it keeps happening, send the request ID below to the people who run this site.",
	},
	http.StatusServiceUnavailable: {
		"Back in a moment",
		"Part of this site isn't responding.",
		signInNotAffected,
		"You don't need to do anything.",
	},
}
