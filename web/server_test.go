package web

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/a-h/templ"
	"github.com/labstack/echo/v4"

	"gatehouse/auth"
	"gatehouse/templates"
)

func TestClassify_MapsErrorsToStatuses(t *testing.T) {
	for _, c := range []struct {
		err    error
		status int
		retry  time.Duration
	}{
		{errors.New("x"), 500, 0},
		{auth.ThrottledError{RetryAfter: 7 * time.Second}, 429, 7 * time.Second},
		{auth.ErrBusy, 503, retryBusy},
		{auth.ErrUnavailable, 503, retryUnavailable},
		{context.DeadlineExceeded, 503, retryUnavailable},
		{&http.MaxBytesError{Limit: 1}, 413, 0},
		{auth.ValidationErrors{"a": "b"}, 422, 0},
		{auth.ErrNotFound, 404, 0},
		{echo.ErrMethodNotAllowed, 405, 0},
		{echo.NewHTTPError(http.StatusForbidden), 403, 0},
		{auth.ErrWrongCredentials, 500, 0}, // handlers answer this one themselves
		{context.Canceled, 500, 0},
	} {
		for _, err := range []error{c.err, fmt.Errorf("outer: %w", c.err), errors.Join(c.err, errors.New("another"))} {
			if status, retry := classify(err); status != c.status || retry != c.retry {
				t.Errorf("classify(%v) = %d, %s; want %d, %s", err, status, retry, c.status, c.retry)
			}
		}
	}
	// A failed refund does not hide the reason for the refusal.
	if status, _ := classify(errors.Join(auth.ErrBusy, errDown)); status != 503 {
		t.Errorf("got %d", status)
	}
}

func TestErrorPage_ExplainsEveryStatus(t *testing.T) {
	var fail error
	s := newSite(t, []Route{
		Get("/fail", Open, func(*Request) (Response, error) { return Response{}, fail }),
		Post("/form", Open, func(r *Request) (Response, error) {
			form, err := r.Form()
			return Text(http.StatusOK, "read "+form.Get("a")), err
		}),
	})
	const form = "application/x-www-form-urlencoded"
	failing := func(err error) func() int {
		return func() int {
			fail = err
			w := s.do("GET", "/fail")
			wantErrorPage(t, w, w.Code)
			if strings.Contains(w.Body.String(), "hunter2") || strings.Contains(w.Body.String(), "10.9.8.7") {
				t.Errorf("the page reveals %v: %s", err, w.Body)
			}
			return w.Code
		}
	}
	requesting := func(method, path string, change ...func(*http.Request)) func() int {
		return func() int {
			w := s.do(method, path, change...)
			wantErrorPage(t, w, w.Code)
			return w.Code
		}
	}
	for name, c := range map[string]struct {
		status int
		ask    func() int
	}{
		"damaged form":       {400, requesting("POST", "/form", body(form, "a=%zz"))},
		"foreign page":       {403, requesting("POST", "/form", header("Origin", "https://evil.example"))},
		"nothing there":      {404, requesting("GET", "/nowhere")},
		"no such user":       {404, failing(fmt.Errorf("find: %w", auth.ErrNotFound))},
		"wrong method":       {405, requesting("GET", "/form")},
		"TRACE":              {405, requesting("TRACE", "/fail")},
		"declared too large": {413, requesting("POST", "/form", body(form, "a="+strings.Repeat("x", maxBody)))},
		"too many fields":    {413, requesting("POST", "/form", body(form, formFields(maxFormFields+2)))},
		"too slow a body": {408, requesting("POST", "/form", body(form, ""), func(r *http.Request) {
			r.Body, r.ContentLength = io.NopCloser(iotest.ErrReader(os.ErrDeadlineExceeded)), -1
		})},
		"cut off": {400, requesting("POST", "/form", body(form, ""), func(r *http.Request) {
			r.Body, r.ContentLength = io.NopCloser(iotest.ErrReader(io.ErrUnexpectedEOF)), -1
		})},
		"turns out too large": {413, requesting("POST", "/form", body(form, ""), func(r *http.Request) {
			r.Body = io.NopCloser(strings.NewReader("a=" + strings.Repeat("x", maxBody)))
			r.ContentLength = -1
		})},
		"declared too large, and not read": {413, requesting("GET", "/fail", body(form, strings.Repeat("x", maxBody+1)))},
		"JSON":                             {415, requesting("POST", "/form", body("application/json", "{}"))},
		"no type":                          {415, requesting("POST", "/form", body("", "a=b"))},
		"garbage type":                     {415, requesting("POST", "/form", body(";;;", "a=b"))},
		"invalid":                          {422, failing(auth.ValidationErrors{"name": "hunter2"})},
		"throttled":                        {429, failing(auth.ThrottledError{RetryAfter: time.Second})},
		"unexpected":                       {500, failing(errSecret)},
		"unavailable":                      {503, failing(fmt.Errorf("%w: %w", auth.ErrUnavailable, errSecret))},
		"busy":                             {503, failing(auth.ErrBusy)},
		"too slow":                         {503, failing(context.DeadlineExceeded)},
		"strange 4xx":                      {418, nil},
	} {
		if c.ask == nil {
			if got := errorPage(c.status); got.Status != c.status || got.Heading != errorPage(400).Heading {
				t.Errorf("%s: got %+v", name, got)
			}
			continue
		}
		if got := c.ask(); got != c.status {
			t.Errorf("%s: got %d, want %d", name, got, c.status)
		}
	}
	if w := s.do("POST", "/form", body(form+"; charset=utf-8", "a=b")); w.Code != http.StatusOK || w.Body.String() != "read b" {
		t.Errorf("a good form: got %d %q", w.Code, w.Body)
	}
	if w := s.do("POST", "/form?a=query", body(form, "")); w.Body.String() != "read " {
		t.Errorf("a field of the address is read as one of the form: %q", w.Body)
	}
}

