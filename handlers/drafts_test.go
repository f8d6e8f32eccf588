package handlers

import (
	"fmt"
	"html"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"gatehouse/auth"
)

var hiddenInput = regexp.MustCompile(`<input type="hidden" name="([^"]*)" value="([^"]*)"`)

// hiddenFields returns the hidden fields of the form that submits to the path.
func hiddenFields(w *httptest.ResponseRecorder, path string) url.Values {
	fields := url.Values{}
	_, rest, _ := strings.Cut(w.Body.String(), `action="`+path+`"`)
	own, _, _ := strings.Cut(rest, "</form>")
	for _, m := range hiddenInput.FindAllStringSubmatch(own, -1) {
		fields.Add(html.UnescapeString(m[1]), html.UnescapeString(m[2]))
	}
	return fields
}

// profileOf returns the profile form as the page shows it, with the pairs entered.
func profileOf(b *browser, pairs ...string) url.Values {
	fields := hiddenFields(b.get("/account"), "/account/profile")
	for i := 0; i < len(pairs); i += 2 {
		fields.Set(pairs[i], pairs[i+1])
	}
	return fields
}

// signInAgain submits the sign-in form of the page.
func (b *browser) signInAgain(page *httptest.ResponseRecorder, pairs ...string) *httptest.ResponseRecorder {
	fields := hiddenFields(page, "/login")
	for i := 0; i < len(pairs); i += 2 {
		fields.Set(pairs[i], pairs[i+1])
	}
	return b.post("/login", fields)
}

// endSession ends the browser's session as another device would.
func (b *browser) endSession(t testing.TB) {
	t.Helper()
	if err := b.site.Stores.Sessions.Delete(auth.SessionID(b.cookies["gatehouse"])); err != nil {
		t.Fatal(err)
	}
}

const ended = "Your session has ended, so your changes weren&#39;t saved."

// A form that is submitted after its session has ended comes back filled in, and is not saved.
func TestDraft_ComesBackAfterTheSignIn(t *testing.T) {
	s := newSite(t)
	u := s.add(t, "alice")
	b := s.signedIn(t, "alice")
	edit := profileOf(b, "name", `Al "the <b>ear"`, "email", "not-yet", "time_zone", "Asia/Tokyo")
	b.endSession(t)

	w := b.post("/account/profile", edit)
	wantPage(t, w, http.StatusUnauthorized, ended, "get back what you entered", "<title>Error: Sign in", `name="password"`)
	if len(w.Header()["Set-Cookie"]) != 0 || strings.Contains(w.Body.String(), "Create account") {
		t.Errorf("got the cookies %q on %s", w.Header()["Set-Cookie"], w.Body)
	}
	// A wrong password and a missing one keep the draft.
	w = b.signInAgain(w, "username", "alice", "password", "wrong")
	wantPage(t, w, http.StatusUnauthorized, "Wrong user name or password.", "get back what you entered")
	w = b.signInAgain(w, "username", "alice")
	wantPage(t, w, http.StatusUnprocessableEntity, "Enter your password.", "get back what you entered")

	w = b.signInAgain(w, "username", "alice", "password", secret)
	wantPage(t, w, http.StatusOK, `role="status" tabindex="-1" autofocus>`+html.EscapeString(notYetSaved), `value="`+html.EscapeString(edit.Get("name"))+`"`, `value="not-yet"`,
		`value="Asia/Tokyo" selected`, `data-address="/account"`, "<title>Account")
	if n := strings.Count(w.Body.String(), ">This device<"); n != 1 || b.cookies["gatehouse"] == "" {
		t.Errorf("the new session is listed %d times, and the cookies are %v", n, b.cookies)
	}
	if got := s.Stores.Users.Row(u.ID); got.Name != "" || got.TimeZone != "UTC" {
		t.Errorf("it was saved: %+v", got)
	}
	// The form that came back works like any other.
	again := hiddenFields(w, "/account/profile")
	again.Set("name", "Al")
	again.Set("email", "")
	again.Set("time_zone", "Asia/Tokyo")
	wantRedirect(t, b.post("/account/profile", again), "/account?notice=profile")
	if got := s.Stores.Users.Row(u.ID); got.Name != "Al" || got.TimeZone != "Asia/Tokyo" {
		t.Errorf("got %+v", got)
	}
}

// A draft is shown only to the user who entered it.
func TestDraft_IsNotShownToAnotherUser(t *testing.T) {
	s := newSite(t)
	s.add(t, "alice")
	s.add(t, "bob")
	b := s.signedIn(t, "alice")
	edit := profileOf(b, "name", "Alice's secret name")
	b.endSession(t)
	w := b.post("/account/profile", edit)
	wantRedirect(t, b.signInAgain(w, "username", "bob", "password", secret), "/dashboard")
	if page := b.get("/account"); strings.Contains(page.Body.String(), "secret name") {
		t.Errorf("bob sees it: %s", page.Body)
	}
	// The author's id is not taken on trust from a form without it.
	edit.Del("author")
	b.endSession(t)
	wantRedirect(t, b.signInAgain(b.post("/account/profile", edit), "username", "alice", "password", secret), "/dashboard")
}

