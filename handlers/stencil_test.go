package handlers

import (
	"testing"
	"time"

	"gatehouse/auth"
	"gatehouse/web"
)

// TestTheStencilIsTheTemplate compares the page that is put together from pieces with the one
// that html/template makes, to the octet, for people who may differ and names that try.
func TestTheStencilIsTheTemplate(t *testing.T) {
	renderer, err := web.NewRenderer()
	if err != nil {
		t.Fatal(err)
	}
	render := func(page string, data any) string {
		t.Helper()
		html, err := renderer(page, data)
		if err != nil {
			t.Fatal(err)
		}
		return html
	}
	at := time.Date(2026, 11, 20, 23, 59, 59, 999e6, time.UTC)
	for _, name := range []string{"Ada", "", `<script>alert("1")</script>`, `a&b'c"d+e`, "\x00", "&amp;", "slot000", "محمد", "{{.}}", "x` onload=y"} {
		for _, permissions := range [][]string{nil, {auth.ViewUsers}} {
			for _, zone := range []string{"UTC", "Asia/Kathmandu", "America/Argentina/Buenos_Aires"} {
				u := &auth.User{Username: "ada", Name: name, Active: true, Permissions: permissions}
				page := dashboardPage{
					Page:         web.Page{Title: "Dashboard", Path: "/dashboard", User: u},
					Clock:        newClock(at, zone).text(),
					AuthorizedBy: "Redis", Took: "0.3 ms", SQL: "0",
				}
				if page.Shape() == "" {
					t.Fatal("the page has no stencil")
				}
				stencilled, template := render("dashboard", page), render("dashboard", plain{page})
				if stencilled != template {
					t.Errorf("%q in %s: the stencil gives\n%s\nthe template\n%s", name, zone, stencilled, template)
				}
			}
		}
	}
}

// plain is the page without its stencil.
type plain struct{ dashboardPage }

func (plain) Shape() string { return "" }

// TestShapes: whatever changes the page elsewhere than in its slots is another shape, or none.
func TestShapes(t *testing.T) {
	user := &auth.User{Username: "ada", Active: true}
	admin := &auth.User{Username: "ada", Active: true, Permissions: []string{auth.ManageUsers}}
	for _, c := range []struct {
		page web.Page
		want string
	}{
		{web.Page{User: user}, "user"}, {web.Page{User: admin}, "admin"}, {web.Page{}, ""},
		{web.Page{User: user, Notice: "Hello."}, ""}, {web.Page{User: user, Refresh: 5}, ""},
	} {
		if got := (dashboardPage{Page: c.page}).Shape(); got != c.want {
			t.Errorf("%+v: got %q, want %q", c.page, got, c.want)
		}
	}
}
