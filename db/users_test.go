package db

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"gatehouse/auth"
)

func itoa(n uint16) string { return strconv.Itoa(int(n)) }

func fileMode(t *testing.T, path string) fs.FileMode {
	t.Helper()
	info, err := os.Stat(path)
	ok(t, err)
	return info.Mode().Perm()
}

func TestUsers_FindReturnsWhatWasCreated(t *testing.T) {
	onBothMigrated(t, func(t *testing.T, d *DB) {
		berlin := time.FixedZone("CEST", 2*60*60)
		u := newUser("álice")
		u.Name, u.Email, u.EmailVerified, u.TimeZone = "Álice '\"; --", "a@example.org", true, "Europe/Berlin"
		u.CreatedAt = time.Date(2026, 3, 1, 12, 0, 0, 123456789, berlin)
		u.LastSignInAt = time.Date(2026, 3, 2, 12, 0, 0, 0, berlin)
		create(t, d, u)

		want := u
		want.CreatedAt = time.Date(2026, 3, 1, 10, 0, 0, 123456000, time.UTC)
		want.LastSignInAt = time.Date(2026, 3, 2, 10, 0, 0, 0, time.UTC)
		find := map[string]func() (auth.User, error){
			"id":             func() (auth.User, error) { return d.UserByID(t.Context(), u.ID) },
			"id, upper case": func() (auth.User, error) { return d.UserByID(t.Context(), strings.ToUpper(u.ID)) },
			"username":       func() (auth.User, error) { return d.UserByUsername(t.Context(), u.Username) },
			"email":          func() (auth.User, error) { return d.UserByEmail(t.Context(), u.Email) },
			"list": func() (auth.User, error) {
				all, err := d.Users(t.Context(), "", 1)
				return all[0], err
			},
		}
		for by, f := range find {
			got, err := f()
			ok(t, err)
			equal(t, by, got, want) // includes the time zone
		}
		fresh := create(t, d, newUser("bob"))
		equal(t, "never signed in", byID(t, d, fresh.ID), fresh)
	})
}

func TestTimestamp_ReadsEveryFormat(t *testing.T) {
	at := time.Date(2026, 3, 1, 1, 0, 0, 999999999, time.FixedZone("CEST", 2*60*60))
	for in, want := range map[timestamp]any{
		timestamp(at): "2026-02-28 23:00:00.999999+00:00", // truncated, not rounded
		{}:            nil,
	} {
		got, err := in.Value()
		ok(t, err)
		equal(t, "text", got, want)
	}
	want := time.Date(2026, 2, 28, 23, 0, 0, 0, time.UTC)
	for _, text := range []string{ // as operators and SQLite's own functions write it
		"2026-02-28 23:00:00", "2026-02-28 23:00:00.000", "2026-02-28 23:00:00.000+00:00", "2026-02-28T23:00:00Z",
		"2026-03-01T01:00:00+02:00", "2026-03-01 01:00:00.000000+02:00", "2026-02-28 23:00:00Z", "2026-02-28T23:00:00",
	} {
		var got timestamp
		ok(t, got.Scan(text))
		equal(t, text, time.Time(got), want)
	}
	if err := new(timestamp).Scan("yesterday"); err == nil {
		t.Fatal("an invalid time was accepted")
	}
}

