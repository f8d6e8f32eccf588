package faults

import (
	"bufio"
	"bytes"
	"database/sql"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"

	"gatehouse/internal/e2e/kit"
	"gatehouse/internal/testkit"
)

// TestRegistration_OneNameOnTwoServers: exactly one of many concurrent registrations of a name succeeds.
func TestRegistration_OneNameOnTwoServers(t *testing.T) {
	t.Parallel()
	s := kit.NewSite(t)
	// With the race detector, hashes take so long that few registrations reach the database.
	both := []*testkit.Server{s.ServeWithoutRace(), s.ServeWithoutRace()}

	responses := kit.RunConcurrently(t, 100, func(i int) (kit.Response, error) {
		c := kit.NewClient(t, both[i%2].URL())
		return c.TryDo(c.NewForm("/register", "username", "alice", "password", kit.Password))
	})

	count := map[int]int{}
	for _, a := range responses {
		count[a.StatusCode]++
		switch {
		case a.StatusCode == http.StatusSeeOther:
		case a.StatusCode == http.StatusUnprocessableEntity && strings.Contains(a.Text, "This name is taken"):
		case a.StatusCode == http.StatusServiceUnavailable && a.Header.Get("Retry-After") != "":
			// The hash queue was full.
		default:
			t.Errorf("a registration got %s\n%s", a.Status, a.Text)
		}
	}
	t.Logf("responses by status: %v", count)
	if count[http.StatusSeeOther] != 1 {
		t.Errorf("got %d successful registrations, want 1", count[http.StatusSeeOther])
	}
	if n := s.QueryInt(`SELECT count(*) FROM users`); n != 1 {
		t.Errorf("got %d rows, want 1", n)
	}
	if keys := sessionKeys(s); len(keys) != 1 {
		t.Errorf("got %d sessions, want 1", len(keys))
	}
}

func TestEndSession_TakesEffectOnEveryServer(t *testing.T) {
	t.Parallel()
	s := kit.NewSite(t)
	a, b := s.Serve().URL(), s.Serve().URL()

	t.Run("sign-out", func(t *testing.T) {
		c := kit.NewClient(t, a)
		c.Register("signs-out")
		copied := c.CopySession(b)
		kit.WantSignedIn(t, copied)
		c.WantSeeOther(c.PostForm("/logout"), "/login?notice=signed-out")
		kit.WantSignedOut(t, copied, copied.At(a))
	})
	t.Run("password change", func(t *testing.T) {
		c, other := kit.NewClient(t, a), kit.NewClient(t, b)
		c.Register("changes")
		other.SignIn("changes")
		before := c.CopySession(b)
		kit.WantSignedIn(t, c.At(b), other, other.At(a))
		c.WantSeeOther(c.ChangePassword(kit.Password, kit.OtherPassword), "/account?notice=password")
		kit.WantSignedOut(t, other, other.At(a), before, before.At(a))
		kit.WantSignedIn(t, c, c.At(b))
		other.WantStatus(other.PostForm("/login", "username", "changes", "password", kit.Password), http.StatusUnauthorized)
	})
	t.Run("end one", func(t *testing.T) {
		c, lost, kept := kit.NewClient(t, a), kit.NewClient(t, b), kit.NewClient(t, b)
		c.Register("ends-one")
		lost.SignIn("ends-one")
		lostID := c.OtherSessionIDs()
		kept.SignIn("ends-one")
		kit.WantSignedIn(t, lost, kept)
		if len(lostID) != 1 {
			t.Fatalf("got the other sessions %q, want one", lostID)
		}
		c.WantSeeOther(c.PostForm("/account/sessions/end", "session", lostID[0]), "/account?notice=session-ended")
		kit.WantSignedOut(t, lost, lost.At(a))
		kit.WantSignedIn(t, c, c.At(b), kept, kept.At(a))
	})
	t.Run("end all others", func(t *testing.T) {
		c := kit.NewClient(t, a)
		c.Register("ends-all")
		others := []*kit.Client{kit.NewClient(t, a), kit.NewClient(t, b), kit.NewClient(t, b)}
		for _, other := range others {
			other.SignIn("ends-all", "remember", "on")
		}
		kit.WantSignedIn(t, others...)
		before := c.CopySession(b)
		c.WantSeeOther(c.PostForm("/account/sessions/end-others"), "/account?notice=others-ended")
		kit.WantSignedOut(t, append(others, before)...)
		kit.WantSignedIn(t, c, c.At(b))
	})
	t.Run("another user's session cannot be ended", func(t *testing.T) {
		c, stranger := kit.NewClient(t, a), kit.NewClient(t, b)
		c.Register("landlord")
		other := kit.NewClient(t, b)
		other.SignIn("landlord")
		stranger.Register("stranger")
		for _, id := range c.OtherSessionIDs() {
			stranger.WantStatus(stranger.PostForm("/account/sessions/end", "session", id), http.StatusSeeOther)
		}
		kit.WantSignedIn(t, c, other)
	})
}

