package handlers

import (
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"gatehouse/auth"
	"gatehouse/auth/password"
)

var errDown = fmt.Errorf("dial 10.9.8.7: %w", auth.ErrUnavailable)

func form(pairs ...string) url.Values {
	v := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		v.Add(pairs[i], pairs[i+1])
	}
	return v
}

func TestLanding_OffersSignInAndRegistration(t *testing.T) {
	s := newSite(t)
	s.add(t, "alice")
	wantPage(t, s.browser().get("/"), http.StatusOK, `href="/login"`, `href="/register"`)
	wantRedirect(t, s.signedIn(t, "alice").get("/"), "/dashboard")
	s.Handlers.Accounts.RegistrationOpen = false
	if w := s.browser().get("/"); strings.Contains(w.Body.String(), `href="/register"`) {
		t.Error("the page offers registration although it is closed")
	}
}

func TestLogin_StartsASession(t *testing.T) {
	s := newSite(t)
	s.add(t, "alice")
	wantPage(t, s.browser().get("/login"), http.StatusOK, `name="username"`, `name="password"`, `autocomplete="current-password"`)
	wantPage(t, s.browser().get("/login?next=/account&notice=signed-out"), http.StatusOK, `name="next" value="/account"`, "You&#39;re signed out.")
	wantPage(t, s.browser().get("/login?notice=%3Cb%3Eevil"), http.StatusOK)
	if w := s.browser().get("/login?next=//evil.example&notice=evil"); strings.Contains(w.Body.String(), "evil") {
		t.Errorf("the page repeats text from the address: %s", w.Body)
	}
	for next, want := range map[string]string{"": "/dashboard", "/account?a=b": "/account?a=b", "//evil.example": "/dashboard", `/\evil`: "/dashboard", "https://evil.example": "/dashboard"} {
		b := s.browser()
		wantRedirect(t, b.post("/login", form("username", "Alice", "password", secret, "next", next)), want)
		wantPage(t, b.get("/dashboard"), http.StatusOK, `id="user-name"`)
		wantRedirect(t, b.get("/login?next="+url.QueryEscape(next)), want)
	}
}

func TestLogin_ShowsOneMessage(t *testing.T) {
	s := newSite(t)
	s.add(t, "alice")
	off := s.add(t, "bob")
	off.Active = false
	s.Stores.Users.Put(off)
	w := s.browser().post("/login", form("username", "", "password", ""))
	wantPage(t, w, http.StatusUnprocessableEntity, "Enter your user name.", "Enter your password.", "<title>Error: Sign in")
	const once = "hunter2-was-it"
	var pages []string
	for _, try := range [][2]string{{"alice", once}, {"nobody", once}, {"bob", secret}, {"bob", once}, {"al ice", once}, {"nobody@example.org", once}} {
		w := s.browser().post("/login", form("username", try[0], "password", try[1], "next", "/account", "remember", "on"))
		wantPage(t, w, http.StatusUnauthorized, "Wrong user name or password.", `value="`+html.EscapeString(try[0])+`"`, `name="next" value="/account"`, " checked")
		if strings.Contains(w.Body.String(), once) || len(w.Header()["Set-Cookie"]) != 0 {
			t.Errorf("%q: the response contains the password or sets a cookie: %v", try, w.Header())
		}
		pages = append(pages, strings.ReplaceAll(w.Body.String(), html.EscapeString(try[0]), "NAME"))
	}
	for i, page := range pages {
		if page != pages[0] {
			t.Errorf("the responses differ: %s\nand %s", pages[0], pages[i])
		}
	}
	for i := range 10 {
		w = s.browser().post("/login", form("username", "alice", "password", fmt.Sprint(once, i)))
	}
	wantPage(t, w, http.StatusTooManyRequests, "Too many attempts. Wait 1 second, then try again.")
	if w.Header().Get("Retry-After") != "1" {
		t.Errorf("Retry-After is %q", w.Header().Get("Retry-After"))
	}
	if strings.Contains(s.log.String(), once) {
		t.Error("the log holds a password")
	}
	s.FailOn("users.", errDown)
	w = s.browser().post("/login", form("username", "carol", "password", once))
	wantPage(t, w, http.StatusServiceUnavailable)
	if strings.Contains(w.Body.String(), "10.9.8.7") {
		t.Error("the page reveals an internal address")
	}
}

