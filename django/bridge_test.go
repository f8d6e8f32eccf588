package django_test

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
	"gatehouse/django"
	"gatehouse/django/djangotest"
)

const sessionKey = "abcdefghijklmnopqrstuvwxyz012345"

var noon = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

var errDown = fmt.Errorf("ask a server: %w", auth.ErrUnavailable)

// bridgeTest is a bridge to a Django where alice, the imported user 42, has signed in.
type bridgeTest struct {
	*authtest.Stores
	bridge *django.Bridge
	django *djangotest.Django
	log    strings.Builder
}

func newBridgeTest(t *testing.T) *bridgeTest {
	t.Helper()
	b := &bridgeTest{Stores: authtest.New()}
	b.django = djangotest.New(b.Stores)
	b.bridge = b.django.Bridge()
	b.bridge.Log = slog.New(slog.NewTextHandler(&b.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	b.Users.Put(auth.User{ID: "u1", Username: "alice", Epoch: 1, Active: true, UpdatedAt: noon})
	b.django.Import("42", "u1")
	b.django.SignIn(sessionKey, "42", noon.Add(-time.Hour))
	return b
}

func (b *bridgeTest) at(t *testing.T, now time.Time) (auth.Session, error) {
	t.Helper()
	return b.bridge.Session(t.Context(), sessionKey, now)
}

func (b *bridgeTest) wantNoSession(t *testing.T, why string) {
	t.Helper()
	if s, err := b.at(t, noon); !errors.Is(err, auth.ErrNotFound) {
		t.Errorf("%s: got %+v, %v; want ErrNotFound", why, s, err)
	}
}

// TestSession_FindsUsersByItsSource: the user 42 of another Django is another user.
func TestSession_FindsUsersByItsSource(t *testing.T) {
	b := newBridgeTest(t)
	b.bridge.Source = "shop"
	b.wantNoSession(t, "imported from django")
	if calls := b.Calls("origins."); len(calls) != 1 || calls[0] != "origins.Find shop 42" {
		t.Errorf("got the calls %q, want one lookup in shop", calls)
	}
}

func TestSession_SignsInAnImportedUser(t *testing.T) {
	b := newBridgeTest(t)
	want := auth.Session{
		Version: 1, ID: django.SessionID(sessionKey), UserID: "u1", Epoch: 1, CreatedAt: noon, SignedInAt: noon,
		Deadline: noon.Add(14*24*time.Hour - time.Hour), Methods: []string{"django"}, External: true,
	}
	if s, err := b.at(t, noon); err != nil || fmt.Sprint(s) != fmt.Sprint(want) {
		t.Fatalf("got %+v, %v; want %+v", s, err, want)
	}
	n, _ := b.django.NoteOf(sessionKey)
	if n.UserID != "u1" || n.DjangoID != "42" || n.Epoch != 1 || !n.FirstSeen.Equal(noon) || n.Ended || !n.Valid(want.ID) {
		t.Errorf("got the note %+v, want alice, 42 and epoch 1 since noon", n)
	}
	if log := b.log.String(); strings.Count(log, "event=true") != 1 || !strings.Contains(log, "username=alice") || strings.Contains(log, sessionKey) {
		t.Errorf("unexpected log: %q", log)
	}
	b.Reset()
	if s, err := b.at(t, noon.Add(time.Hour)); err != nil || fmt.Sprint(s) != fmt.Sprint(want) {
		t.Errorf("again: got %+v, %v; want %+v", s, err, want)
	}
	if calls := b.Calls(); len(calls) != 2 || !strings.HasPrefix(calls[0], "django.Value") || !strings.HasPrefix(calls[1], "notes.Find") {
		t.Errorf("a known session: got the calls %q, want two", calls)
	}
	b.django.TTL = time.Minute
	if s, err := b.at(t, noon); err != nil || !s.Deadline.Equal(noon.Add(time.Minute)) {
		t.Errorf("with a TTL of a minute: got the deadline %v, %v; want a minute after noon", s.Deadline, err)
	}
	b.django.SignOut(sessionKey)
	b.wantNoSession(t, "signed out at Django")
}

func TestSession_RejectsUnknownUsersAndEpochs(t *testing.T) {
	for why, change := range map[string]func(*bridgeTest){
		"not imported": func(b *bridgeTest) { b.django.SignIn(sessionKey, "43", noon) },
		"a visitor":    func(b *bridgeTest) { b.django.Put(sessionKey, "{}", noon) },
		"expired":      func(b *bridgeTest) { b.django.SignIn(sessionKey, "42", noon.Add(-15*24*time.Hour)) },
		"another key":  func(b *bridgeTest) { b.bridge.Keys, _ = django.ParseKeys("x") },
		"no session":   func(b *bridgeTest) { b.django.SignOut(sessionKey) },
		"deleted":      func(b *bridgeTest) { b.django.Import("42", "u2") },
		"disabled":     func(b *bridgeTest) { b.Users.Put(auth.User{ID: "u1", Epoch: 2, UpdatedAt: noon.Add(-2 * time.Hour)}) },
		"saved before all sessions were ended": func(b *bridgeTest) {
			b.Users.Put(auth.User{ID: "u1", Epoch: 2, Active: true, UpdatedAt: noon.Add(-time.Hour + 2*time.Second)})
		},
	} {
		b := newBridgeTest(t)
		change(b)
		b.wantNoSession(t, why)
		if b.django.Notes() != 0 {
			t.Errorf("%s: got %d notes, want none", why, b.django.Notes())
		}
		if strings.Contains(b.log.String(), sessionKey) || strings.Contains(b.log.String(), "level=ERROR") {
			t.Errorf("%s: unexpected log: %s", why, b.log.String())
		}
	}
	b := newBridgeTest(t)
	b.Users.Put(auth.User{ID: "u1", Epoch: 2, Active: true, UpdatedAt: noon.Add(-time.Hour)})
	if s, err := b.at(t, noon); err != nil || s.Epoch != 2 {
		t.Errorf("saved after all sessions were ended: got %+v, %v; want epoch 2", s, err)
	}
}

func TestSession_KeepsTheEpochOfItsFirstUse(t *testing.T) {
	b := newBridgeTest(t)
	if _, err := b.at(t, noon); err != nil {
		t.Fatal(err)
	}
	b.Users.Put(auth.User{ID: "u1", Username: "alice", Epoch: 2, Active: true, UpdatedAt: noon})
	b.django.SignIn(sessionKey, "42", noon.Add(time.Hour)) // saved again
	if s, err := b.at(t, noon.Add(time.Hour)); err != nil || s.Epoch != 1 {
		t.Errorf("got %+v, %v; want epoch 1", s, err)
	}
	b.django.Import("43", "u2")
	b.Users.Put(auth.User{ID: "u2", Username: "bob", Epoch: 1, Active: true})
	b.django.SignIn(sessionKey, "43", noon)
	b.wantNoSession(t, "another user under the same key")
}

func TestNote_IsRenewedWhileTheSessionLives(t *testing.T) {
	b := newBridgeTest(t)
	if _, err := b.at(t, noon); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		ago  time.Duration
		kept int
	}{{django.NoteTTL/2 - time.Hour, 0}, {2 * time.Hour, 1}, {0, 0}} {
		b.django.Age(sessionKey, c.ago)
		b.Reset()
		if _, err := b.at(t, noon); err != nil || len(b.Calls("notes.Renew")) != c.kept {
			t.Errorf("%v later: got the calls %q, %v; want the note renewed %d times", c.ago, b.Calls(), err, c.kept)
		}
	}
	if _, err := b.bridge.End(t.Context(), sessionKey, noon, false); err != nil {
		t.Fatal(err)
	}
	b.django.Age(sessionKey, django.NoteTTL-time.Hour)
	b.wantNoSession(t, "ended long ago")
	if n, _ := b.django.NoteOf(sessionKey); n.TTL != django.NoteTTL {
		t.Errorf("the note of an ended session that is still presented: got a TTL of %v, want it renewed", n.TTL)
	}
}

func TestEnd_LeavesDjangoAlone(t *testing.T) {
	b := newBridgeTest(t)
	if _, err := b.at(t, noon); err != nil {
		t.Fatal(err)
	}
	if still, err := b.bridge.End(t.Context(), sessionKey, noon, false); !still || err != nil {
		t.Errorf("got %v, %v; want still signed in at Django", still, err)
	}
	b.wantNoSession(t, "signed out here")
	b.django.SignIn(sessionKey, "42", noon)
	b.wantNoSession(t, "signed out here, and saved again")
	n, _ := b.django.NoteOf(sessionKey)
	n.DjangoID, n.UserID = "42", "u1"
	if _, err := b.django.EndNote(t.Context(), n, false); err != nil {
		t.Fatal(err)
	}
	b.wantNoSession(t, "ended, with the user in the note")

	b = newBridgeTest(t)
	if still, err := b.bridge.End(t.Context(), sessionKey, noon, false); !still || err != nil {
		t.Errorf("never seen: got %v, %v; want still signed in at Django", still, err)
	}
	b.wantNoSession(t, "signed out here before it was seen")

	b = newBridgeTest(t)
	b.django.SignOut(sessionKey)
	if still, err := b.bridge.End(t.Context(), sessionKey, noon, true); still || err != nil || b.django.Notes() != 0 {
		t.Errorf("no session: got %v, %v and %d notes, want none", still, err, b.django.Notes())
	}
	b.FailOn("notes.End", errDown)
	if _, err := b.bridge.End(t.Context(), sessionKey, noon, true); !errors.Is(err, auth.ErrUnavailable) {
		t.Errorf("while Gatehouse's Redis is down: got %v, want ErrUnavailable", err)
	}
}

// TestEnd_WinsOverAConcurrentFirstUse: a request that runs during the sign-out notes the session after it.
func TestEnd_WinsOverAConcurrentFirstUse(t *testing.T) {
	b := newBridgeTest(t)
	b.bridge.Users = during{b.django, func() {
		if _, err := b.bridge.End(t.Context(), sessionKey, noon, false); err != nil {
			t.Error(err)
		}
	}}
	b.wantNoSession(t, "signed out meanwhile")
	if n, _ := b.django.NoteOf(sessionKey); !n.Ended {
		t.Errorf("got the note %+v, want it ended", n)
	}
}

// during calls do while a user is looked up.
type during struct {
	*djangotest.Django
	do func()
}

func (d during) UserByOrigin(ctx context.Context, source, id string) (auth.User, error) {
	u, err := d.Django.UserByOrigin(ctx, source, id)
	d.do()
	return u, err
}

func TestBridge_ReportsUnavailableStores(t *testing.T) {
	for _, call := range []string{"django.Value", "notes.Find", "origins.Find", "notes.Add"} {
		b := newBridgeTest(t)
		b.FailOn(call, errDown)
		if s, err := b.at(t, noon); !errors.Is(err, auth.ErrUnavailable) || s.UserID != "" {
			t.Errorf("%s: got %+v, %v; want ErrUnavailable", call, s, err)
		}
	}
	for _, c := range []struct {
		name          string
		seen, trusted bool
		works         bool
	}{
		{"an unknown session of an anonymous visitor", false, false, false},
		{"an unknown session of a signed-in user", false, true, true},
		{"a known session", true, false, true},
	} {
		b := newBridgeTest(t)
		if c.seen {
			if _, err := b.at(t, noon); err != nil {
				t.Fatal(err)
			}
		}
		b.FailOn("django.Value", errDown)
		still, err := b.bridge.End(t.Context(), sessionKey, noon, c.trusted)
		if still || (err == nil) != c.works || err != nil && !errors.Is(err, auth.ErrUnavailable) {
			t.Errorf("ending %s while Django's Redis is down: got %v, %v; want success: %v", c.name, still, err, c.works)
		}
		b.FailOn("django.Value", nil)
		if _, err := b.at(t, noon); errors.Is(err, auth.ErrNotFound) != c.works {
			t.Errorf("%s: got %v afterwards, want it ended: %v", c.name, err, c.works)
		}
	}
}

// TestSessionUser_EndsAStaleSession: a stale session is ended permanently.
func TestSessionUser_EndsAStaleSession(t *testing.T) {
	b := newBridgeTest(t)
	accounts := b.Accounts(t)
	accounts.Now = func() time.Time { return noon }
	accounts.LocalCache = auth.NewLocalUserCache(time.Hour)
	accounts.LocalCache.SetEnabled(true)
	accounts.EndExternal = b.bridge.EndRejected
	s, err := b.at(t, noon)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := accounts.SessionUser(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	b.Users.Put(auth.User{ID: "u1", Username: "alice", Epoch: 9, Active: true, UpdatedAt: noon})
	accounts.InvalidateUser("u1")
	if _, err := accounts.User(t.Context(), "u1"); err != nil {
		t.Fatal(err)
	}
	if _, err := accounts.SessionUser(t.Context(), s); !errors.Is(err, auth.ErrNotFound) {
		t.Errorf("the stale session: got %v, want ErrNotFound", err)
	}
	if note, ok := b.django.NoteOf(sessionKey); !ok || !note.Ended {
		t.Errorf("got the note %+v, %v; want it ended", note, ok)
	}
	// Restoring the old epoch does not restore the session.
	b.Users.Put(auth.User{ID: "u1", Username: "alice", Epoch: 1, Active: true, UpdatedAt: noon})
	b.wantNoSession(t, "an ended session")
}
