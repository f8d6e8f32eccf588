package handlers

import (
	"net/url"
	"strings"

	"gatehouse/auth"
	"gatehouse/auth/identifier"
)

// entered are values of a form, for showing it again.
type entered map[string]string

// values returns the named fields, each cut to what it may hold: a page is not larger because of
// what somebody sent. A password is never among them.
func values(form url.Values, fields ...string) entered {
	v := entered{}
	for _, f := range fields {
		text := strings.ReplaceAll(strings.ToValidUTF8(form.Get(f), "\uFFFD"), "\x00", "\uFFFD")
		v[f] = first(text, fieldSize[f])
	}
	return v
}

// fieldSize is how many characters of a field are shown again. One that is not here shows none.
var fieldSize = map[string]int{
	"username": identifier.MaxEmail, "email": identifier.MaxEmail, "name": identifier.MaxDisplayName, "time_zone": 64,
	"shown_name": identifier.MaxDisplayName, "shown_email": identifier.MaxEmail, "shown_time_zone": 64,
	"remember": 8, "days": 8, "group": identifier.MaxGrantName, "permission": identifier.MaxGrantName, "q": identifier.MaxEmail,
}

// first returns at most n characters.
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

// notices are the sentences that a redirect can ask the next page to say. The address holds a
// word and not the sentence, so that nobody else can put words into our mouth.
var notices = map[string]string{
	"signed-out": "You are signed out.",
	// For people whom another program's session had let in.
	"signed-out-here": "You are signed out here. You are still signed in at the site that you came from: sign out there as well.",
	"all-ended":       "All your sessions here are ended, this one too. Sign in with your password to go on.",

	"profile":       "Your details are saved.",
	"password":      "Your password is changed, and every other session is ended.",
	"session-ended": "That session is ended.",
	"others-ended":  "All other sessions are ended.",

	"token-revoked":   "The token is revoked.",
	"tokens-revoked":  "All API tokens are revoked.",
	"user-disabled":   "The user is disabled, and signed out everywhere.",
	"user-enabled":    "The user is enabled.",
	"user-signed-out": "All sessions and API tokens of the user are ended.",
	"user-groups":     "The user's groups are saved.",
	"group-added":     "The group is there; give it permissions now.",
	"group-removed":   "The group is removed.",
	"group-granted":   "The group has the permission now.",
	"group-ungranted": "The permission is taken from the group.",
}
