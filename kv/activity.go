package kv

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"gatehouse/auth"
)

// activityChannel is where other programs PUBLISH the id of a session that they use, to have its user
// in the cache.
const activityChannel = "gatehouse:used"

const (
	// activityWorkers and activityQueue bound the work that other programs can cause. Overflow is dropped;
	// a program that still waits for the user publishes again.
	activityWorkers = 4
	activityQueue   = 256
	// resubscribeAfter is the wait after a lost subscription.
	resubscribeAfter = 250 * time.Millisecond
)

// WatchActivity calls handle for each session id that other programs publish, until ctx ends. It
// resubscribes when the connection breaks; messages sent while disconnected are lost.
func (s *Sessions) WatchActivity(ctx context.Context, log *slog.Logger, handle func(ctx context.Context, id string)) {
	ids := make(chan string, activityQueue)
	var workers sync.WaitGroup
	defer workers.Wait()
	defer close(ids)
	for range activityWorkers {
		workers.Go(func() {
			for id := range ids {
				handle(ctx, id)
			}
		})
	}
	for reported := false; ctx.Err() == nil; {
		err := s.redis.Subscribe(ctx, activityChannel, func() { reported = false }, func(message []byte) {
			if len(message) != auth.HashLength {
				return
			}
			select {
			case ids <- string(message):
			default:
			}
		})
		if ctx.Err() != nil {
			return
		}
		if !reported {
			log.WarnContext(ctx, "lost the subscription to sessions used by other programs; resubscribing", "error", err)
			reported = true
		}
		select {
		case <-ctx.Done():
		case <-time.After(resubscribeAfter):
		}
	}
}
