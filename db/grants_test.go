package db

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"gatehouse/auth"
	"gatehouse/auth/userlist"
	"gatehouse/internal/reqstats"
	"gatehouse/internal/testkit"
)

func search(t *testing.T, d *DB, text, after string, limit int) []string {
	t.Helper()
	page, err := d.FindUsers(t.Context(), userlist.Query{Text: text, After: after, Limit: limit})
	ok(t, err)
	return usernames(page.Users)
}

func usernames(users []auth.User) []string {
	names := make([]string, len(users))
	for i, u := range users {
		names[i] = u.Username
	}
	return names
}

func groups(t *testing.T, d *DB) []auth.Group {
	t.Helper()
	all, err := d.Groups(t.Context())
	ok(t, err)
	return all
}

func setMember(t *testing.T, d *DB, u auth.User, group string, on bool) auth.User {
	t.Helper()
	u, err := d.SetMember(t.Context(), u.ID, group, on)
	ok(t, err)
	return u
}

func setPermission(t *testing.T, d *DB, u auth.User, permission string, on bool) auth.User {
	t.Helper()
	u, err := d.SetPermission(t.Context(), u.ID, permission, on)
	ok(t, err)
	return u
}

func TestGroups_AreListedWithTheirMembers(t *testing.T) {
	onBothMigrated(t, func(t *testing.T, d *DB) {
		equal(t, "the groups of the first migration", groups(t, d),
			[]auth.Group{{Name: "admin", Permissions: []string{"users.manage", "users.view"}}})
		for range 2 { // adding it again has no effect
			ok(t, d.AddGroup(t.Context(), "readers"))
			ok(t, d.AddGroup(t.Context(), "empty_2-x"))
			ok(t, d.SetGroupPermission(t.Context(), "readers", "books.read", true))
			ok(t, d.SetGroupPermission(t.Context(), "readers", "articles.read", true))
		}
		alice, bob := create(t, d, newUser("alice")), create(t, d, newUser("bob"))
		setMember(t, d, alice, "admin", true)
		setMember(t, d, alice, "readers", true)
		setMember(t, d, bob, "readers", true)
		equal(t, "groups", groups(t, d), []auth.Group{
			{Name: "admin", Permissions: []string{"users.manage", "users.view"}, Members: 1},
			{Name: "empty_2-x", Permissions: []string{}},
			{Name: "readers", Permissions: []string{"articles.read", "books.read"}, Members: 2},
		})
		for range 2 { // removing it again has no effect
			ok(t, d.SetGroupPermission(t.Context(), "readers", "articles.read", false))
		}
		ok(t, d.RemoveGroup(t.Context(), "empty_2-x"))
		equal(t, "groups", groups(t, d), []auth.Group{
			{Name: "admin", Permissions: []string{"users.manage", "users.view"}, Members: 1},
			{Name: "readers", Permissions: []string{"books.read"}, Members: 2},
		})
		equal(t, "bob", byID(t, d, bob.ID).Permissions, []string{"books.read"})
		// Removing a group removes its permissions from its members.
		ok(t, d.RemoveGroup(t.Context(), "readers"))
		for _, id := range []string{alice.ID, bob.ID} {
			u := byID(t, d, id)
			if u.InGroup("readers") || u.HasPermission("books.read") {
				t.Errorf("after the group was removed: got %+v, want neither group nor permission", u)
			}
		}
		equal(t, "alice", byID(t, d, alice.ID).Groups, []string{"admin"})
		// A new group of the same name has no members or permissions.
		ok(t, d.AddGroup(t.Context(), "readers"))
		equal(t, "the new group", groups(t, d)[1], auth.Group{Name: "readers", Permissions: []string{}})
	})
}

