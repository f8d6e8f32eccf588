// Package netlimit bounds the resources that clients of an HTTP server can occupy: open connections, request heads and
// bodies that arrive slowly, and responses that are not read. When a limit is reached it evicts the client that has held
// memory longest rather than refusing newcomers, so that a slow or hostile client cannot lock the others out.
//
// It knows net/http only: no routes, no users, no web framework.
package netlimit

import (
	"context"
	"log"
	"net"
	"net/http"
	"time"
)

const (
	// maxHeader is in octets; net/http adds 4 KiB to it.
	maxHeader = 60 << 10

	readHeaderTimeout = 10 * time.Second
	readTimeout       = 20 * time.Second
	writeTimeout      = 30 * time.Second
	idleTimeout       = 2 * time.Minute
)

// Limiter bounds the clients of one server. New returns one; the zero value allows nothing.
type Limiter struct {
	transfers   transfers
	connections connections
}

// New returns a Limiter for one server.
func New() *Limiter {
	return &Limiter{transfers: transfers{max: maxTransfers}, connections: connections{max: maxConnections}}
}

// Server returns a net/http server for the handler with every limit set. It must serve a listener that Listener has wrapped.
func (l *Limiter) Server(handler http.Handler, errors *log.Logger) *http.Server {
	return &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			endHead(w, req)
			handler.ServeHTTP(w, req)
		}),
		ReadHeaderTimeout: readHeaderTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		ConnState:         l.trackConn,
		ConnContext:       withClientConn,
		ErrorLog:          errors,
	}
}

// Listener wraps a listener so that the request heads of its connections are bounded.
func (l *Limiter) Listener(inner net.Listener) net.Listener {
	return limitedListener{Listener: inner, transfers: &l.transfers}
}

// InUse returns the number of octets that are currently held for clients.
func (l *Limiter) InUse() int {
	l.transfers.mu.Lock()
	defer l.transfers.mu.Unlock()
	return l.transfers.used
}

// trackConn is an http.Server's ConnState hook.
func (l *Limiter) trackConn(conn net.Conn, state http.ConnState) {
	if c, ok := conn.(*clientConn); ok {
		c.track(state)
	}
	l.connections.track(conn, state)
}

// clientConnKey is the context key of a request's *clientConn.
type clientConnKey struct{}

// withClientConn is an http.Server's ConnContext hook.
func withClientConn(ctx context.Context, conn net.Conn) context.Context {
	if c, ok := conn.(*clientConn); ok {
		return context.WithValue(ctx, clientConnKey{}, c)
	}
	return ctx
}
