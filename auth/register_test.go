package auth_test

import (
	"errors"
	"strings"
	"testing"

	"gatehouse/auth"
)

// TestCheckNewUser_FindsWhatAddUserRefuses: the same errors, before there is a password.
func TestCheckNewUser_FindsWhatAddUserRefuses(t *testing.T) {
	w := newWorld(t)
	w.add(t, "alice")
	for _, r := range []auth.Registration{
		{Username: "ALICE"},
		{Username: "two words"},
		{Username: "bob", Email: "bob"},
		{Username: "bob", Email: "Alice@Example.org"},
		{Username: "bob", Name: strings.Repeat("x", 101), Email: "bob"},
	} {
		checked := w.CheckNewUser(t.Context(), r)
		r.Password = secret
		_, added := w.AddUser(t.Context(), r)
		var want auth.ValidationErrors
		if !errors.As(added, &want) {
			t.Fatalf("%+v: AddUser returns %v", r, added)
		}
		wantInvalid(t, checked, want)
	}
	if err := w.CheckNewUser(t.Context(), auth.Registration{Username: "admin", Email: "bob@example.org", Name: "Bob"}); err != nil {
		t.Errorf("a good user: %v", err)
	}
	w.FailOn("users.UserByUsername", errDown)
	wantError(t, w.CheckNewUser(t.Context(), auth.Registration{Username: "bob"}), auth.ErrUnavailable)
}
