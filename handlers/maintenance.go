package handlers

import (
	"net/url"
	"strings"

	"gatehouse/web"
)

// endMaintenance opens the site again. The banner with the button is on every page, and leads back there.
func (h *Handlers) endMaintenance(r *web.Request) (web.Response, error) {
	form, err := r.Form()
	if err != nil {
		return web.Response{}, err
	}
	if err := r.EndMaintenance(); err != nil {
		return web.Response{}, err
	}
	return web.SeeOther(pageOfBanner(r.SafeRedirect(form.Get("next"))) + "?notice=reopened"), nil
}

// pageOfBanner returns the path of a page of this site, or that of the administration.
func pageOfBanner(next string) string {
	u, err := url.Parse(next)
	if err != nil || u.Host != "" || !strings.HasPrefix(u.Path, "/") || u.Path == "/login" {
		return "/admin/users"
	}
	return u.EscapedPath()
}
