package handlers

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse/auth"
	"gatehouse/auth/authtest"
)

// listed returns the usernames in a list of users, in its order.
func listed(w *httptest.ResponseRecorder) []string {
	var names []string
	for _, m := range regexp.MustCompile(`<th scope="row"><a href="[^"]*"><bdi>([^<]*)</bdi>`).FindAllStringSubmatch(w.Body.String(), -1) {
		names = append(names, m[1])
	}
	return names
}

func TestAdminUsers_FiltersAndSorts(t *testing.T) {
	s := newSite(t)
	root := s.addAdmin(t, "root")
	day := time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC)
	for i, u := range []auth.User{
		{Username: "zoe", Name: "Zoë", Email: "zoe@example.org", Active: true, LastSignInAt: day.AddDate(0, 0, 9)},
		{Username: "anton", Name: "LÖWEN", Active: false},
		{Username: "mia", Email: "mia@example.org", EmailVerified: true, Active: true, Groups: []string{"admin"}, LastSignInAt: day.AddDate(0, 0, 3)},
	} {
		u.ID, u.CreatedAt = fmt.Sprint(i), day.AddDate(0, 0, i)
		s.Stores.Users.Put(u)
	}
	row := s.row(root)
	row.CreatedAt, row.LastSignInAt = day.AddDate(0, 0, -1), day
	s.Stores.Users.Put(row)
	b := s.signedIn(t, "root") // root signed in last
	for query, want := range map[string]string{
		"": "anton mia root zoe", "order=desc": "zoe root mia anton", "order=asc": "anton mia root zoe", "sort=name": "anton mia root zoe",
		"sort=last-sign-in": "root zoe mia anton", "sort=last-sign-in&order=asc": "anton mia zoe root", "sort=created": "mia anton zoe root",
		"sort=created&order=asc": "root zoe anton mia", "state=active": "mia root zoe", "state=disabled": "anton", "state=unverified": "zoe",
		"group=admin": "mia root", "group=nosuch": "", "group=admin&q=MIA": "mia", "q=ZOE": "zoe", "q=l%C3%B6wen": "anton", "q=lowen&state=active": "",
		"state=nosuch&sort=nosuch&order=nosuch": "anton mia root zoe", "sort=created&after=nonsense": "",
	} {
		w := b.get("/admin/users?" + query)
		if got := strings.Join(listed(w), " "); w.Code != http.StatusOK || query != "sort=created&after=nonsense" && got != want {
			t.Errorf("%s: %d, %q, want %q", query, w.Code, got, want)
		}
	}
	// Headers sort, and reverse what is sorted by them; filters can be removed one by one, and each keeps the others.
	w := b.get("/admin/users?q=o&state=active&group=admin&sort=created")
	wantPage(t, w, http.StatusOK, "2 users<", `aria-sort="descending"><a href="/admin/users?group=admin&amp;order=asc&amp;q=o&amp;sort=created&amp;state=active">Created`,
		`<a href="/admin/users?group=admin&amp;q=o&amp;state=active">User`, `<a href="/admin/users?group=admin&amp;sort=created&amp;state=active">`,
		`<a href="/admin/users?group=admin&amp;q=o&amp;sort=created">`, `<a href="/admin/users?q=o&amp;sort=created&amp;state=active">`,
		`<option value="disabled">Disabled`, `<option value="active" selected>Active`, `<option value="admin" selected>admin`, `<option value="created" selected>Created`)
	wantPage(t, b.get("/admin/users"), http.StatusOK, `aria-sort="ascending"><a href="/admin/users?order=desc">User`, `<a href="/admin/users?sort=last-sign-in">Last sign-in`)
	wantPage(t, b.get("/admin/users?order=desc"), http.StatusOK, `aria-sort="descending"><a href="/admin/users">User`, `name="order" value="desc"`)
	wantPage(t, b.get("/admin/users?group=nosuch"), http.StatusOK, "0 users", "No user matches.", "In nosuch", "Show all users")
	wantPage(t, b.get("/admin/groups"), http.StatusOK, `<a href="/admin/users?group=admin">2 members`)
}

