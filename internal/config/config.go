package config

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/idna"
	"golang.org/x/net/publicsuffix"

	"gatehouse/auth"
	"gatehouse/auth/identifier"
	"gatehouse/kv/redisconn"
	"gatehouse/web"
)

// Settings are environment variables, each also a flag: LISTEN_ADDR is --listen-addr.
// Secrets among them are never printed.
type Settings struct {
	ListenAddr        string        `default:"localhost:8080" placeholder:"ADDR" help:"Address to listen on, host:port."`
	BaseURL           string        `default:"http://localhost:8080" placeholder:"URL" help:"What people type. With https, cookies are Secure and __Host-."`
	DatabaseURL       string        `placeholder:"URL" help:"postgres://… or sqlite:PATH. Empty: SQLite in DATA_DIR."`
	DatabaseListenURL string        `placeholder:"URL" help:"The same Postgres without a pooler, for notifications and migrations. Needed where DATABASE_URL leads through a pooler in transaction mode."`
	RedisURL          string        `placeholder:"URL" help:"Sessions and throttles: redis://, rediss:// or unix://. Empty: Redis inside this process; its sessions end with it."`
	CacheURL          string        `placeholder:"URL" help:"User cache; may be flushed at any moment. Empty: the next database of REDIS_URL."`
	SecretKey         string        `placeholder:"BASE64" help:"At least 32 random bytes in base64; several, separated by commas, to rotate. Made once in DATA_DIR if both stores are embedded."`
	DataDir           string        `default:"./data" placeholder:"DIR" help:"Where the embedded stores keep their files."`
	CookieDomain      string        `placeholder:"DOMAIN" help:"Share the session with the subdomains of DOMAIN."`
	TrustedProxies    []string      `placeholder:"CIDR" help:"Networks whose X-Forwarded-For is believed, separated by commas."`
	SessionLifetime   time.Duration `default:"24h" help:"A session ends so long after the sign-in."`
	SessionIdle       time.Duration `default:"2h" help:"A session ends so long after its last request."`
	RememberLifetime  time.Duration `default:"720h" help:"SESSION_LIFETIME with \"keep me signed in\"."`
	RememberIdle      time.Duration `default:"336h" help:"SESSION_IDLE with \"keep me signed in\"."`
	TokenLifetime     time.Duration `default:"72h" help:"How long an API token lives whose maker does not say."`
	CredentialTTL     time.Duration `name:"credential-cache-ttl" default:"5m" help:"How long a name and password sent by HTTP Basic are not hashed again."`
	UserCacheTTL      time.Duration `name:"user-cache-ttl" default:"1h" help:"How long a user stays in the cache at most."`
	PasswordMin       int           `name:"password-min-length" default:"8" help:"Shortest new password, in characters."`
	Registration      string        `default:"open" enum:"open,closed" help:"Whether people can register themselves: open or closed."`
	MetricsAddr       string        `placeholder:"ADDR" help:"Address for Prometheus, which reads /metrics there. Empty: none."`
	LogFormat         string        `default:"auto" enum:"auto,text,json" help:"text or json. auto: text on a terminal, else json."`
	LogLevel          slog.Level    `default:"info" placeholder:"LEVEL" help:"debug, info, warn or error."`

	DjangoSessionsURL   string        `placeholder:"URL" help:"Redis with a Django's sessions: who is signed in there is signed in here. Only read. Empty: none."`
	DjangoSecretKey     string        `placeholder:"KEY" help:"Django's SECRET_KEY; several as a JSON list, for its SECRET_KEY_FALLBACKS."`
	DjangoSessionPrefix string        `placeholder:"PREFIX" help:"The prefix in Django's SESSION_REDIS, without a colon."`
	DjangoSessionCookie string        `default:"sessionid" placeholder:"NAME" help:"Django's SESSION_COOKIE_NAME."`
	DjangoSessionAge    time.Duration `default:"336h" help:"Django's SESSION_COOKIE_AGE."`
	DjangoSource        string        `default:"django" placeholder:"NAME" help:"The --source that the users of this Django were imported with."`
}

