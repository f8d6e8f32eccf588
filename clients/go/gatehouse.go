// Package gatehouse asks Gatehouse who a visitor is: it reads the sessions that Gatehouse keeps in Redis
// (docs/session-format.md) and never writes. It stands alone in this file, and needs github.com/gomodule/redigo.
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

// User is a person who is signed in, as Gatehouse knew them a moment ago.
type User struct {
	ID       string `json:"id"`
	Username string `json:"username"`
	// Name and Email may be empty.
	Name  string `json:"name"`
	Email string `json:"email"`
	// Groups and Permissions are never nil. Permissions holds those of the groups too.
	Groups      []string `json:"groups"`
	Permissions []string `json:"permissions"`
}

// DisplayName is the name, or the username of somebody who gave none.
func (u *User) DisplayName() string { return cmp.Or(u.Name, u.Username) }

// Can reports whether the user has the permission. "users.manage" includes "users.view".
func (u *User) Can(permission string) bool {
	return slices.Contains(u.Permissions, permission) ||
		permission == "users.view" && slices.Contains(u.Permissions, "users.manage")
}

// In reports whether the user is in the group.
func (u *User) In(group string) bool { return slices.Contains(u.Groups, group) }

// Options are the settings of a Reader.
type Options struct {
	// RedisURL is Gatehouse's own: redis://[user:password@]host:port[/database], rediss://… or
	// unix:///path/to.sock[?db=1].
	RedisURL string
	// CacheURL is Gatehouse's own; empty for the next database of RedisURL.
	CacheURL string
	// BaseURL is Gatehouse's address, as people type it.
	BaseURL string
	// CookieDomain is Gatehouse's COOKIE_DOMAIN.
	CookieDomain string
	// AppURL is the address of this program, scheme and host, as people type it. Empty: what the request says,
	// which is wrong behind a proxy that ends TLS.
	AppURL string
	// Log gets the reasons of the 503s; nil for slog.Default.
	Log *slog.Logger
}

// Reader looks visitors up, on every request anew. Its methods may be used by many goroutines at once.
type Reader struct {
	sessions, cache   *database
	base, app, cookie string
	log               *slog.Logger
	notes             sync.WaitGroup
}

// New returns a Reader, or an error about the settings that never shows a password. It does not connect.
func New(o Options) (*Reader, error) {
	base, err := parseAddress(o.BaseURL)
	if err != nil {
		return nil, fmt.Errorf("gatehouse: BaseURL: %w", err)
	}
	r := &Reader{base: base, cookie: cookieName(base, o.CookieDomain), log: cmp.Or(o.Log, slog.Default())}
	if o.AppURL != "" {
		if r.app, err = parseAddress(o.AppURL); err != nil {
			return nil, fmt.Errorf("gatehouse: AppURL: %w", err)
		}
	}
	sessions, err := parsePlace(o.RedisURL)
	if err != nil {
		return nil, fmt.Errorf("gatehouse: RedisURL: %w", err)
	}
	cache := sessions
	cache.number++
	if o.CacheURL != "" {
		if cache, err = parsePlace(o.CacheURL); err != nil {
			return nil, fmt.Errorf("gatehouse: CacheURL: %w", err)
		}
	}
	r.sessions, r.cache = open(sessions), open(cache)
	return r, nil
}

// Close closes the connections.
func (r *Reader) Close() error {
	r.notes.Wait()
	return errors.Join(r.sessions.pool.Close(), r.cache.pool.Close())
}

func parseAddress(raw string) (string, error) {
	u, err := url.Parse(raw)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return "", errors.New("want an address such as https://login.example.org")
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

// visitor is what a request found; its user is nil for somebody who is not signed in.
type visitor struct{ user *User }

// UserFrom returns the user whom Identify or one of the Require… put into the context; nil for a visitor who is
// not signed in.
func UserFrom(ctx context.Context) *User {
	v, _ := ctx.Value(visitorKey{}).(visitor)
	return v.user
}

// Identify is middleware for pages that are for anybody and differ by who is asking. It answers 503 itself when that
// cannot be told.
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

// RequireUser is middleware for people who are signed in. It sends browsers to the sign-in page and answers 401 to
// other programs.
func (r *Reader) RequireUser(next http.Handler) http.Handler {
	return r.require(func(*User) bool { return true }, next)
}

// RequirePermission is RequireUser, and answers 403 to people without the permission.
func (r *Reader) RequirePermission(permission string) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return r.require(func(u *User) bool { return u.Can(permission) }, next)
	}
}

