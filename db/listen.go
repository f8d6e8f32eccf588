package db

import (
	"context"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/lib/pq"
)

// Everybody is the user id of a Change of which it is not known whom it concerns.
const Everybody = "*"

// Change says that a user's row, groups or permissions were changed and committed.
type Change struct {
	// UserID, or Everybody.
	UserID string
	// At is when the change was made, shortly before its commit; zero if unknown.
	At time.Time
}

// Listener is told of changes, by whomever they were made. Its methods are called one after
// the other.
type Listener interface {
	// Listening: from now on no change is missed. What came before is unknown.
	Listening()
	// Changed is called soon after each commit.
	Changed(Change)
	// Deaf: changes may be missed until Listening is called again.
	Deaf(err error)
}

const (
	// channel is where the triggers of the migrations tell changes.
	channel = "gatehouse_users"
	// A lost connection is tried again after minReconnect, then twice as long, up to maxReconnect.
	minReconnect = 100 * time.Millisecond
	maxReconnect = 2 * time.Second
	// pingEvery is how often a quiet connection is asked whether it is still there, and
	// pingLimit how long the answer may take.
	pingEvery = 2 * time.Second
	pingLimit = time.Second
)

// Listen tells l of changes until ctx ends: by NOTIFY from Postgres, by looking at a SQLite
// file forty times a second. It belongs to no request and costs no statement in the sense of auth.Cost.
func (d *DB) Listen(ctx context.Context, l Listener) {
	if d.path != "" {
		d.listenSQLite(ctx, l)
		return
	}
	for ctx.Err() == nil {
		err := d.listenPostgres(ctx, l)
		if ctx.Err() != nil {
			return
		}
		l.Deaf(err)
		select {
		case <-ctx.Done():
		case <-time.After(minReconnect):
		}
	}
}

// listenPostgres listens until the connection does not answer any more, and returns why. A
// connection that comes back by itself is reported as Deaf and Listening.
func (d *DB) listenPostgres(ctx context.Context, l Listener) error {
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
	listening := make(chan error, 1)
	go func() { listening <- listener.Listen(channel) }()
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-events:
			return err
		case <-time.After(maxReconnect + pingLimit):
			return fmt.Errorf("listen for changes: no answer within %s", maxReconnect+pingLimit)
		case err := <-listening:
			if err != nil {
				return fmt.Errorf("listen for changes: %w", err)
			}
			l.Listening()
			return d.hear(ctx, l, listener, events)
		}
	}
}

func (d *DB) hear(ctx context.Context, l Listener, listener *pq.Listener, events <-chan error) error {
	tick := time.NewTicker(pingEvery)
	defer tick.Stop()
	var pong chan error
	var late <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-events:
			return err
		case n := <-listener.Notify:
			if n == nil {
				return fmt.Errorf("listen for changes: the connection was made anew")
			}
			l.Changed(parseChange(n.Extra))
		case <-tick.C:
			if pong != nil {
				continue
			}
			pong = make(chan error, 1)
			late = time.After(pingLimit)
			go func(pong chan<- error) { pong <- listener.Ping() }(pong)
		case err := <-pong:
			if err != nil {
				return fmt.Errorf("listen for changes: %w", err)
			}
			pong, late = nil, nil
		case <-late:
			return fmt.Errorf("listen for changes: no answer within %s", pingLimit)
		}
	}
}

// parseChange reads "ID MICROSECONDS". What cannot be read concerns everybody.
func parseChange(payload string) Change {
	id, at, _ := strings.Cut(payload, " ")
	micros, err := strconv.ParseInt(at, 10, 64)
	if id == "" || err != nil {
		return Change{UserID: Everybody}
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
