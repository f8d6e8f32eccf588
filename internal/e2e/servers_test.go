package e2e

import (
	"bufio"
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"
	_ "github.com/lib/pq"  // looks into the servers' Postgres
	_ "modernc.org/sqlite" // and into the embedded database

	"gatehouse/internal/testkit"
	"gatehouse/internal/testkit/servers"
)

const (
	sessionCookie = "gatehouse"
	// otherPassword is what passwords are changed to.
	otherPassword = "brisk-walnut-tram"
)

// TestOneNameIsTakenOnce: whoever registers a name, on whatever server, only one gets it.
func TestOneNameIsTakenOnce(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	// With the race detector a hash takes so long that hardly any registration gets to the table.
	both := []*testkit.Server{s.servePlain(), s.servePlain()}

	answers := atOnce(t, 100, func(i int) (answer, error) {
		c := newClient(t, both[i%2].URL())
		return c.attempt(c.form("/register", "username", "alice", "password", password))
	})

	count := map[int]int{}
	for _, a := range answers {
		count[a.StatusCode]++
		switch {
		case a.StatusCode == http.StatusSeeOther:
		case a.StatusCode == http.StatusUnprocessableEntity && strings.Contains(a.body, "This name is taken"):
		case a.StatusCode == http.StatusServiceUnavailable && a.Header.Get("Retry-After") != "":
			// The queue of hashes was full, and nothing was done.
		default:
			t.Errorf("a registration was answered %s\n%s", a.Status, a.body)
		}
	}
	t.Logf("answers by status: %v", count)
	if count[http.StatusSeeOther] != 1 {
		t.Errorf("%d registrations succeeded, want 1", count[http.StatusSeeOther])
	}
	if n := s.sqlInt(`SELECT count(*) FROM users`); n != 1 {
		t.Errorf("there are %d rows, want 1", n)
	}
	if keys := s.sessionKeys(); len(keys) != 1 {
		t.Errorf("there are %d sessions, want 1", len(keys))
	}
}

// TestEndingSessionsReachesEveryServer: what one server ends, the others refuse at once.
func TestEndingSessionsReachesEveryServer(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	a, b := s.serve().URL(), s.serve().URL()

	t.Run("sign-out", func(t *testing.T) {
		c := newClient(t, a)
		c.register("signs-out")
		copied := c.copy(b)
		wantSignedIn(t, copied)
		c.wantSeeOther(c.post("/logout"), "/login?notice=signed-out")
		wantSignedOut(t, copied, copied.at(a))
	})
	t.Run("password change", func(t *testing.T) {
		c, other := newClient(t, a), newClient(t, b)
		c.register("changes")
		other.signIn("changes")
		before := c.copy(b)
		wantSignedIn(t, c.at(b), other, other.at(a))
		c.wantSeeOther(c.changePassword(password, otherPassword), "/account?notice=password#password")
		wantSignedOut(t, other, other.at(a), before, before.at(a))
		wantSignedIn(t, c, c.at(b))
		other.want(other.post("/login", "username", "changes", "password", password), http.StatusUnauthorized)
	})
	t.Run("end one", func(t *testing.T) {
		c, lost, kept := newClient(t, a), newClient(t, b), newClient(t, b)
		c.register("ends-one")
		lost.signIn("ends-one")
		lostID := c.otherSessions()
		kept.signIn("ends-one")
		wantSignedIn(t, lost, kept)
		if len(lostID) != 1 {
			t.Fatalf("the account page lists the other sessions %q, want one", lostID)
		}
		c.wantSeeOther(c.post("/account/sessions/end", "session", lostID[0]), "/account?notice=session-ended#sessions")
		wantSignedOut(t, lost, lost.at(a))
		wantSignedIn(t, c, c.at(b), kept, kept.at(a))
	})
	t.Run("end all others", func(t *testing.T) {
		c := newClient(t, a)
		c.register("ends-all")
		others := []*client{newClient(t, a), newClient(t, b), newClient(t, b)}
		for _, other := range others {
			other.signIn("ends-all", "remember", "on")
		}
		wantSignedIn(t, others...)
		before := c.copy(b)
		c.wantSeeOther(c.post("/account/sessions/end-others"), "/account?notice=others-ended#sessions")
		wantSignedOut(t, append(others, before)...)
		wantSignedIn(t, c, c.at(b))
	})
	t.Run("somebody else's session cannot be ended", func(t *testing.T) {
		c, stranger := newClient(t, a), newClient(t, b)
		c.register("landlord")
		other := newClient(t, b)
		other.signIn("landlord")
		stranger.register("stranger")
		for _, id := range c.otherSessions() {
			stranger.want(stranger.post("/account/sessions/end", "session", id), http.StatusSeeOther)
		}
		wantSignedIn(t, c, other)
	})
}