// unsupported are settings of parts that this version does not have. Accepting them
// silently would promise what is not there.
var unsupported = map[string]string{
	"SMTP_URL":  "sending mail",
	"MAIL_FROM": "sending mail",
}

func RefuseUnsupported(env map[string]string) error {
	for name, part := range unsupported {
		if env[name] != "" {
			return fmt.Errorf("%s is set, but this version does not have %s yet: unset it", name, part)
		}
	}
	return nil
}

// Config is the settings, checked and parsed.
type Config struct {
	Settings
	Base       *url.URL
	Proxies    []netip.Prefix
	Cookies    web.Cookies
	DjangoKeys auth.DjangoKeys
}

// Validate returns the first setting that cannot be used, in one line that names it.
func (s Settings) Validate() (Config, error) {
	c := Config{Settings: s}
	var err error
	if c.Base, err = parseBaseURL(s.BaseURL); err != nil {
		return Config{}, err
	}
	if c.Proxies, err = parseProxies(s.TrustedProxies); err != nil {
		return Config{}, err
	}
	if err := errors.Join(s.checkAddr(), s.checkListenURL(), s.checkNumbers(), s.checkCookieDomain(c.Base)); err != nil {
		return Config{}, firstLine(err)
	}
	c.Cookies = web.Cookies{Secure: c.Base.Scheme == "https", Domain: s.CookieDomain}
	if c.DjangoKeys, err = s.checkDjango(c.Cookies); err != nil {
		return Config{}, err
	}
	return c, nil
}

// checkDjango returns the keys of Django's sessions, if there is a bridge to them.
func (s Settings) checkDjango(ours web.Cookies) (auth.DjangoKeys, error) {
	if err := identifier.ValidateSourceName(s.DjangoSource); err != nil {
		return auth.DjangoKeys{}, fmt.Errorf("DJANGO_SOURCE %q: %w", s.DjangoSource, err)
	}
	switch {
	case s.DjangoSessionsURL == "":
		return auth.DjangoKeys{}, nil
	case s.DjangoSecretKey == "":
		return auth.DjangoKeys{}, errors.New("DJANGO_SECRET_KEY is needed with DJANGO_SESSIONS_URL: give it Django's SECRET_KEY")
	case (&http.Cookie{Name: s.DjangoSessionCookie}).Valid() != nil:
		return auth.DjangoKeys{}, fmt.Errorf("DJANGO_SESSION_COOKIE %q is not the name of a cookie", s.DjangoSessionCookie)
	case s.DjangoSessionCookie == ours.SessionName():
		return auth.DjangoKeys{}, fmt.Errorf("DJANGO_SESSION_COOKIE is %q, which is the name of Gatehouse's own cookie: change SESSION_COOKIE_NAME in Django", s.DjangoSessionCookie)
	}
	keys, err := auth.ParseDjangoKeys(s.DjangoSecretKey)
	if err != nil {
		return auth.DjangoKeys{}, fmt.Errorf("DJANGO_SECRET_KEY: %w", err)
	}
	return keys, nil
}

// firstLine keeps one fault: the next start tells the next one.
func firstLine(err error) error {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return errors.New(line)
}

func (s Settings) checkAddr() error {
	if _, _, err := net.SplitHostPort(s.ListenAddr); err != nil {
		return fmt.Errorf("LISTEN_ADDR %q is not host:port", s.ListenAddr)
	}
	if _, _, err := net.SplitHostPort(s.MetricsAddr); err != nil && s.MetricsAddr != "" {
		return fmt.Errorf("METRICS_ADDR %q is not host:port", s.MetricsAddr)
	}
	return nil
}

func (s Settings) checkListenURL() error {
	isPostgres := func(url string) bool {
		return strings.HasPrefix(url, "postgres://") || strings.HasPrefix(url, "postgresql://")
	}
	switch {
	case s.DatabaseListenURL == "":
		return nil
	case !isPostgres(s.DatabaseListenURL):
		return errors.New("DATABASE_LISTEN_URL is not an address such as postgres://user@host/database")
	case !isPostgres(s.DatabaseURL):
		return errors.New("DATABASE_LISTEN_URL is set, but DATABASE_URL is not a Postgres: unset it")
	}
	return nil
}

