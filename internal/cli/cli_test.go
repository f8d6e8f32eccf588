package cli

import (
	"bytes"
	"errors"
	"log/slog"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"gatehouse/internal/config"
	"gatehouse/kv/embedded"
	"gatehouse/web/cookies"
	"gatehouse/web/sessions"
)

// testSecret is a valid SECRET_KEY.
const testSecret = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="

// setEnvironment sets the settings' environment variables for the test and unsets those that env lacks.
func setEnvironment(t *testing.T, env map[string]string) {
	t.Helper()
	for _, field := range reflect.VisibleFields(reflect.TypeFor[config.Settings]()) {
		t.Setenv(field.Tag.Get("env"), "")
	}
	t.Setenv("SMTP_URL", "")
	t.Setenv("MAIL_FROM", "")
	for name, value := range env {
		t.Setenv(name, value)
	}
}

// runIn runs the program with an environment and returns what it printed.
func runIn(t *testing.T, env map[string]string, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	if _, ok := env["DATA_DIR"]; !ok {
		env["DATA_DIR"] = filepath.Join(t.TempDir(), "data")
	}
	setEnvironment(t, env)
	var out, errs bytes.Buffer
	err = Run(t.Context(), args, IO{strings.NewReader(""), &out, &errs})
	return out.String(), errs.String(), err
}

// parse returns the settings that Run would use.
func parse(t *testing.T, env map[string]string, args ...string) config.Settings {
	t.Helper()
	setEnvironment(t, env)
	var c cli
	parser, err := newParser(&c, IO{}, func() { t.Error("exit") })
	if err != nil {
		t.Fatal(err)
	}
	unsetEmpty(parser.Model)
	if _, err := parser.Parse(args); err != nil {
		t.Fatal(err)
	}
	return c.Settings
}

func TestSettings_HaveDefaults(t *testing.T) {
	want := config.Settings{
		ListenAddr: "localhost:8080", BaseURL: "http://localhost:8080", DataDir: "./data",
		SessionLifetime: 24 * time.Hour, SessionIdle: 2 * time.Hour, RememberLifetime: 720 * time.Hour, RememberIdle: 336 * time.Hour,
		TokenLifetime: 72 * time.Hour, CredentialTTL: 5 * time.Minute, UserCacheTTL: time.Hour, PasswordMin: 8, Registration: "open", LogFormat: "auto", LogLevel: slog.LevelInfo,
		DjangoSessionCookie: "sessionid", DjangoSessionAge: 336 * time.Hour, DjangoSource: "django",
	}
	for name, got := range map[string]config.Settings{
		"nothing set":     parse(t, nil),
		"serve":           parse(t, nil, "serve"),
		"empty variables": parse(t, map[string]string{"LISTEN_ADDR": "", "SESSION_IDLE": "", "PASSWORD_MIN_LENGTH": "", "TRUSTED_PROXIES": ""}),
	} {
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %+v, want %+v", name, got, want)
		}
	}
	c, err := want.Validate()
	if err != nil || c.Cookies != (cookies.Policy{}) || len(c.Proxies) != 0 || c.Base.Host != "localhost:8080" {
		t.Errorf("got %+v, %v", c, err)
	}
	if got := c.Lifetimes(); got != (sessions.Lifetimes{Session: 24 * time.Hour, Idle: 2 * time.Hour, Remember: 720 * time.Hour, RememberIdle: 336 * time.Hour}) {
		t.Errorf("got %+v", got)
	}
}

