package importer

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// readJSON reads a list of objects, or a sequence of objects (JSON Lines).
func readJSON(in *reader, o Options, rowsOf func(source string) func(Row) error) error {
	text := &lineCounter{r: in.r, checked: in.skipped + 1}
	d := json.NewDecoder(text)
	d.UseNumber()
	before := in.skipped
	list := false
	if first, _ := in.r.Peek(1); bytes.Equal(first, []byte("[")) {
		list = true
		if _, err := d.Token(); err != nil {
			return jsonError(err, d, text, before)
		}
	}
	u := &users{options: o, rowsOf: rowsOf, groups: map[string]string{}}
	for d.More() {
		// InputOffset is the end of the previous object; white space, a comma and this object follow.
		var raw json.RawMessage
		from := d.InputOffset()
		if err := d.Decode(&raw); err != nil {
			return jsonError(err, d, text, before)
		}
		start := max(from, d.InputOffset()-int64(len(raw)))
		if text.bad > 0 {
			return errNotUTF8(text.bad)
		}
		if err := u.add(raw, text.line(start, &before)); err != nil {
			return err
		}
	}
	if list {
		if _, err := d.Token(); err != nil {
			return jsonError(err, d, text, before)
		}
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("there is more text after the list")
	}
	return u.flush()
}

// lineCounter records the offsets of line endings in what it reads, and the first line that is not UTF-8.
type lineCounter struct {
	r       io.Reader
	read    int64
	ends    []int64
	checked int    // the line up to which the text is UTF-8
	bad     int    // the first line that is not UTF-8, or 0
	tail    []byte // the beginning of a rune that may continue in the next read
}

func (c *lineCounter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	for i, b := range p[:n] {
		if b == '\n' {
			c.ends = append(c.ends, c.read+int64(i))
		}
	}
	c.read += int64(n)
	c.check(p[:n], err != nil)
	return n, err
}

// check records the first line that is not UTF-8, because the JSON decoder silently replaces invalid bytes.
func (c *lineCounter) check(p []byte, last bool) {
	text := append(c.tail, p...)
	for len(text) > 0 && c.bad == 0 {
		r, size := utf8.DecodeRune(text)
		if r == utf8.RuneError && size <= 1 {
			if !last && !utf8.FullRune(text) {
				break
			}
			c.bad = c.checked
		}
		if r == '\n' {
			c.checked++
		}
		text = text[size:]
	}
	c.tail = append([]byte(nil), text...)
}

// line returns the line of an offset, counted from 1. before is the number of lines before those in ends; offsets must
// not decrease from call to call.
func (c *lineCounter) line(offset int64, before *int) int {
	dropped := 0
	for dropped < len(c.ends) && c.ends[dropped] < offset {
		dropped++
	}
	c.ends = c.ends[dropped:]
	*before += dropped
	return *before + 1
}

func jsonError(err error, d *json.Decoder, text *lineCounter, before int) error {
	if text.bad > 0 {
		return errNotUTF8(text.bad)
	}
	if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
		return fmt.Errorf("line %d is not valid JSON: %w", text.line(syntaxOffset(d, syntax), &before), err)
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("the file ends unexpectedly: the export is incomplete")
	}
	return fmt.Errorf("read the file: %w", err)
}

// syntaxOffset returns the offset of a syntax error in the file. The decoder's own offset does not count the text between
// the objects of a list, so the bad object is parsed again.
func syntaxOffset(d *json.Decoder, syntax *json.SyntaxError) int64 {
	at := d.InputOffset()
	if syntax.Offset == at {
		return at
	}
	rest, _ := io.ReadAll(d.Buffered())
	var object json.RawMessage
	if again, ok := errors.AsType[*json.SyntaxError](json.Unmarshal(rest, &object)); ok {
		return at + again.Offset - 1
	}
	return at
}

// users turns objects into rows. Django's dumpdata refers to groups by id, and may list them after the users.
type users struct {
	options Options
	rowsOf  func(source string) func(Row) error
	checked bool              // whether checkFields was called
	groups  map[string]string // names by id
	pending []Row             // rows with groups whose name is not known yet
}

func (u *users) add(raw json.RawMessage, line int) error {
	var object map[string]any
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	if err := d.Decode(&object); err != nil || object == nil {
		return u.rowsOf("")(Row{Line: line, Problem: "This is not an object with the fields of a user."})
	}
	model, isDump := object["model"].(string)
	fields, hasFields := object["fields"].(map[string]any)
	if !isDump || !hasFields {
		r := recordOf(object)
		if err := u.checkFields(r, line); err != nil {
			return err
		}
		return u.rowsOf(detectSource(r))(r.row(line, u.options.Username))
	}
	if strings.HasSuffix(model, ".group") {
		u.groups[toText(object["pk"])], _ = fields["name"].(string)
		return nil
	}
	if _, isUser := fields["password"]; !isUser {
		return nil // permissions, content types and the like
	}
	fields["id"] = object["pk"]
	if object["pk"] == nil { // --natural-primary
		fields["id"] = fields["username"]
	}
	row := recordOf(fields).row(line, u.options.Username)
	for _, g := range row.Groups {
		if _, known := u.groups[g]; !known && isNumber(g) {
			u.pending = append(u.pending, row)
			return nil
		}
	}
	return u.rowsOf(Django)(u.nameGroups(row))
}

// checkFields requires of the first object the fields that the header of a table must have.
func (u *users) checkFields(r record, line int) error {
	if u.checked {
		return nil
	}
	u.checked = true
	if !r.hasField("password") {
		return fmt.Errorf("line %d: the object has no field for the password hash; expected one of %s", line, strings.Join(columns["password"], ", "))
	}
	if o := u.options.Username; o != "" && !r.has(strings.ToLower(o)) {
		return fmt.Errorf("line %d: the object has no field %q for the user name", line, o)
	}
	return nil
}

func isNumber(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }

// nameGroups replaces the ids of groups by their names.
func (u *users) nameGroups(row Row) Row {
	for i, g := range row.Groups {
		name, known := u.groups[g]
		switch {
		case known:
			row.Groups[i] = name
		case isNumber(g):
			row.Problem = strings.TrimSpace(row.Problem + " The groups are ids without names. Export the groups as well: manage.py dumpdata auth.group auth.user")
			return row
		}
	}
	return row
}

// flush handles the rows that waited for the names of their groups.
func (u *users) flush() error {
	for _, row := range u.pending {
		if err := u.rowsOf(Django)(u.nameGroups(row)); err != nil {
			return err
		}
	}
	return nil
}

func recordOf(object map[string]any) record {
	r := record{text: map[string]string{}, lists: map[string][]string{}}
	for name, value := range object {
		name = strings.ToLower(name)
		if list, ok := value.([]any); ok {
			r.lists[name] = []string{}
			for _, v := range list {
				if natural, ok := v.([]any); ok && len(natural) == 1 {
					v = natural[0] // a natural key
				}
				r.lists[name] = append(r.lists[name], toText(v))
			}
			continue
		}
		r.text[name] = toText(value)
	}
	r.has = func(column string) bool {
		_, isText := r.text[column]
		_, isList := r.lists[column]
		return isText || isList
	}
	return r
}

// toText returns a value as text; null is empty.
func toText(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		return v
	case bool:
		if v {
			return "true"
		}
		return "false"
	case json.Number:
		return v.String()
	}
	b, _ := json.Marshal(v)
	return string(b)
}