func parseBaseURL(raw string) (*url.URL, error) {
	u, err := url.Parse(raw)
	if strings.Contains(raw, "@") {
		return nil, errors.New("BASE_URL has a user or a password in it; it is only the address, such as https://login.example.org")
	}
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Hostname() == "" || !isPort(u.Port()) || strings.Trim(u.Path, "/") != "" || strings.ContainsAny(raw, "?#") {
		return nil, fmt.Errorf("BASE_URL %q is not an address such as https://login.example.org", raw)
	}
	u.Host = originHost(u)
	return u, nil
}

// originHost returns the host and port as browsers write them in an Origin header (RFC 6454, section 6.1): in lower
// case, without the default port of the scheme.
func originHost(u *url.URL) string {
	host, port := strings.ToLower(u.Hostname()), u.Port()
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	if port == "" || u.Scheme == "http" && port == "80" || u.Scheme == "https" && port == "443" {
		return host
	}
	return host + ":" + port
}

// isPort reports whether there is no port, or one that an address can have.
func isPort(port string) bool {
	n, err := strconv.ParseUint(port, 10, 16)
	return port == "" || err == nil && n > 0
}

func parseProxies(cidrs []string) ([]netip.Prefix, error) {
	var all []netip.Prefix
	for _, c := range cidrs {
		c = strings.TrimSpace(c)
		if c == "" {
			continue
		}
		p, err := netip.ParsePrefix(c)
		if a, addrErr := netip.ParseAddr(c); err != nil && addrErr == nil {
			p, err = netip.PrefixFrom(a, a.BitLen()), nil
		}
		if err != nil {
			return nil, fmt.Errorf("TRUSTED_PROXIES: %q is not a network such as 10.0.0.0/8", c)
		}
		all = append(all, p)
	}
	return all, nil
}

func (s Settings) checkNumbers() error {
	for _, d := range []struct {
		name  string
		value time.Duration
	}{
		{"SESSION_LIFETIME", s.SessionLifetime}, {"SESSION_IDLE", s.SessionIdle},
		{"REMEMBER_LIFETIME", s.RememberLifetime}, {"REMEMBER_IDLE", s.RememberIdle}, {"USER_CACHE_TTL", s.UserCacheTTL},
		{"CREDENTIAL_CACHE_TTL", s.CredentialTTL}, {"DJANGO_SESSION_AGE", s.DjangoSessionAge},
	} {
		if d.value < time.Second {
			return fmt.Errorf("%s is %s; it must be at least 1s", d.name, d.value)
		}
		if d.value > auth.MaxSessionIdle {
			return fmt.Errorf("%s is %s; it must be at most 87600h, which is ten years", d.name, d.value)
		}
	}
	if s.TokenLifetime < auth.MinTokenLifetime || s.TokenLifetime > auth.MaxTokenLifetime {
		return fmt.Errorf("TOKEN_LIFETIME is %s; it must be 1m to %dh", s.TokenLifetime, auth.MaxTokenLifetime/time.Hour)
	}
	// NIST SP 800-63B wants eight at the least; more than 64 would refuse what it must accept.
	if s.PasswordMin < 8 || s.PasswordMin > 64 {
		return fmt.Errorf("PASSWORD_MIN_LENGTH is %d; it must be 8 to 64", s.PasswordMin)
	}
	return nil
}

func (s Settings) checkCookieDomain(base *url.URL) error {
	if s.CookieDomain == "" {
		return nil
	}
	host := base.Hostname()
	if host != s.CookieDomain && !strings.HasSuffix(host, "."+s.CookieDomain) {
		return fmt.Errorf("COOKIE_DOMAIN %q is not the domain of BASE_URL's host %q, so browsers would refuse the cookie", s.CookieDomain, host)
	}
	if net.ParseIP(host) != nil {
		return fmt.Errorf("COOKIE_DOMAIN %q is an IP address, which has no subdomains to share the cookie with: unset it", s.CookieDomain)
	}
	if isPublicSuffix(s.CookieDomain) {
		return fmt.Errorf("COOKIE_DOMAIN %q is a public suffix, below which anybody can have a name, so browsers would refuse the cookie: choose the domain that is yours, such as example.%s", s.CookieDomain, s.CookieDomain)
	}
	return nil
}

