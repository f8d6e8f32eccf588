package config

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/idna"
	"golang.org/x/net/publicsuffix"

	"gatehouse/auth"
	"gatehouse/auth/identifier"
	"gatehouse/db"
	"gatehouse/django"
	"gatehouse/kv/redisconn"
	"gatehouse/web/cookies"
)

// Validate parses the settings. The faults are all invalid ones, in the order of the fields; nil if there are none. The
// fields of Config that follow from an invalid setting have their zero value.
func (s Settings) Validate() (Config, Faults) {
	c := Config{Settings: s}
	var f Faults
	var err error
	f.add(checkAddress("LISTEN_ADDR", s.ListenAddr))
	if c.Base, err = parseBaseURL(s.BaseURL); err != nil {
		f.add(err)
	}
	f.add(s.checkDatabaseURL(), s.checkListenURL())
	f.add(s.checkRedisURLs()...)
	f.add(s.checkSecretKey())
	if err := s.checkCookieDomain(c.Base); err != nil {
		f.add(err)
	} else if c.Base != nil {
		c.Cookies = cookies.Policy{Secure: c.Base.Scheme == "https", Domain: s.CookieDomain}
	}
	if c.Proxies, err = parseProxies(s.TrustedProxies); err != nil {
		f.add(err)
	}
	f.add(s.checkDurations()...)
	f.add(s.checkPasswordMin())
	if s.MetricsAddr != "" {
		f.add(checkAddress("METRICS_ADDR", s.MetricsAddr))
	}
	f.add(s.checkHelpContact())
	if c.DjangoKeys, err = s.parseDjango(c.Cookies); err != nil {
		f.add(err)
	}
	return c, f
}

// parseDjango returns the keys of Django's sessions; zero if DJANGO_SESSIONS_URL is empty.
func (s Settings) parseDjango(ours cookies.Policy) (django.Keys, error) {
	if err := identifier.ValidateSourceName(s.DjangoSource); err != nil {
		return django.Keys{}, fmt.Errorf("DJANGO_SOURCE %q: %w", s.DjangoSource, err)
	}
	switch {
	case s.DjangoSessionsURL == "":
		return django.Keys{}, nil
	case s.DjangoSecretKey == "":
		return django.Keys{}, errors.New("DJANGO_SECRET_KEY is required with DJANGO_SESSIONS_URL: set it to Django's SECRET_KEY")
	case (&http.Cookie{Name: s.DjangoSessionCookie}).Valid() != nil:
		return django.Keys{}, fmt.Errorf("DJANGO_SESSION_COOKIE %q is not a valid cookie name", s.DjangoSessionCookie)
	case s.DjangoSessionCookie == ours.SessionName():
		return django.Keys{}, fmt.Errorf("DJANGO_SESSION_COOKIE is %q, which is the name of Gatehouse's own cookie: change SESSION_COOKIE_NAME in Django", s.DjangoSessionCookie)
	}
	keys, err := django.ParseKeys(s.DjangoSecretKey)
	if err != nil {
		return django.Keys{}, fmt.Errorf("DJANGO_SECRET_KEY: %w", err)
	}
	return keys, nil
}

// checkAddress checks an address to listen on. Its port may be 0, for any free one, or the name of a service.
func checkAddress(setting, addr string) error {
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("%s %q is not host:port", setting, addr)
	}
	if _, err := net.LookupPort("tcp", port); err != nil || port == "" {
		return fmt.Errorf("%s %q: %s", setting, addr, badPort(port))
	}
	return nil
}

// badPort returns what is wrong with a port that validPort refuses.
func badPort(port string) string {
	return fmt.Sprintf("the port %q is not a number from 1 to 65535", port)
}

func (s Settings) checkDatabaseURL() error {
	if s.DatabaseURL == "" {
		return nil
	}
	if err := db.CheckURL(s.DatabaseURL); err != nil {
		return fmt.Errorf("DATABASE_URL: %w", err)
	}
	return nil
}

// checkRedisURLs checks the form of the URLs, and that flushing the cache flushes no sessions.
func (s Settings) checkRedisURLs() []error {
	var all []error
	for _, r := range []struct{ setting, url string }{
		{"REDIS_URL", s.RedisURL}, {"CACHE_URL", s.CacheURL}, {"DJANGO_SESSIONS_URL", s.DjangoSessionsURL},
	} {
		if r.url == "" {
			continue
		}
		if err := redisconn.CheckURL(r.url); err != nil {
			all = append(all, fmt.Errorf("%s: %w", r.setting, err))
		}
	}
	if len(all) > 0 || s.RedisURL == "" {
		return all
	}
	if _, err := (Config{Settings: s}).ResolveCacheURL(s.RedisURL); err != nil {
		all = append(all, err)
	}
	return all
}

// checkSecretKey checks the keys in SECRET_KEY, if there are any; see Config.RequireSecretKey.
func (s Settings) checkSecretKey() error {
	if s.SecretKey == "" {
		return nil
	}
	_, err := Config{Settings: s}.Keys()
	return err
}

func (s Settings) checkListenURL() error {
	isPostgres := func(url string) bool {
		return strings.HasPrefix(url, "postgres://") || strings.HasPrefix(url, "postgresql://")
	}
	switch {
	case s.DatabaseListenURL == "":
		return nil
	case !isPostgres(s.DatabaseListenURL):
		return errors.New("DATABASE_LISTEN_URL is not a URL such as postgres://user@host/database")
	case !isPostgres(s.DatabaseURL):
		return errors.New("DATABASE_LISTEN_URL is set, but DATABASE_URL is not a Postgres URL: unset it")
	}
	if err := db.CheckURL(s.DatabaseListenURL); err != nil {
		return fmt.Errorf("DATABASE_LISTEN_URL: %w", err)
	}
	return nil
}

