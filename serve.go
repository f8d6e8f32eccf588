package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"golang.org/x/term"

	"gatehouse/auth"
	"gatehouse/handlers"
	"gatehouse/kv"
	"gatehouse/web"
	"gatehouse/web/netlimit"
)

type serveCmd struct {
	Migrate bool `help:"Bring the database's schema up to date first."`
}

// drainTime is how long requests in flight get after SIGTERM.
const drainTime = 9 * time.Second

// Run serves until the context ends, then lets the requests in flight finish.
func (cmd serveCmd) Run(c *command) error {
	log := newLogger(c.config.Settings, c.io.err)
	s, err := openForServer(c.ctx, c.config, cmd.Migrate, log)
	if err != nil {
		return err
	}
	defer s.Close()
	// Changes made while no server ran went unnoticed. The cache is bypassed until it is empty.
	s.accounts.InvalidateAllUsers()
	if err := s.changes.Follow(c.ctx, s.accounts); err != nil {
		return fmt.Errorf("REDIS_URL: %w", err)
	}
	metrics := newMetrics(s)
	maintenance := web.NewMaintenance(s.maintenance, log)
	server := newServer(c.config, s, log)
	server.Metrics, server.Maintenance = metrics, maintenance
	if server.Bridge, err = s.openBridge(c.ctx, c.config, log); err != nil {
		return err
	}
	routes := (&handlers.Handlers{Accounts: s.accounts, Sessions: s.sessions, Ready: s.ready, OpenAPI: openAPI}).Routes()
	if err := server.Init(routes); err != nil {
		return err
	}
	listener, err := netlimit.Listen(c.ctx, c.config.ListenAddr)
	if err != nil {
		return fmt.Errorf("LISTEN_ADDR: %w; is another program using the port? Choose another one, such as LISTEN_ADDR=localhost:8081", err)
	}
	background, stop := context.WithCancel(context.WithoutCancel(c.ctx))
	var group sync.WaitGroup
	defer group.Wait()
	defer stop()
	if err := serveMetrics(background, &group, c.config.MetricsAddr, metrics, log); err != nil {
		return errors.Join(err, listener.Close())
	}
	group.Go(func() { s.database.Listen(background, newNews(background, s.accounts, metrics, log)) })
	group.Go(func() { s.database.FillSkeletons(background, log) })
	group.Go(func() { s.users.WatchFlush(background, s.accounts.RefillCache) })
	group.Go(func() { maintenance.Watch(background) })
	group.Go(func() { s.sessions.WatchActivity(background, log, used(s.accounts, log)) })
	greet(c, listener.Addr())
	log.Info("listening", "addr", listener.Addr().String(), "base_url", c.config.BaseURL, "database", s.database.Name(), "version", programVersion())
	return serve(c.ctx, server.HTTPServer(), server.LimitListener(listener), log)
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

func newServer(c Config, s *stores, log *slog.Logger) *web.Server {
	return &web.Server{
		Accounts:       s.accounts,
		Sessions:       web.NewSessions(s.sessions, kv.Codec{}, c.lifetimes(), c.cookies),
		Cookies:        c.cookies,
		Database:       s.database.Name(),
		TrustedProxies: c.proxies,
		BaseOrigin:     c.base.Scheme + "://" + c.base.Host,
		Log:            log,
	}
}

// ready asks every server behind this one.
func (s *stores) ready(ctx context.Context) map[string]error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	return map[string]error{
		"database": s.database.Ping(ctx),
		"redis":    s.redis.Ping(ctx),
		"cache":    s.cache.Ping(ctx),
	}
}

// greet tells somebody who has just typed one command where to look, and what is missing
// for real use.
func greet(c *command, addr net.Addr) {
	if c.config.RedisURL != "" && !c.config.embeddedSQL() {
		return
	}
	w := c.io.out
	fmt.Fprintf(w, "\nGatehouse is open at %s\n\n", browserURL(c.config, addr))
	if c.config.embeddedSQL() {
		fmt.Fprintf(w, "  Users are kept in SQLite (%s).\n", c.config.databaseURL()[len("sqlite:"):])
	}
	if c.config.RedisURL == "" {
		fmt.Fprintln(w, "  Sessions are kept in this process: they end when it does.")
	}
	fmt.Fprint(w, "\n  For a real deployment set DATABASE_URL (postgres://…), REDIS_URL (redis://…),\n  SECRET_KEY and BASE_URL (https://…); `gatehouse --help` lists all settings,\n  `gatehouse doctor` checks them.\n\n")
}

func browserURL(c Config, addr net.Addr) string {
	if c.BaseURL != "http://localhost:8080" {
		return c.BaseURL
	}
	_, port, err := net.SplitHostPort(addr.String())
	if err != nil {
		return c.BaseURL
	}
	return "http://" + net.JoinHostPort("localhost", port)
}

// newLogger returns the log: text for people at a terminal, JSON for machines.
func newLogger(s Settings, w io.Writer) *slog.Logger {
	options := &slog.HandlerOptions{Level: s.LogLevel}
	var h slog.Handler = slog.NewJSONHandler(w, options)
	if s.LogFormat == "text" || s.LogFormat == "auto" && isTerminal(w) {
		h = slog.NewTextHandler(w, options)
	}
	return slog.New(web.LogHandler{Handler: web.LimitOutages(h)})
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
