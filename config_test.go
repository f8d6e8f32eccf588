package main

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"

	"gatehouse/auth"
	"gatehouse/kv"
	"gatehouse/web"
)

// testSecret is a SECRET_KEY.
const testSecret = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="

// runIn runs the program with an environment and returns what it printed.
func runIn(t *testing.T, env map[string]string, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	if _, ok := env["DATA_DIR"]; !ok {
		env["DATA_DIR"] = filepath.Join(t.TempDir(), "data")
	}
	var out, errs bytes.Buffer
	err = run(t.Context(), args, env, stdio{strings.NewReader(""), &out, &errs})
	return out.String(), errs.String(), err
}

// parse returns the settings as run reads them.
func parse(t *testing.T, env map[string]string, args ...string) Settings {
	t.Helper()
	var c cli
	parser, err := kong.New(&c, kong.Resolvers(environmentResolver(env)), kong.Exit(func(int) { t.Error("exit") }))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := parser.Parse(args); err != nil {
		t.Fatal(err)
	}
	return c.Settings
}

func TestDefaults(t *testing.T) {
	want := Settings{
		ListenAddr: "localhost:8080", BaseURL: "http://localhost:8080", DataDir: "./data",
		SessionLifetime: 24 * time.Hour, SessionIdle: 2 * time.Hour, RememberLifetime: 720 * time.Hour, RememberIdle: 336 * time.Hour,
		TokenLifetime: 72 * time.Hour, CredentialTTL: 5 * time.Minute, UserCacheTTL: time.Hour, PasswordMin: 8, Registration: "open", LogFormat: "auto", LogLevel: slog.LevelInfo,
		DjangoSessionCookie: "sessionid", DjangoSessionAge: 336 * time.Hour, DjangoSource: "django",
	}
	for name, got := range map[string]Settings{
		"nothing set":     parse(t, nil),
		"serve":           parse(t, nil, "serve"),
		"all of it empty": parse(t, map[string]string{"LISTEN_ADDR": "", "SESSION_IDLE": "", "PASSWORD_MIN_LENGTH": "", "TRUSTED_PROXIES": ""}),
	} {
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %+v, want %+v", name, got, want)
		}
	}
	c, err := want.check()
	if err != nil || c.cookies != (web.Cookies{}) || len(c.proxies) != 0 || c.base.Host != "localhost:8080" {
		t.Errorf("got %+v, %v", c, err)
	}
	if got := c.lifetimes(); got != (web.Lifetimes{Session: 24 * time.Hour, Idle: 2 * time.Hour, Remember: 720 * time.Hour, RememberIdle: 336 * time.Hour}) {
		t.Errorf("got %+v", got)
	}
}