func TestUsers_UnknownIsNotFound(t *testing.T) {
	onBothMigrated(t, func(t *testing.T, d *DB) {
		u := newUser("alice")
		u.Email = "alice@example.org"
		create(t, d, u)
		ctx, unknown := t.Context(), uuid.NewString()
		for what, err := range map[string]error{
			"unverified email": second(d.UserByEmail(ctx, u.Email)),
			"no email":         second(d.UserByEmail(ctx, "")),
			"username":         second(d.UserByUsername(ctx, "nobody")),
			"other case":       second(d.UserByUsername(ctx, "Alice")),
			"NUL":              second(d.UserByUsername(ctx, "alice\x00")),
			"NUL email":        second(d.UserByEmail(ctx, "\x00")),
			"invalid UTF-8":    second(d.UserByUsername(ctx, "alice\xff")),
			"a million":        second(d.UserByUsername(ctx, strings.Repeat("ä", 1_000_000))),
			"id":               second(d.UserByID(ctx, unknown)),
			"malformed id":     second(d.UserByID(ctx, "' OR 1=1 --")),
			"NUL id":           second(d.UserByID(ctx, strings.Repeat("\x00", 36))),
			"id in braces":     second(d.UserByID(ctx, "{"+u.ID+"}")),
			"id without -":     second(d.UserByID(ctx, strings.ReplaceAll(u.ID, "-", ""))),
			"set password":     second(d.SetPassword(ctx, unknown, 1, "h")),
			"set profile":      second(d.SetProfile(ctx, unknown, auth.Profile{}, auth.Profile{TimeZone: "UTC"})),
			"set active":       second(d.SetActive(ctx, unknown, false)),
			"rotate epoch":     second(d.RotateEpoch(ctx, "x")),
			"record sign-in":   d.RecordSignIn(ctx, unknown, time.Now()),
		} {
			if !errors.Is(err, auth.ErrNotFound) || errors.Is(err, auth.ErrUnavailable) {
				t.Errorf("%s: got %v, want ErrNotFound", what, err)
			}
		}
	})
}

func TestUsers_RefuseUnstorableText(t *testing.T) {
	onBothMigrated(t, func(t *testing.T, d *DB) {
		stored := create(t, d, newUser("alice"))
		for _, bad := range []string{"\x00", "a\xffb"} {
			u := newUser("bob")
			u.Name = bad
			var invalid auth.ValidationErrors
			if _, err := d.CreateUser(t.Context(), u); !errors.As(err, &invalid) || invalid["name"] == "" || len(invalid) != 1 {
				t.Errorf("create: got %v, want a validation error for name", err)
			}
			_, err := d.SetProfile(t.Context(), stored.ID, auth.Profile{}, auth.Profile{Email: bad, TimeZone: "UTC"})
			if !errors.As(err, &invalid) || invalid["email"] == "" {
				t.Errorf("set profile: got %v, want a validation error for email", err)
			}
			if all, err := d.Users(t.Context(), bad, 10); len(all) != 0 || err != nil {
				t.Errorf("users: got %v, %v; want none", all, err)
			}
		}
	})
}

func TestCreateUser_RefusesTakenNames(t *testing.T) {
	onBothMigrated(t, func(t *testing.T, d *DB) {
		first := newUser("alice")
		first.Email, first.EmailVerified = "a@example.org", true
		create(t, d, first)

		name := newUser("alice")
		wantErr(t, second(d.CreateUser(t.Context(), name)), auth.ErrUsernameTaken)
		email := newUser("bob")
		email.Email, email.EmailVerified = first.Email, true
		wantErr(t, second(d.CreateUser(t.Context(), email)), auth.ErrEmailTaken)
		both := email
		both.Username = "alice"
		wantErr(t, second(d.CreateUser(t.Context(), both)), auth.ErrUsernameTaken)
		email.EmailVerified = false
		create(t, d, email)

		sameID := newUser("carol")
		sameID.ID = first.ID
		_, err := d.CreateUser(t.Context(), sameID)
		if err == nil || errors.Is(err, auth.ErrUsernameTaken) || errors.Is(err, auth.ErrEmailTaken) {
			t.Fatalf("same id: got %v, want another error than a taken name or address", err)
		}
		if all, _ := d.Users(t.Context(), "", 10); len(all) != 2 {
			t.Fatalf("got %d users, want 2", len(all))
		}
	})
}