func TestLogout_EndsTheSession(t *testing.T) {
	s := newSite(t)
	s.add(t, "alice")
	b := s.signedIn(t, "alice")
	old := maps.Clone(b.cookies)
	wantRedirect(t, b.post("/logout", nil), "/login?notice=signed-out")
	if b.cookies["gatehouse"] != "" || s.Stores.Sessions.Len() != 0 {
		t.Errorf("got %d sessions and the cookies %v, want none", s.Stores.Sessions.Len(), b.cookies)
	}
	wantRedirect(t, (&browser{s, old}).get("/dashboard"), "/login?next=%2Fdashboard")
	wantRedirect(t, s.browser().post("/logout", nil), "/login?notice=signed-out")
}

func TestRegister_SignsIn(t *testing.T) {
	s := newSite(t)
	wantPage(t, s.browser().get("/register?next=/account"), http.StatusOK, `autocomplete="new-password"`, "At least 8 characters", `name="next" value="/account"`)
	b := s.browser()
	w := b.post("/register", form("username", "Alice", "password", secret, "name", "Alice <L.>", "time_zone", "Asia/Tokyo", "next", "/account",
		"is_admin", "1", "active", "0", "epoch", "99", "id", "x"))
	wantRedirect(t, w, "/account")
	wantPage(t, b.get("/dashboard"), http.StatusOK, "Alice &lt;L.&gt;", "Asia/Tokyo")
	// Without another page to go to, the dashboard greets.
	b = s.browser()
	wantRedirect(t, b.post("/register", form("username", "carol", "password", secret, "name", "Carol <C.>")), "/dashboard?notice=welcome")
	wantPage(t, b.get("/dashboard?notice=welcome"), http.StatusOK, `role="status" tabindex="-1" autofocus>Welcome, Carol &lt;C.&gt;.</p>`, `data-address="/dashboard"`)
	wantRedirect(t, b.get("/register"), "/dashboard")
	u, err := s.Stores.Users.UserByUsername(t.Context(), "alice")
	if err != nil || !u.Active || u.Epoch != 1 || len(u.ID) != 36 {
		t.Errorf("got %+v, %v", u, err)
	}
	if strings.Contains(s.log.String(), secret) {
		t.Error("the log holds a password")
	}
}

func TestRegister_ShowsErrors(t *testing.T) {
	s := newSite(t)
	s.add(t, "alice")
	w := s.browser().post("/register", form("username", "a b<", "password", "short-1", "email", "x<", "name", "<i>", "next", "//evil.example"))
	wantPage(t, w, http.StatusUnprocessableEntity, "Use letters, digits", "Use at least 8 characters (this has 7).", "Enter an address", `value="a b&lt;"`, `value="x&lt;"`, `value="&lt;i&gt;"`)
	if page := w.Body.String(); strings.Contains(page, "short-1") || strings.Contains(page, "evil") {
		t.Errorf("the page repeats the password or an unsafe address: %s", page)
	}
	wantPage(t, s.browser().post("/register", form("username", "ALICE", "password", secret)), http.StatusUnprocessableEntity, "This name is taken")
	for range 200 {
		_, _ = s.Stores.Throttle.Reserve(t.Context(), auth.Bucket{Key: "register:192.0.2.1", Limit: auth.RateLimit{Burst: 1000}})
	}
	wantPage(t, s.browser().post("/register", form("username", "bob", "password", secret)), http.StatusTooManyRequests, "Too many attempts. Wait 1 second")
	s.Handlers.Accounts.RegistrationOpen = false
	wantPage(t, s.browser().get("/register"), http.StatusForbidden, "Registration is closed")
	wantPage(t, s.browser().post("/register", form("username", "bob", "password", secret)), http.StatusForbidden, "Registration is closed")
	s.Handlers.Accounts.RegistrationOpen = true
	s.FailOn("throttle.", errDown)
	wantPage(t, s.browser().post("/register", form("username", "bob", "password", secret)), http.StatusServiceUnavailable)
	if s.Stores.Users.Len() != 1 {
		t.Errorf("got %d users", s.Stores.Users.Len())
	}
}

// TestRegister_RedisFailsForTheSession: without a stored session there is no sign-in, but the new account is usable.
func TestRegister_RedisFailsForTheSession(t *testing.T) {
	s := newSite(t)
	s.FailOn("sessions.Commit", errDown)
	w := s.browser().post("/register", form("username", "alice", "password", secret))
	wantPage(t, w, http.StatusServiceUnavailable)
	if len(w.Header()["Set-Cookie"]) != 0 {
		t.Errorf("sets %q", w.Header()["Set-Cookie"])
	}
	s.FailOn("sessions.Commit", nil)
	s.signedIn(t, "alice")
}