// TestAdminUsers_PagesForwardAndBack keeps filters and order.
func TestAdminUsers_PagesForwardAndBack(t *testing.T) {
	s := newSite(t)
	s.addAdmin(t, "root")
	for i := range 120 {
		s.Stores.Users.Put(auth.User{ID: fmt.Sprint(i), Username: fmt.Sprintf("user%03d", i), CreatedAt: time.Unix(int64(1000+i%7), 0)})
	}
	b := s.signedIn(t, "root")
	link := func(w *httptest.ResponseRecorder, rel string) string {
		m := regexp.MustCompile(`rel="` + rel + `" href="([^"]*)"`).FindStringSubmatch(w.Body.String())
		if m == nil {
			return ""
		}
		return strings.ReplaceAll(m[1], "&amp;", "&")
	}
	for _, address := range []string{"/admin/users?q=user", "/admin/users?q=user&order=desc", "/admin/users?q=user&state=disabled&sort=created"} {
		var pages [][]string
		w := b.get(address)
		for {
			pages = append(pages, listed(w))
			next := link(w, "next")
			if next == "" {
				break
			}
			w = b.get(next)
		}
		if len(pages) != 3 || len(slices.Concat(pages...)) != 120 {
			t.Fatalf("%s: %d pages: %q", address, len(pages), pages)
		}
		for i := 1; i >= 0; i-- {
			w = b.get(link(w, "prev"))
			if !slices.Equal(listed(w), pages[i]) {
				t.Errorf("%s: page %d backward is %q, want %q", address, i, listed(w), pages[i])
			}
		}
		if link(w, "prev") != "" {
			t.Errorf("%s: the first page links to one before it", address)
		}
	}
}

func TestThousands_SeparatesThem(t *testing.T) {
	for n, want := range map[int]string{0: "0 users", 1: "1 user", 999: "999 users", 1204: "1,204 users", 100_000: "100,000 users", 100_001: "More than 100,000 users"} {
		if got := countUsers(n); got != want {
			t.Errorf("%d: got %q, want %q", n, got, want)
		}
	}
	if got := thousands(1_234_567); got != "1,234,567" {
		t.Errorf("got %q", got)
	}
}

