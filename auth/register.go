package auth

import (
	"context"
	"errors"
	"fmt"
	"gatehouse/auth/identifier"
	"gatehouse/auth/timezone"

	"github.com/google/uuid"
)

// Registration is the input for a new account.
type Registration struct {
	Username, Password, Email, Name, TimeZone string
}

// Register creates a user. The error is ValidationErrors for input to correct, otherwise one of SignIn's.
func (a *Accounts) Register(ctx context.Context, r Registration, v Client) (User, error) {
	if !a.RegistrationOpen {
		return User{}, ErrRegistrationClosed
	}
	// Every attempt counts, even if refused below: estimating a password costs as much as hashing it.
	if _, err := a.Throttle.Reserve(ctx, Bucket{Key: "register:" + v.network(), Limit: registerLimit, CountOnReserve: true}); err != nil {
		a.event(ctx, "registration throttled", err, "address", v.Address.String())
		return User{}, err
	}
	wrong := ValidationErrors{}
	u := a.newUser(r, identifier.NewUsername, wrong)
	password, err := a.newPassword(ctx, "password", r.Password, wrong, r.Username, r.Name, r.Email)
	if err != nil {
		return User{}, err
	}
	if len(wrong) > 0 {
		return User{}, wrong
	}
	// The database decides whether the name is free; asking first saves a hash.
	if taken, err := a.Users.UsernameTaken(ctx, u.Username); err != nil {
		return User{}, fmt.Errorf("check whether a user name is free: %w", err)
	} else if taken {
		return User{}, usernameTaken()
	}
	u, err = a.create(ctx, u, password, a.Users.RegisterUser)
	if err != nil {
		return User{}, err
	}
	a.event(ctx, "registered", nil, "username", u.Username, "user_id", u.ID, "address", v.Address.String())
	return u, nil
}

// AddUser creates a user for an operator, who may use reserved names and whose addresses count as verified.
func (a *Accounts) AddUser(ctx context.Context, r Registration) (User, error) {
	wrong := ValidationErrors{}
	u := a.newUser(r, identifier.CanonicalUsername, wrong)
	u.EmailVerified = u.Email != ""
	password, err := a.newPassword(ctx, "password", r.Password, wrong, r.Username, r.Name, r.Email)
	if err != nil {
		return User{}, err
	}
	if len(wrong) > 0 {
		return User{}, wrong
	}
	u, err = a.create(ctx, u, password, a.Users.CreateUser)
	if err != nil {
		return User{}, err
	}
	a.event(ctx, "user added", nil, "username", u.Username, "user_id", u.ID)
	return u, nil
}

// CheckNewUser returns the ValidationErrors that AddUser would return for everything but the password, so that an
// operator reads them before choosing one.
func (a *Accounts) CheckNewUser(ctx context.Context, r Registration) error {
	wrong := ValidationErrors{}
	u := a.newUser(r, identifier.CanonicalUsername, wrong)
	if wrong["username"] == "" {
		_, err := a.Users.UserByUsername(ctx, u.Username)
		if err == nil {
			return usernameTaken()
		}
		if !errors.Is(err, ErrNotFound) {
			return fmt.Errorf("look whether a user name is free: %w", err)
		}
	}
	if u.Email != "" && wrong["email"] == "" {
		_, err := a.Users.UserByEmail(ctx, u.Email)
		if err == nil {
			wrong["email"] = "Another account has this address."
		} else if !errors.Is(err, ErrNotFound) {
			return fmt.Errorf("look whether an address is free: %w", err)
		}
	}
	return wrong.orNil()
}

// newUser returns the row for a registration and adds its errors to wrong.
func (a *Accounts) newUser(r Registration, name func(string) (string, error), wrong ValidationErrors) User {
	now := a.now()
	u := User{ID: uuid.Must(uuid.NewV7()).String(), Epoch: 1, Active: true, CreatedAt: now, UpdatedAt: now, TimeZone: "UTC"}
	u.Username = checked("username", r.Username, name, wrong)
	u.Email = checked("email", r.Email, identifier.CanonicalEmail, wrong)
	u.Name = checked("name", r.Name, identifier.CanonicalDisplayName, wrong)
	// The zone comes from the browser and not from the user: an unknown one is ignored.
	if _, ok := timezone.Load(r.TimeZone); ok {
		u.TimeZone = r.TimeZone
	}
	return u
}

// create hashes the password and stores the user.
func (a *Accounts) create(ctx context.Context, u User, password string, store func(context.Context, User) (User, error)) (User, error) {
	hash, err := a.Hasher.Hash(ctx, password)
	if err != nil {
		return User{}, err
	}
	u.PasswordHash = hash
	stored, err := store(ctx, u)
	a.recordChangeAttempt(ctx, err)
	if errors.Is(err, ErrUsernameTaken) {
		return User{}, usernameTaken()
	}
	if errors.Is(err, ErrEmailTaken) {
		return User{}, ValidationErrors{"email": "Another account has this address."}
	}
	if err != nil {
		return User{}, fmt.Errorf("create a user: %w", err)
	}
	return stored, nil
}

func usernameTaken() error {
	return ValidationErrors{"username": "This name is taken; choose another one."}
}
