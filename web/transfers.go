package web

import (
	"net"
	"net/http"
	"sync"
	"time"
)

// Bounds of the memory that waits for clients, in octets.
const (
	// maxTransfers bounds what all bodies that are being received, all responses that are being
	// sent and all large request heads hold together.
	maxTransfers = 16 << 20
	// transferOverhead is counted for each of them besides its buffer, so that their number is
	// bounded as well: at most 2,048.
	transferOverhead = 8 << 10
)

// transfers bounds the memory that clients hold by sending a request slowly or by not reading a
// response. When there is too much of it, those that have waited longest are cut, and not those
// who have just come: a client that keeps up is never the one that has waited longest.
type transfers struct {
	max int

	mu             sync.Mutex
	used           int
	oldest, newest *transfer
}

// transfer is a head or body on its way from or to one client. Its zero value is ready to begin.
type transfer struct {
	size int
	// conn is set for a head, writer otherwise.
	conn        net.Conn
	writer      http.ResponseWriter
	body        bool
	prev, next  *transfer
	listed, cut bool
}

// beginBody counts a body that is received. Like its siblings it makes room for the size, and the
// caller ends it. A body that is cut can still be answered.
func (t *transfers) beginBody(one *transfer, size int, w http.ResponseWriter) {
	t.begin(one, transfer{size: size, writer: w, body: true})
}

// beginResponse counts a response that is sent.
func (t *transfers) beginResponse(one *transfer, size int, w http.ResponseWriter) {
	t.begin(one, transfer{size: size, writer: w})
}

// beginHead counts a request head. To cut it closes its connection.
func (t *transfers) beginHead(one *transfer, size int, conn net.Conn) {
	t.begin(one, transfer{size: size, conn: conn})
}

func (t *transfers) begin(one *transfer, as transfer) {
	t.mu.Lock()
	defer t.mu.Unlock()
	*one = as
	one.size += transferOverhead
	one.prev, one.listed = t.newest, true
	if t.newest == nil {
		t.oldest = one
	} else {
		t.newest.next = one
	}
	t.newest = one
	t.used += one.size
	t.makeRoom(one)
}

// grow counts a transfer as larger than before.
func (t *transfers) grow(one *transfer, size int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !one.listed {
		return // cut already
	}
	t.used += size + transferOverhead - one.size
	one.size = size + transferOverhead
	t.makeRoom(one)
}

// end frees what the transfer held.
func (t *transfers) end(one *transfer) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if one.listed {
		t.remove(one)
	}
	one.writer, one.conn = nil, nil
}

// makeRoom cuts the oldest transfers but this one. What they hold is counted as free at once: a cut
// transfer returns as soon as its goroutine runs.
func (t *transfers) makeRoom(but *transfer) {
	for one := t.oldest; one != nil && t.used > t.max; {
		next := one.next
		if one != but {
			t.remove(one)
			one.cut = true
			one.interrupt()
		}
		one = next
	}
}

func (t *transfers) remove(one *transfer) {
	if one.prev == nil {
		t.oldest = one.next
	} else {
		one.prev.next = one.next
	}
	if one.next == nil {
		t.newest = one.prev
	} else {
		one.next.prev = one.prev
	}
	one.prev, one.next, one.listed = nil, nil, false
	t.used -= one.size
}

// interrupt ends the read or write that waits for the client. Without a connection, as in tests,
// nothing waits.
func (one *transfer) interrupt() {
	if one.conn != nil {
		_ = one.conn.Close()
		return
	}
	c := http.NewResponseController(one.writer)
	past := time.Unix(1, 0)
	_ = c.SetReadDeadline(past)
	if !one.body {
		_ = c.SetWriteDeadline(past)
	}
}
