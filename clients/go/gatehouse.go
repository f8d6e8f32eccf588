// Package gatehouse identifies the user of an HTTP request by the session that Gatehouse keeps in Redis
// (docs/session-format.md; numbers in comments refer to its rules). It only reads. The package is this one file and
// depends on github.com/gomodule/redigo.
package gatehouse

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/gomodule/redigo/redis"
)

// User is a user who is signed in.
type User struct {
	ID       string `json:"id"`
	Username string `json:"username"`
	// Name may be empty. Email is empty unless it is verified.
	Name  string `json:"name"`
	Email string `json:"email"`
	// Groups and Permissions are never nil. Permissions includes those granted through groups.
	Groups      []string `json:"groups"`
	Permissions []string `json:"permissions"`
}

// DisplayName returns the name, or the username if there is no name.
func (u *User) DisplayName() string { return cmp.Or(u.Name, u.Username) }

// HasPermission reports whether the user has the permission. "users.manage" includes "users.view".
func (u *User) HasPermission(permission string) bool {
	return slices.Contains(u.Permissions, permission) ||
		permission == "users.view" && slices.Contains(u.Permissions, "users.manage")
}

// InGroup reports whether the user is in the group.
func (u *User) InGroup(group string) bool { return slices.Contains(u.Groups, group) }

// Options are the settings of a Reader.
type Options struct {
	// RedisURL is Gatehouse's REDIS_URL: redis://[user:password@]host:port[/database], rediss://… or
	// unix:///path/to.sock[?db=1].
	RedisURL string
	// CacheURL is Gatehouse's CACHE_URL. The default is the database after that of RedisURL.
	CacheURL string
	// BaseURL is Gatehouse's BASE_URL, such as https://login.example.org.
	BaseURL string
	// CookieDomain is Gatehouse's COOKIE_DOMAIN, if it has one.
	CookieDomain string
	// AppURL is the public URL of this app, scheme and host. The default is taken from the request, which is wrong
	// behind a proxy that terminates TLS.
	AppURL string
	// Log receives the reason for each 503. The default is slog.Default().
	Log *slog.Logger
}

// Reader identifies the users of requests. It looks the session up on every request, caches nothing, and is safe for
// concurrent use.
type Reader struct {
	sessions, cache   *database
	base, app, cookie string
	log               *slog.Logger
	reports           sync.WaitGroup
}

// New returns a Reader without connecting to Redis. Its errors are about invalid options and never contain a password.
func New(o Options) (*Reader, error) {
	base, err := parseURL(o.BaseURL)
	if err != nil {
		return nil, fmt.Errorf("gatehouse: BaseURL: %w", err)
	}
	r := &Reader{base: base, cookie: cookieName(base, o.CookieDomain), log: cmp.Or(o.Log, slog.Default())}
	if o.AppURL != "" {
		if r.app, err = parseURL(o.AppURL); err != nil {
			return nil, fmt.Errorf("gatehouse: AppURL: %w", err)
		}
	}
	sessions, err := parseRedisURL(o.RedisURL)
	if err != nil {
		return nil, fmt.Errorf("gatehouse: RedisURL: %w", err)
	}
	cache := sessions
	cache.database++
	if o.CacheURL != "" {
		if cache, err = parseRedisURL(o.CacheURL); err != nil {
			return nil, fmt.Errorf("gatehouse: CacheURL: %w", err)
		}
	}
	r.sessions, r.cache = newDatabase(sessions), newDatabase(cache)
	return r, nil
}

// Close waits for pending reports and closes the connections.
func (r *Reader) Close() error {
	r.reports.Wait()
	return errors.Join(r.sessions.pool.Close(), r.cache.pool.Close())
}

func parseURL(raw string) (string, error) {
	u, err := url.Parse(raw)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return "", errors.New("must be a URL such as https://login.example.org")
	}
	return strings.TrimRight(u.String(), "/"), nil
}

func cookieName(base, domain string) string {
	switch {
	case !strings.HasPrefix(base, "https:"):
		return "gatehouse"
	case domain != "":
		return "__Secure-gatehouse"
	}
	return "__Host-gatehouse"
}

type visitorKey struct{}

