package django_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"gatehouse/auth"
	"gatehouse/django"
	"gatehouse/internal/testkit"
	"gatehouse/kv/kvtest"
	"gatehouse/kv/redisconn"
)

var sessionID = django.SessionID(sessionKey)

func newNote() django.Note {
	return django.Note{Version: 1, ID: sessionID, DjangoID: "42", UserID: "u1", Epoch: 3, FirstSeen: time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)}
}

func TestSessionValue_IsReadInOneRoundTrip(t *testing.T) {
	kvtest.OnEach(t, func(t *testing.T, r *redisconn.Pool) {
		for prefix, key := range map[string]string{"": sessionKey, "session": "session:" + sessionKey} {
			d := django.NewRedisStore(r, r, prefix)
			find := func() (value string, left time.Duration, err error) {
				var b []byte
				if trips := kvtest.RoundTrips(t, func(ctx context.Context) { b, left, err = d.SessionValue(ctx, sessionKey) }); trips != 1 {
					t.Errorf("got %d round trips, want 1", trips)
				}
				return string(b), left, err
			}
			if value, _, err := find(); value != "" || !errors.Is(err, auth.ErrNotFound) {
				t.Errorf("prefix %q: got %q, %v for an unknown session, want ErrNotFound", prefix, value, err)
			}
			kvtest.Run(t, r, "SET", key, "a:b:c", "EX", 60)
			if value, left, err := find(); value != "a:b:c" || err != nil || left <= 50*time.Second || left > time.Minute {
				t.Errorf("prefix %q: got %q, %v, %v; want a TTL of a minute", prefix, value, left, err)
			}
			kvtest.Run(t, r, "PERSIST", key)
			if value, left, err := find(); value != "a:b:c" || err != nil || left >= 0 {
				t.Errorf("prefix %q: got %q, %v, %v for a key without a TTL; want a negative TTL", prefix, value, left, err)
			}
			kvtest.Run(t, r, "SET", key, strings.Repeat("x", 1<<20))
			if value, _, err := find(); len(value) != django.MaxValueSize+1 || err != nil {
				t.Errorf("prefix %q: got %d bytes, %v for a long value; want MaxValueSize + 1", prefix, len(value), err)
			}
			kvtest.Run(t, r, "DEL", key)
			kvtest.Run(t, r, "HSET", key, "a", "b")
			if _, _, err := find(); !errors.Is(err, auth.ErrNotFound) {
				t.Errorf("prefix %q: got %v for a hash, want ErrNotFound", prefix, err)
			}
			if err := d.CheckAccess(t.Context()); err != nil {
				t.Errorf("prefix %q: not readable: %v", prefix, err)
			}
			kvtest.Run(t, r, "FLUSHDB")
		}
	})
}

func TestRedisStore_NeedsReadAccessOnly(t *testing.T) {
	theirs := testkit.StartRedis(t)
	admin := kvtest.Open(t, kvtest.ServerURL(theirs))
	ours := kvtest.OpenEmbedded(t)
	kvtest.Run(t, admin, "ACL", "SETUSER", "reader", "on", ">p", "~session:*", "-@all", "+getrange", "+pttl", "+select", "+ping")
	kvtest.Run(t, admin, "SET", "session:"+sessionKey, "a:b:c", "EX", 60)
	d := django.NewRedisStore(kvtest.Open(t, strings.Replace(kvtest.ServerURL(theirs), "unix://", "unix://reader:p@", 1)), ours, "session")
	if value, _, err := d.SessionValue(t.Context(), sessionKey); string(value) != "a:b:c" || err != nil {
		t.Errorf("with read access only: got %q, %v; want the value", value, err)
	}
	if err := d.AddNote(t.Context(), newNote()); err != nil {
		t.Error(err)
	}
	if err := d.RenewNote(t.Context(), sessionID); err != nil {
		t.Error(err)
	}
	if _, err := d.EndNote(t.Context(), newNote(), true); err != nil {
		t.Error(err)
	}
	other := django.NewRedisStore(kvtest.Open(t, strings.Replace(kvtest.ServerURL(theirs), "unix://", "unix://reader:p@", 1)), ours, "other")
	_, _, err := other.SessionValue(t.Context(), sessionKey)
	kvtest.WantUnavailable(t, err)
	kvtest.WantUnavailable(t, other.CheckAccess(t.Context()))
	theirs.Kill()
	_, _, err = d.SessionValue(t.Context(), sessionKey)
	kvtest.WantUnavailable(t, err)
	if _, err := d.Note(t.Context(), sessionID); err != nil {
		t.Errorf("reading a note without Django's Redis: %v", err)
	}
}

