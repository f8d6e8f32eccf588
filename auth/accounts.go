package auth

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"time"

	"github.com/google/uuid"
)

// Accounts is what can be done with users: sign in, register, look up, change. Pages and
// commands both go through it, so that a change drops the caches wherever it comes from.
type Accounts struct {
	Users    UserStore
	Cache    UserCache
	Sessions SessionStore
	Throttle Throttle
	Hasher   *Hasher
	Keys     Keys
	Policy   PasswordPolicy
	// Open lets people register.
	Open bool
	Log  *slog.Logger
	// Now is the clock; time.Now unless a test says otherwise.
	Now func() time.Time
}

func (a *Accounts) now() time.Time {
	if a.Now != nil {
		return a.Now().UTC()
	}
	return time.Now().UTC()
}

// The limits of guessing. All servers count together.
//
// An account: ten free, then waits that double up to a quarter of an hour; after 100
// failures in a row (NIST SP 800-63B, 3.2.2) none for a day. A known browser has an allowance of its
// own, so that those who guess lock out themselves and not the owner (ASVS 6.1.1). An
// address has a wider one, because many people may share it.
var (
	accountLimit  = Limit{Free: 10, Base: time.Second, Max: 15 * time.Minute, Total: 100, Forget: 24 * time.Hour}
	browserLimit  = accountLimit
	addressLimit  = Limit{Free: 100, Base: time.Second, Max: time.Minute, Forget: 15 * time.Minute}
	registerLimit = Limit{Free: 200, Base: time.Second, Max: time.Minute, Forget: time.Hour}
	// An estimate for the meter may cost as much as a hash; nobody types faster than this.
	strengthLimit = Limit{Free: 300, Base: time.Second, Max: 10 * time.Second, Forget: time.Minute}
)

// Visitor is who asks, as far as one can know without a sign-in.
type Visitor struct {
	Address netip.Addr
	// BrowserCookie is the value of the cookie that a sign-in left, if any.
	BrowserCookie string
}

// network returns what the throttle counts for the visitor's address: IPv6 by /64,
// which is what one customer gets.
func (v Visitor) network() string {
	a := v.Address.Unmap().WithZone("")
	if a.Is6() {
		p, _ := a.Prefix(64)
		return p.String()
	}
	return a.String()
}

// SignIn returns the user whose name (or verified address) and password these are.
//
// ErrWrongCredentials for every cause that lies with name, password or a disabled
// account; Throttled, ErrBusy or ErrUnavailable otherwise.
func (a *Accounts) SignIn(ctx context.Context, login, rawPassword string, v Visitor) (User, error) {
	name, byEmail := canonicalLogin(login)
	attempts, ownKey := a.signInAttempts(name, v)
	if err := a.Throttle.Take(ctx, attempts...); err != nil {
		a.event(ctx, "sign-in throttled", err, "account", ownKey, "address", v.Address.String())
		return User{}, err
	}
	user, err := a.verify(ctx, name, byEmail, rawPassword)
	if errors.Is(err, ErrWrongCredentials) {
		// The known user's name, not what was typed: that might be a password in the wrong field.
		a.event(ctx, "sign-in failed", nil, "username", user.Username, "user_id", user.ID, "address", v.Address.String())
		return User{}, ErrWrongCredentials
	}
	if err != nil {
		// Nothing was learned about the password, so nothing is counted.
		return User{}, errors.Join(err, a.Throttle.Refund(ctx, keysOf(attempts)...))
	}
	if err := a.Throttle.Reset(ctx, ownKey); err != nil {
		return User{}, err
	}
	// The address's count of failures stays as it was (ASVS 6.3.4).
	if err := a.Throttle.Refund(ctx, attempts[len(attempts)-1].Key); err != nil {
		return User{}, err
	}
	if err := a.Users.RecordSignIn(ctx, user.ID, a.now()); err != nil {
		return User{}, fmt.Errorf("record a sign-in: %w", err)
	}
	a.event(ctx, "signed in", nil, "username", user.Username, "user_id", user.ID, "address", v.Address.String())
	return user, nil
}

// NewBrowser returns the cookie value that makes the browser known for the name somebody
// has just signed in with.
func (a *Accounts) NewBrowser(login string) string {
	name, _ := canonicalLogin(login)
	return a.Keys.NewBrowser(name)
}