func TestPasswordStrength_RatesPasswords(t *testing.T) {
	s := newSite(t)
	s.add(t, "wunderlich")
	ask := func(b *browser, pairs ...string) password.Strength {
		t.Helper()
		w := b.post("/password/strength", form(pairs...))
		var got password.Strength
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Code != http.StatusOK {
			t.Errorf("got %d %s: %v", w.Code, w.Body, err)
		}
		return got
	}
	if got := ask(s.browser(), "password", "tidy badger kettle lantern"); got != (password.Strength{Score: 4, Label: "Strong"}) {
		t.Errorf("got %+v", got)
	}
	if got := ask(s.browser(), "password", ""); got.Score != 0 || got.Message == "" {
		t.Errorf("got %+v", got)
	}
	for _, field := range []string{"username", "name", "email"} {
		if got := ask(s.browser(), "password", "zweistein7", field, "zweistein"); got.Score > 1 || !strings.Contains(got.Message, "zweistein") {
			t.Errorf("%s: got %+v", field, got)
		}
	}
	if got := ask(s.signedIn(t, "wunderlich"), "password", "wunderlich7"); got.Score > 1 || !strings.Contains(got.Message, "wunderlich") {
		t.Errorf("got %+v", got)
	}
}

func TestDashboard_ShowsTheTime(t *testing.T) {
	s := newSite(t)
	u := s.add(t, "alice")
	u.TimeZone = "Asia/Kolkata"
	s.Stores.Users.Put(u)
	w := s.signedIn(t, "alice").get("/dashboard")
	wantPage(t, w, http.StatusOK, `id="now"`, "+05:30", "Kolkata", "alice")
	if !regexp.MustCompile(`id="authorized-by"[^>]*>Redis<`).MatchString(w.Body.String()) {
		t.Errorf("the page does not name Redis: %s", w.Body)
	}
}

func TestProfile_SavesChanges(t *testing.T) {
	s := newSite(t)
	u := s.add(t, "alice")
	b := s.signedIn(t, "alice")
	wantPage(t, b.get("/account"), http.StatusOK, `action="/account/profile"`, `action="/account/password"`, "<optgroup")
	wantRedirect(t, b.post("/account/profile", form("name", "Alice L.", "email", "a@example.org", "time_zone", "Asia/Tokyo")), "/account?notice=profile")
	wantPage(t, b.get("/account?notice=profile"), http.StatusOK, "Changes saved.", "Alice L.", "a@example.org", `value="Asia/Tokyo" selected`)
	w := b.post("/account/profile", form("name", "x\x00", "email", "<wrong>", "time_zone", "Mars/Olympus"))
	wantPage(t, w, http.StatusUnprocessableEntity, "Some characters can", "Enter an address", "Choose a time zone", "&lt;wrong&gt;", "<title>Error: Account")
	if got := s.Stores.Users.Row(u.ID); got.Name != "Alice L." || got.TimeZone != "Asia/Tokyo" {
		t.Errorf("got %+v", got)
	}
	s.FailOn("cache.", errDown)
	wantPage(t, b.post("/account/profile", form("name", "New", "time_zone", "UTC")), http.StatusServiceUnavailable)
	if got := s.Stores.Users.Row(u.ID).Name; got != "Alice L." {
		t.Errorf("the name is %q", got)
	}
}

func TestChangePassword_EndsOtherSessions(t *testing.T) {
	s := newSite(t)
	s.add(t, "alice")
	b, other := s.signedIn(t, "alice"), s.signedIn(t, "alice")
	const fresh = "an entirely new secret"
	w := b.post("/account/password", form("current_password", "", "new_password", "short-1"))
	wantPage(t, w, http.StatusUnprocessableEntity, "Enter your current password.", "Use at least 8 characters (this has 7).")
	w = b.post("/account/password", form("current_password", "wrong-one", "new_password", fresh))
	wantPage(t, w, http.StatusUnprocessableEntity, "This is not your current password.")
	if page := w.Body.String(); strings.Contains(page, "wrong-one") || strings.Contains(page, fresh) {
		t.Error("the page contains a password")
	}
	wantPage(t, other.get("/dashboard"), http.StatusOK)
	before := b.cookies["gatehouse"]
	wantRedirect(t, b.post("/account/password", form("current_password", secret, "new_password", fresh)), "/account?notice=password")
	if b.cookies["gatehouse"] == before {
		t.Error("the session keeps its token")
	}
	wantPage(t, b.get("/account?notice=password"), http.StatusOK, "Password changed. You&#39;ve been signed out everywhere else.")
	wantRedirect(t, other.get("/dashboard"), "/login?next=%2Fdashboard")
	for range 10 {
		w = b.post("/account/password", form("current_password", "wrong-one", "new_password", fresh))
	}
	for w.Code == http.StatusUnprocessableEntity {
		w = b.post("/account/password", form("current_password", "wrong-one", "new_password", fresh))
	}
	wantPage(t, w, http.StatusTooManyRequests, "Too many attempts.")
	if w.Header().Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	for _, p := range []string{secret, fresh, "wrong-one"} {
		if strings.Contains(s.log.String(), p) {
			t.Error("the log holds a password")
		}
	}
}

