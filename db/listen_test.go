package db

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"modernc.org/sqlite"

	"gatehouse/auth"
	"gatehouse/internal/testkit"
)

func postgresURL(t *testing.T) string { return testkit.PostgresURL(t) }

// otherProcess is the environment variable with the file that a copy of this test program changes; see TestMain.
const otherProcess = "GATEHOUSE_TEST_CHANGE_SQLITE"

// TestMain runs this test program as the second process of TestListen_ReceivesChangesOfOtherProcesses.
func TestMain(m *testing.M) {
	path := os.Getenv(otherProcess)
	if path == "" {
		os.Exit(m.Run())
	}
	d, err := Open(context.Background(), "sqlite:"+path)
	if err == nil {
		var users []auth.User
		if users, err = d.Users(context.Background(), "", 1); err == nil {
			_, err = d.RotateEpoch(context.Background(), users[0].ID)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// eventRecorder is a Listener that records its calls.
type eventRecorder struct {
	t       *testing.T
	events  chan string
	lastErr atomic.Pointer[error]
	changes chan Change
	answers atomic.Int64
	answer  atomic.Bool
}

func listen(t *testing.T, d *DB) *eventRecorder {
	t.Helper()
	e := &eventRecorder{t: t, events: make(chan string, 1000), changes: make(chan Change, 1000)}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); d.Listen(ctx, e) }()
	t.Cleanup(func() { cancel(); <-ended })
	return e
}

func (e *eventRecorder) Connected()             { e.events <- "connected" }
func (e *eventRecorder) Disconnected(err error) { e.lastErr.Store(&err); e.events <- "disconnected" }
func (e *eventRecorder) Reachable(yes bool) {
	e.answer.Store(yes)
	e.answers.Add(1)
}
func (e *eventRecorder) Changed(c Change) {
	e.changes <- c
	e.events <- "changed " + c.UserID
}

// why returns the last error of Disconnected.
func (e *eventRecorder) why() error {
	if err := e.lastErr.Load(); err != nil {
		return *err
	}
	return nil
}

// await waits for an event; another one before it fails the test.
func (e *eventRecorder) await(want string) {
	e.t.Helper()
	select {
	case got := <-e.events:
		if got != want {
			e.t.Fatalf("got event %q (%v), want %q", got, e.why(), want)
		}
	case <-time.After(10 * time.Second):
		e.t.Fatalf("no event within 10 s, want %q", want)
	}
}

// skipTo waits for an event and skips earlier ones.
func (e *eventRecorder) skipTo(want string) {
	e.t.Helper()
	for deadline := time.After(20 * time.Second); ; {
		select {
		case got := <-e.events:
			if got == want {
				return
			}
		case <-deadline:
			e.t.Fatalf("no event %q within 20 s", want)
		}
	}
}

// TestListen_ReceivesEveryChange: every change of cached user data is received, and nothing else is.
func TestListen_ReceivesEveryChange(t *testing.T) {
	onBothMigrated(t, func(t *testing.T, d *DB) {
		alice, bob := create(t, d, newUser("alice")), create(t, d, newUser("bob"))
		e := listen(t, d)
		e.await("connected")
		before := time.Now().Add(-time.Second)

		changes := []struct{ sql, who string }{
			{`UPDATE users SET active = false WHERE username = 'alice'`, alice.ID},
			{`UPDATE users SET name = 'Bob' WHERE username = 'bob'`, bob.ID},
			{`INSERT INTO groups (name) VALUES ('readers')`, ""},
			{`INSERT INTO user_groups (user_id, group_name) VALUES ('` + bob.ID + `', 'readers')`, bob.ID},
			{`INSERT INTO group_permissions (group_name, permission) VALUES ('readers', 'books.read')`, auth.AllUsers},
			{`DELETE FROM group_permissions WHERE group_name = 'readers'`, auth.AllUsers},
			{`DELETE FROM user_groups WHERE group_name = 'readers'`, bob.ID},
			{`INSERT INTO user_permissions (user_id, permission) VALUES ('` + bob.ID + `', 'books.read')`, bob.ID},
			{`DELETE FROM user_permissions WHERE permission = 'books.read'`, bob.ID},
			{`UPDATE users SET last_sign_in_at = created_at WHERE username = 'bob'`, ""},
			{`DELETE FROM users WHERE username = 'bob'`, bob.ID},
		}
		for _, c := range changes {
			ok(t, byHand(t, d, c.sql))
			if c.who == "" {
				continue // the next event proves that there was none for this
			}
			e.skipToChange(c.sql, c.who, before)
		}
	})
}

// skipToChange waits for a change of the user. A statement may be reported more than once, since a trigger can update the
// row again.
func (e *eventRecorder) skipToChange(sql, who string, before time.Time) {
	e.t.Helper()
	for {
		select {
		case c := <-e.changes:
			if c.UserID == who {
				if c.At.Before(before) || c.At.After(time.Now().Add(time.Second)) {
					e.t.Errorf("%s: got the time %s, want now", sql, c.At)
				}
				return
			}
			if c.UserID == auth.AllUsers {
				e.t.Errorf("%s: got a change of all users, want %s", sql, who)
			}
		case <-time.After(10 * time.Second):
			e.t.Fatalf("%s: no event", sql)
		}
	}
}

func TestListen_ReceivesChangesOfOtherProcesses(t *testing.T) {
	d := open(t, sqliteURL(t))
	ok(t, d.Migrate(t.Context()))
	u := create(t, d, newUser("alice"))
	e := listen(t, d)
	e.await("connected")
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), otherProcess+"="+d.path)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	e.await("changed " + u.ID)
}

