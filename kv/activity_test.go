package kv

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse/kv/kvtest"
	"gatehouse/kv/redisconn"
)

// received collects the ids that WatchActivity passes on until the end of the test.
type received struct {
	mu  sync.Mutex
	ids []string
}

func (h *received) all() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return strings.Join(h.ids, " ")
}

func watch(t *testing.T, s *Sessions) *received {
	t.Helper()
	h := &received{}
	ctx, stop := context.WithCancel(t.Context())
	var group sync.WaitGroup
	group.Go(func() {
		s.WatchActivity(ctx, slog.New(slog.DiscardHandler), func(_ context.Context, id string) {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.ids = append(h.ids, id)
		})
	})
	t.Cleanup(func() { stop(); group.Wait() })
	return h
}

// publish sends a message as another program does, and returns the number of subscribers.
func publish(t *testing.T, r *redisconn.Pool, message string) int64 {
	t.Helper()
	return kvtest.Run(t, r, "PUBLISH", activityChannel, message).(int64)
}

func TestWatchActivity_PassesOnSessionIDs(t *testing.T) {
	kvtest.OnEach(t, func(t *testing.T, r *redisconn.Pool) {
		h := watch(t, NewSessions(r))
		kvtest.Eventually(t, "a subscriber", func() bool { return publish(t, r, testID(1)) > 0 })
		for _, nonsense := range []string{"", "x", testID(2) + "x", strings.Repeat("a", 1<<16)} {
			publish(t, r, nonsense)
		}
		publish(t, r, testID(3))
		kvtest.Eventually(t, "the message", func() bool { return strings.HasSuffix(h.all(), testID(3)) })
		for id := range strings.SplitSeq(h.all(), " ") {
			if id != testID(1) && id != testID(3) {
				t.Errorf("received %.50q, which is not a published session id", id)
			}
		}
	})
}

// TestWatchActivity_Resubscribes: a broken connection is replaced while Redis keeps running.
func TestWatchActivity_Resubscribes(t *testing.T) {
	r := kvtest.OpenServer(t)
	h := watch(t, NewSessions(r))
	kvtest.Eventually(t, "a subscriber", func() bool { return publish(t, r, testID(1)) > 0 })
	if n := kvtest.Run(t, r, "CLIENT", "KILL", "TYPE", "pubsub").(int64); n == 0 {
		t.Fatal("got no subscription to kill")
	}
	kvtest.Eventually(t, "a new subscriber", func() bool { return publish(t, r, testID(2)) > 0 })
	kvtest.Eventually(t, "the message", func() bool { return strings.Contains(h.all(), testID(2)) })
}

// TestWatchActivity_EndsWithItsContext: even without any message, and with an unreachable Redis.
func TestWatchActivity_EndsWithItsContext(t *testing.T) {
	for name, r := range map[string]*redisconn.Pool{"quiet": kvtest.OpenEmbedded(t), "unreachable": kvtest.Open(t, "redis://127.0.0.1:1")} {
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			NewSessions(r).WatchActivity(ctx, slog.New(slog.DiscardHandler), func(context.Context, string) {})
		}()
		if name == "quiet" {
			kvtest.Eventually(t, "a subscriber", func() bool { return publish(t, r, testID(1)) > 0 })
		}
		stop()
		select {
		case <-ended:
		case <-time.After(10 * time.Second):
			t.Fatalf("%s: still running 10 s after the cancel", name)
		}
	}
}
