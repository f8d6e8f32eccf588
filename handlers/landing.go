package handlers

import (
	"net/http"

	"gatehouse/auth"
	"gatehouse/templates"
	"gatehouse/web"
)

func (h *Handlers) landing(r *web.Request) (web.Response, error) {
	if r.User() != nil {
		return web.SeeOther("/dashboard"), nil
	}
	page := r.Page("Welcome")
	page.Description = "One sign-in for every app behind the gate."
	page.Landing, page.PageLinks = true, r.LandingLinks()
	return web.Show(http.StatusOK, templates.Landing(templates.LandingPage{
		Page:             page,
		Clock:            templates.NewClock(r.Now(), "UTC", auth.Preferences{}),
		RegistrationOpen: h.Accounts.RegistrationOpen,
	})), nil
}
