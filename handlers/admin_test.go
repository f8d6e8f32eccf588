package handlers

import (
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"gatehouse/auth"
	"gatehouse/auth/authtest"
)

// row returns the user's row in the database.
func (s *site) row(u auth.User) auth.User { return s.Stores.Users.Row(u.ID) }

func TestTokensPage_CreatesAndRevokes(t *testing.T) {
	s := newSite(t)
	u := s.addAdmin(t, "root")
	b := s.signedIn(t, "root")
	wantPage(t, b.get("/account/tokens"), http.StatusOK, "API tokens", `action="/account/tokens"`, `value="users.manage"`, "You have no API tokens.")
	w := b.post("/account/tokens", form("name", " Build  <server> ", "days", "30", "permissions", "users.view"))
	wantPage(t, w, http.StatusOK, "Build &lt;server&gt;", "You won't be able to see it again.")
	token := regexp.MustCompile(`gatehouse_[0-9A-Za-z]{38}`).FindString(w.Body.String())
	if w.Header().Get("Cache-Control") != "no-store" || w.Header().Get("Location") != "" || strings.Contains(s.log.String(), token) {
		t.Errorf("got %v, and the log %s", w.Header(), s.log.String())
	}
	owner, rec, err := s.Handlers.Accounts.AuthenticateToken(t.Context(), token)
	if err != nil || owner.ID != u.ID || rec.Name != "Build <server>" || rec.ExpiresAt.Sub(rec.CreatedAt) != 30*24*time.Hour || fmt.Sprint(rec.Permissions) != "[users.view]" {
		t.Errorf("got %+v, %v", rec, err)
	}
	w = b.get("/account/tokens")
	wantPage(t, w, http.StatusOK, "Build &lt;server&gt;", rec.TokenID, auth.TokenHint(token))
	if strings.Contains(w.Body.String(), token) || strings.Contains(w.Body.String(), rec.ID) {
		t.Error("the secret or its hash is shown again")
	}
	const expires = "Choose when the token expires, in at most 366 days."
	// Each error is shown at its field, and the form keeps the other values.
	for what, c := range map[string]struct {
		pairs []string
		texts []string
	}{
		"no name":    {[]string{"name", "", "days", "12"}, []string{"Give the token a name", `value="12"`}},
		"no number":  {[]string{"name", "x1y2", "days", "soon"}, []string{expires, `value="x1y2"`}},
		"no days":    {[]string{"name", "x1y2", "days", "0"}, []string{expires}},
		"too many":   {[]string{"name", "x1y2", "days", "367"}, []string{expires}},
		"huge":       {[]string{"name", "x1y2", "days", "106752"}, []string{expires}},
		"no date":    {[]string{"name", "x1y2", "days", "date"}, []string{"Choose a date from ", `value="date" checked`, `id="until" name="until" type="date" value=""`}},
		"past date":  {[]string{"name", "x1y2", "days", "date", "until", "2026-01-01"}, []string{"Choose a date from ", `value="2026-01-01"`}},
		"not owned":  {[]string{"name", "x1y2", "permissions", "books.read"}, []string{"You do not have the permission books.read yourself."}},
		"everything": {[]string{"name", "", "days", "x", "permissions", "a.b"}, []string{"Give the token a name", expires, "a.b yourself"}},
		"limited":    {[]string{"name", "", "access", "limited", "permissions", "users.view"}, []string{`value="limited" checked`, `value="users.view" checked`}},
	} {
		t.Run(what, func(t *testing.T) {
			wantPage(t, b.post("/account/tokens", form(c.pairs...)), http.StatusUnprocessableEntity, append(c.texts, "<title>Error: API tokens")...)
		})
	}
	if s.Stores.Tokens.Len() != 1 {
		t.Errorf("got %d tokens", s.Stores.Tokens.Len())
	}
	s.FailOn("tokens.Create", auth.ErrTooManyTokens)
	wantPage(t, b.post("/account/tokens", form("name", "x")), http.StatusUnprocessableEntity, "already have 100 tokens")
	s.FailOn("tokens.Create", nil)
	// Without days and permissions, a token gets the default lifetime and full access.
	wantPage(t, b.post("/account/tokens", form("name", "two")), http.StatusOK, "two", "Full access: everything you can do.")
	wantPage(t, s.signedIn(t, "root").get("/account/tokens/revoke-all"), http.StatusOK, `action="/account/tokens/revoke-all"`)

	// An empty list of permissions does not mean full access.
	if _, _, err := s.Handlers.Accounts.NewToken(t.Context(), owner, auth.TokenRequest{Name: "three", Permissions: []string{}}); err != nil {
		t.Fatal(err)
	}
	wantPage(t, b.get("/account/tokens"), http.StatusOK, "No permissions.")

	wantRedirect(t, b.post("/account/tokens/revoke", form("token", rec.TokenID)), "/account/tokens?notice=token-revoked")
	wantRedirect(t, b.post("/account/tokens/revoke", form("token", rec.TokenID)), "/account/tokens?notice=token-revoked") // revoking twice is no error
	wantPage(t, b.get("/account/tokens?notice=token-revoked"), http.StatusOK, "Token revoked.")
	if _, _, err := s.Handlers.Accounts.AuthenticateToken(t.Context(), token); err == nil {
		t.Error("the revoked token still works")
	}
	wantRedirect(t, b.post("/account/tokens/revoke-all", nil), "/account/tokens?notice=tokens-revoked")
	if s.Stores.Tokens.Len() != 0 {
		t.Errorf("got %d tokens", s.Stores.Tokens.Len())
	}
	wantPage(t, b.get("/account/tokens/revoke-all"), http.StatusOK, "There is nothing to revoke.")
	s.FailOn("tokens.", errDown)
	for _, path := range []string{"/account/tokens", "/account/tokens/revoke-all"} {
		wantPage(t, b.get(path), http.StatusServiceUnavailable, "Back in a moment")
	}
	for _, path := range []string{"/account/tokens", "/account/tokens/revoke", "/account/tokens/revoke-all"} {
		wantPage(t, b.post(path, form("name", "x", "token", "y")), http.StatusServiceUnavailable, "Back in a moment")
	}
}

