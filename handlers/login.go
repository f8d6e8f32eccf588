package handlers

import (
	"cmp"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"gatehouse/auth"
	"gatehouse/templates"
	"gatehouse/web"
	"gatehouse/web/redirect"
)

// home is the page after signing in, unless another one was requested.
const home = "/dashboard"

func (h *Handlers) showLogin(r *web.Request) (web.Response, error) {
	next := r.SafeRedirect(r.Query("next"))
	// Sites that read our sessions do not know an external one, and would send the user back here.
	if r.User() != nil && !(r.HasExternalSession() && redirect.Host(next) != "") {
		return web.SeeOther(orHome(next)), nil
	}
	if r.Query("notice") == endedKey && strings.HasPrefix(next, "/") && !strings.Contains(next, "?") {
		return web.Show(http.StatusOK, templates.Login(h.endedPage(r, next))), nil
	}
	page := h.loginPage(r, url.Values{"next": {next}})
	page.Notice = notices[r.Query("notice")]
	return web.Show(http.StatusOK, templates.Login(page)).FormTo(next), nil
}

func (h *Handlers) login(r *web.Request) (web.Response, error) {
	form, err := r.Form()
	if err != nil {
		return web.Response{}, err
	}
	if missing := missingCredentials(form); len(missing) > 0 {
		return h.loginAgain(r, form, http.StatusUnprocessableEntity, missing, ""), nil
	}
	client := r.Client()
	client.TimeZone = form.Get("time_zone")
	user, err := h.Accounts.SignIn(r.Context(), form.Get("username"), form.Get("password"), client)
	r.CountSignIn(err)
	var throttled auth.ThrottledError
	switch {
	case errors.As(err, &throttled):
		return h.loginAgain(r, form, http.StatusTooManyRequests, nil, tooManyAttempts(throttled)).After(throttled.RetryAfter), nil
	case errors.Is(err, auth.ErrWrongCredentials):
		return h.loginAgain(r, form, http.StatusUnauthorized, nil, "Wrong user name or password. Check both, and that Caps Lock is off."), nil
	case err != nil:
		return web.Response{}, err
	}
	if err := r.SignIn(user, form.Get("remember") != ""); err != nil {
		return web.Response{}, err
	}
	next := r.SafeRedirect(form.Get("next"))
	if form.Has(draftField) {
		if resp, ok, err := r.ShowDraft(draftOf(r, form)); ok || err != nil {
			return resp, err
		}
		next = "" // the page and its message are another user's
	}
	return web.SeeOther(orHome(next)), nil
}

func missingCredentials(form url.Values) auth.ValidationErrors {
	missing := auth.ValidationErrors{}
	if form.Get("username") == "" {
		missing["username"] = "Enter your user name."
	}
	if form.Get("password") == "" {
		missing["password"] = "Enter your password."
	}
	return missing
}

func (h *Handlers) loginPage(r *web.Request, form url.Values) templates.LoginPage {
	next := r.SafeRedirect(form.Get("next"))
	draft := draftFields(draftOf(r, form))
	return templates.LoginPage{
		Page: r.Page("Sign in"),
		Form: templates.Form{
			Values: values(form, "username", "remember").with("next", next),
			First:  "username",
		},
		RegistrationOpen: h.Accounts.RegistrationOpen,
		HelpContact:      h.HelpContact,
		Draft:            draft,
		SessionEnded:     len(draft) > 0,
		NextHost:         redirect.Host(next),
	}
}

// loginAgain shows the submitted form. The message does not reveal whether the user name or the password was wrong.
func (h *Handlers) loginAgain(r *web.Request, form url.Values, status int, wrong auth.ValidationErrors, message string) web.Response {
	page := h.loginPage(r, form)
	page.Title = "Error: Sign in"
	page.Form.Errors, page.Form.Message = wrong, message
	page.Form.First = firstWrong(wrong, "username", "password")
	if len(wrong) == 0 {
		page.Form.First = "password"
	}
	return web.Show(status, templates.Login(page)).FormTo(page.Form.Value("next"))
}

func tooManyAttempts(t auth.ThrottledError) string {
	return "Too many attempts. Wait " + web.FormatDuration(t.RetryAfter) + ", then try again."
}

// showSignOut is the page that other sites link to for signing out, because a GET must not change anything.
func (h *Handlers) showSignOut(r *web.Request) (web.Response, error) {
	next := r.SafeRedirect(r.Query("next"))
	if r.User() == nil {
		return web.SeeOther(orSignedOut(next)), nil
	}
	return web.Show(http.StatusOK, templates.SignOut(templates.SignOutPage{
		Page: r.Page("Sign out"), Next: next, ExternalSession: r.HasExternalSession(),
	})).FormTo(next), nil
}

func (h *Handlers) logout(r *web.Request) (web.Response, error) {
	// A malformed form must not prevent signing out.
	next := ""
	if form, err := r.Form(); err == nil {
		next = r.SafeRedirect(form.Get("next"))
	}
	user := r.User()
	if err := r.SignOut(); err != nil {
		return web.Response{}, err
	}
	if user != nil {
		r.Log().InfoContext(r.Context(), "signed out", "event", true, "username", user.Username, "user_id", user.ID)
	}
	if next == "" && r.SignedInElsewhere() {
		return web.SeeOther("/login?notice=signed-out-here"), nil
	}
	return web.SeeOther(orSignedOut(next)), nil
}

func orSignedOut(next string) string { return cmp.Or(next, "/login?notice=signed-out") }

func orHome(next string) string { return cmp.Or(next, home) }