func TestUserCommands_TakeEffectOnEveryServer(t *testing.T) {
	t.Parallel()
	s := kit.NewSite(t)
	a, b := s.Serve().URL(), s.Serve().URL()
	signedIn := func(t *testing.T, name string) (onA, onB *kit.Client) {
		onA, onB = kit.NewClient(t, a), kit.NewClient(t, b)
		onA.Register(name)
		onB.SignIn(name)
		kit.WantSignedIn(t, onA, onA.At(b), onB, onB.At(a))
		return onA, onB
	}

	t.Run("disable and enable", func(t *testing.T) {
		onA, onB := signedIn(t, "disabled")
		s.Run("", "user", "disable", "disabled").WantOutput(t, "Disabled disabled and ended all their sessions.\n")
		kit.WantSignedOut(t, onA, onB)
		for _, c := range []*kit.Client{onA, onB} {
			c.WantStatus(c.PostForm("/login", "username", "disabled", "password", kit.Password), http.StatusUnauthorized)
		}
		s.Run("", "user", "enable", "disabled").WantOutput(t, "Enabled disabled.\n")
		kit.WantSignedOut(t, onA, onB, onA.At(b), onB.At(a))
		onA.SignIn("disabled")
		kit.WantSignedIn(t, onA, onA.At(b))
	})
	t.Run("logout", func(t *testing.T) {
		onA, onB := signedIn(t, "logged-out")
		s.Run("", "user", "logout", "logged-out").WantOutput(t, "Ended all sessions and API tokens of logged-out.\n")
		kit.WantSignedOut(t, onA, onB)
		onB.SignIn("logged-out")
		kit.WantSignedIn(t, onB, onB.At(a))
	})
	t.Run("passwd", func(t *testing.T) {
		onA, onB := signedIn(t, "reset")
		s.Run(kit.OtherPassword+"\n", "user", "passwd", "reset", "--password-stdin").WantOutput(t, "Changed the password of reset and ended all their sessions.\n")
		kit.WantSignedOut(t, onA, onB)
		onA.WantStatus(onA.PostForm("/login", "username", "reset", "password", kit.Password), http.StatusUnauthorized)
		onB.WantSeeOther(onB.PostForm("/login", "username", "reset", "password", kit.OtherPassword), "/dashboard")
		kit.WantSignedIn(t, onB, onB.At(a))
	})
}

