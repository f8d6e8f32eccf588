package fake

import (
	"context"
	"slices"
	"time"

	"gatehouse/auth"
)

// Throttle is an auth.Throttle without a clock: after its free attempts a key waits for its
// limit's Base, for ever.
type Throttle struct {
	*Journal
	counts   map[string]int
	reserved map[string]int
	failures map[string][]string
	networks map[string]auth.KnownNetwork
}

var _ auth.Throttle = (*Throttle)(nil)

func newThrottle(j *Journal) *Throttle {
	return &Throttle{Journal: j, counts: map[string]int{}, reserved: map[string]int{}, failures: map[string][]string{}, networks: map[string]auth.KnownNetwork{}}
}

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

// Reset ends the waits of the keys, and forgets which failures would repeat one.
func (s *Throttle) Reset(_ context.Context, keys ...string) {
	for _, key := range keys {
		delete(s.counts, key)
	}
	clear(s.failures)
}

// Marks returns the marks of all failures that are kept.
func (s *Throttle) Marks() []string {
	var all []string
	for _, marks := range s.failures {
		all = append(all, marks...)
	}
	return all
}

// Take implements auth.Throttle.
func (s *Throttle) Take(ctx context.Context, attempts ...auth.Attempt) ([]auth.Taken, error) {
	if err := s.note(ctx, "throttle.Take", keys(attempts)...); err != nil {
		return nil, err
	}
	var refused, counted []auth.Taken
	var longest time.Duration
	for _, a := range attempts {
		switch {
		case s.counts[a.Key] >= a.Limit.Free:
			refused = append(refused, auth.Taken{Key: a.Key, Attempt: a, Wait: a.Limit.Base})
			longest = max(longest, a.Limit.Base)
		case s.counts[a.Key]+s.reserved[a.Key] >= a.Limit.Free:
			refused = append(refused, auth.Taken{Key: a.Key, Attempt: a})
			longest = max(longest, time.Second)
		}
	}
	if longest > 0 {
		for _, a := range attempts {
			if a.Compared {
				s.counts[a.Key]++
			}
		}
		return refused, auth.Throttled{RetryAfter: longest}
	}
	for _, a := range attempts {
		if a.Counted {
			s.counts[a.Key]++
		} else {
			s.reserved[a.Key]++
		}
		counted = append(counted, auth.Taken{Key: a.Key, Attempt: a})
	}
	return counted, nil
}

// Reserved returns how many attempts are under way.
func (s *Throttle) Reserved() int {
	sum := 0
	for _, n := range s.reserved {
		sum += n
	}
	return sum
}

// Fail implements auth.Throttle.
func (s *Throttle) Fail(ctx context.Context, again bool, taken ...auth.Taken) ([]auth.Taken, error) {
	var keys []string
	for _, t := range taken {
		keys = append(keys, t.Key)
	}
	if err := s.note(ctx, "throttle.Fail", keys...); err != nil {
		return nil, err
	}
	failed := slices.Clone(taken)
	for i, t := range failed {
		s.reserved[t.Key]--
		if !again || s.counts[t.Key] == 0 {
			s.counts[t.Key]++
		}
		if s.counts[t.Key] >= t.Attempt.Limit.Free {
			failed[i].Wait = t.Attempt.Limit.Base
		}
	}
	return failed, nil
}

func keys(attempts []auth.Attempt) []string {
	var all []string
	for _, a := range attempts {
		all = append(all, a.Key)
	}
	return all
}

// Refund implements auth.Throttle.
func (s *Throttle) Refund(ctx context.Context, taken ...auth.Taken) error {
	var keys []string
	for _, t := range taken {
		keys = append(keys, t.Key)
	}
	if err := s.note(ctx, "throttle.Refund", keys...); err != nil {
		return err
	}
	for _, key := range keys {
		s.reserved[key]--
	}
	return nil
}

// Repeated implements auth.Throttle.
func (s *Throttle) Repeated(ctx context.Context, failures ...auth.Failure) (bool, error) {
	if err := s.note(ctx, "throttle.Repeated"); err != nil {
		return false, err
	}
	return slices.ContainsFunc(failures, func(f auth.Failure) bool { return slices.Contains(s.failures[f.Key], f.Mark) }), nil
}

// KeepFailure implements auth.Throttle.
func (s *Throttle) KeepFailure(ctx context.Context, failures ...auth.Failure) (auth.Recurrence, error) {
	if err := s.note(ctx, "throttle.KeepFailure"); err != nil {
		return 0, err
	}
	found := auth.FailureNew
	for _, f := range failures {
		if slices.Contains(s.failures[f.Key], f.Mark) {
			found = auth.FailureRepeated
			continue
		}
		s.failures[f.Key] = append(s.failures[f.Key], f.Mark)
	}
	return found, nil
}

// KnownNetwork implements auth.Throttle.
func (s *Throttle) KnownNetwork(ctx context.Context, name, network string) (auth.KnownNetwork, error) {
	if err := s.note(ctx, "throttle.KnownNetwork", name, network); err != nil {
		return auth.KnownNetwork{}, err
	}
	n, ok := s.networks[name+" "+network]
	if !ok {
		return auth.KnownNetwork{}, auth.ErrNotFound
	}
	return n, nil
}

// KeepKnownNetwork implements auth.Throttle.
func (s *Throttle) KeepKnownNetwork(ctx context.Context, n auth.KnownNetwork) error {
	if err := s.note(ctx, "throttle.KeepKnownNetwork", n.Name, n.Network); err != nil {
		return err
	}
	s.networks[n.Name+" "+n.Network] = n
	return nil
}
