package config

import (
	"cmp"
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
	"gatehouse/django"
	"gatehouse/web/cookies"
)

// Validate parses the settings. The error is one line about the first invalid setting, which it names.
func (s Settings) Validate() (Config, error) {
	c := Config{Settings: s}
	var err error
	if c.Base, err = parseBaseURL(s.BaseURL); err != nil {
		return Config{}, err
	}
	if c.Proxies, err = parseProxies(s.TrustedProxies); err != nil {
		return Config{}, err
	}
	if err := cmp.Or(s.checkAddresses(), s.checkListenURL(), s.checkNumbers(), s.checkCookieDomain(c.Base)); err != nil {
		return Config{}, err
	}
	if err := s.checkHelpContact(); err != nil {
		return Config{}, err
	}
	c.Cookies = cookies.Policy{Secure: c.Base.Scheme == "https", Domain: s.CookieDomain}
	if c.DjangoKeys, err = s.parseDjango(c.Cookies); err != nil {
		return Config{}, err
	}
	return c, nil
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

func (s Settings) checkAddresses() error {
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
		return errors.New("DATABASE_LISTEN_URL is not a URL such as postgres://user@host/database")
	case !isPostgres(s.DatabaseURL):
		return errors.New("DATABASE_LISTEN_URL is set, but DATABASE_URL is not a Postgres URL: unset it")
	}
	return nil
}

func parseBaseURL(raw string) (*url.URL, error) {
	u, err := url.Parse(raw)
	if strings.Contains(raw, "@") {
		return nil, errors.New("BASE_URL contains a user name or password: use only the address, such as https://login.example.org")
	}
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Hostname() == "" || !validPort(u.Port()) || strings.Trim(u.Path, "/") != "" || strings.ContainsAny(raw, "?#") {
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
			return fmt.Errorf("%s is %s; it must be at most %dh", d.name, d.value, auth.MaxSessionIdle/time.Hour)
		}
	}
	if s.TokenLifetime < auth.MinTokenLifetime || s.TokenLifetime > auth.MaxTokenLifetime {
		return fmt.Errorf("TOKEN_LIFETIME is %s; it must be 1m to %dh", s.TokenLifetime, auth.MaxTokenLifetime/time.Hour)
	}
	// NIST SP 800-63B requires a minimum of at least 8, and that passwords of 64 characters are accepted.
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
