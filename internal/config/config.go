// Package config holds the settings of the program: their names, defaults and rules, and values derived from them, such as
// the keys and the URLs of the stores. It opens no connection.
package config

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"gatehouse/auth"
	"gatehouse/django"
	"gatehouse/kv/redisconn"
	"gatehouse/web/cookies"
	"gatehouse/web/sessions"
)

// Config is the validated settings, with those that need parsing in their parsed form.
type Config struct {
	Settings
	Base       *url.URL // BASE_URL, with its host as browsers write it in an Origin header
	Proxies    []netip.Prefix
	Cookies    cookies.Policy
	DjangoKeys django.Keys // zero without DJANGO_SESSIONS_URL
}

// EmbeddedSQL reports whether users are stored in SQLite.
func (c Config) EmbeddedSQL() bool {
	return c.DatabaseURL == "" || strings.HasPrefix(c.DatabaseURL, "sqlite:")
}

// ResolveDatabaseURL returns DATABASE_URL, or the URL of the SQLite file in DATA_DIR.
func (c Config) ResolveDatabaseURL() string {
	if c.DatabaseURL != "" {
		return c.DatabaseURL
	}
	return "sqlite:" + filepath.Join(c.DataDir, "gatehouse.db")
}

// ResolveCacheURL returns the URL of the Redis database for caches, which is never that of the sessions.
func (c Config) ResolveCacheURL(redisURL string) (string, error) {
	if c.CacheURL == "" {
		next, err := redisconn.NextDatabase(redisURL)
		if err != nil {
			return "", fmt.Errorf("REDIS_URL: %w", err)
		}
		return next, nil
	}
	if redisconn.SameDatabase(redisURL, c.CacheURL) {
		return "", errors.New("CACHE_URL is the same database as REDIS_URL: flushing the cache would sign everyone out; use a separate database")
	}
	return c.CacheURL, nil
}

// MakeDataDir creates DATA_DIR if it does not exist; only its owner has access.
func (c Config) MakeDataDir() error {
	if err := os.MkdirAll(c.DataDir, 0o700); err != nil {
		return fmt.Errorf("create DATA_DIR: %w", err)
	}
	return nil
}

// Keys returns the keys in SECRET_KEY, or those in the file that the first start creates in DATA_DIR if both stores are
// embedded.
func (c Config) Keys() (auth.Keys, error) {
	if c.SecretKey != "" {
		keys, err := auth.ParseKeys(c.SecretKey)
		if err != nil {
			return auth.Keys{}, fmt.Errorf("SECRET_KEY: %w; generate one with: openssl rand -base64 32", err)
		}
		return keys, nil
	}
	if err := c.RequireSecretKey(); err != nil {
		return auth.Keys{}, err
	}
	secret, err := c.secretFile()
	if err != nil {
		return auth.Keys{}, err
	}
	keys, err := auth.ParseKeys(secret)
	if err != nil {
		return auth.Keys{}, fmt.Errorf("the file secret.key in DATA_DIR: %w; remove it, and the next start generates a new one", err)
	}
	return keys, nil
}

// RequireSecretKey returns an error if SECRET_KEY is empty and a server cannot do without it. Commands can.
func (c Config) RequireSecretKey() error {
	if c.SecretKey == "" && (!c.EmbeddedSQL() || c.RedisURL != "") {
		return errors.New("SECRET_KEY is required unless both stores are embedded; generate one with: openssl rand -base64 32")
	}
	return nil
}

// secretFile returns the content of the file secret.key in DATA_DIR, which it creates if it does not exist.
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
		return "", fmt.Errorf("create the secret key: %w", err)
	}
	secret := auth.NewSecretKey()
	_, err = f.WriteString(secret + "\n")
	return secret, errors.Join(err, f.Close())
}

// Lifetimes returns how long sessions last.
func (c Config) Lifetimes() sessions.Lifetimes {
	return sessions.Lifetimes{Session: c.SessionLifetime, Idle: c.SessionIdle, Remember: c.RememberLifetime, RememberIdle: c.RememberIdle}
}
