package auth

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"gatehouse/auth/identifier"
	"gatehouse/auth/password"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
)

// Accounts is what can be done with users: sign in, register, look up, change. Pages and
// commands both go through it, so that a change drops the caches wherever it comes from.
type Accounts struct {
	Users    UserStore
	Cache    UserCache
	Sessions SessionStore
	// EndExternal ends the session of another program here; nil without such a program.
	EndExternal func(context.Context, Session) error
	Throttle    Throttle
	// Memory is in front of Cache; nil for a command, which lives too briefly for one.
	LocalCache *LocalUserCache
	// Changes announces changes to all servers; nil for a command without a Redis.
	Changes ChangeLog
	// Credentials and Tokens are what programs sign in with.
	Credentials CredentialCache
	Tokens      TokenStore
	Grants      GrantStore
	// TokenLifetime is how long an API token lives whose maker did not say.
	TokenLifetime time.Duration
	Hasher        *password.Hasher
	Keys          Keys
	Policy        password.Policy
	// RegistrationOpen lets people register.
	RegistrationOpen bool
	Log              *slog.Logger
	// OnChangeAttempt is called when a store may have made the change that a request asked for; may be nil.
	OnChangeAttempt func(context.Context)
	// Now is the clock; time.Now unless a test says otherwise.
	Now func() time.Time

	// renewAfter is when RenewIdleTime tries again after a failure (unix ms); warnedOfRenewal when it last
	// said so (unix s).
	renewAfter, warnedOfRenewal atomic.Int64

	// endAfter is when ending a dead credential is tried again after a failure (unix ms).
	endAfter atomic.Int64

	rejections rejectionCache
	mismatches mismatchCounter
	flights    attemptGroup
}

func (a *Accounts) now() time.Time {
	if a.Now != nil {
		return a.Now().UTC()
	}
	return time.Now().UTC()
}

// SignIn returns the user whose name (or verified address) and password these are.
//
// ErrWrongCredentials for every cause that lies with name, password or a disabled
// account; ThrottledError, ErrBusy or ErrUnavailable otherwise.
func (a *Accounts) SignIn(ctx context.Context, login, rawPassword string, v Client) (User, error) {
	return a.signIn(ctx, attempt{client: v}, login, rawPassword)
}

// SignInAPIClient is SignIn for a program that sends the password with its request: strangers who guess
// elsewhere do not keep it out where it was used before.
func (a *Accounts) SignInAPIClient(ctx context.Context, login, rawPassword string, v Client) (User, error) {
	return a.signIn(ctx, attempt{client: v, apiClient: true}, login, rawPassword)
}

func (a *Accounts) signIn(ctx context.Context, g attempt, login, rawPassword string) (User, error) {
	v := g.client
	user, err := a.checkThrottled(ctx, g, login, rawPassword)
	if err != nil {
		return User{}, err
	}
	if err := a.Users.RecordSignIn(ctx, user.ID, a.now()); err != nil {
		return User{}, fmt.Errorf("record a sign-in: %w", err)
	}
	a.event(ctx, "signed in", nil, "username", user.Username, "user_id", user.ID, "address", v.Address.String())
	return user, nil
}

// checkThrottled returns the user whose name and password these are, and counts a failure.
func (a *Accounts) checkThrottled(ctx context.Context, g attempt, login, rawPassword string) (User, error) {
	name, byEmail := canonicalLogin(login)
	g.accounts, g.login = a, name
	if g.cacheMismatch {
		ctx = context.WithoutCancel(ctx)
	}
	key := g.flightKey(login, rawPassword)
	for {
		user, shared, err := a.flights.do(ctx, key, func(ctx context.Context) (User, error) {
			err := a.verifyThrottled(ctx, &g, login, rawPassword)
			return g.user, err
		})
		if shared && (err == nil || errors.Is(err, ErrWrongCredentials)) {
			// The user may have changed between the shared verdict and the start of this request. Unknown
			// names are looked up too, so that they cost the same.
			row, lookUpErr := a.lookUp(ctx, name, byEmail)
			if lookUpErr != nil {
				return User{}, lookUpErr
			}
			if row.ID != user.ID || row.Epoch != user.Epoch || row.Active != user.Active || row.PasswordHash != user.PasswordHash {
				continue
			}
		}
		if errors.Is(err, ErrWrongCredentials) {
			// The known user's name, not what was typed: that might be a password in the wrong field.
			a.event(ctx, "sign-in failed", nil, "username", user.Username, "user_id", user.ID, "address", g.client.Address.String())
		}
		if err != nil {
			return User{}, err
		}
		return user, nil
	}
}

