package config

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/alecthomas/kong"

	"gatehouse/auth"
	"gatehouse/web/cookies"
)

// testSecret is a valid SECRET_KEY.
const testSecret = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="

// defaults returns the default settings.
func defaults(t *testing.T) Settings {
	t.Helper()
	for _, field := range reflect.VisibleFields(reflect.TypeFor[Settings]()) {
		t.Setenv(field.Tag.Get("env"), "")
		os.Unsetenv(field.Tag.Get("env"))
	}
	var s Settings
	parser, err := kong.New(&s)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := parser.Parse(nil); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestValidate_ChecksDjangoSettings(t *testing.T) {
	for _, c := range []struct{ key, cookie, base, want string }{
		{"hunter2", "sessionid", "http://localhost", ""},
		{"[\"hunter2\"]", "__Host-sessionid", "http://localhost", ""},
		{"", "sessionid", "http://localhost", "DJANGO_SECRET_KEY is required with DJANGO_SESSIONS_URL: set it to Django's SECRET_KEY"},
		{"['hunter2']", "sessionid", "http://localhost", "DJANGO_SECRET_KEY: it begins with"},
		{"hunter2", "a b", "http://localhost", `DJANGO_SESSION_COOKIE "a b" is not a valid cookie name`},
		{"hunter2", "gatehouse", "http://localhost", `DJANGO_SESSION_COOKIE is "gatehouse", which is the name of Gatehouse's own cookie`},
		{"hunter2", "gatehouse", "https://login.example.org", ""},
	} {
		s := defaults(t)
		s.DjangoSessionsURL, s.DjangoSecretKey, s.DjangoSessionCookie, s.BaseURL = "redis://h", c.key, c.cookie, c.base
		got := ""
		if _, err := s.Validate(); err != nil {
			got = err.Error()
		}
		if (got == "") != (c.want == "") || !strings.HasPrefix(got, c.want) || strings.Contains(got, "hunter2") {
			t.Errorf("%+v: got %q", c, got)
		}
		s.DjangoSessionsURL = ""
		if _, err := s.Validate(); err != nil {
			t.Errorf("%+v, without a bridge: got %v", c, err)
		}
	}
}

func TestSettings_AreInTheREADME(t *testing.T) {
	readme, err := os.ReadFile(filepath.Join("..", "..", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, field := range reflect.VisibleFields(reflect.TypeFor[Settings]()) {
		if name := field.Tag.Get("env"); name == "" || !strings.Contains(string(readme), "| `"+name+"`") && !strings.Contains(string(readme), ", `"+name+"` |") {
			t.Errorf("%s (%s) is not in the table of settings", field.Name, name)
		}
	}
}

func TestValidate_DerivesCookiePolicy(t *testing.T) {
	for _, c := range []struct {
		base, domain string
		want         cookies.Policy
		wrong        bool
	}{
		{"http://localhost:8080", "", cookies.Policy{}, false},
		{"https://login.example.org", "", cookies.Policy{Secure: true}, false},
		{"https://login.example.org/", "example.org", cookies.Policy{Secure: true, Domain: "example.org"}, false},
		{"https://example.org:8443", "example.org", cookies.Policy{Secure: true, Domain: "example.org"}, false},
		{"https://badexample.org", "example.org", cookies.Policy{}, true},
		{"https://example.org", "login.example.org", cookies.Policy{}, true},
		{"https://example.org.evil.example", "example.org", cookies.Policy{}, true},
		// These are public suffixes: browsers reject cookies for them.
		{"https://login.co.uk", "co.uk", cookies.Policy{}, true},
		{"https://login.example.co.uk", "co.uk", cookies.Policy{}, true},
		{"https://login.example.co.uk", "example.co.uk", cookies.Policy{Secure: true, Domain: "example.co.uk"}, false},
		{"https://me.github.io", "github.io", cookies.Policy{}, true},
		{"https://login.me.github.io", "me.github.io", cookies.Policy{Secure: true, Domain: "me.github.io"}, false},
		{"https://github.io", "github.io", cookies.Policy{}, true},
		{"https://login.com", "com", cookies.Policy{}, true},
		{"https://login.corp", "corp", cookies.Policy{}, true},
		{"http://localhost:8080", "localhost", cookies.Policy{}, true},
		{"https://login.CO.UK", "CO.UK", cookies.Policy{}, true},
		{"https://xn--85x722f.xn--55qx5d.cn", "xn--55qx5d.cn", cookies.Policy{}, true},
		{"https://食狮.公司.cn", "公司.cn", cookies.Policy{}, true},
		{"https://login.example.org", ".example.org", cookies.Policy{}, true},
		{"https://192.0.2.7", "192.0.2.7", cookies.Policy{}, true},
	} {
		s := defaults(t)
		s.BaseURL, s.CookieDomain = c.base, c.domain
		got, err := s.Validate()
		if err != nil && (!strings.HasPrefix(err.Error(), "COOKIE_DOMAIN ") || strings.Contains(err.Error(), "\n")) {
			t.Errorf("%s, %q: %v", c.base, c.domain, err)
		}
		if (err != nil) != c.wrong || got.Cookies != c.want {
			t.Errorf("%s, %q: got %+v, %v", c.base, c.domain, got.Cookies, err)
		}
	}
}

func TestParseProxies_AcceptsAddressesAndNetworks(t *testing.T) {
	got, err := parseProxies([]string{" 10.0.0.0/8 ", "192.0.2.1", "2001:db8::/32", "::1", ""})
	var all []string
	for _, p := range got {
		all = append(all, p.String())
	}
	if want := "10.0.0.0/8 192.0.2.1/32 2001:db8::/32 ::1/128"; err != nil || strings.Join(all, " ") != want {
		t.Errorf("got %q, %v; want %q", all, err, want)
	}
}

func TestResolveDatabaseURL_DefaultsToSQLite(t *testing.T) {
	for setting, c := range map[string]struct {
		url      string
		embedded bool
	}{
		"":               {"sqlite:" + filepath.Join("d", "gatehouse.db"), true},
		"sqlite:/x/y.db": {"sqlite:/x/y.db", true},
		"postgres://h/d": {"postgres://h/d", false},
	} {
		got := Config{Settings: Settings{DatabaseURL: setting, DataDir: "d"}}
		if got.ResolveDatabaseURL() != c.url || got.EmbeddedSQL() != c.embedded {
			t.Errorf("%q: got %q, %v", setting, got.ResolveDatabaseURL(), got.EmbeddedSQL())
		}
	}
}

func TestResolveCacheURL_DefaultsToTheNextDatabase(t *testing.T) {
	for _, c := range []struct{ redis, cache, want string }{
		{"redis://h", "", "redis://h/1"},
		{"redis://:p@h:1/3", "", "redis://:p@h:1/4"},
		{"redis://h", "redis://h/7", "redis://h/7"},
		{"redis://h", "redis://other", "redis://other"},
		{"redis://h", "redis://h", ""},
		{"redis://localhost:6379/0", "redis://127.0.0.1", ""},
		{"nonsense", "", ""},
	} {
		got, err := Config{Settings: Settings{CacheURL: c.cache}}.ResolveCacheURL(c.redis)
		if got != c.want || (err == nil) != (c.want != "") {
			t.Errorf("%s and %q: got %q, %v; want %q", c.redis, c.cache, got, err, c.want)
		}
	}
}

func TestKeys_RequiresSecretKey(t *testing.T) {
	for name, s := range map[string]Settings{
		"Postgres": {DatabaseURL: "postgres://h/d"},
		"Redis":    {RedisURL: "redis://h"},
	} {
		s.DataDir = t.TempDir()
		if _, err := (Config{Settings: s}).Keys(); err == nil || !strings.Contains(err.Error(), "SECRET_KEY is required") {
			t.Errorf("%s without SECRET_KEY: got %v", name, err)
		}
	}
	_, err := Config{Settings: Settings{SecretKey: "aHVudGVyMg=="}}.Keys()
	if err == nil || !strings.HasPrefix(err.Error(), "SECRET_KEY: key 1 has 7 bytes") || strings.Contains(err.Error(), "aHVudGVyMg") {
		t.Errorf("a short key: got %v", err)
	}
	if _, err := (Config{Settings: Settings{SecretKey: testSecret}}).Keys(); err != nil {
		t.Error(err)
	}
}

func TestKeys_CreatesTheSecretFile(t *testing.T) {
	c := Config{Settings: Settings{DataDir: filepath.Join(t.TempDir(), "a", "data")}}
	first, err := c.Keys()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(c.DataDir, "secret.key")
	for p, want := range map[string]os.FileMode{c.DataDir: 0o700, path: 0o600} {
		if info, err := os.Stat(p); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: got %v, %v; want %o", p, info.Mode(), err, want)
		}
	}
	second, err := c.Keys()
	if alice := (auth.User{ID: "u1"}); err != nil || !second.TrustsDevice(first.NewDeviceCookie(alice), alice) {
		t.Errorf("the second start uses a different key: %v", err)
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Keys(); err == nil || !strings.Contains(err.Error(), "secret.key") {
		t.Errorf("an empty file: got %v, want an error that names it", err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Keys(); err == nil {
		t.Error("a directory is accepted as a key")
	}
	if _, err := (Config{Settings: Settings{DataDir: "config_test.go"}}).Keys(); err == nil || !strings.Contains(err.Error(), "DATA_DIR") {
		t.Errorf("a file for DATA_DIR: got %v", err)
	}
}

// TestParseBaseURL_IsTheOriginThatBrowsersSend: requests are accepted only if their Origin header equals it.
func TestParseBaseURL_IsTheOriginThatBrowsersSend(t *testing.T) {
	for raw, want := range map[string]string{
		"https://Login.Example.ORG": "https://login.example.org", "https://login.example.org:443/": "https://login.example.org",
		"http://localhost:80": "http://localhost", "http://localhost:443": "http://localhost:443", "https://[2001:DB8::1]:8443": "https://[2001:db8::1]:8443",
		"HTTP://[::1]": "http://[::1]",
	} {
		u, err := parseBaseURL(raw)
		if err != nil {
			t.Errorf("%s: %v", raw, err)
			continue
		}
		if got := u.Scheme + "://" + u.Host; got != want {
			t.Errorf("%s is %s, want %s", raw, got, want)
		}
	}
}

func TestHelpContact_IsOneLineOfText(t *testing.T) {
	for text, fine := range map[string]bool{
		"": true, "help@example.org": true, "Frag Zoë (Zimmer 12).": true, strings.Repeat("é", 300): true,
		strings.Repeat("é", 301): false, "two\nlines": false, "\xff": false, "a\x00b": false,
	} {
		err := Settings{HelpContact: text}.checkHelpContact()
		if (err == nil) != fine || err != nil && !strings.HasPrefix(err.Error(), "HELP_CONTACT") {
			t.Errorf("%.20q: got %v", text, err)
		}
	}
}