func TestCreateUser_OneOfManySucceeds(t *testing.T) {
	onBothMigrated(t, func(t *testing.T, d *DB) {
		var created, taken atomic.Int64
		var group sync.WaitGroup
		for range 100 {
			group.Go(func() {
				switch _, err := d.CreateUser(t.Context(), newUser("alice")); {
				case err == nil:
					created.Add(1)
				case errors.Is(err, auth.ErrUsernameTaken):
					taken.Add(1)
				default:
					t.Error(err)
				}
			})
		}
		group.Wait()
		equal(t, "created", created.Load(), 1)
		equal(t, "taken", taken.Load(), 99)
	})
}

func TestUsers_ArePaged(t *testing.T) {
	onBothMigrated(t, func(t *testing.T, d *DB) {
		if d.path == "" {
			create(t, d, newUser("!"))
			var collation string
			ok(t, d.pool.GetContext(t.Context(), &collation, `SELECT pg_collation_for(username) FROM users`))
			equal(t, "collation", collation, `"C"`)
			ok(t, byHand(t, d, `DELETE FROM users`))
		}
		// Ordered by bytes, whatever the server's locale is.
		names := []string{"_z", "a", "a-b", "aa", "b", "z", "ä"}
		for i := range names {
			create(t, d, newUser(names[(i*3)%len(names)]))
		}
		var got []string
		for after := ""; ; {
			page, err := d.Users(t.Context(), after, 2)
			ok(t, err)
			if len(page) == 0 {
				break
			}
			for _, u := range page {
				got = append(got, u.Username)
			}
			after = page[len(page)-1].Username
		}
		equal(t, "names", fmt.Sprint(got), fmt.Sprint(names))
		if none, err := d.Users(t.Context(), "", 0); len(none) != 0 || err != nil {
			t.Fatalf("got %v, %v; want no users", none, err)
		}
	})
}

func TestSetPassword_ChecksTheEpoch(t *testing.T) {
	onBothMigrated(t, func(t *testing.T, d *DB) {
		u := create(t, d, newUser("alice"))
		got, err := d.SetPassword(t.Context(), u.ID, 1, "new")
		ok(t, err)
		equal(t, "epoch before", got.PreviousEpoch, u.Epoch)
		wantNewEpoch(t, u.Epoch, got.Epoch)
		equal(t, "hash", got.PasswordHash, "new")
		if !got.UpdatedAt.After(u.UpdatedAt) {
			t.Fatalf("got updated_at %v, want it after %v", got.UpdatedAt, u.UpdatedAt)
		}
		got.PreviousEpoch = 0
		equal(t, "returned and stored", got, byID(t, d, u.ID))
		wantErr(t, second(d.SetPassword(t.Context(), u.ID, 1, "late")), auth.ErrStale)
		equal(t, "after a stale change", byID(t, d, u.ID), got)
	})
}

func TestSetPassword_OneOfManySucceeds(t *testing.T) {
	onBothMigrated(t, func(t *testing.T, d *DB) {
		u := create(t, d, newUser("alice"))
		var won, stale atomic.Int64
		var group sync.WaitGroup
		for i := range 20 {
			group.Go(func() {
				switch _, err := d.SetPassword(t.Context(), u.ID, 1, fmt.Sprint("hash ", i)); {
				case err == nil:
					won.Add(1)
				case errors.Is(err, auth.ErrStale):
					stale.Add(1)
				default:
					t.Error(err)
				}
			})
		}
		group.Wait()
		equal(t, "won", won.Load(), 1)
		equal(t, "stale", stale.Load(), 19)
		wantNewEpoch(t, u.Epoch, byID(t, d, u.ID).Epoch)
	})
}