// flightKey is the same for attempts that cannot differ in their outcome or in what they count.
func (g *attempt) flightKey(rawLogin, rawPassword string) string {
	fields := []string{cmp.Or(g.login, rawLogin), g.client.network(), rawPassword, strconv.FormatBool(g.apiClient), strconv.FormatBool(g.cacheMismatch)}
	return string(g.accounts.Keys.sign(flightPurpose, append(fields, g.client.DeviceCookies...)...))
}

// verifyThrottled sets g.user and verifies the password, if the throttle lets it.
func (a *Accounts) verifyThrottled(ctx context.Context, g *attempt, login, rawPassword string) error {
	if g.cacheMismatch {
		if err := g.checkRepeated(ctx, login, rawPassword); err != nil {
			return err
		}
	}
	if err := g.begin(ctx); err != nil {
		return err
	}
	_, byEmail := canonicalLogin(login)
	user, err := a.lookUp(ctx, g.login, byEmail)
	g.user = user
	if err != nil && g.cacheMismatch {
		// The cached credential is that of a program here.
		g.user = User{ID: g.network.UserID, Epoch: g.network.Epoch}
		err = errors.Join(err, g.reserveAccount(ctx))
	} else if err == nil {
		err = g.reserveAccount(ctx)
	}
	if err != nil {
		// Nothing was learned about the password here.
		return errors.Join(err, g.end(ctx))
	}
	if err := g.check(ctx, login, rawPassword); err != nil {
		return err
	}
	a.remember(ctx, user.ID, g.apiClient)
	if g.apiClient {
		a.rememberProgram(ctx, *g, rawPassword)
	}
	return nil
}

// lookUp returns the user of a canonical name or address; the zero User when there is none.
func (a *Accounts) lookUp(ctx context.Context, name string, byEmail bool) (User, error) {
	find := a.Users.UserByUsername
	if byEmail {
		find = a.Users.UserByEmail
	}
	user, err := find(ctx, name)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return User{}, fmt.Errorf("look up a user to sign in: %w", err)
	}
	return user, nil
}

// remember brings a user who was verified into the caches, so that the next request need not
// read them. The row is read once more for it: the one that was verified is older than any lease,
// and another server may have heard of a change in between already, and would keep the old user
// when it finds it. A program's warm requests read the cached user along with the credential: a flush loses both, so
// that memory alone is not enough for it.
func (a *Accounts) remember(ctx context.Context, id string, program bool) {
	if a.LocalCache == nil {
		return
	}
	find := a.User
	if program {
		find = a.cacheUser
	}
	if _, err := find(ctx, id); err != nil {
		a.Log.WarnContext(ctx, "a verified user was not cached", "error", err, "user_id", id)
	}
}

// NewDeviceCookie returns the cookie value that makes a browser known for a user who has just signed
// in there, until the user's epoch changes.
func (a *Accounts) NewDeviceCookie(u User) string { return a.Keys.NewDeviceCookie(u) }

// canonicalLogin returns the form of a login name that is looked up and throttled, or ""
// for what can be nobody's name.
func canonicalLogin(login string) (name string, byEmail bool) {
	if strings.Contains(login, "@") {
		email, err := identifier.CanonicalEmail(login)
		if err != nil {
			return "", true
		}
		return email, true
	}
	name, err := identifier.CanonicalUsername(login)
	if err != nil {
		return "", false
	}
	return name, false
}

