package kv

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"gatehouse/auth"
	"gatehouse/internal/testkit"
	"gatehouse/kv/kvtest"
	"gatehouse/kv/redisconn"
)

const djangoKey = "abcdefghijklmnopqrstuvwxyz012345"

var djangoID = auth.DjangoSessionID(djangoKey)

func djangoNote() auth.DjangoNote {
	return auth.DjangoNote{Version: 1, ID: djangoID, DjangoID: "42", UserID: "u1", Epoch: 3, FirstSeen: time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)}
}

func TestDjangoValue(t *testing.T) {
	kvtest.OnEach(t, func(t *testing.T, r *redisconn.Pool) {
		for prefix, key := range map[string]string{"": djangoKey, "session": "session:" + djangoKey} {
			d := NewDjango(r, r, prefix)
			find := func() (value string, left time.Duration, err error) {
				var b []byte
				if trips := kvtest.RoundTrips(t, func(ctx context.Context) { b, left, err = d.DjangoValue(ctx, djangoKey) }); trips != 1 {
					t.Errorf("%d round trips", trips)
				}
				return string(b), left, err
			}
			if value, _, err := find(); value != "" || !errors.Is(err, auth.ErrNotFound) {
				t.Errorf("prefix %q: got %q, %v of a session that is not there", prefix, value, err)
			}
			kvtest.Run(t, r, "SET", key, "a:b:c", "EX", 60)
			if value, left, err := find(); value != "a:b:c" || err != nil || left <= 50*time.Second || left > time.Minute {
				t.Errorf("prefix %q: got %q, %v, %v", prefix, value, left, err)
			}
			kvtest.Run(t, r, "PERSIST", key)
			if value, left, err := find(); value != "a:b:c" || err != nil || left >= 0 {
				t.Errorf("prefix %q: got %q, %v, %v of a key without an end", prefix, value, left, err)
			}
			kvtest.Run(t, r, "SET", key, strings.Repeat("x", 1<<20))
			if value, _, err := find(); len(value) != auth.MaxDjangoValue+1 || err != nil {
				t.Errorf("prefix %q: got %d octets, %v of a long value", prefix, len(value), err)
			}
			kvtest.Run(t, r, "DEL", key)
			kvtest.Run(t, r, "HSET", key, "a", "b")
			if _, _, err := find(); !errors.Is(err, auth.ErrNotFound) {
				t.Errorf("prefix %q: got %v of a hash", prefix, err)
			}
			if err := d.Readable(t.Context()); err != nil {
				t.Errorf("prefix %q: not readable: %v", prefix, err)
			}
			kvtest.Run(t, r, "FLUSHDB")
		}
	})
}

func TestDjangosRedisIsOnlyRead(t *testing.T) {
	theirs := testkit.StartRedis(t)
	admin := kvtest.Open(t, kvtest.ServerURL(theirs))
	ours := kvtest.OpenEmbedded(t)
	kvtest.Run(t, admin, "ACL", "SETUSER", "reader", "on", ">p", "~session:*", "-@all", "+getrange", "+pttl", "+select", "+ping")
	kvtest.Run(t, admin, "SET", "session:"+djangoKey, "a:b:c", "EX", 60)
	d := NewDjango(kvtest.Open(t, strings.Replace(kvtest.ServerURL(theirs), "unix://", "unix://reader:p@", 1)), ours, "session")
	if value, _, err := d.DjangoValue(t.Context(), djangoKey); string(value) != "a:b:c" || err != nil {
		t.Errorf("with the rights to read alone: %q, %v", value, err)
	}
	if err := d.AddNote(t.Context(), djangoNote()); err != nil {
		t.Error(err)
	}
	if err := d.KeepNote(t.Context(), djangoID); err != nil {
		t.Error(err)
	}
	if _, err := d.EndNote(t.Context(), djangoNote(), true); err != nil {
		t.Error(err)
	}
	other := NewDjango(kvtest.Open(t, strings.Replace(kvtest.ServerURL(theirs), "unix://", "unix://reader:p@", 1)), ours, "other")
	_, _, err := other.DjangoValue(t.Context(), djangoKey)
	kvtest.WantUnavailable(t, err)
	kvtest.WantUnavailable(t, other.Readable(t.Context()))
	theirs.Kill()
	_, _, err = d.DjangoValue(t.Context(), djangoKey)
	kvtest.WantUnavailable(t, err)
	if _, err := d.Note(t.Context(), djangoID); err != nil {
		t.Errorf("a note without Django's Redis: %v", err)
	}
}