// TestCommandsReachEveryServer: what an operator does holds at the next request, wherever it goes.
func TestCommandsReachEveryServer(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	a, b := s.serve().URL(), s.serve().URL()
	signedIn := func(t *testing.T, name string) (onA, onB *client) {
		onA, onB = newClient(t, a), newClient(t, b)
		onA.register(name)
		onB.signIn(name)
		wantSignedIn(t, onA, onA.at(b), onB, onB.at(a))
		return onA, onB
	}

	t.Run("disable and enable", func(t *testing.T) {
		onA, onB := signedIn(t, "disabled")
		s.run("", "user", "disable", "disabled").wantOut(t, "disabled is disabled; all sessions are ended.\n")
		wantSignedOut(t, onA, onB)
		for _, c := range []*client{onA, onB} {
			c.want(c.post("/login", "username", "disabled", "password", password), http.StatusUnauthorized)
		}
		s.run("", "user", "enable", "disabled").wantOut(t, "disabled is enabled.\n")
		wantSignedOut(t, onA, onB, onA.at(b), onB.at(a))
		onA.signIn("disabled")
		wantSignedIn(t, onA, onA.at(b))
	})
	t.Run("logout", func(t *testing.T) {
		onA, onB := signedIn(t, "logged-out")
		s.run("", "user", "logout", "logged-out").wantOut(t, "All sessions of logged-out are ended.\n")
		wantSignedOut(t, onA, onB)
		onB.signIn("logged-out")
		wantSignedIn(t, onB, onB.at(a))
	})
	t.Run("passwd", func(t *testing.T) {
		onA, onB := signedIn(t, "reset")
		s.run(otherPassword+"\n", "user", "passwd", "reset", "--password-stdin").wantOut(t, "reset has a new password; all sessions are ended.\n")
		wantSignedOut(t, onA, onB)
		onA.want(onA.post("/login", "username", "reset", "password", password), http.StatusUnauthorized)
		onB.wantSeeOther(onB.post("/login", "username", "reset", "password", otherPassword), "/dashboard")
		wantSignedIn(t, onB, onB.at(a))
	})
}

// TestEndedIsFinal holds a password change half sent on one server, ends its session in every
// way there is on the other, and then sends the rest: nothing of the session comes back. What
// is held after it was authenticated is TestEndingOthersAcrossASignOut's.
func TestEndedIsFinal(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	a, b := s.serve().URL(), s.serve().URL()
	for _, test := range []struct {
		name string
		// end ends the session of c; other is a second session of the same user, on b.
		end func(c, other *client, id string)
		// gone: not even a key is left.
		gone bool
	}{
		{"sign-out", func(c, _ *client, _ string) {
			c.wantSeeOther(c.post("/logout"), "/login?notice=signed-out")
		}, true},
		{"ended from another session", func(_, other *client, id string) {
			other.wantSeeOther(other.post("/account/sessions/end", "session", id), "/account?notice=session-ended#sessions")
		}, true},
		{"all others ended", func(_, other *client, _ string) {
			other.wantSeeOther(other.post("/account/sessions/end-others"), "/account?notice=others-ended#sessions")
		}, false},
		{"password changed elsewhere", func(_, other *client, _ string) {
			other.wantSeeOther(other.changePassword(password, otherPassword), "/account?notice=password#password")
		}, false},
		{"token renewed", func(c, _ *client, _ string) {
			c.wantSeeOther(c.post("/account/sessions/end-others"), "/account?notice=others-ended#sessions")
		}, true},
		{"user logout", func(*client, *client, string) {
			s.run("", "user", "logout", "alice").wantOut(t, "All sessions of alice are ended.\n")
		}, false},
		{"user passwd", func(*client, *client, string) {
			s.run(otherPassword+"\n", "user", "passwd", "alice", "--password-stdin").wantCode(t, 0)
		}, false},
		{"user disable and enable", func(*client, *client, string) {
			s.run("", "user", "disable", "alice").wantCode(t, 0)
			s.run("", "user", "enable", "alice").wantCode(t, 0)
		}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			s.empty()
			c, other := newClient(t, a), newClient(t, b)
			c.register("alice")
			key := s.sessionKeys()[0]
			other.signIn("alice")
			old, onB := c.copy(a), c.copy(b)
			wantSignedIn(t, old, onB, other)

			held := c.half("/account/password", "current_password", password, "new_password", otherPassword+"-2")
			test.end(onB, other, strings.TrimPrefix(key, "session:"))
			got := held.finish()

			if got.StatusCode >= 500 {
				t.Errorf("the held request was answered %s\n%s", got.Status, got.body)
			}
			wantSignedOut(t, old, old.at(b))
			for _, cookie := range got.Cookies() {
				c.setCookie(cookie.Name, cookie.Value)
			}
			wantSignedOut(t, c, c.at(b))
			if test.gone && slices.Contains(s.sessionKeys(), key) {
				t.Error("the session's key is still there")
			}
		})
	}
}

