// Package handlers holds the pages: which routes there are, and what each of them does.
package handlers

import (
	"context"

	"gatehouse/auth"
	"gatehouse/web"
)

// Handlers are the pages and what they need.
type Handlers struct {
	Accounts *auth.Accounts
	Sessions auth.SessionStore
	// Ready reports whether the database and Redis answer, by name.
	Ready func(context.Context) map[string]error
}

// Routes returns every route of the site, with who may use it.
func (h *Handlers) Routes() []web.Route {
	return []web.Route{
		web.Get("/", web.Open, h.landing),
		web.Get("/register", web.Open, h.showRegister),
		web.Post("/register", web.Open, h.register),
		web.Get("/login", web.Open, h.showLogin),
		web.Post("/login", web.Open, h.login),
		web.Post("/logout", web.Open, h.logout),
		web.Post("/password/strength", web.Open, h.passwordStrength),

		web.Get("/dashboard", web.SignedIn, h.dashboard),

		web.Get("/account", web.SignedIn, h.showAccount),
		web.Post("/account/profile", web.SignedIn, h.changeProfile),
		web.Post("/account/password", web.SignedIn, h.changePassword),
		web.Post("/account/sessions/end", web.SignedIn, h.endSession),
		web.Get("/account/sessions/end-others", web.SignedIn, h.confirmEndOthers),
		web.Post("/account/sessions/end-others", web.SignedIn, h.endOthers),

		web.Get("/healthz", web.Machine, h.healthz),
		web.Get("/readyz", web.Machine, h.readyz),
	}
}
