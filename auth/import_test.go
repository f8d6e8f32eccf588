package auth_test

import (
	"context"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"golang.org/x/text/unicode/norm"

	"gatehouse/auth"
	"gatehouse/auth/identifier"
	"gatehouse/auth/password"
)

const (
	imported = "wéary-otter-lamp"
	// Hashes by Django 3.2 of the composed and the decomposed form of the password.
	composedHash   = "pbkdf2_sha256$1000$saltysalt$UrLtbWjGd+14QGW+ayS1GaTKjwxBs3n5VFCkEQ7T9Ec="
	decomposedHash = "pbkdf2_sha256$1000$saltysalt$2yKu0B0/AAo3pSn7/wEaZ9H7l/fYv/Rlyc0TexZi02Q="
)

func TestImportUser_CreatesEachUserOnce(t *testing.T) {
	w := newWorld(t)
	in := auth.ImportedUser{
		Source: "django", ExternalID: "7", Username: " Alice ", Name: "Alice  Example", Email: "Alice@Example.org", EmailVerified: true, Active: true,
		CreatedAt: noon.Add(-time.Hour), Groups: []string{"readers", "editors", "readers"}, Hash: composedHash,
	}
	u, err := w.ImportUser(t.Context(), w.rows(), in, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := auth.User{
		ID: u.ID, Username: "alice", Name: "Alice Example", Email: "alice@example.org", EmailVerified: true, TimeZone: "UTC", Epoch: 1, Active: true,
		Groups: []string{"editors", "readers"}, PasswordHash: composedHash, CreatedAt: noon.Add(-time.Hour), UpdatedAt: noon,
	}
	if row := w.rows().Row(u.ID); !reflect.DeepEqual(row, want) {
		t.Errorf("got  %+v\nwant %+v", row, want)
	}
	if strings.Contains(w.log.String(), "pbkdf2") || strings.Contains(w.log.String(), "example.org") || !strings.Contains(w.log.String(), "user imported") {
		t.Errorf("unexpected log: %s", &w.log)
	}

	changed := in
	changed.Username, changed.Name = "renamed", "Changed"
	if _, err := w.ImportUser(t.Context(), w.rows(), changed, nil); !errors.Is(err, auth.ErrAlreadyImported) || w.rows().Len() != 1 {
		t.Errorf("second import: got %v and %d users, want ErrAlreadyImported and 1", err, w.rows().Len())
	}
	// The id 7 of another source is another user.
	changed.Source = "laravel"
	if _, err := w.ImportUser(t.Context(), w.rows(), changed, nil); !wrongIn(err, "email") {
		t.Errorf("with the verified address of another user: got %v, want an error for email", err)
	}
	changed.EmailVerified = false
	if _, err := w.ImportUser(t.Context(), w.rows(), changed, nil); err != nil || w.rows().Len() != 2 {
		t.Errorf("with an unverified address: got %v and %d users, want 2", err, w.rows().Len())
	}
}

func wrongIn(err error, field string) bool {
	var wrong auth.ValidationErrors
	return errors.As(err, &wrong) && len(wrong) == 1 && wrong[field] != ""
}

// TestImportUser_RefusesInvalidRows: an invalid row costs one lookup, since the user may already be imported.
func TestImportUser_RefusesInvalidRows(t *testing.T) {
	for field, spoil := range map[string]func(*auth.ImportedUser){
		"username": func(in *auth.ImportedUser) { in.Username = "ali ce" },
		"email":    func(in *auth.ImportedUser) { in.Email = "nowhere" },
		"name":     func(in *auth.ImportedUser) { in.Name = strings.Repeat("x", identifier.MaxDisplayName+1) },
		"group":    func(in *auth.ImportedUser) { in.Groups = []string{"good", "Bad"} },
		"password": func(in *auth.ImportedUser) { in.Hash = "md5$x$0cc175b9c0f1b6a831c399e269772661" },
		"id":       func(in *auth.ImportedUser) { in.ExternalID = "" },
	} {
		w := newWorld(t)
		in := auth.ImportedUser{Source: "django", ExternalID: "7", Username: "alice", Active: true, Hash: composedHash}
		spoil(&in)
		if _, err := w.ImportUser(t.Context(), w.rows(), in, nil); !wrongIn(err, field) {
			t.Errorf("%s: got %v, want an error for the field", field, err)
		}
		if calls := w.Calls(); len(calls) != 1 || !strings.HasPrefix(calls[0], "users.UserByOrigin django") {
			t.Errorf("%s: got the calls %v, want one lookup by origin", field, calls)
		}
	}
	w := newWorld(t)
	w.FailOn("users.UserByOrigin", errDown)
	_, err := w.ImportUser(t.Context(), w.rows(), auth.ImportedUser{Source: "django", ExternalID: "7", Username: "alice", Hash: composedHash}, nil)
	wantError(t, err, auth.ErrUnavailable)
}

// TestImportUser_ChecksNewUsersOnly: an already imported user is neither validated nor completed.
func TestImportUser_ChecksNewUsersOnly(t *testing.T) {
	w := newWorld(t)
	in := auth.ImportedUser{Source: "django", ExternalID: "7", Active: true, Hash: composedHash, AllowReserved: true}
	complete := func(_ context.Context, in *auth.ImportedUser) error {
		in.Username, in.Groups = "admin", []string{"editors"}
		return nil
	}
	u, err := w.ImportUser(t.Context(), w.rows(), in, complete)
	if err != nil || u.Username != "admin" || !u.InGroup("editors") {
		t.Fatalf("got %+v, %v; want admin in the group editors", u, err)
	}
	for name, spoil := range map[string]func(*auth.ImportedUser){
		"reserved": func(in *auth.ImportedUser) { in.Username, in.AllowReserved = "admin", false },
		"no name":  func(in *auth.ImportedUser) { in.Username = "ali ce" },
		"email":    func(in *auth.ImportedUser) { in.Email = "nowhere" },
		"group":    func(in *auth.ImportedUser) { in.Groups = []string{"Bad"} },
		"password": func(in *auth.ImportedUser) { in.Hash = "!" },
	} {
		again := in
		spoil(&again)
		here, err := w.ImportUser(t.Context(), w.rows(), again, func(context.Context, *auth.ImportedUser) error {
			t.Errorf("%s: complete was called", name)
			return nil
		})
		if !errors.Is(err, auth.ErrAlreadyImported) || here.ID != u.ID {
			t.Errorf("%s: got %+v, %v; want ErrAlreadyImported", name, here, err)
		}
	}
	// A user that complete refuses is not stored.
	other := in
	other.ExternalID = "8"
	_, err = w.ImportUser(t.Context(), w.rows(), other, func(context.Context, *auth.ImportedUser) error { return auth.ValidationErrors{"username": "No."} })
	if !wrongIn(err, "username") || w.rows().Len() != 1 {
		t.Errorf("got %v and %d users, want an error for username and 1", err, w.rows().Len())
	}
}

// TestImportedPassword_IsCheckedAsTyped: the other system hashed the password in the Unicode form it received. After the
// upgrade both forms match, as for every other user.
func TestImportedPassword_IsCheckedAsTyped(t *testing.T) {
	for name, c := range map[string]struct {
		hash  string
		opens map[string]bool // before the upgrade
	}{
		"hashed composed":   {composedHash, map[string]bool{norm.NFC.String(imported): true, norm.NFD.String(imported): true}},
		"hashed decomposed": {decomposedHash, map[string]bool{norm.NFC.String(imported): false, norm.NFD.String(imported): true}},
	} {
		for typed, opens := range c.opens {
			w := newWorld(t)
			u, err := w.ImportUser(t.Context(), w.rows(), auth.ImportedUser{Source: "django", ExternalID: "7", Username: "alice", Active: true, Hash: c.hash}, nil)
			if err != nil {
				t.Fatal(err)
			}
			_, err = w.SignIn(t.Context(), "alice", typed, visitor)
			row := w.rows().Row(u.ID)
			if !opens {
				wantError(t, err, auth.ErrWrongCredentials)
				if row.PasswordHash != c.hash {
					t.Errorf("%s: a wrong password changed the hash", name)
				}
				continue
			}
			if err != nil || !strings.HasPrefix(row.PasswordHash, "$argon2id$") || row.Epoch != 1 {
				t.Errorf("%s, typed as %+q: %v, hash %.12s, epoch %d", name, typed, err, row.PasswordHash, row.Epoch)
			}
			for _, form := range []norm.Form{norm.NFC, norm.NFD} {
				if _, err := w.SignIn(t.Context(), "alice", form.String(imported), visitor); err != nil {
					t.Errorf("%s, after the upgrade of the hash: %v", name, err)
				}
			}
			if w.rows().Row(u.ID).PasswordHash != row.PasswordHash {
				t.Errorf("%s: the upgraded hash was replaced", name)
			}
		}
	}
}

// TestImportedUser_WithoutPasswordCannotSignIn: no password matches, not even an empty one or the marker itself.
func TestImportedUser_WithoutPasswordCannotSignIn(t *testing.T) {
	w := newWorld(t)
	u, err := w.ImportUser(t.Context(), w.rows(), auth.ImportedUser{Source: "django", ExternalID: "7", Username: "alice", Active: true}, nil)
	if err != nil {
		t.Fatal(err)
	}
	hash := w.rows().Row(u.ID).PasswordHash
	if hash == "" || password.ValidateLegacyHash(hash) == nil {
		t.Errorf("the hash is %q", hash)
	}
	for _, password := range []string{"", hash, "!", imported} {
		_, err := w.SignIn(t.Context(), "alice", password, visitor)
		wantError(t, err, auth.ErrWrongCredentials)
	}
}
