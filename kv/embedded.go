package kv

import (
	"crypto/rand"
	"fmt"
	"net/url"

	"github.com/alicebob/miniredis/v2"
)

// Embedded is a Redis inside this process, for a machine without one. It keeps nothing when
// the process ends.
type Embedded struct {
	server   *miniredis.Miniredis
	password string
}

// StartEmbedded starts a Redis on a free port of 127.0.0.1. Every user of the machine can reach
// the port, hence the random password.
func StartEmbedded() (*Embedded, error) {
	e := &Embedded{miniredis.NewMiniRedis(), rand.Text()}
	e.server.RequireAuth(e.password)
	// Without it keys never end.
	e.server.ClockTTL(true)
	if err := e.server.StartAddr("127.0.0.1:0"); err != nil {
		return nil, fmt.Errorf("start the embedded Redis: %w", err)
	}
	return e, nil
}

// URL returns the redis:// URL of database 0. It holds the password: never log it.
func (e *Embedded) URL() string {
	u := url.URL{Scheme: "redis", User: url.UserPassword("", e.password), Host: e.server.Addr()}
	return u.String()
}

// Close stops the server and forgets everything.
func (e *Embedded) Close() { e.server.Close() }
