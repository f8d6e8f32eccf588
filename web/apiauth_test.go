package web

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse/auth"
	"gatehouse/auth/authtest"
	"gatehouse/web/problem"
)

const password = "correct horse battery"

// account stores a user with the test password.
func (s *site) account(t testing.TB, name string, permissions ...string) auth.User {
	t.Helper()
	u, err := s.Server.Accounts.AddUser(t.Context(), auth.Registration{Username: name, Password: password})
	if err != nil {
		t.Fatal(err)
	}
	u.Permissions = permissions
	s.Stores.Users.Put(u)
	s.Reset()
	return u
}

// token creates an API token for the user.
func (s *site) token(t testing.TB, u auth.User, permissions []string) string {
	t.Helper()
	secret, _, err := s.Server.Accounts.NewToken(t.Context(), u, auth.TokenRequest{Name: "CI", Lifetime: time.Hour, Permissions: permissions})
	if err != nil {
		t.Fatal(err)
	}
	s.Reset()
	return secret
}

func authorization(value string) func(*http.Request) { return header("Authorization", value) }

func basic(login, password string) func(*http.Request) {
	return authorization("Basic " + encoded(login+":"+password))
}

func encoded(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

// showUserAndMethod answers with the user's name, the method and the permissions.
func showUserAndMethod(r *Request) (Response, error) {
	if r.User() == nil {
		return Text(http.StatusOK, "anonymous"), nil
	}
	return Text(http.StatusOK, strings.TrimSpace(r.User().Username+" "+r.AuthMethod()+" "+strings.Join(r.Permissions(), ","))), nil
}

var apiRoutes = []Route{
	Get("/api/who", API, showUserAndMethod), Post("/api/who", API, showUserAndMethod), Delete("/api/who", API, showUserAndMethod),
	Get("/api/maybe", OptionalAPI, showUserAndMethod), Get("/api/users", API.WithPermission(auth.ViewUsers), showUserAndMethod),
	Get("/api/machine", Unauthenticated, showUser), Get("/", Open, showUser), Get("/private", SignedIn, showUser),
	Get("/admin", SignedIn.WithPermission(auth.ViewUsers), showUser), Post("/admin", SignedIn.WithPermission(auth.ManageUsers), showUser),
	Get("/login", Open, showUser), Post("/login", Open, showUser), Post("/logout", Open, showUser), signIn,
}

// wantProblem checks that the response is one problem with this code.
func wantProblem(t testing.TB, w *httptest.ResponseRecorder, status int, code string) problem.Document {
	t.Helper()
	var p problem.Document
	d := json.NewDecoder(strings.NewReader(w.Body.String()))
	d.DisallowUnknownFields()
	if err := d.Decode(&p); err != nil || d.More() {
		t.Fatalf("got %d %q: %v", w.Code, w.Body, err)
	}
	if w.Code != status || p.Status != status || p.Code.String() != code || p.Type != "about:blank" || p.Title != http.StatusText(status) || p.Detail == "" {
		t.Errorf("got %d %+v, want %d and the code %s", w.Code, p, status, code)
	}
	h := w.Header()
	if h.Get("Content-Type") != "application/problem+json" || h.Get("Content-Length") != fmt.Sprint(w.Body.Len()) || h.Get("Cache-Control") != "no-store" ||
		h.Get("X-Content-Type-Options") != "nosniff" || len(h["Set-Cookie"]) != 0 {
		t.Errorf("%s: got the headers %v", code, h)
	}
	if p.RequestID == "" || p.RequestID != h.Get("X-Request-Id") {
		t.Errorf("%s: the request id is %q in the body and %q in the header", code, p.RequestID, h.Get("X-Request-Id"))
	}
	if (len(h["Www-Authenticate"]) > 0) != (status == http.StatusUnauthorized) {
		t.Errorf("%s: got the challenges %q", code, h["Www-Authenticate"])
	}
	return p
}

func TestParseBasic_FollowsRFC7617(t *testing.T) {
	long := strings.Repeat("x", maxBasic)
	for what, c := range map[string]struct {
		credentials, login, password string
		ok                           bool
	}{
		"plain":               {encoded("alice:secret"), "alice", "secret", true},
		"RFC 7617":            {"QWxhZGRpbjpvcGVuIHNlc2FtZQ==", "Aladdin", "open sesame", true},
		"RFC 7617, UTF-8":     {"dGVzdDoxMjPCow==", "test", "123£", true},
		"colons":              {encoded("alice:a:b::"), "alice", "a:b::", true},
		"only a colon":        {encoded(":"), "", "", true},
		"no name":             {encoded(":secret"), "", "secret", true},
		"no password":         {encoded("alice:"), "alice", "", true},
		"UTF-8":               {encoded("jürgen:日本 😀"), "jürgen", "日本 😀", true},
		"spaces":              {encoded(" alice : secret "), " alice ", " secret ", true},
		"without padding":     {strings.TrimRight(encoded("alice:secre"), "="), "alice", "secre", true},
		"empty":               {"", "", "", false},
		"no colon":            {encoded("alice"), "", "", false},
		"not base64":          {"alice:secret", "", "", false},
		"half a group":        {"QWxhZ", "", "", false},
		"base64url":           {base64.URLEncoding.EncodeToString([]byte("a:\xc3\xbf\xc3\xbe?>")), "", "", false},
		"too much padding":    {encoded("alice:secret") + "====", "", "", false},
		"two values":          {encoded("alice:secret") + ", " + encoded("bob:secret"), "", "", false},
		"not UTF-8":           {encoded("alice:secret\xff"), "", "", false},
		"Latin-1":             {encoded("j\xfcrgen:secret"), "", "", false},
		"NUL":                 {encoded("alice:sec\x00ret"), "", "", false},
		"newline in the name": {encoded("ali\nce:secret"), "", "", false},
		"DEL":                 {encoded("alice:secret\x7f"), "", "", false},
		"C1":                  {encoded("alice:secret\u0085"), "", "", false},
		"longest":             {encoded("a:" + long[:maxBasic/4*3-2]), "a", long[:maxBasic/4*3-2], true},
		"too long":            {encoded("a:" + long), "", "", false},
	} {
		login, password, err := parseBasic(c.credentials)
		if login != c.login || password != c.password || (err == nil) != c.ok {
			t.Errorf("%s: got %.40q, %.40q, %v", what, login, password, err)
		}
		var own problem.Error
		if err != nil && (!errors.As(err, &own) || own.Status != http.StatusBadRequest || own.Code != problem.MalformedBasic) {
			t.Errorf("%s: got %v", what, err)
		}
	}
}

func TestAuthorization_SchemesAreCaseInsensitive(t *testing.T) {
	s := newSite(t, apiRoutes)
	u := s.account(t, "alice", "books.read")
	token, right := s.token(t, u, nil), encoded("alice:"+password)
	for value, want := range map[string]string{
		"Basic " + right: "alice basic books.read", "basic " + right: "alice basic books.read", "BASIC " + right: "alice basic books.read", "bAsIc   " + right: "alice basic books.read",
		"Bearer " + token: "alice token books.read", "bearer " + token: "alice token books.read", "BEARER  " + token: "alice token books.read",
		"Token " + token: "alice token books.read", "token " + token: "alice token books.read", "TOKEN " + token: "alice token books.read",
	} {
		for _, path := range []string{"/api/who", "/api/maybe"} {
			w := s.do("GET", path, authorization(value))
			if w.Code != http.StatusOK || w.Body.String() != want || len(w.Header()["Set-Cookie"]) != 0 {
				t.Errorf("%s with %q: got %d %s %v", path, value, w.Code, w.Body, w.Header())
			}
		}
	}
	for value, want := range map[string][2]string{
		"":                                {"401", "unknown_scheme"},
		"Digest x":                        {"401", "unknown_scheme"},
		right:                             {"401", "unknown_scheme"},
		"Basic" + right:                   {"401", "unknown_scheme"},
		"Basic\t" + right:                 {"401", "unknown_scheme"},
		"Negotiate":                       {"401", "unknown_scheme"},
		"Basic":                           {"400", "malformed_basic"},
		"Basic x":                         {"400", "malformed_basic"},
		"Basic " + token:                  {"400", "malformed_basic"},
		"Basic " + right + " x":           {"400", "malformed_basic"},
		"Basic " + encoded("alice:x"):     {"401", "wrong_credentials"},
		"Basic " + encoded(":"):           {"401", "wrong_credentials"},
		"Bearer":                          {"401", "token_malformed"},
		"Bearer " + right:                 {"401", "token_malformed"},
		"Bearer " + token + " ":           {"401", "token_malformed"},
		"Bearer " + token + "," + token:   {"401", "token_malformed"},
		"Token " + token[:len(token)-1]:   {"401", "token_malformed"},
		"Token token=" + token:            {"401", "token_malformed"},
		"Bearer " + auth.NewTokenSecret(): {"401", "token_unknown"},
	} {
		for _, path := range []string{"/api/who", "/api/maybe"} {
			w := s.do("GET", path, authorization(value))
			status := http.StatusUnauthorized
			if want[0] == "400" {
				status = http.StatusBadRequest
			}
			wantProblem(t, w, status, want[1])
		}
	}
}

func TestAuthorization_SeveralHeadersAreRefused(t *testing.T) {
	s := newSite(t, apiRoutes)
	u := s.account(t, "alice")
	token := s.token(t, u, nil)
	for what, values := range map[string][]string{
		"twice the same": {"Bearer " + token, "Bearer " + token}, "two methods": {"Bearer " + token, "Basic " + encoded("alice:"+password)},
		"an empty and a valid one": {"", "Bearer " + token}, "three": {"x", "y", "z"},
	} {
		for _, path := range []string{"/api/who", "/api/maybe"} {
			s.Reset()
			w := s.do("GET", path, func(r *http.Request) { r.Header["Authorization"] = values })
			wantProblem(t, w, http.StatusBadRequest, "several_credentials")
			if calls := s.Calls(); len(calls) != 0 {
				t.Errorf("%s: the stores were called: %q", what, calls)
			}
		}
	}
}

// TestAPI_AuthorizationTakesPrecedenceOverSession: wrong credentials in the header do not fall back to the session.
func TestAPI_AuthorizationTakesPrecedenceOverSession(t *testing.T) {
	s := newSite(t, apiRoutes)
	u := s.account(t, "alice")
	s.account(t, "bob")
	token := s.token(t, u, nil)
	cookie := s.session(setCookies(s.do("POST", "/sign-in?user="+u.ID))["gatehouse"].Value)
	if w := s.do("GET", "/api/who", cookie); w.Body.String() != "alice session" || len(w.Header()["Set-Cookie"]) != 0 {
		t.Errorf("got %s %v", w.Body, w.Header())
	}
	if w := s.do("GET", "/api/who", cookie, basic("bob", password)); w.Body.String() != "bob basic" || len(w.Header()["Set-Cookie"]) != 0 {
		t.Errorf("got %s %v, want the user of the Authorization header", w.Body, w.Header())
	}
	if w := s.do("GET", "/api/who", cookie, authorization("Bearer "+token)); w.Body.String() != "alice token" {
		t.Errorf("got %s", w.Body)
	}
	wantProblem(t, s.do("GET", "/api/who", cookie, basic("bob", "wrong")), http.StatusUnauthorized, "wrong_credentials")
	wantProblem(t, s.do("GET", "/api/maybe", cookie, authorization("x")), http.StatusUnauthorized, "unknown_scheme")
	wantProblem(t, s.do("GET", "/api/who"), http.StatusUnauthorized, "credentials_needed")
	wantProblem(t, s.do("GET", "/api/who", s.session(fakeToken("A"))), http.StatusUnauthorized, "credentials_needed")
	if w := s.do("GET", "/api/maybe"); w.Body.String() != "anonymous" {
		t.Errorf("got %s", w.Body)
	}
	// A cross-origin page cannot make changes with the user's session, by any method.
	for _, method := range []string{"POST", "DELETE"} {
		wantProblem(t, s.do(method, "/api/who", cookie, header("Origin", "https://evil.example")), http.StatusForbidden, "forbidden")
	}
}

// TestAuthorization_IsIgnoredOnPages: only API routes read the header. Pages ignore it and call no store.
func TestAuthorization_IsIgnoredOnPages(t *testing.T) {
	s := newSite(t, apiRoutes)
	u := s.account(t, "alice", auth.ManageUsers)
	for _, value := range []string{"Basic " + encoded("alice:"+password), "Basic " + encoded("alice:wrong"), "Basic x", "Bearer " + s.token(t, u, nil), "Bearer x", "x"} {
		s.Reset()
		if w := s.do("GET", "/", authorization(value)); w.Code != http.StatusOK || w.Body.String() != "anonymous" {
			t.Errorf("open with %q: got %d %s", value, w.Code, w.Body)
		}
		for _, path := range []string{"/private", "/admin"} {
			w := s.do("GET", path, authorization(value), func(r *http.Request) { r.Header.Add("Authorization", "x") })
			if w.Code != http.StatusSeeOther || len(w.Header()["Www-Authenticate"]) != 0 {
				t.Errorf("%s with %q: got %d %v", path, value, w.Code, w.Header())
			}
		}
		if w := s.do("GET", "/api/machine", authorization(value)); w.Code != http.StatusOK || w.Body.String() != "anonymous" {
			t.Errorf("an unauthenticated route with %q: got %d %s", value, w.Code, w.Body)
		}
		if calls := s.Calls(); len(calls) != 0 {
			t.Errorf("%q: the stores were called: %q", value, calls)
		}
	}
}

func TestChallenge_OffersBasicToProgramsOnly(t *testing.T) {
	s := newSite(t, apiRoutes)
	u := s.account(t, "alice")
	const offerBasic, offerBearer = `Basic realm="Gatehouse", charset="UTF-8"`, `Bearer realm="Gatehouse"`
	for what, c := range map[string]struct {
		change []func(*http.Request)
		want   []string
	}{
		"program":            {nil, []string{offerBasic, offerBearer}},
		"address bar":        {[]func(*http.Request){header("Sec-Fetch-Mode", "navigate")}, []string{offerBasic, offerBearer}},
		"script":             {[]func(*http.Request){header("Sec-Fetch-Mode", "cors")}, []string{offerBearer}},
		"script, same site":  {[]func(*http.Request){header("Sec-Fetch-Mode", "same-origin")}, []string{offerBearer}},
		"image":              {[]func(*http.Request){header("Sec-Fetch-Mode", "no-cors")}, []string{offerBearer}},
		"wrong password":     {[]func(*http.Request){basic("alice", "wrong")}, []string{offerBasic, offerBearer}},
		"wrong, by a script": {[]func(*http.Request){basic("alice", "wrong"), header("Sec-Fetch-Mode", "cors")}, []string{offerBearer}},
		"malformed token":    {[]func(*http.Request){authorization("Bearer x")}, []string{offerBasic, offerBearer + `, error="invalid_token"`}},
		"unknown token":      {[]func(*http.Request){authorization("Token " + auth.NewTokenSecret()), header("Sec-Fetch-Mode", "cors")}, []string{offerBearer + `, error="invalid_token"`}},
	} {
		w := s.do("GET", "/api/who", c.change...)
		if got := w.Header()["Www-Authenticate"]; w.Code != http.StatusUnauthorized || !slices.Equal(got, c.want) {
			t.Errorf("%s: got %d %q", what, w.Code, got)
		}
	}
	// The owner of a token learns why it no longer works.
	token := s.token(t, u, nil)
	u.Epoch++
	s.Stores.Users.Put(u)
	wantProblem(t, s.do("GET", "/api/who", authorization("Bearer "+token)), http.StatusUnauthorized, "token_dead")
	u.Active = false
	s.Stores.Users.Put(u)
	s.Server.Accounts.InvalidateUser(u.ID)
	w := s.do("GET", "/api/who", authorization("Bearer "+token))
	wantProblem(t, w, http.StatusUnauthorized, "user_disabled")
	if got := w.Header()["Www-Authenticate"]; len(got) != 2 || got[1] != offerBearer+`, error="invalid_token"` {
		t.Errorf("got %q", got)
	}
	// Basic gets the same response for a disabled account and for a wrong password.
	disabled, wrong := s.do("GET", "/api/who", basic("alice", password)), s.do("GET", "/api/who", basic("anonymous", password))
	one, two := wantProblem(t, disabled, 401, "wrong_credentials"), wantProblem(t, wrong, 401, "wrong_credentials")
	one.RequestID, two.RequestID = "", ""
	if fmt.Sprint(one) != fmt.Sprint(two) {
		t.Errorf("got %v for a disabled account and %v for a wrong password, want the same", one, two)
	}
}

func TestProblem_ExplainsEveryError(t *testing.T) {
	var fail error
	s := newSite(t, []Route{
		Get("/api/fail", Unauthenticated, func(*Request) (Response, error) { return Response{}, fail }),
		Get("/auth/fail", Unauthenticated, func(*Request) (Response, error) { return Response{}, fail }),
		Get("/apifail", Unauthenticated, func(*Request) (Response, error) { return Response{}, fail }),
		Post("/api/json", Unauthenticated, func(r *Request) (Response, error) {
			var v struct{ A string }
			err := r.DecodeJSON(&v)
			return Text(http.StatusOK, "read "+v.A), err
		}),
	})
	for what, c := range map[string]struct {
		err    error
		status int
		code   string
		detail string
		retry  string
	}{
		"bad request":  {problem.BadRequest(problem.BadLimit, "A limit."), 400, "bad_limit", "A limit.", ""},
		"unauthorized": {problem.Unauthorized(problem.CredentialsNeeded, "Send some."), 401, "credentials_needed", "Send some.", ""},
		"permission":   {missingPermission("users.view"), 403, "missing_permission", "This needs the permission users.view.", ""},
		"not found":    {fmt.Errorf("revoke: %w", auth.ErrNotFound), 404, "not_found", "nothing", ""},
		"invalid":      {auth.ValidationErrors{"name": "Wrong."}, 422, "invalid", "Some fields are invalid.", ""},
		"too many":     {fmt.Errorf("create: %w", auth.ErrTooManyTokens), 422, "too_many_tokens", "100 tokens", ""},
		"throttled":    {auth.ThrottledError{RetryAfter: 90 * time.Second}, 429, "throttled", "Try again in", "90"},
		"unexpected":   {errSecret, 500, "internal", "on our side", ""},
		"unavailable":  {fmt.Errorf("%w: %w", auth.ErrUnavailable, errSecret), 503, "unavailable", "Try again in 5 seconds.", "5"},
		"busy":         {auth.ErrBusy, 503, "unavailable", "Try again in 3 seconds.", "3"},
		"maintenance":  {underMaintenance{auth.Maintenance{Message: "Back at nine."}, nil}, 503, "maintenance", "This site is down for maintenance. Back at nine.", "30"},
	} {
		fail = c.err
		for _, path := range []string{"/api/fail", "/auth/fail"} {
			w := s.do("GET", path)
			p := wantProblem(t, w, c.status, c.code)
			if !strings.Contains(p.Detail, c.detail) || w.Header().Get("Retry-After") != c.retry || strings.Contains(w.Body.String(), "hunter2") {
				t.Errorf("%s: got %+v, %v", what, p, w.Header())
			}
			if (what == "invalid") != (p.Errors["name"] == "Wrong.") {
				t.Errorf("%s: the fields are %v", what, p.Errors)
			}
		}
		if what != "unauthorized" && what != "bad request" && what != "maintenance" && what != "permission" {
			wantErrorPage(t, s.do("GET", "/apifail"), c.status) // people get a page
		}
	}
	wantProblem(t, s.do("GET", "/api/nowhere"), 404, "not_found")
	wantProblem(t, s.do("GET", "/auth/nowhere"), 404, "not_found")
	w := s.do("POST", "/api/fail")
	wantProblem(t, w, 405, "method_not_allowed")
	if allow := w.Header().Get("Allow"); !strings.Contains(allow, "GET") {
		t.Errorf("Allow is %q", allow)
	}
	const form = "application/json"
	for what, c := range map[string]struct {
		kind, body string
		status     int
		code       string
	}{
		"form": {"application/x-www-form-urlencoded", "a=b", 415, "unsupported_media_type"}, "no type": {"", "{}", 415, "unsupported_media_type"},
		"text": {"text/plain", "{}", 415, "unsupported_media_type"},
		"cut":  {form, `{"A":`, 400, "malformed_json"}, "two": {form, "{}{}", 400, "malformed_json"}, "array": {form, "[]", 400, "malformed_json"},
		"number": {form, `{"A":1}`, 400, "malformed_json"}, "text in JSON": {form, "x", 400, "malformed_json"},
		"large": {form, `{"A":"` + strings.Repeat("x", maxBody) + `"}`, 413, "too_large"},
	} {
		t.Run(what, func(t *testing.T) { wantProblem(t, s.do("POST", "/api/json", body(c.kind, c.body)), c.status, c.code) })
	}
	large := s.do("POST", "/api/json", body(form, ""), func(r *http.Request) {
		r.Body, r.ContentLength = io.NopCloser(strings.NewReader(`{"A":"`+strings.Repeat("x", maxBody))), -1
	})
	wantProblem(t, large, 413, "too_large")
	for kind, sent := range map[string]string{form: `{"A":"x"}`, form + "; charset=utf-8": ` {"a":"x"} `} {
		if w := s.do("POST", "/api/json", body(kind, sent)); w.Code != http.StatusOK || w.Body.String() != "read x" {
			t.Errorf("%s: got %d %s", sent, w.Code, w.Body)
		}
	}
	if p := newProblem(errors.New("x"), 418); p.Code != problem.Unreadable {
		t.Errorf("got %+v", p)
	}
}

func TestAccess_RequiresPermission(t *testing.T) {
	s := newSite(t, apiRoutes)
	for name, permissions := range map[string][]string{"viewer": {auth.ViewUsers}, "manager": {auth.ManageUsers}, "anonymous": {"books.read"}} {
		u := s.account(t, name, permissions...)
		cookie := s.session(setCookies(s.do("POST", "/sign-in?user="+u.ID))["gatehouse"].Value)
		get, post, api := s.do("GET", "/admin", cookie), s.do("POST", "/admin", cookie), s.do("GET", "/api/users", basic(name, password))
		bySession := s.do("GET", "/api/users", cookie)
		if name == "anonymous" {
			for _, w := range []*httptest.ResponseRecorder{get, post} {
				if w.Code != http.StatusForbidden || !strings.Contains(w.Body.String(), "You don&#39;t have access") || w.Header().Get("Content-Type") != "text/html; charset=utf-8" {
					t.Errorf("%s: got %d %s", name, w.Code, w.Body)
				}
			}
			if !strings.Contains(get.Body.String(), "users.view") || !strings.Contains(post.Body.String(), "users.manage") {
				t.Error("the page does not name the permission")
			}
			for _, w := range []*httptest.ResponseRecorder{api, bySession} {
				if p := wantProblem(t, w, http.StatusForbidden, "missing_permission"); p.Detail != "This needs the permission users.view." {
					t.Errorf("got %+v", p)
				}
			}
			continue
		}
		if get.Code != http.StatusOK || api.Code != http.StatusOK || bySession.Code != http.StatusOK {
			t.Errorf("%s: got %d, %d, %d", name, get.Code, api.Code, bySession.Code)
		}
		if want := map[string]int{"viewer": 403, "manager": 200}[name]; post.Code != want {
			t.Errorf("POST by %s: got %d, want %d", name, post.Code, want)
		}
	}
	// A token can have fewer permissions than its owner, never more.
	owner := s.account(t, "owner", auth.ManageUsers, "books.read")
	for what, c := range map[string]struct {
		narrow []string
		want   int
	}{
		"all": {nil, 200}, "viewing": {[]string{auth.ViewUsers}, 200}, "managing": {[]string{auth.ManageUsers}, 200},
		"other things": {[]string{"books.read"}, 403}, "nothing": {[]string{}, 403},
	} {
		w := s.do("GET", "/api/users", authorization("Bearer "+s.token(t, owner, c.narrow)))
		if w.Code != c.want {
			t.Errorf("a token for %s: got %d %s", what, w.Code, w.Body)
		}
		if c.want == http.StatusForbidden {
			wantProblem(t, w, c.want, "missing_permission")
		}
	}
	broad := s.token(t, owner, []string{auth.ViewUsers})
	owner.Permissions = []string{"books.read"}
	s.Stores.Users.Put(owner)
	s.Server.Accounts.InvalidateUser(owner.ID)
	wantProblem(t, s.do("GET", "/api/users", authorization("Bearer "+broad)), http.StatusForbidden, "missing_permission")
	// Anonymous callers do not learn which permission a route needs.
	if w := s.do("GET", "/admin"); w.Code != http.StatusSeeOther {
		t.Errorf("got %d", w.Code)
	}
	wantProblem(t, s.do("GET", "/api/users"), http.StatusUnauthorized, "credentials_needed")
}

func TestAccess_StringNamesTheRule(t *testing.T) {
	for want, a := range map[string]Access{
		"none": {}, "open": Open, "signed in": SignedIn, "API": API, "optional API": OptionalAPI, "unauthenticated": Unauthenticated,
		"signed in with users.view": SignedIn.WithPermission("users.view"), "API with a.b": API.WithPermission("a.b"), "open with a.b": Open.WithPermission("a.b"),
	} {
		if a.String() != want {
			t.Errorf("got %q, want %q", a, want)
		}
		if known := want != "none" && want != "open with a.b"; a.valid() != known {
			t.Errorf("%s: valid() = %v", want, a.valid())
		}
	}
	if SignedIn.String() != "signed in" {
		t.Error("WithPermission changed its receiver")
	}
}

func TestAPI_WithoutServersIsUnavailable(t *testing.T) {
	s := newSite(t, apiRoutes)
	u := s.account(t, "alice")
	token := s.token(t, u, nil)
	for range 2 {
		if w := s.do("GET", "/api/who", basic("alice", password)); w.Code != http.StatusOK {
			t.Fatalf("got %d", w.Code)
		}
	}
	// Without the database, tokens and cached Basic credentials still work.
	s.FailOn("users.", errDown)
	s.FailOn("throttle.", errDown)
	for _, change := range []func(*http.Request){basic("alice", password), authorization("Bearer " + token)} {
		if w := s.do("GET", "/api/who", change); w.Code != http.StatusOK {
			t.Errorf("got %d %s", w.Code, w.Body)
		}
	}
	wantProblem(t, s.do("GET", "/api/who", basic("alice", "wrong")), http.StatusServiceUnavailable, "unavailable")
	s.FailOn("tokens.", errDown)
	w := s.do("GET", "/api/who", authorization("Bearer "+token))
	wantProblem(t, w, http.StatusServiceUnavailable, "unavailable")
	if w.Header().Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	if log := s.log.String(); strings.Contains(log, password) || strings.Contains(log, token) || strings.Contains(log, encoded("alice:"+password)) {
		t.Errorf("the log holds a secret: %s", log)
	}
}

func FuzzAuthorizationHeader(f *testing.F) {
	s := newSite(f, apiRoutes)
	u := s.account(f, "alice")
	token := s.token(f, u, nil)
	for _, v := range []string{"", "Basic", "Basic ", "Basic " + encoded("alice:"+password), "basic " + encoded("alice:wrong"), "Bearer " + token, "Token " + token[:20], "Bearer ", "\x00", "Basic =", "Basic " + encoded("\xff:\x00"), "Basic " + encoded("a@b:c:d"), " Basic x"} {
		f.Add(v)
	}
	f.Fuzz(func(t *testing.T, value string) {
		s.Stores.Throttle.Reset(t.Context(), "address:192.0.2.1", authtest.AccountKey("alice"))
		s.Stores.Credentials.Flush()
		for _, path := range []string{"/api/who", "/api/maybe"} {
			w := s.do("GET", path, func(r *http.Request) { r.Header["Authorization"] = []string{value} })
			switch {
			case w.Code == http.StatusOK:
				if scheme, _, _ := strings.Cut(value, " "); !strings.Contains(" basic bearer token ", " "+strings.ToLower(scheme)+" ") || !strings.HasPrefix(w.Body.String(), "alice ") {
					t.Errorf("%q is accepted as %q", value, w.Body)
				}
			case w.Code == http.StatusBadRequest, w.Code == http.StatusUnauthorized, w.Code == http.StatusTooManyRequests:
				var p problem.Document
				if json.Unmarshal(w.Body.Bytes(), &p) != nil || p.Code.String() == "" {
					t.Errorf("%q: got %s", value, w.Body)
				}
			default:
				t.Errorf("%q: got %d %s", value, w.Code, w.Body)
			}
			if len(w.Header()["Set-Cookie"]) != 0 {
				t.Errorf("%q sets a cookie", value)
			}
		}
		s.Reset()
		s.log.Reset()
	})
}
