package handlers

import (
	"cmp"
	"errors"
	"maps"
	"net/http"
	"net/url"

	"gatehouse/auth"
	"gatehouse/auth/locale"
	"gatehouse/templates"
	"gatehouse/web"
)

func (h *Handlers) changeAppearance(r *web.Request) (web.Response, error) {
	form, err := r.Form()
	if err != nil {
		return web.Response{}, err
	}
	_, err = h.Accounts.EditPreferences(r.Context(), r.User().ID, auth.PreferencesEdit{
		Theme: preferred(form, "theme"), HourCycle: preferred(form, "hour_cycle"), Locale: preferred(form, "locale"),
	})
	var wrong auth.ValidationErrors
	switch {
	case errors.As(err, &wrong):
		return h.accountAgain(r, http.StatusUnprocessableEntity, func(page *templates.AccountPage) {
			page.Appearance = appearanceAgain(page.Appearance, form)
			page.Appearance.Errors, page.Appearance.First = wrong, firstWrong(wrong, "theme", "hour_cycle", "locale")
		})
	case err != nil:
		return web.Response{}, err
	}
	return web.SeeOther("/account?notice=appearance"), nil
}

// appearanceDraft shows the form again after a sign-in.
func (h *Handlers) appearanceDraft(r *web.Request) (web.Response, error) {
	page, err := h.accountPage(r)
	if err != nil {
		return web.Response{}, err
	}
	page.Appearance = appearanceAgain(page.Appearance, r.Draft())
	page.Notice = notSavedIn("appearance")
	return web.Show(http.StatusOK, templates.Account(page)), nil
}

// appearanceFields are the fields of the form, and what it showed.
var appearanceFields = []string{"theme", "hour_cycle", "locale", "shown_theme", "shown_hour_cycle", "shown_locale"}

// appearanceAgain returns the form with the submitted fields.
func appearanceAgain(f templates.Form, form url.Values) templates.Form {
	sent := values(form, appearanceFields...)
	maps.DeleteFunc(sent, func(field, _ string) bool { return !form.Has(field) })
	maps.Copy(f.Values, sent)
	return f
}

// preferred returns the preference that the user has changed in the form, or nil.
func preferred(form url.Values, field string) *string {
	edit := edited(form, field)
	if edit == nil {
		return nil
	}
	return &edit.To
}

// appearanceForm returns the form with the user's preferences.
func appearanceForm(p auth.Preferences) templates.Form {
	v := entered{"theme": p.Theme, "hour_cycle": p.HourCycle, "locale": cmp.Or(p.Locale, locale.Default)}
	return templates.Form{Values: v.with("shown_theme", v["theme"]).with("shown_hour_cycle", v["hour_cycle"]).with("shown_locale", v["locale"])}
}
