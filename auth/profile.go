package auth

import (
	"context"
	"errors"
	"fmt"
	"gatehouse/auth/identifier"
	"gatehouse/auth/timezone"
)

// Profile is what people change about themselves.
type Profile struct {
	Name, Email, TimeZone string
}

// ProfileEdit is what somebody changed about a profile; nil is a field that was left alone.
type ProfileEdit struct {
	Name, Email, TimeZone *Edit
}

// Edit is one changed field.
type Edit struct {
	// From is the value that its author was shown; nil for one who was shown none.
	From *string
	To   string
}

// ProfileConflictError: fields that somebody edited have got other values since they were shown.
type ProfileConflictError struct {
	// Fields names them, each with a sentence for the person.
	Fields ValidationErrors
	// Now is the profile as it is.
	Current Profile
}

func (c ProfileConflictError) Error() string { return "changed in the meantime: " + c.Fields.Error() }

// profileTries is how often an edit is applied to a profile that changes under it.
const profileTries = 5

// EditProfile applies the edits and leaves every other field as it is. ValidationErrors names the fields to
// correct; ProfileConflictError those that somebody else has changed meanwhile: then nothing is stored.
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

// canonicalize brings what was sent into the form that is stored, and returns what is wrong with it.
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

// apply returns the profile after the edits, and the fields in which it is not what was shown.
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
