package auth_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse/auth"
	"gatehouse/auth/identifier"
)

func TestUser_HasPermission(t *testing.T) {
	for _, c := range []struct {
		active bool
		owned  []string
		wanted string
		want   bool
	}{
		{true, nil, "users.view", false},
		{true, []string{"users.view"}, "users.view", true},
		{true, []string{"users.manage"}, "users.manage", true},
		{true, []string{"users.manage"}, "users.view", true}, // manage implies view
		{true, []string{"users.view"}, "users.manage", false},
		{true, []string{"users.manage"}, "users", false},
		{true, []string{"users.manage"}, "", false},
		{true, []string{"users"}, "users.view", false},
		{true, []string{"users.view.all"}, "users.view", false},
		{true, []string{"books.manage"}, "books.view", false}, // only for users.*
		{true, []string{"a.b", "books.read"}, "books.read", true},
		{false, []string{"users.manage"}, "users.view", false},
		{false, []string{"users.view"}, "users.view", false},
	} {
		u := auth.User{Active: c.active, Permissions: c.owned}
		if got := u.HasPermission(c.wanted); got != c.want {
			t.Errorf("active %v with %q: HasPermission(%q): got %v, want %v", c.active, c.owned, c.wanted, got, c.want)
		}
	}
}

func TestUser_InGroupOnlyWhileActive(t *testing.T) {
	u := auth.User{Active: true, Groups: []string{"admin", "readers"}}
	if !u.InGroup("admin") || !u.InGroup("readers") || u.InGroup("adm") || u.InGroup("") {
		t.Error("InGroup does not match exactly the groups of the user")
	}
	u.Active = false
	if u.InGroup("admin") {
		t.Error("a disabled user is in a group")
	}
}

func TestGrantNames_AreValidated(t *testing.T) {
	for name, want := range map[string]bool{
		"users.view": true, "a.b": true, "a.b.c": true, "billing.refund-all_2": true, strings.Repeat("a", 62) + ".b": true,
		"": false, "users": false, ".": false, "users.": false, ".view": false, "users..view": false, "Users.view": false, "users.View": false,
		"users view": false, "users.vi ew": false, "üsers.view": false, "users.1": false, "1.users": false, "-a.b": false, "a.b\n": false, "a.b\x00": false,
		"*": false, "users.*": false, strings.Repeat("a", 63) + ".b": false,
	} {
		err := identifier.ValidatePermissionName(name)
		if (err == nil) != want || err != nil && err.Error() != "A permission is lower-case words with dots between them, such as users.view." {
			t.Errorf("permission %q: %v", name, err)
		}
	}
	for name, want := range map[string]bool{
		"admin": true, "a": true, "on-call_2": true, strings.Repeat("a", 64): true,
		"": false, "Admin": false, "2nd": false, "-a": false, "a.b": false, "a b": false, "a\n": false, "ä": false, strings.Repeat("a", 65): false,
	} {
		err := identifier.ValidateGroupName(name)
		if (err == nil) != want || err != nil && err.Error() != "A group is one lower-case word, such as admin." {
			t.Errorf("group %q: %v", name, err)
		}
	}
}

// grants holds every way to change the permissions of users.
var grants = map[string]struct {
	call string
	drop string // "" for all users
	make func(w *world, ctx context.Context, id string) error
}{
	"groups": {"grants.ChangeGroups", "u", func(w *world, ctx context.Context, id string) error {
		_, err := w.ChangeGroups(ctx, id, []string{"admin"}, nil)
		return err
	}},
	"member": {"grants.SetMember", "u", func(w *world, ctx context.Context, id string) error {
		_, err := w.SetMember(ctx, id, "admin", true)
		return err
	}},
	"permission": {"grants.SetPermission", "u", func(w *world, ctx context.Context, id string) error {
		_, err := w.SetPermission(ctx, id, "a.b", true)
		return err
	}},
	"group's permission": {"grants.SetGroupPermission", "", func(w *world, ctx context.Context, _ string) error {
		return w.SetGroupPermission(ctx, "admin", "a.b", true)
	}},
	"group": {"grants.AddGroup", "", func(w *world, ctx context.Context, _ string) error { return w.AddGroup(ctx, "readers") }},
	"removed group": {"grants.RemoveGroup", "", func(w *world, ctx context.Context, _ string) error {
		return w.RemoveGroup(auth.AllowLosingAdministrators(ctx), "admin")
	}},
	"removed group with members": {"grants.RemoveGroup", "", func(w *world, ctx context.Context, _ string) error {
		return w.RemoveGroupWithMembers(auth.AllowLosingAdministrators(ctx), "admin", auth.MembersVersion(nil))
	}},
}

