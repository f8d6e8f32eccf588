package web

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/labstack/echo/v4"

	"gatehouse/auth"
	"gatehouse/templates"
)

const (
	// maintenanceInterval is the time between polls of Redis, and so the maximum delay until every server notices a
	// change.
	maintenanceInterval = 500 * time.Millisecond
	// retryMaintenance is the time until the maintenance page reloads.
	retryMaintenance = 30 * time.Second
)

// Maintenance knows whether the site is in maintenance mode.
type Maintenance struct {
	store auth.MaintenanceStore
	log   *slog.Logger
	now   atomic.Pointer[auth.Maintenance]
	// polling keeps a poll that began before the end of maintenance from bringing it back.
	polling sync.Mutex
}

// NewMaintenance returns a Maintenance that polls the store. The site is open until Watch has polled it.
func NewMaintenance(store auth.MaintenanceStore, log *slog.Logger) *Maintenance {
	return &Maintenance{store: store, log: log}
}

// Watch polls the store until ctx ends. While the store does not respond, the last known mode applies.
func (m *Maintenance) Watch(ctx context.Context) {
	tick := time.NewTicker(maintenanceInterval)
	defer tick.Stop()
	for {
		m.poll(ctx)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (m *Maintenance) poll(ctx context.Context) {
	m.polling.Lock()
	defer m.polling.Unlock()
	found, err := m.store.Maintenance(ctx)
	if err != nil {
		m.log.DebugContext(ctx, "cannot read the maintenance mode", "error", err)
		return
	}
	if before := m.now.Swap(found); (before == nil) != (found == nil) {
		m.log.InfoContext(ctx, "maintenance changed", "event", true, "on", found != nil)
	}
}

// current returns the maintenance that is known of, or nil while the site is open.
func (m *Maintenance) current() *auth.Maintenance {
	if m == nil {
		return nil
	}
	return m.now.Load()
}

// end opens the site: here immediately, and on other servers when they poll the store next.
func (m *Maintenance) end(ctx context.Context) error {
	m.polling.Lock()
	defer m.polling.Unlock()
	if err := m.store.EndMaintenance(ctx); err != nil {
		return fmt.Errorf("end maintenance: %w", err)
	}
	m.now.Store(nil)
	return nil
}

// EndMaintenance opens the site for everyone. Ending it twice is no error.
func (r *Request) EndMaintenance() error {
	closed := r.server.Maintenance.current()
	if closed == nil {
		return nil
	}
	r.stats.RecordChangeAttempt()
	if err := r.server.Maintenance.end(r.ctx); err != nil {
		return err
	}
	r.Log().InfoContext(r.ctx, "maintenance changed", "event", true, "on", false, "username", r.user.Username, "user_id", r.user.ID)
	return nil
}

// underMaintenance is the error of a request that is refused during maintenance.
type underMaintenance struct {
	auth.Maintenance
	user *auth.User
}

func (underMaintenance) Error() string { return "closed for maintenance" }

// maintenancePaths are served during maintenance, so that administrators can sign in.
var maintenancePaths = map[string]bool{"/login": true, "/logout": true, "/sign-out": true}

// check returns an error if the request is refused during maintenance. Administrators are not.
func (m *Maintenance) check(r *Request, route Route) error {
	if m == nil || route.Access.who == unauthenticated || maintenancePaths[route.Path] {
		return nil
	}
	closed := m.now.Load()
	if closed == nil || r.user != nil && r.HasPermission(auth.ManageUsers) {
		return nil
	}
	return underMaintenance{*closed, r.user}
}

// describeMaintenance fills in the text of maintenance pages.
func describeMaintenance(page *templates.ErrorPage, closed underMaintenance) {
	page.Title, page.Heading = "Down for maintenance", "Down for maintenance"
	page.What = "This site will be back soon."
	page.Lost, page.Do = "", closed.Message
}

func (s *Server) writeMaintenance(c echo.Context, closed underMaintenance, page templates.ErrorPage) error {
	if method := c.Request().Method; method != http.MethodGet && method != http.MethodHead {
		page.Lost = "Your last change was not saved."
	}
	page.Do = "" // the page shows the message separately
	page.User, page.Closed = closed.user, true
	r := s.newRequest(c)
	r.user = closed.user
	return s.send(r, Show(http.StatusServiceUnavailable, templates.Maintenance(templates.MaintenancePage{ErrorPage: page, Message: closed.Message})))
}
