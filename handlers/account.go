package handlers

import (
	"errors"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"time"

	"gatehouse/auth"
	"gatehouse/templates"
	"gatehouse/web"
)

func (h *Handlers) showAccount(r *web.Request) (web.Response, error) {
	page, err := h.accountPage(r)
	if err != nil {
		return web.Response{}, err
	}
	page.Notice = noticeOf(r)
	return web.Show(http.StatusOK, templates.Account(page)), nil
}

// changePasswordPage leads password managers to the form (W3C, A Well-Known URL for Changing Passwords).
func (h *Handlers) changePasswordPage(*web.Request) (web.Response, error) {
	return web.SeeOther("/account#password"), nil
}

// maxSessionRows bounds the list on a page. Users with more sessions have them from before the limit existed.
const maxSessionRows = auth.MaxSessions

func (h *Handlers) accountPage(r *web.Request) (templates.AccountPage, error) {
	sessions, err := h.Accounts.ListSessions(r.Context(), r.User().ID)
	if err != nil {
		return templates.AccountPage{}, err
	}
	u := r.User()
	rows := sessionRows(withCurrent(sessions, *r.Session()), u, r.Session().ID, r.Now())
	shown := rows[:min(len(rows), maxSessionRows)]
	return templates.AccountPage{
		Page: r.Page("Account"),
		Profile: templates.Form{Values: entered{"name": u.Name, "email": u.Email, "time_zone": u.TimeZone,
			"shown_name": u.Name, "shown_email": u.Email, "shown_time_zone": u.TimeZone}},
		Zones:           zoneGroups(u.TimeZone, r.Now()),
		Appearance:      appearanceForm(u.Preferences),
		MinLength:       h.Accounts.Policy.MinLength,
		Now:             r.Now(),
		Sessions:        shown,
		Hidden:          len(rows) - len(shown),
		ExternalSession: r.HasExternalSession(),
	}, nil
}

func (h *Handlers) changeProfile(r *web.Request) (web.Response, error) {
	form, err := r.Form()
	if err != nil {
		return web.Response{}, err
	}
	_, err = h.Accounts.EditProfile(r.Context(), r.User().ID, auth.ProfileEdit{
		Name: edited(form, "name"), Email: edited(form, "email"), TimeZone: edited(form, "time_zone"),
	})
	var (
		wrong    auth.ValidationErrors
		conflict auth.ProfileConflictError
	)
	switch {
	case errors.As(err, &conflict):
		return h.profileAgain(r, form, conflict.Fields, shownNow(form, conflict.Current))
	case errors.As(err, &wrong):
		return h.profileAgain(r, form, wrong, nil)
	case errors.Is(err, auth.ErrStale):
		return h.accountAgain(r, http.StatusUnprocessableEntity, func(page *templates.AccountPage) {
			page.Profile = h.profileForm(page.Profile, form)
			page.Profile.Message = "Your profile was changed elsewhere at the same time. Save again."
		})
	case err != nil:
		return web.Response{}, err
	}
	return web.SeeOther("/account?notice=profile"), nil
}

// edited returns the change that a form makes to a field, or nil if the value is the one that the form showed or is
// missing. A form that does not send what it showed changes every field that it sends.
func edited(form url.Values, field string) *auth.Edit {
	if !form.Has(field) {
		return nil
	}
	edit := &auth.Edit{To: form.Get(field)}
	if shown := "shown_" + field; form.Has(shown) {
		from := form.Get(shown)
		if from == edit.To {
			return nil
		}
		edit.From = &from
	}
	return edit
}

// shownNow returns what the form shows after a conflict: the current values, also in the fields that the user did not
// change. Otherwise saving again would revert those.
func shownNow(form url.Values, now auth.Profile) entered {
	shown := entered{}
	for field, value := range map[string]string{"name": now.Name, "email": now.Email, "time_zone": now.TimeZone} {
		shown["shown_"+field] = value
		if edited(form, field) == nil {
			shown[field] = value
		}
	}
	return shown
}

