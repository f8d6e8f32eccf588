package authtest

import (
	"context"
	"maps"
	"time"

	"gatehouse/auth"
)

// Credentials is an auth.CredentialCache without a clock: a throttled key stays throttled.
type Credentials struct {
	*CallLog
	// cache is where the cached user comes from.
	cache   *Cache
	records map[string]auth.Credential
	waits   map[string]time.Duration
}

var _ auth.CredentialCache = (*Credentials)(nil)

// Put stores any record under a name and network.
func (s *Credentials) Put(name, network string, c auth.Credential) { s.records[name+" "+network] = c }

// Record returns the record of a name and network.
func (s *Credentials) Record(name, network string) (auth.Credential, bool) {
	c, ok := s.records[name+" "+network]
	return c, ok
}

// Waits returns the delays of the throttled keys.
func (s *Credentials) Waits() map[string]time.Duration { return maps.Clone(s.waits) }

// Flush clears the cache.
func (s *Credentials) Flush() {
	clear(s.records)
	clear(s.waits)
}

// Credential implements auth.CredentialCache.
func (s *Credentials) Credential(ctx context.Context, name, network string, waitKeys ...string) (auth.Credential, error) {
	if err := s.LogCall(ctx, "credentials.Credential", append([]string{name, network}, waitKeys...)...); err != nil {
		return auth.Credential{}, err
	}
	for _, key := range waitKeys {
		if s.waits[key] > 0 {
			return auth.Credential{}, auth.ThrottledError{RetryAfter: s.waits[key]}
		}
	}
	c, ok := s.Record(name, network)
	if !ok {
		return auth.Credential{}, auth.ErrNotFound
	}
	if u, ok := s.cache.users[c.UserID]; ok && !s.cache.fails("cache.User") && !s.cache.bypassed[c.UserID] && !s.cache.bypassed[""] {
		c.User = &u
	}
	return c, nil
}

// FillCredential implements auth.CredentialCache.
func (s *Credentials) FillCredential(ctx context.Context, c auth.Credential) error {
	if err := s.LogCall(ctx, "credentials.FillCredential", c.Name, c.Network); err != nil {
		return err
	}
	s.Put(c.Name, c.Network, c)
	return nil
}

// MarkThrottled implements auth.CredentialCache.
func (s *Credentials) MarkThrottled(ctx context.Context, waits map[string]time.Duration) error {
	if err := s.LogCall(ctx, "credentials.MarkThrottled"); err != nil {
		return err
	}
	maps.Copy(s.waits, waits)
	return nil
}