// TestRotateEpochFrom_OneOfManySucceeds: one of several concurrent calls from the same epoch replaces it.
func TestRotateEpochFrom_OneOfManySucceeds(t *testing.T) {
	onBothMigrated(t, func(t *testing.T, d *DB) {
		u := create(t, d, newUser("alice"))
		var won atomic.Pointer[auth.User]
		var stale atomic.Int64
		var group sync.WaitGroup
		for range 20 {
			group.Go(func() {
				switch got, err := d.RotateEpochFrom(t.Context(), u.ID, u.Epoch); {
				case err == nil && won.CompareAndSwap(nil, &got):
				case errors.Is(err, auth.ErrStale):
					stale.Add(1)
				default:
					t.Errorf("got %+v, %v; want one success and ErrStale otherwise", got, err)
				}
			})
		}
		group.Wait()
		equal(t, "stale", stale.Load(), 19)
		stored := byID(t, d, u.ID)
		equal(t, "epoch", won.Load().Epoch, stored.Epoch)
		equal(t, "epoch before", won.Load().PreviousEpoch, u.Epoch)
		wantNewEpoch(t, u.Epoch, stored.Epoch)
		wantErr(t, second(d.RotateEpochFrom(t.Context(), "00000000-0000-7000-8000-000000000000", 1)), auth.ErrNotFound)
	})
}

func TestReplaceHash_KeepsTheEpoch(t *testing.T) {
	onBothMigrated(t, func(t *testing.T, d *DB) {
		u := create(t, d, newUser("alice"))
		ok(t, d.ReplaceHash(t.Context(), u.ID, "something else", "wrong"))
		equal(t, "hash", byID(t, d, u.ID).PasswordHash, u.PasswordHash)
		ok(t, d.ReplaceHash(t.Context(), u.ID, u.PasswordHash, "stronger"))
		got := byID(t, d, u.ID)
		equal(t, "hash", got.PasswordHash, "stronger")
		equal(t, "epoch", got.Epoch, u.Epoch)
	})
}

func TestSetProfile_ChecksTheOldProfile(t *testing.T) {
	onBothMigrated(t, func(t *testing.T, d *DB) {
		u := newUser("alice")
		u.Email, u.EmailVerified = "a@example.org", true
		create(t, d, u)
		got, err := d.SetProfile(t.Context(), u.ID, profileOf(u), auth.Profile{Name: "Alice", Email: u.Email, TimeZone: "Asia/Tokyo"})
		ok(t, err)
		equal(t, "name", got.Name, "Alice")
		equal(t, "zone", got.TimeZone, "Asia/Tokyo")
		equal(t, "verified with the same email", got.EmailVerified, true)
		equal(t, "epoch", got.Epoch, u.Epoch)
		equal(t, "returned and stored", got, byID(t, d, u.ID))

		for _, email := range []string{"b@example.org", u.Email, ""} {
			got, err = d.SetProfile(t.Context(), u.ID, profileOf(got), auth.Profile{Email: email, TimeZone: "UTC"})
			ok(t, err)
			equal(t, "email", got.Email, email)
			equal(t, "verified after a change", got.EmailVerified, false)
		}

		// A profile that has changed in any field since it was read is not overwritten.
		for _, from := range []auth.Profile{{Name: "x", TimeZone: "UTC"}, {Email: u.Email, TimeZone: "UTC"}, {TimeZone: "Asia/Tokyo"}} {
			wantErr(t, second(d.SetProfile(t.Context(), u.ID, from, auth.Profile{Name: "Lost", TimeZone: "UTC"})), auth.ErrStale)
		}
		equal(t, "name", byID(t, d, u.ID).Name, "")
	})
}

func profileOf(u auth.User) auth.Profile {
	return auth.Profile{Name: u.Name, Email: u.Email, TimeZone: u.TimeZone}
}

func TestSetActive_RotatesTheEpoch(t *testing.T) {
	onBothMigrated(t, func(t *testing.T, d *DB) {
		u := create(t, d, newUser("alice"))
		for _, step := range []struct{ active, newEpoch bool }{
			{true, false}, {false, true}, {false, false}, {true, false}, {true, false}, {false, true},
		} {
			before := byID(t, d, u.ID)
			got, err := d.SetActive(t.Context(), u.ID, step.active)
			ok(t, err)
			equal(t, "active", got.Active, step.active)
			equal(t, "epoch changed", got.Epoch != before.Epoch, step.newEpoch)
			equal(t, "updated", got.UpdatedAt.After(before.UpdatedAt), before.Active != step.active)
			equal(t, "returned and stored", got, byID(t, d, u.ID))
		}
	})
}