func TestSettingsFromEnvironmentAndFlags(t *testing.T) {
	env := map[string]string{
		"LISTEN_ADDR": ":1", "BASE_URL": "https://a.example.org", "DATABASE_URL": "sqlite:x", "DATABASE_LISTEN_URL": "postgres://h/d", "REDIS_URL": "redis://h", "CACHE_URL": "redis://h/1",
		"SECRET_KEY": testSecret + "," + testSecret, "DATA_DIR": "d", "COOKIE_DOMAIN": "example.org", "TRUSTED_PROXIES": "10.0.0.0/8,::1",
		"SESSION_LIFETIME": "1h", "SESSION_IDLE": "2h", "REMEMBER_LIFETIME": "3h", "REMEMBER_IDLE": "4h", "USER_CACHE_TTL": "5h",
		"TOKEN_LIFETIME": "6h", "CREDENTIAL_CACHE_TTL": "7m", "METRICS_ADDR": ":3",
		"DJANGO_SESSIONS_URL": "redis://h/2", "DJANGO_SECRET_KEY": " a,b ", "DJANGO_SESSION_PREFIX": "p", "DJANGO_SESSION_COOKIE": "c", "DJANGO_SESSION_AGE": "8h", "DJANGO_SOURCE": "shop",
		"PASSWORD_MIN_LENGTH": "9", "REGISTRATION": "closed", "LOG_FORMAT": "json", "LOG_LEVEL": "debug", "MIGRATE": "true",
	}
	want := Settings{
		ListenAddr: ":1", BaseURL: "https://a.example.org", DatabaseURL: "sqlite:x", DatabaseListenURL: "postgres://h/d", RedisURL: "redis://h", CacheURL: "redis://h/1",
		SecretKey: testSecret + "," + testSecret, DataDir: "d", CookieDomain: "example.org", TrustedProxies: []string{"10.0.0.0/8", "::1"},
		SessionLifetime: time.Hour, SessionIdle: 2 * time.Hour, RememberLifetime: 3 * time.Hour, RememberIdle: 4 * time.Hour, UserCacheTTL: 5 * time.Hour,
		TokenLifetime: 6 * time.Hour, CredentialTTL: 7 * time.Minute, MetricsAddr: ":3",
		DjangoSessionsURL: "redis://h/2", DjangoSecretKey: " a,b ", DjangoSessionPrefix: "p", DjangoSessionCookie: "c", DjangoSessionAge: 8 * time.Hour, DjangoSource: "shop",
		PasswordMin: 9, Registration: "closed", LogFormat: "json", LogLevel: slog.LevelDebug,
	}
	if got := parse(t, env); !reflect.DeepEqual(got, want) {
		t.Errorf("from the environment: got %+v, want %+v", got, want)
	}
	var args []string
	for name, value := range env {
		if name != "MIGRATE" {
			args = append(args, "--"+strings.ToLower(strings.ReplaceAll(name, "_", "-"))+"="+value)
		}
	}
	if got := parse(t, nil, args...); !reflect.DeepEqual(got, want) {
		t.Errorf("from flags: got %+v, want %+v", got, want)
	}
	if got := parse(t, env, "serve", "--listen-addr=:2"); got.ListenAddr != ":2" {
		t.Errorf("the environment wins over a flag: %q", got.ListenAddr)
	}
}

