package auth_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"gatehouse/auth"
	"gatehouse/auth/authtest"
)

const djangoCookie = "abcdefghijklmnopqrstuvwxyz012345"

// bridged is a bridge to a Django where alice, who is user 42 there and was imported, has signed in.
type bridged struct {
	*authtest.Stores
	bridge *auth.DjangoBridge
	django *authtest.Django
	log    strings.Builder
}

func newBridged(t *testing.T) *bridged {
	t.Helper()
	b := &bridged{Stores: authtest.New()}
	b.django = b.Stores.Django()
	b.bridge = b.django.Bridge()
	b.bridge.Log = slog.New(slog.NewTextHandler(&b.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	b.Users.Put(auth.User{ID: "u1", Username: "alice", Epoch: 1, Active: true, UpdatedAt: noon})
	b.django.Import("42", "u1")
	b.django.SignIn(djangoCookie, "42", noon.Add(-time.Hour))
	return b
}

func (b *bridged) at(t *testing.T, now time.Time) (auth.Session, error) {
	t.Helper()
	return b.bridge.Session(t.Context(), djangoCookie, now)
}

func (b *bridged) wantNobody(t *testing.T, why string) {
	t.Helper()
	if s, err := b.at(t, noon); !errors.Is(err, auth.ErrNotFound) {
		t.Errorf("%s: got %+v, %v", why, s, err)
	}
}

// TestDjangoBridge_KnowsItsOwnSource: the user 42 of another Django is somebody else.
func TestDjangoBridge_KnowsItsOwnSource(t *testing.T) {
	b := newBridged(t)
	b.bridge.Source = "shop"
	b.wantNobody(t, "imported from django")
	if calls := b.Calls("origins."); len(calls) != 1 || calls[0] != "origins.Find shop 42" {
		t.Errorf("asked %q", calls)
	}
}

func TestDjangoSignsIn(t *testing.T) {
	b := newBridged(t)
	want := auth.Session{
		Version: 1, ID: auth.DjangoSessionID(djangoCookie), UserID: "u1", Epoch: 1, CreatedAt: noon, SignedInAt: noon,
		Deadline: noon.Add(14*24*time.Hour - time.Hour), Methods: []string{"django"}, External: true,
	}
	if s, err := b.at(t, noon); err != nil || fmt.Sprint(s) != fmt.Sprint(want) {
		t.Fatalf("got %+v, %v; want %+v", s, err, want)
	}
	n, _ := b.django.NoteOf(djangoCookie)
	if n.UserID != "u1" || n.DjangoID != "42" || n.Epoch != 1 || !n.FirstSeen.Equal(noon) || n.Ended || !n.Whole(want.ID) {
		t.Errorf("noted %+v", n)
	}
	if log := b.log.String(); strings.Count(log, "event=true") != 1 || !strings.Contains(log, "username=alice") || strings.Contains(log, djangoCookie) {
		t.Errorf("logged %q", log)
	}
	b.Reset()
	if s, err := b.at(t, noon.Add(time.Hour)); err != nil || fmt.Sprint(s) != fmt.Sprint(want) {
		t.Errorf("again: got %+v, %v; want %+v", s, err, want)
	}
	if calls := b.Calls(); len(calls) != 2 || !strings.HasPrefix(calls[0], "django.Value") || !strings.HasPrefix(calls[1], "notes.Find") {
		t.Errorf("a session that is known takes %q", calls)
	}
	b.django.Left = time.Minute
	if s, err := b.at(t, noon); err != nil || !s.Deadline.Equal(noon.Add(time.Minute)) {
		t.Errorf("with a minute left it ends at %v, %v", s.Deadline, err)
	}
	b.django.SignOut(djangoCookie)
	b.wantNobody(t, "signed out at Django")
}

func TestDjangoSignsNobodyIn(t *testing.T) {
	for why, change := range map[string]func(*bridged){
		"not imported":       func(b *bridged) { b.django.SignIn(djangoCookie, "43", noon) },
		"a visitor":          func(b *bridged) { b.django.Put(djangoCookie, "{}", noon) },
		"expired":            func(b *bridged) { b.django.SignIn(djangoCookie, "42", noon.Add(-15*24*time.Hour)) },
		"another key":        func(b *bridged) { b.bridge.Keys, _ = auth.ParseDjangoKeys("x") },
		"not there":          func(b *bridged) { b.django.SignOut(djangoCookie) },
		"imported, and gone": func(b *bridged) { b.django.Import("42", "u2") },
		"disabled":           func(b *bridged) { b.Users.Put(auth.User{ID: "u1", Epoch: 2, UpdatedAt: noon.Add(-2 * time.Hour)}) },
		"saved before everything was ended": func(b *bridged) {
			b.Users.Put(auth.User{ID: "u1", Epoch: 2, Active: true, UpdatedAt: noon.Add(-time.Hour + 2*time.Second)})
		},
	} {
		b := newBridged(t)
		change(b)
		b.wantNobody(t, why)
		if b.django.Notes() != 0 {
			t.Errorf("%s: noted", why)
		}
		if strings.Contains(b.log.String(), djangoCookie) || strings.Contains(b.log.String(), "level=ERROR") {
			t.Errorf("%s: logged %s", why, b.log.String())
		}
	}
	b := newBridged(t)
	b.Users.Put(auth.User{ID: "u1", Epoch: 2, Active: true, UpdatedAt: noon.Add(-time.Hour)})
	if s, err := b.at(t, noon); err != nil || s.Epoch != 2 {
		t.Errorf("saved after everything was ended: got %+v, %v", s, err)
	}
}

func TestADjangoSessionKeepsTheEpochThatItWasFirstSeenWith(t *testing.T) {
	b := newBridged(t)
	if _, err := b.at(t, noon); err != nil {
		t.Fatal(err)
	}
	b.Users.Put(auth.User{ID: "u1", Username: "alice", Epoch: 2, Active: true, UpdatedAt: noon})
	b.django.SignIn(djangoCookie, "42", noon.Add(time.Hour)) // saved again
	if s, err := b.at(t, noon.Add(time.Hour)); err != nil || s.Epoch != 1 {
		t.Errorf("got %+v, %v; want epoch 1", s, err)
	}
	b.django.Import("43", "u2")
	b.Users.Put(auth.User{ID: "u2", Username: "bob", Epoch: 1, Active: true})
	b.django.SignIn(djangoCookie, "43", noon)
	b.wantNobody(t, "another user under the same key")
}

func TestNotesOutliveDjangosSessions(t *testing.T) {
	b := newBridged(t)
	if _, err := b.at(t, noon); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		ago  time.Duration
		kept int
	}{{auth.DjangoNoteTTL/2 - time.Hour, 0}, {2 * time.Hour, 1}, {0, 0}} {
		b.django.Age(djangoCookie, c.ago)
		b.Reset()
		if _, err := b.at(t, noon); err != nil || len(b.Calls("notes.Keep")) != c.kept {
			t.Errorf("%v later: %q, %v; want %d notes kept", c.ago, b.Calls(), err, c.kept)
		}
	}
	if _, err := b.bridge.End(t.Context(), djangoCookie, noon, false); err != nil {
		t.Fatal(err)
	}
	b.django.Age(djangoCookie, auth.DjangoNoteTTL-time.Hour)
	b.wantNobody(t, "ended long ago")
	if n, _ := b.django.NoteOf(djangoCookie); n.TTL != auth.DjangoNoteTTL {
		t.Errorf("the note of an ended session that is still shown lives for %v", n.TTL)
	}
}

func TestEndingADjangoSessionHere(t *testing.T) {
	b := newBridged(t)
	if _, err := b.at(t, noon); err != nil {
		t.Fatal(err)
	}
	if still, err := b.bridge.End(t.Context(), djangoCookie, noon, false); !still || err != nil {
		t.Errorf("got %v, %v; want still signed in at Django", still, err)
	}
	b.wantNobody(t, "signed out here")
	b.django.SignIn(djangoCookie, "42", noon)
	b.wantNobody(t, "signed out here, and saved again")
	n, _ := b.django.NoteOf(djangoCookie)
	n.DjangoID, n.UserID = "42", "u1"
	if _, err := b.django.EndNote(t.Context(), n, false); err != nil {
		t.Fatal(err)
	}
	b.wantNobody(t, "ended, with the user in the note")

	b = newBridged(t)
	if still, err := b.bridge.End(t.Context(), djangoCookie, noon, false); !still || err != nil {
		t.Errorf("never seen: got %v, %v", still, err)
	}
	b.wantNobody(t, "signed out here before it was seen")

	b = newBridged(t)
	b.django.SignOut(djangoCookie)
	if still, err := b.bridge.End(t.Context(), djangoCookie, noon, true); still || err != nil || b.django.Notes() != 0 {
		t.Errorf("nobody's: got %v, %v and %d notes", still, err, b.django.Notes())
	}
	b.FailOn("notes.End", errDown)
	if _, err := b.bridge.End(t.Context(), djangoCookie, noon, true); !errors.Is(err, auth.ErrUnavailable) {
		t.Errorf("while ours is down: got %v", err)
	}
}

// A request that was under way during the sign-out, and has yet to note the session.
func TestASignOutBeatsTheFirstSight(t *testing.T) {
	b := newBridged(t)
	b.bridge.Users = during{b.django, func() {
		if _, err := b.bridge.End(t.Context(), djangoCookie, noon, false); err != nil {
			t.Error(err)
		}
	}}
	b.wantNobody(t, "signed out meanwhile")
	if n, _ := b.django.NoteOf(djangoCookie); !n.Ended {
		t.Errorf("noted %+v", n)
	}
}

// during does something while a user is looked up.
type during struct {
	*authtest.Django
	do func()
}

func (d during) UserByOrigin(ctx context.Context, source, id string) (auth.User, error) {
	u, err := d.Django.UserByOrigin(ctx, source, id)
	d.do()
	return u, err
}

func TestBridgeWhileServersAreDown(t *testing.T) {
	for _, call := range []string{"django.Value", "notes.Find", "origins.Find", "notes.Add"} {
		b := newBridged(t)
		b.FailOn(call, errDown)
		if s, err := b.at(t, noon); !errors.Is(err, auth.ErrUnavailable) || s.UserID != "" {
			t.Errorf("%s: got %+v, %v", call, s, err)
		}
	}
	for _, c := range []struct {
		name          string
		seen, trusted bool
		works         bool
	}{
		{"a session that was never seen, of a visitor", false, false, false},
		{"one that was never seen, of somebody signed in", false, true, true},
		{"one that was seen", true, false, true},
	} {
		b := newBridged(t)
		if c.seen {
			if _, err := b.at(t, noon); err != nil {
				t.Fatal(err)
			}
		}
		b.FailOn("django.Value", errDown)
		still, err := b.bridge.End(t.Context(), djangoCookie, noon, c.trusted)
		if still || (err == nil) != c.works || err != nil && !errors.Is(err, auth.ErrUnavailable) {
			t.Errorf("ending %s while Django's Redis is down: %v, %v", c.name, still, err)
		}
		b.FailOn("django.Value", nil)
		if _, err := b.at(t, noon); errors.Is(err, auth.ErrNotFound) != c.works {
			t.Errorf("%s: %v after it", c.name, err)
		}
	}
}
