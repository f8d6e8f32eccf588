package db

import (
	"errors"
	"strings"
	"sync"
	"testing"

	"gatehouse/auth"
	"gatehouse/internal/reqstats"
)

// imports imports a user with these groups and returns the error.
func imports(t *testing.T, d *DB, u auth.User, source, externalID string, groups ...string) error {
	t.Helper()
	u.Groups = groups
	return d.ImportUser(t.Context(), u, source, externalID)
}

func count(t *testing.T, d *DB, query string) (n int) {
	t.Helper()
	ok(t, d.pool.GetContext(t.Context(), &n, query))
	return n
}

func TestImportUser_IsFoundByOrigin(t *testing.T) {
	onBothMigrated(t, func(t *testing.T, d *DB) {
		u := newUser("alice")
		u.PasswordHash, u.Active = "pbkdf2_sha256$1000$s$x", false
		ok(t, imports(t, d, u, "django", "7", "editors", "readers"))
		ctx, cost := reqstats.NewContext(t.Context())
		got, err := d.UserByOrigin(ctx, "django", "7")
		ok(t, err)
		equal(t, "statements", cost.SQLStatements(), 1)
		equal(t, "the user by origin", got, byID(t, d, u.ID))
		equal(t, "the hash", got.PasswordHash, u.PasswordHash)
		equal(t, "active", got.Active, false)
		equal(t, "groups", strings.Join(got.Groups, " "), "editors readers")
		for what, err := range map[string]error{
			"another source": second(d.UserByOrigin(t.Context(), "laravel", "7")),
			"another id":     second(d.UserByOrigin(t.Context(), "django", "07")),
			"NUL":            second(d.UserByOrigin(t.Context(), "django", "7\x00")),
			"not UTF-8":      second(d.UserByOrigin(t.Context(), "django", "7\xff")),
		} {
			if !errors.Is(err, auth.ErrNotFound) {
				t.Errorf("%s: got %v, want ErrNotFound", what, err)
			}
		}
		// A user can have two origins, and two sources can use the same id.
		ok(t, imports(t, d, newUser("bob"), "laravel", "7"))
		ok(t, byHand(t, d, `INSERT INTO user_origins (source, external_id, user_id) VALUES ('flask', '1', $1)`, u.ID))
		ok(t, byHand(t, d, `DELETE FROM users WHERE id = $1`, u.ID))
		equal(t, "origins after the user was deleted", count(t, d, `SELECT count(*) FROM user_origins`), 1)
	})
}

// TestImportUser_IsAllOrNothing: a refused import stores nothing.
func TestImportUser_IsAllOrNothing(t *testing.T) {
	onBothMigrated(t, func(t *testing.T, d *DB) {
		first := newUser("alice")
		first.Email, first.EmailVerified = "alice@example.org", true
		ok(t, imports(t, d, first, "django", "1"))
		sameAddress, badID, noID := newUser("carol"), newUser("dora"), newUser("emil")
		sameAddress.Email, sameAddress.EmailVerified = first.Email, true
		badID.ID = "no UUID"
		for what, c := range map[string]struct {
			user auth.User
			id   string
			want error
		}{
			"the same origin":  {newUser("bob"), "1", auth.ErrAlreadyImported},
			"both":             {newUser("alice"), "1", auth.ErrAlreadyImported},
			"the same name":    {newUser("alice"), "2", auth.ErrUsernameTaken},
			"the same address": {sameAddress, "2", auth.ErrEmailTaken},
			"no UUID":          {badID, "2", nil},
			"no id":            {noID, "", nil},
			"a long id":        {newUser("frank"), strings.Repeat("x", 256), nil},
			"NUL":              {newUser("gina"), "\x00", auth.ValidationErrors{}},
		} {
			err := imports(t, d, c.user, "django", c.id, "newcomers")
			switch c.want.(type) {
			case nil:
				if err == nil {
					t.Errorf("%s: got no error", what)
				}
			case auth.ValidationErrors:
				if _, invalid := err.(auth.ValidationErrors); !invalid {
					t.Errorf("%s: got %v, want a validation error", what, err)
				}
			default:
				wantErr(t, err, c.want)
			}
			for query, want := range map[string]int{
				`SELECT count(*) FROM users`: 1, `SELECT count(*) FROM user_origins`: 1, `SELECT count(*) FROM user_groups`: 0,
				`SELECT count(*) FROM groups WHERE name = 'newcomers'`: 0,
			} {
				equal(t, what+": "+query, count(t, d, query), want)
			}
		}
		// Concurrent imports create a common group once.
		var all sync.WaitGroup
		for _, name := range []string{"bob", "carol", "dora", "emil"} {
			all.Go(func() {
				if err := imports(t, d, newUser(name), "django", "of "+name, "newcomers", "readers"); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			})
		}
		all.Wait()
		equal(t, "members", count(t, d, `SELECT count(*) FROM user_groups`), 8)
	})
}
