package handlers

import (
	"net/http"

	"gatehouse/web"
)

func (h *Handlers) landing(r *web.Request) (web.Response, error) {
	if r.User() != nil {
		return web.SeeOther("/dashboard"), nil
	}
	return web.Show(http.StatusOK, "landing", landingPage{
		Page:             r.Page("Welcome"),
		RegistrationOpen: h.Accounts.RegistrationOpen,
	}), nil
}