func TestAddUser_AddsAUserWhoCanSignIn(t *testing.T) {
	s := newSite(t)
	s.addAdmin(t, "root")
	b := s.signedIn(t, "root")
	wantPage(t, b.get("/admin/users"), http.StatusOK, `href="/admin/users/new"`)
	wantPage(t, b.get("/admin/users/new"), http.StatusOK, `action="/admin/users/new"`, `name="groups" value="admin"`)
	w := b.post("/admin/users/new", form("username", "Alice", "name", "Alice L.", "email", "alice@example.org", "password", secret, "groups", "admin", "groups", "admin"))
	u, err := s.Handlers.Accounts.UserByUsername(t.Context(), "alice")
	if err != nil || u.Name != "Alice L." || !u.EmailVerified || !u.InGroup("admin") {
		t.Fatalf("got %+v, %v", u, err)
	}
	wantRedirect(t, w, "/admin/users/"+u.ID+"?notice=user-added")
	wantPage(t, b.get("/admin/users/"+u.ID+"?notice=user-added"), http.StatusOK, "User added.", "verified")
	wantPage(t, s.signedIn(t, "alice").get("/admin/users"), http.StatusOK)

	count := s.Stores.Users.Len()
	for what, c := range map[string]struct {
		pairs []string
		texts []string
	}{
		"taken":      {[]string{"username", "alice", "password", secret}, []string{"This name is taken"}},
		"no name":    {[]string{"password", secret}, []string{"Enter a user name."}},
		"weak":       {[]string{"username", "bob", "password", "short", "name", "Bob B."}, []string{"Use at least 8 characters", `value="bob"`, `value="Bob B."`}},
		"no address": {[]string{"username", "bob", "password", secret, "email", "nowhere", "groups", "admin"}, []string{"Enter an address", `value="nowhere"`, `value="admin" checked`}},
		"no group":   {[]string{"username", "bob", "password", secret, "groups", "nosuch"}, []string{"no longer exists, so nothing was saved", `value="bob"`}},
		"address":    {[]string{"username", "bob", "password", secret, "email", "alice@example.org"}, []string{"Another account has this address."}},
	} {
		w := b.post("/admin/users/new", form(c.pairs...))
		wantPage(t, w, http.StatusUnprocessableEntity, append(c.texts, "<title>Error: Add user")...)
		if strings.Contains(w.Body.String(), secret) {
			t.Errorf("%s: the page contains the password", what)
		}
	}
	if got := s.Stores.Users.Len(); got != count {
		t.Errorf("%d users, want %d", got, count)
	}
	s.FailOn("grants.ChangeGroups", auth.ErrGroupNotFound)
	w = b.post("/admin/users/new", form("username", "carol", "password", secret, "groups", "admin"))
	if carol, err := s.Handlers.Accounts.UserByUsername(t.Context(), "carol"); err != nil || w.Header().Get("Location") != "/admin/users/"+carol.ID+"?notice=user-added-without-groups" {
		t.Errorf("got %v, %v", w.Header(), err)
	}
	s.FailOn("throttle.", auth.ThrottledError{RetryAfter: time.Minute})
	w = b.post("/admin/users/new", form("username", "dan", "password", secret))
	wantPage(t, w, http.StatusTooManyRequests, "Too many attempts. Wait", `value="dan"`)
	if w.Header().Get("Retry-After") != "60" {
		t.Errorf("got %v", w.Header())
	}
}

func TestSetUserPassword_EndsSessionsAndTokens(t *testing.T) {
	s := newSite(t)
	root, alice := s.addAdmin(t, "root"), s.add(t, "alice")
	b, victim := s.signedIn(t, "root"), s.signedIn(t, "alice")
	token, _, err := s.Handlers.Accounts.NewToken(t.Context(), alice, auth.TokenRequest{Name: "CI"})
	if err != nil {
		t.Fatal(err)
	}
	path := "/admin/users/" + alice.ID + "/password"
	for _, weak := range []string{"", "short", "password1"} {
		w := b.post(path, form("new_password", weak))
		wantPage(t, w, http.StatusUnprocessableEntity, "<title>Error: alice", `id="new_password"`, `aria-invalid="true"`)
	}
	if got := s.row(alice); got.Epoch != alice.Epoch {
		t.Errorf("a refused password changed the user: %+v", got)
	}
	wantRedirect(t, b.post(path, form("new_password", "an entirely new secret")), "/admin/users/"+alice.ID+"?notice=user-password")
	wantPage(t, b.get("/admin/users/"+alice.ID+"?notice=user-password"), http.StatusOK, "Password set.")
	if w := victim.get("/dashboard"); w.Code != http.StatusSeeOther {
		t.Errorf("alice is still signed in: got %d", w.Code)
	}
	wantCode(t, s.bearer(token).do("GET", "/api/me", ""), http.StatusUnauthorized, "token_dead")
	w := s.browser().post("/login", form("username", "alice", "password", "an entirely new secret"))
	wantRedirect(t, w, "/dashboard")

	// Administrators need their current password for their own, on their account page.
	wantPage(t, b.post("/admin/users/"+root.ID+"/password", form("new_password", "an entirely new secret")), http.StatusUnprocessableEntity, "Change your own password on your account page.")
	wantPage(t, b.get("/dashboard"), http.StatusOK)
	wantPage(t, b.post("/admin/users/nobody/password", form("new_password", "an entirely new secret")), http.StatusNotFound)

	s.FailOn("users.SetPassword", fmt.Errorf("set password: %w", auth.ErrStale))
	wantPage(t, b.post(path, form("new_password", "an entirely new secret")), http.StatusUnprocessableEntity, "Set the password again.")
	s.FailOn("throttle.", auth.ThrottledError{RetryAfter: time.Minute})
	wantPage(t, b.post(path, form("new_password", "an entirely new secret")), http.StatusTooManyRequests, "Too many attempts. Wait")
}

