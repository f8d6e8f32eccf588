package web

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/url"

	"github.com/a-h/templ"

	"gatehouse/auth"
	"gatehouse/templates"
)

// Page returns the base of a page's struct.
func (r *Request) Page(title string) templates.Page {
	page := templates.Page{Title: title, Path: r.Path(), Address: r.lastingAddress(), User: r.user, AssetLinks: r.server.assetLinks}
	if closed := r.server.Maintenance.current(); closed != nil && r.user != nil && r.HasPermission(auth.ManageUsers) {
		page.Maintenance = closed
	}
	return page
}

// lastingAddress returns the address of a page with a notice, without the notice and what it is about, or that of
// a draft's page; else "".
func (r *Request) lastingAddress() string {
	if r.draft != nil {
		return r.draft.Page
	}
	if r.Query("notice") == "" {
		return ""
	}
	// Nothing else of the query, which a link may have made up.
	if next := r.SafeRedirect(r.Query("next")); next != "" {
		return r.Path() + "?next=" + url.QueryEscape(next)
	}
	return r.Path()
}

// renderPage renders a page into the buffer, up to the size that a response may have.
func renderPage(body *bytes.Buffer, page templ.Component) error {
	// Components end with the error of their context. A canceled request, or one past its deadline, still gets its
	// error page.
	if err := page.Render(context.Background(), bounded{body}); err != nil {
		return fmt.Errorf("render a page: %w", err)
	}
	return nil
}

// automaticReload is the query of a page that a browser without scripts loads again by itself. Such a request is not use of the
// session, so it does not renew the idle time.
const automaticReload = "refresh"

func isAutomaticReload(req *http.Request) bool { return req.URL.RawQuery == automaticReload }

// DashboardLinks returns the elements of the head that load the files of the dashboard alone.
func (r *Request) DashboardLinks() templ.Component { return r.server.dashboardLinks }

// LandingLinks does the same for the landing page.
func (r *Request) LandingLinks() templ.Component { return r.server.landingLinks }

// dashboardLinks and landingLinks are what the methods of Request return.
func (s *assets) dashboardLinks() (templ.Component, error) { return s.homeLinks("dashboard.js", false) }

func (s *assets) landingLinks() (templ.Component, error) { return s.homeLinks("landing.js", true) }

// homeLinks loads the sky and a script.
func (s *assets) homeLinks(script string, blocking bool) (templ.Component, error) {
	style, err := s.url("home.css")
	if err != nil {
		return nil, err
	}
	if script, err = s.url(script); err != nil {
		return nil, err
	}
	return templates.PageLinks(style, script, blocking)
}

// pageLinks returns the elements that load the static files of every page.
func (s *assets) pageLinks() (templ.Component, error) {
	var addresses [3]string
	for i, name := range []string{"app.css", "app.js", "favicon.svg"} {
		var err error
		if addresses[i], err = s.url(name); err != nil {
			return nil, err
		}
	}
	return templates.AssetLinks(addresses[0], addresses[1], addresses[2])
}