// profileAgain shows the form with the submitted values and their errors. The values in shown replace those that the
// form was shown with.
func (h *Handlers) profileAgain(r *web.Request, form url.Values, wrong auth.ValidationErrors, shown entered) (web.Response, error) {
	return h.accountAgain(r, http.StatusUnprocessableEntity, func(page *templates.AccountPage) {
		page.Profile = h.profileForm(page.Profile, form)
		maps.Copy(page.Profile.Values, shown)
		page.Profile.Errors, page.Profile.First = wrong, firstWrong(wrong, "name", "email", "time_zone")
		page.Zones = zoneGroups(page.Profile.Value("time_zone"), r.Now())
	})
}

// profileForm returns the form with the submitted fields.
func (h *Handlers) profileForm(profile templates.Form, form url.Values) templates.Form {
	sent := values(form, "name", "email", "time_zone", "shown_name", "shown_email", "shown_time_zone")
	maps.DeleteFunc(sent, func(field, _ string) bool { return !form.Has(field) })
	maps.Copy(profile.Values, sent)
	return profile
}

func (h *Handlers) changePassword(r *web.Request) (web.Response, error) {
	form, err := r.Form()
	if err != nil {
		return web.Response{}, err
	}
	user, err := h.Accounts.ChangePassword(r.Context(), r.User().ID, form.Get("current_password"), form.Get("new_password"), r.Client())
	var (
		wrong     auth.ValidationErrors
		throttled auth.ThrottledError
	)
	switch {
	case errors.As(err, &wrong):
		return h.passwordAgain(r, http.StatusUnprocessableEntity, templates.Form{Errors: wrong, First: firstWrong(wrong, "current_password", "new_password")})
	case errors.As(err, &throttled):
		resp, err := h.passwordAgain(r, http.StatusTooManyRequests, templates.Form{Message: tooManyAttempts(throttled), First: "current_password"})
		return resp.After(throttled.RetryAfter), err
	case errors.Is(err, auth.ErrAlreadyChanged):
		// This is the second request of a double click. The response to the first has the session's new cookie.
		return web.SeeOther("/account?notice=password"), nil
	case errors.Is(err, auth.ErrStale):
		return h.passwordAgain(r, http.StatusUnprocessableEntity, templates.Form{Message: "Your account was just changed elsewhere. Sign in again, then change your password.", First: "current_password"})
	case err != nil:
		return web.Response{}, err
	}
	if r.HasExternalSession() {
		// The external session may belong to another person, so it is not renewed. The password was verified, so a
		// Gatehouse session can start.
		return web.SeeOther("/account?notice=password"), r.SignIn(user, false)
	}
	return h.keepSignedIn(r, user, "/account?notice=password")
}

func (h *Handlers) passwordAgain(r *web.Request, status int, form templates.Form) (web.Response, error) {
	return h.accountAgain(r, status, func(page *templates.AccountPage) { page.Password = form })
}

// keepSignedIn gives this browser's session the user's new epoch. A session that ended during the change stays ended:
// the user signs in again. The cookie is left alone, because another response may have replaced it in the meantime.
func (h *Handlers) keepSignedIn(r *web.Request, user auth.User, location string) (web.Response, error) {
	err := r.RenewSession(user)
	if errors.Is(err, auth.ErrSessionEnded) {
		return web.SeeOther("/login"), nil
	}
	if err != nil {
		return web.Response{}, err
	}
	return web.SeeOther(location), nil
}

// accountAgain shows the page with a submitted form.
func (h *Handlers) accountAgain(r *web.Request, status int, change func(*templates.AccountPage)) (web.Response, error) {
	page, err := h.accountPage(r)
	if err != nil {
		return web.Response{}, err
	}
	page.Title = "Error: Account"
	change(&page)
	return web.Show(status, templates.Account(page)), nil
}