// canonicalLogin returns the form of a login name that is looked up and throttled, or ""
// for what can be nobody's name.
func canonicalLogin(login string) (name string, byEmail bool) {
	if strings.Contains(login, "@") {
		email, err := CanonicalEmail(login)
		if err != nil {
			return "", true
		}
		return email, true
	}
	name, err := CanonicalUsername(login)
	if err != nil {
		return "", false
	}
	return name, false
}

// signInAttempts returns what a sign-in is counted under, the address last, and the key
// that a success resets.
func (a *Accounts) signInAttempts(name string, v Visitor) (attempts []Attempt, own string) {
	address := Attempt{Key: "address:" + v.network(), Limit: addressLimit}
	if name == "" {
		// All impossible names together are no account that could be guessed at.
		return []Attempt{address}, address.Key
	}
	if b, ok := a.Keys.Known(v.BrowserCookie, name); ok {
		own = "browser:" + b.id
		return []Attempt{{Key: own, Limit: browserLimit}, address}, own
	}
	own = a.Keys.AccountKey(name)
	return []Attempt{{Key: own, Limit: accountLimit}, address}, own
}

func keysOf(attempts []Attempt) []string {
	keys := make([]string, len(attempts))
	for i, t := range attempts {
		keys[i] = t.Key
	}
	return keys
}

// verify looks the user up and checks the password; both always happen, so that an unknown
// name takes as long as a wrong password (ASVS 6.3.8). With ErrWrongCredentials it returns
// the user all the same if there is one, for the log.
func (a *Accounts) verify(ctx context.Context, name string, byEmail bool, rawPassword string) (User, error) {
	lookUp := a.Users.UserByUsername
	if byEmail {
		lookUp = a.Users.UserByEmail
	}
	user, err := lookUp(ctx, name)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return User{}, fmt.Errorf("look up a user to sign in: %w", err)
	}
	password, ok := NormalPassword(rawPassword)
	if !ok {
		password = "" // matches nothing: no stored password is empty
	}
	match, outdated, err := a.Hasher.Check(ctx, password, user.PasswordHash)
	if err != nil {
		return User{}, err
	}
	if !match || !ok || !user.Active {
		return user, ErrWrongCredentials
	}
	if outdated {
		a.upgradeHash(ctx, user, password)
	}
	return user, nil
}

// upgradeHash stores the password under today's parameters. Failing to is no reason to
// refuse a right password.
func (a *Accounts) upgradeHash(ctx context.Context, u User, password string) {
	hash, err := a.Hasher.Hash(ctx, password)
	if err == nil {
		err = a.Users.ReplaceHash(ctx, u.ID, u.PasswordHash, hash)
	}
	a.event(ctx, "password hash upgraded", err, "username", u.Username, "user_id", u.ID)
}

// Registration is what somebody fills in to get an account.
type Registration struct {
	Username, Password, Email, Name, TimeZone string
}

// Register makes a user. Invalid names the fields to correct; otherwise the errors of SignIn.
func (a *Accounts) Register(ctx context.Context, r Registration, v Visitor) (User, error) {
	if !a.Open {
		return User{}, ErrRegistrationClosed
	}
	wrong := Invalid{}
	u := a.newUser(r, NewUsername, wrong)
	password := a.newPassword("password", r.Password, wrong, r.Username, r.Name, r.Email)
	if len(wrong) > 0 {
		return User{}, wrong
	}
	if err := a.Throttle.Take(ctx, Attempt{Key: "register:" + v.network(), Limit: registerLimit}); err != nil {
		a.event(ctx, "registration throttled", err, "address", v.Address.String())
		return User{}, err
	}
	// The database decides who has the name; asking first saves a hash.
	if _, err := a.Users.UserByUsername(ctx, u.Username); err == nil {
		return User{}, usernameTaken()
	} else if !errors.Is(err, ErrNotFound) {
		return User{}, fmt.Errorf("look whether a user name is free: %w", err)
	}
	u, err := a.create(ctx, u, password)
	if err != nil {
		return User{}, err
	}
	a.event(ctx, "registered", nil, "username", u.Username, "user_id", u.ID, "address", v.Address.String())
	return u, nil
}