// TestSignOutLeavesNoKey is the strictest form: one session, ended while a request that would
// renew it is under way. Redis holds nothing of it afterwards.
func TestSignOutLeavesNoKey(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	a, b := s.serve().URL(), s.serve().URL()
	c := newClient(t, a)
	c.register("alice")
	onB := c.copy(b)

	held := c.half("/account/password", "current_password", password, "new_password", otherPassword)
	onB.wantSeeOther(onB.post("/logout"), "/login?notice=signed-out")
	got := held.finish()

	c.wantSeeOther(got, "/login")
	if keys := s.sessionKeys(); len(keys) > 0 {
		t.Errorf("after the sign-out there is %q", keys)
	}
}

// TestEndingOthersAcrossASignOut holds the forms that renew their own session ("end all others",
// and a new password) by a lock on the user's row, after the session was authenticated, and
// meanwhile ends the session itself.
func TestEndingOthersAcrossASignOut(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	a, b := s.serve().URL(), s.serve().URL()
	type ending struct {
		name string
		end  func(onB *client, lock *sql.Tx)
	}
	held := map[string]func(*client) *http.Request{
		"end others": func(c *client) *http.Request { return c.form("/account/sessions/end-others") },
		"password": func(c *client) *http.Request {
			return c.form("/account/password", "current_password", password, "new_password", otherPassword+"-2")
		},
	}
	for _, test := range []ending{
		{"sign-out", func(onB *client, _ *sql.Tx) {
			onB.wantSeeOther(onB.post("/logout"), "/login?notice=signed-out")
		}},
		{"ended from the list", func(onB *client, _ *sql.Tx) {
			id := strings.TrimPrefix(s.sessionKeys()[0], "session:")
			onB.wantSeeOther(onB.post("/account/sessions/end", "session", id), "/login?notice=signed-out")
		}},
		{"signed out everywhere", func(onB *client, lock *sql.Tx) {
			if _, err := lock.Exec(`UPDATE users SET epoch = epoch + 1`); err != nil {
				onB.t.Fatal(err)
			}
		}},
		{"disabled, enabled again", func(onB *client, lock *sql.Tx) {
			if _, err := lock.Exec(`UPDATE users SET active = false`); err != nil {
				onB.t.Fatal(err)
			}
			if _, err := lock.Exec(`UPDATE users SET active = true`); err != nil {
				onB.t.Fatal(err)
			}
		}},
	} {
		for form, request := range held {
			t.Run(test.name+" across "+form, func(t *testing.T) {
				s.empty()
				c := newClient(t, a)
				c.register("alice")
				onB := c.copy(b)
				wantSignedIn(t, c, onB)
				old := c.copy(a)

				db := openSQL(t, "postgres", s.database)
				lock, err := db.Begin()
				if err != nil {
					t.Fatal(err)
				}
				defer lock.Rollback()
				if _, err := lock.Exec(`SELECT id FROM users FOR UPDATE`); err != nil {
					t.Fatal(err)
				}
				answers := make(chan answer, 1)
				errs := make(chan error, 1)
				go func() {
					got, err := c.attempt(request(c))
					answers <- got
					errs <- err
				}()
				testkit.Eventually(t, 10*time.Second, "the change to wait for the lock", func() bool {
					return s.sqlInt(`SELECT count(*) FROM pg_locks WHERE NOT granted`) > 0
				})
				test.end(onB, lock)
				if err := lock.Commit(); err != nil {
					t.Fatal(err)
				}
				got := <-answers
				if err := <-errs; err != nil {
					t.Fatal(err)
				}

				if got.StatusCode >= 500 {
					t.Errorf("the held request was answered %s", got.Status)
				}
				wantSignedOut(t, c, c.at(b), old, old.at(b), onB)
			})
		}
	}
}