// TestListen_GapStandsForAllUsers: the feed of a SQLite file keeps the last thousand changes. A listener that missed some,
// as after one statement that makes more, receives a change of all users.
func TestListen_GapStandsForAllUsers(t *testing.T) {
	d := open(t, sqliteURL(t))
	ok(t, d.Migrate(t.Context()))
	alice := create(t, d, newUser("alice"))
	ok(t, byHand(t, d, `WITH RECURSIVE series (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM series WHERE n < 1500)
		INSERT INTO users (id, username, password_hash) SELECT printf('00000000-0000-4000-8000-%012d', n), 'filler' || n, 'x' FROM series`))
	e := listen(t, d)
	e.await("connected")
	ok(t, byHand(t, d, `UPDATE users SET active = 0`))
	e.await("changed *")
	_, err := d.SetActive(t.Context(), alice.ID, true)
	ok(t, err)
	e.await("changed " + alice.ID)
	ok(t, byHand(t, d, `DELETE FROM user_changes`))
	e.await("changed *")
	_, err = d.SetActive(t.Context(), alice.ID, false)
	ok(t, err)
	e.await("changed *") // its number does not follow the last one
	_, err = d.SetActive(t.Context(), alice.ID, true)
	ok(t, err)
	e.await("changed " + alice.ID)
}

// restore overwrites the open file with a backup, as ".restore" in the sqlite3 shell does.
func restore(t *testing.T, d *DB, backup string) {
	t.Helper()
	conn, err := d.pool.Conn(t.Context())
	ok(t, err)
	defer conn.Close()
	ok(t, conn.Raw(func(c any) error {
		b, err := c.(interface {
			NewRestore(string) (*sqlite.Backup, error)
		}).NewRestore(backup)
		if err != nil {
			return err
		}
		if _, err := b.Step(-1); err != nil {
			return err
		}
		return b.Finish()
	}))
}

// TestListen_RestoredFileStandsForAllUsers: whatever happened between the backup and the restore.
func TestListen_RestoredFileStandsForAllUsers(t *testing.T) {
	for name, since := range map[string]func(t *testing.T, d *DB, alice auth.User){
		"changes": func(t *testing.T, d *DB, alice auth.User) {
			_, err := d.SetActive(t.Context(), alice.ID, false)
			ok(t, err)
		},
		"a registration": func(t *testing.T, d *DB, _ auth.User) { create(t, d, newUser("bob")) },
	} {
		t.Run(name, func(t *testing.T) {
			d := open(t, sqliteURL(t))
			ok(t, d.Migrate(t.Context()))
			alice := create(t, d, newUser("alice"))
			_, err := d.RotateEpoch(t.Context(), alice.ID)
			ok(t, err)
			backup := filepath.Join(t.TempDir(), "backup.db")
			ok(t, byHand(t, d, `VACUUM INTO '`+backup+`'`))
			since(t, d, alice)
			e := listen(t, d)
			e.await("connected")
			restore(t, d, backup)
			e.await("changed *")
			_, err = d.RotateEpoch(t.Context(), alice.ID)
			ok(t, err)
			e.await("changed " + alice.ID)
		})
	}
}

