package handlers

import (
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"gatehouse/templates"
	"gatehouse/web"
)

const (
	sessionEnded = "Your session has ended, so your changes weren't saved."
	// notYetSaved is the notice of a form that comes back after signing in again.
	notYetSaved = "You're signed in again. Your changes aren't saved yet: check them, and save."
)

// SignInAgain answers a form that was submitted after its session had ended: the sign-in page, which carries the form and
// leads back to its page. Without anything to carry it is a redirect, because the form may also be the second one of a
// double click, and the response to the first one may have renewed the session: then the sign-in page leads on to the page
// of the form.
func (h *Handlers) SignInAgain(r *web.Request, d web.Draft) (web.Response, error) {
	if len(d.Fields) == 0 {
		return web.SeeOther("/login?" + url.Values{"notice": {endedKey}, "next": {d.Page}}.Encode()), nil
	}
	page := h.endedPage(r, d.Page)
	page.Draft = draftFields(d)
	return web.Show(http.StatusUnauthorized, templates.Login(page)), nil
}

// endedKey asks the sign-in page to say that a session has ended.
const endedKey = "ended"

// endedPage is the sign-in page after a session has ended. It leads back to the page at the path.
func (h *Handlers) endedPage(r *web.Request, path string) templates.LoginPage {
	page := h.loginPage(r, url.Values{"next": {path + "?notice=not-saved"}})
	page.Title = "Error: Sign in"
	page.Form.Message, page.SessionEnded = sessionEnded, true
	return page
}

// The sign-in form has a draft in these fields: where it was submitted, and its own fields with a prefix.
const (
	draftField  = "draft"
	draftPrefix = "draft-"
)

// draftFields returns the hidden fields that carry a draft; nil if nothing of it is kept.
func draftFields(d web.Draft) []templates.Field {
	if len(d.Fields) == 0 {
		return nil
	}
	fields := []templates.Field{{Name: draftField, Value: d.Path}}
	for _, name := range slices.Sorted(maps.Keys(d.Fields)) {
		for _, value := range d.Fields[name] {
			fields = append(fields, templates.Field{Name: draftPrefix + name, Value: value})
		}
	}
	return fields
}

// draftOf returns the draft in a submitted sign-in form.
func draftOf(r *web.Request, form url.Values) web.Draft {
	path := form.Get(draftField)
	if path == "" {
		return web.Draft{}
	}
	fields := url.Values{}
	for name, values := range form {
		if field, ok := strings.CutPrefix(name, draftPrefix); ok {
			fields[field] = values
		}
	}
	return r.ParseDraft(path, fields)
}

// notSavedIn is the notice of a form that comes back in the section.
func notSavedIn(section string) templates.Notice {
	return templates.Notice{Text: notYetSaved, Section: section}
}

// profileFields are the fields of the profile form, and what it showed.
var profileFields = []string{"name", "email", "time_zone", "shown_name", "shown_email", "shown_time_zone"}

func (h *Handlers) profileDraft(r *web.Request) (web.Response, error) {
	page, err := h.accountPage(r)
	if err != nil {
		return web.Response{}, err
	}
	page.Profile = h.profileForm(page.Profile, r.Draft())
	page.Zones = zoneGroups(page.Profile.Value("time_zone"), r.Now())
	page.Notice = notSavedIn("profile")
	return web.Show(http.StatusOK, templates.Account(page)), nil
}

func (h *Handlers) tokenDraft(r *web.Request) (web.Response, error) {
	page, err := h.tokensPage(r, r.Draft())
	if err != nil {
		return web.Response{}, err
	}
	page.Notice = notSavedIn("new")
	return web.Show(http.StatusOK, templates.Tokens(page)), nil
}

func (h *Handlers) userGroupsDraft(r *web.Request) (web.Response, error) {
	page, err := h.userPage(r)
	if err != nil {
		return web.Response{}, err
	}
	join, leave := groupChanges(page.Groups, strings.Fields(r.Draft().Get("shown")), r.Draft()["groups"])
	checkGroups(page.Memberships, join, leave)
	page.Notice = notSavedIn("groups")
	return web.Show(http.StatusOK, templates.User(page)), nil
}

func (h *Handlers) groupsDraft(r *web.Request) (web.Response, error) {
	page, err := h.groupsPage(r)
	if err != nil {
		return web.Response{}, err
	}
	left := templates.Form{Values: values(r.Draft(), "group", "permission")}
	page.Notice = notSavedIn("new")
	if r.Path() == addGroupPath {
		page.AddForm = left
	} else if i := slices.IndexFunc(page.Groups, func(g templates.GroupSection) bool { return g.Name == left.Value("group") }); i >= 0 {
		page.Groups[i].GrantForm, page.Notice.Section = left, templates.GroupSectionID(page.Groups[i].Name)
	} else {
		page.Notice, page.Message = templates.Notice{}, groupGone
	}
	return web.Show(http.StatusOK, templates.Groups(page)), nil
}

func (h *Handlers) addUserDraft(r *web.Request) (web.Response, error) {
	page, err := h.addUserPage(r, r.Draft())
	if err != nil {
		return web.Response{}, err
	}
	page.Notice = notSavedIn("")
	return web.Show(http.StatusOK, templates.AddUser(page)), nil
}

func (h *Handlers) grantUserDraft(r *web.Request) (web.Response, error) {
	page, err := h.userPage(r)
	if err != nil {
		return web.Response{}, err
	}
	page.GrantForm = templates.Form{Values: values(r.Draft(), "permission")}
	page.Notice = notSavedIn("permissions")
	return web.Show(http.StatusOK, templates.User(page)), nil
}