// TestEndedSession_StaysEnded holds a half-sent password change on one server, ends its session in every possible way
// on the other, and then sends the rest: the session must not come back. For requests held after authentication see
// TestEndOthers_AcrossASignOut.
func TestEndedSession_StaysEnded(t *testing.T) {
	t.Parallel()
	s := kit.NewSite(t)
	a, b := s.Serve().URL(), s.Serve().URL()
	for _, test := range []struct {
		name string
		// end ends the session of c; other is a second session of the same user, on b.
		end func(c, other *kit.Client, id string)
		// gone is whether the key must be deleted, too.
		gone bool
	}{
		{"sign-out", func(c, _ *kit.Client, _ string) {
			c.WantSeeOther(c.PostForm("/logout"), "/login?notice=signed-out")
		}, true},
		{"ended from another session", func(_, other *kit.Client, id string) {
			other.WantSeeOther(other.PostForm("/account/sessions/end", "session", id), "/account?notice=session-ended")
		}, true},
		{"all others ended", func(_, other *kit.Client, _ string) {
			other.WantSeeOther(other.PostForm("/account/sessions/end-others"), "/account?notice=others-ended")
		}, false},
		{"password changed elsewhere", func(_, other *kit.Client, _ string) {
			other.WantSeeOther(other.ChangePassword(kit.Password, kit.OtherPassword), "/account?notice=password")
		}, false},
		{"token renewed", func(c, _ *kit.Client, _ string) {
			c.WantSeeOther(c.PostForm("/account/sessions/end-others"), "/account?notice=others-ended")
		}, true},
		{"user logout", func(*kit.Client, *kit.Client, string) {
			s.Run("", "user", "logout", "alice").WantOutput(t, "Ended all sessions and API tokens of alice.\n")
		}, false},
		{"user passwd", func(*kit.Client, *kit.Client, string) {
			s.Run(kit.OtherPassword+"\n", "user", "passwd", "alice", "--password-stdin").WantCode(t, 0)
		}, false},
		{"user disable and enable", func(*kit.Client, *kit.Client, string) {
			s.Run("", "user", "disable", "alice").WantCode(t, 0)
			s.Run("", "user", "enable", "alice").WantCode(t, 0)
		}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			s.Reset()
			c, other := kit.NewClient(t, a), kit.NewClient(t, b)
			c.Register("alice")
			key := sessionKeys(s)[0]
			other.SignIn("alice")
			old, onB := c.CopySession(a), c.CopySession(b)
			kit.WantSignedIn(t, old, onB, other)

			held := postHalf(c, "/account/password", "current_password", kit.Password, "new_password", kit.OtherPassword+"-2")
			test.end(onB, other, strings.TrimPrefix(key, "session:"))
			got := held.finish()

			if got.StatusCode >= 500 {
				t.Errorf("the held request got %s\n%s", got.Status, got.Text)
			}
			kit.WantSignedOut(t, old, old.At(b))
			for _, cookie := range got.Cookies() {
				c.SetCookie(cookie.Name, cookie.Value)
			}
			kit.WantSignedOut(t, c, c.At(b))
			if test.gone && slices.Contains(sessionKeys(s), key) {
				t.Error("the session's key still exists")
			}
		})
	}
}

// TestSignOut_LeavesNoKey: Redis keeps no keys of a session that ended while a request that renews it was in flight.
func TestSignOut_LeavesNoKey(t *testing.T) {
	t.Parallel()
	s := kit.NewSite(t)
	a, b := s.Serve().URL(), s.Serve().URL()
	c := kit.NewClient(t, a)
	c.Register("alice")
	onB := c.CopySession(b)

	held := postHalf(c, "/account/password", "current_password", kit.Password, "new_password", kit.OtherPassword)
	onB.WantSeeOther(onB.PostForm("/logout"), "/login?notice=signed-out")
	got := held.finish()

	if !kit.IsSessionEnded(got) {
		t.Errorf("got %s to %q, want the sign-in page of an ended session", got.Status, got.Header.Get("Location"))
	}
	if keys := sessionKeys(s); len(keys) > 0 {
		t.Errorf("after the sign-out, got the keys %q", keys)
	}
}