func parseBaseURL(raw string) (*url.URL, error) {
	u, err := url.Parse(raw)
	if strings.Contains(raw, "@") {
		return nil, errors.New("BASE_URL contains a user name or password: use only the address, such as https://login.example.org")
	}
	if err == nil && !validPort(u.Port()) || err != nil && strings.Contains(err.Error(), "invalid port") {
		host, _, _ := strings.Cut(raw[strings.Index(raw, "://")+3:], "/")
		return nil, fmt.Errorf("BASE_URL %q: %s", raw, badPort(host[strings.LastIndex(host, ":")+1:]))
	}
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Hostname() == "" || strings.Trim(u.Path, "/") != "" || strings.ContainsAny(raw, "?#") {
		return nil, fmt.Errorf("BASE_URL %q is not a URL such as https://login.example.org", raw)
	}
	u.Host = originHost(u)
	return u, nil
}

// originHost returns the host and port as browsers send them in an Origin header (RFC 6454, section 6.1): in lower
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

// validPort reports whether a port is empty or in 1 to 65535.
func validPort(port string) bool {
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

func (s Settings) checkDurations() []error {
	var all []error
	for _, d := range []struct {
		setting  string
		value    time.Duration
		min, max time.Duration
	}{
		{"SESSION_LIFETIME", s.SessionLifetime, time.Second, auth.MaxSessionIdle},
		{"SESSION_IDLE", s.SessionIdle, time.Second, auth.MaxSessionIdle},
		{"REMEMBER_LIFETIME", s.RememberLifetime, time.Second, auth.MaxSessionIdle},
		{"REMEMBER_IDLE", s.RememberIdle, time.Second, auth.MaxSessionIdle},
		{"TOKEN_LIFETIME", s.TokenLifetime, auth.MinTokenLifetime, auth.MaxTokenLifetime},
		{"CREDENTIAL_CACHE_TTL", s.CredentialTTL, time.Second, auth.MaxSessionIdle},
		{"USER_CACHE_TTL", s.UserCacheTTL, time.Second, auth.MaxSessionIdle},
		{"DJANGO_SESSION_AGE", s.DjangoSessionAge, time.Second, auth.MaxSessionIdle},
	} {
		if d.value < d.min {
			all = append(all, fmt.Errorf("%s is %s; it must be at least %s", d.setting, formatDuration(d.value), formatDuration(d.min)))
		} else if d.value > d.max {
			all = append(all, fmt.Errorf("%s is %s; it must be at most %s", d.setting, formatDuration(d.value), formatDuration(d.max)))
		}
	}
	valid := func(d time.Duration) bool { return d >= time.Second && d <= auth.MaxSessionIdle }
	for _, p := range []struct {
		idle, lifetime           string
		idleValue, lifetimeValue time.Duration
	}{
		{"SESSION_IDLE", "SESSION_LIFETIME", s.SessionIdle, s.SessionLifetime},
		{"REMEMBER_IDLE", "REMEMBER_LIFETIME", s.RememberIdle, s.RememberLifetime},
	} {
		if p.idleValue > p.lifetimeValue && valid(p.idleValue) && valid(p.lifetimeValue) {
			all = append(all, fmt.Errorf("%s is %s, which is longer than %s (%s): a session would never expire for being idle", p.idle, formatDuration(p.idleValue), p.lifetime, formatDuration(p.lifetimeValue)))
		}
	}
	return all
}

func (s Settings) checkPasswordMin() error {
	// NIST SP 800-63B requires a minimum of at least 8, and that passwords of 64 characters are accepted.
	if s.PasswordMin < 8 || s.PasswordMin > 64 {
		return fmt.Errorf("PASSWORD_MIN_LENGTH is %d; it must be 8 to 64", s.PasswordMin)
	}
	return nil
}

func (s Settings) checkCookieDomain(base *url.URL) error {
	if s.CookieDomain == "" || base == nil {
		return nil
	}
	host := base.Hostname()
	if host != s.CookieDomain && !strings.HasSuffix(host, "."+s.CookieDomain) {
		return fmt.Errorf("COOKIE_DOMAIN %q is not the domain of BASE_URL's host %q, so browsers would reject the cookie", s.CookieDomain, host)
	}
	if net.ParseIP(host) != nil {
		return fmt.Errorf("COOKIE_DOMAIN %q is an IP address, which has no subdomains: unset it", s.CookieDomain)
	}
	if isPublicSuffix(s.CookieDomain) {
		return fmt.Errorf("COOKIE_DOMAIN %q is a public suffix, under which anyone can register a domain, so browsers would reject the cookie: use your own domain, such as example.%s", s.CookieDomain, s.CookieDomain)
	}
	return nil
}

// isPublicSuffix reports whether the domain is in either part of the Public Suffix List (https://publicsuffix.org), as
// browsers check it. An unknown single label counts as a public suffix too.
func isPublicSuffix(domain string) bool {
	ascii, err := idna.Lookup.ToASCII(strings.ToLower(domain))
	if err != nil {
		ascii = strings.ToLower(domain)
	}
	suffix, _ := publicsuffix.PublicSuffix(ascii)
	return suffix == ascii
}