func TestDjangoNotes(t *testing.T) {
	kvtest.OnEach(t, func(t *testing.T, r *redisconn.Pool) {
		ctx, d := t.Context(), NewDjango(r, r, "")
		if _, err := d.Note(ctx, djangoID); !errors.Is(err, auth.ErrNotFound) {
			t.Errorf("got %v of no note", err)
		}
		ended := auth.DjangoNote{ID: djangoID, FirstSeen: djangoNote().FirstSeen, Ended: true}
		if done, err := d.EndNote(ctx, ended, false); done || err != nil || kvtest.Exists(t, r, "django:"+djangoID) {
			t.Errorf("a note that is not there is ended: %v, %v", done, err)
		}
		if err := d.AddNote(ctx, djangoNote()); err != nil {
			t.Fatal(err)
		}
		other := djangoNote()
		other.Epoch = 4
		if err := d.AddNote(ctx, other); err != nil {
			t.Fatal(err)
		}
		var got auth.DjangoNote
		var err error
		if trips := kvtest.RoundTrips(t, func(ctx context.Context) { got, err = d.Note(ctx, djangoID) }); trips != 1 {
			t.Errorf("%d round trips", trips)
		}
		ttl := got.TTL
		got.TTL = 0
		if err != nil || got != djangoNote() || ttl > auth.DjangoNoteTTL || ttl < auth.DjangoNoteTTL-time.Minute {
			t.Errorf("got %+v for %v, %v; the first note counts", got, ttl, err)
		}
		kvtest.Run(t, r, "PEXPIRE", "django:"+djangoID, 1000)
		if err := d.KeepNote(ctx, djangoID); err != nil {
			t.Fatal(err)
		}
		if got, err := d.Note(ctx, djangoID); err != nil || got.TTL < auth.DjangoNoteTTL-time.Minute {
			t.Errorf("kept for %v, %v", got.TTL, err)
		}
		if done, err := d.EndNote(ctx, ended, false); !done || err != nil {
			t.Errorf("a note that is there is not ended: %v, %v", done, err)
		}
		if err := d.AddNote(ctx, djangoNote()); err != nil {
			t.Fatal(err)
		}
		if got, err := d.Note(ctx, djangoID); err != nil || !got.Ended || got.UserID != "" {
			t.Errorf("got %+v, %v; it was ended", got, err)
		}
		kvtest.Run(t, r, "FLUSHDB")
		if done, err := d.EndNote(ctx, ended, true); !done || err != nil {
			t.Errorf("got %v, %v", done, err)
		}
		if got, err := d.Note(ctx, djangoID); err != nil || !got.Ended || got.TTL < auth.DjangoNoteTTL-time.Minute {
			t.Errorf("got %+v, %v; it was ended before it was seen", got, err)
		}
		if err := d.KeepNote(ctx, auth.DjangoSessionID("another")); err != nil || kvtest.Exists(t, r, "django:"+auth.DjangoSessionID("another")) {
			t.Errorf("a note is made by keeping it: %v", err)
		}
	})
}

// A note that cannot be read signs nobody in, and is not overwritten: it might have said "ended".
func TestDamagedDjangoNotes(t *testing.T) {
	r := kvtest.OpenEmbedded(t)
	d := NewDjango(r, r, "")
	for _, value := range []string{
		"", "x", "{}", "null", `{"v":1}`,
		`{"v":2,"id":"` + djangoID + `","django_id":"42","user_id":"u1","epoch":3}`,
		`{"v":1,"id":"` + auth.DjangoSessionID("x") + `","django_id":"42","user_id":"u1","epoch":3}`,
		`{"v":1,"id":"` + djangoID + `","django_id":"42","user_id":"u1"}`,
		`{"v":1,"id":"` + djangoID + `","django_id":"42","user_id":"","epoch":3}`,
		`{"v":1,"id":"` + djangoID + `","user_id":"u1","epoch":3}`,
		`{"v":1,"id":"` + djangoID + `","django_id":"42","user_id":"u1","epoch":3,"x":"` + strings.Repeat("x", 8<<10) + `"}`,
		`{"v":1,"id":"` + djangoID + `","django_id":"42","user_id":"` + "\xff" + `","epoch":3}`,
	} {
		kvtest.Run(t, r, "SET", "django:"+djangoID, value)
		if err := d.AddNote(t.Context(), djangoNote()); err != nil {
			t.Fatal(err)
		}
		if got, err := d.Note(t.Context(), djangoID); !errors.Is(err, auth.ErrNotFound) {
			t.Errorf("%.80q: got %+v, %v", value, got, err)
		}
	}
	kvtest.Run(t, r, "DEL", "django:"+djangoID)
	kvtest.Run(t, r, "LPUSH", "django:"+djangoID, "x")
	if _, err := d.Note(t.Context(), djangoID); !errors.Is(err, auth.ErrNotFound) {
		t.Errorf("got %v of a list", err)
	}
}