func TestMembersVersion_IgnoresTheOrder(t *testing.T) {
	seen := map[string]string{}
	for name, ids := range map[string][]string{"none": nil, "a": {"a"}, "b": {"b"}, "a and b": {"a", "b"}, "ab": {"ab"}} {
		v := auth.MembersVersion(ids)
		if other, twice := seen[v]; twice {
			t.Errorf("%s and %s have the same version", name, other)
		}
		seen[v] = name
	}
	ids := []string{"b", "a"}
	if auth.MembersVersion(ids) != auth.MembersVersion([]string{"a", "b"}) || ids[0] != "b" {
		t.Errorf("the version depends on the order, or the slice was changed: %q", ids)
	}
}

func TestGrants_DropTheCacheBeforeAndAfter(t *testing.T) {
	for name, grant := range grants {
		t.Run(name, func(t *testing.T) {
			w, u := newBasicWorld(t)
			for range 2 { // fills the cache, then memory
				if _, err := w.User(t.Context(), u.ID); err != nil {
					t.Fatal(err)
				}
			}
			w.Reset()
			if err := grant.make(w, t.Context(), u.ID); err != nil {
				t.Fatal(err)
			}
			drop := "cache.DropAll"
			if grant.drop != "" {
				drop = "cache.Drop " + u.ID
			}
			calls := w.Calls()
			if len(calls) != 3 || calls[0] != drop || !strings.HasPrefix(calls[1], grant.call) || calls[2] != drop {
				t.Errorf("got the calls %q, want a drop before and after the change", calls)
			}
			w.Reset()
			fresh, err := w.User(t.Context(), u.ID)
			if err != nil || !slices.Equal(fresh.Permissions, w.rows().Row(u.ID).Permissions) {
				t.Errorf("the next request sees %+v, %v", fresh, err)
			}
			if len(w.Calls("users.UserByID")) != 1 {
				t.Errorf("the next request made the calls %q, want the row read once", w.Calls())
			}
		})
	}
}

func TestGrants_FailWithoutTheCache(t *testing.T) {
	for name, grant := range grants {
		w, u := newBasicWorld(t)
		w.FailOn("cache.", errDown)
		w.Reset()
		err := grant.make(w, t.Context(), u.ID)
		wantError(t, err, auth.ErrUnavailable)
		if calls := w.Calls("grants."); len(calls) != 0 {
			t.Errorf("%s: got the calls %q, want none", name, calls)
		}
	}
}

// TestGrants_DropTheCacheAfterAFailure: the change may have been made although its reply was lost.
func TestGrants_DropTheCacheAfterAFailure(t *testing.T) {
	for name, grant := range grants {
		w, u := newBasicWorld(t)
		w.FailOn("grants.", errDown)
		w.Reset()
		wantError(t, grant.make(w, t.Context(), u.ID), auth.ErrUnavailable)
		if calls := w.Calls("cache.Drop"); len(calls) != 2 {
			t.Errorf("%s: got the calls %q, want two drops", name, calls)
		}
	}
}

