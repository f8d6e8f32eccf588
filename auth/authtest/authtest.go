// Package authtest holds the stores in memory, for the tests of what stands above them. They
// keep the contracts of the interfaces, write down every call, and fail on demand.
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

// Secret is a SECRET_KEY.
const SecretKey = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="

// Stores are all of them, on one journal.
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

// Accounts returns the rules on the stores, with a cheap Hasher.
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

// Log returns a logger that discards its lines.
func DiscardLogger() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

// Cheap are parameters that take no time.
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

// Journal is what was asked of the stores, in order, as "cache.Drop u1".
type CallLog struct {
	mu     sync.Mutex
	calls  []string
	broken map[string]error
}

// Break makes every call fail that begins so ("users.", "cache.Drop"); nil mends it.
func (j *CallLog) FailOn(call string, err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.broken[call] = err
}

// Calls returns the calls that begin with one of the prefixes (all of them without any).
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

// ResetAfter empties the journal.
func (j *CallLog) Reset() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.calls = nil
}

// LogCall writes a call down and returns the error that it is to fail with.
func (j *CallLog) LogCall(ctx context.Context, call string, args ...string) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.calls = append(j.calls, strings.TrimSpace(call+" "+strings.Join(args, " ")))
	if err := j.fault(call); err != nil {
		return err
	}
	return ctx.Err()
}

// fails reports whether a call was made to fail.
func (j *CallLog) fails(call string) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.fault(call) != nil
}

// fault returns the error that a call was made to fail with. The caller holds the lock.
func (j *CallLog) fault(call string) error {
	for prefix, err := range j.broken {
		if err != nil && strings.HasPrefix(call, prefix) {
			return err
		}
	}
	return nil
}

// AccountKey is what the throttle counts a name's failures under, with Secret.
func AccountKey(name string) string { return parsedKeys().AccountKey(name) }

// APIClientKey is what marks a waiting program, with Secret.
func APIClientKey(name, network string) string { return parsedKeys().APIClientKey(name, network) }

func parsedKeys() auth.Keys {
	keys, err := auth.ParseKeys(SecretKey)
	if err != nil {
		panic(err)
	}
	return keys
}
