package web

import (
	"errors"
	"fmt"

	"gatehouse/auth"
	"gatehouse/web/cookies"
	"gatehouse/web/sessions"
)

// Bridge lets in whom Django has signed in, as long as they have no session of ours.
type Bridge struct {
	Django *auth.DjangoBridge
	// Cookie is the name of Django's session cookie. It is never set here.
	Cookie string
}

// key returns the key of Django's session that the request shows, or "".
func (b *Bridge) key(r *Request) string {
	if b == nil {
		return ""
	}
	return cookies.Value(r.echo.Request(), b.Cookie, auth.DjangoKeyShaped)
}

// identify finds out who is signed in by Django's session. Whoever cannot be found is anonymous;
// an error means that a store did not answer.
func (b *Bridge) identify(r *Request) error {
	key := b.key(r)
	if key == "" {
		return nil
	}
	record, err := b.Django.Session(r.ctx, key, r.Now())
	if errors.Is(err, auth.ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look at a session of Django: %w", err)
	}
	user, ok, err := r.server.owner(r, &record)
	if err != nil || !ok {
		return err
	}
	r.session = sessions.Current{Record: &record}
	r.signedIn(user, BySession, user.Permissions)
	return nil
}

// end ends Django's session here, whoever the request signed in, or the next request would be
// signed in by it.
func (b *Bridge) end(r *Request) error {
	key := b.key(r)
	if key == "" {
		return nil
	}
	ours := r.user != nil && !r.HasExternalSession()
	still, err := b.Django.End(r.ctx, key, r.Now(), ours)
	if err != nil {
		return fmt.Errorf("end a session of Django here: %w", err)
	}
	r.elsewhere = still
	return nil
}

// Foreign reports whether the person is signed in by a session of another program's. It cannot be
// renewed: what ends it, ends it here for good.
func (r *Request) HasExternalSession() bool {
	return r.session.Record != nil && r.session.Record.External
}

// SignedInElsewhere reports, after SignOut, whether the person is still signed in at the program
// whose session let them in here.
func (r *Request) SignedInElsewhere() bool { return r.elsewhere }
