package redisconn

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
)

// target is the address and the credentials in a Redis URL.
type target struct {
	network, address string
	user, password   string
	database         int
	tls              bool
}

var errBadURL = errors.New("not a Redis URL; want redis://[user:password@]host:port[/database], rediss://… or unix:///path/to.sock[?db=1]")

var errBadPort = errors.New("the port of the Redis URL is not a number from 1 to 65535")

// CheckURL returns what is wrong with the form of a Redis URL. It does not connect.
func CheckURL(rawURL string) error {
	_, err := parseTarget(rawURL)
	return err
}

// NextDatabase returns the same URL with the following database number, the
// default place of the caches. The result contains the password of the URL.
func NextDatabase(rawURL string) (string, error) {
	t, err := parseTarget(rawURL)
	if err != nil {
		return "", err
	}
	return withDatabase(rawURL, t.database+1)
}

func withDatabase(rawURL string, database int) (string, error) {
	u, err := url.Parse(rawURL)
	if err != nil {
		return "", errBadURL
	}
	if u.Scheme == "unix" {
		u.RawQuery = url.Values{"db": {strconv.Itoa(database)}}.Encode()
		return u.String(), nil
	}
	u.Path = "/" + strconv.Itoa(database)
	return u.String(), nil
}

// SameDatabase reports whether two URLs name the same database, regardless of user, password and
// the spelling of a loopback host. An invalid URL equals no other. It cannot
// detect that a socket and a port belong to the same server.
func SameDatabase(a, b string) bool {
	x, errX := parseTarget(a)
	y, errY := parseTarget(b)
	if errX != nil || errY != nil {
		return false
	}
	return x.network == y.network && x.normalizedAddress() == y.normalizedAddress() && x.database == y.database
}

// parseTarget parses a Redis URL. Its errors never quote the URL: any part may be a misplaced password.
func parseTarget(rawURL string) (target, error) {
	u, err := url.Parse(rawURL)
	if err != nil && strings.Contains(err.Error(), "invalid port") && strings.Count(rawURL, "/") < 4 {
		return target{}, errBadPort // and not a password with an unescaped slash
	}
	if err != nil || u.Opaque != "" || u.Fragment != "" {
		return target{}, errBadURL
	}
	t, err := parseAddress(u)
	if err != nil {
		return target{}, err
	}
	if u.User == nil {
		return t, nil
	}
	t.user = u.User.Username()
	t.password, _ = u.User.Password()
	if t.password == "" {
		return target{}, errors.New("the Redis URL has a user but no password; for a password alone write redis://:password@host:port")
	}
	return t, nil
}

func parseAddress(u *url.URL) (target, error) {
	switch u.Scheme {
	case "redis", "rediss":
		return parseTCP(u)
	case "unix":
		return parseUnix(u)
	case "redis+sentinel", "redis+cluster":
		return target{}, fmt.Errorf("%s:// is not supported yet; use redis://, rediss:// or unix://", u.Scheme)
	}
	return target{}, errBadURL
}

func parseTCP(u *url.URL) (target, error) {
	if u.RawQuery != "" {
		return target{}, errors.New("a redis:// URL takes no parameters; the database is its path, as in redis://host:6379/1")
	}
	host, port := u.Hostname(), u.Port()
	if host == "" {
		return target{}, errBadURL
	}
	if port == "" {
		port = "6379"
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return target{}, errBadPort
	}
	database, err := parseDatabase(strings.TrimPrefix(u.Path, "/"))
	if err != nil {
		return target{}, err
	}
	return target{network: "tcp", address: net.JoinHostPort(host, port), database: database, tls: u.Scheme == "rediss"}, nil
}

func parseUnix(u *url.URL) (target, error) {
	if u.Host != "" || !strings.HasPrefix(u.Path, "/") || strings.HasSuffix(u.Path, "/") {
		return target{}, errors.New("a unix:// URL needs an absolute path, as in unix:///run/redis.sock?db=1")
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil || len(query["db"]) > 1 || len(query) > len(query["db"]) {
		return target{}, errors.New("a unix:// URL takes only the parameter db, as in unix:///run/redis.sock?db=1")
	}
	database, err := parseDatabase(query.Get("db"))
	if err != nil {
		return target{}, err
	}
	path := filepath.FromSlash(u.Path)
	if filepath.VolumeName(path[1:]) != "" {
		path = path[1:] // unix:///C:/data/redis.sock
	}
	return target{network: "unix", address: filepath.Clean(path), database: database}, nil
}

func parseDatabase(s string) (int, error) {
	if s == "" {
		return 0, nil
	}
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil {
		return 0, errors.New("the database of the Redis URL must be a number between 0 and 65535")
	}
	return int(n), nil
}

// normalizedAddress returns the address with one spelling for all loopback hosts.
func (t target) normalizedAddress() string {
	host, port, err := net.SplitHostPort(t.address)
	if t.network != "tcp" || err != nil {
		return t.address
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if ip := net.ParseIP(host); ip != nil && ip.IsLoopback() {
		host = "localhost"
	}
	return net.JoinHostPort(host, port)
}

// redact removes the password from an error: a server that does not know AUTH quotes its arguments.
func (t target) redact(err error) error {
	if t.password == "" || !strings.Contains(err.Error(), t.password) {
		return err
	}
	return errors.New(strings.ReplaceAll(err.Error(), t.password, "…"))
}
