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

// retryUnavailable is when to try again after a server behind us did not answer.
const retryUnavailable = 5 * time.Second

// retryBusy is when the queue of sign-ins has probably moved.
const retryBusy = 3 * time.Second

// answerError is the one place where an error becomes a page. What it was stands in the log;
// people read what it means for them.
func (s *Server) answerError(c echo.Context, err error) {
	status, retry := classify(err)
	s.logError(c, status, err)
	if c.Response().Committed {
		return // a response was begun; a second one would only garble it
	}
	if errors.Is(err, context.Canceled) && c.Request().Context().Err() != nil {
		// Who has only shut their sending half reads on: without a status it would be a 200.
		_ = write(c, statusClientGone, "", nil)
		return
	}
	if retry > 0 {
		c.Response().Header().Set("Retry-After", strconv.Itoa(seconds(retry)))
	}
	if err := s.writeError(c, err, status, retry); err != nil && !errors.Is(err, errClientGone) {
		s.Log.ErrorContext(c.Request().Context(), "the error page failed", "error", err)
		_ = write(c, http.StatusInternalServerError, "text/plain; charset=utf-8", []byte("Something went wrong. Please try again.\n"))
	}
}

// writeError tells a program by a problem and people by a page.
func (s *Server) writeError(c echo.Context, err error, status int, retry time.Duration) error {
	visitor := c.Get(visitorKey) != nil
	if isAPI(c.Request().URL.Path) && !visitor {
		return s.writeProblem(c, err, status, retry)
	}
	page := errorPage(status)
	page.Path, page.AssetLinks = c.Request().URL.Path, s.assetLinks
	page.RequestID = logging.RequestID(c.Request().Context())
	what, name := missing(err)
	switch what {
	case "permission":
		page.Heading, page.Do = "Not for this account", "Ask an administrator if you should have it."
		page.What = "This page needs the permission " + name + ", which your account does not have."
		page.Title = "Error: " + page.Heading
	case "group":
		page.Heading, page.Do = "Not for this account", "Ask an administrator if you should be in it."
		page.What = "This page is for members of the group " + name + "."
		page.Title = "Error: " + page.Heading
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
		describe(&page, closed)
	}
	sayWhatIsKnown(&page, outcomeOf(c))
	if visitor {
		return s.writeVisitorPage(c, page, what != "")
	}
	if maintenance {
		return s.writeMaintenance(c, closed, page)
	}
	return s.writeErrorPage(c, page)
}

// changeOutcome is what is known about the change that a failed request asked for.
type changeOutcome int

const (
	// noChange: the request asked for none.
	noChange changeOutcome = iota
	notAttempted
	// maybeMade: it was attempted, and whether it holds only the store knows.
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
	maybeSaved        = "Your change may have been saved. Check before you repeat it."
)

// sayWhatIsKnown says of a change that it was not made, or that it may have been, and nothing of
// one to a person who only opened a page.
func sayWhatIsKnown(p *templates.ErrorPage, o changeOutcome) {
	unavailable := p.Status == http.StatusServiceUnavailable
	switch {
	case o == noChange && unavailable:
		p.Lost = signInNotAffected
	case o == noChange && p.Status == http.StatusInternalServerError:
		p.Lost = ""
	case o == maybeMade, o == notAttempted && p.Status == http.StatusInternalServerError:
		// Of an error that was not expected nobody knows when it happened.
		p.Lost, p.RetryAfter = maybeSaved, 0
	case unavailable:
		p.Lost = nothingSaved
	}
	if unavailable && o != noChange {
		p.Do = "" // the page does not load again by itself
	}
}

// statusClientGone is nginx's status for a client that left; hardly anybody reads it but the log.
const statusClientGone = 499

func (s *Server) writeErrorPage(c echo.Context, page templates.ErrorPage) error {
	r := &Request{server: s, echo: c, ctx: c.Request().Context(), stats: reqstats.FromContext(c.Request().Context())}
	// Whoever is signed in keeps the way to their pages and to sign out. It is not worth a second
	// error, another question to a store that has just not answered, or one for a request
	// that was refused at the door.
	if page.Status < 500 && c.Request().Method == http.MethodGet && s.identify(r) == nil {
		page.User = r.user
	}
	return s.send(r, Show(page.Status, templates.Error(page)))
}

// classify returns the status of an error, and when trying again makes sense.
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

// errorPage returns the words for a status.
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
		"That request was not understood",
		"Part of what the browser sent was damaged or missing.",
		"Nothing was changed.",
		"Go back, load the page again and repeat what you did.",
	},
	http.StatusForbidden: {
		"Not allowed from there",
		"The request did not come from a page of this site, or this account may not do that.",
		"Nothing was changed.",
		"Open the page here and do it again from there.",
	},
	http.StatusNotFound: {
		"Page not found",
		"There is nothing at this address.",
		"",
		"Check the address for a typing error, or begin at the start page.",
	},
	http.StatusMethodNotAllowed: {
		"That does not work this way",
		"This address can't be used in the way the browser tried, for example by opening a link that only a button may use.",
		"Nothing was changed.",
		"Begin at the start page and use the button there.",
	},
	http.StatusRequestTimeout: {
		"That took too long",
		"The rest of what your browser was sending did not arrive in time.",
		"Nothing was saved.",
		"Check your connection, then go back and send it again.",
	},
	http.StatusRequestEntityTooLarge: {
		"Too much at once",
		"What was sent is larger than 64 KiB, or has more than 1,024 fields, the most that this site accepts.",
		"Nothing was saved.",
		"Go back, shorten it and send it again.",
	},
	http.StatusUnsupportedMediaType: {
		"That format is not read here",
		"The form was sent in a format that this page does not read.",
		"Nothing was changed.",
		"Load the page again and send the form from there.",
	},
	http.StatusUnprocessableEntity: {
		"Something needs to be corrected",
		"Part of what was entered can't be used as it is.",
		"Nothing was saved.",
		"Go back, correct it and send it again.",
	},
	http.StatusTooManyRequests: {
		"Too many tries",
		"There were too many tries from here or for this account, so it is slowed down for a while.",
		"Nothing was changed. Sessions that are signed in stay signed in.",
		"Wait for a moment, then try again.",
	},
	http.StatusInternalServerError: {
		"Something went wrong",
		"The mistake is ours, and it has been written down.",
		maybeSaved,
		"Try again. If it happens again, tell the people who run this site the request id below.",
	},
	http.StatusServiceUnavailable: {
		"Back in a moment",
		"Part of this site isn't responding right now.",
		signInNotAffected,
		"You don't need to do anything.",
	},
}
