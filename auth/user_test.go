package auth_test

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"gatehouse/auth"
)

// addSession stores a session of the user's current epoch.
func (w *world) addSession(t testing.TB, id string, u auth.User) {
	t.Helper()
	record, err := json.Marshal(auth.Session{Version: auth.SessionVersion, ID: id, UserID: u.ID, Epoch: u.Epoch, Deadline: noon.Add(time.Hour), IdleSeconds: 60})
	if err != nil {
		t.Fatal(err)
	}
	w.Stores.Sessions.Put(id, record)
}

// TestDeleteUser_EndsEverythingFirst: disabling ends all sessions and tokens by their epoch, then the stored ones are
// deleted, and then the row.
func TestDeleteUser_EndsEverythingFirst(t *testing.T) {
	w := newWorld(t)
	u := w.add(t, "alice")
	w.addSession(t, "s1", u)
	if _, _, err := w.NewToken(t.Context(), u, auth.TokenRequest{Name: "laptop"}); err != nil {
		t.Fatal(err)
	}
	w.Reset()
	deleted, err := w.DeleteUser(t.Context(), u.ID)
	if err != nil || deleted.Username != "alice" {
		t.Fatalf("got %+v, %v; want alice", deleted, err)
	}
	wantCalls(t, w.Calls("users.SetActive", "users.DeleteUser", "sessions.EndStale", "cache."),
		"cache.Drop "+u.ID, "users.SetActive "+u.ID, "cache.Drop "+u.ID, "sessions.EndStale "+u.ID, "sessions.EndStale "+u.ID,
		"cache.Drop "+u.ID, "users.DeleteUser "+u.ID, "cache.Drop "+u.ID, "sessions.EndStale "+u.ID)
	if tokens, err := w.ListTokens(t.Context(), u.ID); err != nil || len(tokens) != 0 {
		t.Errorf("got the tokens %v, %v; want none", tokens, err)
	}
	if _, err := w.Stores.Sessions.Session(t.Context(), "s1"); err == nil {
		t.Error("the session is still stored")
	}
	wantError(t, w.try(t, "alice", secret, visitor), auth.ErrWrongCredentials)
	_, err = w.DeleteUser(t.Context(), u.ID)
	wantError(t, err, auth.ErrNotFound)
}

// TestDeleteUser_SessionInFlightStaysEnded: a session that a sign-in stores after the deletion stays invalid, also if the
// row is restored as it was before the deletion ended.
func TestDeleteUser_SessionInFlightStaysEnded(t *testing.T) {
	w := newWorld(t)
	u := w.add(t, "alice")
	if _, err := w.DeleteUser(t.Context(), u.ID); err != nil {
		t.Fatal(err)
	}
	w.addSession(t, "late", u)
	late, err := w.Stores.Sessions.Session(t.Context(), "late")
	if err != nil {
		t.Fatal(err)
	}
	_, err = w.SessionUser(t.Context(), late)
	wantError(t, err, auth.ErrNotFound)
}

// TestDeleteUser_StaysDisabledAfterAFailure: nothing becomes valid again, and the deletion can be repeated.
func TestDeleteUser_StaysDisabledAfterAFailure(t *testing.T) {
	for _, failing := range []string{"sessions.EndStale", "users.DeleteUser"} {
		w := newWorld(t)
		u := w.add(t, "alice")
		w.addSession(t, "s1", u)
		w.FailOn(failing, errDown)
		_, err := w.DeleteUser(t.Context(), u.ID)
		wantError(t, err, auth.ErrUnavailable)
		if row := w.rows().Row(u.ID); row.Active || row.AcceptsEpoch(u.Epoch) || row.Username != "alice" {
			t.Errorf("%s: got %+v, want a disabled user", failing, row)
		}
		w.FailOn(failing, nil)
		if _, err := w.DeleteUser(t.Context(), u.ID); err != nil || w.rows().Len() != 0 {
			t.Errorf("%s: second attempt: got %v and %d users, want none", failing, err, w.rows().Len())
		}
	}
}

// enablesBeforeDelete is a store in which another administrator enables the user right before the deletion.
type enablesBeforeDelete struct{ auth.UserStore }

