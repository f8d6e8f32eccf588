package kv

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/gomodule/redigo/redis"
)

// usedChannel is where other programs tell by PUBLISH that a session was used, and want its user to be
// in the cache. The message is the session's id.
const usedChannel = "gatehouse:used"

const (
	// usedWorkers and usedQueue bound the work that others can make us do; what comes above it is
	// dropped, and told again by whoever waits for it.
	usedWorkers = 4
	usedQueue   = 256
	// usedPing keeps the connection known to be alive; silence for usedSilence ends it.
	usedPing    = 10 * time.Second
	usedSilence = 15 * time.Second
	// usedRetry is how long to wait before subscribing again.
	usedRetry = 250 * time.Millisecond
)

// WatchActivity hears which sessions other programs have used and calls handle for each, until ctx ends. It
// subscribes again when the connection breaks; what was told meanwhile is not heard.
func (s *Sessions) WatchActivity(ctx context.Context, log *slog.Logger, handle func(ctx context.Context, id string)) {
	ids := make(chan string, usedQueue)
	var workers sync.WaitGroup
	defer workers.Wait()
	defer close(ids)
	for range usedWorkers {
		workers.Go(func() {
			for id := range ids {
				handle(ctx, id)
			}
		})
	}
	for told := false; ctx.Err() == nil; {
		err := s.redis.subscribe(ctx, usedChannel, func() { told = false }, func(message []byte) {
			if len(message) != idLength {
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
		if !told {
			log.WarnContext(ctx, "other programs cannot tell which sessions they use; subscribing again", "error", err)
			told = true
		}
		select {
		case <-ctx.Done():
		case <-time.After(usedRetry):
		}
	}
}

// subscribe calls receive for each message of the channel until the connection breaks or ctx ends,
// and ready once there is a subscription.
func (r *Redis) subscribe(ctx context.Context, channel string, ready func(), receive func([]byte)) error {
	c, err := r.dial(ctx)
	if err != nil {
		return err
	}
	sub := redis.PubSubConn{Conn: c}
	defer sub.Close()
	if err := sub.Subscribe(channel); err != nil {
		return err
	}
	stop := make(chan struct{})
	var pings sync.WaitGroup
	defer pings.Wait()
	defer close(stop)
	pings.Go(func() {
		tick := time.NewTicker(usedPing)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				if sub.Ping("") != nil {
					return
				}
			case <-ctx.Done():
				_ = sub.Close() // ends the waiting below
				return
			case <-stop:
				return
			}
		}
	})
	for {
		switch m := sub.ReceiveWithTimeout(usedSilence).(type) {
		case redis.Message:
			receive(m.Data)
		case redis.Subscription:
			ready()
		case error:
			return m
		}
	}
}
