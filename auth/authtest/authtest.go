// Package authtest provides in-memory implementations of the stores of package auth, for tests. They record every call
// and fail on demand.
package authtest

import (
	"context"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alexedwards/argon2id"

	"gatehouse/auth"
	"gatehouse/auth/password"
	"gatehouse/internal/reqstats"
)

// SecretKey is a SECRET_KEY.
const SecretKey = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="

// Stores holds one store of each kind, with a common CallLog.
type Stores struct {
	*CallLog
	Users       *Users
	Cache       *Cache
	Throttle    *Throttle
	Sessions    *Sessions
	Tokens      *Tokens
	Credentials *Credentials
	Grants      *Grants
	Maintenance *Maintenance
}

// New returns empty stores.
func New() *Stores {
	j := &CallLog{broken: map[string]error{}}
	users := &Users{CallLog: j, rows: map[string]auth.User{}}
	cache := &Cache{CallLog: j, users: map[string]auth.User{}, leases: map[string]string{}, bypassed: map[string]bool{}}
	return &Stores{
		CallLog:     j,
		Users:       users,
		Cache:       cache,
		Throttle:    newThrottle(j),
		Sessions:    &Sessions{CallLog: j, records: map[string][]byte{}, held: map[string]bool{}},
		Tokens:      &Tokens{CallLog: j, records: map[string]auth.Token{}},
		Credentials: &Credentials{CallLog: j, cache: cache, records: map[string]auth.Credential{}, waits: map[string]time.Duration{}},
		Grants:      newGrants(j, users),
		Maintenance: &Maintenance{CallLog: j},
	}
}

// Accounts returns an Accounts on the stores, with a fast Hasher.
func (s *Stores) Accounts(t testing.TB) *auth.Accounts {
	t.Helper()
	keys, err := auth.ParseKeys(SecretKey)
	if err != nil {
		t.Fatal(err)
	}
	return &auth.Accounts{
		Users: s.Users, Cache: s.Cache, Sessions: s.Sessions, Throttle: s.Throttle,
		Tokens: s.Tokens, Credentials: s.Credentials, Grants: s.Grants,
		TokenLifetime: 72 * time.Hour,
		Hasher:        Hasher(t, FastHashParams), Keys: keys,
		Policy:           password.Policy{MinLength: 8},
		RegistrationOpen: true,
		Log:              DiscardLogger(),
		OnChangeAttempt:  recordChangeAttempt,
	}
}

// DiscardLogger returns a logger that discards its output.
func DiscardLogger() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

// FastHashParams makes hashing fast.
var FastHashParams = argon2id.Params{Memory: 8, Iterations: 1, Parallelism: 1, SaltLength: 16, KeyLength: 32}

// Hasher returns a Hasher with the parameters.
func Hasher(t testing.TB, p argon2id.Params) *password.Hasher {
	t.Helper()
	h, err := password.NewHasher(1, p)
	if err != nil {
		t.Fatal(err)
	}
	h.OnHash = func(ctx context.Context) { reqstats.FromContext(ctx).AddHash() }
	return h
}

func recordChangeAttempt(ctx context.Context) { reqstats.FromContext(ctx).RecordChangeAttempt() }

// CallLog records the calls of the stores in order, as "cache.Drop u1", and makes them fail.
type CallLog struct {
	mu     sync.Mutex
	calls  []string
	broken map[string]error
}

// FailOn makes every call with the prefix ("users.", "cache.Drop") return err; nil makes it succeed again.
func (j *CallLog) FailOn(call string, err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.broken[call] = err
}

// Calls returns the calls with one of the prefixes; without prefixes, all calls.
func (j *CallLog) Calls(prefixes ...string) []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(prefixes) == 0 {
		return slices.Clone(j.calls)
	}
	return slices.DeleteFunc(slices.Clone(j.calls), func(call string) bool {
		return !slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(call, p) })
	})
}

// Reset clears the recorded calls.
func (j *CallLog) Reset() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.calls = nil
}

// LogCall records a call and returns the error set by FailOn, or the context's.
func (j *CallLog) LogCall(ctx context.Context, call string, args ...string) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.calls = append(j.calls, strings.TrimSpace(call+" "+strings.Join(args, " ")))
	if err := j.fault(call); err != nil {
		return err
	}
	return ctx.Err()
}

// fails reports whether FailOn applies to a call.
func (j *CallLog) fails(call string) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.fault(call) != nil
}

// fault returns the error that FailOn set for a call. The caller holds the lock.
func (j *CallLog) fault(call string) error {
	for prefix, err := range j.broken {
		if err != nil && strings.HasPrefix(call, prefix) {
			return err
		}
	}
	return nil
}

// AccountKey returns the rate-limit key of a login under SecretKey.
func AccountKey(name string) string { return parsedKeys().AccountKey(name) }

// APIClientKey returns the key that marks a throttled API client, under SecretKey.
func APIClientKey(name, network string) string { return parsedKeys().APIClientKey(name, network) }

func parsedKeys() auth.Keys {
	keys, err := auth.ParseKeys(SecretKey)
	if err != nil {
		panic(err)
	}
	return keys
}