func TestVerifyUserEmail_RequiresTheAddressShown(t *testing.T) {
	s := newSite(t)
	s.addAdmin(t, "root")
	alice := s.add(t, "alice")
	b := s.signedIn(t, "root")
	row := s.row(alice)
	row.Email = "alice@example.org"
	s.Stores.Users.Put(row)
	page := "/admin/users/" + alice.ID
	wantPage(t, b.get(page), http.StatusOK, "not verified", `action="`+page+`/email/verify"`, `name="email" value="alice@example.org"`)
	wantPage(t, b.post(page+"/email/verify", form("email", "other@example.org")), http.StatusUnprocessableEntity, "The email address changed after you opened this page")
	wantPage(t, b.post(page+"/email/verify", nil), http.StatusUnprocessableEntity)
	if s.row(alice).EmailVerified {
		t.Fatal("another address was verified")
	}
	wantRedirect(t, b.post(page+"/email/verify", form("email", "alice@example.org")), page+"?notice=user-verified")
	if !s.row(alice).EmailVerified || strings.Contains(b.get(page).Body.String(), "/email/verify") {
		t.Errorf("got %+v", s.row(alice))
	}
	bob := s.add(t, "bob")
	row = s.row(bob)
	row.Email = "alice@example.org"
	s.Stores.Users.Put(row)
	wantPage(t, b.post("/admin/users/"+bob.ID+"/email/verify", form("email", "alice@example.org")), http.StatusUnprocessableEntity, "Another account has verified this address.")
}