func TestSettings_ComeFromEnvironmentAndFlags(t *testing.T) {
	env := map[string]string{
		"LISTEN_ADDR": ":1", "BASE_URL": "https://a.example.org", "DATABASE_URL": "sqlite:x", "DATABASE_LISTEN_URL": "postgres://h/d", "REDIS_URL": "redis://h", "CACHE_URL": "redis://h/1",
		"SECRET_KEY": testSecret + "," + testSecret, "DATA_DIR": "d", "COOKIE_DOMAIN": "example.org", "TRUSTED_PROXIES": "10.0.0.0/8,::1",
		"SESSION_LIFETIME": "1d", "SESSION_IDLE": "2h", "REMEMBER_LIFETIME": "3h", "REMEMBER_IDLE": "4h", "USER_CACHE_TTL": "5h",
		"TOKEN_LIFETIME": "6h", "CREDENTIAL_CACHE_TTL": "7m", "METRICS_ADDR": ":3",
		"DJANGO_SESSIONS_URL": "redis://h/2", "DJANGO_SECRET_KEY": " a,b ", "DJANGO_SESSION_PREFIX": "p", "DJANGO_SESSION_COOKIE": "c", "DJANGO_SESSION_AGE": "8h", "DJANGO_SOURCE": "shop",
		"PASSWORD_MIN_LENGTH": "9", "REGISTRATION": "closed", "LOG_FORMAT": "json", "LOG_LEVEL": "debug", "MIGRATE": "true",
	}
	want := config.Settings{
		ListenAddr: ":1", BaseURL: "https://a.example.org", DatabaseURL: "sqlite:x", DatabaseListenURL: "postgres://h/d", RedisURL: "redis://h", CacheURL: "redis://h/1",
		SecretKey: testSecret + "," + testSecret, DataDir: "d", CookieDomain: "example.org", TrustedProxies: []string{"10.0.0.0/8", "::1"},
		SessionLifetime: 24 * time.Hour, SessionIdle: 2 * time.Hour, RememberLifetime: 3 * time.Hour, RememberIdle: 4 * time.Hour, UserCacheTTL: 5 * time.Hour,
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
		t.Errorf("the environment overrides the flag: %q", got.ListenAddr)
	}
}

