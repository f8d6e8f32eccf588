// Package app is the server: it opens the stores, wires them to the handlers, serves, and drains at shutdown. It knows
// neither commands nor terminals.
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
	"gatehouse/internal/launcher"
	"gatehouse/kv"
	"gatehouse/web"
	"gatehouse/web/metrics"
	"gatehouse/web/netlimit"
	"gatehouse/web/sessions"
)

const (
	// drainTimeout is the maximum time for requests in flight after SIGTERM.
	drainTimeout = 9 * time.Second
	// storeTimeout bounds a readiness check, and the refresh of a session that another program used.
	storeTimeout = 2 * time.Second
)

// Options are what Serve needs besides the settings.
type Options struct {
	// Migrate updates the schema of a Postgres database first. An embedded database is always migrated.
	Migrate bool
	Log     *slog.Logger
	// Listening is called once the server listens.
	Listening func(Started)
}

// Started describes a server that has begun to listen.
type Started struct {
	Addr net.Addr
	// HasAdministrator is false if no active user can administer the site, as far as the database responds.
	HasAdministrator bool
}

// Serve runs the server until ctx ends, and then lets the requests in flight finish.
func Serve(ctx context.Context, c config.Config, o Options) error {
	log := o.Log
	allocateHeapBallast()
	s, err := openForServer(ctx, c, o.Migrate, log)
	if err != nil {
		return err
	}
	defer s.Close()
	// Changes made while no server ran were missed: bypass the cache until it has been emptied.
	s.Accounts.InvalidateAllUsers()
	if err := s.changes.Follow(ctx, s.Accounts); err != nil {
		return fmt.Errorf("REDIS_URL: %w", err)
	}
	apps, err := launcher.Open(c.AppsFile, log)
	if err != nil {
		problems := launcher.Problems(err)
		for i, problem := range problems {
			problems[i] = fmt.Errorf("APPS_FILE: %w", problem)
		}
		return errors.Join(problems...)
	}
	server, err := newServer(ctx, c, s, apps, log)
	if err != nil {
		return err
	}
	listener, err := netlimit.Listen(ctx, c.ListenAddr)
	if err != nil {
		return fmt.Errorf("LISTEN_ADDR: %w; if another program uses the port, choose a different one, such as LISTEN_ADDR=localhost:8081", err)
	}
	// The requests that finish after ctx still need the background work.
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	var group sync.WaitGroup
	defer group.Wait()
	defer stop()
	if err := serveMetrics(background, &group, c.MetricsAddr, server.Metrics, log); err != nil {
		return errors.Join(err, listener.Close())
	}
	group.Go(func() { reserveProcs(background) })
	group.Go(func() { s.database.Listen(background, newInvalidator(background, s.Accounts, server.Metrics, log)) })
	group.Go(func() { s.database.FillComputed(background, log) })
	group.Go(func() { s.users.WatchFlush(background, s.Accounts.RefillCache) })
	group.Go(func() { server.Maintenance.Watch(background) })
	group.Go(func() { apps.Watch(background) })
	group.Go(func() { s.sessions.WatchActivity(background, log, touchSession(s.Accounts, log)) })
	o.Listening(Started{Addr: listener.Addr(), HasAdministrator: s.hasAdministrator(ctx, log)})
	log.Info("listening", "addr", listener.Addr().String(), "base_url", c.BaseURL, "database", s.database.Name(), "version", config.Version())
	return serve(ctx, server.HTTPServer(), server.LimitListener(listener), log)
}

// newServer wires the stores to the routes.
func newServer(ctx context.Context, c config.Config, s *Stores, apps *launcher.File, log *slog.Logger) (*web.Server, error) {
	bridge, err := s.openBridge(ctx, c, log)
	if err != nil {
		return nil, err
	}
	server := &web.Server{
		Accounts:       s.Accounts,
		Sessions:       sessions.New(s.sessions, kv.Codec{}, c.Lifetimes()),
		Cookies:        c.Cookies,
		Database:       s.database.Name(),
		TrustedProxies: c.Proxies,
		BaseOrigin:     c.Base.Scheme + "://" + c.Base.Host,
		Bridge:         bridge,
		Metrics:        newMetrics(s),
		Maintenance:    web.NewMaintenance(s.maintenance, log),
		Log:            log,
	}
	h := &handlers.Handlers{Accounts: s.Accounts, Ready: s.ready, OpenAPI: docs.OpenAPI, Apps: apps.Apps, HelpContact: c.HelpContact}
	server.SignInAgain = h.SignInAgain
	return server, server.Init(h.Routes())
}

// hasAdministrator reports whether an active user can administer the site, and true if that is unknown.
func (s *Stores) hasAdministrator(ctx context.Context, log *slog.Logger) bool {
	found, err := s.database.HasAdministrator(ctx)
	if err != nil {
		log.WarnContext(ctx, "could not look for an administrator", "error", err)
		return true
	}
	return found
}

// ready checks every store, by name.
func (s *Stores) ready(ctx context.Context) map[string]error {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	return map[string]error{
		"database": s.database.Ping(ctx),
		"redis":    s.redis.Ping(ctx),
		"cache":    s.cache.Ping(ctx),
	}
}

// touchSession returns a function that refreshes a session that another program has used.
func touchSession(accounts *auth.Accounts, log *slog.Logger) func(context.Context, string) {
	return func(ctx context.Context, id string) {
		ctx, cancel := context.WithTimeout(ctx, storeTimeout)
		defer cancel()
		if err := accounts.TouchSession(ctx, id); err != nil {
			log.WarnContext(ctx, "could not refresh a session that another program used", "error", err)
		}
	}
}

// serveMetrics serves Prometheus metrics on a separate address, unless it is empty.
func serveMetrics(ctx context.Context, group *sync.WaitGroup, addr string, m *metrics.Metrics, log *slog.Logger) error {
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
	log.Info("serving metrics", "metrics_addr", listener.Addr().String())
	group.Go(func() {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			log.Error("stopped serving metrics", "error", err)
		}
	})
	group.Go(func() { <-ctx.Done(); _ = server.Close() })
	return nil
}

// serve serves until ctx ends, and then drains.
func serve(ctx context.Context, server *http.Server, listener net.Listener, log *slog.Logger) error {
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	select {
	case err := <-failed:
		return fmt.Errorf("serve: %w", err)
	case <-ctx.Done():
	}
	log.Info("stopping", "wait", drainTimeout)
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTimeout)
	defer cancel()
	if err := web.Drain(drain, server); err != nil {
		return errors.Join(err, server.Close())
	}
	log.Info("stopped")
	return nil
}
