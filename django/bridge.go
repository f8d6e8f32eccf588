// Package django signs users in here by the sessions of a Django application: it verifies Django's
// signed session values, keeps a note of each session beside ours, and never writes to Django's own
// Redis. It knows neither HTTP nor SQL; package web sees it as an interface.
package django

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"gatehouse/auth"
)

// Bridge finds the user who is signed in by a Django session.
type Bridge struct {
	Keys Keys
	// Age is Django's SESSION_COOKIE_AGE.
	Age   time.Duration
	Store Store
	// Source is the name that this Django's users were imported under; "" for DefaultSource.
	Source string
	// Users finds the users who were imported from Django.
	Users interface {
		UserByOrigin(ctx context.Context, source, externalID string) (auth.User, error)
	}
	Log *slog.Logger
}

// DefaultSource is the import source of Django's users unless the operator chose another name.
const DefaultSource = "django"

// NoteVersion is the "v" of the notes that this program writes and reads.
const NoteVersion = 1

// NoteTTL is how long a note is kept after its session was last seen. A session that stays away for
// longer counts as new, so this is far more than Django's two weeks.
const NoteTTL = 90 * 24 * time.Hour

// Note is our state of one Django session, under "django:" + ID. Django's record is never written
// to; what holds here and not there is in the note.
type Note struct {
	Version int `json:"v"`
	// ID is the SessionID of Django's key: the note's own key.
	ID string `json:"id"`
	// DjangoID is the user's primary key in Django. It is "", as UserID is, in the note of a session
	// that ended before it was used here.
	DjangoID string `json:"django_id"`
	UserID   string `json:"user_id"`
	// Epoch is the user's epoch when the session was first seen. The session is invalid here once the
	// user has another one.
	Epoch     int64     `json:"epoch"`
	FirstSeen time.Time `json:"first_seen"`
	// Ended is set when the session was signed out here, and never cleared.
	Ended bool `json:"ended"`

	// TTL is the key's remaining time when it was read.
	TTL time.Duration `json:"-"`
}

// Valid reports whether the note is usable and belongs to the id.
func (n *Note) Valid(id string) bool {
	return n.Version == NoteVersion && n.ID == id && n.Epoch >= 0 && (n.Ended || n.UserID != "" && n.DjangoID != "")
}

// SessionID returns the id of the note for a Django session key. The key itself, which is also the
// cookie's value, is never stored.
func SessionID(key string) string { return auth.SessionID("django session " + key) }

// Store reads Django's sessions and keeps our notes of them.
type Store interface {
	// SessionValue returns what Django stores under a session key, cut after MaxValueSize + 1 bytes,
	// and the key's remaining time, negative for a key without an expiry. auth.ErrNotFound when there
	// is none.
	SessionValue(ctx context.Context, key string) (value []byte, ttl time.Duration, err error)
	// Note returns the note of an id, with TTL set; auth.ErrNotFound when there is none, or it cannot
	// be decoded.
	Note(ctx context.Context, id string) (Note, error)
	// AddNote stores a note for NoteTTL unless one exists.
	AddNote(ctx context.Context, n Note) error
	// RenewNote resets the TTL of a note to NoteTTL if it still exists.
	RenewNote(ctx context.Context, id string) error
	// EndNote replaces whatever is stored by a note with Ended set, for NoteTTL; unless create is
	// set, only if something is stored. It reports whether it wrote the note.
	EndNote(ctx context.Context, n Note, create bool) (bool, error)
}

// IsSessionKey reports whether a cookie's value has the form of a Django session key.
func (*Bridge) IsSessionKey(s string) bool {
	if len(s) != 32 {
		return false
	}
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') {
			return false
		}
	}
	return true
}

// Session returns the session under a Django session key in the form of ours, with External set.
// auth.ErrNotFound when it does not sign a user in, for any reason; any other error means that a
// store did not answer. It costs one round trip to Django's Redis and one to ours, and SQL only when
// the session is seen for the first time. The caller checks the user's epoch.
func (b *Bridge) Session(ctx context.Context, key string, now time.Time) (auth.Session, error) {
	theirs, err := b.read(ctx, key, now)
	if err != nil {
		return auth.Session{}, err
	}
	id := SessionID(key)
	note, err := b.Store.Note(ctx, id)
	if errors.Is(err, auth.ErrNotFound) {
		note, err = b.bind(ctx, id, theirs, now)
	}
	if err != nil {
		return auth.Session{}, err
	}
	if note.TTL < NoteTTL/2 {
		// Best effort: the note holds even if it cannot be renewed now.
		if err := b.Store.RenewNote(ctx, id); err != nil {
			b.Log.DebugContext(ctx, "the note of a Django session was not renewed", "error", err)
		}
	}
	// Django changes the key when another user signs in; a key that changed its user is not trusted.
	if note.Ended || note.DjangoID != theirs.UserID {
		return auth.Session{}, auth.ErrNotFound
	}
	return auth.Session{
		Version: auth.SessionVersion, ID: id, UserID: note.UserID, Epoch: note.Epoch,
		CreatedAt: note.FirstSeen, SignedInAt: note.FirstSeen, Deadline: theirs.ExpiresAt,
		Methods: []string{DefaultSource}, External: true,
	}, nil
}