// TestTokensPage_LimitsLifetimeAndAccess: the form's choices reach the token.
func TestTokensPage_LimitsLifetimeAndAccess(t *testing.T) {
	s := newSite(t)
	s.addAdmin(t, "root")
	b := s.signedIn(t, "root")
	wantPage(t, b.get("/account/tokens"), http.StatusOK, `name="days" value="3" checked`, `value="7"`, `value="30"`, `value="90"`, `value="365"`,
		`name="days" value="date"`, `name="access" value="full" checked`, `value="users.view"`)
	date := time.Now().UTC().AddDate(0, 0, 10).Format(time.DateOnly)
	for what, c := range map[string]struct {
		pairs       []string
		permissions string
		expires     string
	}{
		"full":           {[]string{"days", "7", "access", "full", "permissions", "users.view"}, "[]string(nil)", "168h"},
		"limited":        {[]string{"days", "90", "access", "limited", "permissions", "users.view"}, `[]string{"users.view"}`, "2160h"},
		"no permissions": {[]string{"days", "365", "access", "limited"}, "[]string{}", "8760h"},
		"on a date":      {[]string{"days", "date", "until", date, "access", "full"}, "[]string(nil)", date + "T23:59:59Z"},
		// Without a choice of the date, its field does not count.
		"not on the date": {[]string{"days", "30", "until", "2000-01-01"}, "[]string(nil)", "720h"},
	} {
		t.Run(what, func(t *testing.T) {
			w := b.post("/account/tokens", form(append(c.pairs, "name", "x")...))
			wantPage(t, w, http.StatusOK)
			token := regexp.MustCompile(`gatehouse_[0-9A-Za-z]{38}`).FindString(w.Body.String())
			command := "curl -H &#39;Authorization: Bearer " + token + "&#39; https://example.com/api/me</textarea>"
			wantPage(t, w, http.StatusOK, command)
			_, rec, err := s.Handlers.Accounts.AuthenticateToken(t.Context(), token)
			if err != nil || fmt.Sprintf("%#v", rec.Permissions) != c.permissions {
				t.Errorf("got %+v, %v; want the permissions %s", rec, err, c.permissions)
			}
			if lifetime, err := time.ParseDuration(c.expires); err == nil && rec.ExpiresAt.Sub(rec.CreatedAt) != lifetime {
				t.Errorf("the token lives for %s, want %s", rec.ExpiresAt.Sub(rec.CreatedAt), lifetime)
			} else if err != nil && rec.ExpiresAt.UTC().Format(time.RFC3339) != c.expires {
				t.Errorf("the token expires on %s, want %s", rec.ExpiresAt, c.expires)
			}
		})
	}
	// Users without permissions can still decide that a token never gets any.
	s.add(t, "alice")
	alice := s.signedIn(t, "alice")
	wantPage(t, alice.get("/account/tokens"), http.StatusOK, "No permissions", `value="limited"`)
	wantPage(t, alice.post("/account/tokens", form("name", "x", "access", "limited")), http.StatusOK, "No permissions.")
}