func (h *Handlers) endSession(r *web.Request) (web.Response, error) {
	form, err := r.Form()
	if err != nil {
		return web.Response{}, err
	}
	r.Stats().RecordChangeAttempt()
	err = h.Accounts.EndSession(r.Context(), r.User().ID, form.Get("session"))
	// A session that has already ended needs no error. A session of another user looks the same.
	if err != nil && !errors.Is(err, auth.ErrNotFound) {
		return web.Response{}, err
	}
	if err == nil {
		r.Log().InfoContext(r.Context(), "session ended", "event", true, "user_id", r.User().ID)
	}
	if form.Get("session") == r.Session().ID {
		return web.SeeOther("/login?notice=signed-out"), r.SignOut()
	}
	return web.SeeOther("/account?notice=session-ended"), nil
}

func (h *Handlers) confirmEndOthers(r *web.Request) (web.Response, error) {
	sessions, err := h.Accounts.ListSessions(r.Context(), r.User().ID)
	if err != nil {
		return web.Response{}, err
	}
	rows := sessionRows(sessions, r.User(), r.Session().ID, r.Now())
	others := slices.DeleteFunc(rows, func(row templates.SessionRow) bool { return row.Current })
	return web.Show(http.StatusOK, templates.EndOthers(templates.EndOthersPage{
		Page: r.Page("End other sessions"), Others: len(others), ExternalSession: r.HasExternalSession(),
	})), nil
}

func (h *Handlers) endOthers(r *web.Request) (web.Response, error) {
	user, err := h.Accounts.EndOtherSessions(r.Context(), r.User().ID, r.Session().ID, r.Session().Epoch)
	if errors.Is(err, auth.ErrStale) {
		// Another session ended this one first, or this is the second request of a double click. The account page shows
		// which: the browser is signed in there only if it has the cookie of the first response.
		return web.SeeOther("/account#sessions"), nil
	}
	if err != nil {
		return web.Response{}, err
	}
	if r.HasExternalSession() {
		return web.SeeOther("/login?notice=all-ended"), r.SignOut()
	}
	return h.keepSignedIn(r, user, "/account?notice=others-ended")
}

// withCurrent adds the current session to the list if this response is about to start it.
func withCurrent(sessions []auth.Session, current auth.Session) []auth.Session {
	if current.External || slices.ContainsFunc(sessions, func(s auth.Session) bool { return s.ID == current.ID }) {
		return sessions
	}
	return append(sessions, current)
}

// sessionRows returns the live sessions for a list, the current one first.
func sessionRows(sessions []auth.Session, u *auth.User, current string, now time.Time) []templates.SessionRow {
	var rows []templates.SessionRow
	for _, s := range sessions {
		if !u.AcceptsEpoch(s.Epoch) {
			continue // ended by a newer epoch, even if it is still in Redis
		}
		row := templates.SessionRow{
			ID:         s.ID,
			Device:     newDevice(s.UserAgent),
			Address:    s.Address,
			SignedInAt: s.SignedInAt,
			Seen:       ago(now.Sub(s.LastSeen)),
			SeenAt:     s.LastSeen,
			EndsAt:     s.Deadline,
			Current:    s.ID == current,
			Keep:       s.Remember,
		}
		if row.Current {
			row.Seen, row.SeenAt = "Active now", now
		}
		if row.SeenAt.Add(s.Idle()).Before(s.Deadline) {
			row.Idle = web.FormatDuration(s.Idle())
		}
		rows = append(rows, row)
	}
	slices.SortStableFunc(rows, func(a, b templates.SessionRow) int {
		switch {
		case a.Current:
			return -1
		case b.Current:
			return 1
		}
		return 0
	})
	return rows
}

// ago returns how long ago something was: "3 hours ago".
func ago(d time.Duration) string {
	switch {
	case d < time.Minute:
		return "just now"
	case d < time.Hour:
		return web.FormatCount(int(d/time.Minute), "minute") + " ago"
	case d < 24*time.Hour:
		return web.FormatCount(int(d/time.Hour), "hour") + " ago"
	}
	return web.FormatCount(int(d/(24*time.Hour)), "day") + " ago"
}