// isPublicSuffix reports whether the Public Suffix List (https://publicsuffix.org) has the domain, in
// either of its parts, as browsers look for it. A single label that it does not know counts as one, too.
func isPublicSuffix(domain string) bool {
	ascii, err := idna.Lookup.ToASCII(strings.ToLower(domain))
	if err != nil {
		ascii = strings.ToLower(domain)
	}
	suffix, _ := publicsuffix.PublicSuffix(ascii)
	return suffix == ascii
}

// EmbeddedSQL reports whether users live in SQLite.
func (c Config) EmbeddedSQL() bool {
	return c.DatabaseURL == "" || strings.HasPrefix(c.DatabaseURL, "sqlite:")
}

func (c Config) ResolveDatabaseURL() string {
	if c.DatabaseURL != "" {
		return c.DatabaseURL
	}
	return "sqlite:" + filepath.Join(c.DataDir, "gatehouse.db")
}

// ResolveCacheURL returns where the user cache is; never the sessions' own database.
func (c Config) ResolveCacheURL(redisURL string) (string, error) {
	if c.CacheURL == "" {
		next, err := redisconn.NextDatabase(redisURL)
		if err != nil {
			return "", fmt.Errorf("REDIS_URL: %w", err)
		}
		return next, nil
	}
	if redisconn.SameDatabase(redisURL, c.CacheURL) {
		return "", errors.New("CACHE_URL is the same database as REDIS_URL: flushing the cache would sign everybody out; give it a database of its own")
	}
	return c.CacheURL, nil
}

// MakeDataDir makes DATA_DIR, for its owner alone.
func (c Config) MakeDataDir() error {
	if err := os.MkdirAll(c.DataDir, 0o700); err != nil {
		return fmt.Errorf("make DATA_DIR: %w", err)
	}
	return nil
}

// Keys returns the secrets: SECRET_KEY, or the file that the first start made when
// everything is embedded.
func (c Config) Keys() (auth.Keys, error) {
	if c.SecretKey != "" {
		keys, err := auth.ParseKeys(c.SecretKey)
		if err != nil {
			return auth.Keys{}, fmt.Errorf("SECRET_KEY: %w; make one with: openssl rand -base64 32", err)
		}
		return keys, nil
	}
	if !c.EmbeddedSQL() || c.RedisURL != "" {
		return auth.Keys{}, errors.New("SECRET_KEY is needed with a server of its own for users or sessions; make one with: openssl rand -base64 32")
	}
	secret, err := c.secretFile()
	if err != nil {
		return auth.Keys{}, err
	}
	keys, err := auth.ParseKeys(secret)
	if err != nil {
		return auth.Keys{}, fmt.Errorf("the file secret.key in DATA_DIR: %w; remove the file to have a new one made", err)
	}
	return keys, nil
}

func (c Config) secretFile() (string, error) {
	if err := c.MakeDataDir(); err != nil {
		return "", err
	}
	path := filepath.Join(c.DataDir, "secret.key")
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, os.ErrExist) {
		b, err := os.ReadFile(path)
		return strings.TrimSpace(string(b)), err
	}
	if err != nil {
		return "", fmt.Errorf("make the secret key: %w", err)
	}
	secret := auth.NewSecretKey()
	_, err = f.WriteString(secret + "\n")
	return secret, errors.Join(err, f.Close())
}

func (c Config) Lifetimes() web.Lifetimes {
	return web.Lifetimes{Session: c.SessionLifetime, Idle: c.SessionIdle, Remember: c.RememberLifetime, RememberIdle: c.RememberIdle}
}
