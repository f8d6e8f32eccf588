package db

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/lib/pq"

	"gatehouse/auth"
)

// Change says that a user's row, groups or permissions were changed and committed.
type Change struct {
	// UserID is a user's id, or auth.AllUsers.
	UserID string
	// At is when the change was made, shortly before its commit; zero if unknown.
	At time.Time
}

// Listener receives changes, whoever made them. Its methods are called one after
// the other and must not block.
type Listener interface {
	// Connected is called when changes are received from now on. Earlier ones may have been missed.
	Connected()
	// Changed is called soon after each commit.
	Changed(Change)
	// Disconnected is called when changes may be missed until the next call of Connected.
	Disconnected(err error)
	// Reachable reports, about once a second, whether the database answers.
	Reachable(bool)
}

// ErrNotDelivered says that notifications which the database accepted do not arrive.
var ErrNotDelivered = errors.New("notifications do not arrive although the database accepts them; " +
	"if DATABASE_URL leads through a pooler in transaction mode, set DATABASE_LISTEN_URL to a direct connection; " +
	"after a failover, make sure that both lead to the new primary")

const (
	// channel is where the triggers of the migrations tell changes.
	channel = "gatehouse_users"
	// A lost connection is tried again after minReconnect, then twice as long, up to maxReconnect.
	minReconnect = 100 * time.Millisecond
	maxReconnect = 2 * time.Second
	// canaryInterval is how often a notification is sent through the pool, whose return proves that
	// everything committed before it has arrived.
	canaryInterval = time.Second
	// trustFor is how long that proof counts, from when the notification was sent. A change that is
	// not delivered is acted upon for that long at most.
	trustFor = 2 * time.Second
)

// Listen tells l of changes until ctx ends: by NOTIFY from Postgres, by looking at a SQLite
// file forty times a second. It belongs to no request and costs no statement in the sense of reqstats.Stats.
func (d *DB) Listen(ctx context.Context, l Listener) {
	if d.path != "" {
		d.listenSQLite(ctx, l)
		return
	}
	c := newCanary(d)
	defer c.close()
	for ctx.Err() == nil {
		err := d.listenPostgres(ctx, l, c)
		if ctx.Err() != nil {
			return
		}
		l.Disconnected(err)
		if errors.Is(err, ErrNotDelivered) {
			l.Reachable(true)
		}
		select {
		case <-ctx.Done():
		case <-time.After(minReconnect):
		}
	}
}

// CheckListening returns nil if changes arrive, or why they do not, within a few seconds.
func (d *DB) CheckListening(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 4*trustFor)
	defer cancel()
	check := listenCheck{make(chan error, 2)}
	var listening sync.WaitGroup
	listening.Go(func() { d.Listen(ctx, check) })
	defer listening.Wait()
	defer cancel()
	var err error
	for range cap(check.result) { // a busy machine may miss the first time limit
		select {
		case err = <-check.result:
			if err == nil {
				return nil
			}
		case <-ctx.Done():
			return fmt.Errorf("listen for changes: %w", ctx.Err())
		}
	}
	return err
}

// listenCheck is a Listener that keeps the first things it is told.
type listenCheck struct{ result chan error }

func (c listenCheck) tell(err error) {
	select {
	case c.result <- err:
	default:
	}
}

func (c listenCheck) Connected()             { c.tell(nil) }
func (c listenCheck) Disconnected(err error) { c.tell(err) }
func (c listenCheck) Changed(Change)         {}
func (c listenCheck) Reachable(bool)         {}

// canary sends numbered notifications through the ordinary pool, on a channel that only this
// process listens to.
type canary struct {
	d       *DB
	channel string
	number  int
	// sentAt holds when those that have not come back were sent.
	sentAt map[int]time.Time
	sent   chan canarySent
	// tick goes on over reconnects, so that Reachable is called however often these fail.
	tick   *time.Ticker
	flight sync.WaitGroup
}

type canarySent struct {
	number int
	err    error
}

func newCanary(d *DB) *canary {
	return &canary{
		d:       d,
		channel: "gatehouse_canary_" + strings.ToLower(rand.Text()),
		sentAt:  map[int]time.Time{},
		sent:    make(chan canarySent),
		tick:    time.NewTicker(canaryInterval),
	}
}

// send sends the next one in the background, whose result comes through sent.
func (c *canary) send(ctx context.Context) {
	c.number++
	number, now := c.number, time.Now()
	maps.DeleteFunc(c.sentAt, func(_ int, at time.Time) bool { return now.Sub(at) > 2*trustFor })
	c.sentAt[number] = now
	c.flight.Go(func() {
		limited, cancel := context.WithTimeout(ctx, trustFor)
		defer cancel()
		// Without arguments lib/pq prepares nothing, so that a pooler changes nothing about it.
		_, err := c.d.pool.ExecContext(limited, "NOTIFY "+c.channel+", '"+strconv.Itoa(number)+"'")
		select {
		case c.sent <- canarySent{number, err}:
		case <-ctx.Done():
		}
	})
}

