package handlers

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"gatehouse/auth"
	"gatehouse/templates"
	"gatehouse/web"
	"gatehouse/web/problem"
)

func (h *Handlers) adminHome(*web.Request) (web.Response, error) {
	return web.SeeOther("/admin/users"), nil
}

func newUserRow(u auth.User, now time.Time) templates.UserRow {
	row := templates.UserRow{ID: u.ID, Username: u.Username, Name: u.Name, Email: u.Email, EmailVerified: u.EmailVerified,
		Active: u.Active, Groups: u.Groups, LastSignIn: "never", LastSignInAt: u.LastSignInAt,
		Created: ago(now.Sub(u.CreatedAt)), CreatedAt: u.CreatedAt}
	if !u.LastSignInAt.IsZero() {
		row.LastSignIn = ago(now.Sub(u.LastSignInAt))
	}
	return row
}

func (h *Handlers) user(r *web.Request) (web.Response, error) {
	page, err := h.userPage(r)
	if err != nil {
		return web.Response{}, err
	}
	page.Notice = noticeOf(r)
	return web.Show(http.StatusOK, templates.User(page)), nil
}

func (h *Handlers) userPage(r *web.Request) (templates.UserPage, error) {
	u, err := h.Accounts.StoredUser(r.Context(), r.Param("id"))
	if err != nil {
		return templates.UserPage{}, err
	}
	groups, err := h.Accounts.Groups(r.Context())
	if err != nil {
		return templates.UserPage{}, err
	}
	direct, err := h.Accounts.DirectPermissions(r.Context(), u.ID)
	if err != nil {
		return templates.UserPage{}, err
	}
	sessions, err := h.Accounts.ListSessions(r.Context(), u.ID)
	if err != nil {
		return templates.UserPage{}, err
	}
	rows := sessionRows(sessions, &u, currentSession(r), r.Now())
	shown := rows[:min(len(rows), maxSessionRows)]
	page := templates.UserPage{
		Page: r.Page(u.Username), UserRow: newUserRow(u, r.Now()), Permissions: permissionRows(u, groups, direct),
		MayManage: mayManageUsers(r), Self: u.ID == r.User().ID, MinLength: h.Accounts.Policy.MinLength, Now: r.Now(),
		Sessions: shown, Hidden: len(rows) - len(shown),
	}
	for _, g := range groups {
		page.Memberships = append(page.Memberships, templates.GroupChoice{
			Name: g.Name, Permissions: g.Permissions, Member: contains(u.Groups, g.Name),
		})
	}
	return page, nil
}

// permissionRows returns the permissions of the user with where they come from.
func permissionRows(u auth.User, groups []auth.Group, direct []string) (rows []templates.PermissionRow) {
	for _, permission := range u.Permissions {
		var from []string
		for _, g := range groups {
			if contains(u.Groups, g.Name) && contains(g.Permissions, permission) {
				from = append(from, g.Name)
			}
		}
		row := templates.PermissionRow{Name: permission, Direct: contains(direct, permission)}
		switch {
		case len(from) == 0 && row.Direct:
			row.Sources = "Given directly"
		case len(from) > 0:
			row.Sources = "From the group " + from[0]
			if len(from) > 1 {
				row.Sources = "From the groups " + strings.Join(from, ", ")
			}
			if row.Direct {
				row.Sources += " and given directly"
			}
		}
		rows = append(rows, row)
	}
	return rows
}

func currentSession(r *web.Request) string {
	if s := r.Session(); s != nil {
		return s.ID
	}
	return ""
}

func (h *Handlers) setUserActive(r *web.Request) (web.Response, error) {
	form, err := r.Form()
	if err != nil {
		return web.Response{}, err
	}
	id, active := r.Param("id"), form.Get("active") == "true"
	if !active && form.Get("active") != "false" {
		return web.Response{}, problem.BadRequest(problem.Unreadable, "active is true or false.")
	}
	if isSelf(r) && !active {
		return h.userMessage(r, "You can't disable yourself. Ask another administrator.")
	}
	u, err := h.Accounts.SetActive(r.Context(), id, active)
	if errors.Is(err, auth.ErrLastAdministrator) {
		return h.refuseLastAdministrator(r)
	}
	if err != nil {
		return web.Response{}, err
	}
	notice := "user-disabled"
	if u.Active {
		notice = "user-enabled"
	}
	return h.backToUser(r, notice)
}

// lastAdministrator is the message for auth.ErrLastAdministrator.
const lastAdministrator = "At least one active user needs the permission users.manage. Grant it to another user first."

func (h *Handlers) refuseLastAdministrator(r *web.Request) (web.Response, error) {
	return h.userMessage(r, lastAdministrator)
}