func TestErrorPage_DiffersByStatus(t *testing.T) {
	for _, status := range []int{400, 403, 404, 405, 408, 413, 415, 422, 429, 500, 503} {
		p := errorPage(status)
		if p.Status != status || p.Heading == "" || p.What == "" || p.Do == "" || p.Title != "Error: "+p.Heading {
			t.Errorf("%d: got %+v", status, p)
		}
		for other, w := range errorCopies {
			if other != status && w.heading == p.Heading {
				t.Errorf("%d and %d have the same heading", status, other)
			}
		}
	}
	if got := errorPage(599); got.Heading != errorPage(500).Heading {
		t.Errorf("got %+v", got)
	}
}

func TestRetryAfter_IsRoundedUp(t *testing.T) {
	fail := func(*Request) (Response, error) {
		return Response{}, auth.ThrottledError{RetryAfter: 1500 * time.Millisecond}
	}
	s := newSite(t, []Route{Get("/", Open, fail), Post("/", Open, fail), Get("/later", Open, func(*Request) (Response, error) {
		return Text(http.StatusTooManyRequests, "later").After(61*time.Second + 1), nil
	})})
	get, post := s.do("GET", "/"), s.do("POST", "/")
	if get.Header().Get("Retry-After") != "2" || post.Header().Get("Retry-After") != "2" {
		t.Errorf("got Retry-After %q for GET and %q for POST, want 2", get.Header().Get("Retry-After"), post.Header().Get("Retry-After"))
	}
	const refresh = `data-refresh="2"`
	if !strings.Contains(get.Body.String(), refresh) || strings.Contains(post.Body.String(), refresh) {
		t.Error("want a page that reloads itself after GET only")
	}
	if got := s.do("GET", "/later").Header().Get("Retry-After"); got != "62" {
		t.Errorf("Retry-After is %q", got)
	}
}

// Opening the address of a form leads to its page, and a slash too much does not matter.
func TestAddresses_LeadToThePage(t *testing.T) {
	s := newSite(t, []Route{
		Get("/things/:id", Open, showUser), Post("/things/:id/change", SignedIn, showUser).On("/things/:id"), Post("/only", Open, showUser),
	})
	for _, method := range []string{"GET", "HEAD"} {
		for path, want := range map[string]string{
			"/things/7/change": "/things/7", "/things/7/change?a=b": "/things/7", "/things/a.b/change": "/things/a.b",
			"/things/7/": "/things/7", "/things/7/?a=b%2F": "/things/7?a=b%2F",
		} {
			w := s.do(method, path)
			if w.Code != http.StatusSeeOther && w.Code != http.StatusPermanentRedirect || w.Header().Get("Location") != want || len(s.Calls()) != 0 {
				t.Errorf("%s %s: got %d to %q after %q, want %s", method, path, w.Code, w.Header().Get("Location"), s.Calls(), want)
			}
		}
		for _, path := range []string{"//", "//evil.example/", "/things//", "/%2F/", "/things/../", `/\evil.example/`, "/things/7;a/", "/nothing/", "/things/"} {
			if w := s.do(method, "http://example.com"+path); w.Code != http.StatusNotFound {
				t.Errorf("%s %s: got %d to %q", method, path, w.Code, w.Header().Get("Location"))
			}
		}
	}
	if w := s.do("POST", "/things/7/change/"); w.Code != http.StatusNotFound {
		t.Errorf("a POST with a slash too much: %d", w.Code)
	}
	if w := s.do("GET", "/only"); w.Code != http.StatusMethodNotAllowed {
		t.Errorf("a form without a page: %d", w.Code)
	}
}