// TestTokensPage_HidesTokensOfOthers: users can neither see nor revoke the tokens of other users.
func TestTokensPage_HidesTokensOfOthers(t *testing.T) {
	s := newSite(t)
	alice := s.add(t, "alice")
	s.add(t, "mallory")
	token, rec, err := s.Handlers.Accounts.NewToken(t.Context(), alice, auth.TokenRequest{Name: "alices"})
	if err != nil {
		t.Fatal(err)
	}
	mallory := s.signedIn(t, "mallory")
	if w := mallory.get("/account/tokens"); strings.Contains(w.Body.String(), "alices") || strings.Contains(w.Body.String(), rec.TokenID) {
		t.Error("mallory sees alice's token")
	}
	mallory.post("/account/tokens/revoke", form("token", rec.TokenID))
	mallory.post("/account/tokens/revoke-all", nil)
	if _, _, err := s.Handlers.Accounts.AuthenticateToken(t.Context(), token); err != nil {
		t.Errorf("mallory revoked alice's token: %v", err)
	}
}

func TestAdmin_NeedsPermission(t *testing.T) {
	s := newSite(t)
	victim := s.add(t, "victim")
	s.add(t, "alice")
	u := s.add(t, "viewer")
	if _, err := s.Handlers.Accounts.SetPermission(t.Context(), u.ID, auth.ViewUsers, true); err != nil {
		t.Fatal(err)
	}
	alice, viewer := s.signedIn(t, "alice"), s.signedIn(t, "viewer")
	for _, r := range s.Routes() {
		who, permission := rule(r)
		if permission == "" || who != "signed in" {
			continue
		}
		path := strings.ReplaceAll(r.Path, ":id", victim.ID)
		s.Reset()
		send := func(b *browser) int {
			if r.Method == http.MethodPost {
				return b.post(path, form("active", "false", "groups", "admin", "group", "admin", "permission", "a.b")).Code
			}
			return b.get(path).Code
		}
		if got := send(alice); got != http.StatusForbidden {
			t.Errorf("%s %s without permission: got %d", r.Method, path, got)
		}
		want := map[string]bool{auth.ViewUsers: true}[permission]
		if got := send(viewer); (got == http.StatusOK || got == http.StatusSeeOther) != want {
			t.Errorf("%s %s by a viewer: got %d", r.Method, path, got)
		}
		if calls := s.Calls("users.Set", "users.Rotate", "grants.Set", "grants.Add", "grants.Remove"); len(calls) != 0 {
			t.Errorf("%s %s changed something: %q", r.Method, path, calls)
		}
	}
	// Viewers are offered no changes.
	for _, path := range []string{"/admin/users", "/admin/users/" + victim.ID, "/admin/groups"} {
		w := viewer.get(path)
		wantPage(t, w, http.StatusOK)
		if strings.Contains(w.Body.String(), `action="/admin/users/`) || strings.Contains(w.Body.String(), `action="/admin/groups`) {
			t.Errorf("%s offers a change", path)
		}
	}
	if got := s.row(victim); !got.Active || len(got.Groups) != 0 || got.Epoch != victim.Epoch {
		t.Errorf("got %+v", got)
	}
}

func TestAdminUsers_SearchesAndPages(t *testing.T) {
	s := newSite(t)
	s.addAdmin(t, "root")
	for i := range 60 {
		s.Stores.Users.Put(auth.User{ID: fmt.Sprint(i), Username: fmt.Sprintf("user%02d", i), Name: "<i>Name</i>", Active: i != 3})
	}
	b := s.signedIn(t, "root")
	wantRedirect(t, b.get("/admin"), "/admin/users")
	w := b.get("/admin/users")
	wantPage(t, w, http.StatusOK, "user00", "&lt;i&gt;Name", `href="/admin/users?after=user48"`, "61 users", "never")
	if strings.Contains(w.Body.String(), "<i>Name") || strings.Contains(w.Body.String(), "user49") {
		t.Errorf("got %s", w.Body)
	}
	w = b.get("/admin/users?q=USER0&after=user04")
	wantPage(t, w, http.StatusOK, "user05", "user09", `value="USER0"`)
	if strings.Contains(w.Body.String(), "user04<") || strings.Contains(w.Body.String(), "user10") || strings.Contains(w.Body.String(), `rel="next"`) {
		t.Errorf("got %s", w.Body)
	}
	wantPage(t, b.get("/admin/users?q=%3Cb%3E"), http.StatusOK, "&lt;b&gt;")
	wantPage(t, b.get("/admin/users?q=%FF%00"), http.StatusOK)
	wantPage(t, b.get("/admin/users/nobody"), http.StatusNotFound, "Page not found")
	s.FailOn("grants.", errDown)
	wantPage(t, b.get("/admin/users"), http.StatusServiceUnavailable, "Back in a moment")
}

