package db

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"gatehouse/auth"
)

// losses returns every way in which alice, a member of the group admins with users.manage, can lose her administrator
// permission.
func losses(d *DB, alice auth.User) map[string]func(context.Context) error {
	return map[string]func(context.Context) error{
		"disable":      func(ctx context.Context) error { return second(d.SetActive(ctx, alice.ID, false)) },
		"leave":        func(ctx context.Context) error { return second(d.SetMember(ctx, alice.ID, "admins", false)) },
		"ungrant":      func(ctx context.Context) error { return d.SetGroupPermission(ctx, "admins", auth.ManageUsers, false) },
		"remove group": func(ctx context.Context) error { return d.RemoveGroup(ctx, "admins") },
	}
}

func newAdministrator(t *testing.T, d *DB, username string) auth.User {
	t.Helper()
	ok(t, d.AddGroup(t.Context(), "admins"))
	ok(t, d.SetGroupPermission(t.Context(), "admins", auth.ManageUsers, true))
	return setMember(t, d, create(t, d, newUser(username)), "admins", true)
}

func TestLastAdministrator_CannotBeRemoved(t *testing.T) {
	onBothMigrated(t, func(t *testing.T, d *DB) {
		ctx := t.Context()
		alice := newAdministrator(t, d, "alice")
		// Neither a disabled administrator nor a user with other permissions counts.
		bob := setPermission(t, d, create(t, d, newUser("bob")), auth.ManageUsers, true)
		ok(t, second(d.SetActive(ctx, bob.ID, false)))
		setPermission(t, d, create(t, d, newUser("carol")), auth.ViewUsers, true)
		before := byID(t, d, alice.ID)
		for name, lose := range losses(d, alice) {
			if err := lose(ctx); !errors.Is(err, auth.ErrLastAdministrator) {
				t.Errorf("%s: got %v, want ErrLastAdministrator", name, err)
			}
			equal(t, name+": alice", byID(t, d, alice.ID), before)
		}
		// Other changes of her, and of other users, are allowed.
		setPermission(t, d, alice, "a.b", true)
		setPermission(t, d, alice, "a.b", false)
		setPermission(t, d, bob, auth.ManageUsers, false)
		// With the permission of her own, her group can lose it.
		setPermission(t, d, alice, auth.ManageUsers, true)
		ok(t, d.SetGroupPermission(ctx, "admins", auth.ManageUsers, false))
		wantErr(t, second(d.SetPermission(ctx, alice.ID, auth.ManageUsers, false)), auth.ErrLastAdministrator)
		// With another administrator she can lose it.
		setMember(t, d, create(t, d, newUser("dora")), "admin", true)
		setPermission(t, d, alice, auth.ManageUsers, false)
		ok(t, second(d.SetActive(ctx, alice.ID, false)))
	})
}

func TestLastAdministrator_CanBeRemovedWhenAllowed(t *testing.T) {
	onBothMigrated(t, func(t *testing.T, d *DB) {
		alice := newAdministrator(t, d, "alice")
		for name := range losses(d, alice) {
			newAdministrator(t, d, "next-"+name[:4])
			ok(t, d.RemoveGroup(auth.AllowLosingAdministrators(t.Context()), "admins"))
			equal(t, name, byID(t, d, alice.ID).HasPermission(auth.ManageUsers), false)
			alice = newAdministrator(t, d, "again-"+name[:4])
			ok(t, losses(d, alice)[name](auth.AllowLosingAdministrators(t.Context())))
			equal(t, name, byID(t, d, alice.ID).HasPermission(auth.ManageUsers), false)
			alice = newAdministrator(t, d, "then-"+name[:4])
		}
	})
}

// TestLastAdministrator_IsNotRequiredWithoutOne: without an administrator no change is refused.
func TestLastAdministrator_IsNotRequiredWithoutOne(t *testing.T) {
	onBothMigrated(t, func(t *testing.T, d *DB) {
		alice := create(t, d, newUser("alice"))
		ok(t, d.AddGroup(t.Context(), "readers"))
		setMember(t, d, alice, "readers", true)
		setMember(t, d, alice, "readers", false)
		setPermission(t, d, alice, "a.b", false)
		ok(t, d.SetGroupPermission(t.Context(), "admin", auth.ManageUsers, false))
		ok(t, d.RemoveGroup(t.Context(), "readers"))
		ok(t, second(d.SetActive(t.Context(), alice.ID, false)))
	})
}

// TestLastAdministrator_IsKeptUnderConcurrency: each of the two changes alone would leave an administrator.
func TestLastAdministrator_IsKeptUnderConcurrency(t *testing.T) {
	onBothMigrated(t, func(t *testing.T, d *DB) {
		url := d.dsn
		if url == "" {
			url = "sqlite:" + d.path
		}
		other := open(t, url) // as another process
		last := newAdministrator(t, d, "admin00")
		for i := range 20 {
			pair := []auth.User{last, newAdministrator(t, d, fmt.Sprintf("admin%02d", i+1))}
			takes := []func() error{
				func() error { return second(d.SetActive(t.Context(), pair[0].ID, false)) },
				func() error { return second(other.SetMember(t.Context(), pair[1].ID, "admins", false)) },
			}
			errs := make([]error, len(takes))
			var ready, done sync.WaitGroup
			ready.Add(len(takes))
			for n, take := range takes {
				done.Go(func() {
					ready.Done()
					ready.Wait()
					errs[n] = take()
				})
			}
			done.Wait()
			for n, err := range errs {
				if errors.Is(err, auth.ErrLastAdministrator) != byID(t, d, pair[n].ID).HasPermission(auth.ManageUsers) || err != nil && !errors.Is(err, auth.ErrLastAdministrator) {
					t.Errorf("%s: got %v, want a refusal exactly if they are still an administrator", pair[n].Username, err)
				}
				if err != nil {
					last = pair[n]
				}
			}
			if (errs[0] == nil) == (errs[1] == nil) {
				t.Fatalf("round %d: got %v and %v, want exactly one refusal", i, errs[0], errs[1])
			}
		}
	})
}