// TestIdleRenewalNeverBringsBack signs out in the middle of many requests, each of which is
// about to renew the session's idle time.
func TestIdleRenewalNeverBringsBack(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	const idle = 2 * time.Second
	a, b := s.serve("SESSION_IDLE", idle.String()).URL(), s.serve("SESSION_IDLE", idle.String()).URL()
	c := newClient(t, a)
	c.register("alice")
	renewals := s.calls("pexpire")
	for range 5 {
		key := s.sessionKeys()[0]
		// A tenth of the idle time has to pass before a request renews it.
		testkit.Eventually(t, idle, "the renewal to be due", func() bool {
			return s.redisInt("PTTL", key) < (idle - idle/10).Milliseconds()
		})
		onB := c.copy(b)
		copied := []*client{c.copy(a), c.copy(b)}
		answers := atOnce(t, 41, func(i int) (answer, error) {
			if i == 20 {
				return onB.attempt(onB.form("/logout"))
			}
			reader := copied[i%2]
			return reader.attempt(reader.request(http.MethodGet, "/dashboard", ""))
		})
		for _, got := range answers {
			if got.StatusCode >= 400 || slices.ContainsFunc(got.Cookies(), func(k *http.Cookie) bool { return k.Value != "" }) {
				t.Errorf("%s was answered %s with cookies %v", got.Request.URL.Path, got.Status, got.Cookies())
			}
		}
		if keys := s.sessionKeys(); len(keys) > 0 {
			t.Fatalf("after the sign-out there is %q", keys)
		}
		wantSignedOut(t, copied...)
		c.signIn("alice")
	}
	if s.calls("pexpire") < renewals+10 {
		t.Error("hardly any request renewed the session; this test has shown nothing")
	}
}

// TestOneRenewalCarriesOn: of many requests that would give one session a new token, on two
// servers, a single one does.
func TestOneRenewalCarriesOn(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	both := []string{s.serve().URL(), s.serve().URL()}
	c := newClient(t, both[0])
	c.register("alice")
	copies := make([]*client, 16)
	for i := range copies {
		copies[i] = c.copy(both[i%2])
	}

	answers := atOnce(t, len(copies), func(i int) (answer, error) {
		return copies[i].attempt(copies[i].form("/account/password", "current_password", password, "new_password", otherPassword))
	})

	carried := 0
	count := map[int]int{}
	for i, got := range answers {
		count[got.StatusCode]++
		if got.StatusCode >= 500 && got.StatusCode != http.StatusServiceUnavailable {
			t.Errorf("answered %s\n%s", got.Status, got.body)
		}
		if copies[i].cookie(sessionCookie) != "" && copies[i].signedIn() {
			carried++
		}
	}
	t.Logf("answers by status: %v", count)
	if keys := s.sessionKeys(); carried != 1 || len(keys) != 1 {
		t.Errorf("%d of %d carry on, with the keys %q; want 1", carried, len(copies), keys)
	}
	wantSignedOut(t, c, c.at(both[1]))
}