func TestNotes_FirstOneAndEndAreFinal(t *testing.T) {
	kvtest.OnEach(t, func(t *testing.T, r *redisconn.Pool) {
		ctx, d := t.Context(), django.NewRedisStore(r, r, "")
		if _, err := d.Note(ctx, sessionID); !errors.Is(err, auth.ErrNotFound) {
			t.Errorf("no note: got %v, want ErrNotFound", err)
		}
		ended := django.Note{ID: sessionID, FirstSeen: newNote().FirstSeen, Ended: true}
		if done, err := d.EndNote(ctx, ended, false); done || err != nil || kvtest.Exists(t, r, "django:"+sessionID) {
			t.Errorf("ending a missing note: got %v, %v; want it neither ended nor created", done, err)
		}
		if err := d.AddNote(ctx, newNote()); err != nil {
			t.Fatal(err)
		}
		other := newNote()
		other.Epoch = 4
		if err := d.AddNote(ctx, other); err != nil {
			t.Fatal(err)
		}
		var got django.Note
		var err error
		if trips := kvtest.RoundTrips(t, func(ctx context.Context) { got, err = d.Note(ctx, sessionID) }); trips != 1 {
			t.Errorf("got %d round trips, want 1", trips)
		}
		ttl := got.TTL
		got.TTL = 0
		if err != nil || got != newNote() || ttl > django.NoteTTL || ttl < django.NoteTTL-time.Minute {
			t.Errorf("got %+v with a TTL of %v, %v; want the first note", got, ttl, err)
		}
		kvtest.Run(t, r, "PEXPIRE", "django:"+sessionID, 1000)
		if err := d.RenewNote(ctx, sessionID); err != nil {
			t.Fatal(err)
		}
		if got, err := d.Note(ctx, sessionID); err != nil || got.TTL < django.NoteTTL-time.Minute {
			t.Errorf("after a renewal: got a TTL of %v, %v; want %v", got.TTL, err, django.NoteTTL)
		}
		if done, err := d.EndNote(ctx, ended, false); !done || err != nil {
			t.Errorf("ending an existing note: got %v, %v; want it ended", done, err)
		}
		if err := d.AddNote(ctx, newNote()); err != nil {
			t.Fatal(err)
		}
		if got, err := d.Note(ctx, sessionID); err != nil || !got.Ended || got.UserID != "" {
			t.Errorf("got %+v, %v; want it ended", got, err)
		}
		kvtest.Run(t, r, "FLUSHDB")
		if done, err := d.EndNote(ctx, ended, true); !done || err != nil {
			t.Errorf("ending an unknown session: got %v, %v; want it noted as ended", done, err)
		}
		if got, err := d.Note(ctx, sessionID); err != nil || !got.Ended || got.TTL < django.NoteTTL-time.Minute {
			t.Errorf("got %+v, %v; want it ended before its first use", got, err)
		}
		if err := d.RenewNote(ctx, django.SessionID("another")); err != nil || kvtest.Exists(t, r, "django:"+django.SessionID("another")) {
			t.Errorf("renewing a missing note created it: %v", err)
		}
	})
}

// TestNotes_InvalidOnesAreKept: a note that cannot be decoded does not sign in and is not overwritten, since it may have
// marked the session as ended.
func TestNotes_InvalidOnesAreKept(t *testing.T) {
	r := kvtest.OpenEmbedded(t)
	d := django.NewRedisStore(r, r, "")
	for _, value := range []string{
		"", "x", "{}", "null", `{"v":1}`,
		`{"v":2,"id":"` + sessionID + `","django_id":"42","user_id":"u1","epoch":3}`,
		`{"v":1,"id":"` + django.SessionID("x") + `","django_id":"42","user_id":"u1","epoch":3}`,
		`{"v":1,"id":"` + sessionID + `","django_id":"42","user_id":"u1"}`,
		`{"v":1,"id":"` + sessionID + `","django_id":"42","user_id":"","epoch":3}`,
		`{"v":1,"id":"` + sessionID + `","user_id":"u1","epoch":3}`,
		`{"v":1,"id":"` + sessionID + `","django_id":"42","user_id":"u1","epoch":3,"x":"` + strings.Repeat("x", 8<<10) + `"}`,
		`{"v":1,"id":"` + sessionID + `","django_id":"42","user_id":"` + "\xff" + `","epoch":3}`,
	} {
		kvtest.Run(t, r, "SET", "django:"+sessionID, value)
		if err := d.AddNote(t.Context(), newNote()); err != nil {
			t.Fatal(err)
		}
		if got, err := d.Note(t.Context(), sessionID); !errors.Is(err, auth.ErrNotFound) {
			t.Errorf("%.80q: got %+v, %v; want ErrNotFound", value, got, err)
		}
	}
	kvtest.Run(t, r, "DEL", "django:"+sessionID)
	kvtest.Run(t, r, "LPUSH", "django:"+sessionID, "x")
	if _, err := d.Note(t.Context(), sessionID); !errors.Is(err, auth.ErrNotFound) {
		t.Errorf("a list: got %v, want ErrNotFound", err)
	}
}
