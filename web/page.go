package web

import (
	"strings"
	"time"

	"gatehouse/auth"
)

// Page is what the layout needs; every page's struct embeds it.
type Page struct {
	// Title names the page; the layout adds "· Gatehouse". An error's begins with "Error: ".
	Title string
	// Path is the request's path, so that the navigation can mark where one is.
	Path string
	// User is the signed-in person; nil for everybody else.
	User *auth.User
	// Notice is a sentence about what has just been done ("Your name is saved."); may be empty.
	Notice string
	// Refresh makes the browser load the page again after so many seconds; 0 for never.
	Refresh int
	// Closed leaves out the ways to pages that do not open now.
	Closed bool
}

// MayAdmin reports whether the person may look at other people's accounts.
func (p Page) MayAdmin() bool { return p.User != nil && p.User.HasPermission(auth.ViewUsers) }

// Within reports whether the page is at the path or below it.
func (p Page) Within(path string) bool {
	return p.Path == path || strings.HasPrefix(p.Path, path+"/")
}

// Moment returns a time in words, in the person's time zone: "3 December 2026, 14:05".
func (p Page) Moment(t time.Time) string {
	location := time.UTC
	if p.User != nil {
		if l, ok := auth.LoadLocation(p.User.TimeZone); ok {
			location = l
		}
	}
	return t.In(location).Format("2 January 2006, 15:04")
}

// Form is a form as the person left it (never the password), with what was wrong.
type Form struct {
	Values map[string]string
	Errors map[string]string
	// Message is about the form as a whole ("Wrong user name or password.").
	Message string
	// First is the field to focus: the first one with an error, else where to begin.
	First string
}

// Value returns what the person entered in the field.
func (f Form) Value(field string) string { return f.Values[field] }

// Error returns the sentence about the field, or "".
func (f Form) Error(field string) string { return f.Errors[field] }

// Focus reports whether the field gets the focus when the page opens.
func (f Form) Focus(field string) bool { return f.First == field }

// ErrorPage tells what happened, what it means for the visitor's work and what to do now.
type ErrorPage struct {
	Page
	Status    int
	Heading   string // "Too many tries"
	What      string // what happened, a sentence
	Lost      string // whether anything was lost, a sentence; may be empty
	Do        string // what to do now, a sentence
	RequestID string
	// RetryAfter in seconds; 0 when trying again later makes no difference. With it, the page
	// says when, and (for GET) Page.Refresh is set.
	RetryAfter int
	RetryIn    string // RetryAfter in words ("2 minutes"); empty shows the seconds
}

// MaintenancePage is what everybody but administrators gets while the site is closed.
type MaintenancePage struct {
	ErrorPage
	// Message is the operators' own words ("back at nine"); may be empty.
	Message string
}