func TestMethodNotAllowed_NamesAllowedMethods(t *testing.T) {
	s := newSite(t, []Route{Post("/change", Open, showUser), Get("/read", Open, showUser)})
	if got := s.do("GET", "/change").Header().Get("Allow"); !strings.Contains(got, "POST") || strings.Contains(got, "GET") {
		t.Errorf("Allow is %q", got)
	}
	if got := s.do("POST", "/read").Header().Get("Allow"); !strings.Contains(got, "GET") || strings.Contains(got, "POST") {
		t.Errorf("Allow is %q", got)
	}
	if w := s.do("HEAD", "/read"); w.Code != http.StatusOK {
		t.Errorf("HEAD: got %d", w.Code)
	}
	if w := s.do("HEAD", "/change"); w.Code != http.StatusMethodNotAllowed {
		t.Errorf("HEAD of a POST route: got %d", w.Code)
	}
}

// TestResponse_IsSentOnce: a failure after a sign-in results in one response, without a cookie.
func TestResponse_IsSentOnce(t *testing.T) {
	then := func(answer func(*Request) (Response, error)) Route {
		return Post("/", Open, func(r *Request) (Response, error) {
			u, err := r.server.Accounts.Users.UserByID(r.ctx, "u1")
			if err != nil {
				return Response{}, err
			}
			if err := r.SignIn(u, true); err != nil {
				return Response{}, err
			}
			return answer(r)
		})
	}
	for name, c := range map[string]struct {
		status int
		answer func(*Request) (Response, error)
		broken string
	}{
		"the handler fails":  {500, func(*Request) (Response, error) { return SeeOther("/"), errSecret }, ""},
		"the handler panics": {500, func(*Request) (Response, error) { panic("hunter2") }, ""},
		"the page fails":     {500, func(*Request) (Response, error) { return Show(200, brokenPage), nil }, ""},
		"the page panics": {500, func(*Request) (Response, error) {
			return Show(200, templates.Dashboard(templates.DashboardPage{})), nil
		}, ""},
		"no JSON":              {500, func(*Request) (Response, error) { return JSON(200, func() {}), nil }, ""},
		"the commit fails":     {503, func(*Request) (Response, error) { return SeeOther("/"), nil }, "sessions.Commit"},
		"the commit of a page": {503, func(*Request) (Response, error) { return Text(200, "welcome"), nil }, "sessions.Commit"},
		"without Redis":        {503, func(*Request) (Response, error) { return SeeOther("/"), nil }, "sessions."},
		"without the database": {503, func(*Request) (Response, error) { return SeeOther("/"), nil }, "users."},
	} {
		s := newSite(t, []Route{then(c.answer)})
		s.add("u1")
		if c.broken != "" {
			s.FailOn(c.broken, errDown)
		}
		old := fakeToken("B")
		s.put(old, func(*auth.Session) {})
		w := s.do("POST", "/", s.session(old))
		wantErrorPage(t, w, c.status)
		if w.Header().Get("Location") != "" || strings.Contains(w.Body.String(), "welcome") || strings.Contains(w.Body.String(), "hunter2") {
			t.Errorf("%s: got %v %s", name, w.Header(), w.Body)
		}
		if s.Stores.Sessions.Len() > 1 {
			t.Errorf("%s: a session was written", name)
		}
	}
}

func TestPanic_IsLogged(t *testing.T) {
	s := newSite(t, []Route{Get("/", Open, func(*Request) (Response, error) { panic("the reason") })})
	wantErrorPage(t, s.do("GET", "/"), http.StatusInternalServerError)
	log := s.log.String()
	if !strings.Contains(log, "the reason") || !strings.Contains(log, "server_test.go") || strings.Count(log, "\n") != 2 {
		t.Errorf("got the log %s", log)
	}
	s = newSite(t, []Route{Get("/", Open, func(*Request) (Response, error) { panic(http.ErrAbortHandler) })})
	defer func() {
		if p := recover(); p != http.ErrAbortHandler {
			t.Errorf("got the panic %v, want http.ErrAbortHandler, with which net/http closes the connection", p)
		}
	}()
	s.do("GET", "/")
	t.Error("http.ErrAbortHandler was swallowed")
}

