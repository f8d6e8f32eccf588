package web

import (
	"context"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/labstack/echo/v4"

	"gatehouse/auth"
	"gatehouse/internal/reqstats"
	"gatehouse/templates"
)

const (
	// maintenanceEvery is how often Redis is asked whether the site is closed: how long it
	// takes at most until every server knows.
	maintenanceEvery = 500 * time.Millisecond
	// retryMaintenance is when the page tries by itself whether the site is open again.
	retryMaintenance = 30 * time.Second
)

// Maintenance knows whether the site is closed for a while.
type Maintenance struct {
	store auth.MaintenanceStore
	log   *slog.Logger
	now   atomic.Pointer[auth.Maintenance]
}

// NewMaintenance returns one that asks the store. It is open until Watch has asked.
func NewMaintenance(store auth.MaintenanceStore, log *slog.Logger) *Maintenance {
	return &Maintenance{store: store, log: log}
}

// Watch asks the store again and again until ctx ends. When the store does not answer, what
// was last known holds.
func (m *Maintenance) Watch(ctx context.Context) {
	tick := time.NewTicker(maintenanceEvery)
	defer tick.Stop()
	for {
		m.ask(ctx)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (m *Maintenance) ask(ctx context.Context) {
	found, err := m.store.Maintenance(ctx)
	if err != nil {
		m.log.DebugContext(ctx, "it is unknown whether there is maintenance", "error", err)
		return
	}
	if before := m.now.Swap(found); (before == nil) != (found == nil) {
		m.log.InfoContext(ctx, "maintenance changed", "event", true, "on", found != nil)
	}
}

// underMaintenance is the error of everything that is closed.
type underMaintenance struct {
	auth.Maintenance
	user *auth.User
}

func (underMaintenance) Error() string { return "closed for maintenance" }

// maintenancePaths stay open, so that administrators can sign in.
var maintenancePaths = map[string]bool{"/login": true, "/logout": true, "/sign-out": true}

// refuse returns the error of a request that has to wait for the end of maintenance.
func (m *Maintenance) refuse(r *Request, route Route) error {
	if m == nil || route.Access.who == unauthenticated || maintenancePaths[route.Path] {
		return nil
	}
	closed := m.now.Load()
	if closed == nil || r.user != nil && r.HasPermission(auth.ManageUsers) {
		return nil
	}
	return underMaintenance{*closed, r.user}
}

// describeMaintenance fills in what every page about maintenance says.
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
	r := &Request{server: s, echo: c, ctx: c.Request().Context(), stats: reqstats.FromContext(c.Request().Context()), user: closed.user}
	return s.send(r, Show(http.StatusServiceUnavailable, templates.Maintenance(templates.MaintenancePage{ErrorPage: page, Message: closed.Message})))
}
