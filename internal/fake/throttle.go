package fake

import (
	"context"
	"time"

	"gatehouse/auth"
)

// Throttle is an auth.Throttle without a clock: after its free attempts a key waits for its
// limit's Base, for ever.
type Throttle struct {
	*Journal
	counts map[string]int
}

var _ auth.Throttle = (*Throttle)(nil)

// Count returns the counted attempts under a key.
func (s *Throttle) Count(key string) int { return s.counts[key] }

// Counts returns all counts that are not zero.
func (s *Throttle) Counts() map[string]int {
	all := map[string]int{}
	for key, n := range s.counts {
		if n != 0 {
			all[key] = n
		}
	}
	return all
}

// Take implements auth.Throttle.
func (s *Throttle) Take(ctx context.Context, attempts ...auth.Attempt) (map[string]time.Duration, error) {
	if err := s.note(ctx, "throttle.Take", keys(attempts)...); err != nil {
		return nil, err
	}
	refusing := map[string]time.Duration{}
	var longest time.Duration
	for _, a := range attempts {
		if s.counts[a.Key] >= a.Limit.Free {
			refusing[a.Key] = a.Limit.Base
			longest = max(longest, a.Limit.Base)
		}
	}
	if longest > 0 {
		return refusing, auth.Throttled{RetryAfter: longest}
	}
	beginning := map[string]time.Duration{}
	for _, a := range attempts {
		s.counts[a.Key]++
		if s.counts[a.Key] >= a.Limit.Free {
			beginning[a.Key] = a.Limit.Base
		}
	}
	return beginning, nil
}

func keys(attempts []auth.Attempt) []string {
	var all []string
	for _, a := range attempts {
		all = append(all, a.Key)
	}
	return all
}

// Refund implements auth.Throttle.
func (s *Throttle) Refund(ctx context.Context, keys ...string) error {
	if err := s.note(ctx, "throttle.Refund", keys...); err != nil {
		return err
	}
	for _, key := range keys {
		s.counts[key]--
	}
	return nil
}

// Reset implements auth.Throttle.
func (s *Throttle) Reset(ctx context.Context, keys ...string) error {
	if err := s.note(ctx, "throttle.Reset", keys...); err != nil {
		return err
	}
	for _, key := range keys {
		delete(s.counts, key)
	}
	return nil
}