func TestGrants_AreLogged(t *testing.T) {
	w := newWorld(t)
	u := w.add(t, "alice")
	got, err := w.SetMember(t.Context(), u.ID, "admin", true)
	if err != nil || !got.InGroup("admin") || !got.HasPermission("users.manage") || got.Epoch != u.Epoch {
		t.Errorf("got %+v, %v; want an administrator of the same epoch", got, err)
	}
	if got, err = w.SetPermission(t.Context(), u.ID, "a.b", true); err != nil || !got.HasPermission("a.b") {
		t.Errorf("got %+v, %v; want the permission a.b", got, err)
	}
	if _, err := w.SetMember(t.Context(), u.ID, "admin", false); !errors.Is(err, auth.ErrLastAdministrator) {
		t.Errorf("the last administrator: got %v, want ErrLastAdministrator", err)
	}
	for _, err := range []error{w.RemoveGroup(t.Context(), "admin"), w.RemoveGroupWithMembers(t.Context(), "admin", ""), w.SetGroupPermission(t.Context(), "admin", "users.manage", false)} {
		if !errors.Is(err, auth.ErrAdminGroup) {
			t.Errorf("the group admin: got %v, want ErrAdminGroup", err)
		}
	}
	if got, err = w.SetMember(auth.AllowLosingAdministrators(t.Context()), u.ID, "admin", false); err != nil || got.InGroup("admin") || got.HasPermission("users.view") || !got.HasPermission("a.b") {
		t.Errorf("got %+v, %v; want only the permission a.b", got, err)
	}
	if got, err = w.SetPermission(t.Context(), u.ID, "a.b", false); err != nil || got.HasPermission("a.b") {
		t.Errorf("got %+v, %v; want no permission a.b", got, err)
	}
	if err := w.AddGroup(t.Context(), "readers"); err != nil {
		t.Error(err)
	}
	if err := w.SetGroupPermission(t.Context(), "readers", "books.read", true); err != nil {
		t.Error(err)
	}
	if err := w.SetGroupPermission(t.Context(), "readers", "books.read", false); err != nil {
		t.Error(err)
	}
	if err := w.RemoveGroup(t.Context(), "readers"); err != nil {
		t.Error(err)
	}
	for _, what := range []string{
		`msg="user joined admin" event=true username=alice`, `msg="permission granted: a.b" event=true username=alice`,
		`msg="user left admin" event=true username=alice`, `msg="permission taken: a.b" event=true username=alice`,
		`msg="group added" event=true group=readers`, `msg="group granted books.read" event=true group=readers`,
		`msg="group lost books.read" event=true group=readers`, `msg="group removed" event=true group=readers`,
	} {
		if !strings.Contains(w.log.String(), what) {
			t.Errorf("the log does not contain %s: %s", what, w.log.String())
		}
	}
}

func TestGrants_RefuseInvalidInput(t *testing.T) {
	w := newWorld(t)
	u := w.add(t, "alice")
	const badGroup, badPermission = "A group is one lower-case word, such as admin.", "A permission is lower-case words with dots between them, such as users.view."
	_, err := w.SetMember(t.Context(), u.ID, "Admin", true)
	wantInvalid(t, err, auth.ValidationErrors{"group": badGroup})
	_, err = w.SetPermission(t.Context(), u.ID, "users", true)
	wantInvalid(t, err, auth.ValidationErrors{"permission": badPermission})
	wantInvalid(t, w.AddGroup(t.Context(), "a b"), auth.ValidationErrors{"group": badGroup})
	wantInvalid(t, w.SetGroupPermission(t.Context(), "admin", "a b", true), auth.ValidationErrors{"permission": badPermission})
	wantCalls(t, w.Calls())
	_, err = w.SetMember(t.Context(), u.ID, "nosuch", true)
	wantError(t, err, auth.ErrGroupNotFound)
	_, err = w.SetMember(t.Context(), "nobody", "admin", true)
	wantError(t, err, auth.ErrNotFound)
	wantError(t, w.RemoveGroup(t.Context(), "nosuch"), auth.ErrGroupNotFound)
	wantError(t, w.SetGroupPermission(t.Context(), "nosuch", "a.b", true), auth.ErrGroupNotFound)
	if log := w.log.String(); strings.Contains(log, "nosuch") {
		t.Errorf("the log contains a refused change: %s", log)
	}
}

// TestToken_FollowsItsOwnersPermissions: the owner's current permissions count, not those at creation.
func TestToken_FollowsItsOwnersPermissions(t *testing.T) {
	w := newWorld(t)
	u := w.add(t, "alice")
	u, err := w.SetPermission(t.Context(), u.ID, "books.read", true)
	if err != nil {
		t.Fatal(err)
	}
	secret := w.token(t, u, auth.TokenRequest{Name: "CI", Permissions: []string{"books.read"}, Lifetime: time.Hour})
	permissions := func() []string {
		owner, token, err := w.AuthenticateToken(t.Context(), secret)
		if err != nil {
			t.Fatal(err)
		}
		return token.EffectivePermissions(owner.Permissions)
	}
	if got := permissions(); !slices.Equal(got, []string{"books.read"}) {
		t.Errorf("got %q, want books.read", got)
	}
	if _, err := w.SetMember(t.Context(), u.ID, "admin", true); err != nil {
		t.Fatal(err)
	}
	if got := permissions(); !slices.Equal(got, []string{"books.read"}) {
		t.Errorf("the owner became an administrator: got %q, want books.read", got)
	}
	if _, err := w.SetPermission(t.Context(), u.ID, "books.read", false); err != nil {
		t.Fatal(err)
	}
	if got := permissions(); len(got) != 0 {
		t.Errorf("the owner lost the permission: got %q, want none", got)
	}
}
