package handlers

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"gatehouse/auth/userlist"
	"gatehouse/templates"
	"gatehouse/web"
)

// maxUsersCounted bounds the work to count users.
const maxUsersCounted = 100_000

func (h *Handlers) users(r *web.Request) (web.Response, error) {
	list := newUserList(r.Query)
	query := list.query()
	query.After, query.Before = r.Query("after"), r.Query("before")
	found, err := h.Accounts.FindUsers(r.Context(), query)
	if err != nil {
		return web.Response{}, err
	}
	total := len(found.Users)
	if found.Previous != "" || found.Next != "" || query.After+query.Before != "" { // not all on one page
		if total, err = h.Accounts.CountUsers(r.Context(), query, maxUsersCounted); err != nil {
			return web.Response{}, err
		}
	}
	groups, err := h.Accounts.Groups(r.Context())
	if err != nil {
		return web.Response{}, err
	}
	page := templates.UsersPage{
		Page: r.Page("Users"), Search: list.text, Order: list.order, Filters: list.filters(), Total: countUsers(total),
		Columns: list.columns(), States: list.states(), Sorts: list.sorts(), Groups: []templates.Option{{Label: "Any group"}},
		MayManage: mayManageUsers(r), Now: r.Now(),
	}
	for _, g := range groups {
		page.Groups = append(page.Groups, templates.Option{Value: g.Name, Label: g.Name, Selected: g.Name == list.group})
	}
	for _, u := range found.Users {
		page.Users = append(page.Users, newUserRow(u, r.Now()))
	}
	if found.Previous != "" {
		page.Previous = list.address("before", found.Previous)
	}
	if found.Next != "" {
		page.Next = list.address("after", found.Next)
	}
	page.Notice = noticeOf(r)
	return web.Show(http.StatusOK, templates.Users(page)), nil
}

// countUsers returns a number of users in words; one above maxUsersCounted was not counted to the end.
func countUsers(n int) string {
	switch {
	case n == 1:
		return "1 user"
	case n > maxUsersCounted:
		return "More than " + thousands(maxUsersCounted) + " users"
	}
	return thousands(n) + " users"
}

// thousands returns "1,204".
func thousands(n int) string {
	digits := strconv.Itoa(n)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}

// userList is what the address of the list of users says about it.
type userList struct {
	text, state, group, sort string
	// order is "asc" or "desc" where it differs from that of a list which was just sorted, else "".
	order string
}

// newUserList ignores values that no form of the page sends.
func newUserList(query func(name string) string) userList {
	text := values(url.Values{"q": {strings.TrimSpace(query("q"))}}, "q")["q"]
	l := userList{text: text, group: first(query("group"), fieldSize["group"])}
	switch state := query("state"); userlist.State(state) {
	case userlist.Active, userlist.Disabled, userlist.Unverified:
		l.state = state
	}
	switch sort := query("sort"); userlist.Sort(sort) {
	case userlist.ByLastSignIn, userlist.ByCreation:
		l.sort = sort
	}
	if order := query("order"); order == "asc" && l.startsDescending() || order == "desc" && !l.startsDescending() {
		l.order = order
	}
	return l
}

// startsDescending reports the order of a list that was just sorted: times begin with the latest.
func (l userList) startsDescending() bool { return l.sort != "" }

func (l userList) descending() bool { return l.startsDescending() != (l.order != "") }

func (l userList) query() userlist.Query {
	return userlist.Query{
		Text: l.text, State: userlist.State(l.state), Group: l.group, Sort: userlist.Sort(l.sort), Descending: l.descending(),
		Limit: defaultUsersPerPage,
	}
}

// address returns the address of the list, with more parameters in pairs of name and value.
func (l userList) address(more ...string) string {
	pairs := append([]string{"q", l.text, "state", l.state, "group", l.group, "sort", l.sort, "order", l.order}, more...)
	query := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			query.Set(pairs[i], pairs[i+1])
		}
	}
	if len(query) == 0 {
		return "/admin/users"
	}
	return "/admin/users?" + query.Encode()
}

// filters returns what restricts the list.
func (l userList) filters() (filters []templates.Filter) {
	add := func(label string, without userList) {
		filters = append(filters, templates.Filter{Label: label, Remove: without.address()})
	}
	if l.text != "" {
		without := l
		without.text = ""
		add("“"+l.text+"”", without)
	}
	if l.state != "" {
		without := l
		without.state = ""
		add(stateLabels[userlist.State(l.state)], without)
	}
	if l.group != "" {
		without := l
		without.group = ""
		add("In "+l.group, without)
	}
	return filters
}

var stateLabels = map[userlist.State]string{
	userlist.Active: "Active", userlist.Disabled: "Disabled", userlist.Unverified: "Email not verified",
}

func (l userList) states() []templates.Option {
	options := []templates.Option{{Label: "Any status"}}
	for _, state := range []userlist.State{userlist.Active, userlist.Disabled, userlist.Unverified} {
		options = append(options, templates.Option{Value: string(state), Label: stateLabels[state], Selected: string(state) == l.state})
	}
	return options
}

// userColumns are the columns of the list, with what it is sorted by if that is possible.
var userColumns = []struct {
	label    string
	sort     userlist.Sort
	sortable bool
}{
	{"User", userlist.ByUsername, true}, {"Status", "", false}, {"Groups", "", false},
	{"Last sign-in", userlist.ByLastSignIn, true}, {"Created", userlist.ByCreation, true},
}

func (l userList) sorts() (options []templates.Option) {
	for _, c := range userColumns {
		if c.sortable {
			options = append(options, templates.Option{Value: string(c.sort), Label: c.label, Selected: string(c.sort) == l.sort})
		}
	}
	return options
}

// columns returns the headers. That of the column which the list is sorted by reverses it.
func (l userList) columns() (columns []templates.Column) {
	for _, c := range userColumns {
		column := templates.Column{Label: c.label}
		if c.sortable {
			target := l
			target.sort, target.order = string(c.sort), ""
			if target.sort == l.sort {
				column.Sorted = "ascending"
				if l.descending() {
					column.Sorted = "descending"
				}
				if l.order == "" {
					target.order = "asc"
					if !l.descending() {
						target.order = "desc"
					}
				}
			}
			column.Link = target.address()
		}
		columns = append(columns, column)
	}
	return columns
}