// TestChangesReachAServerWithEmbeddedStores: neither the commands nor a person with a SQL
// prompt can reach into the server's own process, and yet it heeds them within a second.
func TestChangesReachAServerWithEmbeddedStores(t *testing.T) {
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
				"REDIS_URL":    testkit.RedisURL(t), "SECRET_KEY": secretKey,
			}
		}},
		{"Postgres and the embedded Redis", func(t *testing.T) map[string]string {
			return map[string]string{"DATABASE_URL": testkit.PostgresURL(t), "SECRET_KEY": secretKey}
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			env := test.stores(t)
			server := testkit.StartServer(t, testkit.BuildBinary(t), env, "--migrate")
			c := newClient(t, server.URL())
			c.register("alice")
			inTime := func(what string, change func()) {
				t.Helper()
				// The server may still be about to hear of the change before.
				testkit.Eventually(t, generous, "the session to begin before "+what, c.signedIn)
				change()
				testkit.Eventually(t, generous, "the session to end after "+what, func() bool { return !c.signedIn() })
			}

			inTime("user logout", func() { run(t, env, "", "user", "logout", "alice").wantCode(t, 0) })
			c.signIn("alice")
			inTime("user disable", func() { run(t, env, "", "user", "disable", "alice").wantCode(t, 0) })
			c.want(c.post("/login", "username", "alice", "password", password), http.StatusUnauthorized)
			run(t, env, "", "user", "enable", "alice").wantCode(t, 0)
			if c.signedIn() {
				t.Error("enabling brought a session back")
			}
			c.signIn("alice")
			inTime("user passwd", func() {
				run(t, env, otherPassword, "user", "passwd", "alice", "--password-stdin").wantCode(t, 0)
			})
			c.wantSeeOther(c.post("/login", "username", "alice", "password", otherPassword), "/dashboard")
			inTime("active = false by hand", func() { byHand(t, env, `UPDATE users SET active = false`) })
			byHand(t, env, `UPDATE users SET active = true`)
			c.wantSeeOther(c.post("/login", "username", "alice", "password", otherPassword), "/dashboard")
			inTime("epoch + 1 by hand", func() { byHand(t, env, `UPDATE users SET epoch = epoch + 1`) })
			c.wantSeeOther(c.post("/login", "username", "alice", "password", otherPassword), "/dashboard")
			byHand(t, env, `UPDATE users SET name = 'Alice by Hand'`)
			testkit.Eventually(t, generous, "the page to show the new name", func() bool {
				return strings.Contains(c.get("/dashboard").body, "Alice by Hand")
			})
			inTime("DELETE by hand", func() { byHand(t, env, `DELETE FROM users`) })
		})
	}
}

// TestEmbeddedUsersSurviveARestart: the users stay, their sessions end with the process.
func TestEmbeddedUsersSurviveARestart(t *testing.T) {
	t.Parallel()
	env := map[string]string{"DATA_DIR": filepath.Join(t.TempDir(), "data")}
	binary := testkit.BuildBinary(t)
	first := testkit.StartServer(t, binary, env)
	c := newClient(t, first.URL())
	c.register("alice")
	wantSignedIn(t, c)
	if code := first.Stop(); code != 0 {
		t.Errorf("the server stopped with exit code %d", code)
	}
	second := testkit.StartServer(t, binary, env)
	c = c.at(second.URL())
	if c.signedIn() {
		t.Error("a session outlived the Redis inside the first process")
	}
	c.signIn("alice")
	wantSignedIn(t, c)
}

func wantSignedIn(t *testing.T, clients ...*client) {
	t.Helper()
	for i, c := range clients {
		if !c.signedIn() {
			t.Errorf("client %d of %d is not signed in at %s", i+1, len(clients), c.base)
		}
	}
}

// wantSignedOut waits until another server has heard of a change, and fails if the client is signed in again after that.
func wantSignedOut(t *testing.T, clients ...*client) {
	t.Helper()
	for i, c := range clients {
		testkit.Eventually(t, generous, fmt.Sprintf("client %d of %d to be signed out at %s", i+1, len(clients), c.base),
			func() bool { return !c.signedIn() })
		if c.signedIn() {
			t.Errorf("client %d of %d is signed in again at %s", i+1, len(clients), c.base)
		}
	}
}

// atOnce lets n goroutines begin together and returns their answers.
func atOnce(t *testing.T, n int, ask func(i int) (answer, error)) []answer {
	t.Helper()
	answers, errs := make([]answer, n), make([]error, n)
	begin := make(chan struct{})
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			<-begin
			answers[i], errs[i] = ask(i)
		})
	}
	close(begin)
	all.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	return answers
}