// TestEndOthers_AcrossASignOut holds the forms that renew their own session (ending all others, and a new password)
// with a lock on the user's row after authentication, and ends the session itself in the meantime.
func TestEndOthers_AcrossASignOut(t *testing.T) {
	t.Parallel()
	s := kit.NewSite(t)
	a, b := s.Serve().URL(), s.Serve().URL()
	type ending struct {
		name string
		end  func(onB *kit.Client, lock *sql.Tx)
	}
	held := map[string]func(*kit.Client) *http.Request{
		"end others": func(c *kit.Client) *http.Request { return c.NewForm("/account/sessions/end-others") },
		"password": func(c *kit.Client) *http.Request {
			return c.NewForm("/account/password", "current_password", kit.Password, "new_password", kit.OtherPassword+"-2")
		},
	}
	for _, test := range []ending{
		{"sign-out", func(onB *kit.Client, _ *sql.Tx) {
			onB.WantSeeOther(onB.PostForm("/logout"), "/login?notice=signed-out")
		}},
		{"ended from the list", func(onB *kit.Client, _ *sql.Tx) {
			id := strings.TrimPrefix(sessionKeys(s)[0], "session:")
			onB.WantSeeOther(onB.PostForm("/account/sessions/end", "session", id), "/login?notice=signed-out")
		}},
		{"signed out everywhere", func(onB *kit.Client, lock *sql.Tx) {
			if _, err := lock.Exec(`UPDATE users SET epoch = epoch + 1`); err != nil {
				onB.T.Fatal(err)
			}
		}},
		{"disabled, enabled again", func(onB *kit.Client, lock *sql.Tx) {
			if _, err := lock.Exec(`UPDATE users SET active = false`); err != nil {
				onB.T.Fatal(err)
			}
			if _, err := lock.Exec(`UPDATE users SET active = true`); err != nil {
				onB.T.Fatal(err)
			}
		}},
	} {
		for form, request := range held {
			t.Run(test.name+" across "+form, func(t *testing.T) {
				s.Reset()
				c := kit.NewClient(t, a)
				c.Register("alice")
				onB := c.CopySession(b)
				kit.WantSignedIn(t, c, onB)
				old := c.CopySession(a)

				db := kit.OpenDB(t, "postgres", s.DatabaseURL)
				lock, err := db.Begin()
				if err != nil {
					t.Fatal(err)
				}
				defer lock.Rollback()
				if _, err := lock.Exec(`SELECT id FROM users FOR UPDATE`); err != nil {
					t.Fatal(err)
				}
				responses := make(chan kit.Response, 1)
				errs := make(chan error, 1)
				go func() {
					got, err := c.TryDo(request(c))
					responses <- got
					errs <- err
				}()
				testkit.Eventually(t, 10*time.Second, "the change to wait for the lock", func() bool {
					return s.QueryInt(kit.BlockedStatements) > 0
				})
				test.end(onB, lock)
				if err := lock.Commit(); err != nil {
					t.Fatal(err)
				}
				got := <-responses
				if err := <-errs; err != nil {
					t.Fatal(err)
				}

				if got.StatusCode >= 500 {
					t.Errorf("the held request got %s", got.Status)
				}
				kit.WantSignedOut(t, c, c.At(b), old, old.At(b), onB)
			})
		}
	}
}

// TestIdleRenewal_DoesNotReviveASession signs out in the middle of many requests, each of which is about to renew the
// session's idle time.
func TestIdleRenewal_DoesNotReviveASession(t *testing.T) {
	t.Parallel()
	s := kit.NewSite(t)
	const idle = 2 * time.Second
	a, b := s.Serve("SESSION_IDLE", idle.String()).URL(), s.Serve("SESSION_IDLE", idle.String()).URL()
	c := kit.NewClient(t, a)
	c.Register("alice")
	renewals := s.CommandCalls("pexpire")
	for range 5 {
		key := sessionKeys(s)[0]
		// A tenth of the idle time has to pass before a request renews it.
		testkit.Eventually(t, idle, "the renewal to be due", func() bool {
			return s.RedisInt("PTTL", key) < (idle - idle/10).Milliseconds()
		})
		onB := c.CopySession(b)
		copied := []*kit.Client{c.CopySession(a), c.CopySession(b)}
		responses := kit.RunConcurrently(t, 41, func(i int) (kit.Response, error) {
			if i == 20 {
				return onB.TryDo(onB.NewForm("/logout"))
			}
			reader := copied[i%2]
			return reader.TryDo(reader.NewRequest(http.MethodGet, "/dashboard", ""))
		})
		for _, got := range responses {
			if got.StatusCode >= 400 || slices.ContainsFunc(got.Cookies(), func(k *http.Cookie) bool { return k.Value != "" }) {
				t.Errorf("%s got %s with cookies %v", got.Request.URL.Path, got.Status, got.Cookies())
			}
		}
		if keys := sessionKeys(s); len(keys) > 0 {
			t.Fatalf("after the sign-out, got the keys %q", keys)
		}
		kit.WantSignedOut(t, copied...)
		c.SignIn("alice")
	}
	if s.CommandCalls("pexpire") < renewals+10 {
		t.Error("too few requests renewed the session, so the test is inconclusive")
	}
}

