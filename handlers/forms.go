package handlers

import (
	"net/url"
	"strings"

	"gatehouse/auth"
	"gatehouse/auth/identifier"
	"gatehouse/templates"
	"gatehouse/web"
)

// entered has the submitted values of a form, to show it again.
type entered map[string]string

// values returns the named fields, each truncated to its maximum length so that a request cannot enlarge the page. They
// never include passwords.
func values(form url.Values, fields ...string) entered {
	v := entered{}
	for _, f := range fields {
		text := strings.ReplaceAll(strings.ToValidUTF8(form.Get(f), "\uFFFD"), "\x00", "\uFFFD")
		v[f] = first(text, fieldSize[f])
	}
	return v
}

// fieldSize is the maximum length of a field in characters. A field that is not listed is not shown again.
var fieldSize = map[string]int{
	"username": identifier.MaxEmail, "email": identifier.MaxEmail, "name": identifier.MaxDisplayName, "time_zone": 64,
	"shown_name": identifier.MaxDisplayName, "shown_email": identifier.MaxEmail, "shown_time_zone": 64,
	"theme": 16, "hour_cycle": 16, "locale": 35, "shown_theme": 16, "shown_hour_cycle": 16, "shown_locale": 35,
	"remember": 8, "days": 8, "until": 10, "group": identifier.MaxGrantName, "permission": identifier.MaxGrantName, "q": identifier.MaxEmail,
}

// first returns the first n characters.
func first(s string, n int) string {
	for i := range s {
		if n == 0 {
			return s[:i]
		}
		n--
	}
	return s
}

func (e entered) with(field, value string) entered {
	e[field] = value
	return e
}

// firstWrong returns the first of the fields, in the order of the page, that has an error.
func firstWrong(wrong auth.ValidationErrors, fields ...string) string {
	for _, f := range fields {
		if wrong[f] != "" {
			return f
		}
	}
	return ""
}

// notices are the messages that a page shows after a redirect, each in the section that changed. The address has their
// key and not the text, so that a link cannot make the page show any other text.
var notices = map[string]templates.Notice{
	"signed-out": {Text: "You're signed out."},
	// For users whom a session of another site had signed in.
	"signed-out-here": {Text: "You're signed out here, but still signed in at the site that you came from. Sign out there as well."},
	"all-ended":       {Text: "All your sessions here have ended, including this one. Sign in with your password to continue."},

	// After signing in again, on the page of a form that did not come back.
	"not-saved": {Text: "You're signed in again. Your last change wasn't saved, because your session had ended."},

	"welcome":       {Text: "Welcome."},
	"profile":       {Text: "Changes saved.", Section: "profile"},
	"appearance":    {Text: "Changes saved.", Section: "appearance"},
	"password":      {Text: "Password changed. You've been signed out everywhere else.", Section: "password"},
	"session-ended": {Text: "Session ended.", Section: "sessions"},
	"others-ended":  {Text: "All other sessions ended.", Section: "sessions"},

	"token-revoked":   {Text: "Token revoked.", Section: "tokens"},
	"tokens-revoked":  {Text: "All API tokens revoked.", Section: "tokens"},
	"user-disabled":   {Text: "User disabled and signed out everywhere.", Section: "access"},
	"user-enabled":    {Text: "User enabled.", Section: "access"},
	"user-signed-out": {Text: "User signed out everywhere; API tokens revoked.", Section: "sessions"},
	"user-groups":     {Text: "Groups saved.", Section: "groups"},
	"user-added":      {Text: "User added."},
	"user-verified":   {Text: "Email address verified.", Section: "facts"},
	"user-password":   {Text: "Password set. The user was signed out everywhere; API tokens revoked.", Section: "password"},
	"user-granted":    {Text: "Permission added.", Section: "permissions"},
	"user-ungranted":  {Text: "Permission removed.", Section: "permissions"},
	"user-deleted":    {Text: "User deleted."},
	// A group that was selected was removed at the same moment.
	"user-added-without-groups": {Text: "User added, but to no group, because a group that you selected no longer exists.", Section: "groups"},
	"reopened":                  {Text: "The site is open again."},
	"group-removed":             {Text: "Group removed."},
	// These are about the group that the address names.
	"group-added":     {Text: "Group created. Now add permissions."},
	"group-granted":   {Text: "Permission added."},
	"group-ungranted": {Text: "Permission removed."},
}

// noticeOf returns the notice that the address asks for.
func noticeOf(r *web.Request) templates.Notice {
	key := r.Query("notice")
	n := notices[key]
	if key == "welcome" {
		n.Text = "Welcome, " + r.User().DisplayName() + "."
	}
	return n
}
