package readers

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse/auth"
	"gatehouse/internal/e2e/kit"
	"gatehouse/internal/testkit"
)

// TestApps_WhenServersFail: an app that cannot check sessions responds with a 503, ends no session, and recovers without
// a restart.
func TestApps_WhenServersFail(t *testing.T) {
	t.Parallel()
	n := newPlatform(t, 3)
	replies := n.delayReplies(t)
	var apps []runningApp
	for _, app := range readerApps {
		apps = append(apps, n.start(t, app))
	}
	c := kit.NewClient(t, n.login)
	c.Register("alice")
	n.Exec(`INSERT INTO user_permissions (user_id, permission) SELECT id, 'reports.view' FROM users`)
	wantBack := func() {
		t.Helper()
		for _, app := range apps {
			testkit.Eventually(t, kit.RecoveryTime, app.name+" to recover", func() bool {
				return c.At(app.origin).Get("/whoami").StatusCode == http.StatusOK
			})
		}
	}
	wantBack()
	phase := func(name string, wrong func(kit.Response) string) {
		t.Helper()
		n.phase(t, c, apps, name, wrong)
	}

	phase("no fault", greeted)

	// The session is valid without it; only its renewal waits for a later request.
	n.Do("PEXPIRE", n.sessionKeyOf(c), time.Minute.Milliseconds())
	n.Do("ACL", "SETUSER", "reader", "resetchannels")
	phase("PUBLISH refused", greeted)
	n.Do("ACL", "SETUSER", "reader", "&gatehouse:used")
	n.Do("ACL", "LOG", "RESET")

	// Two or three delays exceed the timeout of a lookup.
	n.Do("PEXPIRE", n.sessionKeyOf(c), time.Minute.Milliseconds())
	replies.delay.Store(int64(1500 * time.Millisecond))
	n.lookOnce(t, c, apps, "every reply of Redis delayed")
	replies.delay.Store(0)
	wantBack()
	for _, fault := range []struct {
		name        string
		begin, over func()
	}{
		{"Redis killed", n.store.Kill, n.store.Start},
		{"Redis frozen", n.store.Pause, n.store.Resume},
	} {
		fault.begin()
		phase(fault.name, asksToTryAgain)
		fault.over()
		wantBack()
		phase("after "+fault.name, greeted)
	}
	n.dial()
	n.awaitSubscriber(t)
	n.Server.Stop()
	phase("Gatehouse stopped", greeted)
	n.flushCache()
	phase("Gatehouse stopped, cache flushed", asksToTryAgain)
	n.Server = testkit.StartServer(t, testkit.BuildBinary(t), n.env)
	n.awaitSubscriber(t)
	phase("Gatehouse back", greeted)
	t.Run("no app exceeded its rights", func(t *testing.T) { n.wantNothingRefused(t) })
}

// phase requests all pages of every app and checks each response. It visits the apps concurrently, because some faults
// take time, but the pages of each app in turn, because PHP's development server serves requests one by one.
func (n *platform) phase(t *testing.T, c *kit.Client, apps []runningApp, name string, wrong func(kit.Response) string) {
	t.Helper()
	var all sync.WaitGroup
	faults := make([]error, len(apps))
	for i, app := range apps {
		all.Go(func() { faults[i] = lookRound(c.At(app.origin), wrong) })
	}
	all.Wait()
	for i, app := range apps {
		t.Run(name+"/"+app.name, func(t *testing.T) {
			if faults[i] != nil {
				t.Error(faults[i])
			}
		})
	}
}

// lookOnce requests one page of every app, concurrently, and fails unless each responds in time.
func (n *platform) lookOnce(t *testing.T, c *kit.Client, apps []runningApp, name string) {
	t.Helper()
	var all sync.WaitGroup
	took, faults := make([]time.Duration, len(apps)), make([]error, len(apps))
	for i, app := range apps {
		own := c.At(app.origin)
		all.Go(func() {
			begun := time.Now()
			_, faults[i] = own.TryDo(own.NewRequest(http.MethodGet, "/whoami", ""))
			took[i] = time.Since(begun)
		})
	}
	all.Wait()
	for i, app := range apps {
		if faults[i] != nil || took[i] > kit.ResponseTimeout {
			t.Errorf("%s: got the response of %s after %v, error %v", name, app.name, took[i], faults[i])
		}
	}
}

// sessionKeyOf returns the Redis key of the client's session.
func (n *platform) sessionKeyOf(c *kit.Client) string {
	n.T.Helper()
	return "session:" + auth.SessionID(c.Cookie(kit.SessionCookie))
}

// replyDelay is a proxy between the apps and Redis that delays each reply.
type replyDelay struct{ delay atomic.Int64 }

// delayReplies makes apps that start later connect to Redis through a replyDelay.
func (n *platform) delayReplies(t testing.TB) *replyDelay {
	t.Helper()
	backend := strings.TrimPrefix(n.RedisURL, "redis://")
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	r := &replyDelay{}
	go func() {
		for {
			front, err := listener.Accept()
			if err != nil {
				return
			}
			go r.join(front, backend)
		}
	}()
	for name, value := range n.appEnv {
		n.appEnv[name] = strings.Replace(value, backend, listener.Addr().String(), 1)
	}
	return r
}

func (r *replyDelay) join(front net.Conn, address string) {
	defer front.Close()
	back, err := net.Dial("tcp", address)
	if err != nil {
		return
	}
	defer back.Close()
	go func() {
		io.Copy(back, front)
		back.Close()
	}()
	buffer := make([]byte, 64<<10)
	for {
		size, err := back.Read(buffer)
		if delay := time.Duration(r.delay.Load()); delay > 0 {
			<-time.After(delay) // simulates the fault; does not wait for a condition
		}
		if size > 0 {
			if _, err := front.Write(buffer[:size]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// lookRound requests all pages of an app and returns the faults of the responses.
func lookRound(c *kit.Client, wrong func(kit.Response) string) error {
	var faults []error
	for _, path := range []string{"/", "/open", "/reports", "/whoami"} {
		begun := time.Now()
		a, err := c.TryDo(c.NewRequest(http.MethodGet, path, "", "Accept", kit.AcceptHTML))
		if err != nil {
			return err
		}
		if took := time.Since(begun); took > kit.ResponseTimeout {
			faults = append(faults, fmt.Errorf("%s took %v", path, took))
		}
		if fault := cmp.Or(wrong(a), cacheFault(a)); fault != "" {
			faults = append(faults, fmt.Errorf("%s: %s %s: %v\n%s", path, a.Status, fault, a.Header, a.Text))
		}
	}
	return errors.Join(faults...)
}

func greeted(a kit.Response) string {
	switch {
	case a.StatusCode != http.StatusOK:
		return "is not 200"
	case a.Request.URL.Path != "/reports" && !strings.Contains(a.Text, "alice"):
		return "is not for alice"
	}
	return ""
}

func asksToTryAgain(a kit.Response) string {
	switch {
	case a.StatusCode != http.StatusServiceUnavailable:
		return "is not 503"
	case a.Header.Get("Retry-After") != "5":
		return "does not say when to try again"
	case a.Header.Get("Location") != "":
		return "redirects"
	case len(strings.Fields(a.Text)) < 3:
		return "has no message"
	}
	return ""
}