func TestRemoveGroupWithMembers_ChecksTheVersion(t *testing.T) {
	onBothMigrated(t, func(t *testing.T, d *DB) {
		ctx := t.Context()
		ok(t, d.AddGroup(ctx, "staff"))
		alice, bob := create(t, d, newUser("alice")), create(t, d, newUser("bob"))
		setMember(t, d, alice, "admin", true)
		version := func() string {
			t.Helper()
			versions, err := d.MembersVersions(ctx)
			ok(t, err)
			equal(t, "of the group admin", versions["admin"], auth.MembersVersion([]string{alice.ID}))
			return versions["staff"]
		}
		wantChanged := func(version string, names ...string) {
			t.Helper()
			err := d.RemoveGroupWithMembers(ctx, "staff", version)
			changed, is := errors.AsType[auth.MembersChangedError](err)
			if !is || changed.Members != len(names) || strings.Join(changed.Names, " ") != strings.Join(names, " ") {
				t.Errorf("got %v %+v, want the members %q", err, changed, names)
			}
			equal(t, "groups", len(groups(t, d)), 2)
		}
		equal(t, "of no members", version(), "")
		setMember(t, d, alice, "staff", true)
		ofAlice := version()
		wantChanged(auth.MembersVersion(nil), "alice")
		setMember(t, d, alice, "staff", false)
		wantChanged(ofAlice)
		setMember(t, d, bob, "staff", true) // the same number of members
		wantChanged(ofAlice, "bob")
		wantChanged("", "bob")
		setMember(t, d, alice, "staff", true)
		both := version()
		equal(t, "of both", both, auth.MembersVersion([]string{bob.ID, alice.ID}))
		setMember(t, d, bob, "staff", false)
		setMember(t, d, bob, "staff", true)
		ok(t, d.RemoveGroupWithMembers(ctx, "staff", both))
		equal(t, "groups", len(groups(t, d)), 1)
		wantErr(t, d.RemoveGroupWithMembers(ctx, "staff", both), auth.ErrGroupNotFound)
		wantErr(t, d.RemoveGroupWithMembers(ctx, "a\x00b", both), auth.ErrGroupNotFound)
		wantErr(t, d.RemoveGroupWithMembers(ctx, "admin", adminVersion(t, d)), auth.ErrLastAdministrator)
		ok(t, d.AddGroup(ctx, "staff"))
		ok(t, d.RemoveGroupWithMembers(ctx, "staff", auth.MembersVersion(nil)))
	})
}

func adminVersion(t *testing.T, d *DB) string {
	t.Helper()
	versions, err := d.MembersVersions(t.Context())
	ok(t, err)
	return versions["admin"]
}

// TestRemoveGroupWithMembers_WaitsForAJoin: a member in an uncommitted transaction counts.
func TestRemoveGroupWithMembers_WaitsForAJoin(t *testing.T) {
	onBothMigrated(t, func(t *testing.T, d *DB) {
		ok(t, d.AddGroup(t.Context(), "staff"))
		alice := create(t, d, newUser("alice"))
		ok(t, second(d.prepared(t.Context(), deleteGroup))) // prepared before the lock, for which preparing would wait
		tx, err := d.pool.BeginTxx(t.Context(), nil)
		ok(t, err)
		defer tx.Rollback()
		_, err = tx.ExecContext(t.Context(), `INSERT INTO user_groups (user_id, group_name) VALUES ($1, 'staff')`, alice.ID)
		ok(t, err)
		removed := make(chan error, 1)
		go func() { removed <- d.RemoveGroupWithMembers(t.Context(), "staff", auth.MembersVersion(nil)) }()
		if d.path == "" {
			testkit.Eventually(t, 10*time.Second, "the removal to wait for the join", func() bool {
				return count(t, d, `SELECT count(*) FROM pg_locks WHERE NOT granted AND pid IN (SELECT pid FROM pg_stat_activity WHERE datname = current_database())`) > 0
			})
		}
		ok(t, tx.Commit())
		err = <-removed
		if changed, is := errors.AsType[auth.MembersChangedError](err); !is || len(changed.Names) != 1 || changed.Names[0] != "alice" {
			t.Errorf("got %v, want a conflict that names alice", err)
		}
		equal(t, "alice is in", byID(t, d, alice.ID).Groups, []string{"staff"})
	})
}

