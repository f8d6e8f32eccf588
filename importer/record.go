package importer

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// columns are the usual columns of each field, the likeliest first.
var columns = map[string][]string{
	"id":       {"id", "pk", "user_id", "uuid"},
	"username": {"username", "user_name", "login", "nickname"},
	"password": {"password", "password_hash", "pw_hash", "pwhash", "hashed_password", "passwd", "hash"},
	"email":    {"email", "email_address", "mail"},
	"name":     {"name", "full_name", "display_name"},
	"first":    {"first_name"},
	"last":     {"last_name"},
	"verified": {"email_verified_at", "email_verified", "email_confirmed", "email_confirmed_at", "confirmed_at"},
	"active":   {"is_active", "active", "enabled"},
	"disabled": {"disabled", "is_disabled", "deleted_at", "banned_at"},
	"created":  {"date_joined", "created_at", "created", "registered_at"},
	"groups":   {"groups", "roles", "group", "role"},
	"super":    {"is_superuser"},
	"staff":    {"is_staff", "is_admin"},
}

// record is the values of one row by their column. JSON lists are in lists, everything else is in text.
type record struct {
	text  map[string]string
	lists map[string][]string
	has   func(column string) bool
}

func (r record) get(field string) string { return r.text[r.column(field)] }

// column returns the column of a field in this record, or "".
func (r record) column(field string) string {
	for _, c := range columns[field] {
		if _, ok := r.text[c]; ok {
			return c
		}
	}
	return ""
}

func (r record) hasField(field string) bool {
	return slices.ContainsFunc(columns[field], r.has)
}

// row converts the record. usernameColumn is the column that the operator named, or "".
func (r record) row(line int, usernameColumn string) Row {
	row := Row{Line: line, ID: r.get("id"), Email: r.get("email"), Hash: r.get("password"), Name: r.get("name")}
	if row.Name == "" {
		row.Name = strings.TrimSpace(r.get("first") + " " + r.get("last"))
	}
	row.Username, row.Address = r.username(row.Email, usernameColumn)
	if row.ID == "" {
		row.ID = cmp.Or(row.Address, row.Username)
	}
	var problems []string
	row.Verified = r.parseBool("verified", false, &problems)
	active, disabled := r.parseBool("active", true, &problems), r.parseBool("disabled", false, &problems)
	row.Active = active && !disabled
	super, staff := r.parseBool("super", false, &problems), r.parseBool("staff", false, &problems)
	row.Privileged = super || staff
	if created := r.get("created"); created != "" {
		t, ok := parseTime(created)
		if !ok {
			problems = append(problems, fmt.Sprintf("The value of %s is not a time such as 2024-05-01 10:20:30+00.", r.column("created")))
		}
		row.Created = t
	}
	row.Groups = r.groups()
	row.Problem = strings.Join(problems, " ")
	return row
}

// username returns the user name. If the column holds email addresses, it is the part before the @, and address is all
// of it; without a column of user names, as in Laravel's table, the email address is used.
func (r record) username(email, column string) (name, address string) {
	name = r.get("username")
	switch {
	case column != "":
		name = r.text[strings.ToLower(column)]
	case r.hasField("username"):
		return name, ""
	default:
		name = email
	}
	local, _, isAddress := strings.Cut(name, "@")
	if !isAddress {
		return name, ""
	}
	return local, name
}

func (r record) groups() []string {
	for _, c := range columns["groups"] {
		if list, ok := r.lists[c]; ok {
			return list
		}
	}
	return splitNames(r.get("groups"))
}

// splitNames splits a value at commas, semicolons or bars, or at white space if it has none of them.
func splitNames(s string) []string {
	separator := func(c rune) bool { return strings.ContainsRune(",;|", c) }
	if !strings.ContainsFunc(s, separator) {
		return strings.Fields(s)
	}
	var all []string
	for _, name := range strings.FieldsFunc(s, separator) {
		if name = strings.TrimSpace(name); name != "" {
			all = append(all, name)
		}
	}
	return all
}

// parseBool parses a boolean in the spellings of databases. A time counts as true, and an empty value as otherwise.
func (r record) parseBool(field string, otherwise bool, problems *[]string) bool {
	s := r.get(field)
	switch strings.ToLower(s) {
	case "":
		return otherwise
	case "1", "t", "true", "y", "yes", "on":
		return true
	case "0", "f", "false", "n", "no", "off":
		return false
	}
	if _, ok := parseTime(s); ok {
		return true
	}
	*problems = append(*problems, fmt.Sprintf("The value of %s is not a boolean such as true, false, 1, 0, t or f.", r.column(field)))
	return otherwise
}

// parseTime parses a time in the spellings of databases and JSON. Without a zone it is UTC.
func parseTime(s string) (time.Time, bool) {
	for _, layout := range []string{
		time.RFC3339Nano, "2006-01-02 15:04:05.999999999Z07:00", "2006-01-02 15:04:05.999999999-07", "2006-01-02 15:04:05.999999999-0700",
		"2006-01-02 15:04:05.999999999 -0700", "2006-01-02 15:04:05.999999999", "2006-01-02T15:04:05.999999999", "2006-01-02",
	} {
		if t, err := time.Parse(layout, s); err == nil {
			return t.UTC(), true
		}
	}
	return time.Time{}, false
}

// detectSource returns the system whose tables have these columns; the columns of Flask applications vary.
func detectSource(r record) string {
	switch {
	case r.has("is_superuser") || r.has("date_joined"):
		return Django
	case r.has("remember_token") || r.has("email_verified_at"):
		return Laravel
	}
	return Flask
}