// TestRotateEpoch_ConcurrentCallsFormAChain: each concurrent call replaces the epoch that exactly one other call set.
func TestRotateEpoch_ConcurrentCallsFormAChain(t *testing.T) {
	onBothMigrated(t, func(t *testing.T, d *DB) {
		u := create(t, d, newUser("alice"))
		var mu sync.Mutex
		after := map[int64]int64{}
		var group sync.WaitGroup
		for range 20 {
			group.Go(func() {
				got, err := d.RotateEpoch(t.Context(), u.ID)
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				defer mu.Unlock()
				after[got.PreviousEpoch] = got.Epoch
			})
		}
		group.Wait()
		epoch := u.Epoch
		for range 20 {
			wantNewEpoch(t, epoch, after[epoch])
			epoch = after[epoch]
		}
		equal(t, "epoch", byID(t, d, u.ID).Epoch, epoch)
	})
}

// wantNewEpoch fails unless the epoch is a new random one. A counter would stay small.
func wantNewEpoch(t *testing.T, before, epoch int64) {
	t.Helper()
	if epoch == before || epoch < 1<<20 || epoch > auth.MaxEpoch {
		t.Fatalf("got epoch %d after %d, want a random one below 2^53", epoch, before)
	}
}

func TestEpochBefore_InvertsNextEpoch(t *testing.T) {
	for _, epoch := range []int64{1, 2, 1 << 52, auth.MaxEpoch - 1, auth.MaxEpoch} {
		for _, offset := range []int64{0, 1, 1 << 52, auth.MaxEpoch - 3, auth.MaxEpoch - 2, epochOffset()} {
			next := 1 + (epoch+offset)%auth.MaxEpoch // as nextEpoch computes it in SQL
			if next == epoch || next < 1 || next > auth.MaxEpoch {
				t.Errorf("epoch %d with the offset %d: got %d, want another valid epoch", epoch, offset, next)
			}
			equal(t, fmt.Sprintf("before %d by %d", next, offset), epochBefore(next, offset), epoch)
		}
	}
}

func TestRecordSignIn_IsNotAChange(t *testing.T) {
	onBothMigrated(t, func(t *testing.T, d *DB) {
		want := create(t, d, newUser("alice"))
		want.LastSignInAt = time.Date(2026, 5, 1, 0, 0, 0, 1000, time.UTC)
		ok(t, d.RecordSignIn(t.Context(), want.ID, want.LastSignInAt.Local()))
		equal(t, "user", byID(t, d, want.ID), want)
	})
}

// TestTriggers_UpdateEpochAndTimestamp: for rows that are changed with plain SQL.
func TestTriggers_UpdateEpochAndTimestamp(t *testing.T) {
	onBothMigrated(t, func(t *testing.T, d *DB) {
		tests := []struct {
			set      string
			newEpoch bool
			touched  bool
		}{
			{"epoch = epoch + 1", true, true},
			{"active = (1 = 0)", true, true},
			{"active = (1 = 0)", false, false}, // unchanged
			{"active = (1 = 1)", false, true},
			{"active = (1 = 0), epoch = epoch + 1", true, true},
			{"password_hash = 'by hand'", true, true},
			{"password_hash = 'by hand'", false, false},
			{"password_hash = 'again', epoch = epoch + 5", true, true},
			{"name = 'by hand'", false, true},
			{"epoch = epoch + 1", true, true},
			{"epoch = epoch - 1", true, true},
			{"last_sign_in_at = '2026-01-02 03:04:05+00:00'", false, false},
		}
		u := create(t, d, newUser("alice"))
		for _, test := range tests {
			// A time long ago, since SQLite has only milliseconds.
			ok(t, byHand(t, d, `UPDATE users SET updated_at = '2020-01-01 00:00:00+00:00'`))
			before := byID(t, d, u.ID)
			ok(t, byHand(t, d, `UPDATE users SET `+test.set))
			after := byID(t, d, u.ID)
			if test.newEpoch {
				wantNewEpoch(t, before.Epoch, after.Epoch)
			} else {
				equal(t, test.set+": epoch", after.Epoch, before.Epoch)
			}
			equal(t, test.set+": updated_at changed", after.UpdatedAt.After(before.UpdatedAt), test.touched)
			if test.touched && time.Since(after.UpdatedAt).Abs() > time.Minute {
				t.Fatalf("%s: got updated_at %v, want now", test.set, after.UpdatedAt)
			}
		}
		for _, refused := range []string{
			"email_verified = (1 = 1)", "username = ''", "active = NULL",
		} {
			if err := byHand(t, d, `UPDATE users SET `+refused); err == nil {
				t.Errorf("%s was accepted", refused)
			}
		}
	})
}

