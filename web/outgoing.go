package web

import (
	"bytes"
	"fmt"
	"sync"

	"gatehouse/web/netlimit"
)

// outgoing is a rendered response that is sent to its client. Rendering fails above maxResponse.
type outgoing struct {
	bytes.Buffer
	transfer netlimit.Transfer
}

const (
	// maxResponse is the largest page or document, in octets.
	maxResponse = 4 << 20
	// maxPooled is the largest buffer, in octets, that is reused.
	maxPooled = 64 << 10
)

var outgoingPool = sync.Pool{New: func() any { return new(outgoing) }}

func newOutgoing() *outgoing {
	o := outgoingPool.Get().(*outgoing)
	o.Reset()
	return o
}

// release returns the buffer to the pool, unless a rare large response has made it large.
func (o *outgoing) release() {
	if o.Cap() <= maxPooled {
		outgoingPool.Put(o)
	}
}

// errTooLarge: a page lists more than one response may hold.
var errTooLarge = fmt.Errorf("the response is larger than %d octets", maxResponse)

// bounded is a Writer into the buffer that ends with errTooLarge.
type bounded struct{ *bytes.Buffer }

func (b bounded) Write(p []byte) (int, error) {
	if b.Len()+len(p) > maxResponse {
		return 0, errTooLarge
	}
	return b.Buffer.Write(p)
}