func (s enablesBeforeDelete) DeleteUser(ctx context.Context, id string) (auth.User, error) {
	if _, err := s.SetActive(ctx, id, true); err != nil {
		return auth.User{}, err
	}
	return s.UserStore.DeleteUser(ctx, id)
}

func TestDeleteUser_KeepsAUserWhoWasEnabledMeanwhile(t *testing.T) {
	w := newWorld(t)
	u := w.add(t, "alice")
	w.Accounts.Users = enablesBeforeDelete{w.rows()}
	_, err := w.DeleteUser(t.Context(), u.ID)
	wantError(t, err, auth.ErrStale)
	if !w.rows().Row(u.ID).Active {
		t.Error("the user was deleted or disabled")
	}
}

func TestVerifyEmail_RequiresTheAddressShown(t *testing.T) {
	w := newWorld(t)
	u := w.add(t, "alice")
	set := func(id, email string) {
		t.Helper()
		if _, err := w.EditProfile(t.Context(), id, auth.ProfileEdit{Email: &auth.Edit{To: email}}); err != nil {
			t.Fatal(err)
		}
	}
	set(u.ID, "new@example.org")
	if w.rows().Row(u.ID).EmailVerified {
		t.Fatal("a changed address is verified")
	}
	_, err := w.VerifyEmail(t.Context(), u.ID, "alice@example.org")
	wantError(t, err, auth.ErrStale)
	got, err := w.VerifyEmail(t.Context(), u.ID, "new@example.org")
	if err != nil || !got.EmailVerified {
		t.Errorf("got %+v, %v; want a verified address", got, err)
	}
	if err := w.try(t, "new@example.org", secret, visitor); err != nil {
		t.Errorf("signing in with the address: %v", err)
	}
	bob := w.add(t, "bob")
	set(bob.ID, "new@example.org")
	_, err = w.VerifyEmail(t.Context(), bob.ID, "new@example.org")
	wantInvalid(t, err, auth.ValidationErrors{"email": "Another account has verified this address."})
	set(bob.ID, "")
	_, err = w.VerifyEmail(t.Context(), bob.ID, "")
	wantError(t, err, auth.ErrStale)
}

// TestRemoveGroup_KeepsTheGroupAdminWhileItIsNeeded: even for operators who force it.
func TestRemoveGroup_KeepsTheGroupAdminWhileItIsNeeded(t *testing.T) {
	w := newWorld(t)
	boss, deputy := w.add(t, "boss"), w.add(t, "deputy")
	must := func(_ auth.User, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	forced := auth.AllowLosingAdministrators(t.Context())
	must(w.SetMember(t.Context(), boss.ID, auth.AdminGroup, true))
	wantError(t, w.RemoveGroup(t.Context(), auth.AdminGroup), auth.ErrAdminGroup)
	wantError(t, w.RemoveGroup(forced, auth.AdminGroup), auth.ErrLastAdministrator)
	wantError(t, w.RemoveGroupWithMembers(forced, auth.AdminGroup, auth.MembersVersion([]string{boss.ID})), auth.ErrLastAdministrator)
	must(w.SetPermission(t.Context(), deputy.ID, auth.ManageUsers, true))
	if err := w.RemoveGroup(forced, auth.AdminGroup); err != nil {
		t.Fatal(err)
	}

	for range 2 { // also if it exists
		if err := w.RestoreAdminGroup(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	must(w.SetMember(t.Context(), boss.ID, auth.AdminGroup, true))
	if got := w.rows().Row(boss.ID); !got.HasPermission(auth.ManageUsers) || !got.HasPermission(auth.ViewUsers) {
		t.Errorf("got %+v", got)
	}
}

func TestDirectPermissions_LeaveOutThoseOfGroups(t *testing.T) {
	w := newWorld(t)
	u := w.add(t, "alice")
	if _, err := w.SetMember(t.Context(), u.ID, auth.AdminGroup, true); err != nil {
		t.Fatal(err)
	}
	if _, err := w.SetPermission(t.Context(), u.ID, "billing.refund", true); err != nil {
		t.Fatal(err)
	}
	got, err := w.DirectPermissions(t.Context(), u.ID)
	if err != nil || len(got) != 1 || got[0] != "billing.refund" {
		t.Errorf("got %q, %v", got, err)
	}
}