// AddUser makes a user for an operator, who may give reserved names and vouches for the address.
func (a *Accounts) AddUser(ctx context.Context, r Registration) (User, error) {
	wrong := Invalid{}
	u := a.newUser(r, CanonicalUsername, wrong)
	u.EmailVerified = u.Email != ""
	password := a.newPassword("password", r.Password, wrong, r.Username, r.Name, r.Email)
	if len(wrong) > 0 {
		return User{}, wrong
	}
	u, err := a.create(ctx, u, password)
	if err != nil {
		return User{}, err
	}
	a.event(ctx, "user added", nil, "username", u.Username, "user_id", u.ID)
	return u, nil
}

// newUser returns the row for a registration and notes what is wrong with it.
func (a *Accounts) newUser(r Registration, name func(string) (string, error), wrong Invalid) User {
	now := a.now()
	u := User{ID: uuid.Must(uuid.NewV7()).String(), Epoch: 1, Active: true, CreatedAt: now, UpdatedAt: now, TimeZone: "UTC"}
	u.Username = checked("username", r.Username, name, wrong)
	u.Email = checked("email", r.Email, CanonicalEmail, wrong)
	u.Name = checked("name", r.Name, CanonicalName, wrong)
	// The browser told the zone, nobody typed it: a strange one is not worth an error.
	if _, ok := Location(r.TimeZone); ok {
		u.TimeZone = r.TimeZone
	}
	return u
}

func checked(field, value string, canonical func(string) (string, error), wrong Invalid) string {
	v, err := canonical(value)
	if err != nil {
		wrong[field] = err.Error()
	}
	return v
}

func (a *Accounts) newPassword(field, raw string, wrong Invalid, about ...string) string {
	return checked(field, raw, func(s string) (string, error) { return a.Policy.Check(s, about...) }, wrong)
}

// Strength estimates a password for the meter. Throttled when somebody asks faster than
// anybody types.
func (a *Accounts) Strength(ctx context.Context, v Visitor, password string, about ...string) (Strength, error) {
	if err := a.Throttle.Take(ctx, Attempt{Key: "strength:" + v.network(), Limit: strengthLimit}); err != nil {
		return Strength{}, err
	}
	return a.Policy.Strength(password, about...), nil
}

func (a *Accounts) create(ctx context.Context, u User, password string) (User, error) {
	hash, err := a.Hasher.Hash(ctx, password)
	if err != nil {
		return User{}, err
	}
	u.PasswordHash = hash
	err = a.Users.CreateUser(ctx, u)
	if errors.Is(err, ErrUsernameTaken) {
		return User{}, usernameTaken()
	}
	if errors.Is(err, ErrEmailTaken) {
		return User{}, Invalid{"email": "Another account has this address."}
	}
	if err != nil {
		return User{}, fmt.Errorf("create a user: %w", err)
	}
	return u, nil
}

func usernameTaken() error {
	return Invalid{"username": "This name is taken; choose another one."}
}

// User returns a user by id: from the cache, else from the database, filling the cache.
func (a *Accounts) User(ctx context.Context, id string) (User, error) {
	u, lease, err := a.Cache.User(ctx, id)
	if err == nil {
		return u, nil
	}
	// A cache that is down costs a statement, and nobody their session.
	u, err = a.Users.UserByID(ctx, id)
	if err != nil {
		return User{}, fmt.Errorf("look up a user: %w", err)
	}
	if lease == "" {
		return u, nil
	}
	if err := a.Cache.Fill(ctx, u, lease); err != nil {
		a.Log.WarnContext(ctx, "the user cache was not filled", "error", err, "user_id", id)
	}
	return u, nil
}

