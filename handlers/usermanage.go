package handlers

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"gatehouse/auth"
	"gatehouse/auth/identifier"
	"gatehouse/templates"
	"gatehouse/web"
)

func mayManageUsers(r *web.Request) bool { return r.HasPermission(auth.ManageUsers) }

func (h *Handlers) showAddUser(r *web.Request) (web.Response, error) {
	page, err := h.addUserPage(r, nil)
	if err != nil {
		return web.Response{}, err
	}
	page.First = "username"
	return web.Show(http.StatusOK, templates.AddUser(page)), nil
}

func (h *Handlers) addUserPage(r *web.Request, form url.Values) (templates.AddUserPage, error) {
	groups, err := h.Accounts.Groups(r.Context())
	if err != nil {
		return templates.AddUserPage{}, err
	}
	page := templates.AddUserPage{
		Page: r.Page("Add user"), MinLength: h.Accounts.Policy.MinLength,
		Form: templates.Form{Values: values(form, "username", "name", "email")},
	}
	for _, g := range groups {
		page.Groups = append(page.Groups, templates.GroupChoice{Name: g.Name, Permissions: g.Permissions, Member: contains(form["groups"], g.Name)})
	}
	return page, nil
}

func (h *Handlers) addUser(r *web.Request) (web.Response, error) {
	form, err := r.Form()
	if err != nil {
		return web.Response{}, err
	}
	page, err := h.addUserPage(r, form)
	if err != nil {
		return web.Response{}, err
	}
	again := func(status int) web.Response {
		page.Title = "Error: " + page.Title
		return web.Show(status, templates.AddUser(page))
	}
	exists := func(group string) bool {
		return slices.ContainsFunc(page.Groups, func(c templates.GroupChoice) bool { return c.Name == group })
	}
	groups := slices.Compact(slices.Sorted(slices.Values(form["groups"])))
	if slices.ContainsFunc(groups, func(group string) bool { return !exists(group) }) {
		page.Message, page.First = "A group that you selected no longer exists, so nothing was saved. Review the groups and add the user again.", "username"
		return again(http.StatusUnprocessableEntity), nil
	}
	var u auth.User
	if err = h.Accounts.ThrottlePasswords(r.Context(), r.User().ID); err == nil {
		u, err = h.Accounts.AddUser(r.Context(), auth.Registration{
			Username: form.Get("username"), Password: form.Get("password"), Email: form.Get("email"), Name: form.Get("name"),
		})
	}
	var (
		wrong     auth.ValidationErrors
		throttled auth.ThrottledError
	)
	switch {
	case errors.As(err, &wrong):
		page.Errors, page.First = wrong, firstWrong(wrong, "username", "name", "email", "password")
		return again(http.StatusUnprocessableEntity), nil
	case errors.As(err, &throttled):
		page.Message, page.First = tooManyAttempts(throttled), "username"
		return again(http.StatusTooManyRequests).After(throttled.RetryAfter), nil
	case err != nil:
		return web.Response{}, err
	}
	if len(groups) == 0 {
		return web.SeeOther("/admin/users/" + u.ID + "?notice=user-added"), nil
	}
	_, err = h.Accounts.ChangeGroups(r.Context(), u.ID, groups, nil)
	if errors.Is(err, auth.ErrGroupNotFound) { // removed a moment ago
		return web.SeeOther("/admin/users/" + u.ID + "?notice=user-added-without-groups"), nil
	}
	if err != nil {
		return web.Response{}, err
	}
	return web.SeeOther("/admin/users/" + u.ID + "?notice=user-added"), nil
}

// userAgain shows the page of the user after a failed form.
func (h *Handlers) userAgain(r *web.Request, status int, change func(*templates.UserPage)) (web.Response, error) {
	page, err := h.userPage(r)
	if err != nil {
		return web.Response{}, err
	}
	page.Title = "Error: " + page.Username
	change(&page)
	return web.Show(status, templates.User(page)), nil
}

// userMessage shows the page of the user with a message on top.
func (h *Handlers) userMessage(r *web.Request, message string) (web.Response, error) {
	return h.userAgain(r, http.StatusUnprocessableEntity, func(page *templates.UserPage) { page.Message = message })
}

// isSelf reports whether the request is about the user who makes it.
func isSelf(r *web.Request) bool { return strings.EqualFold(r.Param("id"), r.User().ID) }

func (h *Handlers) verifyUserEmail(r *web.Request) (web.Response, error) {
	form, err := r.Form()
	if err != nil {
		return web.Response{}, err
	}
	_, err = h.Accounts.VerifyEmail(r.Context(), r.Param("id"), form.Get("email"))
	var wrong auth.ValidationErrors
	switch {
	case errors.Is(err, auth.ErrStale):
		return h.userMessage(r, "The email address changed after you opened this page, so it wasn't verified. Check it and try again.")
	case errors.As(err, &wrong):
		return h.userMessage(r, wrong["email"])
	case err != nil:
		return web.Response{}, err
	}
	return h.backToUser(r, "user-verified")
}