// visitor is the result of a lookup. Its user is nil if the visitor is not signed in.
type visitor struct{ user *User }

// UserFrom returns the user that Identify or one of the Require… middlewares stored in the context, or nil if the
// visitor is not signed in.
func UserFrom(ctx context.Context) *User {
	v, _ := ctx.Value(visitorKey{}).(visitor)
	return v.user
}

// Identify is middleware for pages that are open to everyone and depend on the user: it stores the user for UserFrom.
// It responds with 503 if the session cannot be checked.
func (r *Reader) Identify(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if _, found := req.Context().Value(visitorKey{}).(visitor); found {
			next.ServeHTTP(w, req)
			return
		}
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Add("Vary", "Cookie")
		u, err := r.User(req)
		if err != nil {
			r.unavailable(w, req, err)
			return
		}
		next.ServeHTTP(w, req.WithContext(context.WithValue(req.Context(), visitorKey{}, visitor{u})))
	})
}

// RequireUser is middleware that requires a signed-in user. Otherwise it redirects browsers to the sign-in page and
// responds to other clients with 401.
func (r *Reader) RequireUser(next http.Handler) http.Handler {
	return r.require(func(*User) bool { return true }, next)
}

// RequirePermission is like RequireUser and responds with 403 to users without the permission.
func (r *Reader) RequirePermission(permission string) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return r.require(func(u *User) bool { return u.HasPermission(permission) }, next)
	}
}

// RequireGroup is like RequireUser and responds with 403 to users who are not in the group.
func (r *Reader) RequireGroup(group string) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return r.require(func(u *User) bool { return u.InGroup(group) }, next)
	}
}

func (r *Reader) require(allowed func(*User) bool, next http.Handler) http.Handler {
	return r.Identify(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		u := UserFrom(req.Context())
		switch {
		case u == nil:
			r.refuseAnonymous(w, req)
		case !allowed(u):
			http.Error(w, "You don't have access. Need it? Ask an administrator.", http.StatusForbidden)
		default:
			next.ServeHTTP(w, req)
		}
	}))
}

func (r *Reader) refuseAnonymous(w http.ResponseWriter, req *http.Request) {
	w.Header().Add("Vary", "Accept")
	if !wantsHTML(req) {
		http.Error(w, "Please sign in.", http.StatusUnauthorized)
		return
	}
	http.Redirect(w, req, r.SignInURL(req), http.StatusSeeOther)
}

func wantsHTML(req *http.Request) bool {
	return (req.Method == http.MethodGet || req.Method == http.MethodHead) &&
		strings.Contains(strings.ToLower(strings.Join(req.Header.Values("Accept"), ",")), "text/html")
}

func (r *Reader) unavailable(w http.ResponseWriter, req *http.Request, err error) {
	if req.Context().Err() == nil {
		r.log.WarnContext(req.Context(), "gatehouse: cannot check the session", "err", err)
	}
	w.Header().Set("Retry-After", "5")
	http.Error(w, "We can't check your sign-in right now. You have not been signed out. Try again in a few seconds.",
		http.StatusServiceUnavailable)
}

// SignInURL returns the URL of the sign-in page, which redirects back to the URL of the request.
func (r *Reader) SignInURL(req *http.Request) string {
	return r.base + "/login?next=" + url.QueryEscape(r.requestURL(req))
}

// SignOutURL returns the URL of the sign-out page, which asks for confirmation and ends the session for all apps.
func (r *Reader) SignOutURL() string { return r.base + "/sign-out" }

// requestURL returns the absolute URL of the request. It uses RequestURI, because http.StripPrefix changes URL.
func (r *Reader) requestURL(req *http.Request) string {
	path := req.RequestURI
	if !strings.HasPrefix(path, "/") {
		path = req.URL.RequestURI()
	}
	switch {
	case r.app != "":
		return r.app + path
	case req.TLS != nil:
		return "https://" + req.Host + path
	}
	return "http://" + req.Host + path
}

const (
	// lookupTimeout bounds a lookup as a whole.
	lookupTimeout = 2 * time.Second
	// loadTimeout bounds the wait for Gatehouse to load a user into the cache.
	loadTimeout = time.Second
	usedChannel = "gatehouse:used"
)

