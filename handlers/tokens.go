package handlers

import (
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"gatehouse/auth"
	"gatehouse/templates"
	"gatehouse/web"
)

func (h *Handlers) showTokens(r *web.Request) (web.Response, error) {
	page, err := h.tokensPage(r, nil)
	if err != nil {
		return web.Response{}, err
	}
	page.Notice = noticeOf(r)
	return web.Show(http.StatusOK, templates.Tokens(page)), nil
}

func (h *Handlers) tokensPage(r *web.Request, form url.Values) (templates.TokensPage, error) {
	tokens, err := h.Accounts.ListTokens(r.Context(), r.User().ID)
	if err != nil {
		return templates.TokensPage{}, err
	}
	page := templates.TokensPage{Page: r.Page("API tokens"), Now: r.Now()}
	h.fillTokenForm(&page, form)
	for _, t := range tokens {
		if r.User().AcceptsEpoch(t.Epoch) {
			page.Tokens = append(page.Tokens, newTokenRow(t, r.Now()))
		}
	}
	return page, nil
}

// fillTokenForm adds the form that creates a token, with the submitted values or, if form is nil, the defaults.
func (h *Handlers) fillTokenForm(page *templates.TokensPage, form url.Values) {
	page.Values = values(form, "name", "days", "until")
	days := strings.TrimSpace(page.Value("days"))
	if days == "" {
		days = daysField(h.Accounts.TokenLifetime)
	}
	page.OnDate = days == onDate
	page.Lifetimes = lifetimeChoices(h.Accounts.TokenLifetime, days, page.Now)
	dates := newTokenDates(page.User, page.Now)
	page.FirstDate, page.LastDate = dates.first(), dates.last()
	page.Limited = chosenPermissions(form) != nil
	for _, p := range page.User.Permissions {
		page.Permissions = append(page.Permissions, templates.Choice{Value: p, Checked: contains(form["permissions"], p)})
	}
}

func newTokenRow(t auth.Token, now time.Time) templates.TokenRow {
	row := templates.TokenRow{ID: t.TokenID, Name: t.Name, Hint: t.Hint, ExpiresAt: t.ExpiresAt,
		LastUsedAt: t.LastUsed, LastUsed: "never", Permissions: t.Permissions}
	if !t.LastUsed.IsZero() {
		row.LastUsed = ago(now.Sub(t.LastUsed))
	}
	return row
}

func contains(list []string, s string) bool {
	for _, have := range list {
		if have == s {
			return true
		}
	}
	return false
}

// createToken responds with the page and not with a redirect, because the secret must not appear in an address or a
// store.
func (h *Handlers) createToken(r *web.Request) (web.Response, error) {
	form, err := r.Form()
	if err != nil {
		return web.Response{}, err
	}
	secret, t, err := h.Accounts.NewToken(r.Context(), *r.User(), newTokenRequest(form, newTokenDates(r.User(), r.Now())))
	var fields auth.ValidationErrors
	switch {
	case errors.As(err, &fields):
		if form.Get("days") == onDate {
			fields.Rename("lifetime", "until")
		} else {
			fields.Rename("lifetime", "days")
		}
		return h.tokensAgain(r, form, templates.Form{Errors: fields, First: firstWrong(fields, "name", "days", "until", "permissions")})
	case errors.Is(err, auth.ErrTooManyTokens):
		return h.tokensAgain(r, form, templates.Form{Message: "You already have " + strconv.Itoa(auth.MaxTokens) + " tokens. Revoke one first.", First: "name"})
	case err != nil:
		return web.Response{}, err
	}
	page, err := h.tokensPage(r, nil)
	if err != nil {
		return web.Response{}, err
	}
	page.Secret, page.SecretName, page.SecretExpires = secret, t.Name, t.ExpiresAt
	page.Command = "curl -H 'Authorization: Bearer " + secret + "' " + r.AbsoluteURL("/api/me")
	return web.Show(http.StatusOK, templates.Tokens(page)), nil
}

func (h *Handlers) tokensAgain(r *web.Request, form url.Values, wrong templates.Form) (web.Response, error) {
	page, err := h.tokensPage(r, form)
	if err != nil {
		return web.Response{}, err
	}
	page.Title = "Error: API tokens"
	if wrong.Errors["days"] != "" {
		wrong.Errors["days"] = "Choose when the token expires, in at most " + strconv.Itoa(maxTokenDays) + " days."
	}
	if wrong.Errors["until"] != "" {
		wrong.Errors["until"] = "Choose a date from " + page.LocalDate(page.FirstDate) + " to " + page.LocalDate(page.LastDate) + "."
	}
	wrong.Values = page.Values
	page.Form = wrong
	return web.Show(http.StatusUnprocessableEntity, templates.Tokens(page)), nil
}

func (h *Handlers) revokeToken(r *web.Request) (web.Response, error) {
	form, err := r.Form()
	if err != nil {
		return web.Response{}, err
	}
	err = h.Accounts.RevokeToken(r.Context(), *r.User(), form.Get("token"))
	// A token that has already been revoked needs no error.
	if err != nil && !errors.Is(err, auth.ErrNotFound) {
		return web.Response{}, err
	}
	return web.SeeOther("/account/tokens?notice=token-revoked"), nil
}

func (h *Handlers) confirmRevokeAllTokens(r *web.Request) (web.Response, error) {
	page, err := h.tokensPage(r, nil)
	if err != nil {
		return web.Response{}, err
	}
	return web.Show(http.StatusOK, templates.RevokeTokens(templates.RevokeTokensPage{
		Page: r.Page("Revoke all tokens"), Tokens: len(page.Tokens),
	})), nil
}

func (h *Handlers) revokeAllTokens(r *web.Request) (web.Response, error) {
	if err := h.Accounts.RevokeAllTokens(r.Context(), *r.User()); err != nil {
		return web.Response{}, err
	}
	return web.SeeOther("/account/tokens?notice=tokens-revoked"), nil
}
