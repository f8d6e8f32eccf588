package db

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/lib/pq"

	"gatehouse/auth"
)

// listenPostgres listens until the connection breaks or no canary arrives in time, and returns why it ended.
func (d *DB) listenPostgres(ctx context.Context, l Listener, c *canary) error {
	events := make(chan error, 16)
	report := func(event pq.ListenerEventType, err error) {
		switch event {
		case pq.ListenerEventDisconnected, pq.ListenerEventConnectionAttemptFailed:
			select {
			case events <- fmt.Errorf("listen for changes: %w", err):
			default: // an earlier event ends the connection already
			}
		}
	}
	listener := pq.NewDialListener(dialer{}, d.dsn, minReconnect, maxReconnect, report)
	// Close may block on an unresponsive connection.
	defer func() { go listener.Close() }()
	subscribed := make(chan error, 1)
	go func() {
		err := listener.Listen(channel)
		if err == nil {
			err = listener.Listen(c.channel)
		}
		subscribed <- err
	}()
	s := subscription{d: d, l: l, canary: c, deadline: time.NewTimer(maxCanaryAge + maxReconnect)}
	defer s.deadline.Stop()
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
			s.handleSubscribed(ctx)
		case n := <-listener.Notify:
			if n == nil {
				return errors.New("listen for changes: the connection was replaced")
			}
			s.handleNotification(n)
		case result := <-c.results:
			s.handleSendResult(result)
		case <-c.tick.C:
			c.send(ctx)
		case <-s.deadline.C:
			return s.timeoutError()
		}
	}
}

// subscription is the state of one listening connection.
type subscription struct {
	d      *DB
	l      Listener
	canary *canary
	// first is the number of the first canary sent after LISTEN; 0 before that.
	first int
	// accepted is the latest canary that the database accepted; err is why it rejected the last one.
	accepted  int
	err       error
	connected bool
	// deadline expires when the latest proof of delivery does.
	deadline *time.Timer
}

func (s *subscription) handleSubscribed(ctx context.Context) {
	s.canary.send(ctx)
	s.first = s.canary.number
	s.deadline.Reset(maxCanaryAge)
}

func (s *subscription) handleSendResult(r canaryResult) {
	s.err = r.err
	if r.err == nil {
		s.accepted = max(s.accepted, r.number)
	}
	s.l.Reachable(r.err == nil)
}

func (s *subscription) handleNotification(n *pq.Notification) {
	if n.Channel != s.canary.channel {
		s.l.Changed(parseChange(n.Extra))
		return
	}
	number, sentAt, ok := s.canary.received(n.Extra)
	left := time.Until(sentAt.Add(maxCanaryAge))
	if !ok || s.first == 0 || number < s.first || left <= 0 {
		return
	}
	s.deadline.Reset(left)
	if !s.connected {
		s.connected = true
		s.l.Connected()
	}
}

// timeoutError returns why no canary arrived in time.
func (s *subscription) timeoutError() error {
	switch {
	case s.first == 0:
		return fmt.Errorf("listen for changes: no answer within %s", maxCanaryAge+maxReconnect)
	case s.err != nil:
		return fmt.Errorf("listen for changes: no notification can be sent: %w", s.err)
	case s.accepted < s.first:
		return fmt.Errorf("listen for changes: no notification was accepted within %s", maxCanaryAge)
	case len(s.canary.sentAt) == 0:
		return fmt.Errorf("listen for changes: no notification was sent within %s", maxCanaryAge)
	}
	return fmt.Errorf("listen for changes: %w", ErrNotDelivered)
}

// parseChange parses "ID MICROSECONDS". An invalid payload stands for all users.
func parseChange(payload string) Change {
	id, at, _ := strings.Cut(payload, " ")
	micros, err := strconv.ParseInt(at, 10, 64)
	if id == "" || err != nil {
		return Change{UserID: auth.AllUsers}
	}
	return Change{UserID: id, At: time.UnixMicro(micros)}
}

// listenerDSN returns the URL in the form that lib/pq's listener takes for several hosts: without ports,
// which become a parameter.
func listenerDSN(rawURL string) (string, error) {
	rest, hosts, err := cutHosts(rawURL)
	if err != nil || len(hosts) == 0 {
		return rawURL, err
	}
	u, err := url.Parse(rest)
	if err != nil {
		return "", err
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
