package redisconn

import (
	"context"
	"sync"
	"time"

	"github.com/gomodule/redigo/redis"
)

const (
	// pingInterval keeps a subscription's connection alive; it ends after silenceLimit without a message
	// or a reply to a PING.
	pingInterval = 10 * time.Second
	silenceLimit = 15 * time.Second
)

// Subscribe calls receive for each message on the channel until the connection breaks or ctx ends,
// and ready once the subscription is in effect. It uses a connection outside the pool.
func (p *Pool) Subscribe(ctx context.Context, channel string, ready func(), receive func(message []byte)) error {
	c, err := p.dial(ctx)
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
	pings.Go(func() { keepAlive(ctx, sub, stop) })
	for {
		switch m := sub.ReceiveWithTimeout(silenceLimit).(type) {
		case redis.Message:
			receive(m.Data)
		case redis.Subscription:
			ready()
		case error:
			return m
		}
	}
}

// keepAlive sends PINGs until stop is closed. When ctx ends it closes the connection, which ends
// ReceiveWithTimeout.
func keepAlive(ctx context.Context, sub redis.PubSubConn, stop <-chan struct{}) {
	tick := time.NewTicker(pingInterval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if sub.Ping("") != nil {
				return
			}
		case <-ctx.Done():
			_ = sub.Close()
			return
		case <-stop:
			return
		}
	}
}