// form returns the request of post.
func (c *client) form(path string, fields ...string) *http.Request {
	return c.request(http.MethodPost, path, form(fields...), "Content-Type", "application/x-www-form-urlencoded")
}

// copy is what somebody has who copied the session cookie as it is now.
func (c *client) copy(base string) *client {
	c.t.Helper()
	copied := newClient(c.t, base)
	copied.setCookie(sessionCookie, c.cookie(sessionCookie))
	return copied
}

func (c *client) changePassword(current, next string) answer {
	c.t.Helper()
	return c.post("/account/password", "current_password", current, "new_password", next)
}

var sessionField = regexp.MustCompile(`name="session" value="([^"]+)"`)

// otherSessions returns the ids of the sessions that the account page offers to end.
func (c *client) otherSessions() []string {
	c.t.Helper()
	var ids []string
	for _, m := range sessionField.FindAllStringSubmatch(c.get("/account").body, -1) {
		ids = append(ids, m[1])
	}
	return ids
}

// heldPost is a form of which the server has the first half.
type heldPost struct {
	t    testing.TB
	conn net.Conn
	r    *bufio.Reader
	rest string
}

// half sends half of a form, once the server asks for it.
func (c *client) half(path string, fields ...string) *heldPost {
	c.t.Helper()
	u, err := url.Parse(c.base)
	if err != nil {
		c.t.Fatal(err)
	}
	conn, err := net.Dial("tcp", u.Host)
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { conn.Close() })
	if err := conn.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
		c.t.Fatal(err)
	}
	body := form(fields...)
	fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: %s\r\n", path, u.Host)
	for _, k := range c.http.Jar.Cookies(u) {
		fmt.Fprintf(conn, "Cookie: %s\r\n", k)
	}
	fmt.Fprintf(conn, "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\nExpect: 100-continue\r\n\r\n", len(body))
	r := bufio.NewReader(conn)
	if line, err := r.ReadString('\n'); err != nil || !strings.HasPrefix(line, "HTTP/1.1 100 ") {
		c.t.Fatalf("POST %s: the server said %q (%v) before the body", path, line, err)
	}
	_, _ = r.ReadString('\n')
	if _, err := fmt.Fprint(conn, body[:len(body)/2]); err != nil {
		c.t.Fatal(err)
	}
	return &heldPost{c.t, conn, r, body[len(body)/2:]}
}

// finish sends the rest and returns the answer.
func (p *heldPost) finish() answer {
	p.t.Helper()
	if _, err := fmt.Fprint(p.conn, p.rest); err != nil {
		p.t.Fatalf("send the rest of a held request: %v", err)
	}
	if err := p.conn.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
		p.t.Fatal(err)
	}
	resp, err := http.ReadResponse(p.r, &http.Request{Method: http.MethodPost, URL: &url.URL{Path: "(held)"}})
	if err != nil {
		p.t.Fatalf("read the answer to a held request: %v", err)
	}
	defer resp.Body.Close()
	var body bytes.Buffer
	if _, err := body.ReadFrom(resp.Body); err != nil {
		p.t.Fatal(err)
	}
	return answer{resp, body.String()}
}

// redisDo sends one command to database 0 of the site's Redis.
func (s *site) redisDo(command string, args ...any) any {
	s.t.Helper()
	conn, err := redis.DialURL(s.redis)
	if err != nil {
		s.t.Fatal(err)
	}
	defer conn.Close()
	reply, err := conn.Do(command, args...)
	if err != nil {
		s.t.Fatalf("%s: %v", command, err)
	}
	return reply
}

func (s *site) redisInt(command string, args ...any) int64 {
	s.t.Helper()
	n, err := redis.Int64(s.redisDo(command, args...), nil)
	if err != nil {
		s.t.Fatalf("%s: %v", command, err)
	}
	return n
}

// sessionKeys returns the key of every session.
func (s *site) sessionKeys() []string {
	s.t.Helper()
	keys, err := redis.Strings(s.redisDo("KEYS", "session:*"), nil)
	if err != nil {
		s.t.Fatal(err)
	}
	return keys
}