// ErrUnavailable is wrapped by the errors of Reader.User: the session cannot be checked right now.
var ErrUnavailable = errors.New("gatehouse: session check unavailable")

// User returns the user who sent the request, or nil if the visitor is not signed in. Every error wraps ErrUnavailable
// and means a 503, not a redirect to the sign-in page. It is for handlers without the middleware.
func (r *Reader) User(req *http.Request) (*User, error) {
	ctx, cancel := context.WithTimeout(req.Context(), lookupTimeout)
	defer cancel()
	for _, cookie := range SessionCookies(req, r.cookie) {
		u, err := r.lookup(ctx, cookie)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
		if u != nil {
			return u, nil
		}
	}
	return nil, nil
}

func (r *Reader) lookup(ctx context.Context, cookie string) (*User, error) {
	now := time.Now()
	var left time.Duration
	s, u, err := check(cookie, func(key string) (value []byte, err error) {
		if strings.HasPrefix(key, "user:") {
			return r.cache.get(ctx, key)
		}
		value, left, err = r.sessions.getWithTTL(ctx, key)
		return value, err
	}, now)
	if errors.Is(err, ErrUserNotCached) {
		return r.loadUser(ctx, s)
	}
	if u != nil && s.renewalDue(left, now) {
		r.reportUse(s)
	}
	return u, err
}

// SessionCookies returns the values of the cookies with that name that have the format of a session token: at most the
// first four. net/http compares names byte for byte.
func SessionCookies(req *http.Request, name string) []string {
	var found []string
	for _, c := range req.CookiesNamed(name) {
		if !c.Quoted && cookiePattern.MatchString(c.Value) && len(found) < maxCookies {
			found = append(found, c.Value)
		}
	}
	return found
}

// loadUser asks Gatehouse to load the session's user into the cache, and waits for it.
func (r *Reader) loadUser(ctx context.Context, s *session) (*User, error) {
	until := time.Now().Add(loadTimeout)
	var value []byte
	for wait := 5 * time.Millisecond; ; wait *= 2 {
		// Ask again whenever the key is missing: a change may have dropped the loaded user.
		if value == nil {
			if err := r.requestLoad(ctx, s); err != nil {
				return nil, err
			}
		}
		left := time.Until(until)
		if left <= 0 {
			return nil, fmt.Errorf("no Gatehouse server loaded the user into the cache within %v", loadTimeout)
		}
		if err := sleep(ctx, min(wait, left)); err != nil {
			return nil, fmt.Errorf("wait for the user: %w", err)
		}
		var err error
		if value, err = r.cache.get(ctx, "user:"+s.userID); err != nil {
			return nil, err
		}
		if u, err := parseUser(value, s); !errors.Is(err, ErrUserNotCached) {
			return u, err
		}
	}
}

// requestLoad fails if no Gatehouse server receives the request.
func (r *Reader) requestLoad(ctx context.Context, s *session) error {
	receivers, err := r.sessions.publish(ctx, usedChannel, s.id)
	if err == nil && receivers == 0 {
		return errors.New("the user is not in the cache, and no Gatehouse server is running to load it")
	}
	return err
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// reportUse tells Gatehouse in the background that the session is in use. Losing a report does no harm.
func (r *Reader) reportUse(s *session) {
	r.reports.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), lookupTimeout)
		defer cancel()
		if _, err := r.sessions.publish(ctx, usedChannel, s.id); err != nil {
			r.log.Warn("gatehouse: cannot report that a session is in use", "err", err)
		}
	})
}

// ErrUserNotCached reports a valid session whose user Gatehouse has to load into the cache first.
var ErrUserNotCached = errors.New("gatehouse: user not cached")

// Check applies the rules of the session format to one cookie, without Redis or HTTP. It returns nil if the cookie does
// not belong to a signed-in user at the time now, and ErrUserNotCached or the error of lookup. lookup returns the value
// of a Redis key, or nil if the key is missing.
func Check(cookie string, lookup func(key string) ([]byte, error), now time.Time) (*User, error) {
	_, u, err := check(cookie, lookup, now)
	return u, err
}