// read returns Django's session if it is live and signed in.
func (b *Bridge) read(ctx context.Context, key string, now time.Time) (Session, error) {
	value, ttl, err := b.Store.SessionValue(ctx, key)
	if err != nil {
		return Session{}, err
	}
	s, err := b.Keys.Read(value, b.Age, now)
	if err != nil {
		if !errors.Is(err, errSignedOut) {
			b.logRejection(ctx, err.Error())
		}
		return Session{}, auth.ErrNotFound
	}
	if end := now.Add(ttl); ttl >= 0 && end.Before(s.ExpiresAt) {
		s.ExpiresAt = end
	}
	return s, nil
}

// bind ties a session that is seen for the first time to the user's current epoch.
func (b *Bridge) bind(ctx context.Context, id string, theirs Session, now time.Time) (Note, error) {
	u, err := b.Users.UserByOrigin(ctx, cmp.Or(b.Source, DefaultSource), theirs.UserID)
	switch {
	case errors.Is(err, auth.ErrNotFound):
		b.logRejection(ctx, "its user was not imported")
		return Note{}, auth.ErrNotFound
	case err != nil:
		return Note{}, fmt.Errorf("look up a Django user: %w", err)
	case !u.Active:
		return Note{}, auth.ErrNotFound
	case predatesEpoch(theirs, u):
		b.logRejection(ctx, "its user's sessions were ended here after Django last saved it")
		return Note{}, auth.ErrNotFound
	}
	note := Note{Version: NoteVersion, ID: id, DjangoID: theirs.UserID, UserID: u.ID, Epoch: u.Epoch, FirstSeen: now.UTC()}
	if err := b.Store.AddNote(ctx, note); err != nil {
		return Note{}, err
	}
	// The first note counts, be it from a concurrent request or a sign-out.
	note, err = b.Store.Note(ctx, id)
	if err == nil && !note.Ended {
		b.Log.InfoContext(ctx, "signed in by a Django session", "event", true, "username", u.Username, "user_id", u.ID)
	}
	return note, err
}

// predatesEpoch reports whether the session is older than the user's epoch. The last change of the
// row, which was no earlier, stands in for the time of the epoch; epoch 1 is that of a new user.
func predatesEpoch(s Session, u auth.User) bool {
	return u.Epoch > 1 && s.SavedAt.Add(time.Second).Before(u.UpdatedAt)
}

// logRejection logs for operators why a Django session does not sign a user in.
func (b *Bridge) logRejection(ctx context.Context, reason string) {
	b.Log.DebugContext(ctx, "a Django session was rejected: "+reason)
}

// EndRejected permanently ends a session here whose epoch is no longer the user's.
func (b *Bridge) EndRejected(ctx context.Context, s auth.Session) error {
	_, err := b.Store.EndNote(ctx, Note{Version: NoteVersion, ID: s.ID, FirstSeen: s.CreatedAt, Ended: true}, false)
	return err
}

// End permanently ends a Django session here and leaves Django alone; it reports whether the user
// is still signed in there. authenticated says that the request is certainly a user's: then the
// session is ended even if Django's Redis does not answer. No note is created for a key that
// does not sign a user in: otherwise anyone could fill Redis with notes.
func (b *Bridge) End(ctx context.Context, key string, now time.Time, authenticated bool) (stillSignedIn bool, err error) {
	_, readErr := b.read(ctx, key, now)
	unknown := readErr != nil && !errors.Is(readErr, auth.ErrNotFound)
	note := Note{Version: NoteVersion, ID: SessionID(key), FirstSeen: now.UTC(), Ended: true}
	done, err := b.Store.EndNote(ctx, note, readErr == nil || unknown && authenticated)
	if err != nil {
		return false, err
	}
	if unknown && !done {
		return false, readErr
	}
	return readErr == nil, nil
}