func TestGrants_RefuseUnknownGroupsAndUsers(t *testing.T) {
	onBothMigrated(t, func(t *testing.T, d *DB) {
		alice := create(t, d, newUser("alice"))
		for _, on := range []bool{true, false} {
			for _, group := range []string{"nosuch", "", "a\x00b", "\xff", "ADMIN", "admin ", "'"} {
				u, err := d.SetMember(t.Context(), alice.ID, group, on)
				wantErr(t, err, auth.ErrGroupNotFound)
				equal(t, "user", u.ID, "")
				wantErr(t, d.SetGroupPermission(t.Context(), group, "a.b", on), auth.ErrGroupNotFound)
			}
			for _, id := range []string{uuid.NewString(), "", "1", "\xff", alice.ID + "x"} {
				wantErr(t, second(d.SetMember(t.Context(), id, "admin", on)), auth.ErrNotFound)
				wantErr(t, second(d.SetPermission(t.Context(), id, "a.b", on)), auth.ErrNotFound)
			}
		}
		for _, group := range []string{"nosuch", "", "a\x00b", "\xff"} {
			wantErr(t, d.RemoveGroup(t.Context(), group), auth.ErrGroupNotFound)
		}
		equal(t, "groups", len(groups(t, d)), 1)
		if got := byID(t, d, alice.ID); len(got.Groups)+len(got.Permissions) != 0 {
			t.Errorf("got %+v, want no groups and permissions", got)
		}
		// Invalid names are never stored.
		for _, name := range []string{"a b", "A", "", "1a", strings.Repeat("a", 65), "a.b"} {
			if err := d.AddGroup(t.Context(), name); err == nil {
				t.Errorf("the invalid group %q was added", name)
			}
		}
		for _, name := range []string{"users", "a b.c", "A.b", "", ".a"} {
			if err := second(d.SetPermission(t.Context(), alice.ID, name, true)); err == nil {
				t.Errorf("the invalid permission %q was given to a user", name)
			}
			if err := d.SetGroupPermission(t.Context(), "admin", name, true); err == nil {
				t.Errorf("the invalid permission %q was given to a group", name)
			}
		}
	})
}

func TestPermissions_CombineUserAndGroups(t *testing.T) {
	onBothMigrated(t, func(t *testing.T, d *DB) {
		alice, bob := create(t, d, newUser("alice")), create(t, d, newUser("bob"))
		ok(t, d.AddGroup(t.Context(), "readers"))
		ok(t, d.SetGroupPermission(t.Context(), "readers", "books.read", true))
		ok(t, d.SetGroupPermission(t.Context(), "readers", "users.view", true))
		var u auth.User
		for range 2 { // repeating it adds no duplicates
			setMember(t, d, alice, "readers", true)
			setMember(t, d, alice, "admin", true)
			setPermission(t, d, alice, "books.read", true)
			u = setPermission(t, d, alice, "a.b", true)
		}
		equal(t, "groups", u.Groups, []string{"admin", "readers"})
		equal(t, "permissions", u.Permissions, []string{"a.b", "books.read", "users.manage", "users.view"})
		equal(t, "epoch", u.Epoch, alice.Epoch) // changed permissions end no session
		equal(t, "another user", byID(t, d, bob.ID), bob)
		// Every way to read a user returns the same, in one statement.
		ctx, cost := reqstats.NewContext(t.Context())
		for what, read := range map[string]func() (auth.User, error){
			"by id":   func() (auth.User, error) { return d.UserByID(ctx, alice.ID) },
			"by name": func() (auth.User, error) { return d.UserByUsername(ctx, "alice") },
			"list": func() (auth.User, error) {
				users, err := d.Users(ctx, "", 1)
				return users[0], err
			},
			"search": func() (auth.User, error) {
				page, err := d.FindUsers(ctx, userlist.Query{Text: "alice", Limit: 1})
				return page.Users[0], err
			},
		} {
			before := cost.SQLStatements()
			got, err := read()
			ok(t, err)
			equal(t, what, got, u)
			if what != "search" { // which looks at the first users, and then at all
				equal(t, what+": statements", cost.SQLStatements()-before, 1)
			}
		}
		// So does every change that returns the row.
		changed, err := d.RotateEpoch(t.Context(), alice.ID)
		ok(t, err)
		equal(t, "after a change", changed.Permissions, u.Permissions)
		equal(t, "after a change", changed.Groups, u.Groups)
		// Permissions of the user and of the group are independent.
		u = setMember(t, d, alice, "readers", false)
		equal(t, "without the group", u.Permissions, []string{"a.b", "books.read", "users.manage", "users.view"})
		setMember(t, d, alice, "readers", true)
		setPermission(t, d, alice, "a.b", false)
		u = setPermission(t, d, alice, "books.read", false)
		equal(t, "without the user's own", u.Permissions, []string{"books.read", "users.manage", "users.view"})
		for range 2 {
			setMember(t, d, alice, "readers", false)
			var err error
			u, err = d.SetMember(auth.AllowLosingAdministrators(t.Context()), alice.ID, "admin", false)
			ok(t, err)
		}
		equal(t, "nothing is left", u.Permissions, []string{})
		equal(t, "nothing is left", u.Groups, []string{})
	})
}

