package web

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"unicode/utf8"

	"github.com/labstack/echo/v4"

	"gatehouse/auth"
)

// Draft is a form that was submitted after its session had ended. The sign-in form carries it, so that the server stores
// nothing for clients that are not signed in.
type Draft struct {
	// Path is where the form was submitted, and Page the path of the page with the form.
	Path, Page string
	// Fields are those that the route keeps; nil if it keeps none.
	Fields url.Values
}

// AuthorField is the field with the id of the user whose page had the form. Only that user gets to see the draft.
const AuthorField = "author"

// Limits of a draft. A form with more than that is not kept.
const (
	maxDraftValues = 200
	maxDraftBytes  = 8 << 10
)

// endedSession returns the draft of a form that was submitted without a valid session.
func (s *Server) endedSession(r *Request, route Route) Draft {
	d := Draft{Path: r.Path(), Page: r.pageOf(route)}
	if form, err := r.Form(); err == nil && route.showDraft != nil {
		d.Fields = keptFields(form, route.keep)
	}
	return d
}

// keptFields returns the named fields and the author's; nil if they exceed the limits or are not text.
func keptFields(form url.Values, names []string) url.Values {
	kept, values, size := url.Values{}, 0, 0
	for _, name := range append([]string{AuthorField}, names...) {
		for _, value := range form[name] {
			values, size = values+1, size+len(name)+len(value)
			if values > maxDraftValues || size > maxDraftBytes || !utf8.ValidString(value) || strings.ContainsRune(value, 0) {
				return nil
			}
			kept.Add(name, value)
		}
	}
	return kept
}

// pageOf returns the path of the page with the route's form.
func (r *Request) pageOf(route Route) string {
	if route.Page == "" {
		return r.Path()
	}
	parts := strings.Split(route.Page, "/")
	for i, part := range parts {
		if name, ok := strings.CutPrefix(part, ":"); ok {
			parts[i] = url.PathEscape(r.Param(name))
		}
	}
	return strings.Join(parts, "/")
}

// openPage is the handler for opening a route that only accepts forms: it leads to the page with the form.
func (s *Server) openPage(route Route) echo.HandlerFunc {
	return func(c echo.Context) error {
		r := s.newRequest(c)
		return s.send(r, SeeOther(r.pageOf(route)))
	}
}

// ParseDraft returns the draft that a sign-in form carries. Its Fields are nil unless a route keeps the form, and then they
// are the fields that it keeps.
func (r *Request) ParseDraft(path string, fields url.Values) Draft {
	route, _, found := r.server.findForm(r.echo, path)
	if !found {
		return Draft{}
	}
	return Draft{Path: path, Fields: keptFields(fields, route.keep)}
}

// ShowDraft answers a sign-in with the page of a draft, filled in with its fields. ok is false if there is nothing to show:
// another user has signed in, or this one may no longer open the page.
func (r *Request) ShowDraft(d Draft) (resp Response, ok bool, err error) {
	route, at, found := r.server.findForm(r.echo, d.Path)
	if !found || d.Fields == nil || d.Fields.Get(AuthorField) != r.user.ID || r.server.authorize(r, route) != nil {
		return Response{}, false, nil
	}
	r.resumed, r.draft = at, &d
	d.Page = r.pageOf(route)
	resp, err = route.showDraft(r)
	if errors.Is(err, auth.ErrNotFound) {
		// What the form is about is gone. That must not cost the sign-in, which is committed with the response.
		r.resumed, r.draft = nil, nil
		return Response{}, false, nil
	}
	return resp, err == nil, err
}

// Draft returns the fields to fill in, for the handlers of Route.Keeping.
func (r *Request) Draft() url.Values { return r.draft.Fields }

// findForm returns the route that keeps the form submitted to the path, and a context with its path parameters.
func (s *Server) findForm(c echo.Context, path string) (Route, echo.Context, bool) {
	u, err := url.ParseRequestURI(path)
	if err != nil || u.Path != path || !isCanonicalPath(u) {
		return Route{}, nil, false
	}
	at := s.echo.NewContext(c.Request(), c.Response())
	s.echo.Router().Find(http.MethodPost, path, at)
	route, found := s.forms[at.Path()]
	return route, at, found
}