// TestTokenRenewal_OnlyOneSucceeds: of many concurrent requests on two servers that replace a session's token, exactly
// one succeeds.
func TestTokenRenewal_OnlyOneSucceeds(t *testing.T) {
	t.Parallel()
	s := kit.NewSite(t)
	both := []string{s.Serve().URL(), s.Serve().URL()}
	c := kit.NewClient(t, both[0])
	c.Register("alice")
	copies := make([]*kit.Client, 16)
	for i := range copies {
		copies[i] = c.CopySession(both[i%2])
	}

	responses := kit.RunConcurrently(t, len(copies), func(i int) (kit.Response, error) {
		return copies[i].TryDo(copies[i].NewForm("/account/password", "current_password", kit.Password, "new_password", kit.OtherPassword))
	})

	signedIn := 0
	count := map[int]int{}
	for i, got := range responses {
		count[got.StatusCode]++
		if got.StatusCode >= 500 && got.StatusCode != http.StatusServiceUnavailable {
			t.Errorf("got %s\n%s", got.Status, got.Text)
		}
		if copies[i].Cookie(kit.SessionCookie) != "" && copies[i].IsSignedIn() {
			signedIn++
		}
	}
	t.Logf("responses by status: %v", count)
	if keys := sessionKeys(s); signedIn != 1 || len(keys) != 1 {
		t.Errorf("got %d of %d signed in, with the keys %q, want 1", signedIn, len(copies), keys)
	}
	kit.WantSignedOut(t, c, c.At(both[1]))
}

// TestChange_ReachesAServerWithEmbeddedStores: commands and SQL clients cannot access the server's process, but their
// changes take effect within a second.
func TestChange_ReachesAServerWithEmbeddedStores(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		stores func(t *testing.T) map[string]string
	}{
		{"embedded", func(t *testing.T) map[string]string {
			return map[string]string{"DATA_DIR": filepath.Join(t.TempDir(), "data")}
		}},
		{"SQLite and a Redis server", func(t *testing.T) map[string]string {
			return map[string]string{
				"DATABASE_URL": "sqlite:" + filepath.Join(t.TempDir(), "users.db"),
				"REDIS_URL":    testkit.RedisURL(t), "SECRET_KEY": kit.SecretKey,
			}
		}},
		{"Postgres and the embedded Redis", func(t *testing.T) map[string]string {
			return map[string]string{"DATABASE_URL": testkit.PostgresURL(t), "SECRET_KEY": kit.SecretKey}
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			env := test.stores(t)
			server := testkit.StartServer(t, testkit.BuildBinary(t), env, "--migrate")
			c := kit.NewClient(t, server.URL())
			c.Register("alice")
			inTime := func(what string, change func()) {
				t.Helper()
				// The server may not have noticed the previous change yet.
				testkit.Eventually(t, kit.WaitTimeout, "the session before "+what, c.IsSignedIn)
				change()
				testkit.Eventually(t, kit.WaitTimeout, "the session to end after "+what, func() bool { return !c.IsSignedIn() })
			}

			inTime("user logout", func() { kit.RunCommand(t, env, "", "user", "logout", "alice").WantCode(t, 0) })
			c.SignIn("alice")
			inTime("user disable", func() { kit.RunCommand(t, env, "", "user", "disable", "alice").WantCode(t, 0) })
			c.WantStatus(c.PostForm("/login", "username", "alice", "password", kit.Password), http.StatusUnauthorized)
			kit.RunCommand(t, env, "", "user", "enable", "alice").WantCode(t, 0)
			if c.IsSignedIn() {
				t.Error("enabling revived a session")
			}
			c.SignIn("alice")
			inTime("user passwd", func() {
				kit.RunCommand(t, env, kit.OtherPassword, "user", "passwd", "alice", "--password-stdin").WantCode(t, 0)
			})
			c.WantSeeOther(c.PostForm("/login", "username", "alice", "password", kit.OtherPassword), "/dashboard")
			inTime("active = false by hand", func() { execSQL(t, env, `UPDATE users SET active = false`) })
			execSQL(t, env, `UPDATE users SET active = true`)
			c.WantSeeOther(c.PostForm("/login", "username", "alice", "password", kit.OtherPassword), "/dashboard")
			inTime("epoch + 1 by hand", func() { execSQL(t, env, `UPDATE users SET epoch = epoch + 1`) })
			c.WantSeeOther(c.PostForm("/login", "username", "alice", "password", kit.OtherPassword), "/dashboard")
			execSQL(t, env, `UPDATE users SET name = 'Alice by Hand'`)
			testkit.Eventually(t, kit.WaitTimeout, "the page to show the new name", func() bool {
				return strings.Contains(c.Get("/dashboard").Text, "Alice by Hand")
			})
			inTime("DELETE by hand", func() { execSQL(t, env, `DELETE FROM users`) })
		})
	}
}

