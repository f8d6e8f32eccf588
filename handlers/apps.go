package handlers

import (
	"gatehouse/auth"
	"gatehouse/internal/launcher"
	"gatehouse/templates"
	"gatehouse/web"
)

const (
	appIconsPath = "/apps/icons/"
	// searchableApps is the number of apps from which the dashboard has a search box.
	searchableApps = 10
)

// apps returns all apps.
func (h *Handlers) apps() []launcher.App {
	if h.Apps == nil {
		return nil
	}
	return h.Apps()
}

// mayEnter reports whether the user has what the app requires.
func mayEnter(u *auth.User, a *launcher.App) bool {
	return (a.Permission == "" || u.HasPermission(a.Permission)) && (a.Group == "" || u.InGroup(a.Group))
}

// launcher returns the apps that the user may enter. Those that do not match the search are hidden, so that the script can
// show them again.
func (h *Handlers) launcher(u *auth.User, search string) templates.Launcher {
	all := h.apps()
	l := templates.Launcher{Search: search}
	for i := range all {
		a := &all[i]
		if !mayEnter(u, a) {
			continue
		}
		app := templates.App{Name: a.Name, URL: a.URL, Description: a.Description, Letter: a.Letter, Color: a.Color, Hidden: search != "" && !a.Matches(search)}
		if a.Icon != nil {
			app.Icon = appIconsPath + a.Icon.Name
		}
		if !app.Hidden {
			l.Matches++
		}
		l.Apps = append(l.Apps, app)
	}
	l.Searchable = len(l.Apps) >= searchableApps || search != ""
	l.Configured = len(all) > 0
	return l
}

// appIcon responds with the icon of an app that the user may enter. Its address changes with its content.
func (h *Handlers) appIcon(r *web.Request) (web.Response, error) {
	all, name := h.apps(), r.Param("name")
	for i := range all {
		if a := &all[i]; a.Icon != nil && a.Icon.Name == name && mayEnter(r.User(), a) {
			return web.Document(a.Icon.Kind, a.Icon.Content).AsUntrustedImage(), nil
		}
	}
	return web.Response{}, auth.ErrNotFound
}