func TestBadSettingsStopTheStart(t *testing.T) {
	for _, c := range []struct{ name, value, want string }{
		{"LISTEN_ADDR", "8080", `LISTEN_ADDR "8080" is not host:port`},
		{"DATABASE_LISTEN_URL", "db:5432", "DATABASE_LISTEN_URL is not an address"},
		{"DATABASE_LISTEN_URL", "postgres://u:hunter2@h/d", "DATABASE_URL is not a Postgres"},
		{"BASE_URL", "login.example.org", "BASE_URL"},
		{"BASE_URL", "ftp://login.example.org", "BASE_URL"},
		{"BASE_URL", "https://", "BASE_URL"},
		{"BASE_URL", "https://:8080", "BASE_URL"},
		{"BASE_URL", "https://login.example.org/sub", "BASE_URL"},
		{"BASE_URL", "https://login.example.org?a", "BASE_URL"},
		{"BASE_URL", "https://login.example.org?", "BASE_URL"},
		{"BASE_URL", "https://login.example.org#a", "BASE_URL"},
		{"BASE_URL", "https://u:hunter2@login.example.org", "BASE_URL has a user or a password in it"},
		{"BASE_URL", "https://u:hun%zter2@login.example.org", "BASE_URL has a user or a password in it"},
		{"TRUSTED_PROXIES", "10.0.0.0/8,garbage", `TRUSTED_PROXIES: "garbage" is not a network such as 10.0.0.0/8`},
		{"TRUSTED_PROXIES", "10.0.0.0/33", "TRUSTED_PROXIES"},
		{"COOKIE_DOMAIN", "example.org", `COOKIE_DOMAIN "example.org" is not the domain of BASE_URL's host "localhost"`},
		{"BASE_URL", "https://login.example.org:65536", "BASE_URL"},
		{"SESSION_LIFETIME", "0s", "SESSION_LIFETIME is 0s; it must be at least 1s"},
		{"SESSION_IDLE", "-1h", "SESSION_IDLE"},
		{"REMEMBER_LIFETIME", "999ms", "REMEMBER_LIFETIME"},
		{"REMEMBER_IDLE", "87601h", "REMEMBER_IDLE is 87601h0m0s; it must be at most 87600h"},
		{"USER_CACHE_TTL", "1ms", "USER_CACHE_TTL"},
		{"SESSION_IDLE", "two hours", "SESSION_IDLE (--session-idle)"},
		{"PASSWORD_MIN_LENGTH", "7", "PASSWORD_MIN_LENGTH is 7; it must be 8 to 64"},
		{"PASSWORD_MIN_LENGTH", "65", "PASSWORD_MIN_LENGTH"},
		{"PASSWORD_MIN_LENGTH", "ten", "PASSWORD_MIN_LENGTH (--password-min-length)"},
		{"REGISTRATION", "maybe", "registration"},
		{"LOG_FORMAT", "xml", "log-format"},
		{"LOG_LEVEL", "loud", "LOG_LEVEL"},
		{"SMTP_URL", "smtp://u:hunter2@h", "SMTP_URL is set, but this version does not have sending mail yet: unset it"},
		{"METRICS_ADDR", "9090", `METRICS_ADDR "9090" is not host:port`},
		{"TOKEN_LIFETIME", "59s", "TOKEN_LIFETIME is 59s; it must be 1m to 8784h"},
		{"TOKEN_LIFETIME", "8785h", "TOKEN_LIFETIME is 8785h0m0s; it must be 1m to 8784h"},
		{"TOKEN_LIFETIME", "-72h", "TOKEN_LIFETIME"},
		{"CREDENTIAL_CACHE_TTL", "0s", "CREDENTIAL_CACHE_TTL is 0s; it must be at least 1s"},
		{"CREDENTIAL_CACHE_TTL", "87601h", "CREDENTIAL_CACHE_TTL"},
		{"DJANGO_SOURCE", "A Shop", `DJANGO_SOURCE "A Shop": The name of a system is one lower-case word, such as shop.`},
		{"DJANGO_SESSION_AGE", "0s", "DJANGO_SESSION_AGE is 0s; it must be at least 1s"},
		{"MAIL_FROM", "a@b.c", "MAIL_FROM is set"},
		{"DATABASE_URL", "mysql://u:hunter2@h/d", "DATABASE_URL"},
		{"REDIS_URL", "redis+sentinel://u:hunter2@h", "REDIS_URL"},
		{"REDIS_URL", "http://u:hunter2@h", "REDIS_URL"},
	} {
		data := filepath.Join(t.TempDir(), "data")
		out, errs, err := runIn(t, map[string]string{c.name: c.value, "DATA_DIR": data, "SECRET_KEY": testSecret}, "user", "list")
		if err == nil {
			t.Errorf("%s=%s is accepted", c.name, c.value)
			continue
		}
		if !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s=%s: got %q, want one line with %q", c.name, c.value, err, c.want)
		}
		if all := out + errs + err.Error(); strings.Contains(all, "hunter2") || strings.Contains(all, testSecret) {
			t.Errorf("%s=%s: a secret is printed: %s", c.name, c.value, all)
		}
	}
}