func TestUserPermissions_SayWhereTheyComeFrom(t *testing.T) {
	s := newSite(t)
	root, alice := s.addAdmin(t, "root"), s.add(t, "alice")
	b := s.signedIn(t, "root")
	page := "/admin/users/" + alice.ID
	for _, group := range []string{"editors", "writers"} {
		if err := s.Handlers.Accounts.AddGroup(t.Context(), group); err != nil {
			t.Fatal(err)
		}
		if err := s.Handlers.Accounts.SetGroupPermission(t.Context(), group, "books.edit", true); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Handlers.Accounts.ChangeGroups(t.Context(), alice.ID, []string{"editors", "writers"}, nil); err != nil {
		t.Fatal(err)
	}
	w := b.get(page)
	wantPage(t, w, http.StatusOK, "books.edit</code>", "From the groups editors, writers<")
	if strings.Contains(w.Body.String(), "/permissions/ungrant") {
		t.Error("a permission of a group can be removed from the user")
	}
	for _, permission := range []string{"books.edit", "billing.refund"} {
		wantRedirect(t, b.post(page+"/permissions/grant", form("permission", permission)), page+"?notice=user-granted")
	}
	wantPage(t, b.get(page), http.StatusOK, "From the groups editors, writers and given directly", "Given directly<", `name="permission" value="billing.refund"`)
	wantPage(t, b.post(page+"/permissions/grant", form("permission", "All of them")), http.StatusUnprocessableEntity, "A permission is lower-case words with dots", `value="All of them"`)
	wantRedirect(t, b.post(page+"/permissions/ungrant", form("permission", "billing.refund")), page+"?notice=user-ungranted")
	if s.row(alice).HasPermission("billing.refund") {
		t.Errorf("got %+v", s.row(alice))
	}
	wantPage(t, b.post(page+"/permissions/ungrant", form("permission", "!")), http.StatusUnprocessableEntity, "A permission is lower-case words with dots")
	wantPage(t, b.post("/admin/users/nobody/permissions/grant", form("permission", "a.b")), http.StatusNotFound)

	// Administrators cannot remove their own permission, nor that of the last administrator.
	own := "/admin/users/" + root.ID + "/permissions/ungrant"
	wantPage(t, b.post(own, form("permission", auth.ManageUsers)), http.StatusUnprocessableEntity, "You can&#39;t remove this permission from yourself.")
	s.FailOn("grants.SetPermission", auth.ErrLastAdministrator)
	wantPage(t, b.post(page+"/permissions/ungrant", form("permission", auth.ManageUsers)), http.StatusUnprocessableEntity, "At least one active user needs the permission users.manage.")
}

func TestEndUserSession_EndsOneSessionOfThatUser(t *testing.T) {
	s := newSite(t)
	root, alice, bob := s.addAdmin(t, "root"), s.add(t, "alice"), s.add(t, "bob")
	b := s.signedIn(t, "root")
	one, two, other := s.signedIn(t, "alice"), s.signedIn(t, "alice"), s.signedIn(t, "bob")
	page := "/admin/users/" + alice.ID
	id := func(b *browser) string { return auth.SessionID(b.cookies["gatehouse"]) }
	wantPage(t, b.get(page), http.StatusOK, `action="`+page+`/sessions/end"`, `name="session" value="`+id(one)+`"`)
	// The session of another user, and none at all: nothing ends, and nothing is revealed.
	for _, session := range []string{id(other), "x", "", strings.Repeat("x", 5000)} {
		wantRedirect(t, b.post(page+"/sessions/end", form("session", session)), page+"?notice=session-ended")
	}
	wantPage(t, other.get("/dashboard"), http.StatusOK)
	for range 2 { // a double click
		wantRedirect(t, b.post(page+"/sessions/end", form("session", id(one))), page+"?notice=session-ended")
	}
	if w := one.get("/dashboard"); w.Code != http.StatusSeeOther {
		t.Errorf("the session goes on: %d", w.Code)
	}
	wantPage(t, two.get("/dashboard"), http.StatusOK)
	wantRedirect(t, b.post("/admin/users/"+bob.ID+"/sessions/end", form("session", id(other))), "/admin/users/"+bob.ID+"?notice=session-ended")
	if w := b.get("/admin/users/" + root.ID); strings.Contains(w.Body.String(), "/sessions/end") {
		t.Error("the page offers to end the session that shows it")
	}
	wantRedirect(t, b.post("/admin/users/"+root.ID+"/sessions/end", form("session", id(b))), "/login?notice=signed-out")
	if w := b.get("/dashboard"); w.Code != http.StatusSeeOther {
		t.Errorf("root is still signed in: %d", w.Code)
	}
}

func TestDeleteUser_AsksForTheName(t *testing.T) {
	s := newSite(t)
	root, alice := s.addAdmin(t, "root"), s.add(t, "jürgen")
	b, victim := s.signedIn(t, "root"), s.signedIn(t, "jürgen")
	token, _, err := s.Handlers.Accounts.NewToken(t.Context(), alice, auth.TokenRequest{Name: "CI"})
	if err != nil {
		t.Fatal(err)
	}
	page := "/admin/users/" + alice.ID
	wantPage(t, b.get(page), http.StatusOK, `href="`+page+`/delete"`)
	wantPage(t, b.get(page+"/delete"), http.StatusOK, "Delete <bdi>jürgen</bdi>?", `action="`+page+`/delete"`)
	for _, name := range []string{"", "root", "jurgen", "jürge", "\xff"} {
		wantPage(t, b.post(page+"/delete", form("username", name)), http.StatusUnprocessableEntity, "<title>Error: Delete jürgen", "nothing was deleted. Enter jürgen.")
	}
	if s.Stores.Users.Len() != 2 || !s.row(alice).Active {
		t.Fatal("the user was deleted or disabled without the name")
	}
	wantPage(t, b.post("/admin/users/"+root.ID+"/delete", form("username", "root")), http.StatusUnprocessableEntity, "You can&#39;t delete yourself.")
	if w := b.get("/admin/users/" + root.ID); strings.Contains(w.Body.String(), "/delete") {
		t.Error("the page offers administrators to delete themselves")
	}
	s.FailOn("users.SetActive", auth.ErrLastAdministrator)
	wantPage(t, b.post(page+"/delete", form("username", "jürgen")), http.StatusUnprocessableEntity, "At least one active user needs the permission users.manage.")
	s.FailOn("users.SetActive", nil)
	s.FailOn("users.DeleteUser", fmt.Errorf("delete user: %w", auth.ErrStale))
	wantPage(t, b.post(page+"/delete", form("username", "jürgen")), http.StatusUnprocessableEntity, "Another administrator enabled the user")
	s.FailOn("users.DeleteUser", nil)

	wantRedirect(t, b.post(page+"/delete", form("username", " JÜRGEN ")), "/admin/users?notice=user-deleted")
	wantPage(t, b.get("/admin/users?notice=user-deleted"), http.StatusOK, "User deleted.", "1 user<")
	if w := victim.get("/dashboard"); w.Code != http.StatusSeeOther {
		t.Errorf("the deleted user is still signed in: %d", w.Code)
	}
	wantCode(t, s.bearer(token).do("GET", "/api/me", ""), http.StatusUnauthorized, "token_unknown")
	s.Stores.Throttle.Reset(t.Context(), authtest.AccountKey("jürgen"))
	if w := s.browser().post("/login", form("username", "jürgen", "password", secret)); w.Code != http.StatusUnauthorized {
		t.Errorf("signing in: %d", w.Code)
	}
	for _, w := range []*httptest.ResponseRecorder{b.post(page+"/delete", form("username", "jürgen")), b.get(page + "/delete"), b.get(page)} {
		wantPage(t, w, http.StatusNotFound)
	}
}

// TestUserDrafts_ComeBackAfterTheSignIn without the password.
func TestUserDrafts_ComeBackAfterTheSignIn(t *testing.T) {
	s := newSite(t)
	s.addAdmin(t, "root")
	alice := s.add(t, "alice")
	b := s.signedIn(t, "root")
	page := "/admin/users/" + alice.ID
	for path, c := range map[string]struct {
		shown  string
		fields []string
		texts  []string
	}{
		"/admin/users/new":            {"/admin/users/new", []string{"username", "bob", "name", "Bob B.", "email", "b@example.org", "password", "swordfish hunter", "groups", "admin"}, []string{`value="bob"`, `value="Bob B."`, `value="b@example.org"`, `value="admin" checked`}},
		page + "/permissions/grant":   {page, []string{"permission", "books.edit"}, []string{`value="books.edit"`}},
		page + "/permissions/ungrant": {page, []string{"permission", "books.edit"}, nil},
		page + "/password":            {page, []string{"new_password", "swordfish hunter"}, nil},
		page + "/delete":              {page + "/delete", []string{"username", "alice"}, nil},
	} {
		fields := hiddenFields(b.get(c.shown), path)
		for i := 0; i < len(c.fields); i += 2 {
			fields.Set(c.fields[i], c.fields[i+1])
		}
		b.endSession(t)
		w := b.post(path, fields)
		if c.texts == nil {
			w = wantEnded(t, b, w, c.shown)
		} else {
			wantPage(t, w, http.StatusUnauthorized, "Your session has ended")
		}
		w = b.signInAgain(w, "username", "root", "password", secret)
		if c.texts == nil {
			if w.Code != http.StatusSeeOther || !strings.HasPrefix(w.Header().Get("Location"), c.shown) {
				t.Errorf("%s: got %d to %q", path, w.Code, w.Header().Get("Location"))
			}
			continue
		}
		wantPage(t, w, http.StatusOK, c.texts...)
		if strings.Contains(w.Body.String(), "swordfish") {
			t.Errorf("%s: the password came back", path)
		}
	}
	if s.Stores.Users.Len() != 2 || s.row(alice).HasPermission("books.edit") || !s.row(alice).Active || s.row(alice).Epoch != alice.Epoch {
		t.Errorf("something was saved: %+v", s.row(alice))
	}
}
