package faults

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"

	"gatehouse/internal/e2e/kit"
	"gatehouse/internal/testkit"
	"gatehouse/internal/testkit/servers"
)

// staleness is the limit for the age of a committed change at the start of a request whose response ignores the change.
//
// A change notifies every server at its commit. A server that receives the notification deletes the user from Redis and
// then from its local memory, and lookups that began before store nothing afterwards: so a response can only be stale
// if its request begins before the server has finished that. It takes the delivery of the notification, one Redis
// command and some processor time; gatehouse_revocation_seconds shows a few milliseconds. Half a second allows for
// overloaded machines.
//
// The limit does not hold while a server is disconnected: its listener was terminated and it has not noticed, or it has
// emptied its memory and reads Redis, where the old user may remain until a connected server deletes it. From the moment
// at which it listens again, when it has dropped everything, the limit holds again, for changes of any age.
const staleness = 500 * time.Millisecond

// userState is the part of a user's row that decides requests. The epoch counts the changes that set a new one.
type userState struct {
	active, staff bool
	epoch         int64
}

// version is a state and the time in which a statement may see it: from before the statement that set it until after
// the one that replaced it.
type version struct {
	userState
	from, until time.Time // until is zero for the last one
}

// credential is valid only in its epoch.
type credential struct {
	value string
	epoch int64
}

// soakUser is a user with a history.
type soakUser struct {
	id, name string
	// changing serializes changes of the user and sign-ins.
	changing sync.Mutex
	// untouchedUntil is the earliest time of the next change, so that stale data becomes visible.
	untouchedUntil time.Time

	mu             sync.Mutex
	versions       []version
	session, token credential
}

func (u *soakUser) now() userState {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.versions[len(u.versions)-1].userState
}

// change records the user's next state, makes the change, and records that it is committed.
func (u *soakUser) change(to userState, make func() error) error {
	u.mu.Lock()
	u.versions = append(u.versions, version{userState: to, from: time.Now()})
	old := len(u.versions) - 2
	u.mu.Unlock()
	err := make()
	u.mu.Lock()
	defer u.mu.Unlock()
	u.versions[old].until = time.Now()
	return err
}

// seen is the state of the user that a response shows.
type seen struct{ served, staff bool }

// expect returns the response that a version requires.
func (v version) expect(way string, epoch int64) seen {
	if !v.active || way != kit.ByBasic && v.epoch != epoch {
		return seen{}
	}
	return seen{true, v.staff}
}

// age returns the time between the end of the latest version that explains the response and the start of the request, and
// false if no version explains it.
func (u *soakUser) age(got seen, way string, epoch int64, begun, ended time.Time) (time.Duration, bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, v := range slices.Backward(u.versions) {
		if v.from.After(ended) || v.expect(way, epoch) != got {
			continue
		}
		if v.until.IsZero() {
			return 0, true
		}
		return max(0, begun.Sub(v.until)), true
	}
	return 0, false
}

// soak is the state of TestSoak.
type soak struct {
	t       *testing.T
	ctx     context.Context
	servers []quietServer
	db      *sql.DB
	redis   string
	admins  []*kit.Client
	users   []*soakUser

	// hot is the user that is being changed and receives half of the requests.
	hot atomic.Pointer[soakUser]

	served, refused, unclear, changes, signIns, cuts, flushes atomic.Int64

	mu sync.Mutex
	// disconnected has the periods in which a server may not have received changes; the last may continue.
	disconnected               []period
	oldest, oldestDisconnected time.Duration
	old                        map[string]int
}

type period struct{ from, to time.Time }

// TestSoak sends requests with every method of authentication to two servers while users are changed in every way,
// listeners are terminated and caches flushed, and compares each response with the state that was committed at that time.
// GATEHOUSE_SOAK sets the duration, such as 10m.
func TestSoak(t *testing.T) {
	lasts := 20 * time.Second
	if s := os.Getenv("GATEHOUSE_SOAK"); s != "" {
		var err error
		if lasts, err = time.ParseDuration(s); err != nil {
			t.Fatalf("GATEHOUSE_SOAK: %v", err)
		}
	}
	w := newSoak(t)
	ctx, cancel := context.WithTimeout(t.Context(), lasts)
	defer cancel()
	w.ctx = ctx
	var all sync.WaitGroup
	for i := range w.servers {
		for _, way := range kit.AuthMethods {
			every := time.Millisecond
			if way == kit.ByBasic {
				every = 5 * time.Millisecond // an uncached one costs a hash
			}
			all.Go(func() { w.repeat(every, every, func() { w.request(i, way) }) })
		}
	}
	for range 3 {
		all.Go(func() { w.repeat(5*time.Millisecond, 30*time.Millisecond, w.changeUser) })
	}
	all.Go(func() { w.repeat(time.Second, 2*time.Second, w.cut) })
	all.Go(func() { w.repeat(200*time.Millisecond, 800*time.Millisecond, w.flush) })
	all.Wait()

	w.wantHistoryMatches()
	t.Logf("%d responses: %d accepted, %d refused, %d busy or throttled; %d changes, %d sign-ins, %d terminated listeners, %d flushed caches",
		w.served.Load()+w.refused.Load()+w.unclear.Load(), w.served.Load(), w.refused.Load(), w.unclear.Load(), w.changes.Load(), w.signIns.Load(), w.cuts.Load(), w.flushes.Load())
	t.Logf("maximum staleness: %v; while a server was disconnected: %v", w.oldest, w.oldestDisconnected)
	t.Logf("stale responses by age: %v", w.old)
	if w.served.Load() < 1000 || w.refused.Load() < 100 || w.changes.Load() < 100 || w.cuts.Load() < 3 || w.flushes.Load() < 3 {
		t.Error("too few events, so the test is inconclusive")
	}
}

