package web

import (
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
