// Package auth implements the rules for users, passwords, sessions, API tokens, groups and permissions. It reaches storage through the interfaces that it declares, and knows no HTTP, SQL, Redis or HTML.
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

// Accounts holds the operations on users: sign in, register, look up, change. Pages and commands both
// use it, so that every change invalidates the caches.
type Accounts struct {
	Users    UserStore
	Cache    UserCache
	Sessions SessionStore
	// EndExternal ends an external session here; nil without another program.
	EndExternal func(context.Context, Session) error
	Throttle    Throttle
	// LocalCache is in front of Cache; nil in a command, which is too short-lived to need one.
	LocalCache *LocalUserCache
	// Changes announces changes to all servers; nil in a command without Redis.
	Changes ChangeLog
	// Credentials and Tokens authenticate API clients.
	Credentials CredentialCache
	Tokens      TokenStore
	Grants      GrantStore
	// TokenLifetime is the default lifetime of an API token.
	TokenLifetime time.Duration
	Hasher        *password.Hasher
	Keys          Keys
	Policy        password.Policy
	// RegistrationOpen allows people to register.
	RegistrationOpen bool
	Log              *slog.Logger
	// OnChangeAttempt is called when a store may have made the change that a request asked for; may be nil.
	OnChangeAttempt func(context.Context)
	// Now is the clock; time.Now unless a test says otherwise.
	Now func() time.Time

	// renewAfter is when RenewIdleTime tries again after a failure (Unix ms); warnedOfRenewal is when it
	// last logged that (Unix s).
	renewAfter, warnedOfRenewal atomic.Int64

	// endAfter is when ending a rejected credential is tried again after a failure (Unix ms).
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

// event logs a security event (ASVS 16.3.1).
func (a *Accounts) event(ctx context.Context, what string, err error, args ...any) {
	level := slog.LevelInfo
	if err != nil {
		level = slog.LevelWarn
		args = append(args, "error", err)
	}
	a.Log.Log(ctx, level, what, append([]any{"event", true}, args...)...)
}