func TestRun_RefusesInvalidSettings(t *testing.T) {
	for _, c := range []struct{ name, value, want string }{
		{"LISTEN_ADDR", "8080", `LISTEN_ADDR "8080" is not host:port`},
		{"DATABASE_LISTEN_URL", "db:5432", "DATABASE_LISTEN_URL is not a URL"},
		{"DATABASE_LISTEN_URL", "postgres://u:hunter2@h/d", "DATABASE_URL is not a Postgres URL"},
		{"BASE_URL", "login.example.org", "BASE_URL"},
		{"BASE_URL", "ftp://login.example.org", "BASE_URL"},
		{"BASE_URL", "https://", "BASE_URL"},
		{"BASE_URL", "https://:8080", "BASE_URL"},
		{"BASE_URL", "https://login.example.org/sub", "BASE_URL"},
		{"BASE_URL", "https://login.example.org?a", "BASE_URL"},
		{"BASE_URL", "https://login.example.org?", "BASE_URL"},
		{"BASE_URL", "https://login.example.org#a", "BASE_URL"},
		{"BASE_URL", "https://u:hunter2@login.example.org", "BASE_URL contains a user name or password"},
		{"BASE_URL", "https://u:hun%zter2@login.example.org", "BASE_URL contains a user name or password"},
		{"TRUSTED_PROXIES", "10.0.0.0/8,garbage", `TRUSTED_PROXIES: "garbage" is not a network such as 10.0.0.0/8`},
		{"TRUSTED_PROXIES", "10.0.0.0/33", "TRUSTED_PROXIES"},
		{"COOKIE_DOMAIN", "example.org", `COOKIE_DOMAIN "example.org" is not the domain of BASE_URL's host "localhost"`},
		{"BASE_URL", "https://login.example.org:65536", "BASE_URL"},
		{"SESSION_LIFETIME", "0s", "SESSION_LIFETIME is 0s; it must be at least 1s"},
		{"SESSION_IDLE", "-1h", "SESSION_IDLE"},
		{"SESSION_IDLE", "25h", "SESSION_IDLE is 25h, which is longer than SESSION_LIFETIME (24h)"},
		{"REMEMBER_IDLE", "31d", "REMEMBER_IDLE is 744h, which is longer than REMEMBER_LIFETIME (720h)"},
		{"LISTEN_ADDR", "localhost:99999", `LISTEN_ADDR "localhost:99999": the port "99999" is not a number from 1 to 65535`},
		{"DATABASE_URL", "postgres://u:hunter2@h:99999/d", "DATABASE_URL: the port is not a number"},
		{"DATABASE_URL", "postgres://u:hunter2@h:port/d", "DATABASE_URL: the port is not a number"},
		{"DATABASE_URL", "postgres://u:hun/ter2@h/d", "DATABASE_URL: invalid URL (special characters in the password must be percent-encoded)"},
		{"REDIS_URL", "redis://:hunter2@h:port", "REDIS_URL: the port of the Redis URL is not a number"},
		{"REMEMBER_LIFETIME", "999ms", "REMEMBER_LIFETIME"},
		{"REMEMBER_IDLE", "87601h", "REMEMBER_IDLE is 87601h; it must be at most 87600h"},
		{"USER_CACHE_TTL", "1ms", "USER_CACHE_TTL"},
		{"SESSION_IDLE", "two hours", `SESSION_IDLE: "two hours" is not a duration such as 90m, 12h or 30d`},
		{"PASSWORD_MIN_LENGTH", "7", "PASSWORD_MIN_LENGTH is 7; it must be 8 to 64"},
		{"PASSWORD_MIN_LENGTH", "65", "PASSWORD_MIN_LENGTH"},
		{"PASSWORD_MIN_LENGTH", "ten", "PASSWORD_MIN_LENGTH: expected a valid 64 bit int"},
		{"REGISTRATION", "maybe", `REGISTRATION must be one of open, closed, and not "maybe"`},
		{"LOG_FORMAT", "xml", "LOG_FORMAT must be one of auto, text, json"},
		{"LOG_LEVEL", "loud", "LOG_LEVEL"},
		{"SMTP_URL", "smtp://u:hunter2@h", "SMTP_URL is set, but this version cannot send mail yet: unset it"},
		{"METRICS_ADDR", "9090", `METRICS_ADDR "9090" is not host:port`},
		{"TOKEN_LIFETIME", "59s", "TOKEN_LIFETIME is 59s; it must be at least 1m"},
		{"TOKEN_LIFETIME", "8785h", "TOKEN_LIFETIME is 8785h; it must be at most 8784h"},
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

func TestServe_RefusesAnInvalidDjangoSessionsURL(t *testing.T) {
	_, errs, err := runIn(t, map[string]string{"DJANGO_SESSIONS_URL": "http://:hunter2@h", "DJANGO_SECRET_KEY": "x", "LISTEN_ADDR": "127.0.0.1:0"}, "serve")
	if err == nil || !strings.HasPrefix(err.Error(), "DJANGO_SESSIONS_URL: ") || strings.Contains(err.Error()+errs, "hunter2") {
		t.Errorf("got %v, %s", err, errs)
	}
}

func TestDoctor_ChecksDjangosRedis(t *testing.T) {
	const fault, ok = "FAULT  DJANGO_SESSIONS_URL", "ok     DJANGO_SESSIONS_URL responds"
	embedded, err := embedded.StartRedis(t.TempDir())
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

func TestRun_PrintsVersionAndHelp(t *testing.T) {
	out, _, err := runIn(t, map[string]string{"LISTEN_ADDR": "nonsense"}, "version")
	if err != nil || !strings.HasPrefix(out, "gatehouse ") || strings.Count(out, "\n") != 1 {
		t.Errorf("got %q, %v", out, err)
	}
	if flag, _, err := runIn(t, map[string]string{"LISTEN_ADDR": "nonsense"}, "--version"); err != nil || flag != out {
		t.Errorf("--version: got %q, %v; want %q", flag, err, out)
	}
	out, _, err = runIn(t, map[string]string{"SECRET_KEY": testSecret}, "--help")
	if err != nil || !strings.Contains(out, "--listen-addr") || !strings.Contains(out, "$LISTEN_ADDR") || strings.Contains(out, testSecret) {
		t.Errorf("got %q, %v", out, err)
	}
	if _, _, err := runIn(t, map[string]string{}, "nonsense"); err == nil || strings.Contains(err.Error(), "\n") {
		t.Errorf("got %v", err)
	}
}

func TestNameVariable_PrecedesTheFlag(t *testing.T) {
	parser, err := newParser(new(cli), IO{}, func() {})
	if err != nil {
		t.Fatal(err)
	}
	for in, want := range map[string]string{
		"--session-idle: expected duration":                    "SESSION_IDLE (--session-idle): expected duration",
		"--log-level=LEVEL: bad":                               "LOG_LEVEL (--log-level): bad",
		"--log-format must be one of a, b":                     "LOG_FORMAT (--log-format) must be one of a, b",
		"--session-idle: x: y (from envar SESSION_IDLE=\"y\")": "SESSION_IDLE (--session-idle): x: y",
		"unexpected argument x":                                "unexpected argument x",
		"unknown flag --a":                                     "unknown flag --a",
		"x: y":                                                 "x: y",
	} {
		if got := nameVariable(parser.Model, errors.New(in)).Error(); got != want {
			t.Errorf("%q became %q, want %q", in, got, want)
		}
	}
}
