package netlimit

import (
	"net/http"
	"slices"
	"testing"
	"time"
)

// stalledWriter is the response writer of a client that does not read.
type stalledWriter struct {
	http.ResponseWriter
	aborted bool
}

func (s *stalledWriter) SetReadDeadline(at time.Time) error { return s.SetWriteDeadline(at) }
func (s *stalledWriter) SetWriteDeadline(at time.Time) error {
	s.aborted = at.Before(time.Now())
	return nil
}

// TestTransfers_AbortTheOldest: when the memory limit is reached, the oldest transfers are aborted.
func TestTransfers_AbortTheOldest(t *testing.T) {
	const each = 100 << 10
	all := transfers{max: 4 * (each + transferOverhead)}
	clients := make([]stalledWriter, 8)
	waiting := make([]Transfer, len(clients))
	begin := func(i, size int) { all.beginResponse(&waiting[i], size, &clients[i]) }
	wantAborted := func(want ...int) {
		t.Helper()
		for i := range clients {
			if clients[i].aborted != slices.Contains(want, i) {
				t.Errorf("client %d: aborted is %v", i, clients[i].aborted)
			}
		}
	}
	for i := range 4 {
		begin(i, each)
	}
	wantAborted()
	all.end(&waiting[1])
	begin(4, each)
	wantAborted() // the second one made room
	begin(5, each)
	wantAborted(0)
	all.grow(&waiting[2], 2*each) // never the growing one, even if it is the oldest
	wantAborted(0, 3)
	// A transfer larger than the limit continues alone.
	begin(6, 10*each)
	wantAborted(0, 2, 3, 4, 5)
	for i := range waiting {
		all.end(&waiting[i])
		all.end(&waiting[i]) // ending twice is harmless
	}
	if all.used != 0 || all.oldest != nil || all.newest != nil {
		t.Errorf("%d octets are still in use", all.used)
	}
	begin(7, each)
	wantAborted(0, 2, 3, 4, 5)
}
