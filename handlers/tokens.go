package handlers

import (
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"gatehouse/auth"
	"gatehouse/web"
)

// tokensPage lists a person's API tokens and makes new ones: fields name, days, permissions.
type tokensPage struct {
	web.Page
	web.Form
	Tokens []TokenRow
	// Permissions that a token can be narrowed to: the person's own.
	Permissions []Choice
	DefaultDays int
	Now         time.Time
	// Secret is the token just made, shown this once; else empty.
	Secret     string
	SecretName string
	SecretEnds time.Time
	// Example is an address of the API to try the token with.
	Example string
}

// TokenRow is one API token in the person's own list.
type TokenRow struct {
	ID          string
	Name        string
	CreatedAt   time.Time
	ExpiresAt   time.Time
	LastUsedAt  time.Time // zero for never
	LastUsed    string    // "never", "3 hours ago"
	Permissions []string  // nil for all that the owner may
}

// Nothing reports whether the token was narrowed to no permission at all.
func (t TokenRow) Nothing() bool { return t.Permissions != nil && len(t.Permissions) == 0 }

// Choice is a checkbox.
type Choice struct {
	Value   string
	Checked bool
}

// revokeAllTokensPage asks before all API tokens are revoked.
type revokeAllTokensPage struct {
	web.Page
	Tokens int
}

func (h *Handlers) showTokens(r *web.Request) (web.Response, error) {
	page, err := h.tokensPage(r, nil)
	if err != nil {
		return web.Response{}, err
	}
	page.Notice = notices[r.Query("notice")]
	return web.Show(http.StatusOK, "tokens", page), nil
}

func (h *Handlers) tokensPage(r *web.Request, form url.Values) (tokensPage, error) {
	tokens, err := h.Accounts.Tokens.List(r.Context(), r.User().ID)
	if err != nil {
		return tokensPage{}, err
	}
	page := tokensPage{
		Page:        r.Page("API tokens"),
		Form:        web.Form{Values: values(form, "name", "days")},
		DefaultDays: min(max(1, int(h.Accounts.TokenLifetime/(24*time.Hour))), maxTokenDays),
		Now:         r.Now(),
		Example:     r.AbsoluteURL("/api/me"),
	}
	if form == nil {
		page.Values["days"] = strconv.Itoa(page.DefaultDays)
	}
	for _, t := range tokens {
		if r.User().AcceptsEpoch(t.Epoch) {
			page.Tokens = append(page.Tokens, newTokenRow(t, r.Now()))
		}
	}
	for _, p := range r.User().Permissions {
		page.Permissions = append(page.Permissions, Choice{p, contains(form["permissions"], p)})
	}
	return page, nil
}

// maxTokenDays is the longest life of a token that the form takes.
const maxTokenDays = 366

func newTokenRow(t auth.Token, now time.Time) TokenRow {
	row := TokenRow{ID: t.TokenID, Name: t.Name, CreatedAt: t.CreatedAt, ExpiresAt: t.ExpiresAt,
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

// createToken answers with the page itself and not with a redirect: the secret must stand
// nowhere, neither in an address nor in a store, before it is shown.
func (h *Handlers) createToken(r *web.Request) (web.Response, error) {
	form, err := r.Form()
	if err != nil {
		return web.Response{}, err
	}
	request := auth.TokenRequest{Name: form.Get("name"), Permissions: form["permissions"]}
	if days := strings.TrimSpace(form.Get("days")); days != "" {
		n, err := strconv.Atoi(days)
		if err != nil || n < 1 || n > maxTokenDays {
			n = -1 // refused below, together with whatever else is wrong
		}
		request.Lifetime = time.Duration(n) * 24 * time.Hour
	}
	secret, t, err := h.Accounts.NewToken(r.Context(), *r.User(), request)
	var fields auth.ValidationErrors
	switch {
	case errors.As(err, &fields):
		if fields["expires"] != "" {
			fields["days"] = "Enter a number of days from 1 to " + strconv.Itoa(maxTokenDays) + "."
		}
		return h.tokensAgain(r, form, web.Form{Errors: fields, First: firstWrong(fields, "name", "days", "permissions")})
	case errors.Is(err, auth.ErrTooManyTokens):
		return h.tokensAgain(r, form, web.Form{Message: "You have " + strconv.Itoa(auth.MaxTokens) + " tokens already. Revoke one first.", First: "name"})
	case err != nil:
		return web.Response{}, err
	}
	page, err := h.tokensPage(r, nil)
	if err != nil {
		return web.Response{}, err
	}
	page.Secret, page.SecretName, page.SecretEnds = secret, t.Name, t.ExpiresAt
	return web.Show(http.StatusOK, "tokens", page), nil
}

func (h *Handlers) tokensAgain(r *web.Request, form url.Values, wrong web.Form) (web.Response, error) {
	page, err := h.tokensPage(r, form)
	if err != nil {
		return web.Response{}, err
	}
	page.Title = "Error: API tokens"
	wrong.Values = page.Values
	page.Form = wrong
	return web.Show(http.StatusUnprocessableEntity, "tokens", page), nil
}

func (h *Handlers) revokeToken(r *web.Request) (web.Response, error) {
	form, err := r.Form()
	if err != nil {
		return web.Response{}, err
	}
	err = h.Accounts.RevokeToken(r.Context(), *r.User(), form.Get("token"))
	// One that is gone already is what was wanted.
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
	return web.Show(http.StatusOK, "revoke_tokens", revokeAllTokensPage{Page: r.Page("Revoke all tokens"), Tokens: len(page.Tokens)}), nil
}

func (h *Handlers) revokeAllTokens(r *web.Request) (web.Response, error) {
	if err := h.Accounts.RevokeAllTokens(r.Context(), *r.User()); err != nil {
		return web.Response{}, err
	}
	return web.SeeOther("/account/tokens?notice=tokens-revoked"), nil
}
