package readers

import (
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"

	"gatehouse/django"
	"gatehouse/internal/e2e/kit"
	"gatehouse/internal/testkit"
)

// djangoKey contains characters that would break a comma-separated list.
const djangoKey = "dj4ngo, key=[of] \"the\" $tests"

// djangoSalt is the salt with which Django signs its sessions.
const djangoSalt = "django.contrib.sessions.SessionStore"

// djangoSite is Gatehouse next to a Django site whose Redis it can only read.
type djangoSite struct {
	*kit.Target
	store  *testkit.Redis
	theirs redis.Conn
	origin string // Django's
}

var rightsOfTheBridge = regexp.MustCompile(`(?m)^ACL SETUSER (gatehouse on >PASSWORD .*)$`)

func newDjangoSite(t testing.TB) *djangoSite {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "..", "docs", "django.md"))
	if err != nil {
		t.Fatal(err)
	}
	rights := rightsOfTheBridge.FindSubmatch(text)
	if rights == nil {
		t.Fatal("docs/django.md does not list the rights of the bridge")
	}
	d := &djangoSite{store: testkit.StartRedis(t, append([]string{"--user"}, strings.Fields(strings.Replace(string(rights[1]), "PASSWORD", "hunter2", 1))...)...)}
	d.theirs = kit.DialRedis(t, d.store.URL()+"/3")

	port := testkit.FreePort(t)
	cmd := exec.Command(testkit.Python(t, "django", "redis_sessions"), filepath.Join("testdata", "django_site.py"), strconv.Itoa(port), t.TempDir())
	cmd.Env = append(os.Environ(), "DJANGO_SESSIONS="+d.store.Addr(), "DJANGO_SECRET_KEY="+djangoKey, "PYTHONDONTWRITEBYTECODE=1")
	testkit.StartProgram(t, cmd, localAddress(port))
	d.origin = "http://" + localAddress(port)

	list, err := json.Marshal([]string{"a newer key", djangoKey})
	if err != nil {
		t.Fatal(err)
	}
	url := strings.Replace(d.store.URL(), "redis://", "redis://gatehouse:hunter2@", 1) + "/3"
	d.Target = kit.NewTarget(t, "DJANGO_SESSIONS_URL", url, "DJANGO_SECRET_KEY", string(list), "DJANGO_SESSION_PREFIX", "session")
	return d
}

// person adds a user to both sites and returns an anonymous client of Gatehouse.
func (d *djangoSite) person(t *testing.T, name string) *kit.Client {
	t.Helper()
	c := kit.NewClient(t, d.Server.URL())
	c.Register(name)
	id := atDjango(c, d, "add?name="+name)
	if _, err := d.DB.ExecContext(t.Context(), `INSERT INTO user_origins (source, external_id, user_id) SELECT 'django', $1, id FROM users WHERE username = $2`, id, name); err != nil {
		t.Fatal(err)
	}
	return kit.NewClient(t, d.Server.URL())
}

// signedInAtDjango is person with a session at Django.
func (d *djangoSite) signedInAtDjango(t *testing.T, name string) *kit.Client {
	t.Helper()
	c := d.person(t, name)
	if user := atDjango(c, d, "sign_in?name="+name); user != name || c.Cookie("sessionid") == "" {
		t.Fatalf("Django signed in %q", user)
	}
	return c
}

// atDjango requests a page of Django with the same cookies.
func atDjango(c *kit.Client, d *djangoSite, page string) string {
	c.T.Helper()
	other := c.At(d.origin)
	a := other.Get("/" + page)
	other.WantStatus(a, http.StatusOK)
	return a.Text
}

// do sends a command to Django's Redis.
func (d *djangoSite) do(command string, args ...any) any {
	d.T.Helper()
	reply, err := d.theirs.Do(command, args...)
	if err != nil {
		d.T.Fatalf("%s: %v", command, err)
	}
	return reply
}

func (d *djangoSite) valueOf(c *kit.Client) string {
	d.T.Helper()
	value, err := redis.String(d.do("GET", "session:"+c.Cookie("sessionid")), nil)
	if err != nil {
		d.T.Fatal(err)
	}
	return value
}