func TestAdminUser_ChangesAccess(t *testing.T) {
	s := newSite(t)
	root, alice := s.addAdmin(t, "root"), s.add(t, "alice")
	b, victim := s.signedIn(t, "root"), s.signedIn(t, "alice")
	path := "/admin/users/" + alice.ID
	wantPage(t, b.get(path), http.StatusOK, "alice", `action="`+path+`/active"`, `action="`+path+`/sign-out"`, `action="`+path+`/groups"`)
	token, _, err := s.Handlers.Accounts.NewToken(t.Context(), alice, auth.TokenRequest{Name: "CI"})
	if err != nil {
		t.Fatal(err)
	}

	// Signing a user out ends sessions and tokens, but does not disable the account.
	wantRedirect(t, b.post(path+"/sign-out", nil), path+"?notice=user-signed-out")
	wantPage(t, b.get(path+"?notice=user-signed-out"), http.StatusOK, "User signed out everywhere; API tokens revoked.")
	if w := victim.get("/dashboard"); w.Code != http.StatusSeeOther {
		t.Errorf("alice is still signed in: got %d", w.Code)
	}
	wantCode(t, s.bearer(token).do("GET", "/api/me", ""), http.StatusUnauthorized, "token_dead")
	wantJSON(t, s.basic("alice").do("GET", "/api/me", ""), http.StatusOK)

	// Disabling also invalidates cached Basic credentials immediately.
	wantRedirect(t, b.post(path+"/active", form("active", "false")), path+"?notice=user-disabled")
	wantCode(t, s.basic("alice").do("GET", "/api/me", ""), http.StatusUnauthorized, "wrong_credentials")
	wantPage(t, b.get(path+"?notice=user-disabled"), http.StatusOK, "User disabled")
	wantRedirect(t, b.post(path+"/active", form("active", "true")), path+"?notice=user-enabled")
	s.Stores.Throttle.Reset(t.Context(), authtest.AccountKey("alice"))
	wantJSON(t, s.basic("alice").do("GET", "/api/me", ""), http.StatusOK)
	for _, value := range []string{"", "yes", "TRUE", "0"} {
		if w := b.post(path+"/active", form("active", value)); w.Code != http.StatusBadRequest || !s.row(alice).Active {
			t.Errorf("active=%q: got %d", value, w.Code)
		}
	}

	// Without the list of groups that the form showed, the checked groups replace all memberships.
	if err := s.Handlers.Accounts.AddGroup(t.Context(), "readers"); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		checked []string
		want    string
	}{
		{[]string{"groups", "readers", "groups", "admin"}, "[admin readers]"}, {[]string{"groups", "readers"}, "[readers]"},
		{nil, "[]"},
	} {
		wantRedirect(t, b.post(path+"/groups", form(c.checked...)), path+"?notice=user-groups")
		if got := fmt.Sprint(s.row(alice).Groups); got != c.want {
			t.Errorf("%q: alice is in %s, want %s", c.checked, got, c.want)
		}
	}

	// A form with a group that no longer exists shows an error and saves nothing.
	w := b.post(path+"/groups", form("groups", "nosuch", "groups", "readers", "shown", ""))
	wantPage(t, w, http.StatusUnprocessableEntity, "no longer exists, so nothing was saved", `value="readers" checked`)
	if got := s.row(alice).Groups; len(got) != 0 {
		t.Errorf("alice is in %q", got)
	}

	// Administrators cannot lock themselves out.
	own := "/admin/users/" + root.ID
	wantPage(t, b.post(own+"/active", form("active", "false")), http.StatusUnprocessableEntity, "You can&#39;t disable yourself.")
	wantPage(t, b.post(own+"/groups", form("groups", "readers")), http.StatusUnprocessableEntity, "You can&#39;t remove yourself from the group admin.")
	if got := s.row(root); !got.Active || !got.InGroup(auth.AdminGroup) || got.InGroup("readers") {
		t.Errorf("got %+v", got)
	}
	// Administrators who sign themselves out everywhere keep this session, under a new token.
	before := b.cookies["gatehouse"]
	wantRedirect(t, b.post(own+"/sign-out", nil), own+"?notice=user-signed-out")
	if after := b.cookies["gatehouse"]; after == before || after == "" {
		t.Errorf("the cookie was %q and is %q", before, after)
	}
	wantPage(t, b.get(own), http.StatusOK, "root")

	for _, what := range []string{"/active", "/groups", "/sign-out"} {
		if w := b.post("/admin/users/nobody"+what, form("active", "false")); w.Code != http.StatusNotFound {
			t.Errorf("an unknown user%s: got %d", what, w.Code)
		}
	}
}