func (h *Handlers) backToUser(r *web.Request, notice string) (web.Response, error) {
	return web.SeeOther("/admin/users/" + url.PathEscape(r.Param("id")) + "?notice=" + notice), nil
}

func (h *Handlers) signOutUser(r *web.Request) (web.Response, error) {
	if s := r.Session(); s != nil && r.Param("id") == s.UserID {
		page := "/admin/users/" + s.UserID
		u, err := h.Accounts.EndOtherSessions(r.Context(), s.UserID, s.ID, s.Epoch)
		switch {
		case errors.Is(err, auth.ErrStale):
			return web.SeeOther(page), nil // as in endOthers
		case err != nil:
			return web.Response{}, err
		}
		return h.keepSignedIn(r, u, page+"?notice=user-signed-out")
	}
	if _, err := h.Accounts.SignOutEverywhere(r.Context(), r.Param("id"), ""); err != nil {
		return web.Response{}, err
	}
	return h.backToUser(r, "user-signed-out")
}

// setUserGroups adds the user to the groups that were checked since the form was shown, and removes them from those
// that were unchecked. It keeps what another administrator has changed in the meantime.
func (h *Handlers) setUserGroups(r *web.Request) (web.Response, error) {
	form, err := r.Form()
	if err != nil {
		return web.Response{}, err
	}
	page, err := h.userPage(r)
	if err != nil {
		return web.Response{}, err
	}
	// A form that does not send what it showed sets all groups.
	shown := page.Groups
	if form.Has("shown") {
		shown = strings.Fields(form.Get("shown"))
	}
	join, leave := groupChanges(page.Groups, shown, form["groups"])
	if page.Self && r.User().InGroup(auth.AdminGroup) && contains(leave, auth.AdminGroup) {
		return groupsAgain(page, join, leave, "You can't remove yourself from the group admin. Ask another administrator."), nil
	}
	if len(join)+len(leave) == 0 {
		return h.backToUser(r, "user-groups")
	}
	_, err = h.Accounts.ChangeGroups(r.Context(), page.ID, join, leave)
	var wrong auth.ValidationErrors
	switch {
	case errors.Is(err, auth.ErrLastAdministrator):
		return groupsAgain(page, join, leave, lastAdministrator), nil
	case errors.Is(err, auth.ErrGroupNotFound), errors.As(err, &wrong):
		return groupsAgain(page, join, leave, "A group that you selected no longer exists, so nothing was saved. Review the groups and save again."), nil
	case err != nil:
		return web.Response{}, err
	}
	return h.backToUser(r, "user-groups")
}

// groupChanges compares the groups that were checked with those that the form showed as checked. It returns the
// groups to join, of which the user has none yet, and those to leave, of which the user has every one.
func groupChanges(present, shown, checked []string) (join, leave []string) {
	for _, group := range checked {
		if !contains(shown, group) && !contains(present, group) && !contains(join, group) {
			join = append(join, group)
		}
	}
	for _, group := range present {
		if contains(shown, group) && !contains(checked, group) {
			leave = append(leave, group)
		}
	}
	return join, leave
}

// groupsAgain shows the submitted form on the current groups.
func groupsAgain(page templates.UserPage, join, leave []string, message string) web.Response {
	page.Title, page.Message = "Error: "+page.Username, message
	checkGroups(page.Memberships, join, leave)
	return web.Show(http.StatusUnprocessableEntity, templates.User(page))
}

// checkGroups applies unsaved changes to the checkboxes.
func checkGroups(memberships []templates.GroupChoice, join, leave []string) {
	for i, g := range memberships {
		memberships[i].Member = contains(join, g.Name) || g.Member && !contains(leave, g.Name)
	}
}

const groupGone = "This group no longer exists."

const (
	addGroupPath   = "/admin/groups"
	grantGroupPath = "/admin/groups/grant"
)

// showGroupErrors puts the errors of a form beside the field that can still be corrected, or on top of the page.
func showGroupErrors(page *templates.GroupsPage, path string, left templates.Form, wrong auth.ValidationErrors) {
	page.Title = "Error: " + page.Title
	first := firstWrong(wrong, "group", "permission")
	left.Errors, left.First = wrong, first
	if path == addGroupPath {
		page.AddForm = left
		return
	}
	i := slices.IndexFunc(page.Groups, func(g templates.GroupSection) bool { return g.Name == left.Value("group") })
	switch {
	case i < 0:
		page.Message = groupGone
	case path == grantGroupPath && first == "permission":
		page.Groups[i].GrantForm = left
	default:
		page.Message = wrong[first]
		if path == grantGroupPath {
			page.Groups[i].GrantForm.Values = left.Values
		}
	}
}

