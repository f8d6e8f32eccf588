package importer

import (
	"cmp"
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

func (r record) get(field string) string { return r.text[r.column(field)] }

// column returns the name that the field has here, or "".
func (r record) column(field string) string {
	for _, c := range columns[field] {
		if _, ok := r.text[c]; ok {
			return c
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
	row.Username, row.Address = r.username(row.Email, username)
	if row.ID == "" {
		row.ID = cmp.Or(row.Address, row.Username)
	}
	var faults []string
	row.Verified = r.truth("verified", false, &faults)
	active, disabled := r.truth("active", true, &faults), r.truth("disabled", false, &faults)
	row.Active = active && !disabled
	super, staff := r.truth("super", false, &faults), r.truth("staff", false, &faults)
	row.Powers = super || staff
	if created := r.get("created"); created != "" {
		t, ok := moment(created)
		if !ok {
			faults = append(faults, fmt.Sprintf("What stands in %s is no time such as 2024-05-01 10:20:30+00.", r.column("created")))
		}
		row.Created = t
	}
	row.Groups = r.groups()
	row.Fault = strings.Join(faults, " ")
	return row
}

// username returns the user name. A column of addresses gives what stands before the @, if the
// operator named it or, as in Laravel's own table, there is no column of user names; then it returns the
// address as well.
func (r record) username(email, column string) (name, address string) {
	name = r.get("username")
	switch {
	case column != "":
		name = r.text[strings.ToLower(column)]
	case r.knows("username"):
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
		if list, ok := r.list[c]; ok {
			return list
		}
	}
	return names(r.get("groups"))
}

// names returns the names in one field: those between commas, semicolons or bars, or else the words.
func names(s string) []string {
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

// truth reads a yes or no in the spellings of databases; a time is a yes. otherwise is what an empty
// field says.
func (r record) truth(field string, otherwise bool, faults *[]string) bool {
	s := r.get(field)
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
	*faults = append(*faults, fmt.Sprintf("What stands in %s is neither yes nor no, such as true, false, 1, 0, t or f.", r.column(field)))
	return otherwise
}

// moment reads a time in the spellings of databases and JSON; one without a zone is UTC.
func moment(s string) (time.Time, bool) {
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

// null are the ways in which databases write that a field is empty; the last is MySQL's, of times.
func null(s string) string {
	s = strings.TrimSpace(s)
	if s == `\N` || s == "NULL" || s == "null" || s == "None" || s == "0000-00-00 00:00:00" {
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
		return fmt.Errorf("the table's first line cannot be read: %w", err)
	}
	known := record{has: func(string) bool { return false }}
	index := make([]string, len(names))
	for i, name := range names {
		index[i] = strings.ToLower(strings.TrimSpace(name))
	}
	known.has = func(column string) bool { return slices.Contains(index, column) }
	if !known.knows("password") {
		return fmt.Errorf("the table's first line names no column for the password hash; one of %s is needed there", strings.Join(columns["password"], ", "))
	}
	if o.Username != "" && !known.has(strings.ToLower(o.Username)) {
		return fmt.Errorf("the table's first line names no column %q for the user name", o.Username)
	}
	each := tell(sourceOf(known))
	for {
		fields, err := c.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if wrong, ok := errors.AsType[*csv.ParseError](err); ok {
			// The next row begins on the next line, whatever this one has swallowed.
			row := Row{Line: in.skip + wrong.StartLine, Fault: "A quote stands inside of a field, where it has to be doubled, or does not end." + in.swallowed(wrong.StartLine)}
			if err := each(row); err != nil {
				return err
			}
			continue
		}
		if err != nil {
			return err
		}
		line, _ := c.FieldPos(0)
		if len(fields) == 1 && strings.TrimSpace(fields[0]) == "" {
			continue
		}
		row := Row{Line: in.skip + line, Fault: fmt.Sprintf("The row has %d fields, and the table's first line %d.", len(fields), len(index)) + in.swallowed(line)}
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

// swallowed says which lines went into a row that begins on the given one and cannot be read: a
// quote that does not end takes the rows below it along.
func (in *reader) swallowed(first int) string {
	if in.line == first {
		return ""
	}
	return fmt.Sprintf(" All lines up to %d were taken for this row.", in.skip+in.line)
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
