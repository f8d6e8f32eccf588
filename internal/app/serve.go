package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"gatehouse/auth"
	"gatehouse/docs"
	"gatehouse/handlers"
	"gatehouse/internal/config"
	"gatehouse/kv"
	"gatehouse/web"
	"gatehouse/web/netlimit"
)

// drainTime is how long requests in flight may take after SIGTERM.
const drainTime = 9 * time.Second

// Options are what Serve needs besides the settings.
type Options struct {
	// Migrate updates the schema of a Postgres database first; an embedded database is always migrated.
	Migrate bool
	Log     *slog.Logger
	// Listening is called once the server listens at the address.
	Listening func(net.Addr)
}

// Serve runs the server until ctx ends, and then lets the requests in flight finish.
func Serve(ctx context.Context, c config.Config, o Options) error {
	tuneRuntime()
	log := o.Log
	s, err := openForServer(ctx, c, o.Migrate, log)
	if err != nil {
		return err
	}
	defer s.Close()
	// Changes made while no server ran went unnoticed. The cache is bypassed until it is empty.
	s.Accounts.InvalidateAllUsers()
	if err := s.changes.Follow(ctx, s.Accounts); err != nil {
		return fmt.Errorf("REDIS_URL: %w", err)
	}
	metrics := newMetrics(s)
	maintenance := web.NewMaintenance(s.maintenance, log)
	server := newServer(c, s, log)
	server.Metrics, server.Maintenance = metrics, maintenance
	if server.Bridge, err = s.openBridge(ctx, c, log); err != nil {
		return err
	}
	routes := (&handlers.Handlers{Accounts: s.Accounts, Sessions: s.sessions, Ready: s.ready, OpenAPI: docs.OpenAPI}).Routes()
	if err := server.Init(routes); err != nil {
		return err
	}
	listener, err := netlimit.Listen(ctx, c.ListenAddr)
	if err != nil {
		return fmt.Errorf("LISTEN_ADDR: %w; is another program using the port? Choose another one, such as LISTEN_ADDR=localhost:8081", err)
	}
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	var group sync.WaitGroup
	defer group.Wait()
	defer stop()
	if err := serveMetrics(background, &group, c.MetricsAddr, metrics, log); err != nil {
		return errors.Join(err, listener.Close())
	}
	group.Go(func() { s.database.Listen(background, newInvalidator(background, s.Accounts, metrics, log)) })
	group.Go(func() { s.database.FillSkeletons(background, log) })
	group.Go(func() { s.users.WatchFlush(background, s.Accounts.RefillCache) })
	group.Go(func() { maintenance.Watch(background) })
	group.Go(func() { s.sessions.WatchActivity(background, log, used(s.Accounts, log)) })
	o.Listening(listener.Addr())
	log.Info("listening", "addr", listener.Addr().String(), "base_url", c.BaseURL, "database", s.database.Name(), "version", config.Version())
	return serve(ctx, server.HTTPServer(), server.LimitListener(listener), log)
}

// used is what is done about a session that another program used.
func used(accounts *auth.Accounts, log *slog.Logger) func(context.Context, string) {
	return func(ctx context.Context, id string) {
		ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
		defer cancel()
		if err := accounts.TouchSession(ctx, id); err != nil {
			log.WarnContext(ctx, "a session that another program used", "error", err)
		}
	}
}

// serveMetrics answers Prometheus on an address of its own, if there is one.
func serveMetrics(ctx context.Context, group *sync.WaitGroup, addr string, m *web.Metrics, log *slog.Logger) error {
	if addr == "" {
		return nil
	}
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return fmt.Errorf("METRICS_ADDR: %w", err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", m.Handler())
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second, IdleTimeout: 2 * time.Minute}
	log.Info("metrics", "metrics_addr", listener.Addr().String())
	group.Go(func() {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			log.Error("metrics are not served any more", "error", err)
		}
	})
	group.Go(func() { <-ctx.Done(); _ = server.Close() })
	return nil
}

// serve answers requests until ctx ends, and then finishes those in flight.
func serve(ctx context.Context, server *http.Server, listener net.Listener, log *slog.Logger) error {
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	select {
	case err := <-failed:
		return fmt.Errorf("serve: %w", err)
	case <-ctx.Done():
	}
	log.Info("stopping", "wait", drainTime)
	// The signal has ended ctx; the requests in flight have their own.
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTime)
	defer cancel()
	if err := web.Drain(drain, server); err != nil {
		return errors.Join(err, server.Close())
	}
	log.Info("stopped")
	return nil
}

func newServer(c config.Config, s *Stores, log *slog.Logger) *web.Server {
	return &web.Server{
		Accounts:       s.Accounts,
		Sessions:       web.NewSessions(s.sessions, kv.Codec{}, c.Lifetimes(), c.Cookies),
		Cookies:        c.Cookies,
		Database:       s.database.Name(),
		TrustedProxies: c.Proxies,
		BaseOrigin:     c.Base.Scheme + "://" + c.Base.Host,
		Log:            log,
	}
}

// ready asks every server behind this one.
func (s *Stores) ready(ctx context.Context) map[string]error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	return map[string]error{
		"database": s.database.Ping(ctx),
		"redis":    s.redis.Ping(ctx),
		"cache":    s.cache.Ping(ctx),
	}
}