// TestDeliverChanges_DetectsARestoredFileOfTheSameLength: after as many changes as were lost, the sequence numbers of a
// restored file are those of the old one.
func TestDeliverChanges_DetectsARestoredFileOfTheSameLength(t *testing.T) {
	d := open(t, sqliteURL(t))
	ok(t, d.Migrate(t.Context()))
	alice, bob := create(t, d, newUser("alice")), create(t, d, newUser("bob"))
	backup := filepath.Join(t.TempDir(), "backup.db")
	ok(t, byHand(t, d, `VACUUM INTO '`+backup+`'`))
	_, err := d.RotateEpoch(t.Context(), alice.ID)
	ok(t, err)
	conn, done, err := d.separateConn(t.Context())
	ok(t, err)
	defer done()
	before, err := lastChangePosition(t.Context(), conn)
	ok(t, err)
	restore(t, d, backup)
	for range 2 {
		_, err = d.RotateEpoch(t.Context(), bob.ID)
		ok(t, err)
	}
	e := &eventRecorder{t: t, events: make(chan string, 10), changes: make(chan Change, 10)}
	after, err := deliverChanges(t.Context(), conn, before, e)
	ok(t, err)
	e.await("changed *")
	equal(t, "the number of the last change", after.seq, before.seq+1)
}

// TestListen_ReportsALostConnection kills, restarts and freezes Postgres: each loss is
// reported, and changes arrive again after reconnecting.
func TestListen_ReportsALostConnection(t *testing.T) {
	pg := testkit.StartPostgres(t)
	d := open(t, pg.URL())
	ok(t, d.Migrate(t.Context()))
	u := create(t, d, newUser("alice"))
	e := listen(t, d)
	e.await("connected")

	pg.Kill()
	e.skipTo("disconnected")
	pg.Start()
	e.skipTo("connected")
	_, err := d.RotateEpoch(t.Context(), u.ID)
	ok(t, err)
	e.await("changed " + u.ID)

	pg.Pause()
	e.skipTo("disconnected")
	pg.Resume()
	e.skipTo("connected")
	_, err = d.RotateEpoch(t.Context(), u.ID)
	ok(t, err)
	e.await("changed " + u.ID)
}

// TestListenSQLite_ReportsReachableWhileDisconnected: at most once a second. Otherwise a cache that may be stale would be
// used without limit.
func TestListenSQLite_ReportsReachableWhileDisconnected(t *testing.T) {
	d := open(t, sqliteURL(t))
	ok(t, d.Migrate(t.Context()))
	create(t, d, newUser("alice"))
	e := listen(t, d)
	e.await("connected")
	equal(t, "reachability reports while connected", e.answers.Load(), 0)

	disconnected := time.Now()
	ok(t, byHand(t, d, `ALTER TABLE user_changes RENAME TO away`))
	e.skipTo("disconnected")
	testkit.Eventually(t, 10*time.Second, "the database is reported reachable", e.answer.Load)
	ok(t, byHand(t, d, `ALTER TABLE users RENAME TO users_away`))
	testkit.Eventually(t, 10*time.Second, "the database is reported unreachable", func() bool { return !e.answer.Load() })
	ok(t, byHand(t, d, `ALTER TABLE users_away RENAME TO users`))
	testkit.Eventually(t, 10*time.Second, "the database is reported reachable again", e.answer.Load)
	if n, most := e.answers.Load(), int64(time.Since(disconnected)/time.Second)+1; n > most {
		t.Errorf("got %d reports, want at most %d", n, most)
	}
	ok(t, byHand(t, d, `ALTER TABLE away RENAME TO user_changes`))
	e.skipTo("connected")
}

