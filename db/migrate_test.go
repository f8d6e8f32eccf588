package db

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"gatehouse/auth"
)

func TestMigrate_CreatesTheSchema(t *testing.T) {
	onBoth(t, func(t *testing.T, d *DB) {
		current, want, err := d.SchemaVersions(t.Context())
		ok(t, err)
		if current != 0 || want < 1 {
			t.Fatalf("an empty database: got version %d of %d, want 0 of at least 1", current, want)
		}
		if exists := tableExists(t, d); exists {
			t.Fatal("SchemaVersions created goose's table")
		}
		ok(t, d.Migrate(t.Context()))
		ok(t, d.Migrate(t.Context())) // again, without effect
		current, _, err = d.SchemaVersions(t.Context())
		ok(t, err)
		equal(t, "version", current, want)
		all, err := d.Status(t.Context())
		ok(t, err)
		equal(t, "first", all[0].Name, "00001_users.sql")
		for _, s := range all {
			if s.Pending() || time.Since(s.AppliedAt).Abs() > time.Minute || s.AppliedAt.Location() != time.UTC {
				t.Errorf("got %+v, want it applied just now, in UTC", s)
			}
		}
	})
}

// TestMigrate_RunsUpAndDown: from every earlier version to the latest, then down to an empty database.
func TestMigrate_RunsUpAndDown(t *testing.T) {
	onBoth(t, func(t *testing.T, d *DB) {
		pool, err := d.connect()
		ok(t, err)
		defer pool.Close()
		_, want, err := d.SchemaVersions(t.Context())
		ok(t, err)
		for version := range want {
			p, err := d.provider(pool)
			ok(t, err)
			if version > 0 {
				_, err = p.UpTo(t.Context(), version)
				ok(t, err)
			}
			ok(t, d.Migrate(t.Context()))
			create(t, d, newUser("alice"))
			_, err = p.DownTo(t.Context(), 0)
			ok(t, err)
			current, _, err := d.SchemaVersions(t.Context())
			ok(t, err)
			equal(t, "version after down", current, 0)
			if err := second(d.Users(t.Context(), "", 1)); err == nil {
				t.Fatal("the table users still exists")
			}
		}
	})
}

// TestMigrate_KeepsUsers: migrating from every earlier version, and again after a downgrade, keeps all user data, and the
// newer features work for these users.
func TestMigrate_KeepsUsers(t *testing.T) {
	onBoth(t, func(t *testing.T, d *DB) {
		pool, err := d.connect()
		ok(t, err)
		defer pool.Close()
		_, want, err := d.SchemaVersions(t.Context())
		ok(t, err)
		for version := int64(1); version <= want; version++ {
			p, err := d.provider(pool)
			ok(t, err)
			_, err = p.UpTo(t.Context(), version)
			ok(t, err)
			var before []auth.User
			for i := range 20 {
				u := newUser(fmt.Sprintf("user-%d-%02d", version, i))
				u.Name, u.Email, u.EmailVerified = "Jürgen 'x'", fmt.Sprintf("u%d-%d@example.org", version, i), i%2 == 0
				u.TimeZone, u.Active = "Europe/Berlin", i%3 != 0
				create(t, d, u)
				if i%4 == 0 {
					u.LastSignInAt = u.CreatedAt
					ok(t, d.RecordSignIn(t.Context(), u.ID, u.LastSignInAt))
				}
				before = append(before, u)
			}
			for _, step := range []string{"up", "down and up again"} {
				if step != "up" {
					_, err = p.DownTo(t.Context(), version)
					ok(t, err)
				}
				ok(t, d.Migrate(t.Context()))
				for _, u := range before {
					equal(t, step, byID(t, d, u.ID), u)
				}
				equal(t, "groups", len(groups(t, d)), 1)
				u := setMember(t, d, before[1], auth.AdminGroup, true)
				if !u.HasPermission(auth.ManageUsers) {
					t.Errorf("from version %d %s: got %+v, want an administrator", version, step, u)
				}
				u, err = d.SetMember(auth.AllowLosingAdministrators(t.Context()), before[1].ID, auth.AdminGroup, false)
				ok(t, err)
				if u.HasPermission(auth.ViewUsers) {
					t.Errorf("from version %d %s: got %+v, want no permissions", version, step, u)
				}
				changed, err := d.RotateEpoch(t.Context(), before[2].ID)
				ok(t, err)
				before[2].Epoch, before[2].UpdatedAt = changed.Epoch, changed.UpdatedAt
			}
			_, err = p.DownTo(t.Context(), 0)
			ok(t, err)
		}
	})
}

func TestMigrate_IsSafeForConcurrentUse(t *testing.T) {
	for name, url := range map[string]func(t *testing.T) string{"Postgres": postgresURL, "SQLite": sqliteURL} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := url(t)
			start := make(chan struct{})
			var opened, group sync.WaitGroup
			for range 16 { // as 16 processes
				opened.Add(1)
				group.Go(func() {
					d, err := Open(t.Context(), url)
					opened.Done()
					if err != nil {
						t.Error(err)
						return
					}
					defer d.Close()
					<-start
					if err := d.Migrate(t.Context()); err != nil {
						t.Error(err)
					}
				})
			}
			opened.Wait()
			close(start)
			group.Wait()
			create(t, open(t, url), newUser("alice"))
		})
	}
}

func TestMigrate_RefusesANewerSchema(t *testing.T) {
	onBothMigrated(t, func(t *testing.T, d *DB) {
		ok(t, byHand(t, d, `INSERT INTO goose_db_version (version_id, is_applied) VALUES (9999, (1 = 1))`))
		current, want, err := d.SchemaVersions(t.Context())
		wantErr(t, err, ErrSchemaNewer)
		if current != 9999 || want >= current {
			t.Fatalf("got version %d of %d, want 9999 of a lower one", current, want)
		}
		wantErr(t, d.Migrate(t.Context()), ErrSchemaNewer)
		all, err := d.Status(t.Context())
		ok(t, err)
		last := all[len(all)-1]
		if last.Version != 9999 || last.Name != "" || last.Pending() {
			t.Fatalf("got %+v, want the applied version 9999 without a name", last)
		}
	})
}

func TestMigrate_UnreachableIsUnavailable(t *testing.T) {
	d := open(t, "postgres://u@127.0.0.1:1/x?sslmode=disable")
	wantErr(t, d.Migrate(t.Context()), auth.ErrUnavailable)
	wantErr(t, second(d.Status(t.Context())), auth.ErrUnavailable)
}

func tableExists(t *testing.T, d *DB) (exists bool) {
	t.Helper()
	ok(t, d.pool.GetContext(t.Context(), &exists, d.dialect.hasTable, versionTable))
	return exists
}
