package netlimit

import (
	"net"
	"net/http"
	"sync"
)

// maxConnections is the maximum number of open connections. Each takes about 28 KB (measured with a page that its
// client does not read) and may be idle for minutes.
const maxConnections = 3072

// connections bounds the number of open connections. Above the limit, it closes the connection that has been idle
// longest, else the one that has waited longest for its first request, else for its response. If it refused new
// connections instead, a client that holds all of them could lock out all others.
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

// queue is a list that does not allocate: every request moves its connection twice.
type queue struct{ first, last *connection }

// evictionOrder is the order of states in which connections are evicted.
var evictionOrder = [...]http.ConnState{http.StateIdle, http.StateNew, http.StateActive}

// track records the connection's state and closes the connection to evict, if any.
func (k *connections) track(conn net.Conn, state http.ConnState) {
	if evicted := k.setState(conn, state); evicted != nil {
		_ = evicted.Close()
	}
}

// setState records the state and returns the connection to close if there is one too many, else nil.
func (k *connections) setState(conn net.Conn, state http.ConnState) net.Conn {
	k.mu.Lock()
	defer k.mu.Unlock()
	c := k.open[conn]
	switch {
	case state == http.StateClosed || state == http.StateHijacked:
		if c != nil {
			k.remove(c)
		}
		return nil
	case c != nil:
		k.queues[c.state].remove(c)
	case state != http.StateNew:
		return nil // evicted already
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
	for _, state := range evictionOrder {
		if first := k.queues[state].first; first != nil && first != c {
			k.remove(first)
			return first.conn
		}
	}
	return nil
}

func (k *connections) remove(c *connection) {
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
