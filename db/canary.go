package db

import (
	"context"
	"crypto/rand"
	"maps"
	"strconv"
	"strings"
	"sync"
	"time"
)

// canary sends numbered notifications through the pool, on a channel that only this process listens on.
type canary struct {
	d       *DB
	channel string
	number  int
	// sentAt holds the send times of those that have not arrived.
	sentAt  map[int]time.Time
	results chan canaryResult
	// tick continues across reconnects, so that Listener.Reachable is called even if those fail.
	tick  *time.Ticker
	sends sync.WaitGroup
}

type canaryResult struct {
	number int
	err    error
}

func newCanary(d *DB) *canary {
	return &canary{
		d:       d,
		channel: "gatehouse_canary_" + strings.ToLower(rand.Text()),
		sentAt:  map[int]time.Time{},
		results: make(chan canaryResult),
		tick:    time.NewTicker(canaryInterval),
	}
}

// send sends the next canary in the background; its result arrives in results.
func (c *canary) send(ctx context.Context) {
	c.number++
	number, now := c.number, time.Now()
	maps.DeleteFunc(c.sentAt, func(_ int, at time.Time) bool { return now.Sub(at) > 2*maxCanaryAge })
	c.sentAt[number] = now
	c.sends.Go(func() {
		limited, cancel := context.WithTimeout(ctx, maxCanaryAge)
		defer cancel()
		// Without arguments lib/pq does not prepare the statement, so that it works through a pooler.
		_, err := c.d.pool.ExecContext(limited, "NOTIFY "+c.channel+", '"+strconv.Itoa(number)+"'")
		select {
		case c.results <- canaryResult{number, err}:
		case <-ctx.Done():
		}
	})
}

// received returns the number of an arrived canary and when it was sent.
func (c *canary) received(payload string) (number int, sentAt time.Time, ok bool) {
	number, err := strconv.Atoi(payload)
	if err != nil {
		return 0, time.Time{}, false
	}
	sentAt, ok = c.sentAt[number]
	// Notifications arrive in commit order: older ones will not arrive any more.
	maps.DeleteFunc(c.sentAt, func(n int, _ time.Time) bool { return n <= number })
	return number, sentAt, ok
}

// close waits for sends in progress, which end with their context.
func (c *canary) close() {
	c.tick.Stop()
	c.sends.Wait()
}