func newSoak(t *testing.T) *soak {
	s := kit.NewSite(t)
	w := &soak{t: t, ctx: t.Context(), db: kit.OpenDB(t, "postgres", s.DatabaseURL), redis: s.RedisURL, old: map[string]int{}}
	s.Run("", "migrate", "up").WantCode(t, 0)
	s.Run("", "group", "add", "staff").WantCode(t, 0)
	for i := range 2 {
		w.servers = append(w.servers, startQuiet(t, s, "TRUSTED_PROXIES", "127.0.0.1/32"))
		admin := kit.NewClient(t, w.servers[i].base)
		admin.Register(fmt.Sprintf("boss%d", i))
		s.Run("", "user", "join", fmt.Sprintf("boss%d", i), "admin").WantCode(t, 0)
		w.admins = append(w.admins, admin)
	}
	for i := range 16 {
		u := &soakUser{name: fmt.Sprintf("person%d", i)}
		p := kit.RegisterPrincipal(t, w.servers[i%2].base, u.name)
		u.id = p.ID
		u.versions = []version{{userState: userState{active: true, epoch: 1}}}
		u.session, u.token = credential{p.Client.Cookie(kit.SessionCookie), 1}, credential{p.Token, 1}
		w.users = append(w.users, u)
	}
	return w
}

// repeat runs f repeatedly, with pauses of random lengths.
func (w *soak) repeat(least, most time.Duration, f func()) {
	for {
		pause := time.NewTimer(least + rand.N(most-least+1))
		select {
		case <-w.ctx.Done():
			pause.Stop()
			return
		case <-pause.C:
			f()
		}
	}
}

