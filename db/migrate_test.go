package db

import (
	"sync"
	"testing"
	"time"

	"gatehouse/auth"
)

func TestMigrateFromEmpty(t *testing.T) {
	onBoth(t, func(t *testing.T, d *DB) {
		current, want, err := d.Behind(t.Context())
		ok(t, err)
		if current != 0 || want < 1 {
			t.Fatalf("an empty database is at %d of %d", current, want)
		}
		if exists := tableExists(t, d); exists {
			t.Fatal("Behind created goose's table")
		}
		ok(t, d.Migrate(t.Context()))
		ok(t, d.Migrate(t.Context())) // again: nothing to do
		current, _, err = d.Behind(t.Context())
		ok(t, err)
		equal(t, "version", current, want)
		all, err := d.Status(t.Context())
		ok(t, err)
		equal(t, "first", all[0].Name, "00001_users.sql")
		for _, s := range all {
			if s.Pending() || time.Since(s.AppliedAt).Abs() > time.Minute || s.AppliedAt.Location() != time.UTC {
				t.Errorf("got %+v", s)
			}
		}
	})
}

// From every earlier version up, and back down to nothing.
func TestMigrateUpAndDown(t *testing.T) {
	onBoth(t, func(t *testing.T, d *DB) {
		pool, err := d.connect()
		ok(t, err)
		defer pool.Close()
		_, want, err := d.Behind(t.Context())
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
			current, _, err := d.Behind(t.Context())
			ok(t, err)
			equal(t, "version after down", current, 0)
			if err := second(d.Users(t.Context(), "", 1)); err == nil {
				t.Fatal("the table is still there")
			}
		}
	})
}

func TestMigrateAtOnce(t *testing.T) {
	for name, url := range map[string]func(t *testing.T) string{"Postgres": postgresURL, "SQLite": sqliteURL} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := url(t)
			start := make(chan struct{})
			var opened, group sync.WaitGroup
			for range 16 { // each as a process of its own would
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

func TestNewerSchema(t *testing.T) {
	onBothMigrated(t, func(t *testing.T, d *DB) {
		ok(t, byHand(t, d, `INSERT INTO goose_db_version (version_id, is_applied) VALUES (9999, (1 = 1))`))
		current, want, err := d.Behind(t.Context())
		wantErr(t, err, ErrSchemaNewer)
		if current != 9999 || want >= current {
			t.Fatalf("got %d, %d", current, want)
		}
		wantErr(t, d.Migrate(t.Context()), ErrSchemaNewer)
		all, err := d.Status(t.Context())
		ok(t, err)
		last := all[len(all)-1]
		if last.Version != 9999 || last.Name != "" || last.Pending() {
			t.Fatalf("got %+v", last)
		}
	})
}

func TestMigrateUnavailable(t *testing.T) {
	d := open(t, "postgres://u@127.0.0.1:1/x?sslmode=disable")
	wantErr(t, d.Migrate(t.Context()), auth.ErrUnavailable)
	wantErr(t, second(d.Status(t.Context())), auth.ErrUnavailable)
}

func tableExists(t *testing.T, d *DB) (exists bool) {
	t.Helper()
	ok(t, d.pool.GetContext(t.Context(), &exists, d.dialect.hasTable, versionTable))
	return exists
}