func TestDjangoSettings(t *testing.T) {
	for _, c := range []struct{ key, cookie, base, want string }{
		{"hunter2", "sessionid", "http://localhost", ""},
		{"[\"hunter2\"]", "__Host-sessionid", "http://localhost", ""},
		{"", "sessionid", "http://localhost", "DJANGO_SECRET_KEY is needed with DJANGO_SESSIONS_URL: give it Django's SECRET_KEY"},
		{"['hunter2']", "sessionid", "http://localhost", "DJANGO_SECRET_KEY: it begins with"},
		{"hunter2", "a b", "http://localhost", `DJANGO_SESSION_COOKIE "a b" is not the name of a cookie`},
		{"hunter2", "gatehouse", "http://localhost", `DJANGO_SESSION_COOKIE is "gatehouse", which is the name of Gatehouse's own cookie`},
		{"hunter2", "gatehouse", "https://login.example.org", ""},
	} {
		s := parse(t, map[string]string{"DJANGO_SESSIONS_URL": "redis://h", "DJANGO_SECRET_KEY": c.key, "DJANGO_SESSION_COOKIE": c.cookie, "BASE_URL": c.base})
		got := ""
		if _, err := s.check(); err != nil {
			got = err.Error()
		}
		if (got == "") != (c.want == "") || !strings.HasPrefix(got, c.want) || strings.Contains(got, "hunter2") {
			t.Errorf("%+v: got %q", c, got)
		}
		s.DjangoSessionsURL = ""
		if _, err := s.check(); err != nil {
			t.Errorf("%+v, and no bridge: got %v", c, err)
		}
	}
}

func TestServeRefusesABadURLOfDjangosRedis(t *testing.T) {
	_, errs, err := runIn(t, map[string]string{"DJANGO_SESSIONS_URL": "http://:hunter2@h", "DJANGO_SECRET_KEY": "x", "LISTEN_ADDR": "127.0.0.1:0"}, "serve")
	if err == nil || !strings.HasPrefix(err.Error(), "DJANGO_SESSIONS_URL: ") || strings.Contains(err.Error()+errs, "hunter2") {
		t.Errorf("got %v, %s", err, errs)
	}
}