// TestListen_ConnectsOnlyIfCanariesArrive: a connection on which LISTEN succeeds counts as connected only if it receives
// what is sent through the pool.
func TestListen_ConnectsOnlyIfCanariesArrive(t *testing.T) {
	direct := postgresURL(t)
	pooled := testkit.PgBouncer(t, direct)
	ok(t, open(t, direct).Migrate(t.Context()))
	for name, d := range map[string]*DB{
		"a pooler in transaction mode":   open(t, pooled+"&binary_parameters=yes"),
		"another server than the pool's": open(t, direct, ListenURL(postgresURL(t))),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := listen(t, d)
			e.await("disconnected")
			if err := e.why(); !errors.Is(err, ErrNotDelivered) {
				t.Errorf("Disconnected: got %v, want %v", err, ErrNotDelivered)
			}
			if err := d.CheckListening(t.Context()); !errors.Is(err, ErrNotDelivered) {
				t.Errorf("CheckListening: got %v, want %v", err, ErrNotDelivered)
			}
		})
	}
	t.Run("a pooler and a direct connection", func(t *testing.T) {
		d := open(t, pooled, ListenURL(direct))
		ok(t, d.CheckListening(t.Context()))
		e := listen(t, d)
		e.await("connected")
		u := create(t, d, newUser("alice"))
		_, err := d.RotateEpoch(t.Context(), u.ID)
		ok(t, err)
		e.await("changed " + u.ID)
	})
}

// TestListen_IgnoresCanariesOfOthers: two listeners on one database ignore each other's canaries.
func TestListen_IgnoresCanariesOfOthers(t *testing.T) {
	url := postgresURL(t)
	one, other := open(t, url), open(t, url)
	ok(t, one.Migrate(t.Context()))
	a, b := listen(t, one), listen(t, other)
	a.await("connected")
	b.await("connected")
	u := create(t, one, newUser("alice"))
	// Enough canaries that both have sent and received their own more than once.
	testkit.Eventually(t, 30*time.Second, "four canaries of each", func() bool {
		return a.answers.Load() >= 4 && b.answers.Load() >= 4
	})
	_, err := one.RotateEpoch(t.Context(), u.ID)
	ok(t, err)
	a.await("changed " + u.ID)
	b.await("changed " + u.ID)
}

// TestUnprepared_WorksThroughAPooler: with a listen URL no statement is prepared, so that the pooler can run each
// transaction on another connection.
func TestUnprepared_WorksThroughAPooler(t *testing.T) {
	direct := postgresURL(t)
	d := open(t, testkit.PgBouncer(t, direct), ListenURL(direct))
	ok(t, d.Migrate(t.Context())) // its lock belongs to one connection
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for j := range 10 {
				u := newUser(fmt.Sprintf("user%d-%d", i, j))
				if _, err := d.CreateUser(t.Context(), u); err != nil {
					t.Error(err)
					return
				}
				got, err := d.SetActive(t.Context(), u.ID, false)
				if err != nil || got.Active || got.Username != u.Username {
					t.Errorf("got %+v, %v; want the disabled user", got, err)
				}
				if got, err := d.UserByUsername(t.Context(), u.Username); err != nil || got.ID != u.ID || got.Active {
					t.Errorf("got %+v, %v; want the disabled user", got, err)
				}
			}
		})
	}
	all.Wait()
}

func TestListen_UnreachableIsDisconnected(t *testing.T) {
	d := open(t, "postgres://u@127.0.0.1:1/x?sslmode=disable")
	e := listen(t, d)
	e.await("disconnected")
	if err := e.why(); err == nil || errors.Is(err, context.Canceled) {
		t.Errorf("Disconnected: got %v, want a connection error", err)
	}
}

func TestParseChange_InvalidStandsForAllUsers(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC)
	for payload, want := range map[string]Change{
		fmt.Sprintf("a-b %d", at.UnixMicro()): {"a-b", at},
		fmt.Sprintf("* %d", at.UnixMicro()):   {"*", at},
		"":                                    {UserID: auth.AllUsers},
		"a-b":                                 {UserID: auth.AllUsers},
		"a-b yesterday":                       {UserID: auth.AllUsers},
	} {
		got := parseChange(payload)
		if got.UserID != want.UserID || !got.At.Equal(want.At) {
			t.Errorf("%q: got %v, want %v", payload, got, want)
		}
	}
}