func TestDraft_SurvivesTheRateLimit(t *testing.T) {
	s := newSite(t)
	s.add(t, "alice")
	b := s.signedIn(t, "alice")
	edit := profileOf(b, "name", "Alice L.")
	b.endSession(t)
	w := b.post("/account/profile", edit)
	for i := 0; w.Code == http.StatusUnauthorized; i++ {
		w = b.signInAgain(w, "username", "alice", "password", fmt.Sprint("wrong", i))
	}
	wantPage(t, w, http.StatusTooManyRequests, "Too many attempts.", "get back what you entered")
	s.Stores.Throttle.Reset(t.Context(), slices.Collect(maps.Keys(s.Stores.Throttle.Counts()))...)
	wantPage(t, b.signInAgain(w, "username", "alice", "password", secret), http.StatusOK, `value="Alice L."`)
}

// Passwords and one-click actions are not kept: the sign-in leads back to their page, which says so.
func TestDraft_KeepsNoPasswordsAndActions(t *testing.T) {
	s := newSite(t)
	u := s.addAdmin(t, "root")
	for path, page := range map[string]string{
		"/account/password":                "/account",
		"/account/sessions/end":            "/account",
		"/account/sessions/end-others":     "/account/sessions/end-others",
		"/account/tokens/revoke":           "/account/tokens",
		"/admin/users/" + u.ID + "/active": "/admin/users/" + u.ID,
		"/admin/groups/remove":             "/admin/groups",
		"/admin/maintenance/end":           "/admin/users",
	} {
		w := s.browser().post(path, form("current_password", "hunter2-one", "new_password", "hunter2-two", "name", "hunter2", "author", u.ID, "group", "hunter2"))
		w = wantEnded(t, s.browser(), w, page)
		if strings.Contains(w.Body.String(), "hunter2") || strings.Contains(w.Body.String(), "get back") {
			t.Errorf("%s: the page repeats what was sent: %s", path, w.Body)
		}
		b := s.browser()
		wantRedirect(t, b.signInAgain(w, "username", "root", "password", secret), page+"?notice=not-saved")
		wantPage(t, b.get(page+"?notice=not-saved"), http.StatusOK)
	}
	wantPage(t, s.signedIn(t, "root").get("/account?notice=not-saved"), http.StatusOK, "Your last change wasn&#39;t saved")
	// Neither are fields that the form does not have.
	w := s.browser().post("/account/profile", form("name", "Root", "password", "hunter2", "epoch", "9", "author", u.ID))
	if got := hiddenFields(w, "/login"); got.Get("draft-name") != "Root" || got.Has("draft-password") || got.Has("draft-epoch") {
		t.Errorf("the form carries %v", got)
	}
}

// wantEnded follows a response to the sign-in page, which says that the session has ended and leads back to the page.
func wantEnded(t *testing.T, b *browser, w *httptest.ResponseRecorder, page string) *httptest.ResponseRecorder {
	t.Helper()
	wantRedirect(t, w, "/login?next="+url.QueryEscape(page)+"&notice=ended")
	w = b.get(w.Header().Get("Location"))
	wantPage(t, w, http.StatusOK, ended, "<title>Error: Sign in", `name="next" value="`+page+`?notice=not-saved"`)
	return w
}

// The second form of a double click finds the session renewed by the first: the user gets to the page, not to the sign-in.
func TestDraft_OfARenewedSessionLeadsToThePage(t *testing.T) {
	s := newSite(t)
	s.add(t, "alice")
	w := s.browser().post("/account/sessions/end-others", nil)
	b := s.signedIn(t, "alice")
	wantRedirect(t, b.get(w.Header().Get("Location")), "/account/sessions/end-others")
}

func TestDraft_IsBounded(t *testing.T) {
	s := newSite(t)
	u := s.addAdmin(t, "root")
	groups := make([]string, 300)
	for i := range groups {
		groups[i] = fmt.Sprint("g", i)
	}
	for what, c := range map[string]struct {
		path string
		form url.Values
	}{
		"long value":  {"/account/profile", form("author", u.ID, "name", strings.Repeat("x", 9<<10))},
		"many values": {"/admin/users/" + u.ID + "/groups", url.Values{"author": {u.ID}, "groups": groups}},
		"NUL":         {"/account/profile", form("author", u.ID, "name", "a\x00b")},
		"not UTF-8":   {"/account/profile", form("author", u.ID, "name", "\xff")},
	} {
		w := s.browser().post(c.path, c.form)
		w = wantEnded(t, s.browser(), w, strings.TrimSuffix(strings.TrimSuffix(c.path, "/profile"), "/groups"))
		if got := hiddenFields(w, "/login"); len(got) != 1 || w.Body.Len() > 8<<10 {
			t.Errorf("%s: the form carries %.200v", what, got)
		}
		// The sign-in form is as strict.
		draft := form("username", "root", "password", secret, "draft", c.path)
		for name, values := range c.form {
			draft["draft-"+name] = values
		}
		wantRedirect(t, s.browser().post("/login", draft), "/dashboard")
	}
	for _, path := range []string{"/account/password", "/login", "/logout", "/account", "/account/../account/profile", "//evil.example/account/profile", "https://evil.example/account/profile", "/account/profile?x", "%zz", "/nothing", "/static/app.css"} {
		wantRedirect(t, s.browser().post("/login", form("username", "root", "password", secret, "draft", path, "draft-author", u.ID, "draft-name", "x")), "/dashboard")
	}
}

