// Package auth holds the rules: users, passwords, sessions, API tokens, groups and permissions, and who may sign in
// when. It reaches storage through the interfaces that it declares, and knows no HTTP, SQL, Redis or HTML.
package auth

import (
	"context"
	"errors"
	"gatehouse/auth/localstate"
	"gatehouse/auth/password"
	"log/slog"
	"sync/atomic"
	"time"
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

	rejections localstate.RejectionCache
	mismatches localstate.MismatchCounter
	attempts   localstate.CallGroup[User]
}

func (a *Accounts) now() time.Time {
	if a.Now != nil {
		return a.Now().UTC()
	}
	return time.Now().UTC()
}

// recordChangeAttempt calls OnChangeAttempt unless the error proves that nothing was written.
func (a *Accounts) recordChangeAttempt(ctx context.Context, err error) {
	mayBeWritten := err == nil || errors.Is(err, ErrUnavailable) && !errors.Is(err, ErrNotWritten)
	if mayBeWritten && a.OnChangeAttempt != nil {
		a.OnChangeAttempt(ctx)
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