// RequireGroup is RequireUser, and answers 403 to people who are not in the group.
func (r *Reader) RequireGroup(group string) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return r.require(func(u *User) bool { return u.In(group) }, next)
	}
}

func (r *Reader) require(may func(*User) bool, next http.Handler) http.Handler {
	return r.Identify(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		u := UserFrom(req.Context())
		switch {
		case u == nil:
			r.askToSignIn(w, req)
		case !may(u):
			http.Error(w, "You are signed in, but you may not see this page.", http.StatusForbidden)
		default:
			next.ServeHTTP(w, req)
		}
	}))
}

func (r *Reader) askToSignIn(w http.ResponseWriter, req *http.Request) {
	w.Header().Add("Vary", "Accept")
	if !wantsPage(req) {
		http.Error(w, "Please sign in.", http.StatusUnauthorized)
		return
	}
	http.Redirect(w, req, r.SignInURL(req), http.StatusSeeOther)
}

func wantsPage(req *http.Request) bool {
	return (req.Method == http.MethodGet || req.Method == http.MethodHead) &&
		strings.Contains(strings.ToLower(strings.Join(req.Header.Values("Accept"), ",")), "text/html")
}

func (r *Reader) unavailable(w http.ResponseWriter, req *http.Request, err error) {
	if req.Context().Err() == nil {
		r.log.WarnContext(req.Context(), "it cannot be told who is asking", "err", err)
	}
	w.Header().Set("Retry-After", "5")
	http.Error(w, "It cannot be checked at the moment whether you are signed in. Please try again in a few seconds.",
		http.StatusServiceUnavailable)
}

// SignInURL is the address of Gatehouse's sign-in page, which brings people back to the page of the request.
func (r *Reader) SignInURL(req *http.Request) string {
	return r.base + "/login?next=" + url.QueryEscape(r.wanted(req))
}

// SignOutURL is the address of Gatehouse's page that asks once and ends the session for all.
func (r *Reader) SignOutURL() string { return r.base + "/sign-out" }

// wanted is the whole address of the request. RequestURI is what the browser asked for; URL may have lost a prefix
// to http.StripPrefix.
func (r *Reader) wanted(req *http.Request) string {
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
	// lookFor bounds one look as a whole, whatever it has to wait for.
	lookFor = 2 * time.Second
	// askFor bounds the wait for Gatehouse to fill the cache.
	askFor      = time.Second
	usedChannel = "gatehouse:used"
)

// User returns who sends the request; nil for a visitor who is not signed in. An error says that it cannot be told
// now, and the answer is 503. It is for handlers that do without the middleware.
func (r *Reader) User(req *http.Request) (*User, error) {
	ctx, cancel := context.WithTimeout(req.Context(), lookFor)
	defer cancel()
	for _, cookie := range sessionCookies(req, r.cookie) {
		if u, err := r.lookUp(ctx, cookie); u != nil || err != nil {
			return u, err
		}
	}
	return nil, nil
}

func (r *Reader) lookUp(ctx context.Context, cookie string) (*User, error) {
	now := time.Now()
	var left time.Duration
	s, u, err := check(cookie, func(key string) (value []byte, err error) {
		if strings.HasPrefix(key, "user:") {
			return r.cache.get(ctx, key)
		}
		value, left, err = r.sessions.getWithTTL(ctx, key)
		return value, err
	}, now)
	if errors.Is(err, ErrNotKnown) {
		return r.ask(ctx, s)
	}
	if u != nil && s.worthTelling(left, now) {
		r.tell(s)
	}
	return u, err
}

// sessionCookies returns the values of the request's cookies that may be the session's token: at most the first
// maxCookies of that name and the right shape. net/http compares names byte for byte.
func sessionCookies(req *http.Request, name string) []string {
	var found []string
	for _, c := range req.CookiesNamed(name) {
		if !c.Quoted && cookieShape.MatchString(c.Value) && len(found) < maxCookies {
			found = append(found, c.Value)
		}
	}
	return found
}