// CheckAll checks the cookies in order and returns the result of Check for the first one that is not signed out.
func CheckAll(cookies []string, lookup func(key string) ([]byte, error), now time.Time) (*User, error) {
	for _, cookie := range cookies {
		if u, err := Check(cookie, lookup, now); u != nil || err != nil {
			return u, err
		}
	}
	return nil, nil
}

func check(cookie string, lookup func(key string) ([]byte, error), now time.Time) (*session, *User, error) {
	if !cookiePattern.MatchString(cookie) {
		return nil, nil, nil
	}
	sum := sha256.Sum256([]byte(cookie))
	id := base64.RawURLEncoding.EncodeToString(sum[:])
	value, err := lookup("session:" + id)
	if err != nil {
		return nil, nil, err
	}
	s := parseSession(value, id)
	if s == nil || !s.deadline.After(now) {
		return nil, nil, nil
	}
	if value, err = lookup("user:" + s.userID); err != nil {
		return s, nil, err
	}
	u, err := parseUser(value, s)
	return s, u, err
}

const (
	maxSessionBytes = 8192
	maxCookies      = 4
	maxIdleSeconds  = 10 * 365 * 24 * 60 * 60
	// maxSafeInteger is the largest integer that every language represents exactly (RFC 8259, section 6).
	maxSafeInteger = 1<<53 - 1
)

var (
	cookiePattern = regexp.MustCompile(`^[A-Za-z0-9_-]{43}$`)
	// time.Parse also accepts a decimal comma and more digits.
	timePattern    = regexp.MustCompile(`^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?Z$`)
	integerPattern = regexp.MustCompile(`^(0|[1-9][0-9]{0,15})$`)
)

type session struct {
	id, userID string
	epoch      int64
	idle       time.Duration
	deadline   time.Time
}

// renewalDue reports whether a tenth of the session's idle time has passed since its last renewal. left is the key's
// PTTL, which is negative for a key that does not expire.
func (s *session) renewalDue(left time.Duration, now time.Time) bool {
	return left < min(s.idle, s.deadline.Sub(now))/10*9
}

// parseSession returns nil unless the value is a valid record of this session (rules 2 to 7).
func parseSession(value []byte, id string) *session {
	f, ok := parseFields(value)
	if !ok || len(value) > maxSessionBytes || f.integer("v") != 1 || f.text("id") != id {
		return nil
	}
	s := &session{id: id, userID: f.text("user_id"), epoch: f.integer("epoch"), deadline: f.timestamp("deadline")}
	idle := f.integer("idle_seconds")
	if s.userID == "" || s.epoch < 0 || idle < 1 || idle > maxIdleSeconds {
		return nil
	}
	s.idle = time.Duration(idle) * time.Second
	return s
}

// parseUser returns the session's user (rules 9 to 12), nil if the record is invalid, and ErrUserNotCached if there is none.
func parseUser(value []byte, s *session) (*User, error) {
	if value == nil || bytes.HasPrefix(value, []byte("lease:")) {
		return nil, ErrUserNotCached
	}
	f, ok := parseFields(value)
	if !ok || f.integer("v") != 1 || f.text("id") != s.userID || string(f["active"]) != "true" || f.integer("epoch") != s.epoch {
		return nil, nil
	}
	name, nameOK := f.textOrAbsent("name")
	email, emailOK := f.textOrAbsent("email")
	groups, groupsOK := f.list("groups")
	permissions, permissionsOK := f.list("permissions")
	if string(f["email_verified"]) != "true" {
		email = "" // an unverified address may belong to someone else
	}
	u := &User{s.userID, f.text("username"), name, email, groups, permissions}
	if u.Username == "" || !nameOK || !emailOK || !groupsOK || !permissionsOK {
		return nil, nil
	}
	return u, nil
}

// fields holds the raw fields of a JSON object: decoding into a struct would match "V" to "v" and treat null as a
// missing field.
type fields map[string]json.RawMessage

func parseFields(value []byte) (fields, bool) {
	var f fields
	// encoding/json replaces invalid UTF-8 instead of failing.
	return f, utf8.Valid(value) && json.Unmarshal(value, &f) == nil
}