// verify checks the password. A user who does not exist (the zero User) costs as much as a
// wrong password (ASVS 6.3.8).
func (a *Accounts) verify(ctx context.Context, user User, rawPassword string) error {
	password, ok := password.Normalize(rawPassword)
	if !ok {
		password = "" // matches nothing: no stored password is empty
	}
	typed := rawPassword
	if !ok {
		typed = ""
	}
	match, outdated, err := a.Hasher.Verify(ctx, password, typed, user.PasswordHash)
	if err != nil {
		return err
	}
	if !match || !ok || !user.Active {
		return ErrWrongCredentials
	}
	if outdated {
		a.upgradeHash(ctx, user, password)
	}
	return nil
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

// Register makes a user. ValidationErrors names the fields to correct; otherwise the errors of SignIn.
func (a *Accounts) Register(ctx context.Context, r Registration, v Client) (User, error) {
	if !a.RegistrationOpen {
		return User{}, ErrRegistrationClosed
	}
	// Every try counts, also one that is refused below: estimating a password costs as much as hashing it.
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
	// The database decides who has the name; asking first saves a hash.
	if taken, err := a.Users.UsernameTaken(ctx, u.Username); err != nil {
		return User{}, fmt.Errorf("look whether a user name is free: %w", err)
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

// AddUser makes a user for an operator, who may give reserved names and vouches for the address.
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

// newUser returns the row for a registration and notes what is wrong with it.
func (a *Accounts) newUser(r Registration, name func(string) (string, error), wrong ValidationErrors) User {
	now := a.now()
	u := User{ID: uuid.Must(uuid.NewV7()).String(), Epoch: 1, Active: true, CreatedAt: now, UpdatedAt: now, TimeZone: "UTC"}
	u.Username = checked("username", r.Username, name, wrong)
	u.Email = checked("email", r.Email, identifier.CanonicalEmail, wrong)
	u.Name = checked("name", r.Name, identifier.CanonicalDisplayName, wrong)
	// The browser told the zone, nobody typed it: a strange one is not worth an error.
	if _, ok := LoadLocation(r.TimeZone); ok {
		u.TimeZone = r.TimeZone
	}
	return u
}

func checked(field, value string, canonical func(string) (string, error), wrong ValidationErrors) string {
	v, err := canonical(value)
	if err != nil {
		wrong[field] = err.Error()
	}
	return v
}

// newPassword returns the normal form of a new password and notes what is wrong with it. The
// error is ErrBusy, or the context's, when there was no place to estimate it.
func (a *Accounts) newPassword(ctx context.Context, field, raw string, wrong ValidationErrors, about ...string) (password string, err error) {
	err = a.Hasher.Do(ctx, func() {
		password = checked(field, raw, func(s string) (string, error) { return a.Policy.Check(s, about...) }, wrong)
	})
	return password, err
}

// EstimateStrength estimates a password for the meter. It returns ThrottledError when a network asks faster
// than people type, and ErrBusy when the queue for hashing is full.
func (a *Accounts) EstimateStrength(ctx context.Context, v Client, raw string, about ...string) (password.Strength, error) {
	if err := a.takeEstimate(ctx, v.network()); err != nil {
		return password.Strength{}, err
	}
	var strength password.Strength
	err := a.Hasher.Do(ctx, func() { strength = a.Policy.Strength(raw, about...) })
	return strength, err
}

// takeEstimate counts an estimate for a network, or for the id of a user who is signed in.
func (a *Accounts) takeEstimate(ctx context.Context, who string) error {
	_, err := a.Throttle.Reserve(ctx, Bucket{Key: "strength:" + who, Limit: strengthLimit, CountOnReserve: true})
	return err
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

// User returns a user by id: from memory, from the cache, or from the database, filling both.
func (a *Accounts) User(ctx context.Context, id string) (User, error) {
	if a.LocalCache == nil {
		return a.loadUser(ctx, id)
	}
	return a.LocalCache.User(ctx, id, a.now(), func(ctx context.Context) (User, error) { return a.loadUser(ctx, id) })
}

// UserAtEpoch returns the user of a credential of this epoch.
func (a *Accounts) UserAtEpoch(ctx context.Context, id string, epoch int64) (User, error) {
	u, _, err := a.userAtEpoch(ctx, id, epoch)
	return u, err
}

// userOf returns the user of a session, token or credential of this epoch. Epochs have no order:
// one that differs from the cached user's is either stale, or newer than what is cached here.
// Only the row shows which; verified reports whether it was read. While the database does not
// answer, the cached user decides.
func (a *Accounts) userAtEpoch(ctx context.Context, id string, epoch int64) (u User, verified bool, err error) {
	u, err = a.User(ctx, id)
	if err != nil || u.Epoch == epoch || epoch == 0 || a.LocalCache == nil {
		return u, false, err
	}
	row, err := a.Users.UserByID(ctx, id)
	if errors.Is(err, ErrUnavailable) {
		return u, false, nil
	}
	if errors.Is(err, ErrNotFound) || err == nil && row.Epoch != u.Epoch {
		a.InvalidateUser(id)
	}
	if err != nil {
		return User{}, false, fmt.Errorf("look up a user: %w", err)
	}
	return row, true, nil
}

// SessionUser returns the user of a session; ErrNotFound when the session is no longer valid. A
// session that the user's row says is stale is ended, so that no later epoch can match it; but not while the
// request that made it stale is about to renew it: the second request of a double click presents it then.
//
// A session of a user without a row stays stored: a table may be empty for a moment while it is restored.
func (a *Accounts) SessionUser(ctx context.Context, s Session) (User, error) {
	now := a.now()
	changes, err := a.rejections.find(s.ID, now)
	if err != nil {
		return User{}, err
	}
	u, verified, err := a.userAtEpoch(ctx, s.UserID, s.Epoch)
	if errors.Is(err, ErrNotFound) {
		a.rejections.store(s.ID, err, changes, now)
	}
	if err != nil || u.AcceptsEpoch(s.Epoch) {
		return u, err
	}
	err = fmt.Errorf("user of a stale session: %w", ErrNotFound)
	if verified {
		a.rejections.store(s.ID, err, changes, now)
		a.endRefused(ctx, s, now)
	}
	return User{}, err
}

// endPause is how long ending dead credentials rests after it failed: a Redis that takes no writes is not asked
// for one more on every request.
const endPause = time.Second

// endRefused ends a session that the user's epoch refuses. That it fails is no error: the epoch holds.
func (a *Accounts) endRefused(ctx context.Context, s Session, now time.Time) {
	if now.UnixMilli() < a.endAfter.Load() {
		return
	}
	var err error
	if !s.External {
		err = a.Sessions.EndRejected(ctx, s.UserID, s.ID)
	} else if a.EndExternal != nil {
		err = a.EndExternal(ctx, s)
	}
	if err == nil || errors.Is(err, ErrNotFound) || ctx.Err() != nil {
		return
	}
	a.endAfter.Store(now.Add(endPause).UnixMilli())
	a.Log.WarnContext(ctx, "a stale session is still stored; it is refused by its epoch", "error", err, "user_id", s.UserID)
}

// currentEpoch returns a function that reads the epoch in the user's row.
func (a *Accounts) currentEpoch(id string) func(context.Context) (int64, error) {
	return func(ctx context.Context) (int64, error) {
		u, err := a.Users.UserByID(ctx, id)
		return u.Epoch, err
	}
}

// endStale ends the stored sessions and API tokens that the user's epoch refuses already, so
// that they stay ended if the row is restored from a backup. keep is a session whose token is about
// to be renewed, or "". That it fails is no error: the epoch holds.
func (a *Accounts) endStale(ctx context.Context, id, keep string) (ended bool) {
	ctx = context.WithoutCancel(ctx)
	current := a.currentEpoch(id)
	var err error
	if a.Sessions != nil {
		err = a.Sessions.EndStale(ctx, id, keep, current)
	}
	if a.Tokens != nil {
		err = errors.Join(err, a.Tokens.EndStale(ctx, id, current))
	}
	if err != nil {
		a.Log.WarnContext(ctx, "stale sessions and tokens are still stored; they are refused by their epoch", "error", err, "user_id", id)
	}
	return err == nil
}

// TouchSession does for a session that another program used what a request here would do: its idle
// time begins anew if that is due, and its user is in the cache, where that program looks. A
// session that does not count is left alone, and is no error.
func (a *Accounts) TouchSession(ctx context.Context, id string) error {
	now := a.now()
	s, err := a.Sessions.Session(ctx, id)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look at a session that was used: %w", err)
	}
	if !s.Valid(id, now) {
		return nil
	}
	// Not from memory alone: the cache may have lost what memory still has.
	u, err := a.cacheUser(ctx, s.UserID)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if !u.AcceptsEpoch(s.Epoch) || !s.NeedsRenewal(now) {
		return nil
	}
	a.RenewIdleTime(ctx, s, now)
	return nil
}

// renewalPause is how long renewing rests after it failed: a Redis that takes no writes is not asked for
// one more on every request.
const renewalPause = time.Second

// RenewIdleTime renews the idle time of a session that is used now, as far as possible: a session that can be
// read counts although Redis is full or a replica. If Redis takes no writes for longer, sessions end at
// their idle time.
func (a *Accounts) RenewIdleTime(ctx context.Context, s Session, now time.Time) {
	if now.UnixMilli() < a.renewAfter.Load() {
		return
	}
	err := a.Sessions.Renew(ctx, s)
	if err == nil || ctx.Err() != nil {
		return
	}
	a.renewAfter.Store(now.Add(renewalPause).UnixMilli())
	if last := a.warnedOfRenewal.Load(); now.Unix()-last >= 60 && a.warnedOfRenewal.CompareAndSwap(last, now.Unix()) {
		a.Log.WarnContext(ctx, "the idle time of sessions is not renewed: Redis takes no writes; signed-in people go on until it has passed", "error", err)
	}
}

// loadUser returns the user from the cache, or from the database, and then fills the cache.
func (a *Accounts) loadUser(ctx context.Context, id string) (User, error) {
	return a.load(ctx, id, false)
}

// cacheUser is loadUser, except that memory stands in for a database that is down: it makes sure that the
// user is in the cache even then. While the database answers, memory is not asked: it may not have been
// notified yet of a change by hand, and what it puts into the cache reaches servers that were.
func (a *Accounts) cacheUser(ctx context.Context, id string) (User, error) {
	return a.load(ctx, id, true)
}

func (a *Accounts) load(ctx context.Context, id string, memory bool) (User, error) {
	cached, lease, err := a.Cache.User(ctx, id)
	isCached := err == nil
	missed := errors.Is(err, ErrNotFound) && !errors.Is(err, ErrUserDeleted)
	if isCached && (a.LocalCache == nil || !a.LocalCache.databaseFirst.Load()) {
		return cached, nil
	}
	// A cache that is down costs a statement, and nobody their session.
	u, err := a.Users.UserByID(ctx, id)
	if isCached {
		return a.checkCached(cached, u, err)
	}
	if memory && missed && errors.Is(err, ErrUnavailable) {
		if u, ok := a.fillFromMemory(ctx, id, lease); ok {
			return u, nil
		}
	}
	if errors.Is(err, ErrNotFound) && lease != "" {
		if err := a.Cache.FillDeleted(ctx, id, lease); err != nil {
			a.Log.WarnContext(ctx, "could not mark a deleted user in the user cache", "error", err, "user_id", id)
		}
	}
	if err != nil {
		return User{}, fmt.Errorf("look up a user: %w", err)
	}
	if lease != "" {
		a.fill(ctx, u, lease)
	}
	return u, nil
}

func (a *Accounts) fill(ctx context.Context, u User, lease string) {
	if err := a.Cache.Fill(ctx, u, lease); err != nil {
		a.Log.WarnContext(ctx, "the user cache was not filled", "error", err, "user_id", u.ID)
	}
}

// fillFromMemory fills the cache with a user who is in memory, if memory is trusted and has every
// announced change, and returns the user. A change is announced before it takes the lease away: once
// there is a lease and memory is up to date, the change is known here or the lease is gone.
func (a *Accounts) fillFromMemory(ctx context.Context, id, lease string) (User, bool) {
	if a.LocalCache == nil || a.Changes == nil {
		return User{}, false
	}
	if lease == "" {
		lease, _ = a.Cache.SharedLease(ctx, id) // of somebody who may be waiting for the database
	}
	if lease == "" || a.Changes.Sync(ctx) != nil {
		return User{}, false
	}
	u, ok, _ := a.LocalCache.get(id, a.now())
	if ok {
		a.fill(ctx, u, lease)
	}
	return u, ok
}

// RefillCache puts the users who are in memory back into a cache that was flushed, so that they are not missing there
// if the database goes down later. It reads them from the database, or from memory that is still trusted while the
// database is down.
func (a *Accounts) RefillCache(ctx context.Context) {
	ids := make(chan string)
	var workers sync.WaitGroup
	for range refillWorkers {
		workers.Go(func() {
			for id := range ids {
				a.refill(ctx, id)
			}
		})
	}
	for _, id := range a.LocalCache.ids() {
		ids <- id
	}
	close(ids)
	workers.Wait()
}

// refillWorkers bound what a refill asks of Redis at once.
const refillWorkers = 8

func (a *Accounts) refill(ctx context.Context, id string) {
	if ctx.Err() != nil {
		return
	}
	_, _ = a.cacheUser(ctx, id) // one that is not filled now is filled when it is asked for
}

// checkCached returns the user that the database has, and invalidates a cached one that differs:
// apps that read the session find it there. Without an answer of the database the cached one counts.
func (a *Accounts) checkCached(cached, u User, err error) (User, error) {
	if errors.Is(err, ErrUnavailable) {
		return cached, nil
	}
	if !sameRecord(cached, u) {
		a.Cache.Invalidate(cached.ID)
	}
	if err != nil {
		return User{}, fmt.Errorf("look up a user: %w", err)
	}
	return u, nil
}

// sameRecord reports whether the cache keeps the same of both.
func sameRecord(a, b User) bool {
	one, errA := json.Marshal(a)
	other, errB := json.Marshal(b)
	return errA == nil && errB == nil && bytes.Equal(one, other)
}

// ChangePassword sets a new password after checking the current one (ASVS 6.2.2). A new
// epoch ends all other sessions (7.4.3); the caller renews its own, v.SessionID.
//
// When another change has ended that session meanwhile the error is ErrAlreadyChanged if the password is
// next already, as after the first request of a double click, and else ErrStale.
func (a *Accounts) ChangePassword(ctx context.Context, id, current, next string, v Client) (User, error) {
	u, err := a.Users.UserByID(ctx, id)
	if err != nil {
		return User{}, fmt.Errorf("look up a user to change the password: %w", err)
	}
	wrong := ValidationErrors{}
	if current == "" {
		wrong["current_password"] = "Enter your current password."
	}
	if err := a.takeEstimate(ctx, u.ID); err != nil {
		return User{}, err
	}
	password, err := a.newPassword(ctx, "new_password", next, wrong, u.Username, u.Name, u.Email)
	if err != nil {
		return User{}, err
	}
	if len(wrong) > 0 {
		return User{}, wrong
	}
	g := attempt{accounts: a, client: v, login: u.Username, user: u, counted: true}
	if err := g.reserve(ctx, addressAttempt(v), g.accountAttempt()); err != nil {
		return User{}, err
	}
	if v.Epoch != 0 && u.Epoch != v.Epoch {
		return User{}, a.changedMeanwhile(ctx, &g, next)
	}
	err = g.check(ctx, u.Username, current)
	if errors.Is(err, ErrWrongCredentials) {
		a.event(ctx, "password change failed", nil, "username", u.Username, "user_id", u.ID)
		return User{}, ValidationErrors{"current_password": "This is not your current password."}
	}
	if err != nil {
		return User{}, err
	}
	if err := a.holdForRenewal(ctx, v.SessionID); err != nil {
		return User{}, err
	}
	changed, err := a.setPassword(ctx, u, password, v.SessionID)
	if !errors.Is(err, ErrStale) {
		return changed, err
	}
	g = attempt{accounts: a, client: v, login: u.Username, counted: true}
	if g.user, err = a.Users.UserByID(ctx, id); err != nil {
		return User{}, fmt.Errorf("look up a user whose password was changed meanwhile: %w", err)
	}
	if err := g.reserve(ctx, addressAttempt(v), g.accountAttempt()); err != nil {
		return User{}, err
	}
	return User{}, a.changedMeanwhile(ctx, &g, next)
}

// changedMeanwhile returns ErrAlreadyChanged if next is the password of g.user now, and else ErrStale. That
// is a guess like any other, which the caller has counted.
func (a *Accounts) changedMeanwhile(ctx context.Context, g *attempt, next string) error {
	err := g.check(ctx, g.user.Username, next)
	if errors.Is(err, ErrWrongCredentials) {
		return ErrStale
	}
	if err != nil {
		return err
	}
	return ErrAlreadyChanged
}

// SetPassword sets a password for an operator, who need not know the current one.
func (a *Accounts) SetPassword(ctx context.Context, u User, next string) (User, error) {
	wrong := ValidationErrors{}
	password, err := a.newPassword(ctx, "password", next, wrong, u.Username, u.Name, u.Email)
	if err != nil {
		return User{}, err
	}
	if len(wrong) > 0 {
		return User{}, wrong
	}
	return a.setPassword(ctx, u, password, "")
}

func (a *Accounts) setPassword(ctx context.Context, u User, password, keep string) (User, error) {
	hash, err := a.Hasher.Hash(ctx, password)
	if err != nil {
		return User{}, err
	}
	changed, err := a.change(ctx, "password changed", u.ID, func() (User, error) {
		return a.Users.SetPassword(ctx, u.ID, u.Epoch, hash)
	})
	if err == nil {
		a.endStale(ctx, u.ID, keep)
	}
	return changed, err
}

// SetActive disables or enables a user; sessions of a disabled one end at once.
func (a *Accounts) SetActive(ctx context.Context, id string, active bool) (User, error) {
	what := "user disabled"
	if active {
		what = "user enabled"
	}
	u, err := a.change(ctx, what, id, func() (User, error) {
		return a.Users.SetActive(ctx, id, active)
	})
	if err == nil && !active {
		a.endStale(ctx, u.ID, "")
	}
	return u, err
}

// SignOutEverywhere ends all sessions and API tokens of the user. The session keep, or "", stays
// stored: the caller renews its token.
func (a *Accounts) SignOutEverywhere(ctx context.Context, id, keep string) (User, error) {
	u, err := a.change(ctx, "signed out everywhere", id, func() (User, error) {
		return a.Users.RotateEpoch(ctx, id)
	})
	if err == nil {
		a.endStale(ctx, u.ID, keep)
	}
	return u, err
}

// EndOtherSessions ends all sessions and API tokens of the user, for the session keep of the given epoch, whose
// token the caller renews. ErrStale when another change has ended that session meanwhile: of several
// sessions that end all others at once, one goes on.
func (a *Accounts) EndOtherSessions(ctx context.Context, id, keep string, epoch int64) (User, error) {
	if err := a.holdForRenewal(ctx, keep); err != nil {
		return User{}, err
	}
	u, err := a.change(ctx, "signed out everywhere", id, func() (User, error) {
		return a.Users.RotateEpochFrom(ctx, id, epoch)
	})
	if err == nil {
		a.endStale(ctx, u.ID, keep)
	}
	return u, err
}

// recordChangeAttempt calls OnChangeAttempt unless the error proves that nothing was written.
func (a *Accounts) recordChangeAttempt(ctx context.Context, err error) {
	mayBeWritten := err == nil || errors.Is(err, ErrUnavailable) && !errors.Is(err, ErrNotWritten)
	if mayBeWritten && a.OnChangeAttempt != nil {
		a.OnChangeAttempt(ctx)
	}
}

// holdForRenewal announces that the session is renewed after the change that follows. Where it cannot be
// announced it could not be renewed either, and the change is not made.
func (a *Accounts) holdForRenewal(ctx context.Context, id string) error {
	if id == "" {
		return nil
	}
	if err := a.Sessions.HoldForRenewal(ctx, id); err != nil {
		return fmt.Errorf("announce the renewal of a session (nothing was changed): %w", err)
	}
	return nil
}

// change drops the cached user, runs the change, and drops it again. Dropping before tells
// whether the cache can be reached at all, while refusing is still possible; dropping after
// takes away what was read in between. When that fails the cache tries again by itself.
func (a *Accounts) change(ctx context.Context, what, id string, run func() (User, error)) (User, error) {
	if err := a.drop(ctx, id); err != nil {
		return User{}, fmt.Errorf("drop the cached user before a change (nothing was changed): %w", err)
	}
	u, err := run()
	a.recordChangeAttempt(ctx, err)
	if err == nil {
		id = u.ID // canonical
	}
	// Whatever the answer: a lost reply may be a change that was made.
	a.InvalidateUser(id)
	a.announce(ctx, id)
	if dropErr := a.Cache.Drop(context.WithoutCancel(ctx), id); dropErr != nil {
		a.Log.ErrorContext(ctx, "the cached user could not be dropped after a change; trying again", "error", dropErr, "user_id", id)
	}
	if err != nil {
		return User{}, fmt.Errorf("change a user: %w", err)
	}
	a.event(ctx, what, nil, "username", u.Username, "user_id", u.ID)
	return u, nil
}

// announce publishes a change to all servers after its commit and before it is answered: a server that
// invalidated the user before the commit could load the old row again. The cache is dropped after
// the announcement, because users in memory that no announcement has invalidated may be put back
// into it until then.
func (a *Accounts) announce(ctx context.Context, id string) {
	if a.Changes == nil {
		return
	}
	if err := a.Changes.Append(context.WithoutCancel(ctx), id); err != nil {
		a.Log.ErrorContext(ctx, "a change was not announced to other servers, which wait for the database's notification; trying again", "error", err, "user_id", id)
	}
}

// drop is InvalidateUser and waits until the cache has dropped the user.
func (a *Accounts) drop(ctx context.Context, id string) error {
	a.InvalidateUser(id)
	return a.Cache.Drop(ctx, id)
}

// InvalidateUser makes this server forget a user who was changed, by whomever. It never waits for the
// network: the cached user is bypassed until the cache has dropped it. That comes first, so that
// memory cannot be filled from the cache in between.
func (a *Accounts) InvalidateUser(id string) {
	a.Cache.Invalidate(id)
	if a.LocalCache != nil {
		a.LocalCache.Invalidate(id)
	}
	a.rejections.clear()
}

// InvalidateAllUsers is InvalidateUser for all users, when nobody knows who was changed.
func (a *Accounts) InvalidateAllUsers() {
	a.Cache.InvalidateAll()
	if a.LocalCache != nil {
		a.LocalCache.InvalidateAll()
	}
	a.rejections.clear()
}

// InvalidateLocalUsers empties local memory and leaves the cache alone.
func (a *Accounts) InvalidateLocalUsers() {
	if a.LocalCache != nil {
		a.LocalCache.InvalidateAll()
	}
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
