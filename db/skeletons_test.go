package db

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse/auth"
	"gatehouse/internal/reqstats"
	"gatehouse/internal/testkit"
)

// missingSkeletons returns the number of rows without a computed skeleton.
func missingSkeletons(t *testing.T, d *DB) int {
	t.Helper()
	var n int
	ok(t, d.pool.GetContext(t.Context(), &n, `SELECT count(*) FROM users u LEFT JOIN user_skeletons s ON s.user_id = u.id AND s.username = u.username WHERE s.skeleton IS NULL`))
	return n
}

func wantTaken(t *testing.T, d *DB, name string, want bool) {
	t.Helper()
	taken, err := d.UsernameTaken(t.Context(), name)
	ok(t, err)
	if taken != want {
		t.Errorf("UsernameTaken(%s): got %t, want %t", name, taken, want)
	}
	if want {
		wantErr(t, second(d.RegisterUser(t.Context(), newUser(name))), auth.ErrUsernameTaken)
	}
}

// TestLookalike_OfAnExistingNameIsRefused: however the existing user was created.
func TestLookalike_OfAnExistingNameIsRefused(t *testing.T) {
	onBothMigrated(t, func(t *testing.T, d *DB) {
		ok(t, second(d.RegisterUser(t.Context(), newUser("alice"))))
		create(t, d, newUser("bob"))
		imported := newUser("carol")
		ok(t, d.ImportUser(t.Context(), imported, "django", "7"))
		equal(t, "missing", missingSkeletons(t, d), 1) // the one of the operator's user
		for _, name := range []string{"alice", "ᴀlice", "аlice", "ꓮꓡꓲꓚꓰ", "b0b", "cаrol", "сarol"} {
			wantTaken(t, d, name, true)
		}
		for _, name := range []string{"al-ice", "alicia", "bobby", "carola", "\xff"} {
			wantTaken(t, d, name, false)
		}
		// A row inserted or renamed with plain SQL counts immediately.
		byHandUser := newUser("dave")
		ok(t, byHand(t, d, `INSERT INTO users (id, username, password_hash) VALUES ($1, 'dave', 'x')`, byHandUser.ID))
		wantTaken(t, d, "dаve", true)
		ok(t, byHand(t, d, `UPDATE users SET username = 'erin' WHERE username = 'dave'`))
		wantTaken(t, d, "dаve", false)
		wantTaken(t, d, "еrin", true)
		ok(t, byHand(t, d, `DELETE FROM users WHERE username = 'erin'`))
		wantTaken(t, d, "еrin", false)
		// Operators and imports can use a lookalike of an existing name.
		create(t, d, newUser("аlice"))
		lookalike := newUser("b0b")
		ok(t, d.ImportUser(t.Context(), lookalike, "django", "8"))
		wantTaken(t, d, "alice", true)
		equal(t, "missing", missingSkeletons(t, d), 0)
		// A restored row counts as before.
		ok(t, byHand(t, d, `CREATE TABLE saved AS SELECT * FROM users`))
		ok(t, byHand(t, d, `DELETE FROM users`))
		wantTaken(t, d, "cаrol", false)
		ok(t, byHand(t, d, `INSERT INTO users SELECT * FROM saved`))
		wantTaken(t, d, "cаrol", true)
	})
}

// TestLookalike_OneOfManySucceeds: one of many concurrent registrations of lookalike names succeeds.
func TestLookalike_OneOfManySucceeds(t *testing.T) {
	onBothMigrated(t, func(t *testing.T, d *DB) {
		names := []string{"mallory", "mаllory", "mallоry", "ma1lory", "ᴍallory", "mallοry"}
		var wg sync.WaitGroup
		var mu sync.Mutex
		won := 0
		for i := range 100 {
			wg.Go(func() {
				_, err := d.RegisterUser(t.Context(), newUser(names[i%len(names)]))
				mu.Lock()
				defer mu.Unlock()
				switch {
				case err == nil:
					won++
				case !errors.Is(err, auth.ErrUsernameTaken) && !errors.Is(err, auth.ErrUnavailable): // the server is overloaded
					t.Error(err)
				}
			})
		}
		wg.Wait()
		var rows int
		ok(t, d.pool.GetContext(t.Context(), &rows, `SELECT count(*) FROM users`))
		if won != 1 || rows != 1 {
			t.Errorf("got %d successful registrations and %d rows, want 1 and 1", won, rows)
		}
	})
}

// insertByHand inserts users named user-0, user-1 and so on in one statement.
func insertByHand(t *testing.T, d *DB, n int) {
	t.Helper()
	rows := make([]string, n)
	for i := range rows {
		rows[i] = fmt.Sprintf("('%s', 'user-%d', 'x')", newUser("x").ID, i)
	}
	ok(t, byHand(t, d, `INSERT INTO users (id, username, password_hash) VALUES `+strings.Join(rows, ", ")))
}

// fillInBackground runs FillComputed until the test ends.
func fillInBackground(t *testing.T, d *DB) {
	ctx, cancel := context.WithCancel(t.Context())
	var group sync.WaitGroup
	group.Go(func() { d.FillComputed(ctx, slog.New(slog.DiscardHandler)) })
	t.Cleanup(func() { cancel(); group.Wait() })
}