// calls returns how often the site's Redis carried out a command.
func (s *site) calls(command string) int {
	s.t.Helper()
	info, err := redis.String(s.redisDo("INFO", "commandstats"), nil)
	if err != nil {
		s.t.Fatal(err)
	}
	for line := range strings.Lines(info) {
		if rest, ok := strings.CutPrefix(line, "cmdstat_"+command+":calls="); ok {
			number, _, _ := strings.Cut(rest, ",")
			n, err := strconv.Atoi(number)
			if err != nil {
				s.t.Fatal(err)
			}
			return n
		}
	}
	return 0
}

// empty takes away every user and everything in Redis.
func (s *site) empty() {
	s.t.Helper()
	if _, err := openSQL(s.t, "postgres", s.database).Exec(`DELETE FROM users`); err != nil {
		s.t.Fatal(err)
	}
	s.redisDo("FLUSHALL")
}

func (s *site) sqlInt(query string) int {
	s.t.Helper()
	db := openSQL(s.t, "postgres", s.database)
	defer db.Close()
	var n int
	if err := db.QueryRow(query).Scan(&n); err != nil {
		s.t.Fatal(err)
	}
	return n
}

// openSQL opens a database for looking around; it is closed when the test ends.
func openSQL(t testing.TB, driver, source string) *sql.DB {
	t.Helper()
	db, err := sql.Open(driver, source)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

// byHand runs a statement on the database of a server with these settings, as a person at a prompt would.
func byHand(t *testing.T, env map[string]string, statement string) {
	t.Helper()
	driver, source := "sqlite", "file:"+filepath.Join(env["DATA_DIR"], "gatehouse.db")
	if path, ok := strings.CutPrefix(env["DATABASE_URL"], "sqlite:"); ok {
		source = "file:" + path
	} else if env["DATABASE_URL"] != "" {
		driver, source = "postgres", env["DATABASE_URL"]
	}
	db := openSQL(t, driver, source)
	if _, err := db.Exec(statement); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

// outcome is how a command ended.
type outcome struct {
	stdout, stderr string
	code           int
	took           time.Duration
}

// run runs the program with these settings and hardly anything else in its environment, in
// an empty directory.
func run(t testing.TB, env map[string]string, stdin string, args ...string) outcome {
	t.Helper()
	all := map[string]string{}
	for _, name := range []string{"PATH", "HOME", "TMPDIR", "GORACE", "GOCOVERDIR"} {
		if value, ok := os.LookupEnv(name); ok {
			all[name] = value
		}
	}
	maps.Copy(all, env)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, plainBinary(t), args...)
	for name, value := range all {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	cmd.Dir = t.TempDir()
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &stdout, &stderr
	begun := time.Now()
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("gatehouse %s: %v", strings.Join(args, " "), err)
	}
	return outcome{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode(), time.Since(begun)}
}

// run runs a command on the site's stores.
func (s *site) run(stdin string, args ...string) outcome {
	s.t.Helper()
	return run(s.t, s.env(), stdin, args...)
}

// plainBinary builds the program without the race detector, once: for commands, which it
// makes slow, and for measuring time and memory.
func plainBinary(t testing.TB) string {
	t.Helper()
	path, err := buildPlain()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

var buildPlain = sync.OnceValues(func() (string, error) {
	dir, err := servers.TempDir("plain")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "gatehouse")
	cmd := exec.Command("go", "build", "-buildvcs=false", "-o", path, "gatehouse")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the program: %w\n%s", err, out)
	}
	return path, nil
})

// servePlain is serve without the race detector.
func (s *site) servePlain(pairs ...string) *testkit.Server {
	s.t.Helper()
	return s.serveBinary(plainBinary(s.t), pairs...)
}

func (o outcome) wantCode(t testing.TB, code int) {
	t.Helper()
	if o.code != code {
		t.Fatalf("exit code %d, want %d\nstdout: %s\nstderr: %s", o.code, code, o.stdout, o.stderr)
	}
}

// wantOut wants success and these very words.
func (o outcome) wantOut(t testing.TB, stdout string) {
	t.Helper()
	o.wantCode(t, 0)
	if o.stdout != stdout || o.stderr != "" {
		t.Errorf("printed %q and on stderr %q, want %q and nothing", o.stdout, o.stderr, stdout)
	}
}