// ChangePassword sets a new password after checking the current one (ASVS 6.2.2). The epoch
// rises, so that all other sessions are over (7.4.3); the caller renews its own.
func (a *Accounts) ChangePassword(ctx context.Context, id, current, next string, v Visitor) (User, error) {
	u, err := a.Users.UserByID(ctx, id)
	if err != nil {
		return User{}, fmt.Errorf("look up a user to change the password: %w", err)
	}
	wrong := Invalid{}
	if current == "" {
		wrong["current_password"] = "Enter your current password."
	}
	password := a.newPassword("new_password", next, wrong, u.Username, u.Name, u.Email)
	if len(wrong) > 0 {
		return User{}, wrong
	}
	attempts, own := a.signInAttempts(u.Username, v)
	if err := a.Throttle.Take(ctx, attempts...); err != nil {
		a.event(ctx, "password change throttled", err, "username", u.Username, "user_id", u.ID)
		return User{}, err
	}
	_, err = a.verify(ctx, u.Username, false, current)
	if errors.Is(err, ErrWrongCredentials) {
		a.event(ctx, "password change failed", nil, "username", u.Username, "user_id", u.ID)
		return User{}, Invalid{"current_password": "This is not your current password."}
	}
	if err != nil {
		return User{}, errors.Join(err, a.Throttle.Refund(ctx, keysOf(attempts)...))
	}
	err = errors.Join(a.Throttle.Reset(ctx, own), a.Throttle.Refund(ctx, attempts[len(attempts)-1].Key))
	if err != nil {
		return User{}, err
	}
	return a.setPassword(ctx, u, password)
}

// SetPassword sets a password for an operator, who need not know the current one.
func (a *Accounts) SetPassword(ctx context.Context, u User, next string) (User, error) {
	wrong := Invalid{}
	password := a.newPassword("password", next, wrong, u.Username, u.Name, u.Email)
	if len(wrong) > 0 {
		return User{}, wrong
	}
	return a.setPassword(ctx, u, password)
}

func (a *Accounts) setPassword(ctx context.Context, u User, password string) (User, error) {
	hash, err := a.Hasher.Hash(ctx, password)
	if err != nil {
		return User{}, err
	}
	return a.change(ctx, "password changed", u.ID, func() (User, error) {
		return a.Users.SetPassword(ctx, u.ID, u.Epoch, hash)
	})
}

// SetProfile stores name, address and time zone. Invalid names the fields to correct.
func (a *Accounts) SetProfile(ctx context.Context, id string, p Profile) (User, error) {
	wrong := Invalid{}
	p.Name = checked("name", p.Name, CanonicalName, wrong)
	p.Email = checked("email", p.Email, CanonicalEmail, wrong)
	if _, ok := Location(p.TimeZone); !ok {
		wrong["time_zone"] = "Choose a time zone from the list."
	}
	if err := wrong.orNil(); err != nil {
		return User{}, err
	}
	return a.change(ctx, "profile changed", id, func() (User, error) {
		return a.Users.SetProfile(ctx, id, p)
	})
}

// SetActive disables or enables a user; sessions of a disabled one end at once.
func (a *Accounts) SetActive(ctx context.Context, id string, active bool) (User, error) {
	what := "user disabled"
	if active {
		what = "user enabled"
	}
	return a.change(ctx, what, id, func() (User, error) {
		return a.Users.SetActive(ctx, id, active)
	})
}

// SignOutEverywhere ends all sessions of the user.
func (a *Accounts) SignOutEverywhere(ctx context.Context, id string) (User, error) {
	return a.change(ctx, "signed out everywhere", id, func() (User, error) {
		return a.Users.RaiseEpoch(ctx, id)
	})
}

// change drops the cached user, runs the change, and drops it again. Dropping before tells
// whether the cache can be reached at all, while refusing is still possible; dropping after
// takes away what was read in between. When that fails the cache tries again by itself.
func (a *Accounts) change(ctx context.Context, what, id string, run func() (User, error)) (User, error) {
	if err := a.Cache.Drop(ctx, id); err != nil {
		return User{}, fmt.Errorf("drop the cached user before a change (nothing was changed): %w", err)
	}
	u, err := run()
	// Whatever the answer: a lost reply may be a change that was made.
	if dropErr := a.Cache.Drop(context.WithoutCancel(ctx), id); dropErr != nil {
		a.Log.ErrorContext(ctx, "the cached user could not be dropped after a change; trying again", "error", dropErr, "user_id", id)
	}
	if err != nil {
		return User{}, fmt.Errorf("%s: %w", what, err)
	}
	a.event(ctx, what, nil, "username", u.Username, "user_id", u.ID)
	return u, nil
}

// event writes one line about something that matters for security (ASVS 16.3.1).
func (a *Accounts) event(ctx context.Context, what string, err error, args ...any) {
	level := slog.LevelInfo
	if err != nil {
		level = slog.LevelWarn
		args = append(args, "error", err)
	}
	a.Log.Log(ctx, level, what, append([]any{"event", true}, args...)...)
}
