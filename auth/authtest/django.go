package authtest

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"time"

	"gatehouse/auth"
)

// DjangoSecret is the SECRET_KEY of a Django.
const DjangoSecret = "a secret of Django's"

// Django is an auth.DjangoStore, and knows where Users came from.
type Django struct {
	*CallLog
	users   *Users
	values  map[string]string
	notes   map[string]auth.DjangoNote
	origins map[string]string
	// Left is what every key of Django's is said to have left; negative for no end.
	Left time.Duration
}

var _ auth.DjangoStore = (*Django)(nil)

// Django returns a Django without sessions.
func (s *Stores) Django() *Django {
	return &Django{CallLog: s.CallLog, users: s.Users, values: map[string]string{}, notes: map[string]auth.DjangoNote{}, origins: map[string]string{}, Left: -time.Millisecond}
}

// Bridge returns a bridge to it that nobody hears.
func (d *Django) Bridge() *auth.DjangoBridge {
	keys, err := auth.ParseDjangoKeys(DjangoSecret)
	if err != nil {
		panic(err)
	}
	return &auth.DjangoBridge{Keys: keys, Age: 14 * 24 * time.Hour, Store: d, Users: d, Log: DiscardLogger()}
}

// Import says that a user came from Django.
func (d *Django) Import(djangoID, userID string) { d.origins[djangoID] = userID }

// SignIn keeps a session of a user of Django, saved at a time.
func (d *Django) SignIn(key, djangoID string, at time.Time) {
	d.Put(key, fmt.Sprintf(`{"_auth_user_id":%q,"_auth_user_backend":"b","_auth_user_hash":"h"}`, djangoID), at)
}

// Put keeps a signed session with any content.
func (d *Django) Put(key, text string, at time.Time) {
	body := base64.RawURLEncoding.EncodeToString([]byte(text)) + ":" + inBase62(at.Unix())
	secret := sha256.Sum256([]byte("django.contrib.sessions.SessionStoresigner" + DjangoSecret))
	m := hmac.New(sha256.New, secret[:])
	m.Write([]byte(body))
	d.values[key] = body + ":" + base64.RawURLEncoding.EncodeToString(m.Sum(nil))
}

func inBase62(n int64) string {
	const digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	s := ""
	for ; n > 0; n /= 62 {
		s = string(digits[n%62]) + s
	}
	return s
}

// SignOut takes a session away.
func (d *Django) SignOut(key string) { delete(d.values, key) }

// NoteOf returns what is noted of a key.
func (d *Django) NoteOf(key string) (auth.DjangoNote, bool) {
	n, ok := d.notes[auth.DjangoSessionID(key)]
	return n, ok
}

// Notes returns how many notes there are.
func (d *Django) Notes() int { return len(d.notes) }

// DjangoValue implements auth.DjangoStore.
func (d *Django) DjangoValue(ctx context.Context, key string) ([]byte, time.Duration, error) {
	if err := d.note(ctx, "django.Value", key); err != nil {
		return nil, 0, err
	}
	value, ok := d.values[key]
	if !ok {
		return nil, 0, auth.ErrNotFound
	}
	return []byte(value), d.Left, nil
}

// Note implements auth.DjangoStore.
func (d *Django) Note(ctx context.Context, id string) (auth.DjangoNote, error) {
	if err := d.note(ctx, "notes.Find", id); err != nil {
		return auth.DjangoNote{}, err
	}
	n, ok := d.notes[id]
	if !ok {
		return auth.DjangoNote{}, auth.ErrNotFound
	}
	return n, nil
}

// AddNote implements auth.DjangoStore.
func (d *Django) AddNote(ctx context.Context, n auth.DjangoNote) error {
	if err := d.note(ctx, "notes.Add", n.ID); err != nil {
		return err
	}
	if _, ok := d.notes[n.ID]; !ok {
		d.put(n)
	}
	return nil
}

func (d *Django) put(n auth.DjangoNote) {
	n.TTL = auth.DjangoNoteTTL
	d.notes[n.ID] = n
}

// Age makes a note look as if it was not needed for so long.
func (d *Django) Age(key string, by time.Duration) {
	n, _ := d.NoteOf(key)
	n.TTL -= by
	d.notes[n.ID] = n
}

// KeepNote implements auth.DjangoStore.
func (d *Django) KeepNote(ctx context.Context, id string) error {
	if err := d.note(ctx, "notes.Keep", id); err != nil {
		return err
	}
	if n, ok := d.notes[id]; ok {
		d.put(n)
	}
	return nil
}

// EndNote implements auth.DjangoStore.
func (d *Django) EndNote(ctx context.Context, n auth.DjangoNote, anyway bool) (bool, error) {
	if err := d.note(ctx, "notes.End", n.ID); err != nil {
		return false, err
	}
	if _, ok := d.notes[n.ID]; !ok && !anyway {
		return false, nil
	}
	d.put(n)
	return true, nil
}

// UserByOrigin is that of auth.OriginStore.
func (d *Django) UserByOrigin(ctx context.Context, source, externalID string) (auth.User, error) {
	if err := d.note(ctx, "origins.Find", source, externalID); err != nil {
		return auth.User{}, err
	}
	id, ok := d.origins[externalID]
	if !ok || source != auth.DjangoOrigin {
		return auth.User{}, auth.ErrNotFound
	}
	return d.users.find(func(u auth.User) bool { return u.ID == id })
}
