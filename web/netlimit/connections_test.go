package netlimit

import (
	"net"
	"net/http"
	"testing"
	"time"

	"gatehouse/internal/testkit"
)

// TestConnections_EvictTheLongestIdle: above the limit the connection that has been idle longest is closed, else the one
// that has waited longest for its first request, else for its response.
func TestConnections_EvictTheLongestIdle(t *testing.T) {
	k := &connections{max: 4}
	conns := make([]net.Conn, 9)
	for i := range conns {
		conns[i], _ = net.Pipe()
	}
	set := func(i int, state http.ConnState) int {
		evicted := k.setState(conns[i], state)
		for j, conn := range conns {
			if evicted == conn {
				return j
			}
		}
		return -1
	}
	want := func(got, expected int) {
		t.Helper()
		if got != expected {
			t.Errorf("connection %d was closed, want %d", got, expected)
		}
	}
	for i := range 4 {
		want(set(i, http.StateNew), -1)
		want(set(i, http.StateActive), -1)
	}
	want(set(2, http.StateIdle), -1)
	want(set(0, http.StateIdle), -1)
	want(set(4, http.StateNew), 2) // idle before 0
	want(set(2, http.StateClosed), -1)
	want(set(5, http.StateNew), 0)
	want(set(0, http.StateActive), -1) // a request arrived while the server closed it
	want(set(0, http.StateIdle), -1)
	want(set(6, http.StateNew), 4) // none is idle: the oldest without a request
	want(set(5, http.StateActive), -1)
	want(set(6, http.StateActive), -1)
	want(set(7, http.StateNew), 1) // all are active
	want(set(8, http.StateNew), 7)
	if len(k.open) != 4 {
		t.Errorf("%d connections are open", len(k.open))
	}
	for i := range conns {
		want(set(i, http.StateClosed), -1)
	}
	if len(k.open) != 0 || k.queues[http.StateIdle].first != nil || k.queues[http.StateNew].last != nil || k.queues[http.StateActive].first != nil {
		t.Errorf("%d connections are still tracked", len(k.open))
	}
}

// TestServer_ClosesIdleConnectionsAboveTheLimit: a new client is served, and the one idle longest is disconnected.
func TestServer_ClosesIdleConnectionsAboveTheLimit(t *testing.T) {
	l := New()
	l.connections.max = 2
	dial := serve(t, l)
	var clients []*rawClient
	for range 3 {
		c := dial(t)
		c.send(headStart + "\r\n")
		c.wantStatus(http.StatusOK)
		clients = append(clients, c)
		testkit.Eventually(t, 10*time.Second, "the connection to be idle", func() bool {
			l.connections.mu.Lock()
			defer l.connections.mu.Unlock()
			return len(l.connections.open) == min(len(clients), 2) && l.connections.queues[http.StateActive].first == nil
		})
	}
	clients[0].wantClosed()
}
