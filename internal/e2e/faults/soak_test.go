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

// staleness is how long ago a change was committed, at most, when a request begins that is still
// answered from before it.
//
// The change tells every server by NOTIFY at its commit. A server that has the news drops the user
// from Redis and then from its memory, and a look-up that began before stores nothing afterwards:
// so a request can only be answered from before the change if it begins before the server has
// done so. That takes the way of the news, one command to Redis and a turn on the processor;
// gatehouse_revocation_seconds says a few milliseconds. Half a second is for machines on which
// everything waits for the processor.
//
// It does not hold while a server does not hear: its listener was cut and it has not noticed, or
// has emptied its memory and reads Redis, where the old user may stand until somebody who hears
// drops it. From the moment at which it listens again, when it has dropped everything, it holds
// again, for changes of whatever age.
const staleness = 500 * time.Millisecond

// standing is what the database says about a user, as far as requests depend on it. The epoch
// counts the changes that set a new one.
type standing struct {
	active, staff bool
	epoch         int64
}

// version is a standing and the time in which it may be what a statement sees: from before the
// statement that made it until after the one that ended it.
type version struct {
	standing
	from, until time.Time // until is zero for the last one
}

// credential opens the door only in its epoch.
type credential struct {
	value string
	epoch int64
}

// soaked is a user with a history.
type soaked struct {
	id, name string
	// changing is held by whoever changes the user or signs in: one at a time.
	changing sync.Mutex
	// rests is until when nobody changes the user, so that what is remembered wrongly shows.
	rests time.Time

	mu             sync.Mutex
	versions       []version
	session, token credential
}

func (u *soaked) now() standing {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.versions[len(u.versions)-1].standing
}

// change notes what the change will make of the user, makes it, and notes that it is committed.
func (u *soaked) change(to standing, make func() error) error {
	u.mu.Lock()
	u.versions = append(u.versions, version{standing: to, from: time.Now()})
	old := len(u.versions) - 2
	u.mu.Unlock()
	err := make()
	u.mu.Lock()
	defer u.mu.Unlock()
	u.versions[old].until = time.Now()
	return err
}

// seen is what an answer says about the user.
type seen struct{ served, staff bool }

// expect returns the answer that a version asks for.
func (v version) expect(way string, epoch int64) seen {
	if !v.active || way != kit.ByBasic && v.epoch != epoch {
		return seen{}
	}
	return seen{true, v.staff}
}

// age returns how long before the beginning of the request the last version ended that explains
// the answer; false if none does.
func (u *soaked) age(got seen, way string, epoch int64, begun, ended time.Time) (time.Duration, bool) {
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

// soak is the whole of it.
type soak struct {
	t       *testing.T
	ctx     context.Context
	servers []quietServer
	db      *sql.DB
	redis   string
	admins  []*kit.Client
	users   []*soaked

	// hot is the user who is changed now, about whom every other request asks.
	hot atomic.Pointer[soaked]

	served, refused, unclear, changes, signIns, cuts, flushes atomic.Int64

	mu sync.Mutex
	// deaf are the times in which a server may not have heard of changes; the last may go on.
	deaf               []period
	oldest, oldestDeaf time.Duration
	old                map[string]int
}

type period struct{ from, to time.Time }

// TestSoak lets programs and browsers ask two servers while users are changed in every way,
// listeners are cut and caches flushed, and holds each answer against what was committed when.
// GATEHOUSE_SOAK=10m lets it go on for so long.
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
				every = 5 * time.Millisecond // a cold one costs a hash
			}
			all.Go(func() { w.again(every, every, func() { w.ask(i, way) }) })
		}
	}
	for range 3 {
		all.Go(func() { w.again(5*time.Millisecond, 30*time.Millisecond, w.changeSomebody) })
	}
	all.Go(func() { w.again(time.Second, 2*time.Second, w.cut) })
	all.Go(func() { w.again(200*time.Millisecond, 800*time.Millisecond, w.flush) })
	all.Wait()

	w.wantModelIsTrue()
	t.Logf("%d answers: %d served, %d refused, %d busy or throttled; %d changes, %d sign-ins, %d cut listeners, %d flushed caches",
		w.served.Load()+w.refused.Load()+w.unclear.Load(), w.served.Load(), w.refused.Load(), w.unclear.Load(), w.changes.Load(), w.signIns.Load(), w.cuts.Load(), w.flushes.Load())
	t.Logf("the largest staleness: %v; while a server did not hear: %v", w.oldest, w.oldestDeaf)
	t.Logf("answers from before a change that was committed when they were asked for, by age: %v", w.old)
	if w.served.Load() < 1000 || w.refused.Load() < 100 || w.changes.Load() < 100 || w.cuts.Load() < 3 || w.flushes.Load() < 3 {
		t.Error("too little has happened; this test has shown nothing")
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
		u := &soaked{name: fmt.Sprintf("person%d", i)}
		p := kit.RegisterPrincipal(t, w.servers[i%2].base, u.name)
		u.id = p.ID
		u.versions = []version{{standing: standing{active: true, epoch: 1}}}
		u.session, u.token = credential{p.Client.Cookie(kit.SessionCookie), 1}, credential{p.Token, 1}
		w.users = append(w.users, u)
	}
	return w
}

