// Package djangotest holds the sessions and notes of a Django application in memory, for tests.
package djangotest

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"time"

	"gatehouse/auth"
	"gatehouse/auth/authtest"
	"gatehouse/django"
)

// SecretKey is the SECRET_KEY of the Django.
const SecretKey = "a secret of Django's"

// Django is a django.Store, and finds the users who were imported from Django.
type Django struct {
	*authtest.CallLog
	users   *authtest.Users
	values  map[string]string
	notes   map[string]django.Note
	origins map[string]string
	// TTL is the remaining time of every session key; negative for no expiry.
	TTL time.Duration
}

var _ django.Store = (*Django)(nil)

// New returns a Django without sessions whose users are rows of the stores.
func New(s *authtest.Stores) *Django {
	return &Django{CallLog: s.CallLog, users: s.Users, values: map[string]string{}, notes: map[string]django.Note{}, origins: map[string]string{}, TTL: -time.Millisecond}
}

// Bridge returns a bridge to it that discards its log.
func (d *Django) Bridge() *django.Bridge {
	keys, err := django.ParseKeys(SecretKey)
	if err != nil {
		panic(err)
	}
	return &django.Bridge{Keys: keys, Age: 14 * 24 * time.Hour, Store: d, Users: d, Log: authtest.DiscardLogger()}
}

// Import records that a user was imported from Django.
func (d *Django) Import(djangoID, userID string) { d.origins[djangoID] = userID }

// SignIn stores a session of a Django user that was saved at the given time.
func (d *Django) SignIn(key, djangoID string, at time.Time) {
	d.Put(key, fmt.Sprintf(`{"_auth_user_id":%q,"_auth_user_backend":"b","_auth_user_hash":"h"}`, djangoID), at)
}

// Put stores a signed session with any content.
func (d *Django) Put(key, text string, at time.Time) {
	body := base64.RawURLEncoding.EncodeToString([]byte(text)) + ":" + base62(at.Unix())
	secret := sha256.Sum256([]byte("django.contrib.sessions.SessionStoresigner" + SecretKey))
	m := hmac.New(sha256.New, secret[:])
	m.Write([]byte(body))
	d.values[key] = body + ":" + base64.RawURLEncoding.EncodeToString(m.Sum(nil))
}

func base62(n int64) string {
	const digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	s := ""
	for ; n > 0; n /= 62 {
		s = string(digits[n%62]) + s
	}
	return s
}

// SignOut deletes a session.
func (d *Django) SignOut(key string) { delete(d.values, key) }

// NoteOf returns the note of a session key.
func (d *Django) NoteOf(key string) (django.Note, bool) {
	n, ok := d.notes[django.SessionID(key)]
	return n, ok
}

// Notes returns the number of notes.
func (d *Django) Notes() int { return len(d.notes) }

// SessionValue implements django.Store.
func (d *Django) SessionValue(ctx context.Context, key string) ([]byte, time.Duration, error) {
	if err := d.LogCall(ctx, "django.Value", key); err != nil {
		return nil, 0, err
	}
	value, ok := d.values[key]
	if !ok {
		return nil, 0, auth.ErrNotFound
	}
	return []byte(value), d.TTL, nil
}

// Note implements django.Store.
func (d *Django) Note(ctx context.Context, id string) (django.Note, error) {
	if err := d.LogCall(ctx, "notes.Find", id); err != nil {
		return django.Note{}, err
	}
	n, ok := d.notes[id]
	if !ok {
		return django.Note{}, auth.ErrNotFound
	}
	return n, nil
}

// AddNote implements django.Store.
func (d *Django) AddNote(ctx context.Context, n django.Note) error {
	if err := d.LogCall(ctx, "notes.Add", n.ID); err != nil {
		return err
	}
	if _, ok := d.notes[n.ID]; !ok {
		d.put(n)
	}
	return nil
}

func (d *Django) put(n django.Note) {
	n.TTL = django.NoteTTL
	d.notes[n.ID] = n
}

// Age shortens the TTL of a note, as if it had not been used for so long.
func (d *Django) Age(key string, by time.Duration) {
	n, _ := d.NoteOf(key)
	n.TTL -= by
	d.notes[n.ID] = n
}

// RenewNote implements django.Store.
func (d *Django) RenewNote(ctx context.Context, id string) error {
	if err := d.LogCall(ctx, "notes.Renew", id); err != nil {
		return err
	}
	if n, ok := d.notes[id]; ok {
		d.put(n)
	}
	return nil
}

// EndNote implements django.Store.
func (d *Django) EndNote(ctx context.Context, n django.Note, create bool) (bool, error) {
	if err := d.LogCall(ctx, "notes.End", n.ID); err != nil {
		return false, err
	}
	if _, ok := d.notes[n.ID]; !ok && !create {
		return false, nil
	}
	d.put(n)
	return true, nil
}

// UserByOrigin is that of auth.OriginStore.
func (d *Django) UserByOrigin(ctx context.Context, source, externalID string) (auth.User, error) {
	if err := d.LogCall(ctx, "origins.Find", source, externalID); err != nil {
		return auth.User{}, err
	}
	id, ok := d.origins[externalID]
	if !ok || source != django.DefaultSource {
		return auth.User{}, auth.ErrNotFound
	}
	if u := d.users.Row(id); u.ID != "" {
		return u, nil
	}
	return auth.User{}, auth.ErrNotFound
}