// TestLookalike_ARegistrationComputesAtMostOneBatch: after a bulk insert with plain SQL, registrations are refused until
// the server has computed the remaining skeletons in the background.
func TestLookalike_ARegistrationComputesAtMostOneBatch(t *testing.T) {
	onBothMigrated(t, func(t *testing.T, d *DB) {
		const inserted = 3*computeBatch + 1
		insertByHand(t, d, inserted)
		_, err := d.UsernameTaken(t.Context(), "zoe")
		wantErr(t, err, auth.ErrUnavailable)
		err = second(d.RegisterUser(t.Context(), newUser("zoe")))
		wantErr(t, err, auth.ErrUnavailable)
		wantErr(t, err, auth.ErrNotWritten)
		if n := missingSkeletons(t, d); n < inserted-2*computeBatch {
			t.Errorf("two registrations computed %d skeletons, want at most %d", inserted-n, 2*computeBatch)
		}

		fillInBackground(t, d)
		testkit.Eventually(t, 20*time.Second, "all skeletons", func() bool { return missingSkeletons(t, d) == 0 })
		wantTaken(t, d, fmt.Sprintf("usеr-%d", inserted-1), true)
		ok(t, second(d.RegisterUser(t.Context(), newUser("zoe"))))

		// A registration that finds many missing skeletons wakes the background work before its next interval.
		ok(t, byHand(t, d, `UPDATE user_skeletons SET skeleton = NULL`))
		testkit.Eventually(t, 20*time.Second, "a registration after the second change", func() bool {
			_, err := d.UsernameTaken(t.Context(), "zoe")
			if err != nil {
				wantErr(t, err, auth.ErrUnavailable)
			}
			return err == nil
		})
		equal(t, "missing", missingSkeletons(t, d), 0)
	})
}

// TestLookalike_LockedRowsDoNotBlockOthers: a row in an operator's uncommitted transaction is skipped.
func TestLookalike_LockedRowsDoNotBlockOthers(t *testing.T) {
	d := open(t, postgresURL(t))
	ok(t, d.Migrate(t.Context()))
	insertByHand(t, d, 2*computeBatch)
	tx, err := d.pool.BeginTxx(t.Context(), nil)
	ok(t, err)
	defer tx.Rollback()
	_, err = tx.ExecContext(t.Context(), `UPDATE users SET username = 'renamed' WHERE username = 'user-3'`)
	ok(t, err)
	fillInBackground(t, d)
	testkit.Eventually(t, 20*time.Second, "all skeletons but the one", func() bool { return missingSkeletons(t, d) == 1 })
	ok(t, tx.Commit())
	wantTaken(t, d, "rеnamed", true)
	equal(t, "missing", missingSkeletons(t, d), 0)
}

// TestLookalike_ExistingUsersGetSkeletons: a migration computes the missing skeletons and keeps existing lookalike names.
func TestLookalike_ExistingUsersGetSkeletons(t *testing.T) {
	onBothMigrated(t, func(t *testing.T, d *DB) {
		for i := range 450 {
			ok(t, byHand(t, d, `INSERT INTO users (id, username, password_hash) VALUES ($1, $2, 'x')`, newUser("x").ID, fmt.Sprintf("user-%d", i)))
		}
		for _, name := range []string{"alice", "аlice", "alicе"} {
			ok(t, byHand(t, d, `INSERT INTO users (id, username, password_hash) VALUES ($1, $2, 'x')`, newUser("x").ID, name))
		}
		equal(t, "missing before", missingSkeletons(t, d), 453)
		ok(t, d.Migrate(t.Context()))
		equal(t, "missing after", missingSkeletons(t, d), 0)
		wantTaken(t, d, "ᴀlice", true)
		for _, name := range []string{"alice", "аlice", "alicе"} {
			_, err := d.UserByUsername(t.Context(), name)
			ok(t, err)
		}
		ctx, cost := reqstats.NewContext(t.Context())
		ok(t, second(d.RegisterUser(context.WithoutCancel(ctx), newUser("zoe"))))
		if cost.SQLStatements() != 2 {
			t.Errorf("registering took %d statements, want 2", cost.SQLStatements())
		}
	})
}

// TestSkeletons_AreStoredWithOneStatementPerBatch: a statement takes 20 ms here, as on a busy server. One for each name
// would exceed the time limit of the batch, however often it is retried.
func TestSkeletons_AreStoredWithOneStatementPerBatch(t *testing.T) {
	d := open(t, postgresURL(t))
	ok(t, d.Migrate(t.Context()))
	insertByHand(t, d, computeBatch+1)
	ok(t, byHand(t, d, `CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(0.02); RETURN NULL; END'`))
	ok(t, byHand(t, d, `CREATE TRIGGER slow BEFORE UPDATE ON user_skeletons FOR EACH STATEMENT EXECUTE FUNCTION slow()`))
	ok(t, d.Migrate(t.Context()))
	equal(t, "missing", missingSkeletons(t, d), 0)
}