// ask has Gatehouse look at the session, which fills the cache, and waits for that.
func (r *Reader) ask(ctx context.Context, s *session) (*User, error) {
	until := time.Now().Add(askFor)
	var value []byte
	for wait := 5 * time.Millisecond; ; wait *= 2 {
		// Again each time that there is nothing: a change may have dropped what was filled.
		if value == nil {
			if err := r.request(ctx, s); err != nil {
				return nil, err
			}
		}
		left := time.Until(until)
		if left <= 0 {
			return nil, fmt.Errorf("gatehouse: Gatehouse did not fill the cache within %v", askFor)
		}
		if err := pause(ctx, min(wait, left)); err != nil {
			return nil, fmt.Errorf("gatehouse: wait for the user: %w", err)
		}
		var err error
		if value, err = r.cache.get(ctx, "user:"+s.userID); err != nil {
			return nil, err
		}
		if u, err := readUser(value, s); !errors.Is(err, ErrNotKnown) {
			return u, err
		}
	}
}

// request is an error when nobody hears it.
func (r *Reader) request(ctx context.Context, s *session) error {
	heard, err := r.sessions.publish(ctx, usedChannel, s.id)
	if err == nil && heard == 0 {
		return errors.New("gatehouse: the user is not in the cache, and no Gatehouse server runs that could fill it")
	}
	return err
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// tell says that the session was used. Nobody waits for it, and it does no harm if it is lost.
func (r *Reader) tell(s *session) {
	r.notes.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), lookFor)
		defer cancel()
		if _, err := r.sessions.publish(ctx, usedChannel, s.id); err != nil {
			r.log.Warn("Gatehouse could not be told that a session was used", "err", err)
		}
	})
}

// ErrNotKnown says that the session is good and that Gatehouse must be asked who the user is.
var ErrNotKnown = errors.New("gatehouse: the user is not known now")

// Check is the reader without Redis and HTTP: the user whom the cookie's value stands for at the time now; nil for a
// visitor who is not signed in; ErrNotKnown, or what lookup failed with. lookup returns the value of a key, nil if there is none.
func Check(cookie string, lookup func(key string) ([]byte, error), now time.Time) (*User, error) {
	_, u, err := check(cookie, lookup, now)
	return u, err
}

// CheckRequest is Check for the cookies of a request: the first one that is not signed out counts. cookieName is
// the name of Gatehouse's cookie.
func CheckRequest(req *http.Request, cookieName string, lookup func(key string) ([]byte, error), now time.Time) (*User, error) {
	for _, cookie := range sessionCookies(req, cookieName) {
		if u, err := Check(cookie, lookup, now); u != nil || err != nil {
			return u, err
		}
	}
	return nil, nil
}

func check(cookie string, lookup func(key string) ([]byte, error), now time.Time) (*session, *User, error) {
	if !cookieShape.MatchString(cookie) {
		return nil, nil, nil
	}
	sum := sha256.Sum256([]byte(cookie))
	id := base64.RawURLEncoding.EncodeToString(sum[:])
	value, err := lookup("session:" + id)
	if err != nil {
		return nil, nil, err
	}
	s := readSession(value, id)
	if s == nil || !s.deadline.After(now) {
		return nil, nil, nil
	}
	if value, err = lookup("user:" + s.userID); err != nil {
		return s, nil, err
	}
	u, err := readUser(value, s)
	return s, u, err
}

const (
	maxSession = 8192
	maxCookies = 4
	maxIdle    = 10 * 365 * 24 * 60 * 60
	// maxWhole is the largest whole number that is the same in every language.
	maxWhole = 1<<53 - 1
)

var (
	cookieShape = regexp.MustCompile(`^[A-Za-z0-9_-]{43}$`)
	// time.Parse alone takes a comma for the point, and more digits.
	timeShape  = regexp.MustCompile(`^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?Z$`)
	wholeShape = regexp.MustCompile(`^(0|[1-9][0-9]{0,15})$`)
)

type session struct {
	id, userID string
	epoch      int64
	idle       time.Duration
	deadline   time.Time
}

// worthTelling reports whether a tenth of the time is gone since Gatehouse last heard of the session. left is the
// key's PTTL, which is negative for a key that would stay for ever.
func (s *session) worthTelling(left time.Duration, now time.Time) bool {
	return left < min(s.idle, s.deadline.Sub(now))/10*9
}

// readSession returns nil for a value that is no record of this session.
func readSession(value []byte, id string) *session {
	f, ok := readFields(value)
	if !ok || len(value) > maxSession || f.whole("v") != 1 || f.text("id") != id {
		return nil
	}
	s := &session{id: id, userID: f.text("user_id"), epoch: f.whole("epoch"), deadline: f.moment("deadline")}
	idle := f.whole("idle_seconds")
	if s.userID == "" || s.epoch < 0 || idle < 1 || idle > maxIdle {
		return nil
	}
	s.idle = time.Duration(idle) * time.Second
	return s
}

