package web

import (
	"context"
	"errors"
	"fmt"
	"time"

	"gatehouse/auth"
	"gatehouse/web/cookies"
	"gatehouse/web/sessions"
)

// ExternalSessions are the sessions of another program that sign users in here too.
type ExternalSessions interface {
	// IsSessionKey reports whether a cookie's value has the form of a session key.
	IsSessionKey(value string) bool
	// Session returns the session under a key, with External set; auth.ErrNotFound when it
	// does not sign a user in. The caller checks the user's epoch.
	Session(ctx context.Context, key string, now time.Time) (auth.Session, error)
	// End permanently ends the session here, and reports whether the user is still signed in to the
	// other program. authenticated says that the request is certainly a user's.
	End(ctx context.Context, key string, now time.Time, authenticated bool) (stillSignedIn bool, err error)
}

// Bridge signs in users of another program who have no Gatehouse session.
type Bridge struct {
	Sessions ExternalSessions
	// Cookie is the name of the other program's session cookie. It is never set here.
	Cookie string
}

// key returns the session key in the request's cookies, or "".
func (b *Bridge) key(r *Request) string {
	if b == nil {
		return ""
	}
	return cookies.Value(r.echo.Request(), b.Cookie, b.Sessions.IsSessionKey)
}

// identify sets the request's user if an external session signs one in. An error means that a store
// did not answer.
func (b *Bridge) identify(r *Request) error {
	key := b.key(r)
	if key == "" {
		return nil
	}
	record, err := b.Sessions.Session(r.ctx, key, r.Now())
	if errors.Is(err, auth.ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look up an external session: %w", err)
	}
	user, ok, err := r.server.owner(r, &record)
	if err != nil || !ok {
		return err
	}
	r.session = sessions.Current{Record: &record}
	r.signedIn(user, BySession, user.Permissions)
	return nil
}

// end ends the external session here, even if the request is authenticated by another one: it would
// sign in the next request.
func (b *Bridge) end(r *Request) error {
	key := b.key(r)
	if key == "" {
		return nil
	}
	authenticated := r.user != nil && !r.HasExternalSession()
	stillSignedIn, err := b.Sessions.End(r.ctx, key, r.Now(), authenticated)
	if err != nil {
		return fmt.Errorf("end an external session here: %w", err)
	}
	r.elsewhere = stillSignedIn
	return nil
}

// HasExternalSession reports whether the user is signed in by another program's session. It cannot be
// renewed: ending it here is permanent.
func (r *Request) HasExternalSession() bool {
	return r.session.Record != nil && r.session.Record.External
}

// SignedInElsewhere reports, after SignOut, whether the user is still signed in to the program whose
// session signed them in here.
func (r *Request) SignedInElsewhere() bool { return r.elsewhere }
