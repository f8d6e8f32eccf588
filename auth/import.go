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
	// Source is the system ("django", or a name of the operator's), ExternalID what the user is called there by it.
	Source, ExternalID string

	Username, Name, Email string
	// EmailVerified is set if the other system, or the operator, has verified the address.
	EmailVerified bool
	Active        bool
	CreatedAt     time.Time // zero for now
	Groups        []string
	// Hash is the password's, in one of the forms of password.ValidateLegacyHash; "" for a user without a password.
	Hash string
	// AllowReserved accepts reserved names.
	AllowReserved bool
}

// ErrAlreadyImported: the user was imported before, and is left as it is.
var ErrAlreadyImported = errors.New("user was imported before")

// OriginStore is where users came from.
type OriginStore interface {
	// UserByOrigin returns the user whom the source calls by the id, or ErrNotFound.
	UserByOrigin(ctx context.Context, source, externalID string) (User, error)
	// ImportUser inserts the user, its groups (which are made if they are not there) and its
	// origin, all or nothing. ErrUsernameTaken, ErrEmailTaken, or ErrAlreadyImported when the origin is
	// known.
	ImportUser(ctx context.Context, u User, source, externalID string) error
}

// unusableHash matches no password and shows operators why.
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

// ImportUser imports a user of another system, with the hash as it is. It returns ErrAlreadyImported, with the user as they are
// here, for one who is here already, whatever else in says: it is checked for new users only. For those it calls
// complete first, unless that is nil, which may choose the name and the groups. ValidationErrors says what is wrong.
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
	case errors.Is(err, ErrAlreadyImported): // by another run, a moment ago
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