// readUser returns the session's user; nil for a value that is not theirs, ErrNotKnown if there is none yet.
func readUser(value []byte, s *session) (*User, error) {
	if value == nil || bytes.HasPrefix(value, []byte("lease:")) {
		return nil, ErrNotKnown
	}
	f, ok := readFields(value)
	if !ok || f.whole("v") != 1 || f.text("id") != s.userID || string(f["active"]) != "true" || f.whole("epoch") != s.epoch {
		return nil, nil
	}
	name, nameOK := f.textOrAbsent("name")
	email, emailOK := f.textOrAbsent("email")
	groups, groupsOK := f.list("groups")
	permissions, permissionsOK := f.list("permissions")
	if string(f["email_verified"]) != "true" {
		email = "" // only what somebody typed
	}
	u := &User{s.userID, f.text("username"), name, email, groups, permissions}
	if u.Username == "" || !nameOK || !emailOK || !groupsOK || !permissionsOK {
		return nil, nil
	}
	return u, nil
}

// fields are an object's, each as it is written: encoding/json would take "V" for "v", and null for a field
// that is not there.
type fields map[string]json.RawMessage

func readFields(value []byte) (fields, bool) {
	var f fields
	// encoding/json replaces what is not UTF-8.
	return f, utf8.Valid(value) && json.Unmarshal(value, &f) == nil
}

// text returns "" for what is no string.
func (f fields) text(name string) string {
	s, _ := text(f[name])
	return s
}

func (f fields) textOrAbsent(name string) (string, bool) {
	raw, there := f[name]
	if !there {
		return "", true
	}
	return text(raw)
}

func text(raw json.RawMessage) (s string, ok bool) {
	return s, len(raw) > 0 && raw[0] == '"' && json.Unmarshal(raw, &s) == nil
}

// whole returns -1 for what is no whole number from 0 to maxWhole.
func (f fields) whole(name string) int64 {
	if !wholeShape.Match(f[name]) {
		return -1
	}
	n, err := strconv.ParseInt(string(f[name]), 10, 64)
	if err != nil || n > maxWhole {
		return -1
	}
	return n
}

// moment returns the zero time, long past, for what is none.
func (f fields) moment(name string) time.Time {
	s := f.text(name)
	if !timeShape.MatchString(s) {
		return time.Time{}
	}
	t, _ := time.Parse(time.RFC3339Nano, s)
	return t
}

