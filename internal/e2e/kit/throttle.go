package kit

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"

	"gatehouse/auth"
)

// AccountKey returns the key under which the throttle counts the failures of a name.
func AccountKey(name string) string { return parsedKeys().AccountKey(name) }

// WaitKey returns the Redis key that makes a program on a network wait.
func WaitKey(name, network string) string {
	return "waiting:" + parsedKeys().APIClientKey(name, network)
}

func parsedKeys() auth.Keys {
	keys, err := auth.ParseKeys(SecretKey)
	if err != nil {
		panic(err)
	}
	return keys
}

// ThrottleKey returns the Redis key of a name's throttle.
func ThrottleKey(name string) string { return "throttle:" + AccountKey(name) }

// GuessPassword tries to sign in from an unknown browser.
func (x *Target) GuessPassword(username, password string, header ...string) Response {
	x.T.Helper()
	c := x.NewClient()
	return c.Do(c.NewRequest(http.MethodPost, "/login", EncodeForm("username", username, "password", password),
		append(header, "Content-Type", FormContentType)...))
}

// WantThrottled fails unless the page says how long to wait, within bounds.
func (x *Target) WantThrottled(a Response, least, most time.Duration) {
	x.T.Helper()
	after, err := strconv.Atoi(a.Header.Get("Retry-After"))
	if a.StatusCode != http.StatusTooManyRequests || err != nil {
		x.T.Fatalf("%s: %s with Retry-After %q, want 429", a.Request.URL.Path, a.Status, a.Header.Get("Retry-After"))
	}
	if wait := time.Duration(after) * time.Second; wait < least || wait > most {
		x.T.Errorf("Retry-After is %v, want %v to %v", wait, least, most)
	}
	if !strings.Contains(FormError(a), "Too many attempts. Wait ") {
		x.T.Errorf("got the message %q, want the time to wait", FormError(a))
	}
}

// RedisMillis returns Redis's clock in Unix milliseconds.
func (x *Target) RedisMillis() int64 {
	x.T.Helper()
	return x.Int("EVAL", `local t = redis.call('TIME') return t[1] * 1000 + math.floor(t[2] / 1000)`, 0)
}

// ForwardingHeaders are the names under which proxies forward the address of a client.
var ForwardingHeaders = []string{
	"X-Forwarded-For", "X_Forwarded_For", "x-forwarded_for", "X-Real-Ip", "X_Real_IP", "Forwarded", "True-Client-Ip", "Cf-Connecting-Ip",
	"X-Client-Ip", "X-Cluster-Client-Ip", "Fastly-Client-Ip", "X-Originating-Ip", "Remote-Addr", "X-Remote-Addr", "Via",
}

// CountedFailures returns what a throttle has counted; 0 if there is none.
func (x *Target) CountedFailures(key string) int64 {
	x.T.Helper()
	n, err := redis.Int64(x.Do("HGET", "throttle:"+key, "n"), nil)
	if err != nil && err != redis.ErrNil {
		x.T.Fatal(err)
	}
	return n
}

// ClearThrottles deletes every throttle.
func (x *Target) ClearThrottles() {
	x.T.Helper()
	for _, key := range x.Keys("throttle:*") {
		x.Do("DEL", key)
	}
}

// ClearWaits ends every wait, of accounts and of programs.
func (x *Target) ClearWaits() {
	x.T.Helper()
	x.ClearThrottles()
	for _, key := range x.CacheKeys("waiting:*") {
		x.CacheDo("DEL", key)
	}
}

// The networks of clients, as a trusted proxy reports them.
const (
	HomeNetwork     = "203.0.113.5"
	OtherNetwork    = "203.0.113.6"
	StrangerNetwork = "198.51.100.7"
)

// NewProxiedTarget is a target whose clients may come from any network: see FromNetwork.
func NewProxiedTarget(t testing.TB, pairs ...string) *Target {
	t.Helper()
	return NewTarget(t, append(pairs, "TRUSTED_PROXIES", "127.0.0.0/8,::1")...)
}

// FromNetwork returns the header of a request from a network.
func FromNetwork(network string) []string { return []string{"X-Forwarded-For", network} }

var wrongPasswords atomic.Int64

// WrongPassword returns a password that was not tried before.
func WrongPassword() string { return fmt.Sprintf("wrong-guess-%d", wrongPasswords.Add(1)) }

// GetMeBasicFrom is GetMeBasic from a network.
func (x *Target) GetMeBasicFrom(network, name, secret string) Response {
	x.T.Helper()
	return x.GetMeBasic(name, secret, FromNetwork(network)...)
}

// GuessPasswordFrom is GuessPassword from a network.
func (x *Target) GuessPasswordFrom(network, name, secret string) Response {
	x.T.Helper()
	return x.GuessPassword(name, secret, FromNetwork(network)...)
}