// again runs f again and again, with pauses of random lengths.
func (w *soak) again(least, most time.Duration, f func()) {
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

// send makes a request at a server, from an address that nobody has used.
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

// ask asks who a random user is, and judges the answer.
func (w *soak) ask(server int, way string) {
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
		w.t.Errorf("ask by %s: %v", way, err)
		return
	}
	got := seen{served: a.StatusCode == http.StatusOK}
	switch {
	case got.served:
		var me kit.Me
		kit.DecodeJSON(w.t, a, &me)
		if me.User.ID != u.id {
			w.t.Errorf("%s is served to %s by %s", me.User.Username, u.name, way)
		}
		got.staff = slices.Contains(me.Groups, "staff")
		w.served.Add(1)
	case a.StatusCode == http.StatusUnauthorized:
		w.refused.Add(1)
	case a.StatusCode == http.StatusTooManyRequests && way == kit.ByBasic, a.StatusCode == http.StatusServiceUnavailable && way == kit.ByBasic:
		w.unclear.Add(1) // too many guesses at a disabled user, or a full queue of hashes: it says nothing
		return
	default:
		w.t.Errorf("ask by %s: %s\n%s", way, a.Status, a.Text)
		return
	}
	age, explained := u.age(got, way, epoch, begun, ended)
	w.judge(u, way, got, age, explained, begun)
}

func (w *soak) judge(u *soaked, way string, got seen, age time.Duration, explained bool, begun time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	deaf := slices.ContainsFunc(w.deaf, func(p period) bool {
		return !begun.Before(p.from) && (p.to.IsZero() || !begun.After(p.to))
	})
	switch {
	case !explained:
		w.t.Errorf("%s by %s is answered %+v, which was never true: %+v", u.name, way, got, u.versions)
	case deaf:
		w.oldestDeaf = max(w.oldestDeaf, age)
		if age > kit.MaxDelay {
			w.t.Errorf("%s by %s is answered %+v, which was over %v before, with servers that do not hear", u.name, way, got, age)
		}
	default:
		w.oldest = max(w.oldest, age)
		if age > staleness {
			w.t.Errorf("%s by %s is answered %+v, which was over %v before", u.name, way, got, age)
		}
	}
	for _, step := range []time.Duration{time.Millisecond, 10 * time.Millisecond, 100 * time.Millisecond, staleness, kit.MaxDelay} {
		if age > 0 && age <= step {
			w.old["≤"+step.String()]++
			break
		}
	}
}