func TestChangePassword_StaleRow(t *testing.T) {
	s := newSite(t)
	s.add(t, "alice")
	b := s.signedIn(t, "alice")
	s.FailOn("users.SetPassword", auth.ErrStale)
	w := b.post("/account/password", form("current_password", secret, "new_password", "an entirely new secret"))
	wantPage(t, w, http.StatusUnprocessableEntity, "Your account was just changed elsewhere.")
}

// TestChangePassword_DoubleClick: the second request of a double click finds the new password already set.
func TestChangePassword_DoubleClick(t *testing.T) {
	s := newSite(t)
	u := s.add(t, "alice")
	b, other := s.signedIn(t, "alice"), s.signedIn(t, "alice")
	old := b.cookies["gatehouse"]
	const fresh = "an entirely new secret"
	change := form("current_password", secret, "new_password", fresh)
	wantRedirect(t, b.post("/account/password", change), "/account?notice=password")
	renewed := b.cookies["gatehouse"]
	// The second request passes authentication if the server has not yet seen the first one's change.
	id := auth.SessionID(old)
	v := auth.Client{Address: netip.MustParseAddr("192.0.2.1"), SessionID: id, Epoch: u.Epoch}
	if _, err := s.Handlers.Accounts.ChangePassword(t.Context(), u.ID, secret, fresh, v); !errors.Is(err, auth.ErrAlreadyChanged) {
		t.Errorf("the same change again: %v", err)
	}
	if _, err := s.Handlers.Accounts.ChangePassword(t.Context(), u.ID, secret, "another new secret", v); !errors.Is(err, auth.ErrStale) {
		t.Errorf("another change by an ended session: %v", err)
	}
	if b.cookies["gatehouse"] != renewed || b.get("/account").Code != http.StatusOK {
		t.Error("the session of the first change has ended")
	}
	wantRedirect(t, other.get("/dashboard"), "/login?next=%2Fdashboard")
}

// TestChangePassword_SessionEndsMeanwhile: the change is saved, and a session that was ended in the meantime stays ended.
// The cookie is not cleared, because the browser may have signed in again.
func TestChangePassword_SessionEndsMeanwhile(t *testing.T) {
	s := newSite(t)
	s.add(t, "alice")
	b := s.signedIn(t, "alice")
	before := b.cookies["gatehouse"]
	s.FailOn("sessions.Delete", auth.ErrSessionEnded)
	wantRedirect(t, b.post("/account/password", form("current_password", secret, "new_password", "an entirely new secret")), "/login")
	if b.cookies["gatehouse"] != before {
		t.Error("the response changes the cookie")
	}
	wantRedirect(t, b.get("/dashboard"), "/login?next=%2Fdashboard")
	s.FailOn("sessions.Delete", nil)
	wantRedirect(t, b.post("/login", form("username", "alice", "password", "an entirely new secret")), "/dashboard")
}

