// Package handlers defines the routes and answers them: one file per page or feature. It reads forms, calls
// auth.Accounts and fills the structs of package templates. It knows nothing about SQL, Redis or Echo.
package handlers

import (
	"context"

	"gatehouse/auth"
	"gatehouse/web"
)

// Handlers has what the routes need.
type Handlers struct {
	Accounts *auth.Accounts
	// Ready reports whether the database and Redis answer, by name.
	Ready func(context.Context) map[string]error
	// OpenAPI is the description of the API, as JSON.
	OpenAPI []byte
}

var (
	mayView   = web.SignedIn.WithPermission(auth.ViewUsers)
	mayManage = web.SignedIn.WithPermission(auth.ManageUsers)
)

// Routes returns every route with its access rule.
func (h *Handlers) Routes() []web.Route {
	return []web.Route{
		web.Get("/", web.Open, h.landing),
		web.Get("/register", web.Open, h.showRegister),
		web.Post("/register", web.Open, h.register),
		web.Get("/login", web.Open, h.showLogin),
		web.Post("/login", web.Open, h.login),
		web.Get("/sign-out", web.Open, h.showSignOut),
		web.Post("/logout", web.Open, h.logout),
		web.Post("/password/strength", web.Open, h.passwordStrength),

		web.Get("/dashboard", web.SignedIn, h.dashboard),

		web.Get("/account", web.SignedIn, h.showAccount),
		web.Post("/account/profile", web.SignedIn, h.changeProfile),
		web.Post("/account/password", web.SignedIn, h.changePassword),
		web.Post("/account/sessions/end", web.SignedIn, h.endSession),
		web.Get("/account/sessions/end-others", web.SignedIn, h.confirmEndOthers),
		web.Post("/account/sessions/end-others", web.SignedIn, h.endOthers),

		web.Get("/account/tokens", web.SignedIn, h.showTokens),
		web.Post("/account/tokens", web.SignedIn, h.createToken),
		web.Post("/account/tokens/revoke", web.SignedIn, h.revokeToken),
		web.Get("/account/tokens/revoke-all", web.SignedIn, h.confirmRevokeAllTokens),
		web.Post("/account/tokens/revoke-all", web.SignedIn, h.revokeAllTokens),

		web.Get("/admin", mayView, h.adminHome),
		web.Get("/admin/users", mayView, h.users),
		web.Get("/admin/users/:id", mayView, h.user),
		web.Post("/admin/users/:id/active", mayManage, h.setUserActive),
		web.Post("/admin/users/:id/sign-out", mayManage, h.signOutUser),
		web.Post("/admin/users/:id/groups", mayManage, h.setUserGroups),
		web.Get("/admin/groups", mayView, h.groups),
		web.Post(addGroupPath, mayManage, h.addGroup),
		web.Post("/admin/groups/remove", mayManage, h.removeGroup),
		web.Post(grantGroupPath, mayManage, h.grantGroup),
		web.Post("/admin/groups/ungrant", mayManage, h.ungrantGroup),

		web.Get("/api/time", web.API, h.apiTime),
		web.Get("/api/me", web.API, h.apiMe),
		web.Get("/api/tokens", web.API, h.apiTokens),
		web.Post("/api/tokens", web.OptionalAPI, h.apiCreateToken),
		web.Delete("/api/tokens/current", web.API, h.apiRevokeCurrentToken),
		web.Delete("/api/tokens/:id", web.API, h.apiRevokeToken),
		web.Get("/api/users", web.API.WithPermission(auth.ViewUsers), h.apiUsers),
		web.Get("/api/openapi.json", web.Unauthenticated, h.openAPI),

		web.Verify("/auth/verify"),

		web.Get("/healthz", web.Unauthenticated, h.healthz),
		web.Get("/readyz", web.Unauthenticated, h.readyz),
	}
}
