package handlers

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"gatehouse/auth"
)

// TestStaleForms_GroupsOfAUser: a form changes only the groups that its author changed. Concurrent changes by another
// administrator are kept.
func TestStaleForms_GroupsOfAUser(t *testing.T) {
	for name, c := range map[string]struct {
		before, meanwhile string
		shown, checked    string
		want              string
	}{
		"removed meanwhile, left checked":    {"a b", "b", "a b", "a b c", "b c"},
		"added meanwhile, not on the form":   {"a", "a b", "a", "a c", "a b c"},
		"added meanwhile, another unchecked": {"a", "a b", "a", "", "b"},
		"both removed the same":              {"a b", "b", "a b", "b", "b"},
		"both added the same":                {"a", "a b", "a", "a b", "a b"},
		"nothing changed by the author":      {"a", "b", "a", "a", "b"},
		"nothing changed at all":             {"a", "a", "a", "a", "a"},
		"a group created meanwhile":          {"a", "a d", "a", "a b", "a b d"},
		"a group of the form was deleted":    {"a x", "a", "a x", "a x b", "a b"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			s.addAdmin(t, "boss")
			alice := s.add(t, "alice")
			b := s.signedIn(t, "boss")
			set := func(groups string) {
				t.Helper()
				all := strings.Fields(groups)
				for _, g := range all {
					if err := s.Handlers.Accounts.AddGroup(t.Context(), g); err != nil {
						t.Fatal(err)
					}
				}
				if _, err := s.Handlers.Accounts.ChangeGroups(t.Context(), alice.ID, all, s.row(alice).Groups); err != nil {
					t.Fatal(err)
				}
			}
			set("b c")
			set(c.before)
			path := "/admin/users/" + alice.ID
			wantPage(t, b.get(path), http.StatusOK, `name="shown" value="`+c.before+`"`)
			set(c.meanwhile)
			pairs := []string{"shown", c.shown}
			for _, g := range strings.Fields(c.checked) {
				pairs = append(pairs, "groups", g)
			}
			wantRedirect(t, b.post(path+"/groups", form(pairs...)), path+"?notice=user-groups")
			if got := strings.Join(s.row(alice).Groups, " "); got != c.want {
				t.Errorf("alice is in %q, want %q", got, c.want)
			}
		})
	}
}

// TestStaleForms_Profile: a form changes only the fields that its author changed. If another request changed the same
// field, the form is shown again with both values, and submitting it again saves the author's.
func TestStaleForms_Profile(t *testing.T) {
	s := newSite(t)
	alice := s.add(t, "alice")
	b, other := s.signedIn(t, "alice"), s.signedIn(t, "alice")
	shown := []string{"shown_name", "", "shown_email", "", "shown_time_zone", "UTC"}
	sent := func(pairs ...string) []string { return append(pairs, shown...) }
	wantPage(t, b.get("/account"), http.StatusOK, `name="shown_name" value=""`, `name="shown_email" value=""`, `name="shown_time_zone" value="UTC"`)

	wantRedirect(t, other.post("/account/profile", form(sent("name", "Alice L.", "email", "", "time_zone", "UTC")...)), "/account?notice=profile")
	wantRedirect(t, b.post("/account/profile", form(sent("name", "", "email", "", "time_zone", "Asia/Tokyo")...)), "/account?notice=profile")
	wantProfile := func(want auth.Profile) {
		t.Helper()
		u := s.row(alice)
		if got := (auth.Profile{Name: u.Name, Email: u.Email, TimeZone: u.TimeZone}); got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
	}
	wantProfile(auth.Profile{Name: "Alice L.", TimeZone: "Asia/Tokyo"})

	// Both changed the name: nothing is saved, and the form keeps the input.
	w := b.post("/account/profile", form(sent("name", "Alice M.", "email", "a@example.org", "time_zone", "UTC")...))
	wantPage(t, w, http.StatusUnprocessableEntity, "Meanwhile this was changed to “Alice L.”. Save again to replace it.",
		`name="name" type="text" value="Alice M."`, `value="a@example.org"`, `name="shown_name" value="Alice L."`, `name="shown_time_zone" value="Asia/Tokyo"`)
	wantProfile(auth.Profile{Name: "Alice L.", TimeZone: "Asia/Tokyo"})
	again := form("name", "Alice M.", "email", "a@example.org", "time_zone", "Asia/Tokyo", "shown_name", "Alice L.", "shown_email", "", "shown_time_zone", "Asia/Tokyo")
	wantRedirect(t, b.post("/account/profile", again), "/account?notice=profile")
	wantProfile(auth.Profile{Name: "Alice M.", Email: "a@example.org", TimeZone: "Asia/Tokyo"})

	// Unchanged fields are shown with their current values, so that saving again does not undo other changes.
	wantRedirect(t, other.post("/account/profile", form("name", "Alice N.", "email", "n@example.org")), "/account?notice=profile")
	w = b.post("/account/profile", form("name", "Alice M.", "shown_name", "Alice M.", "email", "mine@example.org", "shown_email", "a@example.org", "time_zone", "Asia/Tokyo", "shown_time_zone", "Asia/Tokyo"))
	wantPage(t, w, http.StatusUnprocessableEntity, "Meanwhile this was changed", `name="name" type="text" value="Alice N."`, `name="shown_name" value="Alice N."`, `value="mine@example.org"`)
	wantProfile(auth.Profile{Name: "Alice N.", Email: "n@example.org", TimeZone: "Asia/Tokyo"})
	wantRedirect(t, b.post("/account/profile", form("name", "Alice M.", "email", "a@example.org")), "/account?notice=profile")

	// The same change twice is no conflict. A form with an error keeps the values that it was first shown with.
	wantRedirect(t, other.post("/account/profile", form("name", "Alice M.", "shown_name", "Alice L.")), "/account?notice=profile")
	w = other.post("/account/profile", form("name", "New", "shown_name", "Alice M.", "email", "no address", "shown_email", "old@example.org"))
	wantPage(t, w, http.StatusUnprocessableEntity, "Enter an address", `name="shown_name" value="Alice M."`, `name="shown_email" value="old@example.org"`, `value="New"`)

	// Without the shown values, the submitted fields are saved and missing ones stay unchanged.
	wantRedirect(t, b.post("/account/profile", form("email", "")), "/account?notice=profile")
	wantProfile(auth.Profile{Name: "Alice M.", TimeZone: "Asia/Tokyo"})

	// The email address was removed meanwhile.
	w = b.post("/account/profile", form("email", "b@example.org", "shown_email", "a@example.org"))
	wantPage(t, w, http.StatusUnprocessableEntity, "Meanwhile this was removed. Save again to set it.")

	s.FailOn("users.SetProfile", fmt.Errorf("set profile: %w", auth.ErrStale))
	wantPage(t, b.post("/account/profile", form("name", "Third")), http.StatusUnprocessableEntity, "was changed elsewhere", `value="Third"`)
}

