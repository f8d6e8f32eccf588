package importer

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// columns are the names that a field has in the tables of those systems, the likeliest first.
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

// record are the fields of one row by their column, as text; lists are handed over by list.
type record struct {
	text map[string]string
	list map[string][]string
	has  func(column string) bool
}

func (r record) get(field string) string {
	for _, c := range columns[field] {
		if v, ok := r.text[c]; ok {
			return v
		}
	}
	return ""
}

func (r record) knows(field string) bool {
	return slices.ContainsFunc(columns[field], func(c string) bool { return r.has(c) })
}

// row reads the fields. username is the column that the operator named, or "".
func (r record) row(line int, username string) Row {
	row := Row{Line: line, ID: r.get("id"), Email: r.get("email"), Hash: r.get("password"), Name: r.get("name")}
	if row.Name == "" {
		row.Name = strings.TrimSpace(r.get("first") + " " + r.get("last"))
	}
	row.Username = r.get("username")
	if username != "" {
		row.Username = r.text[strings.ToLower(username)]
	}
	if row.Username == "" && username == "" && !r.knows("username") {
		// Laravel's own table has addresses and no user names.
		row.Username, _, _ = strings.Cut(row.Email, "@")
	}
	if row.ID == "" {
		row.ID = row.Username
	}
	var faults []string
	row.Verified = truth(r.get("verified"), false, "whether the address is verified", &faults)
	row.Active = truth(r.get("active"), true, "whether the user is active", &faults) && !truth(r.get("disabled"), false, "whether the user is disabled", &faults)
	row.Powers = truth(r.get("super"), false, "is_superuser", &faults) || truth(r.get("staff"), false, "is_staff", &faults)
	if created := r.get("created"); created != "" {
		t, ok := moment(created)
		if !ok {
			faults = append(faults, fmt.Sprintf("%q is no time.", short(created)))
		}
		row.Created = t
	}
	row.Groups = r.groups()
	row.Fault = strings.Join(faults, " ")
	return row
}

func (r record) groups() []string {
	for _, c := range columns["groups"] {
		if list, ok := r.list[c]; ok {
			return list
		}
	}
	return strings.FieldsFunc(r.get("groups"), func(c rune) bool { return strings.ContainsRune(",;| ", c) })
}

func short(s string) string {
	if r := []rune(s); len(r) > 40 {
		return string(r[:40]) + "…"
	}
	return s
}

// truth reads a yes or no in the spellings of databases; a time is a yes. otherwise is what an empty
// field says.
func truth(s string, otherwise bool, what string, faults *[]string) bool {
	switch strings.ToLower(s) {
	case "":
		return otherwise
	case "1", "t", "true", "y", "yes", "on":
		return true
	case "0", "f", "false", "n", "no", "off":
		return false
	}
	if _, ok := moment(s); ok {
		return true
	}
	*faults = append(*faults, fmt.Sprintf("%q does not say %s.", short(s), what))
	return otherwise
}

// moment reads a time in the spellings of databases and JSON; one without a zone is UTC.
func moment(s string) (time.Time, bool) {
	for _, layout := range []string{
		time.RFC3339Nano, "2006-01-02 15:04:05.999999999Z07:00", "2006-01-02 15:04:05.999999999-07", "2006-01-02 15:04:05.999999999 -0700", "2006-01-02 15:04:05.999999999",
		"2006-01-02T15:04:05.999999999", "2006-01-02",
	} {
		if t, err := time.Parse(layout, s); err == nil {
			return t.UTC(), true
		}
	}
	return time.Time{}, false
}

// null are the ways in which databases write that a field is empty.
func null(s string) string {
	s = strings.TrimSpace(s)
	if s == `\N` || s == "NULL" || s == "null" || s == "None" {
		return ""
	}
	return s
}

func readCSV(in *reader, o Options, tell func(string) func(Row) error) error {
	checked := &lines{in: in}
	c := csv.NewReader(checked)
	c.FieldsPerRecord = -1
	c.ReuseRecord = true
	head, err := checked.head()
	if err != nil {
		return err
	}
	c.Comma = separator(head)
	names, err := c.Read()
	if err != nil {
		return fmt.Errorf("the head of the table cannot be read: %w", tableError(in, err))
	}
	known := record{has: func(string) bool { return false }}
	index := make([]string, len(names))
	for i, name := range names {
		index[i] = strings.ToLower(strings.TrimSpace(name))
	}
	known.has = func(column string) bool { return slices.Contains(index, column) }
	if !known.knows("password") {
		return fmt.Errorf("the table has no column for the password hash: its head is %q, and one of %s is needed", short(head), strings.Join(columns["password"], ", "))
	}
	if o.Username != "" && !known.has(strings.ToLower(o.Username)) {
		return fmt.Errorf("the table has no column %q for the user name: its head is %q", o.Username, short(head))
	}
	each := tell(sourceOf(known))
	for {
		fields, err := c.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		var wrong *csv.ParseError
		if errors.As(err, &wrong) {
			// What follows a quote that does not end is anybody's guess.
			return tableError(in, err)
		}
		if err != nil {
			return err
		}
		line, _ := c.FieldPos(0)
		if len(fields) == 1 && strings.TrimSpace(fields[0]) == "" {
			continue
		}
		row := Row{Line: in.skip + line, Fault: fmt.Sprintf("The row has %d fields, and the head %d.", len(fields), len(index))}
		if len(fields) == len(index) {
			r := record{text: make(map[string]string, len(index)), has: known.has}
			for i, field := range fields {
				r.text[index[i]] = null(field)
			}
			row = r.row(in.skip+line, o.Username)
		}
		if err := each(row); err != nil {
			return err
		}
	}
}

func tableError(in *reader, err error) error {
	var wrong *csv.ParseError
	if errors.As(err, &wrong) {
		return fmt.Errorf("line %d: %w: quotes do not end, or stand inside of a field", in.skip+wrong.Line, wrong.Err)
	}
	return err
}

// separator is the sign that the head has most of.
func separator(head string) rune {
	best := ','
	for _, s := range ";\t" {
		if strings.Count(head, string(s)) > strings.Count(head, string(best)) {
			best = s
		}
	}
	return best
}

// sourceOf tells whose table it is by the columns that the others do not have.
func sourceOf(r record) string {
	switch {
	case r.has("is_superuser") || r.has("date_joined"):
		return Django
	case r.has("remember_token") || r.has("email_verified_at"):
		return Laravel
	}
	return Flask
}

// lines hands the file over line by line, each checked.
type lines struct {
	in   *reader
	left string
}

// head returns the first line, which is read again afterwards.
func (l *lines) head() (string, error) {
	text, err := l.in.next()
	l.left = text + "\n"
	return text, err
}

func (l *lines) Read(p []byte) (int, error) {
	if l.left == "" {
		text, err := l.in.next()
		if err != nil {
			return 0, err
		}
		l.left = text + "\n"
	}
	n := copy(p, l.left)
	l.left = l.left[n:]
	return n, nil
}