// The page of a draft is open to those who may open it otherwise.
func TestDraft_NeedsTheRoutesPermission(t *testing.T) {
	s := newSite(t)
	u := s.add(t, "alice")
	for _, path := range []string{"/admin/groups", "/admin/groups/grant", "/admin/users/" + u.ID + "/groups"} {
		b := s.browser()
		w := b.post("/login", form("username", "alice", "password", secret, "draft", path, "draft-author", u.ID, "draft-group", "staff"))
		wantRedirect(t, w, "/dashboard")
		wantPage(t, b.get("/dashboard"), http.StatusOK)
	}
}

func TestDraft_OfEachForm(t *testing.T) {
	s := newSite(t)
	u := s.addAdmin(t, "root")
	if err := s.Handlers.Accounts.AddGroup(t.Context(), "staff"); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		path   string
		fields url.Values
		texts  []string
	}{
		{"/account/tokens", form("name", "backup <x>", "days", "12", "permissions", "users.view"),
			[]string{`value="backup &lt;x&gt;"`, `value="12"`, `value="users.view" checked`, `data-address="/account/tokens"`}},
		// A token without permissions must not come back as one with full access.
		{"/account/tokens", form("name", "x", "days", "date", "until", "2027-01-31", "access", "limited"),
			[]string{`value="date" checked`, `value="2027-01-31"`, `value="limited" checked`}},
		{"/admin/groups", form("group", "Two Words"), []string{`value="Two Words"`, `data-address="/admin/groups"`}},
		{"/admin/groups/grant", form("group", "staff", "permission", "not one"), []string{`value="not one"`, `data-address="/admin/groups"`}},
		{"/admin/users/" + u.ID + "/groups", form("shown", "admin", "groups", "staff"),
			[]string{`value="staff" checked`, `value="admin">`, `data-address="/admin/users/` + u.ID + `"`}},
	} {
		b := s.signedIn(t, "root")
		c.fields.Set("author", u.ID)
		b.endSession(t)
		w := b.signInAgain(b.post(c.path, c.fields), "username", "root", "password", secret)
		wantPage(t, w, http.StatusOK, append(c.texts, html.EscapeString(notYetSaved))...)
	}
	if groups := s.row(u).Groups; !slices.Equal(groups, []string{"admin"}) {
		t.Errorf("the groups are %q now", groups)
	}
	// A group that is gone has no form.
	b := s.browser()
	w := b.signInAgain(b.post("/admin/groups/grant", form("group", "gone", "permission", "a.b", "author", u.ID)), "username", "root", "password", secret)
	wantPage(t, w, http.StatusOK, "This group no longer exists.")
}

// A page that cannot be shown does not sign in either: the sign-in form still has the draft.
func TestDraft_StoreFails(t *testing.T) {
	s := newSite(t)
	s.add(t, "alice")
	b := s.signedIn(t, "alice")
	edit := profileOf(b, "name", "Alice L.")
	b.endSession(t)
	w := b.post("/account/profile", edit)
	s.FailOn("sessions.List", errDown)
	failed := b.signInAgain(w, "username", "alice", "password", secret)
	wantPage(t, failed, http.StatusServiceUnavailable)
	if len(failed.Header()["Set-Cookie"]) != 0 {
		t.Errorf("sets %q", failed.Header()["Set-Cookie"])
	}
	s.FailOn("sessions.List", nil)
	wantPage(t, b.signInAgain(w, "username", "alice", "password", secret), http.StatusOK, `value="Alice L."`)
}

// TestDraft_OfAPageThatIsGoneDoesNotPreventTheSignIn: the user whose page had the form was deleted in between.
func TestDraft_OfAPageThatIsGoneDoesNotPreventTheSignIn(t *testing.T) {
	s := newSite(t)
	root := s.addAdmin(t, "root")
	bob := s.add(t, "bob")
	w := s.browser().post("/admin/users/"+bob.ID+"/permissions/grant", form("permission", "books.edit", "author", root.ID))
	wantPage(t, w, http.StatusUnauthorized, ended)
	if _, err := s.Handlers.Accounts.DeleteUser(t.Context(), bob.ID); err != nil {
		t.Fatal(err)
	}
	b := s.browser()
	wantRedirect(t, b.signInAgain(w, "username", "root", "password", secret), "/dashboard")
	wantPage(t, b.get("/dashboard"), http.StatusOK)
}