func TestSessions_EndOneOrAll(t *testing.T) {
	s := newSite(t)
	s.add(t, "alice")
	s.add(t, "bob")
	b, second, third, bob := s.signedIn(t, "alice"), s.signedIn(t, "alice"), s.signedIn(t, "alice"), s.signedIn(t, "bob")
	id := func(b *browser) string { return auth.SessionID(b.cookies["gatehouse"]) }
	wantPage(t, b.get("/account"), http.StatusOK, id(second), id(third))
	if page := b.get("/account").Body.String(); strings.Contains(page, id(bob)) || strings.Contains(page, b.cookies["gatehouse"]) {
		t.Error("the page shows another user's session or a cookie's value")
	}
	wantRedirect(t, b.post("/account/sessions/end", form("session", id(second))), "/account?notice=session-ended")
	wantRedirect(t, second.get("/dashboard"), "/login?next=%2Fdashboard")
	// Ending another user's session has no effect, and the response is the same as for an unknown one.
	wantRedirect(t, b.post("/account/sessions/end", form("session", id(bob))), "/account?notice=session-ended")
	wantPage(t, bob.get("/dashboard"), http.StatusOK)
	wantPage(t, b.get("/account/sessions/end-others"), http.StatusOK, "1 session")
	wantRedirect(t, b.post("/account/sessions/end-others", nil), "/account?notice=others-ended")
	wantRedirect(t, third.get("/dashboard"), "/login?next=%2Fdashboard")
	wantPage(t, b.get("/dashboard"), http.StatusOK)
	wantPage(t, bob.get("/dashboard"), http.StatusOK)
	wantRedirect(t, b.post("/account/sessions/end", form("session", id(b))), "/login?notice=signed-out")
	wantRedirect(t, b.get("/dashboard"), "/login?next=%2Fdashboard")
	s.FailOn("sessions.End", errDown)
	wantPage(t, bob.post("/account/sessions/end", form("session", "x")), http.StatusServiceUnavailable)
	s.FailOn("sessions.List", errDown)
	for _, path := range []string{"/account", "/account/sessions/end-others"} {
		wantPage(t, bob.get(path), http.StatusServiceUnavailable)
	}
}

// TestEndOthers_CountsBeyondTheList: the list of sessions is limited, but the count includes all of them.
func TestEndOthers_CountsBeyondTheList(t *testing.T) {
	s := newSite(t)
	u := s.add(t, "alice")
	b := s.signedIn(t, "alice")
	for i := range 204 {
		rec := auth.Session{Version: auth.SessionVersion, ID: auth.SessionID(fmt.Sprint(i)), UserID: u.ID, Epoch: u.Epoch, Deadline: time.Now().Add(time.Hour), IdleSeconds: 60}
		raw, err := json.Marshal(rec)
		if err != nil {
			t.Fatal(err)
		}
		s.Stores.Sessions.Put(rec.ID, raw)
	}
	wantPage(t, b.get("/account/sessions/end-others"), http.StatusOK, "This ends 204 sessions immediately.")
	page := b.get("/account")
	wantPage(t, page, http.StatusOK, "5 more sessions are not shown.")
	if n := strings.Count(page.Body.String(), `name="session"`); n != 199 {
		t.Errorf("the page offers to end %d sessions, want 199", n)
	}
}

func TestHealth_ReportsServers(t *testing.T) {
	s := newSite(t)
	if w := s.browser().get("/healthz"); w.Code != http.StatusOK || w.Body.String() != "ok\n" {
		t.Errorf("got %d %q", w.Code, w.Body)
	}
	if w := s.browser().get("/readyz"); w.Code != http.StatusOK || w.Body.String() != "database: ok\nredis: ok\ncache: ok\n" {
		t.Errorf("got %d %q", w.Code, w.Body)
	}
	s.ready = map[string]error{"redis": errors.New("dial 10.9.8.7: hunter2")}
	w := s.browser().get("/readyz")
	if w.Code != http.StatusServiceUnavailable || w.Body.String() != "database: ok\nredis: does not answer\ncache: ok\n" {
		t.Errorf("got %d %q", w.Code, w.Body)
	}
	if !strings.Contains(s.log.String(), "hunter2") {
		t.Error("the log lacks the error")
	}
}

func TestForms_RejectOtherFormats(t *testing.T) {
	s := newSite(t)
	s.add(t, "alice")
	b := s.signedIn(t, "alice")
	for _, path := range []string{"/login", "/register", "/password/strength", "/account/profile", "/account/password", "/account/sessions/end"} {
		req := newRequest("POST", path)
		req.Header.Set("Content-Type", "application/json")
		wantPage(t, b.send(req), http.StatusUnsupportedMediaType)
		wantPage(t, b.postBody(path, "username=%zz"), http.StatusBadRequest)
		wantPage(t, b.postBody(path, strings.Repeat("x", 1<<20+1)), http.StatusRequestEntityTooLarge)
	}
}

// marker is added to fuzzed fields and must never appear unescaped in a response.
const marker = "<fuzz"