// wantAnonymous fails unless every kind of page treats the client as an anonymous visitor, without an error.
func (d *djangoSite) wantAnonymous(t *testing.T, c *kit.Client, why string) {
	t.Helper()
	if c.IsSignedIn() {
		t.Errorf("%s: signed in", why)
	}
	for path, want := range map[string]int{"/": 200, "/login": 200, "/api/me": 401, "/auth/verify": 401} {
		if a := c.Get(path); a.StatusCode != want {
			t.Errorf("%s: %s responds %s, want %d", why, path, a.Status, want)
		}
	}
}

func TestDjangoBridge_AcceptsSessions(t *testing.T) {
	t.Parallel()
	d := newDjangoSite(t)
	t.Run("signing in and out", func(t *testing.T) {
		c := d.person(t, "alice")
		d.wantAnonymous(t, c, "before the sign-in")
		atDjango(c, d, "sign_in?name=alice&more=2000")
		page := c.Get("/dashboard")
		if c.WantStatus(page, 200); !strings.Contains(page.Text, "alice") {
			t.Errorf("the dashboard greets another user: %s", page.Text)
		}
		if a := c.Get("/api/me"); a.StatusCode != 200 || !strings.Contains(a.Text, `"username":"alice"`) {
			t.Errorf("got %s %s", a.Status, a.Text)
		}
		if a := c.Get("/auth/verify"); a.StatusCode != 200 || a.Header.Get("Remote-User") != "alice" {
			t.Errorf("got %s for %q", a.Status, a.Header.Get("Remote-User"))
		}
		if c.Cookie("gatehouse") != "" || len(page.Header["Set-Cookie"]) != 0 {
			t.Errorf("cookies are set: %q", page.Header["Set-Cookie"])
		}
		atDjango(c, d, "sign_out")
		d.wantAnonymous(t, c, "after the sign-out at Django")
		if value := d.RedisDo("KEYS", "django:*"); strings.Contains(d.Server.Log(), "panic") || len(value.([]any)) != 1 {
			t.Errorf("got the messages %q", value)
		}
	})
	t.Run("costs two round trips", func(t *testing.T) {
		c := d.signedInAtDjango(t, "bob")
		c.Get("/dashboard")
		testkit.Eventually(t, 10*time.Second, "a page with two round trips and no SQL", func() bool {
			return strings.HasPrefix(c.Get("/dashboard").Header.Get("Server-Timing"), `redis;desc="2"`) &&
				strings.Contains(c.Get("/dashboard").Header.Get("Server-Timing"), `sql;desc="0"`)
		})
	})
	t.Run("Django's Redis is only read", func(t *testing.T) {
		c := d.signedInAtDjango(t, "writer")
		d.do("PEXPIRE", "session:"+c.Cookie("sessionid"), 600_000)
		before := d.valueOf(c)
		for range 3 {
			if !c.IsSignedIn() {
				t.Fatal("not signed in")
			}
		}
		if ttl, _ := redis.Int64(d.do("PTTL", "session:"+c.Cookie("sessionid")), nil); d.valueOf(c) != before || ttl > 600_000 {
			t.Errorf("the session or its TTL, now %d ms, changed", ttl)
		}
	})
	t.Run("tampered", func(t *testing.T) { d.tampered(t) })
	t.Run("expired", func(t *testing.T) { d.expired(t) })
	t.Run("pickled", func(t *testing.T) {
		c := d.signedInAtDjango(t, "pickle")
		for _, page := range []string{"pickled?signed", "pickled"} {
			d.do("SET", "session:"+c.Cookie("sessionid"), atDjango(c, d, page), "KEEPTTL")
			d.wantAnonymous(t, c, page)
			atDjango(c, d, "sign_in?name=pickle")
		}
	})
	t.Run("ended here", func(t *testing.T) { d.endedHere(t) })
	t.Run("imported", func(t *testing.T) {
		c := kit.NewClient(t, d.Server.URL())
		id := atDjango(c, d, "add?name=frank&hasher=pbkdf2_sha256")
		export := atDjango(c, d, "dump?id="+id)
		kit.RunCommand(t, d.Env(), export, "user", "import", "--from", "django", "-").WantCode(t, 0)
		atDjango(c, d, "sign_in?name=frank")
		if a := c.Get("/api/me"); a.StatusCode != 200 || !strings.Contains(a.Text, `"username":"frank"`) {
			t.Errorf("got %s %s", a.Status, a.Text)
		}
	})
	t.Run("not imported", func(t *testing.T) {
		c := kit.NewClient(t, d.Server.URL())
		atDjango(c, d, "add?name=stranger")
		atDjango(c, d, "sign_in?name=stranger")
		d.wantAnonymous(t, c, "not imported")
	})
	t.Run("Django's Redis down", func(t *testing.T) {
		c, own := d.signedInAtDjango(t, "faulty"), kit.NewClient(t, d.Server.URL())
		own.SignIn("faulty")
		both := kit.NewClient(t, d.Server.URL())
		both.SignIn("faulty")
		both.SetCookie("sessionid", c.Cookie("sessionid"))
		if !c.IsSignedIn() {
			t.Fatal("not signed in")
		}
		d.store.Kill()
		a := c.Get("/dashboard")
		if a.StatusCode != http.StatusServiceUnavailable || a.Header.Get("Retry-After") == "" || len(a.Header["Set-Cookie"]) != 0 {
			t.Errorf("got %s, %v", a.Status, a.Header)
		}
		c.WantStatus(c.Get("/"), 200)
		c.WantStatus(c.Get("/login"), 200)
		c.WantStatus(c.Get("/readyz"), 200)
		if !own.IsSignedIn() || !both.IsSignedIn() {
			t.Error("the outage affects users with a Gatehouse session")
		}
		late := d.Serve("DJANGO_SESSIONS_URL", d.store.URL()+"/3", "DJANGO_SECRET_KEY", djangoKey, "DJANGO_SESSION_PREFIX", "session")
		if !strings.Contains(late.Log(), "DJANGO_SESSIONS_URL does not respond") {
			t.Error("a server that starts during the outage does not log it")
		}
		d.store.Start()
		for _, server := range []*testkit.Server{d.Server, late} {
			testkit.Eventually(t, 5*time.Second, "the bridge to use Django's Redis again", func() bool {
				return c.At(server.URL()).Get("/dashboard").StatusCode != http.StatusServiceUnavailable
			})
		}
		atDjango(c, d, "sign_in?name=faulty")
		if !c.IsSignedIn() || !c.At(late.URL()).IsSignedIn() {
			t.Error("not signed in after the outage")
		}
	})
	for _, secret := range []string{djangoKey, "hunter2"} {
		if strings.Contains(d.Server.Log(), secret) {
			t.Errorf("the log contains the secret %s", secret)
		}
	}
}

