package authtest

import (
	"context"
	"slices"
	"time"

	"gatehouse/auth"
)

// Throttle is an auth.Throttle without a clock: after its burst a key is throttled for BaseDelay, without end.
type Throttle struct {
	*CallLog
	counts   map[string]int
	reserved map[string]int
	failures map[string][]string
	networks map[string]auth.KnownNetwork
}

var _ auth.Throttle = (*Throttle)(nil)

func newThrottle(j *CallLog) *Throttle {
	return &Throttle{CallLog: j, counts: map[string]int{}, reserved: map[string]int{}, failures: map[string][]string{}, networks: map[string]auth.KnownNetwork{}}
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

// Reset resets the counts of the keys and all recorded failures.
func (s *Throttle) Reset(_ context.Context, keys ...string) {
	for _, key := range keys {
		delete(s.counts, key)
	}
	clear(s.failures)
}

// Marks returns the digests of all recorded failures.
func (s *Throttle) Marks() []string {
	var all []string
	for _, marks := range s.failures {
		all = append(all, marks...)
	}
	return all
}

// Reserve implements auth.Throttle.
func (s *Throttle) Reserve(ctx context.Context, attempts ...auth.Bucket) ([]auth.Reservation, error) {
	if err := s.LogCall(ctx, "throttle.Reserve", keys(attempts)...); err != nil {
		return nil, err
	}
	var refused, counted []auth.Reservation
	var longest time.Duration
	for _, a := range attempts {
		switch {
		case s.counts[a.Key] >= a.Limit.Burst:
			refused = append(refused, auth.Reservation{Key: a.Key, Bucket: a, RetryAfter: a.Limit.BaseDelay})
			longest = max(longest, a.Limit.BaseDelay)
		case s.counts[a.Key]+s.reserved[a.Key] >= a.Limit.Burst:
			refused = append(refused, auth.Reservation{Key: a.Key, Bucket: a})
			longest = max(longest, time.Second)
		}
	}
	if longest > 0 {
		for _, a := range attempts {
			if a.CountOnRefusal {
				s.counts[a.Key]++
			}
		}
		return refused, auth.ThrottledError{RetryAfter: longest}
	}
	for _, a := range attempts {
		if a.CountOnReserve {
			s.counts[a.Key]++
		} else {
			s.reserved[a.Key]++
		}
		counted = append(counted, auth.Reservation{Key: a.Key, Bucket: a})
	}
	return counted, nil
}

// Reserved returns the number of reservations.
func (s *Throttle) Reserved() int {
	sum := 0
	for _, n := range s.reserved {
		sum += n
	}
	return sum
}

// CountFailures implements auth.Throttle.
func (s *Throttle) CountFailures(ctx context.Context, again bool, taken ...auth.Reservation) ([]auth.Reservation, error) {
	var keys []string
	for _, t := range taken {
		keys = append(keys, t.Key)
	}
	if err := s.LogCall(ctx, "throttle.CountFailures", keys...); err != nil {
		return nil, err
	}
	failed := slices.Clone(taken)
	for i, t := range failed {
		s.reserved[t.Key]--
		if !again || s.counts[t.Key] == 0 {
			s.counts[t.Key]++
		}
		if s.counts[t.Key] >= t.Bucket.Limit.Burst {
			failed[i].RetryAfter = t.Bucket.Limit.BaseDelay
		}
	}
	return failed, nil
}

func keys(attempts []auth.Bucket) []string {
	var all []string
	for _, a := range attempts {
		all = append(all, a.Key)
	}
	return all
}

// Refund implements auth.Throttle.
func (s *Throttle) Refund(ctx context.Context, taken ...auth.Reservation) error {
	var keys []string
	for _, t := range taken {
		keys = append(keys, t.Key)
	}
	if err := s.LogCall(ctx, "throttle.Refund", keys...); err != nil {
		return err
	}
	for _, key := range keys {
		s.reserved[key]--
	}
	return nil
}

// HasFailure implements auth.Throttle.
func (s *Throttle) HasFailure(ctx context.Context, failures ...auth.FailureFingerprint) (bool, error) {
	if err := s.LogCall(ctx, "throttle.HasFailure"); err != nil {
		return false, err
	}
	return slices.ContainsFunc(failures, func(f auth.FailureFingerprint) bool { return slices.Contains(s.failures[f.Key], f.Digest) }), nil
}

// RecordFailure implements auth.Throttle.
func (s *Throttle) RecordFailure(ctx context.Context, failures ...auth.FailureFingerprint) (auth.Recurrence, error) {
	if err := s.LogCall(ctx, "throttle.RecordFailure"); err != nil {
		return 0, err
	}
	found := auth.FailureNew
	for _, f := range failures {
		if slices.Contains(s.failures[f.Key], f.Digest) {
			found = auth.FailureRepeated
			continue
		}
		s.failures[f.Key] = append(s.failures[f.Key], f.Digest)
	}
	return found, nil
}

// KnownNetwork implements auth.Throttle.
func (s *Throttle) KnownNetwork(ctx context.Context, name, network string) (auth.KnownNetwork, error) {
	if err := s.LogCall(ctx, "throttle.KnownNetwork", name, network); err != nil {
		return auth.KnownNetwork{}, err
	}
	n, ok := s.networks[name+" "+network]
	if !ok {
		return auth.KnownNetwork{}, auth.ErrNotFound
	}
	return n, nil
}

// SaveKnownNetwork implements auth.Throttle.
func (s *Throttle) SaveKnownNetwork(ctx context.Context, n auth.KnownNetwork) error {
	if err := s.LogCall(ctx, "throttle.SaveKnownNetwork", n.Name, n.Network); err != nil {
		return err
	}
	s.networks[n.Name+" "+n.Network] = n
	return nil
}
