package auth

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// DjangoNoteVersion is the "v" of the notes that this program writes and reads.
const DjangoNoteVersion = 1

// DjangoOrigin is the source under which the users that came from Django are known by their
// primary keys there, unless the operator gave it another name.
const DjangoOrigin = "django"

// DjangoNoteTTL is how long a note is kept after the Django session was last shown to us. A session
// that stays away for longer is new when it comes, so it is far more than Django's two weeks.
const DjangoNoteTTL = 90 * 24 * time.Hour

// DjangoNote is what we remember of a session of Django, under "django:" + ID. Django's record is
// never written to; what has to hold here and not there stands in the note.
type DjangoNote struct {
	Version int `json:"v"`
	// ID is DjangoSessionID of Django's key: the note's own key.
	ID string `json:"id"`
	// DjangoID is the user's primary key at Django. It is "", as UserID is, in a note of a
	// session that was ended before it was ever used here.
	DjangoID string `json:"django_id"`
	UserID   string `json:"user_id"`
	// Epoch is the user's epoch when the session was first seen; when the user has another one,
	// the session is dead here.
	Epoch     int64     `json:"epoch"`
	FirstSeen time.Time `json:"first_seen"`
	// Ended: somebody signed out here. It is never taken back.
	Ended bool `json:"ended"`

	// TTL is the key's remaining time when it was read.
	TTL time.Duration `json:"-"`
}

// Whole reports whether the note is one of this id that can be used.
func (n *DjangoNote) Whole(id string) bool {
	return n.Version == DjangoNoteVersion && n.ID == id && n.Epoch >= 0 && (n.Ended || n.UserID != "" && n.DjangoID != "")
}

// DjangoSessionID returns the id under which we keep the note of a session of Django. Django's
// key, which is the cookie's value too, is stored nowhere.
func DjangoSessionID(key string) string { return SessionID("django session " + key) }

