package db

import (
	"testing"
	"time"

	"github.com/google/uuid"

	"gatehouse/auth"
)

func TestSetPreferences_StoresOnlyEditedOnes(t *testing.T) {
	onBothMigrated(t, func(t *testing.T, d *DB) {
		u := create(t, d, newUser("alice"))
		dark, h12, de, none := "dark", "h12", "de", ""
		for _, step := range []struct {
			edit auth.PreferencesEdit
			want auth.Preferences
		}{
			{auth.PreferencesEdit{Theme: &dark}, auth.Preferences{Theme: "dark"}},
			{auth.PreferencesEdit{HourCycle: &h12, Locale: &de}, auth.Preferences{Theme: "dark", HourCycle: "h12", Locale: "de"}},
			{auth.PreferencesEdit{Theme: &none}, auth.Preferences{HourCycle: "h12", Locale: "de"}},
		} {
			got, err := d.SetPreferences(t.Context(), u.ID, step.edit)
			ok(t, err)
			equal(t, "preferences", got.Preferences, step.want)
			equal(t, "epoch", got.Epoch, u.Epoch)
			equal(t, "returned and stored", got, byID(t, d, u.ID))
		}
		wantErr(t, second(d.SetPreferences(t.Context(), uuid.NewString(), auth.PreferencesEdit{Theme: &dark})), auth.ErrNotFound)
		pink := "pink"
		if err := second(d.SetPreferences(t.Context(), u.ID, auth.PreferencesEdit{Theme: &pink})); err == nil {
			t.Error("an unknown theme was stored")
		}
	})
}

// TestRecordFirstTimeZone_KeepsAChosenZone: also UTC, if the user chose it.
func TestRecordFirstTimeZone_KeepsAChosenZone(t *testing.T) {
	onBothMigrated(t, func(t *testing.T, d *DB) {
		at := time.Date(2026, 5, 1, 0, 0, 0, 1000, time.UTC)
		u := create(t, d, newUser("alice"))
		got, err := d.RecordFirstTimeZone(t.Context(), u.ID, "Europe/Berlin", at)
		ok(t, err)
		equal(t, "zone", got.TimeZone, "Europe/Berlin")
		equal(t, "last sign-in", got.LastSignInAt, at)
		equal(t, "returned and stored", got, byID(t, d, u.ID))
		wantErr(t, second(d.RecordFirstTimeZone(t.Context(), u.ID, "Asia/Tokyo", at)), auth.ErrStale)

		got, err = d.SetProfile(t.Context(), u.ID, profileOf(got), auth.Profile{TimeZone: "UTC"})
		ok(t, err)
		equal(t, "chosen", got.TimeZoneChosen, true)
		wantErr(t, second(d.RecordFirstTimeZone(t.Context(), u.ID, "Asia/Tokyo", at)), auth.ErrStale)
		equal(t, "zone", byID(t, d, u.ID).TimeZone, "UTC")

		wantErr(t, second(d.RecordFirstTimeZone(t.Context(), uuid.NewString(), "Asia/Tokyo", at)), auth.ErrStale)
	})
}

func TestPreferences_ChangesByHandAreAnnounced(t *testing.T) {
	onBothMigrated(t, func(t *testing.T, d *DB) {
		u := create(t, d, newUser("alice"))
		e := listen(t, d)
		e.await("connected")
		for _, set := range []string{"theme = 'dark'", "hour_cycle = 'h12'", "locale = 'de'"} {
			before := byID(t, d, u.ID)
			ok(t, byHand(t, d, `UPDATE users SET `+set+` WHERE id = $1`, u.ID))
			e.await("changed " + u.ID)
			if after := byID(t, d, u.ID); !after.UpdatedAt.After(before.UpdatedAt) {
				t.Errorf("%s: updated at %s, before at %s", set, after.UpdatedAt, before.UpdatedAt)
			}
		}
	})
}

// TestMigrate_KeepsZonesThatMayBeChosen: only a row that was never changed certainly has the zone that it was created with.
func TestMigrate_KeepsZonesThatMayBeChosen(t *testing.T) {
	onBoth(t, func(t *testing.T, d *DB) {
		pool, err := d.connect()
		ok(t, err)
		defer pool.Close()
		p, err := d.provider(pool)
		ok(t, err)
		_, err = p.UpTo(t.Context(), 6)
		ok(t, err)
		untouched, changed, elsewhere := newUser("untouched"), newUser("changed"), newUser("elsewhere")
		elsewhere.TimeZone = "Asia/Tokyo"
		for _, u := range []auth.User{untouched, changed, elsewhere} {
			create(t, d, u)
		}
		ok(t, byHand(t, d, `UPDATE users SET name = 'Changed' WHERE id = $1`, changed.ID))
		ok(t, d.Migrate(t.Context()))
		for id, want := range map[string]string{untouched.ID: "Europe/Berlin", changed.ID: "UTC", elsewhere.ID: "Asia/Tokyo"} {
			err := second(d.RecordFirstTimeZone(t.Context(), id, "Europe/Berlin", time.Now()))
			equal(t, "taken", err == nil, want == "Europe/Berlin")
			equal(t, "zone", byID(t, d, id).TimeZone, want)
		}
	})
}