func TestClientGone_IsNotAnError(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	s := newSite(t, []Route{Get("/", Open, func(r *Request) (Response, error) {
		cancel()
		return Response{}, r.Context().Err()
	})})
	w := s.do("GET", "/", func(r *http.Request) { *r = *r.WithContext(ctx) })
	if w.Body.Len() != 0 {
		t.Errorf("wrote %q to a client that has gone", w.Body)
	}
	if log := s.log.String(); !strings.Contains(log, `"status":499`) || strings.Contains(log, `"level":"ERROR"`) {
		t.Errorf("got the log %s", log)
	}
}

// broken is a client that has disconnected before the response.
type broken struct {
	http.ResponseWriter
	statuses []int
	writes   int
}

func (b *broken) WriteHeader(status int) { b.statuses = append(b.statuses, status) }

func (b *broken) Write([]byte) (int, error) {
	b.writes++
	return 0, errSecret
}

func TestResponse_IsNotRestartedAfterAWriteError(t *testing.T) {
	s := newSite(t, userRoutes)
	for _, path := range []string{"/", "/nowhere"} {
		s.log.Reset()
		w := &broken{ResponseWriter: httptest.NewRecorder()}
		s.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		if len(w.statuses) != 1 || w.writes != 1 {
			t.Errorf("%s: got the statuses %v in %d writes, want one response", path, w.statuses, w.writes)
		}
		if strings.Contains(s.log.String(), `"level":"ERROR"`) {
			t.Errorf("%s: got the log %s", path, s.log.String())
		}
	}
}

func TestInit_RefusesRoutesWithoutAccessRule(t *testing.T) {
	for name, a := range map[string]Access{
		"none": {}, "only a permission": Access{}.WithPermission(auth.ViewUsers), "open with a permission": Open.WithPermission(auth.ViewUsers),
		"unauthenticated with a permission": Unauthenticated.WithPermission(auth.ViewUsers),
		"optional API with a permission":    OptionalAPI.WithPermission(auth.ViewUsers),
	} {
		s := &Server{Log: newSite(t, nil).Log}
		err := s.Init([]Route{{Method: "GET", Path: "/forgotten", Access: a, Handle: showUser}})
		if err == nil || !strings.Contains(err.Error(), "GET /forgotten") {
			t.Errorf("%s: got %v, want an error that names the route", name, err)
		}
	}
}