// text returns "" unless the field is a string.
func (f fields) text(name string) string {
	s, _ := text(f[name])
	return s
}

func (f fields) textOrAbsent(name string) (string, bool) {
	raw, ok := f[name]
	if !ok {
		return "", true
	}
	return text(raw)
}

func text(raw json.RawMessage) (s string, ok bool) {
	return s, len(raw) > 0 && raw[0] == '"' && json.Unmarshal(raw, &s) == nil
}

// integer returns -1 unless the field is an integer from 0 to maxSafeInteger.
func (f fields) integer(name string) int64 {
	if !integerPattern.Match(f[name]) {
		return -1
	}
	n, err := strconv.ParseInt(string(f[name]), 10, 64)
	if err != nil || n > maxSafeInteger {
		return -1
	}
	return n
}

// timestamp returns the zero time unless the field is a valid time in UTC.
func (f fields) timestamp(name string) time.Time {
	s := f.text(name)
	if !timePattern.MatchString(s) {
		return time.Time{}
	}
	t, _ := time.Parse(time.RFC3339Nano, s)
	return t
}

func (f fields) list(name string) ([]string, bool) {
	raw, ok := f[name]
	all := []string{}
	if !ok || string(raw) == "null" {
		return all, true
	}
	var items []json.RawMessage
	if json.Unmarshal(raw, &items) != nil {
		return nil, false
	}
	for _, item := range items {
		s, ok := text(item)
		if !ok {
			return nil, false
		}
		all = append(all, s)
	}
	return all, true
}

// redisTarget is a parsed Redis URL.
type redisTarget struct {
	network, address, user, password string
	database                         int
	tls                              bool
}

// parseRedisURL never quotes the URL in an error, because it may contain a password.
func parseRedisURL(raw string) (redisTarget, error) {
	bad := errors.New("must be redis://[user:password@]host:port[/database], rediss://… or unix:///path/to.sock[?db=1]")
	u, err := url.Parse(raw)
	if err != nil || u.Opaque != "" || u.Fragment != "" {
		return redisTarget{}, bad
	}
	p := redisTarget{network: "tcp", user: u.User.Username(), tls: u.Scheme == "rediss"}
	p.password, _ = u.User.Password()
	number := strings.TrimPrefix(u.Path, "/")
	switch {
	case (u.Scheme == "redis" || p.tls) && u.Hostname() != "" && u.RawQuery == "":
		p.address = net.JoinHostPort(u.Hostname(), cmp.Or(u.Port(), "6379"))
	case u.Scheme == "unix" && u.Host == "" && len(number) > 0:
		p.network, p.address, number = "unix", filepath.Clean(u.Path), u.Query().Get("db")
	default:
		return redisTarget{}, bad
	}
	if p.user != "" && p.password == "" {
		return redisTarget{}, errors.New("has a user but no password; for a password alone write redis://:password@host:port")
	}
	n, err := strconv.ParseUint(cmp.Or(number, "0"), 10, 16)
	if err != nil {
		return redisTarget{}, errors.New("has a database that is not a number from 0 to 65535")
	}
	p.database = int(n)
	return p, nil
}

// database is a pool of connections to one Redis database.
type database struct {
	pool *redis.Pool
	// failed is the time of the last connection failure in Unix nanoseconds. Connections last used before it are
	// tested before use, so that a restart of Redis does not cost one error for each of them.
	failed atomic.Int64
}

const (
	replyTimeout = time.Second
	// probeAfter is the idle time after which a connection is tested before use.
	probeAfter = 30 * time.Second
)

func newDatabase(p redisTarget) *database {
	d := &database{}
	d.pool = &redis.Pool{
		DialContext: func(ctx context.Context) (redis.Conn, error) {
			return redis.DialContext(ctx, p.network, p.address,
				redis.DialUsername(p.user), redis.DialPassword(p.password), redis.DialDatabase(p.database), redis.DialUseTLS(p.tls),
				redis.DialConnectTimeout(replyTimeout), redis.DialTLSHandshakeTimeout(replyTimeout),
				redis.DialReadTimeout(replyTimeout), redis.DialWriteTimeout(replyTimeout))
		},
		TestOnBorrowContext: func(ctx context.Context, c redis.Conn, used time.Time) error {
			if time.Since(used) < probeAfter && used.UnixNano() > d.failed.Load() {
				return nil
			}
			_, err := redis.DoWithTimeout(c, timeLeft(ctx), "PING")
			return err
		},
		MaxActive: 64, MaxIdle: 64, IdleTimeout: 5 * time.Minute,
		Wait: true,
	}
	return d
}