func TestAdminGroups_ChangesGroups(t *testing.T) {
	s := newSite(t)
	s.addAdmin(t, "root")
	alice := s.add(t, "alice")
	b := s.signedIn(t, "root")
	wantPage(t, b.get("/admin/groups"), http.StatusOK, "admin", "users.manage", `action="/admin/groups"`)
	wantRedirect(t, b.post("/admin/groups", form("group", "readers")), "/admin/groups?notice=group-added&at=readers")
	wantRedirect(t, b.post("/admin/groups", form("group", "readers")), "/admin/groups?notice=group-added&at=readers")
	wantRedirect(t, b.post("/admin/groups/grant", form("group", "readers", "permission", "books.read")), "/admin/groups?notice=group-granted&at=readers")
	wantPage(t, b.get("/admin/groups?notice=group-granted"), http.StatusOK, "books.read", "Permission added.")
	if _, err := s.Handlers.Accounts.SetMember(t.Context(), alice.ID, "readers", true); err != nil || !s.row(alice).HasPermission("books.read") {
		t.Errorf("got %+v, %v", s.row(alice), err)
	}
	wantRedirect(t, b.post("/admin/groups/ungrant", form("group", "readers", "permission", "books.read")), "/admin/groups?notice=group-ungranted&at=readers")
	if s.row(alice).HasPermission("books.read") {
		t.Errorf("got %+v", s.row(alice))
	}
	wantRedirect(t, b.post("/admin/groups/remove", form("group", "readers")), "/admin/groups?notice=group-removed")
	if s.row(alice).InGroup("readers") {
		t.Errorf("got %+v", s.row(alice))
	}
	s.Reset()
	for _, c := range []struct {
		path  string
		pairs []string
		text  string
	}{
		{"/admin/groups", []string{"group", "Two Words"}, "A group is one lower-case word"},
		{"/admin/groups", nil, "A group is one lower-case word"},
		{"/admin/groups", []string{"group", "<b>"}, "&lt;b&gt;"},
		{"/admin/groups/grant", []string{"group", "admin", "permission", "all"}, "A permission is lower-case words with dots"},
		{"/admin/groups/grant", []string{"group", "gone", "permission", "a.b"}, "This group no longer exists."},
		{"/admin/groups/ungrant", []string{"group", "gone", "permission", "a.b"}, "This group no longer exists."},
		{"/admin/groups/remove", []string{"group", "gone"}, "This group no longer exists."},
		{"/admin/groups/remove", []string{"group", "admin"}, "The group admin can&#39;t be removed"},
		{"/admin/groups/ungrant", []string{"group", "admin", "permission", "users.manage"}, "This permission can&#39;t be removed from the group admin"},
	} {
		w := b.post(c.path, form(c.pairs...))
		wantPage(t, w, http.StatusUnprocessableEntity, c.text)
		if strings.Contains(w.Body.String(), "<b>") {
			t.Errorf("%s: not escaped", c.path)
		}
	}
	groups, err := s.Stores.Grants.Groups(t.Context())
	if err != nil || len(groups) != 1 || len(groups[0].Permissions) != 2 || groups[0].Members != 1 {
		t.Errorf("got %+v, %v", groups, err)
	}
	s.FailOn("grants.", errDown)
	wantPage(t, b.get("/admin/groups"), http.StatusServiceUnavailable, "Back in a moment")
	wantPage(t, b.post("/admin/groups", form("group", "x")), http.StatusServiceUnavailable, "Back in a moment")
}