func TestRoutes_ListsServedRoutes(t *testing.T) {
	s := newSite(t, []Route{Get("/a", Open, showUser), Post("/b", SignedIn, showUser)})
	got := s.Routes()
	slices.Sort(got)
	want := []string{"GET /a", "GET /static/*", "HEAD /a", "HEAD /static/*", "POST /b"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// brokenPage fails halfway.
var brokenPage = templ.ComponentFunc(func(_ context.Context, w io.Writer) error {
	_, _ = io.WriteString(w, "<p>half")
	return errSecret
})

func TestResponse_SetsTypeAndLength(t *testing.T) {
	s := newSite(t, []Route{
		Get("/json", Open, func(*Request) (Response, error) { return JSON(201, map[string]string{"a": "<b>"}), nil }),
		Get("/text", Open, func(*Request) (Response, error) { return Text(200, "<b>"), nil }),
		Get("/see", Open, func(*Request) (Response, error) { return SeeOther("/x"), nil }),
		Get("/page", SignedIn, func(r *Request) (Response, error) {
			return Show(200, templates.Landing(templates.LandingPage{Page: r.Page("Welcome"), Clock: templates.NewClock(r.Now(), "UTC", auth.Preferences{})})), nil
		}),
		signIn,
	})
	for path, want := range map[string][3]string{
		"/json": {"201", "application/json", `{"a":"\u003cb\u003e"}` + "\n"},
		"/text": {"200", "text/plain; charset=utf-8", "<b>"},
		"/see":  {"303", "", ""},
	} {
		w := s.do("GET", path)
		if got := [3]string{fmt.Sprint(w.Code), w.Header().Get("Content-Type"), w.Body.String()}; got != want {
			t.Errorf("%s: got %q, want %q", path, got, want)
		}
		if w.Header().Get("Content-Length") != fmt.Sprint(w.Body.Len()) || w.Header().Get("Cache-Control") != "no-store" || w.Header().Get("Server-Timing") != "" {
			t.Errorf("%s: got the headers %v", path, w.Header())
		}
	}
	w := s.do("GET", "/page", s.session(s.signedIn(t, "u1")))
	if w.Code != 200 || !strings.Contains(w.Body.String(), "<title>Welcome · Gatehouse</title>") || !strings.HasPrefix(w.Header().Get("Server-Timing"), `redis;desc="0"`) {
		t.Errorf("got %d %v %.300s", w.Code, w.Header(), w.Body)
	}
}

func TestHTTPServer_HasLimits(t *testing.T) {
	h := newSite(t, nil).HTTPServer()
	if h.ReadHeaderTimeout == 0 || h.ReadTimeout == 0 || h.WriteTimeout == 0 || h.IdleTimeout == 0 || h.MaxHeaderBytes == 0 || h.MaxHeaderBytes > 64<<10 {
		t.Errorf("got %+v", h)
	}
	if err := Drain(t.Context(), h); err != nil {
		t.Error(err)
	}
}

func TestClock_DefaultsToTimeNow(t *testing.T) {
	if got := (&Server{}).now(); time.Since(got) > time.Minute {
		t.Errorf("got %s", got)
	}
}

// TestUnavailablePage_SaysOnlyWhatIsKnown: the response to GET says nothing about changes, and the response to POST says
// that nothing was saved only if the change was not attempted.
func TestUnavailablePage_SaysOnlyWhatIsKnown(t *testing.T) {
	var fail error
	answer := func(attempt bool) Handler {
		return func(r *Request) (Response, error) {
			if attempt {
				r.Stats().RecordChangeAttempt()
			}
			return Response{}, fail
		}
	}
	s := newSite(t, []Route{
		Get("/page", Open, answer(false)), Post("/before", Open, answer(false)), Post("/after", Open, answer(true)),
		Post("/api/before", OptionalAPI, answer(false)), Post("/api/after", OptionalAPI, answer(true)), Get("/api/page", OptionalAPI, answer(false)),
	})
	const maybe = "Your change may have been saved. Check before you try again."
	for _, c := range []struct {
		err             error
		method, path    string
		says, saysNever []string
	}{
		{errDown, "GET", "/page", []string{"Your sign-in is not affected."}, []string{"saved", "sent", "change"}},
		{auth.ThrottledError{RetryAfter: time.Second}, "GET", "/page", nil, []string{"saved", "sent", "change"}},
		{missingPermission("a.b"), "GET", "/page", nil, []string{"saved", "sent", "change"}},
		{echo.ErrMethodNotAllowed, "GET", "/page", nil, []string{"saved", "was changed"}},
		{errDown, "HEAD", "/page", nil, []string{"saved", "sent", "change"}},
		{errDown, "POST", "/before", []string{"Nothing was saved, and your sign-in is not affected.", "Try again in"}, []string{"may have"}},
		{errDown, "POST", "/after", []string{maybe}, []string{"Nothing was", "Try again in", "sign-in is not affected"}},
		{errSecret, "GET", "/page", nil, []string{"saved", "sent"}},
		{errSecret, "POST", "/before", []string{maybe}, []string{"Nothing was"}},
		{errSecret, "POST", "/after", []string{maybe}, []string{"Nothing was"}},
		{auth.ErrNotFound, "POST", "/after", []string{maybe}, []string{"Nothing was"}},
		{auth.ThrottledError{RetryAfter: time.Second}, "POST", "/before", []string{"Nothing was changed"}, []string{"may have"}},
		{auth.ThrottledError{RetryAfter: time.Second}, "POST", "/after", []string{maybe}, []string{"Nothing was"}},
		{errDown, "GET", "/api/page", nil, []string{"saved", "sent", "change"}},
		{errDown, "POST", "/api/before", []string{"Nothing was saved"}, []string{"may have"}},
		{errDown, "POST", "/api/after", []string{maybe}, []string{"Nothing was"}},
		{errSecret, "POST", "/api/before", []string{maybe}, []string{"Nothing was"}},
	} {
		fail = c.err
		w := s.do(c.method, c.path)
		for _, text := range c.says {
			if !strings.Contains(w.Body.String(), text) {
				t.Errorf("%s %s with %v does not say %q: %s", c.method, c.path, c.err, text, w.Body)
			}
		}
		for _, text := range c.saysNever {
			if strings.Contains(w.Body.String(), text) {
				t.Errorf("%s %s with %v must not say %q: %s", c.method, c.path, c.err, text, w.Body)
			}
		}
		if errors.Is(c.err, errDown) && w.Header().Get("Retry-After") == "" {
			t.Errorf("%s %s: no Retry-After", c.method, c.path)
		}
	}
}