// TestEpoch_RestoredRowsGetANewOne: rows restored from a backup, by whatever statement, match no session from before or
// after the backup.
func TestEpoch_RestoredRowsGetANewOne(t *testing.T) {
	restores := map[string]string{
		"update": `UPDATE users SET epoch = (SELECT epoch FROM saved), password_hash = (SELECT password_hash FROM saved), updated_at = (SELECT updated_at FROM saved)`,
		"epoch":  `UPDATE users SET epoch = (SELECT epoch FROM saved)`,
		"insert": `DELETE FROM users; INSERT INTO users SELECT * FROM saved`,
		"upsert": `INSERT INTO users SELECT * FROM saved WHERE true ON CONFLICT (id) DO UPDATE SET epoch = excluded.epoch, updated_at = excluded.updated_at`,
	}
	for how, restore := range restores {
		t.Run(how, func(t *testing.T) {
			onBothMigrated(t, func(t *testing.T, d *DB) {
				u := create(t, d, newUser("alice"))
				first, err := d.RotateEpoch(t.Context(), u.ID)
				ok(t, err)
				ok(t, byHand(t, d, `CREATE TABLE saved AS SELECT * FROM users`))
				later, err := d.RotateEpoch(t.Context(), u.ID)
				ok(t, err)
				for statement := range strings.SplitSeq(restore, "; ") {
					ok(t, byHand(t, d, statement))
				}
				restored := byID(t, d, u.ID)
				for _, ended := range []int64{u.Epoch, first.Epoch, later.Epoch} {
					wantNewEpoch(t, ended, restored.Epoch)
				}
			})
		})
	}
}

// TestTriggers_FillDefaults: a row inserted with plain SQL is a valid user.
func TestTriggers_FillDefaults(t *testing.T) {
	onBothMigrated(t, func(t *testing.T, d *DB) {
		id := uuid.NewString()
		ok(t, byHand(t, d, `INSERT INTO users (id, username, password_hash) VALUES ($1, 'hand', 'x')`, id))
		u := byID(t, d, id)
		if !u.Active || u.Epoch != 1 || u.TimeZone != "UTC" || time.Since(u.CreatedAt).Abs() > time.Minute || u.CreatedAt.Location() != time.UTC {
			t.Fatalf("got %+v, want an active user with epoch 1 and the zone UTC, created now", u)
		}
	})
}

// TestCreateUser_ReturnsTheStoredEpoch: a trigger treats a row whose updated_at is more than an hour old as restored from
// a backup. That also happens if the server's clock is behind that of Postgres.
func TestCreateUser_ReturnsTheStoredEpoch(t *testing.T) {
	onBothMigrated(t, func(t *testing.T, d *DB) {
		for name, store := range map[string]func(context.Context, auth.User) (auth.User, error){
			"created": d.CreateUser, "registered": d.RegisterUser,
		} {
			for _, behind := range []time.Duration{0, 61 * time.Minute} {
				u := newUser(name + strconv.Itoa(int(behind.Minutes())))
				u.UpdatedAt = u.UpdatedAt.Add(-behind)
				returned, err := store(t.Context(), u)
				ok(t, err)
				stored := byID(t, d, u.ID)
				equal(t, u.Username+": the first epoch", stored.Epoch == 1, behind == 0)
				equal(t, u.Username, returned, stored)
			}
		}
	})
}