func (d *djangoSite) tampered(t *testing.T) {
	c := d.signedInAtDjango(t, "eve")
	if !c.IsSignedIn() {
		t.Fatal("not signed in")
	}
	good := d.valueOf(c)
	key := "session:" + c.Cookie("sessionid")
	parts := strings.Split(good, ":")
	if len(parts) != 3 || !strings.HasPrefix(good, ".") {
		t.Fatalf("Django wrote %q", good)
	}
	change := func(part int) string {
		other := append([]string(nil), parts...)
		b := []byte(other[part])
		if b[1]++; b[1] > 'z' {
			b[1] = 'a'
		}
		other[part] = string(b)
		return strings.Join(other, ":")
	}
	other := d.signedInAtDjango(t, "other")
	fresh := atDjango(c, d, "resigned?salt="+djangoSalt)
	for why, value := range map[string]string{
		"the payload changed":          change(0),
		"the time changed":             change(1),
		"the signature changed":        change(2),
		"without the dot":              good[1:],
		"without the signature":        parts[0] + ":" + parts[1],
		"the signature of another":     parts[0] + ":" + parts[1] + ":" + strings.Split(d.valueOf(other), ":")[2],
		"another salt":                 atDjango(c, d, "resigned?salt=django.contrib.sessions.backends.db"),
		"the salt of cookie sessions":  atDjango(c, d, "resigned?salt=django.contrib.sessions.backends.signed_cookies"),
		"cut":                          good[:len(good)/2],
		"nothing":                      "",
		"not a session":                "\x00\xff",
		"a megabyte":                   strings.Repeat("x", 1<<20),
		"a megabyte after the session": good + strings.Repeat("x", 1<<20),
		"another user's, unmodified":   d.valueOf(other),
	} {
		d.do("SET", key, value, "EX", 600)
		d.wantAnonymous(t, c, why)
	}
	d.do("DEL", key)
	d.do("RPUSH", key, "a", "b")
	d.wantAnonymous(t, c, "a list")
	d.do("DEL", key)
	d.do("SET", key, fresh, "EX", 600)
	if !c.IsSignedIn() {
		t.Error("a session signed by Django is refused, so the cases above are inconclusive")
	}

	strange := d.Serve("DJANGO_SESSIONS_URL", d.store.URL()+"/3", "DJANGO_SECRET_KEY", "another key", "DJANGO_SESSION_PREFIX", "session")
	if c.At(strange.URL()).IsSignedIn() {
		t.Error("signed in with another SECRET_KEY")
	}
}