func TestGrants_AreDeletedWithTheUser(t *testing.T) {
	onBothMigrated(t, func(t *testing.T, d *DB) {
		alice := create(t, d, newUser("alice"))
		setMember(t, d, alice, "admin", true)
		setPermission(t, d, alice, "a.b", true)
		for _, query := range []string{
			`INSERT INTO user_groups (user_id, group_name) VALUES ('` + alice.ID + `', 'nosuch')`,
			`INSERT INTO user_groups (user_id, group_name) VALUES ('` + uuid.NewString() + `', 'admin')`,
			`INSERT INTO user_permissions (user_id, permission) VALUES ('` + uuid.NewString() + `', 'a.b')`,
			`INSERT INTO group_permissions (group_name, permission) VALUES ('nosuch', 'a.b')`,
		} {
			if err := byHand(t, d, query); !foreignKeyViolation(err) {
				t.Errorf("%s: got %v, want a foreign key violation", query, err)
			}
		}
		// A renamed group keeps its members and permissions.
		ok(t, byHand(t, d, `UPDATE groups SET name = 'root' WHERE name = 'admin'`))
		equal(t, "renamed", byID(t, d, alice.ID).Groups, []string{"root"})
		equal(t, "renamed", byID(t, d, alice.ID).Permissions, []string{"a.b", "users.manage", "users.view"})
		ok(t, byHand(t, d, `DELETE FROM users WHERE username = 'alice'`))
		equal(t, "members", groups(t, d)[0].Members, 0)
		create(t, d, alice) // the same id again
		if got := byID(t, d, alice.ID); len(got.Groups)+len(got.Permissions) != 0 {
			t.Errorf("got %+v, want none of the deleted user's groups and permissions", got)
		}
	})
}

func TestGrants_AreSafeForConcurrentUse(t *testing.T) {
	onBothMigrated(t, func(t *testing.T, d *DB) {
		alice := create(t, d, newUser("alice"))
		var group sync.WaitGroup
		for range 8 {
			group.Go(func() {
				_, err := d.SetMember(t.Context(), alice.ID, "admin", true)
				if err == nil {
					_, err = d.SetPermission(t.Context(), alice.ID, "a.b", true)
				}
				if err == nil {
					err = d.AddGroup(t.Context(), "readers")
				}
				if err == nil {
					err = d.SetGroupPermission(t.Context(), "readers", "books.read", true)
				}
				if err != nil {
					t.Error(err)
				}
			})
		}
		group.Wait()
		equal(t, "permissions", byID(t, d, alice.ID).Permissions, []string{"a.b", "users.manage", "users.view"})
		equal(t, "groups", len(groups(t, d)), 2)
	})
}