// TestDeleteUser_TakesEverythingAlong: only of a disabled user, and never of the last administrator.
func TestDeleteUser_TakesEverythingAlong(t *testing.T) {
	onBothMigrated(t, func(t *testing.T, d *DB) {
		boss := newAdministrator(t, d, "boss")
		alice := create(t, d, newUser("alice"))
		setPermission(t, d, setMember(t, d, alice, "admin", true), "a.b", true)
		wantErr(t, second(d.DeleteUser(t.Context(), alice.ID)), auth.ErrStale)
		wantErr(t, second(d.DeleteUser(t.Context(), uuid.NewString())), auth.ErrNotFound)
		wantErr(t, second(d.DeleteUser(t.Context(), "no id")), auth.ErrNotFound)
		ok(t, second(d.SetActive(t.Context(), alice.ID, false)))
		deleted, err := d.DeleteUser(t.Context(), strings.ToUpper(alice.ID))
		ok(t, err)
		equal(t, "deleted", deleted.Username, "alice")
		equal(t, "id", deleted.ID, alice.ID)
		wantErr(t, second(d.UserByID(t.Context(), alice.ID)), auth.ErrNotFound)
		wantErr(t, second(d.DeleteUser(t.Context(), alice.ID)), auth.ErrNotFound)
		for _, table := range []string{"user_groups", "user_permissions", "user_skeletons", "user_origins"} {
			var rows int
			ok(t, d.pool.GetContext(t.Context(), &rows, `SELECT count(*) FROM `+table+` WHERE user_id = $1`, alice.ID))
			equal(t, table, rows, 0)
		}
		equal(t, "boss", byID(t, d, boss.ID).HasPermission(auth.ManageUsers), true)
		ok(t, second(d.RegisterUser(t.Context(), newUser("alice")))) // the name is free again
	})
}

func TestVerifyEmail_ChecksTheAddress(t *testing.T) {
	onBothMigrated(t, func(t *testing.T, d *DB) {
		alice, bob := newUser("alice"), newUser("bob")
		alice.Email, alice.EmailVerified = "shared@example.org", false
		bob.Email, bob.EmailVerified = "shared@example.org", false
		alice, bob = create(t, d, alice), create(t, d, bob)
		for _, email := range []string{"", "other@example.org", "\xff"} {
			wantErr(t, second(d.VerifyEmail(t.Context(), alice.ID, email)), auth.ErrStale)
		}
		got, err := d.VerifyEmail(t.Context(), alice.ID, "shared@example.org")
		ok(t, err)
		equal(t, "verified", got.EmailVerified, true)
		equal(t, "epoch", got.Epoch, alice.Epoch)
		ok(t, second(d.VerifyEmail(t.Context(), alice.ID, "shared@example.org"))) // again
		wantErr(t, second(d.VerifyEmail(t.Context(), bob.ID, "shared@example.org")), auth.ErrEmailTaken)
		wantErr(t, second(d.VerifyEmail(t.Context(), uuid.NewString(), "shared@example.org")), auth.ErrNotFound)
	})
}

func TestDirectPermissions_LeaveOutThoseOfGroups(t *testing.T) {
	onBothMigrated(t, func(t *testing.T, d *DB) {
		alice := setMember(t, d, create(t, d, newUser("alice")), "admin", true)
		for _, permission := range []string{"c.d", "a.b"} {
			setPermission(t, d, alice, permission, true)
		}
		got, err := d.DirectPermissions(t.Context(), alice.ID)
		ok(t, err)
		equal(t, "direct", got, []string{"a.b", "c.d"})
		got, err = d.DirectPermissions(t.Context(), uuid.NewString())
		ok(t, err)
		equal(t, "of an unknown user", len(got), 0)
	})
}
