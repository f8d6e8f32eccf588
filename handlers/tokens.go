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
	page := templates.TokensPage{
		Page:    r.Page("API tokens"),
		Form:    templates.Form{Values: values(form, "name", "days")},
		Now:     r.Now(),
		Example: r.AbsoluteURL("/api/me"),
	}
	if form == nil {
		page.Values["days"] = strconv.Itoa(min(max(1, int(h.Accounts.TokenLifetime/(24*time.Hour))), maxTokenDays))
	}
	for _, t := range tokens {
		if r.User().AcceptsEpoch(t.Epoch) {
			page.Tokens = append(page.Tokens, newTokenRow(t, r.Now()))
		}
	}
	for _, p := range r.User().Permissions {
		page.Permissions = append(page.Permissions, templates.Choice{Value: p, Checked: contains(form["permissions"], p)})
	}
	return page, nil
}

// maxTokenDays is the maximum lifetime of a token in the form.
const maxTokenDays = 366

func newTokenRow(t auth.Token, now time.Time) templates.TokenRow {
	row := templates.TokenRow{ID: t.TokenID, Name: t.Name, ExpiresAt: t.ExpiresAt,
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
	request := auth.TokenRequest{Name: form.Get("name"), Permissions: form["permissions"]}
	if days := strings.TrimSpace(form.Get("days")); days != "" {
		n, err := strconv.Atoi(days)
		if err != nil || n < 1 || n > maxTokenDays {
			n = -1 // refused below, together with other errors
		}
		request.Lifetime = time.Duration(n) * 24 * time.Hour
	}
	secret, t, err := h.Accounts.NewToken(r.Context(), *r.User(), request)
	var fields auth.ValidationErrors
	switch {
	case errors.As(err, &fields):
		if fields["lifetime"] != "" {
			delete(fields, "lifetime")
			fields["days"] = "Enter a number of days from 1 to " + strconv.Itoa(maxTokenDays) + "."
		}
		return h.tokensAgain(r, form, templates.Form{Errors: fields, First: firstWrong(fields, "name", "days", "permissions")})
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
	return web.Show(http.StatusOK, templates.Tokens(page)), nil
}

func (h *Handlers) tokensAgain(r *web.Request, form url.Values, wrong templates.Form) (web.Response, error) {
	page, err := h.tokensPage(r, form)
	if err != nil {
		return web.Response{}, err
	}
	page.Title = "Error: API tokens"
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