func TestFindUsers_FoldsAndPages(t *testing.T) {
	onBothMigrated(t, func(t *testing.T, d *DB) {
		for username, about := range map[string][2]string{
			"alice": {"Alice Ärger", "alice@example.org"}, "a_b": {"50% off", "under_score@example.org"}, "axb": {"50 percent", ""},
			"bang": {"Wow! 100%!", ""}, "back": {`C:\Users\b`, ""}, "quote": {"O'Neill \"x\"", ""}, "jürgen": {"", "jürgen@example.net"},
		} {
			u := newUser(username)
			u.Name, u.Email = about[0], about[1]
			create(t, d, u)
		}
		all := []string{"a_b", "alice", "axb", "back", "bang", "jürgen", "quote"}
		for text, want := range map[string][]string{
			"": all, "alice": {"alice"}, "ALICE": {"alice"}, "Lic": {"alice"}, "QUOTE": {"quote"}, "example.org": {"a_b", "alice"}, "EXAMPLE": {"a_b", "alice", "jürgen"},
			// Wildcards of LIKE match themselves.
			"%": {"a_b", "bang"}, "50%": {"a_b"}, "_": {"a_b"}, "a_b": {"a_b"}, "%%": {}, "__": {}, "a%b": {}, "%off": {}, "50% off": {"a_b"},
			"!": {"bang"}, "!%": {}, "%!": {"bang"}, "!!": {}, "100%!": {"bang"}, `\`: {"back"}, `C:\Users`: {"back"}, `\%`: {}, `\_`: {},
			"'": {"quote"}, `"x"`: {"quote"}, "O'Neill": {"quote"}, "' OR ''='": {}, "*": {}, "[a-z]": {}, "a?b": {},
			// An exact match is always found; at least ASCII case is folded.
			"Ärger": {"alice"}, "jürgen": {"jürgen"}, "JüRGEN": {"jürgen"}, "nobody": {}, " ": {"a_b", "alice", "axb", "bang", "quote"},
			"a\x00b": {}, "\xff": {},
		} {
			if got := search(t, d, text, "", 100); !slices.Equal(got, want) {
				t.Errorf("%q: got %q, want %q", text, got, want)
			}
		}
		// In pages of every size.
		for size := 1; size <= len(all)+1; size++ {
			var got []string
			for after := ""; ; {
				page := search(t, d, "", after, size)
				got = append(got, page...)
				if len(page) < size {
					break
				}
				after = page[size-1]
			}
			equal(t, fmt.Sprintf("in pages of %d", size), got, all)
		}
		equal(t, "after an unknown name", search(t, d, "", "alicf", 2), []string{"axb", "back"})
		equal(t, "after the last", search(t, d, "", "quote", 2), []string{})
		equal(t, "matching users only", search(t, d, "example", "a_b", 1), []string{"alice"})
		for _, limit := range []int{0, -1} {
			equal(t, "no page", search(t, d, "", "", limit), []string{})
		}
		equal(t, "an impossible name", search(t, d, "", "\xff", 5), []string{})
	})
}

// TestChangeGroups_IsAllOrNothing: joining and leaving are one transaction, and other groups are kept.
func TestChangeGroups_IsAllOrNothing(t *testing.T) {
	onBothMigrated(t, func(t *testing.T, d *DB) {
		for _, group := range []string{"a", "b", "c"} {
			ok(t, d.AddGroup(t.Context(), group))
		}
		alice := create(t, d, newUser("alice"))
		change := func(join, leave string) (auth.User, error) {
			return d.ChangeGroups(t.Context(), alice.ID, strings.Fields(join), strings.Fields(leave))
		}
		for _, c := range []struct{ join, leave, want string }{
			{"a b admin", "", "a admin b"}, {"c a", "a nosuch", "a admin b c"}, {"", "c", "a admin b"}, {"", "", "a admin b"},
		} {
			got, err := change(c.join, c.leave)
			ok(t, err)
			equal(t, "groups", strings.Join(got.Groups, " "), c.want)
			equal(t, "returned and stored", got, byID(t, d, alice.ID))
		}
		wantErr(t, second(change("c nosuch", "a")), auth.ErrGroupNotFound)
		wantErr(t, second(change("c \x00", "a")), auth.ErrGroupNotFound)
		wantErr(t, second(change("c", "a admin")), auth.ErrLastAdministrator)
		equal(t, "groups after a refused change", strings.Join(byID(t, d, alice.ID).Groups, " "), "a admin b")
		wantErr(t, second(d.ChangeGroups(t.Context(), uuid.NewString(), []string{"a"}, nil)), auth.ErrNotFound)
	})
}

func TestGrants_UnreachableIsUnavailable(t *testing.T) {
	d := open(t, "postgres://u@127.0.0.1:1/x?sslmode=disable")
	wantErr(t, second(d.Groups(t.Context())), auth.ErrUnavailable)
	wantErr(t, d.AddGroup(t.Context(), "a"), auth.ErrUnavailable)
	wantErr(t, d.AddGroup(t.Context(), "a"), auth.ErrNotWritten)
	wantErr(t, d.RemoveGroup(t.Context(), "a"), auth.ErrUnavailable)
	wantErr(t, d.RemoveGroupWithMembers(t.Context(), "a", ""), auth.ErrUnavailable)
	wantErr(t, second(d.MembersVersions(t.Context())), auth.ErrUnavailable)
	for _, on := range []bool{true, false} {
		wantErr(t, d.SetGroupPermission(t.Context(), "a", "a.b", on), auth.ErrUnavailable)
		wantErr(t, second(d.SetMember(t.Context(), uuid.NewString(), "a", on)), auth.ErrUnavailable)
		wantErr(t, second(d.ChangeGroups(t.Context(), uuid.NewString(), nil, []string{"a"})), auth.ErrNotWritten)
		wantErr(t, second(d.SetPermission(t.Context(), uuid.NewString(), "a.b", on)), auth.ErrUnavailable)
	}
	wantErr(t, second(d.FindUsers(t.Context(), userlist.Query{Limit: 1})), auth.ErrUnavailable)
}

// TestListen_ReceivesGroupChanges: removing or renaming a group is reported for its members, and a call without effect is
// not reported.
func TestListen_ReceivesGroupChanges(t *testing.T) {
	onBothMigrated(t, func(t *testing.T, d *DB) {
		alice := create(t, d, newUser("alice"))
		ok(t, d.AddGroup(t.Context(), "readers"))
		setMember(t, d, alice, "readers", true)
		marker := create(t, d, newUser("marker"))
		e := listen(t, d)
		e.await("connected")
		// received returns the users whose changes arrive before the marker's.
		received := func() map[string]bool {
			t.Helper()
			ok(t, second(d.RotateEpoch(t.Context(), marker.ID)))
			who := map[string]bool{}
			for {
				select {
				case c := <-e.changes:
					if c.UserID == marker.ID {
						return who
					}
					who[c.UserID] = true
				case <-time.After(10 * time.Second):
					t.Fatal("the marker's change did not arrive within 10 s")
				}
			}
		}
		ok(t, byHand(t, d, `UPDATE groups SET name = 'writers' WHERE name = 'readers'`))
		if who := received(); !who[alice.ID] && !who[auth.AllUsers] {
			t.Errorf("renamed group: got the changes %v, want alice or all users", who)
		}
		ok(t, d.RemoveGroup(t.Context(), "writers"))
		if who := received(); !who[alice.ID] && !who[auth.AllUsers] {
			t.Errorf("removed group: got the changes %v, want alice or all users", who)
		}
		setMember(t, d, alice, "admin", false)
		setPermission(t, d, alice, "a.b", false)
		ok(t, d.RecordSignIn(t.Context(), alice.ID, time.Now()))
		ok(t, d.AddGroup(t.Context(), "admin"))
		ok(t, d.AddGroup(t.Context(), "lonely"))
		if who := received(); len(who) != 0 {
			t.Errorf("without a change: got the changes %v, want none", who)
		}
	})
}
