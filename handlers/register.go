package handlers

import (
	"cmp"
	"errors"
	"net/http"
	"net/url"

	"gatehouse/auth"
	"gatehouse/templates"
	"gatehouse/web"
)

func (h *Handlers) showRegister(r *web.Request) (web.Response, error) {
	if r.User() != nil {
		return web.SeeOther(orHome(r.SafeRedirect(r.Query("next")))), nil
	}
	if !h.Accounts.RegistrationOpen {
		return h.registrationClosed(r), nil
	}
	page := h.registerPage(r, nil)
	return web.Show(http.StatusOK, templates.Register(page)).FormTo(page.Form.Value("next")), nil
}

func (h *Handlers) register(r *web.Request) (web.Response, error) {
	form, err := r.Form()
	if err != nil {
		return web.Response{}, err
	}
	user, err := h.Accounts.Register(r.Context(), auth.Registration{
		Username: form.Get("username"),
		Password: form.Get("password"),
		Email:    form.Get("email"),
		Name:     form.Get("name"),
		TimeZone: form.Get("time_zone"),
	}, r.Client())
	var (
		wrong     auth.ValidationErrors
		throttled auth.ThrottledError
	)
	switch {
	case errors.Is(err, auth.ErrRegistrationClosed):
		return h.registrationClosed(r), nil
	case errors.As(err, &wrong):
		return h.registerAgain(r, form, http.StatusUnprocessableEntity, wrong, ""), nil
	case errors.As(err, &throttled):
		return h.registerAgain(r, form, http.StatusTooManyRequests, nil, tooManyAttempts(throttled)).After(throttled.RetryAfter), nil
	case err != nil:
		return web.Response{}, err
	}
	if err := r.SignIn(user, false); err != nil {
		return web.Response{}, err
	}
	return web.SeeOther(cmp.Or(r.SafeRedirect(form.Get("next")), home+"?notice=welcome")), nil
}

func (h *Handlers) registerPage(r *web.Request, form url.Values) templates.RegisterPage {
	next := form.Get("next")
	if form == nil {
		next = r.Query("next")
	}
	return templates.RegisterPage{
		Page: r.Page("Create account"),
		Form: templates.Form{
			Values: values(form, "username", "email", "name", "time_zone").with("next", r.SafeRedirect(next)),
			First:  "username",
		},
		MinLength: h.Accounts.Policy.MinLength,
	}
}

func (h *Handlers) registerAgain(r *web.Request, form url.Values, status int, wrong auth.ValidationErrors, message string) web.Response {
	page := h.registerPage(r, form)
	page.Title = "Error: Create account"
	page.Form.Errors, page.Form.Message = wrong, message
	page.Form.First = firstWrong(wrong, "username", "password", "name", "email")
	if len(wrong) == 0 {
		page.Form.First = "password" // it has to be entered again
	}
	return web.Show(status, templates.Register(page)).FormTo(page.Form.Value("next"))
}

func (h *Handlers) registrationClosed(r *web.Request) web.Response {
	return web.Show(http.StatusForbidden, templates.RegistrationClosed(r.Page("Registration is closed"), h.HelpContact))
}

// passwordStrength rates a password for the meter, by the rules that the form applies. The password is sent to the
// same server as with the form, and is not stored.
func (h *Handlers) passwordStrength(r *web.Request) (web.Response, error) {
	form, err := r.Form()
	if err != nil {
		return web.Response{}, err
	}
	about := []string{form.Get("username"), form.Get("name"), form.Get("email")}
	if u := r.User(); u != nil {
		about = append(about, u.Username, u.Name, u.Email)
	}
	strength, err := h.Accounts.EstimateStrength(r.Context(), r.Client(), form.Get("password"), about...)
	if err != nil {
		return web.Response{}, err
	}
	return web.JSON(http.StatusOK, strength), nil
}