func TestDoctorLooksAtDjangosRedis(t *testing.T) {
	const fault, ok = "FAULT  DJANGO_SESSIONS_URL", "ok     DJANGO_SESSIONS_URL answers"
	embedded, err := kv.StartEmbedded(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(embedded.Close)
	for url, want := range map[string]string{
		"": "", embedded.URL(): ok, "redis://:hunter2@127.0.0.1:1": fault, "http://:hunter2@h": fault,
	} {
		out, errs, _ := runIn(t, map[string]string{"DJANGO_SESSIONS_URL": url, "DJANGO_SECRET_KEY": "hunter2"}, "doctor")
		if !strings.Contains(out, want) || strings.Contains(out, "DJANGO") != (want != "") || strings.Contains(out+errs, "hunter2") {
			t.Errorf("%s: got %s%s; want %q", url, out, errs, want)
		}
	}
}

func TestOneFaultAtATime(t *testing.T) {
	s := parse(t, nil)
	s.ListenAddr, s.PasswordMin, s.CookieDomain = "x", 1, "other.example"
	_, err := s.check()
	if err == nil || err.Error() != `LISTEN_ADDR "x" is not host:port` {
		t.Errorf("got %v", err)
	}
}

func TestCookieSettings(t *testing.T) {
	for _, c := range []struct {
		base, domain string
		want         web.Cookies
		wrong        bool
	}{
		{"http://localhost:8080", "", web.Cookies{}, false},
		{"https://login.example.org", "", web.Cookies{Secure: true}, false},
		{"https://login.example.org/", "example.org", web.Cookies{Secure: true, Domain: "example.org"}, false},
		{"https://example.org:8443", "example.org", web.Cookies{Secure: true, Domain: "example.org"}, false},
		{"https://badexample.org", "example.org", web.Cookies{}, true},
		{"https://example.org", "login.example.org", web.Cookies{}, true},
		{"https://example.org.evil.example", "example.org", web.Cookies{}, true},
		// Anybody may have a name right below these, so that browsers refuse such cookies.
		{"https://login.co.uk", "co.uk", web.Cookies{}, true},
		{"https://login.example.co.uk", "co.uk", web.Cookies{}, true},
		{"https://login.example.co.uk", "example.co.uk", web.Cookies{Secure: true, Domain: "example.co.uk"}, false},
		{"https://me.github.io", "github.io", web.Cookies{}, true},
		{"https://login.me.github.io", "me.github.io", web.Cookies{Secure: true, Domain: "me.github.io"}, false},
		{"https://github.io", "github.io", web.Cookies{}, true},
		{"https://login.com", "com", web.Cookies{}, true},
		{"https://login.corp", "corp", web.Cookies{}, true},
		{"http://localhost:8080", "localhost", web.Cookies{}, true},
		{"https://login.CO.UK", "CO.UK", web.Cookies{}, true},
		{"https://xn--85x722f.xn--55qx5d.cn", "xn--55qx5d.cn", web.Cookies{}, true},
		{"https://食狮.公司.cn", "公司.cn", web.Cookies{}, true},
		{"https://login.example.org", ".example.org", web.Cookies{}, true},
		{"https://192.0.2.7", "192.0.2.7", web.Cookies{}, true},
	} {
		s := parse(t, nil)
		s.BaseURL, s.CookieDomain = c.base, c.domain
		got, err := s.check()
		if err != nil && (!strings.HasPrefix(err.Error(), "COOKIE_DOMAIN ") || strings.Contains(err.Error(), "\n")) {
			t.Errorf("%s, %q: %v", c.base, c.domain, err)
		}
		if (err != nil) != c.wrong || got.cookies != c.want {
			t.Errorf("%s, %q: got %+v, %v", c.base, c.domain, got.cookies, err)
		}
	}
}

func TestProxies(t *testing.T) {
	got, err := parseProxies([]string{" 10.0.0.0/8 ", "192.0.2.1", "2001:db8::/32", "::1", ""})
	var all []string
	for _, p := range got {
		all = append(all, p.String())
	}
	if want := "10.0.0.0/8 192.0.2.1/32 2001:db8::/32 ::1/128"; err != nil || strings.Join(all, " ") != want {
		t.Errorf("got %q, %v; want %q", all, err, want)
	}
}

func TestDatabaseSettings(t *testing.T) {
	for setting, c := range map[string]struct {
		url      string
		embedded bool
	}{
		"":               {"sqlite:" + filepath.Join("d", "gatehouse.db"), true},
		"sqlite:/x/y.db": {"sqlite:/x/y.db", true},
		"postgres://h/d": {"postgres://h/d", false},
	} {
		got := Config{Settings: Settings{DatabaseURL: setting, DataDir: "d"}}
		if got.databaseURL() != c.url || got.embeddedSQL() != c.embedded {
			t.Errorf("%q: got %q, %v", setting, got.databaseURL(), got.embeddedSQL())
		}
	}
}

func TestCacheURL(t *testing.T) {
	for _, c := range []struct{ redis, cache, want string }{
		{"redis://h", "", "redis://h/1"},
		{"redis://:p@h:1/3", "", "redis://:p@h:1/4"},
		{"redis://h", "redis://h/7", "redis://h/7"},
		{"redis://h", "redis://other", "redis://other"},
		{"redis://h", "redis://h", ""},
		{"redis://localhost:6379/0", "redis://127.0.0.1", ""},
		{"nonsense", "", ""},
	} {
		got, err := Config{Settings: Settings{CacheURL: c.cache}}.cacheURL(c.redis)
		if got != c.want || (err == nil) != (c.want != "") {
			t.Errorf("%s and %q: got %q, %v; want %q", c.redis, c.cache, got, err, c.want)
		}
	}
}

func TestKeys(t *testing.T) {
	for name, s := range map[string]Settings{
		"Postgres": {DatabaseURL: "postgres://h/d"},
		"Redis":    {RedisURL: "redis://h"},
	} {
		s.DataDir = t.TempDir()
		if _, err := (Config{Settings: s}).keys(); err == nil || !strings.Contains(err.Error(), "SECRET_KEY is needed") {
			t.Errorf("%s without a key: got %v", name, err)
		}
	}
	_, err := Config{Settings: Settings{SecretKey: "aHVudGVyMg=="}}.keys()
	if err == nil || !strings.HasPrefix(err.Error(), "SECRET_KEY: key 1 has 7 bytes") || strings.Contains(err.Error(), "aHVudGVyMg") {
		t.Errorf("a short key: got %v", err)
	}
	if _, err := (Config{Settings: Settings{SecretKey: testSecret}}).keys(); err != nil {
		t.Error(err)
	}
}

func TestSecretFile(t *testing.T) {
	c := Config{Settings: Settings{DataDir: filepath.Join(t.TempDir(), "a", "data")}}
	first, err := c.keys()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(c.DataDir, "secret.key")
	for p, want := range map[string]os.FileMode{c.DataDir: 0o700, path: 0o600} {
		if info, err := os.Stat(p); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: got %v, %v; want %o", p, info.Mode(), err, want)
		}
	}
	second, err := c.keys()
	if alice := (auth.User{ID: "u1"}); err != nil || !second.TrustsDevice(first.NewDeviceCookie(alice), alice) {
		t.Errorf("the second start has another key: %v", err)
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := c.keys(); err == nil || !strings.Contains(err.Error(), "secret.key") {
		t.Errorf("an empty file: got %v, want an error that names it", err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := c.keys(); err == nil {
		t.Error("a directory is taken for a key")
	}
	if _, err := (Config{Settings: Settings{DataDir: "config.go"}}).keys(); err == nil || !strings.Contains(err.Error(), "DATA_DIR") {
		t.Errorf("a file for DATA_DIR: got %v", err)
	}
}

func TestEnvironment(t *testing.T) {
	got := environment([]string{"A=1", "B=x=y", "C=", "D"})
	if want := map[string]string{"A": "1", "B": "x=y", "C": "", "D": ""}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %q", got)
	}
}

func TestVersionAndHelp(t *testing.T) {
	out, _, err := runIn(t, map[string]string{"LISTEN_ADDR": "nonsense"}, "version")
	if err != nil || !strings.HasPrefix(out, "gatehouse ") || strings.Count(out, "\n") != 1 {
		t.Errorf("got %q, %v", out, err)
	}
	out, _, err = runIn(t, map[string]string{"SECRET_KEY": testSecret}, "--help")
	if err != nil || !strings.Contains(out, "--listen-addr") || !strings.Contains(out, "$LISTEN_ADDR") || strings.Contains(out, testSecret) {
		t.Errorf("got %q, %v", out, err)
	}
	if _, _, err := runIn(t, map[string]string{}, "nonsense"); err == nil || strings.Contains(err.Error(), "\n") {
		t.Errorf("got %v", err)
	}
}

func TestNamingVariable(t *testing.T) {
	for in, want := range map[string]string{
		"--session-idle: expected duration": "SESSION_IDLE (--session-idle): expected duration",
		"--log-level=LEVEL: bad":            "LOG_LEVEL (--log-level): bad",
		"unexpected argument x":             "unexpected argument x",
		"--a b: c":                          "--a b: c",
		"x: y":                              "x: y",
	} {
		if got := namingVariable(errors.New(in)).Error(); got != want {
			t.Errorf("%q became %q, want %q", in, got, want)
		}
	}
}

func TestPasswordFromStandardInput(t *testing.T) {
	for in, want := range map[string]string{
		"secret": "secret", "secret\n": "secret", "secret\r\n": "secret", " spaced \nmore": " spaced ", "": "", strings.Repeat("x", 1<<20): strings.Repeat("x", 8<<10),
	} {
		if got, err := (passwordFlag{PasswordStdin: true}).password(&command{ctx: t.Context(), io: stdio{in: strings.NewReader(in)}}); err != nil || got != want {
			t.Errorf("got %.20q of %d octets, %v", got, len(got), err)
		}
	}
	if _, err := (passwordFlag{}).password(&command{ctx: t.Context(), io: stdio{in: strings.NewReader("x")}}); err == nil || !strings.Contains(err.Error(), "--password-stdin") {
		t.Errorf("without a terminal: got %v", err)
	}
}

// TestBaseURL_IsTheOriginThatBrowsersSend: Origin headers are compared with it.
func TestBaseURL_IsTheOriginThatBrowsersSend(t *testing.T) {
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