func (h *Handlers) setUserPassword(r *web.Request) (web.Response, error) {
	form, err := r.Form()
	if err != nil {
		return web.Response{}, err
	}
	if isSelf(r) {
		return h.userMessage(r, "Change your own password on your account page.")
	}
	u, err := h.Accounts.StoredUser(r.Context(), r.Param("id"))
	if err != nil {
		return web.Response{}, err
	}
	if err = h.Accounts.ThrottlePasswords(r.Context(), r.User().ID); err == nil {
		_, err = h.Accounts.SetPassword(r.Context(), u, form.Get("new_password"))
	}
	var (
		wrong     auth.ValidationErrors
		throttled auth.ThrottledError
	)
	passwordAgain := func(status int, f templates.Form) (web.Response, error) {
		f.First = "new_password"
		return h.userAgain(r, status, func(page *templates.UserPage) { page.PasswordForm = f })
	}
	switch {
	case errors.As(err, &wrong):
		wrong.Rename("password", "new_password")
		return passwordAgain(http.StatusUnprocessableEntity, templates.Form{Errors: wrong})
	case errors.As(err, &throttled):
		resp, err := passwordAgain(http.StatusTooManyRequests, templates.Form{Message: tooManyAttempts(throttled)})
		return resp.After(throttled.RetryAfter), err
	case errors.Is(err, auth.ErrStale):
		return passwordAgain(http.StatusUnprocessableEntity, templates.Form{Message: "The user's password or sessions were changed at the same time. Set the password again."})
	case err != nil:
		return web.Response{}, err
	}
	return h.backToUser(r, "user-password")
}

func (h *Handlers) grantUser(r *web.Request) (web.Response, error) {
	return h.setUserPermission(r, true)
}

func (h *Handlers) ungrantUser(r *web.Request) (web.Response, error) {
	return h.setUserPermission(r, false)
}

func (h *Handlers) setUserPermission(r *web.Request, granted bool) (web.Response, error) {
	form, err := r.Form()
	if err != nil {
		return web.Response{}, err
	}
	permission, notice := form.Get("permission"), "user-granted"
	if !granted {
		notice = "user-ungranted"
		if isSelf(r) && permission == auth.ManageUsers {
			return h.userMessage(r, "You can't remove this permission from yourself. Ask another administrator.")
		}
	}
	_, err = h.Accounts.SetPermission(r.Context(), r.Param("id"), permission, granted)
	var wrong auth.ValidationErrors
	switch {
	case errors.Is(err, auth.ErrLastAdministrator):
		return h.refuseLastAdministrator(r)
	case errors.As(err, &wrong) && granted:
		return h.userAgain(r, http.StatusUnprocessableEntity, func(page *templates.UserPage) {
			page.GrantForm = templates.Form{Values: values(form, "permission"), Errors: wrong, First: "permission"}
		})
	case errors.As(err, &wrong):
		return h.userMessage(r, wrong["permission"])
	case err != nil:
		return web.Response{}, err
	}
	return h.backToUser(r, notice)
}

func (h *Handlers) endUserSession(r *web.Request) (web.Response, error) {
	form, err := r.Form()
	if err != nil {
		return web.Response{}, err
	}
	id := form.Get("session")
	r.Stats().RecordChangeAttempt()
	err = h.Accounts.EndSession(r.Context(), r.Param("id"), id)
	// A session that has already ended needs no error.
	if err != nil && !errors.Is(err, auth.ErrNotFound) {
		return web.Response{}, err
	}
	if err == nil {
		r.Log().InfoContext(r.Context(), "session ended", "event", true, "user_id", r.Param("id"), "by", r.User().ID)
	}
	if id == currentSession(r) {
		return web.SeeOther("/login?notice=signed-out"), r.SignOut()
	}
	return h.backToUser(r, "session-ended")
}

func (h *Handlers) confirmDeleteUser(r *web.Request) (web.Response, error) {
	u, err := h.Accounts.StoredUser(r.Context(), r.Param("id"))
	if err != nil {
		return web.Response{}, err
	}
	return deleteUserPage(r, http.StatusOK, u, templates.Form{First: "username"}), nil
}

func deleteUserPage(r *web.Request, status int, u auth.User, form templates.Form) web.Response {
	page := templates.DeleteUserPage{Page: r.Page("Delete " + u.Username), Form: form, UserRow: newUserRow(u, r.Now())}
	if status != http.StatusOK {
		page.Title = "Error: " + page.Title
	}
	return web.Show(status, templates.DeleteUser(page))
}

func (h *Handlers) deleteUser(r *web.Request) (web.Response, error) {
	form, err := r.Form()
	if err != nil {
		return web.Response{}, err
	}
	u, err := h.Accounts.StoredUser(r.Context(), r.Param("id"))
	if err != nil {
		return web.Response{}, err
	}
	refuse := func(f templates.Form) web.Response {
		f.Values, f.First = values(form, "username"), "username"
		return deleteUserPage(r, http.StatusUnprocessableEntity, u, f)
	}
	if isSelf(r) {
		return refuse(templates.Form{Message: "You can't delete yourself. Ask another administrator."}), nil
	}
	if name, err := identifier.CanonicalUsername(form.Get("username")); err != nil || name != u.Username {
		return refuse(templates.Form{Errors: map[string]string{"username": "This isn't the user's name, so nothing was deleted. Enter " + u.Username + "."}}), nil
	}
	_, err = h.Accounts.DeleteUser(r.Context(), u.ID)
	switch {
	case errors.Is(err, auth.ErrLastAdministrator):
		return refuse(templates.Form{Message: lastAdministrator}), nil
	case errors.Is(err, auth.ErrStale):
		return refuse(templates.Form{Message: "Another administrator enabled the user at the same time, so the user wasn't deleted. Try again."}), nil
	case err != nil:
		return web.Response{}, err
	}
	return web.SeeOther("/admin/users?notice=user-deleted"), nil
}