func (f fields) list(name string) ([]string, bool) {
	raw, there := f[name]
	all := []string{}
	if !there || string(raw) == "null" {
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

// place is what a Redis URL names.
type place struct {
	network, address, user, password string
	number                           int
	tls                              bool
}

// parsePlace's errors never quote the URL, which may hold a password.
func parsePlace(raw string) (place, error) {
	bad := errors.New("want redis://[user:password@]host:port[/database], rediss://… or unix:///path/to.sock[?db=1]")
	u, err := url.Parse(raw)
	if err != nil || u.Opaque != "" || u.Fragment != "" {
		return place{}, bad
	}
	p := place{network: "tcp", user: u.User.Username(), tls: u.Scheme == "rediss"}
	p.password, _ = u.User.Password()
	number := strings.TrimPrefix(u.Path, "/")
	switch {
	case (u.Scheme == "redis" || p.tls) && u.Hostname() != "" && u.RawQuery == "":
		p.address = net.JoinHostPort(u.Hostname(), cmp.Or(u.Port(), "6379"))
	case u.Scheme == "unix" && u.Host == "" && len(number) > 0:
		p.network, p.address, number = "unix", filepath.Clean(u.Path), u.Query().Get("db")
	default:
		return place{}, bad
	}
	if p.user != "" && p.password == "" {
		return place{}, errors.New("it has a user but no password; for a password alone write redis://:password@host:port")
	}
	n, err := strconv.ParseUint(cmp.Or(number, "0"), 10, 16)
	if err != nil {
		return place{}, errors.New("the database is not a number between 0 and 65535")
	}
	p.number = int(n)
	return p, nil
}

// database is a pool of connections to one database of a Redis.
type database struct {
	pool *redis.Pool
	// failed is when a connection last broke, in unix ns: those used before it are tested first, so that a restart
	// of Redis is not one error for each of them.
	failed atomic.Int64
}

const (
	replyTimeout = time.Second
	doubtAfter   = 30 * time.Second
)

func open(p place) *database {
	d := &database{}
	d.pool = &redis.Pool{
		DialContext: func(ctx context.Context) (redis.Conn, error) {
			return redis.DialContext(ctx, p.network, p.address,
				redis.DialUsername(p.user), redis.DialPassword(p.password), redis.DialDatabase(p.number), redis.DialUseTLS(p.tls),
				redis.DialConnectTimeout(replyTimeout), redis.DialTLSHandshakeTimeout(replyTimeout),
				redis.DialReadTimeout(replyTimeout), redis.DialWriteTimeout(replyTimeout))
		},
		TestOnBorrowContext: func(ctx context.Context, c redis.Conn, used time.Time) error {
			if time.Since(used) < doubtAfter && used.UnixNano() > d.failed.Load() {
				return nil
			}
			_, err := redis.DoWithTimeout(c, remaining(ctx), "PING")
			return err
		},
		MaxActive: 64, MaxIdle: 64, IdleTimeout: 5 * time.Minute,
		Wait: true,
	}
	return d
}

// command is a name and its arguments.
type command struct {
	name string
	args []any
}

func (d *database) get(ctx context.Context, key string) ([]byte, error) {
	replies, err := d.do(ctx, command{"GET", []any{key}})
	if err != nil {
		return nil, err
	}
	return bulk(replies[0])
}

// getWithTTL returns the PTTL with the value, in one round trip.
func (d *database) getWithTTL(ctx context.Context, key string) ([]byte, time.Duration, error) {
	replies, err := d.do(ctx, command{"GET", []any{key}}, command{"PTTL", []any{key}})
	if err != nil {
		return nil, 0, err
	}
	value, err := bulk(replies[0])
	if err != nil {
		return nil, 0, err
	}
	left, err := number(replies[1])
	return value, time.Duration(left) * time.Millisecond, err
}

// publish returns how many servers heard it.
func (d *database) publish(ctx context.Context, channel, message string) (int64, error) {
	replies, err := d.do(ctx, command{"PUBLISH", []any{channel, message}})
	if err != nil {
		return 0, err
	}
	return number(replies[0])
}

// bulk returns nil for a missing key, and an empty value, which no reader accepts, for a key of another type.
func bulk(reply any) ([]byte, error) {
	if said, bad := reply.(redis.Error); bad && strings.HasPrefix(string(said), "WRONGTYPE ") {
		return []byte{}, nil
	}
	value, err := redis.Bytes(reply, nil)
	if err != nil && !errors.Is(err, redis.ErrNil) {
		return nil, fmt.Errorf("gatehouse: Redis answered: %w", err)
	}
	return value, nil
}

func number(reply any) (int64, error) {
	n, err := redis.Int64(reply, nil)
	if err != nil {
		return 0, fmt.Errorf("gatehouse: Redis answered: %w", err)
	}
	return n, nil
}

// do sends the commands together and returns their replies, which may be redis.Errors. It tries once more on a new
// connection when one broke: all commands of a reader may be repeated.
func (d *database) do(ctx context.Context, commands ...command) ([]any, error) {
	replies, err := d.try(ctx, commands)
	var network net.Error
	if err != nil && ctx.Err() == nil && !(errors.As(err, &network) && network.Timeout()) {
		replies, err = d.try(ctx, commands)
	}
	if err != nil {
		return nil, fmt.Errorf("gatehouse: ask Redis: %w", err)
	}
	return replies, nil
}

func (d *database) try(ctx context.Context, commands []command) ([]any, error) {
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
		reply, err := redis.ReceiveWithTimeout(c, remaining(ctx))
		var said redis.Error
		if errors.As(err, &said) {
			reply, err = said, nil
		}
		if err != nil {
			return nil, err
		}
		replies = append(replies, reply)
	}
	return replies, nil
}

// remaining is never zero, which redigo takes for "no timeout". redigo's own way with contexts would break the
// connection when a visitor goes away.
func remaining(ctx context.Context) time.Duration {
	deadline, ok := ctx.Deadline()
	if !ok {
		return replyTimeout
	}
	return min(max(time.Until(deadline), time.Nanosecond), replyTimeout)
}