func FuzzLoginForm(f *testing.F) {
	for _, v := range []string{"alice", "<script>", "a@b.c", "\x00", "\xff", `"><img src=x>`, "//evil", strings.Repeat("é", 200), "{{.}}", "\u202e"} {
		f.Add(v, v, v, v)
	}
	s := newSite(f)
	s.add(f, "alice")
	f.Fuzz(func(t *testing.T, username, password, next, raw string) {
		s.Stores.Throttle.Reset(t.Context(), "address:192.0.2.1")
		s.log.Reset()
		v := form("username", username+marker, "password", password+marker, "next", next+marker, "remember", marker)
		checkFuzzed(t, s.browser().post("/login", v), v)
		v = form("username", username, "password", password, "next", next)
		checkFuzzed(t, s.browser().post("/login", v), v)
		checkFuzzed(t, s.browser().postBody("/login", raw), nil)
		checkFuzzed(t, s.browser().get("/login?"+form("next", next+marker, "notice", raw+marker).Encode()), form("next", next+marker))
	})
}

func FuzzRegistrationForm(f *testing.F) {
	for _, v := range []string{"bob", "<script>", "a@b.c", "\x00", "\xff", `"><img src=x>`, "Europe/Berlin", strings.Repeat("é", 200), "{{.}}", "\u202e"} {
		f.Add(v, v, v, v, v)
	}
	s := newSite(f)
	f.Fuzz(func(t *testing.T, username, password, email, name, rest string) {
		s.Stores.Throttle.Reset(t.Context(), "register:192.0.2.1")
		s.log.Reset()
		v := form("username", username+marker, "password", password, "email", email+marker, "name", name+marker, "time_zone", rest+marker, "next", rest)
		checkFuzzed(t, s.browser().post("/register", v), v)
		v = form("username", username, "password", password+"-x7#Kq-lantern", "email", email, "name", name, "time_zone", rest, "next", rest)
		b := s.browser()
		w := b.post("/register", v)
		checkFuzzed(t, w, v)
		if w.Code == http.StatusSeeOther { // the account exists: check its pages too
			checkFuzzed(t, b.get("/dashboard"), v)
			checkFuzzed(t, b.get("/account"), v)
			if w := s.browser().post("/login", v); w.Code != http.StatusSeeOther {
				t.Errorf("%q registered but can't sign in: got %d", v, w.Code)
			}
		}
		checkFuzzed(t, s.browser().post("/password/strength", v), v)
		checkFuzzed(t, s.browser().postBody("/register", rest), nil)
	})
}

// tags matches HTML tags.
var tags = regexp.MustCompile(`<(/?)([^\s>/]*)`)

// checkFuzzed checks that the response is not a server error and that no field is rendered as markup.
func checkFuzzed(t *testing.T, w *httptest.ResponseRecorder, sent url.Values) {
	t.Helper()
	if w.Code >= 500 {
		t.Errorf("%q: got %d", sent, w.Code)
	}
	page := w.Body.String()
	if strings.Contains(page, marker) || !utf8.ValidString(page) {
		t.Errorf("%q appears unescaped: %s", sent, page)
	}
	if strings.HasPrefix(w.Header().Get("Content-Type"), "text/html") {
		for _, tag := range tags.FindAllStringSubmatch(page, -1) {
			if !ourTags[tag[2]] {
				t.Errorf("%q: the page has the tag %q", sent, tag[0])
			}
		}
	}
	for _, c := range w.Header()["Set-Cookie"] {
		if strings.ContainsAny(c, "\r\n") {
			t.Errorf("%q: sets %q", sent, c)
		}
	}
	location := w.Header().Get("Location")
	if location != "" && (!strings.HasPrefix(location, "/") || strings.HasPrefix(location, "//") || strings.ContainsAny(location, "\\\r\n\t")) {
		t.Errorf("%q: leads to %q", sent, location)
	}
}

// ourTags are the tags that the templates use.
var ourTags = func() map[string]bool {
	all := map[string]bool{"!doctype": true}
	for _, tag := range strings.Fields(`html head meta title link script noscript body a header svg path nav form button main p div section h1 h2 h3 label input
		span footer strong code select optgroup option time circle g radialGradient stop ul ol li dl dt dd table thead tbody tr th td small em br hr fieldset legend details summary abbr aside noscript bdi pre textarea`) {
		all[tag] = true
	}
	return all
}()