// changeSomebody changes a random user a few times right after each other, so that look-ups are
// under way meanwhile, signs them in again when that has ended their session, and leaves them
// alone for longer than an answer may be old.
func (w *soak) changeSomebody() {
	u := w.users[rand.N(len(w.users))]
	if !u.changing.TryLock() {
		return
	}
	defer u.changing.Unlock()
	if time.Now().Before(u.rests) {
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
		w.forgive(u)
		w.signIn(u, is.epoch)
	}
	u.rests = time.Now().Add(staleness + rand.N(staleness))
}

// changeOnce makes one change, by hand or through a server.
func (w *soak) changeOnce(u *soaked) error {
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

// forgive takes back what Basic has counted against the user while it was disabled.
func (w *soak) forgive(u *soaked) {
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

// signIn gives the user a session and a token of this epoch. Whoever calls holds u.changing.
func (w *soak) signIn(u *soaked, epoch int64) {
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
	// A server that has not heard of the change yet does not know the new session either.
	if a.StatusCode != http.StatusCreated {
		return
	}
	var made struct{ Token string }
	kit.DecodeJSON(w.t, a, &made)
	u.mu.Lock()
	u.token = credential{made.Token, epoch}
	u.mu.Unlock()
}

// cut ends the connections on which the servers hear, and waits until they hear again.
func (w *soak) cut() {
	before := listeners(w.t, w.db)
	w.mu.Lock()
	w.deaf = append(w.deaf, period{from: time.Now()})
	w.mu.Unlock()
	w.cuts.Add(int64(cutListeners(w.t, w.db)))
	testkit.Eventually(w.t, 2*kit.MaxDelay, "all servers to hear again", func() bool {
		// A server says that it is deaf before it connects again.
		now := listeners(w.t, w.db)
		return len(now) == len(w.servers) && !slices.ContainsFunc(now, func(pid int) bool { return slices.Contains(before, pid) }) &&
			!slices.ContainsFunc(w.servers, func(s quietServer) bool { return kit.ScrapeAt(w.t, s.metrics).Sum("gatehouse_listening") != 1 })
	})
	w.mu.Lock()
	defer w.mu.Unlock()
	w.deaf[len(w.deaf)-1].to = time.Now()
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

// wantModelIsTrue compares the history's end with the database.
func (w *soak) wantModelIsTrue() {
	for _, u := range w.users {
		var got standing
		err := w.db.QueryRow(`SELECT active, EXISTS (SELECT 1 FROM user_groups WHERE user_id = id) FROM users WHERE id = $1`, u.id).Scan(&got.active, &got.staff)
		got.epoch = u.now().epoch // random in the database
		if err != nil || got != u.now() {
			w.t.Errorf("%s is %+v in the database (%v) and %+v in the history: this test is wrong", u.name, got, err, u.now())
		}
	}
}

// quietServer is a server that logs no requests: in ten minutes there are many.
type quietServer struct{ base, metrics string }

// startQuiet starts a server on the site. Above info it does not log its addresses, so they are
// chosen beforehand.
func startQuiet(t *testing.T, s *kit.Site, pairs ...string) quietServer {
	t.Helper()
	addr, metrics := fmt.Sprintf("127.0.0.1:%d", testkit.FreePort(t)), fmt.Sprintf("127.0.0.1:%d", testkit.FreePort(t))
	cmd := exec.Command(kit.BinaryWithoutRace(t), "serve")
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
			t.Errorf("a server's end: %v", err)
		}
		if t.Failed() {
			t.Logf("log of the server %s:\n%s", addr, said.String())
		}
	})
	base := "http://" + addr
	testkit.Eventually(t, 60*time.Second, "the server to answer", func() bool {
		resp, err := kit.NoCookies.Get(base + "/readyz")
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK && kit.ScrapeAt(t, metrics).Sum("gatehouse_listening") == 1
	})
	return quietServer{base, metrics}
}
