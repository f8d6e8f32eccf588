package auth_test

import (
	"strings"
	"testing"

	"gatehouse/auth"
)

func TestEditPreferences_StoresOnlyEditedOnes(t *testing.T) {
	w := newWorld(t)
	u := w.add(t, "alice")
	text := func(s string) *string { return &s }
	for _, c := range []struct {
		edit auth.PreferencesEdit
		want auth.Preferences
	}{
		{auth.PreferencesEdit{}, auth.Preferences{}},
		{auth.PreferencesEdit{Theme: text("dark"), HourCycle: text("h12")}, auth.Preferences{Theme: "dark", HourCycle: "h12"}},
		{auth.PreferencesEdit{Locale: text("pt-BR")}, auth.Preferences{Theme: "dark", HourCycle: "h12", Locale: "pt-BR"}},
		{auth.PreferencesEdit{Theme: text(""), HourCycle: text("h23")}, auth.Preferences{HourCycle: "h23", Locale: "pt-BR"}},
	} {
		got, err := w.EditPreferences(t.Context(), u.ID, c.edit)
		if err != nil || got.Preferences != c.want || w.rows().Row(u.ID).Preferences != c.want {
			t.Errorf("got %+v, %v, stored %+v, want %+v", got.Preferences, err, w.rows().Row(u.ID).Preferences, c.want)
		}
	}
}

func TestEditPreferences_RefusesUnknownValues(t *testing.T) {
	w := newWorld(t)
	u := w.add(t, "alice")
	for _, bad := range []string{"pink", "DARK", "h11", "english", "en-gb", "tlh", "de-x-<b>", "\x00", " "} {
		_, err := w.EditPreferences(t.Context(), u.ID, auth.PreferencesEdit{Theme: &bad, HourCycle: &bad, Locale: &bad})
		wantInvalid(t, err, auth.ValidationErrors{
			"theme": "Choose a theme from the list.", "hour_cycle": "Choose a clock from the list.", "locale": "Choose a language from the list.",
		})
	}
	if got := w.rows().Row(u.ID).Preferences; got != (auth.Preferences{}) {
		t.Errorf("got %+v stored, want no preferences", got)
	}
}

// TestSignIn_TakesTheBrowsersTimeZone: where the user has chosen none, with one statement.
func TestSignIn_TakesTheBrowsersTimeZone(t *testing.T) {
	for _, c := range []struct {
		name, stored string
		chosen       bool
		browser      string
		want, call   string
	}{
		{"never chosen", "UTC", false, "Europe/Berlin", "Europe/Berlin", "users.RecordFirstTimeZone"},
		{"never chosen, in UTC", "UTC", false, "UTC", "UTC", "users.RecordSignIn"},
		{"UTC chosen", "UTC", true, "Europe/Berlin", "UTC", "users.RecordSignIn"},
		{"another zone", "Asia/Tokyo", false, "Europe/Berlin", "Asia/Tokyo", "users.RecordSignIn"},
		{"no script", "UTC", false, "", "UTC", "users.RecordSignIn"},
		{"an unknown zone", "UTC", false, "../../etc/passwd", "UTC", "users.RecordSignIn"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			u := w.add(t, "alice")
			u.TimeZone, u.TimeZoneChosen = c.stored, c.chosen
			w.rows().Put(u)
			w.Reset()
			client := visitor
			client.TimeZone = c.browser
			got, err := w.SignIn(t.Context(), "alice", secret, client)
			if err != nil || got.TimeZone != c.want || w.rows().Row(u.ID).TimeZone != c.want {
				t.Errorf("got %q, %v, stored %q, want %q", got.TimeZone, err, w.rows().Row(u.ID).TimeZone, c.want)
			}
			var records []string
			for _, call := range w.Calls() {
				if strings.HasPrefix(call, "users.Record") {
					records = append(records, call)
				}
			}
			wantCalls(t, records, c.call+" "+u.ID)
		})
	}
}

// TestSignIn_WorksWithoutTheUserCache: a zone that cannot be stored does not prevent a sign-in.
func TestSignIn_WorksWithoutTheUserCache(t *testing.T) {
	w := newWorld(t)
	u := w.add(t, "alice")
	w.FailOn("cache.Drop", errDown)
	client := visitor
	client.TimeZone = "Europe/Berlin"
	if _, err := w.SignIn(t.Context(), "alice", secret, client); err != nil {
		t.Fatal(err)
	}
	if got := w.rows().Row(u.ID); got.TimeZone != "UTC" || !got.LastSignInAt.Equal(noon) {
		t.Errorf("got the zone %q, signed in at %s; want UTC, %s", got.TimeZone, got.LastSignInAt, noon)
	}
}

// TestEditProfile_RemembersChosenUTC: a user who leaves another zone for UTC has chosen it.
func TestEditProfile_RemembersChosenUTC(t *testing.T) {
	w := newWorld(t)
	u := w.add(t, "alice")
	for _, zone := range []string{"Asia/Tokyo", "UTC"} {
		if _, err := w.EditProfile(t.Context(), u.ID, auth.ProfileEdit{TimeZone: &auth.Edit{To: zone}}); err != nil {
			t.Fatal(err)
		}
	}
	client := visitor
	client.TimeZone = "Europe/Berlin"
	if got, err := w.SignIn(t.Context(), "alice", secret, client); err != nil || got.TimeZone != "UTC" {
		t.Errorf("got %q, %v, want UTC", got.TimeZone, err)
	}
}