// send sends a request to a server from a random address.
func (w *soak) send(server int, method, path, body string, header ...string) (kit.Response, error) {
	c := &kit.Client{T: w.t, BaseURL: w.servers[server].base, HTTP: kit.NoCookies}
	req, err := http.NewRequest(method, c.BaseURL+path, strings.NewReader(body))
	if err != nil {
		return kit.Response{}, err
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	req.Header.Set("X-Forwarded-For", fmt.Sprintf("198.%d.%d.%d", rand.N(256), rand.N(256), rand.N(256)))
	return c.TryDo(req)
}

// request requests /api/me as a random user and judges the response.
func (w *soak) request(server int, way string) {
	u := w.hot.Load()
	if u == nil || rand.N(2) == 0 {
		u = w.users[rand.N(len(w.users))]
	}
	u.mu.Lock()
	session, token := u.session, u.token
	u.mu.Unlock()
	var header []string
	var epoch int64
	switch way {
	case kit.BySession:
		header, epoch = []string{"Cookie", kit.SessionCookie + "=" + session.value}, session.epoch
	case kit.ByToken:
		header, epoch = []string{"Authorization", "Bearer " + token.value}, token.epoch
	default:
		header = []string{"Authorization", kit.BasicHeader(u.name, kit.Password)}
	}
	begun := time.Now()
	a, err := w.send(server, http.MethodGet, "/api/me", "", header...)
	ended := time.Now()
	if err != nil {
		w.t.Errorf("request with %s: %v", way, err)
		return
	}
	got := seen{served: a.StatusCode == http.StatusOK}
	switch {
	case got.served:
		var me kit.Me
		kit.DecodeJSON(w.t, a, &me)
		if me.User.ID != u.id {
			w.t.Errorf("%s's response went to %s with %s", me.User.Username, u.name, way)
		}
		got.staff = slices.Contains(me.Groups, "staff")
		w.served.Add(1)
	case a.StatusCode == http.StatusUnauthorized:
		w.refused.Add(1)
	case a.StatusCode == http.StatusTooManyRequests && way == kit.ByBasic, a.StatusCode == http.StatusServiceUnavailable && way == kit.ByBasic:
		w.unclear.Add(1) // throttled while the user was disabled, or the hash queue is full: inconclusive
		return
	default:
		w.t.Errorf("request with %s: %s\n%s", way, a.Status, a.Text)
		return
	}
	age, explained := u.age(got, way, epoch, begun, ended)
	w.judge(u, way, got, age, explained, begun)
}

func (w *soak) judge(u *soakUser, way string, got seen, age time.Duration, explained bool, begun time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	disconnected := slices.ContainsFunc(w.disconnected, func(p period) bool {
		return !begun.Before(p.from) && (p.to.IsZero() || !begun.After(p.to))
	})
	switch {
	case !explained:
		w.t.Errorf("%s with %s got %+v, which matches no version of %+v", u.name, way, got, u.versions)
	case disconnected:
		w.oldestDisconnected = max(w.oldestDisconnected, age)
		if age > kit.MaxDelay {
			w.t.Errorf("%s with %s got %+v, outdated by %v, with a disconnected server", u.name, way, got, age)
		}
	default:
		w.oldest = max(w.oldest, age)
		if age > staleness {
			w.t.Errorf("%s with %s got %+v, outdated by %v", u.name, way, got, age)
		}
	}
	for _, step := range []time.Duration{time.Millisecond, 10 * time.Millisecond, 100 * time.Millisecond, staleness, kit.MaxDelay} {
		if age > 0 && age <= step {
			w.old["≤"+step.String()]++
			break
		}
	}
}

// changeUser changes a random user several times in quick succession, so that lookups are in flight, signs the user
// in again if the session ended, and then makes no change for longer than a response may be stale.
func (w *soak) changeUser() {
	u := w.users[rand.N(len(w.users))]
	if !u.changing.TryLock() {
		return
	}
	defer u.changing.Unlock()
	if time.Now().Before(u.untouchedUntil) {
		return
	}
	w.hot.Store(u)
	for range 1 + rand.N(4) {
		if err := w.changeOnce(u); err != nil {
			w.t.Errorf("a change: %v", err)
			return
		}
		w.changes.Add(1)
	}
	if is := u.now(); is.active && is.epoch != u.session.epoch && rand.N(4) > 0 {
		w.clearFailures(u)
		w.signIn(u, is.epoch)
	}
	u.untouchedUntil = time.Now().Add(staleness + rand.N(staleness))
}

// changeOnce makes one change, directly in SQL or through a server.
func (w *soak) changeOnce(u *soakUser) error {
	is := u.now()
	to := is
	var statement, path, body string
	switch what := rand.N(4); {
	case !is.active:
		to.active = true
		statement, path, body = `UPDATE users SET active = true WHERE id = $1`, "active", "active=true"
	case what == 0:
		to.active, to.epoch = false, is.epoch+1
		statement, path, body = `UPDATE users SET active = false WHERE id = $1`, "active", "active=false"
	case what == 1:
		to.epoch++
		statement, path = `UPDATE users SET epoch = epoch + 1 WHERE id = $1`, "sign-out"
	case is.staff:
		to.staff = false
		statement, path = `DELETE FROM user_groups WHERE user_id = $1`, "groups"
	default:
		to.staff = true
		statement, path, body = `INSERT INTO user_groups (user_id, group_name) VALUES ($1, 'staff')`, "groups", "groups=staff"
	}
	return u.change(to, func() error {
		if rand.N(4) > 0 {
			_, err := w.db.Exec(statement, u.id)
			return err
		}
		server := rand.N(len(w.servers))
		a, err := w.send(server, http.MethodPost, "/admin/users/"+u.id+"/"+path, body, "Content-Type", kit.FormContentType,
			"Cookie", kit.SessionCookie+"="+w.admins[server].Cookie(kit.SessionCookie))
		if err == nil && a.StatusCode != http.StatusSeeOther {
			err = fmt.Errorf("%s: %s", path, a.Status)
		}
		return err
	})
}

// clearFailures deletes the failures that Basic counted while the user was disabled.
func (w *soak) clearFailures(u *soakUser) {
	for database, keys := range map[string][]any{"": {kit.ThrottleKey(u.name), "throttle:networks:" + u.id}, "/1": {kit.WaitKey(u.name, "127.0.0.1")}} {
		conn, err := redis.DialURL(w.redis + database)
		if err == nil {
			_, err = conn.Do("DEL", keys...)
			conn.Close()
		}
		if err != nil {
			w.t.Error(err)
		}
	}
}

// signIn gives the user a session and a token of this epoch. The caller holds u.changing.
func (w *soak) signIn(u *soakUser, epoch int64) {
	server := rand.N(len(w.servers))
	a, err := w.send(server, http.MethodPost, "/login", kit.EncodeForm("username", u.name, "password", kit.Password), "Content-Type", kit.FormContentType)
	if err != nil {
		w.t.Errorf("a sign-in: %v", err)
		return
	}
	switch a.StatusCode {
	case http.StatusSeeOther:
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		return
	default:
		w.t.Errorf("a sign-in: %s", a.Status)
		return
	}
	w.signIns.Add(1)
	session := credential{"", epoch}
	for _, k := range a.Cookies() {
		if k.Name == kit.SessionCookie {
			session.value = k.Value
		}
	}
	u.mu.Lock()
	u.session = session
	u.mu.Unlock()
	a, err = w.send(server, http.MethodPost, "/api/tokens", `{"name":"soak"}`, "Content-Type", "application/json", "Cookie", kit.SessionCookie+"="+session.value)
	if err != nil {
		w.t.Errorf("a token: %v", err)
		return
	}
	// A server that has not received the change yet does not accept the new session either.
	if a.StatusCode != http.StatusCreated {
		return
	}
	var made struct{ Token string }
	kit.DecodeJSON(w.t, a, &made)
	u.mu.Lock()
	u.token = credential{made.Token, epoch}
	u.mu.Unlock()
}

// cut terminates the connections on which the servers listen, and waits until they listen again.
func (w *soak) cut() {
	before := listeners(w.t, w.db)
	w.mu.Lock()
	w.disconnected = append(w.disconnected, period{from: time.Now()})
	w.mu.Unlock()
	w.cuts.Add(int64(cutListeners(w.t, w.db)))
	testkit.Eventually(w.t, 2*kit.MaxDelay, "all servers to listen again", func() bool {
		// A server reports the disconnection before it connects again.
		now := listeners(w.t, w.db)
		return len(now) == len(w.servers) && !slices.ContainsFunc(now, func(pid int) bool { return slices.Contains(before, pid) }) &&
			!slices.ContainsFunc(w.servers, func(s quietServer) bool { return kit.ScrapeAt(w.t, s.metrics).Sum("gatehouse_listening") != 1 })
	})
	w.mu.Lock()
	defer w.mu.Unlock()
	w.disconnected[len(w.disconnected)-1].to = time.Now()
}

func (w *soak) flush() {
	conn, err := redis.DialURL(w.redis + "/1")
	if err == nil {
		_, err = conn.Do("FLUSHDB")
		conn.Close()
	}
	if err != nil {
		w.t.Error(err)
	}
	w.flushes.Add(1)
}

// wantHistoryMatches fails unless the history's end matches the database.
func (w *soak) wantHistoryMatches() {
	for _, u := range w.users {
		var got userState
		err := w.db.QueryRow(`SELECT active, EXISTS (SELECT 1 FROM user_groups WHERE user_id = id) FROM users WHERE id = $1`, u.id).Scan(&got.active, &got.staff)
		got.epoch = u.now().epoch // random in the database
		if err != nil || got != u.now() {
			w.t.Errorf("%s is %+v in the database (%v) but %+v in the history: the test has a bug", u.name, got, err, u.now())
		}
	}
}

// quietServer is a server that does not log requests, of which a long run has too many.
type quietServer struct{ base, metrics string }

// startQuiet starts a server on the site. With LOG_LEVEL=warn it does not log its addresses, so they are chosen in
// advance.
func startQuiet(t *testing.T, s *kit.Site, pairs ...string) quietServer {
	t.Helper()
	addr, metrics := fmt.Sprintf("127.0.0.1:%d", testkit.FreePort(t)), fmt.Sprintf("127.0.0.1:%d", testkit.FreePort(t))
	cmd := exec.Command(testkit.BuildWithoutRace(t), "serve")
	cmd.Dir = t.TempDir()
	for name, value := range s.Env(append(pairs, "LISTEN_ADDR", addr, "METRICS_ADDR", metrics, "LOG_LEVEL", "warn")...) {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	var said bytes.Buffer // read when the process has ended
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := servers.Start(cmd, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		err := errors.Join(cmd.Process.Signal(syscall.SIGTERM), cmd.Wait())
		if err != nil {
			t.Errorf("a server ended with %v", err)
		}
		if t.Failed() {
			t.Logf("log of the server %s:\n%s", addr, said.String())
		}
	})
	base := "http://" + addr
	testkit.Eventually(t, 60*time.Second, "the server to respond", func() bool {
		resp, err := kit.NoCookies.Get(base + "/readyz")
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK && kit.ScrapeAt(t, metrics).Sum("gatehouse_listening") == 1
	})
	return quietServer{base, metrics}
}