// command is a Redis command with its arguments.
type command struct {
	name string
	args []any
}

func (d *database) get(ctx context.Context, key string) ([]byte, error) {
	replies, err := d.do(ctx, command{"GET", []any{key}})
	if err != nil {
		return nil, err
	}
	return bulkReply(replies[0])
}

// getWithTTL returns the value and the PTTL of a key in one round trip.
func (d *database) getWithTTL(ctx context.Context, key string) ([]byte, time.Duration, error) {
	replies, err := d.do(ctx, command{"GET", []any{key}}, command{"PTTL", []any{key}})
	if err != nil {
		return nil, 0, err
	}
	value, err := bulkReply(replies[0])
	if err != nil {
		return nil, 0, err
	}
	left, err := integerReply(replies[1])
	return value, time.Duration(left) * time.Millisecond, err
}

// publish returns the number of servers that received the message.
func (d *database) publish(ctx context.Context, channel, message string) (int64, error) {
	replies, err := d.do(ctx, command{"PUBLISH", []any{channel, message}})
	if err != nil {
		return 0, err
	}
	return integerReply(replies[0])
}

// bulkReply returns nil for a missing key, and an empty value, which is never a valid record, for a key of another type.
func bulkReply(reply any) ([]byte, error) {
	if redisErr, bad := reply.(redis.Error); bad && strings.HasPrefix(string(redisErr), "WRONGTYPE ") {
		return []byte{}, nil
	}
	value, err := redis.Bytes(reply, nil)
	if err != nil && !errors.Is(err, redis.ErrNil) {
		return nil, fmt.Errorf("redis: %w", err)
	}
	return value, nil
}

func integerReply(reply any) (int64, error) {
	n, err := redis.Int64(reply, nil)
	if err != nil {
		return 0, fmt.Errorf("redis: %w", err)
	}
	return n, nil
}

// do sends the commands in one pipeline and returns their replies, which may be redis.Errors. If the connection breaks,
// it retries once on another one: all commands of a reader are safe to repeat.
func (d *database) do(ctx context.Context, commands ...command) ([]any, error) {
	replies, err := d.doOnce(ctx, commands)
	var network net.Error
	if err != nil && ctx.Err() == nil && !(errors.As(err, &network) && network.Timeout()) {
		replies, err = d.doOnce(ctx, commands)
	}
	if err != nil {
		return nil, fmt.Errorf("redis: %w", err)
	}
	return replies, nil
}

func (d *database) doOnce(ctx context.Context, commands []command) ([]any, error) {
	c, err := d.pool.GetContext(ctx)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	replies, err := exchange(ctx, c, commands)
	if err != nil {
		d.failed.Store(time.Now().UnixNano())
	}
	return replies, err
}

func exchange(ctx context.Context, c redis.Conn, commands []command) ([]any, error) {
	for _, command := range commands {
		if err := c.Send(command.name, command.args...); err != nil {
			return nil, err
		}
	}
	if err := c.Flush(); err != nil {
		return nil, err
	}
	var replies []any
	for range commands {
		reply, err := redis.ReceiveWithTimeout(c, timeLeft(ctx))
		var redisErr redis.Error
		if errors.As(err, &redisErr) {
			reply, err = redisErr, nil
		}
		if err != nil {
			return nil, err
		}
		replies = append(replies, reply)
	}
	return replies, nil
}

// timeLeft is never zero, which redigo treats as "no timeout". redigo's functions that take a context would close the
// connection when the client disconnects.
func timeLeft(ctx context.Context) time.Duration {
	deadline, ok := ctx.Deadline()
	if !ok {
		return replyTimeout
	}
	return min(max(time.Until(deadline), time.Nanosecond), replyTimeout)
}
