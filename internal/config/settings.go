package config

import (
	"errors"
	"log/slog"
	"os"
	"time"
)

// Settings are the values of the environment variables, each of which is also a flag: LISTEN_ADDR is --listen-addr.
// The secrets among them are never printed.
type Settings struct {
	ListenAddr        string        `env:"LISTEN_ADDR" default:"localhost:8080" placeholder:"ADDR" help:"Address to listen on, host:port."`
	BaseURL           string        `env:"BASE_URL" default:"http://localhost:8080" placeholder:"URL" help:"Public URL of the site. With https, cookies are Secure and have the prefix __Host-."`
	DatabaseURL       string        `env:"DATABASE_URL" placeholder:"URL" help:"postgres://… or sqlite:PATH. Empty: SQLite in DATA_DIR."`
	DatabaseListenURL string        `env:"DATABASE_LISTEN_URL" placeholder:"URL" help:"Direct connection to the same Postgres, for notifications and migrations. Required if DATABASE_URL goes through a pooler in transaction mode."`
	RedisURL          string        `env:"REDIS_URL" placeholder:"URL" help:"Redis for sessions, API tokens and rate limits: redis://, rediss:// or unix://. Empty: Redis inside this process, whose sessions are lost when it stops."`
	CacheURL          string        `env:"CACHE_URL" placeholder:"URL" help:"Redis for the user and credential caches; may be flushed at any time. Empty: the next database of REDIS_URL."`
	SecretKey         string        `env:"SECRET_KEY" placeholder:"BASE64" help:"At least 32 random bytes in base64; several, separated by commas, to rotate. Generated in DATA_DIR if both stores are embedded."`
	DataDir           string        `env:"DATA_DIR" default:"./data" placeholder:"DIR" help:"Directory for the files of the embedded stores."`
	CookieDomain      string        `env:"COOKIE_DOMAIN" placeholder:"DOMAIN" help:"Share the session with the subdomains of DOMAIN."`
	TrustedProxies    []string      `env:"TRUSTED_PROXIES" placeholder:"CIDR" help:"Networks of proxies whose X-Forwarded headers are trusted, separated by commas."`
	SessionLifetime   time.Duration `env:"SESSION_LIFETIME" default:"24h" help:"Maximum time from sign-in until a session expires."`
	SessionIdle       time.Duration `env:"SESSION_IDLE" default:"2h" help:"Time without a request after which a session expires."`
	RememberLifetime  time.Duration `env:"REMEMBER_LIFETIME" default:"720h" help:"SESSION_LIFETIME with \"keep me signed in\"."`
	RememberIdle      time.Duration `env:"REMEMBER_IDLE" default:"336h" help:"SESSION_IDLE with \"keep me signed in\"."`
	TokenLifetime     time.Duration `env:"TOKEN_LIFETIME" default:"72h" help:"Default lifetime of an API token."`
	CredentialTTL     time.Duration `env:"CREDENTIAL_CACHE_TTL" name:"credential-cache-ttl" default:"5m" help:"How long a verified HTTP Basic credential is cached, which saves hashing its password again."`
	UserCacheTTL      time.Duration `env:"USER_CACHE_TTL" name:"user-cache-ttl" default:"1h" help:"Maximum time that a user is cached."`
	PasswordMin       int           `env:"PASSWORD_MIN_LENGTH" name:"password-min-length" default:"8" help:"Minimum length of a new password, in characters."`
	Registration      string        `env:"REGISTRATION" default:"open" enum:"open,closed" help:"Whether visitors can create an account: open or closed."`
	AppsFile          string        `env:"APPS_FILE" placeholder:"PATH" help:"YAML file with the apps that the dashboard lists, read again when it changes. Empty: none."`
	HelpContact       string        `env:"HELP_CONTACT" placeholder:"TEXT" help:"Whom people ask who cannot sign in: an email address, a URL or a sentence for the sign-in page."`
	MetricsAddr       string        `env:"METRICS_ADDR" placeholder:"ADDR" help:"Address that serves Prometheus metrics at /metrics, host:port. Empty: off."`
	LogFormat         string        `env:"LOG_FORMAT" default:"auto" enum:"auto,text,json" help:"text or json. auto: text on a terminal, otherwise json."`
	LogLevel          slog.Level    `env:"LOG_LEVEL" default:"info" placeholder:"LEVEL" help:"debug, info, warn or error."`

	DjangoSessionsURL   string        `env:"DJANGO_SESSIONS_URL" placeholder:"URL" help:"Redis that holds the sessions of a Django site: users signed in to Django are signed in here too. Read only. Empty: off."`
	DjangoSecretKey     string        `env:"DJANGO_SECRET_KEY" placeholder:"KEY" help:"Django's SECRET_KEY; several as a JSON list, for its SECRET_KEY_FALLBACKS."`
	DjangoSessionPrefix string        `env:"DJANGO_SESSION_PREFIX" placeholder:"PREFIX" help:"The prefix in Django's SESSION_REDIS, without a colon."`
	DjangoSessionCookie string        `env:"DJANGO_SESSION_COOKIE" default:"sessionid" placeholder:"NAME" help:"Django's SESSION_COOKIE_NAME."`
	DjangoSessionAge    time.Duration `env:"DJANGO_SESSION_AGE" default:"336h" help:"Django's SESSION_COOKIE_AGE."`
	DjangoSource        string        `env:"DJANGO_SOURCE" default:"django" placeholder:"NAME" help:"The --source with which the users of this Django site were imported."`
}

// CheckUnsupported returns a fault for each variable that configures a feature which this version lacks. Ignoring the
// variable would promise the feature.
func CheckUnsupported() Faults {
	var f Faults
	for _, name := range []string{"SMTP_URL", "MAIL_FROM"} {
		if os.Getenv(name) != "" {
			f.add(errors.New(name + " is set, but this version cannot send mail yet: unset it"))
		}
	}
	return f
}
