package netlimit

import (
	"net"
	"net/http"
	"sync"
	"time"
)

// Limits of the memory that waits for clients, in octets.
const (
	// maxTransfers bounds the memory of all bodies being received, all responses being sent and all large request
	// heads together.
	maxTransfers = 16 << 20
	// transferOverhead is counted for each of them besides its buffer, which bounds their number too: at most 2,048.
	transferOverhead = 8 << 10
)

// transfers bounds the memory that clients hold by sending a request slowly or by not reading a response. When the
// limit is reached, the oldest transfers are aborted rather than new ones refused: a client that keeps up is never the oldest.
type transfers struct {
	max int

	mu             sync.Mutex
	used           int
	oldest, newest *Transfer
}

// Transfer is a head or body on its way from or to one client. Its zero value is ready to begin.
type Transfer struct {
	size int
	// conn is set for a head, writer otherwise.
	conn       net.Conn
	writer     http.ResponseWriter
	body       bool
	prev, next *Transfer
	listed     bool
}

// BeginResponse counts a response of the size, in octets, that is about to be sent. The caller must End it.
func (l *Limiter) BeginResponse(t *Transfer, size int, w http.ResponseWriter) {
	l.transfers.beginResponse(t, size, w)
}

// End releases the memory of a transfer. Ending it twice does no harm.
func (l *Limiter) End(t *Transfer) { l.transfers.end(t) }

// beginBody counts a body that is being received. Like its siblings it makes room for the size, and the caller ends
// it. A request whose body is aborted can still be answered.
func (t *transfers) beginBody(one *Transfer, size int, w http.ResponseWriter) {
	t.begin(one, Transfer{size: size, writer: w, body: true})
}

func (t *transfers) beginResponse(one *Transfer, size int, w http.ResponseWriter) {
	t.begin(one, Transfer{size: size, writer: w})
}

// beginHead counts a request head. Aborting it closes its connection.
func (t *transfers) beginHead(one *Transfer, size int, conn net.Conn) {
	t.begin(one, Transfer{size: size, conn: conn})
}

func (t *transfers) begin(one *Transfer, as Transfer) {
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

// grow changes the counted size of a transfer.
func (t *transfers) grow(one *Transfer, size int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !one.listed {
		return // aborted already
	}
	t.used += size + transferOverhead - one.size
	one.size = size + transferOverhead
	t.makeRoom(one)
}

func (t *transfers) end(one *Transfer) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if one.listed {
		t.remove(one)
	}
	one.writer, one.conn = nil, nil
}

// makeRoom aborts the oldest transfers other than except until the rest fits. Their memory counts as free immediately:
// an aborted transfer returns as soon as its goroutine runs.
func (t *transfers) makeRoom(except *Transfer) {
	for one := t.oldest; one != nil && t.used > t.max; {
		next := one.next
		if one != except {
			t.remove(one)
			one.abort()
		}
		one = next
	}
}

func (t *transfers) remove(one *Transfer) {
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

// abort interrupts the read or write that waits for the client. Without a connection, as in tests, nothing waits.
func (t *Transfer) abort() {
	if t.conn != nil {
		_ = t.conn.Close()
		return
	}
	c := http.NewResponseController(t.writer)
	past := time.Unix(1, 0)
	_ = c.SetReadDeadline(past)
	if !t.body {
		_ = c.SetWriteDeadline(past)
	}
}