// returned tells when a canary that has come back was sent.
func (c *canary) returned(payload string) (number int, sentAt time.Time, ok bool) {
	number, err := strconv.Atoi(payload)
	if err != nil {
		return 0, time.Time{}, false
	}
	sentAt, ok = c.sentAt[number]
	// Notifications come in the order of their commits: older ones are not worth waiting for.
	maps.DeleteFunc(c.sentAt, func(n int, _ time.Time) bool { return n <= number })
	return number, sentAt, ok
}

// close waits for what is being sent, after the context has ended.
func (c *canary) close() {
	c.tick.Stop()
	c.flight.Wait()
}

// listenPostgres listens until the connection breaks or a canary does not come back in time, and
// returns why.
func (d *DB) listenPostgres(ctx context.Context, l Listener, c *canary) error {
	events := make(chan error, 16)
	tell := func(event pq.ListenerEventType, err error) {
		switch event {
		case pq.ListenerEventDisconnected, pq.ListenerEventConnectionAttemptFailed:
			select {
			case events <- fmt.Errorf("listen for changes: %w", err):
			default: // deaf is deaf
			}
		}
	}
	listener := pq.NewDialListener(dialer{}, d.dsn, minReconnect, maxReconnect, tell)
	// Close waits for a connection that does not answer; nobody needs to wait with it.
	defer func() { go listener.Close() }()
	subscribed := make(chan error, 1)
	go func() {
		err := listener.Listen(channel)
		if err == nil {
			err = listener.Listen(c.channel)
		}
		subscribed <- err
	}()
	h := hearing{d: d, l: l, canary: c, deadline: time.NewTimer(trustFor + maxReconnect)}
	defer h.deadline.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-events:
			return err
		case err := <-subscribed:
			if err != nil {
				return fmt.Errorf("listen for changes: %w", err)
			}
			h.subscribed(ctx)
		case n := <-listener.Notify:
			if n == nil {
				return errors.New("listen for changes: the connection was made anew")
			}
			h.notified(n)
		case s := <-c.sent:
			h.sent(s)
		case <-c.tick.C:
			c.send(ctx)
		case <-h.deadline.C:
			return h.late()
		}
	}
}

// hearing is what is known about one listening connection.
type hearing struct {
	d      *DB
	l      Listener
	canary *canary
	// first is the number of the first canary that was sent after LISTEN; 0 before it.
	first int
	// accepted is the newest canary that the database took; err is why it did not take one.
	accepted  int
	err       error
	listening bool
	// deadline ends the trust in this connection.
	deadline *time.Timer
}

func (h *hearing) subscribed(ctx context.Context) {
	h.canary.send(ctx)
	h.first = h.canary.number
	h.deadline.Reset(trustFor)
}

func (h *hearing) sent(s canarySent) {
	h.err = s.err
	if s.err == nil {
		h.accepted = max(h.accepted, s.number)
	}
	h.l.Reachable(s.err == nil)
}

func (h *hearing) notified(n *pq.Notification) {
	if n.Channel != h.canary.channel {
		h.l.Changed(parseChange(n.Extra))
		return
	}
	number, sentAt, ok := h.canary.returned(n.Extra)
	left := time.Until(sentAt.Add(trustFor))
	if !ok || h.first == 0 || number < h.first || left <= 0 {
		return
	}
	h.deadline.Reset(left)
	if !h.listening {
		h.listening = true
		h.l.Connected()
	}
}

// late returns why no canary came back in time.
func (h *hearing) late() error {
	switch {
	case h.first == 0:
		return fmt.Errorf("listen for changes: no answer within %s", trustFor+maxReconnect)
	case h.err != nil:
		return fmt.Errorf("listen for changes: no notification can be sent: %w", h.err)
	case h.accepted < h.first:
		return fmt.Errorf("listen for changes: no notification was accepted within %s", trustFor)
	case len(h.canary.sentAt) == 0:
		return fmt.Errorf("listen for changes: no notification was sent within %s", trustFor)
	}
	return fmt.Errorf("listen for changes: %w", ErrNotDelivered)
}

// parseChange reads "ID MICROSECONDS". What cannot be read concerns everybody.
func parseChange(payload string) Change {
	id, at, _ := strings.Cut(payload, " ")
	micros, err := strconv.ParseInt(at, 10, 64)
	if id == "" || err != nil {
		return Change{UserID: auth.AllUsers}
	}
	return Change{UserID: id, At: time.UnixMicro(micros)}
}

// listenerDSN returns the URL in the form in which lib/pq's listener takes several hosts:
// the hosts without ports, and the ports as a parameter.
func listenerDSN(rawURL string) (string, error) {
	rest, hosts, err := cutHosts(rawURL)
	if err != nil || len(hosts) == 0 {
		return rawURL, err
	}
	u, err := url.Parse(rest)
	if err != nil {
		return "", fmt.Errorf("database URL: %w", err)
	}
	var names, ports []string
	for _, h := range hosts {
		names = append(names, h.Host)
		ports = append(ports, strconv.Itoa(int(h.Port)))
	}
	u.Host = strings.Join(names, ",")
	q := u.Query()
	q.Set("port", strings.Join(ports, ","))
	if q.Get("target_session_attrs") == "" {
		q.Set("target_session_attrs", "read-write")
	}
	u.RawQuery = q.Encode()
	return u.String(), nil
}