func (h *Handlers) groups(r *web.Request) (web.Response, error) {
	page, err := h.groupsPage(r)
	if err != nil {
		return web.Response{}, err
	}
	page.Notice = noticeOf(r)
	if group := r.Query("at"); slices.ContainsFunc(page.Groups, func(g templates.GroupSection) bool { return g.Name == group }) {
		page.Notice.Section = templates.GroupSectionID(group)
	}
	return web.Show(http.StatusOK, templates.Groups(page)), nil
}

func (h *Handlers) groupsPage(r *web.Request) (templates.GroupsPage, error) {
	// The versions come first: if members change before the groups are read, the versions are stale and the removal is
	// a conflict.
	var versions map[string]string
	if r.HasPermission(auth.ManageUsers) {
		var err error
		if versions, err = h.Accounts.MembersVersions(r.Context()); err != nil {
			return templates.GroupsPage{}, err
		}
	}
	groups, err := h.Accounts.Groups(r.Context())
	if err != nil {
		return templates.GroupsPage{}, err
	}
	page := templates.GroupsPage{Page: r.Page("Groups"), MayManage: r.HasPermission(auth.ManageUsers)}
	for _, g := range groups {
		version, ok := versions[g.Name]
		if !ok {
			version = auth.MembersVersion(nil)
		}
		page.Groups = append(page.Groups, templates.GroupSection{Group: g, MembersVersion: version})
	}
	return page, nil
}

func (h *Handlers) addGroup(r *web.Request) (web.Response, error) {
	return h.changeGroups(r, "group-added", func(form url.Values) error {
		return h.Accounts.AddGroup(r.Context(), form.Get("group"))
	})
}

func (h *Handlers) removeGroup(r *web.Request) (web.Response, error) {
	return h.changeGroups(r, "group-removed", func(form url.Values) error {
		group := form.Get("group")
		var err error
		if form.Has("shown_members") {
			err = h.Accounts.RemoveGroupWithMembers(r.Context(), group, form.Get("shown_members"))
		} else {
			err = h.Accounts.RemoveGroup(r.Context(), group)
		}
		var changed auth.MembersChangedError
		if errors.As(err, &changed) {
			return auth.ValidationErrors{"group": membersChanged(group, changed)}
		}
		if errors.Is(err, auth.ErrAdminGroup) {
			return auth.ValidationErrors{"group": "The group admin can't be removed, because administrators need it."}
		}
		return err
	})
}

// membersChanged returns the message that lists the current members of a group.
func membersChanged(group string, changed auth.MembersChangedError) string {
	now := "It has no members now."
	switch rest := changed.Members - len(changed.Names); {
	case changed.Members == 1:
		now = "The only member now is " + changed.Names[0] + "."
	case changed.Members > 1:
		now = "The members now are " + strings.Join(changed.Names, ", ")
		if rest > 0 {
			now += " and " + strconv.Itoa(rest) + " more"
		}
		now += "."
	}
	return "The members of " + group + " changed after you opened this page. " + now + " Nothing was removed."
}

func (h *Handlers) grantGroup(r *web.Request) (web.Response, error) {
	return h.changeGroups(r, "group-granted", func(form url.Values) error {
		return h.Accounts.SetGroupPermission(r.Context(), form.Get("group"), form.Get("permission"), true)
	})
}

func (h *Handlers) ungrantGroup(r *web.Request) (web.Response, error) {
	return h.changeGroups(r, "group-ungranted", func(form url.Values) error {
		err := h.Accounts.SetGroupPermission(r.Context(), form.Get("group"), form.Get("permission"), false)
		if errors.Is(err, auth.ErrAdminGroup) {
			return auth.ValidationErrors{"permission": "This permission can't be removed from the group admin, because administrators need it."}
		}
		return err
	})
}

// changeGroups handles one of the forms of the groups page.
func (h *Handlers) changeGroups(r *web.Request, notice string, change func(url.Values) error) (web.Response, error) {
	form, err := r.Form()
	if err != nil {
		return web.Response{}, err
	}
	err = change(form)
	var wrong auth.ValidationErrors
	if errors.Is(err, auth.ErrGroupNotFound) {
		wrong = auth.ValidationErrors{"group": groupGone}
	}
	if errors.Is(err, auth.ErrLastAdministrator) {
		wrong = auth.ValidationErrors{"group": lastAdministrator}
	}
	if wrong == nil && !errors.As(err, &wrong) {
		if err != nil {
			return web.Response{}, err
		}
		location := "/admin/groups?notice=" + notice
		if notice != "group-removed" {
			location += "&at=" + url.QueryEscape(form.Get("group"))
		}
		return web.SeeOther(location), nil
	}
	page, err := h.groupsPage(r)
	if err != nil {
		return web.Response{}, err
	}
	showGroupErrors(&page, r.Path(), templates.Form{Values: values(form, "group", "permission")}, wrong)
	return web.Show(http.StatusUnprocessableEntity, templates.Groups(page)), nil
}
