package app

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/url"
	"sync/atomic"
	"testing"

	"gatehouse/internal/config"
	"gatehouse/internal/testkit"
)

// TestOpenDatabase_WaitsForASlowServer: startup and commands wait for a database that accepts a connection but, on a
// busy machine, does not respond within the time limit of a request.
func TestOpenDatabase_WaitsForASlowServer(t *testing.T) {
	for what, migrate := range map[string]bool{"migrate": true, "check the schema": false} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			u, err := url.Parse(testkit.PostgresURL(t))
			if err != nil {
				t.Fatal(err)
			}
			// Prepares the schema for the check.
			open(t, u.String(), true)
			p := newSlowProxy(t, u.Host, 2)
			u.Host = p.address
			open(t, u.String(), migrate)
			if n := p.accepted.Load(); n <= p.silent {
				t.Errorf("%d connections were opened, so none was slow", n)
			}
		})
	}
}

func open(t *testing.T, url string, migrate bool) {
	t.Helper()
	s := &Stores{}
	defer s.Close()
	if err := s.openDatabase(t.Context(), config.Config{Settings: config.Settings{DatabaseURL: url}}, migrate); err != nil {
		t.Fatal(err)
	}
}

// slowProxy forwards connections to a server, except for the first ones, to which it does not respond.
type slowProxy struct {
	address  string
	silent   int64
	accepted atomic.Int64
}

func newSlowProxy(t *testing.T, server string, silent int64) *slowProxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(func() { cancel(); l.Close() })
	p := &slowProxy{address: l.Addr().String(), silent: silent}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			context.AfterFunc(ctx, func() { c.Close() })
			if p.accepted.Add(1) > p.silent {
				go forward(ctx, c, server)
			}
		}
	}()
	return p
}

func forward(ctx context.Context, c net.Conn, server string) {
	s, err := net.Dial("tcp", server)
	if err != nil {
		slog.Error("the test's proxy cannot reach the server", "error", err)
		c.Close()
		return
	}
	context.AfterFunc(ctx, func() { s.Close() })
	go func() { io.Copy(s, c); s.Close() }()
	io.Copy(c, s)
	c.Close()
}