// TestLogin_ReturnsToOtherSites: a visitor from a site on another port of this host is sent back there.
func TestLogin_ReturnsToOtherSites(t *testing.T) {
	s := newSite(t)
	s.add(t, "alice")
	const wanted = "https://example.com:5000/a?b=c&d=%26"
	for _, path := range []string{"/login", "/register"} {
		w := s.browser().get(path + "?next=" + url.QueryEscape(wanted))
		wantPage(t, w, http.StatusOK, `name="next" value="`+html.EscapeString(wanted)+`"`)
		policy := w.Header().Get("Content-Security-Policy")
		if !strings.Contains(policy, "form-action 'self' https://example.com:5000;") {
			t.Errorf("%s: the policy does not allow the form's redirect to the other site: %s", path, policy)
		}
		for _, evil := range []string{"https://evil.example/", "//evil.example", "https://example.com:5000@evil.example/"} {
			w := s.browser().get(path + "?next=" + url.QueryEscape(evil))
			if strings.Contains(w.Body.String(), "evil.example") || strings.Contains(w.Header().Get("Content-Security-Policy"), "evil") {
				t.Errorf("%s?next=%s: the untrusted address is in the response", path, evil)
			}
		}
	}
	w := s.browser().post("/login", form("username", "alice", "password", "wrong", "next", wanted))
	wantPage(t, w, http.StatusUnauthorized, "example.com:5000")
	if !strings.Contains(w.Header().Get("Content-Security-Policy"), "form-action 'self' https://example.com:5000;") {
		t.Error("after a wrong password, the policy does not allow the form's redirect to the other site")
	}
	b := s.browser()
	wantRedirect(t, b.post("/login", form("username", "alice", "password", secret, "next", wanted)), wanted)
	wantRedirect(t, b.get("/login?next="+url.QueryEscape(wanted)), wanted)
	wantRedirect(t, b.get("/register?next="+url.QueryEscape(wanted)), wanted)

	w = b.get("/sign-out?next=" + url.QueryEscape(wanted))
	wantPage(t, w, http.StatusOK, "Sign out?", `name="next" value="`+html.EscapeString(wanted)+`"`)
	if s.Stores.Sessions.Len() != 1 {
		t.Fatal("opening the page signs out")
	}
	wantRedirect(t, b.post("/logout", form("next", "https://evil.example/")), "/login?notice=signed-out")
	wantRedirect(t, b.get("/sign-out?next="+url.QueryEscape(wanted)), wanted)
	wantRedirect(t, b.get("/sign-out?next=https://evil.example/"), "/login?notice=signed-out")
	b = s.signedIn(t, "alice")
	wantRedirect(t, b.post("/logout", form("next", wanted)), wanted)
	if s.Stores.Sessions.Len() != 0 {
		t.Error("the session still exists")
	}
}

// TestForms_TruncateLongValues: a form that is shown again does not grow with the submitted values.
func TestForms_TruncateLongValues(t *testing.T) {
	s := newSite(t)
	s.addAdmin(t, "boss")
	b := s.signedIn(t, "boss")
	long := strings.Repeat(`"`, 60<<10)
	for path, fields := range map[string][]string{
		"/login":               {"username", "password", "remember", "next", "time_zone"},
		"/register":            {"username", "password", "name", "email", "time_zone", "next"},
		"/account/profile":     {"name", "email", "time_zone", "shown_name", "shown_email", "shown_time_zone"},
		"/account/appearance":  appearanceFields,
		"/account/password":    {"current_password", "new_password"},
		"/account/tokens":      {"name", "days", "permissions"},
		"/admin/groups":        {"group"},
		"/admin/groups/grant":  {"group", "permission"},
		"/admin/groups/remove": {"group"},
		"/admin/users/new":     {"username", "password", "name", "email", "groups"},
	} {
		for _, field := range fields {
			pairs := []string{field, long}
			for _, other := range fields {
				if other != field {
					pairs = append(pairs, other, "x")
				}
			}
			client := b
			if path == "/login" || path == "/register" {
				client = s.browser()
			}
			usual := client.post(path, form(pairs[2:]...)).Body.Len()
			if got := client.post(path, form(pairs...)); got.Body.Len() > usual+8<<10 || got.Code >= 500 {
				t.Errorf("%s with a long %s: got %d with %d octets, usually %d", path, field, got.Code, got.Body.Len(), usual)
			}
		}
	}
	for _, path := range []string{"/login?next=/" + long, "/register?next=/" + long, "/admin/users?q=" + long, "/admin/users?after=" + long, "/admin/users?sort=created&before=" + long, "/admin/users?group=" + long, "/admin/users?state=" + long, "/sign-out?next=/" + long, "/account?notice=" + long} {
		if got := b.get(strings.ReplaceAll(path, `"`, "%22")); got.Body.Len() > 64<<10 || len(got.Header().Get("Location")) > 8<<10 {
			t.Errorf("%.20s: %d octets, Location of %d", path, got.Body.Len(), len(got.Header().Get("Location")))
		}
	}
}

