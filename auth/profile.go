package auth

import (
	"context"
	"errors"
	"fmt"
	"gatehouse/auth/identifier"
	"gatehouse/auth/timezone"
)

// Profile holds the properties that users change themselves.
type Profile struct {
	Name, Email, TimeZone string
}

// ProfileEdit holds the changes of a profile; nil for an unchanged field.
type ProfileEdit struct {
	Name, Email, TimeZone *Edit
}

// Edit is one changed field.
type Edit struct {
	// From is the value that the form showed; nil without one.
	From *string
	To   string
}

// ProfileConflictError: edited fields have changed since the form showed them.
type ProfileConflictError struct {
	// Fields names them, each with a message for the user.
	Fields ValidationErrors
	// Current is the stored profile.
	Current Profile
}

func (c ProfileConflictError) Error() string { return "changed in the meantime: " + c.Fields.Error() }

// profileTries is how often an edit is retried when the profile changes concurrently.
const profileTries = 5

// EditProfile applies the edits and keeps every other field. The error is ValidationErrors for fields to
// correct, and ProfileConflictError, with nothing stored, for fields that changed concurrently.
func (a *Accounts) EditProfile(ctx context.Context, id string, e ProfileEdit) (User, error) {
	if err := e.canonicalize().orNil(); err != nil {
		return User{}, err
	}
	for range profileTries {
		u, err := a.Users.UserByID(ctx, id)
		if err != nil {
			return User{}, fmt.Errorf("look up a user to change the profile: %w", err)
		}
		now := Profile{Name: u.Name, Email: u.Email, TimeZone: u.TimeZone}
		next, conflicts := e.apply(now)
		if len(conflicts) > 0 {
			return User{}, ProfileConflictError{conflicts, now}
		}
		if next == now {
			return u, nil
		}
		u, err = a.change(ctx, "profile changed", id, func() (User, error) {
			return a.Users.SetProfile(ctx, id, now, next)
		})
		if !errors.Is(err, ErrStale) {
			return u, err
		}
	}
	return User{}, fmt.Errorf("change a profile: %w", ErrStale)
}

// canonicalize converts the edits to their stored form, and returns their errors.
func (e *ProfileEdit) canonicalize() ValidationErrors {
	wrong := ValidationErrors{}
	canonical := func(edit *Edit, field string, form func(string) (string, error)) *Edit {
		if edit == nil {
			return nil
		}
		return &Edit{edit.From, checked(field, edit.To, form, wrong)}
	}
	e.Name = canonical(e.Name, "name", identifier.CanonicalDisplayName)
	e.Email = canonical(e.Email, "email", identifier.CanonicalEmail)
	if e.TimeZone != nil {
		if _, ok := timezone.Load(e.TimeZone.To); !ok {
			wrong["time_zone"] = "Choose a time zone from the list."
		}
	}
	return wrong
}

// apply returns the profile after the edits, and the fields that differ from what the form showed.
func (e ProfileEdit) apply(now Profile) (Profile, ValidationErrors) {
	next, conflicts := now, ValidationErrors{}
	for field, f := range map[string]struct {
		edit  *Edit
		value *string
	}{"name": {e.Name, &next.Name}, "email": {e.Email, &next.Email}, "time_zone": {e.TimeZone, &next.TimeZone}} {
		switch {
		case f.edit == nil || f.edit.To == *f.value:
		case f.edit.From != nil && *f.edit.From != *f.value:
			conflicts[field] = "Meanwhile this was changed to “" + *f.value + "”. Save again to replace it."
			if *f.value == "" {
				conflicts[field] = "Meanwhile this was removed. Save again to set it."
			}
		default:
			*f.value = f.edit.To
		}
	}
	return next, conflicts
}
