package web

import (
	"net"
	"net/http"
	"sync"
)

// maxConnections is how many connections a server holds. Each takes some 28 KB (measured, with a
// page that its client does not read), and may be idle for minutes.
const maxConnections = 3072

// connections bounds the number of open connections: one too many closes the one that has been
// idle longest, or has waited longest for its first request, or else for its response. Not to
// accept any more would let whoever holds them all keep everybody out.
type connections struct {
	max int

	mu sync.Mutex
	// open has every connection that is neither closed nor about to be.
	open map[net.Conn]*connection
	// queues are by state, the longest waiting first.
	queues [http.StateIdle + 1]queue
}

type connection struct {
	conn       net.Conn
	state      http.ConnState
	prev, next *connection
}

// queue is a list that allocates nothing: every request moves its connection twice.
type queue struct{ first, last *connection }

// victims are the states in the order in which connections are given up.
var victims = [...]http.ConnState{http.StateIdle, http.StateNew, http.StateActive}

// track is an http.Server's ConnState.
func (k *connections) track(conn net.Conn, state http.ConnState) {
	if victim := k.note(conn, state); victim != nil {
		_ = victim.Close()
	}
}

// note remembers the state and returns the connection to close, if there is one too many.
func (k *connections) note(conn net.Conn, state http.ConnState) net.Conn {
	k.mu.Lock()
	defer k.mu.Unlock()
	c := k.open[conn]
	switch {
	case state == http.StateClosed || state == http.StateHijacked:
		if c != nil {
			k.drop(c)
		}
		return nil
	case c != nil:
		k.queues[c.state].remove(c)
	case state != http.StateNew:
		return nil // given up already
	default:
		if k.open == nil {
			k.open = make(map[net.Conn]*connection)
		}
		c = &connection{conn: conn}
		k.open[conn] = c
	}
	c.state = state
	k.queues[state].add(c)
	if len(k.open) <= k.max {
		return nil
	}
	for _, state := range victims {
		if first := k.queues[state].first; first != nil && first != c {
			k.drop(first)
			return first.conn
		}
	}
	return nil
}

func (k *connections) drop(c *connection) {
	k.queues[c.state].remove(c)
	delete(k.open, c.conn)
}

func (q *queue) add(c *connection) {
	c.prev, c.next = q.last, nil
	if q.last == nil {
		q.first = c
	} else {
		q.last.next = c
	}
	q.last = c
}

func (q *queue) remove(c *connection) {
	if c.prev == nil {
		q.first = c.next
	} else {
		c.prev.next = c.next
	}
	if c.next == nil {
		q.last = c.prev
	} else {
		c.next.prev = c.prev
	}
	c.prev, c.next = nil, nil
}