// TestUnavailablePage_KnowsWhatWasChanged: for every form, the 503 page says correctly whether the change was saved,
// whichever store call fails.
func TestUnavailablePage_KnowsWhatWasChanged(t *testing.T) {
	const nothing, maybe = "Nothing was saved", "Your change may have been saved."
	notWritten := fmt.Errorf("%w (%w)", errDown, auth.ErrNotWritten)
	for _, c := range []struct {
		path, broken string
		err          error
		says         string
		fields       []string
	}{
		{"/account/password", "users.UserByID", errDown, nothing, nil},
		{"/account/password", "users.SetPassword", notWritten, nothing, nil},
		{"/account/password", "users.SetPassword", errDown, maybe, nil},
		{"/account/password", "sessions.Commit", errDown, maybe, nil},
		{"/account/profile", "users.SetProfile", notWritten, nothing, nil},
		{"/account/profile", "users.SetProfile", errDown, maybe, nil},
		{"/account/sessions/end", "sessions.End", errDown, maybe, []string{"session", "x"}},
		{"/account/tokens", "tokens.Create", errDown, maybe, nil},
		{"/account/tokens", "tokens.List", errDown, maybe, nil},
		{"/account/tokens/revoke-all", "tokens.RevokeAll", errDown, maybe, nil},
		{"/admin/users/ID/active", "users.SetActive", notWritten, nothing, nil},
		{"/admin/users/ID/active", "users.SetActive", errDown, maybe, nil},
		{"/admin/users/ID/groups", "grants.Groups", errDown, nothing, nil},
		{"/admin/users/new", "users.CreateUser", notWritten, nothing, []string{"username", "another"}},
		{"/admin/users/new", "users.CreateUser", errDown, maybe, []string{"username", "another"}},
		{"/admin/users/OTHER/password", "users.UserByID", errDown, nothing, nil},
		{"/admin/users/OTHER/password", "users.SetPassword", errDown, maybe, nil},
		{"/admin/users/OTHER/email/verify", "users.VerifyEmail", errDown, maybe, nil},
		{"/admin/users/OTHER/permissions/grant", "grants.SetPermission", errDown, maybe, []string{"permission", "a.b"}},
		{"/admin/users/OTHER/sessions/end", "sessions.End", errDown, maybe, []string{"session", "x"}},
		{"/admin/users/OTHER/delete", "users.SetActive", notWritten, nothing, []string{"username", "other"}},
		{"/admin/users/OTHER/delete", "sessions.EndStale", errDown, maybe, []string{"username", "other"}},
		{"/admin/users/OTHER/delete", "users.DeleteUser", errDown, maybe, []string{"username", "other"}},
		{"/admin/groups", "grants.AddGroup", notWritten, nothing, nil},
		{"/admin/groups", "grants.AddGroup", errDown, maybe, nil},
		{"/login", "users.UserByUsername", errDown, nothing, nil},
		{"/register", "users.CreateUser", notWritten, nothing, []string{"username", "another"}},
		{"/register", "users.CreateUser", errDown, maybe, []string{"username", "another"}},
		{"/register", "sessions.Commit", errDown, maybe, []string{"username", "another"}},
	} {
		t.Run(c.path+" "+c.broken+" "+c.says, func(t *testing.T) {
			s := newSite(t)
			u, other := s.addAdmin(t, "boss"), s.add(t, "other")
			b := s.signedIn(t, "boss")
			if c.path == "/login" || c.path == "/register" {
				b = s.browser()
			}
			fields := append([]string{"username", "boss", "password", secret, "current_password", secret, "new_password", "an entirely new secret", "name", "Boss",
				"time_zone", "UTC", "active", "true", "group", "readers"}, c.fields...)
			values := form(fields...)
			if len(c.fields) == 2 {
				values.Set(c.fields[0], c.fields[1])
			}
			s.FailOn(c.broken, c.err)
			wantPage(t, b.post(strings.NewReplacer("ID", u.ID, "OTHER", other.ID).Replace(c.path), values), http.StatusServiceUnavailable, c.says)
		})
	}
}