// TestStaleForms_RemovingAGroup: a group whose members changed since the form was shown is not removed, even if their
// number is the same, and the page lists the current members.
func TestStaleForms_RemovingAGroup(t *testing.T) {
	s := newSite(t)
	s.addAdmin(t, "boss")
	alice, bob := s.add(t, "alice"), s.add(t, "bob")
	b := s.signedIn(t, "boss")
	if err := s.Handlers.Accounts.AddGroup(t.Context(), "staff"); err != nil {
		t.Fatal(err)
	}
	set := func(u auth.User, on bool) {
		t.Helper()
		if _, err := s.Handlers.Accounts.SetMember(t.Context(), u.ID, "staff", on); err != nil {
			t.Fatal(err)
		}
	}
	removeForm := regexp.MustCompile(`name="group" value="staff"><input type="hidden" name="shown_members" value="([^"]+)"><button class="danger"`)
	shown := func() string {
		t.Helper()
		m := removeForm.FindStringSubmatch(b.get("/admin/groups").Body.String())
		if m == nil {
			t.Fatal("the page has no form to remove staff with the members shown")
		}
		return m[1]
	}
	remove := func(members string) *httptest.ResponseRecorder {
		return b.post("/admin/groups/remove", form("group", "staff", "shown_members", members))
	}
	wantRefused := func(members, says string) {
		t.Helper()
		wantPage(t, remove(members), http.StatusUnprocessableEntity, "The members of staff changed after you opened this page. "+says+" Nothing was removed.")
		if !strings.Contains(b.get("/admin/groups").Body.String(), "Remove staff") {
			t.Fatal("the group was removed")
		}
	}
	empty := shown()
	set(alice, true)
	wantRefused(empty, "The only member now is alice.")
	ofAlice := shown()
	set(alice, false)
	set(bob, true)
	wantRefused(ofAlice, "The only member now is bob.")
	set(alice, true)
	wantRefused(ofAlice, "The members now are alice, bob.")
	wantRefused("2", "The members now are alice, bob.") // a form of an earlier version
	wantRefused("", "The members now are alice, bob.")
	for i := range 12 {
		set(s.add(t, fmt.Sprintf("member%02d", i)), true)
	}
	wantRefused(ofAlice, "The members now are alice, bob, member00, member01, member02, member03, member04, member05, member06, member07 and 4 more.")
	ofAll := shown()
	for _, u := range []auth.User{alice, bob} { // out and in again: the same members
		set(u, false)
		set(u, true)
	}
	wantRedirect(t, remove(ofAll), "/admin/groups?notice=group-removed")
	wantPage(t, remove(ofAll), http.StatusUnprocessableEntity, groupGone)

	if err := s.Handlers.Accounts.AddGroup(t.Context(), "staff"); err != nil {
		t.Fatal(err)
	}
	set(alice, true)
	ofAlice = shown()
	set(alice, false)
	wantRefused(ofAlice, "It has no members now.")
	wantRedirect(t, remove(shown()), "/admin/groups?notice=group-removed")
}