func (d *djangoSite) expired(t *testing.T) {
	c := d.signedInAtDjango(t, "late")
	key := "session:" + c.Cookie("sessionid")
	for ago, want := range map[string]bool{"1123200": true, "1296000": false} { // 13 and 15 days
		d.do("SET", key, atDjango(c, d, "resigned?salt="+djangoSalt+"&ago="+ago))
		if c.IsSignedIn() != want {
			t.Errorf("saved %s seconds ago, in a key without a TTL: signed in is %t", ago, !want)
		}
		atDjango(c, d, "save")
	}
	d.do("PEXPIRE", key, 1)
	testkit.Eventually(t, 5*time.Second, "the key to expire", func() bool { return d.do("EXISTS", key) == int64(0) })
	d.wantAnonymous(t, c, "the key has ended")

	atDjango(c, d, "sign_in?name=late&expiry=2")
	key = "session:" + c.Cookie("sessionid")
	d.do("PERSIST", key)
	testkit.Eventually(t, 10*time.Second, "a session of two seconds to end", func() bool { return !c.IsSignedIn() })
	if d.do("EXISTS", key) != int64(1) {
		t.Error("the key has expired too, so the test is inconclusive")
	}
}

func (d *djangoSite) endedHere(t *testing.T) {
	c := d.signedInAtDjango(t, "carol")
	if !c.IsSignedIn() {
		t.Fatal("not signed in")
	}
	c.WantSeeOther(c.PostForm("/logout"), "/login?notice=signed-out-here")
	d.wantAnonymous(t, c, "signed out here")
	atDjango(c, d, "save")
	if user := atDjango(c, d, "whoami"); user != "carol" {
		t.Errorf("after the sign-out, Django reports the user %q, want carol", user)
	}
	d.wantAnonymous(t, c, "signed out here, and saved again by Django")
	if notes, err := redis.Strings(d.RedisDo("KEYS", "django:*"+django.SessionID(c.Cookie("sessionid"))), nil); err != nil || len(notes) != 1 {
		t.Errorf("got the notes %q, %v", notes, err)
	}
	atDjango(c, d, "sign_out")
	atDjango(c, d, "sign_in?name=carol")
	if !c.IsSignedIn() {
		t.Error("a new session at Django is refused")
	}

	other := kit.NewClient(t, d.Server.URL())
	atDjango(other, d, "sign_in?name=carol")
	if !other.IsSignedIn() {
		t.Fatal("not signed in")
	}
	c.WantSeeOther(c.PostForm("/account/password", "current_password", kit.Password, "new_password", "another-weary-lamp"), "/account?notice=password")
	d.wantAnonymous(t, other, "the password was changed")
	if c.Cookie("gatehouse") == "" || !c.IsSignedIn() {
		t.Error("the browser that changed the password is signed out")
	}

	c = d.signedInAtDjango(t, "dave")
	if !c.IsSignedIn() {
		t.Fatal("not signed in")
	}
	d.Exec(`UPDATE users SET active = false WHERE username = 'dave'`)
	testkit.Eventually(t, kit.WaitTimeout, "a disabled user to be refused", func() bool { return !c.IsSignedIn() })
	d.Exec(`UPDATE users SET active = true WHERE username = 'dave'`)
	d.wantAnonymous(t, c, "disabled, and enabled again")

	c = d.signedInAtDjango(t, "erin")
	d.do("SET", "session:"+c.Cookie("sessionid"), atDjango(c, d, "resigned?salt="+djangoSalt+"&ago=60"))
	d.Exec(`UPDATE users SET epoch = epoch + 1 WHERE username = 'erin'`)
	d.wantAnonymous(t, c, "signed out everywhere before the session was ever shown here")
}