// DjangoKeyShaped reports whether a cookie's value can be a key of Django's sessions.
func DjangoKeyShaped(s string) bool {
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

// DjangoStore reads Django's sessions, and keeps our notes of them.
type DjangoStore interface {
	// DjangoValue returns what Django keeps under a session's key, cut after MaxDjangoValue + 1
	// octets, and what is left of the key's time, negative for a key without an end. ErrNotFound
	// when there is none.
	DjangoValue(ctx context.Context, key string) (value []byte, left time.Duration, err error)
	// Note returns the note of an id, with TTL filled; ErrNotFound when there is none, or what is
	// there cannot be read.
	Note(ctx context.Context, id string) (DjangoNote, error)
	// AddNote stores a note for DjangoNoteTTL, unless something is there already.
	AddNote(ctx context.Context, n DjangoNote) error
	// KeepNote sets the TTL of a note to DjangoNoteTTL, only if it still exists.
	KeepNote(ctx context.Context, id string) error
	// EndNote puts a note that says Ended in the place of whatever is there, for DjangoNoteTTL;
	// unless anyway is set, only if something is there. It reports whether it did.
	EndNote(ctx context.Context, n DjangoNote, anyway bool) (bool, error)
}

// DjangoBridge finds out who is signed in here by a session of Django.
type DjangoBridge struct {
	Keys DjangoKeys
	// Age is Django's SESSION_COOKIE_AGE.
	Age   time.Duration
	Store DjangoStore
	// Source is the name of this Django among the OriginStore; "" for DjangoOrigin.
	Source string
	// Users are the OriginStore that the users of Django were imported with.
	Users interface {
		UserByOrigin(ctx context.Context, source, externalID string) (User, error)
	}
	Log *slog.Logger
}

// Session returns the session of a key of Django as one of ours, marked Foreign. ErrNotFound
// when it signs nobody in here, for whatever reason; any other error means that a store did not
// answer. It costs one round trip to Django's Redis and one to ours, and SQL only when the
// session is seen for the first time. The user's epoch is the caller's to look at.
func (b *DjangoBridge) Session(ctx context.Context, key string, now time.Time) (Session, error) {
	django, err := b.read(ctx, key, now)
	if err != nil {
		return Session{}, err
	}
	id := DjangoSessionID(key)
	note, err := b.Store.Note(ctx, id)
	if errors.Is(err, ErrNotFound) {
		note, err = b.meet(ctx, id, django, now)
	}
	if err != nil {
		return Session{}, err
	}
	if note.TTL < DjangoNoteTTL/2 {
		// As far as possible: the note counts although it cannot be renewed now.
		if err := b.Store.KeepNote(ctx, id); err != nil {
			b.Log.DebugContext(ctx, "the note of a session of Django was not renewed", "error", err)
		}
	}
	// Django gives another key to another user; where it does not, nobody vouched for this one.
	if note.Ended || note.DjangoID != django.UserID {
		return Session{}, ErrNotFound
	}
	return Session{
		Version: SessionVersion, ID: id, UserID: note.UserID, Epoch: note.Epoch,
		CreatedAt: note.FirstSeen, SignedInAt: note.FirstSeen, Deadline: django.ExpiresAt,
		Methods: []string{DjangoOrigin}, External: true,
	}, nil
}

// read returns Django's session if it is live and somebody is signed in to it.
func (b *DjangoBridge) read(ctx context.Context, key string, now time.Time) (DjangoSession, error) {
	value, left, err := b.Store.DjangoValue(ctx, key)
	if err != nil {
		return DjangoSession{}, err
	}
	s, err := b.Keys.Read(value, b.Age, now)
	if err != nil {
		if !errors.Is(err, errDjangoNobody) {
			b.refuse(ctx, err.Error())
		}
		return DjangoSession{}, ErrNotFound
	}
	if end := now.Add(left); left >= 0 && end.Before(s.ExpiresAt) {
		s.ExpiresAt = end
	}
	return s, nil
}

// meet binds a session that was never seen to the user's epoch as it is now.
func (b *DjangoBridge) meet(ctx context.Context, id string, django DjangoSession, now time.Time) (DjangoNote, error) {
	u, err := b.Users.UserByOrigin(ctx, cmp.Or(b.Source, DjangoOrigin), django.UserID)
	switch {
	case errors.Is(err, ErrNotFound):
		b.refuse(ctx, "its user was not imported")
		return DjangoNote{}, ErrNotFound
	case err != nil:
		return DjangoNote{}, fmt.Errorf("look up a user of Django: %w", err)
	case !u.Active:
		return DjangoNote{}, ErrNotFound
	case olderThanEpoch(django, u):
		b.refuse(ctx, "its user's sessions were ended here after Django last saved it")
		return DjangoNote{}, ErrNotFound
	}
	fresh := DjangoNote{Version: DjangoNoteVersion, ID: id, DjangoID: django.UserID, UserID: u.ID, Epoch: u.Epoch, FirstSeen: now.UTC()}
	if err := b.Store.AddNote(ctx, fresh); err != nil {
		return DjangoNote{}, err
	}
	// Whoever was first counts: another request, or a sign-out.
	note, err := b.Store.Note(ctx, id)
	if err == nil && !note.Ended {
		b.Log.InfoContext(ctx, "signed in by a session of Django", "event", true, "username", u.Username, "user_id", u.ID)
	}
	return note, err
}

// olderThanEpoch reports whether the session was there already when the user's epoch was set.
// It is told by the last change of the row, which was no earlier; epoch 1 is that of a new user.
func olderThanEpoch(django DjangoSession, u User) bool {
	return u.Epoch > 1 && django.SavedAt.Add(time.Second).Before(u.UpdatedAt)
}

// refuse tells operators why a session that looks like Django's signs nobody in.
func (b *DjangoBridge) refuse(ctx context.Context, reason string) {
	b.Log.DebugContext(ctx, "a session of Django is refused: "+reason)
}

// EndRejected ends a session here, for good, that its user's epoch refuses.
func (b *DjangoBridge) EndRejected(ctx context.Context, s Session) error {
	_, err := b.Store.EndNote(ctx, DjangoNote{Version: DjangoNoteVersion, ID: s.ID, FirstSeen: s.CreatedAt, Ended: true}, false)
	return err
}

// End ends a session of Django here, for good, and leaves it alone at Django; it reports whether
// the person is still signed in there. trusted says that the request is somebody's for certain:
// then it is noted although Django's Redis does not answer. Of a key that nobody is signed in by, no
// note is made: anybody could fill Redis with them.
func (b *DjangoBridge) End(ctx context.Context, key string, now time.Time, trusted bool) (still bool, err error) {
	_, looked := b.read(ctx, key, now)
	unknown := looked != nil && !errors.Is(looked, ErrNotFound)
	note := DjangoNote{Version: DjangoNoteVersion, ID: DjangoSessionID(key), FirstSeen: now.UTC(), Ended: true}
	done, err := b.Store.EndNote(ctx, note, looked == nil || unknown && trusted)
	if err != nil {
		return false, err
	}
	if unknown && !done {
		return false, looked
	}
	return looked == nil, nil
}
