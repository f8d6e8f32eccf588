// Package handlers defines the routes and answers them: one file per page or feature. It reads forms, calls
// auth.Accounts and fills the structs of package templates. It knows nothing about SQL, Redis or Echo.
package handlers

import (
	"context"

	"gatehouse/auth"
	"gatehouse/internal/launcher"
	"gatehouse/web"
)

// Handlers has what the routes need.
type Handlers struct {
	Accounts *auth.Accounts
	// Ready reports whether the database and Redis answer, by name.
	Ready func(context.Context) map[string]error
	// Apps returns the apps of the dashboard; nil: none.
	Apps func() []launcher.App
	// HelpContact says whom people ask who cannot sign in; may be empty.
	HelpContact string
	// OpenAPI is the description of the API, as JSON.
	OpenAPI []byte
}

var (
	mayView   = web.SignedIn.WithPermission(auth.ViewUsers)
	mayManage = web.SignedIn.WithPermission(auth.ManageUsers)
)

// Routes returns every route with its access rule.
func (h *Handlers) Routes() []web.Route {
	return append(h.adminRoutes(), []web.Route{
		web.Get("/", web.Open, h.landing),
		web.Get("/register", web.Open, h.showRegister),
		web.Post("/register", web.Open, h.register),
		web.Get("/login", web.Open, h.showLogin),
		web.Post("/login", web.Open, h.login),
		web.Get("/sign-out", web.Open, h.showSignOut),
		web.Post("/logout", web.Open, h.logout).On("/sign-out"),
		web.Post("/password/strength", web.Open, h.passwordStrength),

		web.Get("/dashboard", web.SignedIn, h.dashboard),
		web.Get(appIconsPath+":name", web.SignedIn, h.appIcon),

		web.Get("/account", web.SignedIn, h.showAccount),
		web.Post("/account/profile", web.SignedIn, h.changeProfile).On("/account").Keeping(h.profileDraft, profileFields...),
		web.Post("/account/appearance", web.SignedIn, h.changeAppearance).On("/account").Keeping(h.appearanceDraft, appearanceFields...),
		web.Post("/account/password", web.SignedIn, h.changePassword).On("/account"),
		web.Post("/account/sessions/end", web.SignedIn, h.endSession).On("/account"),
		web.Get("/account/sessions/end-others", web.SignedIn, h.confirmEndOthers),
		web.Post("/account/sessions/end-others", web.SignedIn, h.endOthers),

		web.Get("/account/tokens", web.SignedIn, h.showTokens),
		web.Post("/account/tokens", web.SignedIn, h.createToken).Keeping(h.tokenDraft, "name", "days", "until", "access", "permissions"),
		web.Post("/account/tokens/revoke", web.SignedIn, h.revokeToken).On("/account/tokens"),
		web.Get("/account/tokens/revoke-all", web.SignedIn, h.confirmRevokeAllTokens),
		web.Post("/account/tokens/revoke-all", web.SignedIn, h.revokeAllTokens),

		web.Get("/api", web.Open, h.apiPage),
		web.Get("/api/time", web.API, h.apiTime),
		web.Get("/api/me", web.API, h.apiMe),
		web.Get("/api/tokens", web.API, h.apiTokens),
		web.Post("/api/tokens", web.OptionalAPI, h.apiCreateToken),
		web.Delete("/api/tokens/current", web.API, h.apiRevokeCurrentToken),
		web.Delete("/api/tokens/:id", web.API, h.apiRevokeToken),
		web.Get("/api/users", web.API.WithPermission(auth.ViewUsers), h.apiUsers),
		web.Get("/api/openapi.json", web.Unauthenticated, h.openAPI),

		web.Verify("/auth/verify"),

		web.Get("/.well-known/change-password", web.Unauthenticated, h.changePasswordPage),
		web.File("favicon.ico"),
		web.File("apple-touch-icon.png"),
		web.File("icon-192.png"),
		web.File("icon-512.png"),
		web.File("site.webmanifest"),
		web.File("robots.txt"),

		web.Get("/healthz", web.Unauthenticated, h.healthz),
		web.Get("/readyz", web.Unauthenticated, h.readyz),
	}...)
}

// adminRoutes are the routes about other users.
func (h *Handlers) adminRoutes() []web.Route {
	return []web.Route{
		web.Get("/admin", mayView, h.adminHome),
		web.Get("/admin/users", mayView, h.users),
		web.Get("/admin/users/new", mayManage, h.showAddUser),
		web.Post("/admin/users/new", mayManage, h.addUser).Keeping(h.addUserDraft, "username", "name", "email", "groups"),
		web.Get("/admin/users/:id", mayView, h.user),
		web.Post("/admin/users/:id/active", mayManage, h.setUserActive).On("/admin/users/:id"),
		web.Post("/admin/users/:id/sign-out", mayManage, h.signOutUser).On("/admin/users/:id"),
		web.Post("/admin/users/:id/groups", mayManage, h.setUserGroups).On("/admin/users/:id").Keeping(h.userGroupsDraft, "shown", "groups"),
		web.Post("/admin/users/:id/email/verify", mayManage, h.verifyUserEmail).On("/admin/users/:id"),
		web.Post("/admin/users/:id/password", mayManage, h.setUserPassword).On("/admin/users/:id"),
		web.Post("/admin/users/:id/permissions/grant", mayManage, h.grantUser).On("/admin/users/:id").Keeping(h.grantUserDraft, "permission"),
		web.Post("/admin/users/:id/permissions/ungrant", mayManage, h.ungrantUser).On("/admin/users/:id"),
		web.Post("/admin/users/:id/sessions/end", mayManage, h.endUserSession).On("/admin/users/:id"),
		web.Get("/admin/users/:id/delete", mayManage, h.confirmDeleteUser),
		web.Post("/admin/users/:id/delete", mayManage, h.deleteUser),
		web.Get("/admin/groups", mayView, h.groups),
		web.Post(addGroupPath, mayManage, h.addGroup).Keeping(h.groupsDraft, "group"),
		web.Post("/admin/groups/remove", mayManage, h.removeGroup).On("/admin/groups"),
		web.Post(grantGroupPath, mayManage, h.grantGroup).On("/admin/groups").Keeping(h.groupsDraft, "group", "permission"),
		web.Post("/admin/groups/ungrant", mayManage, h.ungrantGroup).On("/admin/groups"),

		web.Post("/admin/maintenance/end", mayManage, h.endMaintenance).On("/admin/users"),
	}
}
