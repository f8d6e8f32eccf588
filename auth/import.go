package auth

import (
	"context"
	"errors"
	"fmt"
	"gatehouse/auth/identifier"
	"gatehouse/auth/password"
	"slices"
	"time"
)

// ImportedUser is a user of another system.
type ImportedUser struct {
	// Source is the other system ("django", or a name that the operator chose), and ExternalID the user's id there.
	Source, ExternalID string

	Username, Name, Email string
	// EmailVerified is set if the other system, or the operator, has verified the address.
	EmailVerified bool
	Active        bool
	CreatedAt     time.Time // zero for now
	Groups        []string
	// Hash is the password hash, in a format that password.ValidateLegacyHash accepts; "" for a user without a password.
	Hash string
	// AllowReserved accepts reserved names.
	AllowReserved bool
}

// ErrAlreadyImported: the user was imported before, and is unchanged.
var ErrAlreadyImported = errors.New("user was imported before")

// OriginStore stores imported users with their origin.
type OriginStore interface {
	// UserByOrigin returns the user with this id in the source, or ErrNotFound.
	UserByOrigin(ctx context.Context, source, externalID string) (User, error)
	// ImportUser inserts the user, its groups (which are created if they are missing) and its origin, or nothing. The
	// error is ErrUsernameTaken, ErrEmailTaken, or ErrAlreadyImported for a known origin.
	ImportUser(ctx context.Context, u User, source, externalID string) error
}

// unusableHash matches no password and tells operators why.
const unusableHash = "!imported without a password"

// ValidateImport returns the row for an imported user. ValidationErrors says what is wrong with it.
func (a *Accounts) ValidateImport(in ImportedUser) (User, error) {
	wrong := ValidationErrors{}
	u := a.newUser(Registration{Username: in.Username, Email: in.Email, Name: in.Name}, identifier.CanonicalUsername, wrong)
	if wrong["username"] == "" && !in.AllowReserved && identifier.IsReserved(u.Username) {
		wrong["username"] = "This name is reserved."
	}
	u.EmailVerified = in.EmailVerified && u.Email != ""
	u.Active = in.Active
	if !in.CreatedAt.IsZero() {
		u.CreatedAt = in.CreatedAt.UTC()
	}
	for _, g := range in.Groups {
		if err := identifier.ValidateGroupName(g); err != nil {
			wrong["group"] = err.Error()
		}
	}
	u.Groups = slices.Compact(slices.Sorted(slices.Values(in.Groups)))
	u.PasswordHash = in.Hash
	if in.Hash == "" {
		u.PasswordHash = unusableHash
	} else if err := password.ValidateLegacyHash(in.Hash); err != nil {
		wrong["password"] = err.Error()
	}
	if in.ExternalID == "" || len(in.ExternalID) > 255 {
		wrong["id"] = "The other system's id is missing, or longer than 255 characters."
	}
	return u, wrong.orNil()
}

// ImportUser imports a user of another system, with the hash unchanged. For an already imported user it returns
// ErrAlreadyImported with the stored user, and ignores the rest of in. For a new user it first calls complete, unless that
// is nil, which can choose the name and the groups. The error is ValidationErrors for invalid input.
func (a *Accounts) ImportUser(ctx context.Context, origins OriginStore, in ImportedUser, complete func(context.Context, *ImportedUser) error) (User, error) {
	if here, err := origins.UserByOrigin(ctx, in.Source, in.ExternalID); err == nil {
		return here, ErrAlreadyImported
	} else if !errors.Is(err, ErrNotFound) {
		return User{}, fmt.Errorf("look for an imported user: %w", err)
	}
	if complete != nil {
		if err := complete(ctx, &in); err != nil {
			return User{}, err
		}
	}
	u, err := a.ValidateImport(in)
	if err != nil {
		return User{}, err
	}
	err = origins.ImportUser(ctx, u, in.Source, in.ExternalID)
	switch {
	case errors.Is(err, ErrAlreadyImported): // by a concurrent run
		here, err := origins.UserByOrigin(ctx, in.Source, in.ExternalID)
		if err != nil {
			return User{}, fmt.Errorf("look for an imported user: %w", err)
		}
		return here, ErrAlreadyImported
	case errors.Is(err, ErrUsernameTaken):
		return User{}, ValidationErrors{"username": "Another account here has this name."}
	case errors.Is(err, ErrEmailTaken):
		return User{}, ValidationErrors{"email": "Another account has this address."}
	case err != nil:
		return User{}, fmt.Errorf("import a user: %w", err)
	}
	a.event(ctx, "user imported", nil, "username", u.Username, "user_id", u.ID, "source", in.Source)
	return u, nil
}