// TestEmbeddedStores_UsersSurviveARestart: but their sessions end with the process.
func TestEmbeddedStores_UsersSurviveARestart(t *testing.T) {
	t.Parallel()
	env := map[string]string{"DATA_DIR": filepath.Join(t.TempDir(), "data")}
	binary := testkit.BuildBinary(t)
	first := testkit.StartServer(t, binary, env)
	c := kit.NewClient(t, first.URL())
	c.Register("alice")
	kit.WantSignedIn(t, c)
	if code := first.Stop(); code != 0 {
		t.Errorf("the server stopped with exit code %d", code)
	}
	second := testkit.StartServer(t, binary, env)
	c = c.At(second.URL())
	if c.IsSignedIn() {
		t.Error("a session survived the end of the embedded Redis")
	}
	c.SignIn("alice")
	kit.WantSignedIn(t, c)
}

// heldPost is a half-sent form.
type heldPost struct {
	t    testing.TB
	conn net.Conn
	r    *bufio.Reader
	rest string
}

// postHalf sends half of a form once the server asks for the body.
func postHalf(c *kit.Client, path string, fields ...string) *heldPost {
	c.T.Helper()
	u, err := url.Parse(c.BaseURL)
	if err != nil {
		c.T.Fatal(err)
	}
	conn, err := net.Dial("tcp", u.Host)
	if err != nil {
		c.T.Fatal(err)
	}
	c.T.Cleanup(func() { conn.Close() })
	if err := conn.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
		c.T.Fatal(err)
	}
	body := kit.EncodeForm(fields...)
	fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: %s\r\n", path, u.Host)
	for _, k := range c.HTTP.Jar.Cookies(u) {
		fmt.Fprintf(conn, "Cookie: %s\r\n", k)
	}
	fmt.Fprintf(conn, "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\nExpect: 100-continue\r\n\r\n", len(body))
	r := bufio.NewReader(conn)
	if line, err := r.ReadString('\n'); err != nil || !strings.HasPrefix(line, "HTTP/1.1 100 ") {
		c.T.Fatalf("POST %s: the server sent %q (%v) before the body", path, line, err)
	}
	_, _ = r.ReadString('\n')
	if _, err := fmt.Fprint(conn, body[:len(body)/2]); err != nil {
		c.T.Fatal(err)
	}
	return &heldPost{c.T, conn, r, body[len(body)/2:]}
}

// finish sends the rest and returns the response.
func (p *heldPost) finish() kit.Response {
	p.t.Helper()
	if _, err := fmt.Fprint(p.conn, p.rest); err != nil {
		p.t.Fatalf("send the rest of a held request: %v", err)
	}
	if err := p.conn.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
		p.t.Fatal(err)
	}
	resp, err := http.ReadResponse(p.r, &http.Request{Method: http.MethodPost, URL: &url.URL{Path: "(held)"}})
	if err != nil {
		p.t.Fatalf("read the response to a held request: %v", err)
	}
	defer resp.Body.Close()
	var body bytes.Buffer
	if _, err := body.ReadFrom(resp.Body); err != nil {
		p.t.Fatal(err)
	}
	return kit.Response{Response: resp, Text: body.String()}
}

// sessionKeys returns the keys of all sessions.
func sessionKeys(s *kit.Site) []string {
	s.T.Helper()
	keys, err := redis.Strings(s.RedisDo("KEYS", "session:*"), nil)
	if err != nil {
		s.T.Fatal(err)
	}
	return keys
}

// execSQL runs a statement directly on the database of a server with these settings.
func execSQL(t *testing.T, env map[string]string, statement string) {
	t.Helper()
	driver, source := "sqlite", "file:"+filepath.Join(env["DATA_DIR"], "gatehouse.db")
	if path, ok := strings.CutPrefix(env["DATABASE_URL"], "sqlite:"); ok {
		source = "file:" + path
	} else if env["DATABASE_URL"] != "" {
		driver, source = "postgres", env["DATABASE_URL"]
	}
	db := kit.OpenDB(t, driver, source)
	if _, err := db.Exec(statement); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}
