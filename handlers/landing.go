package handlers

import (
	"net/http"

	"gatehouse/templates"
	"gatehouse/web"
)

func (h *Handlers) landing(r *web.Request) (web.Response, error) {
	if r.User() != nil {
		return web.SeeOther("/dashboard"), nil
	}
	page := r.Page("Welcome")
	page.Description = "Sign in once, and every app behind the gate knows you."
	return web.Show(http.StatusOK, templates.Landing(templates.LandingPage{Page: page, RegistrationOpen: h.Accounts.RegistrationOpen})), nil
}
